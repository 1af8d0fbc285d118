//! Bodies on their way into and out of a guest.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context as TaskContext, Poll, ready};

use bytes::Bytes;
use fractus_func::{Body, BodyError, Outcome};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use tokio::task::JoinHandle;
use wasmtime_wasi_http::Error;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use crate::call::{Context, Ending};

/// What a guest is told when its request's or an answer's body breaks off.
#[expect(clippy::needless_pass_by_value, reason = "shaped for map_err")]
pub(crate) fn to_guest_error(error: BodyError) -> Error {
    match error {
        BodyError::TooLarge(limit) => Error::HttpRequestBodySize(Some(limit)),
        BodyError::Stalled => Error::ConnectionReadTimeout,
        BodyError::Disconnected | BodyError::Guest(_) | BodyError::Storage => {
            Error::HttpResponseIncomplete
        }
    }
}

/// What the other side is told when a body that a guest writes breaks off.
pub(crate) fn from_guest_error(_error: Error) -> BodyError {
    BodyError::Guest(Outcome::GuestError)
}

/// A request's body as the guest reads it: counted, and cut off at the limit.
pub(crate) struct RequestBody {
    pub(crate) inner: Body,
    pub(crate) context: Arc<Context>,
    pub(crate) limit: u64,
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        let meter = &self.context.meter;
        if let Some(Err(BodyError::Disconnected)) = frame {
            // Whatever the guest makes of it is not its fault.
            meter.end(Outcome::Cancelled);
        }
        let Some(Ok(frame)) = frame else {
            return Poll::Ready(frame.map(|end| end.map_err(to_guest_error)));
        };
        let more = frame.data_ref().map_or(0, |data| data.len() as u64);
        if meter.request_bytes.fetch_add(more, Ordering::Relaxed) + more > self.limit {
            meter.end(Outcome::RequestTooLarge);
            return Poll::Ready(Some(Err(Error::HttpRequestBodySize(Some(self.limit)))));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The frames of a response's body that a guest has written, taken as they come.
pub(crate) struct Written {
    inner: HyperOutgoingBody,
    context: Arc<Context>,
    limit: u64,
}

impl Written {
    pub(crate) fn new(inner: HyperOutgoingBody, context: Arc<Context>) -> Self {
        let limit = context.host.limits().response_bytes();
        Self {
            inner,
            context,
            limit,
        }
    }

    /// The next frame; a body whose guest came to grief ends with an error, never as if whole.
    pub(crate) fn poll(
        &mut self,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let meter = &self.context.meter;
        let broken = |outcome| Poll::Ready(Some(Err(BodyError::Guest(outcome))));
        match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
            Some(Ok(frame)) => {
                let more = frame.data_ref().map_or(0, |data| data.len() as u64);
                if meter.response_bytes.fetch_add(more, Ordering::Relaxed) + more > self.limit {
                    return broken(meter.amend(Outcome::ResponseTooLarge));
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(_aborted)) => broken(meter.amend(Outcome::GuestError)),
            None => match meter.outcome() {
                None | Some(Outcome::Ok) => Poll::Ready(None),
                Some(outcome) => broken(outcome),
            },
        }
    }
}

/// A response's body that streams while the guest goes on in a task of its own. Dropping it before
/// its end ends the guest.
pub(crate) struct Streaming {
    /// Frames that had come before the task was started, last one first.
    pub(crate) early: Vec<Frame<Bytes>>,
    pub(crate) written: Written,
    pub(crate) guest: Option<JoinHandle<()>>,
    /// The length that the guest announced, in bytes.
    pub(crate) announced: Option<u64>,
    /// The report counts what was read here.
    pub(crate) _ending: Arc<Ending>,
}

impl HttpBody for Streaming {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(frame) = self.early.pop() {
            return Poll::Ready(Some(Ok(frame)));
        }
        let next = ready!(self.written.poll(cx));
        if next.is_none() {
            // All is written: what the guest still does is its own affair, within its limits.
            self.guest = None;
        }
        Poll::Ready(next)
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        let meter = &self.written.context.meter;
        // Whoever knows the length does not ask for the end.
        let is_whole = self.announced == Some(meter.response_bytes.load(Ordering::Relaxed));
        if let Some(guest) = self.guest.take_if(|_| !is_whole) {
            // Decided before the guest can notice that nobody reads on and end well.
            meter.end(Outcome::Cancelled);
            guest.abort();
        }
    }
}

/// A body out of frames that are all there; whole when there is but data.
pub(crate) fn whole(mut frames: Vec<Frame<Bytes>>) -> Body {
    if frames.iter().any(Frame::is_trailers) {
        frames.reverse();
        return Early(frames).boxed_unsync();
    }
    let mut pieces = frames
        .into_iter()
        .filter_map(|frame| frame.into_data().ok());
    let first = pieces.next().unwrap_or_default();
    let rest: Vec<Bytes> = pieces.collect();
    let data = if rest.is_empty() {
        first
    } else {
        std::iter::once(first)
            .chain(rest)
            .collect::<Vec<_>>()
            .concat()
            .into()
    };
    Full::new(data)
        .map_err(|never| match never {})
        .boxed_unsync()
}

struct Early(Vec<Frame<Bytes>>);

impl HttpBody for Early {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(self.0.pop().map(Ok))
    }
}
