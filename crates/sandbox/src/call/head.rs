//! Heads of requests and answers, between HTTP and what guests write.

use bytes::Bytes;
use fractus_func::{CallError, Outcome, Payload};
use fractus_lambda::limits::{ANSWER_FIELDS_MAX, ANSWER_HEAD_MAX};
use fractus_lambda::{ErrorShape, answer_from_json, prelude_head, raw_answer};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Response, StatusCode};

use crate::call::failure::shaped;
use crate::frame::{AnswerHead, StreamHead};

pub(super) fn header_list(head: &Parts) -> Vec<(&str, String)> {
    let text = |value: &HeaderValue| value.as_bytes().iter().map(|b| char::from(*b)).collect();
    head.headers
        .iter()
        .map(|(name, value)| (name.as_str(), text(value)))
        .collect()
}

pub(super) fn malformed_head() -> CallError {
    shaped(
        Outcome::GuestError,
        ErrorShape::malformed("its status or a header cannot be sent, or there are too many"),
    )
}

/// A handler's whole answer as HTTP.
pub(super) fn whole(json: Bytes, payload: Payload) -> Result<Response<Bytes>, CallError> {
    match payload {
        Payload::Raw => Ok(raw_answer(json)),
        Payload::Http => answer_from_json(json).map_err(|e| shaped(Outcome::GuestError, e)),
    }
}

pub(super) fn stream_head(head: &StreamHead) -> Option<Response<()>> {
    if let Some(prelude) = &head.prelude {
        let parts = prelude_head(prelude.get().as_bytes()).ok()?;
        return Some(Response::from_parts(parts, ()));
    }
    let kind = head.content_type.as_deref();
    let kind = kind.unwrap_or("application/octet-stream");
    let builder = Response::builder().header(http::header::CONTENT_TYPE, kind);
    builder.body(()).ok()
}

pub(super) fn http_head(head: &AnswerHead) -> Option<Response<()>> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(head.status)
        .ok()
        .filter(|s| s.as_u16() >= 200)?;
    let bytes: usize = head
        .headers
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if head.headers.len() > ANSWER_FIELDS_MAX || bytes > ANSWER_HEAD_MAX {
        return None;
    }
    for (name, value) in &head.headers {
        let name: HeaderName = name.parse().ok()?;
        if is_hop(&name) {
            continue;
        }
        // Each character is a byte, as WSGI has it.
        let bytes: Option<Vec<u8>> = value.chars().map(|c| u8::try_from(c).ok()).collect();
        let value = match bytes {
            Some(bytes) => HeaderValue::from_bytes(&bytes).ok()?,
            None => HeaderValue::from_bytes(value.as_bytes()).ok()?,
        };
        response.headers_mut().append(name, value);
    }
    Some(response)
}

/// Fields that are between the node and its client alone (RFC 9110 §7.6.1).
pub(super) fn is_hop(name: &HeaderName) -> bool {
    use http::header::{CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
    [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE].contains(name)
        || name.as_str() == "keep-alive"
}
