//! Listener: permit → accept → spawn → back off.
//!
//! In:    one bound socket of one worker.
//! Out:   a task for each connection, on that worker or on a far less busy one. For as long as it
//!        lives it holds a seat, and permits unless it may become a link: those take theirs when
//!        they are welcomed ([`Admit`]).
//! Never: waits for a peer. Handshakes run in the connection's own task, under a deadline.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use byway_agent::Pool;
use byway_dial::Stream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::sleep;

use super::admission::Admit;
use super::bind::Socket;
use super::crew::{Busy, Crew};
use super::peers::{Peers, Seat};
use super::{http1, link, metrics, mixed, tcp};
use crate::config::{Bind, ListenerKey, ListenerPlan, Plan, Role, RoleKind};
use crate::exchange::conn::Conn;
use crate::observe::counters::Held;
use crate::outbound::pooled::Origin;
use crate::scope::Scope;
use crate::shared::Shared;

/// What every connection of one listener on one worker may use.
#[derive(Clone)]
pub struct Door {
    /// What the whole node shares.
    pub shared: Arc<Shared>,
    /// The listener, in this Plan and in a newer one.
    pub key: Arc<ListenerKey>,
    /// What its connections are accepted for. A Plan that has another role for the listener has
    /// other doors for it.
    pub role: RoleKind,
    /// What a listener that no Plan has is for: the public port of an exposed service, a link that
    /// this node dialled.
    pub fixed: Option<Arc<ListenerPlan>>,
    /// Where it really listens, for people: port 0 has become the chosen port.
    pub address: Arc<Bind>,
    /// Connections are spawned here, and drain with it.
    pub scope: Scope,
    /// The number of the worker that `scope` belongs to.
    pub worker: usize,
    /// HTTP connections to upstreams, this worker's part of them.
    pub pool: Pool<Origin, Conn>,
    /// The permits that its connections take, and when.
    pub admit: Admit,
    /// No peer may hold all permits.
    pub peers: Peers,
}

impl Door {
    /// The Plan in force and this listener's place in it; `None` once a newer Plan has no such
    /// listener, or has another role for it.
    pub fn plan(&self) -> Option<(Arc<Plan>, Arc<ListenerPlan>)> {
        let plan = self.shared.plan.load_full();
        let listener = self.fixed.as_ref().or_else(|| plan.listener(&self.key));
        let listener = Arc::clone(listener.filter(|listener| listener.role.kind() == self.role)?);
        Some((plan, listener))
    }

    /// A seat for the peer; `None` for one that is not counted: on this machine, on a Unix socket,
    /// or a trusted proxy with many people behind it.
    ///
    /// # Errors
    /// [`OverShare`], which is counted and logged: the connection is to be reset.
    pub fn seat(&self, peer: Option<SocketAddr>) -> Result<Option<Seat>, OverShare> {
        let Some((_, listener)) = self.plan() else {
            return Ok(None);
        };
        let Some(peer) = peer.filter(|peer| is_counted(peer.ip().to_canonical(), &listener.role))
        else {
            return Ok(None);
        };
        let most = listener.limits.connections_per_peer;
        let seat = self.peers.seat(peer.ip(), most);
        if seat.is_none() {
            let counters = &self.shared.counters;
            counters.refused_per_peer.add(1);
            if let Some(line) = counters.repeats.refused_per_peer.count() {
                let left_out = line.left_out;
                tracing::warn!(%peer, left_out, "a peer holds {most} connections on {} already; refused", self.address);
            }
        }
        seat.map(Some).ok_or(OverShare)
    }

    /// Waits until there are permits for one more connection, if it needs them now. `false`: there
    /// never will be.
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

/// The peer holds its share of connections already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverShare;

/// Whose connection it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Visit {
    /// The number of the connection, from 1 on; 0 if this node dialled it.
    pub connection: u64,
    /// Who connected; `None` on a Unix socket.
    pub peer: Option<SocketAddr>,
}

/// An accepted connection, before anything was read from it.
pub struct Accepted {
    /// The open stream.
    pub stream: Stream,
    /// Who connected.
    pub visit: Visit,
}

/// A group of sockets that is served, one on each worker. The role of its doors may be replaced:
/// its sockets stay, so no connection that waits in their queues is lost.
pub struct Opened(Vec<Arc<ArcSwap<Post>>>);

/// What one socket leads to: the door of its own worker, and those of all workers.
struct Post {
    door: Arc<Door>,
    crew: Arc<Crew>,
}

impl Opened {
    /// Serves the sockets.
    pub fn new(sockets: Vec<Socket>, doors: Vec<Arc<Door>>) -> Self {
        let opened = sockets.into_iter().zip(posts(doors)).map(|(socket, post)| {
            let scope = post.door.scope.clone();
            let post = Arc::new(ArcSwap::from(post));
            scope.spawn("listener", serve(socket, Arc::clone(&post)));
            post
        });
        Self(opened.collect())
    }

    /// Accepts nothing more, and lets what was accepted finish.
    pub fn drain(&self) {
        self.0
            .iter()
            .for_each(|post| post.load().door.scope.drain());
    }

    /// From now on connections go to `doors`; those that were accepted before drain. There are as
    /// many as before.
    pub fn replace(&self, doors: Vec<Arc<Door>>) {
        for (post, new) in self.0.iter().zip(posts(doors)) {
            // The socket looks for its new door when the old one drains.
            post.swap(new).door.scope.drain();
        }
    }
}

fn posts(doors: Vec<Arc<Door>>) -> impl Iterator<Item = Arc<Post>> {
    let crew = Crew::new(doors.clone());
    doors.into_iter().map(move |door| {
        Arc::new(Post {
            door,
            crew: Arc::clone(&crew),
        })
    })
}

/// Accepts until the door's scope drains and no other door has taken its place.
async fn serve(socket: Socket, post: Arc<ArcSwap<Post>>) {
    let acceptor = match Acceptor::new(socket) {
        Ok(acceptor) => acceptor,
        Err(error) => {
            let address = Arc::clone(&post.load().door.address);
            return tracing::error!(%error, "listener {address} cannot be registered with its worker");
        }
    };
    loop {
        let now = post.load_full();
        tokio::select! {
            () = accept_all(&acceptor, &now.door, &now.crew) => return,
            () = now.door.scope.drained() => {}
        }
        if Arc::ptr_eq(&now, &post.load()) {
            return;
        }
    }
}

async fn accept_all(acceptor: &Acceptor, door: &Arc<Door>, crew: &Crew) {
    let mut back_off = BackOff::default();
    // While nobody comes, the permit only has to be there: held, the last one would keep another
    // worker's visitors out. A worker that loses it to another has accepted one connection at most,
    // which waits for the next. The semaphore is never closed, so the only way out is the drain in
    // `serve`.
    while door.has_room().await {
        match acceptor.accept().await {
            Ok(mut arrived) => {
                back_off = BackOff::default();
                // One over its share is reset at once.
                let Ok(seat) = door.seat(arrived.visit.peer) else {
                    continue;
                };
                let Some(permits) = door.take_permits().await else {
                    return;
                };
                arrived.visit.connection = door.shared.counters.accepted.add(1);
                let taker = crew.place(door);
                let held = (Busy::new(&taker), permits, seat);
                match Arc::ptr_eq(&taker, door) {
                    true => spawn(arrived.stay(), taker, held),
                    false => hand_over(arrived, taker, held),
                }
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => back_off.wait(&error, door).await,
        }
    }
}

/// Serves a connection on the worker whose reactor it is registered with.
fn spawn(accepted: Accepted, door: Arc<Door>, held: impl Send + 'static) {
    let scope = door.scope.clone();
    scope.spawn("connection", async move {
        let _held = held;
        connect(accepted, door).await;
    });
}

/// Gives a connection to another worker, which registers it with its own reactor.
fn hand_over(arrived: Arrived, door: Arc<Door>, held: impl Send + 'static) {
    let leaving = match arrived.leave() {
        Ok(leaving) => leaving,
        Err(error) => {
            return tracing::debug!(%error, "a connection could not be handed to another worker");
        }
    };
    door.shared.counters.handed_over.add(1);
    let scope = door.scope.clone();
    scope.spawn("connection", async move {
        let _held = held;
        match leaving.arrive() {
            Ok(arrived) => connect(arrived.stay(), door).await,
            Err(error) => {
                tracing::debug!(%error, "a connection could not be registered with another worker")
            }
        }
    });
}

/// One connection, by the role that the Plan gives its listener now. Boxed, so that it has the room
/// of its own role only.
pub(super) async fn connect(accepted: Accepted, door: Arc<Door>) {
    let shared = Arc::clone(&door.shared);
    let _open = Held::new(&shared.counters.connections);
    let Some((plan, listener)) = door.plan() else {
        return;
    };
    match &listener.role {
        Role::Edge(_) => Box::pin(http1::serve_edge(accepted, door)).await,
        Role::Egress(_) => Box::pin(mixed::serve(accepted, door, plan, listener)).await,
        Role::Forward(_) => Box::pin(tcp::serve(accepted, door, plan, listener)).await,
        Role::Exposed(_) => Box::pin(tcp::serve(accepted, door, plan, listener)).await,
        Role::Link(_) => Box::pin(link::serve_tcp(accepted, door, plan)).await,
        Role::Metrics => Box::pin(metrics::serve(accepted, door, listener)).await,
        // Its streams come over a link, not from a listener.
        Role::Joined(_) => {}
    }
}

fn is_counted(peer: IpAddr, role: &Role) -> bool {
    let trusted = matches!(role, Role::Edge(edge) if edge.trusted_proxies.iter().any(|net| net.contains(&peer)));
    !peer.is_loopback() && !trusted
}

enum Acceptor {
    Tcp(tokio::net::TcpListener),
    #[cfg(unix)]
    Unix(tokio::net::UnixListener),
}

impl Acceptor {
    fn new(socket: Socket) -> io::Result<Self> {
        Ok(match socket {
            Socket::Tcp(socket) => Self::Tcp(tokio::net::TcpListener::from_std(socket)?),
            #[cfg(unix)]
            Socket::Unix(socket) => Self::Unix(tokio::net::UnixListener::from_std(socket)?),
        })
    }

    async fn accept(&self) -> io::Result<Arrived> {
        match self {
            Self::Tcp(listener) => {
                let (socket, peer) = listener.accept().await?;
                Ok(Arrived {
                    socket: Registered::Tcp(socket),
                    visit: Visit {
                        peer: Some(peer),
                        connection: 0,
                    },
                })
            }
            #[cfg(unix)]
            Self::Unix(listener) => {
                let (socket, _) = listener.accept().await?;
                Ok(Arrived {
                    socket: Registered::Unix(socket),
                    visit: Visit::default(),
                })
            }
        }
    }
}

/// A connection that a worker has accepted and nobody serves yet.
struct Arrived {
    socket: Registered,
    visit: Visit,
}

enum Registered {
    Tcp(tokio::net::TcpStream),
    #[cfg(unix)]
    Unix(tokio::net::UnixStream),
}

/// The same between two workers, known to no reactor.
struct Leaving {
    socket: Unregistered,
    visit: Visit,
}

enum Unregistered {
    Tcp(std::net::TcpStream),
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixStream),
}

impl Arrived {
    fn stay(self) -> Accepted {
        let stream = match self.socket {
            Registered::Tcp(socket) => Stream::accepted_tcp(socket),
            #[cfg(unix)]
            Registered::Unix(socket) => Stream::unix(socket),
        };
        Accepted {
            stream,
            visit: self.visit,
        }
    }

    fn leave(self) -> io::Result<Leaving> {
        let socket = match self.socket {
            Registered::Tcp(socket) => Unregistered::Tcp(socket.into_std()?),
            #[cfg(unix)]
            Registered::Unix(socket) => Unregistered::Unix(socket.into_std()?),
        };
        Ok(Leaving {
            socket,
            visit: self.visit,
        })
    }
}

impl Leaving {
    /// To be called on the worker that it has come to.
    fn arrive(self) -> io::Result<Arrived> {
        let socket = match self.socket {
            Unregistered::Tcp(socket) => Registered::Tcp(tokio::net::TcpStream::from_std(socket)?),
            #[cfg(unix)]
            Unregistered::Unix(socket) => {
                Registered::Unix(tokio::net::UnixStream::from_std(socket)?)
            }
        };
        Ok(Arrived {
            socket,
            visit: self.visit,
        })
    }
}

/// The connection died between the handshake and our accept: its own affair (accept(2), "error
/// handling").
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted, NetworkUnreachable,
    };
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted | HostUnreachable | NetworkUnreachable
    )
}

/// The wait after a failed accept (descriptors exhausted, mostly): 5 ms, doubled up to 1 s, until
/// one succeeds.
#[derive(Default)]
struct BackOff {
    failures: u32,
}

impl BackOff {
    const FIRST: Duration = Duration::from_millis(5);
    const MOST: Duration = Duration::from_secs(1);

    async fn wait(&mut self, error: &io::Error, door: &Door) {
        let counters = &door.shared.counters;
        counters.accept_errors.add(1);
        if self.failures == 0
            && let Some(line) = counters.repeats.accept_errors.count()
        {
            tracing::warn!(
                left_out = line.left_out,
                "cannot accept on {}: {error}; retrying. If descriptors ran out, raise the limit (ulimit -n)",
                door.address
            );
        }
        let wait = Self::FIRST
            .saturating_mul(1 << self.failures.min(8))
            .min(Self::MOST);
        self.failures = self.failures.saturating_add(1);
        sleep(wait).await;
    }
}
