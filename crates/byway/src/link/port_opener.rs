//! Port opener: how an accepted session opens the ports of its services. `inbound` implements it.
//!
//! In:    an address that a session has claimed, or wants to claim.
//! Out:   an open port that leads to the name; or why there is none.
//! Never: decides who may have a port: the registry does.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use byway_link::lease::NAMES_A_TENANT;
use byway_link::{GrantId, Name};

use crate::config::LimitsPlan;

/// Opens and closes the public ports of exposed services for accepted sessions. `inbound`
/// implements it.
pub trait PortOpener: Send + Sync {
    /// Opens the port of a name that `tenant` has claimed, unless it is open already.
    ///
    /// # Errors
    /// [`NotOpen`]; then no port was opened.
    fn open(
        self: Arc<Self>,
        address: SocketAddr,
        tenant: GrantId,
        limits: &LimitsPlan,
    ) -> Result<(), NotOpen>;

    /// Binds a port chosen by the system for `tenant`, which must claim it before it is served.
    ///
    /// # Errors
    /// [`NotOpen`].
    fn bind_any(
        self: Arc<Self>,
        ip: IpAddr,
        tenant: GrantId,
    ) -> Result<Box<dyn UnclaimedPort>, NotOpen>;

    /// Closes the port of a name that has no holder and will have none: it was given up, or its
    /// grant was revoked.
    fn close(&self, name: &Name);

    /// No session has the names now: their ports are held open for a while.
    fn away(&self, names: &[Name]);
}

/// A port that is bound and not served. Dropping it closes it.
pub trait UnclaimedPort: Send {
    /// Where it is bound.
    fn address(&self) -> SocketAddr;

    /// Serves it for the tenant that has claimed it.
    fn serve(self: Box<Self>, limits: &LimitsPlan);
}

/// How many ports one tenant may have open at once, held or not.
pub const PORTS_A_TENANT: usize = NAMES_A_TENANT;

/// Why a port is not open.
#[derive(Debug, thiserror::Error)]
pub enum NotOpen {
    /// Another program has it.
    #[error("the port is in use by another program on the server")]
    InUse,
    /// Another listener of this node has it.
    #[error("the server itself listens on the port")]
    OwnListener,
    /// The tenant has used its share of ports.
    #[error("this grant has {PORTS_A_TENANT} ports open already")]
    TooMany,
    /// The descriptors for public ports are in use, or the part of them that one grant may have.
    #[error(
        "the server has no room for another port of this grant: {open} of {most} public ports are open, and a grant gets at \
         most half of what the others leave; close one, or raise the limit of open files there (ulimit -n, LimitNOFILE=)"
    )]
    NoRoom {
        /// Ports whose agents are connected.
        open: usize,
        /// How many the descriptors allow.
        most: usize,
    },
    /// The system refuses to open it.
    #[error("the server cannot open the port at the moment; its log says why")]
    Failed,
}
