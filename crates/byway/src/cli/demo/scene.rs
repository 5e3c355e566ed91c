//! Scene: the environment of the journeys: a running origin, running nodes, and the ways through
//! the nodes to the origin.
//!
//! In:    a way, and for ways that can name one, a target.
//! Out:   an open stream.
//! Never: sends HTTP on it.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::bail;
use byway_dial::{AddressRules, Dialler, Options, Parent, Resolver, Scheme, Stream, Target};
use byway_link::CarrierKind;
use byway_relay::RelayCounters;

use super::addresses::Addresses;
use super::ground::Ground;
use super::nodes::Nodes;
use super::origin::Origin;
use super::plan::{PASSWORD, USER};

/// What the journeys of the demo use: the origin, the addresses of the running nodes, and a dialler
/// to open streams through the nodes to the origin.
pub(super) struct Scene {
    /// The upstream of everything.
    pub(super) origin: Origin,
    /// Where the nodes listen.
    pub(super) at: Addresses,
    /// Where a journey may start nodes of its own.
    pub(super) ground: Ground,
    /// The file with the join string of the server of exposed services.
    pub(super) server_join: PathBuf,
    /// The file with the join string of the exit.
    pub(super) exit_join: PathBuf,
    alone: Arc<RelayCounters>,
    public: Arc<RelayCounters>,
    dialler: Dialler,
}

/// A way from a visitor to the origin's HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// A request to the edge.
    Edge,
    /// A request in absolute form to the egress.
    Absolute,
    /// SOCKS5 to an address.
    Socks5,
    /// SOCKS5 with a password, to a name.
    Socks5Password,
    /// SOCKS4a, to a name.
    Socks4a,
    /// HTTP CONNECT to an address.
    Connect,
    /// A plain TCP forward.
    Forward,
    /// A request for a public name of an agent that has joined over that carrier.
    ExposedHttp(CarrierKind),
    /// A public port of an agent that has joined over that carrier.
    ExposedTcp(CarrierKind),
    /// A request in absolute form to the desk that has joined the exit over that carrier.
    DeskAbsolute(CarrierKind),
    /// SOCKS5 to an address, at that desk.
    DeskSocks5(CarrierKind),
    /// HTTP CONNECT to a name, at that desk.
    DeskConnect(CarrierKind),
}

impl Way {
    /// Every way.
    pub(super) const ALL: [Self; 17] = [
        Self::Edge,
        Self::Absolute,
        Self::Socks5,
        Self::Socks5Password,
        Self::Socks4a,
        Self::Connect,
        Self::Forward,
        Self::ExposedHttp(CarrierKind::Quic),
        Self::ExposedHttp(CarrierKind::Tls),
        Self::ExposedTcp(CarrierKind::Quic),
        Self::ExposedTcp(CarrierKind::Tls),
        Self::DeskAbsolute(CarrierKind::Quic),
        Self::DeskAbsolute(CarrierKind::Tls),
        Self::DeskSocks5(CarrierKind::Quic),
        Self::DeskSocks5(CarrierKind::Tls),
        Self::DeskConnect(CarrierKind::Quic),
        Self::DeskConnect(CarrierKind::Tls),
    ];

    /// Whether a node reads the requests; otherwise all nodes only carry bytes.
    pub(super) fn speaks_http(self) -> bool {
        matches!(
            self,
            Self::Edge | Self::Absolute | Self::ExposedHttp(_) | Self::DeskAbsolute(_)
        )
    }

    /// Whether the origin receives the address of the visitor.
    pub(super) fn forwards_visitor(self) -> bool {
        matches!(self, Self::Edge | Self::ExposedHttp(_))
    }

    /// The carrier of the link that it crosses, if it crosses one.
    pub(super) fn carrier(self) -> Option<CarrierKind> {
        match self {
            Self::ExposedHttp(carrier)
            | Self::ExposedTcp(carrier)
            | Self::DeskAbsolute(carrier)
            | Self::DeskSocks5(carrier)
            | Self::DeskConnect(carrier) => Some(carrier),
            _ => None,
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Edge => "edge",
            Self::Absolute => "absolute form",
            Self::Socks5 => "SOCKS5",
            Self::Socks5Password => "SOCKS5 with password",
            Self::Socks4a => "SOCKS4a",
            Self::Connect => "CONNECT",
            Self::Forward => "TCP forward",
            Self::ExposedHttp(_) => "exposed HTTP",
            Self::ExposedTcp(_) => "exposed TCP",
            Self::DeskAbsolute(_) => "desk, absolute form",
            Self::DeskSocks5(_) => "desk, SOCKS5",
            Self::DeskConnect(_) => "desk, CONNECT",
        })?;
        self.carrier()
            .map_or(Ok(()), |carrier| write!(f, ", {carrier}"))
    }
}

impl Scene {
    /// A scene on the current runtime.
    ///
    /// # Errors
    /// When the public node cannot be joined.
    pub(super) fn new(
        nodes: &Nodes,
        ground: Ground,
        origin: Origin,
        at: Addresses,
    ) -> anyhow::Result<Self> {
        let resolver = Resolver::system(tokio::runtime::Handle::current());
        Ok(Self {
            origin,
            at,
            ground,
            server_join: nodes.public.join_file("server")?.to_owned(),
            exit_join: nodes.public.join_file("exit")?.to_owned(),
            alone: nodes.alone.counters()?,
            public: nodes.public.counters()?,
            dialler: Dialler::new(resolver, Options::default()),
        })
    }

    /// Bytes of slow readers on the disk of the node that dials the origin for `way`.
    pub(super) fn parked_bytes(&self, way: Way) -> u64 {
        let dials = if way.carrier().is_some() {
            &self.public
        } else {
            &self.alone
        };
        dials.spilled_bytes()
    }

    /// Opens a stream to the origin's HTTP, or for ways that speak HTTP to the node itself.
    pub(super) async fn enter(&self, way: Way) -> anyhow::Result<Stream> {
        match way {
            Way::Edge => self.direct(&Target::Addr(self.at.edge)).await,
            Way::Absolute => self.direct(&Target::Addr(self.at.open)).await,
            Way::Forward => self.direct(&Target::Addr(self.at.http)).await,
            Way::ExposedHttp(_) => self.direct(&Target::Addr(self.at.visitors)).await,
            Way::ExposedTcp(carrier) => self.direct(&Target::Addr(self.at.over(carrier).tcp)).await,
            Way::DeskAbsolute(carrier) => {
                self.direct(&Target::Addr(self.at.over(carrier).desk)).await
            }
            _ => self.through(way, self.origin.http).await,
        }
    }

    /// Opens a stream to an address of this machine through an egress; by its name, for ways to a
    /// name.
    pub(super) async fn through(&self, way: Way, to: SocketAddr) -> anyhow::Result<Stream> {
        let (by_address, by_name) = (Target::Addr(to), Target::from_host("localhost", to.port())?);
        let credentials = Some((USER.to_owned(), PASSWORD.to_owned()));
        let user_id = Some(("demo".to_owned(), String::new()));
        let (scheme, at, credentials, target) = match way {
            Way::Socks5 => (Scheme::Socks5h, self.at.open, None, by_address),
            Way::Socks5Password => (Scheme::Socks5h, self.at.guarded, credentials, by_name),
            Way::Connect => (Scheme::Http, self.at.open, None, by_address),
            Way::DeskSocks5(carrier) => (
                Scheme::Socks5h,
                self.at.over(carrier).desk,
                None,
                by_address,
            ),
            Way::DeskConnect(carrier) => (Scheme::Http, self.at.over(carrier).desk, None, by_name),
            Way::Socks4a => (Scheme::Socks4a, self.at.open, user_id, by_name),
            _ => bail!("with {way}, the visitor cannot choose the target"),
        };
        self.through_parent(scheme, at, credentials, &target).await
    }

    /// Opens a stream through the listener `at`, with these credentials.
    pub(super) async fn through_parent(
        &self,
        scheme: Scheme,
        at: SocketAddr,
        credentials: Option<(String, String)>,
        target: &Target,
    ) -> anyhow::Result<Stream> {
        let parent = Parent {
            scheme,
            at: Target::Addr(at),
            credentials,
        };
        Ok(self
            .dialler
            .open_via(&parent, target, &AddressRules::open())
            .await?
            .stream)
    }

    /// Opens a stream without a proxy.
    pub(super) async fn direct(&self, target: &Target) -> anyhow::Result<Stream> {
        Ok(self
            .dialler
            .open(target, &AddressRules::open())
            .await?
            .stream)
    }
}
