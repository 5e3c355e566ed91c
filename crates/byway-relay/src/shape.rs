//! Shape: limits the rate at which bytes leave for the slow side.
//!
//! In:    a rate that may change at any time, and the number of bytes to send.
//! Out:   how many of them may leave now, or how long to wait.
//! Never: delays reads from the source; it limits only writes. The bucket never reads the clock.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

/// The smallest burst, so that the small responses of a page are never delayed.
const BURST_BYTES: u64 = 64 * 1024;

/// The burst of fast rates, as time at full rate.
const BURST: Duration = Duration::from_millis(50);

/// The most bytes that a flow waits for, so that it wakes neither too often nor too late.
const QUANTUM_BYTES: u64 = 16 * 1024;

/// The longest wait, so that a raised rate takes effect soon.
const LONGEST_WAIT: Duration = Duration::from_millis(250);

const NANOS: u128 = 1_000_000_000;

/// Bytes per second, shared and changeable while flows run. Zero means no limit.
#[derive(Debug, Default)]
pub struct Rate(AtomicU64);

impl Rate {
    /// A rate in bytes per second; 0 means no limit.
    pub const fn new(bytes_per_second: u64) -> Self {
        Self(AtomicU64::new(bytes_per_second))
    }

    /// Changes the rate. It takes effect within a quarter of a second.
    pub fn set(&self, bytes_per_second: u64) {
        self.0.store(bytes_per_second, Relaxed);
    }

    /// The rate now, in bytes per second.
    pub fn bytes_per_second(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The result of [`TokenBucket::take`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Take {
    /// This many bytes may leave now; they are taken from the bucket.
    Advance(usize),
    /// None may leave; try again after this time.
    Wait(Duration),
}

/// A token bucket, refilled lazily, exact to the byte and nanosecond. Starts full.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    /// Byte-nanoseconds: a byte is 10⁹ of them, so that refilling never rounds.
    level: u128,
    at: Option<Instant>,
}

impl TokenBucket {
    /// A full bucket.
    pub(crate) const fn new() -> Self {
        Self { level: 0, at: None }
    }

    /// Takes up to `wanted` bytes at `now`, at a rate in bytes per second (0: no limit). `now`
    /// never goes back.
    pub(crate) fn take(&mut self, wanted: usize, rate: u64, now: Instant) -> Take {
        if rate == 0 || wanted == 0 {
            // After a time without a limit the bucket starts full.
            self.at = None;
            return Take::Advance(wanted);
        }
        self.refill(rate, now);
        let available = u64::try_from(self.level / NANOS).unwrap_or(u64::MAX);
        let enough = (wanted as u64).min(quantum(rate));
        if available < enough {
            return Take::Wait(time_for(u128::from(enough) * NANOS - self.level, rate));
        }
        let taken = (wanted as u64).min(available);
        self.level -= u128::from(taken) * NANOS;
        Take::Advance(usize::try_from(taken).unwrap_or(wanted))
    }

    /// Puts back bytes that were taken and did not leave.
    pub(crate) fn give_back(&mut self, bytes: usize) {
        self.level += bytes as u128 * NANOS;
    }

    fn refill(&mut self, rate: u64, now: Instant) {
        let full = u128::from(burst(rate)) * NANOS;
        self.level = match self.at {
            None => full,
            Some(at) => full
                .min(self.level + now.saturating_duration_since(at).as_nanos() * u128::from(rate)),
        };
        self.at = Some(now);
    }
}

impl Default for TokenBucket {
    fn default() -> Self {
        Self::new()
    }
}

/// The most that may leave at once after a pause, in bytes.
fn burst(rate: u64) -> u64 {
    BURST_BYTES.max(bytes_in(BURST, rate))
}

fn quantum(rate: u64) -> u64 {
    bytes_in(BURST, rate).clamp(1, QUANTUM_BYTES)
}

fn bytes_in(time: Duration, rate: u64) -> u64 {
    u64::try_from(time.as_nanos() * u128::from(rate) / NANOS).unwrap_or(u64::MAX)
}

/// The time in which `rate` fills `level`, rounded up.
fn time_for(level: u128, rate: u64) -> Duration {
    Duration::from_nanos(u64::try_from(level.div_ceil(u128::from(rate))).unwrap_or(u64::MAX))
}

/// The rate limit of one stream in one direction: a token bucket, with its timer.
pub(crate) struct StreamShaper {
    rate: Arc<Rate>,
    bucket: TokenBucket,
    wait: Option<Pin<Box<Sleep>>>,
}

impl StreamShaper {
    /// Shapes one stream to a rate that may be shared and changed.
    pub(crate) const fn new(rate: Arc<Rate>) -> Self {
        Self {
            rate,
            bucket: TokenBucket::new(),
            wait: None,
        }
    }

    /// How many of `wanted` bytes may leave now, at least one. A caller that sends fewer gives the
    /// rest back. Cancel safe. Needs a tokio runtime with time.
    pub(crate) fn poll_take(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<usize> {
        loop {
            if let Some(wait) = &mut self.wait {
                ready!(wait.as_mut().poll(cx));
                self.wait = None;
            }
            let now = tokio::time::Instant::now();
            match self
                .bucket
                .take(wanted, self.rate.bytes_per_second(), now.into_std())
            {
                Take::Advance(n) => return Poll::Ready(n),
                Take::Wait(time) => {
                    self.wait = Some(Box::pin(tokio::time::sleep(time.min(LONGEST_WAIT))))
                }
            }
        }
    }

    /// Puts back bytes that were taken and did not leave.
    pub(crate) fn give_back(&mut self, bytes: usize) {
        self.bucket.give_back(bytes);
    }
}

impl fmt::Debug for StreamShaper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamShaper")
            .field("rate", &self.rate)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends at the rate of the bucket for `time`, `offered` bytes at a time; returns the bytes
    /// sent.
    fn run(
        bucket: &mut TokenBucket,
        rate: u64,
        offered: usize,
        start: Instant,
        time: Duration,
    ) -> u64 {
        let (mut now, mut sent) = (start, 0);
        loop {
            match bucket.take(offered, rate, now) {
                Take::Advance(n) => sent += n as u64,
                Take::Wait(wait) => now += wait,
            }
            if now >= start + time {
                return sent;
            }
        }
    }

    #[test]
    fn ten_seconds_are_within_two_percent_of_the_rate() {
        let start = Instant::now();
        for rate in [1_000, 50_000, 1_000_000, 26_214_400, 125_000_000] {
            for offered in [4_096, 65_536, 262_144] {
                let mut bucket = TokenBucket::new();
                // The first burst may leave at once; measure only what follows.
                let Take::Advance(_) = bucket.take(usize::MAX, rate, start) else {
                    panic!("the bucket must start full")
                };
                let sent = run(&mut bucket, rate, offered, start, Duration::from_secs(10));
                let ratio = sent as f64 / (rate * 10) as f64;
                assert!(
                    (0.98..=1.02).contains(&ratio),
                    "rate {rate}, offered {offered}: {ratio}"
                );
            }
        }
    }

    #[test]
    fn the_first_burst_of_a_fast_rate_is_within_the_two_percent_too() {
        let sent = run(
            &mut TokenBucket::new(),
            26_214_400,
            65_536,
            Instant::now(),
            Duration::from_secs(10),
        );
        assert!((0.98..=1.02).contains(&(sent as f64 / 262_144_000.0)));
    }

    #[test]
    fn a_pause_earns_a_single_burst() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new();
        assert_eq!(
            bucket.take(1_000_000, 100_000, start),
            Take::Advance(65_536)
        );
        assert_eq!(
            bucket.take(1_000_000, 100_000, start + Duration::from_secs(3600)),
            Take::Advance(65_536)
        );
        let fast = 100_000_000;
        let mut bucket = TokenBucket::new();
        assert_eq!(
            bucket.take(usize::MAX, fast, start),
            Take::Advance(5_000_000)
        );
    }

    #[test]
    fn a_changed_rate_applies_from_the_change_on() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new();
        bucket.take(usize::MAX, 1_000_000, start);
        run(&mut bucket, 1_000_000, 4_096, start, Duration::from_secs(1));
        let sent = run(
            &mut bucket,
            4_000_000,
            4_096,
            start + Duration::from_secs(1),
            Duration::from_secs(10),
        );
        assert!((0.98..=1.02).contains(&(sent as f64 / 40_000_000.0)));
        assert_eq!(
            bucket.take(usize::MAX, 0, start + Duration::from_secs(20)),
            Take::Advance(usize::MAX)
        );
    }

    #[test]
    fn bytes_that_did_not_leave_are_given_back() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new();
        assert_eq!(bucket.take(65_536, 1_000, start), Take::Advance(65_536));
        bucket.give_back(60_000);
        assert_eq!(bucket.take(70_000, 1_000, start), Take::Advance(60_000));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_is_shaped_in_time_and_follows_a_new_rate() {
        let rate = Arc::new(Rate::new(1_000_000));
        let mut shaper = StreamShaper::new(Arc::clone(&rate));
        let mut take = async |wanted| std::future::poll_fn(|cx| shaper.poll_take(cx, wanted)).await;
        take(usize::MAX).await;
        let start = tokio::time::Instant::now();
        let mut sent = 0;
        while start.elapsed() < Duration::from_secs(10) {
            sent += take(65_536).await;
        }
        assert!(
            (0.98..=1.02).contains(&(sent as f64 / 10_000_000.0)),
            "{sent}"
        );
        rate.set(1);
        take(10).await;
        rate.set(0);
        assert_eq!(take(1 << 30).await, 1 << 30);
    }
}
