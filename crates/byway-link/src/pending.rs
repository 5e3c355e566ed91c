//! Pending: a request that is not answered yet: for a session, or to attach to an existing one.
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

/// A hello that is not answered yet. Dropping it closes the connection without a message.
#[must_use = "the peer waits for an answer"]
pub struct Pending {
    pub(crate) arrived: Authenticated,
    pub(crate) hello: Hello,
    pub(crate) sessions: Sessions,
    pub(crate) settings: Settings,
    pub(crate) runtime: Handle,
}

impl Pending {
    /// The received hello. Nothing of it is proven.
    pub const fn hello(&self) -> &Hello {
        &self.hello
    }

    /// The fingerprint of the proven key.
    pub const fn identity(&self) -> Fingerprint {
        self.arrived.identity
    }

    /// The address of the peer.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.arrived.carrier.peer()
    }

    /// The kind of carrier that it uses.
    pub fn carrier(&self) -> CarrierKind {
        self.arrived.carrier.kind()
    }

    /// The highest version that both sides speak.
    pub(crate) fn version(&self) -> Option<u32> {
        let (from, to) = VERSIONS;
        let best = self.hello.version_to.min(to);
        (best >= self.hello.version_from.max(from)).then_some(best)
    }

    /// Welcomes the peer and starts the session. Takes as long as one message. Cancel safe: a
    /// session that has no carrier yet ends.
    ///
    /// # Errors
    /// The peer has disconnected meanwhile, or there are no random numbers.
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
            .map_err(|_| LinkError::Here("cannot get random numbers for a session".into()))?;
        let program = self.settings.program.clone();
        let grant = GrantId::from_slice(&self.hello.grant);
        let (link, inbox) = Link::new(
            id,
            arrived.identity,
            grant,
            Side::Acceptor,
            self.runtime.clone(),
        );
        // Registered before the welcome is sent: the peer's next carrier may arrive first.
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
        // The dialler never attaches a carrier of the other kind, so a trial of it would change
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

    /// Refuses it, with a sentence for the users of the other side.
    pub async fn refuse(self, why: Refusal, detail: impl Into<String>) -> LinkError {
        refuse_with(self.arrived, why, detail.into()).await
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pending({:?}, {:?})", self.identity(), self.peer())
    }
}

/// Ends a session whose welcome was cancelled or failed.
struct EndOnDrop(Option<Link>);

impl EndOnDrop {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        if let Some(link) = &self.0 {
            link.end("the peer disconnected before it was welcomed");
        }
    }
}

/// A carrier with the key and the session id of an existing session. Dropping it closes the
/// connection.
#[must_use = "the peer waits for an answer"]
pub struct Attaching {
    pub(crate) arrived: ArrivedCarrier,
    pub(crate) link: Link,
}

/// What is to be attached.
pub(crate) enum ArrivedCarrier {
    Carrier(Authenticated),
    /// One connection of a carrier that is a bundle.
    Part(Box<ArrivedPart>),
}

impl Attaching {
    /// The kind of carrier.
    pub fn carrier(&self) -> CarrierKind {
        match &self.arrived {
            ArrivedCarrier::Carrier(arrived) => arrived.carrier.kind(),
            ArrivedCarrier::Part(_) => CarrierKind::Tls,
        }
    }

    /// The grant by which its session was welcomed, if its hello named one.
    pub fn grant(&self) -> Option<GrantId> {
        self.link.grant()
    }

    /// Makes it a carrier of its session, unless that has no room. The check and the reservation
    /// are one step. A connection of a bundle first waits for the others, for at most 10 s;
    /// together they are one carrier. Cancel safe.
    ///
    /// # Errors
    /// The session has no room or is over, and the other side was informed; or the other
    /// connections did not come.
    pub async fn accept(self) -> Result<Attached, LinkError> {
        let arrived = match self.arrived {
            ArrivedCarrier::Carrier(arrived) => arrived,
            ArrivedCarrier::Part(part) => return Box::pin(part.accept(self.link)).await,
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

    /// Refuses it, with a sentence for the users of the other side. Its session continues.
    pub async fn refuse(self, why: Refusal, detail: impl Into<String>) -> LinkError {
        match self.arrived {
            ArrivedCarrier::Carrier(arrived) => refuse_with(arrived, why, detail.into()).await,
            ArrivedCarrier::Part(part) => gathering::refuse(part.tls, why, detail.into()).await,
        }
    }
}

impl fmt::Debug for Attaching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peer = match &self.arrived {
            ArrivedCarrier::Carrier(arrived) => arrived.carrier.peer(),
            ArrivedCarrier::Part(part) => part.peer,
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
    /// The kind of carrier.
    pub const fn carrier(&self) -> CarrierKind {
        self.kind
    }

    /// Resolves when the carrier has ended, with its session or before. Cancel safe.
    pub async fn ended(&self) {
        self.watch.ended().await;
    }
}
