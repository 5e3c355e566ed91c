//! Unacknowledged: how many bytes of a TCP socket its peer has not acknowledged yet.
//!
//! In:    a connected socket.
//! Out:   a number of bytes, a FIN counted as one; `None` where the system has none.
//! Never: waits.

use tokio::net::TcpStream;

/// Bytes written to a TCP socket that the peer has not acknowledged, sent or not; a FIN counts as
/// one. `None` if the kernel refuses, or on an architecture where the number of `SIOCOUTQ` is not
/// known.
#[cfg(target_os = "linux")]
pub(super) fn bytes(socket: &TcpStream) -> Option<u64> {
    use std::ffi::c_int;

    use rustix::ioctl::{Getter, Opcode, ioctl};

    /// `SIOCOUTQ` of tcp(7).
    const SIOCOUTQ: Opcode = 0x5411;
    /// The architectures on which it has this number; it differs on others.
    const IS_KNOWN: bool = cfg!(any(
        target_arch = "x86_64",
        target_arch = "x86",
        target_arch = "aarch64",
        target_arch = "arm",
        target_arch = "riscv64"
    ));

    if !IS_KNOWN {
        return None;
    }
    // SAFETY: SIOCOUTQ writes one `int` to the given address, and `Getter` passes the address of
    // one.
    #[allow(unsafe_code)]
    let bytes = unsafe { ioctl(socket, Getter::<SIOCOUTQ, c_int>::new()) };
    bytes.ok().and_then(|bytes| u64::try_from(bytes).ok())
}

/// Always `None`: the number is read on Linux only.
#[cfg(not(target_os = "linux"))]
pub(super) const fn bytes(_: &TcpStream) -> Option<u64> {
    None
}
