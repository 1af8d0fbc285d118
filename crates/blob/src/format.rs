//! Bytes on disk.

/// Bytes of an entry of a chunk list.
pub(crate) const CHUNK_REF_BYTES: usize = 32;
