//! What the committer and all handles of a store share.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use crate::config::Config;
use crate::error::WriterFault;
use crate::index::Index;
use crate::name::BucketName;
use crate::object::BucketInfo;
use crate::queue::Queue;
use crate::recover::{DamagedPlace, Recovered};
use crate::volumes::Volumes;

/// Shared state. The committer alone changes it; handles read.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) volumes: Volumes,
    pub(crate) index: Arc<dyn Index>,
    pub(crate) queue: Queue,
    pub(crate) damage: Vec<DamagedPlace>,
    buckets: RwLock<BTreeMap<BucketName, BucketInfo>>,
    stopped: OnceLock<Arc<WriterFault>>,
    /// The active volume, and up to where it is durable and visible.
    published: Mutex<(u32, u64)>,
    volume_count: AtomicU32,
    bytes: AtomicU64,
    /// Keeps other stores off the directory.
    _lock: Option<DirLock>,
}

/// A lock on a directory. Closing its file is not enough to unlock it: a child that has not yet
/// become its program has a copy, and a copy keeps the lock.
#[derive(Debug)]
pub(crate) struct DirLock(pub(crate) File);

impl Drop for DirLock {
    fn drop(&mut self) {
        // If this fails, the last close unlocks it.
        drop(self.0.unlock());
    }
}

impl Shared {
    /// Shares what opening found.
    pub(crate) fn new(
        config: Config,
        index: Arc<dyn Index>,
        recovered: Recovered,
        published: (u32, u64),
        lock: Option<DirLock>,
    ) -> Self {
        let Recovered {
            volumes,
            buckets,
            count,
            bytes,
            damage,
            ..
        } = recovered;
        Self {
            config,
            volumes,
            index,
            queue: Queue::default(),
            damage,
            buckets: RwLock::new(buckets),
            stopped: OnceLock::new(),
            published: Mutex::new(published),
            volume_count: AtomicU32::new(count),
            bytes: AtomicU64::new(bytes),
            _lock: lock,
        }
    }

    pub(crate) fn bucket(&self, bucket: &BucketName) -> Option<BucketInfo> {
        self.buckets
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(bucket)
            .cloned()
    }

    pub(crate) fn buckets(&self) -> Vec<BucketInfo> {
        self.buckets
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    pub(crate) fn bucket_count(&self) -> usize {
        self.buckets
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    pub(crate) fn set_buckets(&self, changed: BTreeMap<BucketName, Option<BucketInfo>>) {
        if changed.is_empty() {
            return;
        }
        let mut buckets = self.buckets.write().unwrap_or_else(PoisonError::into_inner);
        for (name, info) in changed {
            match info {
                Some(info) => buckets.insert(name, info),
                None => buckets.remove(&name),
            };
        }
    }

    pub(crate) fn stopped(&self) -> Option<Arc<WriterFault>> {
        self.stopped.get().cloned()
    }

    pub(crate) fn set_stopped(&self, fault: Arc<WriterFault>) {
        self.stopped.get_or_init(|| fault);
    }

    /// Up to where which volume is durable.
    pub(crate) fn published(&self) -> (u32, u64) {
        *self
            .published
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add_bytes(&self, bytes: u64, tail: (u32, u64)) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        *self
            .published
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = tail;
    }

    pub(crate) fn add_volume(&self, volume: u32) {
        self.volume_count.fetch_add(1, Ordering::Relaxed);
        let superblock = crate::format::SUPERBLOCK_BYTES;
        self.add_bytes(superblock, (volume, superblock));
    }

    pub(crate) fn volume_count(&self) -> u32 {
        self.volume_count.load(Ordering::Relaxed)
    }

    /// Bytes of all volumes up to their tails.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether the configured limit allows so many more bytes.
    pub(crate) fn has_room(&self, more: u64) -> bool {
        self.config
            .max_bytes
            .is_none_or(|max| self.bytes().saturating_add(more) <= max)
    }
}
