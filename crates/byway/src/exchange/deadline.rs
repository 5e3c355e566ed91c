//! Deadline: a time limit on progress, not on totals.
//!
//! In:    a future that moves bytes, and a count of what it has moved.
//! Out:   its result, or the news that for a whole limit nothing moved.
//! Never: fires while bytes move, however slowly the whole goes.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Watches a number that should grow.
struct Progress {
    seen: u64,
    limit: Duration,
}

impl Progress {
    /// A watch that allows pauses of `limit`.
    fn new(limit: Duration) -> Self {
        Self { seen: 0, limit }
    }

    /// Ready when `moved` has stood still for at least `limit` and at most twice that: the timer is armed anew only when
    /// it fires, so that moving bytes cost no timer operation.
    fn poll_stalled(&mut self, cx: &mut Context<'_>, mut timer: Pin<&mut Sleep>, moved: u64) -> Poll<()> {
        while timer.as_mut().poll(cx).is_ready() {
            if moved == self.seen {
                return Poll::Ready(());
            }
            self.seen = moved;
            timer.as_mut().reset(Instant::now() + self.limit);
        }
        Poll::Pending
    }
}

/// Polls `step` until it is ready; `step` also says how much has moved so far. `None` when it stalled for `limit`.
///
/// # Cancel safety
/// As safe as `step`.
pub async fn while_moving<T>(limit: Duration, mut step: impl FnMut(&mut Context<'_>) -> (Poll<T>, u64)) -> Option<T> {
    let mut progress = Progress::new(limit);
    let mut timer = pin!(sleep_until(Instant::now() + limit));
    std::future::poll_fn(|cx| {
        let (ready, moved) = step(cx);
        match ready {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending => progress.poll_stalled(cx, timer.as_mut(), moved).map(|()| None),
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_standstill_of_the_whole_limit_is_a_stall() {
        let begun = Instant::now();
        let ended: Option<()> = while_moving(Duration::from_secs(10), |_| (Poll::Pending, 0)).await;
        assert!(ended.is_none());
        assert_eq!(begun.elapsed(), Duration::from_secs(10));
    }

    #[tokio::test(start_paused = true)]
    async fn slow_but_steady_bytes_never_stall() {
        let begun = Instant::now();
        let mut tick = pin!(tokio::time::sleep(Duration::from_secs(6)));
        let mut moved = 0;
        let ended = while_moving(Duration::from_secs(10), |cx| {
            while tick.as_mut().poll(cx).is_ready() {
                moved += 1;
                tick.as_mut().reset(Instant::now() + Duration::from_secs(6));
            }
            (if moved == 20 { Poll::Ready(()) } else { Poll::Pending }, moved)
        });
        assert!(ended.await.is_some());
        assert_eq!(begun.elapsed(), Duration::from_secs(120));
    }
}
