//! Bind: from a listen address to sockets that do not accept yet.
//!
//! In:    an address, the number of workers, and sockets inherited from a parent process.
//! Out:   `Bound`: one socket per worker, with the address that was bound.
//! Never: accepts. All addresses are bound before any is served, so that no server starts
//!        partially.

use std::io;
use std::path::{Path, PathBuf};

use byway_dial::{keepalive, unsent};
use socket2::SockRef;

use crate::config::Bind;
use crate::os::inherit::Inherited;
use crate::os::reuseport;

/// A listening socket of one worker.
pub enum Socket {
    /// TCP, non-blocking.
    Tcp(std::net::TcpListener),
    /// Unix, non-blocking.
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixListener),
}

/// The sockets of one listener.
pub struct Bound {
    /// Where it listens. Port 0 is replaced by the chosen port.
    pub address: Bind,
    /// One for each worker.
    pub sockets: Vec<Socket>,
    /// Removes the file of a Unix socket that this process created.
    pub file: Option<SocketFile>,
}

/// Why a listener could not be bound: the address and what to do.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {remedy}")]
pub struct BindError {
    address: String,
    remedy: String,
    /// The error of the system.
    #[source]
    pub source: io::Error,
}

impl BindError {
    fn new(address: &Bind, source: io::Error) -> Self {
        let remedy = match (source.kind(), address) {
            (io::ErrorKind::AddrInUse, Bind::Unix(_)) => {
                "another program listens there; stop that one or choose another path".into()
            }
            (io::ErrorKind::AlreadyExists, Bind::Unix(_)) => {
                "there is a file that is not a socket; remove it or choose another path".into()
            }
            (io::ErrorKind::AddrInUse, Bind::Tcp(_)) => {
                "the address is in use by another program; stop that one or choose another port (0 takes any free one)"
                    .into()
            }
            (io::ErrorKind::PermissionDenied, _) => {
                "permission denied; ports below 1024 need root or the capability CAP_NET_BIND_SERVICE, a Unix socket \
                 a writable folder"
                    .into()
            }
            (io::ErrorKind::AddrNotAvailable, _) => "this machine does not have that address".into(),
            (io::ErrorKind::NotFound, _) => "the folder of the socket does not exist; create it first".into(),
            _ => source.to_string(),
        };
        Self {
            address: address.to_string(),
            remedy,
            source,
        }
    }
}

impl BindError {
    /// The same error for a new listener at `address`, if the node itself listens at `own`.
    pub fn held_by(self, address: &Bind, own: &Bind) -> Self {
        if self.source.kind() != io::ErrorKind::AddrInUse || !own.overlaps(address) {
            return self;
        }
        let remedy = format!(
            "this node itself listens on {own}; choose another port, restart the node, or take {own} out in one reload and \
             add {address} in the next"
        );
        Self { remedy, ..self }
    }

    /// The UDP half of a listener of links.
    pub fn udp(address: std::net::SocketAddr, source: io::Error) -> Self {
        let error = Self::new(&Bind::Tcp(address), source);
        Self {
            address: format!("{} over UDP", error.address),
            ..error
        }
    }
}

/// Binds one listener for `workers` workers.
///
/// # Errors
/// [`BindError`] with the remedy.
pub fn bind(address: &Bind, workers: usize, inherited: &mut Inherited) -> Result<Bound, BindError> {
    let bound = match address {
        Bind::Tcp(tcp) => bind_tcp(*tcp, workers, inherited),
        Bind::Unix(path) => bind_unix(path, workers, inherited),
    };
    bound.map_err(|error| BindError::new(address, error))
}

fn bind_tcp(
    address: std::net::SocketAddr,
    workers: usize,
    inherited: &mut Inherited,
) -> io::Result<Bound> {
    let mut sockets = inherited.take_tcp(address);
    if sockets.is_empty() {
        sockets = reuseport::bind(address, workers)?;
    }
    for index in 0..workers.saturating_sub(sockets.len()) {
        // Fewer inherited sockets than workers: some workers accept from the same queue.
        let socket = sockets
            .get(index)
            .ok_or(io::ErrorKind::InvalidInput)?
            .try_clone()?;
        sockets.push(socket);
    }
    let first = sockets.first().ok_or(io::ErrorKind::InvalidInput)?;
    let address = Bind::Tcp(first.local_addr()?);
    for socket in &sockets {
        socket.set_nonblocking(true)?;
        // Accepted connections inherit all of these options; `Stream::accepted_tcp` relies on the
        // first.
        SockRef::from(socket).set_tcp_nodelay(true)?;
        keepalive::set(socket, keepalive::DEFAULT)?;
        unsent::bound(socket, unsent::BYTES)?;
    }
    Ok(Bound {
        address,
        sockets: sockets.into_iter().map(Socket::Tcp).collect(),
        file: None,
    })
}

#[cfg(unix)]
fn bind_unix(path: &Path, workers: usize, inherited: &mut Inherited) -> io::Result<Bound> {
    let (socket, file) = match inherited.take_unix(path).into_iter().next() {
        Some(socket) => (socket, None),
        None => (bind_path(path)?, Some(SocketFile(path.to_owned()))),
    };
    socket.set_nonblocking(true)?;
    let mut sockets = Vec::with_capacity(workers);
    for _ in 1..workers {
        sockets.push(Socket::Unix(socket.try_clone()?));
    }
    sockets.push(Socket::Unix(socket));
    Ok(Bound {
        address: Bind::Unix(path.to_owned()),
        sockets,
        file,
    })
}

#[cfg(not(unix))]
fn bind_unix(_path: &Path, _workers: usize, _inherited: &mut Inherited) -> io::Result<Bound> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "this platform has no Unix sockets",
    ))
}

/// Replaces a socket file without a listener (its owner was killed). A file with a listener is in
/// use.
#[cfg(unix)]
fn bind_path(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    use std::os::unix::fs::FileTypeExt;
    use std::os::unix::net::{UnixListener, UnixStream};
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let is_dead = UnixStream::connect(path)
                .is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused);
            if !is_dead {
                return Err(error);
            }
            std::fs::remove_file(path)?;
            UnixListener::bind(path)
        }
        bound => bound,
    }
}

/// The file of a Unix socket, removed with the listener.
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // It may have been removed or replaced already; the error is ignored.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_file_of_a_dead_owner_is_replaced_and_that_of_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let address = Bind::Unix(folder.path().join("s"));
        drop(std::os::unix::net::UnixListener::bind(folder.path().join("s")).unwrap());
        let living = bind(&address, 2, &mut Inherited::default()).unwrap();
        let refused = bind(&address, 1, &mut Inherited::default()).err().unwrap();
        assert_eq!(refused.source.kind(), io::ErrorKind::AddrInUse);
        assert!(!refused.to_string().contains("port"), "{refused}");
        assert_eq!(living.sockets.len(), 2);
        drop(living);
        assert!(!folder.path().join("s").exists());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_accepted_connection_has_keepalive_so_that_a_vanished_client_is_noticed() {
        for text in ["127.0.0.1:0", "[::1]:0"] {
            let address = Bind::Tcp(text.parse().unwrap());
            let Ok(bound) = bind(&address, 1, &mut Inherited::default()) else {
                continue;
            };
            let Some(Socket::Tcp(listener)) = bound.sockets.into_iter().next() else {
                panic!("no TCP socket")
            };
            listener.set_nonblocking(false).unwrap();
            let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (accepted, _) = listener.accept().unwrap();
            let accepted = SockRef::from(&accepted);
            assert!(accepted.keepalive().unwrap(), "{text}");
            assert_eq!(
                accepted.tcp_keepalive_time().unwrap(),
                keepalive::DEFAULT,
                "{text}"
            );
            assert_eq!(
                accepted.tcp_keepalive_interval().unwrap(),
                keepalive::INTERVAL,
                "{text}"
            );
            assert_eq!(
                accepted.tcp_keepalive_retries().unwrap(),
                keepalive::PROBES,
                "{text}"
            );
            assert!(accepted.tcp_nodelay().unwrap(), "{text}");
        }
    }

    #[test]
    fn a_plain_file_at_the_path_of_a_socket_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("s"), "precious").unwrap();
        let address = Bind::Unix(folder.path().join("s"));
        let refused = bind(&address, 1, &mut Inherited::default()).err().unwrap();
        let text = refused.to_string();
        assert!(
            text.contains("not a socket") && !text.contains("port"),
            "{text}"
        );
        assert_eq!(std::fs::read(folder.path().join("s")).unwrap(), b"precious");
    }

    #[test]
    fn an_address_in_use_is_an_error_with_a_remedy() {
        let owner = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Bind::Tcp(owner.local_addr().unwrap());
        let text = bind(&address, 2, &mut Inherited::default())
            .err()
            .unwrap()
            .to_string();
        assert!(
            text.starts_with("cannot listen on 127.0.0.1:") && text.contains("in use"),
            "{text}"
        );
    }
}
