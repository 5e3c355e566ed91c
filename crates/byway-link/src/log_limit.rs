//! Log limit: decides which events of one kind get a log line, so that a flood of them does not
//! fill a disk.
//!
//! In:    an event that a peer can cause as often as it wants.
//! Out:   whether it gets a line, and how many earlier events got none.
//! Never: waits or allocates.
//!
//! The first events of a kind (a hundred by default) get a line, and after that those whose number
//! is a power of two. The numbers restart after ten minutes without an event of that kind, so that
//! the next outage is reported from its beginning.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{SystemTime, UNIX_EPOCH};

/// A series of events is over after this many seconds without one.
const QUIET_S: u64 = 600;

/// How many events of a kind get a line before lines become rare.
const FIRST: u64 = 100;

/// One kind of event.
#[derive(Debug)]
pub struct LogLimit {
    /// How many events get a line each.
    first: u64,
    /// Events of this series.
    events: AtomicU64,
    /// Events without a line since the last line.
    left_out: AtomicU64,
    /// The time of the last event, in seconds since 1970.
    last_s: AtomicU64,
}

/// The permission for a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPass {
    /// How many events of its kind got no line since the last one; `None` if there were none, so
    /// that the log omits the field.
    pub left_out: Option<u64>,
}

impl Default for LogLimit {
    fn default() -> Self {
        Self::new()
    }
}

impl LogLimit {
    /// A limit with the default number of lines.
    pub const fn new() -> Self {
        Self::with_first(FIRST)
    }

    /// A limit with another number of first events that get a line each.
    pub const fn with_first(first: u64) -> Self {
        Self {
            first,
            events: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
            last_s: AtomicU64::new(0),
        }
    }

    /// Counts an event. `Some` if it gets a line.
    pub fn count(&self) -> Option<LogPass> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        self.count_at(now.unwrap_or_default().as_secs())
    }

    fn count_at(&self, now_s: u64) -> Option<LogPass> {
        if now_s.saturating_sub(self.last_s.swap(now_s, Relaxed)) > QUIET_S {
            self.events.store(0, Relaxed);
        }
        let number = self.events.fetch_add(1, Relaxed) + 1;
        if number <= self.first || number.is_power_of_two() {
            let left_out = self.left_out.swap(0, Relaxed);
            return Some(LogPass {
                left_out: Some(left_out).filter(|count| *count > 0),
            });
        }
        self.left_out.fetch_add(1, Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_S: u64 = 1_795_633_699;

    #[test]
    fn a_flood_gets_few_lines_and_a_trickle_gets_all() {
        let repeats = LogLimit::default();
        let lines: Vec<LogPass> = (0..1_000_000)
            .filter_map(|_| repeats.count_at(NOW_S))
            .collect();
        assert_eq!(lines.len(), 113);
        assert_eq!(
            lines[99..102]
                .iter()
                .map(|line| line.left_out)
                .collect::<Vec<_>>(),
            [None, Some(27), Some(127)]
        );
        let left_out: u64 = lines.iter().filter_map(|line| line.left_out).sum();
        assert_eq!(
            left_out + lines.len() as u64,
            1 << 19,
            "the count of what was left out is complete"
        );
    }

    #[test]
    fn the_next_outage_is_reported_from_its_beginning() {
        let repeats = LogLimit::default();
        assert_eq!(
            (0..1000).filter_map(|_| repeats.count_at(NOW_S)).count(),
            103
        );
        assert_eq!(
            repeats.count_at(NOW_S + QUIET_S),
            None,
            "it has not been quiet for long enough"
        );
        let line = repeats.count_at(NOW_S + 2 * QUIET_S + 1);
        assert_eq!(
            line,
            Some(LogPass {
                left_out: Some(1000 - 512 + 1)
            })
        );
        assert_eq!(
            repeats.count_at(NOW_S + 2 * QUIET_S + 1),
            Some(LogPass { left_out: None })
        );
    }

    #[test]
    fn a_clock_that_is_set_back_suppresses_nothing_for_longer() {
        let repeats = LogLimit::default();
        assert_eq!(
            (0..1000).filter_map(|_| repeats.count_at(NOW_S)).count(),
            103
        );
        repeats.count_at(NOW_S - 86_400);
        assert!(repeats.count_at(NOW_S - 86_400 + QUIET_S + 1).is_some());
    }
}
