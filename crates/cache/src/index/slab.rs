//! Entries in slots, found by hash, linked into queues by slot numbers.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::atomic::{AtomicU8, Ordering};

use super::PrecomputedHash;

/// No slot.
const NIL: u32 = u32::MAX;

/// Hits beyond this many are not counted: two bits' worth.
const MAX_HITS: u8 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queue {
    Small,
    Main,
}

#[derive(Debug)]
pub(super) struct Node<K, V> {
    key: K,
    value: V,
    hash: u64,
    weight: u64,
    newer: u32,
    older: u32,
    /// The next slot of the same hash.
    twin: u32,
    queue: Queue,
    /// Atomic so that hits need only a shared lock. Two hits at once may count as one: it is a
    /// hint.
    hits: AtomicU8,
}

impl<K, V> Node<K, V> {
    pub(super) fn new(key: K, value: V, hash: u64, weight: u64) -> Self {
        let (newer, older, twin) = (NIL, NIL, NIL);
        let (queue, hits) = (Queue::Small, AtomicU8::new(0));
        Self {
            key,
            value,
            hash,
            weight,
            newer,
            older,
            twin,
            queue,
            hits,
        }
    }

    pub(super) fn value(&self) -> &V {
        &self.value
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn weight(&self) -> u64 {
        self.weight
    }

    pub(super) fn queue(&self) -> Queue {
        self.queue
    }

    pub(super) fn hits(&self) -> u8 {
        self.hits.load(Ordering::Relaxed)
    }

    pub(super) fn set_hits(&self, hits: u8) {
        self.hits.store(hits, Ordering::Relaxed);
    }

    pub(super) fn inherit_hits(&self, old: &Self) {
        self.set_hits(old.hits());
    }

    /// Writes only while the counter still changes, so that a hot entry's cache line stays shared
    /// between cores.
    pub(super) fn count_hit(&self) {
        let hits = self.hits();
        if hits < MAX_HITS {
            self.set_hits(hits + 1);
        }
    }

    pub(super) fn into_entry(self) -> (K, V) {
        (self.key, self.value)
    }
}

#[derive(Debug)]
struct Ends {
    newest: u32,
    oldest: u32,
    weight: u64,
}

impl Default for Ends {
    fn default() -> Self {
        Self {
            newest: NIL,
            oldest: NIL,
            weight: 0,
        }
    }
}

#[derive(Debug)]
pub(super) struct Slab<K, V> {
    slots: Vec<Option<Node<K, V>>>,
    vacant: Vec<u32>,
    /// The first slot of each hash; others are its twins.
    by_hash: HashMap<u64, u32, BuildHasherDefault<PrecomputedHash>>,
    small: Ends,
    main: Ends,
}

impl<K, V> Default for Slab<K, V> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            vacant: Vec::new(),
            by_hash: HashMap::default(),
            small: Ends::default(),
            main: Ends::default(),
        }
    }
}

impl<K: Eq, V> Slab<K, V> {
    pub(super) fn find(&self, hash: u64, key: &K) -> Option<u32> {
        let mut id = *self.by_hash.get(&hash)?;
        while id != NIL {
            let node = self.node(id);
            if node.key == *key {
                return Some(id);
            }
            id = node.twin;
        }
        None
    }
}

impl<K, V> Slab<K, V> {
    /// A slot and twice a map bucket with its control byte.
    pub(super) const ENTRY_BYTES: usize =
        size_of::<Option<Node<K, V>>>() + 2 * (size_of::<(u64, u32)>() + 1);

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.vacant.len()
    }

    pub(super) fn weight(&self) -> u64 {
        self.small.weight + self.main.weight
    }

    pub(super) fn queue_weight(&self, queue: Queue) -> u64 {
        match queue {
            Queue::Small => self.small.weight,
            Queue::Main => self.main.weight,
        }
    }

    pub(super) fn node(&self, id: u32) -> &Node<K, V> {
        self.slots[id as usize]
            .as_ref()
            .expect("linked slots are occupied")
    }

    pub(super) fn oldest(&self, queue: Queue) -> Option<u32> {
        let ends = match queue {
            Queue::Small => &self.small,
            Queue::Main => &self.main,
        };
        (ends.oldest != NIL).then_some(ends.oldest)
    }

    /// Does the queue hold an entry that is not `id`?
    pub(super) fn has_other_than(&self, queue: Queue, id: u32) -> bool {
        self.oldest(queue)
            .is_some_and(|oldest| oldest != id || self.node(oldest).newer != NIL)
    }

    /// Adds a node as the newest of a queue.
    pub(super) fn insert(&mut self, mut node: Node<K, V>, queue: Queue) -> u32 {
        let id = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("an index holds fewer than 2^32 entries")
        });
        assert!(id != NIL, "an index holds fewer than 2^32 entries");
        node.twin = self.by_hash.insert(node.hash, id).unwrap_or(NIL);
        self.slots[id as usize] = Some(node);
        self.link(id, queue);
        id
    }

    pub(super) fn remove(&mut self, id: u32) -> Node<K, V> {
        self.unlink(id);
        let node = self.slots[id as usize]
            .take()
            .expect("linked slots are occupied");
        self.vacant.push(id);
        self.forget_twin(node.hash, id, node.twin);
        node
    }

    /// Makes an entry the newest of a queue.
    pub(super) fn move_to(&mut self, id: u32, queue: Queue) {
        self.unlink(id);
        self.link(id, queue);
    }

    fn forget_twin(&mut self, hash: u64, id: u32, next: u32) {
        let first = self.by_hash[&hash];
        if first != id {
            let mut before = first;
            while self.node(before).twin != id {
                before = self.node(before).twin;
            }
            self.node_mut(before).twin = next;
        } else if next == NIL {
            self.by_hash.remove(&hash);
        } else {
            self.by_hash.insert(hash, next);
        }
    }

    fn link(&mut self, id: u32, queue: Queue) {
        let newest = self.ends_mut(queue).newest;
        let node = self.node_mut(id);
        (node.queue, node.newer, node.older) = (queue, NIL, newest);
        let weight = node.weight;
        if newest != NIL {
            self.node_mut(newest).newer = id;
        }
        let ends = self.ends_mut(queue);
        ends.newest = id;
        ends.weight += weight;
        if ends.oldest == NIL {
            ends.oldest = id;
        }
    }

    fn unlink(&mut self, id: u32) {
        let node = self.node(id);
        let (queue, newer, older, weight) = (node.queue, node.newer, node.older, node.weight);
        match newer {
            NIL => self.ends_mut(queue).newest = older,
            _ => self.node_mut(newer).older = older,
        }
        match older {
            NIL => self.ends_mut(queue).oldest = newer,
            _ => self.node_mut(older).newer = newer,
        }
        self.ends_mut(queue).weight -= weight;
    }

    fn node_mut(&mut self, id: u32) -> &mut Node<K, V> {
        self.slots[id as usize]
            .as_mut()
            .expect("linked slots are occupied")
    }

    fn ends_mut(&mut self, queue: Queue) -> &mut Ends {
        match queue {
            Queue::Small => &mut self.small,
            Queue::Main => &mut self.main,
        }
    }
}
