//! The store on the real disk, through its public API.

mod crash;
mod objects;
mod recovery;
mod writers;

use fractus_blob::{
    BucketName, BucketSettings, Committed, Config, ListQuery, ObjectKey, ObjectMeta, ReadError,
    Store, WriteError,
};
use tempfile::TempDir;

fn bucket() -> BucketName {
    BucketName::new("bucket").expect("a bucket name")
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new(name).expect("an object key")
}

/// Small volumes, so that there are several.
fn config() -> Config {
    Config {
        volume_bytes: 1 << 20,
        max_bytes: None,
    }
}

fn open(dir: &TempDir) -> Store {
    Store::open(dir.path(), config()).expect("the store opens")
}

/// A new store with a bucket.
fn fresh() -> (TempDir, Store) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(&dir);
    store
        .create_bucket(&bucket(), BucketSettings::default())
        .wait()
        .expect("a bucket");
    (dir, store)
}

fn put(store: &Store, name: &str, content: &[u8]) -> Result<Committed, WriteError> {
    let mut writer = store.writer(&bucket(), &key(name), ObjectMeta::default());
    writer.write(content)?;
    writer.finish().wait()
}

fn get(store: &Store, name: &str) -> Result<Option<Vec<u8>>, ReadError> {
    get_range(store, name, 0..u64::MAX)
}

fn get_range(
    store: &Store,
    name: &str,
    range: std::ops::Range<u64>,
) -> Result<Option<Vec<u8>>, ReadError> {
    let Some(object) = store.get(&bucket(), &key(name))? else {
        return Ok(None);
    };
    let mut reader = object.read(range);
    let mut content = Vec::new();
    while let Some(block) = reader.next_block()? {
        content.extend_from_slice(&block);
    }
    Ok(Some(content))
}

fn list(store: &Store, prefix: &str, start_after: &str, limit: usize) -> (Vec<String>, bool) {
    let query = ListQuery {
        prefix,
        start_after,
        limit,
    };
    let listing = store.list(&bucket(), query).expect("the bucket exists");
    let names = listing
        .objects
        .iter()
        .map(|object| object.key.as_str().to_owned());
    (names.collect(), listing.truncated)
}

/// Bytes that differ from place to place.
fn pattern(len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| (at / 251 + at % 251).to_le_bytes()[0])
        .collect()
}

/// Every file of tests is part of them.
#[test]
fn no_file_is_forgotten() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let main = std::fs::read_to_string(root.join("main.rs")).expect("this file");
    for entry in std::fs::read_dir(root).expect("this directory") {
        let name = entry
            .expect("an entry")
            .file_name()
            .into_string()
            .expect("a plain name");
        let module = name.trim_end_matches(".rs");
        assert!(
            module == "main" || main.contains(&format!("mod {module};")),
            "{name}"
        );
    }
}
