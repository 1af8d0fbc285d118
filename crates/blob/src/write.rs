//! Writing an object.

use crate::ack::Ack;
use crate::error::WriteError;
use crate::object::Precondition;

/// An object being written. Holds at most two chunks of it in memory.
#[derive(Debug)]
pub struct ObjectWriter {}

impl ObjectWriter {
    /// Makes the write depend on `precondition`.
    #[must_use]
    pub fn precondition(self, precondition: Precondition) -> Self {
        unimplemented!("{precondition:?}")
    }

    /// Appends to the content. Blocks while the chunk before the last is not yet on disk, which
    /// objects up to 1 MiB never do.
    pub fn write(&mut self, data: &[u8]) -> Result<(), WriteError> {
        unimplemented!("{}", data.len())
    }

    /// As [`write`](Self::write), waiting without blocking.
    #[expect(clippy::unused_async, reason = "a first version of the signature")]
    pub async fn write_async(&mut self, data: &[u8]) -> Result<(), WriteError> {
        unimplemented!("{}", data.len())
    }

    /// Completes the object. Blocks as [`write`](Self::write) does, then leaves the rest to the
    /// acknowledgement.
    pub fn finish(self) -> Ack {
        unimplemented!()
    }

    /// As [`finish`](Self::finish), waiting without blocking.
    #[expect(clippy::unused_async, reason = "a first version of the signature")]
    pub async fn finish_async(self) -> Ack {
        unimplemented!()
    }
}
