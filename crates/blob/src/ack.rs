//! The promise of an acknowledgement.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use crate::error::WriteError;
use crate::object::Committed;

/// The acknowledgement of a write: arrives when the write is durable and visible to readers, or
/// will never be. Await it, or [`wait`](Self::wait) for it on a thread that may block. A dropped
/// `Ack` does not undo the write.
#[derive(Debug)]
#[must_use = "a write counts only once it is acknowledged"]
pub struct Ack(State);

#[derive(Debug)]
enum State {
    Known(Option<WriteError>),
    Waiting(oneshot::Receiver<Result<Committed, WriteError>>),
}

impl Ack {
    pub(crate) fn pending() -> (oneshot::Sender<Result<Committed, WriteError>>, Self) {
        let (sender, receiver) = oneshot::channel();
        (sender, Self(State::Waiting(receiver)))
    }

    pub(crate) fn refused(error: WriteError) -> Self {
        Self(State::Known(Some(error)))
    }

    /// Blocks the thread until the answer is there. Must not be called from async code.
    pub fn wait(self) -> Result<Committed, WriteError> {
        match self.0 {
            State::Known(error) => Err(error.unwrap_or(WriteError::Stopped)),
            State::Waiting(receiver) => {
                receiver.blocking_recv().unwrap_or(Err(WriteError::Stopped))
            }
        }
    }
}

impl Future for Ack {
    type Output = Result<Committed, WriteError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Known(error) => Poll::Ready(Err(error.take().unwrap_or(WriteError::Stopped))),
            // The committer answers all it takes; a lost sender means it is gone.
            State::Waiting(receiver) => Pin::new(receiver)
                .poll(context)
                .map(|answer| answer.unwrap_or(Err(WriteError::Stopped))),
        }
    }
}
