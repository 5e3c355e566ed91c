//! Gathering: collects the connections of a bundle, which arrive one by one; the last one makes
//! them a carrier of their session.
//!
//! In:    connections whose peer has proven the key of a session and names that session, a bundle
//!        and its part of it.
//! Out:   one carrier that is attached to the session, or a refusal that the peer can read.
//! Never: holds more than one unfinished bundle of a session, holds one longer than
//!        [`GATHER_TIMEOUT`], or keeps parts of an abandoned one.

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

/// How long it may take to write a short message on a connection that carries nothing else.
const SAY_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) type Tls = tokio_rustls::TlsStream<AsIo>;

/// One connection of a bundle. Its session exists, and its key is that session's.
pub(crate) struct ArrivedPart {
    pub(crate) tls: Tls,
    pub(crate) part: Part,
    pub(crate) peer: Option<std::net::SocketAddr>,
    pub(crate) identity: Fingerprint,
    pub(crate) settings: Settings,
    pub(crate) runtime: Handle,
}

/// The parts of a bundle that have arrived. Dropping it closes them.
pub(crate) struct Gathering {
    bundle: u64,
    parts: Vec<Option<Tls>>,
    place: CarrierSlot,
    attached: watch::Sender<Option<CarrierHandle>>,
}

/// Why a part was refused.
#[derive(Debug, thiserror::Error)]
enum PartError {
    #[error("no such part of a bundle")]
    NoPart,
    #[error("another bundle of that session is not complete yet")]
    Another,
    #[error(transparent)]
    NoSlot(#[from] NoCarrierSlot),
}

impl PartError {
    const fn refusal(&self) -> Refusal {
        match self {
            Self::NoPart => Refusal::Protocol,
            Self::Another | Self::NoSlot(NoCarrierSlot::Full) => Refusal::Busy,
            Self::NoSlot(NoCarrierSlot::Over) => Refusal::Gone,
        }
    }
}

enum PartAdded {
    /// It is the last one.
    Last(Gathering),
    Waits(Waiting),
}

/// A part that waits for the others. Dropping it before all have arrived abandons the bundle.
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
    /// Abandons the bundle, unless all of its parts have arrived.
    fn give_up(&self) -> bool {
        let is_ours =
            |gathering: &mut Gathering| gathering.attached.subscribe().same_channel(&self.attached);
        let mut gathering = self.link.gathering().lock();
        let given_up = gathering.take_if(is_ours);
        // Dropping it takes another lock.
        drop(gathering);
        given_up.is_some()
    }

    /// Waits until the carrier is attached or the bundle is abandoned.
    async fn end(&mut self) {
        // An error means that the bundle was abandoned.
        let _ = self.attached.wait_for(Option::is_some).await;
    }

    /// Waits for the carrier and returns it.
    async fn wait_for_carrier(mut self) -> Result<Attached, LinkError> {
        if timeout(GATHER_TIMEOUT, self.end()).await.is_err() && !self.give_up() {
            // The last part has just arrived: the carrier is about to be attached.
            self.end().await;
        }
        let attached = self.attached.borrow().clone();
        match attached {
            Some(watch) => Ok(Attached {
                kind: CarrierKind::Tls,
                watch,
            }),
            None => Err(LinkError::Unreachable(
                "the other connections of its bundle did not arrive".into(),
            )),
        }
    }
}

impl ArrivedPart {
    /// Waits until all parts have arrived, and attaches them to `link` as one carrier. Cancel safe:
    /// the bundle is then abandoned.
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
            Ok(PartAdded::Waits(waiting)) => return waiting.wait_for_carrier().await,
            Ok(PartAdded::Last(gathering)) => gathering,
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

/// Adds a part to those that have arrived.
fn take(link: &Link, part: &Part, tls: Tls) -> Result<PartAdded, (PartError, Box<Tls>)> {
    let (index, count) = (part.part as usize, part.parts as usize);
    if !(2..=MOST_CONNECTIONS).contains(&count) || index >= count {
        return Err((PartError::NoPart, Box::new(tls)));
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
        return Err((PartError::Another, Box::new(tls)));
    };
    let is_of_these = there.parts.len() == count;
    match there
        .parts
        .get_mut(index)
        .filter(|there| is_of_these && there.is_none())
    {
        Some(free) => *free = Some(tls),
        None => return Err((PartError::NoPart, Box::new(tls))),
    }
    if there.parts.iter().any(Option::is_none) {
        let attached = there.attached.subscribe();
        return Ok(PartAdded::Waits(Waiting {
            link: link.clone(),
            attached,
        }));
    }
    match gathering.take() {
        Some(whole) => Ok(PartAdded::Last(whole)),
        // It was set above, under the same lock.
        None => unreachable!(),
    }
}

/// Sends the refusal and closes the connection in order.
pub(crate) async fn refuse(mut tls: Tls, why: Refusal, detail: String) -> LinkError {
    if send(
        &mut tls,
        Control::Refused(Refused::cut(why, detail.clone())),
    )
    .await
    .is_ok()
    {
        // A connection that is broken needs no shutdown.
        let _ = timeout(SAY_TIMEOUT, tls.shutdown()).await;
    }
    LinkError::Refused { why, detail }
}

/// Sends a message on a connection that carries no frames yet.
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
        Err(_) => Err(broken("it accepts no data")),
    }
}

/// Receives the first message of a connection that carries no frames yet, and reads no byte beyond
/// it. The caller sets the deadline.
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
                return Err(broken("it sent an unknown message"));
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
