//! What is asked for, as one comparable text.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::hash::{BuildHasher, Hash, Hasher};

use thiserror::Error;

use crate::limits::MAX_KEY_BYTES;

/// The scheme a request came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

impl Scheme {
    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn default_port(self) -> &'static str {
        match self {
            Self::Http => "80",
            Self::Https => "443",
        }
    }
}

/// Why a request has no key; it is then forwarded, not cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// The host is empty or holds a byte no host has.
    #[error("the host is empty or not a host")]
    Host,
    /// The path does not begin with a slash, or a byte of path or query is none a URI has.
    #[error("the request target is not a path")]
    Path,
    /// The key would exceed [`MAX_KEY_BYTES`].
    #[error("the request target is longer than a cache key may be")]
    TooLong,
}

/// A normalised URI and its hash, both computed once.
///
/// Two URIs have one key only where RFC 3986 §6.2.2 and §6.2.3 make them equivalent: scheme and
/// host in lower case, default port dropped, empty path as `/`, percent-encodings in upper case and
/// those of unreserved characters decoded. Dot segments and the order of the query stay: origins
/// disagree about both, and a false miss is cheaper than a false hit.
#[derive(Clone, Debug)]
pub struct CacheKey {
    text: String,
    hash: u64,
}

impl CacheKey {
    /// The key of a request for `path_and_query` (from the first slash on, no fragment) at
    /// `authority` (host and port as in the Host field).
    ///
    /// `hasher` must be seeded randomly and the same for all keys of a process
    /// (`std::hash::RandomState` is right): keys are chosen by clients, who must not be able to
    /// choose their hashes.
    pub fn new(
        scheme: Scheme,
        authority: &str,
        path_and_query: &str,
        hasher: &impl BuildHasher,
    ) -> Result<Self, KeyError> {
        let length = scheme.name().len() + "://".len() + authority.len() + path_and_query.len() + 1;
        if length > MAX_KEY_BYTES {
            return Err(KeyError::TooLong);
        }
        let mut text = String::with_capacity(length);
        text.push_str(scheme.name());
        text.push_str("://");
        push_authority(&mut text, scheme, authority)?;
        push_path_and_query(&mut text, path_and_query)?;
        let hash = hasher.hash_one(text.as_str());
        Ok(Self { text, hash })
    }

    /// The key of a URI reference found in an answer to this key's URI (Location,
    /// Content-Location), if it has the same origin; others must not be invalidated
    /// (RFC 9111 §4.4). Resolved by RFC 3986 §5.2.
    pub fn resolve(&self, reference: &str, hasher: &impl BuildHasher) -> Option<Self> {
        let reference = reference.split('#').next().unwrap_or_default().trim_ascii();
        let (scheme, own_authority, own_target) = self.parts();
        let after_slashes = match split_scheme(reference) {
            Some((name, _)) if name != scheme.name() => return None,
            Some((_, rest)) => Some(rest.strip_prefix("//")?),
            None => reference.strip_prefix("//"),
        };
        let (authority, base, target) = match after_slashes {
            Some(rest) => {
                let (authority, target) = split_authority(rest);
                (authority, "/", target)
            }
            None => (own_authority, own_target, reference),
        };
        let key = Self::new(scheme, authority, &merge(base, target), hasher).ok()?;
        let same_origin = key.parts().1 == own_authority;
        same_origin.then_some(key)
    }

    /// The normalised URI.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The path without its query, all percent-encodings decoded: one text for all that any origin
    /// could take for the same path, which keys keep apart.
    pub fn decoded_path(&self) -> Cow<'_, [u8]> {
        let (_, _, target) = self.parts();
        percent_decoded(target.split('?').next().unwrap_or_default())
    }

    /// The hash the hasher gave, for choosing a shard too.
    pub fn hash_value(&self) -> u64 {
        self.hash
    }

    fn parts(&self) -> (Scheme, &str, &str) {
        let (name, rest) = self.text.split_once("://").expect("every key begins so");
        let scheme = if name == Scheme::Https.name() {
            Scheme::Https
        } else {
            Scheme::Http
        };
        let (authority, target) = split_authority(rest);
        (scheme, authority, target)
    }
}

impl PartialEq for CacheKey {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.text == other.text
    }
}

impl Eq for CacheKey {}

/// Feeds the one precomputed number: meant for [`PrecomputedHash`](crate::PrecomputedHash).
impl Hash for CacheKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

fn push_authority(text: &mut String, scheme: Scheme, authority: &str) -> Result<(), KeyError> {
    let port_at = authority
        .rfind(':')
        .filter(|&colon| !authority[colon..].contains(']'));
    let (host, port) = match port_at {
        Some(colon) => (&authority[..colon], &authority[colon + 1..]),
        None => (authority, ""),
    };
    let is_host_byte =
        |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(&byte);
    if host.is_empty()
        || !host.bytes().all(is_host_byte)
        || !port.bytes().all(|b| b.is_ascii_digit())
    {
        return Err(KeyError::Host);
    }
    text.extend(host.chars().map(|letter| letter.to_ascii_lowercase()));
    if !port.is_empty() && port != scheme.default_port() {
        text.push(':');
        text.push_str(port);
    }
    Ok(())
}

fn push_path_and_query(text: &mut String, target: &str) -> Result<(), KeyError> {
    if target.is_empty() || target.starts_with('?') {
        text.push('/');
    } else if !target.starts_with('/') {
        return Err(KeyError::Path);
    }
    let is_not_of_uris = |byte: u8| byte <= b' ' || byte == 0x7F || byte == b'#';
    if target.bytes().any(is_not_of_uris) {
        return Err(KeyError::Path);
    }
    push_normal(text, target);
    Ok(())
}

/// Path and query as a [`CacheKey`] has them, for whatever else must take equivalent targets for
/// one, like routes. Its own normal form; borrowed if it has no percent sign.
pub fn normal_target(path_and_query: &str) -> Cow<'_, str> {
    if !path_and_query.contains('%') {
        return Cow::Borrowed(path_and_query);
    }
    let mut text = String::with_capacity(path_and_query.len());
    push_normal(&mut text, path_and_query);
    Cow::Owned(text)
}

fn push_normal(text: &mut String, target: &str) {
    let mut rest = target;
    while let Some(percent) = rest.find('%') {
        text.push_str(&rest[..percent]);
        rest = push_percent(text, &rest[percent..]);
    }
    text.push_str(rest);
}

fn percent_decoded(path: &str) -> Cow<'_, [u8]> {
    if !path.contains('%') {
        return Cow::Borrowed(path.as_bytes());
    }
    let (mut decoded, mut rest) = (Vec::with_capacity(path.len()), path);
    while let Some(percent) = rest.find('%') {
        decoded.extend_from_slice(&rest.as_bytes()[..percent]);
        let byte = encoded_byte(&rest[percent..]);
        decoded.push(byte.unwrap_or(b'%'));
        rest = &rest[percent + if byte.is_some() { 3 } else { 1 }..];
    }
    decoded.extend_from_slice(rest.as_bytes());
    Cow::Owned(decoded)
}

/// Normalises the percent-encoding `rest` begins with; a percent sign that begins none stays.
fn push_percent<'a>(text: &mut String, rest: &'a str) -> &'a str {
    let Some(byte) = encoded_byte(rest) else {
        text.push('%');
        return &rest[1..];
    };
    if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
        text.push(char::from(byte));
    } else {
        write!(text, "%{byte:02X}").expect("writing to a String cannot fail");
    }
    &rest[3..]
}

/// What the percent-encoding stands for that `rest` begins with, if it is one.
fn encoded_byte(rest: &str) -> Option<u8> {
    let digits = rest.get(1..3)?;
    // `from_str_radix` alone would accept a sign.
    let all_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    all_hex
        .then(|| u8::from_str_radix(digits, 16).ok())
        .flatten()
}

/// `scheme:` of an absolute reference, in lower case, and what follows it.
fn split_scheme(reference: &str) -> Option<(String, &str)> {
    let (scheme, rest) = reference.split_once(':')?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    is_scheme.then(|| (scheme.to_ascii_lowercase(), rest))
}

fn split_authority(after_slashes: &str) -> (&str, &str) {
    let end = after_slashes
        .find(['/', '?'])
        .unwrap_or(after_slashes.len());
    after_slashes.split_at(end)
}

/// Merges a path reference into the base's path and query, and removes dot segments.
fn merge(base: &str, reference: &str) -> String {
    let base_path = base.split('?').next().unwrap_or_default();
    let (path, query) = match reference.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (reference, None),
    };
    let mut merged = if path.is_empty() && query.is_none() {
        return base.to_owned();
    } else if path.is_empty() {
        base_path.to_owned()
    } else if path.starts_with('/') {
        remove_dot_segments(path)
    } else {
        let directory = &base_path[..=base_path.rfind('/').unwrap_or(0)];
        remove_dot_segments(&format!("{directory}{path}"))
    };
    if let Some(query) = query {
        merged.push('?');
        merged.push_str(query);
    }
    merged
}

/// RFC 3986 §5.2.4, for a path that begins with a slash.
fn remove_dot_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut ends_in_directory = false;
    for segment in path.split('/').skip(1) {
        ends_in_directory = matches!(segment, "." | "..");
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            _ => kept.push(segment),
        }
    }
    if ends_in_directory {
        kept.push("");
    }
    format!("/{}", kept.join("/"))
}
