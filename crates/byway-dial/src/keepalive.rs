//! Keepalive: TCP keepalive probes on idle connections, to detect a dead peer.
//!
//! In:    a connecting socket, or a listener: on Linux accepted connections inherit the setting.
//! Out:   the socket with the setting.
//! Never: is used for Unix sockets; the kernel reports a closed peer there.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// The default idle time before the first probe: well within the idle timeouts of NATs.
pub const DEFAULT: Duration = Duration::from_secs(60);
/// The time between two probes. The default of Linux and others is 75 s.
pub const INTERVAL: Duration = Duration::from_secs(15);
/// The number of unanswered probes that ends the connection. The default of Linux is 9, of others 8
/// or 10.
pub const PROBES: u32 = 4;

/// The shortest and the longest delay that the kernel accepts.
const DELAY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(32_767));

/// Enables probes on connections of `socket` that are idle for `delay`, clamped to 1 s to 32,767 s.
/// A connection ends after [`PROBES`] unanswered probes, one every [`INTERVAL`]: with [`DEFAULT`],
/// after two minutes of silence.
///
/// # Errors
/// The system error.
#[cfg(unix)]
pub fn set(socket: &impl std::os::fd::AsFd, delay: Duration) -> io::Result<()> {
    SockRef::from(socket).set_tcp_keepalive(&setting(delay))
}

/// Enables probes on connections of `socket` that are idle for `delay`, clamped to 1 s to 32,767 s.
/// A connection ends after [`PROBES`] unanswered probes, one every [`INTERVAL`]: with [`DEFAULT`],
/// after two minutes of silence.
///
/// # Errors
/// The system error.
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
