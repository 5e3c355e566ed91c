//! Results: the measurements of each way, in the order of the table.
//!
//! In:    ways, rounds, and the measurement.
//! Out:   the results of each way, or why it dropped out.
//! Never: lets one way's failure end the run, or begins a round when the budget is used up.

use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::time::timeout;

use super::crossings::Way;
use crate::environment::RunEnvironment;
use crate::report::Section;
use crate::statistics::Spread;

/// See the top of the file.
pub(super) struct Results<T> {
    /// The way across the path.
    pub(super) way: Way,
    /// One entry per round.
    pub(super) turns: Vec<T>,
    failure: Option<String>,
}

/// Starting, measuring and stopping one way may take this much longer than the measurement itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// Measures every way once in every round; each round begins with another way. `turn` gets the
/// number of the round, which seeds the path: all ways get the same path.
pub(super) async fn interleave<T>(
    env: &RunEnvironment,
    ways: Vec<Way>,
    length: Duration,
    turn: impl AsyncFn(&Way, u64) -> Result<T>,
) -> Vec<Results<T>> {
    let order = ways.clone();
    let mut all: Vec<_> = ways
        .into_iter()
        .map(|way| Results {
            way,
            turns: Vec::new(),
            failure: None,
        })
        .collect();
    for round in 0..env.rounds {
        if all.is_empty() || round > 0 && !env.has_time() {
            break;
        }
        let first = round % all.len();
        all.rotate_left(first);
        for results in all.iter_mut().filter(|results| results.failure.is_none()) {
            eprintln!("lab:   {}, round {}", results.way.name(), round + 1);
            let taken = timeout(length + PATIENCE, turn(&results.way, round as u64 + 1)).await;
            match taken.unwrap_or_else(|_| Err(anyhow!("it was not done in time"))) {
                Ok(result) => results.turns.push(result),
                Err(error) => results.failure = Some(format!("{error:#}")),
            }
        }
        all.sort_by_key(|results| order.iter().position(|way| *way == results.way));
    }
    all
}

impl<T> Results<T> {
    /// Median, least and most of one figure.
    pub(super) fn spread(&self, figure: impl Fn(&T) -> f64) -> Option<Spread> {
        Spread::of(self.turns.iter().map(figure))
    }

    /// Adds a note if it dropped out.
    pub(super) fn note(&self, section: &mut Section) {
        if let Some(why) = &self.failure {
            section.note(format!("{} dropped out: {why}.", self.way.name()));
        }
    }
}

/// `12.3 (11.9 … 12.4)`, or the only figure of a single round.
pub(super) fn with_ends(spread: Spread, digits: usize) -> String {
    let [least, median, most] =
        [spread.least, spread.median, spread.most].map(|value| format!("{value:.digits$}"));
    if least == most {
        median
    } else {
        format!("{median} ({least} … {most})")
    }
}
