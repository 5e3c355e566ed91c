//! Unnamed: files without a name (O_TMPFILE), holes in files, and file systems that are memory.
//!
//! In:    a folder or an open file.
//! Out:   a private file that vanishes with its descriptor; blocks given back to the disk; whether
//!        a folder is on tmpfs.
//! Never: decides what to do where the system has none of these; the caller has its own way then.

use std::fs::File;
use std::io;
use std::path::Path;

/// Opens an unnamed file in `directory`, mode 0600.
///
/// # Errors
/// `Unsupported`, or whatever the file system says; a caller then makes a name and removes it.
#[cfg(target_os = "linux")]
pub fn open(directory: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    Ok(rustix::fs::open(directory, flags, Mode::RUSR | Mode::WUSR)?.into())
}

/// Elsewhere there are none.
#[cfg(not(target_os = "linux"))]
pub fn open(_directory: &Path) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Gives the blocks of a stretch back to the disk; the file keeps its length. False when the file
/// system cannot.
#[cfg(target_os = "linux")]
pub fn punch(file: &File, from: u64, len: u64) -> bool {
    use rustix::fs::{FallocateFlags, fallocate};
    fallocate(
        file,
        FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
        from,
        len,
    )
    .is_ok()
}

/// Elsewhere the blocks stay until the file is truncated.
#[cfg(not(target_os = "linux"))]
pub fn punch(_file: &File, _from: u64, _len: u64) -> bool {
    false
}

/// Whether what is written to `directory` lies in memory (tmpfs, ramfs).
#[cfg(target_os = "linux")]
pub fn is_memory(directory: &Path) -> bool {
    const TMPFS: u32 = 0x0102_1994;
    const RAMFS: u32 = 0x8584_58f6;
    // The type is a signed word on some architectures and unsigned on others; the magic is its low
    // half on all.
    rustix::fs::statfs(directory).is_ok_and(|stat| [TMPFS, RAMFS].contains(&(stat.f_type as u32)))
}

/// Elsewhere nobody can tell.
#[cfg(not(target_os = "linux"))]
pub fn is_memory(_directory: &Path) -> bool {
    false
}
