//! The first 4 KiB of a volume.

use crc_fast::crc32_iscsi;

use crate::error::SuperblockError;
use crate::format::{FORMAT_VERSION, array, u32_at, u64_at};

/// Bytes of a superblock; the first needle follows.
pub(crate) const SUPERBLOCK_BYTES: u64 = LEN as u64;

const LEN: usize = 4096;
const MAGIC: [u8; 8] = *b"FRACTVOL";
const CHECKSUM_AT: usize = LEN - 4;

/// A store's random identity, in every volume and in every checksum.
pub(crate) type StoreId = [u8; 16];

/// What a superblock says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Superblock {
    pub(crate) store: StoreId,
    pub(crate) volume: u32,
    pub(crate) created_ms: u64,
}

impl Superblock {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; LEN];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.volume.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.store);
        bytes[32..40].copy_from_slice(&self.created_ms.to_le_bytes());
        let checksum = crc32_iscsi(&bytes[..CHECKSUM_AT]);
        bytes[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads the superblock of what is named volume `volume`.
    pub(crate) fn decode(bytes: &[u8], volume: u32) -> Result<Self, SuperblockError> {
        if bytes.len() < LEN {
            return Err(SuperblockError::Short);
        }
        if bytes[0..8] != MAGIC {
            return Err(SuperblockError::Magic);
        }
        // Before the checksum: a later version may keep it elsewhere.
        let version = u32_at(bytes, 8);
        if version != FORMAT_VERSION {
            return Err(SuperblockError::Version { version });
        }
        if u32_at(bytes, CHECKSUM_AT) != crc32_iscsi(&bytes[..CHECKSUM_AT]) {
            return Err(SuperblockError::Checksum);
        }
        let found = u32_at(bytes, 12);
        if found != volume {
            return Err(SuperblockError::Volume { found });
        }
        Ok(Self {
            store: array(bytes, 16),
            volume,
            created_ms: u64_at(bytes, 32),
        })
    }
}
