//! Context: what connections may use, whatever accepted them.
//!
//! In:    made by `node` and by the listeners; for streams of links by `link`.
//! Out:   the node's parts, the settings of the connection, its place among the workers.
//! Never: decides.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use byway_dial::Stream;
use byway_http::filter::MakeFilter;
use byway_http::h2::BufferBudget;
use byway_tls::{ClientIdentity, Session};

use super::admission::Admission;
use super::public_ports::OpenPorts;
use super::worker_balance::WorkerLoads;
use crate::config::{Bind, FrontendPlan, Plan};
use crate::link::Links;
use crate::live::{ListenerSettings, Live};
use crate::observe::access::line::TlsEntry;
use crate::observe::counters::Counters;
use crate::observe::registry::MetricsRegistry;
use crate::observe::worker_stats::WorkerStats;
use crate::outbound::Engine;
use crate::outbound::pooled::UpstreamPool;
use crate::runtime::scope::Scope;
use crate::tls::NodeTls;

/// What all listeners of a node have in common.
pub struct NodeContext {
    /// What opens streams.
    pub engine: Arc<Engine>,
    /// The sessions of this node, and who may have one.
    pub links: Arc<Links>,
    /// What all listeners together may accept.
    pub admission: Admission,
    /// How many connections each worker has open.
    pub loads: WorkerLoads,
    /// One scope for each worker; streams of links are relayed there.
    pub scopes: Vec<Scope>,
    /// The public ports of exposed services.
    pub ports: OpenPorts,
    /// The certificates, and what handshakes need.
    pub tls: Arc<NodeTls>,
    /// What all connections of HTTP/2 hold of bodies that are not passed on, and all of HTTP/2 and
    /// HTTP/3 of heads.
    pub buffers: BufferBudget,
    /// What a `[metrics]` listener prints.
    pub metrics: MetricsRegistry,
}

impl NodeContext {
    /// Everything of a node that has metrics to print.
    pub fn collectors(
        engine: &Arc<Engine>,
        links: &Arc<Links>,
        tls: &Arc<NodeTls>,
    ) -> MetricsRegistry {
        MetricsRegistry::new(vec![
            Arc::clone(&engine.telemetry) as _,
            Arc::clone(links) as _,
            Arc::clone(engine) as _,
            Arc::clone(&engine.live) as _,
            Arc::clone(tls) as _,
        ])
    }
}

/// What the connections of one socket may use.
#[derive(Clone)]
pub struct ConnectionContext {
    /// What the whole node shares.
    pub node: Arc<NodeContext>,
    /// Which settings it has.
    pub settings: ListenerSettings,
    /// Where it was accepted, for display: port 0 is replaced by the chosen port. For a stream of a
    /// link that this node dialled, the peer of the link.
    pub address: Arc<Bind>,
    /// Its task is spawned here.
    pub scope: Scope,
    /// The number of the worker that `scope` belongs to.
    pub worker: usize,
    /// What that worker counts and writes down.
    pub worker_stats: Arc<WorkerStats>,
    /// HTTP connections to upstreams, this worker's part of them.
    pub pool: UpstreamPool,
    /// What its responses say about HTTP/3.
    pub http3: Arc<Http3Offer>,
    /// Makes what changes the bodies of its responses. No route can name a filter yet.
    pub response_filter: Option<MakeFilter>,
}

impl ConnectionContext {
    /// On this worker, whose tasks `scope` owns.
    pub fn new(
        node: &Arc<NodeContext>,
        settings: ListenerSettings,
        address: Arc<Bind>,
        worker: usize,
        scope: Scope,
    ) -> Self {
        Self {
            settings,
            address,
            scope,
            worker,
            worker_stats: node.engine.telemetry.stats_of(worker),
            pool: node.engine.pool.shard(worker),
            response_filter: None,
            http3: Arc::default(),
            node: Arc::clone(node),
        }
    }

    /// What opens streams.
    pub fn engine(&self) -> &Engine {
        &self.node.engine
    }

    /// The Plan in force, and where this node listens.
    pub fn live(&self) -> &Live {
        &self.node.engine.live
    }

    /// What the node counts.
    pub fn counters(&self) -> &Counters {
        &self.node.engine.telemetry.counters
    }

    /// The Plan in force and the settings of this connection in it; `None` once a newer Plan has no
    /// such listener, or has another role for it.
    pub fn plan(&self) -> Option<(Arc<Plan>, Arc<FrontendPlan>)> {
        self.live().frontend(&self.settings)
    }
}

/// Whether the listener of a connection speaks HTTP/3, too. Its workers share one.
#[derive(Debug, Default)]
pub struct Http3Offer {
    is_offered: AtomicBool,
    alt_svc: OnceLock<Box<str>>,
}

impl Http3Offer {
    /// It does, on this UDP port. Clients may rely on it for a day, as without `ma` (RFC 7838
    /// section 3.1).
    pub fn offer(&self, port: u16) {
        self.alt_svc
            .get_or_init(|| format!("h3=\":{port}\"; ma=86400").into());
        self.is_offered.store(true, Relaxed);
    }

    /// It does not any more.
    pub fn withdraw(&self) {
        self.is_offered.store(false, Relaxed);
    }

    /// What responses say in Alt-Svc.
    pub fn alt_svc(&self) -> Option<&str> {
        match self.is_offered.load(Relaxed) {
            true => self.alt_svc.get().map(|value| &**value),
            false => None,
        }
    }
}

/// What is known of a connection.
#[derive(Clone, Debug, Default)]
pub struct ConnectionInfo {
    /// The number of the connection, starting with 1; 0 if this node dialled it.
    pub connection: u64,
    /// The address that connected; `None` on a Unix socket.
    pub peer: Option<SocketAddr>,
    /// What its TLS handshake has negotiated; `None` without TLS.
    pub tls: Option<Arc<Session>>,
}

impl ConnectionInfo {
    /// What the access log says about the TLS session.
    pub fn tls_entry(&self) -> Option<TlsEntry<'_>> {
        self.tls.as_deref().map(|session| TlsEntry {
            version: session.version_word(),
            cipher: session.cipher(),
            name: session.server_name(),
            resumed: session.is_resumed(),
            client: session.client().map(|client| &*client.subject),
        })
    }

    /// Who the client is by its certificate, if it has presented one.
    pub fn tls_client(&self) -> Option<&ClientIdentity> {
        self.tls.as_deref().and_then(Session::client)
    }
}

/// An accepted connection, before anything was read from it.
pub struct Accepted {
    /// The open stream.
    pub stream: Stream,
    /// Its number and peer.
    pub info: ConnectionInfo,
}
