//! Public: the public ports of exposed TCP services: listeners that belong to a name, not to a
//! session.
//!
//! In:    a registered name, and the address of the listener of its link.
//! Out:   a listener that serves on every worker for as long as the name is held, and [`HOLD`]
//!        longer.
//! Never: closes a port because a session is gone, unless another port needs its descriptors:
//!        visitors that connect meanwhile are parked. Never opens more ports than the descriptors
//!        of the process allow.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use byway_link::lease::NAMES_A_TENANT;
use byway_link::{GrantId, Name};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use crate::config::{Bind, LimitsPlan, ListenerKey, ListenerPlan, Role, RoleKind};
use crate::inbound::bind::{self, BindError, Bound};
use crate::inbound::ip_limit::IpLimit;
use crate::inbound::listener::{ListenerContext, ListenerGroup};
use crate::observe::log_limit::LogLimit;
use crate::os::inherit::Inherited;
use crate::shared::Shared;

/// How long a port without a session stays open: as long as any config may park its visitors, and
/// as a machine takes to restart.
pub const HOLD: Duration = Duration::from_secs(300);

/// How often expired ports are looked for.
const TICK: Duration = Duration::from_secs(5);

/// See the head of the file.
#[derive(Default)]
pub struct PublicPorts {
    open: Mutex<HashMap<Name, PublicPort>>,
    /// Ports that are being bound, and are not in `open` yet.
    pending: Arc<AtomicUsize>,
    failures: LogLimit,
    displaced: LogLimit,
}

struct PublicPort {
    address: SocketAddr,
    tenant: GrantId,
    listener: ListenerGroup,
    /// Since when no session has it; `None` while one has.
    away: Option<Instant>,
}

/// The sockets of a port chosen by the system. Dropping them closes it.
pub struct UnclaimedPort {
    bound: Bound,
    address: SocketAddr,
    pending: PendingBind,
}

/// Counts a port that is being bound, until it is in `open`.
struct PendingBind(Arc<AtomicUsize>);

impl PendingBind {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for PendingBind {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl UnclaimedPort {
    /// The address of the sockets.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Why a port is not open.
#[derive(Debug, thiserror::Error)]
pub enum NotOpen {
    /// Another program has it, or another listener of this node.
    #[error("the port is in use by another program on the server")]
    InUse,
    /// The tenant has used its share of ports.
    #[error("this grant has {PORTS_A_TENANT} ports open already")]
    TooMany,
    /// The descriptors for public ports are in use, or the part of them that one grant may have.
    #[error(
        "the server has no room for another port of this grant: {open} of {most} public ports are open, and a grant gets at \
         most half of what the others leave; close one, or raise the limit of open files there (ulimit -n, LimitNOFILE=)"
    )]
    NoRoom {
        /// Ports whose agents are connected.
        open: usize,
        /// How many the descriptors allow.
        most: usize,
    },
    /// The system refuses to open it.
    #[error("the server cannot open the port at the moment; its log says why")]
    Failed(BindError),
}

/// How many ports one tenant may have open at once, held or not.
pub const PORTS_A_TENANT: usize = NAMES_A_TENANT;

impl PublicPorts {
    /// Opens the port of a name that `tenant` has claimed, unless it is open already.
    ///
    /// # Errors
    /// [`NotOpen`]; then no port was opened.
    pub fn open(
        &self,
        shared: &Arc<Shared>,
        address: SocketAddr,
        tenant: GrantId,
        limits: &LimitsPlan,
    ) -> Result<(), NotOpen> {
        let name = Name::Tcp(address);
        let mut open = self.open.lock();
        if resume(&mut open, &name, tenant)? {
            return Ok(());
        }
        self.make_room(&mut open, shared, tenant)?;
        let pending = PendingBind::new(&self.pending);
        drop(open);
        // All ports share the lock, so it is not held during the bind.
        let bound = self.bind(shared, address);
        let mut open = self.open.lock();
        // A session that shares the name may have opened it meanwhile. Then these sockets are
        // closed again.
        if resume(&mut open, &name, tenant)? {
            return Ok(());
        }
        open.insert(name, start(shared, bound?, address, tenant, limits));
        drop(pending);
        drop(open);
        shared.note_own();
        Ok(())
    }

    /// Binds a port chosen by the system for `tenant`, which must claim it before it is served.
    ///
    /// # Errors
    /// [`NotOpen`].
    pub fn bind_any(
        &self,
        shared: &Shared,
        ip: IpAddr,
        tenant: GrantId,
    ) -> Result<UnclaimedPort, NotOpen> {
        let mut open = self.open.lock();
        check_share(&open, tenant)?;
        self.make_room(&mut open, shared, tenant)?;
        let pending = PendingBind::new(&self.pending);
        drop(open);
        let any = SocketAddr::new(ip, 0);
        let bound = self.bind(shared, any)?;
        let address = match bound.address {
            Bind::Tcp(address) => address,
            Bind::Unix(_) => any,
        };
        Ok(UnclaimedPort {
            bound,
            address,
            pending,
        })
    }

    /// Makes room for one more port of `tenant`, if it may have one: closes ports that have no
    /// session, the longest unused first. Their names stay reserved.
    fn make_room(
        &self,
        open: &mut HashMap<Name, PublicPort>,
        shared: &Shared,
        tenant: GrantId,
    ) -> Result<(), NotOpen> {
        let (most, pending) = (
            shared.admission.public_ports(shared.scopes.len()),
            self.pending.load(Relaxed),
        );
        room(open, pending, most, tenant)?;
        while open.len() + pending >= most {
            let away = open
                .iter()
                .filter_map(|(name, port)| Some((port.away?, name)));
            let Some(name) = away
                .min_by_key(|(since, _)| *since)
                .map(|(_, name)| name.clone())
            else {
                break;
            };
            if let Some(port) = open.remove(&name) {
                port.listener.drain();
            }
            if let Some(line) = self.displaced.count() {
                tracing::warn!(
                    left_out = line.left_out,
                    "{name}: closed while its agent is away: the descriptors for public ports are in use (ulimit -n)"
                );
            }
        }
        Ok(())
    }

    fn bind(&self, shared: &Shared, address: SocketAddr) -> Result<Bound, NotOpen> {
        let bound = bind::bind(
            &Bind::Tcp(address),
            shared.scopes.len(),
            &mut Inherited::default(),
        );
        bound.map_err(|error| {
            if error.source.kind() == std::io::ErrorKind::AddrInUse {
                return NotOpen::InUse;
            }
            if let Some(line) = self.failures.count() {
                tracing::warn!(left_out = line.left_out, "a public port: {error}");
            }
            NotOpen::Failed(error)
        })
    }

    /// Serves a port that `tenant` has claimed.
    pub fn serve(
        &self,
        shared: &Arc<Shared>,
        free: UnclaimedPort,
        tenant: GrantId,
        limits: &LimitsPlan,
    ) {
        let UnclaimedPort {
            bound,
            address,
            pending,
        } = free;
        let mut open = self.open.lock();
        open.insert(
            Name::Tcp(address),
            start(shared, bound, address, tenant, limits),
        );
        drop(pending);
        drop(open);
        shared.note_own();
    }

    /// Closes the port of a name that has no holder and will have none: it was given up, or its
    /// grant was revoked.
    pub fn close(&self, shared: &Shared, name: &Name) {
        if let Some(port) = self.open.lock().remove(name) {
            port.listener.drain();
        }
        shared.note_own();
    }

    /// No session has the names now: their ports are held open for a while.
    pub fn away(&self, names: &[Name]) {
        let mut open = self.open.lock();
        for name in names {
            if let Some(open) = open.get_mut(name) {
                open.away.get_or_insert_with(Instant::now);
            }
        }
    }

    /// Closes ports whose hold is over, for as long as it is polled.
    pub async fn keep_house(&self, shared: &Arc<Shared>) {
        loop {
            sleep(TICK).await;
            let over = |open: &PublicPort| open.away.is_some_and(|since| since.elapsed() >= HOLD);
            let closing: Vec<Name> = self
                .open
                .lock()
                .iter()
                .filter(|(_, open)| over(open))
                .map(|(name, _)| name.clone())
                .collect();
            for name in closing {
                if !shared.links.registry.is_held(&name) {
                    if let Some(line) = shared.counters.log_limits.ports_closed.count() {
                        let left_out = line.left_out;
                        tracing::info!(
                            left_out,
                            "{name}: its agent has been away for {HOLD:?}; the port is closed"
                        );
                    }
                    self.close(shared, &name);
                }
            }
        }
    }

    /// The addresses of all open ports.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.open.lock().values().map(|open| open.address).collect()
    }
}

/// Whether the port is open already; if so, assigns it to the tenant.
fn resume(
    open: &mut HashMap<Name, PublicPort>,
    name: &Name,
    tenant: GrantId,
) -> Result<bool, NotOpen> {
    if let Some(known) = open.get_mut(name) {
        (known.away, known.tenant) = (None, tenant);
        return Ok(true);
    }
    check_share(open, tenant)?;
    Ok(false)
}

fn check_share(open: &HashMap<Name, PublicPort>, tenant: GrantId) -> Result<(), NotOpen> {
    match open.values().filter(|port| port.tenant == tenant).count() < PORTS_A_TENANT {
        true => Ok(()),
        false => Err(NotOpen::TooMany),
    }
}

/// Checks whether `tenant` may have one more of `most` ports. Ports without a session count as
/// free. A grant may have at most as many as are left after it, so half of all if it is the only
/// one; and at least one port, as long as one is left.
fn room(
    open: &HashMap<Name, PublicPort>,
    pending: usize,
    most: usize,
    tenant: GrantId,
) -> Result<(), NotOpen> {
    let held = open.values().filter(|port| port.away.is_none());
    let own = held.clone().filter(|port| port.tenant == tenant).count();
    let taken = held.count() + pending;
    let left = most.saturating_sub(taken);
    match left > own {
        true => Ok(()),
        false => Err(NotOpen::NoRoom { open: taken, most }),
    }
}

/// Starts to accept on every worker.
fn start(
    shared: &Arc<Shared>,
    bound: Bound,
    address: SocketAddr,
    tenant: GrantId,
    limits: &LimitsPlan,
) -> PublicPort {
    let name = Name::Tcp(address);
    let plan = ListenerPlan {
        name: name.to_string().into(),
        bind: Bind::Tcp(address),
        role: Role::Exposed(name),
        limits: limits.clone(),
    };
    let (plan, key) = (
        Arc::new(plan),
        Arc::new(ListenerKey::of_public(Bind::Tcp(address))),
    );
    let bind = Arc::new(Bind::Tcp(address));
    let (ip_limit, admit) = (
        IpLimit::default(),
        shared.admission.of(&plan.role, limits.connections),
    );
    let contexts = shared.scopes.iter().enumerate().map(|(worker, scope)| {
        Arc::new(ListenerContext {
            shared: Arc::clone(shared),
            key: Arc::clone(&key),
            role: RoleKind::Exposed,
            fixed: Some(Arc::clone(&plan)),
            address: Arc::clone(&bind),
            scope: scope.child(),
            worker,
            pool: shared.pool.shard(worker),
            admit: admit.clone(),
            ip_limit: ip_limit.clone(),
        })
    });
    let listener = ListenerGroup::new(bound.sockets, contexts.collect());
    PublicPort {
        address,
        tenant,
        listener,
        away: None,
    }
}
