//! Timing: the phase of one request, and how long the earlier phases took.
//!
//! In:    the transitions between phases.
//! Out:   timers that add up to the whole, to the microsecond.
//! Never: reads the clock except at those transitions: four times for a request on a kept
//!        connection.

use std::sync::Arc;
use tokio::time::Instant;

/// The phases of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It is read and routed, and waits for a connection.
    Queue,
    /// A connection is opened for it.
    Connect,
    /// It is sent, and its response has not come.
    FirstByte,
    /// Its response is passed on.
    Transfer,
}

impl Phase {
    /// The name of its timer, without the unit.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Connect => "connect",
            Self::FirstByte => "first_byte",
            Self::Transfer => "transfer",
        }
    }
}

/// How long each phase took, over all attempts, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timers {
    /// Until it had a connection, without the time to open one.
    pub queue_us: u64,
    /// Opening connections: name look-up, TCP, TLS; 0 if a kept one was used.
    pub connect_us: u64,
    /// From the connection to the head of the final response.
    pub first_byte_us: u64,
    /// From that head to the end.
    pub transfer_us: u64,
}

impl Timers {
    /// The sum of all timers.
    pub const fn total_us(&self) -> u64 {
        self.queue_us + self.connect_us + self.first_byte_us + self.transfer_us
    }

    fn of(&mut self, phase: Phase) -> &mut u64 {
        match phase {
            Phase::Queue => &mut self.queue_us,
            Phase::Connect => &mut self.connect_us,
            Phase::FirstByte => &mut self.first_byte_us,
            Phase::Transfer => &mut self.transfer_us,
        }
    }
}

/// The current phase of one request, and how long the earlier ones took, in microseconds. The
/// phases add up to the whole; the clock is read only when a phase begins.
#[derive(Debug)]
pub struct Timing {
    begun: Instant,
    phase: Phase,
    /// Microseconds from `begun` to the start of `phase`.
    since_us: u64,
    timers: Timers,
    /// Whether it had a connection at all.
    sent: bool,
    /// Whether opening a connection was tried.
    dialled: bool,
    /// Whether the final response has begun.
    answered: bool,
    /// The upstream that was selected.
    pub upstream: Option<Arc<str>>,
    /// The authenticated user, if any.
    pub user: Option<Arc<str>>,
    /// Whether its last connection had been used before.
    pub reused: bool,
    /// Whether it was sent more than once.
    pub retried: bool,
    /// Why it was not retried though it failed; one word.
    pub not_retried: Option<&'static str>,
}

impl Timing {
    /// The timing of a request whose head was complete at `begun`.
    pub const fn begun(begun: Instant) -> Self {
        Self {
            begun,
            phase: Phase::Queue,
            since_us: 0,
            timers: Timers {
                queue_us: 0,
                connect_us: 0,
                first_byte_us: 0,
                transfer_us: 0,
            },
            sent: false,
            dialled: false,
            answered: false,
            upstream: None,
            user: None,
            reused: false,
            retried: false,
            not_retried: None,
        }
    }

    /// Moves the request to the phase `next`: reads the clock.
    pub fn enter(&mut self, next: Phase) {
        self.enter_at(next, Instant::now());
    }

    fn enter_at(&mut self, next: Phase, now: Instant) {
        let now_us = self.elapsed_us(now);
        *self.timers.of(self.phase) += now_us - self.since_us;
        (self.phase, self.since_us) = (next, now_us);
        match next {
            Phase::Queue => {}
            Phase::Connect => self.dialled = true,
            Phase::FirstByte => self.sent = true,
            Phase::Transfer => self.answered = true,
        }
    }

    /// It has a connection; `reused` if that had been used before.
    pub fn connected(&mut self, reused: bool) {
        self.reused = reused;
        self.enter(Phase::FirstByte);
    }

    /// The current phase.
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// The timers, if the request ends at `now`.
    pub fn timers(&self, now: Instant) -> Timers {
        let mut timers = self.timers;
        *timers.of(self.phase) += self.elapsed_us(now) - self.since_us;
        timers
    }

    /// Whether its wait in the queue ended, so that its duration says something about the pool.
    pub const fn has_queued(&self) -> bool {
        self.sent || self.dialled
    }

    /// Whether opening a connection was tried.
    pub const fn has_dialled(&self) -> bool {
        self.dialled
    }

    /// Whether its final response has begun.
    pub const fn is_answered(&self) -> bool {
        self.answered
    }

    fn elapsed_us(&self, now: Instant) -> u64 {
        // The clock is monotonic; if it were not, the phase would have taken no time.
        (now.saturating_duration_since(self.begun).as_micros() as u64).max(self.since_us)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(timing: &Timing, us: u64) -> Instant {
        timing.begun + Duration::from_micros(us)
    }

    #[test]
    fn timers_add_up_to_the_whole_over_a_retry() {
        let mut timing = Timing::begun(Instant::now());
        for (next, us) in [
            (Phase::FirstByte, 10),
            (Phase::Queue, 30),
            (Phase::Connect, 35),
            (Phase::Queue, 100),
        ] {
            timing.enter_at(next, at(&timing, us));
        }
        timing.enter_at(Phase::FirstByte, at(&timing, 101));
        timing.enter_at(Phase::Transfer, at(&timing, 500));
        let timers = timing.timers(at(&timing, 750));
        assert_eq!(
            timers,
            Timers {
                queue_us: 16,
                connect_us: 65,
                first_byte_us: 419,
                transfer_us: 250
            }
        );
        assert_eq!(timers.total_us(), 750);
        assert!(timing.has_queued() && timing.has_dialled() && timing.is_answered());
    }

    #[test]
    fn a_refused_request_has_only_queue_time() {
        let timing = Timing::begun(Instant::now());
        assert_eq!(
            timing.timers(at(&timing, 9)),
            Timers {
                queue_us: 9,
                ..Timers::default()
            }
        );
        assert!(!timing.has_queued() && !timing.is_answered());
        assert_eq!(timing.phase().word(), "queue");
    }

    #[test]
    fn a_clock_that_runs_backwards_shortens_no_phase() {
        let mut timing = Timing::begun(Instant::now());
        timing.enter_at(Phase::FirstByte, at(&timing, 50));
        timing.enter_at(Phase::Transfer, at(&timing, 20));
        assert_eq!(timing.timers(at(&timing, 60)).total_us(), 60);
    }
}
