//! An index that is lost with the process, for simulations.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::RwLock;

use crate::index::{Change, Index, IndexError};

/// A map in memory.
#[derive(Debug, Default)]
pub(crate) struct MemoryIndex(RwLock<BTreeMap<Vec<u8>, Vec<u8>>>);

impl Index for MemoryIndex {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError> {
        Ok(self
            .0
            .read()
            .expect("no panic under the lock")
            .get(key)
            .cloned())
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
        let map = self.0.read().expect("no panic under the lock");
        for (key, value) in map.range::<[u8], _>((from, Bound::Unbounded)) {
            if !key.starts_with(prefix) || !visit(key, value) {
                break;
            }
        }
        Ok(())
    }

    fn apply(&self, changes: Vec<Change>) -> Result<(), IndexError> {
        let mut map = self.0.write().expect("no panic under the lock");
        for Change { key, value } in changes {
            match value {
                Some(value) => map.insert(key, value),
                None => map.remove(&key),
            };
        }
        Ok(())
    }

    fn persist(&self) -> Result<(), IndexError> {
        Ok(())
    }

    fn clear(&self) -> Result<(), IndexError> {
        self.0.write().expect("no panic under the lock").clear();
        Ok(())
    }
}
