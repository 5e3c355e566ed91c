//! Lossy path: whether the path loses what this side sends over TCP, so that several connections
//! would move more.
//!
//! In:    once per window, the segments that were sent and lost; whether they met a queue.
//! Out:   the share that is lost, once several windows have shown it.
//! Never: counts the losses of a full queue as losses of the path: congestion control without BBR
//!        fills a queue until it loses packets, so the round trip grows with it. Nor one burst of
//!        losses: slow start ends with one.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A window with fewer segments does not count.
const ENOUGH_SEGMENTS: u64 = 50;

/// The most windows that are evaluated together.
const WINDOWS: usize = 10;

/// How long a window counts.
const REMEMBERED: Duration = Duration::from_secs(60);

/// In a lossy window at least 3 of 1,000 segments are lost.
const LOSSY: (u64, u64) = (3, 1000);

/// This many windows with loss, and half of all windows, show a lossy path.
const LOSSY_WINDOWS: usize = 3;

/// Detects a path that loses packets: keeps the losses of the last windows of TCP traffic in which
/// no packets queued, and returns the share that was lost once several of them show loss.
#[derive(Debug, Default)]
pub(crate) struct LossyPath {
    windows: VecDeque<Window>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    ended: Instant,
    segments: u64,
    lost: u64,
}

impl Window {
    const fn is_lossy(&self) -> bool {
        self.lost * LOSSY.1 >= self.segments * LOSSY.0
    }
}

impl LossyPath {
    /// Takes a window of traffic that has ended at `now`. Returns the share that was lost in the
    /// last windows, in thousandths, if the path is lossy.
    pub(crate) fn measured(
        &mut self,
        segments: u64,
        lost: u64,
        is_queued: bool,
        now: Instant,
    ) -> Option<u64> {
        if segments >= ENOUGH_SEGMENTS && !is_queued {
            self.windows.push_back(Window {
                ended: now,
                segments,
                lost,
            });
        }
        self.windows
            .retain(|window| now.saturating_duration_since(window.ended) < REMEMBERED);
        while self.windows.len() > WINDOWS {
            self.windows.pop_front();
        }
        let lossy = self
            .windows
            .iter()
            .filter(|window| window.is_lossy())
            .count();
        if lossy < LOSSY_WINDOWS || 2 * lossy < self.windows.len() {
            return None;
        }
        let sum = |of: fn(&Window) -> u64| self.windows.iter().map(of).sum::<u64>();
        Some(sum(|window| window.lost) * 1000 / sum(|window| window.segments).max(1))
    }

    /// Whether a recent window had loss.
    pub(crate) fn has_loss(&self) -> bool {
        self.windows.iter().any(Window::is_lossy)
    }

    /// Forgets the measurements, because the traffic uses another path.
    pub(crate) fn forget(&mut self) {
        self.windows.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The first second, from 1, in which the path is found to be lossy.
    fn found(windows: impl IntoIterator<Item = (u64, u64, bool)>) -> Option<u32> {
        let (mut path, start) = (LossyPath::default(), Instant::now());
        (1..)
            .zip(windows)
            .find_map(|(second, (segments, lost, is_queued))| {
                path.measured(segments, lost, is_queued, start + second * SECOND)
                    .map(|_| second)
            })
    }

    #[test]
    fn one_connection_at_one_percent_of_loss_is_found_in_three_seconds_and_its_share_is_named() {
        assert_eq!(
            found([
                (110, 1, false),
                (100, 0, false),
                (110, 2, false),
                (110, 1, false)
            ]),
            Some(4)
        );
        let (mut path, start) = (LossyPath::default(), Instant::now());
        for second in 0..2 {
            assert_eq!(path.measured(100, 1, false, start + second * SECOND), None);
        }
        assert_eq!(path.measured(100, 2, false, start + 2 * SECOND), Some(13));
    }

    #[test]
    fn a_path_that_loses_nothing_is_not_lossy_however_its_queue_overflows() {
        // Slow start ends with a burst of losses; later a few are lost every eight seconds.
        let clean = (0..600).map(|n| match n {
            0..2 => (8000, 900, false),
            n if n % 8 == 0 => (8300, 40, false),
            _ => (8300, 0, false),
        });
        assert_eq!(found(clean), None);
        // A slow path with a queue that is always full.
        assert_eq!(found(std::iter::repeat_n((100, 2, true), 600)), None);
        // Only pings.
        assert_eq!(found(std::iter::repeat_n((4, 1, false), 600)), None);
    }

    #[test]
    fn old_windows_do_not_count() {
        let mut path = LossyPath::default();
        let start = Instant::now();
        for minute in 0..10 {
            assert_eq!(
                path.measured(100, 10, false, start + minute * REMEMBERED),
                None
            );
        }
    }

    #[test]
    fn forgotten_losses_have_to_be_measured_again() {
        let (mut path, start) = (LossyPath::default(), Instant::now());
        for _ in 0..3 {
            path.measured(100, 10, false, start);
        }
        path.forget();
        assert_eq!(path.measured(100, 10, false, start), None);
    }
}
