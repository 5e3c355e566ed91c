//! Public: the public ports of exposed TCP services: listeners that belong to a name, and not to a session.
//!
//! In:    a name that was registered, and the address of the listener that its link came by.
//! Out:   a listener that serves on every worker for as long as the name is held, and [`HOLD`] longer.
//! Never: closes a port because a session is gone: whoever comes meanwhile is parked.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use byway_link::Name;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use crate::config::{Bind, LimitsPlan, ListenerKey, ListenerPlan, Role};
use crate::inbound::bind::{self, BindError};
use crate::inbound::listener::{self, Door};
use crate::inbound::peers::Peers;
use crate::os::inherit::Inherited;
use crate::scope::Scope;
use crate::shared::Shared;

/// How long a port whose agent is away stays open: as long as its visitors may be parked by any config, and a restart of a
/// machine takes.
pub const HOLD: Duration = Duration::from_secs(300);

/// How often ports are looked through for those to close.
const TICK: Duration = Duration::from_secs(5);

/// See the head of the file.
#[derive(Default)]
pub struct Public {
    open: Mutex<HashMap<Name, Open>>,
}

struct Open {
    address: SocketAddr,
    scopes: Vec<Scope>,
    /// Since when nobody has it; none while somebody has.
    away: Option<Instant>,
}

impl Public {
    /// Makes sure that `name`'s port is open on `ip`, and says where. Port 0 lets the system choose.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn open(&self, shared: &Arc<Shared>, ip: IpAddr, port: u16, limits: &LimitsPlan) -> Result<u16, BindError> {
        let mut open = self.open.lock();
        if let Some(known) = open.get_mut(&Name::Tcp(port)) {
            known.away = None;
            return Ok(known.address.port());
        }
        let bind = Bind::Tcp(SocketAddr::new(ip, port));
        let bound = bind::bind(&bind, shared.scopes.len(), &mut Inherited::default())?;
        let address = match bound.address {
            Bind::Tcp(address) => address,
            Bind::Unix(_) => SocketAddr::new(ip, port),
        };
        let name = Name::Tcp(address.port());
        let plan = ListenerPlan {
            name: name.to_string().into(),
            bind: Bind::Tcp(address),
            role: Role::Exposed(name.clone()),
            limits: limits.clone(),
        };
        let (plan, key) = (Arc::new(plan), Arc::new(ListenerKey::of_public(Bind::Tcp(address))));
        let (address_told, permits) = (Arc::new(Bind::Tcp(address)), Arc::new(Semaphore::new(limits.connections)));
        let (peers, admitted) = (Peers::default(), shared.admission.of(&plan.role));
        let doors = shared.scopes.iter().enumerate().map(|(worker, scope)| {
            Arc::new(Door {
                shared: Arc::clone(shared),
                key: Arc::clone(&key),
                fixed: Some(Arc::clone(&plan)),
                address: Arc::clone(&address_told),
                scope: scope.child(),
                worker,
                pool: shared.pool.shard(worker),
                permits: Arc::clone(&permits),
                admitted: Arc::clone(&admitted),
                peers: peers.clone(),
            })
        });
        let scopes = listener::open(bound.sockets, doors.collect());
        open.insert(name, Open { address, scopes, away: None });
        drop(open);
        shared.note_own();
        Ok(address.port())
    }

    /// Whether `port` is open already, or could be.
    pub fn can_open(&self, ip: IpAddr, port: u16) -> bool {
        self.open.lock().contains_key(&Name::Tcp(port)) || std::net::TcpListener::bind((ip, port)).is_ok()
    }

    /// Closes the port of a name that nobody has and nobody will come back for.
    pub fn close(&self, shared: &Shared, name: &Name) {
        if let Some(gone) = self.open.lock().remove(name) {
            gone.scopes.iter().for_each(Scope::drain);
        }
        shared.note_own();
    }

    /// Nobody has the names now: their ports are held for a while.
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
            let over = |open: &Open| open.away.is_some_and(|since| since.elapsed() >= HOLD);
            let closing: Vec<Name> =
                self.open.lock().iter().filter(|(_, open)| over(open)).map(|(name, _)| name.clone()).collect();
            for name in closing {
                if !shared.links.names.is_held(&name) {
                    tracing::info!("{name}: its agent has been away for {HOLD:?}; the port is closed");
                    self.close(shared, &name);
                }
            }
        }
    }

    /// Where they listen.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.open.lock().values().map(|open| open.address).collect()
    }
}
