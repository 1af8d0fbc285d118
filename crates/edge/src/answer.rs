//! Answers that the edge makes itself, and what it does to every answer that passes through.

use std::fmt::Write as _;

use bytes::{Bytes, BytesMut};
use fractus_cache::{CacheStatus, Forward, strip_hop_by_hop};
use fractus_func::{Body, RequestId};
use http::header::{ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

use crate::body::Kind;

/// Names a failure of the edge's, or of an origin's, in one word.
pub(crate) const ERROR: HeaderName = HeaderName::from_static("x-fractus-error");
/// Identifies the request in logs and usage records.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// RFC 9211.
pub(crate) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Methods that are let through.
const METHODS: HeaderValue =
    HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
/// Room for nearly every value of that field, in bytes.
const CACHE_STATUS_LENGTH: usize = 96;

/// A request that the edge does not let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Too many connections are open to serve its own.
    Busy,
    /// Its head is malformed.
    Head,
    HeadTooLarge,
    TargetTooLong,
    /// Its head did not come in time.
    HeadTimeout,
    /// Its head can be read in more than one way.
    Ambiguous,
    /// The framing of its chunks is broken.
    Chunk,
    /// Its body ends before its length, or its last chunk.
    Incomplete,
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
            Self::Ambiguous
            | Self::Chunk
            | Self::Head
            | Self::Host
            | Self::Incomplete
            | Self::Target => StatusCode::BAD_REQUEST,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadTimeout => StatusCode::REQUEST_TIMEOUT,
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
            Self::Busy => "too-many-connections",
            Self::Head => "bad-head",
            Self::HeadTooLarge => "head-too-large",
            Self::TargetTooLong => "target-too-long",
            Self::HeadTimeout => "head-timeout",
            Self::Ambiguous => "ambiguous-request",
            Self::Chunk => "bad-chunk",
            Self::Incomplete => "incomplete-body",
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
            Self::Busy => "too many connections are open; try again in a second\n",
            Self::Head => {
                "the request's head is malformed, or announces its body in a way that is not \
                 understood; send HTTP/1.1 as RFC 9112 describes it\n"
            }
            Self::HeadTooLarge => "the request's head is too large; send fewer or shorter fields\n",
            Self::TargetTooLong => "the request's target is too long; send a shorter one\n",
            Self::HeadTimeout => "the request's head did not come in time; send it at once\n",
            Self::Chunk => {
                "the request's chunks are malformed; send each with its size in hexadecimal, and \
                 end lines with CR LF\n"
            }
            Self::Incomplete => "the request's body ended before it was complete; send it whole\n",
            Self::Ambiguous => {
                "the request's length can be read in more than one way; send one plain \
                 Content-Length, or Transfer-Encoding alone\n"
            }
            Self::Coding => "the transfer coding is not understood; send `chunked` or a length\n",
            Self::Host => {
                "the request names no host, several, or what is none; send one Host field with a \
                 name and perhaps a port\n"
            }
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
        !matches!(
            self,
            Self::Expectation | Self::Loop | Self::NoRoute | Self::NotCached | Self::BadOrigin
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
            headers.insert(ALLOW, METHODS);
        }
        if self == Self::Busy {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.ends_connection() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// The answer as [`seal`]ed.
    pub(crate) fn sealed(self, id: RequestId) -> Response<Kind> {
        let mut response = self.answer();
        let status = CacheStatus::forward(Forward::Bypass);
        seal(response.headers_mut(), id, &status);
        response
    }

    /// The answer as it is sent where hyper sends none of ours. It is the connection's last.
    pub(crate) fn to_bytes(self, id: RequestId) -> Bytes {
        let mut response = self.sealed(id);
        let text = self.text();
        let date = httpdate::fmt_http_date(std::time::SystemTime::now());
        let date = HeaderValue::from_str(&date).expect("a date is ASCII");
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
        headers.insert(DATE, date);
        let mut bytes = format!("HTTP/1.1 {}\r\n", self.status()).into_bytes();
        for (name, value) in response.headers() {
            bytes.extend_from_slice(name.as_str().as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(text.as_bytes());
        bytes.into()
    }
}

/// What the server as a whole can do: the answer to `OPTIONS *` (RFC 9110 §9.3.7).
pub(crate) fn options(id: RequestId) -> Response<Kind> {
    let mut response = Response::new(Kind::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ALLOW, METHODS);
    seal(headers, id, &CacheStatus::forward(Forward::Bypass));
    response
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
