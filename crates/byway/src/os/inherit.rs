//! Inherit: listening sockets passed by the parent process (the LISTEN_FDS protocol of
//! systemd.socket).
//!
//! In:    LISTEN_PID, LISTEN_FDS and the descriptors from 3 on.
//! Out:   sockets by the address they are bound to; a listener with one of these addresses serves
//!        that socket instead of binding its own.
//! Never: touches a descriptor that the protocol does not name. The only `unsafe` of the program is
//!        here.

use std::net::{SocketAddr, TcpListener};

#[cfg(unix)]
use std::os::unix::net::UnixListener;

/// Inherited sockets that are not taken yet.
#[derive(Default)]
pub struct Inherited {
    tcp: Vec<TcpListener>,
    #[cfg(unix)]
    unix: Vec<UnixListener>,
}

impl Inherited {
    /// Whether nothing was inherited, or all of it was taken.
    pub fn is_empty(&self) -> bool {
        #[cfg(unix)]
        if !self.unix.is_empty() {
            return false;
        }
        self.tcp.is_empty()
    }

    /// Takes the inherited sockets bound to exactly `address`.
    pub fn take_tcp(&mut self, address: SocketAddr) -> Vec<TcpListener> {
        self.tcp
            .extract_if(.., |socket| {
                socket.local_addr().is_ok_and(|bound| bound == address)
            })
            .collect()
    }

    /// Takes the sockets bound to exactly `path`.
    #[cfg(unix)]
    pub fn take_unix(&mut self, path: &std::path::Path) -> Vec<UnixListener> {
        let bound_here = |socket: &mut UnixListener| {
            socket
                .local_addr()
                .is_ok_and(|bound| bound.as_pathname() == Some(path))
        };
        self.unix.extract_if(.., bound_here).collect()
    }

    /// The addresses that were not taken, for a warning: they were meant for some listener.
    pub fn left(&self) -> Vec<String> {
        let tcp = self
            .tcp
            .iter()
            .filter_map(|socket| socket.local_addr().ok())
            .map(|address| address.to_string());
        #[cfg(unix)]
        let unix = self.unix.iter().filter_map(|socket| {
            Some(format!(
                "unix:{}",
                socket.local_addr().ok()?.as_pathname()?.display()
            ))
        });
        #[cfg(not(unix))]
        let unix = std::iter::empty();
        tcp.chain(unix).collect()
    }
}

/// Takes the sockets that the environment assigns to this process. Call once, at the start, before
/// threads exist.
#[cfg(unix)]
pub fn from_environment() -> Inherited {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    let count = match (number("LISTEN_PID"), number("LISTEN_FDS")) {
        (Some(pid), Some(count)) if pid == std::process::id() => count.min(MAX_INHERITED),
        _ => 0,
    };
    let mut inherited = Inherited::default();
    for fd in FIRST_FD..FIRST_FD + count as i32 {
        inherited.adopt(fd);
    }
    inherited
}

/// Nothing is inherited where there are no descriptors.
#[cfg(not(unix))]
pub fn from_environment() -> Inherited {
    Inherited::default()
}

/// SD_LISTEN_FDS_START.
#[cfg(unix)]
const FIRST_FD: i32 = 3;

/// More listeners than are ever passed; a bound for a number that comes from the environment.
#[cfg(unix)]
const MAX_INHERITED: u32 = 256;

#[cfg(unix)]
impl Inherited {
    fn adopt(&mut self, fd: i32) {
        use std::os::fd::{AsFd, FromRawFd, OwnedFd};
        // SAFETY: the parent guarantees, with the PID of this process in LISTEN_PID, that the
        // descriptors 3 to 3 + LISTEN_FDS - 1 are open and owned by this process; this runs once,
        // so none is adopted twice. If the guarantee is broken, the next call returns EBADF, and
        // the descriptor is never used nor closed.
        #[allow(unsafe_code)]
        let owned = unsafe { OwnedFd::from_raw_fd(fd) };
        let domain = match listening_domain(&owned) {
            Ok(domain) => domain,
            Err(reason) => {
                tracing::warn!(
                    fd,
                    "LISTEN_FDS names a descriptor that {reason}; it is ignored"
                );
                std::mem::forget(owned);
                return;
            }
        };
        let _ = rustix::io::fcntl_setfd(owned.as_fd(), rustix::io::FdFlags::CLOEXEC);
        match domain {
            Family::Unix => self.unix.push(owned.into()),
            Family::Tcp => self.tcp.push(owned.into()),
        }
    }
}

/// The family of an inherited listener.
#[cfg(unix)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Tcp,
    Unix,
}

/// The family of `socket` if it is a listening stream socket. A datagram socket, a connection or a
/// socket of another family would fail at every accept.
#[cfg(unix)]
fn listening_domain(socket: &impl std::os::fd::AsFd) -> Result<Family, String> {
    use socket2::{Domain, Type};
    let socket = socket2::SockRef::from(socket);
    let no_socket = |error: std::io::Error| format!("is not a socket ({error})");
    let family = match socket.domain().map_err(no_socket)? {
        Domain::IPV4 | Domain::IPV6 => Family::Tcp,
        Domain::UNIX => Family::Unix,
        other => return Err(format!("is a socket of another family ({other:?})")),
    };
    let kind = socket.r#type().map_err(no_socket)?;
    if family == Family::Tcp && kind == Type::DGRAM {
        let udp = "is not a stream socket: links open their UDP port themselves, once it is free; do not pass it, and close \
                   it in the process that has it";
        return Err(udp.to_owned());
    }
    if kind != Type::STREAM {
        return Err("is not a stream socket".to_owned());
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    match socket.protocol().map_err(no_socket)? {
        Some(socket2::Protocol::TCP | socket2::Protocol::MPTCP) | None => {}
        Some(other) => return Err(format!("speaks another protocol ({other:?})")),
    }
    match socket.is_listener().map_err(no_socket)? {
        true => Ok(family),
        false => Err("is a socket that does not listen".to_owned()),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn a_socket_that_is_not_a_listening_stream_is_not_taken() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let connected = std::net::TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let unix = UnixListener::bind(folder.path().join("s")).unwrap();
        assert_eq!(listening_domain(&tcp), Ok(Family::Tcp));
        assert_eq!(listening_domain(&unix), Ok(Family::Unix));
        for (refused, why) in [
            (
                listening_domain(&std::net::UdpSocket::bind("127.0.0.1:0").unwrap()),
                "links open their UDP port themselves",
            ),
            (
                listening_domain(&UnixDatagram::unbound().unwrap()),
                "not a stream",
            ),
            (listening_domain(&connected), "does not listen"),
            (
                listening_domain(&std::fs::File::open("/dev/null").unwrap()),
                "not a socket",
            ),
        ] {
            assert!(
                refused.as_ref().is_err_and(|text| text.contains(why)),
                "{refused:?}"
            );
        }
    }
}
