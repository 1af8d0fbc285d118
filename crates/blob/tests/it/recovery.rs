//! What is on disk is what was acknowledged, whatever happened to the rest.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use fractus_blob::{BucketSettings, OpenError, Precondition, Store};

use crate::{bucket, config, fresh, get, key, list, open, pattern, put};

fn contents(store: &Store) -> BTreeMap<String, Vec<u8>> {
    let names = list(store, "", "", 10_000).0.into_iter();
    names
        .map(|name| {
            (
                name.clone(),
                get(store, &name).expect("readable").expect("listed"),
            )
        })
        .collect()
}

fn volumes(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join("volumes")).expect("a directory");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    paths
}

/// Enough for several volumes.
fn fill(store: &Store) {
    for number in 0..300 {
        put(
            store,
            &format!("key {:03}", number % 200),
            &pattern(number * 73),
        )
        .expect("put");
    }
    for number in 0..50 {
        let key = key(&format!("key {number:03}"));
        store
            .delete(&bucket(), &key, Precondition::None)
            .wait()
            .expect("deleted");
    }
}

#[test]
fn a_closed_store_opens_as_it_was() {
    let (dir, store) = fresh();
    fill(&store);
    store
        .set_bucket(&bucket(), BucketSettings { public: true })
        .wait()
        .expect("set");
    let (before, buckets) = (contents(&store), store.buckets());
    assert_eq!(before.len(), 150);
    drop(store);
    assert!(volumes(dir.path()).len() > 3, "there are several volumes");
    for _ in 0..3 {
        let store = open(&dir);
        assert_eq!(contents(&store), before);
        assert_eq!(store.buckets(), buckets);
        assert_eq!(store.health().damaged, []);
        let report = store.verify(|_| {}).expect("readable");
        assert_eq!(
            (report.damaged_count, report.volumes),
            (0, store.health().volumes)
        );
    }
}

#[test]
fn a_lost_or_ruined_index_is_rebuilt() {
    let (dir, store) = fresh();
    fill(&store);
    let (before, buckets) = (contents(&store), store.buckets());
    drop(store);
    let index = dir.path().join("index");
    fs::remove_dir_all(&index).expect("there is an index");
    let store = open(&dir);
    assert_eq!(
        (contents(&store), store.buckets()),
        (before.clone(), buckets)
    );
    let next = put(&store, "next", b"next").expect("put");
    assert!(next.version > 350, "sequence numbers go on");
    drop(store);
    fs::remove_dir_all(&index).expect("there is an index");
    fs::create_dir(&index).expect("a directory");
    fs::write(index.join("version"), b"not an index").expect("a file");
    let store = open(&dir);
    assert_eq!(contents(&store).len(), before.len() + 1);
}

#[test]
fn an_older_index_is_brought_up_to_the_log() {
    let (dir, store) = fresh();
    put(&store, "a", b"old").expect("put");
    drop(store);
    let (index, copy) = (dir.path().join("index"), dir.path().join("copy"));
    copy_all(&index, &copy);
    let store = open(&dir);
    fill(&store);
    put(&store, "a", b"new").expect("put");
    let before = contents(&store);
    drop(store);
    fs::remove_dir_all(&index).expect("there is an index");
    fs::rename(&copy, &index).expect("renamed");
    assert_eq!(contents(&open(&dir)), before);
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

#[test]
fn flipped_bits_are_never_served() {
    let (dir, store) = fresh();
    let content = pattern(300_000);
    put(&store, "object", &content).expect("put");
    put(&store, "witness", b"witness").expect("put");
    let mut options = OpenOptions::new();
    let file = options
        .read(true)
        .write(true)
        .open(&volumes(dir.path())[0])
        .expect("a volume");
    for at in (4096..4096 + 300_000).step_by(9973) {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).expect("read");
        file.write_all_at(&[byte[0] ^ 0x10], at).expect("written");
        // The bucket's needle comes first: damage there does not touch the object.
        let read = get(&store, "object");
        let first = at < 4096 + 128;
        assert!(
            if first { read.is_ok() } else { read.is_err() },
            "byte {at}: {:?}",
            read.is_ok()
        );
        let report = store.verify(|_| {}).expect("readable");
        assert_eq!(report.damaged_count, 1, "byte {at}: {report:?}");
        file.write_all_at(&byte, at).expect("written");
    }
    assert_eq!(get(&store, "object").expect("whole again"), Some(content));
}

#[test]
fn a_store_is_open_once() {
    let (dir, store) = fresh();
    let second = Store::open(dir.path(), config());
    assert!(
        matches!(second, Err(OpenError::Locked { .. })),
        "{second:?}"
    );
    drop(store);
    open(&dir);
}

#[test]
fn a_foreign_volume_is_refused() {
    let (dir, store) = fresh();
    drop(store);
    let (other, store) = fresh();
    drop(store);
    fs::copy(
        &volumes(other.path())[0],
        dir.path().join("volumes/00000002.vol"),
    )
    .expect("copied");
    let refused = Store::open(dir.path(), config());
    assert!(
        matches!(refused, Err(OpenError::Superblock { volume: 2, .. })),
        "{refused:?}"
    );
}
