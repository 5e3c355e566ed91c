//! Node: connects the stages, owns the task tree, applies a new Plan. Decides nothing.
//!
//! In:    a Plan.
//! Out:   listeners that serve, until the node drains.
//! Never: serves partially: everything is bound before anything accepts.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use byway_http::h2::BufferBudget;
use byway_relay::splice;
use parking_lot::Mutex;
use tokio::time::timeout;

use crate::config::{
    Bind, Diff, FrontendKind, FrontendPlan, ListenerKey, ListenerPlan, Plan, Role, Serves,
    StartSettings,
};
use crate::inbound::admission::Admission;
use crate::inbound::bind::{self, BindError, Bound, Socket, SocketFile};
use crate::inbound::context::NodeContext;
use crate::inbound::http3_listener;
use crate::inbound::link::serve_udp;
use crate::inbound::listener::{ListenerContext, ListenerGroup};
use crate::inbound::public_ports::OpenPorts;
use crate::inbound::worker_balance::WorkerLoads;
use crate::link::grants::Purpose;
use crate::link::join_file::JoinFile;
use crate::link::outgoing::{LinkNode, OutgoingLink};
use crate::link::registry::ServiceRegistry;
use crate::link::writer::JoinRequest;
use crate::link::{LinkSetupError, Links, revocation};
use crate::live::{ListenerSettings, Live};
use crate::observe::access::AccessLogError;
use crate::observe::telemetry::Telemetry;
use crate::os::inherit::Inherited;
use crate::outbound::Engine;
use crate::outbound::engine::{EngineError, EnginePermits, pool_limits};
use crate::outbound::link_table::LinkTable;
use crate::runtime::scope::StopSignals;
use crate::runtime::worker::Workers;
use crate::tls::{NodeTls, TlsSetupError};

/// A running node.
pub struct Node {
    context: Arc<NodeContext>,
    workers: Workers,
    stop: StopSignals,
    serving: Mutex<Vec<Serving>>,
    /// The settings that a reload does not change.
    started: StartSettings,
    /// Whether a user at a terminal can act on failures: see [`OutgoingLink::run`].
    interactive: bool,
}

/// One running listener.
struct Serving {
    key: Arc<ListenerKey>,
    /// The address it listens on.
    address: Arc<Bind>,
    name: Arc<str>,
    kind: FrontendKind,
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
    /// The spill folder, or the limits of the pool.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The access log cannot be written.
    #[error(transparent)]
    Access(#[from] AccessLogError),
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsSetupError),
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
        let bound = bind_all(plan.keyed_listeners(), plan.workers.get(), inherited, &[])?;
        let telemetry = Arc::new(Telemetry::new(plan.workers.get()));
        let stop = StopSignals::default();
        let workers = Workers::start(plan.workers, &stop, &telemetry.on_panic())?;
        let started = plan.start_settings();
        let context = Arc::new(context(plan, &workers, telemetry)?);
        let node = Self {
            context,
            workers,
            stop,
            serving: Mutex::default(),
            started,
            interactive,
        };
        // What links need is created before anything is served. If that fails, everything is
        // released again.
        let ready = node.prepare_links(&node.live().peek(), bound, follows);
        let ready = ready.and_then(|bound| node.begin_access_log().map(|()| bound));
        let ready = ready.and_then(|bound| {
            let tls = &node.context.tls;
            tls.apply(tls.prepare(&node.live().peek())?);
            Ok(bound)
        });
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
        node.start_links(&node.live().peek());
        Ok(node)
    }

    fn begin_access_log(&self) -> Result<(), NodeError> {
        self.set_access_log(&self.live().plan())
    }

    fn set_access_log(&self, plan: &Plan) -> Result<(), NodeError> {
        let telemetry = &self.context.engine.telemetry;
        let access = &telemetry.access;
        Ok(access.begin(access.prepare(&plan.log)?, telemetry.all_stats())?)
    }

    /// Opens the access log again by its name, after log rotation.
    pub fn reopen_access_log(&self) {
        self.context.engine.telemetry.access.reopen();
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

    /// What the listeners of the node have in common.
    pub fn context(&self) -> &Arc<NodeContext> {
        &self.context
    }

    /// The Plan in force.
    pub fn live(&self) -> &Live {
        &self.context.engine.live
    }

    /// The links of the node.
    pub fn links(&self) -> &Arc<Links> {
        &self.context.links
    }

    /// The runtime for work that does not belong to one connection.
    pub fn runtime(&self) -> &tokio::runtime::Handle {
        self.workers.shared().runtime()
    }

    /// Applies a new Plan: binds new listeners, drains removed ones, and keeps those that both
    /// have. Connections use the new Plan from their next request. Returns what changed.
    ///
    /// # Errors
    /// [`BindError`], [`AccessLogError`], [`TlsSetupError`]; then the old Plan stays in force as a whole.
    pub fn apply(&self, mut plan: Plan) -> Result<Diff, NodeError> {
        let mut serving = self.serving.lock();
        let old = self.live().plan();
        plan.generation = old.generation + 1;
        let diff = Diff::between(&old, &plan);
        let new = plan
            .keyed_listeners()
            .filter(|(key, _)| !serving.iter().any(|s| *s.key == *key));
        let own = self.live().own_addresses();
        let own: Vec<Bind> = own.iter().copied().map(Bind::Tcp).collect();
        let inherited = &mut Inherited::default();
        let mut bound = bind_all(new, self.workers.count(), inherited, &own)?;
        for s in serving.iter() {
            let switches_http3 = plan.tls.settings.http3 != old.tls.settings.http3;
            if let Some(listener) = plan.listener(&s.key).filter(|listener| {
                listener.frontend.kind() != s.kind || s.kind.tls && switches_http3
            }) {
                bound.push(ToServe::kept(s, listener)?);
            }
        }
        let tls = self.context.tls.prepare(&plan)?;
        let bound = self.prepare_links(&plan, bound, false)?;
        if plan.log != old.log {
            self.set_access_log(&plan)?;
        }
        let plan = Arc::new(plan);
        self.start_links(&plan);
        self.share_descriptors(&plan);
        let engine = &self.context.engine;
        let attempts = Arc::clone(self.context.admission.attempts());
        engine.prepare(&plan, self.runtime(), attempts);
        self.context.tls.apply(tls);
        engine.live.set_plan(Arc::clone(&plan));
        serving.retain(|s| {
            let kept = plan.listener(&s.key).is_some();
            if !kept {
                s.listener.drain();
                engine.live.remove_listener(&s.key);
            }
            kept
        });
        self.serve(&mut serving, bound);
        drop(serving);
        self.links().follow(&plan);
        engine.evict_unused();
        for worker_stats in engine.telemetry.all_stats() {
            worker_stats.retain(|name| {
                plan.listeners
                    .iter()
                    .any(|listener| *listener.frontend.name == *name)
            });
        }
        if plan.descriptors.lowered != old.descriptors.lowered {
            for lowered in &plan.descriptors.lowered {
                tracing::debug!("{lowered}");
            }
        }
        for what in self.started.changed(&plan.start_settings()) {
            tracing::warn!("{what} has changed: it takes effect at the next start");
        }
        Ok(diff)
    }

    /// Sets the shares of descriptors as a start with `plan` would, except for those of the pool
    /// and of name look-ups.
    fn share_descriptors(&self, plan: &Plan) {
        splice::allow(plan.descriptors.shares.pipes / self.workers.count());
        for excess in self.context.admission.apply(&plan.descriptors.shares) {
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

    fn serve(&self, serving: &mut Vec<Serving>, bound: Vec<ToServe>) {
        for ToServe {
            key,
            frontend,
            address,
            sockets,
            quic,
            ..
        } in bound
        {
            let (key, address) = (Arc::new(key), Arc::new(address));
            let kind = frontend.kind();
            if frontend.role == Role::Metrics && !address.is_local() {
                tracing::warn!(
                    "metrics can be read from other machines, without a password, at {address}"
                );
            }
            let (limit, admission) = (frontend.limits.connections, &self.context.admission);
            let admit = admission.of(&frontend.role, limit);
            self.live()
                .add_listener(ListenerKey::clone(&key), Arc::clone(&address));
            let settings = ListenerSettings::Listener {
                key: Arc::clone(&key),
                kind,
            };
            let contexts =
                ListenerContext::on_all_workers(&self.context, &settings, &address, &admit);
            let mut quic = quic;
            if let (Role::Link(_), Bind::Tcp(udp), Some(context)) =
                (&frontend.role, &*address, contexts.first())
            {
                self.links().scope.spawn(
                    "quic listener",
                    serve_udp(quic.take(), *udp, Arc::clone(context)),
                );
            }
            let transport = &frontend.transport;
            if let (true, Bind::Tcp(udp), Some(context)) = (
                http3_listener::is_wanted(&self.live().peek(), &frontend.role, transport),
                &*address,
                contexts.first(),
            ) {
                let scope = context.connection_context.scope.clone();
                // Bound before the node is ready, if it can be.
                let bound = http3_listener::bind(*udp, contexts.len());
                let serving = http3_listener::serve(*udp, bound, contexts.clone());
                scope.spawn("http3 port", serving);
            }
            let name = Arc::clone(&frontend.name);
            match sockets {
                Some((sockets, file)) => {
                    let listener = ListenerGroup::new(sockets, contexts);
                    serving.push(Serving {
                        key,
                        address,
                        name,
                        kind,
                        listener,
                        _file: file,
                    });
                }
                None => {
                    if let Some(kept) = serving.iter_mut().find(|s| s.key == key) {
                        (kept.name, kept.kind) = (name, kind);
                        kept.listener.replace(contexts);
                    }
                }
            }
        }
    }

    /// Creates what the links of `plan` need: the key, the epoch if any is dialled, QUIC for every
    /// link listener in `bound`; and writes the join files of those.
    fn prepare_links(
        &self,
        plan: &Plan,
        bound: Vec<ToServe>,
        follows: bool,
    ) -> Result<Vec<ToServe>, NodeError> {
        let links = self.links();
        if !plan.joins.is_empty() {
            links.key()?;
            links.epoch()?;
        }
        let purposes: Vec<Purpose> = plan
            .listeners
            .iter()
            .filter_map(|listener| purpose_of(&listener.frontend.role))
            .collect();
        let prepared = bound.into_iter().map(|mut serve| {
            let (Role::Link(link), Bind::Tcp(address)) = (&serve.frontend.role, &serve.address)
            else {
                return Ok(serve);
            };
            let Some(purpose) = purpose_of(&serve.frontend.role) else {
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
                Arc::clone(&serve.frontend.name),
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
        let node = LinkNode {
            links: Arc::clone(self.links()),
            streams: Arc::clone(&self.context) as _,
            interactive: self.interactive,
        };
        self.links().begin(plan, |outgoing: Arc<OutgoingLink>| {
            let scope = &self.links().scope;
            scope.spawn("link", outgoing.run(node.clone()));
        });
    }

    /// Starts the periodic tasks: they close pooled connections and public ports whose time is
    /// over, and detect revoked grants and the end of an earlier process.
    fn start_maintenance(&self) {
        let context = Arc::clone(&self.context);
        self.watch("grants", async move {
            revocation::watch(&context.links, &*context).await;
        });
        let context = Arc::clone(&self.context);
        self.watch("take-over", async move {
            context.links.writer.take_over().await;
        });
        let context = Arc::clone(&self.context);
        self.watch("public ports", async move {
            context.close_held_ports().await;
        });
        let context = Arc::clone(&self.context);
        self.watch("certificates", async move {
            watch_certificates(&context).await;
        });
        if let Some(authorities) = self.context.tls.authorities().cloned() {
            self.watch("authorities", async move { authorities.run().await });
        }
        let (context, scope) = (Arc::clone(&self.context), self.workers.shared().clone());
        self.workers.shared().spawn("pool expiry", async move {
            let pool = &context.engine.pool;
            let expiring = async {
                loop {
                    tokio::time::sleep(EXPIRY_TICK).await;
                    pool.expire(tokio::time::Instant::now().into());
                }
            };
            tokio::select! {
                () = expiring => {}
                // An idle connection to a service would delay the end of the session that it runs
                // over.
                () = scope.drained() => pool.keep_nothing(),
            }
        });
    }

    /// Runs `task` on the shared runtime until the node drains.
    fn watch(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let scope = self.workers.shared().clone();
        self.workers.shared().spawn(name, async move {
            tokio::select! {
                () = task => {}
                () = scope.drained() => {}
            }
        });
    }

    /// Stops accepting, lets open connections finish for as long as the Plan allows, then cuts the
    /// rest. Returns how many connections were cut.
    pub async fn drain(&self) -> usize {
        self.stop.draining.raise();
        self.links().writer.hand_over().await;
        let time_limit = self.live().peek().drain.deadline;
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
        let engine = Arc::clone(&self.context.engine);
        engine.close();
        self.workers.join();
        engine.telemetry.access.close();
    }
}

/// A lowered default gets a warning only if it is below the default limit of one address.
const FEW: usize = 1024;

/// Reads certificates again when their files change.
async fn watch_certificates(context: &Arc<NodeContext>) {
    loop {
        let interval = context.engine.live.peek().tls.settings.reload_interval;
        tokio::time::sleep(interval).await;
        if !context.tls.has_files() {
            continue;
        }
        let tls = Arc::clone(&context.tls);
        // A panic in it is no reason to stop watching.
        let _ = tokio::task::spawn_blocking(move || tls.refresh()).await;
    }
}

/// Logs which limits are lowered for lack of descriptors.
fn note_lowered(plan: &Plan) {
    for lowered in &plan.descriptors.lowered {
        match lowered.written || lowered.to < FEW {
            true => tracing::warn!("{lowered}"),
            false => tracing::debug!("{lowered}"),
        }
    }
}

/// How often idle pooled connections are checked.
const EXPIRY_TICK: Duration = Duration::from_secs(1);

/// How long cut tasks may take to end.
const CUT_TIMEOUT: Duration = Duration::from_secs(1);

/// A bound listener that is not served yet, or not in this role.
struct ToServe {
    key: ListenerKey,
    frontend: Arc<FrontendPlan>,
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
        let udp = match (&plan.frontend.role, &*serving.address) {
            (Role::Link(_), Bind::Tcp(address)) => bind_udp(*address)?,
            _ => None,
        };
        let (key, address) = (
            ListenerKey::clone(&serving.key),
            Bind::clone(&serving.address),
        );
        Ok(Self {
            key,
            frontend: Arc::clone(&plan.frontend),
            address,
            sockets: None,
            udp,
            quic: None,
        })
    }
}

/// `own`: where the node listens already.
fn bind_all<'p>(
    listeners: impl Iterator<Item = (ListenerKey, &'p Arc<ListenerPlan>)>,
    workers: usize,
    inherited: &mut Inherited,
    own: &[Bind],
) -> Result<Vec<ToServe>, BindError> {
    let bound = listeners.map(|(key, plan)| {
        let bound = match &plan.frontend.role {
            Role::Link(_) => bind_with_udp(&plan.bind, workers, inherited),
            _ => bind::bind(&plan.bind, workers, inherited).map(|bound| (bound, None)),
        };
        let (bound, udp) = bound.map_err(|error| {
            let held_by = |error: BindError, own: &Bind| error.held_by(&plan.bind, own);
            own.iter().fold(error, held_by)
        })?;
        let Bound {
            address,
            sockets,
            file,
        } = bound;
        Ok(ToServe {
            key,
            frontend: Arc::clone(&plan.frontend),
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

fn context(
    plan: Plan,
    workers: &Workers,
    telemetry: Arc<Telemetry>,
) -> Result<NodeContext, NodeError> {
    let admission = Admission::new(&plan.descriptors.shares, pool_limits(&plan).max_total);
    let permits = EnginePermits {
        attempts: Arc::clone(admission.attempts()),
        spill_files: admission.spill_files().clone(),
        tunnels: admission.tunnels().clone(),
    };
    let registry = Arc::new(ServiceRegistry::new(&plan.state));
    let (held, state) = (Arc::clone(&registry), plan.state.clone());
    let table = LinkTable::new(Arc::clone(&registry) as _);
    let engine = Engine::new(
        Arc::new(Live::new(plan)),
        telemetry,
        table,
        workers.shared().runtime(),
        permits,
    )?;
    let engine = Arc::new(engine);
    let scope = workers.shared().child();
    let links = Arc::new(Links::new(Arc::clone(&engine), registry, scope));
    let services =
        Arc::new(move |host: &str| held.is_held(&byway_link::Name::Http(host.to_owned())));
    let tls = Arc::new(NodeTls::new(state, services));
    Ok(NodeContext {
        buffers: BufferBudget::default(),
        metrics: NodeContext::collectors(&engine, &links, &tls),
        tls,
        engine,
        links,
        admission,
        loads: WorkerLoads::new(workers.count()),
        scopes: workers.scopes().cloned().collect(),
        ports: OpenPorts::default(),
    })
}

/// What a listener of links is for.
fn purpose_of(role: &Role) -> Option<Purpose> {
    let Role::Link(link) = role else { return None };
    Some(match link.serves {
        Serves::Services { .. } => Purpose::Serve,
        Serves::Exit(_) => Purpose::Exit,
    })
}
