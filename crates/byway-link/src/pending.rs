//! Pending: what a carrier has asked for and what is not answered yet: a session, or to be one more
//! carrier of an old one.
//!
//! In:    an authenticated carrier and its first message, from the acceptor.
//! Out:   a session, a carrier of one, or a refusal that the other side can read.
//! Never: lets the other side open a stream before it was answered.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::authenticated::{Authenticated, adopt, refuse_with};
use crate::carrier::{CarrierHandle, CarrierKind};
use crate::error::LinkError;
use crate::gathering::{self, ArrivedPart};
use crate::join::GrantId;
use crate::key::Fingerprint;
use crate::link::{Inbox, Link, NoCarrierSlot, SessionId, Settings};
use crate::mux::core::Side;
use crate::wire::{Control, Hello, Refusal, VERSIONS, Welcome};

/// The sessions of an acceptor.
pub(crate) type Sessions = Arc<Mutex<HashMap<SessionId, Link>>>;

/// A hello that was heard and not answered. Dropping it closes the connection without a word.
#[must_use = "somebody waits for an answer"]
pub struct Pending {
    pub(crate) arrived: Authenticated,
    pub(crate) hello: Hello,
    pub(crate) sessions: Sessions,
    pub(crate) settings: Settings,
    pub(crate) runtime: Handle,
}

impl Pending {
    /// What was said. Nothing of it is proven.
    pub const fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Whose key was proven.
    pub const fn identity(&self) -> Fingerprint {
        self.arrived.identity
    }

    /// Where the peer is.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.arrived.carrier.peer()
    }

    /// By which carrier it came.
    pub fn carrier(&self) -> CarrierKind {
        self.arrived.carrier.kind()
    }

    /// The highest version that both speak.
    pub(crate) fn version(&self) -> Option<u32> {
        let (from, to) = VERSIONS;
        let best = self.hello.version_to.min(to);
        (best >= self.hello.version_from.max(from)).then_some(best)
    }

    /// Welcomes the peer: the session begins. Lasts as long as one message may take. Cancel safe: a
    /// session that has no carrier yet ends.
    ///
    /// # Errors
    /// The peer went away meanwhile, or no random numbers could be had.
    pub async fn welcome(self) -> Result<(Link, Inbox), LinkError> {
        let Some(version) = self.version() else {
            return Err(LinkError::Here(
                "there is no version that both sides speak".into(),
            ));
        };
        let mut arrived = self.arrived;
        let mut id: SessionId = [0; 16];
        SystemRandom::new()
            .fill(&mut id)
            .map_err(|_| LinkError::Here("no random numbers could be had".into()))?;
        let program = self.settings.program.clone();
        let grant = GrantId::from_slice(&self.hello.grant);
        let (link, inbox) = Link::new(
            id,
            arrived.identity,
            grant,
            Side::Acceptor,
            self.runtime.clone(),
        );
        // Known before it is welcomed: its next carrier may be faster than we are.
        self.sessions.lock().insert(id, link.clone());
        let sessions = Arc::clone(&self.sessions);
        let watched = link.clone();
        link.spawn(async move {
            watched.ended().await;
            sessions.lock().remove(&id);
        });
        let unfinished = EndOnDrop(Some(link.clone()));
        let place = link
            .reserve()
            .map_err(|error| LinkError::Here(error.to_string()))?;
        let features = self.hello.features & self.settings.features;
        link.agree(features);
        // The dialler never attaches a carrier of the other kind: a trial of it would change
        // nothing.
        if self.hello.one_kind {
            link.keep_to_one_kind();
        }
        let welcome = Welcome {
            version,
            features,
            session: id.to_vec(),
            program,
        };
        if let Err(error) = arrived.control.send(Control::Welcome(welcome)).await {
            return Err(arrived.why(error).await);
        }
        adopt(&link, place, arrived);
        unfinished.disarm();
        Ok((link, inbox))
    }

    /// Refuses it, with a sentence for the people on the other side.
    pub async fn refuse(self, why: Refusal, detail: impl Into<String>) -> LinkError {
        refuse_with(self.arrived, why, detail.into()).await
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pending({:?}, {:?})", self.identity(), self.peer())
    }
}

/// Ends a session whose beginning was given up.
struct EndOnDrop(Option<Link>);

impl EndOnDrop {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        if let Some(link) = &self.0 {
            link.end("it went away while it was welcomed");
        }
    }
}

/// A carrier whose key and session id are those of a session here. Dropping it closes the
/// connection.
#[must_use = "somebody waits for an answer"]
pub struct Attaching {
    pub(crate) arrived: IncomingStream,
    pub(crate) link: Link,
}

/// What asks to be attached.
pub(crate) enum IncomingStream {
    Carrier(Authenticated),
    /// One connection of a carrier that is a bundle.
    Part(Box<ArrivedPart>),
}

impl Attaching {
    /// By which carrier it came.
    pub fn carrier(&self) -> CarrierKind {
        match &self.arrived {
            IncomingStream::Carrier(arrived) => arrived.carrier.kind(),
            IncomingStream::Part(_) => CarrierKind::Tls,
        }
    }

    /// The grant by which its session was welcomed, if its hello named one.
    pub fn grant(&self) -> Option<GrantId> {
        self.link.grant()
    }

    /// Makes it a carrier of its session, unless that has enough of them. The check and the use are
    /// one step. A connection of a bundle waits for the others first, for at most 10 s; all of them
    /// are one carrier. Cancel safe.
    ///
    /// # Errors
    /// The session has its carriers, or is over; the other side was informed. Or the other
    /// connections did not come.
    pub async fn accept(self) -> Result<Attached, LinkError> {
        let arrived = match self.arrived {
            IncomingStream::Carrier(arrived) => arrived,
            IncomingStream::Part(part) => return Box::pin(part.accept(self.link)).await,
        };
        match self.link.reserve() {
            Ok(place) => Ok(adopt(&self.link, place, arrived)),
            Err(error) => {
                let why = match error {
                    NoCarrierSlot::Full => Refusal::Busy,
                    NoCarrierSlot::Over => Refusal::Gone,
                };
                Err(refuse_with(arrived, why, error.to_string()).await)
            }
        }
    }

    /// Refuses it, with a sentence for the people on the other side. Its session goes on.
    pub async fn refuse(self, why: Refusal, detail: impl Into<String>) -> LinkError {
        match self.arrived {
            IncomingStream::Carrier(arrived) => refuse_with(arrived, why, detail.into()).await,
            IncomingStream::Part(part) => gathering::refuse(part.tls, why, detail.into()).await,
        }
    }
}

impl fmt::Debug for Attaching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peer = match &self.arrived {
            IncomingStream::Carrier(arrived) => arrived.carrier.peer(),
            IncomingStream::Part(part) => part.peer,
        };
        write!(f, "Attaching({:?}, {peer:?})", self.carrier())
    }
}

/// A carrier that belongs to a session.
pub struct Attached {
    pub(crate) kind: CarrierKind,
    pub(crate) watch: CarrierHandle,
}

impl Attached {
    /// By which carrier it came.
    pub const fn carrier(&self) -> CarrierKind {
        self.kind
    }

    /// Resolves when the carrier has ended, with its session or before. Cancel safe.
    pub async fn ended(&self) {
        self.watch.ended().await;
    }
}
