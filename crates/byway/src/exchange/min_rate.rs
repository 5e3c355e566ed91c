//! Min rate: the minimum rate at which a client must send its request body or read the response.
//!
//! In:    which side the exchange waits for, each time that changes; the bytes moved so far; the
//!        time.
//! Out:   whether the client is too slow, measured over each period of waiting for it.
//! Never: counts the time spent waiting for the upstream, and never costs anything per byte: the
//!        clock is read when the awaited side changes, and when a timer that runs anyway has fired.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::LimitsPlan;

/// Checks that a client sends a request body or reads a response at a minimum rate, over periods of
/// waiting for it. Time spent waiting for the upstream does not count.
#[derive(Debug)]
pub struct MinRate {
    /// Bytes per second; `None` for no minimum.
    least: Option<u64>,
    /// The length of a period, in time spent waiting for the client. As long as the longest allowed
    /// pause, so that one pause alone does not violate the rate.
    over: Duration,
    waited: Duration,
    waiting_since: Option<Instant>,
    /// The bytes moved when the period began.
    counted: u64,
}

impl MinRate {
    /// From the limits, over each `body_progress` of waiting.
    pub fn new(limits: &LimitsPlan) -> Self {
        let least = limits.min_rate.map(|rate| rate.0);
        Self {
            least,
            over: limits.body_progress,
            waited: Duration::ZERO,
            waiting_since: None,
            counted: 0,
        }
    }

    /// No minimum, for a client that may read as slowly as it likes.
    pub fn off() -> Self {
        Self {
            least: None,
            over: Duration::MAX,
            waited: Duration::ZERO,
            waiting_since: None,
            counted: 0,
        }
    }

    /// Sets whether the exchange waits for the client from now on. Calls `now` only if that has
    /// changed.
    pub fn wait(&mut self, for_downstream: bool, now: impl FnOnce() -> Instant) {
        if self.least.is_none() || for_downstream == self.waiting_since.is_some() {
            return;
        }
        let now = now();
        if let Some(since) = self.waiting_since.take() {
            self.waited += now.saturating_duration_since(since);
        }
        self.waiting_since = for_downstream.then_some(now);
    }

    /// Whether less than the minimum moved in a complete period. `moved` only grows.
    pub fn is_too_slow(&mut self, moved: u64, now: Instant) -> bool {
        self.judge(moved, now) == Some(true)
    }

    /// The same; `None` while the period is not complete.
    pub fn judge(&mut self, moved: u64, now: Instant) -> Option<bool> {
        let least = self.least?;
        let waited = self.waited_by(now);
        if waited < self.over {
            return None;
        }
        let due = waited.as_millis() * u128::from(least) / 1000;
        let slow = u128::from(moved.saturating_sub(self.counted)) < due;
        self.waited = Duration::ZERO;
        self.waiting_since = self.waiting_since.map(|_| now);
        self.counted = moved;
        Some(slow)
    }

    /// When the period ends, if the exchange waits for the client.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        self.waiting_since?;
        Some(now + self.over.saturating_sub(self.waited_by(now)))
    }

    fn waited_by(&self, now: Instant) -> Duration {
        self.waited
            + self
                .waiting_since
                .map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn min_rate(least: u64, over_seconds: u64) -> MinRate {
        MinRate {
            least: Some(least),
            over: Duration::from_secs(over_seconds),
            ..MinRate::off()
        }
    }

    fn at(begun: Instant, seconds: u64) -> Instant {
        begun + Duration::from_secs(seconds)
    }

    #[test]
    fn a_period_below_the_minimum_is_too_slow_and_one_with_just_enough_is_not() {
        for (moved, slow) in [(2499, true), (2500, false)] {
            let (mut min_rate, begun) = (min_rate(250, 10), Instant::now());
            min_rate.wait(true, || begun);
            assert!(!min_rate.is_too_slow(0, at(begun, 9)), "too early to judge");
            assert_eq!(min_rate.is_too_slow(moved, at(begun, 10)), slow, "{moved}");
        }
    }

    #[test]
    fn what_moved_in_an_earlier_period_does_not_count_in_the_next() {
        let (mut min_rate, begun) = (min_rate(250, 10), Instant::now());
        min_rate.wait(true, || begun);
        assert!(!min_rate.is_too_slow(1_000_000, at(begun, 10)));
        assert!(min_rate.is_too_slow(1_000_001, at(begun, 20)));
    }

    #[test]
    fn the_time_spent_waiting_for_the_upstream_does_not_count() {
        let (mut min_rate, begun) = (min_rate(250, 10), Instant::now());
        min_rate.wait(true, || begun);
        min_rate.wait(false, || at(begun, 6));
        assert!(!min_rate.is_too_slow(0, at(begun, 3600)));
        assert_eq!(
            min_rate.due(at(begun, 3600)),
            None,
            "nothing is armed while the upstream is waited for"
        );
        min_rate.wait(true, || at(begun, 3600));
        assert_eq!(min_rate.due(at(begun, 3601)), Some(at(begun, 3604)));
        assert!(!min_rate.is_too_slow(0, at(begun, 3603)));
        assert!(min_rate.is_too_slow(0, at(begun, 3604)));
    }

    #[test]
    fn the_clock_is_read_only_when_the_side_changes() {
        let (mut min_rate, begun) = (min_rate(250, 10), Instant::now());
        min_rate.wait(false, || {
            panic!("the exchange has not waited for the client")
        });
        min_rate.wait(true, || begun);
        min_rate.wait(true, || panic!("the same side"));
        let mut off = MinRate::off();
        off.wait(true, || panic!("there is no minimum"));
        assert!(!off.is_too_slow(0, at(begun, 1_000_000)));
    }

    proptest! {
        #[test]
        fn a_client_that_keeps_the_rate_is_never_too_slow(
            steps in prop::collection::vec((1u64..30, any::<bool>()), 1..60),
        ) {
            let (mut min_rate, mut now, mut moved) = (min_rate(100, 10), Instant::now(), 0);
            for (seconds, for_downstream) in steps {
                min_rate.wait(for_downstream, || now);
                now += Duration::from_secs(seconds);
                moved += if for_downstream { seconds * 100 } else { 0 };
                prop_assert!(!min_rate.is_too_slow(moved, now));
            }
        }
    }
}
