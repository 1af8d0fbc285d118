//! The store's front.

use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::ack::Ack;
use crate::commit::{Committer, now_ms};
use crate::config::Config;
use crate::disk::{Disk, RealDisk};
use crate::error::{OpenError, ReadError, WriterFault};
use crate::format::{Draft, Entry, Kind, StoreId, encode_settings, object_prefix};
use crate::index::{FjallIndex, Index, IndexError};
use crate::limits::MAX_LIST;
use crate::name::{BucketName, ObjectKey};
use crate::object::{
    BucketInfo, BucketSettings, ListQuery, Listing, ObjectInfo, ObjectMeta, Precondition,
};
use crate::queue::{Action, Target};
use crate::read::{Object, Want, find};
use crate::recover::{DamagedPlace, recover};
use crate::shared::{DirLock, Shared};
use crate::verify::{VerifyReport, verify};
use crate::write::{ObjectWriter, submit};

/// A store. Clones are cheap and share everything; when the last one goes, the committer finishes
/// what it was given and the store is closed. Writers that remain are refused; objects and readers
/// that remain go on, and keep the directory locked.
#[derive(Debug, Clone)]
pub struct Store {
    shared: Arc<Shared>,
    _open: Arc<OpenStore>,
}

/// Closes the store when it is dropped.
#[derive(Debug)]
struct OpenStore {
    shared: Arc<Shared>,
    committer: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for OpenStore {
    fn drop(&mut self) {
        self.shared.queue.close();
        let committer = self
            .committer
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if committer.is_some_and(|committer| committer.join().is_err()) {
            tracing::error!("the committer has panicked");
        }
    }
}

/// How a store is.
#[derive(Debug, Clone)]
pub struct Health {
    /// What stopped the writer, if it has: the store then takes no more writes.
    pub stopped: Option<Arc<WriterFault>>,
    /// Damaged places that opening found in volumes.
    pub damaged: Vec<DamagedPlace>,
    /// Volumes, the active one included.
    pub volumes: u32,
    /// Bytes of all volumes, garbage included.
    pub bytes: u64,
}

impl Store {
    /// Opens the store in `dir`, or makes one. What a crash left unfinished is discarded, what it
    /// left complete is kept, and a lost index is rebuilt by reading all volumes.
    pub fn open(dir: &Path, config: Config) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Directory {
            path: dir.to_owned(),
            source,
        };
        let volumes = dir.join("volumes");
        fs::create_dir_all(&volumes).map_err(failed)?;
        let lock = lock(dir)?;
        File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(failed)?;
        let disk = Arc::new(RealDisk::open(&volumes).map_err(failed)?);
        let index = FjallIndex::open(&dir.join("index")).map_err(OpenError::Index)?;
        let mut fresh = StoreId::default();
        getrandom::fill(&mut fresh).map_err(OpenError::Random)?;
        Self::start(disk, Arc::new(index), fresh, config, Some(lock))
    }

    /// Opens the store on any disk with any index. `lock` is held as long as anything is open.
    pub(crate) fn start(
        disk: Arc<dyn Disk>,
        index: Arc<dyn Index>,
        fresh: StoreId,
        config: Config,
        lock: Option<DirLock>,
    ) -> Result<Self, OpenError> {
        if !config.is_valid() {
            return Err(OpenError::Config {
                volume_bytes: config.volume_bytes,
            });
        }
        let (recovered, active) = recover(disk, &*index, fresh, now_ms())?;
        let sequence = recovered.sequence;
        let published = (active.volume, active.tail);
        let shared = Arc::new(Shared::new(config, index, recovered, published, lock));
        let committer = Committer::new(Arc::clone(&shared), active, sequence);
        let thread = thread::Builder::new().name("blob-committer".into());
        let committer = thread
            .spawn(move || committer.run())
            .map_err(OpenError::Thread)?;
        let committer = Mutex::new(Some(committer));
        let open = OpenStore {
            shared: Arc::clone(&shared),
            committer,
        };
        Ok(Self {
            shared,
            _open: Arc::new(open),
        })
    }

    /// Creates a bucket. Never blocks.
    pub fn create_bucket(&self, bucket: &BucketName, settings: BucketSettings) -> Ack {
        let draft = bucket_draft(Kind::BucketCreate, bucket, &encode_settings(settings));
        submit(
            &self.shared,
            draft,
            Action::CreateBucket(bucket.clone(), settings),
        )
    }

    /// Changes a bucket's settings. Never blocks.
    pub fn set_bucket(&self, bucket: &BucketName, settings: BucketSettings) -> Ack {
        let draft = bucket_draft(Kind::BucketSettings, bucket, &encode_settings(settings));
        submit(
            &self.shared,
            draft,
            Action::SetBucket(bucket.clone(), settings),
        )
    }

    /// Deletes an empty bucket. Never blocks.
    pub fn delete_bucket(&self, bucket: &BucketName) -> Ack {
        let draft = bucket_draft(Kind::BucketDelete, bucket, &[]);
        submit(&self.shared, draft, Action::DeleteBucket(bucket.clone()))
    }

    /// A bucket, if there is such. Never blocks on the disk.
    pub fn bucket(&self, bucket: &BucketName) -> Option<BucketInfo> {
        self.shared.bucket(bucket)
    }

    /// All buckets, ascending by name. Never blocks on the disk.
    pub fn buckets(&self) -> Vec<BucketInfo> {
        self.shared.buckets()
    }

    /// Begins an object. Nothing of it is visible until [`ObjectWriter::finish`] is acknowledged;
    /// dropping the writer before abandons it. That there is no such bucket is said then.
    pub fn writer(&self, bucket: &BucketName, key: &ObjectKey, meta: ObjectMeta) -> ObjectWriter {
        ObjectWriter::new(Arc::clone(&self.shared), bucket.clone(), key.clone(), meta)
    }

    /// Deletes an object. Deleting what is not there succeeds, unless `precondition` asks for it.
    /// Never blocks.
    pub fn delete(&self, bucket: &BucketName, key: &ObjectKey, precondition: Precondition) -> Ack {
        let names = (bucket.as_str(), key.as_str());
        let draft = Draft::new(Kind::Delete, names, &[], Vec::new(), 0);
        let target = Target {
            bucket: bucket.clone(),
            key: key.clone(),
            precondition,
        };
        submit(&self.shared, draft, Action::Delete(target))
    }

    /// An object to read, if there is such. Up to 128 KiB of content are fetched with it by one
    /// read. Blocks for the disk.
    pub fn get(&self, bucket: &BucketName, key: &ObjectKey) -> Result<Option<Object>, ReadError> {
        find(&self.shared, bucket, key, Want::Content)
    }

    /// What is known of an object, without its content. Blocks for the disk.
    pub fn head(
        &self,
        bucket: &BucketName,
        key: &ObjectKey,
    ) -> Result<Option<(ObjectInfo, ObjectMeta)>, ReadError> {
        Ok(find(&self.shared, bucket, key, Want::Head)?.map(Object::into_parts))
    }

    /// A page of a bucket's keys. Blocks for the disk.
    pub fn list(&self, bucket: &BucketName, query: ListQuery<'_>) -> Result<Listing, ReadError> {
        if self.shared.bucket(bucket).is_none() {
            return Err(ReadError::NoSuchBucket {
                bucket: bucket.clone(),
            });
        }
        let limit = query.limit.min(MAX_LIST);
        let mut listing = Listing {
            objects: Vec::new(),
            truncated: false,
        };
        let mut sound = true;
        let all = object_prefix(bucket);
        let prefix = [&all, query.prefix.as_bytes()].concat();
        let after = [&all, query.start_after.as_bytes()].concat();
        let mut visit = |key: &[u8], value: &[u8]| {
            if listing.objects.len() == limit {
                listing.truncated = true;
                return false;
            }
            let key = ObjectKey::from_bytes(&key[all.len()..]).ok();
            let info = key
                .zip(Entry::decode(value))
                .map(|(key, entry)| entry.info(key));
            sound &= info.is_some();
            listing.objects.extend(info);
            sound
        };
        self.shared
            .index
            .scan(&prefix, &after, &mut visit)
            .map_err(ReadError::Index)?;
        if sound {
            Ok(listing)
        } else {
            Err(ReadError::Index(IndexError::Value))
        }
    }

    /// Reads every needle of every volume and reports the damaged ones. Writes go on meanwhile,
    /// and are not looked at. Calls `progress` after each volume. Blocks for as long as it takes.
    pub fn verify(
        &self,
        mut progress: impl FnMut(&VerifyReport),
    ) -> Result<VerifyReport, ReadError> {
        verify(&self.shared, &mut progress)
    }

    /// How the store is. Never blocks on the disk.
    pub fn health(&self) -> Health {
        Health {
            stopped: self.shared.stopped(),
            damaged: self.shared.damage.clone(),
            volumes: self.shared.volume_count(),
            bytes: self.shared.bytes(),
        }
    }
}

fn bucket_draft(kind: Kind, bucket: &BucketName, meta: &[u8]) -> Draft {
    Draft::new(kind, (bucket.as_str(), ""), meta, Vec::new(), 0)
}

/// Keeps a second store off the directory.
fn lock(dir: &Path) -> Result<DirLock, OpenError> {
    let failed = |source| OpenError::Directory {
        path: dir.to_owned(),
        source,
    };
    let mut options = File::options();
    options.write(true).create(true).truncate(false);
    let file = options.open(dir.join("lock")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(DirLock(file)),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked {
            path: dir.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

#[cfg(test)]
mod tests;
