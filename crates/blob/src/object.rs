//! What the store says about objects and buckets.

use std::fmt;
use std::str::FromStr;

use crate::limits::{
    CHUNK_BYTES, MAX_CHUNKS, MAX_CONTENT_TYPE_BYTES, MAX_USER_META_BYTES, MAX_USER_META_ENTRIES,
};
use crate::name::{BucketName, ObjectKey};

/// Bytes of the largest object.
pub const MAX_OBJECT_BYTES: u64 = (CHUNK_BYTES as u64) * (MAX_CHUNKS as u64);

/// An entity tag as S3 clients expect it: the MD5 of the content in hexadecimal. Parts are 0 for
/// an object that was written at once; otherwise the digest is over the parts' digests and the
/// text ends in `-PARTS`. `Display` writes it without quotation marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ETag {
    /// The 16 bytes of the digest.
    pub md5: [u8; 16],
    /// Parts of a multipart upload, or 0.
    pub parts: u32,
}

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.md5 {
            write!(f, "{byte:02x}")?;
        }
        match self.parts {
            0 => Ok(()),
            parts => write!(f, "-{parts}"),
        }
    }
}

/// A text that is none of our entity tags, and therefore matches no object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an entity tag here is 32 hexadecimal digits, perhaps with -PARTS")]
pub struct ETagError;

impl FromStr for ETag {
    type Err = ETagError;

    /// Reads what `Display` writes, with or without quotation marks.
    fn from_str(text: &str) -> Result<Self, ETagError> {
        let bare = text
            .strip_prefix('"')
            .and_then(|t| t.strip_suffix('"'))
            .unwrap_or(text);
        let (digest, parts) = match bare.split_once('-') {
            Some((digest, parts)) => (digest, parts.parse().ok().filter(|&p| p > 0)),
            None => (bare, Some(0)),
        };
        let digits = digest.as_bytes();
        if digits.len() != 32 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(ETagError);
        }
        let md5 = std::array::from_fn(|i| {
            u8::from_str_radix(&digest[2 * i..2 * i + 2], 16).expect("two hexadecimal digits")
        });
        Ok(Self {
            md5,
            parts: parts.ok_or(ETagError)?,
        })
    }
}

/// What the writer of an object says about it. Kept as given and given back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectMeta {
    /// The media type, if any; up to 256 bytes.
    pub content_type: Option<String>,
    /// Name and value pairs in the writer's order; up to 128, and 8 KiB together.
    pub user: Vec<(String, String)>,
}

impl ObjectMeta {
    pub(crate) fn is_within_limits(&self) -> bool {
        let content_type = self.content_type.as_ref().map_or(0, String::len);
        let user: usize = self
            .user
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        content_type <= MAX_CONTENT_TYPE_BYTES
            && user <= MAX_USER_META_BYTES
            && self.user.len() <= MAX_USER_META_ENTRIES
    }
}

/// What the index knows of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its key.
    pub key: ObjectKey,
    /// Bytes of its content.
    pub size: u64,
    /// Its entity tag.
    pub etag: ETag,
    /// When it was committed, in milliseconds since 1970 (UTC).
    pub modified_ms: u64,
    /// Its sequence number: every write to the store has one, and later writes a higher one.
    pub version: u64,
}

/// What a bucket is set to. The default is a private bucket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BucketSettings {
    /// Whether anyone may read its objects. Kept here, enforced by who serves them.
    pub public: bool,
}

/// A bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketInfo {
    /// Its name.
    pub name: BucketName,
    /// Its settings.
    pub settings: BucketSettings,
    /// When it was created, in milliseconds since 1970 (UTC).
    pub created_ms: u64,
}

/// What must hold for a write to happen. It is decided by the committer in the order of all
/// writes: of many concurrent `IfAbsent` writers of a key exactly one wins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Precondition {
    /// Nothing.
    #[default]
    None,
    /// There is no such object.
    IfAbsent,
    /// There is such an object, whatever it is.
    IfPresent,
    /// There is such an object and this is its entity tag.
    IfMatch(ETag),
}

/// What an acknowledged write did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The write's sequence number.
    pub version: u64,
    /// When it was committed, in milliseconds since 1970 (UTC).
    pub modified_ms: u64,
    /// The entity tag of the object written; none for other writes.
    pub etag: Option<ETag>,
}

/// Which keys to list.
#[derive(Debug, Clone, Copy)]
pub struct ListQuery<'a> {
    /// Only keys that begin with this.
    pub prefix: &'a str,
    /// Only keys greater than this, byte by byte; empty for all.
    pub start_after: &'a str,
    /// At most so many keys, and never more than [`crate::limits::MAX_LIST`].
    pub limit: usize,
}

/// A page of a bucket's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The objects, ascending by the bytes of their keys.
    pub objects: Vec<ObjectInfo>,
    /// Whether more follow; ask again with `start_after` set to the last key.
    pub truncated: bool,
}
