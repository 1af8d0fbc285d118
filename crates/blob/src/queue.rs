//! What waits for the committer.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::ack::Reply;
use crate::error::WriteError;
use crate::format::Draft;
use crate::limits::{MAX_BATCH_BYTES, MAX_BATCH_REQUESTS, MAX_QUEUE};
use crate::name::{BucketName, ObjectKey};
use crate::object::{BucketSettings, ETag, Precondition};

/// A write: the needle, and what decides whether it happens.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) draft: Draft,
    pub(crate) action: Action,
    pub(crate) reply: Reply,
}

/// What a request is to do.
#[derive(Debug)]
pub(crate) enum Action {
    /// Store an object's needle.
    Put(Target, PutObject),
    /// Store a chunk, which nobody sees yet.
    Chunk,
    /// Delete an object.
    Delete(Target),
    /// Create a bucket.
    CreateBucket(BucketName, BucketSettings),
    /// Change a bucket.
    SetBucket(BucketName, BucketSettings),
    /// Delete a bucket.
    DeleteBucket(BucketName),
}

/// The object that a request is about, and on which condition.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) bucket: BucketName,
    pub(crate) key: ObjectKey,
    pub(crate) precondition: Precondition,
}

/// What the index will say of an object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PutObject {
    pub(crate) etag: ETag,
    pub(crate) size: u64,
}

impl Action {
    /// Whether it adds content, for which there must be space; the rest is small and may use what
    /// is reserved.
    pub(crate) fn adds_content(&self) -> bool {
        matches!(self, Self::Put(..) | Self::Chunk)
    }
}

/// The bounded queue between writers and the committer. Entering never blocks.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Request>,
    /// No more requests; the committer empties the queue and ends.
    closed: bool,
    /// The committer is gone.
    stopped: bool,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a request, or says why not.
    pub(crate) fn push(&self, request: Request) -> Result<(), WriteError> {
        let mut state = self.state();
        if state.closed || state.stopped {
            return Err(WriteError::Stopped);
        }
        if state.waiting.len() >= MAX_QUEUE {
            return Err(WriteError::Busy);
        }
        state.waiting.push_back(request);
        let was_empty = state.waiting.len() == 1;
        drop(state);
        if was_empty {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Waits for requests and takes a batch of them; none once the queue is closed and empty.
    pub(crate) fn take(&self) -> Option<Vec<Request>> {
        let mut state = self.state();
        while state.waiting.is_empty() {
            if state.closed {
                return None;
            }
            state = self
                .filled
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(next) = state.waiting.front() {
            // Whether a bucket is empty is asked of the index, which knows nothing of this batch.
            let begins_batch = matches!(next.action, Action::DeleteBucket(_));
            let is_full = bytes >= MAX_BATCH_BYTES || batch.len() >= MAX_BATCH_REQUESTS;
            if is_full || begins_batch && !batch.is_empty() {
                break;
            }
            bytes += next.draft.len();
            batch.extend(state.waiting.pop_front());
        }
        Some(batch)
    }

    /// Takes no more requests.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.filled.notify_one();
    }

    /// Takes no more requests, and gives up those that wait.
    pub(crate) fn stop(&self) -> VecDeque<Request> {
        let mut state = self.state();
        state.stopped = true;
        std::mem::take(&mut state.waiting)
    }
}
