//! Names file: `names` of the state folder: read when the node begins to serve, written when a name changes hands.
//!
//! In:    what is to be written, and the number of the change that it holds.
//! Out:   what an earlier process has written; when a change has been written.
//! Never: writes while another process is the writer: before [`NamesFile::begin`], and after [`NamesFile::end`].

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{AcqRel, Release};

use byway_link::lease::NewerFormat;
use byway_link::{Leases, store};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::grants::now_s;
use crate::observe::repeats::Repeats;

/// See the head of the file.
pub(super) struct NamesFile {
    file: PathBuf,
    /// Held while the file is written.
    writer: Mutex<Writer>,
    /// A write is due and has not looked at the leases yet.
    is_due: AtomicBool,
    /// The change that the file was last written after.
    written: watch::Sender<u64>,
    /// How often it was written.
    #[cfg(test)]
    writes: std::sync::atomic::AtomicU64,
}

#[derive(Default)]
struct Writer {
    /// Whether this process is the one that writes.
    is_ours: bool,
    failures: Repeats,
}

/// Why the names cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum NamesError {
    /// The file.
    #[error(
        "cannot read {}: {source}; it says which names belong to which grant, so nothing is served without it; look at \
         its owner and permissions, or restore it", path.display()
    )]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A newer version has written it.
    #[error("cannot use {}: {source}", path.display())]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Which format.
        source: NewerFormat,
    },
}

impl NamesFile {
    pub(super) fn new(state: &Path) -> Self {
        Self {
            file: state.join("names"),
            writer: Mutex::new(Writer::default()),
            is_due: AtomicBool::new(false),
            written: watch::Sender::new(0),
            #[cfg(test)]
            writes: std::sync::atomic::AtomicU64::default(),
        }
    }

    /// The leases in the file; none if it does not exist.
    pub(super) fn read(&self) -> Result<Leases, NamesError> {
        let path = || self.file.clone();
        let bytes = store::read(&self.file).map_err(|source| NamesError::Read { path: path(), source })?;
        let restored = Leases::restore(&bytes.unwrap_or_default());
        let (mut leases, unread) = restored.map_err(|source| NamesError::Newer { path: path(), source })?;
        if unread.lines > 0 {
            tracing::warn!(
                "{} lines of {} cannot be read, the first is line {}: they are kept, and the names in them are free",
                unread.lines,
                self.file.display(),
                unread.first
            );
        }
        leases.expire(now_s());
        Ok(leases)
    }

    /// From now on this process writes the file.
    pub(super) fn begin(&self) {
        self.writer.lock().is_ours = true;
    }

    /// Writes the file for the last time. Waits for the disk.
    pub(super) fn end(&self, content: impl FnOnce() -> (u64, Vec<u8>)) {
        let mut writer = self.writer.lock();
        self.write_as(&writer, content);
        writer.is_ours = false;
    }

    /// Whether a write has to be started. If not, one is due already that will hold every change so far.
    pub(super) fn is_to_write(&self) -> bool {
        !self.is_due.swap(true, AcqRel)
    }

    /// Writes what `content` makes. Waits for the disk, and for its turn: one at a time, and each writes what is true when
    /// its turn comes.
    pub(super) fn write(&self, content: impl FnOnce() -> (u64, Vec<u8>)) {
        let writer = self.writer.lock();
        self.is_due.store(false, Release);
        self.write_as(&writer, content);
    }

    fn write_as(&self, writer: &Writer, content: impl FnOnce() -> (u64, Vec<u8>)) {
        let (change, bytes) = content();
        #[cfg(test)]
        self.writes.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        if writer.is_ours
            && let Err(error) = store::replace(&self.file, &bytes)
            && let Some(line) = writer.failures.count()
        {
            let (file, left_out) = (self.file.display(), line.left_out);
            tracing::warn!(left_out, "{file}: {error}; after a restart names may be taken by others");
        }
        self.written.send_replace(change);
    }

    /// Waits until `change` was written, or could not be.
    pub(super) async fn written(&self, change: u64) {
        // The sender lives as long as we do.
        let _ = self.written.subscribe().wait_for(|written| *written >= change).await;
    }

    /// Keeps the file from being written while the guard lives.
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
