//! What a guest asks for while its call is traced.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use fractus_func::trace::{Span, SpanId};
use fractus_func::{Body, BodyError, OutboundError};
use http::{HeaderMap, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;

use super::Recorder;

/// Something that a guest asked for and that is not over. Dropped, it is.
#[derive(Debug)]
pub(crate) struct Part(Mark);

/// A span of a recorder.
#[derive(Clone, Debug)]
struct Mark {
    recorder: Arc<Recorder>,
    id: SpanId,
}

impl Mark {
    fn change(&self, change: impl FnOnce(&mut Span)) {
        self.recorder.with(self.id, change);
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let Mark { recorder, id } = &self.0;
        recorder.end(*id);
    }
}

impl Part {
    pub(super) fn new(recorder: &Arc<Recorder>, id: SpanId) -> Self {
        let recorder = Arc::clone(recorder);
        Self(Mark { recorder, id })
    }

    /// Tells whoever is asked which trace this is part of, unless the guest did.
    pub(crate) fn tell(&self, headers: &mut HeaderMap) {
        self.0.recorder.tell_asked(self.0.id, headers);
    }

    /// Counts the bytes of a request's body.
    pub(crate) fn sends(&self, request: Request<Body>) -> Request<Body> {
        let mark = self.0.clone();
        request.map(|body| {
            let counted = Counted {
                body,
                mark,
                side: Side::Out,
                part: None,
            };
            counted.boxed_unsync()
        })
    }

    /// Takes what was answered. It is over with the last byte of an answer, or when the guest
    /// reads no more of it.
    pub(crate) fn answered(
        self,
        answer: Result<Response<Body>, OutboundError>,
    ) -> Result<Response<Body>, OutboundError> {
        let response = answer.inspect_err(|error| self.failed(error))?;
        let status = response.status();
        self.0.change(|span| {
            span.status = Some(status.as_u16());
            // As OpenTelemetry has it for clients.
            if status.is_client_error() || status.is_server_error() {
                span.error = Some(status.as_str().to_owned());
            }
        });
        Ok(response.map(|body| {
            let counted = Counted {
                mark: self.0.clone(),
                side: Side::In,
                part: (!body.is_end_stream()).then_some(self),
                body,
            };
            counted.boxed_unsync()
        }))
    }

    /// Notes that there is no answer.
    pub(crate) fn failed(&self, error: &OutboundError) {
        let code = match error {
            OutboundError::Denied { .. } => "denied",
            OutboundError::NoSuchHost(_) => "no-such-host",
            OutboundError::Failed { .. } => "failed",
            OutboundError::Timeout(_) => "timeout",
        };
        self.0.change(|span| span.error = Some(code.to_owned()));
    }
}

/// Which way a body goes, seen from the guest.
#[derive(Clone, Copy)]
enum Side {
    In,
    Out,
}

/// A body whose bytes are counted.
struct Counted {
    body: Body,
    mark: Mark,
    side: Side,
    /// Is over with the body.
    part: Option<Part>,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
                this.mark.change(|span| match this.side {
                    Side::In => span.bytes_in += bytes,
                    Side::Out => span.bytes_out += bytes,
                });
            }
            Some(Err(error)) => {
                let error = match error {
                    BodyError::Stalled => "stalled",
                    _ => "broken-off",
                };
                this.mark.change(|span| span.error = Some(error.to_owned()));
            }
            None => {}
        }
        if !matches!(frame, Some(Ok(_))) || this.body.is_end_stream() {
            drop(this.part.take());
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
