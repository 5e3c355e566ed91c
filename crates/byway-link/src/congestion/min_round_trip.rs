//! Minimum round trip: the smallest round trip of the last seconds, and when it must be measured.
//!
//! In:    round trips, with the times at which they were measured.
//! Out:   the smallest one, and when one near it was seen last.

use std::time::{Duration, Instant};

use super::filter::TimedMin;

/// How long a measured round trip counts.
const WINDOW: Duration = Duration::from_secs(10);

/// A round trip that is longer than the smallest by this, or by an eighth of it, shows a queue.
pub(super) const QUEUE_MARGIN: Duration = Duration::from_millis(2);

/// The smallest round trip of the last `WINDOW`, with the state of the phase that measures it.
#[derive(Clone, Copy, Debug)]
pub(super) struct MinRoundTrip {
    recent: TimedMin,
    /// When a round trip near the smallest was seen last.
    pub(super) near_at: Instant,
    /// When the phase that measures it ends; `None` until little enough is in flight.
    pub(super) probe_until: Option<Instant>,
    /// At the start of that phase the path had a long queue and less than half of its rate, so the
    /// rate may be outdated.
    pub(super) rate_outdated: bool,
}

impl MinRoundTrip {
    pub(super) fn new(now: Instant) -> Self {
        let recent = TimedMin::new(WINDOW, now);
        Self {
            recent,
            near_at: now,
            probe_until: None,
            rate_outdated: false,
        }
    }

    /// The smallest round trip; zero before one is known.
    pub(super) fn get(&self) -> Duration {
        self.recent.get().unwrap_or_default()
    }

    pub(super) fn add(&mut self, now: Instant, round_trip: Duration) {
        self.recent.update(now, round_trip);
        let near = self.get() + (self.get() / 16).max(QUEUE_MARGIN / 2);
        if round_trip <= near {
            self.near_at = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_trip_near_the_smallest_is_noted_and_one_in_a_queue_is_not() {
        let (start, ms) = (Instant::now(), Duration::from_millis);
        let mut min = MinRoundTrip::new(start);
        assert_eq!(min.get(), Duration::ZERO);
        min.add(start + ms(100), ms(64));
        min.add(start + ms(200), ms(68));
        min.add(start + ms(300), ms(69));
        assert_eq!((min.get(), min.near_at), (ms(64), start + ms(200)));
    }
}
