//! Shared: what every connection of a node may use.
//!
//! In:    made once by `node`; the Plan and what hangs on it are swapped whole on reload.
//! Out:   the Plan in force, the one dialler, the one pool, the spill budget, the counters.
//! Never: decides, and never locks on the data path.

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
    /// The Plan in force. Connections read it again between requests.
    pub plan: ArcSwap<Plan>,
    /// The addresses that this node listens on, which its egress must not be led back to.
    pub own: ArcSwap<Arc<[SocketAddr]>>,
    /// From a target to a stream. Its resolver is kept over reloads, with its cache.
    pub dialler: ArcSwap<Dialler>,
    /// HTTP connections to upstreams.
    pub pool: Pool<PoolKey, Conn>,
    /// How many upgraded connections each upstream has.
    pub upgrades: Upgrades,
    /// What all listeners together may accept.
    pub admission: Admission,
    /// How many requests without a route may be sent again; a route has its own.
    pub retries: RetryBudget,
    /// Where slow readers' bytes are parked; `None` when spilling is off.
    pub spill: Option<SpillOptions>,
    /// What the node counts.
    pub counters: Arc<Counters>,
    /// What each runtime counts and writes down: those of the workers, and the shared one's.
    pub worker_stats: Vec<Arc<WorkerStats>>,
    /// Where lines for requests go.
    pub access: AccessLog,
    /// What its relays count.
    pub relay_counters: Arc<RelayCounters>,
    /// Trust in upstreams' certificates; loaded when the first `https://` upstream is dialled.
    pub tls: OnceLock<TlsClient>,
    /// The sessions of this node, and who may have one.
    pub links: Links,
    /// What serves a session and is no worker's own.
    pub links_scope: Scope,
    /// One a worker: where a stream that came over a link is relayed.
    pub scopes: Vec<Scope>,
    /// How many connections each worker has open.
    pub loads: WorkerLoads,
    /// Where each listener of the Plan really listens.
    pub listening: Mutex<HashMap<ListenerKey, Arc<Bind>>>,
}

impl Shared {
    /// Makes `own` what this node listens on now.
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
