//! Lazy timer: deadlines on a peer, that cost nothing while it is quick.
//!
//! In:    when to ring.
//! Out:   the ring.
//! Never: rings early, and never arms a timer while nothing is waited for.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::time::{Instant, Sleep, sleep_until};

/// The one timer of a connection. It stays armed from one exchange to the next: a ring that comes
/// too early is looked at and set again, so that a quick exchange moves no timer at all.
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
    async fn a_deadline_that_moved_back_or_forth_rings_when_it_should() {
        let begun = Instant::now();
        let mut timer = LazyTimer::default();
        let after = |seconds| begun + Duration::from_secs(seconds);
        // Armed for 10 s, then asked for 4: it must not sleep on; asked for 9 behind that: the ring
        // at 4 is no ring.
        poll_fn(|cx| Poll::Ready(timer.poll_until(cx, after(10)).is_pending())).await;
        poll_fn(|cx| timer.poll_until(cx, after(4))).await;
        assert_eq!(begun.elapsed(), Duration::from_secs(4));
        poll_fn(|cx| timer.poll_until(cx, after(9))).await;
        assert_eq!(begun.elapsed(), Duration::from_secs(9));
        poll_fn(|cx| timer.poll_until(cx, after(3))).await;
        assert_eq!(begun.elapsed(), Duration::from_secs(9));
    }
}
