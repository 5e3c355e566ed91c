//! Worker: a thread with its own current-thread runtime; and the one small runtime that all of them
//! share.
//!
//! In:    the number of workers in the Plan.
//! Out:   scopes to spawn on: connections on the workers, names and timers on the shared runtime.
//! Never: moves a task from one worker to another. A connection stays on the worker that took it.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::JoinHandle;

use byway_http::reactor_tick;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use super::scope::{OnPanic, Scope, StopSignals};

/// Every runtime of the process.
pub struct Workers {
    /// One per core: the data path.
    workers: Vec<Worker>,
    /// Names, timers, signals: work that does not belong to one connection.
    shared: Runtime,
    shared_scope: Scope,
}

struct Worker {
    scope: Scope,
    thread: Option<JoinHandle<()>>,
    quit: Option<oneshot::Sender<()>>,
}

impl Workers {
    /// Starts `count` workers and the shared runtime.
    ///
    /// # Errors
    /// When the system provides no thread or no epoll descriptor.
    pub fn start(count: NonZeroUsize, stop: &StopSignals, on_panic: &OnPanic) -> io::Result<Self> {
        let shared = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("byway-shared")
            .enable_all()
            .build()?;
        let shared_scope = Scope::new(shared.handle().clone(), stop, Arc::clone(on_panic));
        let workers = (0..count.get())
            .map(|index| Worker::start(index, stop, on_panic))
            .collect::<io::Result<Vec<_>>>()?;
        Ok(Self {
            workers,
            shared,
            shared_scope,
        })
    }

    /// One scope per worker, in order.
    pub fn scopes(&self) -> impl Iterator<Item = &Scope> {
        self.workers.iter().map(|worker| &worker.scope)
    }

    /// How many workers there are.
    pub fn count(&self) -> usize {
        self.workers.len()
    }

    /// The scope of the shared runtime.
    pub fn shared(&self) -> &Scope {
        &self.shared_scope
    }

    /// How many tasks run on the workers now.
    pub fn running(&self) -> usize {
        self.scopes().map(Scope::running).sum()
    }

    /// Waits until every task on every worker has ended.
    pub async fn ended(&self) {
        // A worker may have moved a connection to one whose tasks had just ended.
        loop {
            for scope in self.scopes() {
                scope.ended().await;
            }
            if self.running() == 0 {
                break;
            }
        }
        self.shared_scope.ended().await;
    }

    /// Ends the runtimes. All tasks must have ended or been cut before: only then may a reactor be
    /// dropped with which another worker's pooled connection may be registered.
    pub fn join(mut self) {
        for worker in &mut self.workers {
            drop(worker.quit.take());
        }
        for worker in &mut self.workers {
            let Some(thread) = worker.thread.take() else {
                continue;
            };
            if thread.join().is_err() {
                tracing::error!("a worker thread panicked outside of any task");
            }
        }
        self.shared.shutdown_background();
    }
}

/// The most events that one poll of the reactor returns. The state of a socket that it touches is
/// still in the cache when that socket is read: with 2,000 busy sockets, tokio's 1,024 cost up to a
/// quarter more time than this.
const EVENTS_PER_TICK: usize = 256;

/// How many tasks may run before the reactor is polled again: more than one poll can wake. So the
/// events of one poll are handled before the next, each poll is a tick (one between tasks would be
/// none, see [`reactor_tick`]), and connections that were idle over one tick need no check of their
/// sockets.
const TASKS_PER_TICK: u32 = 1024;

impl Worker {
    fn start(index: usize, stop: &StopSignals, on_panic: &OnPanic) -> io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_io_events_per_tick(EVENTS_PER_TICK)
            .event_interval(TASKS_PER_TICK)
            .on_thread_unpark(reactor_tick::advance)
            .build()?;
        let scope = Scope::new(runtime.handle().clone(), stop, Arc::clone(on_panic));
        let (quit, quitting) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new()
            .name(format!("byway-{index}"))
            .spawn(move || {
                // Resolves with an error when `quit` is dropped, which is the signal.
                let _ = runtime.block_on(quitting);
            })?;
        Ok(Self {
            scope,
            thread: Some(thread),
            quit: Some(quit),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_run_on_the_worker_they_were_spawned_on() {
        let (stop, count) = (StopSignals::default(), NonZeroUsize::new(3).unwrap());
        let workers = Workers::start(count, &stop, &super::super::scope::ignore_panics()).unwrap();
        let (seen, names) = std::sync::mpsc::channel();
        for scope in workers.scopes() {
            let seen = seen.clone();
            scope.spawn("name", async move {
                seen.send(std::thread::current().name().map(str::to_owned))
                    .unwrap();
            });
        }
        let mut names: Vec<_> = names.iter().take(3).flatten().collect();
        names.sort();
        assert_eq!(names, ["byway-0", "byway-1", "byway-2"]);
        workers.shared.block_on(workers.ended());
        workers.join();
    }
}
