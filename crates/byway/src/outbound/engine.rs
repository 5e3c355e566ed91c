//! Engine: what opens connections to upstreams and targets, and keeps them.
//!
//! In:    made once by `node` from the first Plan; a reload replaces the dialler, and the
//!        state of routes follows it.
//! Out:   the dialler, the pool, the state of routes that outlives a reload, the links to
//!        open streams on.
//! Never: decides, and never locks on the data path.

use std::sync::Arc;

use arc_swap::ArcSwap;
use byway_dial::{ClientId, Dialler, Family, Options, Resolver};
use byway_pool::{InvalidLimits, Pool};
use byway_relay::FairPermits;
use byway_relay::spill::{self, SpillDirError};
use byway_relay::{RelayCounters, SpillBudget, SpillOptions, SpillPool};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::link_table::LinkTable;
use super::pooled::{PoolKey, UpstreamPool};
use super::route_states::RouteStates;
use super::spill_log;
use super::tunnel_permits::TunnelPermits;
use super::upgrades::Upgrades;
use super::upstream_tls::UpstreamTls;
use crate::config::{self, Plan, ResolverKind, Role, Serves, SpillMode};
use crate::live::Live;
use crate::observe::telemetry::Telemetry;

/// What a node opens connections to upstreams and targets with, and what keeps them: the dialler,
/// the pool, the links, and the state that outlives a reload.
pub struct Engine {
    /// The Plan in force.
    pub live: Arc<Live>,
    /// Counters and logs.
    pub telemetry: Arc<Telemetry>,
    /// From a target to a stream. Its resolver is kept over reloads, with its cache.
    pub dialler: ArcSwap<Dialler>,
    /// HTTP connections to upstreams.
    pub pool: UpstreamPool,
    /// How many upgraded connections each upstream has.
    pub upgrades: Upgrades,
    /// The descriptors of tunnels on streams of HTTP/2 and HTTP/3.
    pub tunnel_permits: TunnelPermits,
    /// The TLS client of all upstreams.
    pub upstream_tls: UpstreamTls,
    /// The state of routes that outlives a reload.
    pub route_states: RouteStates,
    /// The links that streams are opened on.
    pub link_table: LinkTable,
    /// Where slow readers' bytes are parked; `None` when spilling is off.
    pub spill: Option<SpillOptions>,
    /// What relays count.
    pub relay_counters: Arc<RelayCounters>,
}

/// Permits for descriptors that the engine takes.
pub struct EnginePermits {
    /// For connection attempts beside the first of each dial.
    pub attempts: Arc<Semaphore>,
    /// For spill files.
    pub spill_files: FairPermits<ClientId>,
    /// For tunnels on streams of HTTP/2 and HTTP/3.
    pub tunnels: TunnelPermits,
}

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The spill folder cannot be used.
    #[error("{0} ({SPILL_SETTINGS})")]
    Spill(#[from] SpillDirError),
    /// The pool's limits contradict each other.
    #[error("[pool]: {0}")]
    Pool(#[from] InvalidLimits),
    /// The system refuses what the spill needs.
    #[error("cannot prepare the spill: {0} ({SPILL_SETTINGS})")]
    Io(#[from] std::io::Error),
}

/// What an operator can change about the spill.
const SPILL_SETTINGS: &str =
    "by spill.directory or --state; with spill.mode = \"off\" none is needed";

impl Engine {
    /// For the Plan in force in `live`. Names are resolved on `runtime`.
    ///
    /// # Errors
    /// [`EngineError`].
    pub fn new(
        live: Arc<Live>,
        telemetry: Arc<Telemetry>,
        link_table: LinkTable,
        runtime: &Handle,
        permits: EnginePermits,
    ) -> Result<Self, EngineError> {
        let plan = live.plan();
        let dialler =
            dialler(&plan, resolver(&plan, runtime)).with_spare_attempts(permits.attempts);
        let shards = plan.workers.get();
        Ok(Self {
            dialler: ArcSwap::from_pointee(dialler),
            pool: Pool::with_sessions(pool_limits(&plan), shards, None)?,
            upgrades: Upgrades::new(&plan.pool, shards)?,
            tunnel_permits: permits.tunnels,
            upstream_tls: UpstreamTls::default(),
            route_states: RouteStates::new(&plan),
            link_table,
            spill: spill(&plan, permits.spill_files)?,
            relay_counters: Arc::default(),
            live,
            telemetry,
        })
    }

    /// Follows a new Plan, whose predecessor is still in force: a new dialler, which keeps the
    /// resolver if that is of the same kind, and state for new routes.
    pub fn prepare(&self, plan: &Plan, runtime: &Handle, attempts: Arc<Semaphore>) {
        let resolver = match plan.dial.resolver == self.live.peek().dial.resolver {
            true => self.dialler.load().resolver().clone(),
            false => resolver(plan, runtime),
        };
        let dialler = dialler(plan, resolver).with_spare_attempts(attempts);
        self.dialler.store(Arc::new(dialler));
        self.upstream_tls.reload();
        self.route_states.follow(plan);
    }

    /// Evicts upstream connections that no route of the Plan in force uses; those in use close when
    /// they are returned.
    pub fn evict_unused(&self) {
        let plan = self.live.plan();
        let kept = |origin: &PoolKey| match origin {
            PoolKey::Upstream(id) => upstream_ids(&plan).any(|kept| kept == id),
            PoolKey::Egress { generation, .. } => *generation == plan.generation,
            // It is evicted with its session.
            PoolKey::Service(_) => true,
        };
        for origin in self.pool.stats().origins {
            if !kept(&origin.key) {
                self.pool.evict_key(&origin.key);
            }
        }
    }

    /// Gives out no more connections.
    pub fn close(&self) {
        self.pool.close();
        self.upgrades.close();
    }
}

fn upstream_ids(plan: &Plan) -> impl Iterator<Item = &Arc<str>> {
    plan.routes()
        .flat_map(|route| &route.upstreams)
        .map(|upstream| &upstream.id)
}

/// One for the node: all workers share its cache and its limits. Sockets and timers belong to
/// `runtime`.
pub fn resolver(plan: &Plan, runtime: &Handle) -> Resolver {
    let sockets = plan.descriptors.shares.names;
    match plan.dial.resolver {
        ResolverKind::Dns => Resolver::dns_within(sockets, runtime.clone()),
        ResolverKind::System => Resolver::system_within(sockets, runtime.clone()),
    }
}

/// A dialler as `plan` wants it.
pub fn dialler(plan: &Plan, resolver: Resolver) -> Dialler {
    let options = Options {
        family: match plan.dial.family {
            config::Family::Any => Family::Any,
            config::Family::V4 => Family::V4,
            config::Family::V6 => Family::V6,
        },
        local_address: plan.dial.local_address.map(Into::into),
        connect_timeout: plan.dial.connect_timeout,
        attempt_delay: plan.dial.attempt_delay,
        ..Options::default()
    };
    Dialler::new(resolver, options)
}

/// The pool limits of a Plan without client listeners were not lowered, and a reload may add such
/// listeners.
pub fn pool_limits(plan: &Plan) -> byway_pool::Limits {
    let pool = &plan.pool;
    let max_total = pool.max_total.min(plan.descriptors.shares.pooled);
    let max_per_origin = pool.max_per_origin.min(max_total);
    byway_pool::Limits {
        max_total,
        max_per_origin,
        max_idle_per_origin: max_per_origin,
        idle_timeout: pool.idle_timeout,
        queue_len: pool.queue,
        queue_wait: pool.queue_wait,
        // They use a slot of `Upgrades`.
        count_upgraded: false,
        ..byway_pool::Limits::default()
    }
}

/// Prepares the spill, only for a node that may need it.
fn spill(plan: &Plan, files: FairPermits<ClientId>) -> Result<Option<SpillOptions>, EngineError> {
    let wanted = plan.roles().any(|role| match role {
        Role::Egress(egress) => egress.spill,
        Role::Link(link) => matches!(&link.serves, Serves::Exit(egress) if egress.spill),
        _ => false,
    });
    if !wanted || plan.spill.mode == SpillMode::Off {
        return Ok(None);
    }
    let directory = &plan.spill.directory;
    match spill::prepare(directory) {
        Err(error) if error.may_pass() => tracing::warn!(
            "{error} ({SPILL_SETTINGS}); until streams can write there, their senders wait for slow readers"
        ),
        prepared => prepared?,
    }
    if let Some(warning) = spill::warn_if_memory(directory) {
        tracing::warn!("{warning}");
    }
    let budget = match plan.spill.per_node {
        Some(bytes) => SpillBudget::of(bytes),
        None => SpillBudget::for_directory(directory)?,
    };
    let budget = Arc::new(budget.with_files(files));
    let pool = SpillPool::start(directory, budget, spill_log::report)?;
    Ok(Some(SpillOptions {
        ring_bytes: usize::try_from(plan.spill.memory).unwrap_or(usize::MAX),
        stream_bytes: plan.spill.per_stream,
        ..SpillOptions::new(pool)
    }))
}
