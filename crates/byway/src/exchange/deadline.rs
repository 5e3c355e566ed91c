//! Deadline: a time limit on progress, not on totals.
//!
//! In:    a future that moves bytes, and a count of what it has moved; the least pace of a downstream, if there is one.
//! Out:   its result, or the news that for a whole limit nothing moved, or that the downstream does not keep its pace.
//! Never: fires while bytes move in time, however long the whole takes.

use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::alarm::Alarm;
use super::pace::Pace;

/// How far a future has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moving {
    /// Bytes moved so far, whatever they are; any of them is progress.
    pub all: u64,
    /// Of them, those that are up to the downstream.
    pub of_downstream: u64,
    /// Whether it is the downstream that is waited for.
    pub awaits_downstream: bool,
}

impl Moving {
    /// Bytes whose rate is nobody's business.
    fn at_any_rate(all: u64) -> Self {
        Self { all, ..Self::default() }
    }
}

/// Why a future was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivenUp {
    /// Nothing has moved for the whole limit.
    StoodStill,
    /// Something has, and the downstream was too slow all the same.
    TooSlow,
}

/// Watches a number that should grow.
struct Progress {
    seen: u64,
    /// The last look that found it grown, and when the next is due. The first is taken once there is something to wait for.
    since: Option<(Instant, Instant)>,
    limit: Duration,
}

impl Progress {
    /// Ready when `moved` has stood still for at least `limit` and at most twice that, or its downstream was too slow: the
    /// timer is armed anew only when it fires, so that moving bytes cost no timer operation.
    fn poll_given_up(
        &mut self,
        cx: &mut Context<'_>,
        alarm: &mut Alarm,
        moving: Moving,
        pace: &mut Pace,
    ) -> Poll<GivenUp> {
        pace.wait(moving.awaits_downstream, Instant::now);
        let (mut since, mut due) = self.since.unwrap_or_else(|| {
            self.seen = moving.all;
            let now = Instant::now();
            (now, now + self.limit)
        });
        while alarm.poll_at(cx, due).is_ready() {
            let now = Instant::now();
            if moving.all != self.seen {
                (self.seen, since) = (moving.all, now);
            } else if now >= since + self.limit {
                return Poll::Ready(GivenUp::StoodStill);
            }
            if pace.is_too_slow(moving.of_downstream, now) {
                return Poll::Ready(GivenUp::TooSlow);
            }
            let standstill = since + self.limit;
            due = pace.due(now).map_or(standstill, |due| due.min(standstill));
        }
        self.since = Some((since, due));
        Poll::Pending
    }
}

/// Polls `step` until it is ready; `step` also says how much has moved so far. `None` when it stalled for `limit`.
///
/// # Cancel safety
/// As safe as `step`.
pub async fn while_moving<T>(
    limit: Duration,
    alarm: &mut Alarm,
    mut step: impl FnMut(&mut Context<'_>) -> (Poll<T>, u64),
) -> Option<T> {
    let step = |cx: &mut Context<'_>| {
        let (ready, moved) = step(cx);
        (ready, Moving::at_any_rate(moved))
    };
    while_in_pace(limit, Pace::off(), alarm, step).await.ok()
}

/// Polls `step` until it is ready, as long as anything moves within `limit` and the downstream keeps its pace.
///
/// # Errors
/// Which of the two failed.
///
/// # Cancel safety
/// As safe as `step`.
pub async fn while_in_pace<T>(
    limit: Duration,
    mut pace: Pace,
    alarm: &mut Alarm,
    mut step: impl FnMut(&mut Context<'_>) -> (Poll<T>, Moving),
) -> Result<T, GivenUp> {
    let mut progress = Progress { seen: 0, since: None, limit };
    std::future::poll_fn(|cx| {
        let (ready, moving) = step(cx);
        match ready {
            Poll::Ready(value) => Poll::Ready(Ok(value)),
            Poll::Pending => progress.poll_given_up(cx, alarm, moving, &mut pace).map(Err),
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;
    use crate::config::LimitsPlan;

    #[tokio::test(start_paused = true)]
    async fn a_standstill_of_the_whole_limit_is_a_stall() {
        let (begun, mut alarm) = (Instant::now(), Alarm::default());
        let ended: Option<()> = while_moving(Duration::from_secs(10), &mut alarm, |_| (Poll::Pending, 0)).await;
        assert!(ended.is_none());
        assert_eq!(begun.elapsed(), Duration::from_secs(10));
    }

    #[tokio::test(start_paused = true)]
    async fn slow_but_steady_bytes_never_stall() {
        let (begun, mut alarm) = (Instant::now(), Alarm::default());
        let mut tick = pin!(tokio::time::sleep(Duration::from_secs(6)));
        let mut moved = 0;
        let ended = while_moving(Duration::from_secs(10), &mut alarm, |cx| {
            while tick.as_mut().poll(cx).is_ready() {
                moved += 1;
                tick.as_mut().reset(Instant::now() + Duration::from_secs(6));
            }
            (if moved == 20 { Poll::Ready(()) } else { Poll::Pending }, moved)
        });
        assert!(ended.await.is_some());
        assert_eq!(begun.elapsed(), Duration::from_secs(120));
    }

    /// A body that comes a byte in `pause` seconds, of which so many are spent waiting for the upstream.
    async fn dripping(limits: &LimitsPlan, pause: u64, upstream: u64) -> (Result<(), GivenUp>, u64) {
        let (begun, mut alarm) = (Instant::now(), Alarm::default());
        let mut tick = pin!(tokio::time::sleep(Duration::from_secs(upstream)));
        let (mut moved, mut awaits_downstream) = (0, false);
        let ended = while_in_pace(limits.body_progress, Pace::new(limits), &mut alarm, |cx| {
            while tick.as_mut().poll(cx).is_ready() {
                moved += u64::from(awaits_downstream);
                awaits_downstream = !awaits_downstream;
                let next = if awaits_downstream { pause - upstream } else { upstream };
                tick.as_mut().reset(Instant::now() + Duration::from_secs(next));
            }
            let ready = if moved == 100 { Poll::Ready(()) } else { Poll::Pending };
            (ready, Moving { all: moved, of_downstream: moved, awaits_downstream })
        });
        (ended.await, begun.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_drip_is_given_up_after_a_limit_of_waiting_for_the_downstream_and_not_of_all_waiting() {
        let limits = crate::testing::plan(
            "limits.min_rate = \"1B/s\"\nlimits.body_progress = \"60s\"\n[[tcp]]\nlisten = \":1\"\nto = \"a:1\"",
        );
        let limits = &limits.limits;
        assert_eq!(dripping(limits, 10, 0).await, (Err(GivenUp::TooSlow), 60));
        let (ended, seconds) = dripping(limits, 10, 5).await;
        assert_eq!(ended, Err(GivenUp::TooSlow));
        assert!((115..=125).contains(&seconds), "after {seconds} s, half of which the upstream took");
        assert_eq!(dripping(limits, 10, 9).await, (Ok(()), 1000), "a byte a second is the least");
    }
}
