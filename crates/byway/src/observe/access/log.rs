//! AccessLog: the access log of a node, as whoever runs the node sees it.
//!
//! In:    the Plan's `[log]`, at the start and at each reload; a wish to open the file again.
//! Out:   pages that take lines, and a thread that writes them.
//! Never: starts a thread before a log is wanted, and never waits longer than 3 s for a sink.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::bell::Bell;
use super::sink::Sink;
use super::writer::{Order, Writer};
use crate::config::{AccessPlace, LogPlan};
use crate::observe::counters::Counter;
use crate::observe::station::Station;

/// For lines to be written when the log changes or the node ends; a sink that is stuck does not hold it up for longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// See the head of the file.
#[derive(Default)]
pub struct AccessLog {
    running: Mutex<Option<Running>>,
    lost: Arc<Counter>,
}

struct Running {
    orders: Sender<Order>,
    bell: Arc<Bell>,
}

/// Why there is no access log.
#[derive(Debug, thiserror::Error)]
pub enum AccessLogError {
    /// The file cannot be written.
    #[error(
        "cannot write the access log {0}: {1}; make its folder, or name another file by log.access or --access-log"
    )]
    Open(String, std::io::Error),
    /// The system refused a thread.
    #[error("cannot start the writer of the access log: {0}")]
    Thread(std::io::Error),
}

/// A log whose file is open and that nothing is written to yet.
pub struct Ready {
    sink: Option<Sink>,
    plan: LogPlan,
}

impl AccessLog {
    /// Opens what `plan` wants, without touching what is written now.
    ///
    /// # Errors
    /// [`AccessLogError::Open`].
    pub fn prepare(&self, plan: &LogPlan) -> Result<Ready, AccessLogError> {
        let sink = Sink::open(&plan.access).map_err(|error| AccessLogError::Open(name(&plan.access), error))?;
        Ok(Ready { sink, plan: plan.clone() })
    }

    /// From now on lines of `stations` go there. Those that were written before go where they would have gone.
    ///
    /// # Errors
    /// [`AccessLogError::Thread`].
    pub fn begin(&self, ready: Ready, stations: &[Arc<Station>]) -> Result<(), AccessLogError> {
        let mut running = self.running.lock();
        if running.is_none() && ready.sink.is_none() {
            return Ok(());
        }
        if running.is_none() {
            *running = Some(self.start(stations).map_err(AccessLogError::Thread)?);
        }
        let (done, is_done) = mpsc::channel();
        let with = ready.sink.map(|sink| (sink, ready.plan.format));
        tell(running.as_ref(), Order::Use(with, done));
        // A writer that is stuck takes the order when it comes to it; nobody has to wait for that.
        let _ = is_done.recv_timeout(PATIENCE);
        Ok(())
    }

    fn start(&self, stations: &[Arc<Station>]) -> std::io::Result<Running> {
        let (orders, taken) = mpsc::channel();
        let bell = Arc::new(Bell::default());
        let writer = Writer {
            stations: stations.to_vec(),
            bell: Arc::clone(&bell),
            orders: taken,
            lost: Arc::clone(&self.lost),
            sink: None,
            told: None,
        };
        std::thread::Builder::new().name("byway-access-log".into()).spawn(move || writer.run())?;
        Ok(Running { orders, bell })
    }

    /// Opens the file again, by its name: after a rename, lines go on in a new file.
    pub fn reopen(&self) {
        tell(self.running.lock().as_ref(), Order::Reopen);
    }

    /// Lines that the sink did not take.
    pub fn lost(&self) -> u64 {
        self.lost.value()
    }

    /// Writes what there is, for at most 2 s, and ends the thread.
    pub fn close(&self) {
        let Some(running) = self.running.lock().take() else { return };
        let (done, is_done) = mpsc::channel();
        let deadline = Instant::now() + PATIENCE;
        tell(Some(&running), Order::End(deadline, done));
        // A write that the disk holds up cannot be told to stop: the thread is left behind then.
        let _ = is_done.recv_timeout(PATIENCE + PATIENCE / 2);
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.close();
    }
}

fn tell(running: Option<&Running>, order: Order) {
    let Some(running) = running else { return };
    let _ = running.orders.send(order);
    running.bell.hurry();
}

fn name(place: &AccessPlace) -> String {
    match place {
        AccessPlace::Off => "nowhere".into(),
        AccessPlace::Stdout => "to standard output".into(),
        AccessPlace::File(path) => Path::display(path).to_string(),
    }
}
