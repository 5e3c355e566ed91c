//! Windowed filters: the largest and the smallest value of the recent past.

use std::time::{Duration, Instant};

/// The largest value of this cycle and the one before; the owner ends a cycle.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CycleMax {
    previous: u64,
    current: u64,
}

impl CycleMax {
    pub(super) fn update(&mut self, value: u64) {
        self.current = self.current.max(value);
    }

    pub(super) fn get(&self) -> u64 {
        self.previous.max(self.current)
    }

    /// Starts the next cycle. A cycle without a value keeps the one before.
    pub(super) fn advance(&mut self) {
        if self.current > 0 {
            self.previous = self.current;
            self.current = 0;
        }
    }
}

/// The number of parts of the window of a [`TimedMin`].
const PARTS: usize = 10;

/// The smallest duration within a window of time, to a tenth of the window.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimedMin {
    parts: [Option<Duration>; PARTS],
    newest: usize,
    part: Duration,
    began: Instant,
    /// The last known value, for a window without values.
    last: Option<Duration>,
}

impl TimedMin {
    pub(super) fn new(window: Duration, now: Instant) -> Self {
        Self {
            parts: [None; PARTS],
            newest: 0,
            part: window / PARTS as u32,
            began: now,
            last: None,
        }
    }

    pub(super) fn update(&mut self, now: Instant, value: Duration) {
        let mut steps = 0;
        while now.saturating_duration_since(self.began) >= self.part {
            steps += 1;
            if steps > PARTS {
                self.began = now;
                break;
            }
            self.began += self.part;
            self.newest = (self.newest + 1) % PARTS;
            if let Some(part) = self.parts.get_mut(self.newest) {
                *part = None;
            }
        }
        if let Some(part) = self.parts.get_mut(self.newest) {
            *part = Some(part.map_or(value, |least| least.min(value)));
        }
        self.last = self.parts.iter().flatten().min().copied();
    }

    pub(super) fn get(&self) -> Option<Duration> {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_maximum_lasts_for_two_cycles() {
        let mut max = CycleMax::default();
        max.update(10);
        max.advance();
        max.update(5);
        assert_eq!(max.get(), 10);
        max.advance();
        assert_eq!(max.get(), 5);
        max.advance();
        assert_eq!(max.get(), 5, "a cycle without a value changes nothing");
    }

    #[test]
    fn a_minimum_lasts_for_its_window_and_the_last_one_until_another_is_measured() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let ms = Duration::from_millis;
        let mut min = TimedMin::new(ms(10_000), start);
        assert_eq!(min.get(), None);
        min.update(at(0), ms(5));
        min.update(at(5_000), ms(9));
        assert_eq!(min.get(), Some(ms(5)));
        min.update(at(9_900), ms(8));
        assert_eq!(min.get(), Some(ms(5)));
        min.update(at(11_500), ms(10));
        assert_eq!(min.get(), Some(ms(8)));
        assert_eq!(min.get(), Some(ms(8)));
        min.update(at(1_000_000), ms(70));
        assert_eq!(min.get(), Some(ms(70)));
    }
}
