//! Connection: one authenticated QUIC connection of a link, and its window.
//!
//! In:    a connection whose handshake is complete.
//! Out:   streams, opened here or by the peer; what was sent; why it ended.
//! Never: lets a stalled stream use up the window of the others.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use quinn::{Connection, ConnectionError, Endpoint, RecvStream, SendStream, VarInt};
use rustls::pki_types::CertificateDer;
use tokio_util::task::TaskTracker;

use super::QuicError;
use super::gate::Gate;
use super::lingering::Lingering;
use super::stream::QuicStream;
use super::windows::{WINDOW_STEP_BYTES, Widened, Windows};
use crate::budget::Budget;
use crate::carrier::Sent;
use crate::congestion::let_question_out;
use crate::credit::Credits;
use crate::key::Fingerprint;
use crate::mux::core::Side;
use crate::stream::Counted;
use crate::tls;

/// The window has room for the first bytes of this many streams that were not answered with
/// success, 4 MiB: until then a correct peer sends only the open message, which has at most 4 KiB.
const UNANSWERED_WINDOW_STREAMS: u64 = 128;

/// The window grows by the first bytes of this many streams at a time, 1 MiB.
const STEP_STREAMS: u64 = 32;

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

    pub(super) fn new(connection: Connection, side: Side, endpoint: Option<Endpoint>) -> Self {
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

    /// The number of our own open streams.
    #[cfg(test)]
    pub(super) const fn ours(&self) -> &Arc<AtomicUsize> {
        &self.ours
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
        let mut stream = self.stream(halves, credits, tasks, counted);
        stream.write_first(first).await?;
        Ok(stream)
    }

    /// The next stream that the peer opens; without `credits` it is the control stream.
    pub(crate) async fn accept(
        &self,
        credits: Option<&Credits>,
        tasks: &TaskTracker,
    ) -> Result<QuicStream, ConnectionError> {
        let halves = self.connection.accept_bi().await?;
        let counted = credits.map(|_| Counted::new(&self.theirs));
        Ok(self.stream(halves, credits, tasks, counted))
    }

    fn stream(
        &self,
        halves: (SendStream, RecvStream),
        credits: Option<&Credits>,
        tasks: &TaskTracker,
        counted: Option<Counted>,
    ) -> QuicStream {
        let connection = self.connection.clone();
        let lingering = self.lingering.clone();
        QuicStream::new(
            halves, connection, &self.gate, lingering, credits, tasks, counted,
        )
    }

    /// Lets a ping out on a silent path although the congestion window is full.
    pub(crate) fn let_question_out(&self) {
        let_question_out(self.connection.congestion_state());
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
