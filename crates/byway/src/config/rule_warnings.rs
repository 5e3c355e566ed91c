//! Rule warnings: rules of a proxy or of an exit that are never reached, and ranges of ports that
//! do not open port 25.
//!
//! In:    the rules of one section, in their order.
//! Out:   one sentence for each rule that earlier rules cover, and for each whose range covers port
//!        25 without opening it.
//! Never: a false alarm. A rule is reported only if earlier rules match each of its hosts, suffixes
//!        and networks, for each of its ports, users and client certificates. A network is covered by networks alone:
//!        the address rules of a section are also applied to what a name resolves to, where a rule
//!        without `cidr` decides nothing.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use byway_dial::covered_closed_port;
use byway_tls::ClientPattern;
use ipnet::IpNet;

use super::plan::{EgressPlan, Rule, RuleAction};

/// A warning for each rule of `egress` that is never reached; `section` is its name in messages.
pub(super) fn unreachable_rules(section: &str, egress: &EgressPlan, found: &mut Vec<String>) {
    let mut earlier = Earlier::default();
    for rule in &egress.rules {
        if let Some(by) = earlier.covering(rule) {
            found.push(sentence(section, rule, &by));
        }
        earlier.add(rule);
    }
}

/// A warning for each rule of `egress` with a range of ports that covers port 25 and does not open
/// it. What a desk allows is checked by its exit, with a guard of its own.
pub(super) fn closed_ports_in_ranges(section: &str, egress: &EgressPlan, found: &mut Vec<String>) {
    for rule in &egress.rules {
        let word = match rule.action {
            RuleAction::Allow if egress.exit.is_none() => "allow",
            RuleAction::Via(_) => "via",
            RuleAction::Allow | RuleAction::Deny => continue,
        };
        if let Some(port) = covered_closed_port(&rule.ports) {
            found.push(format!(
                "{section}: the range of ports of rule {} ({word}) covers port {port}, which is closed by default and \
                 stays closed; add {port} itself to `port` to open it, or leave it out of the range",
                rule.number
            ));
        }
    }
}

fn sentence(section: &str, rule: &Rule, by: &[&Rule]) -> String {
    let numbers: Vec<String> = by
        .iter()
        .map(|rule| format!("rule {}", rule.number))
        .collect();
    let verb = if by.len() == 1 { "matches" } else { "match" };
    // The dialler applies a denied IPv4 network to IPv6 addresses that carry one of its addresses,
    // too.
    let denies_carried = matches!(rule.action, RuleAction::Deny)
        && rule.cidrs.iter().any(|cidr| matches!(cidr, IpNet::V4(_)))
        && by
            .iter()
            .any(|by| matches!(by.action, RuleAction::Allow) && !by.cidrs.is_empty());
    let exception = match denies_carried {
        true => {
            " (it still applies to IPv6 addresses that carry an IPv4 one, such as those of NAT64)"
        }
        false => "",
    };
    format!(
        "{section}: rule {} is never reached, because {} before it already {verb} every target that it could{exception}; \
         move it up, or take it out",
        rule.number,
        numbers.join(" and "),
    )
}

/// The earlier rules, by what they match: checking a list of 100,000 names takes 100,000 look-ups.
#[derive(Default)]
struct Earlier<'r> {
    hosts: HashMap<&'r str, Vec<&'r Rule>>,
    suffixes: HashMap<&'r str, Vec<&'r Rule>>,
    networks: HashMap<IpNet, Vec<&'r Rule>>,
    everywhere: Vec<&'r Rule>,
}

impl<'r> Earlier<'r> {
    fn add(&mut self, rule: &'r Rule) {
        for host in &rule.hosts {
            self.hosts.entry(host.as_str()).or_default().push(rule);
        }
        for suffix in &rule.suffixes {
            self.suffixes.entry(suffix.as_str()).or_default().push(rule);
        }
        // The networks of a `via` rule decide about literal addresses alone.
        if !matches!(rule.action, RuleAction::Via(_)) {
            for cidr in &rule.cidrs {
                self.networks.entry(cidr.trunc()).or_default().push(rule);
            }
        }
        if is_everywhere(rule) {
            self.everywhere.push(rule);
        }
    }

    /// The earlier rules that together match all that `rule` matches, if there are any.
    fn covering(&self, rule: &Rule) -> Option<Vec<&'r Rule>> {
        let mut by: Vec<&'r Rule> = Vec::new();
        let mut note = |one: &'r Rule| {
            if !by.iter().any(|known| std::ptr::eq(*known, one)) {
                by.push(one);
            }
        };
        if is_everywhere(rule) {
            each_way(rule, &[&self.everywhere], &mut note)?;
        }
        for host in &rule.hosts {
            let exact = self
                .hosts
                .get(host.as_str())
                .map(Vec::as_slice)
                .unwrap_or_default();
            each_way(rule, &self.around(host.as_str(), exact), &mut note)?;
        }
        for suffix in &rule.suffixes {
            each_way(rule, &self.around(suffix.as_str(), &[]), &mut note)?;
        }
        for cidr in &rule.cidrs {
            each_way(rule, &self.wider(*cidr), &mut note)?;
        }
        by.sort_by_key(|rule| rule.number);
        Some(by)
    }

    /// Rules that match `name` and everything below it, and those of `exact`.
    fn around<'s>(&'s self, name: &str, exact: &'s [&'r Rule]) -> Vec<&'s [&'r Rule]> {
        let endings = std::iter::successors(Some(name), |name| {
            name.split_once('.').map(|(_, rest)| rest)
        });
        let suffixes = endings
            .filter_map(|end| self.suffixes.get(end))
            .map(Vec::as_slice);
        suffixes.chain([exact, &self.everywhere]).collect()
    }

    /// Rules with a network that holds all of `cidr`.
    fn wider(&self, cidr: IpNet) -> Vec<&[&'r Rule]> {
        // The dialler reads such a network as the IPv4 network that it maps.
        if let IpNet::V6(v6) = cidr
            && v6.prefix_len() >= 96
            && v6.network().to_ipv4_mapped().is_some()
        {
            return Vec::new();
        }
        let nets = std::iter::successors(Some(cidr.trunc()), IpNet::supernet);
        nets.filter_map(|net| self.networks.get(&net.trunc()))
            .map(Vec::as_slice)
            .collect()
    }
}

/// Notes, for each port range, user and client certificate of `rule`, the first of `candidates` that
/// covers them.
fn each_way<'r>(
    rule: &Rule,
    candidates: &[&[&'r Rule]],
    note: &mut impl FnMut(&'r Rule),
) -> Option<()> {
    let all = [ALL_PORTS];
    let ranges = if rule.ports.is_empty() {
        &all[..]
    } else {
        &rule.ports
    };
    let users: Vec<Option<&Arc<str>>> = match rule.users.is_empty() {
        true => vec![None],
        false => rule.users.iter().map(Some).collect(),
    };
    let clients: Vec<Option<&ClientPattern>> = match rule.clients.is_empty() {
        true => vec![None],
        false => rule.clients.iter().map(Some).collect(),
    };
    for range in ranges {
        for user in &users {
            for client in &clients {
                let mut in_order = candidates.iter().flat_map(|list| list.iter().copied());
                note(in_order.find(|earlier| {
                    covers_ports(earlier, range)
                        && covers_user(earlier, *user)
                        && covers_client(earlier, *client)
                })?);
            }
        }
    }
    Some(())
}

const ALL_PORTS: RangeInclusive<u16> = 1..=u16::MAX;

fn covers_ports(earlier: &Rule, range: &RangeInclusive<u16>) -> bool {
    earlier.ports.is_empty()
        || earlier
            .ports
            .iter()
            .any(|wide| wide.start() <= range.start() && range.end() <= wide.end())
}

/// Whether `earlier` covers this user; none means every user.
fn covers_user(earlier: &Rule, user: Option<&Arc<str>>) -> bool {
    earlier.users.is_empty() || user.is_some_and(|user| earlier.users.contains(user))
}

/// Whether `earlier` covers these client certificates; none means every client, also without one.
fn covers_client(earlier: &Rule, client: Option<&ClientPattern>) -> bool {
    let covers = |client| earlier.clients.iter().any(|own| own.covers(client));
    earlier.clients.is_empty() || client.is_some_and(covers)
}

fn is_everywhere(rule: &Rule) -> bool {
    rule.hosts.is_empty() && rule.suffixes.is_empty() && rule.cidrs.is_empty()
}
