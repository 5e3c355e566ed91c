//! Policy: the only module that creates `Allowed`.
//!
//! In:    an `Inquiry`.
//! Out:   `Allowed`, with the outbound, the limits and the address rules inside; or the `Fault` to
//!        respond with.
//! Never: resolves a name. Names are checked as names here; the dialler checks each address that a
//!        name resolves to, with the address rules in `Allowed`.
//!
//! How the rules of an egress apply. The first match wins, in written order:
//! 1. A rule applies to an inquiry if its ports, its users and its client certificates (empty = all)
//!    include it.
//! 2. It matches if the target's name is among its hosts or under its suffixes, or if the target is
//!    a literal address inside its CIDRs; a rule with none of the three matches everything that it
//!    applies to.
//! 3. If nothing matched: the listener's default.
//!
//! Then every address, literal or resolved, is checked against the CIDR rules in order, and then
//! against the guard (loopback, private, link-local, metadata, …). Only an `allow` rule with a CIDR
//! opens what the guard denies: an allowed name may still not resolve to a guarded address, and a
//! CIDR that is sent to a parent opens nothing here. The guard also applies to what is sent to a
//! parent, where only the CIDRs of the `via` rule that sends it open anything. Port 25 is closed
//! unless the matching `allow` or `via` rule lists the port itself; a range is not enough.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use byway_dial::{
    AddressRule, AddressRules, ClientId, DialError, HostName, Target, closed_port, names_port,
    peer_text,
};
use byway_link::Name;
use byway_tls::{ClientIdentity, ClientPattern};
use ipnet::IpNet;

use super::inquiry::{Ask, Inquiry};
use super::table;
use crate::config::Rate;
use crate::config::{
    EdgePlan, EgressPlan, ParentPlan, Plan, Role, RoutePlan, Rule, RuleAction, Serves, Verdict,
};
use crate::fault::{Fault, Reason, Who};

/// Proof that policy has allowed an inquiry. Only this module can create one, and nothing opens a
/// stream without one.
#[must_use]
#[derive(Clone)]
pub struct Allowed {
    plan: Arc<Plan>,
    outbound: Outbound,
    rules: Arc<AddressRules>,
    stream_limit: Option<Rate>,
    spill: bool,
    because: Because,
    visitor: Option<SocketAddr>,
    client: ClientId,
}

/// How the permitted stream is opened.
#[derive(Clone, Debug)]
pub enum Outbound {
    /// This node dials the target.
    Direct(Target),
    /// A parent proxy dials the target.
    Via(Arc<ParentPlan>, Target),
    /// The exit at the other end of the link with this id dials the target.
    Exit(Arc<str>, Target),
    /// The agent that exposes the service behind this name dials it.
    Service(Name),
    /// A pooled connection to one of the route's upstreams.
    Pooled(Arc<RoutePlan>),
}

/// Questions about an outbound. Each lists every variant, so that a new one does not compile before
/// it has an answer.
impl Outbound {
    /// The route whose upstreams it leads to.
    pub fn route(&self) -> Option<&Arc<RoutePlan>> {
        match self {
            Self::Pooled(route) => Some(route),
            Self::Direct(_) | Self::Via(..) | Self::Exit(..) | Self::Service(_) => None,
        }
    }

    /// The exposed service that it leads to.
    pub fn service(&self) -> Option<&Name> {
        match self {
            Self::Service(name) => Some(name),
            Self::Direct(_) | Self::Via(..) | Self::Exit(..) | Self::Pooled(_) => None,
        }
    }

    /// Whether its streams are those of a link.
    pub fn is_behind_link(&self) -> bool {
        match self {
            Self::Exit(..) | Self::Service(_) => true,
            Self::Direct(_) | Self::Via(..) | Self::Pooled(_) => false,
        }
    }

    /// The target that a parent is asked for.
    fn parent_target(&mut self) -> Option<&mut Target> {
        match self {
            Self::Via(_, target) => Some(target),
            Self::Direct(_) | Self::Exit(..) | Self::Service(_) | Self::Pooled(_) => None,
        }
    }
}

/// Which rule or route decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Because {
    /// The rule with this number (counted from 1).
    Rule(usize),
    /// No rule matched; the listener's default.
    Default,
    /// The route with this name.
    Route(Arc<str>),
    /// The listener has one target only.
    Fixed,
}

impl std::fmt::Display for Because {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rule(number) => write!(f, "rule {number}"),
            Self::Default => f.write_str("the default, as no rule matched"),
            Self::Route(name) => write!(f, "route {name}"),
            Self::Fixed => f.write_str("the listener's only target"),
        }
    }
}

impl Allowed {
    /// The Plan that permitted it.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// How to open it.
    pub fn outbound(&self) -> &Outbound {
        &self.outbound
    }

    /// The rules that every address must pass.
    pub fn rules(&self) -> &AddressRules {
        &self.rules
    }

    /// The speed limit of the stream towards the client.
    pub fn stream_limit(&self) -> Option<Rate> {
        self.stream_limit
    }

    /// Whether bytes for a slow client may be spilled to disk.
    pub fn spills(&self) -> bool {
        self.spill
    }

    /// The address of the client, for the node that dials at the other end of a link.
    pub fn visitor(&self) -> Option<SocketAddr> {
        self.visitor
    }

    /// The client that the look-up of the target's name is charged to.
    pub fn client(&self) -> &ClientId {
        &self.client
    }

    /// What decided.
    pub fn because(&self) -> &Because {
        &self.because
    }
}

/// Decides about an inquiry.
///
/// # Errors
/// `NoRoute` (404) when no route matches, `Denied` (403) when the `clients` of the route, a rule, the
/// default or the guard refuses.
pub fn decide(inquiry: &Inquiry<'_>) -> Result<Allowed, Fault> {
    match (inquiry.role, inquiry.ask) {
        (Role::Edge(edge), Ask::Request { host, path }) => decide_edge(inquiry, edge, host, path),
        (Role::Egress(egress), Ask::Target(target)) => decide_egress(inquiry, egress, target),
        (Role::Forward(forward), Ask::Fixed) => Ok(configured(
            inquiry,
            Outbound::Direct(forward.to.clone()),
            Because::Fixed,
        )),
        (Role::PublicPort(name), Ask::Fixed) => Ok(configured(
            inquiry,
            Outbound::Service(name.clone()),
            Because::Fixed,
        )),
        (Role::Agent(_), Ask::Service(service)) => Ok(configured(
            inquiry,
            Outbound::Direct(service.to.clone()),
            Because::Fixed,
        )),
        (Role::Link(link), Ask::Target(target)) => match &link.serves {
            Serves::Exit(egress) => decide_egress(inquiry, egress, target),
            Serves::Services { .. } => Err(denied(
                "this node exposes services; it dials nothing for those that join it",
            )),
        },
        (Role::Agent(_), Ask::Target(_)) => Err(denied(
            "this node joined to expose its own services; it dials nothing else for the other side",
        )),
        _ => Err(Fault::new(
            Who::Us,
            Reason::Internal,
            "this listener cannot serve this kind of inquiry",
        )),
    }
}

fn decide_edge(
    inquiry: &Inquiry<'_>,
    edge: &EdgePlan,
    host: &str,
    path: &str,
) -> Result<Allowed, Fault> {
    if let Some(name) = exposed_name(edge, host) {
        let because = Because::Route(host.to_ascii_lowercase().into());
        return Ok(configured(inquiry, Outbound::Service(name), because));
    }
    let Some(route) = table::find(edge, host, path) else {
        return Err(Fault::new(
            Who::Downstream,
            Reason::NoRoute,
            format!("no route matches {}{}", peer_text(host), peer_text(path)),
        ));
    };
    if !is_listed_client(&route.clients, inquiry.client) {
        let who = match inquiry.client {
            Some(_) => "the certificate of this client is not one of its `clients`",
            None => "it requires a client certificate, and there is none",
        };
        return Err(denied(format!(
            "route {} refuses this client: {who}",
            route.name
        )));
    }
    let because = Because::Route(Arc::clone(&route.name));
    Ok(configured(
        inquiry,
        Outbound::Pooled(Arc::clone(route)),
        because,
    ))
}

/// `NAME.DOMAIN`, one label deep, on the HTTP listener of a `[[serve]]`. The outbound checks
/// whether the name is registered.
fn exposed_name(edge: &EdgePlan, host: &str) -> Option<Name> {
    let domain = edge.domain.as_ref()?;
    let host: HostName = host.parse().ok()?;
    let label = host
        .as_str()
        .strip_suffix(domain.as_str())?
        .strip_suffix('.')?;
    (!label.is_empty() && !label.contains('.')).then(|| Name::Http(host.as_str().to_owned()))
}

/// Permission for a destination from the configuration: no guard, no speed limit, no spill.
fn configured(inquiry: &Inquiry<'_>, outbound: Outbound, because: Because) -> Allowed {
    Allowed {
        plan: Arc::clone(inquiry.plan),
        outbound,
        rules: Arc::clone(&OPEN),
        stream_limit: None,
        spill: false,
        because,
        visitor: inquiry.peer,
        client: ClientId::Own,
    }
}

/// A destination from the configuration may have any address.
static OPEN: LazyLock<Arc<AddressRules>> = LazyLock::new(|| Arc::new(AddressRules::open()));

fn decide_egress(
    inquiry: &Inquiry<'_>,
    egress: &EgressPlan,
    target: &Target,
) -> Result<Allowed, Fault> {
    if matches!(target, Target::Unix(_)) {
        return Err(denied("an egress does not connect to Unix sockets"));
    }
    let matched = egress
        .rules
        .iter()
        .find_map(|rule| Match::of(rule, target, inquiry).map(|how| (rule, how)));
    let because = matched.map_or(Because::Default, |(rule, _)| Because::Rule(rule.number));
    let mut outbound = match matched {
        Some((
            Rule {
                action: RuleAction::Deny,
                number,
                ..
            },
            _,
        )) => {
            return Err(denied(format!("{target} is refused by rule {number}")));
        }
        Some((
            Rule {
                action: RuleAction::Via(parent),
                number,
                ..
            },
            how,
        )) => through_parent(parent, *number, how, target)?,
        Some((
            Rule {
                action: RuleAction::Allow,
                ..
            },
            _,
        )) => direct_or_exit(egress, target),
        // A name may still resolve to an address that a CIDR rule allows; the address rules decide
        // that.
        None if egress.settings.default == Verdict::Deny
            && !may_be_opened_by_address(egress, inquiry, target) =>
        {
            return Err(denied(format!(
                "{target} is refused: no rule allows it, and the default is deny"
            )));
        }
        None => direct_or_exit(egress, target),
    };
    let via_rule = match &because {
        Because::Rule(number) if outbound.parent_target().is_some() => Some(*number),
        _ => None,
    };
    let mut rules = address_rules(
        egress,
        inquiry,
        via_rule,
        matched.is_some() || egress.settings.default == Verdict::Allow,
    );
    // A port that is closed by default is opened by its own number only, and not by a range.
    rules.opened_port = target
        .port()
        .filter(|port| matched.is_some_and(|(rule, _)| names_port(&rule.ports, *port)));
    if let Target::Host { port, .. } = target
        && rules.keeps_port(*port)
        && !(via_rule.is_none() && may_open_port_by_address(egress, inquiry, target))
    {
        return Err(denied(closed_port(*port)));
    }
    if let Target::Addr(addr) = target {
        let checked = rules.check(*addr).map_err(DialError::from)?.addr();
        // A parent gets the address in the form that was checked: its own rules may interpret
        // another form differently.
        if let Some(target) = outbound.parent_target() {
            *target = Target::Addr(checked);
        }
    }
    // Bytes for slow clients are spilled where the target is dialled, so that unread bytes need not
    // cross the link.
    let spill = egress.spill && !outbound.is_behind_link();
    Ok(Allowed {
        plan: Arc::clone(inquiry.plan),
        outbound,
        rules: Arc::new(rules),
        stream_limit: egress.settings.stream_limit,
        spill,
        because,
        visitor: inquiry.peer,
        client: client(inquiry),
    })
}

/// The client that the look-up of a client's target is charged to: the user, otherwise the address.
fn client(inquiry: &Inquiry<'_>) -> ClientId {
    match (inquiry.user, inquiry.peer) {
        (Some(user), _) => ClientId::User(Arc::clone(user)),
        (None, Some(peer)) => ClientId::peer(peer.ip()),
        // All clients of Unix sockets are one.
        (None, None) => ClientId::User(Arc::from("")),
    }
}

/// An allowed target is dialled from here, or through the exit that a desk has joined.
fn direct_or_exit(egress: &EgressPlan, target: &Target) -> Outbound {
    match &egress.exit {
        Some(link) => Outbound::Exit(Arc::clone(link), target.clone()),
        None => Outbound::Direct(target.clone()),
    }
}

/// How a rule matched.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Match {
    /// Its hosts or suffixes include the target.
    Name,
    /// Its CIDRs contain the literal address.
    Address,
    /// It has no destination at all.
    Everything,
}

impl Match {
    fn of(rule: &Rule, target: &Target, inquiry: &Inquiry<'_>) -> Option<Self> {
        if !applies_to(rule, target, inquiry) {
            return None;
        }
        let anywhere = rule.hosts.is_empty() && rule.suffixes.is_empty() && rule.cidrs.is_empty();
        match target {
            _ if anywhere => Some(Self::Everything),
            Target::Host { name, .. } => names(rule, name).then_some(Self::Name),
            Target::Addr(addr) => holds(&rule.cidrs, addr.ip()).then_some(Self::Address),
            Target::Unix(_) => None,
        }
    }
}

/// Whether its ports, its users and its client certificates include the inquiry.
fn applies_to(rule: &Rule, target: &Target, inquiry: &Inquiry<'_>) -> bool {
    let port = target.port().unwrap_or_default();
    let port_fits = rule.ports.is_empty() || rule.ports.iter().any(|range| range.contains(&port));
    port_fits && is_for_client(rule, inquiry)
}

/// Whether its users and its client certificates include the client.
fn is_for_client(rule: &Rule, inquiry: &Inquiry<'_>) -> bool {
    let is_listed = |user| rule.users.contains(user);
    (rule.users.is_empty() || inquiry.user.is_some_and(is_listed))
        && is_listed_client(&rule.clients, inquiry.client)
}

/// Whether one of the patterns matches the certificate, or there are none.
fn is_listed_client(patterns: &[ClientPattern], client: Option<&ClientIdentity>) -> bool {
    let is_matched = |client| patterns.iter().any(|pattern| pattern.matches(client));
    patterns.is_empty() || client.is_some_and(is_matched)
}

fn names(rule: &Rule, name: &HostName) -> bool {
    rule.hosts.contains(name) || rule.suffixes.iter().any(|suffix| name.is_under(suffix))
}

fn holds(cidrs: &[IpNet], ip: std::net::IpAddr) -> bool {
    let ip = ip.to_canonical();
    cidrs.iter().any(|cidr| cidr.contains(&ip))
}

fn may_be_opened_by_address(egress: &EgressPlan, inquiry: &Inquiry<'_>, target: &Target) -> bool {
    egress.exit.is_none()
        && matches!(target, Target::Host { .. })
        && egress.rules.iter().any(|rule| {
            matches!(rule.action, RuleAction::Allow)
                && !rule.cidrs.is_empty()
                && applies_to(rule, target, inquiry)
        })
}

/// Whether a name may resolve to an address for which a rule opens this port by its number.
fn may_open_port_by_address(egress: &EgressPlan, inquiry: &Inquiry<'_>, target: &Target) -> bool {
    let port = target.port().unwrap_or_default();
    egress.rules.iter().any(|rule| {
        let opens = matches!(rule.action, RuleAction::Allow)
            && !rule.cidrs.is_empty()
            && names_port(&rule.ports, port);
        opens && applies_to(rule, target, inquiry)
    })
}

/// A parent that is not Byway resolves names itself, without these rules: only a rule that lists
/// the host may send it a name.
fn through_parent(
    parent: &Arc<ParentPlan>,
    number: usize,
    how: Match,
    target: &Target,
) -> Result<Outbound, Fault> {
    match (target, how) {
        (Target::Host { name, .. }, Match::Everything) => Err(denied(format!(
            "rule {number} sends everything to {}, but a name is sent to a parent only by a rule that names it: add \
             `host` or `suffix` for {name}",
            parent
        ))),
        _ => Ok(Outbound::Via(Arc::clone(parent), target.clone())),
    }
}

/// The CIDR rules that apply to this user and client certificate, in order. The dialler checks ports, address by address.
///
/// Only an `allow` rule opens an address that is dialled from here. The networks of a `via` rule
/// select the literal addresses that are sent to its parent, and open only those:
/// `via_rule` is the number of the rule that sends this target. What an `allow` rule opens for this
/// node stays closed for what is sent to a parent, which is in another network.
fn address_rules(
    egress: &EgressPlan,
    inquiry: &Inquiry<'_>,
    via_rule: Option<usize>,
    otherwise_allow: bool,
) -> AddressRules {
    let of_client = egress
        .rules
        .iter()
        .filter(|rule| is_for_client(rule, inquiry));
    let rules = of_client.filter_map(|rule| {
        let allow = match rule.action {
            RuleAction::Allow if via_rule.is_none() => true,
            RuleAction::Deny => false,
            RuleAction::Via(_) if via_rule == Some(rule.number) => true,
            RuleAction::Allow | RuleAction::Via(_) => return None,
        };
        Some(rule.cidrs.iter().map(move |cidr| AddressRule {
            cidr: *cidr,
            ports: rule.ports.clone(),
            allow,
            number: rule.number,
        }))
    });
    // The exit applies the guard to what a desk sends to it; here only the desk's rules apply. A
    // parent has no such guard.
    let guard = egress.exit.is_none() || via_rule.is_some();
    let own = if guard {
        Arc::clone(inquiry.own)
    } else {
        Arc::from([])
    };
    AddressRules {
        rules: rules.flatten().collect(),
        guard,
        otherwise_allow,
        own,
        opened_port: None,
    }
}

fn denied(detail: impl Into<std::borrow::Cow<'static, str>>) -> Fault {
    Fault::new(Who::Downstream, Reason::Denied, detail)
}

#[cfg(test)]
mod tests;
