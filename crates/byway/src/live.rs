//! Live: the Plan in force, and where this node listens now.
//!
//! In:    a Plan at the start and at each reload; addresses as listeners come and go.
//! Out:   the Plan, the settings of a listener in it, the addresses that the egress must not dial.
//! Never: locks for a request.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;

use crate::config::{Bind, FrontendKind, FrontendPlan, ListenerKey, Plan};
use crate::observe::exposition::{Collect, Exposition, MetricKind};

/// The Plan in force, and the addresses that this node listens on. A request reads both without a
/// lock.
pub struct Live {
    plan: ArcSwap<Plan>,
    /// Those of the first Plan: a reload changes none.
    workers: NonZeroUsize,
    own: ArcSwap<Arc<[SocketAddr]>>,
    listening: Mutex<Listening>,
}

#[derive(Default)]
struct Listening {
    listeners: HashMap<ListenerKey, Arc<Bind>>,
    public_ports: Vec<SocketAddr>,
}

/// Which settings a connection is served by.
#[derive(Clone)]
pub enum ListenerSettings {
    /// Those of a listener, as the Plan in force has them. Connections that were accepted for one
    /// kind are not served as another.
    Listener {
        /// The listener, in this Plan and in a newer one.
        key: Arc<ListenerKey>,
        /// What it was for when the connection was accepted.
        kind: FrontendKind,
    },
    /// Settings that no file has: of the public port of a service, of a link that this node dials.
    Fixed(Arc<FrontendPlan>),
}

impl ListenerSettings {
    /// The listener, if a Plan has it.
    pub fn listener(&self) -> Option<Arc<ListenerKey>> {
        match self {
            Self::Listener { key, .. } => Some(Arc::clone(key)),
            Self::Fixed(_) => None,
        }
    }
}

impl Live {
    /// Nothing is listened on yet.
    pub fn new(plan: Plan) -> Self {
        Self {
            workers: plan.workers,
            plan: ArcSwap::from_pointee(plan),
            own: ArcSwap::from_pointee(Arc::from([])),
            listening: Mutex::default(),
        }
    }

    /// The Plan in force. Connections read it again between requests.
    pub fn plan(&self) -> Arc<Plan> {
        self.plan.load_full()
    }

    /// The Plan in force, borrowed; do not hold it across an await.
    pub fn peek(&self) -> Guard<Arc<Plan>> {
        self.plan.load()
    }

    /// Puts a new Plan in force.
    pub fn set_plan(&self, plan: Arc<Plan>) {
        self.plan.store(plan);
    }

    /// The Plan in force and the settings of that connection in it. `None`: a newer Plan has no such
    /// listener, or has another use for it.
    pub fn frontend(&self, settings: &ListenerSettings) -> Option<(Arc<Plan>, Arc<FrontendPlan>)> {
        let plan = self.plan();
        let frontend = match settings {
            ListenerSettings::Fixed(frontend) => Arc::clone(frontend),
            ListenerSettings::Listener { key, kind } => {
                let listener = plan.listener(key)?;
                Arc::clone(&listener.frontend).of_kind(*kind)?
            }
        };
        Some((plan, frontend))
    }

    /// The addresses that this node listens on, which its egress must not be led back to.
    pub fn own_addresses(&self) -> Guard<Arc<Arc<[SocketAddr]>>> {
        self.own.load()
    }

    /// The listener `key` listens at `address`: the port is the real one where the Plan has 0.
    pub fn add_listener(&self, key: ListenerKey, address: Arc<Bind>) {
        let mut listening = self.listening.lock();
        listening.listeners.insert(key, address);
        self.store_own(&listening);
    }

    /// The listener `key` no longer listens.
    pub fn remove_listener(&self, key: &ListenerKey) {
        let mut listening = self.listening.lock();
        listening.listeners.remove(key);
        self.store_own(&listening);
    }

    /// The public ports of services that are open now.
    pub fn set_public_ports(&self, addresses: Vec<SocketAddr>) {
        let mut listening = self.listening.lock();
        listening.public_ports = addresses;
        self.store_own(&listening);
    }

    /// Where the listener `key` listens.
    pub fn address_of(&self, key: &ListenerKey) -> Option<Arc<Bind>> {
        self.listening.lock().listeners.get(key).cloned()
    }

    fn store_own(&self, listening: &Listening) {
        let listeners = listening.listeners.values();
        let own: Arc<[SocketAddr]> = listeners
            .filter_map(|bind| bind.tcp())
            .chain(listening.public_ports.iter().copied())
            .collect();
        self.own.store(Arc::new(own));
    }
}

impl Collect for Live {
    fn collect(&self, out: &mut Exposition) {
        let plan = self.peek();
        out.single(
            "byway_config_generation",
            MetricKind::Gauge,
            "The generation of the config; grows with each reload.",
            plan.generation,
        );
        out.single(
            "byway_workers",
            MetricKind::Gauge,
            "Worker threads.",
            self.workers,
        );
    }
}
