//! Plan: how a path changes over time.
//!
//! In:    shapes and the times at which they begin.
//! Out:   the changes that are due.
//! Never: looks at a clock.

use std::time::Duration;

use super::shape::Shape;

/// The direction of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the far end to the near one: downloads.
    Down,
    /// From the near end to the far one.
    Up,
}

/// One change.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The time, from the start of the plan.
    pub at: Duration,
    /// The direction that changes.
    pub direction: Direction,
    /// Its shape from then on.
    pub shape: Shape,
}

/// Changes sorted by time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    steps: Vec<Step>,
}

impl Plan {
    /// Adds a change of one direction. Changes at the same time happen in the order in which they
    /// are added.
    pub fn one(mut self, at: Duration, direction: Direction, shape: &Shape) -> Self {
        let place = self.steps.partition_point(|step| step.at <= at);
        self.steps.insert(
            place,
            Step {
                at,
                direction,
                shape: shape.clone(),
            },
        );
        self
    }

    /// Adds the same change of both directions.
    pub fn both(self, at: Duration, shape: &Shape) -> Self {
        self.one(at, Direction::Down, shape)
            .one(at, Direction::Up, shape)
    }

    /// Adds a period with another shape, followed by `shape`.
    pub fn episode(self, at: Duration, length: Duration, other: &Shape, shape: &Shape) -> Self {
        self.both(at, other).both(at + length, shape)
    }

    /// Silent for `dead`, then `shape` for `alive`, repeated until `end`; `shape` from then on.
    pub fn flapping(shape: &Shape, dead: Duration, alive: Duration, end: Duration) -> Self {
        let (mut plan, mut at, silent) = (Self::default(), Duration::ZERO, shape.clone().silent());
        while at < end && !(dead + alive).is_zero() {
            plan = plan.episode(at, dead.min(end - at), &silent, shape);
            at += dead + alive;
        }
        plan
    }

    /// The time of the next change.
    pub fn next(&self) -> Option<Duration> {
        self.steps.first().map(|step| step.at)
    }

    /// Removes and returns the changes that are due.
    pub fn due(&mut self, now: Duration) -> impl Iterator<Item = Step> + '_ {
        let count = self.steps.partition_point(|step| step.at <= now);
        self.steps.drain(..count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn changes_are_due_in_the_order_of_their_times() {
        let (shape, silent) = (Shape::default(), Shape::default().silent());
        let mut plan =
            Plan::default()
                .both(seconds(5), &shape)
                .one(seconds(2), Direction::Up, &silent);
        assert_eq!(plan.next(), Some(seconds(2)));
        let due: Vec<_> = plan
            .due(seconds(4))
            .map(|step| (step.direction, step.shape.silent))
            .collect();
        assert_eq!(due, [(Direction::Up, true)]);
        let due: Vec<_> = plan.due(seconds(5)).map(|step| step.direction).collect();
        assert_eq!(due, [Direction::Down, Direction::Up]);
        assert_eq!(plan.next(), None);
    }

    #[test]
    fn a_flapping_path_is_dead_first_and_alive_at_the_end() {
        let mut plan = Plan::flapping(&Shape::default(), seconds(9), seconds(6), seconds(35));
        let steps: Vec<_> = plan
            .due(seconds(100))
            .map(|step| (step.at.as_secs(), step.shape.silent))
            .collect();
        let once: Vec<_> = steps.chunks(2).map(|both| both[0]).collect();
        assert_eq!(
            once,
            [
                (0, true),
                (9, false),
                (15, true),
                (24, false),
                (30, true),
                (35, false)
            ]
        );
    }
}
