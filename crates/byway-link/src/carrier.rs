//! Carrier: what one session runs over: a QUIC connection, or a mux over TLS; the session sees one
//! type.
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
use crate::connections::Connections;
use crate::credit::Credits;
use crate::large_packets::Dialled;
use crate::mux::carrier::MuxCarrier;
use crate::mux::core::MuxOpenError;
use crate::open_streams::OpenStreams;
use crate::quic::Quic;
use crate::stream::{Counted, LinkStream};
use crate::window::Budget;
use crate::wire::Credit;

/// Which carrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CarrierKind {
    /// TLS over TCP.
    Tls,
    /// QUIC over UDP: the better one where it gets through.
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

/// One authenticated connection. Clones are the same.
#[derive(Clone)]
pub(crate) struct Carrier(Arc<Inner>);

struct Inner {
    over: Over,
    /// How that connection was dialled; nothing where it was accepted.
    dialled: OnceLock<Dialled>,
    peer: Option<SocketAddr>,
    /// Streams that are open, either side's.
    open: OpenStreams,
    /// The peer's streams that were accepted and have not said what they are for.
    unannounced: Arc<AtomicUsize>,
    /// The peer's streams that are open and were answered with success.
    answered: Arc<AtomicUsize>,
    /// Our streams that are open and were answered with success.
    obtained: Arc<AtomicUsize>,
    /// The other side does not have the session any more.
    gone: AtomicBool,
    /// Bytes that streams have written.
    written: Arc<AtomicU64>,
    /// The round trip of the last pings, in microseconds; 0 before the first.
    round_trip_us: AtomicU64,
    /// Moves with each answer to a ping.
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

/// A carrier that is authenticated and belongs to no session yet: its control stream is all that
/// exists. Dropping it ends it, unless it was admitted: its own tasks would keep it.
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

    pub(crate) fn quic(quic: Quic, budget: &Arc<Budget>, tasks: &TaskTracker) -> Self {
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

    /// Ends it when it fails, and resolves when it has ended.
    pub(crate) fn watch(&self) -> CarrierHandle {
        CarrierHandle(self.carrier.clone())
    }

    /// Notes how its TCP connection was dialled.
    pub(crate) fn set_dialled(&self, dialled: Dialled) {
        // Set once, by the dialler.
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

    /// What the window of its connection may be wider than at first is taken of `connections`.
    pub(crate) fn assign(&self, connections: &Arc<Budget>) {
        if let Over::Quic(quic, ..) = &self.carrier.0.over {
            quic.assign(connections);
        }
    }

    /// It belongs to a session now: each side may open streams on it, the peer at most `streams` at
    /// once.
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
            self.carrier.end("no session came of it");
        }
    }
}

/// What a carrier's own tasks have of it.
#[derive(Clone)]
pub(crate) struct CarrierHandle(Carrier);

impl CarrierHandle {
    /// See [`Carrier::end`].
    pub(crate) fn end(&self, reason: impl Into<String>) {
        self.0.end(reason);
    }

    /// Resolves when it has ended.
    pub(crate) async fn ended(&self) {
        self.0.ended().await;
    }

    /// Why it has ended.
    pub(crate) fn reason(&self) -> String {
        self.0.reason()
    }
}

/// A stream of the peer that has not named its service yet; counted while it lives.
pub(crate) struct UnannouncedStream {
    carrier: Carrier,
    counted: Counted,
}

impl UnannouncedStream {
    /// The stream has said what it is for.
    pub(crate) fn announced(self) -> Unanswered {
        drop(self.counted);
        self.carrier.announced();
        Unanswered(self.carrier)
    }
}

/// One of the peer's streams that has said what it is for and was not answered.
pub(crate) struct Unanswered(Carrier);

impl Unanswered {
    /// The stream is answered with success, and the peer may send on it. To be called before the
    /// answer is written; what is returned lives as long as the stream.
    pub(crate) fn succeeds(self) -> Counted {
        let carrier = self.0;
        let counted = Counted::new(&carrier.0.answered);
        if let Over::Quic(quic, ..) = &carrier.0.over {
            quic.make_room(carrier.0.answered.load(Relaxed));
        }
        counted
    }
}

/// The carrier is gone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gone;

/// What a carrier has sent so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    /// Packets, those sent again included; none on TLS where the kernel does not say.
    pub(crate) packets: u64,
    /// Those that were lost.
    pub(crate) lost: u64,
    /// Bytes that were delivered: acknowledged on TLS, where the kernel says, and sent and not lost
    /// on QUIC.
    pub(crate) bytes: u64,
    /// Bytes that streams have written.
    pub(crate) written: u64,
    /// Those of them that wait to be sent, as far as it is known.
    pub(crate) queued: u64,
    /// Frames with bytes of streams, on QUIC. Those of the control stream are among them.
    pub(crate) stream_frames: Option<u64>,
    /// How long there was something to deliver, where it is known.
    pub(crate) busy: Option<Duration>,
    /// The round trip of packets, where it is known.
    pub(crate) round_trip: Option<Duration>,
    /// How many bytes may be under way at the moment, where it is known.
    pub(crate) congestion_window: Option<u64>,
    /// TLS: the round trip is longer than the path alone makes it, so packets may be lost because a
    /// queue is full.
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

    /// What the carrier's own tasks need of it.
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

    /// Bytes that were written to TCP and are not acknowledged; nothing on QUIC and once it is
    /// closed.
    pub(crate) fn unacknowledged_bytes(&self) -> Option<u64> {
        match &self.0.over {
            Over::Mux(_, connections) => connections.unacknowledged_bytes(),
            Over::Quic(..) => None,
        }
    }

    /// The address of this machine on its TCP connection.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        match &self.0.over {
            Over::Mux(_, connections) => connections.local_address(),
            Over::Quic(..) => None,
        }
    }

    /// How its TCP connection was dialled; nothing on QUIC and where it was accepted.
    pub(crate) fn dialled(&self) -> Option<&Dialled> {
        self.0.dialled.get()
    }

    /// Opens a stream whose first bytes are `first`. Cancel safe: a stream that nobody waits for
    /// any more is reset.
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
            // It could serve for nothing but what is open. Whoever dialled makes a new one.
            self.end("every stream number of the connection was used once");
        }
        Gone
    }

    /// The next stream of the peer's; an error once the carrier is gone. Cancel safe.
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

    /// One of the peer's streams that was accepted and has not said what it is for.
    pub(crate) fn unannounced(&self) -> UnannouncedStream {
        UnannouncedStream {
            carrier: self.clone(),
            counted: Counted::new(&self.0.unannounced),
        }
    }

    /// One more of the peer's streams has said what it is for: the peer may have more of them.
    fn announced(&self) {
        let Over::Quic(quic, _, allowance) = &self.0.over else {
            return;
        };
        let control = quic
            .theirs()
            .saturating_sub(self.0.unannounced.load(Relaxed));
        let more = allowance
            .lock()
            .announced(control, Instant::now(), quic.round_trip());
        if let Some(more) = more {
            quic.allow(more);
        }
    }

    /// One of our streams was answered with success. What is returned lives as long as the stream.
    pub(crate) fn obtained(&self) -> Counted {
        Counted::new(&self.0.obtained)
    }

    /// Whether a stream is open that was answered with success.
    pub(crate) fn is_in_use(&self) -> bool {
        self.0.obtained.load(Relaxed) + self.0.answered.load(Relaxed) > 0
    }

    /// The other side has said that it does not have the session any more.
    pub(crate) fn note_gone(&self) {
        self.0.gone.store(true, Relaxed);
    }

    /// Whether it has.
    pub(crate) fn is_gone(&self) -> bool {
        self.0.gone.load(Relaxed)
    }

    /// How many streams are open.
    pub(crate) fn streams(&self) -> usize {
        self.0.open.count()
    }

    /// Resolves once no stream is open. Cancel safe.
    pub(crate) async fn idle(&self) {
        self.0.open.none().await;
    }

    /// The other side has answered a ping.
    pub(crate) fn note_pong(&self) {
        self.0.pongs.send_replace(());
    }

    /// Resolves at the next answer to a ping. Cancel safe.
    pub(crate) async fn pong(&self) {
        // The sender lives as long as we do.
        let _ = self.0.pongs.subscribe().changed().await;
    }

    /// A question that is queued next goes out though the path is silent. TCP sees to that itself.
    pub(crate) fn let_question_out(&self) {
        if let Over::Quic(quic, ..) = &self.0.over {
            quic.let_question_out();
        }
    }

    /// The round trip, as the session's pings have measured it.
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

    /// How many TCP connections it has; none on QUIC.
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

    /// Breaks one of its TCP connections, as a router that has forgotten it does.
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

    /// The round trip by the last pings; none before the first reply.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        let us = self.0.round_trip_us.load(Relaxed);
        (us > 0).then(|| Duration::from_micros(us))
    }

    /// Credit that has to be told by a control message; never any on a carrier that has frames for
    /// it. Cancel safe.
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

    /// Credit that the other side has told. `false`: it breaks the rules.
    pub(crate) fn granted(&self, credit: &Credit) -> bool {
        match &self.0.over {
            Over::Mux(..) => false,
            Over::Quic(_, credits, _) => credits.granted(credit).is_ok(),
        }
    }

    /// Ends it, once: streams are lost, its tasks end, and the reason is kept.
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
