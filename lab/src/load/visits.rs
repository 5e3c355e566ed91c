//! Visits: small requests at a steady rate, each on a new connection, independent of earlier ones.
//!
//! In:    how to reach the origin, how often, for how long, and how long a client waits.
//! Out:   when each visit was due, how long it took, and whether it was answered.
//! Never: leaves out a visit because earlier ones are still waiting.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::answer::Answer;
use super::keepalive::exchange;
use super::reach::Reach;
use super::request::Request;

/// One visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Visit {
    /// When it was due, relative to the first.
    pub(crate) due: Duration,
    /// From then until its last byte, or until it failed.
    pub(crate) took: Duration,
    /// Whether it was answered.
    pub(crate) answered: bool,
}

/// The schedule of visits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Visits {
    /// The time between two visits.
    pub(crate) every: Duration,
    /// The last one is due before this.
    pub(crate) window: Duration,
    /// A visit that takes this long has failed.
    pub(crate) patience: Duration,
    /// The length of each answer.
    pub(crate) bytes: u64,
}

impl Visits {
    /// All of them, in the order in which they were due.
    pub(crate) async fn run(self, reach: Reach, target: SocketAddr) -> Vec<Visit> {
        let started = Instant::now();
        let mut ticks = interval_at(started, self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut running = JoinSet::new();
        for _ in 0..self.window.as_nanos() / self.every.as_nanos().max(1) {
            let due = ticks.tick().await;
            running.spawn(async move {
                let visited = timeout(self.patience, visit(reach, target, self.bytes)).await;
                let answered = matches!(visited, Ok(Ok(())));
                Visit {
                    due: due.saturating_duration_since(started),
                    took: due.elapsed(),
                    answered,
                }
            });
        }
        let mut all = running.join_all().await;
        all.sort_by_key(|visit| visit.due);
        all
    }
}

async fn visit(reach: Reach, target: SocketAddr, bytes: u64) -> anyhow::Result<()> {
    let mut stream = reach.open(target).await?;
    exchange(
        &mut stream,
        &Request::get(bytes, target).bytes,
        &mut Answer::expecting(bytes),
    )
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn visits_are_due_whether_or_not_earlier_ones_are_answered() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = crate::origin::Origin::start().unwrap();
        let every = Duration::from_millis(5);
        let visits = Visits {
            every,
            window: every * 10,
            patience: Duration::from_millis(200),
            bytes: 1024,
        };
        let of = |address| visits.run(Reach::Plain(address), address);
        let (failed, answered) =
            tokio::join!(of(silent.local_addr().unwrap()), of(origin.address()));
        assert_eq!((failed.len(), answered.len()), (10, 10));
        assert!(
            failed
                .iter()
                .all(|visit| !visit.answered && visit.took >= visits.patience)
        );
        assert_eq!(answered[9].due, every * 9);
    }
}
