//! Control: the messages on the first stream of a carrier, and the pings that show whether the peer
//! is alive.
//!
//! In:    the control stream; the messages to send.
//! Out:   the peer's messages, one at a time; the round-trip time; the end, with its reason.
//! Never: waits without limit: a message that cannot be written within [`WRITE_TIMEOUT`] ends the
//!        carrier. It delays neither the peer's messages nor the deadlines of its replies.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use byway_dial::{Broken, Pipe, Read, Stream, peer_text};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::carrier::{Carrier, CarrierHandle};
use crate::large_packets::NO_ANSWER;
use crate::liveness::{Liveness, PingAction};
use crate::stream::LinkStream;
use crate::wire::{self, Control, ControlMessage, Refusal, Visited};

/// How long writing a message may take. Longer than a silence that open streams survive, see
/// [`STREAMS_SURVIVE`](crate::liveness::STREAMS_SURVIVE).
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long to wait for a better reason for the end.
const BETTER_REASON: Duration = Duration::from_millis(100);

/// Bytes read at a time.
const READ_BYTES: usize = 4096;

/// A larger buffer is not kept once its message was decoded.
const SPARE_BYTES: usize = 2 * READ_BYTES;

/// Bytes that a peer may send after it was refused. A correct peer sends none.
const LINGER_BYTES: usize = 16 * 1024;

/// Bytes of messages that may wait to be written. At this limit nothing more is read, since it may
/// require a reply.
const UNWRITTEN_BYTES: usize = 16 * 1024;

/// The most messages written at a time.
const WRITE_MESSAGES: usize = 64;

/// The most reports written at a time: other messages wait for no more than these.
const WRITE_REPORTS: usize = 8;

/// Messages that wait while the owner of the session is busy. Pings behind them are still answered.
const BACKLOG_MESSAGES: usize = 1024;

/// Bytes of those messages. Above either limit nothing more is read until the owner has taken some.
const BACKLOG_BYTES: usize = 128 * 1024;

/// Both directions of a control stream.
pub(crate) struct ControlStream {
    stream: Stream,
    unread: Vec<u8>,
    unwritten: Unwritten,
}

/// Messages that were not written yet.
#[derive(Default)]
struct Unwritten {
    bytes: Vec<u8>,
    /// How many of these bytes were written.
    taken: usize,
    /// Since when none was written.
    since: Option<Instant>,
}

impl Unwritten {
    fn push(&mut self, control: Control, now: Instant) {
        self.since.get_or_insert(now);
        wire::encode(&ControlMessage::from(control), &mut self.bytes);
    }

    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn has_room(&self) -> bool {
        self.bytes.len() - self.taken < UNWRITTEN_BYTES
    }

    fn left(&self) -> &[u8] {
        self.bytes.get(self.taken..).unwrap_or_default()
    }

    /// Removes `n` bytes that were written.
    fn take(&mut self, n: usize, now: Instant) {
        self.taken += n;
        self.since = Some(now).filter(|_| !self.left().is_empty());
        // The rest may never become empty: written bytes must not stay in memory.
        if self.left().is_empty() || self.taken >= READ_BYTES {
            self.bytes.drain(..self.taken.min(self.bytes.len()));
            self.taken = 0;
            self.bytes.shrink_to(READ_BYTES);
        }
    }

    /// The deadline for writing more bytes.
    fn stuck_at(&self) -> Option<Instant> {
        Some(self.since? + WRITE_TIMEOUT)
    }
}

/// An event on a control stream.
enum Event {
    /// A message of the given number of bytes was received.
    Received(Control, usize),
    /// Everything queued was written.
    Written,
}

/// Requests immediate pings of a carrier, and stores whether a reply is overdue.
pub(crate) struct PingControl {
    wake: Notify,
    suspect_requested: AtomicBool,
    suspected: Notify,
    overdue: AtomicBool,
    shared: Arc<SharedPreference>,
}

/// State that the carriers of a session share.
#[derive(Default)]
pub(crate) struct SharedPreference {
    /// Notified when a carrier is attached or ends, when it becomes silent or answers again, and
    /// when the preference changes.
    pub(crate) changes: watch::Sender<()>,
    /// This side prefers TLS for new streams.
    prefers_tls: AtomicBool,
    /// The peer prefers TLS for new streams.
    peer_prefers_tls: AtomicBool,
    /// This side has measured that new streams need a bundle.
    wants_bundle: AtomicBool,
    /// The peer has measured it.
    peer_wants_bundle: AtomicBool,
}

impl SharedPreference {
    /// Whether either side prefers TLS for new streams. A side that sends little has measured
    /// nothing and prefers nothing, so the side that sends most bytes decides for both.
    pub(crate) fn is_tls_preferred(&self) -> bool {
        self.prefers_tls.load(Relaxed) || self.peer_prefers_tls.load(Relaxed)
    }

    /// Whether this side prefers TLS, and whether the peer does.
    pub(crate) fn preferences(&self) -> (bool, bool) {
        (
            self.prefers_tls.load(Relaxed),
            self.peer_prefers_tls.load(Relaxed),
        )
    }

    /// Sets whether this side prefers TLS.
    pub(crate) fn prefer_tls(&self, prefers: bool) {
        self.note(&self.prefers_tls, prefers);
    }

    /// Whether either side wants a bundle for new streams.
    pub(crate) fn is_bundle_wanted(&self) -> bool {
        self.wants_bundle.load(Relaxed) || self.peer_wants_bundle.load(Relaxed)
    }

    pub(crate) fn wants_bundle(&self) -> bool {
        self.wants_bundle.load(Relaxed)
    }

    /// Sets whether this side wants a bundle.
    pub(crate) fn want_bundle(&self, wants: bool) {
        self.note(&self.wants_bundle, wants);
    }

    fn note(&self, what: &AtomicBool, value: bool) {
        if what.swap(value, Relaxed) != value {
            self.changes.send_replace(());
        }
    }
}

impl PingControl {
    pub(crate) fn new(shared: Arc<SharedPreference>) -> Self {
        let (wake, suspect_requested, suspected, overdue) = Default::default();
        Self {
            wake,
            suspect_requested,
            suspected,
            overdue,
            shared,
        }
    }

    /// Whether a reply of the peer is overdue.
    pub(crate) fn is_overdue(&self) -> bool {
        self.overdue.load(Relaxed)
    }

    fn set_overdue(&self, overdue: bool) {
        self.shared.note(&self.overdue, overdue);
    }

    /// Requests a ping at once: a caller waits for an answer.
    pub(crate) fn ping_now(&self) {
        self.wake.notify_one();
    }

    /// Checks at once whether the peer is alive: there is reason to think that it is gone.
    pub(crate) fn suspect(&self) {
        self.suspect_requested.store(true, Relaxed);
        self.wake.notify_one();
    }

    /// Resolves when the peer did not answer soon after [`Self::suspect`]. Cancel safe; only
    /// current waiters are notified.
    pub(crate) async fn suspected(&self) {
        self.suspected.notified().await;
    }

    fn apply_to(&self, liveness: &mut Liveness) {
        let now = Instant::now().into_std();
        match self.suspect_requested.swap(false, Relaxed) {
            true => liveness.suspect(now),
            false => liveness.ping_now(now),
        }
    }
}

/// Why there is no next message.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControlError {
    /// The stream broke.
    #[error("the link was lost: {0}")]
    Broken(#[from] Broken),
    /// The peer sent FIN.
    #[error("the other side closed the link")]
    Fin,
    /// The peer violated the protocol.
    #[error("the other side broke the protocol: {0}")]
    Bad(#[from] wire::BadMessage),
    /// The peer accepts no messages.
    #[error("the other side accepts no messages")]
    Stuck,
}

impl ControlError {
    /// The text of the error, or the carrier's reason for its end: it knows why the stream broke.
    pub(crate) async fn with_reason_of(self, carrier: &CarrierHandle) -> String {
        let lost = matches!(self, Self::Broken(Broken::SessionLost));
        if lost && timeout(BETTER_REASON, carrier.ended()).await.is_ok() {
            return carrier.reason();
        }
        self.to_string()
    }
}

impl ControlStream {
    pub(crate) fn new(stream: LinkStream) -> Self {
        Self {
            stream: stream.into_stream(),
            unread: Vec::new(),
            unwritten: Unwritten::default(),
        }
    }

    /// Whether no byte of an incomplete message was read.
    pub(crate) fn is_silent(&self) -> bool {
        self.unread.is_empty()
    }

    /// Receives the first message of a carrier, which is short. Reads no byte beyond it. Cancel
    /// safe: what was read is kept.
    pub(crate) async fn recv_first(&mut self) -> Result<Control, ControlError> {
        loop {
            if let Some((control, _)) = self.decode(wire::MOST_FIRST_BYTES)? {
                return Ok(control);
            }
            self.read_some(wire::missing(&self.unread)).await?;
        }
    }

    /// Writes what is queued, and receives the next message unless `may_receive` is false or too
    /// much is queued. Cancel safe: what was read is kept, and what was not written.
    async fn exchange(&mut self, may_receive: bool) -> Result<Event, ControlError> {
        poll_fn(|cx| self.poll_exchange(cx, may_receive)).await
    }

    fn poll_exchange(
        &mut self,
        cx: &mut Context<'_>,
        may_receive: bool,
    ) -> Poll<Result<Event, ControlError>> {
        let had_output = !self.unwritten.is_empty();
        while !self.unwritten.is_empty() {
            let Poll::Ready(written) = self
                .stream
                .poll_write(cx, &[IoSlice::new(self.unwritten.left())])
            else {
                break;
            };
            match written? {
                0 => return Poll::Ready(Err(Broken::Io(io::ErrorKind::WriteZero.into()).into())),
                n => self.unwritten.take(n, Instant::now()),
            }
        }
        if had_output && self.unwritten.is_empty() {
            // The streams of a link do not buffer: there is nothing to flush.
            return Poll::Ready(Ok(Event::Written));
        }
        if !may_receive || !self.unwritten.has_room() {
            return Poll::Pending;
        }
        loop {
            if let Some((control, bytes)) = self.decode(wire::MOST_MESSAGE_BYTES)? {
                return Poll::Ready(Ok(Event::Received(control, bytes)));
            }
            ready!(self.poll_read_some(cx, READ_BYTES))?;
        }
    }

    /// Queues a message, to be written as soon as the stream accepts it.
    fn queue(&mut self, control: Control) {
        self.unwritten.push(control, Instant::now());
    }

    /// Whether everything queued was written.
    fn is_written(&self) -> bool {
        self.unwritten.is_empty()
    }

    /// The deadline for writing more bytes.
    fn stuck_at(&self) -> Option<Instant> {
        self.unwritten.stuck_at()
    }

    /// The next message of at most `most` bytes, if it was read completely.
    fn decode(&mut self, most: usize) -> Result<Option<(Control, usize)>, ControlError> {
        while let Some((message, n)) = wire::decode_control(&self.unread, most)? {
            self.unread.drain(..n);
            // A long message leaves no long buffer behind.
            if self.unread.capacity() > SPARE_BYTES {
                self.unread.shrink_to(READ_BYTES);
            }
            // Unknown messages of a newer version are skipped.
            if let Some(control) = message.control {
                return Ok(Some((control, n)));
            }
        }
        Ok(None)
    }

    /// Reads at most `most` bytes. Cancel safe.
    async fn read_some(&mut self, most: usize) -> Result<(), ControlError> {
        poll_fn(|cx| self.poll_read_some(cx, most)).await
    }

    fn poll_read_some(
        &mut self,
        cx: &mut Context<'_>,
        most: usize,
    ) -> Poll<Result<(), ControlError>> {
        let mut room = [0; READ_BYTES];
        let room = room.get_mut(..most.min(READ_BYTES)).unwrap_or_default();
        Poll::Ready(match ready!(self.stream.poll_read(cx, room))? {
            Read::Fin => Err(ControlError::Fin),
            Read::Data(n) => {
                self.unread
                    .extend_from_slice(room.get(..n).unwrap_or_default());
                Ok(())
            }
        })
    }

    /// Sends one of the messages before a carrier belongs to a session. Not cancel safe: a part of
    /// it may have been written.
    pub(crate) async fn send(&mut self, control: Control) -> Result<(), ControlError> {
        let mut bytes = Vec::new();
        wire::encode(&ControlMessage::from(control), &mut bytes);
        match timeout(WRITE_TIMEOUT, self.stream.write_all(&bytes)).await {
            Ok(written) => Ok(written?),
            Err(_) => Err(ControlError::Stuck),
        }
    }

    /// Waits at most `patience` until the peer has closed, so that the last message arrives. What
    /// it sends is discarded; more than [`LINGER_BYTES`] ends the wait.
    pub(crate) async fn linger(&mut self, patience: Duration) {
        self.unread = Vec::new();
        let _ = timeout(patience, async {
            let mut discarded = 0;
            while discarded < LINGER_BYTES && self.read_some(READ_BYTES).await.is_ok() {
                discarded += self.unread.len();
                self.unread.clear();
            }
        })
        .await;
    }
}

/// Messages that were read and that the owner of the session has no room for yet.
#[derive(Default)]
struct Backlog {
    messages: VecDeque<(Control, usize)>,
    bytes: usize,
}

impl Backlog {
    fn has_room(&self) -> bool {
        self.messages.len() < BACKLOG_MESSAGES && self.bytes < BACKLOG_BYTES
    }

    fn push(&mut self, control: Control, bytes: usize) {
        self.bytes += bytes;
        self.messages.push_back((control, bytes));
    }

    fn pop(&mut self) -> Option<Control> {
        let (control, bytes) = self.messages.pop_front()?;
        self.bytes -= bytes;
        Some(control)
    }
}

/// The messages to send on a carrier. Reports have a queue of their own, so that they take no room
/// from other messages.
pub(crate) struct OutgoingMessages {
    pub(crate) control_queue: mpsc::Receiver<Control>,
    pub(crate) reports: mpsc::Receiver<Box<Visited>>,
}

/// Serves the control stream of a carrier until it or the carrier ends; then the carrier has ended,
/// with a reason.
pub(crate) async fn serve(
    stream: ControlStream,
    carrier: Carrier,
    liveness: Liveness,
    outgoing: OutgoingMessages,
    ping_control: Arc<PingControl>,
    inbox: mpsc::Sender<Control>,
) {
    // The end of the carrier ends everything that the other arm waits for.
    tokio::select! {
        () = exchange(stream, &carrier, liveness, outgoing, &ping_control, inbox) => {}
        () = carrier.ended() => {}
    }
}

async fn exchange(
    mut stream: ControlStream,
    carrier: &Carrier,
    mut liveness: Liveness,
    mut outgoing: OutgoingMessages,
    ping_control: &PingControl,
    inbox: mpsc::Sender<Control>,
) {
    let mut backlog = Backlog::default();
    let (mut batch, mut reports) = (Vec::new(), Vec::new());
    loop {
        let now = Instant::now().into_std();
        liveness.set_in_use(carrier.is_in_use());
        let action = liveness.poll(now);
        let overdue_at = liveness.overdue_at();
        ping_control.set_overdue(overdue_at.is_some_and(|at| at <= now));
        let stuck_at = stream.stuck_at().map(Instant::into_std);
        if stuck_at.is_some_and(|at| at <= now) {
            return carrier.end(ControlError::Stuck.to_string());
        }
        let wake_at = match action {
            PingAction::WaitUntil(at) => {
                let others = [overdue_at.filter(|overdue| *overdue > now), stuck_at];
                others.into_iter().flatten().fold(at, std::cmp::min)
            }
            PingAction::Suspect => {
                ping_control.suspected.notify_waiters();
                continue;
            }
            PingAction::GiveUp => return carrier.end(NO_ANSWER),
            PingAction::Ask(number) => {
                if ping_control.is_overdue() {
                    carrier.let_question_out();
                }
                stream.queue(Control::Ping(number));
                continue;
            }
        };
        let is_written = stream.is_written();
        // Each arm is cancel safe: a partly read or written message stays in `stream`, a message to
        // send in its channel, credit in the carrier.
        let result = tokio::select! {
            happened = stream.exchange(backlog.has_room()) => match happened {
                Ok(Event::Written) => Ok(()),
                Ok(Event::Received(control, bytes)) => {
                    let handled = on_message(
                        (control, bytes), &mut stream, carrier, &mut liveness, ping_control, &mut backlog,
                    );
                    match handled {
                        Ok(()) => Ok(()),
                        Err(reason) => return carrier.end(reason),
                    }
                }
                Err(error) => Err(error),
            },
            room = inbox.reserve(), if !backlog.messages.is_empty() => match room {
                Ok(room) => {
                    if let Some(control) = backlog.pop() {
                        room.send(control);
                    }
                    Ok(())
                }
                // The session is over, and ends its carriers.
                Err(_) => Err(ControlError::Fin),
            },
            1.. = outgoing.control_queue.recv_many(&mut batch, WRITE_MESSAGES), if is_written => {
                batch.drain(..).for_each(|control| stream.queue(control));
                Ok(())
            }
            1.. = outgoing.reports.recv_many(&mut reports, WRITE_REPORTS), if is_written => {
                reports.drain(..).for_each(|report| stream.queue(Control::Visited(report)));
                Ok(())
            }
            credit = carrier.next_credit(), if is_written => {
                stream.queue(Control::Credit(credit));
                Ok(())
            }
            () = ping_control.wake.notified() => {
                ping_control.apply_to(&mut liveness);
                Ok(())
            }
            () = sleep_until(wake_at.into()) => Ok(()),
        };
        if let Err(error) = result {
            let reason = error.with_reason_of(&carrier.watch()).await;
            return carrier.end(reason);
        }
    }
}

/// Acts on a message, or keeps it for the session; the error is the reason to end the carrier for.
fn on_message(
    (control, bytes): (Control, usize),
    stream: &mut ControlStream,
    carrier: &Carrier,
    liveness: &mut Liveness,
    ping_control: &PingControl,
    backlog: &mut Backlog,
) -> Result<(), String> {
    let shared = &ping_control.shared;
    match control {
        Control::Ping(number) => stream.queue(Control::Pong(number)),
        Control::Pong(number) => {
            if let Some(round_trip) = liveness.reply(number, Instant::now().into_std()) {
                carrier.set_round_trip(round_trip);
                carrier.note_pong();
            }
        }
        Control::Credit(credit) if carrier.granted(&credit) => {}
        Control::Credit(_) => {
            return Err("the other side broke the protocol: credit above the limit".to_owned());
        }
        Control::PreferTls(prefers) => shared.note(&shared.peer_prefers_tls, prefers != 0),
        Control::WantBundle(wants) => shared.note(&shared.peer_wants_bundle, wants != 0),
        // An attach that was refused late: the carrier was not accepted, which does not affect the
        // session.
        Control::Refused(refused) => {
            if Refusal::from_number(refused.why) == Refusal::Gone {
                carrier.note_gone();
            }
            return Err(peer_text(&refused.detail).to_string());
        }
        control => backlog.push(control, bytes),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use byway_testkit::pipe;

    use super::*;
    use crate::wire::GoAway;

    fn control() -> (ControlStream, Stream) {
        let (near, far) = pipe::pair_of(1 << 20);
        let unwritten = Unwritten::default();
        (
            ControlStream {
                stream: near.into_stream(),
                unread: Vec::new(),
                unwritten,
            },
            far.into_stream(),
        )
    }

    fn message(detail_bytes: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let away = GoAway {
            detail: "x".repeat(detail_bytes),
            ..GoAway::default()
        };
        wire::encode(&ControlMessage::from(Control::GoAway(away)), &mut bytes);
        bytes
    }

    #[tokio::test]
    async fn a_long_message_leaves_no_long_buffer_behind() {
        let (mut control, mut peer) = control();
        let long = message(60_000);
        peer.write_all(&[&long[..], &message(1)[..1]].concat())
            .await
            .unwrap();
        let Event::Received(_, bytes) = control.exchange(true).await.unwrap() else {
            panic!("nothing was queued")
        };
        assert_eq!(bytes, long.len());
        assert!(
            control.unread.capacity() <= SPARE_BYTES,
            "{} bytes",
            control.unread.capacity()
        );
    }

    #[tokio::test]
    async fn nothing_after_a_first_message_is_read_and_a_long_one_is_refused_at_its_length() {
        let (mut control, mut peer) = control();
        peer.write_all(&message(100).repeat(50)).await.unwrap();
        control.recv_first().await.unwrap();
        assert_eq!(control.unread.len(), 0);
        control.recv_first().await.unwrap();

        let (mut control, mut peer) = self::control();
        peer.write_all(&message(wire::MOST_FIRST_BYTES))
            .await
            .unwrap();
        let error = control.recv_first().await.unwrap_err();
        assert!(
            matches!(error, ControlError::Bad(wire::BadMessage::TooLong { .. })),
            "{error}"
        );
        assert_eq!(control.unread.len(), wire::LENGTH_BYTES);
    }

    #[tokio::test]
    async fn a_message_that_the_peer_did_not_read_kept_its_own_messages_from_being_received() {
        let (near, far) = pipe::pair_of(64);
        let unwritten = Unwritten::default();
        let mut control = ControlStream {
            stream: near.into_stream(),
            unread: Vec::new(),
            unwritten,
        };
        let mut peer = far.into_stream();
        for number in 0..100 {
            control.queue(Control::Ping(number));
        }
        let mut pong = Vec::new();
        wire::encode(&ControlMessage::from(Control::Pong(7)), &mut pong);
        peer.write_all(&pong).await.unwrap();
        assert!(matches!(
            control.exchange(true).await,
            Ok(Event::Received(Control::Pong(7), _))
        ));
        assert!(!control.is_written() && control.stuck_at().is_some());
        // The peer reads them at last, all of them in order.
        let reading = async {
            let mut peer = ControlStream {
                stream: peer,
                unread: Vec::new(),
                unwritten: Unwritten::default(),
            };
            for number in 0..100 {
                let Event::Received(control, _) = peer.exchange(true).await.unwrap() else {
                    panic!("it had nothing to write")
                };
                assert!(
                    matches!(control, Control::Ping(n) if n == number),
                    "{control:?} instead of ping {number}"
                );
            }
        };
        let (written, ()) = tokio::join!(control.exchange(false), reading);
        assert!(matches!(written, Ok(Event::Written)) && control.stuck_at().is_none());
    }

    #[test]
    fn messages_that_were_written_stayed_in_memory_while_the_peer_left_one_byte_of_the_next_unread()
    {
        let (mut unwritten, now) = (Unwritten::default(), Instant::now());
        for number in 0..100_000 {
            unwritten.push(Control::Pong(number), now);
            let left = unwritten.left().len();
            unwritten.take(left - 1, now);
        }
        assert!(
            unwritten.bytes.capacity() <= 4 * READ_BYTES,
            "{} bytes",
            unwritten.bytes.capacity()
        );
        assert!(unwritten.stuck_at().is_some());
        unwritten.take(1, now);
        assert!(unwritten.is_empty() && unwritten.stuck_at().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_peer_that_goes_on_sending_is_not_kept_and_not_read_for_long() {
        let (mut control, mut peer) = control();
        peer.write_all(&vec![7; 512 * 1024]).await.unwrap();
        let start = Instant::now();
        control.linger(Duration::from_secs(2)).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert!(control.unread.capacity() <= SPARE_BYTES);
        // What it has sent was not read, except for the limit.
        let mut rest = vec![0; 512 * 1024];
        let Ok(Read::Data(left)) = control.stream.read(&mut rest).await else {
            panic!("nothing is left")
        };
        assert!(
            left >= 512 * 1024 - LINGER_BYTES - READ_BYTES,
            "{left} bytes are left"
        );
    }
}
