//! The volumes' files: names, superblocks, and a bounded set of open ones.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::disk::{Disk, DiskFile};
use crate::format::{Place, StoreId, Superblock};
use crate::limits::MAX_OPEN_VOLUMES;

/// An open volume.
pub(crate) type VolumeFile = Arc<dyn DiskFile>;

/// All volumes of a store.
#[derive(Debug)]
pub(crate) struct Volumes {
    disk: Arc<dyn Disk>,
    store: StoreId,
    open: RwLock<HashMap<u32, Open>>,
    uses: AtomicU64,
}

#[derive(Debug)]
struct Open {
    file: VolumeFile,
    last_use: AtomicU64,
}

/// The file name of a volume.
pub(crate) fn volume_name(volume: u32) -> String {
    format!("{volume:08}.vol")
}

/// The volumes among a directory's files, ascending.
pub(crate) fn volume_numbers(names: &[String]) -> Vec<u32> {
    let number = |name: &String| name.strip_suffix(".vol")?.parse().ok();
    let mut numbers: Vec<u32> = names.iter().filter_map(number).collect();
    numbers.retain(|&volume| volume > 0 && names.contains(&volume_name(volume)));
    numbers.sort_unstable();
    numbers
}

impl Volumes {
    pub(crate) fn new(disk: Arc<dyn Disk>, store: StoreId) -> Self {
        Self {
            disk,
            store,
            open: RwLock::default(),
            uses: AtomicU64::new(0),
        }
    }

    pub(crate) fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    /// The place of byte `offset` of a volume.
    pub(crate) fn place(&self, volume: u32, offset: u64) -> Place {
        Place {
            store: self.store,
            volume,
            offset,
        }
    }

    pub(crate) fn store(&self) -> StoreId {
        self.store
    }

    /// An open handle of a volume.
    pub(crate) fn file(&self, volume: u32) -> io::Result<VolumeFile> {
        let now = self.uses.fetch_add(1, Ordering::Relaxed);
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = open.get(&volume) {
            found.last_use.store(now, Ordering::Relaxed);
            return Ok(Arc::clone(&found.file));
        }
        drop(open);
        let file = self.disk.open(&volume_name(volume))?;
        self.keep(volume, &file);
        Ok(file)
    }

    /// Creates a volume: its superblock and its name are durable when this returns.
    pub(crate) fn create(&self, volume: u32, created_ms: u64) -> io::Result<VolumeFile> {
        let file = self.disk.create(&volume_name(volume))?;
        let superblock = Superblock {
            store: self.store,
            volume,
            created_ms,
        }
        .encode();
        file.write_at(&mut [io::IoSlice::new(&superblock)], 0)?;
        file.sync()?;
        self.disk.sync()?;
        self.keep(volume, &file);
        Ok(file)
    }

    fn keep(&self, volume: u32, file: &VolumeFile) {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= MAX_OPEN_VOLUMES {
            let oldest = open
                .iter()
                .min_by_key(|(_, o)| o.last_use.load(Ordering::Relaxed));
            let oldest = oldest.map(|(&volume, _)| volume);
            oldest.map(|volume| open.remove(&volume));
        }
        let last_use = AtomicU64::new(self.uses.load(Ordering::Relaxed));
        open.insert(
            volume,
            Open {
                file: Arc::clone(file),
                last_use,
            },
        );
    }
}
