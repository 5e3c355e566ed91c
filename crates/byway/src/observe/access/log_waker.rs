//! Log waker: wakes the writer of a log, without a system call for each line.
//!
//! In:    from workers: the first line in an empty buffer, and a buffer that is half full.
//! Out:   the writer's thread, awake.
//! Never: wakes the writer twice for one of its rounds.
//!
//! The writer publishes its `state`: idle (it sleeps until it is woken), or gathering (it sleeps
//! for at most an interval). A worker whose line is the first in its buffer wakes only an idle
//! writer; one whose buffer is half full wakes it in any case. No wake-up is lost: the writer sets
//! `IDLE` *before* it checks the buffers for the last time, each under its lock, and a worker
//! checks the state while it holds the lock of its buffer. The second of the two sees what the
//! first one did.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

const GATHERING: u8 = 0;
const IDLE: u8 = 1;
const WOKEN: u8 = 2;

/// Wakes the thread that writes a log: for the first line in a buffer only if it is idle, for a
/// half full buffer in any case. It is woken at most once in each of its rounds.
#[derive(Debug, Default)]
pub(in crate::observe) struct LogWaker {
    state: AtomicU8,
    writer: OnceLock<Thread>,
}

impl LogWaker {
    /// There are lines to write, but not at once.
    pub(in crate::observe) fn wake_if_idle(&self) {
        if self.state.load(SeqCst) == IDLE && self.state.swap(WOKEN, SeqCst) == IDLE {
            self.wake();
        }
    }

    /// There are lines to write at once.
    pub(in crate::observe) fn wake_now(&self) {
        if self.state.swap(WOKEN, SeqCst) != WOKEN {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }

    /// Makes the calling thread the one to wake.
    pub(in crate::observe) fn belongs_here(&self) {
        let _ = self.writer.set(thread::current());
    }

    /// Sleeps until it is woken, unless there `is_work` already.
    pub(in crate::observe) fn wait(&self, is_work: impl FnOnce() -> bool) {
        self.state.store(IDLE, SeqCst);
        if is_work() {
            return;
        }
        while self.state.load(SeqCst) == IDLE {
            thread::park();
        }
    }

    /// Sleeps for `interval`, or until [`LogWaker::wake_now`], unless it `is_urgent`.
    pub(in crate::observe) fn gather(&self, interval: Duration, is_urgent: impl FnOnce() -> bool) {
        self.state.store(GATHERING, SeqCst);
        if is_urgent() {
            return;
        }
        let end = Instant::now() + interval;
        while self.state.load(SeqCst) == GATHERING {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::park_timeout(left);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc;

    use parking_lot::Mutex;

    use super::*;

    /// Work appears under a lock, like lines in a buffer. A lost wake-up leaves the writer asleep
    /// indefinitely.
    #[test]
    fn no_wake_up_is_lost_however_the_two_threads_interleave() {
        let (waker, work) = (Arc::new(LogWaker::default()), Arc::new(Mutex::new(0u32)));
        let (done, is_done) = mpsc::channel();
        let writer = thread::spawn({
            let (waker, work) = (Arc::clone(&waker), Arc::clone(&work));
            move || {
                waker.belongs_here();
                loop {
                    waker.wait(|| *work.lock() > 0);
                    waker.gather(Duration::from_micros(1), || false);
                    let taken = std::mem::take(&mut *work.lock());
                    if taken > 0 && done.send(taken).is_err() {
                        return;
                    }
                }
            }
        });
        let mut written = 0;
        for round in 0..20_000 {
            let was_empty = {
                let mut work = work.lock();
                *work += 1;
                *work == 1
            };
            if was_empty {
                waker.wake_if_idle();
            }
            // In every third round the test does not wait for the writer, so that wake-ups find it
            // in each of its states.
            if round % 3 != 0 {
                // At least the piece of this round has not been reported yet.
                written += is_done
                    .recv_timeout(Duration::from_secs(60))
                    .expect("no wake-up is lost");
                written += is_done.try_iter().sum::<u32>();
            }
        }
        while written < 20_000 {
            written += is_done
                .recv_timeout(Duration::from_secs(60))
                .expect("no piece is lost");
        }
        drop(is_done);
        *work.lock() += 1;
        waker.wake_now();
        writer.join().unwrap();
    }
}
