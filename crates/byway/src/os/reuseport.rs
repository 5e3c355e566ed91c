//! Reuseport: one TCP address with a listening socket for each worker.
//!
//! In:    an address and a number of sockets.
//! Out:   that many bound, listening, non-blocking sockets; the kernel distributes connections over
//!        them (SO_REUSEPORT on Linux). On other platforms: one socket, duplicated.
//! Never: joins the group of another program by accident. A probe bind without SO_REUSEPORT detects
//!        an address in use.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Socket, Type};

/// Connections that the kernel completes and queues for each socket until a worker accepts them.
const BACKLOG: i32 = 1024;

/// Binds the group. Port 0 takes any free port, the same for all.
///
/// # Errors
/// `AddrInUse` when another socket listens there, even one that would share its port; and the other
/// errors of `bind`.
pub fn bind(address: SocketAddr, count: usize) -> io::Result<Vec<TcpListener>> {
    if address.port() != 0 {
        drop(open(address, false)?);
    }
    let first = open(address, true)?;
    let address = first.local_addr()?;
    let mut sockets = vec![first];
    while sockets.len() < count {
        sockets.push(another(address, &sockets)?);
    }
    for socket in &sockets {
        socket2::SockRef::from(socket).listen(BACKLOG)?;
    }
    Ok(sockets)
}

#[cfg(target_os = "linux")]
fn another(address: SocketAddr, _sockets: &[TcpListener]) -> io::Result<TcpListener> {
    open(address, true)
}

#[cfg(not(target_os = "linux"))]
fn another(_address: SocketAddr, sockets: &[TcpListener]) -> io::Result<TcpListener> {
    sockets
        .first()
        .ok_or(io::ErrorKind::InvalidInput)?
        .try_clone()
}

/// A bound socket. SO_REUSEADDR lets a restarted program bind while old connections are in
/// TIME_WAIT; on Linux it does not let two programs listen.
fn open(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        // `[::]` means every address of this machine, IPv4 included, regardless of the system
        // default.
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    if shared && cfg!(target_os = "linux") {
        share_port(&socket)?;
    }
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

#[cfg(target_os = "linux")]
fn share_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port(true)
}

#[cfg(not(target_os = "linux"))]
fn share_port(_socket: &Socket) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_sockets_of_a_group_share_the_port_that_the_first_was_given() {
        let group = bind("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        let ports: Vec<_> = group
            .iter()
            .map(|socket| socket.local_addr().unwrap().port())
            .collect();
        assert_eq!(ports.len(), 3);
        assert!(ports.iter().all(|port| *port == ports[0] && *port != 0));
    }

    #[test]
    fn an_address_in_use_is_detected_before_the_group_is_bound_even_if_its_owner_would_share() {
        let others = bind("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        let error = bind(others[0].local_addr().unwrap(), 2).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
