//! Inquiry: what an inbound has parsed from a connection or a request, before anything was decided.
//!
//! In:    the Plan in force, the listener's role, the peer, the user and its certificate, and what is requested.
//! Out:   the one argument of `policy::decide`.
//! Never: owns text of the request; it lives for one decision.

use std::net::SocketAddr;
use std::sync::Arc;

use byway_dial::Target;
use byway_tls::ClientIdentity;

use crate::config::{Plan, Role, ServicePlan};

/// The input of one decision of route and policy.
#[derive(Clone, Copy)]
pub struct Inquiry<'a> {
    /// The Plan that decides it.
    pub plan: &'a Arc<Plan>,
    /// The role of the listener.
    pub role: &'a Role,
    /// The address that connected; `None` on a Unix socket.
    pub peer: Option<SocketAddr>,
    /// The authenticated user.
    pub user: Option<&'a Arc<str>>,
    /// Whose certificate the TLS session of the client was verified with; `None` without one, and
    /// for streams of links.
    pub client: Option<&'a ClientIdentity>,
    /// The addresses of this node's listeners, to which an egress must not connect.
    pub own: &'a Arc<[SocketAddr]>,
    /// What is requested.
    pub ask: Ask<'a>,
}

/// What is requested.
#[derive(Clone, Copy, Debug)]
pub enum Ask<'a> {
    /// A byte stream, or a request by absolute URI, to this target (egress).
    Target(&'a Target),
    /// An HTTP request to this host and path (edge).
    Request {
        /// The host without its port, as the client wrote it.
        host: &'a str,
        /// The canonical path without its query, as it will be forwarded.
        path: &'a str,
    },
    /// A service of this node that it exposes (a stream of a link that it dialled).
    Service(&'a ServicePlan),
    /// The target of the listener (TCP forward, the public port of an exposed service).
    Fixed,
}
