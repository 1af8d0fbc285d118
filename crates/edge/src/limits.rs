//! Every bound of this crate that is not a setting. Sizes are bytes unless the name says otherwise.

use std::time::Duration;

/// A request's head: request line and header fields. Longer ones are answered 431, and so are more
/// than 100 fields, hyper's own limit (setting it would cost an allocation a request).
pub const HEAD_MAX: usize = 32 << 10;
/// Read and write buffer of a connection.
pub const CONNECTION_BUFFER_MAX: usize = 64 << 10;
/// What is read, to be thrown away, of a body that an origin has not read to its end, or
/// after a refusal that ends the connection.
pub const DRAIN_MAX: usize = 8 << 20;
/// A chunk of a request's body, in bytes: a tebibyte. What claims to be larger is no size.
pub const CHUNK_MAX: u64 = 1 << 40;
/// Sockets accepted and not yet taken by their worker.
pub const ACCEPTED_QUEUE: usize = 1024;

/// Parts that the cache is split into, each with a lock of its own. A power of two.
pub const SHARDS: usize = 32;
/// Purge epochs of paths: an invalidated path makes one stored answer in so many others stale.
pub const EPOCH_SLOTS: usize = 1 << 18;
/// Keys remembered as uncacheable, in each half of a shard's table.
pub const UNCACHEABLE_KEYS: usize = 4096;

/// Fills of one key at once: as many variants as are stored of it.
pub const FILLS_PER_KEY: usize = 16;
/// Part of the cache's size that running fills may hold in memory, in percent; what comes beyond it
/// is passed through and not stored.
pub const FILLING_PERCENT: u64 = 50;
/// What is held of an answer that is passed through to several readers: beyond it the origin waits
/// for the slowest.
pub const PASS_WINDOW: u64 = 1 << 20;
/// Frames of an answer's body that are taken at once, before a task is made for the rest.
pub const INLINE_FRAMES: usize = 16;
/// Stored bodies are kept in pieces of at least this size, but for the last.
pub const PIECE_MIN: usize = 256 << 10;
/// Memory that a stored answer takes besides key, fields and body.
pub const STORED_OVERHEAD: usize = 512;
/// Memory of a header field besides its name and value.
pub const FIELD_OVERHEAD: usize = 64;

/// Times that a request looks again for a stored answer because the one it waited for was not its.
pub const ATTEMPTS: usize = 3;
/// `Via` entries of ours after which a request is taken to run in circles.
pub const LOOPS_MAX: usize = 8;

const _: () = assert!(SHARDS.is_power_of_two() && EPOCH_SLOTS.is_power_of_two());
const _: () = assert!(FILLING_PERCENT <= 100);

/// How often the log says that connections cannot be accepted.
pub const COMPLAIN_EVERY: Duration = Duration::from_secs(10);
