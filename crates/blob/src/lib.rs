//! Objects in buckets, packed as checksummed needles into append-only volumes.
//!
//! **What it is.** A store on one directory. Every change, of objects and of buckets alike, is a
//! *needle* appended to a *volume* by one committer: all that waits becomes one batch, one write
//! and one `fdatasync`, and only then are the changes visible and acknowledged. The volumes are
//! the truth; the index beside them is a projection that can be deleted at any time. The bytes of
//! both are described in `docs/formats.md`.
//!
//! **What it is not.** It knows no HTTP, no S3, no users; it serves nobody. It is a library of
//! blocking calls: it has one thread of its own and uses no async runtime.
//!
//! **What blocks.** [`Store::get`], [`Store::head`], [`Store::list`], [`ObjectReader::next_block`]
//! and [`Store::verify`] read files: call them where blocking is allowed. Writes are handed to the
//! committer and never block but for [`ObjectWriter::write`] and [`ObjectWriter::finish`] on
//! objects above 1 MiB; both have async twins. An [`Ack`] can be awaited or waited for.
//!
//! **Where to start.** [`Store`]; from there [`ObjectWriter`] and [`Object`]. Inside: `format`
//! (bytes), `commit` (the write path), `recover` (opening), `disk` (the seam below).

pub mod limits;

mod ack;
mod commit;
mod config;
mod disk;
mod error;
mod format;
mod index;
mod name;
mod object;
mod queue;
mod read;
mod recover;
mod scan;
mod shared;
mod store;
mod verify;
mod volumes;
mod write;

pub use crate::ack::Ack;
pub use crate::config::Config;
pub use crate::error::{Damage, OpenError, ReadError, SuperblockError, WriteError, WriterFault};
pub use crate::index::IndexError;
pub use crate::name::{BucketName, BucketNameError, ObjectKey, ObjectKeyError};
pub use crate::object::{
    BucketInfo, BucketSettings, Committed, ETag, ETagError, ListQuery, Listing, MAX_OBJECT_BYTES,
    ObjectInfo, ObjectMeta, Precondition,
};
pub use crate::read::{Object, ObjectReader};
pub use crate::recover::DamagedPlace;
pub use crate::store::{Health, Store};
pub use crate::verify::VerifyReport;
pub use crate::write::ObjectWriter;
