//! Scope: the owner of tasks.
//!
//! In:    futures that serve a connection, a listener or a timer.
//! Out:   their end, awaited by whoever drains the scope.
//! Never: lets a task outlive its owner, and never lets a panic reach more than the task that panicked.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::observe::counters::Counters;
use crate::observe::station::Station;

/// Spawns tasks onto one runtime and knows when all of them have ended. Cheap to clone.
#[derive(Clone)]
pub struct Scope {
    runtime: Handle,
    tasks: TaskTracker,
    draining: CancellationToken,
    cut: CancellationToken,
    counters: Arc<Counters>,
    station: Arc<Station>,
}

impl Scope {
    /// A scope on `runtime` that obeys the two signals of `stop`. `runtime` has one thread that polls its tasks: what they
    /// count in the scope's station, they count alone.
    pub fn new(runtime: Handle, stop: &Stop, counters: Arc<Counters>) -> Self {
        Self {
            runtime,
            tasks: TaskTracker::new(),
            draining: stop.draining.child_token(),
            cut: stop.cut.clone(),
            counters,
            station: Arc::default(),
        }
    }

    /// A scope for one listener on the same runtime: it drains with its parent, or alone when the listener goes.
    /// Its tasks count as the parent's.
    pub fn child(&self) -> Self {
        Self { draining: self.draining.child_token(), ..self.clone() }
    }

    /// Runs `task` until it ends or the scope is cut. A panic ends this task only; it is logged under `name` and counted.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let (cut, counters) = (self.cut.clone(), Arc::clone(&self.counters));
        // Boxed, because each wrapper below would else hold its own copy of the room for the whole task.
        let task = Box::pin(task);
        let guarded = async move {
            let Some(ended) = cut.run_until_cancelled(AssertUnwindSafe(task).catch_unwind()).await else { return };
            if let Err(panic) = ended {
                let id = counters.panics.add(1);
                tracing::error!(task = name, panic_id = id, "panicked: {}", panic_text(&*panic));
            }
        };
        self.tasks.spawn_on(guarded, &self.runtime);
    }

    /// Resolves once draining has begun: stop accepting, finish what is under way, leave.
    pub async fn drained(&self) {
        self.draining.cancelled().await;
    }

    /// Whether draining has begun.
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Begins to drain this scope alone (a listener that a new Plan no longer has).
    pub fn drain(&self) {
        self.draining.cancel();
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
    pub fn station(&self) -> &Arc<Station> {
        &self.station
    }

    /// The runtime that the tasks run on.
    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }
}

/// The two signals that end a node: first drain, then cut.
#[derive(Clone, Default)]
pub struct Stop {
    /// Stop accepting, finish, leave.
    pub draining: CancellationToken,
    /// Drop whatever still runs; its streams reset.
    pub cut: CancellationToken,
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
        let (stop, counters) = (Stop::default(), Arc::new(Counters::default()));
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
        let (stop, counters) = (Stop::default(), Arc::new(Counters::default()));
        let scope = Scope::new(Handle::current(), &stop, counters);
        scope.spawn("stuck", std::future::pending());
        stop.cut.cancel();
        scope.ended().await;
        assert_eq!(scope.running(), 0);
    }

    #[tokio::test]
    async fn a_child_drains_alone_and_with_its_parent() {
        let (stop, counters) = (Stop::default(), Arc::new(Counters::default()));
        let scope = Scope::new(Handle::current(), &stop, counters);
        let (one, other) = (scope.child(), scope.child());
        one.drain();
        assert!(one.is_draining() && !other.is_draining() && !scope.is_draining());
        stop.draining.cancel();
        assert!(other.is_draining() && scope.is_draining());
    }
}
