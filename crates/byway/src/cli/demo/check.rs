//! Check: runs every journey and prints its result.
//!
//! In:    a scene.   Out: one line a journey on stdout, one for all; whether all passed.
//! Never: stops at the first failure, or waits for one journey longer than [`DEADLINE`].

use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::{Instant, timeout};

use super::journeys::{self, Journey};
use super::print;
use super::scene::Scene;

/// The longest that one journey may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// How many journeys run at once.
const AT_ONCE: usize = 2;

/// Runs them all. `true`: all passed.
pub(super) async fn check(scene: &Scene) -> bool {
    let started = Instant::now();
    let journeys = journeys::all(scene);
    let count = journeys.len();
    let mut outcomes = stream::iter(journeys.into_iter().map(run)).buffered(AT_ONCE);
    let mut failed = 0;
    while let Some(outcome) = outcomes.next().await {
        failed += usize::from(outcome.saw.is_err());
        print(&outcome.line());
    }
    let took = started.elapsed().as_secs_f32();
    print(&match failed {
        0 => format!("all {count} journeys passed, in {took:.1} s\n"),
        failed => format!("{failed} of {count} journeys FAILED, in {took:.1} s\n"),
    });
    failed == 0
}

/// How a journey ended.
struct CheckResult {
    name: String,
    /// What it saw, or what went wrong.
    saw: Result<String, String>,
    took: Duration,
}

impl CheckResult {
    fn line(&self) -> String {
        let (verdict, saw) = match &self.saw {
            Ok(saw) => ("ok    ", saw),
            Err(wrong) => ("FAILED", wrong),
        };
        format!(
            "{verdict}  {:<50}  {saw}, {:.2} s\n",
            self.name,
            self.took.as_secs_f32()
        )
    }
}

async fn run(journey: Journey<'_>) -> CheckResult {
    let started = Instant::now();
    let saw = match timeout(DEADLINE, journey.steps).await {
        Ok(saw) => saw.map_err(|error| format!("{error:#}")),
        Err(_elapsed) => Err(format!("it did not end within {} s", DEADLINE.as_secs())),
    };
    CheckResult {
        name: journey.name,
        saw,
        took: started.elapsed(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_verdict_the_journey_and_the_result() {
        let line = |saw| {
            CheckResult {
                name: "edge: echo".into(),
                saw,
                took: Duration::from_millis(1250),
            }
            .line()
        };
        let name = format!("{:<50}", "edge: echo");
        assert_eq!(
            line(Ok("5 bytes".into())),
            format!("ok      {name}  5 bytes, 1.25 s\n")
        );
        assert_eq!(
            line(Err("a reset".into())),
            format!("FAILED  {name}  a reset, 1.25 s\n")
        );
    }
}
