//! Scope: the owner of tasks.
//!
//! In:    futures that serve a connection, a listener or a timer.
//! Out:   their end, awaited by whoever drains the scope.
//! Never: lets a task outlive its owner, lets a panic reach more than the task that panicked, or
//!        costs a task that is polled more than one look at a flag.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use crate::observe::counters::Counters;
use crate::observe::worker_stats::WorkerStats;
use crate::signal::Signal;

/// Spawns tasks onto one runtime and knows when all of them have ended. Cheap to clone.
#[derive(Clone)]
pub struct Scope {
    runtime: Handle,
    tasks: TaskTracker,
    wakers: Arc<Wakers>,
    draining: Signal,
    cut: Signal,
    counters: Arc<Counters>,
    worker_stats: Arc<WorkerStats>,
}

impl Scope {
    /// A scope on `runtime` that obeys the two signals of `stop`. `runtime` has one thread that
    /// polls its tasks: what they count in the scope's stats, they count alone.
    pub fn new(runtime: Handle, stop: &StopSignals, counters: Arc<Counters>) -> Self {
        let scope = Self {
            runtime,
            tasks: TaskTracker::new(),
            wakers: Arc::default(),
            draining: stop.draining.child(),
            cut: stop.cut.clone(),
            counters,
            worker_stats: Arc::default(),
        };
        for signal in [&scope.draining, &scope.cut] {
            let (signal, wakers) = (signal.clone(), Arc::downgrade(&scope.wakers));
            // Not one of the tasks that are waited for: it ends with its runtime, or here.
            #[allow(clippy::disallowed_methods)]
            scope.runtime.spawn(async move {
                signal.raised().await;
                if let Some(wakers) = wakers.upgrade() {
                    wakers.wake_all();
                }
            });
        }
        scope
    }

    /// A scope for one listener on the same runtime: it drains with its parent, or alone when the
    /// listener goes. Its tasks count as the parent's.
    pub fn child(&self) -> Self {
        Self {
            draining: self.draining.child(),
            ..self.clone()
        }
    }

    /// Runs `task` until it ends or the scope is cut. A panic ends this task only; it is logged
    /// under `name` and counted.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        // Boxed, because each wrapper would else hold its own copy of the room for the whole task.
        let owned = OwnedTask {
            name,
            task: Some(Box::pin(task)),
            place: None,
            wakers: Arc::clone(&self.wakers),
            cut: self.cut.clone(),
            counters: Arc::clone(&self.counters),
        };
        self.tasks.spawn_on(owned, &self.runtime);
    }

    /// Resolves once draining has begun: stop accepting, finish what is under way, leave.
    pub async fn drained(&self) {
        self.draining.raised().await;
    }

    /// The same for a task of this scope that waits often: it costs a look at a flag. The task
    /// itself is polled when draining begins, so this may be used only where its own waker is the
    /// one in `cx` (not inside of a set of futures).
    pub fn poll_drained(&self, _cx: &mut Context<'_>) -> Poll<()> {
        if self.is_draining() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Whether draining has begun.
    pub fn is_draining(&self) -> bool {
        self.draining.is_raised()
    }

    /// Begins to drain this scope alone (a listener that a new Plan no longer has).
    pub fn drain(&self) {
        self.draining.raise();
        self.wakers.wake_all();
    }

    /// Waits until every task has ended. New tasks may still be spawned by those that run.
    pub async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// How many tasks run now.
    pub fn running(&self) -> usize {
        self.tasks.len()
    }

    /// Where the tasks count and write down what they have done; a child's is its parent's.
    pub fn worker_stats(&self) -> &Arc<WorkerStats> {
        &self.worker_stats
    }

    /// The runtime that the tasks run on.
    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }
}

/// The two signals that end a node: first drain, then cut.
#[derive(Clone, Default)]
pub struct StopSignals {
    /// Stop accepting, finish, leave.
    pub draining: Signal,
    /// Drop whatever still runs; its streams reset.
    pub cut: Signal,
}

/// One task: looks for the cut, catches a panic, and stands among those that a signal wakes.
struct OwnedTask<F> {
    name: &'static str,
    task: Option<Pin<Box<F>>>,
    place: Option<usize>,
    wakers: Arc<Wakers>,
    cut: Signal,
    counters: Arc<Counters>,
}

impl<F: Future<Output = ()>> Future for OwnedTask<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.place.is_none() {
            this.place = Some(this.wakers.add(cx.waker().clone()));
        }
        // Looked at behind the registration, so that no signal falls between the two.
        let Some(task) = this.task.as_mut().filter(|_| !this.cut.is_raised()) else {
            this.task = None;
            return Poll::Ready(());
        };
        match catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(cx))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(())) => {}
            Err(panic) => {
                let id = this.counters.panics.add(1);
                if let Some(line) = this.counters.log_limits.panics.count() {
                    let left_out = line.left_out;
                    tracing::error!(
                        task = this.name,
                        panic_id = id,
                        left_out,
                        "panicked: {}",
                        panic_text(&*panic)
                    );
                }
            }
        }
        this.task = None;
        Poll::Ready(())
    }
}

impl<F> Drop for OwnedTask<F> {
    fn drop(&mut self) {
        // What the task owns goes before the task counts as ended.
        self.task = None;
        if let Some(place) = self.place.take() {
            self.wakers.remove(place);
        }
    }
}

/// The wakers of all tasks of a scope and its children. A task keeps the one of its first poll: it
/// is its own for life.
#[derive(Default)]
struct Wakers(Mutex<WakerSlots>);

#[derive(Default)]
struct WakerSlots {
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
}

impl Wakers {
    fn add(&self, waker: Waker) -> usize {
        let mut places = self.0.lock();
        let place = places.free.pop().unwrap_or(places.wakers.len());
        match places.wakers.get_mut(place) {
            Some(empty) => *empty = Some(waker),
            None => places.wakers.push(Some(waker)),
        }
        place
    }

    fn remove(&self, place: usize) {
        let mut places = self.0.lock();
        let waker = places.wakers.get_mut(place).and_then(Option::take);
        places.free.push(place);
        drop(places);
        // It may be the last reference to its task: never dropped under the lock.
        drop(waker);
    }

    fn wake_all(&self) {
        let wakers: Vec<Waker> = self.0.lock().wakers.iter().flatten().cloned().collect();
        wakers.into_iter().for_each(Waker::wake);
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        (None, None) => "(no message)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_its_own_task_only_and_is_counted() {
        let (stop, counters) = (StopSignals::default(), Arc::new(Counters::default()));
        let scope = Scope::new(Handle::current(), &stop, Arc::clone(&counters));
        let (done, survived) = tokio::sync::oneshot::channel();
        scope.spawn("doomed", async { panic!("on purpose") });
        scope.spawn("survivor", async move { done.send(()).unwrap() });
        scope.ended().await;
        assert!(survived.await.is_ok());
        assert_eq!(counters.panics.value(), 1);
    }

    #[tokio::test]
    async fn a_cut_ends_tasks_that_never_would() {
        let (stop, counters) = (StopSignals::default(), Arc::new(Counters::default()));
        let scope = Scope::new(Handle::current(), &stop, counters);
        scope.spawn("stuck", std::future::pending());
        stop.cut.raise();
        scope.ended().await;
        assert_eq!(scope.running(), 0);
    }

    #[tokio::test]
    async fn a_task_that_only_looks_at_the_flag_hears_of_draining_its_own_or_its_parents() {
        let (stop, counters) = (StopSignals::default(), Arc::new(Counters::default()));
        let scope = Scope::new(Handle::current(), &stop, counters);
        let (one, other) = (scope.child(), scope.child());
        for child in [&one, &other] {
            let own = child.clone();
            child.spawn("waiting", async move {
                std::future::poll_fn(|cx| own.poll_drained(cx)).await
            });
        }
        tokio::task::yield_now().await;
        assert_eq!(scope.running(), 2);
        one.drain();
        while scope.running() > 1 {
            tokio::task::yield_now().await;
        }
        stop.draining.raise();
        scope.ended().await;
    }

    #[tokio::test]
    async fn what_a_scope_remembers_of_a_task_goes_with_it() {
        let scope = Scope::new(
            Handle::current(),
            &StopSignals::default(),
            Arc::new(Counters::default()),
        );
        for _ in 0..100 {
            scope.spawn("short", async {});
            while scope.running() > 0 {
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(scope.wakers.0.lock().wakers.len(), 1);
    }

    #[tokio::test]
    async fn a_child_drains_alone_and_with_its_parent() {
        let (stop, counters) = (StopSignals::default(), Arc::new(Counters::default()));
        let scope = Scope::new(Handle::current(), &stop, counters);
        let (one, other) = (scope.child(), scope.child());
        one.drain();
        assert!(one.is_draining() && !other.is_draining() && !scope.is_draining());
        stop.draining.raise();
        assert!(other.is_draining() && scope.is_draining());
    }
}
