//! Shared: what every connection of a node may use.
//!
//! In:    created once by `node`; the Plan and what depends on it are replaced as a whole on
//!        reload.
//! Out:   the Plan in force, the one dialler, the one pool, the spill budget, the counters.
//! Never: decides, or locks on the data path.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use byway_agent::Pool;
use byway_dial::{Dialler, Roots, TlsClient};
use parking_lot::Mutex;

use crate::config::{Bind, ListenerKey, Plan};
use crate::exchange::conn::Conn;
use crate::exchange::retry_budget::RetryBudget;
use crate::fault::{Fault, FaultKind, Who};
use crate::inbound::admission::Admission;
use crate::inbound::worker_balance::WorkerLoads;
use crate::link::Links;
use crate::observe::access::AccessLog;
use crate::observe::counters::Counters;
use crate::observe::worker_stats::WorkerStats;
use crate::outbound::pooled::PoolKey;
use crate::outbound::upgrades::Upgrades;
use crate::relay::{RelayCounters, SpillOptions};
use crate::scope::Scope;

/// See the head of the file.
pub struct Shared {
    /// The Plan in force. Connections load it again between requests.
    pub plan: ArcSwap<Plan>,
    /// The addresses that this node listens on, to which its egress must not connect.
    pub own: ArcSwap<Arc<[SocketAddr]>>,
    /// Dials targets. Its resolver is kept over reloads, with its cache.
    pub dialler: ArcSwap<Dialler>,
    /// HTTP connections to upstreams.
    pub pool: Pool<PoolKey, Conn>,
    /// Limits the upgraded connections of each upstream.
    pub upgrades: Upgrades,
    /// Limits what all listeners together may accept.
    pub admission: Admission,
    /// The retry budget of requests without a route; a route has its own.
    pub retries: RetryBudget,
    /// Where bytes for slow clients are spilled; `None` when spilling is off.
    pub spill: Option<SpillOptions>,
    /// The counters of the node.
    pub counters: Arc<Counters>,
    /// The stats of each runtime: those of the workers, and of the shared one.
    pub worker_stats: Vec<Arc<WorkerStats>>,
    /// The access log.
    pub access: AccessLog,
    /// The counters of its relays.
    pub relay_counters: Arc<RelayCounters>,
    /// Trust in upstream certificates; loaded when the first `https://` upstream is dialled.
    pub tls: OnceLock<TlsClient>,
    /// The link sessions of this node, and the grants for them.
    pub links: Links,
    /// The scope of session tasks that belong to no worker.
    pub links_scope: Scope,
    /// One per worker: where a stream of a link is relayed.
    pub scopes: Vec<Scope>,
    /// How many connections each worker has open.
    pub loads: WorkerLoads,
    /// The address that each listener of the Plan listens on.
    pub listening: Mutex<HashMap<ListenerKey, Arc<Bind>>>,
}

impl Shared {
    /// Updates `own` to what this node listens on now.
    pub fn note_own(&self) {
        let planned = self
            .listening
            .lock()
            .values()
            .filter_map(|bind| crate::node::tcp_address(bind))
            .collect::<Vec<_>>();
        let own: Arc<[SocketAddr]> = planned
            .into_iter()
            .chain(self.links.public.addresses())
            .collect();
        self.own.store(Arc::new(own));
    }

    /// The TLS side of the dialler.
    ///
    /// # Errors
    /// When the system's certificate store cannot be read.
    pub fn tls(&self) -> Result<&TlsClient, Fault> {
        if let Some(tls) = self.tls.get() {
            return Ok(tls);
        }
        let made = TlsClient::new(Roots::Platform, &[b"http/1.1"]).map_err(|error| {
            Fault::new(
                Who::Us,
                FaultKind::Internal,
                format!("cannot read the system's certificates: {error}"),
            )
        })?;
        Ok(self.tls.get_or_init(|| made))
    }
}
