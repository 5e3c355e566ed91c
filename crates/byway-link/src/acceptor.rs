//! Acceptor: the accepting side of links: from a connection to a hello for the caller to judge.
//!
//! In:    TCP connections and QUIC handshakes, from any client that can reach the port.
//! Out:   [`Pending`] sessions with a proven key and an unproven claim; carriers to attach to
//!        existing sessions.
//! Never: waits for a peer without a deadline, and never welcomes a peer by itself.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use byway_dial::{AsIo, Stream, peer_text, plain_words};
use parking_lot::{Mutex, RwLock};
use quinn::{ConnectionError, ServerConfig, TransportErrorCode};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use crate::authenticated::{Authenticated, over_quic, over_tls, refuse_with, tune};
use crate::closed_early::{CLOSED_EARLY, ClosedEarly};
use crate::congestion::Congestion;
use crate::control::ControlError;
use crate::epoch;
use crate::error::{CLOSED, LinkError};
use crate::gathering::{self, ArrivedPart, Tls};
use crate::key::{Fingerprint, Key};
use crate::link::{Link, SessionId, Settings};
use crate::mux::core::Side;
use crate::pending::{ArrivedCarrier, Attaching, Pending, Sessions};
use crate::quic::{self, Quic, QuicError};
use crate::stream::{Counted, LinkStream};
use crate::tls;
use crate::wire::{Control, FEATURE_BUNDLE, Refusal, VERSIONS};

/// From the first byte of a connection to its first message.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Accepts links: does the handshake of TCP and QUIC connections and reads their first message. A
/// new session is returned for the caller to welcome or refuse, a further carrier for it to attach.
pub struct Acceptor {
    key: Key,
    tls: TlsAcceptor,
    /// For connections that are accepted from now on.
    settings: RwLock<Settings>,
    runtime: Handle,
    sessions: Sessions,
}

/// The progress of a connection before its first message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Progress {
    /// It has sent nothing that proves its address.
    Silent,
    /// Bytes have come from its address.
    Spoke,
    /// The handshake is done: the peer has proven its key.
    Proven,
}

/// The result of a connection's first message.
#[derive(Debug)]
pub enum Arrival {
    /// The peer requests a session.
    Hello(Box<Pending>),
    /// One more carrier for an existing session.
    Attach(Box<Attaching>),
}

impl Acceptor {
    /// An acceptor that proves `key`; sessions live on `runtime`.
    ///
    /// # Errors
    /// When rustls refuses the key.
    pub fn new(key: Key, settings: Settings, runtime: Handle) -> io::Result<Self> {
        let mut config = tls::acceptor(&key).map_err(io::Error::other)?;
        if settings.features & FEATURE_BUNDLE != 0 {
            config.alpn_protocols.push(tls::BUNDLE_ALPN.to_vec());
        }
        let (tls, settings) = (TlsAcceptor::from(Arc::new(config)), RwLock::new(settings));
        Ok(Self {
            key,
            tls,
            settings,
            runtime,
            sessions: Arc::default(),
        })
    }

    /// Sets the limits of connections that are accepted from now on; existing ones keep theirs.
    pub fn set_limits(&self, streams: u32, congestion: Congestion) {
        let is_set =
            |settings: &Settings| (settings.streams, settings.congestion) == (streams, congestion);
        if !is_set(&self.settings.read()) {
            let mut settings = self.settings.write();
            (settings.streams, settings.congestion) = (streams, congestion);
        }
    }

    /// The settings of the next connection.
    pub fn settings(&self) -> Settings {
        self.settings.read().clone()
    }

    /// The fingerprint that diallers pin.
    pub fn pin(&self) -> Fingerprint {
        self.key.fingerprint()
    }

    /// The number of sessions.
    pub fn sessions(&self) -> usize {
        self.sessions.lock().len()
    }

    /// Accepts QUIC on `socket`.
    ///
    /// # Errors
    /// The system error.
    pub fn listen_quic(&self, socket: std::net::UdpSocket) -> io::Result<QuicListener> {
        let _inside = self.runtime.enter();
        let congestion = self.settings.read().congestion;
        let (endpoint, config) = quic::listen(socket, &self.key, congestion)?;
        let config = QuicConfig {
            current: Mutex::new((congestion, Arc::new(config))),
        };
        Ok(QuicListener {
            endpoint,
            unproven: Arc::default(),
            closed_early: Arc::default(),
            config: Arc::new(config),
        })
    }

    /// Accepts a TCP connection: TLS, then its first message, both within [`HANDSHAKE_TIMEOUT`].
    /// The carrier runs on `runtime`.
    ///
    /// # Errors
    /// [`LinkError`]; the connection is closed.
    pub async fn tcp(&self, stream: Stream, runtime: &Handle) -> Result<Arrival, LinkError> {
        self.tcp_reporting(stream, runtime, |_| {}).await
    }

    /// Like [`Acceptor::tcp`]; `report` is called with each step of its progress.
    ///
    /// # Errors
    /// As for [`Acceptor::tcp`].
    pub async fn tcp_reporting(
        &self,
        stream: Stream,
        runtime: &Handle,
        report: impl Fn(Progress) + Send + Sync,
    ) -> Result<Arrival, LinkError> {
        let arrived = async {
            let peer = byway_dial::Pipe::peer_addr(&stream);
            let settings = self.settings();
            tune(&stream, settings.congestion);
            // The handshake reports a failure.
            if let Some(tcp) = stream.as_tcp()
                && tcp.peek(&mut [0]).await.is_ok_and(|bytes| bytes > 0)
            {
                report(Progress::Spoke);
            }
            let session = self
                .tls
                .accept(AsIo(stream))
                .await
                .map_err(|error| no_tls(peer, error))?;
            let (_, connection) = session.get_ref();
            let identity = tls::identity(connection.peer_certificates());
            let identity = identity.ok_or_else(|| unauthenticated(peer, "it presented no key"))?;
            let is_part = match connection.alpn_protocol() {
                Some(tls::ALPN) => false,
                Some(tls::BUNDLE_ALPN) => true,
                _ => return Err(unauthenticated(peer, "it did not offer byway/1")),
            };
            report(Progress::Proven);
            let tls = tokio_rustls::TlsStream::from(session);
            if is_part {
                return self.greet_part(tls, peer, identity, runtime).await;
            }
            self.greet(over_tls(
                tls,
                peer,
                identity,
                Side::Acceptor,
                &settings,
                runtime,
            ))
            .await
        };
        timeout(HANDSHAKE_TIMEOUT, arrived)
            .await
            .unwrap_or_else(|_| Err(too_slow()))
    }

    /// Accepts a QUIC connection: the handshake, then its first message, both within
    /// [`HANDSHAKE_TIMEOUT`].
    ///
    /// # Errors
    /// [`LinkError`]; the connection is closed.
    pub async fn quic(&self, incoming: QuicIncoming) -> Result<Arrival, LinkError> {
        self.quic_reporting(incoming, |_| {}).await
    }

    /// Like [`Acceptor::quic`]; `report` is called with each step of its progress.
    ///
    /// # Errors
    /// As for [`Acceptor::quic`].
    pub async fn quic_reporting(
        &self,
        incoming: QuicIncoming,
        report: impl Fn(Progress) + Send + Sync,
    ) -> Result<Arrival, LinkError> {
        let peer = Some(incoming.peer());
        let arrived = async {
            let settings = self.settings();
            let connection = quic_handshake(incoming, settings.congestion).await?;
            let quic = Quic::accepted(connection);
            let identity = quic
                .identity()
                .ok_or_else(|| unauthenticated(peer, "it presented no key"))?;
            report(Progress::Proven);
            let tasks = TaskTracker::new();
            let accepted = quic
                .accept(None, &tasks)
                .await
                .map_err(|error| left_or_lost(peer, QuicError::from(error).to_string()))?;
            accepted.favour();
            self.greet(over_quic(
                quic,
                LinkStream::quic(accepted),
                identity,
                tasks,
                &settings,
                &self.runtime,
            ))
            .await
        };
        timeout(HANDSHAKE_TIMEOUT, arrived)
            .await
            .unwrap_or_else(|_| Err(too_slow()))
    }

    /// The session of that id, if it is this peer's: only the welcomed key may add a carrier.
    fn session(&self, id: &[u8], identity: Fingerprint) -> Option<Link> {
        let id = SessionId::try_from(id).ok()?;
        let link = self.sessions.lock().get(&id).cloned();
        link.filter(|link| link.peer() == identity && !link.is_over())
    }

    /// Reads the first message of a connection of a bundle: its session and its part.
    async fn greet_part(
        &self,
        mut tls: Tls,
        peer: Option<SocketAddr>,
        identity: Fingerprint,
        runtime: &Handle,
    ) -> Result<Arrival, LinkError> {
        let Control::Part(part) = gathering::hear(&mut tls).await? else {
            let detail = "the first message of a connection of a bundle must be a part".to_owned();
            return Err(gathering::refuse(tls, Refusal::Protocol, detail).await);
        };
        let Some(link) = self.session(&part.session, identity) else {
            return Err(gathering::refuse(tls, Refusal::Gone, "that session is over".into()).await);
        };
        let (settings, runtime) = (self.settings(), runtime.clone());
        let part = Box::new(ArrivedPart {
            tls,
            part,
            peer,
            identity,
            settings,
            runtime,
        });
        Ok(Arrival::Attach(Box::new(Attaching {
            arrived: ArrivedCarrier::Part(part),
            link,
        })))
    }

    /// Reads the first message: a hello, or the attach of one more carrier.
    async fn greet(&self, mut arrived: Authenticated) -> Result<Arrival, LinkError> {
        match arrived.control.recv_first().await {
            Ok(Control::Hello(mut hello)) => {
                hello.epoch = epoch::capped(hello.epoch, epoch::clock_ms());
                let sessions = Arc::clone(&self.sessions);
                let (settings, runtime) = (self.settings(), self.runtime.clone());
                let pending = Pending {
                    arrived,
                    hello,
                    sessions,
                    settings,
                    runtime,
                };
                if pending.version().is_none() {
                    let (from, to) = VERSIONS;
                    let detail = format!(
                        "this node speaks versions {from} to {to} of the link protocol, the other one {} to {}; update \
                         the older of the two",
                        pending.hello.version_from, pending.hello.version_to
                    );
                    return Err(pending.refuse(Refusal::Version, detail).await);
                }
                Ok(Arrival::Hello(Box::new(pending)))
            }
            Ok(Control::Attach(attach)) => {
                let link = self.session(&attach.session, arrived.identity);
                drop(attach);
                match link {
                    Some(link) => Ok(Arrival::Attach(Box::new(Attaching {
                        arrived: ArrivedCarrier::Carrier(arrived),
                        link,
                    }))),
                    None => Err(
                        refuse_with(arrived, Refusal::Gone, "that session is over".into()).await,
                    ),
                }
            }
            Ok(other) => {
                // The refusal may take a while; do not hold the message.
                drop(other);
                Err(refuse_with(
                    arrived,
                    Refusal::Protocol,
                    "the first message must be a hello".into(),
                )
                .await)
            }
            Err(error) => Err(ended_early(arrived, error).await),
        }
    }
}

async fn quic_handshake(
    incoming: QuicIncoming,
    congestion: Congestion,
) -> Result<quinn::Connection, LinkError> {
    let peer = Some(incoming.peer());
    // Counts as unproven during the handshake.
    let QuicIncoming {
        incoming,
        unproven: _unproven,
        closed_early,
        config,
    } = incoming;
    let config = config
        .with(congestion)
        .map_err(|error| LinkError::Here(error.to_string()))?;
    let connecting = incoming
        .accept_with(config)
        .map_err(|error| no_quic(peer, error))?;
    connecting.await.map_err(|error| {
        if matches!(
            error,
            ConnectionError::ConnectionClosed(_) | ConnectionError::ApplicationClosed(_)
        ) {
            closed_early.add(Instant::now());
        }
        no_quic(peer, error)
    })
}

/// Why an authenticated dialler sent no first message.
async fn ended_early(arrived: Authenticated, error: ControlError) -> LinkError {
    let (peer, no_message) = (arrived.carrier.peer(), arrived.control.is_silent());
    match arrived.why(error).await {
        LinkError::Unreachable(reason) if no_message => left_or_lost(peer, reason),
        error => error,
    }
}

/// A regular close before the first message, or the loss of the connection.
fn left_or_lost(peer: Option<SocketAddr>, reason: String) -> LinkError {
    if reason.starts_with(CLOSED) {
        left(peer)
    } else {
        LinkError::Unreachable(reason)
    }
}

/// A UDP port on which QUIC is accepted.
pub struct QuicListener {
    endpoint: quinn::Endpoint,
    /// Handshakes under way from unproven addresses.
    unproven: Arc<AtomicUsize>,
    closed_early: Arc<ClosedEarly>,
    config: Arc<QuicConfig>,
}

/// The config of accepted QUIC connections, for the congestion control that was set last.
struct QuicConfig {
    current: Mutex<(Congestion, Arc<ServerConfig>)>,
}

impl QuicConfig {
    fn with(&self, congestion: Congestion) -> io::Result<Arc<ServerConfig>> {
        let mut current = self.current.lock();
        if current.0 != congestion {
            *current = (
                congestion,
                Arc::new(quic::with_congestion(&current.1, congestion)?),
            );
        }
        Ok(Arc::clone(&current.1))
    }
}

/// A QUIC handshake that has started.
pub struct QuicIncoming {
    incoming: quinn::Incoming,
    /// Held until the handshake is done or given up.
    unproven: Option<Counted>,
    closed_early: Arc<ClosedEarly>,
    config: Arc<QuicConfig>,
}

impl QuicListener {
    /// The next handshake; `None` once the listener is closed. Cancel safe. While 64 handshakes
    /// from unproven addresses are under way or were closed early, a peer must prove its address
    /// first (RFC 9000 section 8.1.2).
    pub async fn accept(&self) -> Option<QuicIncoming> {
        self.accept_proven_if(|| false).await
    }

    /// Like [`QuicListener::accept`]; an address must also be proven first if `must_prove()`.
    pub async fn accept_proven_if(&self, must_prove: impl Fn() -> bool) -> Option<QuicIncoming> {
        loop {
            let incoming = self.endpoint.accept().await?;
            let proven = incoming.remote_address_validated();
            let closed_early = self.closed_early.remaining(Instant::now());
            if closed_early >= CLOSED_EARLY {
                incoming.refuse();
                continue;
            }
            let unproven = self.unproven.load(Relaxed) + closed_early;
            if !proven && (unproven >= UNPROVEN || must_prove()) {
                // A real peer comes back with a token.
                let _ = incoming.retry();
                continue;
            }
            let unproven = (!proven).then(|| Counted::new(&self.unproven));
            return Some(QuicIncoming {
                incoming,
                unproven,
                closed_early: Arc::clone(&self.closed_early),
                config: Arc::clone(&self.config),
            });
        }
    }

    /// The number of connections.
    pub fn connections(&self) -> usize {
        self.endpoint.open_connections()
    }

    /// The address that it listens on.
    ///
    /// # Errors
    /// The system error.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Closes it once the peers had time to learn that their connections, which the caller has
    /// ended, are closed. Does not wait longer: a connection that was closed early remains until
    /// its idle timeout.
    pub async fn leave(&self, reason: &str) {
        let _ = timeout(CLOSING, self.endpoint.wait_idle()).await;
        self.close(reason);
    }

    /// Closes all its connections.
    pub fn close(&self, reason: &str) {
        self.endpoint
            .close(quinn::VarInt::from_u32(0), reason.as_bytes());
    }
}

/// How long a connection is kept after its end, so that it can repeat that to the peer: three probe
/// timeouts at most (RFC 9000 section 10.2) on paths of up to about 100 ms.
const CLOSING: Duration = Duration::from_secs(1);

/// The most handshakes from unproven addresses at once, per endpoint, with those that were closed
/// early. Beyond that, an address must be proven before any state is kept for it.
const UNPROVEN: usize = 64;

impl QuicIncoming {
    /// The address of the peer.
    pub fn peer(&self) -> SocketAddr {
        self.incoming.remote_address()
    }

    /// Its progress: whether its address is proven.
    pub fn progress(&self) -> Progress {
        if self.incoming.remote_address_validated() {
            Progress::Spoke
        } else {
            Progress::Silent
        }
    }

    /// Refuses it without a handshake.
    pub fn refuse(self) {
        self.incoming.refuse();
    }
}

fn unauthenticated(peer: Option<SocketAddr>, detail: impl fmt::Display) -> LinkError {
    let detail = peer_text(&plain_words(&detail.to_string())).to_string();
    LinkError::Unauthenticated {
        peer: address_of(peer),
        detail,
    }
}

fn left(peer: Option<SocketAddr>) -> LinkError {
    LinkError::Left {
        peer: address_of(peer),
    }
}

fn address_of(peer: Option<SocketAddr>) -> String {
    peer.map_or_else(|| "unknown peer".to_owned(), |peer| peer.to_string())
}

/// Why a TCP connection did not become a TLS session.
fn no_tls(peer: Option<SocketAddr>, error: io::Error) -> LinkError {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};

    match error
        .get_ref()
        .and_then(|source| source.downcast_ref::<rustls::Error>())
    {
        Some(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)) => {
            unauthenticated(
                peer,
                "it sent something that is not TLS, as a browser does for http://; visitors come to the HTTP listener",
            )
        }
        Some(
            rustls::Error::NoApplicationProtocol
            | rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol),
        ) => unauthenticated(
            peer,
            "it speaks TLS but not the link protocol, as a browser does for https://; visitors come to the HTTP listener",
        ),
        None if matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe) => left(peer),
        _ => unauthenticated(peer, error),
    }
}

/// Why a QUIC handshake failed. A regular close during it is reported as a transport error (RFC
/// 9000 section 10.2.3).
fn no_quic(peer: Option<SocketAddr>, error: ConnectionError) -> LinkError {
    let is_end = match &error {
        ConnectionError::ApplicationClosed(_) | ConnectionError::Reset => true,
        ConnectionError::ConnectionClosed(close) => {
            matches!(
                close.error_code,
                TransportErrorCode::APPLICATION_ERROR | TransportErrorCode::NO_ERROR
            )
        }
        _ => false,
    };
    if is_end {
        left(peer)
    } else {
        unauthenticated(peer, QuicError::from(error))
    }
}

fn too_slow() -> LinkError {
    LinkError::Unreachable(format!("no hello within {} s", HANDSHAKE_TIMEOUT.as_secs()))
}

#[cfg(test)]
mod tests;
