//! Lazy timer: the one timer of a connection, for one deadline after another.
//!
//! In:    the current deadline.
//! Out:   a notification once it has passed.
//! Never: fires late. It may wake its task early: a timer that is armed for an earlier time is left
//!        as it is, since on a busy connection bytes arrive before nearly every deadline, and the
//!        next one is later.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};

/// The timer of a connection, for one deadline after another. A later deadline does not reset it
/// before it fires. The timer is created at the first wait.
#[derive(Default)]
pub struct LazyTimer(Option<Pin<Box<Sleep>>>);

impl LazyTimer {
    /// Ready once `deadline` has passed.
    pub fn poll_at(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let sleep = self
            .0
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            // It fired for an earlier deadline.
            sleep.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_deadline_fires_on_time_whatever_the_previous_one_was() {
        let mut timer = LazyTimer::default();
        for seconds in [10, 1, 60, 60, 2] {
            let begun = Instant::now();
            poll_fn(|cx| timer.poll_at(cx, begun + Duration::from_secs(seconds))).await;
            assert_eq!(begun.elapsed(), Duration::from_secs(seconds));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_deadline_takes_over_the_timer_of_one_that_was_not_reached() {
        let mut timer = LazyTimer::default();
        let begun = Instant::now();
        let overtaken = poll_fn(|cx| {
            Poll::Ready(
                timer
                    .poll_at(cx, begun + Duration::from_secs(1))
                    .is_pending(),
            )
        })
        .await;
        assert!(overtaken);
        poll_fn(|cx| timer.poll_at(cx, begun + Duration::from_secs(60))).await;
        assert_eq!(begun.elapsed(), Duration::from_secs(60));
    }
}
