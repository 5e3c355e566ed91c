//! Allowance: how many streams the peer of a QUIC carrier may have open at once: few at first, more
//! with use.
//!
//! In:    each stream whose open message was read, the number of those that are open, the time and
//!        the round trip.
//! Out:   the new limit, when it has to rise.
//! Never: lowers a limit that was announced to the peer, or raises it beyond the settings.
//!
//! QUIC keeps state for every stream that a peer may open, whether it opens it or not (RFC 9000
//! section 4.6). The limit doubles when half of it is in use. A stream whose open message was not
//! read does not count. The others count while they are open and for two more round trips: QUIC
//! frees the slot of a stream only when its end was acknowledged.

use std::time::{Duration, Instant};

/// The first limit of a QUIC carrier.
pub(crate) const FIRST_STREAMS: u32 = 128;

/// Added to two round trips: the least time for which a closed stream counts.
const SLACK: Duration = Duration::from_millis(20);

/// The number of streams that the peer of a QUIC carrier may have open at once. It starts at
/// `FIRST_STREAMS`, doubles up to the configured maximum when half of it is in use, and never
/// falls.
#[derive(Debug)]
pub(crate) struct Allowance {
    allowed: u32,
    most: u32,
    /// Streams whose open message was read since `since`, and in the period before.
    recent: [usize; 2],
    since: Instant,
}

impl Allowance {
    /// The limit at the start of a session; it never exceeds `most`.
    pub(crate) fn new(most: u32, now: Instant) -> Self {
        Self {
            allowed: FIRST_STREAMS.min(most),
            most,
            recent: [0; 2],
            since: now,
        }
    }

    /// The limit that was announced to the peer.
    pub(crate) const fn allowed(&self) -> u32 {
        self.allowed
    }

    /// Counts one more stream whose open message was read; `open` is the number of such streams
    /// that are open. Returns the new limit if it rises.
    pub(crate) fn announced(
        &mut self,
        open: usize,
        now: Instant,
        round_trip: Duration,
    ) -> Option<u32> {
        let period = round_trip * 2 + SLACK;
        let passed = now.saturating_duration_since(self.since);
        if passed >= period {
            let before = if passed < period * 2 {
                self.recent[0]
            } else {
                0
            };
            (self.recent, self.since) = ([0, before], now);
        }
        self.recent[0] += 1;
        let in_use = open + self.recent[0] + self.recent[1];
        if self.allowed >= self.most || in_use < (self.allowed / 2) as usize {
            return None;
        }
        self.allowed = self.allowed.saturating_mul(2).min(self.most);
        Some(self.allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND_TRIP: Duration = Duration::from_millis(50);

    #[test]
    fn a_burst_of_opens_raises_the_limit_before_it_is_reached_and_never_beyond_the_maximum() {
        let now = Instant::now();
        let mut allowance = Allowance::new(8192, now);
        assert_eq!(allowance.allowed(), FIRST_STREAMS);
        for open in 1..=8192 {
            assert!(
                open <= allowance.allowed() as usize,
                "the peer waits at {open}"
            );
            allowance.announced(open, now, ROUND_TRIP);
            assert!(allowance.allowed() <= 8192);
        }
        assert_eq!(allowance.allowed(), 8192);
        assert_eq!(Allowance::new(10, now).announced(10, now, ROUND_TRIP), None);
    }

    #[test]
    fn a_few_streams_at_a_time_never_raise_the_limit() {
        let mut now = Instant::now();
        let mut allowance = Allowance::new(8192, now);
        for _ in 0..10_000 {
            now += ROUND_TRIP / 10;
            assert_eq!(allowance.announced(5, now, ROUND_TRIP), None);
        }
    }

    #[test]
    fn short_streams_on_a_long_path_raise_the_limit_though_few_are_open() {
        let mut now = Instant::now();
        let mut allowance = Allowance::new(8192, now);
        // A thousand per second with a round trip of 500 ms: as many wait for the acknowledgement
        // of their end.
        for _ in 0..4000 {
            now += Duration::from_millis(1);
            allowance.announced(1, now, Duration::from_millis(500));
        }
        assert!(allowance.allowed() >= 1024, "{}", allowance.allowed());
    }
}
