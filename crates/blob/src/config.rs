//! What a store may be told.

use crate::limits::MIN_VOLUME_BYTES;

/// A store's configuration; the default suits a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Bytes after which a volume is sealed and the next one begun: 64 KiB to 1 TiB, 1 GiB by
    /// default. A needle that alone is larger gets a larger volume.
    pub volume_bytes: u64,
    /// Bytes all volumes may have together, if bounded. What is deleted or overwritten counts
    /// until its space is reclaimed. Objects beyond are answered [`crate::WriteError::NoSpace`].
    pub max_bytes: Option<u64>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            volume_bytes: 1 << 30,
            max_bytes: None,
        }
    }
}

impl Config {
    pub(crate) fn is_valid(&self) -> bool {
        (MIN_VOLUME_BYTES..=1 << 40).contains(&self.volume_bytes)
    }
}
