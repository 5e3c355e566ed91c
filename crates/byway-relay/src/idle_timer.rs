//! Idle timer: ends a flow after a time without bytes.
//!
//! Never: exists as a timer while no limit applies, and is not reset for each byte.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// The limits of a flow without bytes, and the timer that is armed while one applies.
pub(crate) struct IdleTimer {
    half_closed: Duration,
    open: Option<Duration>,
    timer: Option<Pin<Box<Sleep>>>,
    since: Option<Instant>,
    /// The state at `since`: the bytes that had moved, and whether the flow was half-closed.
    seen: (u64, bool),
}

impl IdleTimer {
    /// Limits for a half-closed flow and, if there is one, for any flow.
    pub(crate) const fn new(half_closed: Duration, open: Option<Duration>) -> Self {
        Self {
            half_closed,
            open,
            timer: None,
            since: None,
            seen: (0, false),
        }
    }

    /// The limit that applies now; none if an open flow has no limit.
    pub(crate) fn limit(&self, is_half_closed: bool) -> Option<Duration> {
        match (is_half_closed, self.open) {
            (true, Some(open)) => Some(open.min(self.half_closed)),
            (true, None) => Some(self.half_closed),
            (false, open) => open,
        }
    }

    /// Whether only half-closed flows have a limit.
    pub(crate) const fn is_for_half_closed_flows_only(&self) -> bool {
        self.open.is_none()
    }

    /// Starts the time again.
    pub(crate) const fn restart(&mut self) {
        self.since = None;
    }

    /// Ready once neither a byte nor a FIN has moved for `limit`.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        seen: (u64, bool),
        limit: Duration,
    ) -> Poll<()> {
        let since = match self.since {
            Some(since) if seen == self.seen => since,
            _ => Instant::now(),
        };
        (self.since, self.seen) = (Some(since), seen);
        let deadline = since + limit;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        loop {
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            // The timer is not reset for every byte. When it fires, it is set to the deadline that
            // the last byte implies.
            if timer.deadline() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
    }
}
