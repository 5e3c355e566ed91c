//! AccessLog: the access log of a node, as the node uses it.
//!
//! In:    the Plan's `[log]`, at the start and at each reload; requests to reopen the file.
//! Out:   buffers that take lines, and a thread that writes them.
//! Never: starts a thread before a log is configured, and never waits longer than 3 s for a sink.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::log_buffer::Form;
use super::sink::Sink;
use super::writer::{INTERVAL, Notice, Order, Running, Writer};
use crate::config::{AccessPlace, LogPlan};
use crate::observe::counters::Counter;
use crate::observe::worker_stats::WorkerStats;

/// How long to write the remaining lines when the log changes or the node ends; a blocked sink
/// delays it no longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The access log of a node: the thread that writes the lines of all workers, started with the
/// first log that is configured. Dropping it does the same as [`AccessLog::close`].
#[derive(Default)]
pub struct AccessLog {
    running: Mutex<Option<Running>>,
    lost: Arc<Counter>,
}

/// Why the access log cannot start.
#[derive(Debug, thiserror::Error)]
pub enum AccessLogError {
    /// The file cannot be written.
    #[error(
        "cannot write the access log {0}: {1}; create its folder, or set another file with log.access or --access-log"
    )]
    Open(String, std::io::Error),
    /// The system refused a thread.
    #[error("cannot start the writer of the access log: {0}")]
    Thread(std::io::Error),
}

/// A log whose file is open, before the first write.
pub struct Ready {
    sink: Option<Sink>,
    plan: LogPlan,
}

impl AccessLog {
    /// Opens the sink of `plan`, without changing the current log.
    ///
    /// # Errors
    /// [`AccessLogError::Open`].
    pub fn prepare(&self, plan: &LogPlan) -> Result<Ready, AccessLogError> {
        let sink = Sink::open(&plan.access)
            .map_err(|error| AccessLogError::Open(name(&plan.access), error))?;
        Ok(Ready {
            sink,
            plan: plan.clone(),
        })
    }

    /// From now on lines of `worker_stats` go to the log of `ready`. Earlier lines still go to the
    /// old one.
    ///
    /// # Errors
    /// [`AccessLogError::Thread`].
    pub fn begin(
        &self,
        ready: Ready,
        worker_stats: &[Arc<WorkerStats>],
    ) -> Result<(), AccessLogError> {
        let mut running = self.running.lock();
        if running.is_none() && ready.sink.is_none() {
            return Ok(());
        }
        if running.is_none() {
            *running = Some(self.start(worker_stats).map_err(AccessLogError::Thread)?);
        }
        let with = ready
            .sink
            .map(|sink| (sink, Form::Access(ready.plan.access_format)));
        if let Some(running) = &*running {
            // A blocked writer takes the order later; the caller does not wait for that.
            running.use_sink(with, PATIENCE);
        }
        Ok(())
    }

    fn start(&self, worker_stats: &[Arc<WorkerStats>]) -> std::io::Result<Running> {
        Running::start("byway-access-log", |orders, waker| Writer {
            buffers: worker_stats.to_vec(),
            waker,
            orders,
            lost: Arc::clone(&self.lost),
            sink: None,
            interval: INTERVAL,
            notice: Notice::ProgramLog(None),
            failure: None,
        })
    }

    /// Reopens the file by its name: after a rename, lines go to a new file.
    pub fn reopen(&self) {
        if let Some(running) = &*self.running.lock() {
            running.order(Order::Reopen);
        }
    }

    /// Lines that the sink did not take.
    pub fn lost(&self) -> u64 {
        self.lost.value()
    }

    /// Writes all lines, for at most 2 s, and ends the thread.
    pub fn close(&self) {
        if let Some(running) = self.running.lock().take() {
            running.end(PATIENCE);
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.close();
    }
}

fn name(place: &AccessPlace) -> String {
    match place {
        AccessPlace::Off => "nowhere".into(),
        AccessPlace::Stdout => "to standard output".into(),
        AccessPlace::File(path) => Path::display(path).to_string(),
    }
}
