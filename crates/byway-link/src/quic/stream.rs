//! Stream: one stream of a QUIC connection.
//!
//! In:    the halves of quinn; the credit of both sides.
//! Out:   reads that tell FIN, reset and the loss of the connection apart; writes within the credit.
//! Never: ends in order because it was dropped.

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use byway_dial::{Broken, Read};
use quinn::{Connection, ConnectionError, ReadError, RecvStream, SendStream, VarInt, WriteError};
use tokio::time::{Sleep, sleep, timeout};
use tokio_util::task::TaskTracker;

use super::gate::{AtGate, Gate};
use super::lingering::Lingering;
use super::pump::{ORDERED_BYTES, Peeked, Pumped};
use super::reassembly::Reassembly;
use crate::client_key::ClientKey;
use crate::credit::{Credits, StreamCredits};
use crate::mux::core::LINGER;
use crate::stream::Counted;

/// The first bytes of a stream are written at once: its open message or the answer, and the head of
/// a request.
const FIRST_BYTES: u64 = 8 * 1024;

/// How often a stream is checked for a reset that wakes no task.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// How the bytes of a stream are read from quinn.
enum Receiving {
    Ordered(RecvStream),
    /// See [`pump`](super::pump).
    Pumped(Arc<Pumped>),
}

impl Receiving {
    fn stop(&mut self, code: VarInt) {
        match self {
            Self::Ordered(recv) => {
                // An error means that it has ended already.
                let _ = recv.stop(code);
            }
            Self::Pumped(pumped) => pumped.stop(code),
        }
    }

    /// Resolves when a byte has arrived, in order or not, or the stream has ended.
    async fn any(self) {
        match self {
            Self::Ordered(mut recv) => {
                let _ = recv.read_chunk(usize::MAX, false).await;
            }
            Self::Pumped(pumped) => pumped.any().await,
        }
    }
}

/// One stream. Dropping it resets it, unless it was finished.
pub(crate) struct QuicStream {
    send: SendStream,
    /// `None` once the stream was closed in order.
    recv: Option<Receiving>,
    /// Bytes read, and bytes written.
    read: u64,
    written: u64,
    connection: Connection,
    gate: AtGate,
    lingering: Lingering,
    /// `None` on the control stream.
    credits: Option<StreamCredits>,
    /// Resolves when the peer stops our half; `None` once everything we sent is acknowledged.
    stopped: Option<Pin<Box<dyn Future<Output = Option<Broken>> + Send + Sync>>>,
    tick: Option<Pin<Box<Sleep>>>,
    broken: Option<u32>,
    read_fin: bool,
    finished: bool,
    orderly: bool,
    tasks: TaskTracker,
    /// Counts it among the peer's streams or ours; `None` for the control stream.
    counted: Option<Counted>,
}

impl QuicStream {
    /// A stream of these halves. Without `credits` it is the control stream.
    pub(super) fn new(
        (send, recv): (SendStream, RecvStream),
        connection: Connection,
        gate: &Gate,
        lingering: Lingering,
        credits: Option<&Credits>,
        tasks: &TaskTracker,
        counted: Option<Counted>,
    ) -> Self {
        let number = VarInt::from(send.id()).into_inner();
        let credits = credits.map(|credits| credits.stream(number));
        let stopped = send.stopped();
        let stopped: Pin<Box<dyn Future<Output = _> + Send + Sync>> = Box::pin(async move {
            match stopped.await {
                Ok(Some(code)) => Some(Broken::Reset(code_of(code))),
                // Everything was sent and acknowledged: this half can fail no more.
                Ok(None) => None,
                Err(_) => Some(Broken::SessionLost),
            }
        });
        let tasks = tasks.clone();
        Self {
            send,
            recv: Some(Receiving::Ordered(recv)),
            read: 0,
            written: 0,
            connection,
            gate: AtGate::new(gate, number),
            lingering,
            credits,
            stopped: Some(stopped),
            tick: None,
            broken: None,
            read_fin: false,
            finished: false,
            orderly: false,
            tasks,
            counted,
        }
    }

    /// Writes its first bytes, which are far below its window: they are accepted at once.
    pub(super) async fn write_first(&mut self, first: &[u8]) -> Result<(), ConnectionError> {
        if let Some(credits) = &self.credits {
            credits.spend(first.len());
        }
        let mut left = first;
        while !left.is_empty() {
            let n = self.send.write(left).await.map_err(|error| match error {
                WriteError::ConnectionLost(lost) => lost,
                _ => ConnectionError::LocallyClosed,
            })?;
            left = left.get(n..).unwrap_or_default();
        }
        Ok(())
    }

    /// Gives the control stream priority over all others.
    pub(crate) fn favour(&self) {
        // An error means that the stream is closed already.
        let _ = self.send.set_priority(i32::MAX);
    }

    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<Result<Read, Broken>> {
        if let Some(code) = self.broken {
            return Poll::Ready(Err(Broken::Reset(code)));
        }
        let Some(recv) = self.recv.as_mut().filter(|_| !self.read_fin) else {
            return Poll::Ready(Ok(Read::Fin));
        };
        let wanted = !buf.is_empty();
        let read = match recv {
            Receiving::Ordered(recv) => match ready!(recv.poll_read(cx, buf)) {
                Ok(0) if wanted => Ok(Read::Fin),
                Ok(n) => Ok(Read::Data(n)),
                Err(ReadError::Reset(code)) => Err(Broken::Reset(code_of(code))),
                Err(_) => Err(Broken::SessionLost),
            },
            Receiving::Pumped(pumped) => ready!(pumped.poll_read(cx, buf)),
        };
        match &read {
            Ok(Read::Fin) => self.note_fin(),
            Ok(Read::Data(n)) => {
                self.read += *n as u64;
                if self
                    .credits
                    .as_mut()
                    .is_some_and(|credits| !credits.consume(*n))
                {
                    self.connection.close(
                        VarInt::from_u32(0),
                        b"more bytes than a stream had credit for",
                    );
                    return Poll::Ready(Err(Broken::SessionLost));
                }
                self.pump_if_large();
            }
            Err(Broken::Reset(code)) => self.broken = Some(*code),
            Err(_) => {}
        }
        Poll::Ready(read)
    }

    /// Moves a stream to a pump if its window holds more packets than quinn accepts gaps.
    fn pump_if_large(&mut self) {
        let Some(credits) = self
            .credits
            .as_ref()
            .filter(|credits| credits.window() > ORDERED_BYTES)
        else {
            return;
        };
        self.recv = match self.recv.take() {
            Some(Receiving::Ordered(recv)) => {
                let from = Reassembly::new(self.read);
                Some(Receiving::Pumped(Pumped::start(
                    recv,
                    from,
                    credits.granted(),
                    &self.connection,
                    &self.tasks,
                )))
            }
            other => other,
        };
    }

    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize, Broken>> {
        if let Some(code) = self.broken {
            return Poll::Ready(Err(Broken::Reset(code)));
        }
        if self.has_much_to_write() && self.gate.poll_pass(cx, &self.tasks).is_pending() {
            return self.poll_stopped(cx).map(Err);
        }
        let mut written = 0;
        for buf in bufs.iter().filter(|buf| !buf.is_empty()) {
            let left = match self.credits.as_ref().map(|credits| credits.poll_left(cx)) {
                None => usize::MAX,
                Some(Poll::Ready(left)) => left,
                Some(Poll::Pending) => 0,
            };
            let Some(part) = buf
                .get(..buf.len().min(left))
                .filter(|part| !part.is_empty())
            else {
                if written > 0 {
                    break;
                }
                // Without credit nothing is written, so no write fails when the peer stops the
                // stream: check here.
                return self.poll_stopped(cx).map(Err);
            };
            match Pin::new(&mut self.send).poll_write(cx, part) {
                Poll::Ready(Ok(n)) => {
                    self.written += n as u64;
                    if let Some(credits) = &self.credits {
                        credits.spend(n);
                    }
                    self.gate.leave();
                    written += n;
                    if n < buf.len() {
                        break;
                    }
                }
                Poll::Pending => {
                    if written > 0 {
                        break;
                    }
                    if self.has_much_to_write() {
                        self.gate.block();
                    }
                    return Poll::Pending;
                }
                Poll::Ready(Err(WriteError::Stopped(code))) => {
                    return Poll::Ready(Err(self.note(code)));
                }
                Poll::Ready(Err(WriteError::ClosedStream)) => {
                    return Poll::Ready(Err(Broken::Io(io::ErrorKind::BrokenPipe.into())));
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::SessionLost)),
            }
        }
        Poll::Ready(Ok(written))
    }

    /// Whether it yields to others: not the control stream, and no stream with its first bytes.
    const fn has_much_to_write(&self) -> bool {
        self.credits.is_some() && self.written >= FIRST_BYTES
    }

    /// See [`LinkStream::set_client`](crate::stream::LinkStream::set_client).
    pub(crate) fn set_client(&mut self, client: ClientKey) {
        if let Some(credits) = &mut self.credits {
            credits.set_client(client);
        }
    }

    /// See [`LinkStream::widen`](crate::stream::LinkStream::widen).
    pub(crate) fn widen(&mut self, is_used: bool) {
        if let Some(credits) = self.credits.as_mut().filter(|_| !self.read_fin) {
            credits.widen(is_used);
        }
    }

    pub(crate) fn finish(&mut self) -> Result<(), Broken> {
        if let Some(code) = self.broken {
            return Err(Broken::Reset(code));
        }
        if !std::mem::replace(&mut self.finished, true) {
            self.gate.leave();
            // An error means that the peer has stopped the stream; the reader gets that error.
            let _ = self.send.finish();
        }
        Ok(())
    }

    pub(crate) fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        if let Some(code) = self.broken {
            return Poll::Ready(Broken::Reset(code));
        }
        let unread = match self.peek(cx) {
            Ok(unread) => unread,
            Err(broken) => return Poll::Ready(broken),
        };
        if self.stopped.is_some() {
            return self.poll_stopped(cx);
        }
        if !unread {
            return Poll::Pending;
        }
        // Everything we sent is acknowledged, so the peer has nothing to stop; and while bytes are
        // unread, no waker is called for a reset. So check again after a while.
        ready!(
            self.tick
                .get_or_insert_with(|| Box::pin(sleep(LOOK_AGAIN)))
                .as_mut()
                .poll(cx)
        );
        self.tick = None;
        cx.waker().wake_by_ref();
        match self.connection.close_reason() {
            Some(_) => Poll::Ready(Broken::SessionLost),
            None => Poll::Pending,
        }
    }

    /// Whether the peer has stopped our half, or the connection is lost.
    fn poll_stopped(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        let Some(stopped) = &mut self.stopped else {
            return Poll::Pending;
        };
        match ready!(stopped.as_mut().poll(cx)) {
            Some(Broken::Reset(code)) => {
                Poll::Ready(Broken::Reset(*self.broken.get_or_insert(code)))
            }
            Some(broken) => Poll::Ready(broken),
            None => {
                self.stopped = None;
                // The caller must poll again: from now on the check is another one.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    /// The peer has sent everything: what the window has taken is of no use any more.
    fn note_fin(&mut self) {
        self.read_fin = true;
        if let Some(credits) = &mut self.credits {
            credits.settle();
        }
    }

    /// Whether bytes can be read; reads none of them. If there are none, the reader's waker is set.
    fn peek(&mut self, cx: &mut Context<'_>) -> Result<bool, Broken> {
        let Some(recv) = self.recv.as_mut().filter(|_| !self.read_fin) else {
            return Ok(false);
        };
        let recv = match recv {
            Receiving::Ordered(recv) => recv,
            Receiving::Pumped(pumped) => {
                let peeked = pumped.peek(cx).inspect_err(|broken| {
                    if let Broken::Reset(code) = broken {
                        self.broken = Some(*code);
                    }
                })?;
                if peeked == Peeked::Fin {
                    self.note_fin();
                }
                return Ok(peeked == Peeked::Unread);
            }
        };
        let peeked = pin!(recv.read_chunk(0, true)).poll(cx);
        match peeked {
            Poll::Ready(Ok(Some(_))) => Ok(true),
            Poll::Ready(Ok(None)) => {
                self.note_fin();
                Ok(false)
            }
            Poll::Ready(Err(ReadError::Reset(code))) => Err(self.note(code)),
            Poll::Ready(Err(_)) => Err(Broken::SessionLost),
            Poll::Pending => Ok(false),
        }
    }

    pub(crate) fn reset(&mut self, code: u32) {
        self.gate.leave();
        // Errors mean that it has ended already.
        let _ = self.send.reset(code.into());
        if let Some(recv) = &mut self.recv {
            recv.stop(code.into());
        }
        self.finished = true;
        self.broken.get_or_insert(code);
    }

    pub(crate) fn close_on_drop(&mut self) {
        self.orderly = true;
    }

    pub(crate) fn reset_on_drop(&mut self) {
        self.orderly = false;
    }

    fn note(&mut self, code: VarInt) -> Broken {
        Broken::Reset(*self.broken.get_or_insert_with(|| code_of(code)))
    }
}

pub(super) fn code_of(code: VarInt) -> u32 {
    u32::try_from(code.into_inner()).unwrap_or(u32::MAX)
}

impl Drop for QuicStream {
    fn drop(&mut self) {
        if self.broken.is_some() || !(self.finished || self.orderly) {
            return self.reset(0);
        }
        let _ = self.finish();
        let Some(recv) = self.recv.take().filter(|_| !self.read_fin) else {
            return;
        };
        // As with TCP, the peer learns that nothing is read any more only if it goes on sending: a
        // STOP now would overtake what was written.
        if tokio::runtime::Handle::try_current().is_ok() {
            let (counted, mut place) = (self.counted.take(), self.lingering.add());
            self.tasks.spawn(async move {
                let _counted = counted;
                tokio::select! {
                    _ = timeout(LINGER, recv.any()) => {}
                    () = place.stopped() => {}
                }
            });
        }
    }
}

#[cfg(test)]
mod tests;
