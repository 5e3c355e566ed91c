//! Node: connects the stages, owns the task tree, applies a new Plan. Decides nothing.
//!
//! In:    a Plan.
//! Out:   listeners that serve, until the node drains.
//! Never: serves partially: everything is bound before anything accepts.

use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use byway_agent::Pool;
use byway_dial::{Dialler, Family, Options, Resolver};
use parking_lot::Mutex;
use tokio::time::timeout;

use crate::config::Diff;
use crate::config::{
    self, Bind, ListenerKey, ListenerPlan, Plan, ResolverKind, Role, RoleKind, Serves, SpillMode,
};
use crate::exchange::retry_budget::RetryBudget;
use crate::inbound::admission::Admission;
use crate::inbound::bind::{self, BindError, Bound, Socket, SocketFile};
use crate::inbound::ip_limit::IpLimit;
use crate::inbound::link::serve_udp;
use crate::inbound::listener::{ListenerContext, ListenerGroup};
use crate::inbound::worker_balance::WorkerLoads;
use crate::link::grants::Purpose;
use crate::link::join_file::JoinFile;
use crate::link::outgoing::OutgoingLink;
use crate::link::writer::JoinRequest;
use crate::link::{LinkSetupError, Links, revocation};
use crate::observe::access::{AccessLog, AccessLogError};
use crate::observe::counters::Counters;
use crate::os::inherit::Inherited;
use crate::outbound::pooled::PoolKey;
use crate::outbound::upgrades::Upgrades;
use crate::relay::spill::{self, SpillDirError};
use crate::relay::splice;
use crate::relay::{RelayCounters, SpillBudget, SpillOptions, SpillPool};
use crate::scope::StopSignals;
use crate::shared::Shared;
use crate::worker::Workers;

/// A running node.
pub struct Node {
    shared: Arc<Shared>,
    workers: Workers,
    stop: StopSignals,
    serving: Mutex<Vec<Serving>>,
    /// Whether a user at a terminal can act on failures: see [`OutgoingLink::run`].
    interactive: bool,
}

/// One running listener.
struct Serving {
    key: Arc<ListenerKey>,
    /// The address it listens on.
    address: Arc<Bind>,
    name: Arc<str>,
    role: RoleKind,
    listener: ListenerGroup,
    _file: Option<SocketFile>,
}

/// Where a listener of the node listens.
#[derive(Clone, Debug)]
pub struct Listening {
    /// Its name in the Plan.
    pub name: Arc<str>,
    /// The key of the listener in the Plan.
    pub key: Arc<ListenerKey>,
    /// Its address, with the chosen port instead of 0.
    pub address: Bind,
}

/// Why a node did not start, or did not apply a new Plan.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A listener could not be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The spill folder cannot be used.
    #[error(transparent)]
    Spill(#[from] SpillDirError),
    /// The pool's limits contradict each other.
    #[error("[pool]: {0}")]
    Pool(#[from] byway_agent::InvalidLimits),
    /// The access log cannot be written.
    #[error(transparent)]
    Access(#[from] AccessLogError),
    /// Keys, grants or UDP.
    #[error(transparent)]
    Link(#[from] LinkSetupError),
    /// The system refused threads.
    #[error("cannot start the workers: {0}")]
    Workers(#[from] std::io::Error),
}

impl Node {
    /// Binds every listener of `plan`, then serves on all of them.
    ///
    /// # Errors
    /// [`NodeError`]; then nothing is served and all bound sockets are released.
    pub fn start(plan: Plan, inherited: &mut Inherited) -> Result<Self, NodeError> {
        Self::start_for(plan, inherited, false)
    }

    /// The same; with `interactive`, a link failure that waiting cannot resolve ends the link and
    /// is reported ([`Links::events`]).
    ///
    /// # Errors
    /// As [`Node::start`].
    pub fn start_for(
        plan: Plan,
        inherited: &mut Inherited,
        interactive: bool,
    ) -> Result<Self, NodeError> {
        note_lowered(&plan);
        splice::allow(plan.descriptors.shares.pipes / plan.workers);
        // Sockets inherited from an earlier process of this node: that process may still run.
        let follows = !inherited.is_empty();
        let bound = bind_all(plan.keyed_listeners(), plan.workers.get(), inherited)?;
        let counters = Arc::new(Counters::default());
        let stop = StopSignals::default();
        let workers = Workers::start(plan.workers, &stop, &counters)?;
        let shared = Arc::new(share(plan, &workers, counters)?);
        let node = Self {
            shared,
            workers,
            stop,
            serving: Mutex::default(),
            interactive,
        };
        // What links need is created before anything is served. If that fails, everything is
        // released again.
        let ready = node.prepare_links(&node.shared.plan.load(), bound, follows);
        let ready = ready.and_then(|bound| node.begin_access_log().map(|()| bound));
        let bound = match ready {
            Ok(bound) => bound,
            Err(error) => {
                node.cut();
                node.join();
                return Err(error);
            }
        };
        node.serve(&mut node.serving.lock(), bound);
        node.start_maintenance();
        node.start_links(&node.shared.plan.load());
        Ok(node)
    }

    fn begin_access_log(&self) -> Result<(), NodeError> {
        let access = &self.shared.access;
        Ok(access.begin(
            access.prepare(&self.shared.plan.load().log)?,
            &self.shared.worker_stats,
        )?)
    }

    /// Opens the access log again by its name, after log rotation.
    pub fn reopen_access_log(&self) {
        self.shared.access.reopen();
    }

    /// Where the node listens, in the order of the Plan.
    pub fn listening(&self) -> Vec<Listening> {
        let serving = self.serving.lock();
        let listening = |s: &Serving| Listening {
            name: Arc::clone(&s.name),
            key: Arc::clone(&s.key),
            address: Bind::clone(&s.address),
        };
        serving.iter().map(listening).collect()
    }

    /// The state that the node shares with its connections.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The runtime for work that does not belong to one connection.
    pub fn runtime(&self) -> &tokio::runtime::Handle {
        self.workers.shared().runtime()
    }

    /// Applies a new Plan: binds new listeners, drains removed ones, and keeps those that both
    /// have. Connections use the new Plan from their next request. Returns what changed.
    ///
    /// # Errors
    /// [`BindError`], [`AccessLogError`]; then the old Plan stays in force as a whole.
    pub fn apply(&self, mut plan: Plan) -> Result<Diff, NodeError> {
        let mut serving = self.serving.lock();
        let old = self.shared.plan.load_full();
        plan.generation = old.generation + 1;
        let diff = Diff::between(&old, &plan);
        let new = plan
            .keyed_listeners()
            .filter(|(key, _)| !serving.iter().any(|s| *s.key == *key));
        let mut bound = bind_all(new, self.workers.count(), &mut Inherited::default())?;
        for s in serving.iter() {
            if let Some(listener) = plan
                .listener(&s.key)
                .filter(|listener| listener.role.kind() != s.role)
            {
                bound.push(ToServe::kept(s, listener)?);
            }
        }
        let bound = self.prepare_links(&plan, bound, false)?;
        if plan.log != old.log {
            let access = &self.shared.access;
            access.begin(access.prepare(&plan.log)?, &self.shared.worker_stats)?;
        }
        let plan = Arc::new(plan);
        self.start_links(&plan);
        let resolver = match plan.dial.resolver == old.dial.resolver {
            true => self.shared.dialler.load().resolver().clone(),
            false => resolver(&plan, self.runtime()),
        };
        self.share_descriptors(&plan);
        let spare = Arc::clone(self.shared.admission.attempts());
        self.shared.dialler.store(Arc::new(
            dialler(&plan, resolver).with_spare_attempts(spare),
        ));
        self.shared.plan.store(Arc::clone(&plan));
        serving.retain(|s| {
            let kept = plan.listener(&s.key).is_some();
            if !kept {
                s.listener.drain();
                self.shared.listening.lock().remove(&s.key);
            }
            kept
        });
        self.serve(&mut serving, bound);
        drop(serving);
        self.shared.links.follow(&plan);
        self.evict_upstreams(&plan);
        for worker_stats in &self.shared.worker_stats {
            worker_stats.retain(|name| {
                plan.listeners
                    .iter()
                    .any(|listener| *listener.name == *name)
            });
        }
        warn_of_restart(&old, &plan);
        Ok(diff)
    }

    /// Sets the shares of descriptors as a start with `plan` would, except for those of the pool
    /// and of name look-ups.
    fn share_descriptors(&self, plan: &Plan) {
        splice::allow(plan.descriptors.shares.pipes / plan.workers);
        for excess in self.shared.admission.apply(&plan.descriptors.shares) {
            let scope = self.workers.shared().clone();
            self.workers
                .shared()
                .spawn("excess connections", async move {
                    tokio::select! {
                        () = excess.retire() => {}
                        () = scope.drained() => {}
                    }
                });
        }
    }

    /// Evicts upstream connections that no route uses any more; those in use close when they are
    /// returned.
    fn evict_upstreams(&self, plan: &Plan) {
        let kept = |origin: &PoolKey| match origin {
            PoolKey::Upstream(id) => upstream_ids(plan).any(|kept| kept == id),
            PoolKey::Egress { generation, .. } => *generation == plan.generation,
            // It is evicted with its session.
            PoolKey::Service(_) => true,
        };
        for origin in self.shared.pool.stats().origins {
            if !kept(&origin.key) {
                self.shared.pool.evict_key(&origin.key);
            }
        }
    }

    fn serve(&self, serving: &mut Vec<Serving>, bound: Vec<ToServe>) {
        for ToServe {
            key,
            plan,
            address,
            sockets,
            quic,
            ..
        } in bound
        {
            let (key, address) = (Arc::new(key), Arc::new(address));
            let role = plan.role.kind();
            if plan.role == Role::Metrics && !address.is_local() {
                tracing::warn!(
                    "metrics can be read from other machines, without a password, at {address}"
                );
            }
            let admit = self
                .shared
                .admission
                .of(&plan.role, plan.limits.connections);
            self.shared
                .listening
                .lock()
                .insert(ListenerKey::clone(&key), Arc::clone(&address));
            let ip_limit = IpLimit::default();
            let mut quic = quic;
            let contexts = self.workers.scopes().enumerate().map(|(worker, scope)| {
                Arc::new(ListenerContext {
                    shared: Arc::clone(&self.shared),
                    key: Arc::clone(&key),
                    role,
                    fixed: None,
                    address: Arc::clone(&address),
                    scope: scope.child(),
                    worker,
                    pool: self.shared.pool.shard(worker),
                    admit: admit.clone(),
                    ip_limit: ip_limit.clone(),
                })
            });
            let contexts: Vec<_> = contexts.collect();
            if let (Role::Link(_), Bind::Tcp(udp), Some(context)) =
                (&plan.role, &*address, contexts.first())
            {
                self.shared.links_scope.spawn(
                    "quic listener",
                    serve_udp(quic.take(), *udp, Arc::clone(context)),
                );
            }
            let name = Arc::clone(&plan.name);
            match sockets {
                Some((sockets, file)) => {
                    let listener = ListenerGroup::new(sockets, contexts);
                    serving.push(Serving {
                        key,
                        address,
                        name,
                        role,
                        listener,
                        _file: file,
                    });
                }
                None => {
                    if let Some(kept) = serving.iter_mut().find(|s| s.key == key) {
                        (kept.name, kept.role) = (name, role);
                        kept.listener.replace(contexts);
                    }
                }
            }
        }
        self.shared.note_own();
    }

    /// Creates what the links of `plan` need: the key, the epoch if any is dialled, QUIC for every
    /// link listener in `bound`; and writes the join files of those.
    fn prepare_links(
        &self,
        plan: &Plan,
        bound: Vec<ToServe>,
        follows: bool,
    ) -> Result<Vec<ToServe>, NodeError> {
        let links = &self.shared.links;
        if !plan.joins.is_empty() {
            links.key()?;
            links.epoch()?;
        }
        let purposes: Vec<Purpose> = plan
            .listeners
            .iter()
            .filter_map(|listener| purpose_of(&listener.role))
            .collect();
        let prepared = bound.into_iter().map(|mut serve| {
            let (Role::Link(link), Bind::Tcp(address)) = (&serve.plan.role, &serve.address) else {
                return Ok(serve);
            };
            let Some(purpose) = purpose_of(&serve.plan.role) else {
                return Ok(serve);
            };
            links.writer.lock_state(purpose, follows)?;
            let acceptor = links.acceptor(&plan.link)?;
            let udp = serve.udp.take();
            let quic = udp.map(|udp| acceptor.listen_quic(udp)).transpose();
            serve.quic = quic.map_err(|source| BindError::udp(*address, source))?;
            let several = purposes.iter().filter(|other| **other == purpose).count() > 1;
            let file = JoinFile::new(links.state(), purpose, several.then_some(address.port()));
            let (listener, address) = (
                Arc::clone(&serve.plan.name),
                link.advertise.target(address.port()),
            );
            let request = JoinRequest {
                listener,
                file,
                purpose,
                pin: acceptor.pin(),
                address,
            };
            links
                .writer
                .prepare_join(&request)
                .map_err(LinkSetupError::from)?;
            Ok(serve)
        });
        prepared.collect()
    }

    /// Dials the links of `plan` that do not exist yet.
    fn start_links(&self, plan: &Plan) {
        let (shared, interactive) = (&self.shared, self.interactive);
        shared.links.begin(plan, |outgoing: Arc<OutgoingLink>| {
            shared
                .links_scope
                .spawn("link", outgoing.run(Arc::clone(shared), interactive));
        });
    }

    /// Starts the periodic tasks: they close pooled connections and public ports whose time is
    /// over, and detect revoked grants and the end of an earlier process.
    fn start_maintenance(&self) {
        let (shared, scope) = (Arc::clone(&self.shared), self.workers.shared().clone());
        self.workers.shared().spawn("grants", async move {
            tokio::select! {
                () = revocation::watch(&shared) => {}
                () = scope.drained() => {}
            }
        });
        let (shared, scope) = (Arc::clone(&self.shared), self.workers.shared().clone());
        self.workers.shared().spawn("take-over", async move {
            tokio::select! {
                () = shared.links.writer.take_over() => {}
                () = scope.drained() => {}
            }
        });
        let (shared, scope) = (Arc::clone(&self.shared), self.workers.shared().clone());
        let (links, links_scope) = (Arc::clone(&self.shared), self.workers.shared().clone());
        self.workers.shared().spawn("public ports", async move {
            tokio::select! {
                () = links.links.public.keep_house(&links) => {}
                () = links_scope.drained() => {}
            }
        });
        self.workers.shared().spawn("pool expiry", async move {
            let expiring = async {
                loop {
                    tokio::time::sleep(EXPIRY_TICK).await;
                    shared.pool.expire(tokio::time::Instant::now().into());
                }
            };
            tokio::select! {
                () = expiring => {}
                // An idle connection to a service would delay the end of the session that it runs
                // over.
                () = scope.drained() => shared.pool.keep_nothing(),
            }
        });
    }

    /// Stops accepting, lets open connections finish for as long as the Plan allows, then cuts the
    /// rest. Returns how many connections were cut.
    pub async fn drain(&self) -> usize {
        self.stop.draining.raise();
        self.shared.links.writer.hand_over().await;
        let time_limit = self.shared.plan.load().drain;
        let ended = timeout(time_limit, self.workers.ended()).await;
        let left = if ended.is_err() {
            self.workers.running()
        } else {
            0
        };
        self.cut();
        // Cut tasks end at their next poll; this only waits for that.
        let _ = timeout(CUT_TIMEOUT, self.workers.ended()).await;
        left
    }

    /// Ends everything at once: open streams reset.
    pub fn cut(&self) {
        self.stop.draining.raise();
        self.stop.cut.raise();
    }

    /// Ends the threads. Call after [`Node::drain`].
    pub fn join(self) {
        self.shared.pool.close();
        self.shared.upgrades.close();
        self.workers.join();
        self.shared.access.close();
    }
}

/// A lowered default gets a warning only if it is below the default limit of one address.
const FEW: usize = 1024;

/// Logs which limits are lowered for lack of descriptors.
fn note_lowered(plan: &Plan) {
    for lowered in &plan.descriptors.lowered {
        match lowered.written || lowered.to < FEW {
            true => tracing::warn!("{lowered}"),
            false => tracing::debug!("{lowered}"),
        }
    }
}

/// Warns about the parts of a Plan that are read only at the start of the process.
fn warn_of_restart(old: &Plan, new: &Plan) {
    let unapplied = [
        ("workers", old.workers != new.workers),
        ("[pool]", old.pool != new.pool),
        ("[spill]", old.spill != new.spill),
        (
            "limits.connections",
            old.limits.connections != new.limits.connections,
        ),
    ];
    for (what, _) in unapplied.iter().filter(|(_, changed)| *changed) {
        tracing::warn!("{what} has changed: it takes effect at the next start");
    }
}

/// How often idle pooled connections are checked.
const EXPIRY_TICK: Duration = Duration::from_secs(1);

/// How long cut tasks may take to end.
const CUT_TIMEOUT: Duration = Duration::from_secs(1);

/// A bound listener that is not served yet, or not in this role.
struct ToServe {
    key: ListenerKey,
    plan: Arc<ListenerPlan>,
    /// The address it listens on.
    address: Bind,
    /// `None` for listeners that run in another role.
    sockets: Option<(Vec<Socket>, Option<SocketFile>)>,
    /// The same port over UDP, for links; and the listener that accepts on it.
    udp: Option<UdpSocket>,
    quic: Option<byway_link::QuicListener>,
}

impl ToServe {
    /// A running listener that gets another role. Its sockets stay. UDP is bound again.
    fn kept(serving: &Serving, plan: &Arc<ListenerPlan>) -> Result<Self, BindError> {
        let udp = match (&plan.role, &*serving.address) {
            (Role::Link(_), Bind::Tcp(address)) => bind_udp(*address)?,
            _ => None,
        };
        let (key, address) = (
            ListenerKey::clone(&serving.key),
            Bind::clone(&serving.address),
        );
        Ok(Self {
            key,
            plan: Arc::clone(plan),
            address,
            sockets: None,
            udp,
            quic: None,
        })
    }
}

fn bind_all<'p>(
    listeners: impl Iterator<Item = (ListenerKey, &'p Arc<ListenerPlan>)>,
    workers: usize,
    inherited: &mut Inherited,
) -> Result<Vec<ToServe>, BindError> {
    let bound = listeners.map(|(key, plan)| {
        let (bound, udp) = match &plan.role {
            Role::Link(_) => bind_with_udp(&plan.bind, workers, inherited)?,
            _ => (bind::bind(&plan.bind, workers, inherited)?, None),
        };
        let Bound {
            address,
            sockets,
            file,
        } = bound;
        Ok(ToServe {
            key,
            plan: Arc::clone(plan),
            address,
            sockets: Some((sockets, file)),
            udp,
            quic: None,
        })
    });
    bound.collect()
}

/// TCP, and UDP on the same port. If the port that the system chose for TCP is in use over UDP,
/// another is chosen.
fn bind_with_udp(
    bind: &Bind,
    workers: usize,
    inherited: &mut Inherited,
) -> Result<(Bound, Option<UdpSocket>), BindError> {
    let mut tries = if matches!(bind, Bind::Tcp(address) if address.port() == 0) {
        PORT_TRIES
    } else {
        1
    };
    loop {
        let bound = bind::bind(bind, workers, inherited)?;
        let Bind::Tcp(address) = bound.address else {
            return Ok((bound, None));
        };
        tries -= 1;
        let udp = bind_udp(address)?;
        if udp.is_some() || tries == 0 {
            return Ok((bound, udp));
        }
    }
}

/// `None`: the port is in use over UDP. An earlier process of this node, or an earlier role of the
/// listener, may still be draining: `wait_for_udp` tries again.
fn bind_udp(address: SocketAddr) -> Result<Option<UdpSocket>, BindError> {
    match byway_link::quic::bind(address) {
        Ok(udp) => Ok(Some(udp)),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Ok(None),
        Err(error) => Err(BindError::udp(address, error)),
    }
}

/// How many ports chosen by the system are tried.
const PORT_TRIES: usize = 32;

fn share(plan: Plan, workers: &Workers, counters: Arc<Counters>) -> Result<Shared, NodeError> {
    let relay_counters = Arc::new(RelayCounters::default());
    let resolver = resolver(&plan, workers.shared().runtime());
    let pool = pool_limits(&plan);
    let admission = Admission::new(&plan.descriptors.shares, pool.max_total);
    let dialler = dialler(&plan, resolver).with_spare_attempts(Arc::clone(admission.attempts()));
    let spill = spill(&plan, &admission)?;
    Ok(Shared {
        own: ArcSwap::from_pointee(Arc::from([])),
        dialler: ArcSwap::from_pointee(dialler),
        pool: Pool::sharded(pool, plan.workers.get())?,
        upgrades: Upgrades::new(&plan.pool, plan.workers.get())?,
        admission,
        retries: RetryBudget::default(),
        spill,
        links: Links::new(&plan.state, workers.shared().runtime().clone()),
        links_scope: workers.shared().child(),
        worker_stats: workers
            .scopes()
            .chain([workers.shared()])
            .map(|scope| Arc::clone(scope.worker_stats()))
            .collect(),
        access: AccessLog::default(),
        scopes: workers.scopes().cloned().collect(),
        loads: WorkerLoads::new(workers.count()),
        listening: Mutex::default(),
        plan: ArcSwap::from_pointee(plan),
        counters,
        relay_counters,
        tls: OnceLock::new(),
    })
}

/// One for the node: all workers share its cache and its limits. Sockets and timers belong to
/// `runtime`.
pub(crate) fn resolver(plan: &Plan, runtime: &tokio::runtime::Handle) -> Resolver {
    let sockets = plan.descriptors.shares.names;
    match plan.dial.resolver {
        ResolverKind::Dns => Resolver::dns_within(sockets, runtime.clone()),
        ResolverKind::System => Resolver::system_within(sockets, runtime.clone()),
    }
}

pub(crate) fn dialler(plan: &Plan, resolver: Resolver) -> Dialler {
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
fn pool_limits(plan: &Plan) -> byway_agent::Limits {
    let pool = &plan.pool;
    let max_total = pool.max_total.min(plan.descriptors.shares.pooled);
    let max_per_origin = pool.max_per_origin.min(max_total);
    byway_agent::Limits {
        max_total,
        max_per_origin,
        max_idle_per_origin: max_per_origin,
        idle_timeout: pool.idle_timeout,
        queue_len: pool.queue,
        queue_wait: pool.queue_wait,
        // They use a slot of `Upgrades`.
        count_upgraded: false,
        ..byway_agent::Limits::default()
    }
}

/// Prepares the spill, only for a node that may need it.
fn spill(plan: &Plan, admission: &Admission) -> Result<Option<SpillOptions>, NodeError> {
    let wanted = plan.listeners.iter().any(|listener| match &listener.role {
        Role::Egress(egress) => egress.spill,
        Role::Link(link) => matches!(&link.serves, Serves::Exit(egress) if egress.spill),
        _ => false,
    });
    if !wanted || plan.spill.mode == SpillMode::Off {
        return Ok(None);
    }
    let directory = &plan.spill.directory;
    spill::prepare(directory)?;
    if let Some(warning) = spill::warn_if_memory(directory) {
        tracing::warn!("{warning}");
    }
    let budget = match plan.spill.per_node {
        Some(bytes) => SpillBudget::of(bytes),
        None => SpillBudget::for_directory(directory)?,
    };
    let budget = budget.with_files(admission.spill_files().clone());
    let pool = SpillPool::start(directory, Arc::new(budget), SpillPool::THREADS)?;
    Ok(Some(SpillOptions {
        ring_bytes: usize::try_from(plan.spill.memory).unwrap_or(usize::MAX),
        stream_bytes: plan.spill.per_stream,
        ..SpillOptions::new(pool)
    }))
}

/// What a listener of links is for.
fn purpose_of(role: &Role) -> Option<Purpose> {
    let Role::Link(link) = role else { return None };
    Some(match link.serves {
        Serves::Services { .. } => Purpose::Serve,
        Serves::Exit(_) => Purpose::Exit,
    })
}

fn upstream_ids(plan: &Plan) -> impl Iterator<Item = &Arc<str>> {
    let edges = plan
        .listeners
        .iter()
        .filter_map(|listener| match &listener.role {
            Role::Edge(edge) => Some(edge),
            _ => None,
        });
    edges
        .flat_map(|edge| &edge.routes)
        .flat_map(|route| &route.upstreams)
        .map(|upstream| &upstream.id)
}

pub(crate) fn tcp_address(bind: &Bind) -> Option<SocketAddr> {
    match bind {
        Bind::Tcp(address) => Some(*address),
        Bind::Unix(_) => None,
    }
}
