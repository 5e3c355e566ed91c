//! Http3 listener: the UDP port beside an `https` address, on which HTTP/3 is spoken.
//!
//! In:    the address, and what its connections may use on each worker.
//! Out:   an endpoint on each worker; a task for each connection, which holds the permits that one
//!        over TCP would hold.
//! Never: keeps the listener over TCP from starting; gives an address that was not proved the
//!        permits of that address; waits for a client in the accept loop.
//!
//! The kernel steers each datagram to the worker that has its connection (`byway-tls`:
//! `quic/steering.rs`), so a client may change its address.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use byway_tls::quic::steering;
use quinn::{ConnectionError, Endpoint, Incoming, ServerConfig, TokioRuntime, VarInt};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{sleep, timeout};

use super::context::{ConnectionContext, ConnectionInfo};
use super::http::h3;
use super::ip_limit::IpPermit;
use super::listener::ListenerContext;
use super::worker_balance::OpenConnection;
use crate::config::{Plan, Role, Transport};
use crate::observe::counters::GaugeGuard;
use crate::tls::quic::QuicKeys;

/// How often a UDP port that cannot be bound is tried again.
const UDP_TICK: Duration = Duration::from_secs(1);

/// Handshakes of one worker that may be under way without a proof of the client's address. For more
/// the client has to prove it first, which takes a round trip (RFC 9000 section 8.1.2).
const UNPROVEN_HANDSHAKES: usize = 64;

/// The code with which a connection is closed before HTTP/3 begins: H3_NO_ERROR.
const NO_ERROR: VarInt = VarInt::from_u32(0x100);

/// Whether a listener like this speaks HTTP/3.
pub fn is_wanted(plan: &Plan, role: &Role, transport: &Transport) -> bool {
    plan.tls.settings.http3 && *transport == Transport::Tls && matches!(role, Role::Edge(_))
}

/// The sockets of all workers.
pub type Sockets = io::Result<Vec<UdpSocket>>;

/// Binds the UDP port of `address` for this many workers.
pub fn bind(address: SocketAddr, workers: usize) -> Sockets {
    steering::bind(address, workers)
}

/// Serves HTTP/3 on `address` until the scope of `contexts` drains and its connections have ended.
/// If `bound` has failed, the port is tried again.
pub async fn serve(address: SocketAddr, bound: Sockets, contexts: Vec<Arc<ListenerContext>>) {
    let Some(first) = contexts.first().map(|context| &context.connection_context) else {
        return;
    };
    let sockets = tokio::select! {
        sockets = until_bound(address, bound, contexts.len()) => sockets,
        () = first.scope.drained() => return,
    };
    let keys = match first.node.tls.quic_keys() {
        Ok(Some(keys)) => Arc::new(keys),
        // A reload has removed the last `https` address.
        Ok(None) => return,
        Err(error) => return tracing::error!("no HTTP/3 on {address}: {error}"),
    };
    let workers = sockets.len();
    for (worker, socket) in sockets.into_iter().enumerate() {
        let Some(context) = contexts.get(worker) else {
            continue;
        };
        let (keys, context) = (Arc::clone(&keys), Arc::clone(context));
        let scope = context.connection_context.scope.clone();
        // Its own worker runs it: there quinn's tasks are spawned, too.
        scope.spawn("http3 listener", async move {
            if let Err(error) = listen(socket, &keys, worker, workers, &context).await {
                tracing::error!("no HTTP/3 on {address}: {error}");
            }
        });
    }
    first.http3.offer(address.port());
    first.scope.drained().await;
    first.http3.withdraw();
}

/// Sockets for the workers. Tries until the port is free.
async fn until_bound(address: SocketAddr, mut bound: Sockets, workers: usize) -> Vec<UdpSocket> {
    let mut is_known = false;
    loop {
        let error = match bound {
            Ok(sockets) if is_known => {
                tracing::info!("{address} is free over UDP: HTTP/3 is spoken there");
                return sockets;
            }
            Ok(sockets) => return sockets,
            Err(error) => error,
        };
        if !is_known {
            is_known = true;
            tracing::warn!(
                "{address} cannot be used over UDP: {}; clients use HTTP/2 until it can",
                match error.kind() {
                    io::ErrorKind::AddrInUse => "another program listens there".to_owned(),
                    _ => error.to_string(),
                }
            );
        }
        sleep(UDP_TICK).await;
        bound = bind(address, workers);
    }
}

/// Accepts on one worker until its scope drains; then waits for its connections.
async fn listen(
    socket: UdpSocket,
    keys: &QuicKeys,
    worker: usize,
    workers: usize,
    context: &Arc<ListenerContext>,
) -> io::Result<()> {
    let connection_context = &context.connection_context;
    let config = keys.endpoint(worker, workers);
    let endpoint = Endpoint::new(config, None, socket, Arc::new(TokioRuntime))?;
    let mut current = CurrentConfig::default();
    // Each connection has a sender, so that the channel closes after the last one.
    let (open, mut ended) = mpsc::channel::<()>(1);
    let unproven = Arc::new(AtomicUsize::new(0));
    let accepting = async {
        // It only reads the first packet of each client by this one.
        let config = current.config(connection_context, keys);
        endpoint.set_server_config(config.as_deref().cloned());
        while let Some(incoming) = endpoint.accept().await {
            let Some(config) = current.config(connection_context, keys) else {
                // A reload has removed the listener, or the last `https` address.
                incoming.refuse();
                return;
            };
            if let Some(held) = admit(&incoming, context, &unproven) {
                let (context, open) = (Arc::clone(context), open.clone());
                let scope = context.connection_context.scope.clone();
                scope.spawn("http3 connection", async move {
                    let _open = open;
                    serve_incoming(incoming, config, held, context).await;
                });
            } else {
                refuse(incoming, context);
            }
        }
    };
    tokio::select! {
        () = accepting => {}
        () = connection_context.scope.drained() => {}
    }
    endpoint.set_server_config(None);
    drop(open);
    // The endpoint drives its connections, so it closes after them.
    while ended.recv().await.is_some() {}
    endpoint.wait_idle().await;
    Ok(())
}

/// The config of connections by the Plan in force.
#[derive(Default)]
struct CurrentConfig(Option<(Arc<Plan>, Arc<ServerConfig>)>);

impl CurrentConfig {
    /// That of a connection that begins now; `None` if there may be none.
    fn config(
        &mut self,
        context: &ConnectionContext,
        keys: &QuicKeys,
    ) -> Option<Arc<ServerConfig>> {
        let (plan, frontend) = context.plan()?;
        match &self.0 {
            Some((known, config)) if Arc::ptr_eq(known, &plan) => Some(Arc::clone(config)),
            _ => {
                let config = context.node.tls.quic_server(keys, &frontend.limits)?;
                let config = Arc::new(config);
                self.0 = Some((plan, Arc::clone(&config)));
                Some(config)
            }
        }
    }
}

/// What a connection holds.
struct Held {
    _permits: [OwnedSemaphorePermit; 2],
    ip_permit: Option<IpPermit>,
    unproven: Option<Unproven>,
}

/// A handshake whose client has not proved its address.
struct Unproven(Arc<AtomicUsize>);

impl Drop for Unproven {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// The permits of a connection that begins; `None` if it is to be refused.
fn admit(
    incoming: &Incoming,
    context: &Arc<ListenerContext>,
    unproven: &Arc<AtomicUsize>,
) -> Option<Held> {
    let is_proven = incoming.remote_address_validated();
    if !is_proven && unproven.load(Relaxed) >= UNPROVEN_HANDSHAKES {
        return None;
    }
    let permits = context.try_permits()?;
    let ip_permit = match is_proven {
        true => context.ip_permit(Some(incoming.remote_address())).ok()?,
        false => None,
    };
    let unproven = (!is_proven).then(|| {
        unproven.fetch_add(1, Relaxed);
        Unproven(Arc::clone(unproven))
    });
    Some(Held {
        _permits: permits,
        ip_permit,
        unproven,
    })
}

/// Asks for a proof of the address, or refuses a client that has given one.
fn refuse(incoming: Incoming, context: &ListenerContext) {
    let counters = context.connection_context.counters();
    match incoming.retry() {
        Ok(()) => {
            counters.quic_retries.add(1);
        }
        Err(proven) => {
            counters.quic_refused.add(1);
            proven.into_incoming().refuse();
        }
    }
}

/// Does the handshake, and serves the connection.
async fn serve_incoming(
    incoming: Incoming,
    config: Arc<ServerConfig>,
    mut held: Held,
    context: Arc<ListenerContext>,
) {
    let connection_context = &context.connection_context;
    let Some((_, frontend)) = connection_context.plan() else {
        return incoming.refuse();
    };
    let (tls, limit) = (
        &connection_context.node.tls,
        frontend.limits.handshake_timeout,
    );
    let Ok(connecting) = incoming.accept_with(config) else {
        return tls.metrics.failed("other");
    };
    let connection = match timeout(limit, connecting).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return tls.metrics.failed(word(&error)),
        Err(_) => return tls.metrics.failed("timeout"),
    };
    // The handshake has proved the address.
    let peer = connection.remote_address();
    if held.unproven.take().is_some() {
        match context.ip_permit(Some(peer)) {
            Ok(permit) => held.ip_permit = permit,
            Err(_) => return connection.close(NO_ERROR, b""),
        }
    }
    let server = tls.server().clone();
    let session = server.and_then(|server| {
        server.quic_session(connection.handshake_data()?, connection.peer_identity())
    });
    let Some(session) = session else {
        // A reload has removed its certificate.
        return connection.close(NO_ERROR, b"");
    };
    tls.metrics.done(&session);
    let info = ConnectionInfo {
        connection: connection_context.counters().accepted.add(1),
        peer: Some(peer),
        tls: Some(Arc::new(session)),
    };
    let _counted = OpenConnection::new(connection_context);
    let _open = GaugeGuard::new(&connection_context.counters().connections);
    h3::serve(connection, info, Arc::clone(connection_context)).await;
}

/// Why a handshake has failed, in the words of the metrics.
fn word(error: &ConnectionError) -> &'static str {
    match error {
        ConnectionError::TimedOut => "timeout",
        ConnectionError::ApplicationClosed(_) | ConnectionError::ConnectionClosed(_) => "closed",
        ConnectionError::Reset => "reset",
        ConnectionError::TransportError(error) => {
            let alert = u64::from(error.code).checked_sub(0x100);
            match alert {
                Some(120) => "alpn",
                Some(112) => "no_certificate",
                Some(116) => "no_client_certificate",
                Some(42 | 43 | 44 | 45 | 46 | 48) => "client_certificate",
                Some(0..=255) => "alert",
                _ => "other",
            }
        }
        _ => "other",
    }
}
