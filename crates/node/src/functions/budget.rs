//! What all guests of the node may use together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Instances and guest memory of the node.
#[derive(Debug)]
pub(crate) struct Budget {
    instances: Stock,
    memory: Stock,
}

/// So much of something, taken and given back.
#[derive(Debug)]
struct Stock {
    taken: AtomicUsize,
    limit: usize,
}

impl Stock {
    fn new(limit: usize) -> Self {
        Self {
            taken: AtomicUsize::new(0),
            limit,
        }
    }

    fn take(&self, amount: usize) -> bool {
        let add = |taken: usize| taken.checked_add(amount).filter(|sum| *sum <= self.limit);
        let order = Ordering::Relaxed;
        self.taken.fetch_update(order, order, add).is_ok()
    }

    fn give_back(&self, amount: usize) {
        let before = self.taken.fetch_sub(amount, Ordering::Relaxed);
        assert!(before >= amount, "more was given back than was taken");
    }

    fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

/// The right to one instance; given back when dropped.
#[derive(Debug)]
pub(super) struct Instance(Arc<Budget>);

impl Drop for Instance {
    fn drop(&mut self) {
        self.0.instances.give_back(1);
    }
}

impl Budget {
    /// At most so many instances, and so many bytes of guest memory.
    pub(crate) fn new(instances: usize, memory_bytes: usize) -> Self {
        Self {
            instances: Stock::new(instances),
            memory: Stock::new(memory_bytes),
        }
    }

    /// Takes an instance, if one is left.
    pub(super) fn instance(self: &Arc<Self>) -> Option<Instance> {
        self.instances.take(1).then(|| Instance(Arc::clone(self)))
    }

    /// Takes bytes of guest memory, if so many are left.
    pub(super) fn reserve(&self, bytes: usize) -> bool {
        self.memory.take(bytes)
    }

    /// Gives back bytes that were reserved.
    pub(super) fn release(&self, bytes: usize) {
        self.memory.give_back(bytes);
    }

    /// Instances at once, at most.
    pub(crate) fn instances(&self) -> usize {
        self.instances.limit
    }

    /// Instances taken.
    pub(crate) fn running(&self) -> usize {
        self.instances.taken()
    }

    /// Bytes of guest memory taken.
    pub(crate) fn memory(&self) -> usize {
        self.memory.taken()
    }
}

impl fractus_func::Memory for Budget {
    fn reserve(&self, bytes: usize) -> bool {
        Self::reserve(self, bytes)
    }

    fn release(&self, bytes: usize) {
        Self::release(self, bytes);
    }

    fn total(&self) -> Option<usize> {
        Some(self.memory.limit)
    }
}
