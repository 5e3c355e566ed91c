//! Worker balance: the workers that serve one listener, and which of them takes a new connection.
//!
//! In:    a connection that one worker has accepted, and how many connections each worker has open.
//! Out:   the context of the worker that serves it: the one that accepted it, unless another is far
//!        less busy.
//! Never: moves a connection that is being served, or locks.
//!
//! The kernel distributes connections over the sockets of a group by a hash of their addresses, and
//! a worker that received more than its share of long-lived ones would keep them. So a new
//! connection goes to another worker before the difference becomes large.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::context::ConnectionContext;
use super::listener::ListenerContext;

/// How many connections each worker of the node has open, for all listeners together.
#[derive(Debug)]
pub struct WorkerLoads(Box<[WorkerLoad]>);

/// On its own cache line: each worker writes to its own one continually.
#[derive(Debug, Default)]
#[repr(align(64))]
struct WorkerLoad(AtomicUsize);

impl WorkerLoads {
    /// For `workers` workers, all without connections.
    pub fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| WorkerLoad::default()).collect())
    }

    /// Connections that `worker` has open now.
    pub fn of(&self, worker: usize) -> usize {
        self.0.get(worker).map_or(0, |load| load.0.load(Relaxed))
    }

    /// The worker that takes a connection accepted by `own`.
    fn pick_worker(&self, own: usize) -> usize {
        let least = (0..self.0.len())
            .min_by_key(|worker| self.of(*worker))
            .unwrap_or(own);
        if is_far_busier(self.of(own), self.of(least)) {
            least
        } else {
            own
        }
    }
}

/// Both a quarter more and 64 more: below that a move costs more than it evens out.
const fn is_far_busier(own: usize, least: usize) -> bool {
    own > least + HAND_OVER_MORE && own * 4 > least * 5
}

/// A worker with this many connections more than the least busy one may move its next one there.
pub const HAND_OVER_MORE: usize = 64;

/// The contexts of one listener, one per worker.
pub struct WorkerBalance(Vec<Arc<ListenerContext>>);

impl WorkerBalance {
    /// In the order of the workers.
    pub fn new(contexts: Vec<Arc<ListenerContext>>) -> Arc<Self> {
        Arc::new(Self(contexts))
    }

    /// The context of the worker that serves a connection accepted by `own`.
    pub fn pick_worker(&self, own: &Arc<ListenerContext>) -> Arc<ListenerContext> {
        let worker = own
            .connection_context
            .node
            .loads
            .pick_worker(own.connection_context.worker);
        let other = self
            .0
            .iter()
            .find(|context| context.connection_context.worker == worker);
        // A draining worker takes no new connection.
        Arc::clone(
            other
                .filter(|context| !context.connection_context.scope.is_draining())
                .unwrap_or(own),
        )
    }
}

/// Counts one connection of a worker for as long as it lives.
pub struct OpenConnection(Arc<ConnectionContext>);

impl OpenConnection {
    /// Counts a connection that `context`'s worker serves.
    pub fn new(context: &Arc<ConnectionContext>) -> Self {
        if let Some(load) = context.node.loads.0.get(context.worker) {
            load.0.fetch_add(1, Relaxed);
        }
        Self(Arc::clone(context))
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        if let Some(load) = self.0.node.loads.0.get(self.0.worker) {
            load.0.fetch_sub(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loads(counts: &[usize]) -> WorkerLoads {
        WorkerLoads(
            counts
                .iter()
                .map(|count| WorkerLoad(AtomicUsize::new(*count)))
                .collect(),
        )
    }

    #[test]
    fn a_connection_stays_with_the_worker_that_accepted_it_while_the_counts_are_close() {
        for counts in [[0, 0], [64, 0], [600, 500], [1000, 900]] {
            assert_eq!(loads(&counts).pick_worker(0), 0, "{counts:?}");
        }
    }

    #[test]
    fn a_connection_goes_to_the_least_busy_worker_when_counts_differ_by_a_quarter_and_64() {
        assert_eq!(loads(&[65, 0, 3]).pick_worker(0), 1);
        assert_eq!(loads(&[700, 650, 500]).pick_worker(0), 2);
        assert_eq!(loads(&[700, 650, 500]).pick_worker(2), 2);
    }

    #[test]
    fn a_thousand_connections_that_the_kernel_gives_to_one_worker_are_spread_within_a_half() {
        let loads = loads(&[0, 0, 0, 0]);
        for _ in 0..1000 {
            loads.0[loads.pick_worker(0)].0.fetch_add(1, Relaxed);
        }
        let counts: Vec<_> = (0..4).map(|worker| loads.of(worker)).collect();
        let (most, least) = (*counts.iter().max().unwrap(), *counts.iter().min().unwrap());
        assert!(most * 2 < least * 3, "{counts:?}");
    }
}
