//! Link: the sessions of this node: those that it accepts, and those that it dials.
//!
//! In:    the state folder, the Plan; sessions from `inbound/link` and from `outgoing`.
//! Out:   `registry` (who has which public name; `registry_file` is their file), `public` (their
//!        ports), `grants` (who may join; `grant` is one of them, `join_file` where a join string
//!        is kept), `revocation`, `outgoing` (the sessions that this node keeps up), `services`
//!        (what those ask for), `report` (the record of a request that a public end sends to an
//!        agent), `welcome` (which hello is accepted), `serving` (what an accepted session may
//!        register), `outbox` (messages to be sent), `leaving` (how a session ends in order),
//!        `lock` and `writer` (which process writes to the state folder).
//! Never: moves bytes. A stream accepted from a link is an inbound, a stream opened on one an
//!        outbound.

mod grant;
pub mod grants;
pub mod join_file;
pub mod kept_name;
pub mod leaving;
mod lock;
pub mod outbox;
pub mod outgoing;
pub mod public;
pub mod registry;
mod registry_file;
pub mod report;
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

use byway_link::{Acceptor, Key, KeyError, NodeBudget, Segments, Settings, epoch, store};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use self::grants::{GrantError, Grants};
use self::lock::NotLocked;
use self::outgoing::{Kept, OutgoingLink};
use self::public::PublicPorts;
use self::registry::ServiceRegistry;
use self::registry_file::RegistryError;
use self::writer::Writer;
use crate::config::{LinkSettings, Plan, ServicePlan};

/// Everything of links that the node's connections may use.
pub struct Links {
    state: PathBuf,
    runtime: Handle,
    key: OnceLock<Key>,
    epoch: OnceLock<u64>,
    acceptor: OnceLock<Arc<Acceptor>>,
    budget: NodeBudget,
    segments: Arc<Segments>,
    /// Who may join.
    pub grants: Grants,
    /// Who has which public name.
    pub registry: Arc<ServiceRegistry>,
    /// Public ports of exposed TCP services.
    pub public: PublicPorts,
    /// What this process may write in the state folder.
    pub writer: Arc<Writer>,
    outgoing: Mutex<HashMap<Arc<str>, Arc<OutgoingLink>>>,
    attempts: AtomicU64,
    events: mpsc::UnboundedSender<LinkEvent>,
    receiver: Mutex<Option<mpsc::UnboundedReceiver<LinkEvent>>>,
}

/// What a person at the command line wants to know.
#[derive(Clone, Debug)]
pub enum LinkEvent {
    /// How others join this node: the secret inside is for stdout, not for a log.
    Join {
        /// Of which listener.
        listener: Arc<str>,
        /// The whole text.
        text: String,
        /// Where it also stands.
        file: PathBuf,
    },
    /// A service of this node can be reached there.
    Public {
        /// What it is called here.
        service: Arc<str>,
        /// Where.
        address: String,
    },
    /// A link or a service has ended for good, as far as this process can tell.
    Ended {
        /// Why, and what to do.
        detail: String,
        /// Whether it is a matter of config or of credentials.
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
    /// Another process.
    #[error(transparent)]
    Locked(#[from] NotLocked),
    /// The names.
    #[error(transparent)]
    Names(#[from] RegistryError),
    /// The epoch.
    #[error("cannot write to the state folder {}: {source}; {}, or name another with --state", path.display(), store::advice(source))]
    Epoch {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// UDP, or rustls.
    #[error("{0}")]
    Other(String),
}

impl Links {
    /// Nothing is read or made before it is needed: a node without links has no key.
    pub fn new(state: &Path, runtime: Handle) -> Self {
        let (events, receiver) = mpsc::unbounded_channel();
        let (grants, registry) = (Grants::new(state), Arc::new(ServiceRegistry::new(state)));
        let writer = Writer::new(
            state,
            runtime.clone(),
            grants.clone(),
            Arc::clone(&registry),
            events.clone(),
        );
        Self {
            state: state.to_owned(),
            runtime,
            key: OnceLock::new(),
            epoch: OnceLock::new(),
            acceptor: OnceLock::new(),
            budget: NodeBudget::default(),
            segments: Arc::default(),
            grants,
            registry,
            public: PublicPorts::default(),
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

    /// The runtime that sessions live on when no worker has them.
    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// This node's key, made at the first call ever.
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
        store::remove_scratch(&self.state);
        let taken = epoch::take(&self.state);
        let taken = taken.map_err(|source| LinkSetupError::Epoch {
            path: self.state.clone(),
            source,
        })?;
        if let Some(error) = &taken.unstored {
            let (state, advice) = (self.state.display(), store::advice(error));
            tracing::warn!(
                "cannot write the epoch to {state}: {error}; the clock stands in for it; {advice}"
            );
        }
        Ok(*self.epoch.get_or_init(|| taken.epoch))
    }

    /// What accepts links, whatever listener they arrive at: the next one under these settings.
    ///
    /// # Errors
    /// When there is no key.
    pub fn acceptor(&self, settings: &LinkSettings) -> Result<Arc<Acceptor>, LinkSetupError> {
        if let Some(acceptor) = self.acceptor.get() {
            acceptor.set_limits(settings.streams, settings.congestion);
            return Ok(Arc::clone(acceptor));
        }
        let made = Acceptor::new(self.key()?, self.settings(settings), self.runtime.clone());
        let made = Arc::new(made.map_err(|error| {
            LinkSetupError::Other(format!("links cannot be accepted: {error}"))
        })?);
        Ok(Arc::clone(self.acceptor.get_or_init(|| made)))
    }

    /// The Plan's settings as sessions take them.
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

    /// The number of the next session that this process dials: higher than that of every one before
    /// it, whichever link it is for, so that the newest session may take over what an older one
    /// has.
    pub fn next_attempt(&self) -> u64 {
        self.attempts.fetch_add(1, Relaxed) + 1
    }

    /// The number of the newest session.
    pub fn last_attempt(&self) -> u64 {
        self.attempts.load(Relaxed)
    }

    /// Starts the links of `plan` that are not there yet with `start`. Call it before the Plan is
    /// in force: its requests look for them.
    pub fn begin(&self, plan: &Plan, start: impl Fn(Arc<OutgoingLink>)) {
        let mut outgoing = self.outgoing.lock();
        for join in &plan.joins {
            outgoing.entry(Arc::clone(&join.id)).or_insert_with(|| {
                let link = Arc::new(OutgoingLink::new(Arc::clone(join)));
                start(Arc::clone(&link));
                link
            });
        }
    }

    /// Makes the dialled links those of `plan`, which are all started: gives them their new
    /// services, and ends those that are gone. A service that moves from one link to another stays
    /// where it is until it is public there.
    pub fn follow(&self, plan: &Plan) {
        let mut outgoing = self.outgoing.lock();
        let old: Vec<_> = outgoing
            .values()
            .map(|link| (Arc::clone(link), link.plan()))
            .collect();
        outgoing.retain(|id, _| plan.joins.iter().any(|join| join.id == *id));
        for (link, before) in old {
            let after = plan.joins.iter().find(|join| join.id == before.id);
            // Which link takes over what this one has to give up.
            let moved = before.services.iter().filter_map(|service| {
                let is_same = |it: &ServicePlan| it.kind == service.kind && it.name == service.name;
                let by = plan
                    .joins
                    .iter()
                    .find(|join| join.services.iter().any(is_same))?;
                let by = (by.id != before.id).then(|| outgoing.get(&by.id))??;
                by.ask_anew(service);
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
    }

    /// Tells whoever listens; nobody does in a node without a command line.
    pub fn notify(&self, event: LinkEvent) {
        // Bounded by the listeners and services of the Plan, and by how often they change.
        let _ = self.events.send(event);
    }

    /// What there is to tell. For one listener: the first call gets it.
    pub fn events(&self) -> Option<mpsc::UnboundedReceiver<LinkEvent>> {
        self.receiver.lock().take()
    }
}
