//! Access log: the file to which a measured program writes one line per request, and how much it
//! has written.
//!
//! In:    a file that the program keeps open.
//! Out:   the bytes written since the last call; an emptied file.
//! Never: lets a log fill the disk, or accepts a program that should log and does not.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The file. It is removed with the scratch folder of the run.
#[derive(Debug)]
pub(crate) struct AccessLog(PathBuf);

impl AccessLog {
    /// A file of this name, which the program creates.
    pub(crate) fn new(dir: &Path, name: &str) -> Self {
        Self(dir.join(format!("{name}.access.log")))
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Creates it, for a program that logs to its standard output.
    pub(crate) fn create(&self) -> Result<File> {
        let file = OpenOptions::new().create(true).append(true).open(&self.0);
        file.with_context(|| format!("creating {}", self.0.display()))
    }

    /// Returns the bytes written since the last call, in whole disk blocks, and empties the file. A
    /// writer that appends continues at the start; one that keeps its offset leaves a hole in
    /// front, which takes no space.
    pub(crate) fn take(&self) -> Result<u64> {
        const BLOCK_BYTES: u64 = 512; // stat(2): the unit of st_blocks, whatever the disk's own is
        let file = OpenOptions::new().write(true).open(&self.0);
        let file = file.with_context(|| format!("there is no access log {}", self.0.display()))?;
        let written = file.metadata()?.blocks() * BLOCK_BYTES;
        file.set_len(0).context("emptying an access log")?;
        Ok(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const LARGE: &[u8] = &[b'.'; 1 << 20];

    /// 1 MiB, and up to 64 KiB for the file system's own blocks.
    fn about_large(bytes: u64) -> bool {
        (1 << 20..(1 << 20) + (1 << 16)).contains(&bytes)
    }

    #[test]
    fn an_appending_writer_starts_at_offset_zero_of_the_emptied_file() {
        let dir = tempfile::tempdir().unwrap();
        let log = AccessLog::new(dir.path(), "peer");
        assert!(log.take().is_err(), "a missing log is an error");
        let mut writer = log.create().unwrap();
        for _ in 0..2 {
            writer.write_all(LARGE).unwrap();
            assert!(about_large(log.take().unwrap()));
        }
        assert_eq!(log.take().unwrap(), 0);
    }

    #[test]
    fn a_writer_that_keeps_its_place_is_not_counted_twice() {
        let dir = tempfile::tempdir().unwrap();
        let log = AccessLog::new(dir.path(), "peer");
        let mut writer = File::create(log.path()).unwrap();
        for _ in 0..3 {
            writer.write_all(LARGE).unwrap();
            assert!(about_large(log.take().unwrap()));
        }
    }
}
