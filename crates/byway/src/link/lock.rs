//! Lock: lets one process at a time write the files of a purpose in a state folder: the join
//! strings, the grants in them, and for services the names.
//!
//! In:    a state folder and a purpose.
//! Out:   the lock, held until it is dropped or the process ends in any way (`flock`); or its
//!        holder.
//! Never: waits, and never blocks a process that only joins, or `byway token`: they do not use it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use byway_dial::peer_text;
use byway_link::Purpose;

/// A held lock.
#[derive(Debug)]
pub(super) struct StateLock {
    _file: File,
}

/// Why the lock is not held.
#[derive(Debug, thiserror::Error)]
pub enum NotLocked {
    /// Another process has it.
    #[error(
        "the state folder {} is in use by {holder}; stop it, or use another folder with --state",
        state.display()
    )]
    Held {
        /// The folder.
        state: PathBuf,
        /// Its pid and command, as it wrote them to the file.
        holder: String,
    },
    /// The system refuses the lock.
    #[error("cannot lock {}: {source}; {}", path.display(), byway_tls::state_file::advice(source))]
    Failed {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
}

/// Longer than any description of a holder.
const MOST_HOLDER_BYTES: u64 = 200;

impl StateLock {
    /// Takes the lock of `purpose` in the folder `state`.
    ///
    /// # Errors
    /// [`NotLocked`].
    pub(super) fn take(state: &Path, purpose: Purpose) -> Result<Self, NotLocked> {
        let path = state.join(format!("{purpose}.lock"));
        let failed = |source| NotLocked::Failed {
            path: path.clone(),
            source,
        };
        let mut file = open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(NotLocked::Held {
                    state: state.to_owned(),
                    holder: holder(&file),
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let written = file
            .set_len(0)
            .and_then(|()| writeln!(file, "{}", this_process()));
        // The holder's description is only for messages: a full disk must not prevent the start.
        if let Err(error) = written {
            tracing::debug!("{}: {error}", path.display());
        }
        Ok(Self { _file: file })
    }
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        byway_tls::state_file::make_folder(folder)?;
    }
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
}

/// The description that the holder wrote to the file.
fn holder(mut file: &File) -> String {
    let mut text = Vec::new();
    let read = file
        .rewind()
        .and_then(|()| file.take(MOST_HOLDER_BYTES).read_to_end(&mut text));
    let line = text
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default()
        .trim_ascii();
    match read.is_ok() && !line.is_empty() {
        true => peer_text(line).to_string(),
        false => "another process".to_owned(),
    }
}

/// `process 4711 (byway proxy serve)`: the words of the command line up to the first flag, since
/// flags may contain secrets.
fn this_process() -> String {
    let mut words = std::env::args();
    let program = words.next().unwrap_or_default();
    let program = Path::new(&program)
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let verbs = words
        .take_while(|word| word.bytes().all(|byte| byte.is_ascii_lowercase()))
        .take(2);
    let command: Vec<String> = std::iter::once(program).chain(verbs).collect();
    format!("process {} ({})", std::process::id(), command.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_purpose_has_one_holder_which_the_error_names() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let held = StateLock::take(&state, Purpose::Serve).unwrap();
        let exit = StateLock::take(&state, Purpose::Exit).unwrap();
        let refused = StateLock::take(&state, Purpose::Serve)
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains(&format!("process {} (", std::process::id())),
            "{refused}"
        );
        assert!(
            refused.contains(&state.display().to_string()) && refused.contains("--state"),
            "{refused}"
        );
        drop(held);
        StateLock::take(&state, Purpose::Serve).unwrap();
        drop(exit);
    }
}
