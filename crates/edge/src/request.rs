//! A request's way in: what it asks for, whether it may pass, and what an origin is told of it.

use std::borrow::Cow;

use fractus_cache::{normal_target, strip_hop_by_hop};
use http::header::{EXPECT, FORWARDED, HOST, TRANSFER_ENCODING, VIA};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version, request};

use crate::Arrived;
use crate::answer::Refusal;
use crate::limits::LOOPS_MAX;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const VIA_US: HeaderValue = HeaderValue::from_static("1.1 fractus");

/// A host as a client wrote it and as we understand it; connections keep their last one.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    written: HeaderValue,
    /// In lower case, with its port if that was written.
    authority: Authority,
    /// The same, as a field.
    value: HeaderValue,
}

impl Host {
    /// Reads a Host field or the authority of an absolute URI.
    pub(crate) fn new(written: &HeaderValue) -> Result<Self, Refusal> {
        let text = written.to_str().or(Err(Refusal::Host))?;
        let lower = without_root(text.to_ascii_lowercase());
        let is_host_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:[]".contains(&byte);
        if !lower.bytes().all(is_host_byte) {
            return Err(Refusal::Host);
        }
        let value = HeaderValue::from_str(&lower).or(Err(Refusal::Host))?;
        let authority = Authority::try_from(lower).or(Err(Refusal::Host))?;
        let port = &authority.as_str()[authority.host().len()..];
        let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
        if authority.host().is_empty() || !port.strip_prefix(':').is_none_or(is_port) {
            return Err(Refusal::Host);
        }
        Ok(Self {
            written: written.clone(),
            authority,
            value,
        })
    }

    pub(crate) fn is(&self, written: &HeaderValue) -> bool {
        self.written == *written
    }

    /// Host and port.
    pub(crate) fn authority(&self) -> &str {
        self.authority.as_str()
    }

    /// Without port.
    pub(crate) fn name(&self) -> &str {
        self.authority.host()
    }
}

/// A host without the dot that names the DNS root: the same host.
fn without_root(mut host: String) -> String {
    let end = host.find(':').unwrap_or(host.len());
    if host[..end].ends_with('.') {
        host.remove(end - 1);
    }
    host
}

/// Refuses what must not get past the edge, whatever it asks for.
pub(crate) fn check(parts: &request::Parts) -> Result<(), Refusal> {
    if parts.method == Method::CONNECT || parts.method == Method::TRACE {
        return Err(Refusal::Method);
    }
    let headers = &parts.headers;
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next()
        && (!coding.as_bytes().eq_ignore_ascii_case(b"chunked") || codings.next().is_some())
    {
        return Err(Refusal::Coding);
    }
    if headers
        .get(EXPECT)
        .is_some_and(|expected| !expected.as_bytes().eq_ignore_ascii_case(b"100-continue"))
    {
        return Err(Refusal::Expectation);
    }
    if headers.contains_key(VIA) && rounds(headers) >= LOOPS_MAX {
        return Err(Refusal::Loop);
    }
    Ok(())
}

/// How often a request has been through a node of ours.
fn rounds(headers: &HeaderMap) -> usize {
    let lines = headers.get_all(VIA).iter();
    let entries = lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
    entries
        .filter(|entry| entry.trim_ascii() == VIA_US.as_bytes())
        .count()
}

/// The host as it is written: of the target if that is absolute, whatever the Host field says
/// (RFC 9112 §3.2.2), else of the one Host field. `None` where HTTP/1.0 leaves it out.
pub(crate) fn written_host(parts: &request::Parts) -> Result<Option<HeaderValue>, Refusal> {
    let mut fields = parts.headers.get_all(HOST).iter();
    let field = fields.next();
    if fields.next().is_some() {
        return Err(Refusal::Host);
    }
    if let Some(authority) = parts.uri.authority() {
        if parts.uri.scheme() != Some(&Scheme::HTTP) {
            return Err(Refusal::Target);
        }
        if let Some(field) = field.filter(|field| !field.is_empty()) {
            Host::new(field)?;
        }
        let value = HeaderValue::from_str(authority.as_str()).or(Err(Refusal::Host))?;
        return Ok(Some(value));
    }
    match field {
        Some(field) => Ok(Some(field.clone())),
        None if parts.version == Version::HTTP_10 => Ok(None),
        None => Err(Refusal::Host),
    }
}

/// Does it ask about the server as a whole (RFC 9112 §3.2.4)?
pub(crate) fn is_of_server(parts: &request::Parts) -> bool {
    parts.method == Method::OPTIONS && parts.uri.path() == "*"
}

/// Path and query of a target, in the normal form of cache keys; refuses `*` and what is no path.
///
/// The route is chosen by it, the answer filed under it and the origin asked for it: were one of
/// them to see the client's own spelling, a client could have an answer stored that is another's.
pub(crate) fn path_and_query(parts: &request::Parts) -> Result<PathAndQuery, Refusal> {
    match parts.uri.path_and_query() {
        Some(path) if path.as_str().starts_with('/') => match normal_target(path.as_str()) {
            Cow::Borrowed(_) => Ok(path.clone()),
            Cow::Owned(normal) => normal.try_into().or(Err(Refusal::Target)),
        },
        None if parts.uri.authority().is_some() => Ok(PathAndQuery::from_static("/")),
        _ => Err(Refusal::Target),
    }
}

/// Makes a client's head the one that the origin gets.
pub(crate) fn forward(
    parts: &mut request::Parts,
    host: &Host,
    path: PathAndQuery,
    peer: &HeaderValue,
) {
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(Scheme::HTTP);
    uri.authority = Some(host.authority.clone());
    uri.path_and_query = Some(path);
    parts.uri = Uri::from_parts(uri).expect("scheme, authority and path make a URI");
    parts.version = Version::HTTP_11;
    // hyper keeps an upgrade there, which we do not offer.
    let arrived = parts.extensions.remove::<Arrived>();
    parts.extensions.clear();
    if let Some(arrived) = arrived {
        parts.extensions.insert(arrived);
    }
    let headers = &mut parts.headers;
    strip_hop_by_hop(headers);
    headers.remove(EXPECT);
    headers.remove(FORWARDED);
    headers.insert(HOST, host.value.clone());
    // What a client says of itself in these counts for nothing: there is no proxy before us to
    // trust.
    headers.insert(FORWARDED_FOR, peer.clone());
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    headers.insert(FORWARDED_HOST, host.value.clone());
    headers.append(VIA, VIA_US);
}
