//! Carrier: what one session runs over: a QUIC connection, or a mux over TLS, behind one type.
//!
//! In:    an authenticated connection of either kind.
//! Out:   streams opened and accepted, the first of them for control; the end, with its reason.
//! Never: moves a stream to another carrier.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::allowance::Allowance;
use crate::budget::Budget;
use crate::connections::Connections;
use crate::credit::Credits;
use crate::fair_budget::FairBudget;
use crate::large_packets::Dialled;
use crate::mux::carrier::MuxCarrier;
use crate::mux::core::MuxOpenError;
use crate::open_streams::OpenStreams;
use crate::quic::Quic;
use crate::stream::{Counted, LinkStream};
use crate::wire::Credit;

/// The kind of carrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CarrierKind {
    /// TLS over TCP.
    Tls,
    /// QUIC over UDP: preferred where it gets through.
    Quic,
}

impl fmt::Display for CarrierKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quic => "quic",
            Self::Tls => "tls",
        })
    }
}

/// One authenticated connection. Clones share it.
#[derive(Clone)]
pub(crate) struct Carrier(Arc<Inner>);

struct Inner {
    over: Over,
    /// How that connection was dialled; not set if it was accepted.
    dialled: OnceLock<Dialled>,
    peer: Option<SocketAddr>,
    /// Open streams of both sides.
    open: OpenStreams,
    /// Accepted streams of the peer whose open message was not read yet.
    unannounced: Arc<AtomicUsize>,
    /// Open streams of the peer that were answered with success.
    answered: Arc<AtomicUsize>,
    /// Our open streams that were answered with success.
    obtained: Arc<AtomicUsize>,
    /// Whether the other side no longer has the session.
    gone: AtomicBool,
    /// Bytes that streams have written.
    written: Arc<AtomicU64>,
    /// The round trip of the last pings, in microseconds; 0 before the first.
    round_trip_us: AtomicU64,
    /// Signals each reply to a ping.
    pongs: watch::Sender<()>,
    /// Ends the carrier's tasks.
    ended: CancellationToken,
    reason: Mutex<Option<String>>,
    tasks: TaskTracker,
}

enum Over {
    Mux(MuxCarrier, Connections),
    Quic(Quic, Credits, Mutex<Allowance>),
}

/// An authenticated carrier without a session: it has only its control stream. Dropping it ends it
/// unless it was admitted, because its own tasks hold clones of it.
pub(crate) struct PendingCarrier {
    carrier: Carrier,
    admitted: bool,
}

impl PendingCarrier {
    pub(crate) fn mux(
        mux: MuxCarrier,
        connections: Connections,
        peer: Option<SocketAddr>,
        tasks: &TaskTracker,
    ) -> Self {
        Self::new(Over::Mux(mux, connections), peer, tasks)
    }

    pub(crate) fn quic(quic: Quic, budget: &Arc<FairBudget>, tasks: &TaskTracker) -> Self {
        let (peer, credits) = (
            Some(quic.peer()),
            Credits::new(quic.side(), Arc::clone(budget)),
        );
        let allowance = Mutex::new(Allowance::new(0, Instant::now()));
        Self::new(Over::Quic(quic, credits, allowance), peer, tasks)
    }

    fn new(over: Over, peer: Option<SocketAddr>, tasks: &TaskTracker) -> Self {
        Self {
            carrier: Carrier::new(over, peer, tasks),
            admitted: false,
        }
    }

    /// A handle to end it when it fails, and to wait for its end.
    pub(crate) fn watch(&self) -> CarrierHandle {
        CarrierHandle(self.carrier.clone())
    }

    /// Records how its TCP connection was dialled.
    pub(crate) fn set_dialled(&self, dialled: Dialled) {
        // The dialler sets it once.
        let _ = self.carrier.0.dialled.set(dialled);
    }

    pub(crate) fn kind(&self) -> CarrierKind {
        self.carrier.kind()
    }

    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.carrier.peer()
    }

    /// See [`Carrier::end`].
    pub(crate) fn end(&self, reason: impl Into<String>) {
        self.carrier.end(reason);
    }

    /// Sets the budget from which the window of a QUIC connection grows.
    pub(crate) fn assign(&self, connections: &Arc<Budget>) {
        if let Over::Quic(quic, ..) = &self.carrier.0.over {
            quic.assign(connections);
        }
    }

    /// Makes it part of a session: from now on each side may open streams on it, the peer at most
    /// `streams` at once.
    pub(crate) fn admit(mut self, streams: u32) -> Carrier {
        self.admitted = true;
        match &self.carrier.0.over {
            Over::Mux(mux, _) => mux.admit(streams),
            Over::Quic(quic, credits, allowance) => {
                let first = Allowance::new(streams, Instant::now());
                credits.allow(streams);
                quic.make_room(0);
                quic.allow(first.allowed());
                *allowance.lock() = first;
            }
        }
        self.carrier.clone()
    }
}

impl Drop for PendingCarrier {
    fn drop(&mut self) {
        if !self.admitted {
            self.carrier.end("it did not become part of a session");
        }
    }
}

/// A handle for the carrier's own tasks.
#[derive(Clone)]
pub(crate) struct CarrierHandle(Carrier);

impl CarrierHandle {
    /// See [`Carrier::end`].
    pub(crate) fn end(&self, reason: impl Into<String>) {
        self.0.end(reason);
    }

    /// Resolves when the carrier has ended.
    pub(crate) async fn ended(&self) {
        self.0.ended().await;
    }

    /// Why it has ended.
    pub(crate) fn reason(&self) -> String {
        self.0.reason()
    }
}

/// An accepted stream whose open message was not read yet; counted while it lives.
pub(crate) struct UnannouncedStream {
    carrier: Carrier,
    counted: Counted,
}

impl UnannouncedStream {
    /// Records that the open message was read.
    pub(crate) fn announced(self) -> Unanswered {
        drop(self.counted);
        self.carrier.announced();
        Unanswered(self.carrier)
    }
}

/// A stream of the peer whose open message was read and not answered yet.
pub(crate) struct Unanswered(Carrier);

impl Unanswered {
    /// Records an answer with success, after which the peer may send. Call it before the answer is
    /// written, and keep the result as long as the stream.
    pub(crate) fn succeeds(self) -> Counted {
        let carrier = self.0;
        let counted = Counted::new(&carrier.0.answered);
        if let Over::Quic(quic, ..) = &carrier.0.over {
            quic.make_room(carrier.0.answered.load(Relaxed));
        }
        counted
    }
}

/// The carrier has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gone;

/// The counters of what a carrier has sent so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    /// Packets, including retransmissions; 0 on TLS where the kernel does not report them.
    pub(crate) packets: u64,
    /// Lost packets.
    pub(crate) lost: u64,
    /// Delivered bytes: on TLS acknowledged bytes, where the kernel reports them; on QUIC bytes
    /// sent and not lost.
    pub(crate) bytes: u64,
    /// Bytes that streams have written.
    pub(crate) written: u64,
    /// Those of them that are not sent yet, as far as it is known.
    pub(crate) queued: u64,
    /// QUIC frames with stream data, including those of the control stream.
    pub(crate) stream_frames: Option<u64>,
    /// How long there was data to deliver, where it is known.
    pub(crate) busy: Option<Duration>,
    /// The round trip of packets, where it is known.
    pub(crate) round_trip: Option<Duration>,
    /// The bytes that may be in flight at the moment, where it is known.
    pub(crate) congestion_window: Option<u64>,
    /// TLS: the round trip is longer than that of the empty path: packets may be lost in a full
    /// queue.
    pub(crate) is_queued: bool,
}

impl Carrier {
    fn new(over: Over, peer: Option<SocketAddr>, tasks: &TaskTracker) -> Self {
        Self(Arc::new(Inner {
            over,
            dialled: OnceLock::new(),
            peer,
            open: OpenStreams::default(),
            pongs: watch::Sender::new(()),
            unannounced: Arc::default(),
            answered: Arc::default(),
            obtained: Arc::default(),
            gone: AtomicBool::new(false),
            written: Arc::default(),
            round_trip_us: AtomicU64::new(0),
            ended: CancellationToken::new(),
            reason: Mutex::new(None),
            tasks: tasks.clone(),
        }))
    }

    /// A handle for the carrier's own tasks.
    pub(crate) fn watch(&self) -> CarrierHandle {
        CarrierHandle(self.clone())
    }

    pub(crate) fn kind(&self) -> CarrierKind {
        match &self.0.over {
            Over::Mux(..) => CarrierKind::Tls,
            Over::Quic(..) => CarrierKind::Quic,
        }
    }

    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.0.peer
    }

    /// Bytes that were written to TCP and are not acknowledged; `None` on QUIC and once it is
    /// closed.
    pub(crate) fn unacknowledged_bytes(&self) -> Option<u64> {
        match &self.0.over {
            Over::Mux(_, connections) => connections.unacknowledged_bytes(),
            Over::Quic(..) => None,
        }
    }

    /// The local address of its TCP connection.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        match &self.0.over {
            Over::Mux(_, connections) => connections.local_address(),
            Over::Quic(..) => None,
        }
    }

    /// How its TCP connection was dialled; `None` on QUIC and if it was accepted.
    pub(crate) fn dialled(&self) -> Option<&Dialled> {
        self.0.dialled.get()
    }

    /// Opens a stream whose first bytes are `first`. Cancel safe: a cancelled open is reset.
    pub(crate) async fn open(&self, first: &[u8]) -> Result<LinkStream, Gone> {
        let stream = match &self.0.over {
            Over::Mux(mux, _) => {
                let stream = mux.open(first).map_err(|error| self.not_opened(error))?;
                LinkStream::mux(stream)
            }
            Over::Quic(quic, credits, _) => LinkStream::quic(
                quic.open(first, Some(credits), &self.0.tasks)
                    .await
                    .map_err(|_| Gone)?,
            ),
        };
        Ok(stream.adding_to(&self.0.written).counted(&self.0.open))
    }

    fn not_opened(&self, error: MuxOpenError) -> Gone {
        if error == MuxOpenError::Exhausted {
            // It could serve open streams only. The dialler makes a new one.
            self.end("every stream number of the connection was used once");
        }
        Gone
    }

    /// The next stream of the peer; an error once the carrier has ended. Cancel safe.
    pub(crate) async fn accept(&self) -> Result<LinkStream, Gone> {
        let stream = match &self.0.over {
            Over::Mux(mux, _) => LinkStream::mux(mux.accept().await.ok_or(Gone)?),
            Over::Quic(quic, credits, _) => LinkStream::quic(
                quic.accept(Some(credits), &self.0.tasks)
                    .await
                    .map_err(|_| Gone)?,
            ),
        };
        Ok(stream.adding_to(&self.0.written).counted(&self.0.open))
    }

    /// Counts an accepted stream whose open message was not read yet.
    pub(crate) fn unannounced(&self) -> UnannouncedStream {
        UnannouncedStream {
            carrier: self.clone(),
            counted: Counted::new(&self.0.unannounced),
        }
    }

    /// Records a read open message of the peer: the stream limit may rise.
    fn announced(&self) {
        let Over::Quic(quic, _, allowance) = &self.0.over else {
            return;
        };
        let announced = quic
            .theirs()
            .saturating_sub(self.0.unannounced.load(Relaxed));
        let more = allowance
            .lock()
            .announced(announced, Instant::now(), quic.round_trip());
        if let Some(more) = more {
            quic.allow(more);
        }
    }

    /// Counts one of our streams that was answered with success; keep the result as long as it.
    pub(crate) fn obtained(&self) -> Counted {
        Counted::new(&self.0.obtained)
    }

    /// Whether a stream is open that was answered with success.
    pub(crate) fn is_in_use(&self) -> bool {
        self.0.obtained.load(Relaxed) + self.0.answered.load(Relaxed) > 0
    }

    /// Records that the other side no longer has the session.
    pub(crate) fn note_gone(&self) {
        self.0.gone.store(true, Relaxed);
    }

    /// Whether the other side no longer has the session.
    pub(crate) fn is_gone(&self) -> bool {
        self.0.gone.load(Relaxed)
    }

    /// The number of open streams.
    pub(crate) fn streams(&self) -> usize {
        self.0.open.count()
    }

    /// Resolves once no stream is open. Cancel safe.
    pub(crate) async fn idle(&self) {
        self.0.open.none().await;
    }

    /// Records a reply to a ping.
    pub(crate) fn note_pong(&self) {
        self.0.pongs.send_replace(());
    }

    /// Resolves at the next reply to a ping after this call. Cancel safe.
    pub(crate) fn pong(&self) -> impl Future<Output = ()> {
        let mut pongs = self.0.pongs.subscribe();
        async move {
            // The sender lives as long as `self`.
            let _ = (self, pongs.changed().await);
        }
    }

    /// Lets the next ping out though the path is silent. TCP does so by itself.
    pub(crate) fn let_question_out(&self) {
        if let Over::Quic(quic, ..) = &self.0.over {
            quic.let_question_out();
        }
    }

    /// Sets the round trip that the session's pings have measured.
    pub(crate) fn set_round_trip(&self, round_trip: Duration) {
        self.0.round_trip_us.store(
            u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX),
            Relaxed,
        );
        match &self.0.over {
            Over::Mux(mux, _) => mux.set_round_trip(round_trip),
            Over::Quic(_, credits, _) => credits.set_round_trip(round_trip),
        }
    }

    /// What was sent on it so far.
    pub(crate) fn sent(&self) -> Sent {
        match &self.0.over {
            Over::Mux(mux, connections) => {
                connections.sent(self.0.written.load(Relaxed), mux.queued_bytes())
            }
            Over::Quic(quic, ..) => Sent {
                written: self.0.written.load(Relaxed),
                ..quic.sent()
            },
        }
    }

    /// The number of its TCP connections; 0 on QUIC.
    pub(crate) fn connections(&self) -> usize {
        match &self.0.over {
            Over::Mux(_, connections) => connections.count(),
            Over::Quic(..) => 0,
        }
    }

    /// Whether it is TLS over several connections.
    pub(crate) fn is_bundle(&self) -> bool {
        self.connections() > 1
    }

    /// Breaks one of its TCP connections, as a router that has lost its state does.
    #[cfg(test)]
    pub(crate) fn break_one_connection(&self) {
        if let Over::Mux(_, connections) = &self.0.over {
            connections.break_one();
        }
    }

    /// See [`Connections::lacks_bbr`].
    pub(crate) fn lacks_bbr(&self) -> Option<String> {
        match &self.0.over {
            Over::Mux(_, connections) => connections.lacks_bbr(),
            Over::Quic(..) => None,
        }
    }

    /// The smoothed round trip of pings; `None` before the first reply.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        let us = self.0.round_trip_us.load(Relaxed);
        (us > 0).then(|| Duration::from_micros(us))
    }

    /// The next credit for a control message; never ready on a carrier with frames for it. Cancel
    /// safe.
    pub(crate) async fn next_credit(&self) -> Credit {
        match &self.0.over {
            Over::Mux(..) => std::future::pending().await,
            Over::Quic(quic, credits, _) => {
                let credit = credits.next_credit().await;
                quic.grown(credits.grown());
                credit
            }
        }
    }

    /// Applies credit that the other side has sent. `false`: it violates the protocol.
    pub(crate) fn granted(&self, credit: &Credit) -> bool {
        match &self.0.over {
            Over::Mux(..) => false,
            Over::Quic(_, credits, _) => credits.granted(credit).is_ok(),
        }
    }

    /// Ends it, once: its streams are lost, its tasks end, and the first reason is kept.
    pub(crate) fn end(&self, reason: impl Into<String>) {
        let reason = reason.into();
        self.0.reason.lock().get_or_insert_with(|| reason.clone());
        match &self.0.over {
            Over::Mux(mux, _) => mux.lose(),
            Over::Quic(quic, ..) => quic.close(&reason),
        }
        self.0.ended.cancel();
    }

    /// Resolves when it has ended.
    pub(crate) async fn ended(&self) {
        self.0.ended.cancelled().await;
    }

    /// Whether it has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.0.ended.is_cancelled()
    }

    /// Why it has ended.
    pub(crate) fn reason(&self) -> String {
        self.0
            .reason
            .lock()
            .clone()
            .unwrap_or_else(|| "it has not ended".to_owned())
    }
}
