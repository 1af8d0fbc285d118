//! Answers that the edge makes itself, and what it does to every answer that passes through.

use std::fmt::Write as _;

use bytes::BytesMut;
use fractus_cache::{CacheStatus, strip_hop_by_hop};
use fractus_func::{Body, RequestId};
use http::header::{ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

use crate::body::Kind;

/// Names a failure of the edge's, or of an origin's, in one word.
pub(crate) const ERROR: HeaderName = HeaderName::from_static("x-fractus-error");
/// Identifies the request in logs and usage records.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// RFC 9211.
pub(crate) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Room for nearly every value of that field, in bytes.
const CACHE_STATUS_LENGTH: usize = 96;

/// A request that the edge does not let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Its head can be read in more than one way.
    Ambiguous,
    /// Its transfer coding is not `chunked` alone.
    Coding,
    /// It names no host, several, or what is none.
    Host,
    /// Its target is neither a path nor an `http` URI.
    Target,
    /// CONNECT or TRACE.
    Method,
    /// An expectation other than `100-continue`.
    Expectation,
    /// It has been through here too often.
    Loop,
    /// No route leads on.
    NoRoute,
    /// It asks for a stored answer alone, and there is none.
    NotCached,
    /// The origin's answer has a status that is no final one.
    BadOrigin,
}

impl Refusal {
    fn status(self) -> StatusCode {
        match self {
            Self::Ambiguous | Self::Host | Self::Target => StatusCode::BAD_REQUEST,
            Self::Coding => StatusCode::NOT_IMPLEMENTED,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
            Self::Loop => StatusCode::LOOP_DETECTED,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::NotCached => StatusCode::GATEWAY_TIMEOUT,
            Self::BadOrigin => StatusCode::BAD_GATEWAY,
        }
    }

    fn code(self) -> &'static str {
        match self {
            Self::Ambiguous => "ambiguous-request",
            Self::Coding => "unknown-transfer-coding",
            Self::Host => "bad-host",
            Self::Target => "bad-target",
            Self::Method => "method-not-allowed",
            Self::Expectation => "unknown-expectation",
            Self::Loop => "loop",
            Self::NoRoute => "no-route",
            Self::NotCached => "not-cached",
            Self::BadOrigin => "bad-origin-answer",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Ambiguous => {
                "the request's length can be read in more than one way; send one plain \
                 Content-Length, or Transfer-Encoding alone\n"
            }
            Self::Coding => "the transfer coding is not understood; send `chunked` or a length\n",
            Self::Host => "the request names no host or more than one; send one Host field\n",
            Self::Target => {
                "the request's target is neither a path nor an http URI; send a path that begins \
                 with a slash\n"
            }
            Self::Method => "the method is not offered here; see the Allow field\n",
            Self::Expectation => "the expectation is not understood; send `100-continue` or none\n",
            Self::Loop => {
                "the request has come round to this node too often; an upstream or function of it \
                 leads back to itself\n"
            }
            Self::NoRoute => {
                "nothing is routed to this host and path; check the address, and that what you ask \
                 for is deployed\n"
            }
            Self::NotCached => {
                "no stored answer may be used and the request forbids to fetch one; drop \
                 only-if-cached\n"
            }
            Self::BadOrigin => "the origin answered with a status that ends no exchange\n",
        }
    }

    /// May the connection be read on, or is it unknown where the next request begins?
    fn ends_connection(self) -> bool {
        matches!(
            self,
            Self::Ambiguous | Self::Coding | Self::Host | Self::Target | Self::Method
        )
    }

    /// The answer that says so.
    pub(crate) fn answer(self) -> Response<Kind> {
        let mut response = Response::new(Kind::Whole(self.text().as_bytes().into()));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        headers.insert(ERROR, HeaderValue::from_static(self.code()));
        if self == Self::Method {
            let methods = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
            headers.insert(ALLOW, HeaderValue::from_static(methods));
        }
        if self.ends_connection() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Takes what concerns the origin's side alone off its answer. False if it is no final answer, or
/// one of a protocol that nobody asked for.
pub(crate) fn clean(response: &mut Response<Body>, method: &Method) -> bool {
    if response.status().is_informational() {
        return false;
    }
    strip_hop_by_hop(response.headers_mut());
    if method != Method::HEAD {
        fit_length(response);
    }
    true
}

/// A length that is not the body's would frame the answer wrongly: hyper then states the right one.
fn fit_length(response: &mut Response<Body>) {
    let said = Length::of(response.headers());
    let exact = http_body::Body::size_hint(response.body()).exact();
    if exact.is_some() && said != Length::Unsaid && said.known() != exact {
        response.headers_mut().remove(CONTENT_LENGTH);
    }
}

/// The length that a head gives of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// None.
    Unsaid,
    Known(u64),
    /// No number, or several.
    Unreadable,
}

impl Length {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut lines = headers.get_all(CONTENT_LENGTH).iter();
        let (first, second) = (lines.next(), lines.next());
        let digits = match (first, second) {
            (None, _) => return Self::Unsaid,
            (Some(only), None) => only.to_str().unwrap_or_default(),
            (Some(_), Some(_)) => return Self::Unreadable,
        };
        // `parse` alone would accept a sign.
        let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
        match digits.parse() {
            Ok(length) if is_number => Self::Known(length),
            _ => Self::Unreadable,
        }
    }

    pub(crate) fn known(self) -> Option<u64> {
        match self {
            Self::Known(length) => Some(length),
            Self::Unsaid | Self::Unreadable => None,
        }
    }
}
/// Adds what every answer of the edge carries.
pub(crate) fn seal(headers: &mut HeaderMap, id: RequestId, status: &CacheStatus<'_>) {
    let id = HeaderValue::from_bytes(&id.to_ascii()).expect("an id is hexadecimal digits");
    headers.insert(REQUEST_ID, id);
    let mut text = BytesMut::with_capacity(CACHE_STATUS_LENGTH);
    write!(text, "{status}").expect("writing to memory cannot fail");
    let status = HeaderValue::from_maybe_shared(text.freeze()).expect("printable ASCII");
    headers.append(CACHE_STATUS, status);
}
