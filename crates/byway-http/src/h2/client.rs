//! Client: the client side of one connection, whose streams are used by any task.
//!
//! In:    an open stream to a server; requests on streams of it.
//! Out:   responses; what the server announces; how the connection has ended.
//! Never: opens a stream after either side has said that the connection ends.

use std::future::poll_fn;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::Duration;

use byway_dial::{Broken, Pipe, Stream};
use byway_h2::{Connection, ConnectionError, ErrorCode, Event, Limits};
use byway_head::{Response, ResponseHead, Scheme};
use tokio::task::unconstrained;
use tokio::time::Instant;

use super::driver::{Driver, ReadError};
use super::shared::{Shared, State};
use super::stream::H2Stream;
use crate::h1::{EndlessInterim, HeadError, MOST_INTERIM, Outcome};
use crate::lazy_timer::LazyTimer;

/// The client side of one connection. Its task calls [`poll`](Self::poll) until it ends.
pub struct Client {
    driver: Driver,
    _lost_on_drop: LostOnDrop,
    timeouts: ClientTimeouts,
    /// Bytes received when something was last heard of the server, and when that was.
    received_then: u64,
    heard: Instant,
    timer: LazyTimer,
    unwritten_since: Option<Instant>,
    /// Bytes written when that began.
    written_then: u64,
    end: Option<ClientEnd>,
}

/// How long a client waits for its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientTimeouts {
    /// How long the server may take nothing of what is sent.
    pub write: Duration,
    /// How long nothing may be received while a stream is open, before a PING asks whether the
    /// server is still there.
    pub quiet: Duration,
    /// How long the answer to that may take.
    pub pong: Duration,
}

/// Loses the streams of a connection whose task was dropped before its end.
struct LostOnDrop(Arc<Shared>);

impl Drop for LostOnDrop {
    fn drop(&mut self) {
        self.0.with(State::lose);
    }
}

/// Opens streams on a connection. Cheap to clone.
#[derive(Clone)]
pub struct ClientSession {
    shared: Arc<Shared>,
    scheme: Scheme,
}

/// What the server has announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientEvent {
    /// How many streams it takes at once.
    MaxStreams(u32),
    /// It takes no new ones.
    GoAway,
}

/// What the server has announced before the first request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    /// How many streams it takes at once. May be 0.
    pub streams: u32,
    /// It takes no new ones.
    pub goes_away: bool,
}

/// How a connection has ended.
#[derive(Debug)]
pub enum ClientEnd {
    /// In order, by either side.
    Done,
    /// The server broke the protocol, or cost too much.
    Failed(ConnectionError),
    /// The stream beneath broke, or the server took nothing for too long.
    Broken(Broken),
}

impl Client {
    /// Over a new stream, of which nothing was read.
    pub fn new(
        stream: Stream,
        limits: Limits,
        scheme: Scheme,
        timeouts: ClientTimeouts,
    ) -> (Self, ClientSession) {
        let core = Connection::client(limits, Instant::now().into_std());
        let driver = Driver::new(stream, &[], core);
        let session = ClientSession {
            shared: Arc::clone(&driver.shared),
            scheme,
        };
        let client = Self {
            _lost_on_drop: LostOnDrop(Arc::clone(&driver.shared)),
            driver,
            timeouts,
            received_then: 0,
            heard: Instant::now(),
            timer: LazyTimer::default(),
            unwritten_since: None,
            written_then: 0,
            end: None,
        };
        (client, session)
    }

    /// The stream beneath, after the end.
    pub fn into_stream(self) -> Stream {
        self.driver.stream
    }

    /// Drives the connection until the settings of the server have come (RFC 9113 section 3.4): a
    /// request that is sent before may be one more than it takes at once.
    ///
    /// # Errors
    /// How the connection has ended without them.
    ///
    /// # Cancel safety
    /// Safe: call it again.
    pub async fn settings(&mut self) -> Result<Announced, ClientEnd> {
        let (mut streams, mut goes_away) = (None, false);
        poll_fn(|cx| {
            let polled = self.poll(cx, |event| match event {
                ClientEvent::MaxStreams(most) => streams = Some(most),
                ClientEvent::GoAway => goes_away = true,
            });
            match (streams, polled) {
                (Some(streams), _) => Poll::Ready(Ok(Announced { streams, goes_away })),
                (None, Poll::Ready(end)) => Poll::Ready(Err(end)),
                (None, Poll::Pending) => Poll::Pending,
            }
        })
        .await
    }

    /// Drives the connection to its end, and closes it. What the server announces is passed on after
    /// each turn: `announced` may call the session, which is locked within a turn.
    ///
    /// It bounds by itself what it does until other tasks run.
    pub async fn run(mut self, mut announced: impl FnMut(ClientEvent)) -> ClientEnd {
        let end = unconstrained(poll_fn(|cx| {
            let (mut streams, mut goes_away) = (None, false);
            let polled = self.poll(cx, |event| match event {
                ClientEvent::MaxStreams(most) => streams = Some(most),
                ClientEvent::GoAway => goes_away = true,
            });
            if let Some(most) = streams {
                announced(ClientEvent::MaxStreams(most));
            }
            if goes_away {
                announced(ClientEvent::GoAway);
            }
            polled
        }))
        .await;
        let mut stream = self.into_stream();
        if !matches!(end, ClientEnd::Broken(_)) {
            stream.close_on_drop();
        }
        end
    }

    /// One turn: reads, wakes the users of streams, and writes. Ready at the end of the connection;
    /// its streams are lost then.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut announced: impl FnMut(ClientEvent),
    ) -> Poll<ClientEnd> {
        let now = Instant::now();
        self.driver.shared.with(State::begin_turn);
        self.read(cx, now, &mut announced);
        self.driver.shared.with(State::give_turns);
        self.write(cx);
        if self.is_over() {
            self.driver.shared.with(State::lose);
            return Poll::Ready(self.end.take().unwrap_or(ClientEnd::Done));
        }
        if self.poll_deadlines(cx, now).is_ready() || self.driver.can_take() {
            cx.waker().wake_by_ref();
        }
        // What was sent meanwhile, by other threads, is written in the next turn.
        let is_behind = self.driver.shared.with(|state| {
            state.rest(cx);
            !state.core.out().is_empty()
        });
        if is_behind && self.unwritten_since.is_none() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn read(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        announced: &mut impl FnMut(ClientEvent),
    ) {
        if self.end.is_some() {
            return;
        }
        let read = self.driver.read(cx, now, |state, event| match event {
            Event::Settings => announced(ClientEvent::MaxStreams(state.core.peer().streams)),
            Event::GoAway { .. } => announced(ClientEvent::GoAway),
            _ => {}
        });
        if self.driver.has_ended {
            self.driver.shared.with(State::end_reading);
        }
        match read {
            Ok(()) => {}
            Err(ReadError::Broken(broken)) => self.lose(ClientEnd::Broken(broken)),
            Err(ReadError::Failed(error)) => self.lose(ClientEnd::Failed(error)),
        }
    }

    fn write(&mut self, cx: &mut Context<'_>) {
        if matches!(self.end, Some(ClientEnd::Broken(_))) {
            return;
        }
        match self.driver.poll_write(cx) {
            Poll::Ready(Ok(())) => {
                self.driver.shared.with(State::give_turns);
                if let Poll::Ready(Err(broken)) = self.driver.poll_flush(cx) {
                    self.lose(ClientEnd::Broken(broken));
                }
            }
            Poll::Ready(Err(broken)) => self.lose(ClientEnd::Broken(broken)),
            Poll::Pending => {}
        }
    }

    fn lose(&mut self, end: ClientEnd) {
        self.end = Some(end);
        self.driver.shared.with(State::lose);
    }

    fn is_over(&self) -> bool {
        if matches!(self.end, Some(ClientEnd::Broken(_))) {
            return true;
        }
        let has_ended = self.driver.has_ended;
        self.driver.shared.with(|state| {
            let core = &state.core;
            let is_done = core.is_drained() || has_ended && core.open_streams() == 0;
            (self.end.is_some() || is_done) && core.out().is_empty()
        })
    }

    fn poll_deadlines(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<()> {
        let (core, is_written, pinged, has_streams) = self.driver.shared.with(|state| {
            let core = &state.core;
            let pinged = core.pinged().map(Instant::from_std);
            let has_streams = core.open_streams() > 0;
            (core.deadline(), core.out().is_empty(), pinged, has_streams)
        });
        let written = self.driver.written;
        if written != self.written_then || is_written {
            (self.written_then, self.unwritten_since) = (written, None);
        }
        if !is_written {
            self.unwritten_since = self.unwritten_since.or(Some(now));
        }
        if self.driver.received != self.received_then || !has_streams {
            (self.received_then, self.heard) = (self.driver.received, now);
        }
        let core = core.map(Instant::from_std);
        let unwritten = self
            .unwritten_since
            .map(|since| since + self.timeouts.write);
        let unanswered = pinged.map(|since| since.max(self.heard) + self.timeouts.pong);
        let quiet = (has_streams && pinged.is_none()).then(|| self.heard + self.timeouts.quiet);
        let dues = [core, unwritten, unanswered, quiet];
        let Some(due) = dues.into_iter().flatten().min() else {
            return Poll::Pending;
        };
        if self.timer.poll_at(cx, due).is_pending() {
            return Poll::Pending;
        }
        let now = Instant::now();
        if [unwritten, unanswered]
            .into_iter()
            .flatten()
            .any(|due| due <= now)
        {
            let error = std::io::ErrorKind::TimedOut.into();
            self.lose(ClientEnd::Broken(Broken::Io(error)));
        } else if let Err(error) =
            (self.driver.shared).with(|state| state.core.expire(now.into_std()))
        {
            self.lose(ClientEnd::Failed(error));
        } else if quiet.is_some_and(|due| due <= now) {
            (self.driver.shared).with(|state| state.core.ping(now.into_std()));
        }
        Poll::Ready(())
    }
}

impl ClientSession {
    /// A new stream, on which nothing has been sent.
    pub fn open(&self) -> H2Stream {
        let mut stream = H2Stream::new(Arc::clone(&self.shared), None);
        stream.outgoing.scheme = self.scheme;
        stream
    }

    /// Whether new streams can be opened, as far as is known.
    pub fn is_open(&self) -> bool {
        self.shared.with(|state| {
            let has_ended = state.is_lost || state.has_ended;
            !has_ended && !state.is_going_away && !state.core.is_draining()
        })
    }

    /// Whether the server has closed the connection, or it is lost. Responses that have arrived
    /// whole can still be read.
    pub fn is_lost(&self) -> bool {
        self.shared.with(|state| state.is_lost || state.has_ended)
    }

    /// Whether the server takes extended CONNECT (RFC 8441), as far as is known: false before its
    /// settings arrive.
    pub fn takes_extended_connect(&self) -> bool {
        self.shared.with(|state| state.core.peer().extended_connect)
    }

    /// Ends the connection once its streams have ended.
    pub fn close(&self) {
        let now = Instant::now().into_std();
        self.shared.with(|state| {
            state.core.drain(now);
            state.wake_task();
        });
    }
}

/// What a client does with a stream.
impl H2Stream {
    /// Reads the next response head, interim or final. Cancel safe.
    pub fn poll_head<E>(&mut self, cx: &Context<'_>) -> Poll<Result<(), HeadError<E>>> {
        let Some(id) = self.id else {
            // Without a stream none will come; until the request is sent there is none.
            return match self.outgoing.is_refused {
                true => Poll::Ready(Err(HeadError::Closed(Some(Broken::Reset(
                    ErrorCode::REFUSED_STREAM.0,
                ))))),
                false => Poll::Pending,
            };
        };
        let response = &mut self.response;
        let received = &mut self.received_heads;
        self.shared.with(|state| {
            let broken = state.broken(id);
            let Some(stream) = state.stream(id) else {
                return Poll::Ready(Err(HeadError::Closed(broken)));
            };
            if let Some(text) = stream.responses.pop_front() {
                *response = Some(text);
                *received = received.saturating_add(1);
                return Poll::Ready(Ok(()));
            }
            if let Some(error) = stream.malformed.take() {
                return Poll::Ready(Err(HeadError::Malformed(*error)));
            }
            if let Some(broken) = broken {
                return Poll::Ready(Err(HeadError::Closed(Some(broken))));
            }
            stream.wait_to_read(cx);
            Poll::Pending
        })
    }

    /// The response whose head was read last.
    pub fn response(&self) -> Response<'_> {
        match &self.response {
            Some(text) => text.view(),
            None => NO_RESPONSE.view(b""),
        }
    }

    /// Continues after an interim response.
    ///
    /// # Errors
    /// If there were too many.
    pub fn pass_interim(&mut self) -> Result<(), EndlessInterim> {
        match self.received_heads < MOST_INTERIM {
            true => Ok(()),
            false => Err(EndlessInterim),
        }
    }

    /// How far the request got.
    pub fn outcome(&self) -> Outcome {
        let Some(id) = self.id else {
            return Outcome::Unsent;
        };
        let is_unsent = self.shared.with(|state| {
            let reset = state.stream(id).and_then(|stream| stream.reset);
            reset.is_some_and(|reset| reset.is_unsent)
        });
        match (is_unsent, self.received_heads) {
            (true, 0) => Outcome::Unsent,
            (_, 0) => Outcome::SentNoByteBack,
            _ => Outcome::Partial,
        }
    }

    /// Whether the server has refused the stream without processing its request, or the connection
    /// took no further stream for it.
    pub fn is_refused(&self) -> bool {
        match self.id {
            Some(_) => self.outcome() == Outcome::Unsent,
            None => self.outgoing.is_refused,
        }
    }

    /// Whether nothing more passes in either direction: both messages have ended, or the stream was
    /// reset or lost.
    pub fn is_over(&self) -> bool {
        let Some(id) = self.id else {
            return false;
        };
        let all_sent = self.outgoing.has_ended;
        self.shared.with(|state| {
            let all_received = state.stream(id).is_none_or(|stream| stream.has_ended);
            state.broken(id).is_some() || all_sent && all_received
        })
    }
}

/// What [`H2Stream::response`] returns before there is one.
static NO_RESPONSE: LazyLock<ResponseHead> = LazyLock::new(ResponseHead::default);
