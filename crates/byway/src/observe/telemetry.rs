//! Telemetry: everything that a node counts and writes down of its own work.
//!
//! In:    made once by `node`.
//! Out:   the counters of the node, the stats of each worker, the access log.
//! Never: locks on the data path.

use std::sync::Arc;

use super::access::AccessLog;
use super::counters::Counters;
use super::worker_stats::WorkerStats;
use crate::runtime::scope::OnPanic;

mod metrics;

/// What a node counts and logs: its counters, the stats of each worker, and the access log.
#[derive(Default)]
pub struct Telemetry {
    /// What the node counts.
    pub counters: Arc<Counters>,
    /// Where lines for requests go.
    pub access: AccessLog,
    /// Stats of each worker, then of the shared runtime.
    worker_stats: Vec<Arc<WorkerStats>>,
}

impl Telemetry {
    /// For `workers` workers and the runtime that they share.
    pub fn new(workers: usize) -> Self {
        Self {
            worker_stats: (0..=workers).map(|_| Arc::default()).collect(),
            ..Self::default()
        }
    }

    /// Counts and logs a task that panicked.
    pub fn on_panic(&self) -> OnPanic {
        let counters = Arc::clone(&self.counters);
        Arc::new(move |task, text| {
            let panic_id = counters.panics.add(1);
            if let Some(line) = counters.log_limits.panics.count() {
                let left_out = line.left_out;
                tracing::error!(task, panic_id, left_out, "panicked: {text}");
            }
        })
    }

    /// The stats of each worker, then those of the shared runtime.
    pub fn all_stats(&self) -> &[Arc<WorkerStats>] {
        &self.worker_stats
    }

    /// The stats of a worker, or of the shared runtime if there is no worker of this number. Only
    /// tasks of that thread may write to them.
    pub fn stats_of(&self, worker: usize) -> Arc<WorkerStats> {
        let stats = self.worker_stats.get(worker);
        stats.map_or_else(|| self.shared_stats(), Arc::clone)
    }

    /// The stats of the shared runtime.
    pub fn shared_stats(&self) -> Arc<WorkerStats> {
        self.worker_stats.last().map(Arc::clone).unwrap_or_default()
    }
}
