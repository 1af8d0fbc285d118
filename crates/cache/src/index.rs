//! A bounded, weighted index with S3-FIFO eviction (Yang et al., SOSP 2023).
//!
//! Three queues in order of insertion. New entries enter *small* (a tenth of the capacity); what is
//! hit twice there moves to *main*, the rest is evicted and leaves only its hash in *ghost*. What
//! is inserted while in ghost enters main at once. Main gives entries as many more rounds as they
//! were hit, three at most. So objects asked for once, most of a CDN's, pass through a tenth of the
//! memory, and a hit moves nothing: it raises one two-bit counter.
//!
//! Chosen by replay (`examples/replay.rs`), object miss ratios: on cloudPhysicsIO at 128 MiB, 256
//! MiB, 512 MiB and 1 GiB .791, .711, .634, .492 against .805, .762, .674, .565 for SIEVE and .820,
//! .785, .738, .634 for FIFO, the same as libCacheSim's; on a web trace the two are within 1.2
//! points.

mod ghost;
mod slab;

use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};

use crate::limits::{GHOSTS_PER_ENTRY, SMALL_QUEUE_PERCENT};

use ghost::Ghosts;
use slab::{Node, Queue, Slab};

/// A hasher for keys that carry their hash, like [`CacheKey`](crate::CacheKey): it passes on the
/// one `u64` written to it. Anything else written is a bug and asserts.
#[derive(Clone, Copy, Debug, Default)]
pub struct PrecomputedHash(u64);

impl Hasher for PrecomputedHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("PrecomputedHash is for keys that write one u64");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// The index of one shard: the caller puts a lock around it and chooses shards by hash. A shared
/// lock is enough for [`Index::get`].
///
/// The weights of all entries never exceed the capacity. Weights are the caller's: bytes of what an
/// entry holds, plus [`Index::ENTRY_OVERHEAD`] for what the index itself adds.
///
/// Every operation is O(1), insertion amortised: it may evict many light entries for one heavy.
#[derive(Debug)]
pub struct Index<K, V, S = BuildHasherDefault<PrecomputedHash>> {
    slab: Slab<K, V>,
    ghosts: Ghosts,
    capacity: u64,
    has_evicted: bool,
    hasher: S,
}

impl<K: Hash + Eq, V, S: BuildHasher> Index<K, V, S> {
    /// Bytes of memory an entry takes beyond what its key and value own on the heap: its slot (key
    /// and value inline), two map buckets, since half of a map's are empty after it grew, and its
    /// share of ghosts. 238 bytes for a `CacheKey` and an `Arc`.
    pub const ENTRY_OVERHEAD: usize =
        Slab::<K, V>::ENTRY_BYTES + GHOSTS_PER_ENTRY * Ghosts::ENTRY_BYTES;

    /// An empty index for entries of `capacity` bytes in all. The hasher must be seeded unless the
    /// keys' own hashes are.
    pub fn new(capacity: u64, hasher: S) -> Self {
        let (slab, ghosts) = (Slab::default(), Ghosts::default());
        Self {
            slab,
            ghosts,
            capacity,
            has_evicted: false,
            hasher,
        }
    }

    /// The value of a key, counting a hit.
    pub fn get(&self, key: &K) -> Option<&V> {
        let id = self.slab.find(self.hasher.hash_one(key), key)?;
        let node = self.slab.node(id);
        node.count_hit();
        Some(node.value())
    }

    /// The value of a key, counting nothing.
    pub fn peek(&self, key: &K) -> Option<&V> {
        let id = self.slab.find(self.hasher.hash_one(key), key)?;
        Some(self.slab.node(id).value())
    }

    /// Puts a value in. Returns what is no longer in, to be dropped outside the caller's lock: the
    /// value replaced, those evicted for it, or itself if it is heavier than the whole capacity. A
    /// replaced entry's successor keeps its hits. A weight of 0 counts as 1.
    #[must_use = "what left the index is best dropped outside the lock"]
    pub fn insert(&mut self, key: K, value: V, weight: u64) -> Vec<(K, V)> {
        let hash = self.hasher.hash_one(&key);
        let mut gone = Vec::new();
        let replaced = self.slab.find(hash, &key).map(|id| self.slab.remove(id));
        if weight > self.capacity {
            gone.extend(replaced.map(Node::into_entry));
            gone.push((key, value));
            return gone;
        }
        let node = Node::new(key, value, hash, weight.max(1));
        let id = if let Some(old) = replaced {
            node.inherit_hits(&old);
            let id = self.slab.insert(node, old.queue());
            gone.push(old.into_entry());
            id
        } else {
            let queue = self.queue_to_enter(hash);
            self.slab.insert(node, queue)
        };
        while self.slab.weight() > self.capacity {
            gone.extend(self.evict_sparing(id));
        }
        gone
    }

    /// Takes a value out, leaving no ghost.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let id = self.slab.find(self.hasher.hash_one(key), key)?;
        let (_, value) = self.slab.remove(id).into_entry();
        Some(value)
    }

    /// Entries.
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// Are there no entries?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all entries, at most the capacity.
    pub fn weight(&self) -> u64 {
        self.slab.weight()
    }

    /// Bytes all entries may weigh together.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Until the first eviction whatever small has no room for enters main: otherwise small would
    /// fill the whole capacity, and lose nine tenths of it as soon as that is reached.
    fn queue_to_enter(&mut self, hash: u64) -> Queue {
        let small_is_full = self.slab.queue_weight(Queue::Small) >= self.small_target();
        let fills_up = !self.has_evicted && small_is_full;
        if fills_up || self.ghosts.forget(hash) {
            Queue::Main
        } else {
            Queue::Small
        }
    }

    /// One step of eviction: the oldest entry of a queue leaves, moves to main or gets another
    /// round. `newest`, just inserted, always stays.
    fn evict_sparing(&mut self, newest: u32) -> Option<(K, V)> {
        self.has_evicted = true;
        let queue = self.queue_to_evict_from(newest);
        let oldest = self
            .slab
            .oldest(queue)
            .expect("the queue chosen holds an entry");
        let hits = self.slab.node(oldest).hits();
        if oldest == newest {
            self.slab.move_to(oldest, queue);
        } else if queue == Queue::Main && hits > 0 {
            self.slab.node(oldest).set_hits(hits - 1);
            self.slab.move_to(oldest, Queue::Main);
        } else if queue == Queue::Small && hits > 1 {
            self.slab.node(oldest).set_hits(0);
            self.slab.move_to(oldest, Queue::Main);
        } else {
            let node = self.slab.remove(oldest);
            if queue == Queue::Small {
                let budget = self.capacity - self.small_target();
                self.ghosts
                    .remember(node.hash(), node.weight(), budget, self.slab.len());
            }
            return Some(node.into_entry());
        }
        None
    }

    fn queue_to_evict_from(&self, newest: u32) -> Queue {
        let main_is_full =
            self.slab.queue_weight(Queue::Main) > self.capacity - self.small_target();
        let (first, second) = if main_is_full {
            (Queue::Main, Queue::Small)
        } else {
            (Queue::Small, Queue::Main)
        };
        if self.slab.has_other_than(first, newest) {
            first
        } else {
            second
        }
    }

    fn small_target(&self) -> u64 {
        // Divided first: a capacity of u64::MAX must not overflow.
        self.capacity / 100 * SMALL_QUEUE_PERCENT
    }
}
