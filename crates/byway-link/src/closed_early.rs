//! Closed early: how many QUIC connections of an endpoint may remain although their peers closed
//! them with the first packet.
//!
//! In:    connections that a peer closed before the handshake was done, the time.
//! Out:   their number, for the limits of the endpoint.
//!
//! quinn keeps such a connection until its idle timeout, because it sets no close timer for a first
//! packet. A dialler that gives up attempts while this node restarts sends such packets; a sender
//! of forged packets can, too.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::quic::IDLE_TIMEOUT_MS;

/// The most of an endpoint at once. Beyond that, handshakes are refused, and links use TLS.
pub(crate) const CLOSED_EARLY: usize = 2048;

/// When the connections were closed that may remain, the oldest first.
#[derive(Default)]
pub(crate) struct ClosedEarly(Mutex<VecDeque<Instant>>);

impl ClosedEarly {
    /// Records one.
    pub(crate) fn add(&self, now: Instant) {
        self.0.lock().push_back(now);
    }

    /// How many may remain.
    pub(crate) fn remaining(&self, now: Instant) -> usize {
        let kept = Duration::from_millis(IDLE_TIMEOUT_MS.into());
        let mut closed = self.0.lock();
        while closed.front().is_some_and(|at| *at + kept <= now) {
            closed.pop_front();
        }
        closed.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_was_closed_early_counts_until_its_idle_timeout() {
        let (closed, start) = (ClosedEarly::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        closed.add(start);
        closed.add(after(10));
        let remaining = [0, 39, 40, 49, 50].map(|seconds| closed.remaining(after(seconds)));
        assert_eq!(remaining, [2, 2, 1, 1, 0]);
    }
}
