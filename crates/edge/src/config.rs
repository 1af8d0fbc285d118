//! What an edge may be told.

use std::time::Duration;

/// Settings of an [`Edge`](crate::Edge).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeConfig {
    /// Threads that serve requests, for each listener. 0: one for each core.
    pub threads: usize,
    /// Memory for stored answers, in bytes, with what it takes to keep them.
    pub cache_bytes: u64,
    /// Largest body that is stored, in bytes. The cache has no more parts, each with a lock and an
    /// order of eviction of its own, than such bodies fit into it, and at most
    /// [`SHARDS`](crate::limits::SHARDS): the default, a sixteenth of the default cache, makes 16.
    pub object_max_bytes: u64,
    /// Connections open at once, of all listeners; those beyond it are answered 503 and closed.
    pub connections_max: usize,
    /// From the first byte of a request's head, or a connection's begin, until the head is
    /// complete.
    pub header_timeout: Duration,
    /// How long a connection may lie idle between two requests.
    pub idle_timeout: Duration,
    /// How long a client may send no byte of a body that it owes, or take none of an answer.
    pub stall_timeout: Duration,
    /// How long a request waits for the head of an answer that another request fetches.
    pub follower_wait: Duration,
    /// How long an answer that is to be stored is fetched on when all its readers are gone.
    pub abandoned_wait: Duration,
    /// How long a key is remembered as uncacheable, so that its requests do not wait for each
    /// other.
    pub uncacheable_for: Duration,
}

impl Default for EdgeConfig {
    fn default() -> Self {
        Self {
            threads: 0,
            cache_bytes: 256 << 20,
            object_max_bytes: 16 << 20,
            connections_max: 16_384,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            stall_timeout: Duration::from_secs(30),
            follower_wait: Duration::from_secs(10),
            abandoned_wait: Duration::from_secs(10),
            uncacheable_for: Duration::from_mins(2),
        }
    }
}
