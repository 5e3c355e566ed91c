//! Link: the link sessions of this node, accepted and dialled.
//!
//! In:    the state folder, the Plan; sessions from `inbound/link` and from `outgoing`.
//! Out:   `registry` (which session has which public name; `registry_file` stores it),
//!        `port_opener` (how their ports are opened), `grants` (who may join; `grant` is one of
//!        them, `join_file` stores a join string), `revocation`, `outgoing` (the sessions that this
//!        node dials), `services` (the services that those register), `welcome` (accepts or refuses
//!        a hello), `serving` (what an accepted session may register), `outbox` (messages to be
//!        sent), `leaving` (the orderly end of a session), `carriers` and `metrics` (their numbers),
//!        `lock` and `writer` (which process writes to the state folder).
//! Never: moves bytes. A stream accepted from a link is an inbound, a stream opened on one an
//!        outbound.

pub mod carriers;
mod grant;
pub mod grants;
pub mod join_file;
pub mod leaving;
mod lock;
mod metrics;
pub mod outbox;
pub mod outgoing;
pub mod port_opener;
pub mod registry;
mod registry_file;
pub mod revocation;
pub mod services;
pub mod serving;
#[cfg(test)]
mod tests;
pub mod welcome;
pub mod writer;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};

use byway_link::{Acceptor, Key, KeyError, NodeBudget, Segments, Settings, epoch};
use byway_tls::state_file;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use self::grants::{GrantError, Grants};
use self::lock::NotLocked;
use self::outgoing::{Kept, OutgoingLink};
use self::registry::ServiceRegistry;
use self::registry_file::RegistryError;
use self::writer::Writer;
use crate::config::{LinkSettings, Plan, ServicePlan};
use crate::outbound::Engine;
use crate::outbound::link_table::ExitLink;
use crate::runtime::scope::Scope;

/// All state of links that the node's connections use.
pub struct Links {
    /// Opens streams; has the link table.
    pub engine: Arc<Engine>,
    /// Owns the tasks of sessions that no worker owns.
    pub scope: Scope,
    state: PathBuf,
    key: OnceLock<Key>,
    epoch: OnceLock<u64>,
    acceptor: OnceLock<Arc<Acceptor>>,
    budget: NodeBudget,
    segments: Arc<Segments>,
    /// The grants to join this node.
    pub grants: Grants,
    /// The sessions that have each public name.
    pub registry: Arc<ServiceRegistry>,
    /// Decides what this process may write in the state folder.
    pub writer: Arc<Writer>,
    outgoing: Mutex<HashMap<Arc<str>, Arc<OutgoingLink>>>,
    attempts: AtomicU64,
    events: mpsc::UnboundedSender<LinkEvent>,
    receiver: Mutex<Option<mpsc::UnboundedReceiver<LinkEvent>>>,
}

/// An event for the operator at the command line.
#[derive(Clone, Debug)]
pub enum LinkEvent {
    /// How others join this node. It contains the secret: print it to stdout, never to a log.
    Join {
        /// The name of the listener.
        listener: Arc<str>,
        /// The join string.
        text: String,
        /// The file that also contains it.
        file: PathBuf,
    },
    /// A service of this node is public.
    Public {
        /// The name of the service on this node.
        service: Arc<str>,
        /// Its public address.
        address: String,
    },
    /// A link or a service has failed, and a retry by this process cannot help.
    Ended {
        /// The reason, and what to do.
        detail: String,
        /// Whether the cause is the config or the credentials.
        is_config: bool,
    },
}

/// Why links cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LinkSetupError {
    /// The node's key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The grants.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// Another process has the lock.
    #[error(transparent)]
    Locked(#[from] NotLocked),
    /// The names.
    #[error(transparent)]
    Names(#[from] RegistryError),
    /// The epoch.
    #[error("cannot write to the state folder {}: {source}; {}, or choose another with --state", path.display(), state_file::advice(source))]
    Epoch {
        /// The folder.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// UDP, or rustls.
    #[error("{0}")]
    Other(String),
}

impl Links {
    /// Nothing is read or created before it is needed: a node without links has no key. `registry` must
    /// be the one inside the link table of `engine`.
    pub fn new(engine: Arc<Engine>, registry: Arc<ServiceRegistry>, scope: Scope) -> Self {
        let (events, receiver) = mpsc::unbounded_channel();
        let state = &engine.live.plan().state;
        let grants = Grants::new(state);
        let writer = Writer::new(
            state,
            scope.runtime().clone(),
            grants.clone(),
            Arc::clone(&registry),
            events.clone(),
        );
        Self {
            state: state.to_owned(),
            engine,
            scope,
            key: OnceLock::new(),
            epoch: OnceLock::new(),
            acceptor: OnceLock::new(),
            budget: NodeBudget::default(),
            segments: Arc::default(),
            grants,
            registry,
            writer: Arc::new(writer),
            outgoing: Mutex::default(),
            attempts: AtomicU64::new(0),
            events,
            receiver: Mutex::new(Some(receiver)),
        }
    }

    /// The state folder.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// The runtime for sessions that do not belong to a worker.
    pub fn runtime(&self) -> &Handle {
        self.scope.runtime()
    }

    /// This node's key, created at the first call ever.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn key(&self) -> Result<Key, LinkSetupError> {
        if let Some(key) = self.key.get() {
            return Ok(key.clone());
        }
        let key = Key::load_or_create(&self.state.join("key"))?;
        Ok(self.key.get_or_init(|| key).clone())
    }

    /// This process's epoch, taken at the first call.
    ///
    /// # Errors
    /// When the state folder cannot be written.
    pub fn epoch(&self) -> Result<u64, LinkSetupError> {
        if let Some(epoch) = self.epoch.get() {
            return Ok(*epoch);
        }
        state_file::remove_scratch(&self.state);
        let taken = epoch::take(&self.state);
        let taken = taken.map_err(|source| LinkSetupError::Epoch {
            path: self.state.clone(),
            source,
        })?;
        if let Some(error) = &taken.unstored {
            let (state, advice) = (self.state.display(), state_file::advice(error));
            tracing::warn!(
                "cannot write the epoch to {state}: {error}; the clock is used instead; {advice}"
            );
        }
        Ok(*self.epoch.get_or_init(|| taken.epoch))
    }

    /// The acceptor of links, shared by all listeners; `settings` apply to the next link.
    ///
    /// # Errors
    /// When there is no key.
    pub fn acceptor(&self, settings: &LinkSettings) -> Result<Arc<Acceptor>, LinkSetupError> {
        if let Some(acceptor) = self.acceptor.get() {
            acceptor.set_limits(settings.streams, settings.congestion);
            return Ok(Arc::clone(acceptor));
        }
        let made = Acceptor::new(self.key()?, self.settings(settings), self.runtime().clone());
        let made = Arc::new(made.map_err(|error| {
            LinkSetupError::Other(format!("links cannot be accepted: {error}"))
        })?);
        Ok(Arc::clone(self.acceptor.get_or_init(|| made)))
    }

    /// The Plan's settings in the form that sessions take.
    pub fn settings(&self, settings: &LinkSettings) -> Settings {
        Settings {
            streams: settings.streams,
            budget: self.budget.clone(),
            congestion: settings.congestion,
            segments: Arc::clone(&self.segments),
            quic_probe: settings.quic_probe,
            ..Settings::default()
        }
    }

    /// The link with this id, if this node dials it.
    pub fn outgoing(&self, id: &str) -> Option<Arc<OutgoingLink>> {
        self.outgoing.lock().get(id).cloned()
    }

    /// The links that this node dials, by their ids.
    pub fn all_outgoing(&self) -> Vec<Arc<OutgoingLink>> {
        let mut all: Vec<_> = self
            .outgoing
            .lock()
            .iter()
            .map(|(id, link)| (Arc::clone(id), Arc::clone(link)))
            .collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all.into_iter().map(|(_, link)| link).collect()
    }

    /// The number of the next session that this process dials: higher than that of all earlier
    /// ones, of any link, so that the newest session may take over names of an older one.
    pub fn next_attempt(&self) -> u64 {
        self.attempts.fetch_add(1, Relaxed) + 1
    }

    /// The number of the newest session.
    pub fn last_attempt(&self) -> u64 {
        self.attempts.load(Relaxed)
    }

    /// Starts the links of `plan` that are not running yet with `start`. Call it before the Plan is
    /// in force, because its requests use them.
    pub fn begin(&self, plan: &Plan, start: impl Fn(Arc<OutgoingLink>)) {
        let mut outgoing = self.outgoing.lock();
        for join in &plan.joins {
            outgoing.entry(Arc::clone(&join.id)).or_insert_with(|| {
                let link = Arc::new(OutgoingLink::new(Arc::clone(join)));
                start(Arc::clone(&link));
                link
            });
        }
        self.note_exits(&outgoing);
    }

    /// Tells the outbound which links there are.
    fn note_exits(&self, outgoing: &HashMap<Arc<str>, Arc<OutgoingLink>>) {
        let exits = outgoing.iter().map(|(id, link)| {
            let exit: Arc<dyn ExitLink> = Arc::clone(link) as _;
            (Arc::clone(id), exit)
        });
        self.engine.link_table.set_exits(exits.collect());
    }

    /// Updates the dialled links to those of `plan`, which are all started: sets their new
    /// services, and ends the links that were removed. A service that moves to another link stays
    /// on the old one until it is public on the new one.
    pub fn follow(&self, plan: &Plan) {
        let mut outgoing = self.outgoing.lock();
        let old: Vec<_> = outgoing
            .values()
            .map(|link| (Arc::clone(link), link.plan()))
            .collect();
        outgoing.retain(|id, _| plan.joins.iter().any(|join| join.id == *id));
        for (link, before) in old {
            let after = plan.joins.iter().find(|join| join.id == before.id);
            // The link that takes over each service that this one loses.
            let moved = before.services.iter().filter_map(|service| {
                let is_same = |it: &ServicePlan| it.kind == service.kind && it.name == service.name;
                let by = plan
                    .joins
                    .iter()
                    .find(|join| join.services.iter().any(is_same))?;
                let by = (by.id != before.id).then(|| outgoing.get(&by.id))??;
                by.request_again(service);
                Some(Kept {
                    service: service.clone(),
                    by: Arc::clone(by),
                })
            });
            match after {
                Some(join) => link.set(Arc::clone(join), moved.collect()),
                None => link.leave(moved.collect()),
            }
        }
        self.note_exits(&outgoing);
    }

    /// Sends an event to the command line; a node without one drops it.
    pub fn notify(&self, event: LinkEvent) {
        // The queue is bounded by the listeners and services of the Plan, and by how often they
        // change.
        let _ = self.events.send(event);
    }

    /// The events. There is one receiver: the first call gets it.
    pub fn events(&self) -> Option<mpsc::UnboundedReceiver<LinkEvent>> {
        self.receiver.lock().take()
    }
}
