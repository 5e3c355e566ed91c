//! Direction: one half of a relay, from a source to a sink.
//!
//! In:    early bytes, then the bytes of the source, then its FIN.
//! Out:   the same to the sink, through an [`Outflow`]; and why it stopped.
//! Never: decides about the other direction.
//!
//! A direction *ends* when its source has sent FIN, has *finished* when FIN was sent to the sink,
//! and is *cut* when the sink is gone.

use std::task::{Context, Poll, ready};

use byway_dial::{Broken, Pipe, Read, Stream};

use crate::outflow::{DrainError, Drained, Outflow};
use crate::spill::SpillError;

/// What a direction waits for, or how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DirectionState {
    /// The source has no bytes now; a read waits for it.
    Reading,
    /// There is no room for more; the source is not read.
    Blocked,
    /// It has ended, but bytes or the FIN are still queued; the source is not read.
    Draining,
    /// The FIN was sent to the sink; the source is not read.
    Finished,
    /// It has used its share of this poll, and must be polled again.
    Yielded,
    /// The sink is gone; the source is not read.
    Cut,
}

/// What failed.
#[derive(Debug)]
pub(super) enum DirectionError {
    /// Where the bytes come from.
    Source(Broken),
    /// Where they go to.
    Sink(Broken),
    /// Spilled bytes were lost.
    Spill(SpillError),
}

impl From<DrainError> for DirectionError {
    fn from(error: DrainError) -> Self {
        match error {
            DrainError::Broken(broken) => Self::Sink(broken),
            DrainError::Spill(error) => Self::Spill(error),
        }
    }
}

/// The state of one direction: what was read and has not left, and how far it has come.
pub(super) struct Direction {
    /// Bytes of the source that a handshake had read.
    early: Vec<u8>,
    early_sent: usize,
    outflow: Outflow,
    source_ended: bool,
    /// Whether the FIN of the source is kept back.
    keeps_fin: bool,
    /// Whether everything that was queued has left.
    is_drained: bool,
    read_bytes: u64,
    /// Set once the sink is gone.
    cut: Option<Cut>,
}

/// What is known of a direction that was cut.
#[derive(Clone, Copy)]
struct Cut {
    /// Bytes that had been delivered to the sink.
    delivered: u64,
    /// Whether bytes were read for the sink that never reached it.
    lost_bytes: bool,
}

/// The result of reading the source.
enum Filled {
    Bytes(usize),
    NothingYet,
    NoRoom,
    Ended,
}

impl Direction {
    pub(super) const fn new(early: Vec<u8>, outflow: Outflow) -> Self {
        Self {
            early,
            early_sent: 0,
            outflow,
            source_ended: false,
            keeps_fin: false,
            is_drained: false,
            read_bytes: 0,
            cut: None,
        }
    }

    /// Whether the source has sent FIN.
    pub(super) const fn source_ended(&self) -> bool {
        self.source_ended
    }

    /// Does not forward the FIN of the source, until [`forward_fin`](Self::forward_fin).
    pub(super) const fn keep_fin(&mut self) {
        self.keeps_fin = true;
    }

    /// Forwards a FIN that was kept back.
    pub(super) fn forward_fin(&mut self) {
        if std::mem::take(&mut self.keeps_fin) && self.source_ended {
            self.outflow.end();
        }
    }

    /// Whether all bytes have left, and only a FIN that is kept back has not.
    pub(super) const fn is_finished_but_for_fin(&self) -> bool {
        self.keeps_fin && self.source_ended && self.is_drained
    }

    /// Whether the FIN was sent to the sink, after all bytes.
    pub(super) const fn is_finished(&self) -> bool {
        self.outflow.is_finished()
    }

    /// Bytes delivered to the sink.
    pub(super) const fn delivered_bytes(&self) -> u64 {
        match &self.cut {
            Some(cut) => cut.delivered,
            None => self.outflow.delivered_bytes(),
        }
    }

    /// Bytes read plus bytes delivered: it grows if and only if something moves.
    pub(super) const fn moved_bytes(&self) -> u64 {
        self.read_bytes + self.delivered_bytes()
    }

    /// The sink is gone: drops what is queued for it, and stops reading the source.
    pub(super) fn cut(&mut self) {
        if self.is_cut() {
            return;
        }
        let lost_bytes = !self.early.is_empty() || !self.outflow.is_empty();
        self.cut = Some(Cut {
            delivered: self.outflow.delivered_bytes(),
            lost_bytes,
        });
        self.early = Vec::new();
        self.outflow = Outflow::direct(None);
    }

    /// Whether the sink is gone.
    pub(super) const fn is_cut(&self) -> bool {
        self.cut.is_some()
    }

    /// Whether the source sent bytes that did not reach the sink before it was gone.
    pub(super) fn has_lost_bytes(&self) -> bool {
        self.cut.is_some_and(|cut| cut.lost_bytes)
    }

    /// Checks whether the source of a cut direction has sent more: bytes are lost, a FIN is
    /// recorded.
    pub(super) fn poll_cut(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Stream,
    ) -> Poll<Result<(), Broken>> {
        let Some(cut) = self
            .cut
            .as_mut()
            .filter(|cut| !cut.lost_bytes && !self.source_ended)
        else {
            return Poll::Ready(Ok(()));
        };
        match ready!(source.poll_read(cx, &mut [0]))? {
            Read::Data(_) => cut.lost_bytes = true,
            Read::Fin => self.source_ended = true,
        }
        Poll::Ready(Ok(()))
    }

    /// Moves bytes until it stops, or has read `share` bytes. A missing stream is one that both
    /// directions are done with.
    pub(super) fn pump(
        &mut self,
        cx: &mut Context<'_>,
        mut source: Option<&mut Stream>,
        mut sink: Option<&mut Stream>,
        share: usize,
    ) -> Result<DirectionState, DirectionError> {
        if self.is_cut() {
            return Ok(DirectionState::Cut);
        }
        let mut left = share;
        loop {
            let is_plain = sink.as_deref().is_some_and(|sink| sink.as_tcp().is_some());
            let filled = self.fill(cx, source.as_deref_mut(), is_plain)?;
            let drained = self.drain(cx, sink.as_deref_mut())?;
            if drained == Poll::Ready(Drained::Finished) {
                return Ok(DirectionState::Finished);
            }
            match filled {
                Filled::Bytes(n) if n < left => left -= n,
                Filled::Bytes(_) => return Ok(DirectionState::Yielded),
                Filled::NothingYet => return Ok(DirectionState::Reading),
                Filled::Ended => return Ok(DirectionState::Draining),
                Filled::NoRoom if self.outflow.has_room() => {}
                Filled::NoRoom => return Ok(DirectionState::Blocked),
            }
        }
    }

    /// Takes bytes from the source, if there is room for them.
    fn fill(
        &mut self,
        cx: &mut Context<'_>,
        source: Option<&mut Stream>,
        is_plain_sink: bool,
    ) -> Result<Filled, DirectionError> {
        if self.source_ended {
            return Ok(Filled::Ended);
        }
        if self
            .outflow
            .poll_ready(cx)
            .map_err(DirectionError::Spill)?
            .is_pending()
        {
            return Ok(Filled::NoRoom);
        }
        if !self.early.is_empty() {
            return Ok(Filled::Bytes(self.fill_early()));
        }
        match source {
            Some(source) => self
                .read(cx, source, is_plain_sink)
                .map_err(DirectionError::Source),
            None => Ok(self.end()),
        }
    }

    fn fill_early(&mut self) -> usize {
        let rest = self.early.get(self.early_sent..).unwrap_or_default();
        let n = self.outflow.push(rest);
        self.early_sent += n;
        if self.early_sent >= self.early.len() {
            self.early = Vec::new();
        }
        n
    }

    /// Reads from the source once: into a kernel pipe if both streams are plain TCP and the flow is
    /// large, else into a buffer.
    fn read(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Stream,
        is_plain_sink: bool,
    ) -> Result<Filled, Broken> {
        if is_plain_sink && let Some(spliced) = self.outflow.poll_splice(cx, source) {
            return self.filled(spliced);
        }
        let read = source.poll_read(cx, self.outflow.space());
        match read {
            Poll::Ready(Ok(Read::Data(n))) => self.outflow.advance(n),
            _ => self.outflow.release(),
        }
        self.filled(read)
    }

    fn filled(&mut self, read: Poll<Result<Read, Broken>>) -> Result<Filled, Broken> {
        match read {
            Poll::Pending => Ok(Filled::NothingYet),
            Poll::Ready(Err(broken)) => Err(broken),
            Poll::Ready(Ok(Read::Fin)) => Ok(self.end()),
            Poll::Ready(Ok(Read::Data(n))) => {
                self.read_bytes += n as u64;
                Ok(Filled::Bytes(n))
            }
        }
    }

    fn end(&mut self) -> Filled {
        self.source_ended = true;
        if !self.keeps_fin {
            self.outflow.end();
        }
        Filled::Ended
    }

    /// Writes what is queued to the sink.
    fn drain(
        &mut self,
        cx: &mut Context<'_>,
        sink: Option<&mut Stream>,
    ) -> Result<Poll<Drained>, DirectionError> {
        let drained = match sink {
            Some(sink) => self.outflow.poll_drain(cx, sink)?,
            // The sink is `None` only once this direction has finished.
            None => Poll::Ready(Drained::Finished),
        };
        self.is_drained = drained.is_ready();
        Ok(drained)
    }
}
