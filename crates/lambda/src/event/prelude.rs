//! The head in front of a streamed answer: JSON, eight zero bytes, then the body.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use fractus_func::{Body, BodyError};
use http::header::HeaderValue;
use http::response::Parts;
use http::{Response, header};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;

use super::answer::Integration;
use crate::ErrorShape;
use crate::limits::PRELUDE_MAX;

/// The type of a streamed answer that begins with a prelude.
const HTTP_INTEGRATION: &str = "application/vnd.awslambda.http-integration-response";
/// What ends a prelude. No JSON text has a zero byte in it.
const SEPARATOR: [u8; 8] = [0; 8];
const BINARY: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// Finds the prelude in a stream of chunks.
#[derive(Debug, Default)]
pub struct StreamPrelude {
    seen: BytesMut,
}

impl StreamPrelude {
    /// Takes the next bytes. Gives the head and the first bytes of the body, which may be empty,
    /// once the prelude is whole; it is not to be used after that, nor after an error.
    pub fn push(&mut self, chunk: &Bytes) -> Result<Option<(Parts, Bytes)>, ErrorShape> {
        let before = self.seen.len();
        let room = (PRELUDE_MAX + SEPARATOR.len()).saturating_sub(before);
        self.seen.extend_from_slice(&chunk[..chunk.len().min(room)]);
        let from = before.saturating_sub(SEPARATOR.len() - 1);
        let found = self.seen[from..]
            .windows(SEPARATOR.len())
            .position(|window| window == SEPARATOR);
        let Some(at) = found.map(|at| from + at) else {
            if chunk.len() >= room {
                return Err(ErrorShape::malformed(format_args!(
                    "no end of its prelude within {PRELUDE_MAX} bytes"
                )));
            }
            return Ok(None);
        };
        let head = prelude_head(&self.seen[..at])?;
        // The separator ends in this chunk, or it would have been found before.
        let body = chunk.slice(at + SEPARATOR.len() - before..);
        Ok(Some((head, body)))
    }
}

/// The head that a prelude's JSON, `{"statusCode", "headers", "cookies"}`, stands for.
pub fn prelude_head(json: &[u8]) -> Result<Parts, ErrorShape> {
    let prelude: Integration<'_> = serde_json::from_slice(json).map_err(ErrorShape::malformed)?;
    prelude.into_head(&BINARY)
}

/// A streamed answer as an HTTP answer: by its prelude if its type says that it has one, and with
/// status 200 otherwise. Waits until the head is known.
pub async fn stream_response(
    content_type: Option<&str>,
    mut body: Body,
) -> Result<Response<Body>, ErrorShape> {
    let kind = content_type.unwrap_or("");
    let essence = kind.split(';').next().unwrap_or("").trim();
    if !essence.eq_ignore_ascii_case(HTTP_INTEGRATION) {
        let value = HeaderValue::from_str(kind)
            .ok()
            .filter(|value| !value.is_empty());
        let mut response = Response::new(body);
        let value = value.unwrap_or(BINARY);
        response.headers_mut().insert(header::CONTENT_TYPE, value);
        return Ok(response);
    }
    let mut prelude = StreamPrelude::default();
    while let Some(frame) = body.frame().await {
        let frame = frame.or(Err(ErrorShape::truncated()))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if let Some((head, first)) = prelude.push(&data)? {
            let body = Prefixed { first, rest: body };
            return Ok(Response::from_parts(head, body.boxed_unsync()));
        }
    }
    Err(ErrorShape::malformed("it ended within its prelude"))
}

/// A body with bytes in front of it that were read already.
#[derive(Debug)]
struct Prefixed {
    first: Bytes,
    rest: Body,
}

impl http_body::Body for Prefixed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if !self.first.is_empty() {
            let first = std::mem::take(&mut self.first);
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        Pin::new(&mut self.rest).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
