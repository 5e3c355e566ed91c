//! Driver: the I/O of one connection, in either role.
//!
//! In:    the stream beneath, and the state that its streams share.
//! Out:   events; the output of all streams in as few writes as the stream beneath takes.
//! Never: reads while more output waits than the backlog, or keeps a buffer while nothing is in
//!        flight.

use std::io::IoSlice;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use byway_dial::{Broken, Pipe, Read, Stream};
use byway_h2::{Connection, ConnectionError, Event};
use byway_relay::Buffer;
use byway_relay::buffer::{Growth, Size};
use tokio::time::Instant;

use super::shared::{Shared, State};

/// Reads of one turn, after which other tasks run.
const READS_A_TURN: usize = 8;

/// The I/O of one connection.
pub(super) struct Driver {
    pub(super) stream: Stream,
    pub(super) shared: Arc<Shared>,
    /// What was read and not taken, since too much output waits.
    unread: Option<Buffer>,
    growth: Growth,
    /// The peer has finished.
    pub(super) has_ended: bool,
    /// Bytes written so far.
    pub(super) written: u64,
    /// Bytes read so far.
    pub(super) received: u64,
}

/// Why nothing more is read.
#[derive(Debug)]
pub(super) enum ReadError {
    /// The stream beneath broke.
    Broken(Broken),
    /// The peer broke the protocol; a GOAWAY waits to be written.
    Failed(ConnectionError),
}

impl Driver {
    /// Over a stream of which `early` was read already.
    pub(super) fn new(stream: Stream, early: &[u8], core: Connection) -> Self {
        let mut unread = None;
        if !early.is_empty() {
            let mut buffer = Buffer::take(Size::holding(early.len()));
            let n = early.len().min(buffer.room());
            if let (Some(space), Some(early)) = (buffer.space().get_mut(..n), early.get(..n)) {
                space.copy_from_slice(early);
            }
            buffer.advance(n);
            unread = Some(buffer);
        }
        Self {
            stream,
            shared: Arc::new(Shared::new(core)),
            unread,
            growth: Growth::new(),
            has_ended: false,
            written: 0,
            received: 0,
        }
    }

    /// Reads what has arrived, and passes on events that concern more than one known stream.
    ///
    /// # Errors
    /// If there will be no more.
    pub(super) fn read(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        mut handle: impl FnMut(&mut State, Event),
    ) -> Result<(), ReadError> {
        for _ in 0..READS_A_TURN {
            if !self.take(now, &mut handle)? || self.has_ended {
                return Ok(());
            }
            let mut buffer = Buffer::take(self.growth.size());
            let offered = buffer.room();
            match self.stream.poll_read(cx, buffer.space()) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(Read::Data(n))) => {
                    buffer.advance(n);
                    self.received += n as u64;
                    self.growth.record(n, offered);
                    self.unread = Some(buffer);
                }
                Poll::Ready(Ok(Read::Fin)) => {
                    self.has_ended = true;
                    return Ok(());
                }
                Poll::Ready(Err(broken)) => return Err(ReadError::Broken(broken)),
            }
        }
        let took_all = self.take(now, &mut handle)?;
        if took_all {
            // More may have arrived.
            cx.waker().wake_by_ref();
        }
        Ok(())
    }

    /// Passes what was read to the protocol. Returns whether it took everything.
    fn take(
        &mut self,
        now: Instant,
        handle: &mut impl FnMut(&mut State, Event),
    ) -> Result<bool, ReadError> {
        let Self { shared, unread, .. } = self;
        shared.with(|state| {
            loop {
                let bytes = unread.as_ref().map_or(&[][..], Buffer::filled);
                let step = match state.core.read(bytes, now.into_std()) {
                    Ok(step) => step,
                    Err(error) => {
                        *unread = None;
                        return Err(ReadError::Failed(error));
                    }
                };
                let is_idle = step.event.is_none();
                if let Some(event) = step.event
                    && let Some(event) = state.note(event, bytes)
                {
                    handle(state, event);
                }
                if let Some(buffer) = unread {
                    buffer.consume(step.taken);
                    if buffer.is_empty() {
                        *unread = None;
                    }
                }
                if is_idle && (unread.is_none() || step.taken == 0) {
                    return Ok(unread.is_none());
                }
            }
        })
    }

    /// Writes what waits, as far as the stream beneath takes it. Returns whether something was
    /// written; ready once nothing waits.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let Self {
            stream,
            shared,
            written,
            ..
        } = self;
        shared.with(|state| {
            while !state.core.out().is_empty() {
                let n = ready!(stream.poll_write(cx, &[IoSlice::new(state.core.out())]))?;
                if n == 0 {
                    return Poll::Ready(Err(Broken::Io(std::io::ErrorKind::WriteZero.into())));
                }
                *written += n as u64;
                state.core.written(n);
            }
            Poll::Ready(Ok(()))
        })
    }

    /// Whether there are bytes that were not taken and may be now.
    pub(super) fn can_take(&self) -> bool {
        self.unread.is_some() && self.shared.with(|state| state.core.wants_bytes())
    }

    /// Sends what the stream beneath holds back (TLS does).
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.stream.poll_flush(cx)
    }
}
