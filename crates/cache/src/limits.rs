//! Every bound of this crate, with its unit.

/// Bytes of a normalised cache key. Longer targets are forwarded, not cached: a key is kept for as
/// long as its response, and nobody links to such URLs.
pub const MAX_KEY_BYTES: usize = 8 * 1024;

/// Request fields one response may vary on. More of them never match twice.
pub const MAX_VARY_FIELDS: usize = 16;

/// Bytes of all request field values kept to match one variant.
pub const MAX_VARY_BYTES: usize = 4 * 1024;

/// Variants kept of one key; the oldest goes first. Bounds what a client that invents field values
/// can make one key cost.
pub const MAX_VARIANTS: usize = 16;

/// Seconds: RFC 9111 §1.2.2 has larger delta-seconds taken as this one.
pub const MAX_DELTA_SECONDS: u32 = 1 << 31;

/// Seconds: the longest lifetime that Last-Modified alone can earn (RFC 9111 §4.2.2 suggests a
/// limit and no value; a day is what browsers and CDNs settle at).
pub const MAX_HEURISTIC_SECONDS: u32 = 24 * 60 * 60;

/// Percent of the time since Last-Modified taken as heuristic lifetime (RFC 9111 §4.2.2).
pub const HEURISTIC_PERCENT: u32 = 10;

/// Entity tags of one If-None-Match or If-Match that are compared; the rest is ignored.
pub const MAX_ENTITY_TAGS: usize = 64;

/// Ghosts (hashes of entries lately evicted) an [`Index`](crate::Index) remembers at most for each
/// entry it holds. Ghosts are bounded by the bytes they stood for too; one per entry costs up to
/// 1.7 points of hit ratio on the traces this was measured with, more than two gain nothing.
pub const GHOSTS_PER_ENTRY: usize = 2;

/// Ghosts remembered however few entries there are.
pub const MIN_GHOSTS: usize = 1024;

/// Percent of an index's capacity that first-time entries may fill before they are evicted rather
/// than proven ones (S3-FIFO's small queue).
pub const SMALL_QUEUE_PERCENT: u64 = 10;

const _: () = assert!(HEURISTIC_PERCENT <= 100 && SMALL_QUEUE_PERCENT < 100);
const _: () = assert!(MAX_HEURISTIC_SECONDS <= MAX_DELTA_SECONDS);
const _: () = assert!(MAX_VARIANTS > 0 && MAX_VARY_FIELDS > 0);
