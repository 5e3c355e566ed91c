//! Gate: keeps room for control messages and new streams on a connection whose send window is full.
//!
//! In:    which streams with much to write wait for room.
//! Out:   a short pause for them when there is room again.
//! Never: delays control messages or the first bytes of a stream, and delays nothing for longer
//!        than [`PAUSE`].
//!
//! All streams of a connection share its send window and the peer's window for the connection.
//! Waiting streams write as soon as there is room, in no useful order: with a hundred streams that
//! always have more, a ping or the first bytes of a new stream may wait for seconds. So when room
//! appears, streams with much to write leave it to the others for a moment. Where only a few
//! streams wait, there are no pauses.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::sleep;
use tokio_util::task::TaskTracker;

/// Long enough for woken streams to write, and for acknowledgements to make room for a few more
/// packets on a slow path; short compared to how long a full send window lasts.
const PAUSE: Duration = Duration::from_millis(20);

/// How many streams wait for room before there are pauses.
const CROWD: usize = 4;

/// Lets the streams of a connection that have much to write pause for `PAUSE` when its send window
/// has room again, if at least `CROWD` of them wait for room, so that control messages and new
/// streams go first. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Gate(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// Streams that wait for room.
    blocked: AtomicUsize,
    /// Read without the lock, written under it.
    closed: AtomicBool,
    /// Streams that wait for the end of the pause, by their numbers.
    waiting: Mutex<HashMap<u64, Waker>>,
}

/// One stream at the gate.
pub(super) struct AtGate {
    gate: Gate,
    stream: u64,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// It may write.
    Free,
    /// There was no room.
    Blocked,
    /// There may be room again, after a pause.
    Pausing,
}

impl AtGate {
    pub(super) fn new(gate: &Gate, stream: u64) -> Self {
        Self {
            gate: gate.clone(),
            stream,
            state: State::Free,
        }
    }

    /// Ready when the stream may try to write.
    pub(super) fn poll_pass(&mut self, cx: &Context<'_>, tasks: &TaskTracker) -> Poll<()> {
        if self.state == State::Blocked && self.gate.0.blocked.load(Relaxed) >= CROWD {
            self.state = State::Pausing;
            self.gate.pause(tasks);
        }
        match self.state {
            State::Free | State::Blocked => Poll::Ready(()),
            State::Pausing => self.gate.poll_open(self.stream, cx),
        }
    }

    /// Notes that there was no room for what it has to write.
    pub(super) fn block(&mut self) {
        if self.state == State::Free {
            self.gate.0.blocked.fetch_add(1, Relaxed);
        }
        self.state = State::Blocked;
    }

    /// Notes that it does not wait for room: there was some, or it has nothing more to write.
    pub(super) fn leave(&mut self) {
        if self.state != State::Free {
            self.gate.0.blocked.fetch_sub(1, Relaxed);
        }
        self.state = State::Free;
    }
}

impl Drop for AtGate {
    fn drop(&mut self) {
        self.leave();
        if self.gate.0.closed.load(Relaxed) {
            self.gate.0.waiting.lock().remove(&self.stream);
        }
    }
}

impl Gate {
    fn poll_open(&self, stream: u64, cx: &Context<'_>) -> Poll<()> {
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

    /// Starts a pause, unless there is one.
    fn pause(&self, tasks: &TaskTracker) {
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
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_util::poll;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn streams_with_much_to_write_pause_once_when_there_is_room_again() {
        let (gate, tasks) = (Gate::default(), TaskTracker::new());
        let mut streams: Vec<_> = (0..CROWD as u64)
            .map(|number| AtGate::new(&gate, number))
            .collect();
        streams.iter_mut().for_each(AtGate::block);
        let start = Instant::now();
        for stream in &mut streams {
            assert!(poll!(poll_fn(|cx| stream.poll_pass(cx, &tasks))).is_pending());
        }
        assert_eq!(
            (tasks.len(), gate.0.waiting.lock().len()),
            (1, CROWD),
            "one pause at a time"
        );
        let mut last = streams.pop().unwrap();
        drop(streams);
        assert_eq!(
            gate.0.waiting.lock().len(),
            1,
            "a stream that has ended does not wait"
        );
        poll_fn(|cx| last.poll_pass(cx, &tasks)).await;
        assert_eq!(start.elapsed(), PAUSE);
        last.leave();
        assert_eq!(gate.0.blocked.load(Relaxed), 0);
        // A single stream waits only for room.
        last.block();
        assert!(poll!(poll_fn(|cx| last.poll_pass(cx, &tasks))).is_ready());
    }
}
