//! What a function's manifest lets it reach: which buckets, and which class of address behind
//! which host and port.

use std::fmt;

use fractus_blob::BucketName;
use fractus_func::{Access, OutboundError};
use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};

use super::address::AddressClass;
use super::host::Host;

/// A function's access rights, ready to be asked. Nothing is allowed unless it is named; an entry
/// that makes no sense allows nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Policy {
    /// Buckets to read, those to write among them.
    buckets: Vec<BucketName>,
    writes: Vec<BucketName>,
    hosts: Vec<(Pattern, Ports)>,
    private_hosts: Vec<(Host, Ports)>,
}

/// Addresses that a request may reach once its host and port were allowed. Each has connections of
/// its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reach {
    /// Public addresses only, however the host is spelt and whatever it resolves to.
    Public,
    /// Public and private ones, for a name; for an address, that very address.
    Private,
}

impl Reach {
    /// Whether a name may lead to an address of this class.
    pub(super) fn allows(self, class: AddressClass) -> bool {
        match class {
            AddressClass::Public => true,
            AddressClass::Private(_) => self == Self::Private,
            AddressClass::Special(_) => false,
        }
    }
}

/// Where a request goes, in canonical form.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Target {
    /// `http` or `https`.
    pub(super) scheme: Scheme,
    /// The host.
    pub(super) host: Host,
    /// The port, given or by the scheme.
    pub(super) port: u16,
}

#[derive(Clone, Debug)]
enum Pattern {
    All,
    Exactly(Host),
    Under(Box<str>),
}

#[derive(Clone, Copy, Debug)]
enum Ports {
    /// 80 and 443.
    Default,
    Only(u16),
}

/// Those that can be buckets' names.
fn names<'a>(list: impl Iterator<Item = &'a String>) -> Vec<BucketName> {
    list.filter_map(|name| BucketName::new(name).ok()).collect()
}

impl Policy {
    /// The policy of a manifest's access rights.
    pub(super) fn new(access: &Access) -> Self {
        let hosts = access.hosts.iter().filter_map(|entry| {
            let (host, ports) = split_port(entry)?;
            Some((Pattern::parse(host)?, ports))
        });
        let private_hosts = access.private_hosts.iter().filter_map(|entry| {
            let (host, ports) = split_port(entry)?;
            Some((Host::parse(host)?, ports))
        });
        Self {
            buckets: names(access.buckets.iter().chain(&access.writes)),
            writes: names(access.writes.iter()),
            hosts: hosts.collect(),
            private_hosts: private_hosts.collect(),
        }
    }

    /// The bucket of this name, if the function may read it.
    pub(super) fn bucket(&self, name: &str) -> Option<&BucketName> {
        self.buckets.iter().find(|bucket| bucket.as_str() == name)
    }

    /// Whether the function may write a bucket.
    pub(super) fn writes(&self, bucket: &BucketName) -> bool {
        self.writes.contains(bucket)
    }

    /// Which addresses a request may reach, judged by its host and port alone; whoever connects
    /// then holds every address to it.
    pub(super) fn reach(&self, target: &Target) -> Result<Reach, OutboundError> {
        let Target { host, port, .. } = target;
        let mut private_hosts = self.private_hosts.iter();
        if private_hosts.any(|(entry, ports)| entry == host && ports.contain(*port)) {
            return Ok(Reach::Private);
        }
        let mut hosts = self.hosts.iter();
        if hosts.any(|(pattern, ports)| pattern.matches(host) && ports.contain(*port)) {
            return Ok(Reach::Public);
        }
        let entry = target.entry();
        let list = if host.is_public() {
            "hosts"
        } else {
            "private_hosts"
        };
        Err(target.denied(format!(
            "no entry of `{list}` matches it; to allow it write `{list} = [\"{entry}\"]` under \
             `[access]` in fractus.toml"
        )))
    }
}

impl Pattern {
    fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::All);
        }
        match text.strip_prefix("*.") {
            None => Host::parse(text).map(Self::Exactly),
            Some(domain) => match Host::parse(domain)? {
                Host::Name(domain) => Some(Self::Under(domain)),
                Host::Address(_) => None,
            },
        }
    }

    fn matches(&self, host: &Host) -> bool {
        match self {
            Self::All => true,
            Self::Exactly(exactly) => exactly == host,
            Self::Under(domain) => host.is_under(domain),
        }
    }
}

impl Ports {
    fn contain(self, port: u16) -> bool {
        match self {
            Self::Default => port == 80 || port == 443,
            Self::Only(only) => port == only,
        }
    }
}

/// Splits a manifest's entry. A bare IPv6 address has no port; one with a port stands in brackets.
fn split_port(entry: &str) -> Option<(&str, Ports)> {
    let colons = entry.bytes().filter(|b| *b == b':').count();
    match entry.rsplit_once(':') {
        Some((host, port)) if colons == 1 || host.ends_with(']') => {
            Some((host, Ports::Only(parse_port(port)?)))
        }
        _ => Some((entry, Ports::Default)),
    }
}

/// Digits only: `u16::from_str` would take a sign.
fn parse_port(text: &str) -> Option<u16> {
    text.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

impl Target {
    /// Where a URL leads; `Denied` if that is nowhere a request can go.
    pub(super) fn of(uri: &Uri) -> Result<Self, OutboundError> {
        let authority = uri.authority().map_or("", Authority::as_str);
        let denied = |why: &str| OutboundError::Denied {
            authority: authority.to_owned(),
            why: why.to_owned(),
        };
        let scheme = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS => scheme.clone(),
            _ => {
                return Err(denied(
                    "a request goes to a URL with `http://` or `https://`",
                ));
            }
        };
        if authority.contains('@') {
            return Err(denied(
                "the URL holds credentials; send them in the header `authorization` instead",
            ));
        }
        let host = uri.host().and_then(Host::parse);
        let host = host.ok_or_else(|| denied("it is no host name and no IP address"))?;
        // `Uri::port` is none both without a port and with one that is no number.
        let colon = authority
            .rfind(':')
            .filter(|colon| !authority[*colon..].contains(']'));
        let port = match colon.map(|colon| &authority[colon + 1..]) {
            Some(port) if !port.is_empty() => {
                parse_port(port).ok_or_else(|| denied("its port is no number below 65536"))?
            }
            _ => default_port(&scheme),
        };
        Ok(Self { scheme, host, port })
    }

    /// Where a tunnel leads: a host, and a port unless that is 443.
    pub(super) fn of_tunnel(authority: &str) -> Result<Self, OutboundError> {
        let uri = Uri::builder()
            .scheme(Scheme::HTTPS)
            .authority(authority)
            .path_and_query("/");
        match uri.build() {
            Ok(uri) => Self::of(&uri),
            Err(_) => Err(OutboundError::Denied {
                authority: authority.to_owned(),
                why: "it is no host name and no IP address".to_owned(),
            }),
        }
    }

    /// `uri` with this scheme, host and port. They are canonical, so that two readers of the result
    /// cannot disagree about where it leads.
    pub(super) fn apply(&self, uri: Uri) -> Uri {
        let mut parts = uri.into_parts();
        let authority = Authority::try_from(self.to_string());
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(authority.expect("a checked host and a number are an authority"));
        parts
            .path_and_query
            .get_or_insert_with(|| PathAndQuery::from_static("/"));
        Uri::from_parts(parts).expect("scheme, authority and path are all that a URL needs")
    }

    /// The entry of a manifest that names it.
    pub(super) fn entry(&self) -> String {
        match self.port {
            80 | 443 => self.host.to_string(),
            port => format!("{}:{port}", self.host),
        }
    }

    pub(super) fn denied(&self, why: String) -> OutboundError {
        OutboundError::Denied {
            authority: self.to_string(),
            why,
        }
    }
}

/// As an authority; the scheme's own port is left out.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.port == default_port(&self.scheme) {
            write!(f, "{}", self.host)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

fn default_port(scheme: &Scheme) -> u16 {
    if *scheme == Scheme::HTTPS { 443 } else { 80 }
}

#[cfg(test)]
mod tests;
