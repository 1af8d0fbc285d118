//! Short spellings for what every test needs.

use fractus_cache::{Exchange, NotStored, Policy, RequestDirectives, Timestamp, storable};
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode};

pub(crate) type Fields = &'static [(&'static str, &'static str)];

/// The second all tests begin at, as a Date field.
pub(crate) const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
/// An hour after [`DATE`].
pub(crate) const HOUR_LATER: &str = "Sun, 06 Nov 1994 09:49:37 GMT";
/// 6,000 seconds before [`DATE`].
pub(crate) const EARLIER: &str = "Sun, 06 Nov 1994 07:09:37 GMT";

const DATE_SECS: u64 = 784_111_777;

/// Seconds after [`DATE`].
pub(crate) fn at(seconds: u64) -> Timestamp {
    Timestamp::from_secs(DATE_SECS + seconds)
}

pub(crate) fn headers(fields: &[(&str, &str)]) -> HeaderMap {
    let pair = |&(name, value): &(&str, &str)| {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a field name");
        (name, HeaderValue::from_str(value).expect("a field value"))
    };
    let mut map = HeaderMap::new();
    for (name, value) in fields.iter().map(pair) {
        map.append(name, value);
    }
    map
}

/// Stores the answer to a GET sent and answered at [`DATE`].
pub(crate) fn store(
    request: &[(&str, &str)],
    status: u16,
    response: &[(&str, &str)],
) -> Result<Policy, NotStored> {
    let (request, response) = (headers(request), headers(response));
    storable(&exchange(&request, status, &response))
}

pub(crate) fn exchange<'a>(
    request: &'a HeaderMap,
    status: u16,
    response: &'a HeaderMap,
) -> Exchange<'a> {
    Exchange {
        method: &Method::GET,
        request,
        status: StatusCode::from_u16(status).expect("a status"),
        response,
        requested: at(0),
        received: at(0),
    }
}

/// A stored 200 with these response fields.
pub(crate) fn stored(response: &[(&str, &str)]) -> Policy {
    store(&[], 200, response).expect("the response is storable")
}

pub(crate) fn asks(cache_control: &'static str) -> RequestDirectives {
    RequestDirectives::parse(&headers(&[("cache-control", cache_control)]))
}
