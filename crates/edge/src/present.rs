//! A stored answer, or one on its way into the store, as this client's request wants it: whole, a
//! part, only its head, or no more than that it has not changed.

use std::sync::Arc;

use fractus_cache::{
    CacheStatus, Conditional, RangeAnswer, Timestamp, conditional_cached, not_modified_headers,
    range_answer,
};
use fractus_func::RequestId;
use http::header::{AGE, CONTENT_LENGTH, CONTENT_RANGE, IF_MODIFIED_SINCE, IF_NONE_MATCH, RANGE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use crate::answer::seal;
use crate::body::Kind;
use crate::store::{Head, Stored};

/// What a client asked of an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish<'a> {
    pub(crate) method: &'a Method,
    /// As the client sent them.
    pub(crate) headers: &'a HeaderMap,
    pub(crate) id: RequestId,
    pub(crate) now: Timestamp,
}

/// Which part of a body goes out, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    Nothing,
    Whole,
    Part { first: u64, last: u64 },
}

/// Answers with what is stored.
pub(crate) fn stored(
    stored: &Arc<Stored>,
    wish: Wish<'_>,
    status: &CacheStatus<'_>,
) -> Response<Kind> {
    let (head, extent) = head(&stored.head, Some(stored.body.len()), wish, status, true);
    head.map(|()| match extent {
        Extent::Nothing => Kind::Empty,
        Extent::Whole => stored.body.whole(),
        Extent::Part { first, last } => stored.body.part(first, last),
    })
}

/// The head for a client, and what of the body goes with it. `length` is the whole body's, if
/// known.
pub(crate) fn head(
    head: &Head,
    length: Option<u64>,
    wish: Wish<'_>,
    status: &CacheStatus<'_>,
    from_store: bool,
) -> (Response<()>, Extent) {
    let mut response = Response::new(());
    *response.status_mut() = head.status;
    let extent = extent(head, length, wish, &mut response);
    let headers = response.headers_mut();
    let age = head.policy.age(wish.now);
    if from_store || age > 0 {
        headers.insert(AGE, HeaderValue::from(age));
    }
    seal(headers, wish.id, status);
    (response, extent)
}

/// Sets status and fields as conditions and ranges will have them (RFC 9110 §13.2, §14.2).
fn extent(head: &Head, length: Option<u64>, wish: Wish<'_>, response: &mut Response<()>) -> Extent {
    let asked = wish.headers;
    let validators = head.policy.validators();
    let is_conditional = head.status == StatusCode::OK
        && (asked.contains_key(IF_NONE_MATCH) || asked.contains_key(IF_MODIFIED_SINCE));
    if is_conditional && conditional_cached(asked, validators) == Conditional::NotModified {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.headers_mut() = not_modified_headers(&head.headers);
        return Extent::Nothing;
    }
    *response.headers_mut() = head.headers.clone();
    if wish.method == Method::HEAD {
        return Extent::Nothing;
    }
    let Some(length) =
        length.filter(|_| head.status == StatusCode::OK && asked.contains_key(RANGE))
    else {
        return Extent::Whole;
    };
    let headers = response.headers_mut();
    match range_answer(asked, validators, length) {
        RangeAnswer::Full => Extent::Whole,
        RangeAnswer::Partial { first, last } => {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(last + 1 - first));
            headers.insert(
                CONTENT_RANGE,
                field(&format!("bytes {first}-{last}/{length}")),
            );
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            Extent::Part { first, last }
        }
        RangeAnswer::NotSatisfiable => {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
            headers.insert(CONTENT_RANGE, field(&format!("bytes */{length}")));
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            Extent::Nothing
        }
    }
}

fn field(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("digits and ASCII words")
}
