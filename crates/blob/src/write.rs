//! Writing an object.

use std::sync::Arc;

use md5::{Digest, Md5};

use crate::ack::{Ack, Promise, Receipt};
use crate::error::WriteError;
use crate::format::{
    ChunkRef, Draft, Kind, NEEDLE_ALIGN, TRAILER_BYTES, encode_chunks, encode_object_meta,
};
use crate::limits::CHUNK_BYTES;
use crate::name::{BucketName, ObjectKey};
use crate::object::{ETag, MAX_OBJECT_BYTES, ObjectMeta, Precondition};
use crate::queue::{Action, PutObject, Request, Target};
use crate::shared::Shared;

/// An object being written. Holds at most two chunks of it in memory: one being filled and one on
/// its way to disk. Dropping it abandons the object; chunks already written become garbage.
#[derive(Debug)]
pub struct ObjectWriter {
    shared: Arc<Shared>,
    target: Target,
    meta: ObjectMeta,
    md5: Md5,
    size: u64,
    buffer: Vec<u8>,
    chunks: Vec<ChunkRef>,
    /// The chunk on its way: the committer holds the other end.
    pending: Option<(Promise, PendingChunk)>,
    /// Why this can become no object any more. Set while a write is under way, so that one that
    /// failed or whose future was dropped leaves it set.
    broken: Option<WriteError>,
}

/// What is known of a chunk before it has a place.
#[derive(Debug)]
struct PendingChunk {
    end: u64,
    head_len: u32,
}

/// A chunk with the committer's answer.
type Settled = (Result<Receipt, WriteError>, PendingChunk);

impl ObjectWriter {
    pub(crate) fn new(
        shared: Arc<Shared>,
        bucket: BucketName,
        key: ObjectKey,
        meta: ObjectMeta,
    ) -> Self {
        Self {
            shared,
            target: Target {
                bucket,
                key,
                precondition: Precondition::None,
            },
            meta,
            md5: Md5::new(),
            size: 0,
            buffer: Vec::new(),
            chunks: Vec::new(),
            pending: None,
            broken: None,
        }
    }

    /// Makes the write depend on `precondition`, decided when the object is complete.
    #[must_use]
    pub fn precondition(mut self, precondition: Precondition) -> Self {
        self.target.precondition = precondition;
        self
    }

    /// Appends to the content. For objects up to 1 MiB this never waits; beyond, it blocks while
    /// the chunk before the last is not yet on disk, and must not be called from async code.
    /// After an error the object cannot be completed.
    pub fn write(&mut self, mut data: &[u8]) -> Result<(), WriteError> {
        self.begin(data)?;
        while self.fill(&mut data) {
            let settled = self
                .pending
                .take()
                .map(|(promise, chunk)| (promise.wait(), chunk));
            self.settle(settled)?;
            self.send_chunk()?;
        }
        self.broken = None;
        Ok(())
    }

    /// As [`write`](Self::write), waiting without blocking. If the future is dropped before its
    /// end, the object cannot be completed.
    pub async fn write_async(&mut self, mut data: &[u8]) -> Result<(), WriteError> {
        self.begin(data)?;
        while self.fill(&mut data) {
            let settled = self.settled().await;
            self.settle(settled)?;
            self.send_chunk()?;
        }
        self.broken = None;
        Ok(())
    }

    /// Completes the object. Waits as [`write`](Self::write) does, then leaves the rest to the
    /// acknowledgement.
    pub fn finish(mut self) -> Ack {
        let settled = self
            .pending
            .take()
            .map(|(promise, chunk)| (promise.wait(), chunk));
        let chunks = self.settle(settled).and_then(|()| self.send_last_chunk());
        let settled = self
            .pending
            .take()
            .map(|(promise, chunk)| (promise.wait(), chunk));
        let chunks = chunks.and_then(|()| self.settle(settled));
        self.complete(chunks)
    }

    /// As [`finish`](Self::finish), waiting without blocking.
    pub async fn finish_async(mut self) -> Ack {
        let settled = self.settled().await;
        let chunks = self.settle(settled).and_then(|()| self.send_last_chunk());
        let settled = self.settled().await;
        let chunks = chunks.and_then(|()| self.settle(settled));
        self.complete(chunks)
    }

    /// The entity tag of what was written so far.
    pub fn etag(&self) -> ETag {
        ETag {
            md5: self.md5.clone().finalize().into(),
            parts: 0,
        }
    }

    /// Bytes written so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Counts data that is about to be written, and calls the object broken until it is.
    fn begin(&mut self, data: &[u8]) -> Result<(), WriteError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        self.size += data.len() as u64;
        if self.size > MAX_OBJECT_BYTES {
            self.broken = Some(WriteError::TooLarge);
            return Err(WriteError::TooLarge);
        }
        self.broken = Some(WriteError::Interrupted);
        self.md5.update(data);
        Ok(())
    }

    /// Moves data into the buffer; true if there is more than it takes.
    fn fill(&mut self, data: &mut &[u8]) -> bool {
        let (now, rest) = data.split_at(data.len().min(CHUNK_BYTES - self.buffer.len()));
        self.buffer.extend_from_slice(now);
        *data = rest;
        !rest.is_empty()
    }

    /// Waits for the chunk on its way.
    async fn settled(&mut self) -> Option<Settled> {
        let (promise, chunk) = self.pending.take()?;
        Some((promise.await, chunk))
    }

    /// Notes where a chunk went.
    fn settle(&mut self, settled: Option<Settled>) -> Result<(), WriteError> {
        let Some((receipt, chunk)) = settled else {
            return Ok(());
        };
        let receipt = receipt.inspect_err(|error| self.broken = Some(error.clone()))?;
        self.chunks.push(ChunkRef {
            end: chunk.end,
            sequence: receipt.committed.version,
            offset: receipt.place.offset,
            volume: receipt.place.volume,
            head_len: chunk.head_len,
        });
        Ok(())
    }

    /// Sends the buffer on its way.
    fn send_chunk(&mut self) -> Result<(), WriteError> {
        let data = std::mem::replace(
            &mut self.buffer,
            Vec::with_capacity(CHUNK_BYTES + NEEDLE_ALIGN + TRAILER_BYTES),
        );
        let end = self.chunks.last().map_or(0, |chunk| chunk.end) + data.len() as u64;
        let size = data.len() as u64;
        let draft = Draft::new(Kind::Chunk, self.names(), &[], data, size);
        let chunk = PendingChunk {
            end,
            head_len: draft.head_len(),
        };
        let (reply, promise) = Promise::new();
        self.shared.queue.push(Request {
            draft,
            action: Action::Chunk,
            reply,
        })?;
        self.pending = Some((promise, chunk));
        Ok(())
    }

    /// Sends the rest of an object that is in chunks.
    fn send_last_chunk(&mut self) -> Result<(), WriteError> {
        if self.chunks.is_empty() || self.buffer.is_empty() {
            Ok(())
        } else {
            self.send_chunk()
        }
    }

    fn names(&self) -> (&str, &str) {
        (self.target.bucket.as_str(), self.target.key.as_str())
    }

    /// Sends the object's own needle, after which it exists.
    fn complete(mut self, chunks: Result<(), WriteError>) -> Ack {
        if let Some(error) = self.broken.take().or(chunks.err()) {
            return Ack::refused(error);
        }
        if !self.meta.is_within_limits() {
            return Ack::refused(WriteError::MetaTooLarge);
        }
        let etag = self.etag();
        let meta = encode_object_meta(etag, &self.meta);
        let (kind, data) = if self.chunks.is_empty() {
            (Kind::Object, std::mem::take(&mut self.buffer))
        } else {
            let end = self.chunks.last().map(|chunk| chunk.end);
            assert_eq!(end, Some(self.size), "the chunks are the whole content");
            (Kind::ChunkedObject, encode_chunks(&self.chunks))
        };
        let draft = Draft::new(kind, self.names(), &meta, data, self.size);
        let action = Action::Put(
            self.target,
            PutObject {
                etag,
                size: self.size,
            },
        );
        submit(&self.shared, draft, action)
    }
}

/// Hands a request to the committer.
pub(crate) fn submit(shared: &Shared, draft: Draft, action: Action) -> Ack {
    let (reply, promise) = Promise::new();
    match shared.queue.push(Request {
        draft,
        action,
        reply,
    }) {
        Ok(()) => Ack::new(promise),
        Err(refusal) => Ack::refused(refusal),
    }
}
