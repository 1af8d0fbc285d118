//! Bodies of refused requests. A client that is still sending when its connection is closed is told
//! of a reset and not of the reason, so some of what it sends is read for nothing.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::EXPECT;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::runtime::Handle;

use crate::limits::{CONTROL_DRAIN_MAX, CONTROL_DRAIN_MS};

/// A request's body; what nobody reads of it is read when it is dropped.
#[derive(Debug)]
pub(super) struct Drained {
    /// `None` when it has ended, or may break off unread.
    incoming: Option<Incoming>,
    /// Whether the client sends only what it is asked for.
    asks_first: bool,
}

pub(super) fn drained(request: Request<Incoming>) -> Request<Drained> {
    let asks_first = request.headers().contains_key(EXPECT);
    request.map(|incoming| Drained {
        incoming: Some(incoming),
        asks_first,
    })
}

impl Body for Drained {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(incoming) = &mut self.incoming else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(incoming).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.incoming = None;
        }
        polled
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

impl Drop for Drained {
    fn drop(&mut self) {
        if self.asks_first || self.is_end_stream() {
            return;
        }
        if let (Some(incoming), Ok(runtime)) = (self.incoming.take(), Handle::try_current()) {
            let most = Duration::from_millis(CONTROL_DRAIN_MS);
            drop(runtime.spawn(tokio::time::timeout(most, drain(incoming))));
        }
    }
}

async fn drain(mut incoming: Incoming) {
    let mut drained = 0;
    while let Some(Ok(frame)) = incoming.frame().await {
        drained += frame.data_ref().map_or(0, Bytes::len);
        if drained > CONTROL_DRAIN_MAX {
            return;
        }
    }
}
