//! Opening: find the volumes, bring the index up to the log, find where to write on.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crate::disk::Disk;
use crate::error::{Damage, OpenError, SuperblockError};
use crate::format::{
    BUCKET_PREFIX, Entry, Head, Kind, Mark, Meta, SUPERBLOCK_BYTES, StoreId, Superblock,
    bucket_key, decode_bucket, encode_bucket, object_key,
};
use crate::index::{Change, Index, IndexError, move_mark, read_mark};
use crate::name::BucketName;
use crate::object::BucketInfo;
use crate::scan::{Ending, Found, Span, walk};
use crate::volumes::{VolumeFile, Volumes, volume_name, volume_numbers};

/// Changes handed to the index at once.
const APPLY_CHANGES: usize = 4096;

/// A place that is not what was written there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedPlace {
    /// The volume.
    pub volume: u32,
    /// Where the unreadable bytes begin.
    pub offset: u64,
    /// What is wrong there.
    pub reason: Damage,
    /// The object concerned, where the needle still says so.
    pub object: Option<(BucketName, crate::name::ObjectKey)>,
}

/// A volume to write on.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) volume: u32,
    pub(crate) file: VolumeFile,
    pub(crate) tail: u64,
    /// The file has room up to here.
    pub(crate) allocated: u64,
}

/// What opening found.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) volumes: Volumes,
    pub(crate) buckets: BTreeMap<BucketName, BucketInfo>,
    pub(crate) sequence: u64,
    pub(crate) count: u32,
    pub(crate) bytes: u64,
    pub(crate) damage: Vec<DamagedPlace>,
}

/// A failure while a volume is walked.
enum ReplayError {
    Read(io::Error),
    Index(IndexError),
}

impl From<io::Error> for ReplayError {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

impl From<IndexError> for ReplayError {
    fn from(error: IndexError) -> Self {
        Self::Index(error)
    }
}

impl ReplayError {
    fn at(self, volume: u32) -> OpenError {
        match self {
            Self::Read(source) => OpenError::Volume { volume, source },
            Self::Index(error) => OpenError::Index(error),
        }
    }
}

/// Opens what is on `disk`, and says where to write on. `fresh` is the identity of a store that
/// does not exist yet.
pub(crate) fn recover(
    disk: Arc<dyn Disk>,
    index: &dyn Index,
    fresh: StoreId,
    now_ms: u64,
) -> Result<(Recovered, Active), OpenError> {
    let found = find_volumes(&*disk)?;
    let store = found
        .first()
        .map_or(fresh, |volume| volume.superblock.store);
    if let Some(foreign) = found.iter().find(|volume| volume.superblock.store != store) {
        let volume = foreign.superblock.volume;
        return Err(OpenError::Superblock {
            volume,
            reason: SuperblockError::Store,
        });
    }
    let volumes = Volumes::new(disk, store);
    let mut replay = Replay::begin(&volumes, index, &found)?;
    let mut last = None;
    for volume in &found {
        let number = volume.superblock.volume;
        let is_last = found.last().is_some_and(|v| v.superblock.volume == number);
        let ending = replay
            .volume(volume, is_last)
            .map_err(|error| error.at(number))?;
        last = is_last.then_some(ending);
    }
    let Replay {
        buckets,
        sequence,
        damage,
        ..
    } = replay;
    let active = writable(&volumes, found.last().zip(last), now_ms)?;
    let closed = found
        .iter()
        .filter(|volume| volume.superblock.volume != active.volume);
    let (count, bytes) = closed.fold((0, 0), |(n, sum), volume| (n + 1, sum + volume.len));
    let (count, bytes) = (count + 1, bytes + active.tail);
    Ok((
        Recovered {
            volumes,
            buckets,
            sequence,
            count,
            bytes,
            damage,
        },
        active,
    ))
}

/// A volume with a whole superblock.
#[derive(Debug)]
struct FoundVolume {
    superblock: Superblock,
    len: u64,
}

fn find_volumes(disk: &dyn Disk) -> Result<Vec<FoundVolume>, OpenError> {
    let at = |volume| move |source| OpenError::Volume { volume, source };
    let numbers = volume_numbers(&disk.list().map_err(at(0))?);
    let mut found = Vec::with_capacity(numbers.len());
    for &volume in &numbers {
        let file = disk.open(&volume_name(volume)).map_err(at(volume))?;
        let is_last = numbers.last() == Some(&volume);
        if is_last {
            // After a failed sync memory and medium may differ; the medium counts.
            file.forget_cached().map_err(at(volume))?;
        }
        let len = file.len().map_err(at(volume))?;
        let mut bytes = vec![0; usize::try_from(SUPERBLOCK_BYTES).expect("a page")];
        let read = file.read_at(&mut bytes, 0).map_err(at(volume))?;
        match Superblock::decode(&bytes[..read], volume) {
            Ok(superblock) => found.push(FoundVolume { superblock, len }),
            // A volume gets needles only once its superblock is durable: this one was being
            // created when the power failed, and is created again.
            Err(_) if is_last && len <= SUPERBLOCK_BYTES => {}
            Err(reason) => return Err(OpenError::Superblock { volume, reason }),
        }
    }
    Ok(found)
}

/// The volume to write on: the last one behind its tail, or a new one.
fn writable(
    volumes: &Volumes,
    last: Option<(&FoundVolume, Ending)>,
    created_ms: u64,
) -> Result<Active, OpenError> {
    let at = |volume| move |source| OpenError::Volume { volume, source };
    let number = last.map_or(0, |(volume, _)| volume.superblock.volume);
    if let Some((
        _,
        Ending {
            tail,
            closed: false,
        },
    )) = last
    {
        let file = volumes.file(number).map_err(at(number))?;
        // What was discarded must not come back behind what will be written, and what was read,
        // the file's name included, may so far be in memory only.
        file.truncate(tail).map_err(at(number))?;
        file.sync().map_err(at(number))?;
        volumes.disk().sync().map_err(at(number))?;
        return Ok(Active {
            volume: number,
            file,
            tail,
            allocated: tail,
        });
    }
    let volume = number + 1;
    let file = volumes.create(volume, created_ms).map_err(at(volume))?;
    Ok(Active {
        volume,
        file,
        tail: SUPERBLOCK_BYTES,
        allocated: SUPERBLOCK_BYTES,
    })
}

/// Brings the index up to the log.
struct Replay<'a> {
    volumes: &'a Volumes,
    index: &'a dyn Index,
    /// What the index has: everything before this.
    done: Mark,
    /// What an index that is not to be trusted otherwise says to have been synced.
    witness: Option<Mark>,
    changes: Vec<Change>,
    buckets: BTreeMap<BucketName, BucketInfo>,
    sequence: u64,
    damage: Vec<DamagedPlace>,
}

impl<'a> Replay<'a> {
    fn begin(
        volumes: &'a Volumes,
        index: &'a dyn Index,
        found: &[FoundVolume],
    ) -> Result<Self, OpenError> {
        let witness = read_mark(index).map_err(OpenError::Index)?;
        let witness = witness.filter(|mark| mark.store == volumes.store());
        let reached = |mark: &Mark| {
            let is_at = |v: &&FoundVolume| v.superblock.volume == mark.volume;
            found
                .iter()
                .find(is_at)
                .is_some_and(|volume| mark.offset <= volume.len)
        };
        let mut replay = Self {
            volumes,
            index,
            done: Mark {
                store: volumes.store(),
                volume: 0,
                offset: 0,
                sequence: 0,
            },
            witness,
            changes: Vec::new(),
            buckets: BTreeMap::new(),
            sequence: 0,
            damage: Vec::new(),
        };
        if let Some(mark) = witness.filter(reached) {
            replay.done = mark;
            replay.sequence = mark.sequence;
            replay.load_buckets().map_err(OpenError::Index)?;
        } else {
            if !found.is_empty() {
                tracing::info!(
                    volumes = found.len(),
                    "rebuilding the index from the volumes"
                );
            }
            index.clear().map_err(OpenError::Index)?;
        }
        replay.report_missing(found);
        Ok(replay)
    }

    fn load_buckets(&mut self) -> Result<(), IndexError> {
        let mut sound = true;
        let buckets = &mut self.buckets;
        self.index.scan(BUCKET_PREFIX, &[], &mut |key, value| {
            let name = str::from_utf8(&key[BUCKET_PREFIX.len()..]).unwrap_or_default();
            let info = BucketName::new(name)
                .ok()
                .and_then(|name| decode_bucket(name, value));
            sound &= info.is_some();
            buckets.extend(info.map(|info| (info.name.clone(), info)));
            true
        })?;
        if sound {
            Ok(())
        } else {
            Err(IndexError::Value)
        }
    }

    /// Volumes are numbered without gaps.
    fn report_missing(&mut self, found: &[FoundVolume]) {
        let mut expected = 1;
        for volume in found {
            let number = volume.superblock.volume;
            for missing in (expected..number).take(crate::limits::MAX_DAMAGE) {
                self.report(missing, 0, Damage::Missing);
            }
            expected = number.saturating_add(1);
        }
    }

    fn report(&mut self, volume: u32, offset: u64, reason: Damage) {
        tracing::error!(volume, offset, %reason, "the store is damaged");
        if self.damage.len() < crate::limits::MAX_DAMAGE {
            self.damage.push(DamagedPlace {
                volume,
                offset,
                reason,
                object: None,
            });
        }
    }

    fn volume(&mut self, found: &FoundVolume, is_last: bool) -> Result<Ending, ReplayError> {
        let volume = found.superblock.volume;
        let from = match volume.cmp(&self.done.volume) {
            std::cmp::Ordering::Less => {
                return Ok(Ending {
                    tail: found.len,
                    closed: true,
                });
            }
            std::cmp::Ordering::Equal => self.done.offset,
            std::cmp::Ordering::Greater => SUPERBLOCK_BYTES,
        };
        let witness = self.witness.filter(|mark| mark.volume == volume);
        // All but the last were sealed, which follows a sync.
        let sealed = if is_last { 0 } else { found.len };
        let synced = witness.map_or(0, |mark| mark.offset).max(from).max(sealed);
        let span = Span {
            volume,
            from,
            end: found.len,
            synced,
        };
        let volumes = self.volumes;
        let file = volumes.file(volume)?;
        let ending = walk(volumes, &*file, span, &mut |found| self.take(volume, found))?;
        if !is_last && !ending.closed {
            self.report(volume, ending.tail, Damage::Unsealed);
        }
        self.flush()?;
        Ok(ending)
    }

    fn take(&mut self, volume: u32, found: Found) -> Result<(), ReplayError> {
        match found {
            Found::Damage { offset, damage } => self.report(volume, offset, damage),
            Found::Needle { offset, head } => {
                self.sequence = self.sequence.max(head.sequence());
                // The mark stays before a seal, so that the next opening meets it again.
                let passed = if head.kind() == Kind::Seal {
                    0
                } else {
                    head.needle_len()
                };
                let store = self.volumes.store();
                let offset_done = offset + passed;
                self.done = Mark {
                    store,
                    volume,
                    offset: offset_done,
                    sequence: self.sequence,
                };
                match self.change(volume, offset, &head) {
                    Ok(change) => self.changes.extend(change),
                    Err(damage) => self.report(volume, offset, damage),
                }
            }
        }
        if self.changes.len() >= APPLY_CHANGES {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// What a needle changes in the index.
    fn change(&mut self, volume: u32, offset: u64, head: &Head) -> Result<Option<Change>, Damage> {
        match head.kind() {
            Kind::Chunk | Kind::Mark | Kind::Seal => Ok(None),
            Kind::Object | Kind::ChunkedObject | Kind::Delete => {
                let (bucket, key) = head.bucket().zip(head.key()).ok_or(Damage::Nonsense)?;
                let entry = entry_of(volume, offset, head)?;
                let value = entry.map(|entry| entry.encode());
                Ok(Some(Change {
                    key: object_key(&bucket, &key),
                    value,
                }))
            }
            Kind::BucketCreate | Kind::BucketSettings | Kind::BucketDelete => {
                let name = head.bucket().ok_or(Damage::Nonsense)?;
                Ok(Some(self.bucket_change(name, head)?))
            }
        }
    }

    fn bucket_change(&mut self, name: BucketName, head: &Head) -> Result<Change, Damage> {
        let key = bucket_key(&name);
        if head.kind() == Kind::BucketDelete {
            self.buckets.remove(&name);
            return Ok(Change { key, value: None });
        }
        let settings = Meta::decode(head.meta())?.settings;
        let known = self.buckets.get(&name).map(|info| info.created_ms);
        let created_ms = known.unwrap_or(head.time_ms());
        let info = BucketInfo {
            name: name.clone(),
            settings,
            created_ms,
        };
        let value = Some(encode_bucket(&info));
        self.buckets.insert(name, info);
        Ok(Change { key, value })
    }

    fn flush(&mut self) -> Result<(), ReplayError> {
        if self.done.volume > 0 {
            let mut changes = std::mem::take(&mut self.changes);
            changes.push(move_mark(self.done));
            self.index.apply(changes)?;
        }
        Ok(())
    }
}

/// The index entry of an object's needle; none for a deletion.
fn entry_of(volume: u32, offset: u64, head: &Head) -> Result<Option<Entry>, Damage> {
    if head.kind() == Kind::Delete {
        return Ok(None);
    }
    let short = |len: usize| u32::try_from(len).map_err(|_overflow| Damage::Nonsense);
    Ok(Some(Entry {
        volume,
        head_len: short(head.len())?,
        offset,
        data_len: short(head.data_len())?,
        etag: Meta::decode(head.meta())?.etag.ok_or(Damage::Nonsense)?,
        sequence: head.sequence(),
        size: head.size(),
        time_ms: head.time_ms(),
    }))
}
