//! Control: the messages on the first stream of a carrier, and the questions that show whether the other side lives.
//!
//! In:    the control stream; what this side has to say.
//! Out:   what the other side says, one message at a time; the round trip; the end, with its reason.
//! Never: waits for ever: a message that cannot be written within [`WRITE_TIMEOUT`] ends the carrier.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use byway_dial::{Broken, Pipe, Read, Stream, peer_text};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::carrier::{Carrier, Watch};
use crate::large_packets::NO_ANSWER;
use crate::liveness::{Do, Liveness};
use crate::stream::LinkStream;
use crate::wire::{self, Control, Refusal, Said, Visited};

/// How long a message may take to be taken. Longer than a silence that open streams survive, see
/// [`STREAMS_SURVIVE`](crate::liveness::STREAMS_SURVIVE).
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a better reason for the end is waited for.
const BETTER_REASON: Duration = Duration::from_millis(100);

/// Bytes read at a time.
const READ_BYTES: usize = 4096;

/// A larger buffer is not kept once its message was decoded.
const SPARE_BYTES: usize = 2 * READ_BYTES;

/// Bytes that a peer may send after it was refused. An honest one sends none.
const LINGER_BYTES: usize = 16 * 1024;

/// Messages written at a time.
const WRITE_MESSAGES: usize = 64;

/// Reports written at a time: other messages wait for no more than these.
const WRITE_REPORTS: usize = 8;

/// Messages that wait while the owner of the session is busy. Pings behind them are still answered.
const BACKLOG_MESSAGES: usize = 1024;

/// Bytes of those messages. Above either limit nothing more is read until the owner has taken some.
const BACKLOG_BYTES: usize = 128 * 1024;

/// Both directions of a control stream.
pub(crate) struct ControlStream {
    stream: Stream,
    unread: Vec<u8>,
}

/// Makes the pings of a carrier urgent, and holds whether a reply is overdue.
pub(crate) struct Urgency {
    wake: Notify,
    doubted: AtomicBool,
    suspected: Notify,
    overdue: AtomicBool,
    shared: Arc<Standing>,
}

/// What the carriers of a session have in common.
#[derive(Default)]
pub(crate) struct Standing {
    /// Moves when a carrier is attached or ends, when it becomes silent or answers again, and with the preference.
    pub(crate) changes: watch::Sender<()>,
    /// This side prefers TLS for new streams.
    prefers_tls: AtomicBool,
    /// The other side does.
    peer_prefers_tls: AtomicBool,
}

impl Standing {
    /// Whether either side prefers TLS for new streams.
    pub(crate) fn is_tls_preferred(&self) -> bool {
        self.prefers_tls.load(Relaxed) || self.peer_prefers_tls.load(Relaxed)
    }

    /// This side prefers TLS, or not.
    pub(crate) fn prefer_tls(&self, prefers: bool) {
        self.note(&self.prefers_tls, prefers);
    }

    fn note(&self, what: &AtomicBool, value: bool) {
        if what.swap(value, Relaxed) != value {
            self.changes.send_replace(());
        }
    }
}

impl Urgency {
    pub(crate) fn new(shared: Arc<Standing>) -> Self {
        let (wake, doubted, suspected, overdue) = Default::default();
        Self { wake, doubted, suspected, overdue, shared }
    }

    /// Whether a reply of the other side is overdue.
    pub(crate) fn is_overdue(&self) -> bool {
        self.overdue.load(Relaxed)
    }

    fn set_overdue(&self, overdue: bool) {
        self.shared.note(&self.overdue, overdue);
    }

    /// Somebody waits.
    pub(crate) fn urge(&self) {
        self.wake.notify_one();
    }

    /// There is reason to think that the other side is gone.
    pub(crate) fn doubt(&self) {
        self.doubted.store(true, Relaxed);
        self.wake.notify_one();
    }

    /// Resolves when the other side was doubted and has not answered soon. Cancel safe; only a waiter is notified.
    pub(crate) async fn suspected(&self) {
        self.suspected.notified().await;
    }

    fn tell(&self, liveness: &mut Liveness) {
        let now = Instant::now().into_std();
        match self.doubted.swap(false, Relaxed) {
            true => liveness.doubt(now),
            false => liveness.urge(now),
        }
    }
}

/// Why there is no next message.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControlError {
    /// The stream broke.
    #[error("the link was lost: {0}")]
    Broken(#[from] Broken),
    /// The other side said FIN.
    #[error("the other side closed the link")]
    Fin,
    /// It breaks the rules.
    #[error("the other side broke the protocol: {0}")]
    Bad(#[from] wire::BadMessage),
    /// It takes nothing away.
    #[error("the other side takes no messages")]
    Stuck,
}

impl ControlError {
    /// In words, or the words in which the carrier has ended: those know why the stream broke.
    pub(crate) async fn with_reason_of(self, carrier: &Watch) -> String {
        let lost = matches!(self, Self::Broken(Broken::SessionLost));
        if lost && timeout(BETTER_REASON, carrier.ended()).await.is_ok() {
            return carrier.reason();
        }
        self.to_string()
    }
}

impl ControlStream {
    pub(crate) fn new(stream: LinkStream) -> Self {
        Self { stream: stream.into_stream(), unread: Vec::new() }
    }

    /// Whether no byte waits for the rest of its message.
    pub(crate) fn is_silent(&self) -> bool {
        self.unread.is_empty()
    }

    /// The first message of a carrier, which is short. No byte behind it is read. Cancel safe: what was read stays.
    pub(crate) async fn hear_first(&mut self) -> Result<Said, ControlError> {
        loop {
            if let Some((said, _)) = self.decode(wire::MOST_FIRST_BYTES)? {
                return Ok(said);
            }
            self.read_some(wire::missing(&self.unread)).await?;
        }
    }

    /// The next message, with the number of bytes that it took on the wire. Cancel safe: what was read stays.
    async fn hear_sized(&mut self) -> Result<(Said, usize), ControlError> {
        loop {
            if let Some(heard) = self.decode(wire::MOST_MESSAGE_BYTES)? {
                return Ok(heard);
            }
            self.read_some(READ_BYTES).await?;
        }
    }

    /// The next message of those that were read, of at most `most` bytes.
    fn decode(&mut self, most: usize) -> Result<Option<(Said, usize)>, ControlError> {
        while let Some((message, n)) = wire::decode_control(&self.unread, most)? {
            self.unread.drain(..n);
            // A long message leaves no long buffer behind.
            if self.unread.capacity() > SPARE_BYTES {
                self.unread.shrink_to(READ_BYTES);
            }
            // What a newer version says and we do not know is passed over.
            if let Some(said) = message.said {
                return Ok(Some((said, n)));
            }
        }
        Ok(None)
    }

    /// Reads at most `most` bytes. Cancel safe.
    async fn read_some(&mut self, most: usize) -> Result<(), ControlError> {
        let mut room = [0; READ_BYTES];
        let room = room.get_mut(..most.min(READ_BYTES)).unwrap_or_default();
        match poll_fn(|cx| self.stream.poll_read(cx, room)).await? {
            Read::Fin => Err(ControlError::Fin),
            Read::Data(n) => {
                self.unread.extend_from_slice(room.get(..n).unwrap_or_default());
                Ok(())
            }
        }
    }

    /// Says it. Not cancel safe: half a message may have been written.
    pub(crate) async fn say(&mut self, said: Said) -> Result<(), ControlError> {
        self.say_all([said]).await
    }

    /// Says them in one write. Not cancel safe, as [`ControlStream::say`].
    async fn say_all(&mut self, all: impl IntoIterator<Item = Said>) -> Result<(), ControlError> {
        let mut bytes = Vec::new();
        for said in all {
            wire::encode(&Control::from(said), &mut bytes);
        }
        match timeout(WRITE_TIMEOUT, self.stream.write_all(&bytes)).await {
            Ok(written) => Ok(written?),
            Err(_) => Err(ControlError::Stuck),
        }
    }

    /// Waits until the other side has closed, at most that long, so that the last message arrives. What comes meanwhile is
    /// discarded, and more than [`LINGER_BYTES`] of it ends the wait.
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
    messages: VecDeque<(Said, usize)>,
    bytes: usize,
}

impl Backlog {
    fn has_room(&self) -> bool {
        self.messages.len() < BACKLOG_MESSAGES && self.bytes < BACKLOG_BYTES
    }

    fn push(&mut self, said: Said, bytes: usize) {
        self.bytes += bytes;
        self.messages.push_back((said, bytes));
    }

    fn pop(&mut self) -> Option<Said> {
        let (said, bytes) = self.messages.pop_front()?;
        self.bytes -= bytes;
        Some(said)
    }
}

/// What this side has to say on a carrier. Reports have a queue of their own, so that they take no other message's place.
pub(crate) struct Outgoing {
    pub(crate) to_say: mpsc::Receiver<Said>,
    pub(crate) reports: mpsc::Receiver<Box<Visited>>,
}

/// Serves the control stream of a carrier until it or the carrier ends; then the carrier has ended, with a reason.
pub(crate) async fn serve(
    stream: ControlStream,
    carrier: Carrier,
    liveness: Liveness,
    outgoing: Outgoing,
    urgency: Arc<Urgency>,
    heard: mpsc::Sender<Said>,
) {
    // Whatever the other arm waits for, the end of the carrier ends it.
    tokio::select! {
        () = exchange(stream, &carrier, liveness, outgoing, &urgency, heard) => {}
        () = carrier.ended() => {}
    }
}

async fn exchange(
    mut stream: ControlStream,
    carrier: &Carrier,
    mut liveness: Liveness,
    mut outgoing: Outgoing,
    urgency: &Urgency,
    heard: mpsc::Sender<Said>,
) {
    let mut backlog = Backlog::default();
    let (mut batch, mut reports) = (Vec::new(), Vec::new());
    loop {
        let now = Instant::now().into_std();
        liveness.set_in_use(carrier.is_in_use());
        let doing = liveness.poll(now);
        let overdue_at = liveness.overdue_at();
        urgency.set_overdue(overdue_at.is_some_and(|at| at <= now));
        let wake_at = match doing {
            Do::WaitUntil(at) => overdue_at.filter(|overdue| *overdue > now).map_or(at, |overdue| overdue.min(at)),
            Do::Suspect => {
                urgency.suspected.notify_waiters();
                continue;
            }
            Do::GiveUp => return carrier.end(NO_ANSWER),
            Do::Ask(number) => match stream.say(Said::Ping(number)).await {
                Ok(()) => continue,
                Err(error) => return carrier.end(error.to_string()),
            },
        };
        // Each arm is cancel safe: a message half read stays in `stream`, a message to say stays in its channel.
        let turn = tokio::select! {
            said = stream.hear_sized(), if backlog.has_room() => match said {
                Ok((Said::Ping(number), _)) => stream.say(Said::Pong(number)).await,
                Ok((Said::Pong(number), _)) => {
                    if let Some(round_trip) = liveness.reply(number, Instant::now().into_std()) {
                        carrier.set_round_trip(round_trip);
                        carrier.note_pong();
                    }
                    Ok(())
                }
                Ok((Said::Credit(credit), _)) if carrier.granted(&credit) => Ok(()),
                Ok((Said::Credit(_), _)) => {
                    return carrier.end("the other side broke the protocol: credit beyond all bounds");
                }
                Ok((Said::PreferTls(prefers), _)) => {
                    urgency.shared.note(&urgency.shared.peer_prefers_tls, prefers != 0);
                    Ok(())
                }
                // An attach that came too late: the carrier was not taken, which is nothing to the session.
                Ok((Said::Refused(refused), _)) => {
                    if Refusal::from_number(refused.why) == Refusal::Gone {
                        carrier.note_gone();
                    }
                    return carrier.end(peer_text(&refused.detail).to_string());
                }
                Ok((said, bytes)) => {
                    backlog.push(said, bytes);
                    Ok(())
                }
                Err(error) => Err(error),
            },
            room = heard.reserve(), if !backlog.messages.is_empty() => match room {
                Ok(room) => {
                    if let Some(said) = backlog.pop() {
                        room.send(said);
                    }
                    Ok(())
                }
                // The session is over, and ends its carriers.
                Err(_) => Err(ControlError::Fin),
            },
            1.. = outgoing.to_say.recv_many(&mut batch, WRITE_MESSAGES) => stream.say_all(batch.drain(..)).await,
            1.. = outgoing.reports.recv_many(&mut reports, WRITE_REPORTS) => {
                stream.say_all(reports.drain(..).map(Said::Visited)).await
            }
            credit = carrier.credit_to_tell() => stream.say(Said::Credit(credit)).await,
            () = urgency.wake.notified() => {
                urgency.tell(&mut liveness);
                Ok(())
            }
            () = sleep_until(wake_at.into()) => Ok(()),
        };
        if let Err(error) = turn {
            let reason = error.with_reason_of(&carrier.watch()).await;
            return carrier.end(reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use byway_testkit::pipe;

    use super::*;
    use crate::wire::GoAway;

    fn control() -> (ControlStream, Stream) {
        let (near, far) = pipe::pair_of(1 << 20);
        (ControlStream { stream: near.into_stream(), unread: Vec::new() }, far.into_stream())
    }

    fn message(detail_bytes: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let away = GoAway { detail: "x".repeat(detail_bytes), ..GoAway::default() };
        wire::encode(&Control::from(Said::GoAway(away)), &mut bytes);
        bytes
    }

    #[tokio::test]
    async fn a_long_message_leaves_no_long_buffer_behind() {
        let (mut control, mut peer) = control();
        let long = message(60_000);
        peer.write_all(&[&long[..], &message(1)[..1]].concat()).await.unwrap();
        assert_eq!(control.hear_sized().await.unwrap().1, long.len());
        assert!(control.unread.capacity() <= SPARE_BYTES, "{} bytes", control.unread.capacity());
    }

    #[tokio::test]
    async fn nothing_behind_a_first_message_is_read_and_a_long_one_is_refused_at_its_length() {
        let (mut control, mut peer) = control();
        peer.write_all(&message(100).repeat(50)).await.unwrap();
        control.hear_first().await.unwrap();
        assert_eq!(control.unread.len(), 0);
        control.hear_first().await.unwrap();

        let (mut control, mut peer) = self::control();
        peer.write_all(&message(wire::MOST_FIRST_BYTES)).await.unwrap();
        let error = control.hear_first().await.unwrap_err();
        assert!(matches!(error, ControlError::Bad(wire::BadMessage::TooLong { .. })), "{error}");
        assert_eq!(control.unread.len(), wire::LENGTH_BYTES);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_peer_that_goes_on_sending_is_not_kept_and_not_read_for_long() {
        let (mut control, mut peer) = control();
        peer.write_all(&vec![7; 512 * 1024]).await.unwrap();
        let begun = Instant::now();
        control.linger(Duration::from_secs(2)).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert!(control.unread.capacity() <= SPARE_BYTES);
        // What it has sent is still there, but for the limit.
        let mut rest = vec![0; 512 * 1024];
        let Ok(Read::Data(left)) = control.stream.read(&mut rest).await else { panic!("nothing is left") };
        assert!(left >= 512 * 1024 - LINGER_BYTES - READ_BYTES, "{left} bytes are left");
    }
}
