//! What a request means to a cache, before anything is looked up.

use http::header::{CONTENT_LENGTH, IF_MATCH, IF_UNMODIFIED_SINCE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, Method, StatusCode};

use crate::directives::RequestDirectives;
use crate::status::Forward;

/// What to do with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// Look it up, and judge what is found by these directives. If nothing may be served and
    /// `only_if_cached` is set, answer 504 (RFC 9111 §5.2.1.7).
    Cache(RequestDirectives),
    /// Forward it and store nothing.
    Forward(Forward),
}

/// May this request be answered from the cache?
///
/// GET and HEAD may, both under the GET's key. Not a GET with a body (the key would not tell two
/// bodies apart), one that asks for another protocol, or one with If-Match or If-Unmodified-Since,
/// which only the origin may evaluate (RFC 9111 §4.3.2). A Range request may: it is answered from a
/// complete response with [`range_answer`](crate::range_answer); on a miss the edge fetches the
/// whole, since a 206 is not stored.
pub fn lookup(method: &Method, headers: &HeaderMap) -> Lookup {
    if method != Method::GET && method != Method::HEAD {
        return Lookup::Forward(Forward::Method);
    }
    let has_body = headers.contains_key(TRANSFER_ENCODING)
        || headers
            .get(CONTENT_LENGTH)
            .is_some_and(|length| length != "0");
    let for_origin = [UPGRADE, IF_MATCH, IF_UNMODIFIED_SINCE];
    if has_body || for_origin.iter().any(|name| headers.contains_key(name)) {
        return Lookup::Forward(Forward::Bypass);
    }
    Lookup::Cache(RequestDirectives::parse(headers))
}

/// Must stored responses be invalidated after this exchange (RFC 9111 §4.4)? So it is for every
/// method not known to be safe, when the answer is no error. What goes: the target's key, and those
/// of Location and Content-Location as far as [`CacheKey::resolve`](crate::CacheKey::resolve)
/// gives them.
pub fn invalidates(method: &Method, status: StatusCode) -> bool {
    !method.is_safe() && (status.is_success() || status.is_redirection())
}
