//! The spill threads: a few dedicated threads that do all file work, so that no task waits for a
//! disk.
//!
//! In:    one operation at a time from each stream, files to close, and at times a look at the disk.
//! Out:   results, by a channel that wakes the stream's task.
//! Never: queues more than one operation and one file per stream, so the number of streams bounds
//!        the queue.
//!
//! Why not `spawn_blocking`: its pool belongs to one runtime and grows to 512
//! threads; a slow disk would fill it and delay the name look-ups and accepted connections that
//! share it. A stuck disk stops only spilling streams, which then
//! fall back to back-pressure.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use byway_dial::ClientId;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::budget::{Charge, SpillBudget};
use super::queue::{Op, OpResult, Refusal, WriteFailure};
use super::{directory, file, unnamed_file};
use crate::fair_permits::{FairPermit, NoPermit};

/// Two threads keep a disk busy.
const THREADS: usize = 2;

/// Two threads that do the file work of all streams, their directory, and their budget. Dropping it
/// ends the threads after the queued jobs.
pub struct SpillPool {
    /// What the threads work on.
    shared: Arc<Shared>,
    budget: Arc<SpillBudget>,
    /// Called with the reason when a stream cannot use the disk.
    report: Box<dyn Fn(SpillEvent<'_>) + Send + Sync>,
}

/// Why a stream cannot use the disk and goes on with back-pressure, for the log of the program.
#[derive(Clone, Copy, Debug)]
pub enum SpillEvent<'a> {
    /// There is no permit for its file. It is reported once until the stream has written again.
    NoPermit(NoPermit),
    /// The disk is full or read-only, or the system is short of descriptors or memory. It is
    /// reported once until the stream has written again.
    NotNow(&'a io::Error),
    /// The disk failed; the stream does not write again.
    DiskFailed(&'a io::Error),
}

impl SpillPool {
    /// Starts the threads, which keep their files in `directory`; it must exist. `report` is called
    /// on the threads of the streams.
    ///
    /// # Errors
    /// When the system cannot start a thread.
    pub fn start(
        directory: &Path,
        budget: Arc<SpillBudget>,
        report: impl Fn(SpillEvent<'_>) + Send + Sync + 'static,
    ) -> io::Result<Arc<Self>> {
        let shared = Arc::new(Shared {
            directory: directory.to_owned(),
            queue: Mutex::new(Queue {
                jobs: VecDeque::new(),
                closed: false,
            }),
            work: Condvar::new(),
        });
        let report = Box::new(report);
        let pool = Arc::new(Self {
            shared,
            budget,
            report,
        });
        for _ in 0..THREADS {
            let shared = Arc::clone(&pool.shared);
            thread::Builder::new()
                .name("byway-spill".to_owned())
                .spawn(move || shared.run())?;
        }
        Ok(pool)
    }

    /// The budget.
    pub const fn budget(&self) -> &Arc<SpillBudget> {
        &self.budget
    }

    pub(super) fn report(&self, event: SpillEvent<'_>) {
        (self.report)(event);
    }

    /// Raises the budget's limit if the disk has more room than when it was set.
    pub(super) fn raise_limit(&self) {
        if self.budget.wants_raise() {
            self.shared
                .put(FileJob::RaiseLimit(Arc::clone(&self.budget)));
        }
    }

    /// Runs one operation on the stream's file, which moves to the thread and comes back with the
    /// result.
    pub(super) fn submit(&self, op: Op, store: Store) -> oneshot::Receiver<Done> {
        let (reply, outcome) = oneshot::channel();
        self.shared.put(FileJob::Do { op, store, reply });
        outcome
    }

    /// Closes a file on a thread where it may block: freeing a gigabyte of blocks takes time.
    pub(super) fn close(&self, store: Store) {
        if store.file.is_some() {
            self.shared.put(FileJob::Close(store));
        }
    }
}

impl fmt::Debug for SpillPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpillPool")
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}

impl Drop for SpillPool {
    fn drop(&mut self) {
        self.shared.queue.lock().closed = true;
        self.shared.work.notify_all();
    }
}

/// A stream's file, once it has one, with its permit and its charge. They are kept together, so that
/// a permit is returned only when the file is closed, and the budget only when the blocks are free.
#[derive(Debug)]
pub(super) struct Store {
    // Fields are dropped in this order.
    file: Option<File>,
    /// Taken before the file is opened.
    permit: Option<FairPermit<ClientId>>,
    pub(super) charge: Charge,
}

impl Store {
    pub(super) const fn new(charge: Charge) -> Self {
        Self {
            file: None,
            permit: None,
            charge,
        }
    }

    /// Charges `bytes` that are to be written, and takes the permit for a file if there is none
    /// yet. Does not block, so that a stream that is refused keeps its bytes while a disk is stuck.
    pub(super) fn admit(&mut self, bytes: u64, stream_bytes: u64) -> Result<(), Refusal> {
        if !self.charge.grow(bytes, stream_bytes) {
            return Err(Refusal::NoRoom);
        }
        if self.permit.is_none() {
            self.permit = Some(self.charge.file_permit().map_err(Refusal::NoPermit)?);
        }
        Ok(())
    }

    fn open_file(&mut self, directory: &Path) -> io::Result<&File> {
        if self.file.is_none() {
            // It is missing if it could not be created at the start, or was removed since.
            directory::create(directory)?;
            self.file = Some(file::open(directory)?);
        }
        self.file()
    }

    fn file(&self) -> io::Result<&File> {
        self.file
            .as_ref()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn close_file(&mut self) {
        self.file = None;
        self.permit = None;
    }
}

/// The result of an operation.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) outcome: OpResult,
    pub(super) store: Store,
}

enum FileJob {
    /// Runs an operation on the file of a stream.
    Do {
        op: Op,
        store: Store,
        reply: oneshot::Sender<Done>,
    },
    /// Closes a file.
    Close(Store),
    /// Looks at the disk, and raises the limit of the budget if there is more room.
    RaiseLimit(Arc<SpillBudget>),
}

/// What the threads and the streams share.
struct Shared {
    directory: PathBuf,
    queue: Mutex<Queue>,
    /// Notified of each job, and of the end.
    work: Condvar,
}

struct Queue {
    jobs: VecDeque<FileJob>,
    /// The pool was dropped: the threads end after the last job.
    closed: bool,
}

impl Shared {
    fn put(&self, job: FileJob) {
        self.queue.lock().jobs.push_back(job);
        self.work.notify_one();
    }

    fn run(&self) {
        while let Some(job) = self.next() {
            match job {
                FileJob::Close(store) => drop(store),
                FileJob::RaiseLimit(budget) => budget.raise_limit(&self.directory),
                FileJob::Do {
                    op,
                    mut store,
                    reply,
                } => {
                    let outcome = perform(op, &mut store, &self.directory);
                    // If the stream was dropped meanwhile, its file comes back here and is closed.
                    drop(reply.send(Done { outcome, store }));
                }
            }
        }
    }

    fn next(&self) -> Option<FileJob> {
        let mut queue = self.queue.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            if queue.closed {
                return None;
            }
            self.work.wait(&mut queue);
        }
    }
}

fn perform(op: Op, store: &mut Store, directory: &Path) -> OpResult {
    match op {
        Op::Write { at, mut pieces } => {
            let (written, failure) = write(at, &mut pieces, store, directory);
            OpResult::Written {
                pieces,
                written,
                failure,
            }
        }
        Op::Read { at, len, mut piece } => {
            let read = store
                .file()
                .and_then(|file| file::read(file, at, len, &mut piece));
            OpResult::Read(read.map(|()| piece))
        }
        Op::Punch { from, len } => OpResult::Punched(
            store
                .file()
                .is_ok_and(|file| unnamed_file::punch(file, from, len)),
        ),
        Op::Empty => {
            // While most permits are free the file is kept, which is cheaper than to open it again.
            let is_kept = store.charge.budget().has_ample_files()
                && store.file().and_then(|file| file.set_len(0)).is_ok();
            if !is_kept {
                store.close_file();
            }
            OpResult::Emptied
        }
    }
}

fn write(
    at: u64,
    pieces: &mut [crate::buffer::Buffer],
    store: &mut Store,
    directory: &Path,
) -> (u64, Option<WriteFailure>) {
    let bytes = pieces.iter().map(|piece| piece.len() as u64).sum();
    let (written, failure) = if !store.charge.budget().disk_has_room(directory, bytes) {
        (0, Some(WriteFailure::Refused(Refusal::NoRoom)))
    } else {
        match store.open_file(directory) {
            Ok(file) => {
                let (written, result) = file::write(file, at, pieces);
                (written, result.err().map(not_written))
            }
            Err(error) => (0, Some(not_written(error))),
        }
    };
    if at + written == 0 {
        // Nothing is in it.
        store.close_file();
    }
    (written, failure)
}

/// A failure that may pass is a refusal: the stream writes again later.
fn not_written(error: io::Error) -> WriteFailure {
    if directory::may_pass(&error) {
        WriteFailure::Refused(Refusal::NotNow(error))
    } else {
        WriteFailure::Disk(error)
    }
}
