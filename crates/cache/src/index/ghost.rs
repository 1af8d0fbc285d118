//! Hashes of entries lately evicted from the small queue.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;

use crate::limits::{GHOSTS_PER_ENTRY, MIN_GHOSTS};

use super::PrecomputedHash;

/// A queue bounded by what its entries weighed and by their number.
#[derive(Debug, Default)]
pub(super) struct Ghosts {
    /// Oldest first. An element counts only while `live` has its number.
    queue: VecDeque<(u64, u64)>,
    /// By hash: number of the element in the queue, and its weight.
    live: HashMap<u64, (u64, u64), BuildHasherDefault<PrecomputedHash>>,
    next_number: u64,
    weight: u64,
}

impl Ghosts {
    /// An element and twice a map bucket with its control byte.
    pub(super) const ENTRY_BYTES: usize =
        size_of::<(u64, u64)>() + 2 * (size_of::<(u64, (u64, u64))>() + 1);

    /// Adds one; forgets the oldest beyond `budget` bytes or [`GHOSTS_PER_ENTRY`].
    pub(super) fn remember(&mut self, hash: u64, weight: u64, budget: u64, entries: usize) {
        self.forget(hash);
        self.live.insert(hash, (self.next_number, weight));
        self.queue.push_back((hash, self.next_number));
        self.next_number += 1;
        self.weight += weight;
        while self.weight > budget
            || self.queue.len() > (entries * GHOSTS_PER_ENTRY).max(MIN_GHOSTS)
        {
            self.forget_oldest();
        }
    }

    /// Was it remembered? It no longer is.
    pub(super) fn forget(&mut self, hash: u64) -> bool {
        let forgotten = self.live.remove(&hash);
        self.weight -= forgotten.map_or(0, |(_, weight)| weight);
        forgotten.is_some()
    }

    fn forget_oldest(&mut self) {
        let (hash, number) = self.queue.pop_front().expect("what weighs is in the queue");
        if self
            .live
            .get(&hash)
            .is_some_and(|&(live, _)| live == number)
        {
            self.forget(hash);
        }
    }
}
