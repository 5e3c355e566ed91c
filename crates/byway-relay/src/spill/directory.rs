//! The spill directory: created as private, tested for write access, and checked for tmpfs. Which
//! errors of its disk may pass.
//!
//! Never: changes the mode of a directory that already existed.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::{file, unnamed_file};

/// Why a directory cannot be spilled to.
#[derive(Debug, thiserror::Error)]
pub enum SpillDirError {
    /// It does not exist and cannot be created.
    #[error("cannot create the spill directory {path}: {source}; {}", advice(.source, "create it"))]
    Create {
        /// The directory.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The path is something else.
    #[error("the spill directory {0} is not a directory; choose another one")]
    NotADirectory(PathBuf),
    /// No file can be written there.
    #[error(
        "cannot write to the spill directory {path}: {source}; {}",
        advice(.source, "give this user write access")
    )]
    NotWritable {
        /// The directory.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
}

impl SpillDirError {
    /// Whether the error may pass: the disk is full or read-only, or the system is short of
    /// descriptors or memory. A pool may be started then; its streams go on with back-pressure, and
    /// try to write until it has passed.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Create { source, .. } | Self::NotWritable { source, .. } => may_pass(source),
            Self::NotADirectory(_) => false,
        }
    }
}

/// Whether a later attempt may succeed, so that it is worth one.
pub(super) fn may_pass(error: &io::Error) -> bool {
    const MAY_PASS: [Errno; 6] = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOMEM,
        Errno::NOSPC,
        Errno::DQUOT,
        Errno::ROFS,
    ];
    Errno::from_io_error(error).is_some_and(|errno| MAY_PASS.contains(&errno))
}

/// What to do about `error`, or else `otherwise`.
fn advice(error: &io::Error, otherwise: &str) -> String {
    let first = match error.kind() {
        io::ErrorKind::StorageFull => "free some space on its disk",
        io::ErrorKind::QuotaExceeded => "free some space, raise the quota",
        io::ErrorKind::ReadOnlyFilesystem => "mount its file system for writing",
        _ => otherwise,
    };
    format!("{first} or choose another one")
}

/// Creates `directory` with mode 0700 unless it exists, and tests whether a file can be written in
/// it.
///
/// # Errors
/// What is wrong with the directory. Blocks; call it at start-up.
pub fn prepare(directory: &Path) -> Result<(), SpillDirError> {
    let path = || directory.to_owned();
    create(directory).map_err(|source| SpillDirError::Create {
        path: path(),
        source,
    })?;
    if !directory.is_dir() {
        return Err(SpillDirError::NotADirectory(path()));
    }
    file::probe(directory).map_err(|source| SpillDirError::NotWritable {
        path: path(),
        source,
    })
}

/// A warning if `directory` is in memory (tmpfs or ramfs): spilling there saves no memory.
pub fn warn_if_memory(directory: &Path) -> Option<String> {
    unnamed_file::is_memory(directory).then(|| {
        format!(
            "the spill directory {} is in memory (tmpfs), so spilled bytes use RAM; choose one on a disk",
            directory.display()
        )
    })
}

/// Creates `directory` with mode 0700 unless it exists.
pub(super) fn create(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    if directory.exists() {
        return Ok(());
    }
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_missing_directory_is_created_for_this_user_only() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().join("a/b");
        prepare(&directory).unwrap();
        assert_eq!(
            directory.metadata().unwrap().permissions().mode() & 0o777,
            0o700
        );
        prepare(&directory).unwrap();
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
    }

    #[test]
    fn the_error_for_a_file_in_place_of_the_directory_names_it() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("file");
        std::fs::write(&path, "").unwrap();
        assert!(matches!(
            prepare(&path),
            Err(SpillDirError::NotADirectory(_))
        ));
        let error = prepare(&path.join("below")).unwrap_err().to_string();
        assert!(
            error.contains("below") && error.contains("cannot create"),
            "{error}"
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_directory_in_memory_causes_a_warning() {
        let shared_memory = Path::new("/dev/shm");
        if shared_memory.is_dir() {
            assert!(warn_if_memory(shared_memory).unwrap().contains("/dev/shm"));
        }
        assert_eq!(warn_if_memory(Path::new("/proc")), None);
    }
}
