//! What can go wrong, one enum for opening, writing and reading.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::index::IndexError;
use crate::name::BucketName;

/// Why a store did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be made, locked, listed or synced.
    #[error("the store's directory {} cannot be used", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another process, or another `Store` of this one, has it open.
    #[error("the store in {} is open elsewhere", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// A limit in the configuration is out of its range.
    #[error("volumes of {volume_bytes} bytes are too small or too large")]
    Config {
        /// The volume size asked for.
        volume_bytes: u64,
    },
    /// A volume cannot be read, written or synced.
    #[error("volume {volume} cannot be used")]
    Volume {
        /// The volume.
        volume: u32,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A volume's first bytes are not what this store wrote there.
    #[error("volume {volume} does not begin with a superblock of this store: {reason}")]
    Superblock {
        /// The volume.
        volume: u32,
        /// What is wrong.
        reason: SuperblockError,
    },
    /// The index can neither be opened nor be made anew.
    #[error("the index cannot be opened")]
    Index(#[source] IndexError),
    /// No thread for the committer.
    #[error("the committer's thread cannot be started")]
    Thread(#[source] io::Error),
    /// No randomness for the store's identity.
    #[error("no random store id can be made")]
    Random(#[source] getrandom::Error),
}

/// What is wrong with a superblock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SuperblockError {
    /// The file is shorter than a superblock.
    #[error("it is too short")]
    Short,
    /// No volume of ours.
    #[error("it is no Fractus volume")]
    Magic,
    /// Written by a later version of Fractus.
    #[error("its format version {version} is unknown here")]
    Version {
        /// The version found.
        version: u32,
    },
    /// Bits have changed.
    #[error("its checksum does not match")]
    Checksum,
    /// It belongs to another store.
    #[error("it belongs to another store")]
    Store,
    /// It is another volume under this one's name.
    #[error("it is volume {found}")]
    Volume {
        /// The volume it is.
        found: u32,
    },
}

/// Why a write did not happen. After `Failed` and `Stopped` it may turn out after a restart that
/// it did; after all others it has left nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    /// There is no such bucket.
    #[error("bucket {bucket} does not exist")]
    NoSuchBucket {
        /// The bucket.
        bucket: BucketName,
    },
    /// There is such a bucket already.
    #[error("bucket {bucket} exists already")]
    BucketExists {
        /// The bucket.
        bucket: BucketName,
    },
    /// Only empty buckets can be deleted.
    #[error("bucket {bucket} is not empty")]
    BucketNotEmpty {
        /// The bucket.
        bucket: BucketName,
    },
    /// [`crate::limits::MAX_BUCKETS`] exist.
    #[error("there are as many buckets as there may be")]
    TooManyBuckets,
    /// What the [`crate::Precondition`] asks does not hold.
    #[error("the precondition does not hold")]
    PreconditionFailed,
    /// More than [`crate::MAX_OBJECT_BYTES`].
    #[error("an object has at most {} bytes", crate::object::MAX_OBJECT_BYTES)]
    TooLarge,
    /// An earlier write to this object failed or was given up halfway.
    #[error("an earlier write to this object was not completed")]
    Interrupted,
    /// Content type or user metadata exceed their limits.
    #[error("the object's metadata exceed their limits")]
    MetaTooLarge,
    /// Neither the disk nor [`crate::Config::max_bytes`] has room. Later writes may succeed.
    #[error("there is no space left")]
    NoSpace,
    /// More requests wait than may: try again later.
    #[error("too many writes are waiting")]
    Busy,
    /// Writing or syncing failed, and the writer has stopped for good; reads go on. What is on the
    /// disk is known only after the store was opened anew.
    #[error("the write failed and the store takes no more until it is opened anew")]
    Failed(#[source] Arc<WriterFault>),
    /// The writer had stopped before.
    #[error("the store takes no more writes until it is opened anew")]
    Stopped,
}

/// What stopped the writer.
#[derive(Debug, thiserror::Error)]
pub enum WriterFault {
    /// A write, sync or allocation of a volume failed otherwise than for want of space.
    #[error("volume {volume} could not be {step}")]
    Volume {
        /// The volume.
        volume: u32,
        /// What was tried: `written`, `synced` and the like.
        step: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The log has the writes, the index does not take them.
    #[error("the index could not be updated")]
    Index(#[source] IndexError),
    /// Volume numbers or sequence numbers have run out.
    #[error("the store has run out of numbers")]
    Exhausted,
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no such bucket.
    #[error("bucket {bucket} does not exist")]
    NoSuchBucket {
        /// The bucket.
        bucket: BucketName,
    },
    /// What is on disk is not what was written. None of it is served.
    #[error("volume {volume} is damaged at byte {offset}: {reason}")]
    Damaged {
        /// The volume.
        volume: u32,
        /// Where the needle begins.
        offset: u64,
        /// What is wrong.
        reason: Damage,
    },
    /// A volume cannot be read.
    #[error("volume {volume} cannot be read at byte {offset}")]
    Volume {
        /// The volume.
        volume: u32,
        /// Where reading was tried.
        offset: u64,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The index cannot be read.
    #[error("the index cannot be read")]
    Index(#[source] IndexError),
}

/// What is wrong with a needle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The volume ends before the needle does.
    #[error("the volume ends within the needle")]
    Short,
    /// No needle begins here.
    #[error("no needle begins here")]
    Magic,
    /// The head's checksum does not match: bits have changed, or it was written for another
    /// place.
    #[error("the head's checksum does not match")]
    Head,
    /// The head is whole but says what cannot be.
    #[error("the head makes no sense")]
    Nonsense,
    /// A block of the payload does not match its checksum.
    #[error("block {block} of the payload does not match its checksum")]
    Block {
        /// The block, counted from 0.
        block: u32,
    },
    /// The trailer does not match the head.
    #[error("the trailer does not match the head")]
    Trailer,
    /// The volume ends without having been sealed, though a later one exists.
    #[error("the volume ends before its seal")]
    Unsealed,
    /// The volume's file is not there.
    #[error("the volume is missing")]
    Missing,
    /// A whole needle, but not the one that belongs here.
    #[error("another needle is found where this one belongs")]
    Other,
}
