//! Abuse account: points that a peer has for what it costs beyond what it is good for.
//!
//! In:    prices, which each version of HTTP has for what a peer may do; useful work; time.
//! Out:   whether the account covers a price.
//! Never: has more points than at the beginning.

use std::time::{Duration, Instant};

/// Points for an exchange that is complete.
const PER_EXCHANGE: u32 = 40;
/// Bytes of data that have moved, in either direction, for one point.
const BYTES_PER_POINT: usize = 1024;
/// Points for a second.
const PER_SECOND: u64 = 100;

/// The account of one connection. An exchange that is complete adds 40 points, 1 KiB of data 1, and
/// a second 100, up to what it began with.
#[derive(Debug)]
pub struct AbuseAccount {
    points: u32,
    full: u32,
    /// Bytes of data that have not made a point yet.
    bytes: usize,
    /// Until when time has been counted.
    counted: Instant,
}

impl AbuseAccount {
    /// An account of `full` points.
    pub fn new(full: u32, now: Instant) -> Self {
        Self {
            points: full,
            full,
            bytes: 0,
            counted: now,
        }
    }

    /// Takes points. Returns false, and takes none, if too few are left.
    #[must_use]
    pub fn take(&mut self, points: u32, now: Instant) -> bool {
        if self.points < points {
            self.count_time(now);
        }
        match self.points.checked_sub(points) {
            Some(left) => {
                self.points = left;
                true
            }
            None => false,
        }
    }

    /// Adds points for an exchange that is complete.
    pub fn completed(&mut self) {
        self.add(PER_EXCHANGE);
    }

    /// Adds points for data that has moved.
    pub fn moved(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes >= BYTES_PER_POINT {
            self.add(u32::try_from(self.bytes / BYTES_PER_POINT).unwrap_or(u32::MAX));
            self.bytes %= BYTES_PER_POINT;
        }
    }

    /// Points for the time since the last call. It is called only when points are short, so that a
    /// peer has at most twice the size of the account at once.
    fn count_time(&mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.counted).as_secs();
        self.counted += Duration::from_secs(seconds);
        self.add(u32::try_from(seconds.saturating_mul(PER_SECOND)).unwrap_or(u32::MAX));
    }

    fn add(&mut self, points: u32) {
        self.points = self.points.saturating_add(points).min(self.full);
    }
}
