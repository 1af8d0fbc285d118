//! A streamed answer on its way from the guest's request to whoever reads it. The bytes are not
//! copied or queued: the reader polls the request's body, and so the guest is as fast as its
//! reader.

use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use fractus_func::{BodyError, Outcome};
use http::HeaderMap;
use http_body::Frame;
use hyper::body::Incoming;
use tokio::sync::oneshot;

use super::routes::ERROR_TYPE;
use crate::ErrorShape;
use crate::limits::IN_BAND_ERROR_MAX;

const ERROR_BODY: &str = "lambda-runtime-function-error-body";
/// How an error begins that is sent as a chunk, in the place of trailers: so does the Rust runtime.
const IN_BAND: &[u8] = b"Lambda-Runtime-Function-Error-Type:";

/// How the guest's sending ended. Nothing is sent if the connection was lost.
#[derive(Debug)]
pub(super) enum End {
    Whole,
    /// The guest says that it failed on the way.
    Failed(ErrorShape),
    /// Here is the rest of it.
    TooLarge(Incoming),
    /// The reader has gone; here is the rest.
    Abandoned(Incoming),
}

#[derive(Debug)]
pub(super) struct AnswerBody {
    /// Read already.
    first: Bytes,
    /// `None` after its end.
    rest: Option<Incoming>,
    /// What may be an error in band, if nothing else follows it.
    held: BytesMut,
    max: u64,
    left: u64,
    /// The other end is held by the request's handler.
    end: Option<oneshot::Sender<End>>,
}

impl AnswerBody {
    pub(super) fn new(first: Bytes, rest: Incoming, max: u64, end: oneshot::Sender<End>) -> Self {
        Self {
            first,
            rest: Some(rest),
            held: BytesMut::new(),
            max,
            left: max,
            end: Some(end),
        }
    }

    fn tell(&mut self, end: End) {
        if let Some(sender) = self.end.take() {
            // The handler may have gone with its connection.
            sender.send(end).ok();
        }
    }

    fn fail(&mut self, error: ErrorShape) -> BodyError {
        self.rest = None;
        self.tell(End::Failed(error));
        BodyError::Guest(Outcome::GuestError)
    }

    /// Takes data; gives what may go on to the reader, if anything.
    fn take(&mut self, data: Bytes) -> Result<Option<Bytes>, BodyError> {
        let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
        let Some(left) = self.left.checked_sub(length) else {
            if let Some(rest) = self.rest.take() {
                self.tell(End::TooLarge(rest));
            }
            return Err(BodyError::TooLarge(self.max));
        };
        self.left = left;
        if self.held.is_empty() && !data.starts_with(IN_BAND) {
            return Ok(Some(data).filter(|data| !data.is_empty()));
        }
        self.held.extend_from_slice(&data);
        let too_long = self.held.len() > IN_BAND_ERROR_MAX;
        Ok(too_long.then(|| mem::take(&mut self.held).freeze()))
    }

    /// The end of the guest's request: gives what was held back, if it is no error.
    fn finish(&mut self) -> Result<Option<Bytes>, BodyError> {
        let held = mem::take(&mut self.held).freeze();
        if let Some(error) = in_band_error(&held) {
            return Err(self.fail(error));
        }
        self.rest = None;
        self.tell(End::Whole);
        Ok(Some(held).filter(|held| !held.is_empty()))
    }
}

impl http_body::Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        loop {
            let first = mem::take(&mut this.first);
            let Some(rest) = &mut this.rest else {
                return Poll::Ready(None);
            };
            let next = if first.is_empty() {
                ready!(Pin::new(rest).poll_frame(context))
            } else {
                Some(Ok(Frame::data(first)))
            };
            let given = match next.map(|frame| frame.map(Frame::into_data)) {
                None => this.finish(),
                Some(Ok(Ok(data))) => this.take(data),
                Some(Ok(Err(other))) => match other.trailers_ref().and_then(trailer_error) {
                    Some(error) => Err(this.fail(error)),
                    None => continue,
                },
                Some(Err(_)) => {
                    this.rest = None;
                    this.end = None;
                    Err(BodyError::Disconnected)
                }
            };
            match given {
                Ok(Some(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Err(error) => return Poll::Ready(Some(Err(error))),
                Ok(None) => {}
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_none()
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        if let Some(rest) = self.rest.take() {
            self.tell(End::Abandoned(rest));
        }
    }
}

/// The error that trailers tell, if they do.
pub(super) fn trailer_error(trailers: &HeaderMap) -> Option<ErrorShape> {
    let text = |name: &str| {
        let value = trailers.get(name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let (kind, body) = (text(ERROR_TYPE), text(ERROR_BODY));
    if kind.is_none() && body.is_none() {
        return None;
    }
    let body = body.unwrap_or_default();
    Some(from_base64(kind.as_deref(), &body))
}

/// The error that a last chunk tells, if it does: lines as trailers would be.
fn in_band_error(chunk: &[u8]) -> Option<ErrorShape> {
    if !chunk.starts_with(IN_BAND) {
        return None;
    }
    let text = str::from_utf8(chunk).ok()?;
    let mut lines = text.trim_end().split("\r\n");
    let (_, kind) = lines.next()?.split_once(':')?;
    let (name, body) = lines.next()?.split_once(':')?;
    let whole = name.eq_ignore_ascii_case(ERROR_BODY) && lines.next().is_none();
    whole.then(|| from_base64(Some(kind.trim()), body.trim()))
}

/// An error report in base64; the Rust runtime's holds nothing but the message.
fn from_base64(kind: Option<&str>, body: &str) -> ErrorShape {
    let decoded = STANDARD.decode(body.trim());
    let bytes = decoded.as_deref().unwrap_or(body.as_bytes());
    ErrorShape::from_report(bytes, kind)
}
