//! Log waker: calls the writer of a log, without a system call for each line.
//!
//! In:    from workers: the first line on an empty buffer, and a buffer that is half full.
//! Out:   the writer's thread, awake.
//! Never: is rung twice for one turn of the writer.
//!
//! The writer says what it does in `state`: nothing (it sleeps until it is called), or gathering
//! (it sleeps for at most an interval). A worker whose line is the first on its buffer calls only a
//! writer that does nothing; one whose buffer is half full calls it anyway. No call is lost: the
//! writer says `IDLE` *before* it looks at the buffers for the last time, each under its lock, and
//! a worker looks at the state while it holds the lock of its buffer. Whoever comes second sees
//! what the first has done.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

const GATHERING: u8 = 0;
const IDLE: u8 = 1;
const RUNG: u8 = 2;

/// See the head of the file.
#[derive(Debug, Default)]
pub(in crate::observe) struct LogWaker {
    state: AtomicU8,
    writer: OnceLock<Thread>,
}

impl LogWaker {
    /// There is something to do, not at once.
    pub(in crate::observe) fn wake_if_idle(&self) {
        if self.state.load(SeqCst) == IDLE && self.state.swap(RUNG, SeqCst) == IDLE {
            self.wake();
        }
    }

    /// There is something to do at once.
    pub(in crate::observe) fn wake_now(&self) {
        if self.state.swap(RUNG, SeqCst) != RUNG {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }

    /// The calling thread is the one to wake.
    pub(in crate::observe) fn belongs_here(&self) {
        let _ = self.writer.set(thread::current());
    }

    /// Sleeps until somebody calls, unless there `is_work` already.
    pub(in crate::observe) fn wait(&self, is_work: impl FnOnce() -> bool) {
        self.state.store(IDLE, SeqCst);
        if is_work() {
            return;
        }
        while self.state.load(SeqCst) == IDLE {
            thread::park();
        }
    }

    /// Sleeps for `interval`, or until somebody is in a hurry, unless there `is_hurry` already.
    pub(in crate::observe) fn gather(&self, interval: Duration, is_hurry: impl FnOnce() -> bool) {
        self.state.store(GATHERING, SeqCst);
        if is_hurry() {
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

    /// Work appears behind a lock, as lines do on a buffer. A call that is lost leaves the writer
    /// asleep for ever.
    #[test]
    fn no_call_is_lost_however_the_two_threads_interleave() {
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
            // At every third round the writer is left behind, so that calls meet it in each of its
            // states.
            if round % 3 != 0 {
                // This round's piece, at least, has not been told yet.
                written += is_done
                    .recv_timeout(Duration::from_secs(60))
                    .expect("no call is lost");
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
