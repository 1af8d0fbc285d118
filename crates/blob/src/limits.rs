//! Every bound of the crate, with its unit and its reason.

/// Bytes of payload covered by one checksum. Ranged reads verify whole blocks, so this is also
/// the least that is read from disk for a range.
pub const BLOCK_BYTES: usize = 64 << 10;

/// Bytes of the largest object that is one needle, and of every chunk of a larger one. Twice this
/// is what an upload may hold in memory: one chunk being filled, one on its way to disk.
pub const CHUNK_BYTES: usize = 1 << 20;

/// Chunks an object may have: at [`CHUNK_BYTES`] each, objects end at 256 GiB.
pub const MAX_CHUNKS: usize = 256 << 10;

/// Bytes of the longest payload: a full chunk list.
pub const MAX_DATA_BYTES: usize = MAX_CHUNKS * crate::format::CHUNK_REF_BYTES;

/// Bytes of the longest object key, as in S3.
pub const MAX_KEY_BYTES: usize = 1024;

/// Characters of the shortest and of the longest bucket name, as in S3.
pub const BUCKET_NAME_LEN: std::ops::RangeInclusive<usize> = 3..=63;

/// Bytes of a content type.
pub const MAX_CONTENT_TYPE_BYTES: usize = 256;

/// Bytes of all user metadata of an object, names and values together. S3 stops at 2 KiB.
pub const MAX_USER_META_BYTES: usize = 8 << 10;

/// Entries of user metadata of an object.
pub const MAX_USER_META_ENTRIES: usize = 128;

/// Bytes of a needle's encoded metadata: content type, user metadata and their framing.
pub const MAX_META_BYTES: usize = 16 << 10;

/// Buckets of a store; all are held in memory.
pub const MAX_BUCKETS: usize = 10_000;

/// Requests waiting for the committer. An upload has at most one chunk waiting, so this bounds
/// concurrent writers, and what is beyond is answered `Busy`.
pub const MAX_QUEUE: usize = 4096;

/// Requests and bytes of one batch, that is, of one write and one fdatasync. A batch may exceed
/// the bytes by its last needle.
pub const MAX_BATCH_REQUESTS: usize = 1024;
/// See [`MAX_BATCH_REQUESTS`].
pub const MAX_BATCH_BYTES: usize = 8 << 20;

/// Bytes by which a volume's file grows ahead of its tail.
pub const ALLOCATE_STEP_BYTES: u64 = 32 << 20;

/// Bytes left free on the file system for the index, which must still grow when objects may not.
pub const RESERVE_BYTES: u64 = 64 << 20;

/// Bytes beyond an unreadable place in which a sign is looked for that it had been synced. It
/// must exceed the longest batch.
pub const LOOK_AHEAD_BYTES: u64 = 64 << 20;

/// Bytes of log after which the index is made durable; what a start after a power failure
/// replays at most.
pub const PERSIST_EVERY_BYTES: u64 = 256 << 20;

/// Volume files held open.
pub const MAX_OPEN_VOLUMES: usize = 256;

/// Bytes of the volumes' smallest size limit.
pub const MIN_VOLUME_BYTES: u64 = 64 << 10;

/// Bytes of payload fetched with the head by one read; longer payloads are read in steps of
/// [`READ_STEP_BYTES`].
pub const INLINE_READ_BYTES: usize = 128 << 10;
/// See [`INLINE_READ_BYTES`].
pub const READ_STEP_BYTES: usize = 256 << 10;

/// Keys one call of `list` returns.
pub const MAX_LIST: usize = 10_000;

/// Damaged places that a report names; further ones are counted.
pub const MAX_DAMAGE: usize = 10_000;

/// Bytes of the index's block cache.
pub const INDEX_CACHE_BYTES: u64 = 32 << 20;

const _: () = assert!(
    CHUNK_BYTES.is_multiple_of(BLOCK_BYTES),
    "chunks end on block boundaries"
);
const _: () = assert!(
    READ_STEP_BYTES.is_multiple_of(BLOCK_BYTES),
    "reads verify whole blocks"
);
const _: () = assert!(MAX_BATCH_BYTES >= CHUNK_BYTES, "a chunk fits a batch");
const _: () = assert!(
    LOOK_AHEAD_BYTES > (MAX_BATCH_BYTES + 2 * MAX_DATA_BYTES) as u64,
    "the look-ahead spans the longest batch"
);
