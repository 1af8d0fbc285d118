//! The seam below the volumes: a directory of files, tiny and blocking.
//!
//! What the store assumes of a disk is what the trait's methods promise; one suite checks it on
//! the real disk and on the simulated one.

mod real;
#[cfg(test)]
pub(crate) mod sim;

use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::sync::Arc;

pub(crate) use self::real::RealDisk;

/// A flat directory of files.
pub(crate) trait Disk: Debug + Send + Sync {
    /// The files' names, in no order.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens a file for reading and writing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Creates a file, or empties it. The name is durable only after [`sync`](Self::sync).
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Makes the names of all files durable.
    fn sync(&self) -> io::Result<()>;

    /// Bytes that could still be written.
    fn free(&self) -> io::Result<u64>;
}

/// An open file.
pub(crate) trait DiskFile: Debug + Send + Sync {
    /// Reads up to the length of `buffer`, less only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `slices`, one after another, or fails having written any part.
    fn write_at(&self, slices: &mut [IoSlice<'_>], offset: u64) -> io::Result<()>;

    /// Gives the file room, of zeros, up to `end`. `StorageFull` if there is none.
    fn allocate(&self, from: u64, end: u64) -> io::Result<()>;

    /// Cuts the file to `len`.
    fn truncate(&self, len: u64) -> io::Result<()>;

    /// Makes content and length durable. After a failure nothing is known of what was written
    /// since the sync before.
    fn sync(&self) -> io::Result<()>;

    /// Bytes of the file.
    fn len(&self) -> io::Result<u64>;

    /// Drops what memory holds of synced content, so that reads see the medium.
    fn forget_cached(&self) -> io::Result<()>;
}

/// Whether the disk is merely full, which passes, other than a fault.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

#[cfg(test)]
mod tests;
