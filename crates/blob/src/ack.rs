//! The promise of an acknowledgement.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::sync::oneshot;

use crate::error::WriteError;
use crate::format::Place;
use crate::object::Committed;

/// What the committer answers: what the caller is told, and where the needle went.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Receipt {
    pub(crate) committed: Committed,
    pub(crate) place: Place,
}

/// Where the committer puts its answer.
pub(crate) type Reply = oneshot::Sender<Result<Receipt, WriteError>>;

/// The committer's answer to come.
#[derive(Debug)]
pub(crate) struct Promise(oneshot::Receiver<Result<Receipt, WriteError>>);

impl Promise {
    pub(crate) fn new() -> (Reply, Self) {
        let (reply, receiver) = oneshot::channel();
        (reply, Self(receiver))
    }

    pub(crate) fn wait(self) -> Result<Receipt, WriteError> {
        self.0.blocking_recv().unwrap_or(Err(WriteError::Stopped))
    }
}

impl Future for Promise {
    type Output = Result<Receipt, WriteError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // The committer answers all that it takes; a lost sender means that it is gone.
        Pin::new(&mut self.0)
            .poll(context)
            .map(|answer| answer.unwrap_or(Err(WriteError::Stopped)))
    }
}

/// The acknowledgement of a write: arrives when the write is durable and visible to readers, or
/// will never be. Await it, or [`wait`](Self::wait) for it on a thread that may block. A dropped
/// `Ack` does not undo the write.
#[derive(Debug)]
#[must_use = "a write counts only once it is acknowledged"]
pub struct Ack(Promise);

impl Ack {
    pub(crate) fn new(promise: Promise) -> Self {
        Self(promise)
    }

    pub(crate) fn refused(error: WriteError) -> Self {
        let (reply, promise) = Promise::new();
        // The receiver is alive: it is in `promise`.
        drop(reply.send(Err(error)));
        Self(promise)
    }

    /// Blocks the thread until the answer is there. Must not be called from async code.
    pub fn wait(self) -> Result<Committed, WriteError> {
        self.0.wait().map(|receipt| receipt.committed)
    }
}

impl Future for Ack {
    type Output = Result<Committed, WriteError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.0).poll(context));
        Poll::Ready(answer.map(|receipt| receipt.committed))
    }
}
