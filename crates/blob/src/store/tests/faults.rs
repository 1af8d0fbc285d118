//! One fault at a time.

use super::{SMALL, contents, fresh, get, open, put, try_open};
use std::sync::Arc;

use crate::disk::sim::Fault;
use crate::index::MemoryIndex;
use crate::limits::RESERVE_BYTES;
use crate::{BucketName, BucketSettings, Damage, Precondition, ReadError, WriteError};

const VOLUME: &str = "00000001.vol";

#[test]
fn a_torn_tail_is_discarded_at_every_byte() {
    let (disk, store) = fresh(1);
    put(&store, "first", b"whole").expect("put");
    let before = store.health().bytes;
    put(&store, "last", &[7; 300]).expect("put");
    let after = store.health().bytes;
    // A crash, not a close: nothing says that the last needle was synced.
    let crashed = disk.fork();
    drop(store);
    for cut in before..after {
        for torn_by in [0, 0xa5] {
            let disk = crashed.fork();
            let cut = usize::try_from(cut).expect("small");
            disk.edit(VOLUME, |bytes| bytes[cut..].fill(torn_by));
            let store = open(&disk);
            assert_eq!(
                get(&store, "first").expect("readable"),
                Some(b"whole".to_vec())
            );
            assert_eq!(get(&store, "last").expect("readable"), None, "cut at {cut}");
            assert_eq!(store.health().damaged, [], "a torn tail is no damage");
            put(&store, "next", b"goes on").expect("put");
            drop(store);
            assert_eq!(contents(&open(&disk)).len(), 2);
        }
    }
    assert_eq!(
        contents(&open(&crashed)).len(),
        2,
        "the whole tail is believed"
    );
}

#[test]
fn every_flipped_bit_is_found() {
    let (disk, store) = fresh(2);
    put(&store, "a", &[1; 100]).expect("put");
    let from = store.health().bytes;
    put(&store, "victim", &[2; 500]).expect("put");
    let to = store.health().bytes;
    put(&store, "z", &[3; 100]).expect("put");
    for at in from..to {
        let at = usize::try_from(at).expect("small");
        let flip = |bytes: &mut Vec<u8>| bytes[at] ^= 1 << (at % 8);
        disk.edit(VOLUME, flip);
        let read = get(&store, "victim");
        assert!(
            !matches!(&read, Ok(Some(content)) if *content != [2; 500]),
            "byte {at}"
        );
        let report = store.verify(|_| {}).expect("readable");
        assert_eq!(report.damaged_count, 1, "byte {at}: {report:?}");
        // What follows proves that the place had been synced.
        let reopened = open(&disk.fork());
        let damaged =
            reopened.health().damaged.len() + usize::from(get(&reopened, "victim").is_err());
        let report = reopened.verify(|_| {}).expect("readable");
        assert!(
            damaged == 1 || report.damaged_count == 1,
            "byte {at} is not reported"
        );
        assert_eq!(
            get(&reopened, "z").expect("readable"),
            Some(vec![3; 100]),
            "byte {at}"
        );
        disk.edit(VOLUME, flip);
    }
    assert_eq!(store.verify(|_| {}).expect("readable").damaged_count, 0);
}

#[test]
fn damage_at_the_end_is_told_from_a_torn_tail_after_a_clean_close() {
    let (disk, store) = fresh(3);
    put(&store, "kept", b"kept").expect("put");
    let at = usize::try_from(store.health().bytes).expect("small");
    put(&store, "lost", &[9; 50]).expect("put");
    drop(store);
    disk.edit(VOLUME, |bytes| bytes[at] ^= 1);
    let store = open(&disk);
    assert_eq!(
        store.health().damaged.len(),
        1,
        "the closing mark proves it had been synced"
    );
    put(&store, "more", b"more").expect("put");
    drop(store);
    let names: Vec<_> = contents(&open(&disk)).into_keys().collect();
    assert_eq!(names, ["kept", "more"]);
}

#[test]
fn misdirected_and_foreign_needles_are_refused() {
    let (disk, store) = fresh(4);
    let from = usize::try_from(store.health().bytes).expect("small");
    put(&store, "same", &[1; 64]).expect("put");
    let to = usize::try_from(store.health().bytes).expect("small");
    put(&store, "also", &[1; 64]).expect("put");
    // The first needle where the second belongs, as a misdirected write leaves it.
    disk.edit(VOLUME, |bytes| bytes.copy_within(from..to, to));
    let found = get(&store, "also");
    assert!(
        matches!(
            found,
            Err(ReadError::Damaged {
                reason: Damage::Head,
                ..
            })
        ),
        "{found:?}"
    );
}

#[test]
fn a_failed_sync_stops_the_writer_for_good() {
    let (disk, store) = fresh(5);
    put(&store, "durable", b"durable").expect("put");
    // Every step of a batch: allocation (already there), write, sync.
    disk.fail(2, Fault::Error);
    let failed = put(&store, "doubtful", b"doubtful");
    assert!(matches!(failed, Err(WriteError::Failed(_))), "{failed:?}");
    assert!(matches!(
        put(&store, "later", b"later"),
        Err(WriteError::Stopped)
    ));
    assert!(store.health().stopped.is_some());
    assert_eq!(
        get(&store, "durable").expect("readable"),
        Some(b"durable".to_vec())
    );
    assert_eq!(get(&store, "doubtful").expect("readable"), None);
    drop(store);
    let store = open(&disk);
    put(&store, "later", b"later").expect("a store opened anew writes");
    assert!(store.health().stopped.is_none());
}

#[test]
fn a_full_disk_is_an_answer_and_passes() {
    let (disk, store) = fresh(6);
    put(&store, "kept", b"kept").expect("put");
    for step in 1..=2 {
        disk.fail(step, Fault::Full);
        let full = put(&store, "big", &vec![1; 70_000]);
        assert!(
            matches!(full, Err(WriteError::NoSpace)),
            "step {step}: {full:?}"
        );
        disk.heal();
    }
    disk.set_capacity(RESERVE_BYTES);
    assert!(matches!(
        put(&store, "small", b"small"),
        Err(WriteError::NoSpace)
    ));
    let delete = store.delete(&super::bucket(), &super::key("kept"), Precondition::None);
    delete
        .wait()
        .expect("what adds nothing may use what is reserved");
    disk.set_capacity(u64::MAX);
    put(&store, "big", &vec![1; 70_000]).expect("there is space again");
    assert!(store.health().stopped.is_none());
    drop(store);
    let store = open(&disk);
    assert_eq!(
        contents(&store).into_iter().collect::<Vec<_>>(),
        [("big".into(), vec![1; 70_000])]
    );
    assert_eq!(store.health().damaged, []);
}

#[test]
fn the_size_limit_is_a_full_disk() {
    let (disk, store) = fresh(7);
    let limit = store.health().bytes + 10_000;
    drop(store);
    let config = crate::Config {
        max_bytes: Some(limit),
        ..SMALL
    };
    let store = try_open(&disk, Arc::new(MemoryIndex::default()), config).expect("opens");
    put(&store, "fits", &[0; 9_000]).expect("put");
    assert!(matches!(
        put(&store, "fits not", &[0; 9_000]),
        Err(WriteError::NoSpace)
    ));
    put(&store, "small", &[0; 10]).expect("a small one still fits");
    assert!(store.health().bytes <= limit);
}

#[test]
fn a_volume_half_created_is_created_again() {
    let (disk, store) = fresh(8);
    put(&store, "a", &vec![1; 60_000]).expect("put");
    put(&store, "b", &vec![2; 60_000]).expect("put into the second volume");
    drop(store);
    disk.edit("00000003.vol", |bytes| {
        *bytes = b"FRACTVOL and no more".to_vec();
    });
    let store = open(&disk);
    assert_eq!(contents(&store).len(), 2);
    put(&store, "c", &vec![3; 60_000]).expect("put into the third volume");
    drop(store);
    assert_eq!(contents(&open(&disk)).len(), 3);
}

#[test]
fn a_lost_volume_is_reported_and_the_rest_is_served() {
    let (disk, store) = fresh(9);
    for name in ["a", "b", "c"] {
        put(&store, name, &vec![1; 60_000]).expect("put");
    }
    drop(store);
    disk.edit("00000002.vol", |bytes| bytes.truncate(10));
    let refused = try_open(&disk, Arc::new(MemoryIndex::default()), SMALL);
    assert!(
        matches!(refused, Err(crate::OpenError::Superblock { volume: 2, .. })),
        "{refused:?}"
    );
}

#[test]
fn an_index_ahead_of_the_log_is_a_witness() {
    let (disk, store) = fresh(10);
    let index = Arc::new(MemoryIndex::default());
    drop(store);
    let store = try_open(&disk, Arc::<MemoryIndex>::clone(&index), SMALL).expect("opens");
    let at = store.health().bytes;
    put(&store, "lost", &[1; 100]).expect("put");
    let crashed = disk.fork();
    drop(store);
    crashed.edit(VOLUME, |bytes| {
        bytes.truncate(usize::try_from(at).expect("small") + 20);
    });
    let store = try_open(&crashed, index, SMALL).expect("opens");
    assert_eq!(
        store.health().damaged.len(),
        1,
        "the index says that the log was longer"
    );
    assert_eq!(get(&store, "lost").expect("readable"), None);
}

#[test]
fn buckets_come_and_go() {
    let (disk, store) = fresh(11);
    let other = BucketName::new("other").expect("a bucket name");
    let public = BucketSettings { public: true };
    store.create_bucket(&other, public).wait().expect("created");
    let twice = store.create_bucket(&other, public).wait();
    assert!(matches!(twice, Err(WriteError::BucketExists { .. })));
    put(&store, "a", b"a").expect("put");
    let full = store.delete_bucket(&super::bucket()).wait();
    assert!(matches!(full, Err(WriteError::BucketNotEmpty { .. })));
    store
        .set_bucket(&super::bucket(), public)
        .wait()
        .expect("set");
    store.delete_bucket(&other).wait().expect("deleted");
    drop(store);
    let store = open(&disk);
    assert_eq!(store.buckets().len(), 1);
    assert!(
        store
            .bucket(&super::bucket())
            .expect("there")
            .settings
            .public
    );
    assert!(matches!(
        store.get(&other, &super::key("a")),
        Err(ReadError::NoSuchBucket { .. })
    ));
}
