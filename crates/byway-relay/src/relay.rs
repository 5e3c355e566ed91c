//! Relay: drives both directions of a pair of streams, and decides how they end.
//!
//! Out:   one [`End`]; when it is returned, both streams are closed or reset.
//! Never: ends a direction because the other one has ended, keeps one stream open after the other
//!        was reset in the middle of its data, or sends a FIN when it is dropped before its end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use byway_dial::{Broken, Pipe, Stream};
use tokio::time::{Instant, Sleep};

use crate::counters::Active;
use crate::direction::{Direction, DirectionError, DirectionState};
use crate::end::{End, EndKind, RelayError, RelayedBytes, Side};
use crate::idle_timer::IdleTimer;
use crate::options::{Early, RelayOptions};
use crate::outflow::Outflow;
use crate::shape::Rate;

/// The most that one direction reads in one poll, so that a bulk flow yields to other tasks.
const SHARE_BYTES: usize = 512 * 1024;

/// How often to check whether a stream has acknowledged everything, which no event reports.
const CHECK_EVERY: Duration = Duration::from_millis(500);

/// The same during an ordered end: the upstream is near, and a descriptor waits for it.
const CHECK_ORDERED_END_EVERY: Duration = Duration::from_millis(50);

/// Relays between two open streams until both directions have ended: bytes of `early` first, then
/// what the streams send. *Up* is the direction from the downstream to the upstream.
///
/// The result must be awaited or polled on a tokio runtime with time. See [`Relay`] for what it
/// does, and for what a drop means.
pub fn relay(downstream: Stream, upstream: Stream, options: &RelayOptions, early: Early) -> Relay {
    let counters = options.counters.as_ref();
    let up = shape(
        Outflow::direct(counters.cloned()),
        options.limit_up.as_ref(),
    );
    let down = match &options.spill {
        Some(spill) => Outflow::spilling(spill.clone(), counters.cloned()),
        None => Outflow::direct(counters.cloned()),
    };
    let mut up = Direction::new(early.from_downstream, up);
    if options.ordered_end.is_some() {
        up.keep_fin();
    }
    Relay {
        downstream: Some(downstream),
        upstream: Some(upstream),
        up,
        down: Direction::new(
            early.from_upstream,
            shape(down, options.limit_down.as_ref()),
        ),
        first_fin: None,
        broken_side: None,
        check_timer: None,
        error: None,
        ordered_end: options.ordered_end,
        ends_at: None,
        idle: IdleTimer::new(options.half_closed_idle, options.idle),
        active: counters.map(|counters| Active::new(Arc::clone(counters))),
        counted: RelayedBytes::default(),
    }
}

/// A running relay: a future of its [`End`]. It moves bytes only while it is polled.
///
/// - A FIN is forwarded after all data. The other direction continues. A half-closed flow ends
///   after a time without bytes ([`RelayOptions::half_closed_idle`]).
/// - If one stream is reset, fails or loses its session, the other is reset at once, even while
///   that direction is blocked by a full peer.
/// - Exception: if that stream had sent its FIN before, only the direction towards it ends. All
///   that it sent is still delivered, with its FIN. After that, a downstream whose upstream is gone
///   may finish, and is reset if it sends more; an upstream whose downstream is gone is reset. No
///   stream is reset before it has acknowledged everything.
/// - The FIN of a downstream may end the flow ([`RelayOptions::ordered_end`]).
/// - A stream is closed as soon as both directions are done with it, even while spilled bytes are
///   still being sent to the other.
/// - If dropped before its end, it resets both streams, whatever had finished. Dropping it is the
///   only way to cancel it.
#[must_use = "a relay moves nothing until it is awaited"]
pub struct Relay {
    downstream: Option<Stream>,
    upstream: Option<Stream>,
    up: Direction,
    down: Direction,
    first_fin: Option<Side>,
    /// The side that broke after its FIN, and how.
    broken_side: Option<(Side, EndKind)>,
    /// The last failure. If it was a reset, the other side is reset with the same code.
    error: Option<RelayError>,
    /// Armed while a side is to be reset once it has acknowledged everything.
    check_timer: Option<Pin<Box<Sleep>>>,
    /// See [`RelayOptions::ordered_end`].
    ordered_end: Option<Duration>,
    /// When a flow whose downstream has sent its FIN ends, whatever was acknowledged.
    ends_at: Option<Instant>,
    idle: IdleTimer,
    active: Option<Active>,
    /// The delivered bytes that were added to the counters.
    counted: RelayedBytes,
}

impl Future for Relay {
    type Output = End;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<End> {
        let this = self.get_mut();
        let end = this.poll_round(cx);
        // Behind the FIN of an ordered end it does not matter how its streams end.
        let end = match end {
            Some(end) if this.ordered_end.is_some() && this.up.source_ended() => Some(End {
                who: Side::Downstream,
                kind: EndKind::Fin,
                error: None,
                ..end
            }),
            end => end,
        };
        this.count();
        match end {
            None => Poll::Pending,
            Some(end) => {
                if !end.is_clean() {
                    this.reset_streams(end.error.as_ref());
                }
                (this.downstream, this.upstream) = (None, None);
                Poll::Ready(end)
            }
        }
    }
}

impl Relay {
    /// Bytes delivered so far. For a caller that polls the relay by reference.
    pub const fn bytes(&self) -> RelayedBytes {
        RelayedBytes {
            up: self.up.delivered_bytes(),
            down: self.down.delivered_bytes(),
        }
    }

    /// One poll: moves what can be moved, checks the sides that no direction reads, and closes what
    /// is done.
    fn poll_round(&mut self, cx: &mut Context<'_>) -> Option<End> {
        let (up, down) = match self.pump(cx) {
            Ok(states) => states,
            Err(end) => return Some(end),
        };
        if up == DirectionState::Finished && down == DirectionState::Finished {
            return Some(self.end(self.first_fin.unwrap_or(Side::Us), EndKind::Fin));
        }
        self.close_what_is_done();
        if self.poll_ordered_end(cx).is_ready() {
            return Some(self.end(Side::Downstream, EndKind::Fin));
        }
        let end = self
            .poll_unread_sides(cx, up, down)
            .or_else(|| self.poll_remaining_side(cx));
        if end.is_some() {
            return end;
        }
        if up == DirectionState::Yielded || down == DirectionState::Yielded {
            cx.waker().wake_by_ref();
        }
        self.poll_idle(cx)
    }

    fn pump(&mut self, cx: &mut Context<'_>) -> Result<(DirectionState, DirectionState), End> {
        let (downstream, upstream) = (&mut self.downstream, &mut self.upstream);
        let up = match self
            .up
            .pump(cx, downstream.as_mut(), upstream.as_mut(), SHARE_BYTES)
        {
            Ok(state) => state,
            Err(error) => self.failed(Side::Downstream, Side::Upstream, error)?,
        };
        self.note_fin(self.up.source_ended(), Side::Downstream);

        let (downstream, upstream) = (&mut self.downstream, &mut self.upstream);
        let down = match self
            .down
            .pump(cx, upstream.as_mut(), downstream.as_mut(), SHARE_BYTES)
        {
            Ok(state) => state,
            Err(error) => self.failed(Side::Upstream, Side::Downstream, error)?,
        };
        self.note_fin(self.down.source_ended(), Side::Upstream);
        Ok((up, down))
    }

    fn note_fin(&mut self, has_ended: bool, side: Side) {
        if has_ended {
            self.first_fin.get_or_insert(side);
        }
    }

    /// Closes a stream that has sent and received FIN, or is gone. Bytes still queued for the peer
    /// do not need it.
    fn close_what_is_done(&mut self) {
        if (self.up.is_finished() || self.up.is_cut()) && self.down.source_ended() {
            self.upstream = None;
        }
        if (self.down.is_finished() || self.down.is_cut()) && self.up.source_ended() {
            self.downstream = None;
        }
    }

    /// Checks each side that no direction reads now for a reset or a lost session.
    fn poll_unread_sides(
        &mut self,
        cx: &mut Context<'_>,
        up: DirectionState,
        down: DirectionState,
    ) -> Option<End> {
        for (side, state) in [(Side::Downstream, up), (Side::Upstream, down)] {
            let is_broken = self.broken_side.is_some_and(|(broken, _)| broken == side);
            if is_broken || matches!(state, DirectionState::Reading | DirectionState::Yielded) {
                continue;
            }
            let stream = match side {
                Side::Downstream => &mut self.downstream,
                _ => &mut self.upstream,
            };
            let Some(Poll::Ready(broken)) = stream.as_mut().map(|stream| stream.poll_broken(cx))
            else {
                continue;
            };
            if !self.has_sent_all(side) {
                return Some(self.end_broken(side, broken));
            }
            self.mark_broken(side, broken);
            self.close_what_is_done();
        }
        None
    }

    /// Whether everything that `side` sent, its FIN included, has been read or can still be read.
    fn has_sent_all(&self, side: Side) -> bool {
        let (from, stream) = match side {
            Side::Downstream => (&self.up, &self.downstream),
            _ => (&self.down, &self.upstream),
        };
        let has_sent_all =
            from.source_ended() || stream.as_ref().is_some_and(Pipe::is_still_readable);
        has_sent_all && !from.is_cut()
    }

    /// `side` broke after its FIN: no more is sent to it, but what it sent is still delivered.
    fn mark_broken(&mut self, side: Side, broken: Broken) {
        let kind = kind_of(&broken);
        self.broken_side.get_or_insert((side, kind));
        self.error = Some(RelayError::Broken(side, broken));
        match side {
            Side::Downstream => self.down.cut(),
            _ => self.up.cut(),
        }
    }

    /// After a side broke behind its FIN: decides how the remaining side ends, once everything that
    /// the broken one sent has been delivered to it.
    fn poll_remaining_side(&mut self, cx: &mut Context<'_>) -> Option<End> {
        let (broken_side, kind) = self.broken_side?;
        let (remaining_side, remaining, delivering, cut) = match broken_side {
            Side::Downstream => (Side::Upstream, &mut self.upstream, &self.up, &mut self.down),
            _ => (
                Side::Downstream,
                &mut self.downstream,
                &self.down,
                &mut self.up,
            ),
        };
        if !delivering.is_finished() {
            return None;
        }
        let Some(remaining) = remaining else {
            return Some(self.end(broken_side, kind));
        };
        if let Poll::Ready(Err(broken)) = cut.poll_cut(cx, remaining) {
            return Some(self.end_broken(remaining_side, broken));
        }
        if cut.source_ended() && !cut.has_lost_bytes() {
            return Some(self.end(self.first_fin.unwrap_or(broken_side), EndKind::Fin));
        }
        if remaining_side == Side::Downstream && !cut.has_lost_bytes() {
            return None; // It may still finish.
        }
        match remaining.is_acknowledged() {
            Some(true) => Some(self.end(broken_side, kind)),
            Some(false) => {
                self.poll_check_timer(cx, CHECK_EVERY);
                None
            }
            // A stream of a link does not report it. An upstream is then reset at once, because its
            // response has no reader.
            None => (remaining_side == Side::Upstream).then(|| self.end(broken_side, kind)),
        }
    }

    /// After the FIN of a downstream that ends the flow: ready once the upstream has acknowledged
    /// everything before it, or has had the time to.
    fn poll_ordered_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(within) = self.ordered_end.filter(|_| self.up.source_ended()) else {
            return Poll::Pending;
        };
        let ends_at = *self.ends_at.get_or_insert_with(|| Instant::now() + within);
        if self.up.is_finished_but_for_fin() {
            let Some(upstream) = &self.upstream else {
                return Poll::Ready(());
            };
            match upstream.is_acknowledged() {
                Some(true) => return Poll::Ready(()),
                Some(false) => {}
                None => {
                    self.ordered_end = None;
                    self.up.forward_fin();
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
        if Instant::now() >= ends_at {
            return Poll::Ready(());
        }
        self.poll_check_timer(cx, CHECK_ORDERED_END_EVERY);
        Poll::Pending
    }

    /// Polls the relay again after some time.
    fn poll_check_timer(&mut self, cx: &mut Context<'_>, every: Duration) {
        let timer = self
            .check_timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(every)));
        while timer.as_mut().poll(cx).is_ready() {
            timer.as_mut().reset(Instant::now() + every);
        }
    }

    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Option<End> {
        let is_half_closed = match self.broken_side {
            None => self.up.is_finished() != self.down.is_finished(),
            Some((Side::Downstream, _)) => true,
            Some(_) => self.down.is_finished(),
        };
        let limit = self.idle.limit(is_half_closed)?;
        let seen = (
            self.up.moved_bytes() + self.down.moved_bytes(),
            is_half_closed,
        );
        if self.idle.poll(cx, seen, limit).is_pending() {
            return None;
        }
        if is_half_closed && self.idle.is_for_half_closed_flows_only() && self.waits_for_a_reader()
        {
            self.idle.restart();
            let _ = self.idle.poll(cx, seen, limit);
            return None;
        }
        Some(self.end(Side::Us, EndKind::Idle))
    }

    /// Whether a FIN that was sent is still in the kernel, after bytes that the downstream has not
    /// acknowledged.
    fn waits_for_a_reader(&self) -> bool {
        let downstream = self.downstream.as_ref().filter(|_| self.down.is_finished());
        downstream.and_then(Pipe::is_acknowledged) == Some(false)
    }

    /// Handles a failed direction: either only that direction ends, or the relay does.
    fn failed(
        &mut self,
        source: Side,
        sink: Side,
        error: DirectionError,
    ) -> Result<DirectionState, End> {
        match error {
            DirectionError::Sink(broken) if self.has_sent_all(sink) => {
                self.mark_broken(sink, broken);
                Ok(DirectionState::Cut)
            }
            DirectionError::Source(broken) => Err(self.end_broken(source, broken)),
            DirectionError::Sink(broken) => Err(self.end_broken(sink, broken)),
            DirectionError::Spill(error) => {
                self.error = Some(error.into());
                Err(self.end(Side::Us, EndKind::Error))
            }
        }
    }

    /// The end that a broken stream is.
    fn end_broken(&mut self, side: Side, broken: Broken) -> End {
        let kind = kind_of(&broken);
        self.error = Some(RelayError::Broken(side, broken));
        self.end(side, kind)
    }

    /// The end. A lost session is attributed to the link, whichever side it carried.
    const fn end(&mut self, side: Side, kind: EndKind) -> End {
        End {
            who: match kind {
                EndKind::SessionLost => Side::Link,
                _ => side,
            },
            kind,
            bytes: self.bytes(),
            error: self.error.take(),
        }
    }

    /// Resets both streams, with the code of the reset that ended the relay, if one did.
    fn reset_streams(&mut self, error: Option<&RelayError>) {
        let code = match error {
            Some(RelayError::Broken(_, Broken::Reset(code))) => *code,
            _ => 0,
        };
        let streams = [&mut self.downstream, &mut self.upstream];
        for stream in streams.into_iter().flatten() {
            stream.reset(code);
        }
    }

    fn count(&mut self) {
        let now = self.bytes();
        if let Some(active) = self.active.as_ref().filter(|_| now != self.counted) {
            active
                .counters()
                .delivered(now.up - self.counted.up, now.down - self.counted.down);
            self.counted = now;
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let error = self.error.take();
        self.reset_streams(error.as_ref());
    }
}

/// How a broken stream ends the relay.
const fn kind_of(broken: &Broken) -> EndKind {
    match broken {
        Broken::Reset(_) => EndKind::Reset,
        Broken::SessionLost => EndKind::SessionLost,
        Broken::Io(_) => EndKind::Error,
    }
}

fn shape(outflow: Outflow, rate: Option<&Arc<Rate>>) -> Outflow {
    match rate {
        Some(rate) => outflow.shaped(Arc::clone(rate)),
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
