//! The body of a request on its way to an origin.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use fractus_func::{Body, BodyError};
use http::HeaderMap;
use http::header::EXPECT;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep};

use crate::body::empty;
use crate::conn::ConnState;
use crate::limits::DRAIN_MAX;

/// Data of a request; trailers end here.
struct Upload {
    /// `None` when it has ended.
    incoming: Option<Incoming>,
    stall: Duration,
    /// Made when the client is first waited for.
    deadline: Option<Pin<Box<Sleep>>>,
    /// Whether `deadline` counts.
    waiting: bool,
    /// Whether the client sends only what it is asked for.
    asks_first: bool,
    connection: Arc<ConnState>,
}

/// A request's body for an origin; it ends with an error when the client stalls, goes, or breaks
/// its framing.
pub(crate) fn upload(
    incoming: Incoming,
    request: &HeaderMap,
    stall: Duration,
    connection: Arc<ConnState>,
) -> Body {
    if http_body::Body::is_end_stream(&incoming) {
        return empty();
    }
    let upload = Upload {
        incoming: Some(incoming),
        stall,
        deadline: None,
        waiting: false,
        asks_first: request.contains_key(EXPECT),
        connection,
    };
    upload.boxed_unsync()
}

impl Upload {
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let until = Instant::now() + self.stall;
        let deadline = self
            .deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        if !std::mem::replace(&mut self.waiting, true) {
            deadline.as_mut().reset(until);
        }
        deadline.as_mut().poll(cx)
    }

    fn fail(&mut self, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.incoming = None;
        Poll::Ready(Some(Err(error)))
    }
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(incoming) = &mut self.incoming else {
            return Poll::Ready(None);
        };
        let Poll::Ready(frame) = Pin::new(incoming).poll_frame(cx) else {
            ready!(self.poll_stalled(cx));
            return self.fail(BodyError::Stalled);
        };
        self.waiting = false;
        match frame {
            Some(Ok(frame)) if frame.is_data() => Poll::Ready(Some(Ok(frame))),
            Some(Err(error)) => {
                tracing::debug!(error = %fractus_stdx::ErrorChain(&error), "request body broke off");
                self.connection.lose_upload();
                self.fail(BodyError::Disconnected)
            }
            Some(Ok(_)) | None => {
                self.incoming = None;
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let none = || SizeHint::with_exact(0);
        self.incoming
            .as_ref()
            .map_or_else(none, Incoming::size_hint)
    }
}

/// An origin that answers before it has read all leaves the client sending: to close on it would
/// lose it the answer. So some of the rest is read for nothing.
impl Drop for Upload {
    fn drop(&mut self) {
        if self.asks_first || http_body::Body::is_end_stream(self) {
            return;
        }
        if let (Some(incoming), Ok(runtime)) = (self.incoming.take(), Handle::try_current()) {
            drop(runtime.spawn(tokio::time::timeout(self.stall, drain(incoming))));
        }
    }
}

async fn drain(mut incoming: Incoming) {
    let mut drained = 0;
    while let Some(Ok(frame)) = incoming.frame().await {
        drained += frame.data_ref().map_or(0, Bytes::len);
        if drained > DRAIN_MAX {
            return;
        }
    }
}
