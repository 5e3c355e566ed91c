//! Future pool: reusable memory for the future that serves one request. A worker uses it again for
//! the next request.
//!
//! In:    a job, and the function that runs jobs.
//! Out:   the result of the job.
//! Never: stays with a connection that waits for its next request, or is reused while a future is
//!        alive in it: a future dropped before its end is freed with its memory.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Slots that a thread keeps at most, of less than 3 KiB each.
const KEPT: usize = 256;

/// The free slots of one thread.
pub(super) struct FuturePool<J, A>(RefCell<Vec<BoxedFuture<J, A>>>);

type BoxedFuture<J, A> = Box<dyn ReusableFuture<J, A> + Send>;

/// The free slots of the current thread, for one kind of job.
pub(super) type LocalPool<J, A> = &'static std::thread::LocalKey<FuturePool<J, A>>;

/// A running job.
pub(super) struct PooledFuture<J: 'static, A: 'static> {
    slot: Option<BoxedFuture<J, A>>,
    free: LocalPool<J, A>,
}

impl<J, A> FuturePool<J, A> {
    pub(super) const fn new() -> Self {
        Self(RefCell::new(Vec::new()))
    }
}

/// Starts a job in a free slot, or in a new one. All jobs of these slots are run by the same
/// `work`.
pub(super) fn start<J, A, W, F>(free: LocalPool<J, A>, job: J, work: W) -> PooledFuture<J, A>
where
    J: 'static,
    A: 'static,
    W: Fn(J) -> F + Send + 'static,
    F: Future<Output = A> + Send + 'static,
{
    let slot = free
        .try_with(|free| free.0.borrow_mut().pop())
        .ok()
        .flatten();
    let mut slot = slot.unwrap_or_else(|| {
        Box::new(FutureMemory {
            work,
            future: Box::pin(None),
        })
    });
    slot.start(job);
    PooledFuture {
        slot: Some(slot),
        free,
    }
}

impl<J, A> Future for PooledFuture<J, A> {
    type Output = A;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<A> {
        // Without a slot the job is complete, and a completed future is not polled again.
        let Some(slot) = self.slot.as_mut() else {
            return Poll::Pending;
        };
        let result = ready!(slot.poll(cx));
        if let Some(slot) = self.slot.take() {
            let _ = self.free.try_with(|free| {
                let mut free = free.0.borrow_mut();
                if free.len() < KEPT {
                    free.push(slot);
                }
            });
        }
        Poll::Ready(result)
    }
}

trait ReusableFuture<J, A> {
    fn start(&mut self, job: J);
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<A>;
}

struct FutureMemory<W, F> {
    work: W,
    future: Pin<Box<Option<F>>>,
}

impl<J, A, W, F> ReusableFuture<J, A> for FutureMemory<W, F>
where
    W: Fn(J) -> F,
    F: Future<Output = A>,
{
    /// Creates the future in place: `work` is inlined here, as its type names one function. Moving
    /// the future here would copy all of its memory, most of which is not in use yet.
    fn start(&mut self, job: J) {
        self.future.set(Some((self.work)(job)));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<A> {
        let Some(future) = self.future.as_mut().as_pin_mut() else {
            return Poll::Pending;
        };
        let result = ready!(future.poll(cx));
        self.future.set(None);
        Poll::Ready(result)
    }
}
