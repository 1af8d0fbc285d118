//! Conditional requests (RFC 9110 §13) over any representation with validators: a stored response
//! or an object of ours.

use http::header::{
    CACHE_CONTROL, CONTENT_LOCATION, DATE, ETAG, EXPIRES, HeaderName, HeaderValue, IF_MATCH,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LAST_MODIFIED, RANGE, VARY,
};
use http::{HeaderMap, Method};

use crate::limits::MAX_ENTITY_TAGS;
use crate::list;
use crate::time::Timestamp;

/// What tells two representations of a resource apart.
#[derive(Clone, Copy, Debug, Default)]
pub struct Validators<'a> {
    /// The entity tag as sent, quotes and `W/` included.
    pub etag: Option<&'a HeaderValue>,
    /// When the representation changed last; compared in whole seconds.
    pub last_modified: Option<Timestamp>,
}

/// What a conditional request gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conditional {
    /// The answer it would have got without conditions.
    Full,
    /// 304, with the fields of [`not_modified_headers`].
    NotModified,
    /// 412.
    PreconditionFailed,
}

/// Evaluates the conditions a cache may evaluate (RFC 9111 §4.3.2), If-None-Match before
/// If-Modified-Since, for a stored response to a GET or HEAD with status 200. Never
/// `PreconditionFailed`.
pub fn conditional_cached(headers: &HeaderMap, validators: Validators<'_>) -> Conditional {
    let unchanged = match none_match(headers, validators) {
        Some(none_match) => !none_match,
        None => modified_since(headers, validators) == Some(false),
    };
    if unchanged {
        Conditional::NotModified
    } else {
        Conditional::Full
    }
}

/// Evaluates all conditions in the order of RFC 9110 §13.2.2, as the origin of an existing
/// representation does.
pub fn conditional_origin(
    method: &Method,
    headers: &HeaderMap,
    validators: Validators<'_>,
) -> Conditional {
    let reads = method == Method::GET || method == Method::HEAD;
    let met = match_strong(headers, validators)
        .or_else(|| modified_after(headers, IF_UNMODIFIED_SINCE, validators).map(|after| !after));
    if met == Some(false) {
        return Conditional::PreconditionFailed;
    }
    let unchanged = match none_match(headers, validators) {
        Some(none_match) => !none_match,
        None => reads && modified_since(headers, validators) == Some(false),
    };
    match unchanged {
        false => Conditional::Full,
        true if reads => Conditional::NotModified,
        true => Conditional::PreconditionFailed,
    }
}

/// The fields of a 200 that the 304 in its place carries (RFC 9110 §15.4.5). Last-Modified is among
/// them only where there is no entity tag. Age, Cache-Status and the like are the edge's to add.
pub fn not_modified_headers(full: &HeaderMap) -> HeaderMap {
    const KEPT: [HeaderName; 6] = [CACHE_CONTROL, CONTENT_LOCATION, DATE, ETAG, EXPIRES, VARY];
    let without_tag = (!full.contains_key(ETAG)).then_some(LAST_MODIFIED);
    let mut kept = HeaderMap::new();
    for name in KEPT.into_iter().chain(without_tag) {
        for value in full.get_all(&name) {
            kept.append(name.clone(), value.clone());
        }
    }
    kept
}

/// Removes the conditions and Range of a client's request, so that the origin's answer is whole and
/// can be stored; the client's own are evaluated on that answer.
pub fn strip_conditions(headers: &mut HeaderMap) {
    const CONDITIONS: [HeaderName; 6] = [
        IF_MATCH,
        IF_NONE_MATCH,
        IF_MODIFIED_SINCE,
        IF_UNMODIFIED_SINCE,
        IF_RANGE,
        RANGE,
    ];
    for name in CONDITIONS {
        headers.remove(name);
    }
}

impl Validators<'_> {
    /// RFC 9110 §13.1.5: the same strong tag, or exactly the same date.
    pub(crate) fn meets_if_range(&self, condition: &HeaderValue) -> bool {
        if condition.as_bytes().contains(&b'"') {
            return self
                .etag
                .is_some_and(|etag| strong_match(etag.as_bytes(), condition.as_bytes()));
        }
        let date = Timestamp::from_http_date(condition);
        date.is_some() && date == self.last_modified.map(Timestamp::floor_second)
    }
}

/// If-None-Match: is there none that matches? `None` if the request does not ask.
fn none_match(headers: &HeaderMap, validators: Validators<'_>) -> Option<bool> {
    any_tag(headers, IF_NONE_MATCH, |tag| {
        validators
            .etag
            .is_some_and(|etag| weak_match(etag.as_bytes(), tag))
    })
    .map(|matches| !matches)
}

/// If-Match: is there one that matches? `None` if the request does not ask.
fn match_strong(headers: &HeaderMap, validators: Validators<'_>) -> Option<bool> {
    any_tag(headers, IF_MATCH, |tag| {
        validators
            .etag
            .is_some_and(|etag| strong_match(etag.as_bytes(), tag))
    })
}

fn any_tag(headers: &HeaderMap, name: HeaderName, matches: impl Fn(&[u8]) -> bool) -> Option<bool> {
    if !headers.contains_key(&name) {
        return None;
    }
    let mut tags = list::all_members(headers.get_all(name)).take(MAX_ENTITY_TAGS);
    Some(tags.any(|tag| tag == b"*" || matches(tag)))
}

fn modified_since(headers: &HeaderMap, validators: Validators<'_>) -> Option<bool> {
    modified_after(headers, IF_MODIFIED_SINCE, validators)
}

/// `None` if there is no valid date to compare, or none to compare it with: the condition is then
/// ignored.
fn modified_after(
    headers: &HeaderMap,
    name: HeaderName,
    validators: Validators<'_>,
) -> Option<bool> {
    let date = Timestamp::from_http_date(headers.get(name)?)?;
    Some(validators.last_modified?.floor_second() > date)
}

/// RFC 9110 §8.8.3.2.
pub(crate) fn weak_match(a: &[u8], b: &[u8]) -> bool {
    opaque(a) == opaque(b)
}

/// RFC 9110 §8.8.3.2: both strong and equal.
pub(crate) fn strong_match(a: &[u8], b: &[u8]) -> bool {
    a == b && !is_weak(a)
}

pub(crate) fn is_weak(tag: &[u8]) -> bool {
    tag.starts_with(b"W/")
}

fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}
