//! The index: bounded, faithful, and better than FIFO.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};

use fractus_cache::{CacheKey, Index, PrecomputedHash, Scheme};

/// xorshift64: the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

type Numbers<S = BuildHasherDefault<PrecomputedHash>> = Index<u64, u64, S>;

fn numbers(capacity: u64) -> Numbers {
    Index::new(capacity, BuildHasherDefault::default())
}

/// Random operations against a map that evicts what the index says it evicted.
fn check_against_model<S: BuildHasher>(mut index: Numbers<S>, seed: u64, keys: u64) {
    let mut random = Random(seed);
    let mut model: HashMap<u64, (u64, u64)> = HashMap::new();
    for step in 0..20_000 {
        let key = random.below(keys);
        match random.below(10) {
            0 => assert_eq!(
                index.remove(&key),
                model.remove(&key).map(|(value, _)| value)
            ),
            1..=5 => assert_eq!(index.get(&key), model.get(&key).map(|(value, _)| value)),
            6 => assert_eq!(index.peek(&key), model.get(&key).map(|(value, _)| value)),
            _ => {
                let weight = random.below(index.capacity() / 4 + 2);
                let before = model.insert(key, (step, weight.max(1)));
                for (gone, value) in index.insert(key, step, weight) {
                    if before.is_some_and(|(old, _)| gone == key && old == value) {
                        continue;
                    }
                    let (expect, _) = model.remove(&gone).expect("only what was in leaves");
                    assert_eq!(value, expect);
                }
                let fits = weight <= index.capacity();
                assert_eq!(
                    index.peek(&key),
                    fits.then_some(&step),
                    "what was put in is in"
                );
            }
        }
        assert!(
            index.weight() <= index.capacity(),
            "seed {seed}, step {step}"
        );
        assert_eq!(index.len(), model.len(), "seed {seed}, step {step}");
        assert_eq!(
            index.weight(),
            model.values().map(|(_, weight)| weight).sum::<u64>()
        );
    }
}

#[test]
fn it_does_what_a_map_does_and_never_exceeds_its_capacity() {
    for seed in 1..=8 {
        for (capacity, keys) in [(1, 4), (10, 8), (1000, 64), (100_000, 1000)] {
            check_against_model(numbers(capacity), seed, keys);
        }
    }
}

/// Every key collides.
#[derive(Clone, Copy, Debug, Default)]
struct Constant;

impl Hasher for Constant {
    fn finish(&self) -> u64 {
        42
    }

    fn write(&mut self, _bytes: &[u8]) {}
}

#[test]
fn keys_of_one_hash_are_told_apart() {
    for seed in 1..=4 {
        let index = Index::new(1000, BuildHasherDefault::<Constant>::default());
        check_against_model(index, seed, 32);
    }
}

#[test]
fn too_heavy_an_entry_comes_back_and_takes_its_predecessor_along() {
    let mut index = numbers(10);
    assert!(index.insert(1, 100, 5).is_empty());
    assert_eq!(index.insert(1, 200, 11), [(1, 100), (1, 200)]);
    assert!(index.is_empty());
    assert_eq!(index.insert(2, 300, 0), []);
    assert_eq!(index.weight(), 1, "nothing weighs nothing");
}

#[test]
fn an_entry_as_heavy_as_the_capacity_fits() {
    let mut index = numbers(10);
    for key in 0..10 {
        assert!(index.insert(key, key, 1).is_empty());
    }
    assert_eq!(index.insert(99, 99, 10).len(), 10);
    assert_eq!((index.len(), index.weight()), (1, 10));
}

#[test]
fn what_is_hit_twice_survives_a_scan() {
    let mut index = numbers(100);
    for key in 0..50 {
        assert!(index.insert(key, key, 1).is_empty());
        assert!(index.get(&key).is_some() && index.get(&key).is_some());
    }
    for key in 1000..2000 {
        drop(index.insert(key, key, 1));
    }
    let survivors = (0..50).filter(|key| index.peek(key).is_some()).count();
    assert_eq!(survivors, 50);
}

#[test]
fn a_ghost_enters_main() {
    let mut index = numbers(100);
    drop(index.insert(7, 7, 1));
    for key in 1000..1110 {
        drop(index.insert(key, key, 1));
    }
    assert_eq!(index.peek(&7), None, "asked for once, gone");
    drop(index.insert(7, 7, 1));
    for key in 2000..2110 {
        drop(index.insert(key, key, 1));
    }
    assert_eq!(index.peek(&7), Some(&7), "asked for again, kept");
}

#[test]
fn it_beats_fifo_where_popularity_is_skewed() {
    // Half of the requests to a twentieth of the keys.
    let mut random = Random(1);
    let mut index = numbers(500);
    let mut fifo = std::collections::VecDeque::new();
    let mut hits = (0, 0);
    for _ in 0..100_000 {
        let popular = random.below(2) == 0;
        let key = if popular {
            random.below(500)
        } else {
            500 + random.below(10_000)
        };
        hits.0 += u32::from(index.get(&key).is_some());
        if index.peek(&key).is_none() {
            drop(index.insert(key, key, 1));
        }
        if fifo.contains(&key) {
            hits.1 += 1;
        } else {
            fifo.push_back(key);
            if fifo.len() > 500 {
                fifo.pop_front();
            }
        }
    }
    let (ours, theirs) = hits;
    assert!(ours > theirs * 5 / 4, "{ours} hits against FIFO's {theirs}");
}

#[test]
fn it_is_shared_between_threads_and_holds_cache_keys() {
    fn shared<T: Send + Sync>(_: &T) {}
    let mut index: Index<CacheKey, u32> = Index::new(1000, BuildHasherDefault::default());
    shared(&index);
    let key = CacheKey::new(Scheme::Http, "a", "/", &RandomState::new()).expect("a key");
    drop(index.insert(key.clone(), 1, 10));
    assert_eq!(index.get(&key), Some(&1));
    assert_eq!(format!("{:?}", index.capacity()), "1000");
}

#[test]
fn overhead_of_an_entry_is_as_documented() {
    let overhead = Index::<CacheKey, std::sync::Arc<()>>::ENTRY_OVERHEAD;
    assert_eq!(overhead, 238);
}
