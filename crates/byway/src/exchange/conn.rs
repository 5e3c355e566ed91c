//! Conn: one end of an HTTP/1 connection: a stream, what was read from it and not yet used, what
//! shall leave on it.
//!
//! In:    an open stream (accepted or dialled).
//! Out:   unread bytes to parse or to pass on by slices; queued bytes that leave together with them
//!        in one write.
//! Never: parses, and never owns a buffer while nothing is in flight.

use std::future::poll_fn;
use std::io::IoSlice;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use byway_agent::Probe;
use byway_dial::{Broken, Pipe, Read, Stream};
use tokio::time::timeout;

use super::scratch::{Scratch, ScratchBytes};
use crate::link::report::Reports;
use crate::reactor_tick;
use crate::relay::buffer::Growth;
use crate::relay::{Buffer, DrainError, Outflow, Size};

/// A place in what a connection sends, from which bytes can be taken back while none of them has
/// left.
#[derive(Clone, Copy)]
pub struct Mark {
    queued: usize,
    sent: u64,
}

/// See the head of the file.
pub struct Conn {
    stream: Stream,
    unread: Option<Buffer>,
    /// The reactor's turn in which something was read last.
    read_in: u64,
    growth: Growth,
    /// There only while something waits to leave.
    out: Option<Scratch<ScratchBytes>>,
    /// How much of `out` has left.
    out_sent: usize,
    /// Bytes that have left since the connection was opened. Never goes back.
    sent_bytes: u64,
    /// Between us and a slow reader (egress): takes what would block, and drains by itself whenever
    /// it is polled.
    outflow: Option<Box<Outflow>>,
    /// The Host header to send, where the agent of an exposed service asks for one.
    host: Option<Arc<str>>,
    /// Where the requests on it are reported, where the agent of an exposed service asks for that.
    reports: Option<Arc<Reports>>,
}

impl Conn {
    /// A connection that nothing was read from yet.
    pub fn new(stream: Stream) -> Self {
        Self {
            stream,
            unread: None,
            read_in: 0,
            growth: Growth::new(),
            out: None,
            out_sent: 0,
            sent_bytes: 0,
            outflow: None,
            host: None,
            reports: None,
        }
    }

    /// The same, with this Host header in its requests.
    #[must_use]
    pub fn asking_for(self, host: Option<Arc<str>>) -> Self {
        Self { host, ..self }
    }

    /// The Host header of its requests, where it asks for one.
    pub const fn host(&self) -> Option<&Arc<str>> {
        self.host.as_ref()
    }

    /// The same, whose requests are reported there.
    #[must_use]
    pub fn reported_to(self, reports: Option<Arc<Reports>>) -> Self {
        Self { reports, ..self }
    }

    /// Where its requests are reported.
    pub const fn reports(&self) -> Option<&Arc<Reports>> {
        self.reports.as_ref()
    }

    /// From now on whatever leaves goes through `outflow` (spilled and shaped).
    pub fn leave_through(&mut self, outflow: Outflow) {
        self.outflow = Some(Box::new(outflow));
    }

    /// Whether an outflow stands in the way out already.
    pub fn has_outflow(&self) -> bool {
        self.outflow.is_some()
    }

    /// What was read and not yet used.
    pub fn unread(&self) -> &[u8] {
        self.unread.as_ref().map_or(&[], Buffer::filled)
    }

    /// Whether this is a plain TCP socket and nothing of ours stands before it: bytes may pass by a
    /// kernel pipe.
    pub fn is_plain(&self) -> bool {
        self.outflow.is_none() && self.stream.as_tcp().is_some()
    }

    /// The next read is a small one, however full the last ones were: what is large goes by a pipe,
    /// and a large buffer would only copy the beginning of it.
    pub fn read_small(&mut self) {
        self.growth = Growth::new();
    }

    /// Marks the first `n` unread bytes as used. An emptied buffer goes back to its free list.
    pub fn consume(&mut self, n: usize) {
        if let Some(buffer) = &mut self.unread {
            buffer.consume(n);
            if buffer.is_empty() {
                self.unread = None;
            }
        }
    }

    /// The queue of bytes to leave before anything else: append to it.
    pub fn queue(&mut self) -> &mut Vec<u8> {
        &mut self.out.get_or_insert_with(Scratch::take).0
    }

    /// What waits to leave.
    fn queued(&self) -> &[u8] {
        self.out
            .as_ref()
            .and_then(|out| out.0.get(self.out_sent..))
            .unwrap_or_default()
    }

    /// Appends what `write` writes to the queue, or nothing of it if it fails.
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
    pub fn mark(&self) -> Mark {
        Mark {
            queued: self.queued_bytes(),
            sent: self.sent_bytes,
        }
    }

    /// Takes back what was queued behind `mark`; false, and nothing is changed, if anything has
    /// left since.
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

    /// How many queued bytes wait to leave.
    pub fn queued_bytes(&self) -> usize {
        self.queued().len()
    }

    /// Whether queued bytes wait to leave.
    pub fn has_queued(&self) -> bool {
        !self.queued().is_empty()
    }

    /// The stream itself.
    pub fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// Takes the connection apart: the stream and the unread bytes, which must go on together.
    /// Whatever is queued must have been flushed; an outflow is empty then and ends here.
    pub fn into_parts(self) -> (Stream, Vec<u8>) {
        let unread = self.unread().to_vec();
        (self.stream, unread)
    }

    /// Reads more behind the unread bytes. Cancel safe.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<Read, Broken>> {
        let mut buffer = with_room(self.unread.take(), self.growth.size());
        let offered = buffer.room();
        if offered == 0 {
            // Every message that must stand here as a whole has a limit below the largest buffer.
            return Poll::Ready(Err(Broken::Io(std::io::ErrorKind::FileTooLarge.into())));
        }
        let read = self.stream.poll_read(cx, buffer.space());
        if let Poll::Ready(Ok(Read::Data(n))) = &read {
            buffer.advance(*n);
            self.read_in = reactor_tick::current();
            self.growth.record(*n, offered);
        }
        // An empty buffer is not kept while we wait.
        self.unread = (!buffer.is_empty()).then_some(buffer);
        read
    }

    /// Reads more behind the unread bytes. Cancel safe.
    pub async fn fill(&mut self) -> Result<Read, Broken> {
        poll_fn(|cx| self.poll_fill(cx)).await
    }

    /// Sends what is queued, and behind it some of `tail`; says how much of `tail` was taken.
    /// Ready(0) means: the queue has left and `tail` is empty. Cancel safe.
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

    /// Counts bytes that were sent past the queue, by a kernel pipe.
    pub fn count_sent(&mut self, n: usize) {
        self.sent_bytes += n as u64;
    }

    fn take_from_queue(&mut self, n: usize) {
        self.out_sent += n;
        if self.queued().is_empty() {
            (self.out, self.out_sent) = (None, 0);
        }
    }

    /// Sends everything that is queued, and what the stream itself holds back (TLS does). For a
    /// caller that goes on to wait for somebody else: what an outflow holds leaves when it can and
    /// is not waited for. Cancel safe.
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

    /// Moves what an outflow holds on towards its reader, without waiting for it.
    fn poll_outflow(&mut self, cx: &mut Context<'_>) -> Result<(), Broken> {
        match &mut self.outflow {
            Some(outflow) => match outflow.poll_drain(cx, &mut self.stream) {
                Poll::Ready(Err(error)) => Err(broken(error)),
                Poll::Ready(Ok(_)) | Poll::Pending => Ok(()),
            },
            None => Ok(()),
        }
    }

    /// Bytes that the stream, or the outflow in front of it, has taken since the connection was
    /// opened. Never goes back: if it has not changed since a message was queued, no byte of that
    /// message has left.
    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes
    }

    /// Bytes that have left the process, for a watch on progress: an outflow may still hold what it
    /// has taken.
    pub fn left_bytes(&self) -> u64 {
        self.outflow
            .as_ref()
            .map_or(self.sent_bytes, |outflow| outflow.delivered_bytes())
    }

    /// Makes the coming drop an orderly close: what was written leaves, then FIN.
    pub fn fin_on_drop(mut self) {
        self.stream.close_on_drop();
    }

    /// Says FIN behind everything and reads on for a moment: closing with unread bytes would reset
    /// the connection, and with it the answer that the peer has not read yet. Takes two seconds at
    /// most; a peer that neither reads nor closes is left to its reset.
    pub async fn lingering_close(mut self) {
        let _ = timeout(LINGER, self.linger()).await;
    }

    /// Says FIN and goes, as nothing is owed to the peer: bytes that come from now on find nobody.
    pub async fn fin_and_drop(mut self) {
        if self.is_plain() && !self.has_queued() {
            // The kernel says FIN by itself.
            return self.stream.close_on_drop();
        }
        let _ = timeout(LINGER, self.finish()).await;
    }

    /// Says FIN behind everything; the other direction stays open. Not cancel safe.
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

/// How long, and for how many bytes, a closing connection is read on.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 1024 * 1024;

/// Pushes as much as the outflow has room for and drains on the way. Pending only when nothing
/// could be taken.
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

/// Bytes that the spill lost end the connection just as a broken stream does.
fn broken(error: DrainError) -> Broken {
    match error {
        DrainError::Broken(broken) => broken,
        DrainError::Spill(error) => Broken::Io(std::io::Error::other(error)),
    }
}

/// A buffer with room behind its bytes: the same one, or a larger or emptier one that they are
/// copied into.
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

impl byway_agent::Conn for Conn {
    /// Any application byte on an idle connection kills it: it would be taken for the next answer
    /// (CVE-2026-48931).
    fn probe(&mut self) -> Probe {
        match self.unread().is_empty() && !self.has_queued() && !self.stream.is_readable_or_closed()
        {
            true => Probe::Clean,
            false => Probe::Dirty,
        }
    }

    /// What came before the reactor's last turn, it has announced. Within the turn of the last read
    /// nobody has looked.
    fn may_be_readable(&mut self) -> bool {
        let is_known_silent =
            self.read_in != reactor_tick::current() && !self.stream.may_be_readable();
        !is_known_silent || !self.unread().is_empty() || self.has_queued()
    }

    fn reactor_tick() -> u64 {
        reactor_tick::current()
    }
}
