//! Unnamed file: files without a name (O_TMPFILE), holes in files, and file systems in memory.
//!
//! In:    a folder or an open file.
//! Out:   a private file that disappears with its descriptor; blocks returned to the disk; whether
//!        a folder is on tmpfs.
//! Never: decides what to do where the system lacks these; the caller has its own fallback.

use std::fs::File;
use std::io;
use std::path::Path;

/// Opens an unnamed file in `directory`, mode 0600.
///
/// # Errors
/// `Unsupported`, or an error of the file system; then the caller creates a named file and removes
/// the name.
#[cfg(target_os = "linux")]
pub(super) fn open(directory: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    Ok(rustix::fs::open(directory, flags, Mode::RUSR | Mode::WUSR)?.into())
}

/// Not available on other platforms.
#[cfg(not(target_os = "linux"))]
pub(super) fn open(_directory: &Path) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Returns the blocks of a range to the disk; the file keeps its length. False when the file system
/// cannot.
#[cfg(target_os = "linux")]
pub(super) fn punch(file: &File, from: u64, len: u64) -> bool {
    use rustix::fs::{FallocateFlags, fallocate};
    fallocate(
        file,
        FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
        from,
        len,
    )
    .is_ok()
}

/// On other platforms the blocks stay until the file is truncated.
#[cfg(not(target_os = "linux"))]
pub(super) fn punch(_file: &File, _from: u64, _len: u64) -> bool {
    false
}

/// Whether data written to `directory` is kept in memory (tmpfs, ramfs).
#[cfg(target_os = "linux")]
pub(super) fn is_memory(directory: &Path) -> bool {
    const TMPFS: u32 = 0x0102_1994;
    const RAMFS: u32 = 0x8584_58f6;
    // The type is a signed word on some architectures and unsigned on others; the magic is its low
    // half on all.
    rustix::fs::statfs(directory).is_ok_and(|stat| [TMPFS, RAMFS].contains(&(stat.f_type as u32)))
}

/// Unknown on other platforms.
#[cfg(not(target_os = "linux"))]
pub(super) fn is_memory(_directory: &Path) -> bool {
    false
}
