//! Unsent: how many bytes the kernel takes for a TCP connection whose peer does not read.
//!
//! In:    a socket that connects, or that listens: on Linux accepted connections inherit the
//!        setting.
//! Out:   the socket with the setting.
//! Never: limits the bytes that are under way to the peer, so a long and fast path carries as much
//!        as without it.
//!
//! Without it the kernel takes as much as its send buffer grows to, some 4 MB, for each peer that
//! pauses.

use std::io;

/// From how many bytes that wait to be sent the kernel takes no more (`TCP_NOTSENT_LOWAT`); what
/// visitors' connections have.
pub const BYTES: u32 = 128 * 1024;

/// What may wait to be sent at most: the kernel looks before each of its packets, and one has up to
/// 64 KiB.
pub const MOST_BYTES: u32 = 256 * 1024;

/// Has the kernel take no more bytes for a connection of `socket` while `bytes` wait to be sent.
/// Nothing happens on systems without the option.
///
/// # Errors
/// What the system says.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn bound(socket: &impl std::os::fd::AsFd, bytes: u32) -> io::Result<()> {
    socket2::SockRef::from(socket).set_tcp_notsent_lowat(bytes)
}

/// Has the kernel take no more bytes for a connection of `socket` while `bytes` wait to be sent.
/// Nothing happens on systems without the option.
///
/// # Errors
/// What the system says.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub const fn bound<T>(_: &T, _: u32) -> io::Result<()> {
    Ok(())
}
