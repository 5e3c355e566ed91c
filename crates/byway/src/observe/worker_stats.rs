//! Worker stats: metrics and log buffer of one worker. Only the worker writes them; others read.
//!
//! In:    requests and tunnels that ended on that worker.
//! Out:   its metrics, the metrics of its listeners, its buffer of the access log.
//! Never: is written by two threads at once (the metrics would lose counts).

use std::sync::Arc;

use parking_lot::Mutex;

use super::access::log_buffer::LogBuffer;
use super::metrics::{ListenerMetrics, WorkerMetrics};

/// The metrics and the access log buffer of one worker. Only its thread may write them; any thread
/// may read them. Aligned to two cache lines, which CPUs prefetch in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerStats {
    /// Metrics that are not per listener.
    pub metrics: WorkerMetrics,
    /// The worker's part of the access log.
    pub log_buffer: LogBuffer,
    per_listener: Mutex<Vec<(Arc<str>, Arc<ListenerMetrics>)>>,
}

impl WorkerStats {
    /// The metrics of the listener called `name`. Looked up once per connection and reload.
    pub fn listener_metrics(&self, name: &Arc<str>) -> Arc<ListenerMetrics> {
        let mut per_listener = self.per_listener.lock();
        if let Some((_, listener_metrics)) = per_listener.iter().find(|(known, _)| known == name) {
            return Arc::clone(listener_metrics);
        }
        let listener_metrics = Arc::new(ListenerMetrics::default());
        per_listener.push((Arc::clone(name), Arc::clone(&listener_metrics)));
        listener_metrics
    }

    /// The metrics of all listeners that had a request.
    pub fn all_listener_metrics(&self) -> Vec<(Arc<str>, Arc<ListenerMetrics>)> {
        self.per_listener.lock().clone()
    }

    /// Removes the metrics of listeners that are not `wanted` any more.
    pub fn retain(&self, wanted: impl Fn(&str) -> bool) {
        self.per_listener.lock().retain(|(name, _)| wanted(name));
    }
}

impl AsRef<LogBuffer> for WorkerStats {
    fn as_ref(&self) -> &LogBuffer {
        &self.log_buffer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_has_one_set_of_metrics_until_it_is_removed() {
        let (worker_stats, name) = (WorkerStats::default(), Arc::from("site"));
        worker_stats.listener_metrics(&name).note(200, 0, 0);
        assert!(Arc::ptr_eq(
            &worker_stats.listener_metrics(&name),
            &worker_stats.listener_metrics(&Arc::from("site"))
        ));
        worker_stats.retain(|name| name != "site");
        assert!(worker_stats.all_listener_metrics().is_empty());
    }
}
