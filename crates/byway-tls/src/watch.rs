//! Watch: certificates that are read again when their files change.
//!
//! In:    the files of certificates; a look at them now and then.
//! Out:   changes of a store, and what went wrong.
//! Never: replaces a working certificate by files that cannot be used.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::certificate::Certificate;
use crate::pem::{CertificateFiles, FileError};
use crate::store::{CertificateStore, Change, Entry, Provider, SourceId};

/// A certificate of the operator: its files, and how it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSource {
    /// Where it is.
    pub files: CertificateFiles,
    /// The names that it serves. `None`: those that it has.
    pub names: Option<Vec<String>>,
    /// Whether clients get it that send no name or an unknown one.
    pub is_default: bool,
}

/// The certificates of a config, and the state of their files when they were last read.
#[derive(Debug, Default)]
pub struct WatchedFiles {
    all: Vec<Watched>,
    /// What was read and is not in a store yet.
    pending: Vec<Change>,
}

#[derive(Debug)]
struct Watched {
    source: FileSource,
    seen: Vec<FileState>,
}

/// What a look at a file shows: a rename over it and a change in place both alter it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FileState {
    path: PathBuf,
    found: Option<(SystemTime, u64, u64)>,
}

/// A certificate that could not be read. The store keeps the one that it had.
#[derive(Debug)]
pub struct Failed {
    /// The file of the certificate.
    pub cert: PathBuf,
    /// Why.
    pub error: FileError,
}

impl WatchedFiles {
    /// Reads the certificates of `sources`. Blocks. [`WatchedFiles::take_over`] installs them.
    ///
    /// The second value is what could not be read.
    pub fn read(sources: Vec<FileSource>) -> (Self, Vec<Failed>) {
        let all = sources.into_iter().map(Watched::unseen).collect();
        let (mut files, mut pending) = (
            Self {
                all,
                pending: Vec::new(),
            },
            Vec::new(),
        );
        let failed = files.look(&mut pending);
        files.pending = pending;
        (files, failed)
    }

    /// Makes what was read the certificates of the store, in place of those of `old`.
    pub fn take_over(&mut self, old: &Self, store: &CertificateStore) {
        let now: HashSet<_> = self
            .all
            .iter()
            .map(|watched| id_of(&watched.source))
            .collect();
        let before = old.all.iter().map(|watched| id_of(&watched.source));
        let removed = before.filter(|id| !now.contains(id)).map(Change::Remove);
        store.update(removed.chain(self.pending.drain(..)));
    }

    /// Whether there are no files.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The certificates that were read and are not installed yet.
    pub fn pending(&self) -> impl Iterator<Item = &Certificate> {
        self.pending.iter().filter_map(|change| match change {
            Change::Install(_, entry) => Some(&*entry.certificate),
            Change::Remove(_) => None,
        })
    }

    /// Reads those again whose files have changed since the last look. Blocks. What could not be
    /// read is reported once, and read again when a file changes once more.
    pub fn refresh(&mut self, store: &CertificateStore) -> Refreshed {
        let mut changes = Vec::new();
        let failed = self.look(&mut changes);
        let installed = changes.len();
        if installed > 0 {
            store.update(changes);
        }
        Refreshed { installed, failed }
    }

    fn look(&mut self, changes: &mut Vec<Change>) -> Vec<Failed> {
        let mut failed = Vec::new();
        for watched in &mut self.all {
            // Before reading: a change while it is read shows at the next look.
            let now: Vec<_> = watched.source.files.paths().map(FileState::of).collect();
            if now == watched.seen {
                continue;
            }
            watched.seen = now;
            let source = &watched.source;
            match source.files.load() {
                Ok(certificate) => {
                    let entry = Entry {
                        certificate: Arc::new(certificate),
                        names: source.names.clone(),
                        is_default: source.is_default,
                    };
                    changes.push(Change::Install(id_of(source), entry));
                }
                Err(error) => failed.push(Failed {
                    cert: source.files.cert.clone(),
                    error,
                }),
            }
        }
        failed
    }
}

/// What a look at the files has led to.
#[derive(Debug)]
pub struct Refreshed {
    /// How many certificates were read again.
    pub installed: usize,
    /// Those that could not be read.
    pub failed: Vec<Failed>,
}

impl Watched {
    fn unseen(source: FileSource) -> Self {
        let seen = Vec::new();
        Self { source, seen }
    }
}

impl FileState {
    fn of(path: &Path) -> Self {
        let found = path.metadata().ok().map(|metadata| {
            let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            (modified, metadata.len(), inode(&metadata))
        });
        let path = path.into();
        Self { path, found }
    }
}

#[cfg(unix)]
fn inode(metadata: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_: &std::fs::Metadata) -> u64 {
    0
}

fn id_of(source: &FileSource) -> SourceId {
    SourceId::new(Provider::File, source.files.cert.display().to_string())
}

#[cfg(test)]
mod tests;
