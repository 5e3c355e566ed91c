//! Min rate: the least rate at which a downstream must send its body, or read ours.
//!
//! In:    whom we wait for, each time that changes; the bytes moved so far; the time.
//! Out:   whether the downstream is too slow, judged over each stretch of waiting for it.
//! Never: counts the time in which the upstream is waited for, and never costs anything per byte:
//!        the clock is read when the side that is waited for changes, and when a timer that runs
//!        anyway has fired.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::LimitsPlan;

/// See the head of the file.
#[derive(Debug)]
pub struct MinRate {
    /// Bytes per second; none for no least.
    least: Option<u64>,
    /// Judged over so much waiting: as long as the longest pause that is allowed, so that one pause
    /// alone is no sin.
    over: Duration,
    waited: Duration,
    waiting_since: Option<Instant>,
    /// What had moved when the stretch began.
    counted: u64,
}

impl MinRate {
    /// As the limits say, over each `body_progress` of waiting.
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

    /// No least rate, for a reader who may take its time.
    pub fn off() -> Self {
        Self {
            least: None,
            over: Duration::MAX,
            waited: Duration::ZERO,
            waiting_since: None,
            counted: 0,
        }
    }

    /// Whether it is the downstream that is waited for, from now on. `now` is called only if that
    /// has changed.
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

    /// Whether less than the least has moved in a whole stretch. `moved` only grows.
    pub fn is_too_slow(&mut self, moved: u64, now: Instant) -> bool {
        self.judge(moved, now) == Some(true)
    }

    /// The same; `None` while the stretch is not over.
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

    /// When the stretch is over, if it is the downstream that is waited for.
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
    fn a_stretch_with_less_than_the_least_is_too_slow_and_one_with_just_enough_is_not() {
        for (moved, slow) in [(2499, true), (2500, false)] {
            let (mut min_rate, begun) = (min_rate(250, 10), Instant::now());
            min_rate.wait(true, || begun);
            assert!(!min_rate.is_too_slow(0, at(begun, 9)), "too early to judge");
            assert_eq!(min_rate.is_too_slow(moved, at(begun, 10)), slow, "{moved}");
        }
    }

    #[test]
    fn what_moved_in_an_earlier_stretch_does_not_count_in_the_next() {
        let (mut min_rate, begun) = (min_rate(250, 10), Instant::now());
        min_rate.wait(true, || begun);
        assert!(!min_rate.is_too_slow(1_000_000, at(begun, 10)));
        assert!(min_rate.is_too_slow(1_000_001, at(begun, 20)));
    }

    #[test]
    fn the_time_in_which_the_upstream_is_waited_for_does_not_count() {
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
        min_rate.wait(false, || panic!("nobody has been waited for"));
        min_rate.wait(true, || begun);
        min_rate.wait(true, || panic!("the same side"));
        let mut off = MinRate::off();
        off.wait(true, || panic!("there is no least"));
        assert!(!off.is_too_slow(0, at(begun, 1_000_000)));
    }

    proptest! {
        #[test]
        fn whoever_keeps_the_rate_is_never_too_slow(
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
