//! Connection: one HTTP/2 connection, of either role, without I/O.
//!
//! In:    bytes that were received; what the user of a stream sends and returns; time.
//! Out:   events; bytes to write; when to look at the time again.
//! Never: holds more than its limits, whatever the peer does; blocks, reads a clock, or panics on
//!        what a peer has sent.

mod block;
mod control;
mod data;
mod deadlines;
mod invariants;
mod reading;
mod receiving;
mod sending;
mod shutdown;
mod turns;

use std::collections::VecDeque;
use std::fmt;
use std::time::Instant;

use byway_head::{RequestHead, ResponseHead, Section};

use crate::abuse::AbuseBudget;
use crate::error::ConnectionError;
use crate::event::{Event, StreamId};
use crate::flow::{ReceiveWindow, SendWindow};
use crate::frame::{PREFACE, kind};
use crate::hpack::{Decoder, Encoder, TABLE_BYTES};
use crate::limits::Limits;
use crate::out::{Out, Place};
use crate::priority::{Priority, Waiting};
use crate::role::Role;
use crate::settings::{self, PeerSettings};
use crate::streams::Streams;

use block::Block;
use reading::Reading;
use shutdown::{Closing, Stage};

/// Before the settings are acknowledged, so many times the limit of streams may be refused without a
/// price: a client that does not know the limit yet opens some hundred streams.
const FREE_REFUSALS: u32 = 2;

/// One connection.
///
/// The task that owns the socket has a loop: it passes what it has read to [`read`](Self::read) and
/// handles the events; asks [`next_turn`](Self::next_turn) which waiting streams may send; lets the
/// streams run; and writes [`out`](Self::out), once for all of them. It calls
/// [`expire`](Self::expire) when [`deadline`](Self::deadline) has passed.
///
/// A stream begins with [`Event::Head`] on a server and with [`open`](Self::open) on a client, and
/// its slot is free again after [`release`](Self::release): when the work for it has ended, and not
/// when the peer resets it. Functions that take a [`StreamId`] do nothing if the stream was
/// released, and nothing is sent on one that was reset.
///
/// # Example
/// A server answers a request. The user of a real connection copies data that
/// [`send`](Self::send) does not take, and continues at the stream's next turn.
///
/// ```
/// use std::time::Instant;
/// use byway_h2::{Connection, Event, Limits};
/// use byway_head::{Framed, HeadOut, Malformed, Scheme};
///
/// let now = Instant::now();
/// let mut client = Connection::client(Limits::default(), now);
/// let mut server = Connection::server(Limits::default(), now);
/// let stream = client
///     .open(Scheme::Https, None, true, |head| {
///         head.request(b"GET", b"/", b"example.com")?;
///         head.end();
///         Ok::<_, Malformed>(())
///     })?
///     .expect("a new connection has room");
///
/// let bytes = client.out().to_vec();
/// client.written(bytes.len());
/// let mut rest = &bytes[..];
/// while !rest.is_empty() {
///     let step = server.read(rest, now)?;
///     rest = &rest[step.taken..];
///     if let Some(Event::Head { id, end: true }) = step.event {
///         assert_eq!(id.number(), stream.number());
///         server.head(id, false, |head| {
///             head.response(200, b"")?;
///             head.framing(Framed::Length(2));
///             head.end();
///             Ok::<_, Malformed>(())
///         })?;
///         assert_eq!(server.send(id, b"hi", true), 2);
///         server.release(id);
///     }
/// }
/// assert!(!server.out().is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Connection {
    role: Role,
    limits: Limits,
    peer: PeerSettings,
    /// The time of the last call that had one.
    now: Instant,
    streams: Streams,
    /// The highest number of a stream that the client has opened.
    highest: u32,
    /// Where the next byte that is read belongs.
    reading: Reading,
    /// Events that happened at once.
    events: VecDeque<Event>,
    decoder: Decoder,
    encoder: Encoder,
    /// A field block that is not complete.
    block: Block,
    /// The head that was decoded last.
    request: RequestHead,
    response: ResponseHead,
    trailers: Section,
    text: Vec<u8>,
    out: Out,
    /// The last frame of the output if it is DATA, with its stream, so that more data may join it.
    last_data: Option<(u32, Place)>,
    send_window: SendWindow,
    receive_window: ReceiveWindow,
    /// Bytes that were received and not returned, on all streams.
    held: u32,
    withholds_credit: bool,
    /// Whether more than half of the connection's window was used since it was announced.
    wants_window: bool,
    /// Bytes of text of heads and trailers, of all streams.
    held_text: usize,
    /// Above this many bytes that are held, requests are refused.
    text_allowance: Option<usize>,
    /// Requests that are refused without a price.
    free_refusals: u32,
    waiting: Waiting,
    /// Streams that may send although others wait, and what they may send together.
    granted: Vec<StreamId>,
    granted_bytes: usize,
    /// Whether streams are being given turns.
    is_giving_turns: bool,
    /// When turns that were not used are taken back.
    turns_lapse: Option<Instant>,
    /// Priorities of streams that have not begun.
    early_priorities: VecDeque<(u32, Priority)>,
    /// Until when data waits for windows that are not tiny.
    dribble: Option<Instant>,
    may_dribble: bool,
    abuse: AbuseBudget,
    /// By when the peer must acknowledge settings.
    settings_due: Option<Instant>,
    /// When the ping that is on its way was sent.
    pinged: Option<Instant>,
    closing: Closing,
}

impl Connection {
    /// The server side of a connection whose next bytes are the preface of a client. Its settings
    /// are queued.
    pub fn server(limits: Limits, now: Instant) -> Self {
        Self::new(Role::Server, limits, now)
    }

    /// The client side of a new connection. Preface and settings are queued; requests may follow
    /// them at once.
    pub fn client(limits: Limits, now: Instant) -> Self {
        Self::new(Role::Client, limits, now)
    }

    fn new(role: Role, limits: Limits, now: Instant) -> Self {
        let limits = limits.in_range();
        let mut connection = Self {
            role,
            peer: PeerSettings::default(),
            now,
            streams: Streams::default(),
            highest: 0,
            reading: Reading::new(role),
            events: VecDeque::new(),
            decoder: Decoder::new(TABLE_BYTES),
            encoder: Encoder::default(),
            block: Block::default(),
            request: RequestHead::default(),
            response: ResponseHead::default(),
            trailers: Section::default(),
            text: Vec::new(),
            out: Out::default(),
            last_data: None,
            send_window: SendWindow::new(65_535),
            receive_window: ReceiveWindow::new(65_535),
            held: 0,
            withholds_credit: false,
            wants_window: false,
            held_text: 0,
            text_allowance: None,
            free_refusals: limits.streams.saturating_mul(FREE_REFUSALS),
            waiting: Waiting::default(),
            granted: Vec::new(),
            granted_bytes: 0,
            is_giving_turns: false,
            turns_lapse: None,
            early_priorities: VecDeque::new(),
            dribble: None,
            may_dribble: false,
            abuse: AbuseBudget::new(limits.abuse_budget, now),
            settings_due: Some(now + limits.settings_ack),
            pinged: None,
            closing: Closing::default(),
            limits,
        };
        if role == Role::Client {
            connection.out.buffer().extend_from_slice(PREFACE);
        }
        let own = settings::own(role, &connection.limits);
        connection.frame(kind::SETTINGS, 0, 0, &own);
        connection
            .receive_window
            .grow(connection.limits.first_window_bytes);
        connection.announce_connection_window();
        connection
    }

    /// Which side this is.
    pub fn role(&self) -> Role {
        self.role
    }

    /// What the peer has announced; defaults before its settings arrive.
    pub fn peer(&self) -> &PeerSettings {
        &self.peer
    }

    /// Streams that have begun and were not released.
    pub fn open_streams(&self) -> usize {
        self.streams.len()
    }

    /// Frees memory that is kept for further requests, as far as none is open. Call it when the
    /// connection has been idle for a while.
    pub fn trim(&mut self) {
        self.out.trim();
        self.streams.trim();
        self.waiting.trim();
        self.block.trim();
        self.events.shrink_to_fit();
        self.granted.shrink_to_fit();
        if self.streams.len() == 0 {
            (self.request, self.response) = Default::default();
            (self.trailers, self.text) = Default::default();
        }
    }

    /// Bytes to write, in order: call [`written`](Self::written) with how many were, before the next
    /// read or other change. A frame that has not been written may still change, so that these must
    /// not be kept.
    pub fn out(&self) -> &[u8] {
        self.out.bytes()
    }

    /// The first `n` bytes of [`out`](Self::out) have been written.
    pub fn written(&mut self, n: usize) {
        self.out.written(n);
    }

    /// Appends a frame that is not data, unless the connection was closed.
    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        if self.closing.stage != Stage::Closed {
            self.last_data = None;
            self.out.frame(kind, flags, stream, payload);
        }
    }

    /// Queues a GOAWAY for an error, after which nothing is read.
    fn fail(&mut self, error: ConnectionError) -> ConnectionError {
        self.close(error.code);
        error
    }
}

impl fmt::Debug for Connection {
    /// Nothing of heads and bodies: they may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("role", &self.role)
            .field("streams", &self.streams.len())
            .field("out", &self.out.len())
            .field("held", &self.held)
            .field("closing", &self.closing)
            .finish_non_exhaustive()
    }
}
