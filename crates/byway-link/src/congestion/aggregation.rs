//! Aggregation: how many more bytes are acknowledged at once than the rate of the path explains.
//!
//! Receivers delay acknowledgements and radio links deliver them in bursts. A window without room
//! for such a burst stalls until the next one.

use std::time::Instant;

use super::arithmetic::bytes_in;

/// The largest burst of the last one to two spans of this many rounds counts.
const SPAN_ROUNDS: u64 = 5;

/// How many bytes are acknowledged at once beyond what the rate of the path explains: the largest
/// such burst of the last one to two spans of `SPAN_ROUNDS` rounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Aggregation {
    began: Instant,
    acked: u64,
    previous: u64,
    current: u64,
    span_began: u64,
}

impl Aggregation {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            began: now,
            acked: 0,
            previous: 0,
            current: 0,
            span_began: 0,
        }
    }

    /// Adds `acked` bytes that were acknowledged at `now`, in round `round`, on a path of `rate`
    /// bytes per second. A burst is limited to `most`.
    pub(super) fn update(&mut self, now: Instant, acked: u64, rate: u64, round: u64, most: u64) {
        if round.saturating_sub(self.span_began) >= SPAN_ROUNDS {
            (self.previous, self.current, self.span_began) = (self.current, 0, round);
        }
        let mut expected = bytes_in(rate, now.saturating_duration_since(self.began));
        if self.acked <= expected {
            (self.began, self.acked, expected) = (now, 0, 0);
        }
        self.acked = self.acked.saturating_add(acked);
        self.current = self
            .current
            .max(self.acked.saturating_sub(expected).min(most));
    }

    /// How many bytes are acknowledged at once.
    pub(super) fn bytes(&self) -> u64 {
        self.previous.max(self.current)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn bursts_of_acknowledgements_are_remembered_for_a_while() {
        let start = Instant::now();
        let mut aggregation = Aggregation::new(start);
        // 1 MB/s, acknowledged every 20 ms.
        for burst in 0..10 {
            let now = start + Duration::from_millis(20) * burst;
            aggregation.update(now, 20_000, 1_000_000, 0, 1_000_000);
        }
        assert_eq!(aggregation.bytes(), 20_000);
        for ms in 0..100 {
            let now = start + Duration::from_millis(200 + ms);
            aggregation.update(
                now,
                1000,
                1_000_000,
                5 + u64::from(ms as u32) / 10,
                1_000_000,
            );
        }
        assert!(aggregation.bytes() <= 2000, "{}", aggregation.bytes());
    }
}
