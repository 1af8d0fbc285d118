//! Hosts as they stand in URLs and manifests, in one canonical form.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::address::{AddressClass, classify};

/// Longest host name, in bytes (RFC 1035 §2.3.4).
const NAME_MAX: usize = 253;

/// A host. Equal hosts are equal values: names are lower case without a final dot, and every
/// spelling of an IPv4 address (`127.1`, `0x7f000001`, `2130706433`, `[::ffff:127.0.0.1]`) is that
/// address, so that no spelling gets past a check that knows another.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum Host {
    /// A name to resolve.
    Name(Box<str>),
    /// An address.
    Address(IpAddr),
}

impl Host {
    /// Reads a host, without its port. None if it is none: an empty label, a character that host
    /// names do not have, or a number that is no address.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let bracketed = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        if let Ok(v6) = bracketed.unwrap_or(text).parse::<Ipv6Addr>() {
            return Some(Self::Address(IpAddr::V6(v6).to_canonical()));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let label = |label: &str| {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            (1..=63).contains(&label.len()) && label.bytes().all(plain)
        };
        if name.len() > NAME_MAX || !name.split('.').all(label) {
            return None;
        }
        if ends_in_number(&name) {
            return parse_v4(&name).map(|v4| Self::Address(IpAddr::V4(v4)));
        }
        Some(Self::Name(name.into()))
    }

    /// Whether it may lead to a public address, as far as it tells: `localhost` (RFC 6761 §6.3) and
    /// addresses that are not public do not.
    pub(super) fn is_public(&self) -> bool {
        match self {
            Self::Name(name) => **name != *"localhost" && !self.is_under("localhost"),
            Self::Address(address) => classify(*address) == AddressClass::Public,
        }
    }

    /// Whether it is a name under `domain`, at any depth.
    pub(super) fn is_under(&self, domain: &str) -> bool {
        match self {
            Self::Name(name) => name
                .strip_suffix(domain)
                .is_some_and(|labels| labels.ends_with('.')),
            Self::Address(_) => false,
        }
    }
}

/// As it stands in a URL: IPv6 in brackets.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(v4)) => write!(f, "{v4}"),
            Self::Address(IpAddr::V6(v6)) => write!(f, "[{v6}]"),
        }
    }
}

/// Whether resolvers and browsers take the name for an IPv4 address (WHATWG URL, "ends in a
/// number").
fn ends_in_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    last.bytes().all(|b| b.is_ascii_digit()) || parse_number(last).is_some()
}

/// WHATWG URL's IPv4 parser, which takes what `inet_aton` takes: one to four numbers in decimal,
/// octal or hexadecimal, the last of which fills all bytes that remain.
fn parse_v4(name: &str) -> Option<Ipv4Addr> {
    let parts: Vec<&str> = name.split('.').collect();
    let (last, leading) = parts.split_last()?;
    if leading.len() > 3 {
        return None;
    }
    let mut bits = 0;
    for (at, part) in leading.iter().enumerate() {
        let byte = parse_number(part).filter(|byte| *byte <= 0xff)?;
        bits |= byte << (24 - 8 * at);
    }
    let rest = parse_number(last).filter(|rest| *rest < 1 << (32 - 8 * leading.len()))?;
    u32::try_from(bits | rest).ok().map(Ipv4Addr::from_bits)
}

/// A number as C writes it: `0x` hexadecimal, leading `0` octal, else decimal. `0x` alone is 0.
fn parse_number(text: &str) -> Option<u64> {
    let (digits, radix) = match (text.strip_prefix("0x"), text.strip_prefix('0')) {
        (Some(""), _) => return Some(0),
        (Some(hexadecimal), _) => (hexadecimal, 16),
        (None, Some(octal)) if !octal.is_empty() => (octal, 8),
        _ => (text, 10),
    };
    // `from_str_radix` would take a sign.
    let plain = digits.bytes().all(|b| b.is_ascii_alphanumeric());
    plain
        .then(|| u64::from_str_radix(digits, radix).ok())
        .flatten()
}

#[cfg(test)]
mod tests;
