//! Back-off: when to try again after a session was lost.
//!
//! In:    the time, what became of each try, and a random number.
//! Out:   how long to wait, and how long one try may take.
//! Never: lets many who lost the same server come back in step: every wait but the first is full jitter.

use std::time::{Duration, Instant};

/// A session that lived this long wipes the slate clean.
const HEALTH: Duration = Duration::from_secs(30);

/// The first minute of an outage is the time when somebody waits.
const FRESH_OUTAGE: Duration = Duration::from_secs(60);

/// The longest wait in that minute.
const FRESH_CAP: Duration = Duration::from_secs(1);

/// And after it.
const CAP: Duration = Duration::from_secs(15);

/// What the second wait is drawn from; each later one from 1.7 times as much.
const BASE: Duration = Duration::from_millis(200);

/// What is final for a person (a refused grant, a key that is not the pinned one) is tried again by a daemon this rarely:
/// an operator may put it right on the other side.
pub const DAEMON_WAITS: Duration = Duration::from_secs(60);

/// One try in the first minute, to begin with: short enough that a network which comes back is noticed within seconds, long
/// enough for three round trips of 900 ms.
const FRESH_TRY: Duration = Duration::from_secs(3);

/// One try after it, to begin with.
const TRY: Duration = Duration::from_secs(10);

/// Tries that took all their time before the next ones get twice as much, each.
const SHORT_TRIES: u32 = 2;

/// The longest try: enough for three round trips of 6 s. TCP and QUIC repeat their first packets meanwhile.
const LONGEST_TRY: Duration = Duration::from_secs(20);

/// See the head of the file.
#[derive(Debug, Default)]
pub struct Backoff {
    outage: Option<Instant>,
    connected: Option<Instant>,
    tries: u32,
    /// When the try under way is over.
    try_until: Option<Instant>,
    /// Tries of this outage that took all their time: the path may be slow, and not dead.
    timeouts: u32,
}

impl Backoff {
    /// A session has come about.
    pub const fn connected(&mut self, now: Instant) {
        self.connected = Some(now);
    }

    /// It was lost, or a try has failed. Says how long to wait; `random` is from 0 to 1.
    pub fn lost(&mut self, now: Instant, random: f64) -> Duration {
        if self.connected.is_none() && self.try_until.take().is_some_and(|until| now >= until) {
            self.timeouts = self.timeouts.saturating_add(1);
        }
        let healthy = self.connected.take().is_some_and(|since| now.saturating_duration_since(since) >= HEALTH);
        if healthy {
            *self = Self::default();
        }
        self.outage.get_or_insert(now);
        let tries = self.tries;
        self.tries = tries.saturating_add(1);
        if tries == 0 {
            return Duration::ZERO;
        }
        let cap = if self.is_fresh(now) { FRESH_CAP } else { CAP };
        let most = BASE.as_secs_f64() * 1.7_f64.powi(tries.min(32).cast_signed());
        cap.min(Duration::from_secs_f64(most)).mul_f64(random.clamp(0.0, 1.0))
    }

    /// How often a session was lost, or a try has failed, since the last session that lived for 30 s.
    pub const fn failures(&self) -> u32 {
        self.tries
    }

    /// How long the try that begins now may take.
    pub fn try_for(&mut self, now: Instant) -> Duration {
        let first = if self.is_fresh(now) { FRESH_TRY } else { TRY };
        let doublings = (self.timeouts + 1).saturating_sub(SHORT_TRIES).min(8);
        let most = (first * (1 << doublings)).min(LONGEST_TRY);
        self.try_until = Some(now + most);
        most
    }

    fn is_fresh(&self, now: Instant) -> bool {
        self.outage.is_none_or(|since| now.saturating_duration_since(since) < FRESH_OUTAGE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_first_retry_is_at_once_and_the_first_minute_waits_a_second_at_most() {
        let start = Instant::now();
        let mut backoff = Backoff::default();
        backoff.connected(start);
        let mut now = start + 60 * SECOND;
        assert_eq!(backoff.lost(now, 1.0), Duration::ZERO);
        for _ in 0..20 {
            let wait = backoff.lost(now, 1.0);
            assert!(wait > Duration::ZERO && wait <= SECOND, "{wait:?}");
            now += wait;
        }
        assert_eq!(backoff.try_for(now), FRESH_TRY);
        now += 60 * SECOND;
        assert_eq!(backoff.lost(now, 1.0), CAP);
        assert_eq!(backoff.try_for(now), TRY);
    }

    #[test]
    fn tries_that_time_out_grow_until_a_handshake_over_a_slow_path_fits_and_others_do_not() {
        let mut now = Instant::now();
        let mut backoff = Backoff::default();
        let mut tries = Vec::new();
        for _ in 0..7 {
            let most = backoff.try_for(now);
            tries.push(most.as_secs());
            now += most;
            now += backoff.lost(now, 0.0);
        }
        assert_eq!(tries, [3, 3, 6, 12, 20, 20, 20]);
        // A session that lived wipes the slate.
        backoff.connected(now);
        now += 60 * SECOND;
        backoff.lost(now, 0.0);
        assert_eq!(backoff.try_for(now), FRESH_TRY);
        // What is refused at once is no reason to wait longer.
        for _ in 0..20 {
            backoff.lost(now, 0.0);
            assert_eq!(backoff.try_for(now), FRESH_TRY);
        }
    }

    #[test]
    fn every_wait_is_drawn_from_nothing_to_its_cap() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        backoff.lost(now, 0.5);
        for _ in 0..10 {
            assert_eq!(backoff.lost(now, 0.0), Duration::ZERO);
        }
        assert_eq!(backoff.lost(now, 0.5), SECOND / 2);
    }

    #[test]
    fn a_session_that_dies_young_does_not_wipe_the_slate() {
        let start = Instant::now();
        let mut backoff = Backoff::default();
        backoff.lost(start, 1.0);
        backoff.connected(start + SECOND);
        assert!(backoff.lost(start + 2 * SECOND, 1.0) > Duration::ZERO);
        assert_eq!(backoff.failures(), 2);
        backoff.connected(start + 3 * SECOND);
        assert_eq!(backoff.lost(start + 33 * SECOND, 1.0), Duration::ZERO);
        assert_eq!(backoff.failures(), 1);
    }
}
