//! Default denials: the kinds of address that may not be dialled for an unauthenticated client.
//!
//! In:    an address in canonical form.
//! Out:   its kind, in words, unless it is a public unicast address.
//! Never: checks a rule or a listener; that is `rules`.
//!
//! The ranges are those of IANA's special-purpose registries (RFC 6890 and its updates). The
//! metadata services of the large clouds come first, because their answers are more sensitive than
//! those of the rest of their range.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The kind of `ip`, in words that fit after "is", if it is denied by default.
pub(crate) fn reason(ip: IpAddr) -> Option<&'static str> {
    match ip.to_canonical() {
        IpAddr::V4(ip) => reason_v4(ip),
        IpAddr::V6(ip) => reason_v6(ip),
    }
}

/// The port that is closed by default for every address: 25, for mail between servers. Open access
/// to it is used to send spam. Mail programs submit mail on 465 and 587, which stay open.
pub(crate) const CLOSED_PORT: u16 = 25;

/// The IPv4 address embedded in an IPv6 address: IPv4-compatible, SIIT, NAT64, 6to4 and Teredo.
/// IPv4-mapped addresses are not passed to this function; they *are* IPv4 addresses.
pub(crate) fn carried_ipv4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let bits = ip.to_bits();
    let carrier = CARRIERS
        .iter()
        .find(|carrier| carrier.range.contains(bits))?;
    let inner = (bits >> carrier.shift) as u32;
    Some(Ipv4Addr::from_bits(if carrier.inverted {
        !inner
    } else {
        inner
    }))
}

fn reason_v4(ip: Ipv4Addr) -> Option<&'static str> {
    let bits = u128::from(ip.to_bits());
    V4.iter()
        .find(|(range, _)| range.contains(bits))
        .map(|(_, kind)| *kind)
}

/// An address with an embedded IPv4 address has first the kind of the inner address, because that
/// is what it would reach.
fn reason_v6(ip: Ipv6Addr) -> Option<&'static str> {
    let outer = V6
        .iter()
        .find(|(range, _)| range.contains(ip.to_bits()))
        .map(|(_, kind)| *kind);
    match carried_ipv4(ip) {
        Some(inner) if !is_bare(ip) => reason_v4(inner).or(outer),
        _ => outer,
    }
}

/// `::` and `::1` embed no IPv4 address, though they are in the IPv4-compatible range.
fn is_bare(ip: Ipv6Addr) -> bool {
    ip.is_unspecified() || ip.is_loopback()
}

/// All addresses that equal `base` outside the lowest `free` bits.
struct Range {
    base: u128,
    free: u32,
}

impl Range {
    const fn contains(&self, bits: u128) -> bool {
        // A shift by 128 would overflow; no range here is all of IPv6.
        (bits ^ self.base) >> self.free == 0
    }
}

const fn v4(octets: [u8; 4], len: u32) -> Range {
    Range {
        base: u32::from_be_bytes(octets) as u128,
        free: 32 - len,
    }
}

const fn v6(segments: [u16; 8], len: u32) -> Range {
    let [a, b, c, d, e, f, g, h] = segments;
    Range {
        base: Ipv6Addr::new(a, b, c, d, e, f, g, h).to_bits(),
        free: 128 - len,
    }
}

const METADATA: &str = "the address of a cloud metadata service";

/// The first match counts, so the narrow ranges are first.
const V4: &[(Range, &str)] = &[
    (v4([169, 254, 169, 254], 32), METADATA),
    (v4([100, 100, 100, 200], 32), METADATA),
    (v4([168, 63, 129, 16], 32), METADATA),
    (v4([255, 255, 255, 255], 32), "the broadcast address"),
    (v4([0, 0, 0, 0], 8), "an unspecified address"),
    (v4([127, 0, 0, 0], 8), "a loopback address"),
    (v4([10, 0, 0, 0], 8), "a private address"),
    (v4([172, 16, 0, 0], 12), "a private address"),
    (v4([192, 168, 0, 0], 16), "a private address"),
    (v4([169, 254, 0, 0], 16), "a link-local address"),
    (v4([100, 64, 0, 0], 10), "a carrier-grade NAT address"),
    (v4([192, 0, 0, 0], 24), "an IETF protocol address"),
    (v4([192, 0, 2, 0], 24), "a documentation address"),
    (v4([198, 51, 100, 0], 24), "a documentation address"),
    (v4([203, 0, 113, 0], 24), "a documentation address"),
    (v4([192, 88, 99, 0], 24), "a 6to4 relay address"),
    (v4([198, 18, 0, 0], 15), "a benchmark address"),
    (v4([224, 0, 0, 0], 4), "a multicast address"),
    (v4([240, 0, 0, 0], 4), "a reserved address"),
];

/// The first match counts, so the narrow ranges are first.
const V6: &[(Range, &str)] = &[
    (v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128), METADATA),
    (v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128), METADATA),
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 128), "an unspecified address"),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), "a loopback address"),
    (
        v6([0, 0, 0, 0, 0, 0, 0, 0], 96),
        "an IPv4-compatible address",
    ),
    (
        v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96),
        "a translated (SIIT) address",
    ),
    (
        v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96),
        "a translated (NAT64) address",
    ),
    (
        v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48),
        "a translated (NAT64) address",
    ),
    (
        v6([0x100, 0, 0, 0, 0, 0, 0, 0], 32),
        "a discard-only address",
    ),
    (
        v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32),
        "a tunnelled (Teredo) address",
    ),
    (v6([0x2001, 2, 0, 0, 0, 0, 0, 0], 48), "a benchmark address"),
    (
        v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
        "an IETF protocol address",
    ),
    (
        v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
        "a documentation address",
    ),
    (
        v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
        "a documentation address",
    ),
    (
        v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16),
        "a tunnelled (6to4) address",
    ),
    (
        v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16),
        "a segment-routing address",
    ),
    (
        v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7),
        "a unique-local address",
    ),
    (
        v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),
        "a link-local address",
    ),
    (
        v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10),
        "a site-local address",
    ),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), "a multicast address"),
];

/// The position of an IPv4 address inside an IPv6 address.
struct Carrier {
    range: Range,
    /// The number of bits after the IPv4 address.
    shift: u32,
    /// Whether its bits are inverted (Teredo, RFC 4380 section 4).
    inverted: bool,
}

const fn carrier(range: Range, shift: u32, inverted: bool) -> Carrier {
    Carrier {
        range,
        shift,
        inverted,
    }
}

const CARRIERS: &[Carrier] = &[
    carrier(v6([0, 0, 0, 0, 0, 0, 0, 0], 96), 0, false),
    carrier(v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96), 0, false),
    carrier(v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96), 0, false),
    // A /48 may be split further (RFC 8215); its /96 form is the one in use.
    carrier(v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), 0, false),
    carrier(v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), 80, false),
    carrier(v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32), 0, true),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn why(text: &str) -> Option<&'static str> {
        reason(text.parse().unwrap())
    }

    #[test]
    fn every_default_denial_covers_its_range_from_first_to_last_and_no_more() {
        // First, last, kind, and the neighbours on both sides if they are public.
        let table = [
            (
                "0.0.0.0",
                "0.255.255.255",
                "an unspecified address",
                None,
                Some("1.0.0.0"),
            ),
            (
                "10.0.0.0",
                "10.255.255.255",
                "a private address",
                Some("9.255.255.255"),
                Some("11.0.0.0"),
            ),
            (
                "100.64.0.0",
                "100.127.255.255",
                "a carrier-grade NAT address",
                Some("100.63.255.255"),
                Some("100.128.0.0"),
            ),
            (
                "127.0.0.0",
                "127.255.255.255",
                "a loopback address",
                Some("126.255.255.255"),
                Some("128.0.0.0"),
            ),
            (
                "169.254.0.0",
                "169.254.255.255",
                "a link-local address",
                Some("169.253.255.255"),
                Some("169.255.0.0"),
            ),
            (
                "172.16.0.0",
                "172.31.255.255",
                "a private address",
                Some("172.15.255.255"),
                Some("172.32.0.0"),
            ),
            (
                "192.0.0.0",
                "192.0.0.255",
                "an IETF protocol address",
                Some("191.255.255.255"),
                Some("192.0.1.0"),
            ),
            (
                "192.0.2.0",
                "192.0.2.255",
                "a documentation address",
                Some("192.0.1.255"),
                Some("192.0.3.0"),
            ),
            (
                "192.88.99.0",
                "192.88.99.255",
                "a 6to4 relay address",
                Some("192.88.98.255"),
                Some("192.88.100.0"),
            ),
            (
                "192.168.0.0",
                "192.168.255.255",
                "a private address",
                Some("192.167.255.255"),
                Some("192.169.0.0"),
            ),
            (
                "198.18.0.0",
                "198.19.255.255",
                "a benchmark address",
                Some("198.17.255.255"),
                Some("198.20.0.0"),
            ),
            (
                "198.51.100.0",
                "198.51.100.255",
                "a documentation address",
                Some("198.51.99.255"),
                Some("198.51.101.0"),
            ),
            (
                "203.0.113.0",
                "203.0.113.255",
                "a documentation address",
                Some("203.0.112.255"),
                Some("203.0.114.0"),
            ),
            (
                "224.0.0.0",
                "239.255.255.255",
                "a multicast address",
                Some("223.255.255.255"),
                None,
            ),
            (
                "240.0.0.0",
                "255.255.255.254",
                "a reserved address",
                None,
                None,
            ),
            (
                "255.255.255.255",
                "255.255.255.255",
                "the broadcast address",
                None,
                None,
            ),
            (
                "64:ff9b::808:808",
                "64:ff9b::808:808",
                "a translated (NAT64) address",
                None,
                Some("64:ff9b::1:0:0"),
            ),
            (
                "64:ff9b:1::808:808",
                "64:ff9b:1:ffff:ffff:ffff:808:808",
                "a translated (NAT64) address",
                None,
                None,
            ),
            (
                "::808:808",
                "::808:808",
                "an IPv4-compatible address",
                None,
                Some("::1:0:0"),
            ),
            (
                "::ffff:0:808:808",
                "::ffff:0:808:808",
                "a translated (SIIT) address",
                None,
                None,
            ),
            (
                "100::",
                "100:0:ffff:ffff:ffff:ffff:ffff:ffff",
                "a discard-only address",
                None,
                None,
            ),
            (
                "2001:1::",
                "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff",
                "an IETF protocol address",
                None,
                Some("2001:200::"),
            ),
            (
                "2001:2::",
                "2001:2:0:ffff:ffff:ffff:ffff:ffff",
                "a benchmark address",
                None,
                None,
            ),
            (
                "2001:db8::",
                "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
                "a documentation address",
                Some("2001:db7::"),
                Some("2001:db9::"),
            ),
            (
                "3fff::",
                "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
                "a documentation address",
                Some("3ffe:ffff::"),
                Some("3fff:1000::"),
            ),
            (
                "2002:808:808::",
                "2002:808:808:ffff:ffff:ffff:ffff:ffff",
                "a tunnelled (6to4) address",
                None,
                Some("2003::"),
            ),
            (
                "5f00::",
                "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                "a segment-routing address",
                None,
                None,
            ),
            (
                "fc00::",
                "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                "a unique-local address",
                None,
                None,
            ),
            (
                "fe80::",
                "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                "a link-local address",
                None,
                None,
            ),
            (
                "fec0::",
                "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                "a site-local address",
                None,
                None,
            ),
            (
                "ff00::",
                "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                "a multicast address",
                None,
                None,
            ),
        ];
        for (first, last, kind, below, above) in table {
            assert_eq!(
                (why(first), why(last)),
                (Some(kind), Some(kind)),
                "{first} to {last}"
            );
            for neighbour in [below, above].into_iter().flatten() {
                assert_eq!(why(neighbour), None, "{neighbour} is public");
            }
        }
    }

    #[test]
    fn the_metadata_services_of_the_clouds_are_named() {
        for text in [
            "169.254.169.254",
            "100.100.100.200",
            "168.63.129.16",
            "fd00:ec2::254",
            "fd20:ce::254",
        ] {
            assert_eq!(why(text), Some(METADATA), "{text}");
        }
    }

    #[test]
    fn single_addresses_of_ipv6_have_their_kind() {
        assert_eq!(why("::"), Some("an unspecified address"));
        assert_eq!(why("::1"), Some("a loopback address"));
        assert_eq!(why("2606:4700:4700::1111"), None);
        assert_eq!(why("2a00:1450::1"), None);
    }

    #[test]
    fn an_address_with_an_embedded_ipv4_address_has_the_kind_of_the_inner_address() {
        let forms = [
            ("::ffff:127.0.0.1", "a loopback address"),
            ("::127.0.0.1", "a loopback address"),
            ("::ffff:0:127.0.0.1", "a loopback address"),
            ("64:ff9b::10.0.0.1", "a private address"),
            ("64:ff9b:1::169.254.169.254", METADATA),
            ("2002:7f00:1::", "a loopback address"),
        ];
        for (text, kind) in forms {
            assert_eq!(why(text), Some(kind), "{text}");
        }
        // Teredo inverts the bits: 0x80fffffe is 127.0.0.1.
        assert_eq!(why("2001::80ff:fffe"), Some("a loopback address"));
        assert_eq!(why("2001::f7f7:f7f7"), Some("a tunnelled (Teredo) address"));
    }

    proptest! {
        #[test]
        fn no_carrier_of_a_denied_ipv4_address_passes(bits: u32) {
            let inner = Ipv4Addr::from_bits(bits);
            let wide = u128::from(bits);
            let forms = [
                u128::from(bits) | (0xffff << 32),
                (0x0064_ff9b_u128 << 96) | wide,
                (0x2002_u128 << 112) | (wide << 80),
                (0x2001_u128 << 112) | u128::from(!bits),
            ];
            for form in forms.map(Ipv6Addr::from_bits) {
                if reason(inner.into()).is_some() {
                    prop_assert_eq!(reason(form.into()), reason(inner.into()));
                }
                prop_assert!(form.to_ipv4_mapped().is_some() || reason(form.into()).is_some());
            }
        }
    }
}
