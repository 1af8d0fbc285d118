//! Bytes on disk, as `docs/formats.md` describes them: parsing and building, nothing else.
//!
//! All integers are little-endian. Parsers take whatever the disk gives and return what is wrong
//! with it; only builders may assert.

mod chunks;
mod entry;
mod meta;
mod needle;
mod superblock;

pub(crate) use self::chunks::{CHUNK_REF_BYTES, ChunkRef, decode_chunks, encode_chunks};
pub(crate) use self::entry::{BUCKET_PREFIX, MARK_KEY, decode_bucket, encode_bucket};
pub(crate) use self::entry::{Entry, Mark, bucket_key, object_key, object_prefix};
pub(crate) use self::meta::{Meta, encode_object_meta, encode_settings};
pub(crate) use self::needle::{
    Draft, HEAD_MAX_BYTES, Head, Kind, NEEDLE_ALIGN, Place, Stamp, TRAILER_BYTES, is_magic,
};
pub(crate) use self::superblock::{SUPERBLOCK_BYTES, StoreId, Superblock};

/// The version of the volume format that this code writes, and the only one it reads.
pub(crate) const FORMAT_VERSION: u32 = 1;

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the slice has N bytes")
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

#[cfg(test)]
mod tests;
