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

use super::link_plan::{
    Advertise, CarrierChoice, JoinPlan, LinkPlan, Serves, ServiceKind, ServicePlan,
};
use super::plan::{
    AccessFormat, AccessPlace, Action, EdgePlan, EgressPlan, Family, ForwardPlan, HostMode,
    ListenerPlan, Plan, ResolverKind, Role, RoutePlan, Rule, SpillMode, Verdict,
};
use super::resolve::derived_route_name;
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
        limits(f, plan)?;
        pool_retry_and_spill(f, plan)?;
        log_and_metrics(f, plan)?;
        links(f, plan)?;
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
            Role::Exposed(_) | Role::Joined(_) => return Ok(()),
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
        writeln!(
            f,
            "listen = {}",
            list(
                listeners
                    .iter()
                    .filter(alike)
                    .map(|listener| &listener.bind)
            )
        )?;
        match &first.frontend.role {
            Role::Edge(plan) => edge(f, plan),
            Role::Egress(plan) => egress(f, plan, listeners, self.0),
            Role::Forward(plan) => forward(f, plan),
            Role::Metrics | Role::Exposed(_) | Role::Joined(_) => Ok(()),
            Role::Link(plan) => {
                let visitors = listeners
                    .iter()
                    .filter(|listener| !alike(listener))
                    .map(|listener| &listener.bind);
                link(f, plan, visitors)
            }
        }
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
    writeln!(f, "\n[drain]  # how Byway stops")?;
    writeln!(
        f,
        "deadline = \"{}\"  # for open connections to finish",
        Period(plan.drain)
    )?;
    writeln!(f, "\n[dial]  # how connections to targets are opened")?;
    let family = match plan.dial.family {
        Family::Any => "any",
        Family::V4 => "4",
        Family::V6 => "6",
    };
    writeln!(f, "family = \"{family}\"")?;
    match plan.dial.local_address {
        Some(ip) => writeln!(f, "local_address = \"{ip}\"")?,
        None => writeln!(f, "# local_address: the system chooses")?,
    }
    writeln!(
        f,
        "connect_timeout = \"{}\"  # for all addresses of a target together",
        Period(plan.dial.connect_timeout)
    )?;
    let resolver = match plan.dial.resolver {
        ResolverKind::Dns => "\"dns\"  # the servers of /etc/resolv.conf",
        ResolverKind::System => "\"system\"  # getaddrinfo",
    };
    writeln!(f, "resolver = {resolver}")?;
    writeln!(
        f,
        "attempt_delay = \"{}\"  # then the next address is tried beside it",
        Period(plan.dial.attempt_delay)
    )
}

fn limits(f: &mut fmt::Formatter<'_>, plan: &Plan) -> fmt::Result {
    let limits = &plan.limits;
    writeln!(f, "\n[limits]  # what a downstream may take")?;
    writeln!(
        f,
        "connections = {}  # open at once on one listener",
        limits.connections
    )?;
    writeln!(
        f,
        "connections_per_peer = {}  # of them, from one address",
        limits.connections_per_peer
    )?;
    writeln!(
        f,
        "handshake_timeout = \"{}\"",
        Period(limits.handshake_timeout)
    )?;
    writeln!(
        f,
        "head_bytes = \"{}\"  # the longest head",
        ByteSize(limits.head_bytes as u64)
    )?;
    writeln!(
        f,
        "head_fields = {}  # the most fields in it",
        limits.head_fields
    )?;
    writeln!(
        f,
        "head_timeout = \"{}\"  # from its first byte to its last",
        Period(limits.head_timeout)
    )?;
    writeln!(
        f,
        "keep_alive = \"{}\"  # for the next request",
        Period(limits.keep_alive)
    )?;
    writeln!(
        f,
        "body_progress = \"{}\"  # the longest pause in a body",
        Period(limits.body_progress)
    )?;
    match limits.min_rate {
        Some(rate) => writeln!(
            f,
            "min_rate = \"{rate}\"  # of a body, while a downstream is waited for"
        )?,
        None => writeln!(
            f,
            "min_rate = \"none\"  # of a body, while a downstream is waited for"
        )?,
    }
    writeln!(
        f,
        "first_byte = \"{}\"  # for the head of an upstream's answer",
        Period(limits.first_byte)
    )?;
    writeln!(
        f,
        "max_body = {}  # the longest request body",
        ceiling(limits.max_body)
    )?;
    writeln!(
        f,
        "half_closed_idle = \"{}\"  # once one side has finished",
        Period(limits.half_closed_idle)
    )?;
    match limits.idle {
        Some(idle) => writeln!(
            f,
            "idle = \"{}\"  # for a forward or a tunnel",
            Period(idle)
        )?,
        None => writeln!(f, "idle = \"none\"  # for a forward or a tunnel")?,
    }
    writeln!(
        f,
        "requests_per_connection = {}",
        limits.requests_per_connection
    )
}

fn pool_retry_and_spill(f: &mut fmt::Formatter<'_>, plan: &Plan) -> fmt::Result {
    let (pool, spill) = (&plan.pool, &plan.spill);
    writeln!(f, "\n[pool]  # connections kept to upstreams")?;
    writeln!(f, "max_total = {}", pool.max_total)?;
    writeln!(f, "max_per_origin = {}", pool.max_per_origin)?;
    writeln!(
        f,
        "max_upgraded_per_origin = {}  # WebSockets; they count here alone",
        pool.max_upgraded_per_origin
    )?;
    writeln!(f, "idle_timeout = \"{}\"", Period(pool.idle_timeout))?;
    writeln!(
        f,
        "queue = {}  # requests that may wait for a connection",
        pool.queue
    )?;
    writeln!(f, "queue_wait = \"{}\"", Period(pool.queue_wait))?;
    let retry = &plan.retry;
    writeln!(
        f,
        "\n[retry]  # requests that are sent to an upstream again"
    )?;
    writeln!(
        f,
        "attempts = {}  # for a request that was sent and got no byte back",
        retry.attempts
    )?;
    writeln!(
        f,
        "on = {}  # statuses that count as no byte back",
        list(retry.on.iter())
    )?;
    writeln!(
        f,
        "replay = \"{}\"  # the longest body that is kept for it",
        ByteSize(retry.replay_bytes as u64)
    )?;
    writeln!(
        f,
        "budget_percent = {}  # of recent requests",
        retry.budget_percent
    )?;
    writeln!(
        f,
        "budget_per_second = {}  # in addition",
        retry.budget_per_second
    )?;
    writeln!(f, "\n[spill]  # bytes parked on disk for slow readers")?;
    writeln!(f, "directory = {}", quoted(spill.directory.display()))?;
    writeln!(
        f,
        "memory = \"{}\"  # of a stream, before the disk is used",
        ByteSize(spill.memory)
    )?;
    writeln!(
        f,
        "per_stream = \"{}\"  # on disk",
        ByteSize(spill.per_stream)
    )?;
    match spill.per_node {
        Some(bytes) => writeln!(
            f,
            "per_node = \"{}\"  # on disk, all streams together",
            ByteSize(bytes)
        )?,
        None => writeln!(
            f,
            "# per_node: the smaller of 10GiB and a fifth of the free disk"
        )?,
    }
    writeln!(
        f,
        "mode = \"{}\"",
        if spill.mode == SpillMode::Auto {
            "auto"
        } else {
            "off"
        }
    )
}

fn log_and_metrics(f: &mut fmt::Formatter<'_>, plan: &Plan) -> fmt::Result {
    writeln!(f, "\n[log]  # what is logged of each request")?;
    match &plan.log.access {
        AccessPlace::Off => writeln!(f, "access = \"off\"")?,
        AccessPlace::Stdout => writeln!(f, "access = \"stdout\"")?,
        AccessPlace::File(path) => writeln!(f, "access = {}", quoted(path.display()))?,
    }
    let format = match plan.log.format {
        AccessFormat::Combined => "combined",
        AccessFormat::Json => "json",
    };
    writeln!(f, "access_format = \"{format}\"")?;
    writeln!(
        f,
        "\n[metrics]  # this node's numbers, for Prometheus; there is no password"
    )?;
    let metrics = plan
        .listeners
        .iter()
        .filter(|listener| listener.frontend.role == Role::Metrics);
    match metrics.clone().count() {
        0 => writeln!(f, "# listen: nowhere"),
        _ => writeln!(
            f,
            "listen = {}",
            list(metrics.map(|listener| &listener.bind))
        ),
    }
}

fn edge(f: &mut fmt::Formatter<'_>, plan: &EdgePlan) -> fmt::Result {
    writeln!(f, "trusted_proxies = {}", list(&plan.trusted_proxies))?;
    writeln!(f, "reject_empty_segments = {}", plan.reject_empty_segments)?;
    writeln!(f, "max_body = {}", ceiling(plan.max_body))?;
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
    writeln!(
        f,
        "to = {}",
        list(plan.upstreams.iter().map(|upstream| &upstream.id))
    )?;
    writeln!(
        f,
        "host = \"{}\"",
        if plan.host == HostMode::Keep {
            "keep"
        } else {
            "upstream"
        }
    )?;
    writeln!(f, "max_body = {}", ceiling(plan.max_body))
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
    match plan.stream_limit {
        Some(rate) => writeln!(f, "stream_limit = \"{rate}\"  # of one stream, each way")?,
        None => writeln!(f, "# stream_limit: none")?,
    }
    let default = if plan.default == Verdict::Allow {
        "allow"
    } else {
        "deny"
    };
    writeln!(f, "default = \"{default}\"  # for what no rule matches")?;
    plan.rules
        .iter()
        .try_for_each(|plan| rule(f, plan, section))
}

fn rule(f: &mut fmt::Formatter<'_>, plan: &Rule, section: &str) -> fmt::Result {
    writeln!(f, "\n[[{section}.rule]]  # {}", plan.number)?;
    match &plan.action {
        Action::Allow => writeln!(f, "action = \"allow\"")?,
        Action::Deny => writeln!(f, "action = \"deny\"")?,
        Action::Via(parent) => writeln!(f, "action = \"via\"\nvia = {}", quoted(parent))?,
    }
    let ports: Vec<String> = plan.ports.iter().map(port_range).collect();
    criterion(f, "host", &plan.hosts)?;
    criterion(f, "suffix", &plan.suffixes)?;
    criterion(f, "cidr", &plan.cidrs)?;
    criterion(f, "port", &ports)?;
    criterion(f, "user", &plan.users)
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

fn links(f: &mut fmt::Formatter<'_>, plan: &Plan) -> fmt::Result {
    let link = &plan.link;
    writeln!(f, "\n[link]  # for every link of this node")?;
    writeln!(
        f,
        "congestion = \"{}\"  # of what this node sends on links",
        link.congestion
    )?;
    writeln!(
        f,
        "quic_probe = \"{}\"  # after a fall-back to TLS, then doubling",
        Period(link.quic_probe)
    )?;
    writeln!(
        f,
        "park = \"{}\"  # for a visitor whose agent is away",
        Period(link.park)
    )?;
    writeln!(
        f,
        "parked = {}  # visitors of one name at once",
        link.parked
    )?;
    writeln!(
        f,
        "streams = {}  # of the other side, open on one session",
        link.streams
    )
}

/// A `[[serve]]` or an `[[exit]]`, with the addresses for visitors.
fn link<'p>(
    f: &mut fmt::Formatter<'_>,
    plan: &LinkPlan,
    visitors: impl Iterator<Item = &'p super::bind::Bind>,
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
            writeln!(f, "http = {}", list(visitors))
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
    let carrier = match plan.carrier {
        CarrierChoice::Auto => "auto",
        CarrierChoice::Quic => "quic",
        CarrierChoice::Tls => "tls",
    };
    writeln!(f, "carrier = \"{carrier}\"")
}

fn ceiling(bytes: Option<u64>) -> String {
    bytes.map_or_else(
        || "\"none\"".to_owned(),
        |bytes| format!("\"{}\"", ByteSize(bytes)),
    )
}

fn list(values: impl IntoIterator<Item = impl Display>) -> String {
    let quoted: Vec<String> = values.into_iter().map(quoted).collect();
    format!("[{}]", quoted.join(", "))
}

/// A basic string of TOML.
fn quoted(value: impl Display) -> String {
    let mut out = String::from("\"");
    for c in value.to_string().chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out += &format!("\\u{:04X}", u32::from(c)),
            c => out.push(c),
        }
    }
    out + "\""
}
