//! Lazy timer: deadlines on a peer, without timer operations while the peer is quick.
//!
//! Never: fires early; arms a timer while nothing is waited for.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::time::{Instant, Sleep, sleep_until};

/// The one timer of a connection. It stays armed from one exchange to the next: if it fires too
/// early, it is set again, so that a quick exchange does not touch the timer.
#[derive(Default)]
pub(crate) struct LazyTimer {
    timer: Option<Pin<Box<Sleep>>>,
}

impl LazyTimer {
    /// Ready once it is `at` or later.
    pub(crate) fn poll_until(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if timer.deadline() > at {
            timer.as_mut().reset(at);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= at {
                return Poll::Ready(());
            }
            timer.as_mut().reset(at);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn the_timer_follows_a_deadline_that_moves_back_or_forth() {
        let begun = Instant::now();
        let mut timer = LazyTimer::default();
        let after = |seconds| begun + Duration::from_secs(seconds);
        // Armed for 10 s, then polled for 4: it must not sleep on. Then polled for 9: firing at 4
        // must not count.
        poll_fn(|cx| Poll::Ready(timer.poll_until(cx, after(10)).is_pending())).await;
        poll_fn(|cx| timer.poll_until(cx, after(4))).await;
        assert_eq!(begun.elapsed(), Duration::from_secs(4));
        poll_fn(|cx| timer.poll_until(cx, after(9))).await;
        assert_eq!(begun.elapsed(), Duration::from_secs(9));
        poll_fn(|cx| timer.poll_until(cx, after(3))).await;
        assert_eq!(begun.elapsed(), Duration::from_secs(9));
    }
}
