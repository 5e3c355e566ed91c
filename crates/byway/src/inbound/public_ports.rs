//! Public ports: the ports of exposed TCP services. Each belongs to a name, not to a session.
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

use byway_link::{GrantId, Name};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::bind::{self, Bound};
use super::context::NodeContext;
use super::listener::{ListenerContext, ListenerGroup};
use crate::config::{Bind, FrontendPlan, LimitsPlan, Role, Transport};
use crate::link::port_opener::{NotOpen, PORTS_A_TENANT, PortOpener, UnclaimedPort};
use crate::live::ListenerSettings;
use crate::observe::log_limit::LogLimit;
use crate::os::inherit::Inherited;

/// How long a port without a session stays open: as long as any config may park its visitors, and
/// as a machine takes to restart.
pub const HOLD: Duration = Duration::from_secs(300);

/// How often expired ports are looked for.
const TICK: Duration = Duration::from_secs(5);

/// The public ports of a node.
#[derive(Default)]
pub struct OpenPorts {
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

/// The sockets of a port chosen by the system.
struct BoundPort {
    node: Arc<NodeContext>,
    tenant: GrantId,
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

impl PortOpener for NodeContext {
    fn open(
        self: Arc<Self>,
        address: SocketAddr,
        tenant: GrantId,
        limits: &LimitsPlan,
    ) -> Result<(), NotOpen> {
        let name = Name::Tcp(address);
        let mut open = self.ports.open.lock();
        if resume(&mut open, &name, tenant)? {
            return Ok(());
        }
        self.make_room(&mut open, tenant)?;
        let pending = PendingBind::new(&self.ports.pending);
        drop(open);
        // All ports share the lock, so it is not held during the bind.
        let bound = self.bind(address);
        let mut open = self.ports.open.lock();
        // A session that shares the name may have opened it meanwhile. Then these sockets are
        // closed again.
        if resume(&mut open, &name, tenant)? {
            return Ok(());
        }
        open.insert(name, start(&self, bound?, address, tenant, limits));
        drop(pending);
        self.note_addresses(&open);
        Ok(())
    }

    fn bind_any(
        self: Arc<Self>,
        ip: IpAddr,
        tenant: GrantId,
    ) -> Result<Box<dyn UnclaimedPort>, NotOpen> {
        let mut open = self.ports.open.lock();
        check_share(&open, tenant)?;
        self.make_room(&mut open, tenant)?;
        let pending = PendingBind::new(&self.ports.pending);
        drop(open);
        let any = SocketAddr::new(ip, 0);
        let bound = self.bind(any)?;
        let address = bound.address.tcp().unwrap_or(any);
        Ok(Box::new(BoundPort {
            node: self,
            tenant,
            bound,
            address,
            pending,
        }))
    }

    fn close(&self, name: &Name) {
        let mut open = self.ports.open.lock();
        if let Some(gone) = open.remove(name) {
            gone.listener.drain();
        }
        self.note_addresses(&open);
    }

    fn away(&self, names: &[Name]) {
        let mut open = self.ports.open.lock();
        for name in names {
            if let Some(open) = open.get_mut(name) {
                open.away.get_or_insert_with(Instant::now);
            }
        }
    }
}

impl UnclaimedPort for BoundPort {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn serve(self: Box<Self>, limits: &LimitsPlan) {
        let Self {
            node,
            tenant,
            bound,
            address,
            pending,
        } = *self;
        let mut open = node.ports.open.lock();
        let port = start(&node, bound, address, tenant, limits);
        open.insert(Name::Tcp(address), port);
        drop(pending);
        node.note_addresses(&open);
    }
}

impl NodeContext {
    /// Makes room for one more port of `tenant`, if it may have one: closes ports that have no
    /// session, the longest unused first. Their names stay reserved.
    fn make_room(
        &self,
        open: &mut HashMap<Name, PublicPort>,
        tenant: GrantId,
    ) -> Result<(), NotOpen> {
        let (most, pending) = (
            self.admission.public_ports(self.scopes.len()),
            self.ports.pending.load(Relaxed),
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
            if let Some(line) = self.ports.displaced.count() {
                tracing::warn!(
                    left_out = line.left_out,
                    "{name}: closed while its agent is away: the descriptors for public ports are in use (ulimit -n)"
                );
            }
        }
        Ok(())
    }

    fn bind(&self, address: SocketAddr) -> Result<Bound, NotOpen> {
        let bind = Bind::Tcp(address);
        let bound = bind::bind(&bind, self.scopes.len(), &mut Inherited::default());
        bound.map_err(|error| {
            if error.source.kind() == std::io::ErrorKind::AddrInUse {
                let own = self.engine.live.own_addresses();
                let is_own = own.iter().any(|own| Bind::Tcp(*own).overlaps(&bind));
                return if is_own {
                    NotOpen::OwnListener
                } else {
                    NotOpen::InUse
                };
            }
            if let Some(line) = self.ports.failures.count() {
                tracing::warn!(left_out = line.left_out, "a public port: {error}");
            }
            NotOpen::Failed
        })
    }

    /// Publishes the addresses, so that the egress refuses to dial them.
    fn note_addresses(&self, open: &HashMap<Name, PublicPort>) {
        let addresses = open.values().map(|open| open.address).collect();
        self.engine.live.set_public_ports(addresses);
    }

    /// Closes ports whose hold is over, for as long as it is polled.
    pub async fn close_held_ports(&self) {
        loop {
            sleep(TICK).await;
            let over = |open: &PublicPort| open.away.is_some_and(|since| since.elapsed() >= HOLD);
            let closing: Vec<Name> = self
                .ports
                .open
                .lock()
                .iter()
                .filter(|(_, open)| over(open))
                .map(|(name, _)| name.clone())
                .collect();
            for name in closing {
                if !self.links.registry.is_held(&name) {
                    if let Some(line) = self
                        .engine
                        .telemetry
                        .counters
                        .log_limits
                        .ports_closed
                        .count()
                    {
                        let left_out = line.left_out;
                        tracing::info!(
                            left_out,
                            "{name}: its agent has been away for {HOLD:?}; the port is closed"
                        );
                    }
                    self.close(&name);
                }
            }
        }
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
    node: &Arc<NodeContext>,
    bound: Bound,
    address: SocketAddr,
    tenant: GrantId,
    limits: &LimitsPlan,
) -> PublicPort {
    let name = Name::Tcp(address);
    let frontend = FrontendPlan {
        name: name.to_string().into(),
        role: Role::PublicPort(name),
        limits: limits.clone(),
        transport: Transport::Plain,
    };
    let admit = node.admission.of(&frontend.role, limits.connections);
    let (settings, bind) = (
        ListenerSettings::Fixed(Arc::new(frontend)),
        Arc::new(Bind::Tcp(address)),
    );
    let contexts = ListenerContext::on_all_workers(node, &settings, &bind, &admit);
    PublicPort {
        address,
        tenant,
        listener: ListenerGroup::new(bound.sockets, contexts),
        away: None,
    }
}
