//! A request's body on its way to a guest.

use bytes::{Bytes, BytesMut};
use fractus_func::{Body, BodyError, CallError, Outcome};
use http_body_util::BodyExt as _;

/// A request's body on its way in.
pub(super) struct Upload {
    pub(super) body: Option<Body>,
    pub(super) left: u64,
    pub(super) read: u64,
}

impl Upload {
    pub(super) fn new(body: Body, limit: u64) -> Self {
        Self {
            body: Some(body),
            left: limit,
            read: 0,
        }
    }

    /// Nothing to read.
    pub(super) fn none() -> Self {
        Self {
            body: None,
            left: 0,
            read: 0,
        }
    }

    /// The next bytes; None at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        while let Some(body) = &mut self.body {
            let Some(frame) = body.frame().await else {
                self.body = None;
                break;
            };
            let Ok(data) = frame?.into_data() else {
                continue;
            };
            let length = data.len() as u64;
            if length > self.left {
                return Err(BodyError::TooLarge(self.read + self.left));
            }
            self.left -= length;
            self.read += length;
            if body_is_at_end(body) {
                self.body = None;
            }
            return Ok(Some(data));
        }
        Ok(None)
    }

    /// Whether there may be more.
    pub(super) fn has_more(&self) -> bool {
        self.body.as_ref().is_some_and(|body| !body_is_at_end(body))
    }

    /// Reads until there are at least so many bytes, or all.
    pub(super) async fn collect(&mut self, at_least: usize) -> Result<Bytes, BodyError> {
        let mut first = Bytes::new();
        let mut all = BytesMut::new();
        while first.len() + all.len() < at_least && self.has_more() {
            let Some(data) = self.next().await? else {
                break;
            };
            if first.is_empty() && all.is_empty() {
                // Most bodies come in one piece.
                first = data;
                continue;
            }
            if all.is_empty() {
                all.extend_from_slice(&std::mem::take(&mut first));
            }
            all.extend_from_slice(&data);
        }
        Ok(if all.is_empty() { first } else { all.freeze() })
    }
}

pub(super) fn body_is_at_end(body: &Body) -> bool {
    http_body::Body::is_end_stream(body)
}

pub(super) fn unread(error: &BodyError) -> CallError {
    let outcome = match error {
        BodyError::TooLarge(_) => Outcome::RequestTooLarge,
        _ => Outcome::Cancelled,
    };
    CallError::new(outcome, error.to_string())
}
