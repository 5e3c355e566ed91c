//! Acceptor: the side of links that is dialled: from a connection to a hello that somebody has to
//! judge.
//!
//! In:    TCP connections and QUIC handshakes, from anybody who can reach the port.
//! Out:   [`Pending`] sessions with a proven key and an unproven claim; carriers attached to
//!        sessions that are there.
//! Never: waits for a peer without a deadline, and never welcomes a peer by itself.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use byway_dial::{AsIo, Stream, peer_text, plain_words};
use parking_lot::{Mutex, RwLock};
use quinn::{ConnectionError, ServerConfig, TransportErrorCode};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use crate::authenticated::{Authenticated, over_quic, over_tls, refuse_with, tune};
use crate::congestion::Congestion;
use crate::control::ControlError;
use crate::epoch;
use crate::error::{CLOSED, LinkError};
use crate::gathering::{self, ArrivedPart, Tls};
use crate::key::{Fingerprint, Key};
use crate::link::{Link, SessionId, Settings};
use crate::mux::core::Side;
use crate::pending::{Attaching, IncomingStream, Pending, Sessions};
use crate::quic::{self, Quic, QuicError};
use crate::stream::{Counted, LinkStream};
use crate::tls;
use crate::wire::{Control, FEATURE_BUNDLE, Refusal, VERSIONS};

/// From the first byte of a connection to its first message.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// See the head of the file.
pub struct Acceptor {
    key: Key,
    tls: TlsAcceptor,
    /// For the connections that come from now on.
    settings: RwLock<Settings>,
    runtime: Handle,
    sessions: Sessions,
}

/// What a connection has achieved before its first message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Progress {
    /// Nothing that only a peer at its address can have sent.
    Silent,
    /// Bytes have come from its address.
    Spoke,
    /// The handshake is done: it has proven its key.
    Proven,
}

/// What became of a connection.
#[derive(Debug)]
pub enum Arrival {
    /// Somebody asks for a session.
    Hello(Box<Pending>),
    /// One more carrier for a session that is there.
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

    /// Connections that come from now on have these; those that are there keep theirs.
    pub fn set_limits(&self, streams: u32, congestion: Congestion) {
        let is_set =
            |settings: &Settings| (settings.streams, settings.congestion) == (streams, congestion);
        if !is_set(&self.settings.read()) {
            let mut settings = self.settings.write();
            (settings.streams, settings.congestion) = (streams, congestion);
        }
    }

    /// What the next connection has.
    pub fn settings(&self) -> Settings {
        self.settings.read().clone()
    }

    /// The fingerprint that others pin.
    pub fn pin(&self) -> Fingerprint {
        self.key.fingerprint()
    }

    /// How many sessions there are.
    pub fn sessions(&self) -> usize {
        self.sessions.lock().len()
    }

    /// Accepts QUIC on `socket`.
    ///
    /// # Errors
    /// What the system says.
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
            config: Arc::new(config),
        })
    }

    /// A TCP connection: TLS, then its first message, both within [`HANDSHAKE_TIMEOUT`]. The
    /// carrier is driven on `runtime`.
    ///
    /// # Errors
    /// [`LinkError`]; the connection is closed.
    pub async fn tcp(&self, stream: Stream, runtime: &Handle) -> Result<Arrival, LinkError> {
        self.tcp_reporting(stream, runtime, |_| {}).await
    }

    /// The same; `report` is called with each step of its progress.
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
            // A failure is for the handshake to report.
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
            let identity = identity.ok_or_else(|| unauthenticated(peer, "it showed no key"))?;
            let is_part = match connection.alpn_protocol() {
                Some(tls::ALPN) => false,
                Some(tls::BUNDLE_ALPN) => true,
                _ => return Err(unauthenticated(peer, "it did not ask for byway/1")),
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

    /// A QUIC handshake, then its first message, both within [`HANDSHAKE_TIMEOUT`].
    ///
    /// # Errors
    /// [`LinkError`]; the connection is closed.
    pub async fn quic(&self, incoming: QuicIncoming) -> Result<Arrival, LinkError> {
        self.quic_reporting(incoming, |_| {}).await
    }

    /// The same; `report` is called with each step of its progress.
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
            let connection = shake_hands(incoming, settings.congestion).await?;
            let quic = Quic::accepted(connection);
            let identity = quic
                .identity()
                .ok_or_else(|| unauthenticated(peer, "it showed no key"))?;
            report(Progress::Proven);
            let tasks = TaskTracker::new();
            let accepted = quic
                .accept(None, &tasks)
                .await
                .map_err(|error| left_or_lost(peer, QuicError::from(error).to_string()))?;
            Quic::favour(&accepted);
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

    /// The session of that id, if it is of this peer's: only the key that was welcomed may add a
    /// carrier.
    fn session(&self, id: &[u8], identity: Fingerprint) -> Option<Link> {
        let id = SessionId::try_from(id).ok()?;
        let link = self.sessions.lock().get(&id).cloned();
        link.filter(|link| link.peer() == identity && !link.is_over())
    }

    /// One connection of a bundle: which session, and which part.
    async fn greet_part(
        &self,
        mut tls: Tls,
        peer: Option<SocketAddr>,
        identity: Fingerprint,
        runtime: &Handle,
    ) -> Result<Arrival, LinkError> {
        let Control::Part(part) = gathering::hear(&mut tls).await? else {
            let detail = "the first message of a connection of a bundle must say so".to_owned();
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
            arrived: IncomingStream::Part(part),
            link,
        })))
    }

    /// The first message decides: a new session, or one more carrier of an old one.
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
                        arrived: IncomingStream::Carrier(arrived),
                        link,
                    }))),
                    None => Err(
                        refuse_with(arrived, Refusal::Gone, "that session is over".into()).await,
                    ),
                }
            }
            Ok(other) => {
                // The refusal may take a while. The message is not kept for it.
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

async fn shake_hands(
    incoming: QuicIncoming,
    congestion: Congestion,
) -> Result<quinn::Connection, LinkError> {
    let peer = Some(incoming.peer());
    // It counts as long as the handshake lasts.
    let QuicIncoming {
        incoming,
        unproven: _unproven,
        config,
    } = incoming;
    let config = config
        .with(congestion)
        .map_err(|error| LinkError::Here(error.to_string()))?;
    let connecting = incoming
        .accept_with(config)
        .map_err(|error| no_quic(peer, error))?;
    connecting.await.map_err(|error| no_quic(peer, error))
}

/// The dialler was authenticated, and no first message came.
async fn ended_early(arrived: Authenticated, error: ControlError) -> LinkError {
    let (peer, nothing_said) = (arrived.carrier.peer(), arrived.control.is_silent());
    match arrived.why(error).await {
        LinkError::Unreachable(reason) if nothing_said => left_or_lost(peer, reason),
        error => error,
    }
}

/// An end in order before the first message, or the loss of the connection.
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
    /// Handshakes under way from addresses that are not proven yet.
    unproven: Arc<AtomicUsize>,
    config: Arc<QuicConfig>,
}

/// With what QUIC connections are accepted, for the congestion control that was last asked for.
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

/// A QUIC handshake that has begun.
pub struct QuicIncoming {
    incoming: quinn::Incoming,
    /// Counted until the handshake is done, or given up.
    unproven: Option<Counted>,
    config: Arc<QuicConfig>,
}

impl QuicListener {
    /// The next handshake; none once the listener is closed. Cancel safe. A peer whose address is
    /// not proven yet is asked to prove it first when 64 such handshakes are under way (RFC 9000
    /// section 8.1.2).
    pub async fn accept(&self) -> Option<QuicIncoming> {
        self.accept_proven_if(|| false).await
    }

    /// The same; an address has to be proven first if `must_prove` is set, too.
    pub async fn accept_proven_if(&self, must_prove: impl Fn() -> bool) -> Option<QuicIncoming> {
        loop {
            let incoming = self.endpoint.accept().await?;
            let proven = incoming.remote_address_validated();
            if !proven && (self.unproven.load(Relaxed) >= UNPROVEN || must_prove()) {
                // A peer that is there comes back with a token.
                let _ = incoming.retry();
                continue;
            }
            let unproven = (!proven).then(|| Counted::new(&self.unproven));
            return Some(QuicIncoming {
                incoming,
                unproven,
                config: Arc::clone(&self.config),
            });
        }
    }

    /// How many connections it has.
    pub fn connections(&self) -> usize {
        self.endpoint.open_connections()
    }

    /// Resolves once it has no connection. Cancel safe.
    pub async fn idle(&self) {
        self.endpoint.wait_idle().await;
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Ends every connection of it.
    pub fn close(&self, reason: &str) {
        self.endpoint
            .close(quinn::VarInt::from_u32(0), reason.as_bytes());
    }
}

/// Handshakes of one endpoint that may be under way from addresses that are not proven: beyond
/// that, an address has to be proven before anything is kept for it.
const UNPROVEN: usize = 64;

impl QuicIncoming {
    /// Where it comes from.
    pub fn peer(&self) -> SocketAddr {
        self.incoming.remote_address()
    }

    /// What it has achieved: whether its address is proven.
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
    peer.map_or_else(|| "somebody".to_owned(), |peer| peer.to_string())
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

/// Why a QUIC handshake did not succeed. Within it, an end in order is reported as an error of the
/// transport (RFC 9000 section 10.2.3).
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
