//! Link plan: the links of a Plan: where they arrive, and which ones this node dials.
//!
//! In:    only `resolve` makes one.
//! Out:   plain public fields, nothing missing.
//! Never: prints the secret of a join string.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use byway_dial::{HostName, Target};
use byway_link::JoinString;

use super::plan::EgressPlan;
use super::section::CarrierChoice;

/// Where links arrive.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkPlan {
    /// The address that joining nodes dial.
    pub advertise: Advertise,
    /// What the links are for.
    pub serves: Serves,
}

/// What the links of a listener are for.
#[derive(Clone, Debug, PartialEq)]
pub enum Serves {
    /// `[[serve]]`: services that agents expose.
    Services {
        /// HTTP services become `NAME.domain`; none takes TCP services only.
        domain: Option<HostName>,
    },
    /// `[[exit]]`: streams of desks, checked by these rules. It has no users: links are
    /// authenticated by their grant.
    Exit(Arc<EgressPlan>),
}

impl Serves {
    /// The word for the section: `serve` or `exit`.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Services { .. } => "serve",
            Self::Exit(_) => "exit",
        }
    }
}

/// The address that joining nodes dial: the part of a join string after the `@`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertise {
    /// The name or the address.
    pub host: AdvertisedHost,
    /// The port; none if the section's first listener has port 0: then the one that the system
    /// chooses.
    pub port: Option<u16>,
}

/// A name or an address that others can dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdvertisedHost {
    /// A name.
    Name(HostName),
    /// An address, never `0.0.0.0` or `::`.
    Addr(IpAddr),
}

impl Advertise {
    /// What to dial, if the first listener got `own_port`.
    pub fn target(&self, own_port: u16) -> Target {
        let port = self.port.unwrap_or(own_port);
        match &self.host {
            AdvertisedHost::Name(name) => Target::Host {
                name: name.clone(),
                port,
            },
            AdvertisedHost::Addr(ip) => Target::Addr(SocketAddr::new(*ip, port)),
        }
    }
}

impl fmt::Display for Advertise {
    /// `HOST:PORT`, or `HOST` for the listener's own port.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => self.target(port).fmt(f),
            None => self.host.fmt(f),
        }
    }
}

impl fmt::Display for AdvertisedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{name}"),
            Self::Addr(IpAddr::V4(ip)) => write!(f, "{ip}"),
            Self::Addr(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
        }
    }
}

/// A link that this node dials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinPlan {
    /// `HOST:PORT grant ID`, with `quic ` or `tls ` in front if the carrier is chosen: equal ids
    /// mean the same link, in this Plan and across reloads.
    pub id: Arc<str>,
    /// The address, the key that has to answer, and the grant.
    pub join: JoinString,
    /// The file that the join string was read from, if one was; for messages.
    pub file: Option<PathBuf>,
    /// What it runs over.
    pub carrier: CarrierChoice,
    /// What is exposed through it, in the order of the file; empty for the link of a desk.
    pub services: Vec<ServicePlan>,
}

/// A service of this node that is exposed elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePlan {
    /// What it speaks.
    pub kind: ServiceKind,
    /// HTTP: the label in front of the domain, in lower case. TCP: its label, or else the text of
    /// `to`.
    pub name: Arc<str>,
    /// TCP: the public port to request; none for a free one that the other side keeps for this
    /// node's key.
    pub port: Option<u16>,
    /// The local target.
    pub to: Target,
    /// HTTP: the Host that the service sees; none for the visitor's own, which names the public
    /// end.
    pub host: Option<Arc<str>>,
}

/// What an exposed service speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServiceKind {
    /// HTTP, found by its name.
    Http,
    /// Bytes, found by a port.
    Tcp,
}
