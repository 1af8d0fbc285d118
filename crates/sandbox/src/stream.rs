//! A body that is fed from elsewhere.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use fractus_func::{Body, BodyError};
use http_body::Frame;
use http_body_util::BodyExt as _;
use tokio::sync::mpsc;

/// The end that feeds a body.
#[derive(Debug)]
pub(crate) struct Chunks(mpsc::Sender<Result<Bytes, BodyError>>);

/// Nobody reads the body any more.
#[derive(Debug)]
pub(crate) struct Gone;

#[derive(Debug)]
struct Fed(mpsc::Receiver<Result<Bytes, BodyError>>);

/// A body, and the end that feeds it. At most so many chunks wait in between.
pub(crate) fn chunks(wait_max: usize) -> (Chunks, Body) {
    let (sender, receiver) = mpsc::channel(wait_max);
    (Chunks(sender), Fed(receiver).boxed_unsync())
}

impl Chunks {
    /// Adds bytes.
    pub(crate) async fn send(&self, chunk: Bytes) -> Result<(), Gone> {
        if chunk.is_empty() {
            return if self.0.is_closed() {
                Err(Gone)
            } else {
                Ok(())
            };
        }
        self.0.send(Ok(chunk)).await.or(Err(Gone))
    }

    /// Ends the body early.
    pub(crate) async fn fail(self, error: BodyError) {
        // Whoever does not read it any more need not know.
        self.0.send(Err(error)).await.ok();
    }

    /// Waits until nobody reads the body any more.
    pub(crate) async fn closed(&self) {
        self.0.closed().await;
    }
}

impl http_body::Body for Fed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let next = self.0.poll_recv(cx);
        next.map(|next| next.map(|chunk| chunk.map(Frame::data)))
    }
}
