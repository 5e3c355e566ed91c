//! Server: the server side of a connection, driven by its task.
//!
//! In:    an established connection of quinn; futures that serve its streams.
//! Out:   each stream with a request; settings, GOAWAY; the end.
//! Never: waits for a client without a limit; frees the slot of a request before its work has ended;
//!        closes the connection before responses have arrived, unless that takes too long.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use byway_h3::{Admission, ConnectionError, ErrorCode, Limits};
use quinn::{RecvStream, SendStream};
use tokio::time::Instant;

use super::peer_streams::PeerStreams;
use super::shared::{Shared, varint};
use super::stream::H3Stream;
use crate::h2::{BufferBudget, StreamFutures};
use crate::lazy_timer::LazyTimer;

/// How long the connection waits for its client, in each state.
#[derive(Clone, Copy, Debug)]
pub struct ServerTimeouts {
    /// For the first request.
    pub head: Duration,
    /// For the next request, while no stream is open.
    pub idle: Duration,
}

/// How a connection has ended.
#[derive(Debug)]
pub enum ServerEnd {
    /// In order, by either side.
    Done,
    /// The client sent no request in time.
    TooSlow,
    /// The client broke the protocol, or cost too much.
    Failed(ConnectionError),
    /// The client has left without a word, or broke QUIC.
    Broken(quinn::ConnectionError),
}

/// Accepts a stream.
type Accept =
    Pin<Box<dyn Future<Output = Result<(SendStream, RecvStream), quinn::ConnectionError>> + Send>>;

/// Opens this side's control stream.
type Open = Pin<Box<dyn Future<Output = Result<SendStream, quinn::ConnectionError>> + Send>>;

/// Waits until the client has all of a response.
type Received = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The server side of one connection. Its task calls [`poll`](Self::poll).
pub struct Server {
    shared: Arc<Shared>,
    accept: Accept,
    peer: PeerStreams,
    open: Option<Open>,
    control: Option<SendStream>,
    /// What the control stream has to send.
    control_out: Vec<u8>,
    timeouts: ServerTimeouts,
    timer: LazyTimer,
    idle_since: Option<Instant>,
    had_request: bool,
    closing: Closing,
    end: Option<ServerEnd>,
}

/// The steps of an orderly end.
enum Closing {
    Not,
    /// GOAWAY was sent, and the client may still send requests until then.
    Warned(Instant),
    /// Requests are refused. Those under way are served.
    Refusing,
    /// Everything was sent. Waits until it was received, but no longer than this.
    Sent(Vec<Received>, Instant),
}

/// How many streams are accepted in a turn.
const ACCEPTS: usize = 32;

/// How often futures are polled in a turn.
const ROUNDS: usize = 4;

/// Bounds of the time between the two GOAWAYs, which is three round trips.
const LEAST_WARNING: Duration = Duration::from_millis(50);
const MOST_WARNING: Duration = Duration::from_secs(1);

/// How long the client may take to acknowledge the last responses.
const CLOSING: Duration = Duration::from_secs(5);

impl Server {
    /// Over an established connection. The text of heads and trailers counts in `budget` until the
    /// work for their requests has ended.
    pub fn new(
        quic: quinn::Connection,
        limits: Limits,
        timeouts: ServerTimeouts,
        budget: BufferBudget,
    ) -> Self {
        let shared = Arc::new(Shared::new(quic, limits, budget));
        let mut control_out = Vec::new();
        shared.with(|state| state.core.start(&mut control_out));
        let quic = shared.quic.clone();
        Self {
            accept: accept(&shared),
            peer: PeerStreams::new(Arc::clone(&shared)),
            open: Some(Box::pin(async move { quic.open_uni().await })),
            shared,
            control: None,
            control_out,
            timeouts,
            timer: LazyTimer::default(),
            idle_since: None,
            had_request: false,
            closing: Closing::Not,
            end: None,
        }
    }

    /// Ends the connection in order: announces it, serves what is on its way, and finishes.
    pub fn drain(&mut self) {
        if matches!(self.closing, Closing::Not) {
            let out = &mut self.control_out;
            self.shared.with(|state| state.core.warn_of_go_away(out));
            let wait = 3 * self.shared.quic.rtt();
            let wait = wait.clamp(LEAST_WARNING, MOST_WARNING);
            self.closing = Closing::Warned(Instant::now() + wait);
        }
    }

    /// One turn: begins a future with `serve` for each new stream, and polls those that were woken.
    /// Ready at the end of the connection, and of the last future.
    pub fn poll<F: Future + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        futures: &mut StreamFutures<F>,
        mut serve: impl FnMut(H3Stream) -> Option<F>,
        mut ended: impl FnMut(F::Output),
    ) -> Poll<ServerEnd> {
        futures.begin();
        if let Err(error) = self.peer.poll(cx) {
            self.shared.fail(error);
        }
        self.accept_streams(cx, |stream| {
            if let Some(future) = serve(stream) {
                futures.push(future);
            }
        });
        for _ in 0..ROUNDS {
            futures.poll_ready(&mut ended);
            if !futures.has_ready() {
                break;
            }
        }
        let is_idle = futures.is_empty();
        loop {
            self.send_control(cx);
            if is_idle && let Some(end) = self.end.take() {
                return Poll::Ready(self.ended(end));
            }
            if self.poll_closing(cx, is_idle).is_pending()
                && self.poll_idle(cx, is_idle).is_pending()
            {
                break;
            }
        }
        if !futures.rest(cx) {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// The end, as this side saw it.
    fn ended(&self, end: ServerEnd) -> ServerEnd {
        match self.shared.with(|state| state.failed) {
            Some(error) => ServerEnd::Failed(error),
            None => end,
        }
    }

    fn accept_streams(&mut self, cx: &mut Context<'_>, mut serve: impl FnMut(H3Stream)) {
        if self.end.is_some() {
            return;
        }
        for _ in 0..ACCEPTS {
            let (mut send, mut recv) = match self.accept.as_mut().poll(cx) {
                Poll::Pending => return,
                Poll::Ready(Ok(stream)) => stream,
                Poll::Ready(Err(error)) => {
                    self.end = Some(end_of(error));
                    return;
                }
            };
            self.accept = accept(&self.shared);
            self.had_request = true;
            let now = Instant::now().into_std();
            let number = quinn::VarInt::from(send.id()).into_inner();
            match self.shared.with(|state| state.core.admit(number, now)) {
                Ok(Admission::Accepted) => {
                    serve(H3Stream::new(Arc::clone(&self.shared), send, recv));
                }
                Ok(Admission::Refused(code)) => {
                    let _ = (send.reset(varint(code)), recv.stop(varint(code)));
                }
                Err(error) => self.shared.fail(error),
            }
        }
        cx.waker().wake_by_ref();
    }

    /// Opens the control stream, and sends what it has to send.
    fn send_control(&mut self, cx: &mut Context<'_>) {
        if let Some(open) = &mut self.open {
            let Poll::Ready(opened) = open.as_mut().poll(cx) else {
                return;
            };
            (self.open, self.control) = (None, opened.ok());
        }
        let Some(control) = &mut self.control else {
            return;
        };
        while !self.control_out.is_empty() {
            match Pin::new(&mut *control).poll_write(cx, &self.control_out) {
                Poll::Pending => return,
                Poll::Ready(Ok(n)) => drop(self.control_out.drain(..n)),
                // The client does not read it, or the connection is lost.
                Poll::Ready(Err(_)) => self.control_out.clear(),
            }
        }
    }

    /// Goes on with an orderly end. Ready if a step was made.
    fn poll_closing(&mut self, cx: &mut Context<'_>, is_idle: bool) -> Poll<()> {
        match &mut self.closing {
            Closing::Not => return Poll::Pending,
            Closing::Warned(until) => {
                if self.timer.poll_at(cx, *until).is_pending() {
                    return Poll::Pending;
                }
                let out = &mut self.control_out;
                self.shared.with(|state| state.core.go_away(out));
                self.closing = Closing::Refusing;
            }
            Closing::Refusing if !is_idle => return Poll::Pending,
            Closing::Refusing => {
                let finished = self
                    .shared
                    .with(|state| std::mem::take(&mut state.finished));
                let received = finished.into_iter().map(received).collect();
                self.closing = Closing::Sent(received, Instant::now() + CLOSING);
            }
            Closing::Sent(left, until) => {
                left.retain_mut(|received| received.as_mut().poll(cx).is_pending());
                let is_over = left.is_empty() && self.control_out.is_empty();
                if !is_over && self.timer.poll_at(cx, *until).is_pending() {
                    return Poll::Pending;
                }
                self.close(ServerEnd::Done);
            }
        }
        Poll::Ready(())
    }

    /// Ends a connection whose client sends no request. Ready if a step was made.
    fn poll_idle(&mut self, cx: &mut Context<'_>, is_idle: bool) -> Poll<()> {
        if !is_idle || self.end.is_some() || !matches!(self.closing, Closing::Not) {
            self.idle_since = None;
            return Poll::Pending;
        }
        let since = *self.idle_since.get_or_insert_with(Instant::now);
        let within = match self.had_request {
            true => self.timeouts.idle,
            false => self.timeouts.head,
        };
        if self.timer.poll_at(cx, since + within).is_pending() {
            return Poll::Pending;
        }
        match self.had_request {
            true => self.drain(),
            false => self.close(ServerEnd::TooSlow),
        }
        Poll::Ready(())
    }

    fn close(&mut self, end: ServerEnd) {
        self.closing = Closing::Not;
        self.shared.quic.close(varint(ErrorCode::NO_ERROR), b"");
        self.end.get_or_insert(end);
    }
}

fn accept(shared: &Shared) -> Accept {
    let quic = shared.quic.clone();
    Box::pin(async move { quic.accept_bi().await })
}

fn received(stream: SendStream) -> Received {
    Box::pin(async move { drop(stream.stopped().await) })
}

fn end_of(error: quinn::ConnectionError) -> ServerEnd {
    use quinn::ConnectionError::{ApplicationClosed, LocallyClosed, TimedOut};
    match error {
        ApplicationClosed(_) | LocallyClosed | TimedOut => ServerEnd::Done,
        error => ServerEnd::Broken(error),
    }
}
