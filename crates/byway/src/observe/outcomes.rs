//! Outcomes: how many requests and tunnels of one worker ended, by outcome.
//!
//! In:    an `Ending`, from the worker's thread.
//! Out:   numbers by side and reason, read by any thread.

use super::counters::LocalCounter;
use super::ending::Ending;
use crate::fault::{Reason, Who};

/// Counts how the requests and tunnels of one worker ended: by side and reason, or as done. Only
/// the worker's thread may write it; any thread may read it.
#[derive(Debug)]
pub struct Outcomes {
    done: LocalCounter,
    /// In the order of [`Outcomes::labels`].
    failed: Box<[LocalCounter]>,
}

impl Default for Outcomes {
    fn default() -> Self {
        Self {
            done: LocalCounter::default(),
            failed: Self::labels().map(|_| LocalCounter::default()).collect(),
        }
    }
}

impl Outcomes {
    /// Counts one ending.
    pub fn note(&self, ending: Ending) {
        let Some(who) = ending.who else {
            return self.done.add(1);
        };
        let place = who as usize * Reason::ALL.len() + ending.reason as usize;
        if let Some(count) = self.failed.get(place) {
            count.add(1);
        }
    }

    /// The number of successes.
    pub fn done(&self) -> u64 {
        self.done.value()
    }

    /// Adds the numbers of failures to `sum`, which must be as long as [`Outcomes::room`].
    pub fn add_to(&self, sum: &mut [u64]) {
        for (to, from) in sum.iter_mut().zip(&self.failed) {
            *to += from.value();
        }
    }

    /// Zeroes for [`Outcomes::add_to`].
    pub fn room() -> Vec<u64> {
        Self::labels().map(|_| 0).collect()
    }

    /// The side and reason of each number of a sum, in order.
    pub fn labels() -> impl Iterator<Item = (Who, Reason)> {
        Who::ALL
            .into_iter()
            .flat_map(|who| Reason::ALL.iter().map(move |reason| (who, *reason)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_ending_is_counted_under_its_side_and_reason() {
        let outcomes = Outcomes::default();
        let note = |who, reason| {
            outcomes.note(Ending {
                who,
                reason,
                phase: "queue",
            })
        };
        note(None, Reason::Done);
        note(Some(Who::Us), Reason::QueueFull);
        note(Some(Who::Us), Reason::QueueFull);
        note(Some(Who::Upstream), Reason::FirstByte);
        note(Some(Who::Downstream), Reason::Other);
        let mut sum = Outcomes::room();
        outcomes.add_to(&mut sum);
        let counted: Vec<_> = Outcomes::labels()
            .zip(sum)
            .filter(|(_, count)| *count > 0)
            .collect();
        assert_eq!(outcomes.done(), 1);
        assert_eq!(
            counted,
            [
                ((Who::Downstream, Reason::Other), 1),
                ((Who::Upstream, Reason::FirstByte), 1),
                ((Who::Us, Reason::QueueFull), 2)
            ]
        );
    }
}
