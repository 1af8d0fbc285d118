//! The index: an ordered map from bytes to bytes that follows the log.
//!
//! It is a projection. Losing it costs a scan of the volumes, and what it forgets of its last
//! changes is replayed from the log, so it syncs only now and then.

mod fjall;
#[cfg(test)]
mod memory;

use std::fmt::Debug;

use crate::format::{MARK_KEY, Mark};

pub(crate) use self::fjall::FjallIndex;
#[cfg(test)]
pub(crate) use self::memory::MemoryIndex;

/// Why the index failed.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The engine failed.
    #[error("the index engine failed")]
    Engine(#[source] ::fjall::Error),
    /// Its directory cannot be removed to be made anew.
    #[error("the damaged index cannot be removed")]
    Remove(#[source] std::io::Error),
    /// A value is none of ours.
    #[error("the index holds a value that makes no sense")]
    Value,
}

/// A change of one key: its new value, or none to remove it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Option<Vec<u8>>,
}

/// An index engine.
pub(crate) trait Index: Debug + Send + Sync {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, IndexError>;

    /// Calls `visit` with the keys greater than `after` that begin with `prefix`, ascending,
    /// until it says false.
    fn scan(
        &self,
        prefix: &[u8],
        after: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), IndexError>;

    /// Applies all changes or none, in order.
    fn apply(&self, changes: Vec<Change>) -> Result<(), IndexError>;

    /// Makes all that was applied durable.
    fn persist(&self) -> Result<(), IndexError>;

    /// Removes everything.
    fn clear(&self) -> Result<(), IndexError>;
}

/// How far the index has followed the log, if it can be trusted to have.
pub(crate) fn read_mark(index: &dyn Index) -> Result<Option<Mark>, IndexError> {
    Ok(index.get(MARK_KEY)?.as_deref().and_then(Mark::decode))
}

/// The change that moves the mark.
pub(crate) fn move_mark(mark: Mark) -> Change {
    Change {
        key: MARK_KEY.to_vec(),
        value: Some(mark.encode()),
    }
}
