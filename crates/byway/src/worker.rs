//! Worker: a thread with a current-thread runtime of its own; and the one small runtime that all of
//! them share.
//!
//! In:    how many workers the Plan asks for.
//! Out:   scopes to spawn on: connections on the workers, names and timers on the shared runtime.
//! Never: moves a task from one worker to another. A connection lives and dies where it was
//!        accepted.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use crate::observe::counters::Counters;
use crate::reactor_tick;
use crate::scope::{Scope, StopSignals};

/// Every runtime of the process.
pub struct Workers {
    /// One a core: the data path.
    workers: Vec<Worker>,
    /// Names, timers, signals: what is no connection's own.
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
    /// When the system gives no thread or no epoll descriptor.
    pub fn start(
        count: NonZeroUsize,
        stop: &StopSignals,
        counters: &Arc<Counters>,
    ) -> io::Result<Self> {
        let shared = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("byway-shared")
            .enable_all()
            .build()?;
        let shared_scope = Scope::new(shared.handle().clone(), stop, Arc::clone(counters));
        let workers = (0..count.get())
            .map(|index| Worker::start(index, stop, counters))
            .collect::<io::Result<Vec<_>>>()?;
        Ok(Self {
            workers,
            shared,
            shared_scope,
        })
    }

    /// One scope a worker, in order.
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
        // A worker may have handed a connection to one whose tasks had just ended.
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

    /// Ends the runtimes. All tasks have ended or been cut before; only then may a reactor go that
    /// another worker's pooled connection might be registered with.
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

/// The most events that one look at the reactor brings. What it says of a socket is still in the
/// cache when that socket is read: with 2,000 busy sockets, tokio's 1,024 cost up to a quarter more
/// time than this.
const EVENTS_PER_TURN: usize = 256;

/// How many tasks run before the reactor is asked again, if that many can: more than one look
/// wakes. So what it brought is done before the next, each look is a turn (one between tasks would
/// be none, see [`reactor_tick`]), and connections that have rested over one need no look at their
/// sockets.
const TASKS_PER_TURN: u32 = 1024;

impl Worker {
    fn start(index: usize, stop: &StopSignals, counters: &Arc<Counters>) -> io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_io_events_per_tick(EVENTS_PER_TURN)
            .event_interval(TASKS_PER_TURN)
            .on_thread_unpark(reactor_tick::advance)
            .build()?;
        let scope = Scope::new(runtime.handle().clone(), stop, Arc::clone(counters));
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

/// The cores this process may use: the default number of workers.
pub fn usable_cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_run_on_the_worker_they_were_given_to() {
        let (stop, counters) = (StopSignals::default(), Arc::new(Counters::default()));
        let workers = Workers::start(NonZeroUsize::new(3).unwrap(), &stop, &counters).unwrap();
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
