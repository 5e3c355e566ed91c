//! Scope: the owner of tasks.
//!
//! In:    futures that serve a connection, a listener or a timer.
//! Out:   their end, which a drain of the scope awaits.
//! Never: lets a task outlive its owner, lets a panic affect more than the task that panicked, or
//!        costs more per poll of a task than one check of a flag.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use super::signal::Signal;

/// Spawns tasks onto one runtime and can wait until all of them have ended. Cheap to clone.
#[derive(Clone)]
pub struct Scope {
    runtime: Handle,
    tasks: TaskTracker,
    wakers: Arc<Wakers>,
    draining: Signal,
    cut: Signal,
    on_panic: OnPanic,
}

/// Called with the name of a task that panicked, and with the text of the panic.
pub type OnPanic = Arc<dyn Fn(&'static str, &str) + Send + Sync>;

impl Scope {
    /// A scope on `runtime` that reacts to the two signals of `stop`.
    pub fn new(runtime: Handle, stop: &StopSignals, on_panic: OnPanic) -> Self {
        let scope = Self {
            runtime,
            tasks: TaskTracker::new(),
            wakers: Arc::default(),
            draining: stop.draining.child(),
            cut: stop.cut.clone(),
            on_panic,
        };
        for signal in [&scope.draining, &scope.cut] {
            let (signal, wakers) = (signal.clone(), Arc::downgrade(&scope.wakers));
            // Not one of the tracked tasks: it ends with its runtime, or here.
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
    /// listener is removed. Its tasks count as the parent's.
    pub fn child(&self) -> Self {
        Self {
            draining: self.draining.child(),
            ..self.clone()
        }
    }

    /// Runs `task` until it ends or the scope is cut. A panic ends this task only; it is
    /// reported under `name`.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        // Boxed, because otherwise each wrapper would have its own copy of the memory for the whole
        // task.
        let owned = OwnedTask {
            name,
            task: Some(Box::pin(task)),
            slot: None,
            wakers: Arc::clone(&self.wakers),
            cut: self.cut.clone(),
            on_panic: Arc::clone(&self.on_panic),
        };
        self.tasks.spawn_on(owned, &self.runtime);
    }

    /// Resolves once draining has begun: stop accepting, finish open work, end.
    pub async fn drained(&self) {
        self.draining.raised().await;
    }

    /// The same for a task of this scope that waits often: it costs one check of a flag. The task
    /// itself is polled when draining begins, so use this only where its own waker is the one in
    /// `cx` (not inside a set of futures).
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

    /// Starts to drain only this scope (a listener that a new Plan no longer has).
    pub fn drain(&self) {
        self.draining.raise();
        self.wakers.wake_all();
    }

    /// Waits until every task has ended. Running tasks may still spawn new ones.
    pub async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// How many tasks run now.
    pub fn running(&self) -> usize {
        self.tasks.len()
    }

    /// The runtime that the tasks run on.
    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }
}

/// The two signals that end a node: first drain, then cut.
#[derive(Clone, Default)]
pub struct StopSignals {
    /// Stop accepting, finish, end.
    pub draining: Signal,
    /// Drop all running tasks; their streams reset.
    pub cut: Signal,
}

/// One task: checks for the cut, catches a panic, and is registered to be woken by a signal.
struct OwnedTask<F> {
    name: &'static str,
    task: Option<Pin<Box<F>>>,
    slot: Option<usize>,
    wakers: Arc<Wakers>,
    cut: Signal,
    on_panic: OnPanic,
}

impl<F: Future<Output = ()>> Future for OwnedTask<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.slot.is_none() {
            this.slot = Some(this.wakers.add(cx.waker().clone()));
        }
        // Checked after the registration, so that no signal is missed between the two.
        let Some(task) = this.task.as_mut().filter(|_| !this.cut.is_raised()) else {
            this.task = None;
            return Poll::Ready(());
        };
        match catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(cx))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(())) => {}
            Err(panic) => {
                (this.on_panic)(this.name, panic_text(&*panic));
            }
        }
        this.task = None;
        Poll::Ready(())
    }
}

impl<F> Drop for OwnedTask<F> {
    fn drop(&mut self) {
        // What the task owns is dropped before the task counts as ended.
        self.task = None;
        if let Some(slot) = self.slot.take() {
            self.wakers.remove(slot);
        }
    }
}

/// The wakers of all tasks of a scope and its children. A task keeps the waker of its first poll,
/// which stays valid for its lifetime.
#[derive(Default)]
struct Wakers(Mutex<WakerSlots>);

#[derive(Default)]
struct WakerSlots {
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
}

impl Wakers {
    fn add(&self, waker: Waker) -> usize {
        let mut slots = self.0.lock();
        let slot = slots.free.pop().unwrap_or(slots.wakers.len());
        match slots.wakers.get_mut(slot) {
            Some(empty) => *empty = Some(waker),
            None => slots.wakers.push(Some(waker)),
        }
        slot
    }

    fn remove(&self, slot: usize) {
        let mut slots = self.0.lock();
        let waker = slots.wakers.get_mut(slot).and_then(Option::take);
        slots.free.push(slot);
        drop(slots);
        // It may be the last reference to its task, so it is never dropped under the lock.
        drop(waker);
    }

    fn wake_all(&self) {
        let wakers: Vec<Waker> = self.0.lock().wakers.iter().flatten().cloned().collect();
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// For tests of other things.
#[cfg(test)]
pub(crate) fn ignore_panics() -> OnPanic {
    Arc::new(|_, _| {})
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
        let (stop, panics) = (StopSignals::default(), Arc::new(Mutex::new(Vec::new())));
        let noted = Arc::clone(&panics);
        let on_panic = Arc::new(move |name, text: &str| noted.lock().push((name, text.to_owned())));
        let scope = Scope::new(Handle::current(), &stop, on_panic);
        let (done, survived) = tokio::sync::oneshot::channel();
        scope.spawn("doomed", async { panic!("on purpose") });
        scope.spawn("survivor", async move { done.send(()).unwrap() });
        scope.ended().await;
        assert!(survived.await.is_ok());
        assert_eq!(*panics.lock(), [("doomed", "on purpose".to_owned())]);
    }

    #[tokio::test]
    async fn a_cut_ends_tasks_that_would_never_end() {
        let stop = StopSignals::default();
        let scope = Scope::new(Handle::current(), &stop, ignore_panics());
        scope.spawn("stuck", std::future::pending());
        stop.cut.raise();
        scope.ended().await;
        assert_eq!(scope.running(), 0);
    }

    #[tokio::test]
    async fn a_task_that_only_checks_the_flag_is_woken_when_its_scope_or_the_parent_drains() {
        let stop = StopSignals::default();
        let scope = Scope::new(Handle::current(), &stop, ignore_panics());
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
    async fn the_slot_of_an_ended_task_is_reused() {
        let scope = Scope::new(Handle::current(), &StopSignals::default(), ignore_panics());
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
        let stop = StopSignals::default();
        let scope = Scope::new(Handle::current(), &stop, ignore_panics());
        let (one, other) = (scope.child(), scope.child());
        one.drain();
        assert!(one.is_draining() && !other.is_draining() && !scope.is_draining());
        stop.draining.raise();
        assert!(other.is_draining() && scope.is_draining());
    }
}
