//! Link table: the links that streams may be opened on. `link` fills it, `outbound` asks it.
//!
//! In:    the links to exits that this node dials; the directory of exposed services.
//! Out:   the session of a link, once there is one; a stream of a service.
//! Never: dials, and never owns a session.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use byway_dial::{Dialled, Target};
use byway_link::{Link, Name};
use byway_pool::Client;
use tokio::sync::watch;

use crate::config::LinkSettings;
use crate::fault::Fault;
use crate::observe::request_report::Reports;

/// The links that streams may be opened on: those that this node dials, by id, and those of exposed
/// services, by public name.
pub struct LinkTable {
    exits: ArcSwap<HashMap<Arc<str>, Arc<dyn ExitLink>>>,
    services: Arc<dyn ServiceDirectory>,
}

/// A link that this node dials and keeps up.
pub trait ExitLink: Send + Sync {
    /// The session; none while the link is down.
    fn session(&self) -> watch::Receiver<Option<Link>>;

    /// Where the link leads, for messages.
    fn address(&self) -> Target;
}

/// Who serves each public name.
pub trait ServiceDirectory: Send + Sync {
    /// Opens a stream of the service `name` for `visitor`, who counts as `client`. Waits while the
    /// agent is away, as long as `settings` say.
    fn open<'a>(
        &'a self,
        name: &'a Name,
        visitor: Option<SocketAddr>,
        client: Client,
        carries: Carries,
        settings: &'a LinkSettings,
    ) -> Pending<'a, OpenedOnLink>;

    /// Waits in the same way until at least one session serves `name`, and returns how many do.
    fn until_held<'a>(
        &'a self,
        name: &'a Name,
        client: Client,
        settings: &'a LinkSettings,
    ) -> Pending<'a, usize>;

    /// Waits for `pause` because the agents of `name` are busy, in one of the places of visitors
    /// that wait. Fails when `client` has more than its share of them, or when this node stops.
    fn pause<'a>(
        &'a self,
        name: &'a Name,
        client: Client,
        settings: &'a LinkSettings,
        pause: Duration,
    ) -> Pending<'a, ()>;
}

/// The future of an answer; dropping it cancels the wait.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, Fault>> + Send + 'a>>;

/// What a stream of a link is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// Anything: a FIN of one side is one of the other.
    Anything,
    /// HTTP requests: a FIN of the opener comes behind the last response, and ends the stream in
    /// order, if the far side agrees ([`byway_link::wire::Open::ordered_end`]).
    Requests,
}

/// A stream of a link, as the far side has opened it.
pub struct OpenedOnLink {
    /// The stream.
    pub dialled: Dialled,
    /// Whether a FIN of the opener ends it in order.
    pub ordered_end: bool,
    /// The Host header of requests on it, where the agent asks for one.
    pub host: Option<Arc<str>>,
    /// Where its requests are reported, if the agent asks for it.
    pub reports: Option<Arc<Reports>>,
}

impl LinkTable {
    /// No links to exits yet.
    pub fn new(services: Arc<dyn ServiceDirectory>) -> Self {
        Self {
            exits: ArcSwap::default(),
            services,
        }
    }

    /// The links that this node dials, by their ids.
    pub fn set_exits(&self, exits: HashMap<Arc<str>, Arc<dyn ExitLink>>) {
        self.exits.store(Arc::new(exits));
    }

    /// The link with this id.
    pub fn exit(&self, id: &str) -> Option<Arc<dyn ExitLink>> {
        self.exits.load().get(id).map(Arc::clone)
    }

    /// Who serves each public name.
    pub fn services(&self) -> &dyn ServiceDirectory {
        &*self.services
    }
}
