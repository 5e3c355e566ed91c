//! On demand: which names may get a certificate because a client asked for them, and how often.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Decides whether a host, in lower case, may get a certificate on demand. It is called in the
/// handshake, and again before each renewal: it must not block.
pub type AllowRule = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// The most names with a certificate on demand.
pub const MOST_NAMES: usize = 10_000;

/// How many new names are accepted: `burst` at once, and one more each `interval`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// The time between new names in the long run.
    pub interval: Duration,
    /// How many may come at once.
    pub burst: u32,
}

impl Default for RateLimit {
    /// Ten at once, and one each minute.
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(60),
            burst: 10,
        }
    }
}

/// The state of a [`RateLimit`].
#[derive(Debug)]
pub(crate) struct Bucket {
    limit: RateLimit,
    left: u32,
    /// When `left` was counted.
    since: SystemTime,
}

impl Bucket {
    pub(crate) fn new(limit: RateLimit, now: SystemTime) -> Self {
        Self {
            limit,
            left: limit.burst,
            since: now,
        }
    }

    /// Changes the limit. What is left stays, up to the new burst.
    pub(crate) fn set_limit(&mut self, limit: RateLimit) {
        self.limit = limit;
        self.left = self.left.min(limit.burst);
    }

    /// Takes one, if one is left. A clock that is set back gives nothing, and loses nothing.
    pub(crate) fn take(&mut self, now: SystemTime) -> bool {
        match now.duration_since(self.since) {
            Err(_) => self.since = now,
            Ok(passed) => {
                let interval = self.limit.interval.max(Duration::from_millis(1));
                let more = passed.as_millis() / interval.as_millis();
                let more = u32::try_from(more).unwrap_or(u32::MAX);
                self.left = self.left.saturating_add(more).min(self.limit.burst);
                self.since = match self.left == self.limit.burst {
                    true => now,
                    false => self.since + interval * more,
                };
            }
        }
        let has_one = self.left > 0;
        self.left -= u32::from(has_one);
        has_one
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_followed_by_one_name_an_interval_whatever_the_clock_does() {
        let minute = Duration::from_secs(60);
        let limit = RateLimit {
            interval: minute,
            burst: 3,
        };
        let start = SystemTime::UNIX_EPOCH + 1_000_000 * minute;
        let mut bucket = Bucket::new(limit, start);
        let taken = |bucket: &mut Bucket, now| (0..10).filter(|_| bucket.take(now)).count();
        assert_eq!(taken(&mut bucket, start), 3);
        assert_eq!(taken(&mut bucket, start + minute / 2), 0);
        assert_eq!(taken(&mut bucket, start + minute), 1);
        assert_eq!(taken(&mut bucket, start + minute * 3 / 2), 0);
        assert_eq!(taken(&mut bucket, start + minute * 3), 2);
        assert_eq!(taken(&mut bucket, start + minute * 1000), 3);
        let back = start - minute * 1000;
        assert_eq!(taken(&mut bucket, back), 0);
        assert_eq!(taken(&mut bucket, back + minute), 1);
    }
}
