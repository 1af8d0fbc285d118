//! Keys and values of the index.

use crate::format::{FORMAT_VERSION, StoreId, array, u32_at, u64_at};
use crate::name::{BucketName, ObjectKey};
use crate::object::{BucketInfo, BucketSettings, ETag, ObjectInfo};

/// The key of the [`Mark`].
pub(crate) const MARK_KEY: &[u8] = b"m";
/// What all keys of buckets begin with.
pub(crate) const BUCKET_PREFIX: &[u8] = b"b";

const ENTRY_BYTES: usize = 64;
const MARK_BYTES: usize = 40;

pub(crate) fn bucket_key(bucket: &BucketName) -> Vec<u8> {
    [BUCKET_PREFIX, bucket.as_str().as_bytes()].concat()
}

/// What the keys of all of a bucket's objects begin with. Bucket names contain no zero byte.
pub(crate) fn object_prefix(bucket: &BucketName) -> Vec<u8> {
    [b"o", bucket.as_str().as_bytes(), b"\0"].concat()
}

pub(crate) fn object_key(bucket: &BucketName, key: &ObjectKey) -> Vec<u8> {
    [
        b"o",
        bucket.as_str().as_bytes(),
        b"\0",
        key.as_str().as_bytes(),
    ]
    .concat()
}

/// The index's value for an object: where its needle is, and what a listing shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) volume: u32,
    pub(crate) head_len: u32,
    pub(crate) offset: u64,
    pub(crate) data_len: u32,
    pub(crate) etag: ETag,
    pub(crate) sequence: u64,
    pub(crate) size: u64,
    pub(crate) time_ms: u64,
}

impl Entry {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(ENTRY_BYTES);
        out.extend_from_slice(&self.volume.to_le_bytes());
        out.extend_from_slice(&self.head_len.to_le_bytes());
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.data_len.to_le_bytes());
        out.extend_from_slice(&self.etag.parts.to_le_bytes());
        out.extend_from_slice(&self.etag.md5);
        out.extend_from_slice(&self.sequence.to_le_bytes());
        out.extend_from_slice(&self.size.to_le_bytes());
        out.extend_from_slice(&self.time_ms.to_le_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; ENTRY_BYTES] = bytes.try_into().ok()?;
        Some(Self {
            volume: u32_at(bytes, 0),
            head_len: u32_at(bytes, 4),
            offset: u64_at(bytes, 8),
            data_len: u32_at(bytes, 16),
            etag: ETag {
                parts: u32_at(bytes, 20),
                md5: array(bytes, 24),
            },
            sequence: u64_at(bytes, 40),
            size: u64_at(bytes, 48),
            time_ms: u64_at(bytes, 56),
        })
    }

    pub(crate) fn info(&self, key: ObjectKey) -> ObjectInfo {
        ObjectInfo {
            key,
            size: self.size,
            etag: self.etag,
            modified_ms: self.time_ms,
            version: self.sequence,
        }
    }
}

/// The index's value for a bucket.
pub(crate) fn encode_bucket(info: &BucketInfo) -> Vec<u8> {
    let mut out = info.created_ms.to_le_bytes().to_vec();
    out.push(u8::from(info.settings.public));
    out
}

pub(crate) fn decode_bucket(name: BucketName, bytes: &[u8]) -> Option<BucketInfo> {
    let bytes: &[u8; 9] = bytes.try_into().ok()?;
    let settings = BucketSettings {
        public: bytes[8] != 0,
    };
    Some(BucketInfo {
        name,
        settings,
        created_ms: u64_at(bytes, 0),
    })
}

/// How far the index has followed the log. Written in the same batch as what it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) store: StoreId,
    pub(crate) volume: u32,
    /// The end of the last needle applied.
    pub(crate) offset: u64,
    /// Its sequence number.
    pub(crate) sequence: u64,
}

impl Mark {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(MARK_BYTES);
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&self.volume.to_le_bytes());
        out.extend_from_slice(&self.store);
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.sequence.to_le_bytes());
        out
    }

    /// The mark, if this version of the code wrote it.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; MARK_BYTES] = bytes.try_into().ok()?;
        (u32_at(bytes, 0) == FORMAT_VERSION).then(|| Self {
            volume: u32_at(bytes, 4),
            store: array(bytes, 8),
            offset: u64_at(bytes, 24),
            sequence: u64_at(bytes, 32),
        })
    }
}
