//! The engine on a simulated disk, where anything can be made to happen.

mod faults;
mod simulation;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::disk::sim::SimDisk;
use crate::index::{Index, MemoryIndex};
use crate::{
    BucketName, BucketSettings, Committed, Config, ListQuery, ObjectKey, ObjectMeta, OpenError,
    ReadError, Store, WriteError,
};

const STORE: [u8; 16] = *b"a simulated disk";
const SMALL: Config = Config {
    volume_bytes: 64 << 10,
    max_bytes: None,
};

fn bucket() -> BucketName {
    BucketName::new("bucket").expect("a bucket name")
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new(name).expect("an object key")
}

fn try_open(disk: &SimDisk, index: Arc<dyn Index>, config: Config) -> Result<Store, OpenError> {
    Store::start(Arc::new(disk.clone()), index, STORE, config, None)
}

/// Opens with an index that knows nothing, as after the loss of it.
fn open(disk: &SimDisk) -> Store {
    try_open(disk, Arc::new(MemoryIndex::default()), SMALL).expect("the store opens")
}

/// A new store with a bucket.
fn fresh(seed: u64) -> (SimDisk, Store) {
    let disk = SimDisk::new(seed);
    let store = open(&disk);
    store
        .create_bucket(&bucket(), BucketSettings::default())
        .wait()
        .expect("a bucket");
    (disk, store)
}

fn put(store: &Store, name: &str, content: &[u8]) -> Result<Committed, WriteError> {
    let mut writer = store.writer(&bucket(), &key(name), ObjectMeta::default());
    writer.write(content)?;
    writer.finish().wait()
}

fn get(store: &Store, name: &str) -> Result<Option<Vec<u8>>, ReadError> {
    let Some(object) = store.get(&bucket(), &key(name))? else {
        return Ok(None);
    };
    let mut reader = object.read(0..u64::MAX);
    let mut content = Vec::new();
    while let Some(block) = reader.next_block()? {
        content.extend_from_slice(&block);
    }
    Ok(Some(content))
}

/// All that a store holds, by listing and reading it.
fn contents(store: &Store) -> BTreeMap<String, Vec<u8>> {
    let query = ListQuery {
        prefix: "",
        start_after: "",
        limit: usize::MAX,
    };
    let listing = match store.list(&bucket(), query) {
        Ok(listing) => listing,
        Err(ReadError::NoSuchBucket { .. }) => return BTreeMap::new(),
        Err(error) => panic!("listing failed: {error:?}"),
    };
    let read = |name: &str| {
        get(store, name)
            .expect("readable")
            .expect("listed objects exist")
    };
    let names = listing.objects.iter().map(|object| object.key.as_str());
    names.map(|name| (name.to_owned(), read(name))).collect()
}

#[test]
fn a_closed_store_is_unlocked_though_a_child_has_a_copy_of_its_lock() {
    let dir = tempfile::tempdir().unwrap();
    let lock = super::lock(dir.path()).unwrap();
    let _copy = lock.0.try_clone().unwrap();
    assert!(super::lock(dir.path()).is_err());
    drop(lock);
    super::lock(dir.path()).unwrap();
}
