//! The payload of a chunked object: where its chunks are.

use crate::format::{u32_at, u64_at};

/// Bytes of an entry of a chunk list.
pub(crate) const CHUNK_REF_BYTES: usize = 32;

/// A chunk, and the part of the content that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChunkRef {
    /// The content's bytes before the end of this chunk.
    pub(crate) end: u64,
    /// The chunk's sequence number.
    pub(crate) sequence: u64,
    pub(crate) offset: u64,
    pub(crate) volume: u32,
    pub(crate) head_len: u32,
}

pub(crate) fn encode_chunks(chunks: &[ChunkRef]) -> Vec<u8> {
    let mut out = Vec::with_capacity(chunks.len() * CHUNK_REF_BYTES);
    for chunk in chunks {
        out.extend_from_slice(&chunk.end.to_le_bytes());
        out.extend_from_slice(&chunk.sequence.to_le_bytes());
        out.extend_from_slice(&chunk.offset.to_le_bytes());
        out.extend_from_slice(&chunk.volume.to_le_bytes());
        out.extend_from_slice(&chunk.head_len.to_le_bytes());
    }
    out
}

/// The list, if it is one: whole entries with ascending ends, the last of which is `size`.
pub(crate) fn decode_chunks(bytes: &[u8], size: u64) -> Option<Vec<ChunkRef>> {
    let (entries, rest) = bytes.as_chunks::<CHUNK_REF_BYTES>();
    let chunks: Vec<_> = entries
        .iter()
        .map(|entry| ChunkRef {
            end: u64_at(entry, 0),
            sequence: u64_at(entry, 8),
            offset: u64_at(entry, 16),
            volume: u32_at(entry, 24),
            head_len: u32_at(entry, 28),
        })
        .collect();
    let ascends = chunks.is_sorted_by(|a, b| a.end < b.end);
    let complete = chunks.last().is_some_and(|last| last.end == size);
    let nonempty = chunks.first().is_some_and(|first| first.end > 0);
    (rest.is_empty() && ascends && complete && nonempty).then_some(chunks)
}
