//! Server: the server side of one connection: reads, lets its streams run, and writes once.
//!
//! In:    an open stream, whose next bytes are the preface of a client; a future for each request.
//! Out:   requests; what the futures have sent, in one write behind all of them.
//! Never: waits for a peer without a limit, or serves a stream whose head is not complete.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use byway_dial::{Broken, Stream};
use byway_h2::{Connection, ConnectionError, ErrorCode, Event, Limits};
use byway_head::Malformed;
use tokio::time::Instant;

use super::buffer_budget::{BudgetShare, BufferBudget, SPARED_BYTES};
use super::driver::{Driver, ReadError};
use super::shared::State;
use super::stream::H2Stream;
use super::stream_futures::StreamFutures;
use super::text::RequestText;
use crate::lazy_timer::LazyTimer;

/// How long the connection waits for its client, in each state.
#[derive(Clone, Copy, Debug)]
pub struct ServerTimeouts {
    /// For the first request, and for the rest of a frame or head that has begun.
    pub head: Duration,
    /// For the next request, while no stream is open.
    pub idle: Duration,
    /// For the client to take any of the output.
    pub write: Duration,
}

/// What a client has begun.
pub enum Arrived {
    /// A request.
    Request(H2Stream, RequestText),
    /// A request whose head is over a limit: answer it, with [`Malformed::status`].
    Unacceptable(H2Stream, Malformed),
    /// A malformed request. Its stream was reset already.
    Malformed(Malformed),
}

/// How a connection has ended. What it had to say was written, except where it broke.
#[derive(Debug)]
pub enum ServerEnd {
    /// In order, by either side.
    Done,
    /// The client sent no request in time, none for a while, or not the rest of one.
    TooSlow,
    /// The client broke the protocol, or cost too much.
    Failed(ConnectionError),
    /// The stream beneath broke, or the client took nothing for too long.
    Broken(Broken),
}

/// The server side of one connection. Its task calls [`poll`](Self::poll).
pub struct Server {
    driver: Driver,
    timeouts: ServerTimeouts,
    timer: LazyTimer,
    budget: BudgetShare,
    withholds: bool,
    /// Whether it knows that the node holds too much.
    is_short: bool,
    /// Since when nothing has happened that the state waits for.
    idle_since: Option<Instant>,
    partial_since: Option<Instant>,
    unwritten_since: Option<Instant>,
    /// Bytes written when that began.
    written_then: u64,
    had_request: bool,
    /// Whether the memory of the last requests was freed since.
    is_trimmed: bool,
    end: Option<ServerEnd>,
    arrived: Vec<Arrived>,
}

/// What one turn may do until other tasks run: write the backlog, and fill it again.
const ROUNDS: usize = 16;

/// After this time without a stream, memory is freed that is kept for the next ones.
const TRIM_AFTER: Duration = Duration::from_secs(1);

/// The window with which each connection of HTTP/2 begins (RFC 9113 section 6.9.2).
const FIRST_WINDOW_BYTES: u32 = 65_535;

/// How often a connection looks whether the node holds less again.
const BUDGET_CHECK: Duration = Duration::from_millis(100);

impl Server {
    /// Over a stream of which `early` was read already. The window of the connection begins with
    /// 64 KiB and grows with its use, as far as `budget` has room.
    pub fn new(
        stream: Stream,
        early: &[u8],
        limits: Limits,
        timeouts: ServerTimeouts,
        budget: BufferBudget,
    ) -> Self {
        let limits = Limits {
            first_window_bytes: FIRST_WINDOW_BYTES,
            ..limits
        };
        let core = Connection::server(limits, Instant::now().into_std());
        Self {
            driver: Driver::new(stream, early, core),
            timeouts,
            timer: LazyTimer::default(),
            budget: BudgetShare::of(budget),
            withholds: false,
            is_short: false,
            idle_since: None,
            partial_since: None,
            unwritten_since: None,
            written_then: 0,
            had_request: false,
            is_trimmed: false,
            end: None,
            arrived: Vec::new(),
        }
    }

    /// The stream beneath, after the end.
    pub fn into_stream(self) -> Stream {
        self.driver.stream
    }

    /// Ends the connection in order: announces it, serves what is on its way, and finishes.
    pub fn drain(&self) {
        let now = Instant::now().into_std();
        self.driver.shared.with(|state| state.core.drain(now));
    }

    /// One turn: reads, begins a future with `serve` for what has arrived, polls those that were
    /// woken, and writes. Ready at the end of the connection, and of the last future.
    pub fn poll<F: Future + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        futures: &mut StreamFutures<F>,
        mut serve: impl FnMut(Arrived) -> Option<F>,
        mut ended: impl FnMut(F::Output),
    ) -> Poll<ServerEnd> {
        futures.begin();
        let now = Instant::now();
        self.driver.shared.with(State::begin_turn);
        self.read(cx, now);
        for arrived in self.arrived.drain(..) {
            self.had_request = true;
            if let Some(future) = serve(arrived) {
                futures.push(future);
            }
        }
        self.driver.shared.with(State::give_turns);
        for _ in 0..ROUNDS {
            futures.poll_ready(&mut ended);
            if !self.write(cx) {
                break;
            }
            self.driver.shared.with(State::give_turns);
            if !futures.has_ready() {
                break;
            }
        }
        if futures.is_empty() && self.is_over(cx) {
            return Poll::Ready(self.end.take().unwrap_or(ServerEnd::Done));
        }
        self.note_times(now, futures.is_empty());
        if self.poll_deadlines(cx).is_ready() {
            if self.is_trimmed {
                futures.trim();
            }
            // The turn that follows ends it.
            cx.waker().wake_by_ref();
        }
        self.driver.shared.with(|state| state.rest(cx));
        if !futures.rest(cx) || self.driver.can_take() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn read(&mut self, cx: &mut Context<'_>, now: Instant) {
        if self.end.is_some() {
            return;
        }
        let had_ended = self.driver.has_ended;
        let (is_short, knew) = (self.budget.is_exceeded(), self.is_short);
        self.is_short = is_short;
        let received = self.driver.shared.with(|state| {
            if is_short != knew {
                state.core.refuse_above(is_short.then_some(SPARED_BYTES));
            }
            state.received_bytes
        });
        let (arrived, partial_since) = (&mut self.arrived, &mut self.partial_since);
        let shared = Arc::clone(&self.driver.shared);
        let read = self.driver.read(cx, now, |state, event| match event {
            Event::Head { id, end } => {
                let mut text = RequestText::take();
                state.core.take_request(&mut text.index, &mut text.text.0);
                state.begin(id);
                if let Some(stream) = state.stream(id) {
                    stream.has_ended = end;
                }
                *partial_since = None;
                arrived.push(Arrived::Request(
                    H2Stream::new(Arc::clone(&shared), Some(id)),
                    text,
                ));
            }
            Event::Unacceptable { id, error, .. } => {
                state.begin(id);
                arrived.push(Arrived::Unacceptable(
                    H2Stream::new(Arc::clone(&shared), Some(id)),
                    error,
                ));
            }
            Event::Malformed { error, .. } => arrived.push(Arrived::Malformed(error)),
            _ => {}
        });
        if self.driver.has_ended && !had_ended {
            self.driver.shared.with(State::end_reading);
        }
        match read {
            Ok(()) => {}
            Err(ReadError::Broken(broken)) => self.lose(ServerEnd::Broken(broken)),
            Err(ReadError::Failed(error)) => self.lose(ServerEnd::Failed(error)),
        }
        let (held, text, wanted, received_now) = self.driver.shared.with(|state| {
            let core = &state.core;
            let (held, text) = (core.held_bytes(), core.held_text_bytes());
            (held, text, core.wanted_window_bytes(), state.received_bytes)
        });
        if received_now != received {
            // A body has its own limits of time.
            self.partial_since = None;
        }
        self.budget.set(held + text);
        // Text is not released by reading, so that it does not count here.
        let withholds = held > SPARED_BYTES && self.budget.is_exceeded();
        if withholds != self.withholds {
            self.withholds = withholds;
            (self.driver.shared).with(|state| state.core.withhold_credit(withholds));
        }
        if wanted > 0 && !withholds {
            let is_granted = self.budget.reserve_window(wanted as usize);
            (self.driver.shared).with(|state| state.core.grow_connection_window(is_granted));
        }
    }

    /// Writes what waits. Returns whether that was everything.
    fn write(&mut self, cx: &mut Context<'_>) -> bool {
        if self.is_broken() {
            return false;
        }
        match self.driver.poll_write(cx) {
            Poll::Ready(Ok(())) => {
                // What it holds back is written by a later turn at the latest.
                let flushed = self.driver.poll_flush(cx);
                if let Poll::Ready(Err(broken)) = flushed {
                    self.lose(ServerEnd::Broken(broken));
                    return false;
                }
                true
            }
            Poll::Ready(Err(broken)) => {
                self.lose(ServerEnd::Broken(broken));
                false
            }
            Poll::Pending => false,
        }
    }

    fn is_broken(&self) -> bool {
        matches!(self.end, Some(ServerEnd::Broken(_)))
    }

    /// The connection ends like this, and with it what its streams do.
    fn lose(&mut self, end: ServerEnd) {
        if !self.is_broken() {
            self.end = Some(end);
        }
        self.driver.shared.with(State::lose);
    }

    /// Whether the end is reached, and everything was written.
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        if self.is_broken() {
            return true;
        }
        let (is_drained, open, is_written) = self.driver.shared.with(|state| {
            let core = &state.core;
            (
                core.is_drained(),
                core.open_streams(),
                core.out().is_empty(),
            )
        });
        let ends = self.end.is_some() || is_drained || self.driver.has_ended && open == 0;
        ends && is_written && self.driver.poll_flush(cx).is_ready()
    }

    /// Notes since when the connection is in each state that has a time limit.
    fn note_times(&mut self, now: Instant, is_idle: bool) {
        let (is_between, is_written) = (self.driver.shared)
            .with(|state| (state.core.is_between_frames(), state.core.out().is_empty()));
        let written = self.driver.written;
        if written != self.written_then {
            (self.written_then, self.unwritten_since) = (written, None);
        }
        for (since, lasts) in [
            (&mut self.idle_since, is_idle),
            (&mut self.partial_since, !is_between),
            (&mut self.unwritten_since, !is_written),
        ] {
            match lasts {
                true => *since = since.or(Some(now)),
                false => *since = None,
            }
        }
        self.is_trimmed &= is_idle;
    }

    /// Frees the memory of the last requests.
    fn trim(&mut self) {
        self.is_trimmed = true;
        self.arrived = Vec::new();
        self.driver.shared.with(State::trim);
    }

    /// Ready once a time limit has passed, which was dealt with.
    fn poll_deadlines(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let goes_on = self.end.is_none();
        let idle = match self.had_request {
            true => self.timeouts.idle,
            false => self.timeouts.head,
        };
        let core = self.driver.shared.with(|state| state.core.deadline());
        let core = core.map(Instant::from_std);
        let idle_since = self.idle_since.filter(|_| goes_on);
        let idle = idle_since.map(|since| since + idle);
        let trim = idle_since.filter(|_| !self.is_trimmed);
        let trim = trim.map(|since| since + TRIM_AFTER);
        let partial = self.partial_since.filter(|_| goes_on);
        let partial = partial.map(|since| since + self.timeouts.head);
        let unwritten = self.unwritten_since;
        let unwritten = unwritten.map(|since| since + self.timeouts.write);
        let check = self.withholds.then(|| Instant::now() + BUDGET_CHECK);
        let all = [core, idle, trim, partial, unwritten, check];
        let Some(due) = all.into_iter().flatten().min() else {
            return Poll::Pending;
        };
        if self.timer.poll_at(cx, due).is_pending() {
            return Poll::Pending;
        }
        let now = Instant::now();
        let is_due = |due: Option<Instant>| due.is_some_and(|due| due <= now);
        if is_due(unwritten) {
            let error = std::io::ErrorKind::TimedOut.into();
            self.lose(ServerEnd::Broken(Broken::Io(error)));
        } else if is_due(partial) {
            self.close();
            self.lose(ServerEnd::TooSlow);
        } else if is_due(idle) {
            self.close();
            self.end = Some(match self.had_request {
                true => ServerEnd::Done,
                false => ServerEnd::TooSlow,
            });
        } else if is_due(core) {
            let expired = (self.driver.shared).with(|state| state.core.expire(now.into_std()));
            if let Err(error) = expired {
                self.lose(ServerEnd::Failed(error));
            }
        } else if is_due(trim) {
            self.trim();
        }
        Poll::Ready(())
    }

    fn close(&self) {
        (self.driver.shared).with(|state| state.core.close(ErrorCode::NO_ERROR));
    }
}
