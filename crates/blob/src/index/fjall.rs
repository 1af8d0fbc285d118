//! The index on fjall, an embedded log-structured merge tree.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::Bound;
use std::path::Path;

use ::fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::index::{Change, Index, IndexError};
use crate::limits::INDEX_CACHE_BYTES;

/// The index in a directory.
pub(crate) struct FjallIndex {
    database: Database,
    keyspace: Keyspace,
}

impl std::fmt::Debug for FjallIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FjallIndex").finish_non_exhaustive()
    }
}

impl FjallIndex {
    /// Opens the index, or makes an empty one if there is none or it is damaged.
    pub(crate) fn open(path: &Path) -> Result<Self, IndexError> {
        match Self::try_open(path) {
            Ok(index) => Ok(index),
            Err(::fjall::Error::Locked) => Err(IndexError::Engine(::fjall::Error::Locked)),
            Err(error) => {
                tracing::warn!(?error, "the index is damaged and will be rebuilt");
                match fs::remove_dir_all(path) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => Err(IndexError::Remove(e)),
                    _ => Self::try_open(path).map_err(IndexError::Engine),
                }
            }
        }
    }

    fn try_open(path: &Path) -> Result<Self, ::fjall::Error> {
        let builder = Database::builder(path)
            .cache_size(INDEX_CACHE_BYTES)
            .worker_threads(1);
        let database = builder.open()?;
        let keyspace = database.keyspace("needles", KeyspaceCreateOptions::default)?;
        Ok(Self { database, keyspace })
    }
}

impl Index for FjallIndex {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        let value = self.keyspace.get(key).map_err(IndexError::Engine)?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), IndexError> {
        let from = if after < prefix {
            Bound::Included(prefix)
        } else {
            Bound::Excluded(after)
        };
        for guard in self.keyspace.range::<&[u8], _>((from, Bound::Unbounded)) {
            let (key, value) = guard.into_inner().map_err(IndexError::Engine)?;
            if !key.starts_with(prefix) || !visit(&key, &value) {
                break;
            }
        }
        Ok(())
    }

    fn apply(&self, changes: Vec<Change>) -> Result<(), IndexError> {
        // Of two changes of a key within a batch fjall does not keep the order.
        let last: BTreeMap<_, _> = changes.into_iter().map(|c| (c.key, c.value)).collect();
        let mut batch = self.database.batch();
        for (key, value) in last {
            match value {
                Some(value) => batch.insert(&self.keyspace, key, value),
                None => batch.remove(&self.keyspace, key),
            }
        }
        batch.commit().map_err(IndexError::Engine)
    }

    fn persist(&self) -> Result<(), IndexError> {
        self.database
            .persist(PersistMode::SyncAll)
            .map_err(IndexError::Engine)
    }

    fn clear(&self) -> Result<(), IndexError> {
        self.keyspace.clear().map_err(IndexError::Engine)
    }
}
