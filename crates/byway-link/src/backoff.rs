//! Backoff: when to dial again after a session was lost.
//!
//! In:    the time, the result of each attempt, and a random number.
//! Out:   how long to wait, and how long one attempt may take.
//! Never: lets many nodes that lost the same server return in step: every wait but the first has
//!        full jitter.

use std::time::{Duration, Instant};

/// A session that lived this long resets everything.
const HEALTH: Duration = Duration::from_secs(30);

/// The loss of a session that lived this long starts a new outage: the path works at times, and the
/// first retries are quick. Sessions that a server welcomes and drops at once do not live that
/// long, so the waits between them grow.
const USEFUL: Duration = Duration::from_secs(1);

/// The first minute of an outage, in which visitors wait.
const FRESH_OUTAGE: Duration = Duration::from_secs(60);

/// While no packet is answered, waits stay short for this long: attempts over a dead path cost the
/// server nothing, and a path that recovers is used within seconds.
const SILENT_OUTAGE: Duration = Duration::from_secs(600);

/// The longest wait in those times.
const FRESH_CAP: Duration = Duration::from_secs(1);

/// The longest wait after them.
const CAP: Duration = Duration::from_secs(15);

/// The second wait is drawn from 0 to 1.7 times this; the range of each later one is 1.7 times as
/// long.
const BASE: Duration = Duration::from_millis(200);

/// A daemon retries a failure that is final for a user (a refused grant, a wrong key) at this
/// interval: an operator may fix it on the other side.
pub const DAEMON_WAITS: Duration = Duration::from_secs(60);

/// The first attempts in the first minute may take this long: short enough that a network that
/// recovers is noticed within seconds, long enough for three round trips of 900 ms.
const FRESH_TRY: Duration = Duration::from_secs(3);

/// The first attempts after that minute may take this long.
const TRY: Duration = Duration::from_secs(10);

/// After this many attempts that timed out, each further one gets twice as much time.
const SHORT_TRIES: u32 = 2;

/// The longest attempt: enough for three round trips of 6 s. TCP and QUIC retransmit their first
/// packets meanwhile.
const LONGEST_TRY: Duration = Duration::from_secs(20);

/// How an attempt has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There was no answer.
    Silence,
    /// The other side, or a host on the path, has answered without making a session.
    Answer,
}

/// Decides how long to wait before the next attempt when a session was lost or could not be made,
/// and how long that attempt may take. The waits are random, so that nodes that lost the same
/// server do not return in step.
#[derive(Debug, Default)]
pub struct Backoff {
    outage: Option<Instant>,
    connected: Option<Instant>,
    /// Losses and failed attempts since the outage started.
    tries: u32,
    /// The same since the last session that lived for [`HEALTH`].
    failures: u32,
    /// When the current attempt times out.
    try_until: Option<Instant>,
    /// Attempts of this outage that timed out: the path may be slow, not dead.
    timeouts: u32,
}

impl Backoff {
    /// A session was made.
    pub const fn connected(&mut self, now: Instant) {
        self.connected = Some(now);
    }

    /// A session was lost, or an attempt has failed. Returns how long to wait; `random` is from 0
    /// to 1. How a session that was welcomed ended does not matter: the other side has answered.
    pub fn lost(&mut self, now: Instant, failure: Failure, random: f64) -> Duration {
        if self.connected.is_none() && self.try_until.take().is_some_and(|until| now >= until) {
            self.timeouts = self.timeouts.saturating_add(1);
        }
        let welcomed = self.connected.take();
        match welcomed.map(|since| now.saturating_duration_since(since)) {
            Some(lived) if lived >= HEALTH => *self = Self::default(),
            // Jitter of up to a third of a second: the server may have lost many sessions at once.
            Some(lived) if lived >= USEFUL => {
                (self.outage, self.timeouts, self.tries) = (Some(now), 0, self.tries.min(1));
            }
            _ => {}
        }
        self.outage.get_or_insert(now);
        let tries = self.tries;
        self.tries = tries.saturating_add(1);
        self.failures = self.failures.saturating_add(1);
        if tries == 0 {
            return Duration::ZERO;
        }
        let quick = match failure {
            Failure::Silence if welcomed.is_none() => SILENT_OUTAGE,
            _ => FRESH_OUTAGE,
        };
        let cap = if self.began_within(quick, now) {
            FRESH_CAP
        } else {
            CAP
        };
        let most = BASE.as_secs_f64() * 1.7_f64.powi(tries.min(32).cast_signed());
        cap.min(Duration::from_secs_f64(most))
            .mul_f64(random.clamp(0.0, 1.0))
    }

    /// The losses and failed attempts since the last session that lived for 30 s.
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// How long the attempt that starts now may take.
    pub fn try_for(&mut self, now: Instant) -> Duration {
        let first = if self.began_within(FRESH_OUTAGE, now) {
            FRESH_TRY
        } else {
            TRY
        };
        let doublings = (self.timeouts + 1).saturating_sub(SHORT_TRIES).min(8);
        let most = (first * (1 << doublings)).min(LONGEST_TRY);
        self.try_until = Some(now + most);
        most
    }

    fn began_within(&self, time: Duration, now: Instant) -> bool {
        self.outage
            .is_none_or(|since| now.saturating_duration_since(since) < time)
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
        assert_eq!(backoff.lost(now, Failure::Answer, 1.0), Duration::ZERO);
        for _ in 0..20 {
            let wait = backoff.lost(now, Failure::Answer, 1.0);
            assert!(wait > Duration::ZERO && wait <= SECOND, "{wait:?}");
            now += wait;
        }
        assert_eq!(backoff.try_for(now), FRESH_TRY);
        now += 60 * SECOND;
        assert_eq!(backoff.lost(now, Failure::Answer, 1.0), CAP);
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
            now += backoff.lost(now, Failure::Answer, 0.0);
        }
        assert_eq!(tries, [3, 3, 6, 12, 20, 20, 20]);
        // A session that lived long resets everything.
        backoff.connected(now);
        now += 60 * SECOND;
        backoff.lost(now, Failure::Answer, 0.0);
        assert_eq!(backoff.try_for(now), FRESH_TRY);
        // Attempts that are refused at once do not make later ones longer.
        for _ in 0..20 {
            backoff.lost(now, Failure::Answer, 0.0);
            assert_eq!(backoff.try_for(now), FRESH_TRY);
        }
    }

    #[test]
    fn every_wait_is_drawn_from_nothing_to_its_cap() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        backoff.lost(now, Failure::Answer, 0.5);
        for _ in 0..10 {
            assert_eq!(backoff.lost(now, Failure::Answer, 0.0), Duration::ZERO);
        }
        assert_eq!(backoff.lost(now, Failure::Answer, 0.5), SECOND / 2);
    }

    #[test]
    fn a_short_session_does_not_reset_the_backoff() {
        let start = Instant::now();
        let mut backoff = Backoff::default();
        backoff.lost(start, Failure::Answer, 1.0);
        backoff.connected(start + SECOND);
        assert!(backoff.lost(start + 2 * SECOND, Failure::Answer, 1.0) > Duration::ZERO);
        assert_eq!(backoff.failures(), 2);
        backoff.connected(start + 3 * SECOND);
        assert_eq!(
            backoff.lost(start + 33 * SECOND, Failure::Answer, 1.0),
            Duration::ZERO
        );
        assert_eq!(backoff.failures(), 1);
    }

    #[test]
    fn a_path_that_flaps_nine_seconds_down_and_six_up_is_retried_within_a_second_of_each_loss() {
        let mut now = Instant::now();
        let mut backoff = Backoff::default();
        for _ in 0..100 {
            backoff.try_for(now);
            backoff.connected(now);
            now += 6 * SECOND;
            let wait = backoff.lost(now, Failure::Silence, 1.0);
            assert!(
                wait <= SECOND / 2,
                "the first retry after a loss waits {wait:?}"
            );
            now += wait;
            while backoff.lost(now + FRESH_TRY, Failure::Silence, 1.0) < SECOND {}
            now += 9 * SECOND;
        }
        assert!(
            backoff.failures() > 100,
            "log lines become rare nevertheless"
        );
    }

    #[test]
    fn a_server_that_welcomes_and_drops_at_once_is_not_dialled_every_second_without_limit() {
        let start = Instant::now();
        let (mut now, mut backoff, mut sessions) = (start, Backoff::default(), 0);
        while now < start + 600 * SECOND {
            backoff.connected(now);
            now += SECOND / 10;
            now += backoff.lost(now, Failure::Answer, 1.0);
            sessions += 1;
        }
        assert!(sessions < 120, "{sessions} sessions in ten minutes");
    }

    #[test]
    fn after_minutes_without_an_answer_the_next_try_still_begins_within_a_second() {
        let start = Instant::now();
        let mut backoff = Backoff::default();
        let mut now = start;
        while now < start + 300 * SECOND {
            now += backoff.try_for(now);
            let wait = backoff.lost(now, Failure::Silence, 1.0);
            assert!(wait <= SECOND, "{wait:?} after {:?}", now - start);
            now += wait;
        }
        assert_eq!(
            backoff.lost(start + 700 * SECOND, Failure::Silence, 1.0),
            CAP
        );
    }
}
