//! Reading an object.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::error::{Damage, ReadError};
use crate::format::{ChunkRef, Entry, Head, Kind, Meta, TRAILER_BYTES, decode_chunks};
use crate::limits::{BLOCK_BYTES, INLINE_READ_BYTES, READ_STEP_BYTES};
use crate::name::{BucketName, ObjectKey};
use crate::object::{ObjectInfo, ObjectMeta};
use crate::shared::Shared;
use crate::volumes::{VolumeFile, Volumes};

/// Where a needle is, and what it must be to be the right one.
#[derive(Debug, Clone, Copy)]
struct Locator<'a> {
    volume: u32,
    offset: u64,
    head_len: u32,
    sequence: u64,
    bucket: &'a BucketName,
    key: &'a ObjectKey,
}

/// A needle whose head is verified.
#[derive(Debug, Clone)]
struct Needle {
    file: VolumeFile,
    volume: u32,
    offset: u64,
    head: Head,
    /// The payload, not yet verified, if it came with the head.
    inline: Option<Bytes>,
}

impl Needle {
    /// Reads a head, and `payload` bytes behind it with the same read.
    fn open(volumes: &Volumes, at: Locator<'_>, payload: usize) -> Result<Self, ReadError> {
        let Locator { volume, offset, .. } = at;
        let failed = |source| ReadError::Volume {
            volume,
            offset,
            source,
        };
        let file = volumes.file(volume).map_err(failed)?;
        let head_len = at.head_len as usize;
        let mut bytes = BytesMut::zeroed(head_len + payload);
        let read = file.read_at(&mut bytes, offset).map_err(failed)?;
        bytes.truncate(read);
        let damaged = |reason| ReadError::Damaged {
            volume,
            offset,
            reason,
        };
        let head = Head::decode(&bytes, volumes.place(volume, offset)).map_err(damaged)?;
        let is_right = head.len() == head_len
            && head.sequence() == at.sequence
            && head.bucket().as_ref() == Some(at.bucket)
            && head.key().as_ref() == Some(at.key);
        if !is_right {
            return Err(damaged(Damage::Other));
        }
        let data = bytes.freeze().slice(head_len..);
        let inline = (payload > 0).then(|| data.slice(..data.len().min(head.data_len())));
        Ok(Self {
            file,
            volume,
            offset,
            head,
            inline,
        })
    }

    fn damaged(&self, reason: Damage) -> ReadError {
        ReadError::Damaged {
            volume: self.volume,
            offset: self.offset,
            reason,
        }
    }

    /// Payload bytes from `at`, up to `end` and to the size of a step, every block of them
    /// verified.
    fn read(&self, at: usize, end: usize) -> Result<Bytes, ReadError> {
        let from = at / BLOCK_BYTES * BLOCK_BYTES;
        let to = end.min(from + READ_STEP_BYTES);
        let to_block = to.next_multiple_of(BLOCK_BYTES).min(self.head.data_len());
        let bytes = match &self.inline {
            Some(all) => all
                .get(from..to_block)
                .map(|_whole| all.slice(from..to_block)),
            None => self.fetch(from, to_block - from)?,
        };
        let bytes = bytes.ok_or_else(|| self.damaged(Damage::Short))?;
        let checked = self.head.check_blocks(from / BLOCK_BYTES, &bytes);
        checked.map_err(|reason| self.damaged(reason))?;
        Ok(bytes.slice(at - from..to - from))
    }

    fn fetch(&self, from: usize, len: usize) -> Result<Option<Bytes>, ReadError> {
        let at = self.offset + (self.head.len() + from) as u64;
        let failed = |source| ReadError::Volume {
            volume: self.volume,
            offset: at,
            source,
        };
        let mut bytes = BytesMut::zeroed(len);
        let read = self.file.read_at(&mut bytes, at).map_err(failed)?;
        Ok((read == len).then(|| bytes.freeze()))
    }

    /// The whole payload, verified.
    fn read_all(&self) -> Result<Vec<u8>, ReadError> {
        let len = self.head.data_len();
        let mut all = Vec::with_capacity(len);
        while all.len() < len {
            all.extend_from_slice(&self.read(all.len(), len)?);
        }
        Ok(all)
    }
}

/// An object found: its head is read and verified, its content is read on demand. What is written
/// to its key later does not change it.
#[derive(Debug)]
pub struct Object {
    shared: Arc<Shared>,
    bucket: BucketName,
    info: ObjectInfo,
    meta: ObjectMeta,
    content: Content,
}

/// Where the content is.
#[derive(Debug, Clone)]
enum Content {
    Whole(Needle),
    Chunks(Arc<[ChunkRef]>),
}

/// Whether the content is going to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    Head,
    Content,
}

/// Finds an object.
pub(crate) fn find(
    shared: &Arc<Shared>,
    bucket: &BucketName,
    key: &ObjectKey,
    want: Want,
) -> Result<Option<Object>, ReadError> {
    let Some(entry) = lookup(shared, bucket, key)? else {
        return Ok(None);
    };
    let Entry {
        volume,
        offset,
        head_len,
        sequence,
        ..
    } = entry;
    let at = Locator {
        volume,
        offset,
        head_len,
        sequence,
        bucket,
        key,
    };
    let data_len = entry.data_len as usize;
    let together = want == Want::Content && data_len <= INLINE_READ_BYTES;
    let payload = if together {
        data_len + TRAILER_BYTES
    } else {
        0
    };
    let needle = Needle::open(&shared.volumes, at, payload)?;
    let meta = Meta::decode(needle.head.meta()).map_err(|reason| needle.damaged(reason))?;
    let content = match needle.head.kind() {
        Kind::Object => Content::Whole(needle),
        Kind::ChunkedObject if want == Want::Head => Content::Chunks(Arc::default()),
        Kind::ChunkedObject => {
            let chunks = decode_chunks(&needle.read_all()?, entry.size);
            Content::Chunks(
                chunks
                    .ok_or_else(|| needle.damaged(Damage::Nonsense))?
                    .into(),
            )
        }
        _ => return Err(needle.damaged(Damage::Other)),
    };
    Ok(Some(Object {
        shared: Arc::clone(shared),
        bucket: bucket.clone(),
        info: entry.info(key.clone()),
        meta: meta.object,
        content,
    }))
}

fn lookup(
    shared: &Shared,
    bucket: &BucketName,
    key: &ObjectKey,
) -> Result<Option<Entry>, ReadError> {
    let value = shared.index.get(&crate::format::object_key(bucket, key));
    match value.map_err(ReadError::Index)? {
        Some(value) => Entry::decode(&value)
            .map(Some)
            .ok_or(ReadError::Index(crate::IndexError::Value)),
        None if shared.bucket(bucket).is_none() => Err(ReadError::NoSuchBucket {
            bucket: bucket.clone(),
        }),
        None => Ok(None),
    }
}

impl Object {
    /// What the index knows of it.
    pub fn info(&self) -> &ObjectInfo {
        &self.info
    }

    /// What its writer said about it.
    pub fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    pub(crate) fn into_parts(self) -> (ObjectInfo, ObjectMeta) {
        (self.info, self.meta)
    }

    /// Reads bytes `range` of the content, clipped to its size; `0..u64::MAX` reads all.
    pub fn read(&self, range: Range<u64>) -> ObjectReader {
        let end = range.end.min(self.info.size);
        ObjectReader {
            shared: Arc::clone(&self.shared),
            bucket: self.bucket.clone(),
            key: self.info.key.clone(),
            content: self.content.clone(),
            at: range.start.min(end),
            end,
            chunk: None,
        }
    }
}

/// A reader of an object or a range of it. Independent of the [`Object`] it came from.
#[derive(Debug)]
pub struct ObjectReader {
    shared: Arc<Shared>,
    bucket: BucketName,
    key: ObjectKey,
    content: Content,
    at: u64,
    end: u64,
    /// The chunk that is being read, by its number.
    chunk: Option<(usize, Needle)>,
}

impl ObjectReader {
    /// Bytes not yet read.
    pub fn remaining(&self) -> u64 {
        self.end - self.at
    }

    /// The next bytes, up to 256 KiB, or none at the end. Every byte given has passed its block's
    /// checksum. Blocks for disk reads. After an error the same place is tried again.
    pub fn next_block(&mut self) -> Result<Option<Bytes>, ReadError> {
        if self.at >= self.end {
            return Ok(None);
        }
        let bytes = match &self.content {
            Content::Whole(needle) => piece(needle, self.at, self.end)?,
            Content::Chunks(chunks) => {
                let chunks = Arc::clone(chunks);
                let number = chunks.partition_point(|chunk| chunk.end <= self.at);
                let chunk = chunks[number];
                let begin = number
                    .checked_sub(1)
                    .map_or(0, |previous| chunks[previous].end);
                let (from, to) = (self.at - begin, self.end.min(chunk.end) - begin);
                piece(self.chunk(number, chunk, chunk.end - begin)?, from, to)?
            }
        };
        self.at += bytes.len() as u64;
        Ok(Some(bytes))
    }

    /// The needle of a chunk that has `len` bytes.
    fn chunk(&mut self, number: usize, at: ChunkRef, len: u64) -> Result<&Needle, ReadError> {
        let open = self.chunk.take().filter(|(open, _)| *open == number);
        let needle = if let Some((_, needle)) = open {
            needle
        } else {
            let ChunkRef {
                volume,
                offset,
                head_len,
                sequence,
                ..
            } = at;
            let (bucket, key) = (&self.bucket, &self.key);
            let at = Locator {
                volume,
                offset,
                head_len,
                sequence,
                bucket,
                key,
            };
            let needle = Needle::open(&self.shared.volumes, at, 0)?;
            if needle.head.kind() != Kind::Chunk || needle.head.data_len() as u64 != len {
                return Err(needle.damaged(Damage::Other));
            }
            needle
        };
        Ok(&self.chunk.insert((number, needle)).1)
    }
}

/// Payload bytes of a needle by offsets that its size bounds.
fn piece(needle: &Needle, at: u64, end: u64) -> Result<Bytes, ReadError> {
    let offset = |at: u64| usize::try_from(at).expect("payloads are far below 4 GiB");
    if end > needle.head.data_len() as u64 {
        return Err(needle.damaged(Damage::Nonsense));
    }
    needle.read(offset(at), offset(end))
}
