//! Request ids that nobody can guess, without a system call each.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use fractus_func::RequestId;

/// A keyed pseudo-random function over a counter: std's `SipHash` under two 128-bit keys that std
/// drew from the system. One for each worker, so that nothing is shared.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    keys: [RandomState; 2],
    next: AtomicU64,
}

impl Ids {
    pub(crate) fn draw(&self) -> RequestId {
        let count = self.next.fetch_add(1, Ordering::Relaxed);
        let [high, low] = [0, 1].map(|half| u128::from(self.keys[half].hash_one(count)));
        RequestId::from_random(high << 64 | low)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Ids;

    #[test]
    fn ids_differ_between_draws_and_workers() {
        let workers = [Ids::default(), Ids::default()];
        let drawn: BTreeSet<_> = (0..1000)
            .flat_map(|_| workers.iter().map(Ids::draw))
            .collect();
        assert_eq!(drawn.len(), 2000);
    }
}
