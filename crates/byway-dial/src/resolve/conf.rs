//! Conf: `resolv.conf`, as the C library reads it (resolv.conf(5)).
//!
//! In:    the text of the file, and the host name of this machine.
//! Out:   servers, search list and options, within the limits of the C library.
//! Never: fails: unknown settings are skipped, and without a server this machine is queried.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

/// How many servers are used (MAXNS of the C library).
const SERVERS_MAX: usize = 3;
/// How many domains are searched. The C library has no limit since 2.26; before, it had 6.
const SEARCH_MAX: usize = 16;
const NDOTS_MAX: usize = 15;
const ATTEMPTS_MAX: usize = 5;
const TIMEOUT_MAX_S: u64 = 30;

/// The settings for look-ups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Conf {
    /// The servers to query, in this order; at least one.
    pub(super) servers: Vec<SocketAddr>,
    /// The domains to append to names with too few dots.
    pub(super) search: Vec<String>,
    /// A name with at least this many dots is first looked up unchanged.
    pub(super) ndots: usize,
    /// The time-out of a server.
    pub(super) timeout: Duration,
    /// How often each server is queried.
    pub(super) attempts: usize,
    /// Whether each look-up starts with the next server.
    pub(super) rotate: bool,
    /// Whether TCP is used from the start.
    pub(super) use_vc: bool,
    /// Whether AAAA queries are left out.
    pub(super) no_aaaa: bool,
}

impl Conf {
    /// Reads `text`; servers are queried on `port`. `machine` is the host name of this machine,
    /// whose domain is the default search list.
    pub(super) fn parse(text: &str, machine: &str, port: u16) -> Self {
        let mut conf = Self {
            servers: Vec::new(),
            search: machine
                .split_once('.')
                .map(|(_, domain)| domain.to_owned())
                .into_iter()
                .collect(),
            ndots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
            rotate: false,
            use_vc: false,
            no_aaaa: false,
        };
        for line in text.lines().filter(|line| !line.starts_with(['#', ';'])) {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => conf
                    .servers
                    .extend(words.next().and_then(|word| server(word, port))),
                Some("search") => conf.search = words.take(SEARCH_MAX).map(domain).collect(),
                Some("domain") => conf.search = words.take(1).map(domain).collect(),
                Some("options") => words.for_each(|word| conf.option(word)),
                _ => {}
            }
        }
        conf.search.retain(|domain| !domain.is_empty());
        conf.servers.truncate(SERVERS_MAX);
        if conf.servers.is_empty() {
            conf.servers
                .push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
        }
        conf
    }

    fn option(&mut self, word: &str) {
        let (key, number) = word.split_once(':').unwrap_or((word, ""));
        let number = number.parse::<u64>().ok();
        let small =
            |most: usize| number.map(|number| usize::try_from(number).unwrap_or(most).min(most));
        match key {
            "ndots" => self.ndots = small(NDOTS_MAX).unwrap_or(self.ndots),
            "attempts" => self.attempts = small(ATTEMPTS_MAX).unwrap_or(self.attempts).max(1),
            "timeout" => {
                let seconds =
                    number.map_or(self.timeout.as_secs(), |seconds| seconds.min(TIMEOUT_MAX_S));
                self.timeout = Duration::from_secs(seconds.max(1));
            }
            "rotate" => self.rotate = true,
            "use-vc" | "usevc" | "tcp" => self.use_vc = true,
            "no-aaaa" => self.no_aaaa = true,
            _ => {}
        }
    }
}

fn domain(word: &str) -> String {
    word.trim_matches('.').to_ascii_lowercase()
}

/// An address, or for a link-local one an address with its interface, `fe80::1%eth0`.
fn server(word: &str, port: u16) -> Option<SocketAddr> {
    if let Ok(ip) = word.parse::<IpAddr>() {
        return Some(SocketAddr::new(ip, port));
    }
    let (ip, interface) = word.split_once('%')?;
    let scope = interface
        .parse()
        .ok()
        .or_else(|| interface_index(interface))?;
    Some(SocketAddrV6::new(ip.parse().ok()?, port, 0, scope).into())
}

#[cfg(target_os = "linux")]
fn interface_index(name: &str) -> Option<u32> {
    let probe = rustix::net::socket(
        rustix::net::AddressFamily::INET6,
        rustix::net::SocketType::DGRAM,
        None,
    )
    .ok()?;
    rustix::net::netdevice::name_to_index(&probe, name).ok()
}

#[cfg(not(target_os = "linux"))]
fn interface_index(_name: &str) -> Option<u32> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Conf {
        Conf::parse(text, "machine.home.example", 53)
    }

    #[test]
    fn every_known_line_is_read() {
        let conf = parse(
            "# comment\n; another\nnameserver 192.0.2.1\nnameserver 2001:db8::1 trailing\nsearch A.example. b.example\n\
             options ndots:3 timeout:2 attempts:4 rotate use-vc no-aaaa edns0 trust-ad\nsortlist 192.0.2.0\n",
        );
        assert_eq!(
            conf.servers,
            [
                "192.0.2.1:53".parse().unwrap(),
                "[2001:db8::1]:53".parse().unwrap()
            ]
        );
        assert_eq!(conf.search, ["a.example", "b.example"]);
        assert_eq!(
            (conf.ndots, conf.timeout.as_secs(), conf.attempts),
            (3, 2, 4)
        );
        assert!(conf.rotate && conf.use_vc && conf.no_aaaa);
    }

    #[test]
    fn the_last_of_search_and_domain_counts_and_the_host_name_is_the_default() {
        assert_eq!(
            parse("domain a.example\nsearch b.example c.example\n").search,
            ["b.example", "c.example"]
        );
        assert_eq!(
            parse("search b.example c.example\ndomain a.example d.example\n").search,
            ["a.example"]
        );
        assert_eq!(parse("").search, ["home.example"]);
        assert_eq!(parse("search .\n").search, Vec::<String>::new());
        assert!(Conf::parse("", "machine", 53).search.is_empty());
    }

    #[test]
    fn numbers_are_clamped_to_the_limits_of_the_c_library() {
        let conf = parse("options ndots:99 timeout:9999999999999999999999 attempts:99");
        assert_eq!(
            (conf.ndots, conf.timeout.as_secs(), conf.attempts),
            (15, 5, 5)
        );
        let conf = parse("options ndots:0 timeout:0 attempts:0 timeout:x ndots attempts:-1");
        assert_eq!(
            (conf.ndots, conf.timeout.as_secs(), conf.attempts),
            (0, 1, 1)
        );
        assert_eq!(parse("options timeout:4000").timeout.as_secs(), 30);
    }

    #[test]
    fn three_servers_are_used_and_this_machine_if_there_is_none() {
        let four = parse(
            "nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\nnameserver 192.0.2.4\n",
        );
        assert_eq!(four.servers.len(), 3);
        for text in [
            "",
            "nameserver\n",
            "nameserver name.example\n",
            "nameserver 127.1\n",
        ] {
            assert_eq!(
                parse(text).servers,
                ["127.0.0.1:53".parse().unwrap()],
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_link_local_server_has_its_interface() {
        let conf = parse("nameserver fe80::1%7\n");
        assert_eq!(
            conf.servers,
            [SocketAddrV6::new("fe80::1".parse().unwrap(), 53, 0, 7).into()]
        );
        #[cfg(target_os = "linux")]
        assert!(
            matches!(parse("nameserver fe80::1%lo\n").servers[0], SocketAddr::V6(v6) if v6.scope_id() > 0)
        );
    }
}
