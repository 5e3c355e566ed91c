//! Link: one session between two nodes: its streams and its control messages, over its carriers.
//!
//! In:    authenticated carriers, the first of which has been welcomed.
//! Out:   streams to open and to accept, messages, and one end with its reason.
//! Never: moves a stream from one carrier to another, and never outlives its last carrier.

mod addresses;
mod carriers;
mod log;
mod open_attempts;
mod silence;

use std::fmt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use byway_dial::{Broken, Pipe, Read, Stream};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::carriers::{AttachedCarrier, SessionCarriers};
pub(crate) use self::carriers::{CarrierSlot, NoCarrierSlot};
pub use self::open_attempts::OpenAttempts;
use crate::carrier::{Carrier, UnannouncedStream, Unanswered};
use crate::client_key::ClientKey;
use crate::congestion::Congestion;
use crate::control::SharedPreference;
use crate::gathering::Gathering;
use crate::join::GrantId;
use crate::key::Fingerprint;
use crate::mux::core::Side;
use crate::node_budget::{Holder, NodeBudget};
use crate::segments::Segments;
use crate::stream::LinkStream;
use crate::wire::{self, Answer, Answered, Control, Open, Visited};

/// Sixteen random bytes of the welcome, by which further carriers attach.
pub(crate) type SessionId = [u8; 16];

/// Streams and messages that may wait for the owner of the [`Inbox`]; more wait on their carriers.
const INBOX: usize = 64;

/// Request reports that may wait on one carrier; those beyond are dropped.
const REPORTS: usize = 128;

/// Accepted streams of one session whose open message was not read yet; more wait on their
/// carriers. Each buffers at most [`INITIAL_BYTES`](crate::window::INITIAL_BYTES).
const UNANNOUNCED_STREAMS: usize = 256;

/// An [`Open`] or [`Answer`] is read in steps of this size, so memory follows the bytes received,
/// not the announced length.
const STEP_BYTES: usize = 256;

/// If an open has no answer after this time, the session pings the other side at once.
const ANSWER_EXPECTED: Duration = Duration::from_millis(250);

/// The settings that all links of a node share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The most streams that the peer may have open at once on one carrier. Default 8,192.
    pub streams: u32,
    /// The bytes by which the windows of all sessions together may grow.
    pub budget: NodeBudget,
    /// The congestion control for what this side sends. Default [`Congestion::Bbr`].
    pub congestion: Congestion,
    /// The segment sizes of the TCP connections that this side dials.
    pub segments: Arc<Segments>,
    /// When QUIC is tried again after a fallback to TLS; doubles up to 10 minutes. Default 30 s.
    pub quic_probe: Duration,
    /// The name and version of this program, sent to peers.
    pub program: String,
    /// The optional features that it has, of [`wire::FEATURES`]. Default: all.
    pub features: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            streams: 8192,
            budget: NodeBudget::default(),
            congestion: Congestion::default(),
            segments: Arc::default(),
            quic_probe: Duration::from_secs(30),
            program: concat!("byway ", env!("CARGO_PKG_VERSION")).to_owned(),
            features: wire::FEATURES,
        }
    }
}

/// One session. Clones share it; it ends by [`Link::end`], or with its last carrier.
#[derive(Clone)]
pub struct Link(Arc<Inner>);

struct Inner {
    id: SessionId,
    peer: Fingerprint,
    /// The grant that the peer's hello named; `None` on the side that dialled.
    grant: Option<GrantId>,
    side: Side,
    runtime: Handle,
    tasks: TaskTracker,
    carriers: Mutex<SessionCarriers>,
    preference: Arc<SharedPreference>,
    streams: mpsc::Sender<IncomingStream>,
    /// One permit for each of [`UNANNOUNCED_STREAMS`].
    unannounced: Arc<Semaphore>,
    inbox: mpsc::Sender<Control>,
    lines: log::Lines,
    over: CancellationToken,
    features: AtomicU64,
    /// See [`Link::keep_to_one_kind`].
    one_kind: AtomicBool,
    /// The connections of a bundle that is not complete yet.
    gathering: Mutex<Option<Gathering>>,
}

/// What the other side of a session sends. Each session has one, for the task that serves it.
pub struct Inbox {
    /// Streams that the peer opened.
    pub streams: mpsc::Receiver<IncomingStream>,
    /// Control messages.
    pub control: mpsc::Receiver<Control>,
}

/// A stream that the peer has opened; its open message was not read yet.
pub struct IncomingStream {
    stream: LinkStream,
    peer: Option<SocketAddr>,
    holder: Holder,
    unannounced: UnannouncedStream,
    _permit: OwnedSemaphorePermit,
}

/// A stream that the far side has accepted.
#[derive(Debug)]
pub struct OpenedStream {
    /// The stream; it has carried no byte of the visitor yet.
    pub stream: Stream,
    /// The far side's own address on the connection that it made to the target.
    pub local: Option<SocketAddr>,
    /// The Host header to send with HTTP requests on it, if the far side sets one. It holds only
    /// bytes that are valid in a Host.
    pub host: Option<Arc<str>>,
    /// Whether the far side wants a report of each HTTP request on it, see [`Link::report`].
    pub reports: bool,
    /// Whether it ends as [`Open::ordered_end`] says.
    pub ordered_end: bool,
}

/// Why a stream was not opened.
#[derive(Debug)]
pub enum OpenError {
    /// The session or its carrier was lost before the answer. No byte of the visitor was sent:
    /// another session may be used.
    Lost,
    /// The far side refused.
    Fault(wire::OpenFault),
    /// No answer came in time, although the other side is alive.
    Timeout,
    /// The open message or the answer violates the protocol.
    Bad(String),
}

impl Link {
    pub(crate) fn new(
        id: SessionId,
        peer: Fingerprint,
        grant: Option<GrantId>,
        side: Side,
        runtime: Handle,
    ) -> (Self, Inbox) {
        let (streams, arrived) = mpsc::channel(INBOX);
        let (inbox, control) = mpsc::channel(INBOX);
        let link = Self(Arc::new(Inner {
            id,
            peer,
            grant,
            side,
            runtime,
            tasks: TaskTracker::new(),
            carriers: Mutex::default(),
            preference: Arc::default(),
            streams,
            unannounced: Arc::new(Semaphore::new(UNANNOUNCED_STREAMS)),
            inbox,
            lines: log::Lines::default(),
            over: CancellationToken::new(),
            features: AtomicU64::new(0),
            one_kind: AtomicBool::new(false),
            gathering: Mutex::new(None),
        }));
        (
            link,
            Inbox {
                streams: arrived,
                control,
            },
        )
    }

    /// Sets the features that both sides have.
    pub(crate) fn agree(&self, features: u64) {
        self.0.features.store(features, Relaxed);
    }

    /// Whether both sides have this feature, such as [`wire::FEATURE_HOST`].
    pub fn has(&self, feature: u64) -> bool {
        self.0.features.load(Relaxed) & feature != 0
    }

    pub(crate) fn gathering(&self) -> &Mutex<Option<Gathering>> {
        &self.0.gathering
    }

    pub(crate) fn id(&self) -> &SessionId {
        &self.0.id
    }

    /// The fingerprint of the key that the other side has proven.
    pub fn peer(&self) -> Fingerprint {
        self.0.peer
    }

    /// The grant by which the other side joined; `None` on the side that dialled.
    pub(crate) fn grant(&self) -> Option<GrantId> {
        self.0.grant
    }

    /// The holder whose carriers share one window budget with those of this session.
    pub(crate) fn holder(&self) -> Holder {
        self.0
            .grant
            .map_or(Holder::Server(self.0.peer), Holder::Grant)
    }

    /// The address of the other side, by its best carrier.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        self.best().and_then(|attached| attached.carrier.peer())
    }

    /// The number of open streams, on all carriers.
    pub fn streams(&self) -> usize {
        self.0
            .carriers
            .lock()
            .attached
            .iter()
            .map(|a| a.carrier.streams())
            .sum()
    }

    /// Resolves once no stream is open on any carrier. Streams of a carrier that has ended are lost
    /// and do not count. Cancel safe.
    pub async fn idle(&self) {
        let in_use = |attached: &AttachedCarrier| {
            !attached.carrier.is_over() && attached.carrier.streams() > 0
        };
        loop {
            let busy = self
                .0
                .carriers
                .lock()
                .attached
                .iter()
                .find(|attached| in_use(attached))
                .cloned();
            let Some(AttachedCarrier { carrier, .. }) = busy else {
                return;
            };
            tokio::select! {
                () = carrier.idle() => {}
                () = carrier.ended() => {}
            }
        }
    }

    /// Pings the other side at once on the best carrier, and resolves when a ping there is
    /// answered. Never resolves once the session is over. Cancel safe.
    pub async fn answered(&self) {
        while let Some(attached) = self.best() {
            attached.ping_control.ping_now();
            tokio::select! {
                () = attached.carrier.pong() => return,
                () = attached.carrier.ended() => self.detach(attached.number, &attached.carrier),
            }
        }
        std::future::pending().await
    }

    /// Spawns a task of this session on its runtime.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.tasks.spawn_on(task, &self.0.runtime);
    }

    /// Opens a stream and waits at most `patience` until the far side has connected. No byte of the
    /// visitor is sent before that, so after [`OpenError::Lost`] another session may be used, see
    /// [`Link::open_again`].
    ///
    /// Cancel safe: dropping the future resets the stream.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(&self, open: &Open, patience: Duration) -> Result<OpenedStream, OpenError> {
        let mut attempts = OpenAttempts::default();
        self.open_again(open, ClientKey::UNKNOWN, patience, &mut attempts)
            .await
    }

    /// The same for a visitor whose open may have been sent before, on this or another session. What
    /// the window of the stream takes counts for `client`, on both sides; [`Pipe::count_for`] changes
    /// that on this side, when another client uses the stream.
    ///
    /// An open that its carrier does not answer is sent again on one that does. Each may make the far
    /// side connect; all connections but the one that is used are closed without a byte. When
    /// `attempts` are used up, the result is [`OpenError::Lost`].
    ///
    /// [`Pipe::count_for`]: byway_dial::Pipe::count_for
    ///
    /// Cancel safe: a stream that is given up is reset.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open_again(
        &self,
        open: &Open,
        client: ClientKey,
        patience: Duration,
        attempts: &mut OpenAttempts,
    ) -> Result<OpenedStream, OpenError> {
        let deadline = Instant::now() + patience;
        let mut first = Vec::new();
        let open = Open {
            client: client.number_for(self.holder()),
            ..open.clone()
        };
        wire::encode(&open, &mut first);
        // The other side would reset the stream.
        if first.len() > wire::LENGTH_BYTES + wire::MOST_ASK_BYTES {
            return Err(OpenError::Bad(format!(
                "a target of {} bytes is too long",
                first.len()
            )));
        }
        if attempts.is_used_up() {
            return Err(OpenError::Lost);
        }
        let (carrier, mut stream, answer) = loop {
            let Some(attached) = self.best() else {
                return Err(OpenError::Lost);
            };
            let moved = self.until(|link| attached.ping_control.is_overdue() && !link.is_silent());
            let may_move = attempts.may_move();
            tokio::select! {
                asked = timeout_at(deadline, ask(&attached, &first, client, attempts)) => {
                    let (stream, answer) = asked.map_err(|_| OpenError::Timeout)??;
                    break (attached.carrier, stream, answer);
                }
                () = moved, if may_move => attempts.note_move(),
            }
        };
        match answer {
            Ok(Answer {
                answered: Some(Answered::Opened(opened)),
            }) => {
                let host = match opened.host.as_str() {
                    "" => None,
                    host if is_host(host) => Some(host.into()),
                    _ => {
                        return Err(OpenError::Bad("an answer with an invalid Host".into()));
                    }
                };
                let reports = opened.reports && self.has(wire::FEATURE_REPORTS);
                let stream = stream.answered(carrier.obtained()).into_stream();
                Ok(OpenedStream {
                    stream,
                    local: opened.local.parse().ok(),
                    host,
                    reports,
                    ordered_end: opened.ordered_end && open.ordered_end,
                })
            }
            Ok(Answer {
                answered: Some(Answered::Fault(fault)),
            }) => {
                // The whole answer was read and the far side has sent FIN: nothing to reset.
                stream.close_on_drop();
                Err(OpenError::Fault(fault))
            }
            Ok(Answer { answered: None }) => {
                Err(OpenError::Bad("an answer of an unknown kind".into()))
            }
            Err(NotRead::Broken(Broken::Reset(code))) => Err(OpenError::Fault(wire::OpenFault {
                code,
                class: String::new(),
                detail: format!(
                    "the far side reset the stream: {}",
                    wire::Code::from_number(code)
                ),
            })),
            Err(NotRead::Broken(_)) => Err(OpenError::Lost),
            Err(NotRead::Fin) => Err(OpenError::Bad(
                "the far side closed the stream without an answer".into(),
            )),
            Err(NotRead::Bad(bad)) => Err(OpenError::Bad(bad.to_string())),
        }
    }

    /// Sends a control message on the best carrier, as soon as its queue has room. `false`: the
    /// session is over. Cancel safe: a cancelled message was not sent.
    pub async fn send(&self, mut control: Control) -> bool {
        while let Some(attached) = self.best() {
            match attached.control_queue.send(control).await {
                Ok(()) => return true,
                // The carrier has ended meanwhile. Another one may be left.
                Err(unsent) => control = unsent.0,
            }
            self.detach(attached.number, &attached.carrier);
        }
        false
    }

    /// Sends a control message on the best carrier. `false`: the session is over, or its queue is
    /// full.
    pub fn try_send(&self, control: Control) -> bool {
        self.best()
            .is_some_and(|attached| attached.control_queue.try_send(control).is_ok())
    }

    /// Reports a finished request on the best carrier, beside the control messages. Never waits.
    /// `false`: the report was dropped, as the session is over or the queue is full.
    pub fn report(&self, visited: Box<Visited>) -> bool {
        self.best()
            .is_some_and(|attached| attached.reports.try_send(visited).is_ok())
    }

    /// Pings the other side at once, because the network has changed or a caller waits.
    pub fn check(&self) {
        self.0
            .carriers
            .lock()
            .attached
            .iter()
            .for_each(|attached| attached.ping_control.ping_now());
    }

    /// Like [`Link::check`], when the other side may be gone. Without a reply, pending opens soon
    /// fail with [`OpenError::Lost`]; open streams wait as before.
    pub fn suspect(&self) {
        self.0
            .carriers
            .lock()
            .attached
            .iter()
            .for_each(|attached| attached.ping_control.suspect());
    }

    /// Ends the session. Both sides lose its streams.
    pub fn end(&self, reason: &str) {
        let attached = {
            let mut carriers = self.0.carriers.lock();
            carriers.end.get_or_insert_with(|| reason.into());
            std::mem::take(&mut carriers.attached)
        };
        attached
            .iter()
            .for_each(|attached| attached.carrier.end(reason));
        self.0.over.cancel();
    }

    /// Waits for the end and returns its reason. Cancel safe.
    pub async fn ended(&self) -> Arc<str> {
        self.0.over.cancelled().await;
        self.0
            .carriers
            .lock()
            .end
            .clone()
            .unwrap_or_else(|| "the session is over".into())
    }

    /// Whether both are the same session.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether the session is over.
    pub fn is_over(&self) -> bool {
        self.0.over.is_cancelled()
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({}, {:?})", self.0.peer.short(), self.carriers())
    }
}

/// Opens a stream on one carrier and reads its answer.
async fn ask(
    attached: &AttachedCarrier,
    first: &[u8],
    client: ClientKey,
    attempts: &mut OpenAttempts,
) -> Result<(LinkStream, Result<Answer, NotRead>), OpenError> {
    let asked = async {
        let mut stream = attached
            .carrier
            .open(first)
            .await
            .map_err(|_| OpenError::Lost)?;
        attempts.note_sent();
        stream.set_client(client);
        stream.widen(false);
        let answer = read_message::<Answer>(&mut stream).await;
        stream.widen_when_used();
        Ok::<_, OpenError>((stream, answer))
    };
    // If the carrier is suspected, the caller may prefer another session.
    let asked = async {
        tokio::select! {
            asked = asked => asked,
            () = attached.ping_control.suspected() => Err(OpenError::Lost),
        }
    };
    let mut asked = std::pin::pin!(asked);
    if let Ok(asked) = timeout(ANSWER_EXPECTED, asked.as_mut()).await {
        return asked;
    }
    // Check whether the other side still answers.
    attached.ping_control.ping_now();
    asked.await
}

async fn accept(
    carrier: Carrier,
    holder: Holder,
    streams: mpsc::Sender<IncomingStream>,
    unannounced: Arc<Semaphore>,
) {
    let accepting = async {
        // The semaphore is never closed.
        while let Ok(permit) = Arc::clone(&unannounced).acquire_owned().await
            && let Ok(stream) = carrier.accept().await
        {
            let arrived = IncomingStream {
                stream,
                peer: carrier.peer(),
                holder,
                unannounced: carrier.unannounced(),
                _permit: permit,
            };
            if streams.send(arrived).await.is_err() {
                return carrier.end("the session is no longer served");
            }
        }
        carrier.end("the other side closed the connection");
    };
    tokio::select! {
        () = accepting => {}
        () = carrier.ended() => {}
    }
}

impl IncomingStream {
    /// The address of the peer.
    pub const fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Reads the open message of the stream. Call it in the stream's own task, with a deadline.
    ///
    /// # Errors
    /// Why there is no such message, as a text for the log.
    pub async fn asked(mut self) -> Result<(Open, PendingOpen), String> {
        match read_message::<Open>(&mut self.stream).await {
            Ok(open) => {
                let client = ClientKey::named_in(&open, self.holder);
                self.stream.set_client(client);
                let pending = PendingOpen {
                    client,
                    stream: self.stream,
                    unanswered: self.unannounced.announced(),
                };
                Ok((open, pending))
            }
            Err(NotRead::Bad(bad)) => {
                self.stream.reset(wire::Code::Protocol.number());
                Err(bad.to_string())
            }
            Err(NotRead::Fin) => Err("the stream ended before its open message".into()),
            Err(NotRead::Broken(broken)) => Err(broken.to_string()),
        }
    }
}

/// A stream whose peer waits for an answer.
pub struct PendingOpen {
    client: ClientKey,
    stream: LinkStream,
    unanswered: Unanswered,
}

impl PendingOpen {
    /// The client of the peer that the stream is for; [`ClientKey::UNKNOWN`] if the open message
    /// names neither a client nor a visitor.
    pub const fn client(&self) -> ClientKey {
        self.client
    }

    /// Answers that the far side has connected, and returns the stream.
    ///
    /// # Errors
    /// The stream broke.
    pub async fn opened(self, opened: wire::Opened) -> Result<Stream, Broken> {
        let mut stream = self.stream.answered(self.unanswered.succeeds());
        stream.widen(true);
        let mut stream = stream.into_stream();
        answer(&mut stream, Answered::Opened(opened)).await?;
        Ok(stream)
    }

    /// Answers with the reason of the refusal. Nothing else is sent on the stream.
    pub async fn refused(self, fault: wire::OpenFault) {
        let mut stream = self.stream.into_stream();
        if answer(&mut stream, Answered::Fault(fault.cut()))
            .await
            .is_ok()
        {
            stream.close_on_drop();
        }
    }

    /// Resolves when the peer has given up.
    pub async fn given_up(&mut self) {
        poll_fn(|cx| self.stream.poll_broken(cx)).await;
    }
}

async fn answer(stream: &mut Stream, answered: Answered) -> Result<(), Broken> {
    let mut bytes = Vec::new();
    wire::encode(&Answer::from(answered), &mut bytes);
    stream.write_all(&bytes).await
}

/// A longer Host is invalid: 255 bytes of name, and a port.
const MOST_HOST_BYTES: usize = 261;

/// Whether `host`, as a peer sent it, is valid in a Host field.
fn is_host(host: &str) -> bool {
    let is_host_byte =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    host.len() <= MOST_HOST_BYTES && host.bytes().all(is_host_byte)
}

enum NotRead {
    Broken(Broken),
    Fin,
    Bad(wire::BadMessage),
}

/// Reads one message of at most [`wire::MOST_ASK_BYTES`] and not a byte beyond it.
async fn read_message<M: prost::Message + Default>(stream: &mut impl Pipe) -> Result<M, NotRead> {
    let (mut bytes, mut room) = (Vec::new(), [0; STEP_BYTES]);
    loop {
        if let Some((message, _)) =
            wire::decode_within(&bytes, wire::MOST_ASK_BYTES).map_err(NotRead::Bad)?
        {
            return Ok(message);
        }
        let step = room
            .get_mut(..wire::missing(&bytes).min(STEP_BYTES))
            .unwrap_or_default();
        match poll_fn(|cx| stream.poll_read(cx, step))
            .await
            .map_err(NotRead::Broken)?
        {
            Read::Fin => return Err(NotRead::Fin),
            Read::Data(n) => bytes.extend_from_slice(step.get(..n).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_of_a_peer_holds_only_bytes_that_a_host_may_hold() {
        for host in ["app.test", "127.0.0.1:3000", "[::1]:80", "localhost", "a_b"] {
            assert!(is_host(host), "{host}");
        }
        for host in [
            "a b",
            "a\r\nX: 1",
            "a\0",
            "b\u{fc}cher",
            "a/b",
            "u@h",
            "a,b",
            &"x".repeat(MOST_HOST_BYTES + 1),
        ] {
            assert!(!is_host(host), "{host:?}");
        }
    }
}
