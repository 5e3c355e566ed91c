//! Outflow: bytes that were read from a source and not yet written to a stream, and how they are
//! written.
//!
//! In:    bytes, read straight into [`Outflow::space`] or copied by [`Outflow::push`]; then,
//!        perhaps, the end.
//! Out:   the same bytes, in order, written to a [`Stream`] as fast as it and the shaper accept
//!        them; then the FIN.
//! Never: reads the source, spawns a task, or sends the FIN before all bytes.
//!
//! There are two kinds with the same behaviour: a *direct* outflow holds one buffer and then
//! reports that it is full; a *spilling* one holds a ring in memory and then a file on disk. A
//! direct one between two plain TCP streams may hold a kernel pipe instead of its buffer
//! ([`Outflow::poll_splice`]).

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use byway_dial::{Broken, Pipe, Read, Stream};

use crate::buffer::{Growth, Size};
use crate::counters::RelayCounters;
use crate::ring::{PIECES_A_WRITE, Ring, WORTH_A_READ_BYTES};
use crate::shape::{Rate, StreamShaper};
use crate::spill::{Spill, SpillError, SpillOptions};
use crate::splice::Splice;

/// The most that one call of [`Outflow::poll_drain`] moves, so that one flow does not occupy its
/// thread for long.
const WORK_BYTES: u64 = 1024 * 1024;

/// The result of [`Outflow::poll_drain`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// All bytes so far have left and are flushed.
    Empty,
    /// All bytes and the FIN have left.
    Finished,
}

/// Why no more can be written.
#[derive(Debug, thiserror::Error)]
pub enum DrainError {
    /// The sink broke.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// Spilled bytes were lost.
    #[error(transparent)]
    Spill(#[from] SpillError),
}

/// Bytes on their way to a stream: queued by [`Outflow::push`], written by
/// [`Outflow::poll_drain`] as fast as the stream and the rate accept them, and followed by the FIN.
///
/// A *direct* outflow holds one buffer of 8 to 256 KiB and then takes no more. A *spilling* one
/// holds a ring in memory, then a file, and then takes no more. Neither holds memory while it is
/// empty. What is queued when it is dropped is lost, and counted as wasted.
pub struct Outflow {
    kind: OutflowKind,
    /// Replaces the buffer while a flow is large.
    splice: Option<Splice>,
    growth: Growth,
    shaper: Option<Box<StreamShaper>>,
    counters: Option<Arc<RelayCounters>>,
    delivered: u64,
    /// The length of the last [`Outflow::space`].
    offered: usize,
    ended: bool,
    finished: bool,
    unflushed: bool,
}

enum OutflowKind {
    Direct(Ring),
    Spilling(Box<Spill>),
}

impl Outflow {
    /// One buffer, then back-pressure. `counters` count bytes that are lost.
    pub fn direct(counters: Option<Arc<RelayCounters>>) -> Self {
        Self::new(OutflowKind::Direct(Ring::default()), counters)
    }

    /// A ring in memory, then a file, then back-pressure. `counters` are updated.
    pub fn spilling(options: SpillOptions, counters: Option<Arc<RelayCounters>>) -> Self {
        let spill = Box::new(Spill::new(options, counters.clone()));
        Self::new(OutflowKind::Spilling(spill), counters)
    }

    /// Limits the rate at which bytes leave. After a pause, at most 64 KiB, or 50 ms at the full
    /// rate if that is more, leave at once.
    #[must_use]
    pub fn shaped(mut self, rate: Arc<Rate>) -> Self {
        self.shaper = Some(Box::new(StreamShaper::new(rate)));
        self
    }

    fn new(kind: OutflowKind, counters: Option<Arc<RelayCounters>>) -> Self {
        Self {
            kind,
            splice: None,
            growth: Growth::new(),
            shaper: None,
            counters,
            delivered: 0,
            offered: 0,
            ended: false,
            finished: false,
            unflushed: false,
        }
    }

    /// Ready while there is room for more bytes. If pending, [`Outflow::poll_drain`] must be polled
    /// too: only bytes that leave make room. Cancel safe.
    ///
    /// # Errors
    /// When spilled bytes were lost.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SpillError>> {
        if let OutflowKind::Spilling(spill) = &mut self.kind {
            spill.poll_work(cx)?;
        }
        if self.has_room() {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }

    /// Whether there is room for more bytes.
    pub(crate) fn has_room(&self) -> bool {
        match &self.kind {
            OutflowKind::Direct(_) if self.spliced_bytes() > 0 => false,
            OutflowKind::Direct(ring) => ring.is_empty() || ring.tail_room() >= WORTH_A_READ_BYTES,
            OutflowKind::Spilling(spill) => spill.room() > 0,
        }
    }

    /// Room to read into; empty if there is none. After the read, call [`Outflow::advance`] with
    /// the number of bytes, or [`Outflow::release`] if there were none.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        let size = self.growth.size();
        let space = match &mut self.kind {
            OutflowKind::Direct(ring) => {
                // There is only one buffer: what it still holds leaves first.
                let room = if ring.is_empty() {
                    size.bytes()
                } else {
                    ring.tail_room()
                };
                ring.space(size, room)
            }
            OutflowKind::Spilling(spill) => spill.space(size),
        };
        self.offered = space.len();
        space
    }

    /// The first `n` bytes of the last [`Outflow::space`] have been read.
    pub(crate) fn advance(&mut self, n: usize) {
        self.growth.record(n, self.offered);
        self.accept(n);
    }

    /// Nothing was read into the last [`Outflow::space`]: returns its memory if it holds nothing
    /// else.
    pub(crate) fn release(&mut self) {
        match &mut self.kind {
            OutflowKind::Direct(ring) => ring.release_unused(),
            OutflowKind::Spilling(spill) => spill.release_unused(),
        }
    }

    /// Reads from `source` into a kernel pipe, whose bytes leave next; the sink must be plain TCP
    /// too. `None` if the flow is too small for that, something else is queued, or there is no
    /// pipe: then read into [`Outflow::space`].
    pub(crate) fn poll_splice(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Stream,
    ) -> Option<Poll<Result<Read, Broken>>> {
        let fits =
            matches!(self.kind, OutflowKind::Direct(_)) && self.shaper.is_none() && self.is_empty();
        if !fits || self.growth.size() == Size::Small || source.as_tcp().is_none() {
            self.splice = self.splice.take().filter(|splice| !splice.is_empty());
            return None;
        }
        let splice = match &mut self.splice {
            Some(splice) => splice,
            none => none.insert(Splice::take()?),
        };
        let read = splice.poll_fill(cx, source, usize::MAX);
        match &read {
            Poll::Ready(Ok(Read::Data(n))) => self.growth.record(*n, Size::Medium.bytes()),
            // An idle flow holds no pipe.
            _ => self.splice = None,
        }
        Some(read)
    }

    fn spliced_bytes(&self) -> usize {
        self.splice.as_ref().map_or(0, Splice::held)
    }

    /// Copies as many of `bytes` in as fit, and returns the number. None fit after
    /// [`Outflow::poll_ready`] was pending.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        let mut left = bytes;
        while !left.is_empty() {
            let space = self.space();
            let n = space.len().min(left.len());
            let (part, rest) = left.split_at(n);
            if let Some(space) = space.get_mut(..n) {
                space.copy_from_slice(part);
            }
            if n == 0 {
                break;
            }
            self.accept(n);
            left = rest;
        }
        bytes.len() - left.len()
    }

    /// No more bytes will come: [`Outflow::poll_drain`] sends FIN after the queued ones.
    pub fn end(&mut self) {
        self.ended = true;
        if let OutflowKind::Spilling(spill) = &mut self.kind {
            spill.end();
        }
    }

    /// Writes the queued bytes to `sink`, flushes it, and then sends FIN if the end has come.
    /// Pending while the sink, the shaper or the disk is not ready. Cancel safe. Needs a tokio
    /// runtime with time if it spills or is shaped.
    ///
    /// # Errors
    /// When the sink broke or spilled bytes were lost. The caller must then reset the sink.
    pub fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut Stream,
    ) -> Poll<Result<Drained, DrainError>> {
        let drained = self.poll_drain_unreported(cx, sink);
        if let OutflowKind::Spilling(spill) = &mut self.kind {
            spill.report();
        }
        drained
    }

    /// Whether nothing waits to be written. Bytes may still wait to be flushed.
    pub fn is_empty(&self) -> bool {
        match &self.kind {
            OutflowKind::Direct(ring) => ring.is_empty() && self.spliced_bytes() == 0,
            OutflowKind::Spilling(spill) => spill.is_empty(),
        }
    }

    /// Whether the FIN has been sent.
    pub(crate) const fn is_finished(&self) -> bool {
        self.finished
    }

    /// Bytes queued, in memory and on disk.
    pub fn queued_bytes(&self) -> u64 {
        match &self.kind {
            OutflowKind::Direct(ring) => (ring.bytes() + self.spliced_bytes()) as u64,
            OutflowKind::Spilling(spill) => spill.queued_bytes(),
        }
    }

    /// Bytes that have left.
    pub const fn delivered_bytes(&self) -> u64 {
        self.delivered
    }

    fn poll_drain_unreported(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut Stream,
    ) -> Poll<Result<Drained, DrainError>> {
        if self.finished {
            return Poll::Ready(Ok(Drained::Finished));
        }
        ready!(self.poll_write_all(cx, sink))?;
        ready!(self.poll_flush(cx, sink))?;
        if !self.ended {
            return Poll::Ready(Ok(Drained::Empty));
        }
        ready!(sink.poll_finish(cx))?;
        self.finished = true;
        Poll::Ready(Ok(Drained::Finished))
    }

    /// Writes until nothing is left.
    fn poll_write_all(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut Stream,
    ) -> Poll<Result<(), DrainError>> {
        let enough = self.delivered + WORK_BYTES;
        loop {
            if let OutflowKind::Spilling(spill) = &mut self.kind {
                spill.poll_work(cx)?;
            }
            if self.is_empty() {
                return Poll::Ready(Ok(()));
            }
            if self.delivered >= enough {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if let Some(splice) = self.splice.as_mut().filter(|splice| !splice.is_empty()) {
                let drained = splice.poll_drain(cx, sink);
                if drained.is_pending() {
                    self.growth.held_back();
                }
                self.delivered += ready!(drained)? as u64;
                continue;
            }
            let Poll::Ready(n) = self.poll_allowance(cx) else {
                // The disk or the shaper blocks the rest; what has been written is flushed without
                // it.
                let _ = self.poll_flush(cx, sink)?;
                return Poll::Pending;
            };
            ready!(self.poll_write_some(cx, sink, n))?;
        }
    }

    /// How many bytes are ready and may leave now.
    fn poll_allowance(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        let ready = match &self.kind {
            OutflowKind::Direct(ring) => ring.bytes(),
            OutflowKind::Spilling(spill) => spill.ready_bytes(),
        };
        match &mut self.shaper {
            _ if ready == 0 => Poll::Pending,
            None => Poll::Ready(ready),
            Some(shaper) => shaper.poll_take(cx, ready),
        }
    }

    /// Writes at most `allowed` bytes once.
    fn poll_write_some(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut Stream,
        allowed: usize,
    ) -> Poll<Result<(), Broken>> {
        let mut slices = [IoSlice::new(&[]); PIECES_A_WRITE];
        let used = match &self.kind {
            OutflowKind::Direct(ring) => ring.slices(allowed, &mut slices),
            OutflowKind::Spilling(spill) => spill.slices(allowed, &mut slices),
        };
        let written = sink.poll_write(cx, slices.get(..used).unwrap_or_default());
        let n = if let Poll::Ready(Ok(n)) = &written {
            *n
        } else {
            0
        };
        if let Some(shaper) = &mut self.shaper {
            shaper.give_back(allowed - n);
        }
        match written {
            Poll::Pending => {
                self.held_back();
                Poll::Pending
            }
            Poll::Ready(Ok(0)) => Poll::Ready(Err(Broken::Io(io::ErrorKind::WriteZero.into()))),
            Poll::Ready(Ok(n)) => {
                self.record_written(n);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(broken)) => Poll::Ready(Err(broken)),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>, sink: &mut Stream) -> Poll<Result<(), Broken>> {
        if self.unflushed {
            ready!(sink.poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn accept(&mut self, n: usize) {
        match &mut self.kind {
            OutflowKind::Direct(ring) => ring.advance(n),
            OutflowKind::Spilling(spill) => spill.advance(n),
        }
    }

    fn record_written(&mut self, n: usize) {
        match &mut self.kind {
            OutflowKind::Direct(ring) => ring.consume(n),
            OutflowKind::Spilling(spill) => spill.consume(n),
        }
        self.delivered += n as u64;
        self.unflushed = true;
    }

    fn held_back(&mut self) {
        self.growth.held_back();
        if let OutflowKind::Spilling(spill) = &mut self.kind {
            spill.held_back();
        }
    }
}

impl Drop for Outflow {
    fn drop(&mut self) {
        let wasted = self.queued_bytes();
        if let Some(counters) = self.counters.as_ref().filter(|_| wasted > 0) {
            counters.waste(wasted);
        }
    }
}
