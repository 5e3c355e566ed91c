//! Cycle: the phases of the controller, and their counters.
//!
//! In:    changes of phase, completed rounds, a seed.
//! Out:   the current phase, its age in rounds, and the time of the next probe.

use std::time::{Duration, Instant};

/// The time between two probes for more: from the first up to the sum of both, so that flows do not
/// probe at the same times.
const CRUISE: Duration = Duration::from_secs(2);
const CRUISE_SPREAD: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Grows until the rate stops growing.
    Startup,
    /// Drains the queue that startup has created.
    Drain,
    /// Drains the queue that a probe has created.
    Down,
    /// Keeps the rate.
    Cruise,
    /// Fills the path for one round, so that a probe does not measure an empty one.
    Refill,
    /// Probes for more.
    Up,
    /// Measures the smallest round trip.
    ProbeRtt,
}

/// The phase of the controller, how many rounds it has lasted, and the time of the next probe. Also
/// counts how many of the rounds between two probes had a queue.
#[derive(Clone, Debug)]
pub(super) struct Cycle {
    phase: Phase,
    rounds: u32,
    app_limited: bool,
    cruise_until: Instant,
    cruise_rounds: u32,
    cruise_rounds_with_queue: u32,
    crowded: bool,
    random: fastrand::Rng,
}

impl Cycle {
    pub(super) fn new(now: Instant, seed: u64) -> Self {
        Self {
            phase: Phase::Startup,
            rounds: 0,
            app_limited: false,
            cruise_until: now,
            cruise_rounds: 0,
            cruise_rounds_with_queue: 0,
            crowded: false,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// Rounds completed in this phase.
    pub(super) fn rounds(&self) -> u32 {
        self.rounds
    }

    pub(super) fn enter(&mut self, phase: Phase) {
        (self.phase, self.rounds) = (phase, 0);
    }

    /// Counts the rounds of the phase from 0 again.
    pub(super) fn restart_rounds(&mut self) {
        self.rounds = 0;
    }

    /// Ends a round.
    pub(super) fn add_round(&mut self, app_limited: bool) {
        self.rounds = self.rounds.saturating_add(1);
        self.app_limited |= app_limited;
    }

    /// Whether a round since the last call was limited by the application.
    pub(super) fn take_app_limited(&mut self) -> bool {
        std::mem::take(&mut self.app_limited)
    }

    /// Chooses the time of the next probe at random.
    pub(super) fn draw_cruise(&mut self, now: Instant) {
        let spread = CRUISE_SPREAD.mul_f64(self.random.f64());
        self.cruise_until = now + CRUISE + spread;
    }

    pub(super) fn cruise_until(&self) -> Instant {
        self.cruise_until
    }

    /// Ends a round of the cruise.
    pub(super) fn add_cruise_round(&mut self, queue: bool) {
        self.cruise_rounds += 1;
        self.cruise_rounds_with_queue += u32::from(queue);
        self.crowded = self.cruise_rounds_with_queue * 2 > self.cruise_rounds;
    }

    /// Lets the next cruise count its rounds from 0. Until its first round ends, `crowded` keeps
    /// the value of this one.
    pub(super) fn end_cruise(&mut self) {
        (self.cruise_rounds, self.cruise_rounds_with_queue) = (0, 0);
    }

    /// Most rounds of the cruise had a queue: other flows keep one.
    pub(super) fn crowded(&self) -> bool {
        self.crowded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_crowded_while_most_rounds_of_a_cruise_have_a_queue() {
        let mut cycle = Cycle::new(Instant::now(), 1);
        cycle.add_cruise_round(true);
        assert!(cycle.crowded());
        cycle.add_cruise_round(false);
        assert!(!cycle.crowded());
        cycle.add_cruise_round(true);
        cycle.end_cruise();
        assert!(cycle.crowded(), "until a round of the next cruise is over");
        cycle.add_cruise_round(false);
        assert!(!cycle.crowded());
    }

    #[test]
    fn entering_a_phase_keeps_the_time_of_the_next_probe() {
        let now = Instant::now();
        let mut cycle = Cycle::new(now, 1);
        cycle.draw_cruise(now);
        let until = cycle.cruise_until();
        assert!((CRUISE..CRUISE + CRUISE_SPREAD).contains(&(until - now)));
        cycle.add_round(true);
        cycle.enter(Phase::Down);
        assert_eq!(
            (cycle.phase(), cycle.rounds(), cycle.cruise_until()),
            (Phase::Down, 0, until)
        );
        assert!(cycle.take_app_limited() && !cycle.take_app_limited());
    }
}
