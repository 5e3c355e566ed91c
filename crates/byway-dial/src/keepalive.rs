//! Keepalive: when the kernel probes a TCP connection that is silent, so that a peer that vanished
//! is noticed.
//!
//! In:    a socket that connects, or that listens: on Linux accepted connections inherit the
//!        setting.
//! Out:   the socket with the setting.
//! Never: is used for Unix sockets; the kernel knows when their peer has gone.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// How long a connection is silent before it is probed, where nothing else is said: well within
/// what NATs remember.
pub const DEFAULT: Duration = Duration::from_secs(60);
/// How long the kernel waits for an answer to a probe before the next one. The default of Linux and
/// others is 75 s.
pub const INTERVAL: Duration = Duration::from_secs(15);
/// After how many unanswered probes the connection ends. The default of Linux is 9, of others 8 or 10.
pub const PROBES: u32 = 4;

/// The shortest and the longest delay that the kernel takes.
const DELAY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(32_767));

/// Has a silent connection of `socket` probed after `delay`, which is kept within 1 s and 32,767 s,
/// and ended when [`PROBES`] probes, one every [`INTERVAL`], have had no answer. With [`DEFAULT`]
/// that is two minutes of silence.
///
/// # Errors
/// What the system says.
#[cfg(unix)]
pub fn set(socket: &impl std::os::fd::AsFd, delay: Duration) -> io::Result<()> {
    SockRef::from(socket).set_tcp_keepalive(&setting(delay))
}

/// Has a silent connection of `socket` probed after `delay`, which is kept within 1 s and 32,767 s,
/// and ended when [`PROBES`] probes, one every [`INTERVAL`], have had no answer. With [`DEFAULT`]
/// that is two minutes of silence.
///
/// # Errors
/// What the system says.
#[cfg(windows)]
pub fn set(socket: &impl std::os::windows::io::AsSocket, delay: Duration) -> io::Result<()> {
    SockRef::from(socket).set_tcp_keepalive(&setting(delay))
}

fn setting(delay: Duration) -> TcpKeepalive {
    let setting = TcpKeepalive::new().with_time(delay.clamp(DELAY.0, DELAY.1));
    // Other systems, such as OpenBSD, have one setting for the whole machine.
    #[cfg(any(
        target_os = "linux",
        target_os = "android",
        target_os = "macos",
        target_os = "ios",
        target_os = "freebsd",
        target_os = "netbsd",
        target_os = "illumos",
        windows
    ))]
    let setting = setting.with_interval(INTERVAL).with_retries(PROBES);
    setting
}
