//! Reading an object.

use std::ops::Range;

use bytes::Bytes;

use crate::error::ReadError;
use crate::object::{ObjectInfo, ObjectMeta};

/// An object found.
#[derive(Debug)]
pub struct Object {}

impl Object {
    /// What the index knows of it.
    pub fn info(&self) -> &ObjectInfo {
        unimplemented!()
    }

    /// What its writer said about it.
    pub fn meta(&self) -> &ObjectMeta {
        unimplemented!()
    }

    /// Reads bytes `range` of the content, clipped to its size; `0..u64::MAX` reads all.
    pub fn read(&self, range: Range<u64>) -> ObjectReader {
        unimplemented!("{range:?}")
    }
}

/// A reader of an object or a range of it. Independent of the [`Object`] it came from.
#[derive(Debug)]
pub struct ObjectReader {}

impl ObjectReader {
    /// The next bytes, up to 256 KiB, or none at the end. Every byte given has passed its block's
    /// checksum. Blocks for disk reads.
    pub fn next_block(&mut self) -> Result<Option<Bytes>, ReadError> {
        unimplemented!()
    }
}
