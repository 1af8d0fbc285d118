//! Fields that end at this hop (RFC 9110 §7.6.1, RFC 9111 §3.1).

use http::HeaderMap;
use http::header::{
    CACHE_CONTROL, CONNECTION, HOST, HeaderName, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRANSFER_ENCODING, UPGRADE,
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

/// Removes the fields that concern one connection only, and those that Connection nominates.
///
/// Host and Cache-Control stay even when nominated: RFC 9110 §7.6.1 calls that never appropriate,
/// and a peer could otherwise unmake a `private`.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let nominated: Vec<HeaderName> = list::all_members(headers.get_all(CONNECTION))
        .filter_map(|member| HeaderName::from_bytes(member).ok())
        .filter(|name| name != HOST && name != CACHE_CONTROL)
        .collect();
    for name in nominated.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}
