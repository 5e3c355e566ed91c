//! No proxy: the targets that are reached without a proxy.
//!
//! In:    the text of `NO_PROXY`: entries separated by commas or blanks.
//! Out:   whether it covers a target.
//! Never: resolves a name. Only name entries cover a name, and only address entries an address.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use crate::rules::plain;
use crate::target::{BadTarget, HostName, Target, parse_port};

/// The targets that are reached directly. Entries are separated by commas, blanks or both; case
/// does not matter.
///
/// | entry | covers |
/// |---|---|
/// | `*` | everything |
/// | `example.com` | that name and every name under it, as in curl, Go and Python |
/// | `.example.com` | the same |
/// | `*.example.com` | the names under it, and not the name itself |
/// | `192.0.2.1`, `2001:db8::1`, `[2001:db8::1]` | that address, however it is spelled |
/// | `10.0.0.0/8`, `fd00::/8` | the addresses of that network |
/// | `192.0.2.1-192.0.2.9` | the addresses from the first to the last |
/// | any name, address in brackets, IPv4 address, IPv4 range, or `*`, and `:PORT` | the same, at that port only |
///
/// A name is not looked up, so an address or a network never covers it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoProxy(Vec<Entry>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    hosts: Hosts,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    All,
    /// The name and its subdomains.
    Domain(HostName),
    /// The subdomains of the name.
    Under(HostName),
    Net(IpNet),
    /// From the first to the last; of one family, in canonical form.
    Range(IpAddr, IpAddr),
}

impl NoProxy {
    /// Whether to reach `target` directly. Always true for a Unix socket, which is on this machine.
    pub fn covers(&self, target: &Target) -> bool {
        match target {
            Target::Unix(_) => true,
            Target::Host { name, port } => self.any(*port, |hosts| hosts.has_name(name)),
            Target::Addr(addr) => {
                let ip = addr.ip().to_canonical();
                self.any(addr.port(), |hosts| hosts.has_ip(ip))
            }
        }
    }

    fn any(&self, port: u16, has: impl Fn(&Hosts) -> bool) -> bool {
        self.0
            .iter()
            .any(|entry| entry.port.is_none_or(|only| only == port) && has(&entry.hosts))
    }
}

impl Hosts {
    fn has_name(&self, name: &HostName) -> bool {
        match self {
            Self::All => true,
            Self::Domain(domain) => name.is_under(domain),
            Self::Under(domain) => name != domain && name.is_under(domain),
            Self::Net(_) | Self::Range(..) => false,
        }
    }

    /// `ip` is in canonical form.
    fn has_ip(&self, ip: IpAddr) -> bool {
        match self {
            Self::All => true,
            Self::Domain(_) | Self::Under(_) => false,
            Self::Net(net) => net.contains(&ip),
            // Across families, `IpAddr` compares by family alone; hence the first check.
            Self::Range(first, last) => {
                first.is_ipv4() == ip.is_ipv4() && (*first..=*last).contains(&ip)
            }
        }
    }
}

impl FromStr for NoProxy {
    type Err = BadEntry;

    fn from_str(text: &str) -> Result<Self, BadEntry> {
        let entries = text
            .split(|c: char| c == ',' || c.is_whitespace())
            .filter(|entry| !entry.is_empty());
        entries
            .map(Entry::parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl Entry {
    fn parse(text: &str) -> Result<Self, BadEntry> {
        if let Some(rest) = text.strip_prefix('[') {
            return Self::bracketed(text, rest);
        }
        // Addresses first: the colons of IPv6 do not start a port.
        if let Some(hosts) = addresses(text)? {
            return Ok(Self { hosts, port: None });
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return Ok(Self {
                hosts: named(text)?,
                port: None,
            });
        };
        let port = Some(parse_port(port).map_err(|source| BadEntry::Target {
            entry: text.into(),
            source,
        })?);
        let hosts = addresses(host)?.filter(|_| !host.contains(':'));
        match hosts {
            Some(hosts) => Ok(Self { hosts, port }),
            None => Ok(Self {
                hosts: named(host)?,
                port,
            }),
        }
    }

    /// `[address]`, with `:PORT` or `/LENGTH` after it.
    fn bracketed(text: &str, rest: &str) -> Result<Self, BadEntry> {
        let bad = || BadEntry::Address(text.into());
        let (inner, behind) = rest.split_once(']').ok_or_else(bad)?;
        let IpAddr::V6(ip) = inner.parse().map_err(|_| bad())? else {
            return Err(bad());
        };
        if behind.starts_with('/') {
            return Ok(Self {
                hosts: network(&format!("{ip}{behind}"), text)?,
                port: None,
            });
        }
        let port = match behind.strip_prefix(':') {
            None if behind.is_empty() => None,
            None => return Err(bad()),
            Some(port) => Some(parse_port(port).map_err(|source| BadEntry::Target {
                entry: text.into(),
                source,
            })?),
        };
        Ok(Self {
            hosts: one(ip.into()),
            port,
        })
    }
}

/// An address, a network or a range; `None` if the text is none of these.
fn addresses(text: &str) -> Result<Option<Hosts>, BadEntry> {
    if let Ok(ip) = text.parse() {
        return Ok(Some(one(ip)));
    }
    if text.contains('/') {
        return network(text, text).map(Some);
    }
    let ends = text
        .split_once('-')
        .and_then(|(first, last)| Some((plain_ip(first)?, plain_ip(last)?)));
    match ends {
        Some((first, last)) if first.is_ipv4() == last.is_ipv4() && first <= last => {
            Ok(Some(Hosts::Range(first, last)))
        }
        Some(_) => Err(BadEntry::Range(text.into())),
        None => Ok(None),
    }
}

fn plain_ip(text: &str) -> Option<IpAddr> {
    text.parse().ok().map(|ip: IpAddr| ip.to_canonical())
}

fn one(ip: IpAddr) -> Hosts {
    Hosts::Net(ip.to_canonical().into())
}

fn network(text: &str, entry: &str) -> Result<Hosts, BadEntry> {
    text.parse()
        .map(|net| Hosts::Net(plain(net)))
        .map_err(|_| BadEntry::Network(entry.into()))
}

fn named(text: &str) -> Result<Hosts, BadEntry> {
    if text == "*" {
        return Ok(Hosts::All);
    }
    let (name, hosts): (_, fn(HostName) -> Hosts) =
        match (text.strip_prefix("*."), text.strip_prefix('.')) {
            (Some(name), _) => (name, Hosts::Under),
            (_, Some(name)) => (name, Hosts::Domain),
            _ => (text, Hosts::Domain),
        };
    name.parse().map(hosts).map_err(|source| BadEntry::Target {
        entry: text.into(),
        source,
    })
}

/// An invalid entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEntry {
    /// A network.
    #[error("`{0}` is no network: write one such as 10.0.0.0/8 or fd00::/8")]
    Network(String),
    /// A range.
    #[error(
        "`{0}` is no range: write the lower address first, and two of one family, such as 192.0.2.1-192.0.2.9"
    )]
    Range(String),
    /// An address in brackets.
    #[error("`{0}` is no IPv6 address in brackets: write [2001:db8::1] or [2001:db8::1]:443")]
    Address(String),
    /// A name or a port.
    #[error(
        "the entry `{entry}`: {source}; other entries are *, .example.com, *.example.com, 10.0.0.0/8"
    )]
    Target {
        /// The entry.
        entry: String,
        /// The problem.
        source: BadTarget,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(list: &str, target: &str) -> bool {
        list.parse::<NoProxy>()
            .unwrap()
            .covers(&target.parse().unwrap())
    }

    /// Entries with the targets that they cover, and others that they do not.
    const TABLE: [(&str, &[&str], &[&str]); 21] = [
        ("*", &["a.example:1", "192.0.2.1:1", "[::1]:1"], &[]),
        ("*:80", &["a.example:80", "[::1]:80"], &["a.example:81"]),
        (
            "a.example",
            &["a.example:80", "b.a.example:443"],
            &["ba.example:80", "example:80", "192.0.2.1:80"],
        ),
        (
            "A.Example.",
            &["a.EXAMPLE:80", "A.example.:80"],
            &["b.example:80"],
        ),
        (
            ".a.example.",
            &["a.example:80", "b.a.example.:80"],
            &["ba.example:80"],
        ),
        (
            "*.a.example.:80",
            &["b.a.example:80", "b.a.example.:80"],
            &["a.example.:80", "b.a.example:81"],
        ),
        (
            ".a.example",
            &["b.a.example:80", "c.b.a.example:80", "a.example:80"],
            &["ba.example:80"],
        ),
        (
            "*.a.example",
            &["b.a.example:80", "c.b.a.example:80"],
            &["a.example:80", "ba.example:80"],
        ),
        (
            "a.example:8080",
            &["a.example:8080", "b.a.example:8080"],
            &["a.example:80"],
        ),
        (
            "*.a.example:8080",
            &["b.a.example:8080"],
            &["b.a.example:80", "a.example:8080"],
        ),
        (
            "localhost",
            &["localhost:80"],
            &["127.0.0.1:80", "[::1]:80"],
        ),
        ("my-host", &["my-host:80"], &["my-hosts:80"]),
        (
            "192.0.2.1",
            &["192.0.2.1:80", "[::ffff:192.0.2.1]:80"],
            &["192.0.2.10:80", "a.example:80"],
        ),
        ("192.0.2.1:80", &["192.0.2.1:80"], &["192.0.2.1:81"]),
        (
            "2001:db8::1",
            &["[2001:db8:0::1]:443"],
            &["[2001:db8::2]:443"],
        ),
        (
            "[2001:db8::1]",
            &["[2001:db8::1]:443", "[2001:DB8::1]:80"],
            &["[2001:db8::2]:443"],
        ),
        (
            "[2001:db8::1]:443",
            &["[2001:db8::1]:443"],
            &["[2001:db8::1]:80"],
        ),
        (
            "10.0.0.0/8",
            &["10.255.0.1:80", "[::ffff:10.0.0.1]:80"],
            &["11.0.0.1:80", "[::1]:80", "a.example:80"],
        ),
        (
            "[fd00::]/8",
            &["[fdff::1]:80"],
            &["[fe80::1]:80", "10.0.0.1:80"],
        ),
        (
            "192.0.2.3-192.0.2.20",
            &["192.0.2.3:1", "192.0.2.20:1", "192.0.2.9:1"],
            &["192.0.2.2:1", "192.0.2.21:1"],
        ),
        (
            "fd00::1-fd00::ff",
            &["[fd00::a]:80"],
            &["[fd00::100]:80", "192.0.2.1:80"],
        ),
    ];

    #[test]
    fn every_form_of_an_entry_covers_its_targets_and_no_others() {
        for (entry, covered, others) in TABLE {
            for target in covered {
                assert!(covers(entry, target), "{entry} should cover {target}");
            }
            for target in others {
                assert!(!covers(entry, target), "{entry} should not cover {target}");
            }
        }
    }

    #[test]
    fn entries_are_separated_by_commas_and_blanks_and_empty_ones_are_ignored() {
        let list = " a.example,\tb.example ,, c.example:80\n, ";
        assert!(
            ["a.example:1", "b.example:1", "c.example:80"]
                .iter()
                .all(|target| covers(list, target))
        );
        assert!(!covers(list, "c.example:81"));
        assert!(!covers("", "a.example:1") && !covers(" , ", "a.example:1"));
    }

    #[test]
    fn an_address_is_never_covered_by_a_name_with_the_same_suffix() {
        assert!(!covers("1.example", "192.0.2.1:80"));
        assert!(!covers("::/0", "192.0.2.1:80"));
        assert!(covers("::ffff:10.0.0.0/104", "10.1.2.3:80"));
    }

    proptest::proptest! {
        #[test]
        fn every_text_is_a_list_or_an_error_and_covers_no_target_without_an_entry(
            text in "[-a-z0-9.:/,*\\[\\] %]{0,24}",
        ) {
            let covers = |target: &str| text.parse::<NoProxy>().is_ok_and(|list| list.covers(&target.parse().unwrap()));
            let all = text.split([',', ' ']).any(|entry| entry.starts_with('*'));
            proptest::prop_assert!(all || !covers("unmentioned-by-any-entry-of-that-length.example:65535"));
        }

        #[test]
        fn an_entry_for_an_address_covers_it_in_every_spelling(ip: u32, len in 0u8..=32, port in 1u16..) {
            let ip = std::net::Ipv4Addr::from(ip);
            let mapped = ip.to_ipv6_mapped();
            for entry in [format!("{ip}"), format!("[{mapped}]"), format!("{ip}/{len}"), format!("{ip}:{port}")] {
                proptest::prop_assert!(covers(&entry, &format!("{ip}:{port}")), "{}", entry);
                proptest::prop_assert!(covers(&entry, &format!("[{mapped}]:{port}")), "{}", entry);
            }
        }
    }

    #[test]
    fn a_range_with_a_port_covers_that_port_alone() {
        assert!(covers("192.0.2.1-192.0.2.9:80", "192.0.2.5:80"));
        assert!(!covers("192.0.2.1-192.0.2.9:80", "192.0.2.5:81"));
    }

    #[test]
    fn an_entry_that_covers_nothing_is_reported_with_a_remedy() {
        let error = |list: &str| list.parse::<NoProxy>().unwrap_err();
        assert_eq!(
            error("10.0.0.0/33"),
            BadEntry::Network("10.0.0.0/33".into())
        );
        assert_eq!(error("a/8"), BadEntry::Network("a/8".into()));
        assert_eq!(
            error("192.0.2.9-192.0.2.1"),
            BadEntry::Range("192.0.2.9-192.0.2.1".into())
        );
        assert_eq!(
            error("192.0.2.9-::1"),
            BadEntry::Range("192.0.2.9-::1".into())
        );
        for bad in ["[::1", "[192.0.2.1]", "[::1]x", "[a]"] {
            assert_eq!(error(bad), BadEntry::Address(bad.into()));
        }
        for bad in [
            "a*",
            "*a.example",
            "<local>",
            "a;b",
            "a:0",
            "a:b",
            "[::1]:0",
            "..a",
            "127.1",
            "fd00::1-fd00::9:80x",
        ] {
            assert!(
                matches!(error(bad), BadEntry::Target { .. }),
                "{bad}: {:?}",
                error(bad)
            );
        }
        assert_eq!(
            error("ok.example <local>").to_string(),
            "the entry `<local>`: `<local>` is no host: write a name such as example.com, an address such as \
             192.0.2.1, or [2001:db8::1]; other entries are *, .example.com, *.example.com, 10.0.0.0/8"
        );
    }
}
