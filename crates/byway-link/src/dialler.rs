//! Dialler: the side of links that dials: from a join string to a session, by whichever carrier
//! gets through.
//!
//! In:    a join string, our key, the epoch of this process and the number of the try.
//! Out:   a session, or why there is none and whether waiting helps.
//! Never: sends the grant's secret before the pinned key was proven; never waits for QUIC longer
//!        than [`TLS_STARTS`] before TLS is tried beside it.
//!
//! While a try is not answered, new connections start beside the old ones every 1.5 s
//! (`attempts::NEXT_ROUND`): the old ones serve a path that is slow, the new ones a path that comes
//! back, whose next packet would else be seconds away (RFC 6298 section 5.5, RFC 9002 section 6.2:
//! each retransmission waits twice as long as the one before).

mod attempts;
mod bundle;
mod keeping;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use byway_dial::{AddressRules, AsIo, DialError, Target, peer_text, plain_words};
use futures_util::future::select_ok;
use quinn::ConnectionError;
use rustls::pki_types::ServerName;
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_util::task::TaskTracker;

use self::attempts::Attempts;
use crate::authenticated::{Authenticated, adopt, over_quic, over_tls, tune};
use crate::carrier::CarrierKind;
use crate::error::LinkError;
use crate::gathering::Tls;
use crate::join::JoinString;
use crate::key::Key;
use crate::large_packets::Dialled;
use crate::link::{Inbox, Link, SessionId, Settings};
use crate::mux::core::Side;
use crate::quic::{self, Quic, QuicError};
use crate::segments::SegmentSize;
use crate::stream::LinkStream;
use crate::tls;
use crate::wire::{Attach, Control, Hello, Purpose, Refusal, VERSIONS};

/// How long QUIC has the field to itself.
pub const TLS_STARTS: Duration = Duration::from_millis(250);

/// Between two addresses of one name (RFC 8305 section 5).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// Addresses of a name that are tried by QUIC.
const MOST_ADDRESSES: usize = 4;

/// Which carriers may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Carriers {
    /// QUIC, and TLS when it does not get through.
    #[default]
    Auto,
    /// QUIC alone.
    Quic,
    /// TLS over TCP alone.
    Tls,
}

/// See the head of the file. Cheap to clone.
#[derive(Clone)]
pub struct Dialler {
    key: Key,
    join: JoinString,
    purpose: Purpose,
    carriers: Carriers,
    dial: byway_dial::Dialler,
    settings: Settings,
    runtime: Handle,
    report: Option<Report>,
}

/// Takes the failure of TLS while QUIC is still being tried. The other way round it is no news: TLS
/// is there for it.
type Report = Arc<dyn Fn(&LinkError) + Send + Sync>;

type Authenticating = Pin<Box<dyn Future<Output = Result<Authenticated, LinkError>> + Send>>;

impl Dialler {
    /// A dialler for `join`, for that purpose, that proves `key`. Names are resolved and TCP is
    /// dialled by `dial`; sessions live on `runtime`.
    pub fn new(
        key: Key,
        join: JoinString,
        purpose: Purpose,
        carriers: Carriers,
        dial: byway_dial::Dialler,
        settings: Settings,
        runtime: Handle,
    ) -> Self {
        Self {
            key,
            join,
            purpose,
            carriers,
            dial,
            settings,
            runtime,
            report: None,
        }
    }

    /// The same, and `report` takes the failure of TLS while [`Dialler::connect`] still tries QUIC.
    #[must_use]
    pub fn reporting(self, report: impl Fn(&LinkError) + Send + Sync + 'static) -> Self {
        Self {
            report: Some(Arc::new(report)),
            ..self
        }
    }

    /// The join string; it prints without its secret.
    pub const fn join(&self) -> &JoinString {
        &self.join
    }

    /// Makes a session, within `patience`. `epoch` is this process's, `attempt` rises with every
    /// call.
    ///
    /// # Errors
    /// [`LinkError`]; of several carriers' errors one that is final, or else the last.
    pub async fn connect(
        &self,
        epoch: u64,
        attempt: u64,
        patience: Duration,
    ) -> Result<(Link, Inbox), LinkError> {
        let mut failure = None;
        match timeout(patience, self.race(epoch, attempt, &mut failure)).await {
            Ok(raced) => raced,
            // What one carrier has said is worth more than the silence of the other.
            Err(_) => Err(failure.unwrap_or_else(|| self.silent(patience))),
        }
    }

    fn silent(&self, patience: Duration) -> LinkError {
        let tried = match self.carriers {
            Carriers::Auto => "neither by QUIC (UDP) nor by TLS (TCP)",
            Carriers::Quic => "by QUIC (UDP)",
            Carriers::Tls => "by TLS (TCP)",
        };
        let (at, after) = (&self.join.address, patience.as_secs_f32());
        LinkError::Unreachable(format!("{at} did not answer within {after} s, {tried}"))
    }

    async fn race(
        &self,
        epoch: u64,
        attempt: u64,
        failure: &mut Option<LinkError>,
    ) -> Result<(Link, Inbox), LinkError> {
        let mut attempts = Attempts::new(self, self.segment_size());
        while let Some((kind, authenticated)) = attempts.next().await {
            let control = match authenticated {
                Ok(authenticated) => self.send_hello(authenticated, epoch, attempt).await,
                Err(error) => Err(error),
            };
            match control {
                Ok((link, inbox)) => {
                    self.keep(&link, attempts.quic_under_way());
                    return Ok((link, inbox));
                }
                Err(error) if error.is_final() => return Err(error),
                Err(error) => {
                    tracing::debug!("{} by {kind}: {error}", self.join.address);
                    let is_tls_alone = kind == CarrierKind::Tls && attempts.is_quic_under_way();
                    if let Some(report) = self.report.as_ref().filter(|_| is_tls_alone) {
                        report(&error);
                    }
                    *failure = Some(error);
                }
            }
        }
        Err(failure
            .take()
            .unwrap_or_else(|| LinkError::Here("no carrier may be used".into())))
    }

    /// Makes an authenticated carrier one of the session's.
    async fn attach(&self, link: &Link, mut authenticated: Authenticated) {
        let attach = Control::Attach(Attach {
            session: link.id().to_vec(),
        });
        let Ok(place) = link.reserve() else { return };
        match authenticated.control.send(attach).await {
            Ok(()) => {
                adopt(link, place, authenticated);
            }
            Err(error) => authenticated.carrier.end(error.to_string()),
        }
    }

    async fn send_hello(
        &self,
        mut authenticated: Authenticated,
        epoch: u64,
        attempt: u64,
    ) -> Result<(Link, Inbox), LinkError> {
        let (version_from, version_to) = VERSIONS;
        let hello = Hello {
            version_from,
            version_to,
            features: self.settings.features,
            grant: self.join.id.as_bytes().to_vec(),
            secret: self.join.secret.expose().to_vec(),
            epoch,
            attempt,
            program: self.settings.program.clone(),
            purpose: self.purpose.number(),
            one_kind: self.carriers != Carriers::Auto,
        };
        if let Err(error) = authenticated.control.send(Control::Hello(hello)).await {
            return Err(authenticated.why(error).await);
        }
        let heard = match authenticated.control.recv_first().await {
            Ok(heard) => heard,
            Err(error) => return Err(authenticated.why(error).await),
        };
        match heard {
            Control::Welcome(welcome) => {
                let id = SessionId::try_from(welcome.session.as_slice());
                let id = id.map_err(|_| self.no_byway("its welcome names no session"))?;
                let peer = authenticated.identity;
                let (link, inbox) = Link::new(id, peer, None, Side::Dialler, self.runtime.clone());
                link.agree(welcome.features & self.settings.features);
                if self.carriers != Carriers::Auto {
                    link.keep_to_one_kind();
                }
                let place = link
                    .reserve()
                    .map_err(|error| LinkError::Here(error.to_string()))?;
                adopt(&link, place, authenticated);
                Ok((link, inbox))
            }
            Control::Refused(refused) => {
                let why = Refusal::from_number(refused.why);
                Err(LinkError::Refused {
                    why,
                    detail: format!(
                        "{} refuses: {}",
                        self.join.address,
                        peer_text(&refused.detail)
                    ),
                })
            }
            _ => Err(self.no_byway("it answered a hello with something else")),
        }
    }

    /// How large the segments of new TCP connections may be.
    fn segment_size(&self) -> SegmentSize {
        self.settings
            .segments
            .size(&self.join.address.to_string(), Instant::now())
    }

    /// Over TLS, with segments of this size.
    async fn by_tls(&self, size: SegmentSize) -> Result<Authenticated, LinkError> {
        let (tls, peer) = self.tls_to(&self.join.address, tls::ALPN, size).await?;
        let over = over_tls(
            tls,
            peer,
            self.join.pin,
            Side::Dialler,
            &self.settings,
            &self.runtime,
        );
        over.carrier.set_dialled(self.dialled(size));
        Ok(over)
    }

    /// How a connection with segments of this size was dialled.
    fn dialled(&self, size: SegmentSize) -> Dialled {
        let (address, segments) = (
            self.join.address.to_string().into(),
            Arc::clone(&self.settings.segments),
        );
        Dialled {
            address,
            size,
            segments,
        }
    }

    /// A TLS session with `address` for the application protocol `alpn`, with segments of this
    /// size.
    async fn tls_to(
        &self,
        address: &Target,
        alpn: &[u8],
        size: SegmentSize,
    ) -> Result<(Tls, Option<SocketAddr>), LinkError> {
        let mut config = tls::dialler(&self.key, self.join.pin)
            .map_err(|error| LinkError::Here(error.to_string()))?;
        config.alpn_protocols = vec![alpn.to_vec()];
        let dial = self.dial.clone().with_segments_of(size.bytes());
        let dialled = dial
            .open(address, &AddressRules::open())
            .await
            .map_err(unreachable)?;
        tune(&dialled.stream, self.settings.congestion);
        let connector = TlsConnector::from(Arc::new(config));
        let session = connector
            .connect(no_name(), AsIo(dialled.stream))
            .await
            .map_err(|error| match error.downcast::<rustls::Error>() {
                Ok(error) => self.told(&error),
                Err(error) => LinkError::Unreachable(format!(
                    "{} broke off the handshake: {}",
                    self.join.address,
                    peer_text(&error.to_string())
                )),
            })?;
        if session.get_ref().1.alpn_protocol() != Some(alpn) {
            return Err(self.no_byway("it did not agree on byway/1"));
        }
        Ok((tokio_rustls::TlsStream::from(session), dialled.peer))
    }

    fn by_quic(&self) -> Authenticating {
        let this = self.clone();
        Box::pin(async move {
            let found = this
                .dial
                .addresses(&this.join.address, &AddressRules::open())
                .await
                .map_err(unreachable)?;
            let tries = found
                .iter()
                .take(MOST_ADDRESSES)
                .enumerate()
                .map(|(place, address)| {
                    let (this, address) = (this.clone(), address.addr());
                    let wait = NEXT_ADDRESS * u32::try_from(place).unwrap_or(u32::MAX);
                    Box::pin(async move {
                        sleep(wait).await;
                        this.quic_to(address).await
                    })
                });
            Ok(select_ok(tries).await?.0)
        })
    }

    async fn quic_to(&self, address: SocketAddr) -> Result<Authenticated, LinkError> {
        let quic = quic::dial(address, &self.key, self.join.pin, self.settings.congestion);
        let quic = quic.await.map_err(|error| self.quic_told(&error))?;
        let tasks = TaskTracker::new();
        let control = quic
            .open(&[], None, &tasks)
            .await
            .map_err(|error| LinkError::Unreachable(QuicError::from(error).to_string()))?;
        Quic::favour(&control);
        let control = LinkStream::quic(control);
        Ok(over_quic(
            quic,
            control,
            self.join.pin,
            tasks,
            &self.settings,
            &self.runtime,
        ))
    }

    fn quic_told(&self, error: &QuicError) -> LinkError {
        // A failed handshake is a transport error whose cause is rustls's.
        if let QuicError::Connection(ConnectionError::TransportError(transport)) = error {
            let text = transport.to_string();
            if text.contains(tls::WRONG_PIN) {
                return self.told(&rustls::Error::General(tls::WRONG_PIN.into()));
            }
            if text.contains("BadSignature") || text.contains("bad signature") {
                return LinkError::Unproven {
                    at: self.join.address.to_string(),
                };
            }
        }
        LinkError::Unreachable(format!(
            "{} by QUIC: {}",
            self.join.address,
            plain_words(&error.to_string())
        ))
    }

    fn told(&self, error: &rustls::Error) -> LinkError {
        let at = self.join.address.to_string();
        match error {
            error if tls::is_wrong_pin(error) => LinkError::WrongPin { at },
            error if tls::is_unproven(error) => LinkError::Unproven { at },
            other => self.no_byway(&plain_words(&other.to_string())),
        }
    }

    fn no_byway(&self, detail: &str) -> LinkError {
        LinkError::NoByway {
            at: self.join.address.to_string(),
            detail: peer_text(detail).to_string(),
        }
    }
}

fn unreachable(error: DialError) -> LinkError {
    LinkError::Unreachable(error.to_string())
}

/// The pin says who is meant, and no name is sent; rustls wants one all the same.
fn no_name() -> ServerName<'static> {
    ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into())
}

#[cfg(test)]
mod tests;
