//! What kind of place an IP address leads to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The kinds of address a policy tells apart; the text names the range in messages.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum AddressClass {
    /// Globally reachable unicast: what `hosts` may lead to.
    Public,
    /// Loopback and private networks: reached when `private_hosts` names the host.
    Private(&'static str),
    /// Nothing a name should ever lead to, such as link-local and metadata addresses: reached only
    /// when `private_hosts` holds the address itself.
    Special(&'static str),
}

/// Classes an address by IANA's special-purpose registries (RFC 6890 and its updates). IPv6 is an
/// allow-list: outside of `2000::/3` nothing is public. An IPv6 address that carries an IPv4 one is
/// of that one's class, since that is where its packets end.
pub(super) fn classify(address: IpAddr) -> AddressClass {
    if is_cloud_metadata(address) {
        return AddressClass::Special("a cloud's metadata address");
    }
    match address {
        IpAddr::V4(v4) => classify_v4(v4),
        IpAddr::V6(v6) => match embedded_v4(v6) {
            Some(v4) => classify(IpAddr::V4(v4)),
            None => classify_v6(v6),
        },
    }
}

/// Addresses at which clouds hand out a machine's credentials, and that do not all lie in ranges
/// that look dangerous: 168.63.129.16 (Azure) is otherwise public.
fn is_cloud_metadata(address: IpAddr) -> bool {
    const V4: [Ipv4Addr; 3] = [
        Ipv4Addr::new(169, 254, 169, 254),
        Ipv4Addr::new(168, 63, 129, 16),
        Ipv4Addr::new(100, 100, 100, 200),
    ];
    const V6: [Ipv6Addr; 2] = [
        Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
        Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
    ];
    match address {
        IpAddr::V4(v4) => V4.contains(&v4),
        IpAddr::V6(v6) => V6.contains(&v6),
    }
}

fn classify_v4(address: Ipv4Addr) -> AddressClass {
    use AddressClass::{Private, Public, Special};
    match address.octets() {
        [127, ..] => Private("a loopback address"),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Private("a private address"),
        [100, 64..=127, ..] => Private("a shared address of a provider's NAT"),
        [198, 18..=19, ..] => Private("a benchmarking address"),
        [0, ..] => Special("an unspecified address"),
        [169, 254, ..] => Special("a link-local address"),
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Special("a documentation address"),
        [192, 0, 0, _] | [192, 88, 99, _] => Special("a protocol assignment"),
        [224..=239, ..] => Special("a multicast address"),
        [240..=255, ..] => Special("a reserved address"),
        _ => Public,
    }
}

fn classify_v6(address: Ipv6Addr) -> AddressClass {
    use AddressClass::{Private, Public, Special};
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Special("an unspecified address"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Private("a loopback address"),
        // The last is local-use NAT64 (RFC 8215): where the IPv4 address stands in it is the
        // network's affair.
        [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] | [0x64, 0xff9b, 1, ..] => {
            Private("a private address")
        }
        [0xfe80..=0xfebf, ..] => Special("a link-local address"),
        [0xff00..=0xffff, ..] => Special("a multicast address"),
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Special("a documentation address"),
        // 2001::/23: Teredo, ORCHID, benchmarking and the like.
        [0x2001, 0..=0x1ff, ..] => Special("a protocol assignment"),
        [0x2000..=0x3fff, ..] => Public,
        _ => Special("a reserved address"),
    }
}

/// The IPv4 address that packets to this one end at, if it is mapped (`::ffff:a.b.c.d`), compatible
/// (`::a.b.c.d`), translated (`::ffff:0:a.b.c.d`), NAT64 (`64:ff9b::a.b.c.d`) or 6to4
/// (`2002:aabb:ccdd::`).
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let (high, low) = match address.segments() {
        // `::` and `::1` are IPv6's own.
        [0, 0, 0, 0, 0, 0, 0, 0..=1] => return None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => (high, low),
        _ => return None,
    };
    Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
}

#[cfg(test)]
mod tests;
