//! Gate: room for control and for new streams on a connection whose send window is full.
//!
//! In:    that the window had no room for all that a stream wrote.
//! Out:   a short pause for the streams that have written much.
//! Never: holds back control or the first bytes of a stream, and never holds anything back for longer than [`PAUSE`].
//!
//! All streams of a connection share its send window. What a stream waits to write goes in as soon as an acknowledgement
//! makes room, in no order that helps: with a hundred streams that always have more, a ping or the first bytes of a new
//! stream might not get in for seconds. During the pause, what becomes free is for them alone.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::sleep;
use tokio_util::task::TaskTracker;

/// Long enough for acknowledgements to make room for a few packets on a slow path, and short beside what a full send window
/// lasts on a fast one: 16 MiB are 134 ms of 1 Gbit/s.
const PAUSE: Duration = Duration::from_millis(20);

/// See the head of the file. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Gate(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// Read without the lock, and changed under it.
    closed: AtomicBool,
    /// Streams that wait, by their numbers.
    waiting: Mutex<HashMap<u64, Waker>>,
}

impl Gate {
    /// Ready unless there is a pause; then the stream is woken at its end.
    pub(super) fn poll_open(&self, stream: u64, cx: &Context<'_>) -> Poll<()> {
        if !self.0.closed.load(Relaxed) {
            return Poll::Ready(());
        }
        let mut waiting = self.0.waiting.lock();
        if !self.0.closed.load(Relaxed) {
            return Poll::Ready(());
        }
        waiting.insert(stream, cx.waker().clone());
        Poll::Pending
    }

    /// The window is full: begins a pause, if there is none.
    pub(super) fn pause(&self, tasks: &TaskTracker) {
        {
            let _waiting = self.0.waiting.lock();
            if self.0.closed.swap(true, Relaxed) {
                return;
            }
        }
        let gate = self.clone();
        tasks.spawn(async move {
            sleep(PAUSE).await;
            gate.open();
        });
    }

    fn open(&self) {
        let woken = {
            let mut waiting = self.0.waiting.lock();
            self.0.closed.store(false, Relaxed);
            std::mem::take(&mut *waiting)
        };
        woken.into_values().for_each(Waker::wake);
    }

    /// The stream is over.
    pub(super) fn forget(&self, stream: u64) {
        if self.0.closed.load(Relaxed) {
            self.0.waiting.lock().remove(&stream);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_util::poll;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn streams_with_much_to_write_pause_once_and_all_go_on() {
        let (gate, tasks) = (Gate::default(), TaskTracker::new());
        assert!(poll!(poll_fn(|cx| gate.poll_open(1, cx))).is_ready());
        let begun = Instant::now();
        gate.pause(&tasks);
        gate.pause(&tasks);
        assert_eq!(tasks.len(), 1, "one pause at a time");
        let open = |stream| {
            poll_fn({
                let gate = gate.clone();
                move |cx| gate.poll_open(stream, cx)
            })
        };
        assert!(poll!(open(1)).is_pending());
        assert!(poll!(open(3)).is_pending());
        gate.forget(3);
        assert_eq!(gate.0.waiting.lock().len(), 1);
        tokio::join!(open(1), open(2));
        assert_eq!(begun.elapsed(), PAUSE);
        assert!(gate.0.waiting.lock().is_empty());
    }
}
