//! Address rules: decide which addresses may be dialled.
//!
//! In:    an address, and the operator's rules.
//! Out:   a [`CheckedAddr`], which the connector requires as proof, or a [`Denied`] with the
//!        remedy.
//! Never: checks an IPv4 address by its spelling. `::ffff:127.0.0.1` is loopback, even in the IPv6
//!        family.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};

use crate::target::Target;
use crate::{denials, kernel_route};

/// One rule about addresses. The first rule that matches decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressRule {
    /// The addresses of the rule. An IPv4 range also matches its IPv4-mapped addresses. An IPv4
    /// range of a rule that denies also matches them inside NAT64, 6to4, Teredo and IPv4-compatible
    /// addresses.
    pub cidr: IpNet,
    /// The ports of the rule; empty means all ports.
    pub ports: Vec<RangeInclusive<u16>>,
    /// Whether the rule allows or denies.
    pub allow: bool,
    /// The number of the rule in messages.
    pub number: usize,
}

impl AddressRule {
    fn matches(&self, addr: SocketAddr) -> bool {
        let port =
            self.ports.is_empty() || self.ports.iter().any(|ports| ports.contains(&addr.port()));
        port && (self.covers(addr.ip()) || (!self.allow && self.covers_carried(addr.ip())))
    }

    fn covers(&self, ip: IpAddr) -> bool {
        plain(self.cidr).contains(&ip)
    }

    fn covers_carried(&self, ip: IpAddr) -> bool {
        let IpAddr::V6(ip) = ip else { return false };
        denials::carried_ipv4(ip).is_some_and(|inner| self.covers(inner.into()))
    }
}

/// Whether the ports of a rule contain `port` as a single port. A range of several ports does not
/// count, so `1-1023` does not open a port that is closed by default.
pub fn names_port(ports: &[RangeInclusive<u16>], port: u16) -> bool {
    ports.contains(&(port..=port))
}

/// The port that is closed by default, if a range in `ports` covers it without naming it.
pub fn covered_closed_port(ports: &[RangeInclusive<u16>]) -> Option<u16> {
    let port = denials::CLOSED_PORT;
    (ports.iter().any(|range| range.contains(&port)) && !names_port(ports, port)).then_some(port)
}

/// Converts a range inside ::ffff:0:0/96 to its IPv4 range, because addresses are compared in
/// canonical form.
pub(crate) fn plain(cidr: IpNet) -> IpNet {
    let IpNet::V6(v6) = cidr else { return cidr };
    let inner = v6.addr().to_ipv4_mapped();
    let v4 = v6
        .prefix_len()
        .checked_sub(96)
        .zip(inner)
        .and_then(|(len, ip)| Ipv4Net::new(ip, len).ok());
    v4.map_or(cidr, IpNet::V4)
}

/// The checks for addresses: the operator's rules, then the default denials, then the default.
#[derive(Clone, Debug)]
pub struct AddressRules {
    /// The operator's rules, in order.
    pub rules: Vec<AddressRule>,
    /// Whether the default denials are on: addresses of this machine and its network, metadata
    /// services, and every address that is not public unicast. On at every exit unless the operator
    /// turns it off.
    pub guard: bool,
    /// Whether an address that no rule matches and the guard does not deny is allowed.
    pub otherwise_allow: bool,
    /// Our own listeners, including the admin port: denied while `guard` is on, unless a rule
    /// allows them.
    pub own: Arc<[SocketAddr]>,
    /// A port that the guard denies by default (25, mail) and that a name rule has opened by its
    /// number.
    pub opened_port: Option<u16>,
}

impl AddressRules {
    /// Allows everything. For addresses from the operator's configuration: an edge's upstreams, a
    /// parent.
    pub fn open() -> Self {
        Self {
            rules: Vec::new(),
            guard: false,
            otherwise_allow: true,
            own: Arc::default(),
            opened_port: None,
        }
    }

    /// Only the default denials: every public address may be dialled.
    pub fn guarded() -> Self {
        Self {
            guard: true,
            ..Self::open()
        }
    }

    /// Checks one address. The result is in canonical form (an IPv4-mapped address as IPv4) and is
    /// the address to dial.
    ///
    /// With the guard on and no deciding rule, this queries the kernel (without sending a packet)
    /// whether packets to the address are delivered on this machine. It does not detect an address
    /// that NAT maps to this machine; deny such an address by a rule. If the kernel cannot be
    /// queried, the address is refused ([`Reason::Unchecked`]).
    ///
    /// # Errors
    /// [`Denied`], with the rule or default denial that applied, and the remedy.
    pub fn check(&self, addr: SocketAddr) -> Result<CheckedAddr, Denied> {
        match self.denial_of(addr) {
            Some(reason) => Err(Denied { addr, reason }),
            None => Ok(CheckedAddr(plain_form(addr))),
        }
    }

    /// The reason for a denial, or `None`.
    fn denial_of(&self, addr: SocketAddr) -> Option<Reason> {
        let plain = plain_form(addr);
        let rule = self.rules.iter().find(|rule| rule.matches(plain));
        if let Some(rule) = rule.filter(|rule| !rule.allow) {
            return Some(Reason::Rule(rule.number));
        }
        if self.keeps_port(plain.port())
            && !rule.is_some_and(|rule| names_port(&rule.ports, plain.port()))
        {
            return Some(Reason::Port);
        }
        if rule.is_some() {
            return None;
        }
        if self.guard
            && let Some(reason) = self
                .refused_by_guard(plain)
                .or_else(|| mapped_kind(addr).map(Reason::Guard))
        {
            return Some(reason);
        }
        (!self.otherwise_allow).then_some(Reason::Default)
    }

    /// Whether the guard denies `port` and no name rule has opened it
    /// ([`AddressRules::opened_port`]).
    pub fn keeps_port(&self, port: u16) -> bool {
        self.guard && port == denials::CLOSED_PORT && self.opened_port != Some(port)
    }

    /// The reason if the guard denies `plain`.
    fn refused_by_guard(&self, plain: SocketAddr) -> Option<Reason> {
        if self.is_own_listener(plain) {
            return Some(Reason::Guard("one of our own listeners"));
        }
        if let Some(kind) = denials::reason(plain.ip()) {
            return Some(Reason::Guard(kind));
        }
        match kernel_route::local_kind(plain.ip()) {
            Ok(kind) => kind.map(Reason::Guard),
            Err(error) => Some(Reason::Unchecked(error.raw_os_error())),
        }
    }

    fn is_own_listener(&self, addr: SocketAddr) -> bool {
        self.own
            .iter()
            .any(|own| own.port() == addr.port() && own.ip().to_canonical() == addr.ip())
    }
}

/// The canonical form: an IPv4-mapped address as IPv4, any other unchanged, including its
/// interface.
fn plain_form(addr: SocketAddr) -> SocketAddr {
    match addr.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, addr.port()),
        IpAddr::V6(_) => addr,
    }
}

/// There is no legitimate reason to write a public IPv4 address in this form.
fn mapped_kind(addr: SocketAddr) -> Option<&'static str> {
    (plain_form(addr).is_ipv4() && addr.is_ipv6()).then_some("an IPv4-mapped address")
}

/// The proof that an address passed [`AddressRules::check`]. The connector accepts nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CheckedAddr(SocketAddr);

impl CheckedAddr {
    /// The address that was checked.
    pub fn addr(&self) -> SocketAddr {
        self.0
    }
}

/// An address that may not be dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// The address, as requested.
    pub addr: SocketAddr,
    /// The reason.
    pub reason: Reason,
}

/// The reason for a denial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The rule of this number.
    Rule(usize),
    /// A default denial; the text is the kind of the address ("a private address").
    Guard(&'static str),
    /// The port is denied by default: 25, where mail is delivered.
    Port,
    /// No rule allows it, and the default is to deny.
    Default,
    /// Nothing denied it, but the kernel could not report whether it is an address of this machine.
    /// The cause is not the address: the machine is short of descriptors or memory, or the process
    /// may not use netlink sockets. The number is the system error, if there was one.
    Unchecked(Option<i32>),
}

impl Reason {
    /// The system error of [`Reason::Unchecked`].
    pub(crate) fn unchecked(self) -> Option<io::Error> {
        let Self::Unchecked(code) = self else {
            return None;
        };
        Some(code.map_or_else(
            || io::Error::other("the kernel did not answer"),
            io::Error::from_raw_os_error,
        ))
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ip, port) = (self.addr.ip(), self.addr.port());
        let plain = ip.to_canonical();
        let host = IpNet::from(plain);
        match self.reason {
            Reason::Rule(number) => {
                write!(
                    f,
                    "{ip} port {port} is denied by rule {number}; an `allow` rule before it opens the address"
                )
            }
            Reason::Port => f.write_str(&closed_port(port)),
            Reason::Guard(kind) => {
                write!(
                    f,
                    "{ip} is {kind}; an `allow` rule with cidr = \"{host}\" (--allow {plain}) opens it"
                )
            }
            Reason::Default => {
                write!(
                    f,
                    "no rule allows {ip} port {port}; an `allow` rule with cidr = \"{host}\" (--allow {plain}) opens it"
                )
            }
            Reason::Unchecked(_) => {
                write!(f, "{ip} is not dialled: ")?;
                f.write_str(&unchecked(self.reason))
            }
        }
    }
}

impl std::error::Error for Denied {}

impl Denied {
    /// The message for the user of a proxy who requested `target` by name. It contains the kind of
    /// the address and not the address itself, so that users cannot read the names of an exit's
    /// network.
    pub fn without_address(&self, target: &Target) -> String {
        const REST: &str = "`byway explain` on the node that dials shows which, and what opens it";
        match self.reason {
            Reason::Rule(number) => {
                format!("{target} leads to an address that rule {number} denies; {REST}")
            }
            Reason::Port => closed_port(self.addr.port()),
            Reason::Guard(kind) => format!("{target} leads to {kind}; {REST}"),
            Reason::Default => format!("{target} leads to an address that no rule allows; {REST}"),
            Reason::Unchecked(_) => format!("{target} is not dialled: {}", unchecked(self.reason)),
        }
    }
}

/// The message for [`Reason::Unchecked`].
fn unchecked(reason: Reason) -> String {
    let error = reason
        .unchecked()
        .map(|error| format!(" ({error})"))
        .unwrap_or_default();
    format!("the check whether it is an address of this machine failed{error}; see SECURITY.md")
}

/// The reason why a port is denied by default, and the remedy.
pub fn closed_port(port: u16) -> String {
    format!(
        "port {port} is where mail is delivered, and closed by default; an `allow` rule with port = {port} (--allow :{port}) opens it"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        SocketAddr::new(text.parse().unwrap(), 80)
    }

    fn rule(cidr: &str, allow: bool, number: usize) -> AddressRule {
        AddressRule {
            cidr: cidr.parse().unwrap(),
            ports: Vec::new(),
            allow,
            number,
        }
    }

    fn guarded(rules: Vec<AddressRule>) -> AddressRules {
        AddressRules {
            rules,
            ..AddressRules::guarded()
        }
    }

    fn reason(rules: &AddressRules, text: &str) -> Option<Reason> {
        rules.check(addr(text)).err().map(|denied| denied.reason)
    }

    #[test]
    fn open_rules_allow_everything() {
        for text in [
            "127.0.0.1",
            "169.254.169.254",
            "::1",
            "64:ff9b::1",
            "8.8.8.8",
        ] {
            assert!(AddressRules::open().check(addr(text)).is_ok(), "{text}");
        }
    }

    #[test]
    fn the_guard_denies_addresses_that_are_not_public_and_allows_public_ones() {
        assert_eq!(
            reason(&AddressRules::guarded(), "10.0.0.5"),
            Some(Reason::Guard("a private address"))
        );
        assert_eq!(reason(&AddressRules::guarded(), "8.8.8.8"), None);
        assert_eq!(reason(&AddressRules::guarded(), "2606:4700::1111"), None);
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let rules = guarded(vec![
            rule("10.1.0.0/16", false, 1),
            rule("10.0.0.0/8", true, 2),
        ]);
        assert_eq!(reason(&rules, "10.1.2.3"), Some(Reason::Rule(1)));
        assert_eq!(reason(&rules, "10.2.2.3"), None);
        assert_eq!(
            reason(&rules, "192.168.0.1"),
            Some(Reason::Guard("a private address"))
        );
    }

    #[test]
    fn a_rule_with_ports_applies_to_those_ports_only() {
        let ports = vec![80..=80, 8000..=8999];
        let rules = guarded(vec![AddressRule {
            ports,
            ..rule("127.0.0.0/8", true, 1)
        }]);
        for (port, allowed) in [
            (80, true),
            (81, false),
            (7999, false),
            (8000, true),
            (8999, true),
            (9000, false),
        ] {
            assert_eq!(
                rules
                    .check(SocketAddr::from(([127, 0, 0, 1], port)))
                    .is_ok(),
                allowed,
                "{port}"
            );
        }
    }

    #[test]
    fn a_mapped_address_is_checked_and_dialled_as_the_ipv4_address() {
        let rules = guarded(vec![
            rule("127.0.0.1/32", true, 1),
            rule("8.8.8.0/24", false, 2),
        ]);
        assert_eq!(
            rules.check(addr("::ffff:127.0.0.1")).unwrap().addr(),
            addr("127.0.0.1")
        );
        assert_eq!(reason(&rules, "::ffff:8.8.8.8"), Some(Reason::Rule(2)));
        assert_eq!(
            reason(&rules, "::ffff:127.0.0.2"),
            Some(Reason::Guard("a loopback address"))
        );
    }

    #[test]
    fn the_guard_denies_the_mapped_spelling_of_a_public_address_as_such() {
        let denied = AddressRules::guarded()
            .check(addr("::ffff:8.8.8.8"))
            .unwrap_err();
        assert_eq!(denied.reason, Reason::Guard("an IPv4-mapped address"));
        assert!(
            denied.to_string().contains("cidr = \"8.8.8.8/32\""),
            "{denied}"
        );
        let rules = guarded(vec![rule("8.8.8.8/32", true, 1)]);
        assert_eq!(
            rules.check(addr("::ffff:8.8.8.8")).unwrap().addr(),
            addr("8.8.8.8")
        );
    }

    #[test]
    fn a_rule_for_all_of_ipv6_does_not_open_ipv4_in_its_mapped_spelling() {
        let rules = guarded(vec![rule("::/0", true, 1)]);
        assert_eq!(
            reason(&rules, "::ffff:127.0.0.1"),
            Some(Reason::Guard("a loopback address"))
        );
        assert_eq!(reason(&rules, "::1"), None);
    }

    #[test]
    fn a_rule_written_in_mapped_form_means_the_ipv4_range() {
        let rules = guarded(vec![rule("::ffff:10.0.0.0/104", true, 1)]);
        assert_eq!(reason(&rules, "10.9.9.9"), None);
        assert_eq!(reason(&rules, "::ffff:10.9.9.9"), None);
        assert_eq!(reason(&rules, "11.0.0.1"), None);
        assert_eq!(
            reason(&rules, "192.168.0.1"),
            Some(Reason::Guard("a private address"))
        );
    }

    #[test]
    fn a_denial_of_an_ipv4_range_covers_translated_forms_but_an_allowance_does_not() {
        let deny = AddressRules {
            guard: false,
            ..guarded(vec![rule("10.0.0.0/8", false, 7)])
        };
        let allow = guarded(vec![rule("10.0.0.0/8", true, 7)]);
        for text in [
            "64:ff9b::10.0.0.1",
            "2002:0a00:0001::1",
            "::10.0.0.1",
            "2001::f5ff:fffe",
        ] {
            assert_eq!(reason(&deny, text), Some(Reason::Rule(7)), "{text}");
            assert!(
                matches!(reason(&allow, text), Some(Reason::Guard(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn an_address_without_a_rule_is_denied_if_the_default_is_deny() {
        let rules = AddressRules {
            otherwise_allow: false,
            ..guarded(vec![rule("8.8.8.8/32", true, 1)])
        };
        assert_eq!(reason(&rules, "8.8.8.8"), None);
        assert_eq!(reason(&rules, "8.8.4.4"), Some(Reason::Default));
    }

    #[test]
    fn our_own_listeners_are_denied_unless_a_rule_allows_them() {
        let own: Arc<[SocketAddr]> = Arc::new([SocketAddr::from(([8, 8, 8, 8], 80))]);
        let closed = AddressRules {
            own: Arc::clone(&own),
            ..guarded(Vec::new())
        };
        let opened = AddressRules {
            own,
            ..guarded(vec![rule("8.8.8.8/32", true, 1)])
        };
        assert_eq!(
            reason(&closed, "8.8.8.8"),
            Some(Reason::Guard("one of our own listeners"))
        );
        assert_eq!(
            reason(&closed, "::ffff:8.8.8.8"),
            Some(Reason::Guard("one of our own listeners"))
        );
        assert!(closed.check(SocketAddr::from(([8, 8, 8, 8], 81))).is_ok());
        assert_eq!(reason(&opened, "8.8.8.8"), None);
        assert_eq!(
            reason(
                &AddressRules {
                    guard: false,
                    ..closed
                },
                "8.8.8.8"
            ),
            None
        );
    }

    #[test]
    fn the_interface_of_a_link_local_address_is_kept() {
        let addr = SocketAddr::V6(std::net::SocketAddrV6::new(
            "fe80::1".parse().unwrap(),
            80,
            0,
            3,
        ));
        assert_eq!(AddressRules::open().check(addr).unwrap().addr(), addr);
    }

    #[test]
    fn a_denial_has_its_remedy() {
        let text = |rules: &AddressRules, ip: &str| rules.check(addr(ip)).unwrap_err().to_string();
        assert_eq!(
            text(&AddressRules::guarded(), "10.0.0.5"),
            "10.0.0.5 is a private address; an `allow` rule with cidr = \"10.0.0.5/32\" (--allow 10.0.0.5) opens it"
        );
        assert_eq!(
            text(&guarded(vec![rule("8.0.0.0/8", false, 3)]), "8.8.8.8"),
            "8.8.8.8 port 80 is denied by rule 3; an `allow` rule before it opens the address"
        );
        assert_eq!(
            text(
                &AddressRules {
                    otherwise_allow: false,
                    ..AddressRules::open()
                },
                "2606::1"
            ),
            "no rule allows 2606::1 port 80; an `allow` rule with cidr = \"2606::1/128\" (--allow 2606::1) opens it"
        );
    }

    #[test]
    fn port_25_is_closed_unless_a_rule_names_it() {
        let mail = |text: &str| SocketAddr::new(text.parse().unwrap(), 25);
        let check = |rules: &AddressRules, text: &str| {
            rules.check(mail(text)).err().map(|denied| denied.reason)
        };
        let closed = AddressRules::guarded();
        assert_eq!(check(&closed, "8.8.8.8"), Some(Reason::Port));
        assert_eq!(check(&closed, "2606:4700::1111"), Some(Reason::Port));
        assert_eq!(
            closed.check(mail("8.8.8.8")).unwrap_err().to_string(),
            closed_port(25)
        );
        assert_eq!(
            check(&guarded(vec![rule("8.8.0.0/16", true, 1)]), "8.8.8.8"),
            Some(Reason::Port)
        );
        let named = guarded(vec![AddressRule {
            ports: vec![80..=80, 25..=25],
            ..rule("8.8.0.0/16", true, 1)
        }]);
        assert_eq!(check(&named, "8.8.8.8"), None);
        assert_eq!(check(&named, "8.9.0.1"), Some(Reason::Port));
        let by_name = AddressRules {
            opened_port: Some(25),
            ..AddressRules::guarded()
        };
        assert_eq!(check(&by_name, "8.8.8.8"), None);
        assert_eq!(
            check(&by_name, "10.0.0.1"),
            Some(Reason::Guard("a private address"))
        );
        assert_eq!(check(&AddressRules::open(), "8.8.8.8"), None);
    }

    #[test]
    fn a_range_of_ports_that_covers_port_25_does_not_open_it() {
        let rules = |ports: Vec<RangeInclusive<u16>>| {
            guarded(vec![AddressRule {
                ports,
                ..rule("8.8.0.0/16", true, 1)
            }])
        };
        let reason = |ports: Vec<RangeInclusive<u16>>, port: u16| {
            rules(ports)
                .check(SocketAddr::from(([8, 8, 8, 8], port)))
                .err()
                .map(|denied| denied.reason)
        };
        for range in [1..=30, 25..=26, 24..=25, 1..=65535] {
            assert_eq!(
                reason(vec![range.clone()], 25),
                Some(Reason::Port),
                "{range:?}"
            );
            assert_eq!(
                covered_closed_port(std::slice::from_ref(&range)),
                Some(25),
                "{range:?}"
            );
            assert_eq!(
                reason(vec![range.clone(), 25..=25], 25),
                None,
                "{range:?} and 25"
            );
            assert_eq!(covered_closed_port(&[range, 25..=25]), None);
        }
        assert_eq!(reason(vec![1..=30], 26), None);
        assert_eq!(covered_closed_port(&[]), None);
        assert_eq!(covered_closed_port(&[26..=30]), None);
    }

    #[test]
    fn a_denial_for_the_user_of_a_name_does_not_show_the_address() {
        let target: Target = "db.corp.example:80".parse().unwrap();
        let cases = [
            AddressRules::guarded(),
            guarded(vec![rule("10.0.0.0/8", false, 3)]),
            AddressRules {
                guard: false,
                otherwise_allow: false,
                ..AddressRules::open()
            },
        ];
        for rules in cases {
            let text = rules
                .check(addr("10.0.0.5"))
                .unwrap_err()
                .without_address(&target);
            assert!(
                text.contains("db.corp.example:80") && !text.contains("10.0.0.5"),
                "{text}"
            );
        }
    }

    #[test]
    fn following_the_remedy_opens_the_address() {
        for text in [
            "10.0.0.5",
            "::1",
            "::ffff:10.0.0.5",
            "64:ff9b::808:808",
            "fe80::1",
            "224.0.0.1",
            "2002::1",
        ] {
            let denied = AddressRules::guarded().check(addr(text)).unwrap_err();
            let cidr = denied.to_string().split('"').nth(1).unwrap().to_owned();
            assert_eq!(
                reason(&guarded(vec![rule(&cidr, true, 1)]), text),
                None,
                "{text}"
            );
        }
    }
}
