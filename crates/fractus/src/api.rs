//! What the admin API answers, as far as tables show it. Fields that are added later are ignored;
//! `--json` prints answers whole.

use fractus_func::trace::Cost;
use fractus_func::{Counters, RequestId, RuntimeKind, UsageRecord};
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
    pub(crate) functions: Vec<FunctionUsage>,
    /// Since when the node has all records; 0 if it dropped none.
    pub(crate) complete_since_ms: u64,
    pub(crate) records: Vec<CallUsage>,
}

/// What the calls of a function took and cost.
#[derive(Debug, Deserialize)]
pub(crate) struct FunctionUsage {
    pub(crate) function: String,
    #[serde(flatten)]
    pub(crate) sums: Costed,
    pub(crate) versions: Vec<VersionUsage>,
}

/// The same of one revision.
#[derive(Debug, Deserialize)]
pub(crate) struct VersionUsage {
    pub(crate) version: u64,
    /// `$LATEST`, or the number under which it was published; None of what is gone.
    pub(crate) qualifier: Option<String>,
    #[serde(flatten)]
    pub(crate) sums: Costed,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Costed {
    #[serde(flatten)]
    pub(crate) counters: Counters,
    pub(crate) cost: Cost,
}

/// What one call took and cost.
#[derive(Debug, Deserialize)]
pub(crate) struct CallUsage {
    #[serde(flatten)]
    pub(crate) record: UsageRecord,
    pub(crate) cost: Cost,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Traces {
    pub(crate) traces: Vec<TraceSummary>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct TraceSummary {
    pub(crate) request_id: RequestId,
    pub(crate) function: String,
    pub(crate) version: u64,
    pub(crate) started_ms: u64,
    pub(crate) duration_us: u64,
    pub(crate) status: Option<u16>,
    pub(crate) error: Option<String>,
    pub(crate) spans: u64,
    pub(crate) cost: Cost,
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

#[derive(Debug, Deserialize)]
pub(crate) struct Queues {
    pub(crate) queues: Vec<Queue>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Queue {
    pub(crate) name: String,
    pub(crate) ready: u64,
    pub(crate) in_flight: u64,
    /// Messages that come later.
    pub(crate) hidden: u64,
    pub(crate) oldest_ms: Option<u64>,
    pub(crate) dead_letter: Option<String>,
}

/// A message that has been sent.
#[derive(Debug, Deserialize)]
pub(crate) struct Sent {
    pub(crate) id: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Events {
    pub(crate) queued: u64,
    pub(crate) in_flight: u64,
    pub(crate) oldest_ms: Option<u64>,
    pub(crate) added: u64,
    pub(crate) done: u64,
    pub(crate) failed: u64,
    pub(crate) retried: u64,
    pub(crate) delivered: u64,
    pub(crate) dropped: u64,
    pub(crate) stopped: bool,
    pub(crate) schedules: Vec<Schedule>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Schedule {
    pub(crate) function: String,
    #[serde(rename = "schedule")]
    pub(crate) expression: String,
    pub(crate) timezone: String,
    pub(crate) next_ms: Option<u64>,
    pub(crate) last_fire_ms: Option<u64>,
    pub(crate) missed: u64,
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
