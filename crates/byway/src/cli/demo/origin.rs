//! Origin: the upstream of everything in the demo: HTTP and WebSocket, and plain echoes, on TCP and
//! on Unix sockets.
//!
//! In:    connections on loopback ports that the system chose, and on sockets in the demo's own
//!        folder.
//! Out:   responses; and for journeys that wait for it, the end of a connection.
//! Never: reachable from another machine.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{io, mem};

use byway_dial::{Read, Stream};
use parking_lot::Mutex;
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, UnixListener};
use tokio::time::sleep;

use super::endings::Endings;
use super::http;
use super::pattern::Sum;
use crate::runtime::scope::Scope;

/// A running origin. Its tasks end with the scope that it was started on.
pub(super) struct Origin {
    /// HTTP over TCP.
    pub(super) http: SocketAddr,
    /// HTTP over a Unix socket.
    pub(super) http_unix: PathBuf,
    /// Sends every byte back; FIN after FIN.
    pub(super) echo: SocketAddr,
    /// The same on a Unix socket.
    pub(super) echo_unix: PathBuf,
    /// Refuses connections for as long as the origin lives.
    pub(super) refusing: SocketAddr,
    /// What its connections share.
    pub(super) common: Arc<Common>,
    /// Bound and never listened on, so that no other program can take the port.
    _refusing: Socket,
}

/// What the connections of an origin share.
pub(super) struct Common {
    /// Waiters for the end of a connection.
    pub(super) endings: Endings,
    /// The scope of its tasks.
    pub(super) scope: Scope,
    sums: Mutex<HashMap<u64, Arc<str>>>,
}

impl Origin {
    /// Listens everywhere and serves. `folder` takes the Unix sockets. Call it within the scope's
    /// runtime.
    ///
    /// # Errors
    /// When a socket cannot be bound.
    pub(super) fn start(scope: &Scope, folder: &Path) -> io::Result<Self> {
        let common = Arc::new(Common {
            endings: Endings::default(),
            scope: scope.clone(),
            sums: Mutex::default(),
        });
        let (http_unix, echo_unix) = (folder.join("http.sock"), folder.join("origin-echo.sock"));
        let (http, http_listener) = listen()?;
        let (echo, echo_listener) = listen()?;
        let (refusing, refusing_socket) = refuse()?;
        let http_unix_listener = UnixListener::bind(&http_unix)?;
        let echo_unix_listener = UnixListener::bind(&echo_unix)?;
        for (acceptor, serving) in [
            (Acceptor::Tcp(http_listener), Serving::Http("tcp")),
            (Acceptor::Unix(http_unix_listener), Serving::Http("unix")),
            (Acceptor::Tcp(echo_listener), Serving::Echo),
            (Acceptor::Unix(echo_unix_listener), Serving::Echo),
        ] {
            scope.spawn(
                "origin listener",
                accept_all(acceptor, serving, Arc::clone(&common)),
            );
        }
        Ok(Self {
            http,
            http_unix,
            echo,
            echo_unix,
            refusing,
            common,
            _refusing: refusing_socket,
        })
    }
}

impl Common {
    /// The SHA-256 of the pattern of `bytes` bytes, in hex; computed once, on a blocking thread.
    pub(super) async fn pattern_sum(&self, bytes: u64) -> anyhow::Result<Arc<str>> {
        if let Some(known) = self.sums.lock().get(&bytes) {
            return Ok(Arc::clone(known));
        }
        let computed = self
            .scope
            .runtime()
            .spawn_blocking(move || Sum::of_pattern(bytes).hex());
        let sum: Arc<str> = computed.await?.into();
        let mut sums = self.sums.lock();
        if sums.len() >= MOST_SUMS {
            // With this many lengths, computing some of them again is acceptable.
            drop(mem::take(&mut *sums));
        }
        sums.insert(bytes, Arc::clone(&sum));
        Ok(sum)
    }
}

/// How many sums are cached.
const MOST_SUMS: usize = 256;

/// How long accepting pauses after an error.
const BACK_OFF: Duration = Duration::from_millis(50);

/// Bytes an echo holds at a time.
const ECHO_BYTES: usize = 64 * 1024;

enum Acceptor {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Acceptor {
    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => Ok(Stream::tcp(listener.accept().await?.0)),
            Self::Unix(listener) => Ok(Stream::unix(listener.accept().await?.0)),
        }
    }
}

/// What is done with the connections of a listener.
#[derive(Clone, Copy)]
enum Serving {
    /// HTTP; the responses name the kind of socket.
    Http(&'static str),
    Echo,
}

fn listen() -> io::Result<(SocketAddr, TcpListener)> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.listen(1024)?;
    socket.set_nonblocking(true)?;
    let listener = TcpListener::from_std(socket.into())?;
    Ok((listener.local_addr()?, listener))
}

fn refuse() -> io::Result<(SocketAddr, Socket)> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    let address = socket
        .local_addr()?
        .as_socket()
        .ok_or(io::ErrorKind::InvalidData)?;
    Ok((address, socket))
}

async fn accept_all(acceptor: Acceptor, serving: Serving, common: Arc<Common>) {
    loop {
        match acceptor.accept().await {
            Ok(stream) => {
                let scope = common.scope.clone();
                scope.spawn(
                    "origin connection",
                    serve(stream, serving, Arc::clone(&common)),
                );
            }
            Err(error) => {
                tracing::debug!(%error, "the demo's origin cannot accept");
                sleep(BACK_OFF).await;
            }
        }
    }
}

async fn serve(stream: Stream, serving: Serving, common: Arc<Common>) {
    let ended = match serving {
        Serving::Http(socket) => Box::pin(http::serve(stream, socket, &common)).await,
        Serving::Echo => echo(stream).await,
    };
    if let Err(error) = ended {
        tracing::debug!("a connection of the demo's origin ended early: {error:#}");
    }
}

/// Sends every byte back, and FIN after the peer's FIN.
async fn echo(mut stream: Stream) -> anyhow::Result<()> {
    let mut bytes = vec![0; ECHO_BYTES];
    while let Read::Data(n) = stream.read(&mut bytes).await? {
        stream.write_all(bytes.get(..n).unwrap_or_default()).await?;
    }
    Ok(stream.finish().await?)
}
