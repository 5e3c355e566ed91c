//! Admission: the permits that all listeners of a node share, so that accepted connections leave descriptors to everything
//! else: connections to upstreams, links, grants, spilled bytes and logs.
//!
//! In:    the shares of the Plan.
//! Out:   the permits of each kind of listener, and when a connection takes one: when it is accepted, or when it is welcomed
//!        as a link.
//! Never: lets visitors take what is kept for links, or for the metrics.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::lobby::{FEWEST_STRANGERS, Lobby, STRANGERS};
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
    attempts: Arc<Semaphore>,
    dialled: Arc<Semaphore>,
    shares: Shares,
}

impl Admission {
    /// What `shares` allow.
    pub fn new(shares: &Shares) -> Self {
        let permits = |most: usize| Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        // Links that are welcome take nothing from strangers, and the other way round.
        let fewest = FEWEST_STRANGERS.min(shares.links / 2);
        let strangers = STRANGERS.min(shares.links / 4).max(fewest).max(1);
        let members = shares.links.saturating_sub(strangers).max(1);
        let lobby = Lobby::new(strangers);
        Self {
            visitors: permits(shares.accepted),
            links: permits(members),
            lobby,
            metrics: permits(METRICS),
            attempts: permits(shares.attempts),
            // A reload may add the first section that dials streams.
            dialled: permits(shares.dialled.max(1)),
            shares: *shares,
        }
    }

    /// One permit for each connection attempt that a dial has open beside its first one.
    pub const fn attempts(&self) -> &Arc<Semaphore> {
        &self.attempts
    }

    /// How many public ports may be open at once on so many workers.
    pub const fn public_ports(&self, workers: usize) -> usize {
        self.shares.public_ports(workers)
    }

    /// For a stream that came over a link and is dialled. `None`: all descriptors for such streams are in use.
    pub fn dialled(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.dialled).try_acquire_owned().ok()
    }

    /// Connections at the ports of links that are not welcomed yet.
    pub const fn lobby(&self) -> &Lobby {
        &self.lobby
    }

    /// The permits for connections of a listener with this role.
    pub fn of(&self, role: &Role) -> Admit {
        match role {
            Role::Link(_) => Admit::WhenWelcomed(Arc::clone(&self.links)),
            Role::Metrics => Admit::WhenAccepted(Arc::clone(&self.metrics)),
            Role::Edge(_) | Role::Egress(_) | Role::Forward(_) | Role::Exposed(_) | Role::Joined(_) => {
                Admit::WhenAccepted(Arc::clone(&self.visitors))
            }
        }
    }
}

/// When connections of a listener take permits, and the permits that they share with other listeners.
#[derive(Clone, Debug)]
pub enum Admit {
    /// Before it is served: without permits nothing is accepted, and new connections wait in the kernel's queue.
    WhenAccepted(Arc<Semaphore>),
    /// Once it belongs to a session of a link. Until then it is a guest of the [`Lobby`], which bounds those.
    WhenWelcomed(Arc<Semaphore>),
}

impl Admit {
    /// The permits, whenever they are taken.
    pub const fn permits(&self) -> &Arc<Semaphore> {
        match self {
            Self::WhenAccepted(permits) | Self::WhenWelcomed(permits) => permits,
        }
    }
}
