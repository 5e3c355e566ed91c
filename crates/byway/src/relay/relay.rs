//! The relay itself: two directions driven in one task, and the rules of how they end.
//!
//! In:    two open streams and what a handshake had already read of them.
//! Out:   one [`End`]; both streams are closed or reset by then.
//! Never: ends a direction because the other one has, keeps a side alive after the other was reset, or closes a side in
//!        order when it was dropped before its end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use byway_dial::{Broken, Pipe, Stream};
use tokio::time::{Instant, Sleep};

use super::counters::Active;
use super::direction::{Direction, Fault, Rest};
use super::end::{Bytes, End, EndKind, Phase, Side};
use super::options::{Early, RelayOptions};
use super::outflow::Outflow;
use super::shape::{Rate, StreamShaper};
use crate::observe::repeats::Repeats;

/// Streams that were reset for a failed disk.
static RESETS: Repeats = Repeats::new();

/// What one direction reads in one turn at most, so that a bulk flow leaves the worker to the others now and then.
const SHARE_BYTES: usize = 512 * 1024;

/// Relays between two open streams until both directions have ended. See [`Relay`].
pub fn relay(downstream: Stream, upstream: Stream, options: &RelayOptions, early: Early) -> Relay {
    let counters = options.counters.as_ref();
    let up = shape(Outflow::direct(counters.cloned()), options.limit_up.as_ref());
    let down = match &options.spill {
        Some(spill) => Outflow::spilling(spill.clone(), counters.cloned()),
        None => Outflow::direct(counters.cloned()),
    };
    Relay {
        downstream: Some(downstream),
        upstream: Some(upstream),
        up: Direction::new(early.from_downstream, up),
        down: Direction::new(early.from_upstream, shape(down, options.limit_down.as_ref())),
        first_fin: None,
        reset_code: 0,
        idle: Idle::new(options.half_closed_idle, options.idle),
        active: counters.map(|counters| Active::new(Arc::clone(counters))),
        counted: Bytes::default(),
    }
}

/// A relay under way.
///
/// - A FIN is forwarded behind all data, and only the FIN: the other direction goes on. A flow that is half closed ends
///   after a time without bytes.
/// - A reset, an error or the loss of the session of one side resets the other at once, even while that direction is
///   held back by a full peer or already finished.
/// - A side that both directions are done with is closed at once, even while spilled bytes still leave for the other.
/// - Dropped before its end it resets both sides, whatever was finished by then.
#[must_use = "a relay moves nothing until it is awaited"]
pub struct Relay {
    downstream: Option<Stream>,
    upstream: Option<Stream>,
    up: Direction,
    down: Direction,
    first_fin: Option<Side>,
    /// What a side was reset with, for the other side.
    reset_code: u32,
    idle: Idle,
    active: Option<Active>,
    /// The delivered bytes that the counters know of.
    counted: Bytes,
}

impl Future for Relay {
    type Output = End;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<End> {
        let this = self.get_mut();
        let end = this.turn(cx);
        this.count();
        match end {
            None => Poll::Pending,
            Some(end) => {
                this.part(end.is_clean());
                Poll::Ready(end)
            }
        }
    }
}

impl Relay {
    /// Bytes delivered so far.
    pub const fn bytes(&self) -> Bytes {
        Bytes { up: self.up.delivered_bytes(), down: self.down.delivered_bytes() }
    }

    /// One turn: moves what can be moved, looks at sides that nobody reads, and closes what is done.
    fn turn(&mut self, cx: &mut Context<'_>) -> Option<End> {
        let (up, down) = match self.pump(cx) {
            Ok(rests) => rests,
            Err(end) => return Some(end),
        };
        if up == Rest::Finished && down == Rest::Finished {
            return Some(self.end(self.first_fin.unwrap_or(Side::Us), EndKind::Fin));
        }
        self.close_what_is_done();
        if let Some(end) = self.watch(cx, up, down) {
            return Some(end);
        }
        if up == Rest::Yielded || down == Rest::Yielded {
            cx.waker().wake_by_ref();
        }
        self.poll_idle(cx)
    }

    fn pump(&mut self, cx: &mut Context<'_>) -> Result<(Rest, Rest), End> {
        let (downstream, upstream) = (&mut self.downstream, &mut self.upstream);
        let up = self.up.pump(cx, downstream.as_mut(), upstream.as_mut(), SHARE_BYTES);
        let up = up.map_err(|fault| self.broken(Side::Downstream, Side::Upstream, &fault))?;
        self.note_fin(self.up.source_ended(), Side::Downstream);

        let (downstream, upstream) = (&mut self.downstream, &mut self.upstream);
        let down = self.down.pump(cx, upstream.as_mut(), downstream.as_mut(), SHARE_BYTES);
        let down = down.map_err(|fault| self.broken(Side::Upstream, Side::Downstream, &fault))?;
        self.note_fin(self.down.source_ended(), Side::Upstream);
        Ok((up, down))
    }

    fn note_fin(&mut self, has_ended: bool, side: Side) {
        if has_ended {
            self.first_fin.get_or_insert(side);
        }
    }

    /// Closes a side that has said FIN and been told FIN. What is queued for the other side needs it no more.
    fn close_what_is_done(&mut self) {
        if self.up.is_finished() && self.down.source_ended() {
            self.upstream = None;
        }
        if self.down.is_finished() && self.up.source_ended() {
            self.downstream = None;
        }
    }

    /// Looks for a reset or a lost session on each side that no direction reads at the moment.
    fn watch(&mut self, cx: &mut Context<'_>, up: Rest, down: Rest) -> Option<End> {
        let sides = [(Side::Downstream, up, &mut self.downstream), (Side::Upstream, down, &mut self.upstream)];
        let (side, broken) = sides.into_iter().find_map(|(side, rest, stream)| {
            let is_read = matches!(rest, Rest::Reading | Rest::Yielded);
            let unread = stream.as_mut().filter(|_| !is_read)?;
            match unread.poll_broken(cx) {
                Poll::Ready(broken) => Some((side, broken)),
                Poll::Pending => None,
            }
        })?;
        Some(self.broken_by(side, &broken))
    }

    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Option<End> {
        let is_half_closed = self.up.is_finished() != self.down.is_finished();
        let limit = self.idle.limit(is_half_closed)?;
        let moved = self.up.moved_bytes() + self.down.moved_bytes();
        self.idle.poll(cx, (moved, is_half_closed), limit).is_ready().then(|| self.end(Side::Us, EndKind::Idle))
    }

    fn broken(&mut self, source: Side, sink: Side, fault: &Fault) -> End {
        match fault {
            Fault::Source(broken) => self.broken_by(source, broken),
            Fault::Sink(broken) => self.broken_by(sink, broken),
            Fault::Spill(error) => {
                if let Some(line) = RESETS.count() {
                    tracing::error!(%error, left_out = line.left_out, "a relayed stream had to be reset");
                }
                self.end(Side::Us, EndKind::Error)
            }
        }
    }

    /// The code that a side was reset with is the code that the other one will be reset with.
    fn broken_by(&mut self, side: Side, broken: &Broken) -> End {
        if let Broken::Reset(code) = broken {
            self.reset_code = *code;
        }
        tracing::debug!(%side, %broken, "a relayed stream broke");
        End::broken(side, broken, Phase::Relay, self.bytes())
    }

    const fn end(&self, who: Side, kind: EndKind) -> End {
        End { who, kind, phase: Phase::Relay, bytes: self.bytes() }
    }

    /// Gives both sides up: in order, or by a reset.
    fn part(&mut self, in_order: bool) {
        for mut stream in [self.downstream.take(), self.upstream.take()].into_iter().flatten() {
            if !in_order {
                stream.reset(self.reset_code);
            }
        }
    }

    fn count(&mut self) {
        let now = self.bytes();
        if let Some(active) = self.active.as_ref().filter(|_| now != self.counted) {
            active.counters().delivered(now.up - self.counted.up, now.down - self.counted.down);
            self.counted = now;
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.part(false);
    }
}

/// The time without bytes after which a flow is given up. Its timer exists only while it is needed.
struct Idle {
    half_closed: Duration,
    open: Option<Duration>,
    timer: Option<Pin<Box<Sleep>>>,
    since: Option<Instant>,
    /// What the flow was at `since`: the bytes that had moved, and whether it was half closed.
    seen: (u64, bool),
}

impl Idle {
    const fn new(half_closed: Duration, open: Option<Duration>) -> Self {
        Self { half_closed, open, timer: None, since: None, seen: (0, false) }
    }

    /// The limit that holds now; none while an open flow may be silent.
    fn limit(&self, is_half_closed: bool) -> Option<Duration> {
        match (is_half_closed, self.open) {
            (true, Some(open)) => Some(open.min(self.half_closed)),
            (true, None) => Some(self.half_closed),
            (false, open) => open,
        }
    }

    /// Ready once neither a byte nor a FIN has moved for `limit`.
    fn poll(&mut self, cx: &mut Context<'_>, seen: (u64, bool), limit: Duration) -> Poll<()> {
        let since = match self.since {
            Some(since) if seen == self.seen => since,
            _ => Instant::now(),
        };
        (self.since, self.seen) = (Some(since), seen);
        let deadline = since + limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        loop {
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            // The timer is not moved with every byte; when it rings, it is set to what the last byte asks for.
            if timer.deadline() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
    }
}

fn shape(outflow: Outflow, rate: Option<&Arc<Rate>>) -> Outflow {
    match rate {
        Some(rate) => outflow.shaped(StreamShaper::new(Arc::clone(rate))),
        None => outflow,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_stays_below_a_kibibyte() {
        assert!(size_of::<Relay>() < 1024, "{} bytes", size_of::<Relay>());
    }
}
