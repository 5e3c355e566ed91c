//! Plan: the complete configuration of a node.
//!
//! In:    only `resolve` makes one.
//! Out:   plain public fields, nothing missing; the parts that connections hold are behind `Arc`.
//! Never: changes: a reload makes a new one.

use std::fmt;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;

use byway_dial::{HostName, Parent, Target};
use byway_tls::ClientPattern;
use ipnet::IpNet;

use super::bind::Bind;
use super::host_pattern::HostPattern;
use super::link_plan::{JoinPlan, LinkPlan, Serves};
use super::login::UserPlan;
use super::section::{
    DialPlan, DrainPlan, EdgeSettings, EgressSettings, Http2Mode, LimitsPlan, LinkSettings,
    LogPlan, PoolPlan, RetryPlan, RouteSettings, SpillPlan,
};
use super::tls_plan::{TlsPlan, UpstreamTlsPlan};
use crate::os::descriptors::Shares;

/// The complete configuration of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// 1 for a new Plan; the caller that applies it numbers it.
    pub generation: u64,
    /// Threads that serve.
    pub workers: NonZeroUsize,
    /// The folder for what outlives the process.
    pub state: PathBuf,
    /// How long open connections have to finish after a stop; zero closes at once.
    pub drain: DrainPlan,
    /// How connections to targets are opened.
    pub dial: DialPlan,
    /// How the descriptors of the process are shared out.
    pub descriptors: DescriptorsPlan,
    /// What a downstream may take, unless its listener overrides it.
    pub limits: LimitsPlan,
    /// Connections kept to upstreams.
    pub pool: PoolPlan,
    /// Requests that are sent to an upstream again.
    pub retry: RetryPlan,
    /// Bytes parked on disk for slow readers.
    pub spill: SpillPlan,
    /// What is logged of each request.
    pub log: LogPlan,
    /// For every link of this node.
    pub link: LinkSettings,
    /// TLS of all `https` listeners.
    pub tls: TlsPlan,
    /// What to listen on, in the order of the file: edges, proxies, forwards, public ends of links,
    /// exits of links, then those of the metrics. May be empty if there are joins.
    pub listeners: Vec<Arc<ListenerPlan>>,
    /// The links that this node dials, one for each join string and carrier: those of proxies, then
    /// those of exposed services, each in the order of the file.
    pub joins: Vec<Arc<JoinPlan>>,
}

/// Identifies a listener across reloads: its address, and the number of earlier ones with the same
/// address. Only port 0 may be listened on more than once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ListenerKey {
    bind: Bind,
    before: usize,
}

impl ListenerKey {
    /// The address as the Plan has it.
    pub fn bind(&self) -> &Bind {
        &self.bind
    }
}

impl Plan {
    /// The listeners with their keys, in the order of the file.
    pub fn keyed_listeners(&self) -> impl Iterator<Item = (ListenerKey, &Arc<ListenerPlan>)> {
        self.listeners.iter().enumerate().map(|(index, listener)| {
            let before = self
                .listeners
                .iter()
                .take(index)
                .filter(|earlier| earlier.bind == listener.bind)
                .count();
            (
                ListenerKey {
                    bind: listener.bind.clone(),
                    before,
                },
                listener,
            )
        })
    }

    /// The listener with this key, if this Plan has it.
    pub fn listener(&self, key: &ListenerKey) -> Option<&Arc<ListenerPlan>> {
        self.listeners
            .iter()
            .filter(|listener| listener.bind == key.bind)
            .nth(key.before)
    }

    /// The settings that are read only when the process starts.
    pub fn start_settings(&self) -> StartSettings {
        StartSettings {
            workers: self.workers,
            connections: self.descriptors.asked_limits.connections,
            pool: self.descriptors.asked_pool.clone(),
            spill: self.spill.clone(),
        }
    }

    /// What is done with the connections of each listener.
    pub fn roles(&self) -> impl Iterator<Item = &Role> {
        self.listeners
            .iter()
            .map(|listener| &listener.frontend.role)
    }

    /// All routes. Those of a section with several addresses come once for each.
    pub fn routes(&self) -> impl Iterator<Item = &Arc<RoutePlan>> {
        let edges = self.roles().filter_map(|role| match role {
            Role::Edge(edge) => Some(edge),
            _ => None,
        });
        edges.flat_map(|edge| &edge.routes)
    }

    /// The link with this id, if this Plan has it.
    pub fn join(&self, id: &str) -> Option<&Arc<JoinPlan>> {
        self.joins.iter().find(|join| *join.id == *id)
    }
}

/// How the descriptors of the process are shared out: limits that did not fit have been lowered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescriptorsPlan {
    /// The shares.
    pub shares: Shares,
    /// Each limit that was lowered to fit.
    pub lowered: Vec<Lowered>,
    /// `[limits]` before any was lowered.
    pub asked_limits: LimitsPlan,
    /// `[pool]` before any was lowered. A limit that the config leaves to its default is
    /// `usize::MAX` if that default is another limit.
    pub asked_pool: PoolPlan,
}

/// The settings that are read only when the process starts, as the config has them: what the
/// descriptors of the process lower depends on other sections.
#[derive(Clone, Debug, PartialEq)]
pub struct StartSettings {
    workers: NonZeroUsize,
    connections: usize,
    pool: PoolPlan,
    spill: SpillPlan,
}

impl StartSettings {
    /// The keys and sections that `new` sets to another value.
    pub fn changed(&self, new: &Self) -> Vec<&'static str> {
        let parts = [
            ("workers", self.workers == new.workers),
            ("[pool]", self.pool == new.pool),
            ("[spill]", self.spill == new.spill),
            ("limits.connections", self.connections == new.connections),
        ];
        let changed = parts.into_iter().filter(|(_, same)| !same);
        changed.map(|(name, _)| name).collect()
    }
}

/// What a limit was lowered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoweredBy {
    /// The descriptors that the process may have.
    Descriptors(u64),
    /// The limit of this key, which bounds it.
    Key(&'static str),
}

/// A limit that did not fit into the descriptors of the process, or into the limit that bounds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lowered {
    /// Its key.
    pub key: &'static str,
    /// What the config says, or the default.
    pub from: usize,
    /// What is in force.
    pub to: usize,
    /// What it did not fit into.
    pub cause: LoweredBy,
    /// Whether the config sets it; false for a default.
    pub written: bool,
}

impl fmt::Display for Lowered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, from, to, .. } = self;
        write!(f, "{key} is lowered from {from} to {to}: ")?;
        match self.cause {
            LoweredBy::Descriptors(limit) => write!(
                f,
                "the process may open {limit} files and sockets, and some are reserved; raise the limit (ulimit -n, \
                 LimitNOFILE=) for more"
            ),
            LoweredBy::Key(whole) => write!(f, "{whole} bounds it; raise that, too, for more"),
        }
    }
}

/// One address to listen on.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerPlan {
    /// The address.
    pub bind: Bind,
    /// What its connections get.
    pub frontend: Arc<FrontendPlan>,
}

/// What connections get, wherever they come from.
#[derive(Clone, Debug, PartialEq)]
pub struct FrontendPlan {
    /// The name its section was given, or else its address; for logs and metrics.
    pub name: Arc<str>,
    /// What is done with its connections; listeners of one section share it.
    pub role: Role,
    /// What its downstreams may take: `[limits]` with the overrides of the section.
    pub limits: LimitsPlan,
    /// Whether its downstreams speak TLS.
    pub transport: Transport,
}

impl FrontendPlan {
    /// What connections are accepted for.
    pub fn kind(&self) -> FrontendKind {
        FrontendKind {
            role: self.role.kind(),
            tls: self.transport == Transport::Tls,
        }
    }

    /// The same, if it is of this kind.
    pub fn of_kind(self: Arc<Self>, kind: FrontendKind) -> Option<Arc<Self>> {
        (self.kind() == kind).then_some(self)
    }
}

/// Whether downstreams speak TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// They do not.
    #[default]
    Plain,
    /// They do not, and their requests are redirected to this `https` listener of the same section.
    Redirect(Bind),
    /// They do.
    Tls,
}

/// What connections are accepted for: they are not served in another role, nor without TLS if they
/// began with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrontendKind {
    /// The role.
    pub role: RoleKind,
    /// Whether they speak TLS.
    pub tls: bool,
}

/// What is done with the connections of a listener.
#[derive(Clone, Debug, PartialEq)]
pub enum Role {
    /// `[[edge]]`: HTTP in front of upstreams.
    Edge(Arc<EdgePlan>),
    /// `[[proxy]]`: an egress proxy for SOCKS and HTTP.
    Egress(Arc<EgressPlan>),
    /// `[[tcp]]`: a plain forward.
    Forward(Arc<ForwardPlan>),
    /// `[metrics]`: this node's numbers, for Prometheus.
    Metrics,
    /// The public port of an exposed TCP service. Not in the file: it is opened when an agent
    /// registers.
    PublicPort(byway_link::Name),
    /// Streams that arrive over a link which this node has dialled, for what it exposes
    /// (`[[expose]]`). It has no listener.
    Agent(Arc<JoinPlan>),
    /// `[[serve]]` and `[[exit]]`: where links arrive, over QUIC and over TLS. Always a TCP
    /// address; the UDP port of the same number belongs to it.
    Link(Arc<LinkPlan>),
}

/// What a listener is for, without its settings: connections that were accepted for one kind are
/// not served as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleKind {
    /// [`Role::Edge`] with routes.
    Edge,
    /// [`Role::Edge`] of a `[[serve]]`: it has no routes, and links carry its requests.
    Services,
    /// [`Role::Egress`].
    Egress,
    /// [`Role::Forward`].
    Forward,
    /// [`Role::Metrics`].
    Metrics,
    /// [`Role::PublicPort`].
    PublicPort,
    /// [`Role::Agent`].
    Agent,
    /// [`Role::Link`] of a `[[serve]]`.
    Serve,
    /// [`Role::Link`] of an `[[exit]]`.
    Exit,
}

impl Role {
    /// Its kind.
    pub fn kind(&self) -> RoleKind {
        match self {
            Self::Edge(edge) if edge.routes.is_empty() => RoleKind::Services,
            Self::Edge(_) => RoleKind::Edge,
            Self::Egress(_) => RoleKind::Egress,
            Self::Forward(_) => RoleKind::Forward,
            Self::Metrics => RoleKind::Metrics,
            Self::PublicPort(_) => RoleKind::PublicPort,
            Self::Agent(_) => RoleKind::Agent,
            Self::Link(link) => match link.serves {
                Serves::Services { .. } => RoleKind::Serve,
                Serves::Exit(_) => RoleKind::Exit,
            },
        }
    }
}

/// HTTP in front of upstreams.
#[derive(Clone, Debug, PartialEq)]
pub struct EdgePlan {
    /// In the order of the file; at least one, unless there is a `domain`.
    pub routes: Vec<Arc<RoutePlan>>,
    /// Networks whose forwarding fields are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// What needs no other section.
    pub settings: EdgeSettings,
    /// For the HTTP listeners of a `[[serve]]`: `NAME.domain` leads to the exposed service `NAME`.
    /// No two sections have the same one.
    pub domain: Option<HostName>,
}

/// Which requests go to which upstreams.
#[derive(Clone, Debug)]
pub struct RoutePlan {
    /// What outlives a reload is kept by this; no part of what the route does.
    pub id: RouteId,
    /// Where its pattern was written, or its section, for warnings; no part of what the route does.
    pub line: Option<usize>,
    /// Unique in its edge.
    pub name: Arc<str>,
    /// Which hosts; empty for every host.
    pub hosts: Vec<HostPattern>,
    /// Which canonical paths; none for every path.
    pub path: Option<regex::Regex>,
    /// Which client certificates may use it; empty for every client.
    pub clients: Vec<ClientPattern>,
    /// Where requests go; at least one.
    pub upstreams: Vec<Arc<UpstreamPlan>>,
    /// What needs no other section.
    pub settings: RouteSettings,
    /// The longest request body in bytes, edge and `[limits]` included; none for no limit.
    pub max_body: Option<u64>,
}

/// Identifies a route across reloads: the first address of its section, how many sections with the same one are before it, and its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RouteId(Arc<str>);

impl RouteId {
    /// Of the route called `name` of the section that listens first at `bind`.
    pub fn new(bind: Option<&Bind>, before: usize, name: &str) -> Self {
        let bind = bind.map(ToString::to_string).unwrap_or_default();
        Self(format!("{bind}#{before}/{name}").into())
    }
}

impl PartialEq for RoutePlan {
    /// Two patterns are equal if their texts are.
    fn eq(&self, other: &Self) -> bool {
        // A new field does not compile until it is compared or left out here.
        let Self {
            id: _,
            line: _,
            name,
            hosts,
            path,
            clients,
            upstreams,
            settings,
            max_body,
        } = self;
        let path = path.as_ref().map(regex::Regex::as_str);
        *name == other.name
            && *hosts == other.hosts
            && path == other.path.as_ref().map(regex::Regex::as_str)
            && *clients == other.clients
            && *upstreams == other.upstreams
            && *settings == other.settings
            && *max_body == other.max_body
    }
}

/// Where requests of a route go. Equal ones in one Plan are the same `Arc`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamPlan {
    /// Its URL, and behind it its options for TLS in brackets: equal ids mean the same upstream, in
    /// the pool and across reloads.
    pub id: Arc<str>,
    /// `http://127.0.0.1:9001`, `https://name:443` (the port is always there) or
    /// `unix:/run/app.sock`.
    pub url: Arc<str>,
    /// Whether TLS is spoken.
    pub tls: bool,
    /// How, where it differs from the usual.
    pub options: Option<Arc<UpstreamTlsPlan>>,
    /// Whether HTTP/2 is spoken. Never [`Http2Mode::Auto`] without TLS.
    pub http2: Http2Mode,
    /// What to dial.
    pub target: Target,
    /// For the Host field: without the port if it is the scheme's own; `localhost` for a Unix
    /// socket.
    pub authority: Arc<str>,
}

/// An egress proxy for SOCKS and HTTP.
#[derive(Clone, Debug, PartialEq)]
pub struct EgressPlan {
    /// Who may use it; empty for every client that can reach it.
    pub users: Vec<UserPlan>,
    /// The first that matches decides.
    pub rules: Vec<Rule>,
    /// What needs no other section.
    pub settings: EgressSettings,
    /// Whether slow readers may use the disk of this node; never for streams through `exit`, which
    /// uses its own disk.
    pub spill: bool,
    /// The id of the [`JoinPlan`] that allowed streams go through; none dials from here.
    pub exit: Option<Arc<str>>,
}

/// A rule of an exit: matches if the target is in `hosts`, `suffixes` or `cidrs` (or all three are
/// empty), and its port in `ports` (or that is empty), and the user in `users` (or that is empty),
/// and the certificate of the client matches one of `clients` (or that is empty).
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its place in the section, from 1, for messages.
    pub number: usize,
    /// What happens to what matches.
    pub action: RuleAction,
    /// Exact names.
    pub hosts: Vec<HostName>,
    /// Names together with everything below them.
    pub suffixes: Vec<HostName>,
    /// Networks.
    pub cidrs: Vec<IpNet>,
    /// Ports, never 0.
    pub ports: Vec<RangeInclusive<u16>>,
    /// Names of users.
    pub users: Vec<Arc<str>>,
    /// Client certificates.
    pub clients: Vec<ClientPattern>,
}

/// What happens to a target that a rule matches.
#[derive(Clone, Debug, PartialEq)]
pub enum RuleAction {
    /// It is dialled.
    Allow,
    /// It is refused.
    Deny,
    /// It is reached through a parent.
    Via(Arc<ParentPlan>),
}

/// A parent: another exit that streams go through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentPlan {
    /// Its protocol, address and credentials; of a kind that resolves names itself.
    pub parent: Parent,
}

impl fmt::Display for ParentPlan {
    /// As a URL with `***` for the password, and `socks5://` for either spelling.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.parent.to_string();
        match shown.strip_prefix("socks5h://") {
            Some(rest) => write!(f, "socks5://{rest}"),
            None => f.write_str(&shown),
        }
    }
}

/// A plain forward.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardPlan {
    /// Where connections go.
    pub to: Target,
}
