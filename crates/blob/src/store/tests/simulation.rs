//! Random operations, crashes and faults from a seed, with the invariants checked after each
//! restart: what was acknowledged is there and equal, what was not is whole or absent, nothing is
//! called damaged, and opening twice changes nothing.

use std::collections::BTreeMap;

use super::{bucket, contents, key, open, put};
use crate::disk::sim::{Fault, Random, SimDisk};
use crate::{BucketSettings, Precondition, Store, WriteError};

const SEEDS: u64 = 200;
const STEPS: u64 = 60;

/// What the store must hold: for every key the states it may be in. One, if acknowledged.
#[derive(Debug, Default)]
struct Model {
    keys: BTreeMap<String, Vec<Option<Vec<u8>>>>,
    bucket: bool,
}

impl Model {
    fn know(&mut self, name: String, content: Option<Vec<u8>>) {
        self.keys.insert(name, vec![content]);
    }

    /// A write that failed so that it may or may not have happened.
    fn doubt(&mut self, name: String, content: Option<Vec<u8>>) {
        self.keys
            .entry(name)
            .or_insert_with(|| vec![None])
            .push(content);
    }

    fn check(&mut self, store: &Store, seed: u64) {
        let found = contents(store);
        for name in found.keys() {
            assert!(
                self.keys.contains_key(name),
                "seed {seed}: {name} was never written"
            );
        }
        for (name, states) in &mut self.keys {
            let state = found.get(name).cloned();
            assert!(
                states.contains(&state),
                "seed {seed}: {name} is none of what was written"
            );
            *states = vec![state];
        }
        assert_eq!(
            store.health().damaged,
            [],
            "seed {seed}: a crash is no damage"
        );
        let report = store.verify(|_| {}).expect("readable");
        assert_eq!(report.damaged_count, 0, "seed {seed}: {report:?}");
    }
}

fn content(random: &mut Random) -> Vec<u8> {
    let scale = [10, 1_000, 30_000, 90_000][usize::try_from(random.below(4)).expect("small")];
    let len = usize::try_from(random.below(scale)).expect("small");
    let byte = random.next().to_le_bytes()[0];
    vec![byte; len]
}

fn step(store: &Store, model: &mut Model, random: &mut Random) {
    let name = format!("key {}", random.below(12));
    let (content, result) = if random.below(4) == 0 {
        let ack = store.delete(&bucket(), &key(&name), Precondition::None);
        (None, ack.wait())
    } else {
        let content = content(random);
        let result = put(store, &name, &content);
        (Some(content), result)
    };
    match result {
        Ok(_) => model.know(name, content),
        Err(WriteError::Failed(_)) => model.doubt(name, content),
        Err(WriteError::NoSpace | WriteError::Stopped | WriteError::NoSuchBucket { .. }) => {}
        Err(error) => panic!("unexpected: {error:?}"),
    }
}

/// Writes of several threads at once, unacknowledged when the power fails.
fn leave_hanging(store: &Store, model: &mut Model, random: &mut Random) {
    let acks: Vec<_> = (0..random.below(5))
        .map(|_| {
            let (name, content) = (format!("key {}", random.below(12)), content(random));
            let mut writer = store.writer(&bucket(), &key(&name), crate::ObjectMeta::default());
            writer.write(&content).expect("small objects do not wait");
            model.doubt(name, Some(content));
            writer.finish()
        })
        .collect();
    // They race with the crash: none, some or all are written by then.
    drop(acks);
}

fn run(seed: u64) {
    let mut random = Random(seed);
    let disk = SimDisk::new(seed ^ 0x5eed);
    let mut model = Model::default();
    let mut store = open(&disk);
    for _ in 0..STEPS {
        if !model.bucket {
            let created = store
                .create_bucket(&bucket(), BucketSettings::default())
                .wait();
            model.bucket = matches!(created, Ok(_) | Err(WriteError::BucketExists { .. }));
        }
        match random.below(20) {
            0 => disk.fail(1 + random.below(8), Fault::Error),
            1 => disk.fail(1 + random.below(8), Fault::Full),
            2 => {
                leave_hanging(&store, &mut model, &mut random);
                let crashed = disk.fork();
                drop(store);
                crashed.crash();
                disk.become_copy(&crashed);
                store = open(&disk);
                model.check(&store, seed);
            }
            3 => {
                disk.heal();
                drop(store);
                store = open(&disk);
                model.check(&store, seed);
            }
            _ => step(&store, &mut model, &mut random),
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_half_is_seen() {
    for seed in 0..SEEDS {
        run(seed);
    }
}
