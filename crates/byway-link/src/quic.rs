//! QUIC carrier: a thin facade over quinn: endpoints, connections and streams for links.
//!
//! In:    a UDP socket and our key; as dialler, the pin and the address.
//! Out:   authenticated connections whose streams distinguish FIN, reset(code) and session loss.
//! Never: early data, datagrams, unidirectional streams, or a stream that ends in order because it
//!        was dropped.

mod gate;
mod lingering;
mod pump;
mod reassembly;
mod windows;

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use byway_dial::{Broken, Read, peer_text, plain_words};
use parking_lot::Mutex;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, EndpointConfig, IdleTimeout, ReadError,
    RecvStream, SendStream, ServerConfig, TokioRuntime, TransportConfig, VarInt, WriteError,
};
use quinn_proto::HashedConnectionIdGenerator;
use rustls::pki_types::CertificateDer;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::time::{Sleep, sleep, timeout};
use tokio_util::task::TaskTracker;

use self::gate::{AtGate, Gate};
use self::lingering::Lingering;
use self::pump::{ORDERED_BYTES, Peeked, Pumped};
use self::reassembly::Reassembly;
use self::windows::{Widened, Windows};
use crate::budget::Budget;
use crate::carrier::Sent;
use crate::client_key::ClientKey;
use crate::congestion::{Congestion, let_question_out};
use crate::credit::{Credits, StreamCredits};
use crate::error::CLOSED;
use crate::key::{Fingerprint, Key};
use crate::mux::core::{LINGER, Side};
use crate::stream::Counted;
use crate::tls;
use crate::window::MOST_BYTES;

/// A connection without incoming packets for this long is dead. The session's own pings give up
/// sooner; this is for the handshake and for a session that cannot send pings.
const IDLE_TIMEOUT_MS: u32 = 40_000;

/// The most unacknowledged bytes of all streams of a connection together.
const SEND_WINDOW: u64 = 16 * 1024 * 1024;

/// The first bytes of a stream are written at once: its open message or the answer, and the head of
/// a request.
const FIRST_BYTES: u64 = 8 * 1024;

/// Handshakes of one endpoint at a time; more wait for a Retry, then are refused.
const HANDSHAKES: usize = 1024;

/// How much a peer may send unread before it belongs to a session.
const PENDING_BYTES: u32 = 64 * 1024;

/// The room of a connection's window beyond the sum of its streams' windows: for the control
/// stream, and so that a peer never waits for the connection's window. It also grows in steps of
/// this size.
const WINDOW_STEP_BYTES: u64 = 1024 * 1024;

/// The window has room for the first bytes of this many streams that were not answered with
/// success, 4 MiB: until then a correct peer sends only the open message, which has at most 4 KiB.
const UNANSWERED_WINDOW_STREAMS: u64 = 128;

/// The window grows by the first bytes of this many streams at a time, 1 MiB.
const STEP_STREAMS: u64 = 32;

/// Bytes kept of one handshake that is not accepted or refused yet, and of all of them together.
const INCOMING_BYTES: u64 = 16 * 1024;

/// See [`INCOMING_BYTES`].
const ALL_INCOMING_BYTES: u64 = 1024 * 1024;

/// The requested socket buffer of the kernel in each direction; it grants what it allows.
const SOCKET_BYTES: usize = 4 * 1024 * 1024;

/// The round-trip time before one was measured. A third of RFC 9002's value, so that a lost first
/// packet costs 300 ms.
const INITIAL_RTT: Duration = Duration::from_millis(100);

/// How many packets may overtake one before it counts as lost; one that is late by an eighth of a
/// round trip always does. Links that spread packets over several queues or radio frames reorder by
/// more than the usual three.
const REORDERED_PACKETS: u32 = 32;

/// How often a stream is checked for a reset that wakes no task.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Binds a UDP socket with room for a burst.
///
/// # Errors
/// The error of the system.
pub fn bind(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        // A system without this option serves only IPv6 on this socket.
        let _ = socket.set_only_v6(!address.ip().is_unspecified());
    }
    // Optional: a small buffer is slower, but works.
    let _ = socket.set_recv_buffer_size(SOCKET_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BYTES);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// An endpoint that accepts links on `socket`, and its config. Must be called inside a runtime,
/// which then drives it.
///
/// # Errors
/// The error of the system or of rustls.
pub(crate) fn listen(
    socket: std::net::UdpSocket,
    key: &Key,
    congestion: Congestion,
) -> io::Result<(Endpoint, ServerConfig)> {
    let crypto = QuicServerConfig::try_from(tls::acceptor(key).map_err(io::Error::other)?)
        .map_err(io::Error::other)?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(Arc::new(transport(Side::Acceptor, congestion)?))
        .max_incoming(HANDSHAKES)
        .incoming_buffer_size(INCOMING_BYTES)
        .incoming_buffer_size_total(ALL_INCOMING_BYTES);
    let at = endpoint_config(key, socket.local_addr()?);
    let endpoint = Endpoint::new(at, Some(config.clone()), socket, Arc::new(TokioRuntime))?;
    Ok((endpoint, config))
}

/// The same config with another congestion control.
pub(crate) fn with_congestion(
    config: &ServerConfig,
    congestion: Congestion,
) -> io::Result<ServerConfig> {
    let mut config = config.clone();
    config.transport_config(Arc::new(transport(Side::Acceptor, congestion)?));
    Ok(config)
}

/// Connects to `address` from a new socket, so that after a change of network no dead socket is
/// reused.
pub(crate) async fn dial(
    address: SocketAddr,
    key: &Key,
    pin: Fingerprint,
    congestion: Congestion,
) -> Result<Quic, QuicError> {
    let unspecified: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = bind((unspecified, 0).into())?;
    let crypto = QuicClientConfig::try_from(tls::dialler(key, pin).map_err(io::Error::other)?);
    let mut config = ClientConfig::new(Arc::new(crypto.map_err(io::Error::other)?));
    config.transport_config(Arc::new(transport(Side::Dialler, congestion)?));
    let endpoint = Endpoint::new(
        endpoint_config(key, socket.local_addr()?),
        None,
        socket,
        Arc::new(TokioRuntime),
    )?;
    let connecting = endpoint
        .connect_with(config, address, NO_NAME)
        .map_err(io::Error::other)?;
    Ok(Quic::new(connecting.await?, Side::Dialler, Some(endpoint)))
}

/// The config of an endpoint whose stateless resets are valid for connections of an earlier process
/// of this node: after a crash, the peer gets a reset for its next packet.
fn endpoint_config(key: &Key, at: SocketAddr) -> EndpointConfig {
    let mut config = EndpointConfig::new(Arc::new(key.reset_key(at)));
    let cid_key = key.cid_key(at);
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(cid_key)));
    config
}

/// The pin identifies the peer and no name is sent, but rustls requires one.
const NO_NAME: &str = "byway.invalid";

/// The initial limits of a connection: the control stream, which the dialler opens, and room for
/// its messages. See [`Quic::allow`].
fn transport(side: Side, congestion: Congestion) -> io::Result<TransportConfig> {
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(side.control_streams().into())
        .max_concurrent_uni_streams(0_u8.into())
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT_MS))))
        // A peer that respects its credit never reaches this; for any other peer it is the bound.
        .stream_receive_window(MOST_BYTES.into())
        .receive_window(PENDING_BYTES.into())
        .send_window(SEND_WINDOW)
        .initial_rtt(INITIAL_RTT)
        .packet_threshold(REORDERED_PACKETS)
        .congestion_controller_factory(congestion.factory())
        .datagram_receive_buffer_size(None);
    Ok(config)
}

/// Why a QUIC carrier was not established, or ended.
#[derive(Debug, thiserror::Error)]
pub enum QuicError {
    /// A QUIC error; its text may contain the peer's own reason.
    #[error("{}", peer_text(&connection_words(.0)))]
    Connection(#[from] ConnectionError),
    /// An error of the system.
    #[error("UDP: {0}")]
    Io(#[from] io::Error),
}

/// The text of quinn, except for an orderly end, whose code has no meaning.
fn connection_words(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ApplicationClosed(close) if close.reason.is_empty() => CLOSED.to_owned(),
        ConnectionError::ApplicationClosed(close) => {
            format!("{CLOSED}: {}", String::from_utf8_lossy(&close.reason))
        }
        ConnectionError::Reset => "the other side reset the connection".to_owned(),
        other => plain_words(&other.to_string()),
    }
}

impl Side {
    /// How many of the peer's streams are control streams.
    const fn control_streams(self) -> u32 {
        match self {
            Self::Dialler => 0,
            Self::Acceptor => 1,
        }
    }
}

/// One authenticated connection; clones share it.
#[derive(Clone)]
pub(crate) struct Quic {
    connection: Connection,
    side: Side,
    /// Streams of the peer that have not ended, and our own; without the control stream.
    theirs: Arc<AtomicUsize>,
    ours: Arc<AtomicUsize>,
    windows: Arc<Mutex<Widened>>,
    gate: Gate,
    lingering: Lingering,
    /// A dialler's socket lives as long as its connection.
    _endpoint: Option<Endpoint>,
}

impl Quic {
    /// A connection that an endpoint has accepted, whose handshake is complete.
    pub(crate) fn accepted(connection: Connection) -> Self {
        Self::new(connection, Side::Acceptor, None)
    }

    fn new(connection: Connection, side: Side, endpoint: Option<Endpoint>) -> Self {
        let (theirs, ours, windows, gate, lingering) = Default::default();
        Self {
            connection,
            side,
            theirs,
            ours,
            windows,
            gate,
            lingering,
            _endpoint: endpoint,
        }
    }

    /// Our side of the connection.
    pub(crate) const fn side(&self) -> Side {
        self.side
    }

    /// Allows the peer `streams` open streams besides the control stream. Before the first call it
    /// may open none: the connection belongs to no session yet.
    pub(crate) fn allow(&self, streams: u32) {
        self.connection.set_max_concurrent_bi_streams(
            streams.saturating_add(self.side.control_streams()).into(),
        );
    }

    /// Takes from `budget` what the window grows beyond its first size. Before the first call it
    /// does not grow.
    pub(crate) fn assign(&self, budget: &Arc<Budget>) {
        self.windows.lock().assign(budget);
    }

    /// Widens the window for `answered` streams of the peer that were answered with success,
    /// besides the others. The others wait within [`UNANSWERED_WINDOW_STREAMS`], so a peer cannot
    /// widen the window by streams that are refused, whether it finishes them or not.
    pub(crate) fn make_room(&self, answered: usize) {
        let streams = (answered as u64).next_multiple_of(STEP_STREAMS) + UNANSWERED_WINDOW_STREAMS;
        self.widen(|windows| windows.theirs = windows.theirs.max(streams));
    }

    /// Widens the window after the windows of the streams have grown by `bytes` in total. Must be
    /// called before the growth is announced to the peer.
    pub(crate) fn grown(&self, bytes: u64) {
        let bytes = bytes.next_multiple_of(WINDOW_STEP_BYTES);
        self.widen(|windows| windows.grown_bytes = windows.grown_bytes.max(bytes));
    }

    /// As long as the budget has room, the window of the connection never stops the peer from
    /// sending what the windows of its streams allow; see [`Widened`].
    fn widen(&self, change: impl FnOnce(&mut Windows)) {
        if let Some(bytes) = self.windows.lock().change(change) {
            self.connection.set_receive_window(bytes);
        }
    }

    /// How many streams of the peer are open, or closed here and not finished by the peer.
    pub(crate) fn theirs(&self) -> usize {
        self.theirs.load(Relaxed)
    }

    /// The round-trip time as QUIC measures it.
    pub(crate) fn round_trip(&self) -> Duration {
        self.connection.rtt()
    }

    /// What was sent until now.
    pub(crate) fn sent(&self) -> Sent {
        let stats = self.connection.stats();
        Sent {
            packets: stats.path.sent_packets,
            lost: stats.path.lost_packets,
            bytes: stats.udp_tx.bytes.saturating_sub(stats.path.lost_bytes),
            congestion_window: Some(stats.path.cwnd),
            stream_frames: Some(stats.frame_tx.stream),
            round_trip: Some(stats.path.rtt),
            ..Sent::default()
        }
    }

    /// The fingerprint of the key that the peer has proven.
    pub(crate) fn identity(&self) -> Option<Fingerprint> {
        let shown = self
            .connection
            .peer_identity()?
            .downcast::<Vec<CertificateDer<'static>>>()
            .ok()?;
        tls::identity(Some(&shown))
    }

    pub(crate) fn peer(&self) -> SocketAddr {
        self.connection.remote_address()
    }

    /// Opens a stream whose first bytes are `first`. Without `credits` it is the control stream,
    /// which carries the grants.
    pub(crate) async fn open(
        &self,
        first: &[u8],
        credits: Option<&Credits>,
        tasks: &TaskTracker,
    ) -> Result<QuicStream, ConnectionError> {
        let counted = credits.map(|_| Counted::new(&self.ours));
        if counted.is_some() {
            let ours = (self.ours.load(Relaxed) as u64).next_multiple_of(STEP_STREAMS);
            self.widen(|windows| windows.ours = windows.ours.max(ours));
        }
        let halves = self.connection.open_bi().await?;
        let mut stream = QuicStream::new(self, halves, credits, tasks);
        stream.counted = counted;
        if let Some(credits) = &stream.credits {
            credits.spend(first.len());
        }
        // The first bytes of a stream are far below its window: they are accepted at once.
        let mut left = first;
        while !left.is_empty() {
            let n = stream.send.write(left).await.map_err(|error| match error {
                WriteError::ConnectionLost(lost) => lost,
                _ => ConnectionError::LocallyClosed,
            })?;
            left = left.get(n..).unwrap_or_default();
        }
        Ok(stream)
    }

    /// The next stream that the peer opens; without `credits` it is the control stream.
    pub(crate) async fn accept(
        &self,
        credits: Option<&Credits>,
        tasks: &TaskTracker,
    ) -> Result<QuicStream, ConnectionError> {
        let halves = self.connection.accept_bi().await?;
        let mut stream = QuicStream::new(self, halves, credits, tasks);
        stream.counted = credits.map(|_| Counted::new(&self.theirs));
        Ok(stream)
    }

    /// Lets a ping out on a silent path although the congestion window is full.
    pub(crate) fn let_question_out(&self) {
        let_question_out(self.connection.congestion_state());
    }

    /// Gives the control stream priority over all others.
    pub(crate) fn favour(stream: &QuicStream) {
        // An error means that the stream is closed already.
        let _ = stream.send.set_priority(i32::MAX);
    }

    /// Closes the connection with a reason for people.
    pub(crate) fn close(&self, reason: &str) {
        self.connection
            .close(VarInt::from_u32(0), reason.as_bytes());
    }

    /// Waits for the end.
    pub(crate) async fn closed(&self) -> QuicError {
        self.connection.closed().await.into()
    }
}

/// How the bytes of a stream are read from quinn.
enum Receiving {
    Ordered(RecvStream),
    /// See [`pump`].
    Pumped(Arc<Pumped>),
}

impl Receiving {
    fn stop(&mut self, code: VarInt) {
        match self {
            Self::Ordered(recv) => {
                // An error means that it has ended already.
                let _ = recv.stop(code);
            }
            Self::Pumped(pumped) => pumped.stop(code),
        }
    }

    /// Resolves when a byte has arrived, in order or not, or the stream has ended.
    async fn any(self) {
        match self {
            Self::Ordered(mut recv) => {
                let _ = recv.read_chunk(usize::MAX, false).await;
            }
            Self::Pumped(pumped) => pumped.any().await,
        }
    }
}

/// One stream. Dropping it resets it, unless it was finished.
pub(crate) struct QuicStream {
    send: SendStream,
    /// `None` once the stream was closed in order.
    recv: Option<Receiving>,
    /// Bytes read, and bytes written.
    read: u64,
    written: u64,
    connection: Connection,
    gate: AtGate,
    lingering: Lingering,
    /// `None` on the control stream.
    credits: Option<StreamCredits>,
    /// Resolves when the peer stops our half; `None` once everything we sent is acknowledged.
    stopped: Option<Pin<Box<dyn Future<Output = Option<Broken>> + Send + Sync>>>,
    tick: Option<Pin<Box<Sleep>>>,
    broken: Option<u32>,
    read_fin: bool,
    finished: bool,
    orderly: bool,
    tasks: TaskTracker,
    /// Counts it among the peer's streams or ours; `None` for the control stream.
    counted: Option<Counted>,
}

impl QuicStream {
    fn new(
        quic: &Quic,
        (send, recv): (SendStream, RecvStream),
        credits: Option<&Credits>,
        tasks: &TaskTracker,
    ) -> Self {
        let number = VarInt::from(send.id()).into_inner();
        let credits = credits.map(|credits| credits.stream(number));
        let stopped = send.stopped();
        let stopped: Pin<Box<dyn Future<Output = _> + Send + Sync>> = Box::pin(async move {
            match stopped.await {
                Ok(Some(code)) => Some(Broken::Reset(code_of(code))),
                // Everything was sent and acknowledged: this half can fail no more.
                Ok(None) => None,
                Err(_) => Some(Broken::SessionLost),
            }
        });
        let tasks = tasks.clone();
        Self {
            send,
            recv: Some(Receiving::Ordered(recv)),
            read: 0,
            written: 0,
            connection: quic.connection.clone(),
            gate: AtGate::new(&quic.gate, number),
            lingering: quic.lingering.clone(),
            credits,
            stopped: Some(stopped),
            tick: None,
            broken: None,
            read_fin: false,
            finished: false,
            orderly: false,
            tasks,
            counted: None,
        }
    }

    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<Result<Read, Broken>> {
        if let Some(code) = self.broken {
            return Poll::Ready(Err(Broken::Reset(code)));
        }
        let Some(recv) = self.recv.as_mut().filter(|_| !self.read_fin) else {
            return Poll::Ready(Ok(Read::Fin));
        };
        let wanted = !buf.is_empty();
        let read = match recv {
            Receiving::Ordered(recv) => match ready!(recv.poll_read(cx, buf)) {
                Ok(0) if wanted => Ok(Read::Fin),
                Ok(n) => Ok(Read::Data(n)),
                Err(ReadError::Reset(code)) => Err(Broken::Reset(code_of(code))),
                Err(_) => Err(Broken::SessionLost),
            },
            Receiving::Pumped(pumped) => ready!(pumped.poll_read(cx, buf)),
        };
        match &read {
            Ok(Read::Fin) => self.note_fin(),
            Ok(Read::Data(n)) => {
                self.read += *n as u64;
                if self
                    .credits
                    .as_mut()
                    .is_some_and(|credits| !credits.consume(*n))
                {
                    self.connection.close(
                        VarInt::from_u32(0),
                        b"more bytes than a stream had credit for",
                    );
                    return Poll::Ready(Err(Broken::SessionLost));
                }
                self.pump_if_large();
            }
            Err(Broken::Reset(code)) => self.broken = Some(*code),
            Err(_) => {}
        }
        Poll::Ready(read)
    }

    /// Moves a stream to a pump if its window holds more packets than quinn accepts gaps.
    fn pump_if_large(&mut self) {
        let Some(credits) = self
            .credits
            .as_ref()
            .filter(|credits| credits.window() > ORDERED_BYTES)
        else {
            return;
        };
        self.recv = match self.recv.take() {
            Some(Receiving::Ordered(recv)) => {
                let from = Reassembly::new(self.read);
                Some(Receiving::Pumped(Pumped::start(
                    recv,
                    from,
                    credits.granted(),
                    &self.connection,
                    &self.tasks,
                )))
            }
            other => other,
        };
    }

    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize, Broken>> {
        if let Some(code) = self.broken {
            return Poll::Ready(Err(Broken::Reset(code)));
        }
        if self.has_much_to_write() && self.gate.poll_pass(cx, &self.tasks).is_pending() {
            return self.poll_stopped(cx).map(Err);
        }
        let mut written = 0;
        for buf in bufs.iter().filter(|buf| !buf.is_empty()) {
            let left = match self.credits.as_ref().map(|credits| credits.poll_left(cx)) {
                None => usize::MAX,
                Some(Poll::Ready(left)) => left,
                Some(Poll::Pending) => 0,
            };
            let Some(part) = buf
                .get(..buf.len().min(left))
                .filter(|part| !part.is_empty())
            else {
                if written > 0 {
                    break;
                }
                // Without credit nothing is written, so no write fails when the peer stops the
                // stream: check here.
                return self.poll_stopped(cx).map(Err);
            };
            match Pin::new(&mut self.send).poll_write(cx, part) {
                Poll::Ready(Ok(n)) => {
                    self.written += n as u64;
                    if let Some(credits) = &self.credits {
                        credits.spend(n);
                    }
                    self.gate.leave();
                    written += n;
                    if n < buf.len() {
                        break;
                    }
                }
                Poll::Pending => {
                    if written > 0 {
                        break;
                    }
                    if self.has_much_to_write() {
                        self.gate.block();
                    }
                    return Poll::Pending;
                }
                Poll::Ready(Err(WriteError::Stopped(code))) => {
                    return Poll::Ready(Err(self.note(code)));
                }
                Poll::Ready(Err(WriteError::ClosedStream)) => {
                    return Poll::Ready(Err(Broken::Io(io::ErrorKind::BrokenPipe.into())));
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::SessionLost)),
            }
        }
        Poll::Ready(Ok(written))
    }

    /// Whether it yields to others: not the control stream, and no stream with its first bytes.
    const fn has_much_to_write(&self) -> bool {
        self.credits.is_some() && self.written >= FIRST_BYTES
    }

    /// See [`LinkStream::set_client`](crate::stream::LinkStream::set_client).
    pub(crate) fn set_client(&mut self, client: ClientKey) {
        if let Some(credits) = &mut self.credits {
            credits.set_client(client);
        }
    }

    /// See [`LinkStream::widen`](crate::stream::LinkStream::widen).
    pub(crate) fn widen(&mut self, is_used: bool) {
        if let Some(credits) = self.credits.as_mut().filter(|_| !self.read_fin) {
            credits.widen(is_used);
        }
    }

    pub(crate) fn finish(&mut self) -> Result<(), Broken> {
        if let Some(code) = self.broken {
            return Err(Broken::Reset(code));
        }
        if !std::mem::replace(&mut self.finished, true) {
            self.gate.leave();
            // An error means that the peer has stopped the stream; the reader gets that error.
            let _ = self.send.finish();
        }
        Ok(())
    }

    pub(crate) fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        if let Some(code) = self.broken {
            return Poll::Ready(Broken::Reset(code));
        }
        let unread = match self.peek(cx) {
            Ok(unread) => unread,
            Err(broken) => return Poll::Ready(broken),
        };
        if self.stopped.is_some() {
            return self.poll_stopped(cx);
        }
        if !unread {
            return Poll::Pending;
        }
        // Everything we sent is acknowledged, so the peer has nothing to stop; and while bytes are
        // unread, no waker is called for a reset. So check again after a while.
        ready!(
            self.tick
                .get_or_insert_with(|| Box::pin(sleep(LOOK_AGAIN)))
                .as_mut()
                .poll(cx)
        );
        self.tick = None;
        cx.waker().wake_by_ref();
        match self.connection.close_reason() {
            Some(_) => Poll::Ready(Broken::SessionLost),
            None => Poll::Pending,
        }
    }

    /// Whether the peer has stopped our half, or the connection is lost.
    fn poll_stopped(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        let Some(stopped) = &mut self.stopped else {
            return Poll::Pending;
        };
        match ready!(stopped.as_mut().poll(cx)) {
            Some(Broken::Reset(code)) => {
                Poll::Ready(Broken::Reset(*self.broken.get_or_insert(code)))
            }
            Some(broken) => Poll::Ready(broken),
            None => {
                self.stopped = None;
                // The caller must poll again: from now on the check is another one.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    /// The peer has sent everything: what the window has taken is of no use any more.
    fn note_fin(&mut self) {
        self.read_fin = true;
        if let Some(credits) = &mut self.credits {
            credits.settle();
        }
    }

    /// Whether bytes can be read; reads none of them. If there are none, the reader's waker is set.
    fn peek(&mut self, cx: &mut Context<'_>) -> Result<bool, Broken> {
        let Some(recv) = self.recv.as_mut().filter(|_| !self.read_fin) else {
            return Ok(false);
        };
        let recv = match recv {
            Receiving::Ordered(recv) => recv,
            Receiving::Pumped(pumped) => {
                let peeked = pumped.peek(cx).inspect_err(|broken| {
                    if let Broken::Reset(code) = broken {
                        self.broken = Some(*code);
                    }
                })?;
                if peeked == Peeked::Fin {
                    self.note_fin();
                }
                return Ok(peeked == Peeked::Unread);
            }
        };
        let peeked = pin!(recv.read_chunk(0, true)).poll(cx);
        match peeked {
            Poll::Ready(Ok(Some(_))) => Ok(true),
            Poll::Ready(Ok(None)) => {
                self.note_fin();
                Ok(false)
            }
            Poll::Ready(Err(ReadError::Reset(code))) => Err(self.note(code)),
            Poll::Ready(Err(_)) => Err(Broken::SessionLost),
            Poll::Pending => Ok(false),
        }
    }

    pub(crate) fn reset(&mut self, code: u32) {
        self.gate.leave();
        // Errors mean that it has ended already.
        let _ = self.send.reset(code.into());
        if let Some(recv) = &mut self.recv {
            recv.stop(code.into());
        }
        self.finished = true;
        self.broken.get_or_insert(code);
    }

    pub(crate) fn close_on_drop(&mut self) {
        self.orderly = true;
    }

    fn note(&mut self, code: VarInt) -> Broken {
        Broken::Reset(*self.broken.get_or_insert_with(|| code_of(code)))
    }
}

fn code_of(code: VarInt) -> u32 {
    u32::try_from(code.into_inner()).unwrap_or(u32::MAX)
}

impl Drop for QuicStream {
    fn drop(&mut self) {
        if self.broken.is_some() || !(self.finished || self.orderly) {
            return self.reset(0);
        }
        let _ = self.finish();
        let Some(recv) = self.recv.take().filter(|_| !self.read_fin) else {
            return;
        };
        // As with TCP, the peer learns that nothing is read any more only if it goes on sending: a
        // STOP now would overtake what was written.
        if tokio::runtime::Handle::try_current().is_ok() {
            let (counted, mut place) = (self.counted.take(), self.lingering.add());
            self.tasks.spawn(async move {
                let _counted = counted;
                tokio::select! {
                    _ = timeout(LINGER, recv.any()) => {}
                    () = place.stopped() => {}
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_orderly_end_is_shown_without_its_code() {
        let shown = |reason: &'static str| {
            let close = quinn::ApplicationClose {
                error_code: VarInt::from_u32(0),
                reason: reason.into(),
            };
            QuicError::from(ConnectionError::ApplicationClosed(close)).to_string()
        };
        assert_eq!(shown(""), "the other side closed the connection");
        assert_eq!(
            shown("the node is leaving"),
            "the other side closed the connection: the node is leaving"
        );
    }

    #[test]
    fn the_reason_for_which_a_peer_closes_is_one_line_of_bounded_length() {
        let reason = "bye\n2026 INFO forged\u{1b}[31m\u{202e}".repeat(50).into();
        let closed = quinn::ApplicationClose {
            error_code: VarInt::from_u32(1),
            reason,
        };
        let shown = QuicError::from(ConnectionError::ApplicationClosed(closed)).to_string();
        assert!(
            shown.contains(r"bye\n2026 INFO forged\u{1b}[31m\u{202e}"),
            "{shown}"
        );
        assert!(
            shown.len() <= 203 && !shown.chars().any(char::is_control),
            "{shown}"
        );
    }
}
