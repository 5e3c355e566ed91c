//! Dialler: the dialling side: makes a session from a join string, over the first carrier that gets
//! through.
//!
//! In:    a join string, our key, the epoch of this process and the number of the attempt.
//! Out:   a session, or why there is none and whether a retry can help.
//! Never: sends the grant's secret before the peer has proven the pinned key; never gives QUIC a
//!        head start longer than [`TLS_STARTS`] over TLS.
//!
//! While an attempt has no reply, new connections start beside the old ones every 1.5 s
//! (`attempts::NEXT_ROUND`). The old ones are for a slow path; the new ones for a path that has
//! recovered, where the next packet of an old one could be seconds away, as each retransmission
//! waits twice as long as the one before (RFC 6298 section 5.5, RFC 9002 section 6.2).

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
use crate::quic::{self, QuicError};
use crate::segments::SegmentSize;
use crate::stream::LinkStream;
use crate::tls;
use crate::wire::{Attach, Control, Hello, Purpose, Refusal, VERSIONS};

/// How long QUIC is tried alone.
pub const TLS_STARTS: Duration = Duration::from_millis(250);

/// The delay between two addresses of one name (RFC 8305 section 5).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// The most addresses of a name that are tried by QUIC.
const MOST_ADDRESSES: usize = 4;

/// Which carriers are allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Carriers {
    /// QUIC, or TLS if QUIC does not get through.
    #[default]
    Auto,
    /// QUIC only.
    Quic,
    /// TLS over TCP only.
    Tls,
}

/// Dials the node of one join string: makes a session over QUIC or TLS, whichever is authenticated
/// first. Cheap to clone.
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

/// Receives the failure of TLS while QUIC is still tried. The failure of QUIC alone is not
/// reported: TLS is its fallback.
type Report = Arc<dyn Fn(&LinkError) + Send + Sync>;

type Authenticating = Pin<Box<dyn Future<Output = Result<Authenticated, LinkError>> + Send>>;

impl Dialler {
    /// A dialler for `join` with the given purpose, which proves `key`. `dial` resolves names and
    /// dials TCP; sessions run on `runtime`.
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

    /// Sets `report` to receive the failure of TLS while [`Dialler::connect`] still tries QUIC.
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

    /// Makes a session, within `patience`. `epoch` is the one of this process; `attempt` increases
    /// with every call.
    ///
    /// # Errors
    /// [`LinkError`]: a final error of any carrier, or else the last error.
    pub async fn connect(
        &self,
        epoch: u64,
        attempt: u64,
        patience: Duration,
    ) -> Result<(Link, Inbox), LinkError> {
        let mut failure = None;
        match timeout(patience, self.race(epoch, attempt, &mut failure)).await {
            Ok(raced) => raced,
            // The error of one carrier is more useful than the timeout of the other.
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
            let session = match authenticated {
                Ok(authenticated) => self.send_hello(authenticated, epoch, attempt).await,
                Err(error) => Err(error),
            };
            match session {
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

    /// Attaches an authenticated carrier to the session.
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
        let reply = match authenticated.control.recv_first().await {
            Ok(reply) => reply,
            Err(error) => return Err(authenticated.why(error).await),
        };
        match reply {
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

    /// The segment size of new TCP connections.
    fn segment_size(&self) -> SegmentSize {
        self.settings
            .segments
            .size(&self.join.address.to_string(), Instant::now())
    }

    /// Connects over TLS, with segments of this size.
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

    /// Makes a TLS session with `address` for the application protocol `alpn`, with segments of
    /// this size.
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
                Ok(error) => self.tls_error(&error),
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
        let quic = quic.await.map_err(|error| self.quic_error(&error))?;
        let tasks = TaskTracker::new();
        let control = quic
            .open(&[], None, &tasks)
            .await
            .map_err(|error| LinkError::Unreachable(QuicError::from(error).to_string()))?;
        control.favour();
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

    fn quic_error(&self, error: &QuicError) -> LinkError {
        // A failed handshake is a transport error whose cause is an error of rustls.
        if let QuicError::Connection(ConnectionError::TransportError(transport)) = error {
            let text = transport.to_string();
            if text.contains(tls::WRONG_PIN) {
                return self.tls_error(&rustls::Error::General(tls::WRONG_PIN.into()));
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

    fn tls_error(&self, error: &rustls::Error) -> LinkError {
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

/// The pin identifies the peer and no name is sent, but rustls requires one.
fn no_name() -> ServerName<'static> {
    ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into())
}

#[cfg(test)]
mod tests;
