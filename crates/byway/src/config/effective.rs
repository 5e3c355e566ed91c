//! Effective: a Plan printed as a commented config file, for `byway check`.
//!
//! In:    a Plan.
//! Out:   TOML with every value in force. Read again it gives the same Plan, except for passwords
//!        and for join strings that were in the file itself, which have to be put back.
//! Never: prints a password or a join string: it prints `***` instead.

use std::fmt::{self, Display};
use std::mem::discriminant;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::acme_plan::{AcmePlan, DnsPlan};
use super::link_plan::{Advertise, JoinPlan, LinkPlan, Serves, ServiceKind, ServicePlan};
use super::plan::{
    EdgePlan, EgressPlan, ForwardPlan, ListenerPlan, Plan, Role, RoutePlan, Rule, RuleAction,
    Transport,
};
use super::resolve::derived_route_name;
use super::section::description::{Prose, quoted};
use super::section::kind::{Kind, OrNone, Words};
use super::section::{
    Dial, Drain, Limits, LimitsPlan, Link, Log, Metrics, Pool, Retry, Section, Spill, Tls,
};
use super::tls_plan::{self, CertificatePlan, ClientCertificatesPlan, UpstreamTlsPlan};
use super::units::{ByteSize, Period};

/// Prints the Plan in it.
#[derive(Clone, Copy, Debug)]
pub struct Effective<'p>(pub &'p Plan);

impl Display for Effective<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = self.0;
        writeln!(
            f,
            "# Every value in force. Passwords and join strings are shown as ***."
        )?;
        writeln!(f, "# State is kept in {}", quoted(plan.state.display()))?;
        writeln!(f, "workers = {}  # threads that serve", plan.workers)?;
        settings(f, plan)?;
        for section in sections(plan) {
            self.section(f, section)?;
        }
        plan.joins.iter().try_for_each(|join| {
            join.services
                .iter()
                .try_for_each(|service| expose(f, join, service))
        })
    }
}

impl Effective<'_> {
    fn section(&self, f: &mut fmt::Formatter<'_>, listeners: &[Arc<ListenerPlan>]) -> fmt::Result {
        let Some(first) = listeners.first() else {
            return Ok(());
        };
        let kind = match &first.frontend.role {
            Role::Edge(_) => "edge",
            Role::Egress(_) => "proxy",
            Role::Forward(_) => "tcp",
            Role::Link(link) => link.serves.word(),
            // Printed with the settings.
            Role::Metrics => return Ok(()),
            // Never in a file or a Plan.
            Role::PublicPort(_) | Role::Agent(_) => return Ok(()),
        };
        writeln!(f, "\n[[{kind}]]")?;
        if listeners
            .iter()
            .any(|listener| *listener.frontend.name != *listener.bind.to_string())
        {
            writeln!(f, "name = {}", quoted(&first.frontend.name))?;
        }
        let alike = |listener: &&Arc<ListenerPlan>| {
            discriminant(&listener.frontend.role) == discriminant(&first.frontend.role)
        };
        listen(f, "listen", listeners.iter().filter(alike))?;
        match &first.frontend.role {
            Role::Edge(plan) => {
                redirects(f, listeners)?;
                edge(f, plan, &first.frontend.limits)
            }
            Role::Egress(plan) => egress(f, plan, listeners, self.0),
            Role::Forward(plan) => forward(f, plan),
            Role::Metrics | Role::PublicPort(_) | Role::Agent(_) => Ok(()),
            Role::Link(plan) => {
                let visitors = listeners.iter().filter(|listener| !alike(listener));
                link(f, plan, visitors)
            }
        }
    }
}

/// The addresses of a section: `key` for those without TLS, then `https`, and whether the first
/// ones redirect to the others.
fn listen<'p>(
    f: &mut fmt::Formatter<'_>,
    key: &str,
    listeners: impl Iterator<Item = &'p Arc<ListenerPlan>>,
) -> fmt::Result {
    let is_tls = |listener: &&Arc<ListenerPlan>| listener.frontend.transport == Transport::Tls;
    let (https, plain): (Vec<_>, Vec<_>) = listeners.partition(is_tls);
    let binds = |listeners: &[&Arc<ListenerPlan>]| list(listeners.iter().map(|one| &one.bind));
    if !plain.is_empty() {
        writeln!(f, "{key} = {}", binds(&plain))?;
    }
    if https.is_empty() {
        return Ok(());
    }
    writeln!(f, "https = {}", binds(&https))
}

/// Whether the plain listeners of an edge redirect, unless only some of them do.
fn redirects(f: &mut fmt::Formatter<'_>, listeners: &[Arc<ListenerPlan>]) -> fmt::Result {
    let of = |listener: &Arc<ListenerPlan>| match listener.frontend.transport {
        Transport::Plain => Some(false),
        Transport::Redirect(_) => Some(true),
        Transport::Tls => None,
    };
    let (plain, has_https) = (
        listeners.iter().filter_map(of).collect::<Vec<_>>(),
        listeners.iter().any(|listener| of(listener).is_none()),
    );
    match (plain.first(), has_https) {
        (Some(first), true) if plain.iter().all(|one| one == first) => {
            writeln!(f, "redirect_to_https = {first}")
        }
        (Some(_), true) => writeln!(f, "# redirect_to_https: addresses with port 80"),
        _ => Ok(()),
    }
}

/// Groups neighbouring listeners that share a role: those of one section.
fn sections(plan: &Plan) -> impl Iterator<Item = &[Arc<ListenerPlan>]> {
    plan.listeners
        .chunk_by(|a, b| match (&a.frontend.role, &b.frontend.role) {
            (Role::Edge(a), Role::Edge(b)) => Arc::ptr_eq(a, b),
            (Role::Egress(a), Role::Egress(b)) => Arc::ptr_eq(a, b),
            (Role::Forward(a), Role::Forward(b)) => Arc::ptr_eq(a, b),
            (Role::Link(a), Role::Link(b)) => Arc::ptr_eq(a, b),
            (Role::Metrics, Role::Metrics) => true,
            // The listeners for visitors follow those for links.
            (Role::Link(_), Role::Edge(visitors)) => visitors.domain.is_some(),
            _ => false,
        })
}

fn settings(f: &mut fmt::Formatter<'_>, plan: &Plan) -> fmt::Result {
    heading::<Drain>(f, "drain")?;
    plan.drain.print(f)?;
    heading::<Dial>(f, "dial")?;
    plan.dial.print(f)?;
    heading::<Limits>(f, "limits")?;
    plan.limits.print(f)?;
    heading::<Pool>(f, "pool")?;
    plan.pool.print(f)?;
    heading::<Retry>(f, "retry")?;
    plan.retry.print(f)?;
    heading::<Spill>(f, "spill")?;
    plan.spill.print(f)?;
    heading::<Log>(f, "log")?;
    plan.log.print(f)?;
    heading::<Metrics>(f, "metrics")?;
    let metrics = plan
        .listeners
        .iter()
        .filter(|listener| listener.frontend.role == Role::Metrics);
    match metrics.clone().count() {
        0 => writeln!(f, "# listen: nowhere")?,
        _ => writeln!(
            f,
            "listen = {}",
            list(metrics.map(|listener| &listener.bind))
        )?,
    }
    heading::<Link>(f, "link")?;
    plan.link.print(f)?;
    heading::<Tls>(f, "tls")?;
    plan.tls.settings.print(f)?;
    match plan.tls.local_names.is_empty() {
        true => writeln!(f, "# local_names: none")?,
        false => writeln!(f, "local_names = {}", list(&plan.tls.local_names))?,
    }
    plan.tls
        .clients
        .iter()
        .try_for_each(|plan| clients(f, plan))?;
    plan.tls
        .certificates
        .iter()
        .try_for_each(|plan| certificate(f, plan))?;
    plan.tls.acme.iter().try_for_each(|plan| acme(f, plan))
}

fn acme(f: &mut fmt::Formatter<'_>, plan: &AcmePlan) -> fmt::Result {
    writeln!(f, "\n[[acme]]\nagree = true")?;
    writeln!(f, "directory = {}", quoted(&plan.directory))?;
    match plan.names.is_empty() {
        true => writeln!(f, "# names: none")?,
        false => writeln!(f, "names = {}", list(&plan.names))?,
    }
    let texts = [("email", &plan.email), ("profile", &plan.profile)];
    for (key, text) in texts {
        if let Some(text) = text {
            writeln!(f, "{key} = {}", quoted(text))?;
        }
    }
    if let Some(ca) = &plan.ca {
        writeln!(f, "ca = {}", quoted(ca.display()))?;
    }
    if let Some((id, key)) = &plan.binding {
        writeln!(f, "binding_id = {}\n# binding_key_file: {key}", quoted(id))?;
    }
    writeln!(f, "challenge = {}", quoted(plan.challenge.word()))?;
    match &plan.dns {
        Some(DnsPlan::Command { command, deadline }) => {
            writeln!(f, "dns_command = {}", list(command))?;
            writeln!(f, "dns_deadline = {}", quoted(Period(*deadline)))?;
        }
        Some(DnsPlan::Update { server, zone, key }) => {
            writeln!(f, "dns_server = {}\n# dns_key_file: {key}", quoted(server))?;
            if let Some(zone) = zone {
                writeln!(f, "dns_zone = {}", quoted(zone))?;
            }
        }
        None => {}
    }
    writeln!(f, "dns_delay = {}", quoted(Period(plan.dns_delay)))?;
    writeln!(f, "on_demand = {}", quoted(plan.on_demand.word()))?;
    writeln!(f, "on_demand_burst = {}", plan.rate.burst)?;
    writeln!(
        f,
        "on_demand_interval = {}",
        quoted(Period(plan.rate.interval))
    )
}

fn clients(f: &mut fmt::Formatter<'_>, plan: &ClientCertificatesPlan) -> fmt::Result {
    writeln!(f, "\n[[tls.client]]\nhosts = {}", list(&plan.hosts))?;
    writeln!(f, "ca = {}", quoted(plan.ca.display()))?;
    writeln!(f, "mode = {}", quoted(plan.mode.word()))
}

fn certificate(f: &mut fmt::Formatter<'_>, plan: &CertificatePlan) -> fmt::Result {
    writeln!(
        f,
        "\n[[certificate]]\ncert = {}",
        quoted(plan.cert.display())
    )?;
    writeln!(f, "key = {}", quoted(plan.key.display()))?;
    if let Some(ocsp) = &plan.ocsp {
        writeln!(f, "ocsp = {}", quoted(ocsp.display()))?;
    }
    match &plan.names {
        Some(names) => writeln!(f, "names = {}", list(names))?,
        None => writeln!(f, "# names: those in the certificate")?,
    }
    writeln!(f, "default = {}", plan.is_default)
}

fn heading<T: Section>(f: &mut fmt::Formatter<'_>, key: &str) -> fmt::Result {
    writeln!(f, "\n[{key}]  # {}", Prose::of(T::ABOUT).note())
}

fn edge(f: &mut fmt::Formatter<'_>, plan: &EdgePlan, limits: &LimitsPlan) -> fmt::Result {
    writeln!(f, "trusted_proxies = {}", list(&plan.trusted_proxies))?;
    plan.settings.print(f)?;
    writeln!(f, "max_body = {}", max_body(limits.max_body))?;
    plan.routes.iter().try_for_each(|plan| route(f, plan))
}

fn route(f: &mut fmt::Formatter<'_>, plan: &RoutePlan) -> fmt::Result {
    writeln!(f, "\n[[edge.route]]")?;
    if *plan.name != *derived_route_name(&plan.hosts, plan.path.as_ref()) {
        writeln!(f, "name = {}", quoted(&plan.name))?;
    }
    match plan.hosts.as_slice() {
        [] => writeln!(f, "# hosts: every host")?,
        hosts => writeln!(f, "hosts = {}", list(hosts))?,
    }
    match &plan.path {
        Some(path) => writeln!(f, "path = {}", quoted(path))?,
        None => writeln!(f, "# path: every path")?,
    }
    criterion(f, "clients", &plan.clients)?;
    writeln!(
        f,
        "to = {}",
        list(plan.upstreams.iter().map(|upstream| &upstream.url))
    )?;
    plan.settings.print(f)?;
    writeln!(f, "max_body = {}", max_body(plan.max_body))?;
    let mut options = plan
        .upstreams
        .iter()
        .filter_map(|upstream| upstream.options.as_ref());
    options
        .next()
        .map_or(Ok(()), |options| upstream_tls(f, options))
}

fn upstream_tls(f: &mut fmt::Formatter<'_>, plan: &UpstreamTlsPlan) -> fmt::Result {
    if let Some(ca) = &plan.ca {
        writeln!(f, "tls.ca = {}", quoted(ca.display()))?;
    }
    if let Some(name) = &plan.server_name {
        writeln!(f, "tls.server_name = {}", quoted(name))?;
    }
    if let Some((cert, key)) = &plan.identity {
        writeln!(
            f,
            "tls.cert = {}\ntls.key = {}",
            quoted(cert.display()),
            quoted(key.display())
        )?;
    }
    match &plan.pin {
        Some(pin) => writeln!(f, "tls.pin = {}", quoted(tls_plan::hex(pin))),
        None => Ok(()),
    }
}

fn egress(
    f: &mut fmt::Formatter<'_>,
    plan: &EgressPlan,
    listeners: &[Arc<ListenerPlan>],
    whole: &Plan,
) -> fmt::Result {
    match plan.exit.as_ref().and_then(|id| whole.join(id)) {
        Some(through) => join(f, through)?,
        None => writeln!(f, "# join: goes out from here")?,
    }
    if plan.users.is_empty() {
        let open = listeners.iter().any(|listener| !listener.bind.is_local());
        writeln!(f, "open_to_the_world = {open}")?;
        writeln!(f, "# users: every client that can reach it")?;
    } else {
        writeln!(f, "users = [")?;
        for user in &plan.users {
            writeln!(
                f,
                "  {{ name = {}, password = \"{}\" }},",
                quoted(&user.name),
                user.password
            )?;
        }
        writeln!(f, "]")?;
    }
    rules(f, plan, "proxy")
}

fn rules(f: &mut fmt::Formatter<'_>, plan: &EgressPlan, section: &str) -> fmt::Result {
    plan.settings.print(f)?;
    plan.rules
        .iter()
        .try_for_each(|plan| rule(f, plan, section))
}

fn rule(f: &mut fmt::Formatter<'_>, plan: &Rule, section: &str) -> fmt::Result {
    writeln!(f, "\n[[{section}.rule]]  # {}", plan.number)?;
    match &plan.action {
        RuleAction::Allow => writeln!(f, "action = \"allow\"")?,
        RuleAction::Deny => writeln!(f, "action = \"deny\"")?,
        RuleAction::Via(parent) => writeln!(f, "action = \"via\"\nvia = {}", quoted(parent))?,
    }
    let ports: Vec<String> = plan.ports.iter().map(port_range).collect();
    criterion(f, "host", &plan.hosts)?;
    criterion(f, "suffix", &plan.suffixes)?;
    criterion(f, "cidr", &plan.cidrs)?;
    criterion(f, "port", &ports)?;
    criterion(f, "user", &plan.users)?;
    criterion(f, "client", &plan.clients)
}

fn port_range(range: &RangeInclusive<u16>) -> String {
    match range.start() == range.end() {
        true => range.start().to_string(),
        false => format!("{}-{}", range.start(), range.end()),
    }
}

fn criterion(f: &mut fmt::Formatter<'_>, key: &str, values: &[impl Display]) -> fmt::Result {
    match values {
        [] => Ok(()),
        values => writeln!(f, "{key} = {}", list(values)),
    }
}

fn forward(f: &mut fmt::Formatter<'_>, plan: &ForwardPlan) -> fmt::Result {
    writeln!(f, "to = {}", quoted(&plan.to))
}

/// A `[[serve]]` or an `[[exit]]`, with the addresses for visitors.
fn link<'p>(
    f: &mut fmt::Formatter<'_>,
    plan: &LinkPlan,
    visitors: impl Iterator<Item = &'p Arc<ListenerPlan>>,
) -> fmt::Result {
    let Advertise { port, .. } = plan.advertise;
    let own = if port.is_none() {
        ", with the port of the listener"
    } else {
        ""
    };
    writeln!(
        f,
        "advertise = {}  # in join strings{own}",
        quoted(&plan.advertise)
    )?;
    match &plan.serves {
        Serves::Services {
            domain: Some(domain),
        } => {
            writeln!(
                f,
                "domain = {}  # below it, HTTP services have their names",
                quoted(domain)
            )?;
            listen(f, "http", visitors)
        }
        Serves::Services { domain: None } => writeln!(f, "# domain, http: TCP services only"),
        Serves::Exit(plan) => rules(f, plan, "exit"),
    }
}

fn expose(f: &mut fmt::Formatter<'_>, through: &JoinPlan, plan: &ServicePlan) -> fmt::Result {
    let to = plan.to.to_string();
    writeln!(f, "\n[[expose]]")?;
    if plan.kind == ServiceKind::Http || *plan.name != *to {
        writeln!(f, "name = {}", quoted(&plan.name))?;
    }
    match (plan.kind, plan.port) {
        (ServiceKind::Http, _) => {
            writeln!(f, "http = {}", quoted(to))?;
            writeln!(
                f,
                "host = {}",
                quoted(plan.host.as_deref().unwrap_or("keep"))
            )?;
        }
        (ServiceKind::Tcp, Some(port)) => writeln!(f, "tcp = {}\nport = {port}", quoted(to))?,
        (ServiceKind::Tcp, None) => writeln!(f, "tcp = {}\n# port: a free one", quoted(to))?,
    }
    join(f, through)
}

fn join(f: &mut fmt::Formatter<'_>, plan: &JoinPlan) -> fmt::Result {
    let summary = format!("{}, grant {}", plan.join.address, plan.join.id);
    match &plan.file {
        Some(path) => writeln!(f, "join_file = {}  # {summary}", quoted(path.display()))?,
        None => writeln!(f, "join = \"***\"  # {summary}")?,
    }
    writeln!(f, "carrier = {}", quoted(plan.carrier.word()))
}

fn list(values: impl IntoIterator<Item = impl Display>) -> String {
    let quoted: Vec<String> = values.into_iter().map(quoted).collect();
    format!("[{}]", quoted.join(", "))
}

fn max_body(bytes: Option<u64>) -> String {
    OrNone::<ByteSize>::print(&bytes).unwrap_or_default()
}
