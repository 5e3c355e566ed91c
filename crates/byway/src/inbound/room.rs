//! Room: the memory in which one request is answered. A worker uses it again for the next request.
//!
//! In:    a job, and how jobs are done.
//! Out:   the result of the job.
//! Never: stays with a connection that waits for its next request, or is used again while a future
//!        is alive in it: one that is dropped half-way is freed with it.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// Rooms that a thread keeps for reuse at most, of some 2.5 KiB each.
const KEPT: usize = 256;

/// The rooms of one thread that are free.
pub(super) struct Rooms<J, A>(RefCell<Vec<Room<J, A>>>);

type Room<J, A> = Box<dyn Place<J, A> + Send>;

/// The free rooms of the current thread, for one kind of job.
pub(super) type Free<J, A> = &'static std::thread::LocalKey<Rooms<J, A>>;

/// A job that is being done.
pub(super) struct Doing<J: 'static, A: 'static> {
    room: Option<Room<J, A>>,
    free: Free<J, A>,
}

impl<J, A> Rooms<J, A> {
    pub(super) const fn new() -> Self {
        Self(RefCell::new(Vec::new()))
    }
}

/// Begins a job in a free room, or in a new one. All jobs of these rooms are done by the same
/// `work`.
pub(super) fn begin<J, A, F>(free: Free<J, A>, job: J, work: fn(J) -> F) -> Doing<J, A>
where
    J: 'static,
    A: 'static,
    F: Future<Output = A> + Send + 'static,
{
    let room = free
        .try_with(|free| free.0.borrow_mut().pop())
        .ok()
        .flatten();
    let mut room = room.unwrap_or_else(|| {
        Box::new(Worked {
            work,
            future: Box::pin(None),
        })
    });
    room.begin(job);
    Doing {
        room: Some(room),
        free,
    }
}

impl<J, A> Future for Doing<J, A> {
    type Output = A;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<A> {
        // Without a room the job is done, and a future that has said its result is not polled
        // again.
        let Some(room) = self.room.as_mut() else {
            return Poll::Pending;
        };
        let result = ready!(room.poll(cx));
        if let Some(room) = self.room.take() {
            let _ = self.free.try_with(|free| {
                let mut free = free.0.borrow_mut();
                if free.len() < KEPT {
                    free.push(room);
                }
            });
        }
        Poll::Ready(result)
    }
}

trait Place<J, A> {
    fn begin(&mut self, job: J);
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<A>;
}

struct Worked<W, F> {
    work: W,
    future: Pin<Box<Option<F>>>,
}

impl<J, A, W, F> Place<J, A> for Worked<W, F>
where
    W: Fn(J) -> F,
    F: Future<Output = A>,
{
    /// The future is made where it lives. Moving it here would copy all of its memory, most of
    /// which is not in use yet.
    fn begin(&mut self, job: J) {
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
