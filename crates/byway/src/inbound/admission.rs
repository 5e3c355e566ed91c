//! Admission: the permits that all listeners of a node share, so that accepted connections leave descriptors to everything
//! else: connections to upstreams, links, grants, spilled bytes and logs.
//!
//! In:    the shares of the Plan.
//! Out:   a permit for each accepted connection, beside the one of its listener.
//! Never: lets visitors take what is kept for links, or for the metrics.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::lobby::{Lobby, STRANGERS};
use crate::config::Role;
use crate::os::descriptors::Shares;

/// Connections that the listeners of the metrics may have open together. They are part of the reserve.
const METRICS: usize = 16;

/// See the head of the file.
#[derive(Debug)]
pub struct Admission {
    visitors: Arc<Semaphore>,
    links: Arc<Semaphore>,
    lobby: Lobby,
    metrics: Arc<Semaphore>,
}

impl Admission {
    /// What `shares` allow.
    pub fn new(shares: &Shares) -> Self {
        let permits = |most: usize| Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        // Links that are welcome take nothing from those that nobody knows yet, and the other way round.
        let strangers = STRANGERS.min(shares.links / 4).max(1);
        let members = shares.links.saturating_sub(strangers).max(1);
        let lobby = Lobby::new(strangers);
        Self { visitors: permits(shares.accepted), links: permits(members), lobby, metrics: permits(METRICS) }
    }

    /// Connections at the ports of links that nobody has welcomed yet.
    pub const fn lobby(&self) -> &Lobby {
        &self.lobby
    }

    /// Whether `permits` are those of links: they are for connections that were welcomed, and not for new ones.
    pub fn are_of_links(&self, permits: &Arc<Semaphore>) -> bool {
        Arc::ptr_eq(&self.links, permits)
    }

    /// The permits for connections of a listener with this role.
    pub fn of(&self, role: &Role) -> Arc<Semaphore> {
        Arc::clone(match role {
            Role::Link(_) => &self.links,
            Role::Metrics => &self.metrics,
            Role::Edge(_) | Role::Egress(_) | Role::Forward(_) | Role::Exposed(_) | Role::Joined(_) => &self.visitors,
        })
    }
}
