//! Inquiry: what an inbound has understood of a connection or of a request, before anything was
//! decided.
//!
//! In:    the Plan in force, the listener's role, the peer, the user, and what is asked for.
//! Out:   the one argument of `policy::decide`.
//! Never: owns text of the request; it lives for one decision.

use std::net::SocketAddr;
use std::sync::Arc;

use byway_dial::Target;

use crate::config::{Plan, Role, ServicePlan};

/// One question to route and policy.
#[derive(Clone, Copy)]
pub struct Inquiry<'a> {
    /// The Plan that answers it.
    pub plan: &'a Arc<Plan>,
    /// What the listener is for.
    pub role: &'a Role,
    /// Who connected; `None` on a Unix socket.
    pub peer: Option<SocketAddr>,
    /// Who logged in.
    pub user: Option<&'a Arc<str>>,
    /// This node's own listeners, which an egress must not be led back to.
    pub own: &'a Arc<[SocketAddr]>,
    /// What is asked for.
    pub ask: Ask<'a>,
}

/// What is asked for.
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
    /// Whatever the listener leads to (TCP forward, the public port of an exposed service).
    Fixed,
}
