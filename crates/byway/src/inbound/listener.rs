//! Listener: permit → accept → spawn → back off.
//!
//! In:    one bound socket of one worker.
//! Out:   a task for each connection, on that worker or on a far less busy one. While it lives, it
//!        holds a permit of its address, and the permits of the listener unless it may become a
//!        link: links take those when they are welcomed ([`Admit`]).
//! Never: waits for a peer. Handshakes run in the connection's own task, under a deadline.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use byway_dial::Stream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::sleep;

use super::admission::Admit;
use super::bind::Socket;
use super::context::{Accepted, ConnectionContext, ConnectionInfo, Http3Offer, NodeContext};
use super::dispatch::dispatch;
use super::ip_limit::{IpLimit, IpPermit};
use super::worker_balance::{OpenConnection, WorkerBalance};
use crate::config::{Bind, Role};
use crate::live::ListenerSettings;

/// One listener on one worker: what its connections may use, and what they take.
pub struct ListenerContext {
    /// What its connections may use.
    pub connection_context: Arc<ConnectionContext>,
    /// The permits that its connections take, and when.
    pub admit: Admit,
    /// Limits the connections of each peer.
    pub ip_limit: IpLimit,
}

impl ListenerContext {
    /// One for each worker of the node.
    pub fn on_all_workers(
        node: &Arc<NodeContext>,
        settings: &ListenerSettings,
        address: &Arc<Bind>,
        admit: &Admit,
    ) -> Vec<Arc<Self>> {
        let (ip_limit, http3) = (IpLimit::default(), Arc::new(Http3Offer::default()));
        let scopes = node.scopes.iter().enumerate();
        let contexts = scopes.map(|(worker, scope)| {
            let (settings, address) = (settings.clone(), Arc::clone(address));
            let mut connection_context =
                ConnectionContext::new(node, settings, address, worker, scope.child());
            connection_context.http3 = Arc::clone(&http3);
            Arc::new(Self {
                connection_context: Arc::new(connection_context),
                admit: admit.clone(),
                ip_limit: ip_limit.clone(),
            })
        });
        contexts.collect()
    }

    /// A permit for the peer; `None` for a peer that is not counted: on loopback, on a Unix socket,
    /// or a trusted proxy that serves many clients.
    ///
    /// # Errors
    /// [`OverShare`], which is counted and logged: the connection is to be reset.
    pub fn ip_permit(&self, peer: Option<SocketAddr>) -> Result<Option<IpPermit>, OverShare> {
        let Some((_, frontend)) = self.connection_context.plan() else {
            return Ok(None);
        };
        let Some(peer) = peer.filter(|peer| is_counted(peer.ip().to_canonical(), &frontend.role))
        else {
            return Ok(None);
        };
        let most = frontend.limits.connections_per_peer;
        let ip_permit = self.ip_limit.try_acquire(peer.ip(), most);
        if ip_permit.is_none() {
            let counters = self.connection_context.counters();
            counters.refused_per_peer.add(1);
            if let Some(line) = counters.log_limits.refused_per_peer.count() {
                let left_out = line.left_out;
                tracing::warn!(%peer, left_out, "a peer holds {most} connections on {} already; refused", self.connection_context.address);
            }
        }
        ip_permit.map(Some).ok_or(OverShare)
    }

    /// Waits until there are permits for one more connection, if it needs them now. `false` means
    /// that there never will be.
    async fn has_room(&self) -> bool {
        match &self.admit {
            Admit::WhenAccepted {
                listener,
                node,
                descriptors,
            } => listener.acquire().await.is_ok() && node.acquire_many(*descriptors).await.is_ok(),
            Admit::WhenWelcomed { .. } => true,
        }
    }

    /// The permits of one more connection, if they are free now.
    pub fn try_permits(&self) -> Option<[OwnedSemaphorePermit; 2]> {
        match &self.admit {
            Admit::WhenAccepted {
                listener,
                node,
                descriptors,
            } => {
                let listener = Arc::clone(listener).try_acquire_owned().ok()?;
                let node = Arc::clone(node).try_acquire_many_owned(*descriptors).ok()?;
                Some([listener, node])
            }
            Admit::WhenWelcomed { .. } => None,
        }
    }

    async fn take_permits(&self) -> Option<[Option<OwnedSemaphorePermit>; 2]> {
        match &self.admit {
            Admit::WhenAccepted {
                listener,
                node,
                descriptors,
            } => {
                let listener = Arc::clone(listener).acquire_owned().await.ok()?;
                let node = Arc::clone(node)
                    .acquire_many_owned(*descriptors)
                    .await
                    .ok()?;
                Some([Some(listener), Some(node)])
            }
            Admit::WhenWelcomed { .. } => Some([None, None]),
        }
    }
}

/// The peer has reached its share of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverShare;

/// A group of sockets that is served, one on each worker. Its contexts may be replaced for another
/// role: the sockets stay, so no connection in their queues is lost.
pub struct ListenerGroup(Vec<Arc<ArcSwap<WorkerListener>>>);

/// Where connections of one socket go: the context of its own worker, and those of all workers.
struct WorkerListener {
    context: Arc<ListenerContext>,
    balance: Arc<WorkerBalance>,
}

impl ListenerGroup {
    /// Serves the sockets.
    pub fn new(sockets: Vec<Socket>, contexts: Vec<Arc<ListenerContext>>) -> Self {
        let opened = sockets
            .into_iter()
            .zip(worker_listeners(contexts))
            .map(|(socket, target)| {
                let scope = target.context.connection_context.scope.clone();
                let target = Arc::new(ArcSwap::from(target));
                scope.spawn("listener", serve(socket, Arc::clone(&target)));
                target
            });
        Self(opened.collect())
    }

    /// Stops accepting, and lets accepted connections finish.
    pub fn drain(&self) {
        self.0
            .iter()
            .for_each(|target| target.load().context.connection_context.scope.drain());
    }

    /// Sends new connections to `contexts`. Connections that were accepted before drain. The number
    /// of contexts does not change.
    pub fn replace(&self, contexts: Vec<Arc<ListenerContext>>) {
        for (target, new) in self.0.iter().zip(worker_listeners(contexts)) {
            // The socket loads its new context when the old one drains.
            target.swap(new).context.connection_context.scope.drain();
        }
    }
}

fn worker_listeners(
    contexts: Vec<Arc<ListenerContext>>,
) -> impl Iterator<Item = Arc<WorkerListener>> {
    let balance = WorkerBalance::new(contexts.clone());
    contexts.into_iter().map(move |context| {
        Arc::new(WorkerListener {
            context,
            balance: Arc::clone(&balance),
        })
    })
}

/// Accepts until the context's scope drains and no other context has replaced it.
async fn serve(socket: Socket, target: Arc<ArcSwap<WorkerListener>>) {
    let acceptor = match ListenSocket::new(socket) {
        Ok(acceptor) => acceptor,
        Err(error) => {
            let address = Arc::clone(&target.load().context.connection_context.address);
            return tracing::error!(%error, "listener {address} cannot be registered with its worker");
        }
    };
    loop {
        let now = target.load_full();
        tokio::select! {
            () = accept_all(&acceptor, &now.context, &now.balance) => return,
            () = now.context.connection_context.scope.drained() => {}
        }
        if Arc::ptr_eq(&now, &target.load()) {
            return;
        }
    }
}

async fn accept_all(
    acceptor: &ListenSocket,
    context: &Arc<ListenerContext>,
    balance: &WorkerBalance,
) {
    let mut back_off = BackOff::default();
    // While no connection arrives, the permit is only checked: holding the last one would exclude
    // the clients of another worker. A worker that loses it to another has accepted one connection
    // at most, which waits for the next permit. The semaphore is never closed, so the loop ends
    // only with the drain in `serve`.
    while context.has_room().await {
        match acceptor.accept().await {
            Ok(mut registered) => {
                back_off = BackOff::default();
                // A connection above the share of its peer is reset at once.
                let Ok(ip_permit) = context.ip_permit(registered.info.peer) else {
                    continue;
                };
                let Some(permits) = context.take_permits().await else {
                    return;
                };
                registered.info.connection = context.connection_context.counters().accepted.add(1);
                let taker = balance.pick_worker(context);
                let held = (
                    OpenConnection::new(&taker.connection_context),
                    permits,
                    ip_permit,
                );
                match Arc::ptr_eq(&taker, context) {
                    true => spawn(registered.accepted(), taker, held),
                    false => move_to_worker(registered, taker, held),
                }
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => back_off.wait(&error, context).await,
        }
    }
}

/// Serves a connection on the worker whose reactor it is registered with.
fn spawn(accepted: Accepted, context: Arc<ListenerContext>, held: impl Send + 'static) {
    let scope = context.connection_context.scope.clone();
    scope.spawn("connection", async move {
        let _held = held;
        dispatch(accepted, context).await;
    });
}

/// Moves a connection to another worker, which registers it with its own reactor.
fn move_to_worker(
    registered: RegisteredConnection,
    context: Arc<ListenerContext>,
    held: impl Send + 'static,
) {
    let detached = match registered.detach() {
        Ok(detached) => detached,
        Err(error) => {
            return tracing::debug!(%error, "a connection could not be handed to another worker");
        }
    };
    context.connection_context.counters().handed_over.add(1);
    let scope = context.connection_context.scope.clone();
    scope.spawn("connection", async move {
        let _held = held;
        match detached.attach() {
            Ok(registered) => dispatch(registered.accepted(), context).await,
            Err(error) => {
                tracing::debug!(%error, "a connection could not be registered with another worker")
            }
        }
    });
}

fn is_counted(peer: IpAddr, role: &Role) -> bool {
    let trusted = matches!(role, Role::Edge(edge) if edge.trusted_proxies.iter().any(|net| net.contains(&peer)));
    !peer.is_loopback() && !trusted
}

enum ListenSocket {
    Tcp(tokio::net::TcpListener),
    #[cfg(unix)]
    Unix(tokio::net::UnixListener),
}

impl ListenSocket {
    fn new(socket: Socket) -> io::Result<Self> {
        Ok(match socket {
            Socket::Tcp(socket) => Self::Tcp(tokio::net::TcpListener::from_std(socket)?),
            #[cfg(unix)]
            Socket::Unix(socket) => Self::Unix(tokio::net::UnixListener::from_std(socket)?),
        })
    }

    async fn accept(&self) -> io::Result<RegisteredConnection> {
        match self {
            Self::Tcp(listener) => {
                let (socket, peer) = listener.accept().await?;
                Ok(RegisteredConnection {
                    socket: RegisteredSocket::Tcp(socket),
                    info: ConnectionInfo {
                        peer: Some(peer),
                        ..ConnectionInfo::default()
                    },
                })
            }
            #[cfg(unix)]
            Self::Unix(listener) => {
                let (socket, _) = listener.accept().await?;
                Ok(RegisteredConnection {
                    socket: RegisteredSocket::Unix(socket),
                    info: ConnectionInfo::default(),
                })
            }
        }
    }
}

/// An accepted connection that is not served yet.
struct RegisteredConnection {
    socket: RegisteredSocket,
    info: ConnectionInfo,
}

enum RegisteredSocket {
    Tcp(tokio::net::TcpStream),
    #[cfg(unix)]
    Unix(tokio::net::UnixStream),
}

/// The same between two workers, registered with no reactor.
struct DetachedConnection {
    socket: DetachedSocket,
    info: ConnectionInfo,
}

enum DetachedSocket {
    Tcp(std::net::TcpStream),
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixStream),
}

impl RegisteredConnection {
    fn accepted(self) -> Accepted {
        let stream = match self.socket {
            RegisteredSocket::Tcp(socket) => Stream::accepted_tcp(socket),
            #[cfg(unix)]
            RegisteredSocket::Unix(socket) => Stream::unix(socket),
        };
        Accepted {
            stream,
            info: self.info,
        }
    }

    fn detach(self) -> io::Result<DetachedConnection> {
        let socket = match self.socket {
            RegisteredSocket::Tcp(socket) => DetachedSocket::Tcp(socket.into_std()?),
            #[cfg(unix)]
            RegisteredSocket::Unix(socket) => DetachedSocket::Unix(socket.into_std()?),
        };
        Ok(DetachedConnection {
            socket,
            info: self.info,
        })
    }
}

impl DetachedConnection {
    /// Call it on the receiving worker.
    fn attach(self) -> io::Result<RegisteredConnection> {
        let socket = match self.socket {
            DetachedSocket::Tcp(socket) => {
                RegisteredSocket::Tcp(tokio::net::TcpStream::from_std(socket)?)
            }
            #[cfg(unix)]
            DetachedSocket::Unix(socket) => {
                RegisteredSocket::Unix(tokio::net::UnixStream::from_std(socket)?)
            }
        };
        Ok(RegisteredConnection {
            socket,
            info: self.info,
        })
    }
}

/// The connection failed between the handshake and the accept, which does not affect others
/// (accept(2), "error handling").
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted, NetworkUnreachable,
    };
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted | HostUnreachable | NetworkUnreachable
    )
}

/// The delay after a failed accept (usually without descriptors): 5 ms, doubled up to 1 s, until
/// one succeeds.
#[derive(Default)]
struct BackOff {
    failures: u32,
}

impl BackOff {
    const FIRST: Duration = Duration::from_millis(5);
    const MOST: Duration = Duration::from_secs(1);

    async fn wait(&mut self, error: &io::Error, context: &ListenerContext) {
        let counters = &context.connection_context.counters();
        counters.accept_errors.add(1);
        if self.failures == 0
            && let Some(line) = counters.log_limits.accept_errors.count()
        {
            tracing::warn!(
                left_out = line.left_out,
                "cannot accept on {}: {error}; retrying. If descriptors ran out, raise the limit (ulimit -n)",
                context.connection_context.address
            );
        }
        let wait = Self::FIRST
            .saturating_mul(1 << self.failures.min(8))
            .min(Self::MOST);
        self.failures = self.failures.saturating_add(1);
        sleep(wait).await;
    }
}
