//! A simulated disk: every file has the content that processes see and the content that survives
//! a loss of power, with the operations between them. A seed decides which of those survive, and
//! how torn; a plan says which operation fails, and how.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::disk::{Disk, DiskFile};

/// What a disk writes at once or not at all.
const SECTOR: usize = 512;

/// A fault to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The disk is full, after a part of a write.
    Full,
    /// An error of the medium.
    Error,
}

/// A splitmix64 sequence.
#[derive(Debug, Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

#[derive(Debug, Clone)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Resize { len: usize },
}

#[derive(Debug, Default, Clone)]
struct File {
    live: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
    named: bool,
}

#[derive(Debug)]
struct State {
    files: BTreeMap<String, File>,
    capacity: u64,
    operations: u64,
    faults: BTreeMap<u64, Fault>,
    random: Random,
}

/// The simulated disk. Clones are the same disk.
#[derive(Debug, Clone)]
pub(crate) struct SimDisk(Arc<Mutex<State>>);

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { at, bytes } => {
                content.resize(content.len().max(at + bytes.len()), 0);
                content[*at..at + bytes.len()].copy_from_slice(bytes);
            }
            Self::Resize { len } => content.resize(*len, 0),
        }
    }

    /// Applies a write as a disk does that lost power within it: any of its sectors are there.
    fn apply_torn(&self, content: &mut Vec<u8>, random: &mut Random) {
        let Self::Write { at, bytes } = self else {
            return self.apply(content);
        };
        let mut from = 0;
        while from < bytes.len() {
            let to = ((at + from + SECTOR) / SECTOR * SECTOR - at).min(bytes.len());
            if random.below(2) == 0 {
                let part = Self::Write {
                    at: at + from,
                    bytes: bytes[from..to].to_vec(),
                };
                part.apply(content);
            }
            from = to;
        }
    }
}

impl State {
    /// Counts an operation, which fails if that was planned.
    fn step(&mut self) -> io::Result<()> {
        self.operations += 1;
        match self.faults.remove(&self.operations) {
            None => Ok(()),
            Some(Fault::Full) => Err(io::ErrorKind::StorageFull.into()),
            Some(Fault::Error) => Err(io::Error::other("simulated medium error")),
        }
    }

    fn used(&self) -> u64 {
        self.files.values().map(|file| file.live.len() as u64).sum()
    }

    fn file(&mut self, name: &str) -> &mut File {
        self.files.entry(name.to_owned()).or_default()
    }

    fn change(&mut self, name: &str, change: Change) {
        let file = self.file(name);
        change.apply(&mut file.live);
        file.unsynced.push(change);
    }
}

impl SimDisk {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            files: BTreeMap::new(),
            capacity: u64::MAX,
            operations: 0,
            faults: BTreeMap::new(),
            random: Random(seed),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic while the lock is held")
    }

    /// Lets the `steps`th write, allocation, truncation or sync from now fail.
    pub(crate) fn fail(&self, steps: u64, fault: Fault) {
        let mut state = self.state();
        let at = state.operations + steps;
        state.faults.insert(at, fault);
    }

    /// Forgets planned faults.
    pub(crate) fn heal(&self) {
        self.state().faults.clear();
    }

    /// Limits the bytes of all files.
    pub(crate) fn set_capacity(&self, bytes: u64) {
        self.state().capacity = bytes;
    }

    /// Cuts the power: of what was not synced any subset remains, torn in places.
    pub(crate) fn crash(&self) {
        let mut state = self.state();
        let mut random = state.random.clone();
        state.faults.clear();
        state
            .files
            .retain(|_, file| file.named || random.below(2) == 0);
        for file in state.files.values_mut() {
            for change in std::mem::take(&mut file.unsynced) {
                match random.below(3) {
                    0 => {}
                    1 => change.apply_torn(&mut file.durable, &mut random),
                    _ => change.apply(&mut file.durable),
                }
            }
            file.live.clone_from(&file.durable);
            file.named = true;
        }
        state.random = random;
    }

    /// The content of a file that processes see, to look at or to damage.
    pub(crate) fn edit<R>(&self, name: &str, edit: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let mut state = self.state();
        let file = state.file(name);
        let result = edit(&mut file.live);
        file.durable.clone_from(&file.live);
        file.unsynced.clear();
        result
    }

    /// Becomes what `other` is now.
    pub(crate) fn become_copy(&self, other: &Self) {
        let files = other.state().files.clone();
        let mut state = self.state();
        state.files = files;
        state.faults.clear();
    }

    /// A copy that shares nothing.
    pub(crate) fn fork(&self) -> Self {
        let state = self.state();
        Self(Arc::new(Mutex::new(State {
            files: state.files.clone(),
            capacity: state.capacity,
            operations: 0,
            faults: BTreeMap::new(),
            random: state.random.clone(),
        })))
    }
}

impl Disk for SimDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state().files.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        if !self.state().files.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Arc::new(SimFile {
            disk: self.clone(),
            name: name.to_owned(),
        }))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        state.step()?;
        state.change(name, Change::Resize { len: 0 });
        drop(state);
        self.open(name)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        state.files.values_mut().for_each(|file| file.named = true);
        Ok(())
    }

    fn free(&self) -> io::Result<u64> {
        let state = self.state();
        Ok(state.capacity.saturating_sub(state.used()))
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    name: String,
}

impl DiskFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        let live = &state.file(&self.name).live;
        let from = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(live.len());
        let len = buffer.len().min(live.len() - from);
        buffer[..len].copy_from_slice(&live[from..from + len]);
        Ok(len)
    }

    fn write_at(&self, slices: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let mut bytes: Vec<u8> = slices
            .iter()
            .flat_map(|slice| slice.iter().copied())
            .collect();
        let at = usize::try_from(offset).expect("simulated files are small");
        let fails = state.step();
        if fails.is_err() {
            let part = state.random.clone().below(bytes.len() as u64 + 1);
            bytes.truncate(usize::try_from(part).expect("simulated writes are small"));
        }
        state.change(&self.name, Change::Write { at, bytes });
        fails
    }

    fn allocate(&self, _from: u64, end: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.step()?;
        let len = state.file(&self.name).live.len() as u64;
        let more = end.saturating_sub(len);
        if state.used() + more > state.capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let len = usize::try_from(len + more).expect("simulated files are small");
        state.change(&self.name, Change::Resize { len });
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.step()?;
        let len = usize::try_from(len).expect("simulated files are small");
        state.change(&self.name, Change::Resize { len });
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let fails = state.step();
        let mut random = state.random.clone();
        let file = state.file(&self.name);
        for change in std::mem::take(&mut file.unsynced) {
            // After a failed sync pages count as clean, written or not.
            if fails.is_ok() || random.below(2) == 0 {
                change.apply(&mut file.durable);
            }
        }
        state.random = random;
        fails
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state().file(&self.name).live.len() as u64)
    }

    fn forget_cached(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let file = state.file(&self.name);
        if file.unsynced.is_empty() {
            file.live.clone_from(&file.durable);
        }
        Ok(())
    }
}
