//! Stream futures: the futures that serve the streams of one connection, polled by its task.
//!
//! In:    a future for each stream.
//! Out:   their results; the task of the connection is woken when one of them can go on.
//! Never: polls a future that was not woken, wakes the task while it runs anyway, or allocates for
//!        a stream after the first in its place.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use parking_lot::Mutex;

/// The futures of the streams of one connection. They run in the connection's task, so that all
/// that they have sent leaves in one write behind them.
pub struct StreamFutures<F> {
    places: Vec<Place<F>>,
    free: Vec<usize>,
    ready: Arc<ReadyList>,
    /// Memory for the places that are polled now.
    batch: Vec<usize>,
}

/// Where a future runs; used again for the next one.
struct Place<F> {
    future: Option<F>,
    flag: Arc<PlaceFlag>,
    waker: Waker,
}

/// Which places are to be polled.
#[derive(Default)]
struct ReadyList(Mutex<Ready>);

#[derive(Default)]
struct Ready {
    places: Vec<usize>,
    /// The task of the connection; `None` while it runs.
    task: Option<Waker>,
}

/// Whether a place is in the list.
struct PlaceFlag {
    place: usize,
    is_listed: AtomicBool,
    ready: Arc<ReadyList>,
}

impl Wake for PlaceFlag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.is_listed.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut ready = self.ready.0.lock();
        ready.places.push(self.place);
        let task = ready.task.take();
        drop(ready);
        if let Some(task) = task {
            task.wake();
        }
    }
}

impl<F: Future + Unpin> StreamFutures<F> {
    /// No future.
    pub fn new() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
            ready: Arc::default(),
            batch: Vec::new(),
        }
    }

    /// Adds a future, to be polled by the next [`poll_ready`](Self::poll_ready).
    pub fn push(&mut self, future: F) {
        let number = self.free.pop().unwrap_or_else(|| self.add_place());
        if let Some(place) = self.places.get_mut(number) {
            place.future = Some(future);
            place.flag.wake_by_ref();
        }
    }

    fn add_place(&mut self) -> usize {
        let number = self.places.len();
        let flag = Arc::new(PlaceFlag {
            place: number,
            is_listed: AtomicBool::new(false),
            ready: Arc::clone(&self.ready),
        });
        self.places.push(Place {
            future: None,
            waker: Arc::clone(&flag).into(),
            flag,
        });
        number
    }

    /// Frees the memory of places if there is no future. A waker of one that has ended may still
    /// list a place: that costs a poll which finds nothing, or one more of the next future there.
    pub fn trim(&mut self) {
        if self.is_empty() {
            (self.places, self.free, self.batch) = Default::default();
        }
    }

    /// How many futures there are.
    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The task runs: it is not woken until [`rest`](Self::rest).
    pub fn begin(&mut self) {
        self.ready.0.lock().task = None;
    }

    /// Polls each future once that was woken since the last call, and passes the results of those
    /// that have ended to `ended`.
    pub fn poll_ready(&mut self, mut ended: impl FnMut(F::Output)) {
        let mut batch = std::mem::take(&mut self.batch);
        std::mem::swap(&mut self.ready.0.lock().places, &mut batch);
        for number in batch.drain(..) {
            let Some(place) = self.places.get_mut(number) else {
                continue;
            };
            // Before the poll: a wake during it lists the place again.
            place.flag.is_listed.store(false, Ordering::Release);
            let Some(future) = &mut place.future else {
                continue;
            };
            let mut cx = Context::from_waker(&place.waker);
            if let Poll::Ready(output) = Pin::new(future).poll(&mut cx) {
                place.future = None;
                self.free.push(number);
                ended(output);
            }
        }
        self.batch = batch;
    }

    /// Whether one of them was woken and not polled.
    pub fn has_ready(&self) -> bool {
        !self.ready.0.lock().places.is_empty()
    }

    /// Registers the task of `cx` to be woken with the next future. Returns false if one was woken
    /// already: poll again.
    pub fn rest(&mut self, cx: &Context<'_>) -> bool {
        let mut ready = self.ready.0.lock();
        if !ready.places.is_empty() {
            return false;
        }
        ready.task = Some(cx.waker().clone());
        true
    }
}

impl<F: Future + Unpin> Default for StreamFutures<F> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// A future that counts its polls and keeps its waker, until it is told to end.
    #[derive(Clone, Default)]
    struct Probe {
        polls: Rc<Cell<usize>>,
        ends: Rc<Cell<bool>>,
        waker: Rc<Cell<Option<Waker>>>,
    }

    impl Future for Probe {
        type Output = usize;

        fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<usize> {
            self.polls.set(self.polls.get() + 1);
            self.waker.set(Some(cx.waker().clone()));
            match self.ends.get() {
                true => Poll::Ready(self.polls.get()),
                false => Poll::Pending,
            }
        }
    }

    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_future_is_polled_only_after_it_was_woken_and_its_place_is_used_again() {
        let task = Arc::new(Task::default());
        let waker: Waker = Arc::clone(&task).into();
        let cx = Context::from_waker(&waker);
        let (one, other) = (Probe::default(), Probe::default());
        let (mut futures, mut ended) = (StreamFutures::new(), Vec::new());
        futures.push(one.clone());
        futures.push(other.clone());
        futures.poll_ready(|result| ended.push(result));
        assert!(futures.rest(&cx));
        assert_eq!((one.polls.get(), other.polls.get()), (1, 1));

        let waker = one.waker.take().unwrap();
        waker.wake_by_ref();
        waker.wake();
        assert_eq!(task.0.load(Ordering::Relaxed), 1, "one wake for both");
        one.ends.set(true);
        futures.poll_ready(|result| ended.push(result));
        assert_eq!(
            (&ended[..], other.polls.get(), futures.len()),
            (&[2][..], 1, 1)
        );

        futures.push(Probe::default());
        assert_eq!(futures.places.len(), 2);
    }

    #[test]
    fn a_wake_while_the_task_runs_does_not_wake_it_but_keeps_it_from_resting() {
        let task = Arc::new(Task::default());
        let waker: Waker = Arc::clone(&task).into();
        let cx = Context::from_waker(&waker);
        let (probe, mut futures) = (Probe::default(), StreamFutures::new());
        futures.push(probe.clone());
        futures.poll_ready(|_| {});
        assert!(futures.rest(&cx));
        futures.begin();
        probe.waker.take().unwrap().wake();
        assert_eq!(task.0.load(Ordering::Relaxed), 0);
        assert!(!futures.rest(&cx));
        futures.poll_ready(|_| {});
        assert!(futures.rest(&cx));
        assert_eq!(probe.polls.get(), 2);
    }
}
