//! Unsent: limits how many unsent bytes the kernel buffers for a TCP connection whose peer does not
//! read.
//!
//! In:    a connecting socket, or a listener: on Linux accepted connections inherit the setting.
//! Out:   the socket with the setting.
//! Never: limits the bytes in flight, so the throughput of a long and fast path does not change.
//!
//! Without the limit the kernel's send buffer grows to some 4 MB for each peer that does not read.

use std::io;

/// The number of unsent bytes from which the kernel accepts no more (`TCP_NOTSENT_LOWAT`); used for
/// visitors' connections.
pub const BYTES: u32 = 128 * 1024;

/// The most unsent bytes: the kernel checks before each packet, and a packet has up to 64 KiB.
pub const MOST_BYTES: u32 = 256 * 1024;

/// Makes the kernel accept no more bytes for a connection of `socket` while `bytes` are unsent.
/// Does nothing on systems without the option.
///
/// # Errors
/// The system error.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn bound(socket: &impl std::os::fd::AsFd, bytes: u32) -> io::Result<()> {
    socket2::SockRef::from(socket).set_tcp_notsent_lowat(bytes)
}

/// Makes the kernel accept no more bytes for a connection of `socket` while `bytes` are unsent.
/// Does nothing on systems without the option.
///
/// # Errors
/// The system error.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub const fn bound<T>(_: &T, _: u32) -> io::Result<()> {
    Ok(())
}
