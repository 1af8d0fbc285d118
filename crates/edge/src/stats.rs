//! What an edge counts.

/// Sums since the edge was made, and sizes now. Read shard by shard, so not of one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Keys that have stored answers.
    pub entries: u64,
    /// Memory of stored answers, in bytes.
    pub bytes: u64,
    /// Most that `bytes` may be.
    pub capacity: u64,
    /// Requests answered from the cache, stale answers included.
    pub hits: u64,
    /// Requests that found nothing to use and began a fill, joined one or went to the origin.
    pub misses: u64,
    /// Stored answers that were validated with their origin.
    pub revalidations: u64,
    /// Answers fetched to be stored.
    pub fills: u64,
    /// Requests that joined another one's fill.
    pub collapsed: u64,
    /// Requests whose key is remembered as uncacheable.
    pub uncacheable: u64,
    /// Connections open now.
    pub connections: u64,
}
