//! What the admin API answers, as far as tables show it. Fields that are added later are ignored;
//! `--json` prints answers whole.

use fractus_func::{Counters, RuntimeKind, UsageRecord};
use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Deserialize)]
pub(crate) struct Functions {
    pub(crate) functions: Vec<Function>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) version: u64,
    pub(crate) size: u64,
    pub(crate) memory_mb: u32,
    /// What runs it; nodes before did not tell.
    #[serde(default)]
    pub(crate) runtime: Option<RuntimeKind>,
    pub(crate) loaded: bool,
    pub(crate) running: u64,
    pub(crate) waiting: u64,
    pub(crate) counters: Counters,
    pub(crate) last_error: Option<LastError>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct LastError {
    pub(crate) at_ms: u64,
    pub(crate) outcome: String,
    pub(crate) message: String,
}

/// A version that has been made.
#[derive(Debug, Deserialize)]
pub(crate) struct Deployed {
    pub(crate) name: String,
    pub(crate) version: u64,
    pub(crate) size: u64,
    pub(crate) compiled_size: u64,
    pub(crate) compile_ms: u64,
    pub(crate) runtime: RuntimeKind,
    /// Packages that it shares with other functions.
    pub(crate) packages: u64,
    pub(crate) urls: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct LogLine {
    pub(crate) at_ms: u64,
    pub(crate) request_id: Option<String>,
    pub(crate) stream: String,
    pub(crate) line: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Usage {
    pub(crate) records: Vec<UsageRecord>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Buckets {
    pub(crate) buckets: Vec<Bucket>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Bucket {
    pub(crate) name: String,
    pub(crate) public: bool,
    pub(crate) objects: u64,
    pub(crate) bytes: u64,
    /// There are more than were counted.
    #[serde(default)]
    pub(crate) objects_capped: bool,
}

/// A bucket that is there now.
#[derive(Debug, Deserialize)]
pub(crate) struct Created {
    pub(crate) public: bool,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Objects {
    pub(crate) objects: Vec<Object>,
    pub(crate) truncated: bool,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Object {
    pub(crate) key: String,
    pub(crate) size: u64,
    #[serde(default)]
    pub(crate) content_type: Option<String>,
    pub(crate) modified_ms: u64,
}

/// An object that has been stored.
#[derive(Debug, Deserialize)]
pub(crate) struct Stored {
    pub(crate) size: u64,
    pub(crate) etag: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Status {
    pub(crate) version: String,
    pub(crate) pid: u32,
    pub(crate) started_ms: u64,
    pub(crate) edge: String,
    pub(crate) api: Option<String>,
    pub(crate) admin: String,
    pub(crate) data: String,
    pub(crate) functions: u64,
    pub(crate) buckets: u64,
    pub(crate) objects: u64,
    /// There are more than were counted.
    #[serde(default)]
    pub(crate) objects_capped: bool,
    pub(crate) store_bytes: u64,
    pub(crate) running: u64,
    pub(crate) guest_memory: u64,
    pub(crate) cache: Cache,
    pub(crate) store_health: Value,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Cache {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    pub(crate) capacity: u64,
    pub(crate) hits: u64,
    pub(crate) misses: u64,
}
