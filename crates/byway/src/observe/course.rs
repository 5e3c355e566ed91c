//! Course: the course of one request as it is measured: which phase it is in, and how long those
//! before have taken.
//!
//! In:    the edges between phases, told by whoever moves the request.
//! Out:   timers that add up to the whole, to the microsecond.
//! Never: reads a clock but at those edges: four times for a request on a kept connection.

use std::sync::Arc;
use tokio::time::Instant;

/// What a request is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It is read, decided about, and waits for a connection.
    Queue,
    /// A connection is opened for it.
    Connect,
    /// It is sent, and its answer has not come.
    FirstByte,
    /// Its answer is passed on.
    Transfer,
}

impl Stage {
    /// The name of its timer, less the unit.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Connect => "connect",
            Self::FirstByte => "first_byte",
            Self::Transfer => "transfer",
        }
    }
}

/// How long each phase took, all tries together, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timers {
    /// Until it had a connection, without the opening of one.
    pub queue_us: u64,
    /// Opening connections: name, TCP, TLS; 0 if a kept one was there.
    pub connect_us: u64,
    /// From then to the head of the final answer.
    pub first_byte_us: u64,
    /// From that head to the end.
    pub transfer_us: u64,
}

impl Timers {
    /// All of it.
    pub const fn total_us(&self) -> u64 {
        self.queue_us + self.connect_us + self.first_byte_us + self.transfer_us
    }

    fn of(&mut self, stage: Stage) -> &mut u64 {
        match stage {
            Stage::Queue => &mut self.queue_us,
            Stage::Connect => &mut self.connect_us,
            Stage::FirstByte => &mut self.first_byte_us,
            Stage::Transfer => &mut self.transfer_us,
        }
    }
}

/// See the head of the file.
#[derive(Debug)]
pub struct Course {
    begun: Instant,
    stage: Stage,
    /// Microseconds from `begun` to the beginning of `stage`.
    since_us: u64,
    timers: Timers,
    /// Whether a connection was lent at all.
    asked: bool,
    /// Whether one was opened, or tried to be.
    dialled: bool,
    /// Whether the final answer has begun.
    answered: bool,
    /// Where it was sent, or was to be.
    pub upstream: Option<Arc<str>>,
    /// Who asked, where that is known.
    pub user: Option<Arc<str>>,
    /// Whether the connection that it went on last had carried others before.
    pub reused: bool,
    /// Whether it was sent more than once.
    pub retried: bool,
    /// Why it was not sent once more though it failed; one word.
    pub not_retried: Option<&'static str>,
}

impl Course {
    /// Of a request whose head was complete at `begun`.
    pub const fn begun(begun: Instant) -> Self {
        Self {
            begun,
            stage: Stage::Queue,
            since_us: 0,
            timers: Timers {
                queue_us: 0,
                connect_us: 0,
                first_byte_us: 0,
                transfer_us: 0,
            },
            asked: false,
            dialled: false,
            answered: false,
            upstream: None,
            user: None,
            reused: false,
            retried: false,
            not_retried: None,
        }
    }

    /// The request goes over to `next`: reads the clock.
    pub fn turn(&mut self, next: Stage) {
        self.turn_at(next, Instant::now());
    }

    fn turn_at(&mut self, next: Stage, now: Instant) {
        let now_us = self.elapsed_us(now);
        *self.timers.of(self.stage) += now_us - self.since_us;
        (self.stage, self.since_us) = (next, now_us);
        match next {
            Stage::Queue => {}
            Stage::Connect => self.dialled = true,
            Stage::FirstByte => self.asked = true,
            Stage::Transfer => self.answered = true,
        }
    }

    /// It has a connection, which had carried others before or had not.
    pub fn lent(&mut self, reused: bool) {
        self.reused = reused;
        self.turn(Stage::FirstByte);
    }

    /// What it is doing.
    pub const fn stage(&self) -> Stage {
        self.stage
    }

    /// The timers, if it ends at `now`.
    pub fn timers(&self, now: Instant) -> Timers {
        let mut timers = self.timers;
        *timers.of(self.stage) += self.elapsed_us(now) - self.since_us;
        timers
    }

    /// Whether it stood in the queue to some end, so that its wait says something about the pool.
    pub const fn has_queued(&self) -> bool {
        self.asked || self.dialled
    }

    /// Whether it had a connection opened.
    pub const fn has_dialled(&self) -> bool {
        self.dialled
    }

    /// Whether its final answer has begun.
    pub const fn is_answered(&self) -> bool {
        self.answered
    }

    fn elapsed_us(&self, now: Instant) -> u64 {
        // The clock is monotonic; were it not, the phase would have taken no time.
        (now.saturating_duration_since(self.begun).as_micros() as u64).max(self.since_us)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(course: &Course, us: u64) -> Instant {
        course.begun + Duration::from_micros(us)
    }

    #[test]
    fn timers_add_up_to_the_whole_over_a_retry() {
        let mut course = Course::begun(Instant::now());
        for (next, us) in [
            (Stage::FirstByte, 10),
            (Stage::Queue, 30),
            (Stage::Connect, 35),
            (Stage::Queue, 100),
        ] {
            course.turn_at(next, at(&course, us));
        }
        course.turn_at(Stage::FirstByte, at(&course, 101));
        course.turn_at(Stage::Transfer, at(&course, 500));
        let timers = course.timers(at(&course, 750));
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
        assert!(course.has_queued() && course.has_dialled() && course.is_answered());
    }

    #[test]
    fn a_request_that_was_refused_has_only_waited() {
        let course = Course::begun(Instant::now());
        assert_eq!(
            course.timers(at(&course, 9)),
            Timers {
                queue_us: 9,
                ..Timers::default()
            }
        );
        assert!(!course.has_queued() && !course.is_answered());
        assert_eq!(course.stage().word(), "queue");
    }

    #[test]
    fn a_clock_that_runs_backwards_costs_no_phase_anything() {
        let mut course = Course::begun(Instant::now());
        course.turn_at(Stage::FirstByte, at(&course, 50));
        course.turn_at(Stage::Transfer, at(&course, 20));
        assert_eq!(course.timers(at(&course, 60)).total_us(), 60);
    }
}
