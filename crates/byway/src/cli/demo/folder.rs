//! Folder: a temporary folder that only its owner may enter, for Unix sockets and the config.
//!
//! In:    nothing.
//! Out:   a path, valid while this lives.
//! Never: uses a folder that existed before.

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// A temporary folder with mode 0700 for the sockets and configs of the demo. Dropping it removes
/// the folder with all that is in it.
pub(super) struct Folder(PathBuf);

/// How often removal is retried if a file was added meanwhile.
const RETRIES: usize = 10;

/// Paths of sockets must stay below 104 bytes; the names of the folder and the socket take up to 40
/// of them.
const MOST_BASE_BYTES: usize = 60;

impl Folder {
    /// Makes one, in the system's folder for temporary files.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn make() -> anyhow::Result<Self> {
        let path = base().join(format!("byway-demo-{:08x}", fastrand::u32(..)));
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| {
                format!(
                    "cannot make the folder {}: set TMPDIR to a folder that can be written to",
                    path.display()
                )
            })?;
        Ok(Self(path))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let mut removed = std::fs::remove_dir_all(&self.0);
        for _ in 0..RETRIES {
            // A node that was cut off may still create a file in its state folder during removal.
            match &removed {
                Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {
                    removed = std::fs::remove_dir_all(&self.0)
                }
                _ => break,
            }
        }
        if let Err(error) = removed {
            tracing::warn!("cannot remove {}: {error}", self.0.display());
        }
    }
}

/// A base that fits into socket paths and into a quoted TOML string; `/tmp` where the configured
/// one does not.
fn base() -> PathBuf {
    let configured = std::env::temp_dir();
    let fits = configured.to_str().is_some_and(|text| {
        text.len() <= MOST_BASE_BYTES
            && text.starts_with('/')
            && !text.contains(['\'', '\\', '"'])
            && !text.contains(char::is_control)
    });
    if fits { configured } else { "/tmp".into() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_folder_is_private_and_is_removed_with_its_files() {
        let folder = Folder::make().unwrap();
        let path = folder.path().to_owned();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::write(path.join("file"), "content").unwrap();
        drop(folder);
        assert!(!path.exists());
    }
}
