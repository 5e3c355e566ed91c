//! Gathering: the connections of a bundle, which arrive one by one: the last one makes them a
//! carrier of their session.
//!
//! In:    connections whose peer has proven the key of a session and names that session, a bundle
//!        and its part of it.
//! Out:   one carrier that is attached to the session, or a refusal that the other side can read.
//! Never: more than one unfinished bundle of a session, longer than [`GATHER_TIMEOUT`], or parts of
//!        which one was given up.

use std::time::Duration;

use byway_dial::AsIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::authenticated::{adopt, over_bundle};
use crate::bundle::MOST_CONNECTIONS;
use crate::carrier::{CarrierHandle, CarrierKind};
use crate::error::LinkError;
use crate::key::Fingerprint;
use crate::link::{CarrierSlot, Link, NoCarrierSlot, Settings};
use crate::mux::core::Side;
use crate::pending::Attached;
use crate::wire::{
    self, Control, ControlMessage, MOST_FIRST_BYTES, Part, Refusal, Refused, VERSIONS, Welcome,
};

/// How long the first connection of a bundle waits for the last one.
const GATHER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a short message on a connection that carries nothing else may take to be written.
const SAY_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) type Tls = tokio_rustls::TlsStream<AsIo>;

/// One connection of a bundle, whose session is there and whose key is that session's.
pub(crate) struct ArrivedPart {
    pub(crate) tls: Tls,
    pub(crate) part: Part,
    pub(crate) peer: Option<std::net::SocketAddr>,
    pub(crate) identity: Fingerprint,
    pub(crate) settings: Settings,
    pub(crate) runtime: Handle,
}

/// The parts of a bundle that are there. Dropping it closes them.
pub(crate) struct Gathering {
    bundle: u64,
    parts: Vec<Option<Tls>>,
    place: CarrierSlot,
    attached: watch::Sender<Option<CarrierHandle>>,
}

/// Why a part was not taken.
#[derive(Debug, thiserror::Error)]
enum NotTaken {
    #[error("no such part of a bundle")]
    NoPart,
    #[error("another bundle of that session is not whole yet")]
    Another,
    #[error(transparent)]
    NoPlace(#[from] NoCarrierSlot),
}

impl NotTaken {
    const fn refusal(&self) -> Refusal {
        match self {
            Self::NoPart => Refusal::Protocol,
            Self::Another | Self::NoPlace(NoCarrierSlot::Full) => Refusal::Busy,
            Self::NoPlace(NoCarrierSlot::Over) => Refusal::Gone,
        }
    }
}

/// What became of a part.
enum Taken {
    /// It is the last one.
    Last(Gathering),
    Waits(Waiting),
}

/// A part that waits for the others. Dropping it before they are there gives the bundle up.
struct Waiting {
    link: Link,
    attached: watch::Receiver<Option<CarrierHandle>>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl Waiting {
    /// Gives the bundle up, unless all of its parts were there before.
    fn give_up(&self) -> bool {
        let is_ours =
            |gathering: &mut Gathering| gathering.attached.subscribe().same_channel(&self.attached);
        let mut gathering = self.link.gathering().lock();
        let given_up = gathering.take_if(is_ours);
        // Its end takes another lock.
        drop(gathering);
        given_up.is_some()
    }

    /// Waits until the carrier is attached, or will not be.
    async fn end(&mut self) {
        // An error means that the bundle was given up.
        let _ = self.attached.wait_for(Option::is_some).await;
    }

    /// The carrier, once it is attached.
    async fn for_the_others(mut self) -> Result<Attached, LinkError> {
        if timeout(GATHER_TIMEOUT, self.end()).await.is_err() && !self.give_up() {
            // The last part came at the last moment: this connection is of a carrier that is about
            // to be attached.
            self.end().await;
        }
        let attached = self.attached.borrow().clone();
        match attached {
            Some(watch) => Ok(Attached {
                kind: CarrierKind::Tls,
                watch,
            }),
            None => Err(LinkError::Unreachable(
                "the other connections of its bundle did not come".into(),
            )),
        }
    }
}

impl ArrivedPart {
    /// Waits until all parts are there; then they are one carrier of `link`. Cancel safe: the
    /// bundle is given up.
    pub(crate) async fn accept(self, link: Link) -> Result<Attached, LinkError> {
        let Self {
            tls,
            part,
            peer,
            identity,
            settings,
            runtime,
        } = self;
        let gathering = match take(&link, &part, tls) {
            Ok(Taken::Waits(waiting)) => return waiting.for_the_others().await,
            Ok(Taken::Last(gathering)) => gathering,
            Err((why, tls)) => return Err(refuse(*tls, why.refusal(), why.to_string()).await),
        };
        let Gathering {
            parts,
            place,
            attached: others,
            ..
        } = gathering;
        let (mut parts, session) = (
            parts.into_iter().flatten().collect::<Vec<_>>(),
            link.id().to_vec(),
        );
        for tls in &mut parts {
            let program = settings.program.clone();
            let welcome = Welcome {
                version: VERSIONS.1,
                features: 0,
                session: session.clone(),
                program,
            };
            send(tls, Control::Welcome(welcome)).await?;
        }
        let authenticated = over_bundle(parts, peer, identity, Side::Acceptor, &settings, &runtime);
        let attached = adopt(&link, place, authenticated);
        others.send_replace(Some(attached.watch.clone()));
        Ok(attached)
    }
}

/// Adds a part to those that are there.
fn take(link: &Link, part: &Part, tls: Tls) -> Result<Taken, (NotTaken, Box<Tls>)> {
    let (index, count) = (part.part as usize, part.parts as usize);
    if !(2..=MOST_CONNECTIONS).contains(&count) || index >= count {
        return Err((NotTaken::NoPart, Box::new(tls)));
    }
    let mut gathering = link.gathering().lock();
    if gathering.is_none() {
        let place = match link.reserve() {
            Ok(place) => place,
            Err(why) => return Err((why.into(), Box::new(tls))),
        };
        let parts = std::iter::repeat_with(|| None).take(count).collect();
        *gathering = Some(Gathering {
            bundle: part.bundle,
            parts,
            place,
            attached: watch::Sender::new(None),
        });
    }
    let there = gathering
        .as_mut()
        .filter(|there| there.bundle == part.bundle);
    let Some(there) = there else {
        return Err((NotTaken::Another, Box::new(tls)));
    };
    let is_of_these = there.parts.len() == count;
    match there
        .parts
        .get_mut(index)
        .filter(|there| is_of_these && there.is_none())
    {
        Some(free) => *free = Some(tls),
        None => return Err((NotTaken::NoPart, Box::new(tls))),
    }
    if there.parts.iter().any(Option::is_none) {
        let attached = there.attached.subscribe();
        return Ok(Taken::Waits(Waiting {
            link: link.clone(),
            attached,
        }));
    }
    match gathering.take() {
        Some(whole) => Ok(Taken::Last(whole)),
        // It was there a moment ago, under the same lock.
        None => unreachable!(),
    }
}

/// Says why not, and closes the connection in order.
pub(crate) async fn refuse(mut tls: Tls, why: Refusal, detail: String) -> LinkError {
    if send(
        &mut tls,
        Control::Refused(Refused::cut(why, detail.clone())),
    )
    .await
    .is_ok()
    {
        // A connection that is gone needs no end.
        let _ = timeout(SAY_TIMEOUT, tls.shutdown()).await;
    }
    LinkError::Refused { why, detail }
}

/// Says something on a connection that carries no frames yet.
pub(crate) async fn send(tls: &mut Tls, control: Control) -> Result<(), LinkError> {
    let mut bytes = Vec::new();
    wire::encode(&ControlMessage::from(control), &mut bytes);
    let writing = async {
        tls.write_all(&bytes).await?;
        tls.flush().await
    };
    match timeout(SAY_TIMEOUT, writing).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(broken(&error.to_string())),
        Err(_) => Err(broken("it takes nothing")),
    }
}

/// The first message of a connection that carries no frames yet, and no byte behind it. Under a
/// deadline of the caller's.
pub(crate) async fn hear(tls: &mut Tls) -> Result<Control, LinkError> {
    let mut bytes = Vec::new();
    loop {
        let decoded = wire::decode_control(&bytes, MOST_FIRST_BYTES)
            .map_err(|bad| broken(&bad.to_string()))?;
        match decoded {
            Some((
                ControlMessage {
                    control: Some(control),
                },
                _,
            )) => return Ok(control),
            Some((ControlMessage { control: None }, _)) => {
                return Err(broken("it said something unknown"));
            }
            None => {}
        }
        let (have, missing) = (bytes.len(), wire::missing(&bytes));
        bytes.resize(have + missing, 0);
        let room = bytes.get_mut(have..).unwrap_or_default();
        tls.read_exact(room)
            .await
            .map_err(|error| broken(&error.to_string()))?;
    }
}

fn broken(why: &str) -> LinkError {
    LinkError::Unreachable(format!(
        "a connection of a bundle broke: {}",
        byway_dial::plain_words(why)
    ))
}

#[cfg(test)]
mod tests;
