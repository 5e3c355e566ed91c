//! Conn: one end of an HTTP/1 connection: a stream, the bytes read from it and not yet used, and
//! the bytes to send on it.
//!
//! In:    an open stream (accepted or dialled).
//! Out:   unread bytes to parse or to pass on by slices; queued bytes that leave together with them
//!        in one write.
//! Never: parses, or owns a buffer while nothing is in flight.

use std::future::poll_fn;
use std::io::IoSlice;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use byway_dial::{Broken, Pipe, Read, Stream};
use byway_relay::buffer::Growth;
use byway_relay::{Buffer, DrainError, Outflow, Size};
use tokio::time::timeout;

use crate::reactor_tick;
use crate::scratch::{Scratch, ScratchBytes};

/// A position in the bytes that a connection sends. Bytes after it can be taken back until one of
/// them was sent.
#[derive(Clone, Copy)]
pub struct Mark {
    /// How many bytes were queued.
    pub queued: usize,
    /// How many bytes were sent.
    pub sent: u64,
}

/// One end of an HTTP/1 connection: a stream, the bytes read from it and not used yet, and the
/// bytes queued to be sent. It owns no buffer while it is idle.
pub struct Conn {
    stream: Stream,
    unread: Option<Buffer>,
    /// The reactor tick of the last read.
    read_in: u64,
    growth: Growth,
    /// Present only while bytes wait to be sent.
    out: Option<Scratch<ScratchBytes>>,
    /// How much of `out` was sent.
    out_sent: usize,
    /// Bytes sent since the connection was opened. Never decreases.
    sent_bytes: u64,
    /// Bytes read into the buffer since the connection was opened.
    received_bytes: u64,
    /// Requests that the server will still take, if it announced a number.
    pub(super) requests_left: Option<u64>,
    /// In front of a slow client (egress): takes what would block, and drains whenever it is
    /// polled.
    outflow: Option<Box<Outflow>>,
}

impl Conn {
    /// A connection from which nothing was read yet.
    pub fn new(stream: Stream) -> Self {
        Self {
            stream,
            unread: None,
            read_in: 0,
            growth: Growth::new(),
            out: None,
            out_sent: 0,
            sent_bytes: 0,
            received_bytes: 0,
            requests_left: None,
            outflow: None,
        }
    }

    /// Sends everything through `outflow` (spilled and shaped) from now on.
    pub fn send_through(&mut self, outflow: Outflow) {
        self.outflow = Some(Box::new(outflow));
    }

    /// Whether it sends through an outflow.
    #[inline]
    pub fn has_outflow(&self) -> bool {
        self.outflow.is_some()
    }

    /// What was read and not yet used.
    #[inline]
    pub fn unread(&self) -> &[u8] {
        self.unread.as_ref().map_or(&[], Buffer::filled)
    }

    /// Whether this is a plain TCP socket without an outflow, so that bytes may pass by a kernel
    /// pipe.
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.outflow.is_none() && self.stream.as_tcp().is_some()
    }

    /// Makes the next read a small one, however full the last ones were: large bodies go through a
    /// pipe, and a large buffer would only copy their beginning.
    #[inline]
    pub fn read_small(&mut self) {
        self.growth = Growth::new();
    }

    /// Marks the first `n` unread bytes as used. An empty buffer goes back to its free list.
    #[inline]
    pub fn consume(&mut self, n: usize) {
        if let Some(buffer) = &mut self.unread {
            buffer.consume(n);
            if buffer.is_empty() {
                self.unread = None;
            }
        }
    }

    /// The queue of bytes to send before anything else. Append to it.
    #[inline]
    pub fn queue(&mut self) -> &mut Vec<u8> {
        &mut self.out.get_or_insert_with(Scratch::take).0
    }

    /// What waits to be sent.
    #[inline]
    fn queued(&self) -> &[u8] {
        self.out
            .as_ref()
            .and_then(|out| out.0.get(self.out_sent..))
            .unwrap_or_default()
    }

    /// Appends the head that `write` writes to the queue, or nothing of it if that fails.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn try_queue<E>(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let queue = self.queue();
        let before = queue.len();
        let written = write(queue);
        if written.is_err() {
            queue.truncate(before);
        }
        written
    }

    /// The end of what is queued now.
    #[inline]
    pub fn mark(&self) -> Mark {
        Mark {
            queued: self.queued_bytes(),
            sent: self.sent_bytes,
        }
    }

    /// Takes back what was queued after `mark`. Returns false and changes nothing if anything was
    /// sent since.
    pub fn take_back(&mut self, mark: Mark) -> bool {
        if self.sent_bytes != mark.sent {
            return false;
        }
        if let Some(out) = &mut self.out {
            out.0.truncate(self.out_sent + mark.queued);
        }
        self.take_from_queue(0);
        true
    }

    /// How many queued bytes wait to be sent.
    #[inline]
    pub fn queued_bytes(&self) -> usize {
        self.queued().len()
    }

    /// Whether queued bytes wait to be sent.
    #[inline]
    pub fn has_queued(&self) -> bool {
        !self.queued().is_empty()
    }

    /// The stream itself.
    #[inline]
    pub fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// Takes the connection apart: the stream and the unread bytes, which belong together. The
    /// queue must have been flushed, so an outflow is empty and is dropped.
    pub fn into_parts(self) -> (Stream, Vec<u8>) {
        let unread = self.unread().to_vec();
        (self.stream, unread)
    }

    /// Reads more after the unread bytes. Cancel safe.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<Read, Broken>> {
        let mut buffer = with_room(self.unread.take(), self.growth.size());
        let offered = buffer.room();
        if offered == 0 {
            // Every message that must be buffered whole has a limit below the largest buffer.
            return Poll::Ready(Err(Broken::Io(std::io::ErrorKind::FileTooLarge.into())));
        }
        let read = self.stream.poll_read(cx, buffer.space());
        if let Poll::Ready(Ok(Read::Data(n))) = &read {
            buffer.advance(*n);
            self.read_in = reactor_tick::current();
            self.growth.record(*n, offered);
            self.received_bytes += *n as u64;
        }
        // No empty buffer is kept while waiting.
        self.unread = (!buffer.is_empty()).then_some(buffer);
        read
    }

    /// Reads more after the unread bytes. Cancel safe.
    pub async fn fill(&mut self) -> Result<Read, Broken> {
        poll_fn(|cx| self.poll_fill(cx)).await
    }

    /// Sends what is queued, and after it some of `tail`. Returns how much of `tail` was taken.
    /// Ready(0) means that the queue was sent and `tail` is empty. Cancel safe.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, tail: &[u8]) -> Poll<Result<usize, Broken>> {
        loop {
            if !self.has_queued() && tail.is_empty() {
                return Poll::Ready(Ok(0));
            }
            let queued = self
                .out
                .as_ref()
                .and_then(|out| out.0.get(self.out_sent..))
                .unwrap_or_default();
            let taken = match &mut self.outflow {
                None => ready!(
                    self.stream
                        .poll_write(cx, &[IoSlice::new(queued), IoSlice::new(tail)])
                )?,
                Some(outflow) => ready!(poll_push(outflow, &mut self.stream, cx, queued, tail))?,
            };
            if taken == 0 {
                return Poll::Ready(Err(Broken::Io(std::io::ErrorKind::WriteZero.into())));
            }
            let of_queue = taken.min(queued.len());
            self.sent_bytes += taken as u64;
            self.take_from_queue(of_queue);
            if taken > of_queue {
                return Poll::Ready(Ok(taken - of_queue));
            }
        }
    }

    /// Counts bytes that a kernel pipe sent past the queue.
    #[inline]
    pub fn count_sent(&mut self, n: usize) {
        self.sent_bytes += n as u64;
    }

    #[inline]
    fn take_from_queue(&mut self, n: usize) {
        self.out_sent += n;
        if self.queued().is_empty() {
            (self.out, self.out_sent) = (None, 0);
        }
    }

    /// Sends everything that is queued, and what the stream itself holds back (TLS does). For a
    /// caller that then waits for another side: what an outflow holds is sent when possible and is
    /// not waited for. Cancel safe.
    pub fn poll_push_out(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        ready!(self.poll_send(cx, &[]))?;
        match self.outflow {
            Some(_) => Poll::Ready(self.poll_outflow(cx)),
            None => self.stream.poll_flush(cx),
        }
    }

    /// Sends everything that is queued and flushes, through the outflow to its end if there is one.
    /// Cancel safe.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        ready!(self.poll_send(cx, &[]))?;
        if let Some(outflow) = &mut self.outflow {
            ready!(outflow.poll_drain(cx, &mut self.stream)).map_err(broken)?;
        }
        self.stream.poll_flush(cx)
    }

    /// Sends everything that is queued and flushes. Cancel safe.
    pub async fn flush(&mut self) -> Result<(), Broken> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Moves what an outflow holds towards its reader, without waiting for it.
    fn poll_outflow(&mut self, cx: &mut Context<'_>) -> Result<(), Broken> {
        match &mut self.outflow {
            Some(outflow) => match outflow.poll_drain(cx, &mut self.stream) {
                Poll::Ready(Err(error)) => Err(broken(error)),
                Poll::Ready(Ok(_)) | Poll::Pending => Ok(()),
            },
            None => Ok(()),
        }
    }

    /// Whether no byte is left over in either direction, as between two messages.
    #[inline]
    pub fn is_clean(&self) -> bool {
        self.unread().is_empty() && !self.has_queued()
    }

    /// Whether an idle connection may be used again. Any byte on it makes it unusable: it would be
    /// taken for the next response (CVE-2026-48931). Costs a system call.
    pub fn is_reusable(&mut self) -> bool {
        self.is_clean() && !self.stream.is_readable_or_closed()
    }

    /// Whether [`is_reusable`](Self::is_reusable) could return false. The reactor has announced
    /// everything that arrived before its last tick ([`reactor_tick`]); within the tick of the last
    /// read nothing is known.
    pub fn may_be_readable(&mut self) -> bool {
        let is_known_silent =
            self.read_in != reactor_tick::current() && !self.stream.may_be_readable();
        !is_known_silent || !self.is_clean()
    }

    /// Bytes that the stream, or the outflow in front of it, has taken since the connection was
    /// opened. Never decreases: if it has not changed since a message was queued, no byte of that
    /// message was sent.
    #[inline]
    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes
    }

    /// Bytes read into the buffer since the connection was opened. Never decreases; those that a
    /// kernel pipe moves are not among them.
    #[inline]
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// Another request is sent on it.
    pub(super) fn begin_request(&mut self) {
        self.requests_left = self.requests_left.map(|left| left.saturating_sub(1));
    }

    /// Bytes that have left the process, to measure progress: an outflow may still hold what it has
    /// taken.
    pub fn left_bytes(&self) -> u64 {
        self.outflow
            .as_ref()
            .map_or(self.sent_bytes, |outflow| outflow.delivered_bytes())
    }

    /// Makes the coming drop an orderly close: what was written is sent, then FIN.
    pub fn fin_on_drop(mut self) {
        self.stream.close_on_drop();
    }

    /// Sends FIN after everything and reads on for a moment. Closing with unread bytes would reset
    /// the connection, and destroy the response that the peer has not read yet. Takes two seconds
    /// at most; then a peer that neither reads nor closes gets the reset.
    pub async fn lingering_close(mut self) {
        let _ = timeout(LINGER, self.linger()).await;
    }

    /// Sends FIN and closes. Bytes that arrive from now on are not read, so use it only where none
    /// are expected.
    pub async fn fin_and_drop(mut self) {
        if self.is_plain() && !self.has_queued() {
            // The kernel sends FIN by itself.
            return self.stream.close_on_drop();
        }
        let _ = timeout(LINGER, self.finish()).await;
    }

    /// Sends FIN after everything. The other direction stays open. Not cancel safe.
    pub async fn finish(&mut self) -> Result<(), Broken> {
        self.flush().await?;
        self.stream.finish().await
    }

    async fn linger(&mut self) -> Result<(), Broken> {
        self.finish().await?;
        let mut discarded = self.unread().len();
        while discarded < LINGER_BYTES {
            self.consume(self.unread().len());
            match self.fill().await? {
                Read::Data(n) => discarded += n,
                Read::Fin => break,
            }
        }
        Ok(())
    }
}

/// How long, and for how many bytes, a closing connection is still read.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 1024 * 1024;

/// Pushes as much as the outflow has room for and drains meanwhile. Pending only when nothing could
/// be taken.
fn poll_push(
    outflow: &mut Outflow,
    stream: &mut Stream,
    cx: &mut Context<'_>,
    queued: &[u8],
    tail: &[u8],
) -> Poll<Result<usize, Broken>> {
    loop {
        let mut taken = outflow.push(queued);
        if taken == queued.len() {
            taken += outflow.push(tail);
        }
        if let Poll::Ready(drained) = outflow.poll_drain(cx, stream) {
            drained.map_err(broken)?;
        }
        if taken > 0 {
            return Poll::Ready(Ok(taken));
        }
        ready!(outflow.poll_ready(cx)).map_err(|error| broken(error.into()))?;
    }
}

/// Bytes lost by the spill end the connection as a broken stream does.
fn broken(error: DrainError) -> Broken {
    match error {
        DrainError::Broken(broken) => broken,
        DrainError::Spill(error) => Broken::Io(std::io::Error::other(error)),
    }
}

/// A buffer with room after its bytes: the same one, or a larger or empty one that they are copied
/// into.
fn with_room(buffer: Option<Buffer>, size: Size) -> Buffer {
    let Some(buffer) = buffer else {
        return Buffer::take(size);
    };
    if buffer.room() > 0 {
        return buffer;
    }
    let held = buffer.filled();
    let mut roomier = Buffer::take(Size::holding(held.len() + 1).max(size));
    if let Some(space) = roomier.space().get_mut(..held.len()) {
        space.copy_from_slice(held);
        roomier.advance(held.len());
    }
    roomier
}
