//! Names of buckets and keys of objects: checked once, at the border.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::limits::{BUCKET_NAME_LEN, MAX_KEY_BYTES};

/// Why a text is no bucket name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BucketNameError {
    /// Shorter than 3 or longer than 63 characters.
    #[error("a bucket name has 3 to 63 characters, not {len}")]
    Length {
        /// Bytes it has.
        len: usize,
    },
    /// Something else than `a-z`, `0-9`, `-` and `.`.
    #[error("a bucket name consists of a-z, 0-9, '-' and '.', not {found:?}")]
    Character {
        /// The first character that is not allowed.
        found: char,
    },
    /// The first or last character is neither letter nor digit, or two dots touch.
    #[error(
        "a bucket name and each of its dot-separated labels begin and end with a letter or digit"
    )]
    Shape,
    /// Four numbers with dots between.
    #[error("a bucket name must not look like an IP address")]
    IpAddress,
    /// A prefix or suffix that S3 keeps for itself.
    #[error("{affix:?} is reserved at the begin or end of a bucket name")]
    Reserved {
        /// The reserved part.
        affix: &'static str,
    },
}

/// Why a text is no object key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ObjectKeyError {
    /// Empty, or longer than 1,024 bytes.
    #[error("an object key has 1 to 1024 bytes of UTF-8, not {len}")]
    Length {
        /// Bytes it has.
        len: usize,
    },
    /// Bytes that are not UTF-8.
    #[error("an object key is UTF-8")]
    NotUtf8,
}

/// A bucket's name by S3's rules for general purpose buckets. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketName(Arc<str>);

const RESERVED_PREFIXES: [&str; 3] = ["xn--", "sthree-", "amzn-s3-demo-"];
const RESERVED_SUFFIXES: [&str; 5] = ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"];

impl BucketName {
    /// Checks `name`.
    pub fn new(name: &str) -> Result<Self, BucketNameError> {
        if !BUCKET_NAME_LEN.contains(&name.len()) {
            return Err(BucketNameError::Length { len: name.len() });
        }
        let allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-' | '.');
        if let Some(found) = name.chars().find(|&c| !allowed(c)) {
            return Err(BucketNameError::Character { found });
        }
        let bare = |label: &str| label.is_empty() || label.starts_with('-') || label.ends_with('-');
        if name.split('.').any(bare) {
            return Err(BucketNameError::Shape);
        }
        if name.parse::<std::net::Ipv4Addr>().is_ok() {
            return Err(BucketNameError::IpAddress);
        }
        let prefix = RESERVED_PREFIXES.iter().find(|p| name.starts_with(**p));
        let suffix = RESERVED_SUFFIXES.iter().find(|s| name.ends_with(**s));
        match prefix.or(suffix) {
            Some(affix) => Err(BucketNameError::Reserved { affix }),
            None => Ok(Self(name.into())),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An object's key: 1 to 1,024 bytes of UTF-8, of which nothing is interpreted. `..`, `//` and
/// control characters are bytes as others are, for there are no paths here. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(Arc<str>);

impl ObjectKey {
    /// Checks `key`.
    pub fn new(key: &str) -> Result<Self, ObjectKeyError> {
        if (1..=MAX_KEY_BYTES).contains(&key.len()) {
            Ok(Self(key.into()))
        } else {
            Err(ObjectKeyError::Length { len: key.len() })
        }
    }

    /// Checks bytes that came undecoded.
    pub fn from_bytes(key: &[u8]) -> Result<Self, ObjectKeyError> {
        str::from_utf8(key).map_or(Err(ObjectKeyError::NotUtf8), Self::new)
    }

    /// The key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BucketName {
    type Err = BucketNameError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::new(name)
    }
}

impl FromStr for ObjectKey {
    type Err = ObjectKeyError;

    fn from_str(key: &str) -> Result<Self, Self::Err> {
        Self::new(key)
    }
}

impl fmt::Display for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for BucketName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for ObjectKey {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests;
