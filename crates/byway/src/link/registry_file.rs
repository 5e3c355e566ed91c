//! Registry file: `names` in the state folder: read when the node begins to serve, written when a
//! name changes hands.
//!
//! In:    the content to write, and the number of the last change in it.
//! Out:   what an earlier process has written; when a change was written; when a retry is due.
//! Never: writes while another process is the writer: before [`RegistryFile::begin`], and after
//!        [`RegistryFile::end`].

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{AcqRel, Release};
use std::time::{Duration, Instant};

use byway_link::Leases;
use byway_link::lease::NewerFormat;
use byway_tls::state_file;
use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use super::grants::now_s;
use crate::observe::log_limit::LogLimit;

/// The file `names` in the state folder, and when it is written. Only the process that is the
/// writer changes it, and a failed write is retried.
pub(super) struct RegistryFile {
    file: PathBuf,
    /// Held while the file is written.
    writer: Mutex<FileWriter>,
    /// A write is due and has not read the leases yet.
    is_due: AtomicBool,
    /// Set if the last write failed and is retried.
    retry: Mutex<Option<WriteRetry>>,
    /// When the file may be written next.
    next_write: Mutex<NextWrite>,
    /// Wakes the thread that waits for its turn when the last write is due.
    ending: Condvar,
    /// The last change in the file.
    written: watch::Sender<u64>,
    /// How often it was written.
    #[cfg(test)]
    writes: std::sync::atomic::AtomicU64,
}

/// When a failed write is retried.
#[derive(Clone, Copy)]
struct WriteRetry {
    at: Instant,
    wait: Duration,
}

/// See [`RegistryFile::wait_until_due`].
struct NextWrite {
    next: Instant,
    is_over: bool,
}

/// The shortest pause between two writes.
const PAUSE: Duration = Duration::from_millis(100);

/// The longest pause between two writes.
const MOST_PAUSE: Duration = Duration::from_secs(2);

/// How long the next write waits after one that took `took`: writing uses at most a tenth of a
/// core, unless registrations would then wait for longer than [`MOST_PAUSE`].
fn pause_after(took: Duration) -> Duration {
    took.saturating_mul(9).clamp(PAUSE, MOST_PAUSE)
}

/// The wait before the first retry of a failed write; it doubles each time.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The longest wait before a retry, so the names are in the file at most this long after the disk
/// has room.
const MOST_WAIT: Duration = Duration::from_secs(30);

#[derive(Default)]
struct FileWriter {
    /// Whether this process is the writer.
    is_ours: bool,
    failures: LogLimit,
}

/// Why the names cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The file cannot be read.
    #[error(
        "cannot read {}: {source}; it records which names belong to which grant, so nothing is served without it; check \
         its owner and permissions, or restore it", path.display()
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A newer version has written it.
    #[error("cannot use {}: {source}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The format.
        source: NewerFormat,
    },
}

impl RegistryFile {
    pub(super) fn new(state: &Path) -> Self {
        Self {
            file: state.join("names"),
            writer: Mutex::new(FileWriter::default()),
            is_due: AtomicBool::new(false),
            retry: Mutex::new(None),
            next_write: Mutex::new(NextWrite {
                next: Instant::now(),
                is_over: false,
            }),
            ending: Condvar::new(),
            written: watch::Sender::new(0),
            #[cfg(test)]
            writes: std::sync::atomic::AtomicU64::default(),
        }
    }

    /// The leases in the file; none if it does not exist.
    pub(super) fn read(&self) -> Result<Leases, RegistryError> {
        let path = || self.file.clone();
        let bytes = state_file::read(&self.file).map_err(|source| RegistryError::Read {
            path: path(),
            source,
        })?;
        let restored = Leases::restore(&bytes.unwrap_or_default());
        let (mut leases, unread) = restored.map_err(|source| RegistryError::Newer {
            path: path(),
            source,
        })?;
        if unread.lines > 0 {
            tracing::warn!(
                "{} lines of {} cannot be read, the first is line {}: they are kept, but the names in them are free",
                unread.lines,
                self.file.display(),
                unread.first
            );
        }
        leases.expire(now_s());
        Ok(leases)
    }

    /// Makes this process the writer.
    pub(super) fn begin(&self) {
        self.writer.lock().is_ours = true;
    }

    /// Writes the file for the last time. Waits for the disk.
    pub(super) fn end(&self, content: impl FnOnce() -> (u64, Vec<u8>)) {
        self.next_write.lock().is_over = true;
        self.ending.notify_all();
        let mut writer = self.writer.lock();
        self.write_as(&writer, content, true);
        writer.is_ours = false;
    }

    /// Whether a write must be started. If not, one is due that will include every change so far.
    pub(super) fn is_to_write(&self) -> bool {
        !self.is_due.swap(true, AcqRel)
    }

    /// Waits until the file may be written again. Blocks for at most [`MOST_PAUSE`].
    pub(super) fn wait_until_due(&self) {
        let mut next_write = self.next_write.lock();
        while !next_write.is_over {
            let next = next_write.next;
            if self.ending.wait_until(&mut next_write, next).timed_out() {
                return;
            }
        }
    }

    /// Writes the result of `content`. Waits for the disk, and for earlier writes: one runs at a
    /// time, and each calls `content` when it starts.
    pub(super) fn write(&self, content: impl FnOnce() -> (u64, Vec<u8>)) {
        let writer = self.writer.lock();
        self.is_due.store(false, Release);
        let begun = Instant::now();
        self.write_as(&writer, content, false);
        let ended = Instant::now();
        self.next_write.lock().next = ended + pause_after(ended - begun);
    }

    fn write_as(
        &self,
        writer: &FileWriter,
        content: impl FnOnce() -> (u64, Vec<u8>),
        is_last: bool,
    ) {
        let (change, bytes) = content();
        #[cfg(test)]
        self.writes
            .fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        if writer.is_ours {
            self.note_outcome(writer, state_file::replace(&self.file, &bytes), is_last);
        }
        self.written.send_replace(change);
    }

    fn note_outcome(&self, writer: &FileWriter, written: io::Result<()>, is_last: bool) {
        let file = self.file.display();
        let before = self.retry.lock().take();
        match written {
            Ok(()) if before.is_some() => tracing::info!("{file} was written after a failure"),
            Ok(()) => {}
            Err(error) if is_last => {
                let advice = state_file::advice(&error);
                tracing::error!(
                    "cannot write {file} for the next process: {error}; {advice}; names that were assigned since the last \
                     write may be taken by others"
                );
            }
            Err(error) => {
                let wait = before.map_or(FIRST_WAIT, |retry| (2 * retry.wait).min(MOST_WAIT));
                *self.retry.lock() = Some(WriteRetry {
                    at: Instant::now() + wait,
                    wait,
                });
                if let Some(line) = writer.failures.count() {
                    let left_out = line.left_out;
                    let advice = state_file::advice(&error);
                    tracing::warn!(
                        left_out,
                        "cannot write {file}: {error}; {advice}; until then names may be taken by others after a \
                         restart; trying again"
                    );
                }
            }
        }
    }

    /// Whether the last write failed.
    pub(super) fn is_unwritten(&self) -> bool {
        self.retry.lock().is_some()
    }

    /// Whether a failed write is due for a retry.
    pub(super) fn is_retry_due(&self) -> bool {
        self.retry
            .lock()
            .is_some_and(|retry| retry.at <= Instant::now())
    }

    /// Waits until `change` was written, or the write failed.
    pub(super) async fn written(&self, change: u64) {
        // The sender lives as long as `self`.
        let _ = self
            .written
            .subscribe()
            .wait_for(|written| *written >= change)
            .await;
    }

    /// Blocks writes of the file while the guard lives.
    #[cfg(test)]
    pub(super) fn hold(&self) -> impl Sized + '_ {
        self.writer.lock()
    }

    /// How often the file was written.
    #[cfg(test)]
    pub(super) fn writes(&self) -> u64 {
        self.writes.load(std::sync::atomic::Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_pause_between_writes_that_grows_with_their_duration() {
        let state = tempfile::tempdir().unwrap();
        let file = RegistryFile::new(state.path());
        file.begin();
        let before = Instant::now();
        file.write(|| (1, b"one".to_vec()));
        assert!(file.next_write.lock().next >= before + PAUSE);
        assert_eq!(pause_after(Duration::ZERO), PAUSE);
        assert_eq!(
            pause_after(Duration::from_millis(100)),
            Duration::from_millis(900)
        );
        assert_eq!(pause_after(Duration::from_secs(60)), MOST_PAUSE);
        // The last write does not wait, and ends the wait of an earlier one.
        file.next_write.lock().next = Instant::now() + Duration::from_secs(3600);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| file.wait_until_due());
            file.end(|| (2, b"two".to_vec()));
            waiting.join().unwrap();
        });
        assert_eq!(std::fs::read(state.path().join("names")).unwrap(), b"two");
    }

    #[test]
    fn a_failed_write_is_retried_until_the_disk_has_room() {
        let state = tempfile::tempdir().unwrap();
        let file = RegistryFile::new(state.path());
        file.begin();
        let path = state.path().join("names");
        std::fs::create_dir(&path).unwrap();
        file.write(|| (1, b"one".to_vec()));
        assert!(
            file.is_unwritten() && !file.is_retry_due(),
            "it waits before it tries again"
        );
        let in_folder = std::fs::read_dir(state.path()).unwrap().count();
        assert_eq!(in_folder, 1, "no scratch file is left");
        let wait = |file: &RegistryFile| file.retry.lock().as_ref().unwrap().wait;
        assert_eq!(wait(&file), FIRST_WAIT);
        (2..20).for_each(|change| file.write(|| (change, b"one".to_vec())));
        assert_eq!(wait(&file), MOST_WAIT);
        file.retry.lock().as_mut().unwrap().at = Instant::now();
        assert!(file.is_retry_due());
        std::fs::remove_dir(&path).unwrap();
        file.write(|| (20, b"two".to_vec()));
        assert!(!file.is_unwritten() && !file.is_retry_due());
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
    }
}
