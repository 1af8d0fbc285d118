//! Fields that end at this hop (RFC 9110 §7.6.1, RFC 9111 §3.1).

use http::HeaderMap;
use http::header::{
    AGE, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, COOKIE, DATE, ETAG, EXPECT, EXPIRES, HOST, HeaderName, IF_MATCH,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LAST_MODIFIED, LOCATION,
    PRAGMA, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, RANGE, SET_COOKIE, TE, TRANSFER_ENCODING,
    UPGRADE, VARY, VIA,
};

use crate::list;

const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    HeaderName::from_static("proxy-authentication-info"),
    PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// What Connection cannot take off a message: what says how long its body is and what it means,
/// whom and on whose behalf it asks, under which condition, and who may store the answer.
const END_TO_END: [HeaderName; 26] = [
    HOST,
    VIA,
    EXPECT,
    AUTHORIZATION,
    COOKIE,
    SET_COOKIE,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    CONTENT_ENCODING,
    CONTENT_RANGE,
    CACHE_CONTROL,
    HeaderName::from_static("cdn-cache-control"),
    PRAGMA,
    EXPIRES,
    AGE,
    DATE,
    VARY,
    ETAG,
    LAST_MODIFIED,
    RANGE,
    IF_RANGE,
    IF_MATCH,
    IF_NONE_MATCH,
    IF_MODIFIED_SINCE,
    IF_UNMODIFIED_SINCE,
    LOCATION,
];

/// Removes the fields that concern one connection only, and those that Connection nominates, as
/// [`strip_nominated`] does.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    strip_nominated(headers);
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Removes Connection and the fields that it nominates, but for those that concern one connection
/// anyway: they go by [`strip_hop_by_hop`], and say something until then.
///
/// A cache does this to a request before it looks anything up: a field that its origin will not get
/// must not choose a variant.
///
/// Nominations of fields that are for all recipients are ignored (RFC 9110 §7.6.1 forbids to make
/// them): those of framing, identity, conditions and caching, such as Host, Authorization, Vary and
/// Cache-Control. A peer could otherwise unmake a `private`, or a condition.
pub fn strip_nominated(headers: &mut HeaderMap) {
    if !headers.contains_key(CONNECTION) {
        return;
    }
    let nominated: Vec<HeaderName> = list::all_members(headers.get_all(CONNECTION))
        .filter_map(|member| HeaderName::from_bytes(member).ok())
        .filter(|name| !HOP_BY_HOP.contains(name) && !END_TO_END.contains(name))
        .collect();
    for name in &nominated {
        headers.remove(name);
    }
    headers.remove(CONNECTION);
}
