//! The store's front.

use std::path::Path;

use crate::ack::Ack;
use crate::config::Config;
use crate::error::{OpenError, ReadError};
use crate::name::{BucketName, ObjectKey};
use crate::object::{
    BucketInfo, BucketSettings, ListQuery, Listing, ObjectInfo, ObjectMeta, Precondition,
};
use crate::read::Object;
use crate::write::ObjectWriter;

/// A store. Clones are cheap and share everything; the last one to go closes it, which waits for
/// the committer to finish what it was given.
#[derive(Debug, Clone)]
pub struct Store {}

/// How a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Why the store takes no more writes, with causes, if it does not.
    pub stopped: Option<String>,
    /// Damaged places that opening found in volumes.
    pub damaged: u64,
    /// Volumes, the open one included.
    pub volumes: u32,
    /// Bytes of all volumes, garbage included.
    pub bytes: u64,
}

impl Store {
    /// Opens the store in `dir`, or makes one. What a crash left unfinished is discarded, what it
    /// left complete is kept, and a lost index is rebuilt by reading all volumes.
    pub fn open(dir: &Path, config: Config) -> Result<Self, OpenError> {
        unimplemented!("{dir:?} {config:?}")
    }

    /// Creates a bucket.
    pub fn create_bucket(&self, bucket: &BucketName, settings: BucketSettings) -> Ack {
        unimplemented!("{bucket} {settings:?}")
    }

    /// Changes a bucket's settings.
    pub fn set_bucket(&self, bucket: &BucketName, settings: BucketSettings) -> Ack {
        unimplemented!("{bucket} {settings:?}")
    }

    /// Deletes an empty bucket.
    pub fn delete_bucket(&self, bucket: &BucketName) -> Ack {
        unimplemented!("{bucket}")
    }

    /// A bucket, if there is such.
    pub fn bucket(&self, bucket: &BucketName) -> Option<BucketInfo> {
        unimplemented!("{bucket}")
    }

    /// All buckets, ascending by name.
    pub fn buckets(&self) -> Vec<BucketInfo> {
        unimplemented!()
    }

    /// Begins an object. Nothing of it is visible until [`ObjectWriter::finish`] is acknowledged;
    /// dropping the writer before abandons it.
    pub fn writer(&self, bucket: &BucketName, key: &ObjectKey, meta: ObjectMeta) -> ObjectWriter {
        unimplemented!("{bucket} {key} {meta:?}")
    }

    /// Deletes an object. Deleting what is not there succeeds, unless `precondition` asks for it.
    pub fn delete(&self, bucket: &BucketName, key: &ObjectKey, precondition: Precondition) -> Ack {
        unimplemented!("{bucket} {key} {precondition:?}")
    }

    /// An object to read, if there is such. Later writes do not change what it reads.
    pub fn get(&self, bucket: &BucketName, key: &ObjectKey) -> Result<Option<Object>, ReadError> {
        unimplemented!("{bucket} {key}")
    }

    /// What is known of an object, without its content.
    pub fn head(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
    ) -> Result<Option<(ObjectInfo, ObjectMeta)>, ReadError> {
        unimplemented!("{bucket} {key}")
    }

    /// A page of a bucket's keys.
    pub fn list(&self, bucket: &BucketName, query: ListQuery<'_>) -> Result<Listing, ReadError> {
        unimplemented!("{bucket} {query:?}")
    }

    /// How the store is. Cheap.
    pub fn health(&self) -> Health {
        unimplemented!()
    }
}
