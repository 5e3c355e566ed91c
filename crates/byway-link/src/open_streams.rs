//! Open streams: counts the open streams of a carrier, and signals when none is left.
//!
//! In:    each stream when it is opened or accepted, until it is dropped.
//! Out:   the count, and a signal when it becomes zero.
//! Never: polls, and never takes a lock for a stream while others are open.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::sync::Notify;

/// Counts the open streams of a carrier, and signals when none is left. Clones share the count.
#[derive(Clone, Debug, Default)]
pub(crate) struct OpenStreams(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    count: AtomicUsize,
    none_left: Notify,
}

/// Counts one stream while it lives.
#[derive(Debug)]
pub(crate) struct OpenStream(Arc<Inner>);

impl OpenStreams {
    /// Counts one more stream, until the result is dropped.
    pub(crate) fn add(&self) -> OpenStream {
        self.0.count.fetch_add(1, SeqCst);
        OpenStream(Arc::clone(&self.0))
    }

    /// The number of open streams.
    pub(crate) fn count(&self) -> usize {
        self.0.count.load(SeqCst)
    }

    /// Resolves once no stream is open. Cancel safe.
    pub(crate) async fn none(&self) {
        loop {
            let mut none_left = std::pin::pin!(self.0.none_left.notified());
            // Before the count is read, so that no signal between the two is missed.
            none_left.as_mut().enable();
            if self.count() == 0 {
                return;
            }
            none_left.await;
        }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, SeqCst) == 1 {
            self.0.none_left.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[tokio::test]
    async fn the_end_of_the_last_stream_is_a_signal_and_that_of_an_earlier_one_is_not() {
        let streams = OpenStreams::default();
        streams.none().await;
        let (one, other) = (streams.add(), streams.add());
        let mut none = std::pin::pin!(streams.none());
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(none.as_mut().poll(&mut cx), Poll::Pending);
        drop(one);
        assert_eq!(none.as_mut().poll(&mut cx), Poll::Pending);
        drop(other);
        assert_eq!(none.as_mut().poll(&mut cx), Poll::Ready(()));
    }
}
