//! Addresses: where the demo listens.
//!
//! In:    the chosen ports, and the public addresses of the exposed services.
//! Out:   an address for each way in.
//! Never: one without a listener.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use byway_link::CarrierKind;

use super::ground::Ground;
use super::ports::Ports;
use super::running::Running;

/// The addresses that the demo's nodes listen on, and the public names and ports of its services.
#[derive(Clone, Debug)]
pub(super) struct Addresses {
    /// The edge.
    pub(super) edge: SocketAddr,
    /// The egress without a password.
    pub(super) open: SocketAddr,
    /// The egress with one.
    pub(super) guarded: SocketAddr,
    /// The forward to the origin's HTTP.
    pub(super) http: SocketAddr,
    /// The forward to the echo on a Unix socket.
    pub(super) echo: SocketAddr,
    /// The forward that listens on a Unix socket and leads to the echo on TCP.
    pub(super) echo_unix: PathBuf,
    /// Where agents join.
    pub(super) server: SocketAddr,
    /// Where visitors of services with a name arrive.
    pub(super) visitors: SocketAddr,
    /// Where desks join.
    pub(super) exit: SocketAddr,
    /// What is reached over QUIC.
    pub(super) quic: Linked,
    /// What is reached over TLS.
    pub(super) tls: Linked,
}

/// What is reached over links of one carrier.
#[derive(Clone, Debug)]
pub(super) struct Linked {
    /// The origin's HTTP by its name: `NAME.DOMAIN:PORT`.
    pub(super) name: String,
    /// The origin's HTTP by a port.
    pub(super) tcp: SocketAddr,
    /// The echo by a port.
    pub(super) echo: SocketAddr,
    /// The egress that goes out through the exit.
    pub(super) desk: SocketAddr,
}

impl Addresses {
    /// Of these ports, and of the services that `inside` exposes.
    ///
    /// # Errors
    /// When a service of the demo's own config is not among them.
    pub(super) fn new(ports: Ports, ground: &Ground, inside: &Running) -> anyhow::Result<Self> {
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Ok(Self {
            edge: at(ports.edge),
            open: at(ports.open),
            guarded: at(ports.guarded),
            http: at(ports.http),
            echo: at(ports.echo),
            echo_unix: ground.echo_unix(),
            server: at(ports.server),
            visitors: at(ports.visitors),
            exit: at(ports.exit),
            quic: Linked::new(CarrierKind::Quic, at(ports.desk_quic), inside)?,
            tls: Linked::new(CarrierKind::Tls, at(ports.desk_tls), inside)?,
        })
    }

    /// What is reached over `carrier`.
    pub(super) fn over(&self, carrier: CarrierKind) -> &Linked {
        match carrier {
            CarrierKind::Quic => &self.quic,
            CarrierKind::Tls => &self.tls,
        }
    }
}

impl Linked {
    fn new(carrier: CarrierKind, desk: SocketAddr, inside: &Running) -> anyhow::Result<Self> {
        Ok(Self {
            name: inside.public_name(&format!("app-{carrier}"))?,
            tcp: inside.public_port(&format!("tcp-{carrier}"))?,
            echo: inside.public_port(&format!("echo-{carrier}"))?,
            desk,
        })
    }
}
