//! Link: incoming carriers of links, until they belong to a session; and the session.
//!
//! In:    a connection of a `[[serve]]` or an `[[exit]]`, over TCP or QUIC.
//! Out:   a session that is served until it ends; its streams go to `link_streams`.
//! Never: waits for a peer without a deadline.

use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use byway_dial::Stream;
use byway_link::{
    Arrival, Attached, CarrierKind, GrantId, LinkError, Progress, QuicListener, Refusal,
};
use socket2::SockRef;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::admission::Admit;
use super::context::{Accepted, ConnectionInfo};
use super::link_permits::{LinkPermit, NoPermit};
use super::link_streams::{IncomingStreams, serve_streams};
use super::listener::ListenerContext;
use super::pending_links::PendingLink;
use crate::config::{Bind, Plan, Role};
use crate::link::port_opener::PortOpener;
use crate::link::serving::AcceptedAt;
use crate::link::{serving, welcome};

/// Serves a TCP connection that may become a carrier. The task lasts as long as its session, if it
/// starts one.
pub async fn serve_tcp(accepted: Accepted, context: Arc<ListenerContext>, plan: Arc<Plan>) {
    let acceptor = match context.connection_context.node.links.acceptor(&plan.link) {
        Ok(acceptor) => acceptor,
        Err(error) => return tracing::error!("{}: {error}", context.connection_context.address),
    };
    let info = accepted.info;
    let pending_links = context.connection_context.node.admission.pending_links();
    let pending_link =
        Arc::new(pending_links.enter(info.peer, CarrierKind::Tls, has_spoken(&accepted.stream)));
    let arriving = Arc::clone(&pending_link);
    // The session runs where its socket is registered.
    let runtime = Handle::current();
    let arriving = acceptor.tcp_reporting(accepted.stream, &runtime, move |progress| {
        arriving.advance(progress)
    });
    serve_arrival(Box::pin(arriving), pending_link, info, context).await;
}

/// Whether bytes are ready to read. A kernel that defers accepting guarantees it.
fn has_spoken(stream: &Stream) -> Progress {
    let mut byte = [MaybeUninit::uninit()];
    let peeked = stream
        .as_tcp()
        .map(|tcp| SockRef::from(tcp).peek(&mut byte));
    if matches!(peeked, Some(Ok(1..))) {
        Progress::Spoke
    } else {
        Progress::Silent
    }
}

/// Accepts QUIC on `address`, with `bound` if the port was bound. If not, the UDP port is in use,
/// by an earlier process of this node that is draining or by another program: links use TLS until
/// it is free.
pub async fn serve_udp(
    bound: Option<QuicListener>,
    address: SocketAddr,
    context: Arc<ListenerContext>,
) {
    let listener = match bound {
        Some(listener) => listener,
        None => {
            tracing::warn!("{address} is in use over UDP: links use TLS only until it is free");
            tokio::select! {
                listener = wait_for_udp(address, &context) => listener,
                () = context.connection_context.scope.drained() => return,
            }
        }
    };
    serve_quic(listener, context).await;
}

async fn wait_for_udp(address: SocketAddr, context: &ListenerContext) -> QuicListener {
    loop {
        sleep(UDP_TICK).await;
        let Some((plan, _)) = context.connection_context.plan() else {
            return std::future::pending().await;
        };
        let Ok(udp) = byway_link::quic::bind(address) else {
            continue;
        };
        let listening = context
            .connection_context
            .node
            .links
            .acceptor(&plan.link)
            .ok()
            .and_then(|acceptor| acceptor.listen_quic(udp).ok());
        if let Some(listener) = listening {
            tracing::info!("{address} is free over UDP: links may use QUIC");
            return listener;
        }
    }
}

/// How often a UDP port that is in use is tried again.
const UDP_TICK: Duration = Duration::from_secs(1);

/// Accepts QUIC until the context's scope drains; then the open sessions finish.
async fn serve_quic(listener: QuicListener, context: Arc<ListenerContext>) {
    // Each connection has a sender, so that the channel closes after the last one.
    let (open, mut ended) = mpsc::channel::<()>(1);
    let accepting = async {
        let open = open;
        let pending_links = context.connection_context.node.admission.pending_links();
        while let Some(incoming) = listener
            .accept_proven_if(|| pending_links.is_half_full())
            .await
        {
            let Some(plan) = context.connection_context.plan().map(|(plan, _)| plan) else {
                return;
            };
            let peer = incoming.peer();
            let Ok(ip_permit) = context.ip_permit(Some(peer)) else {
                incoming.refuse();
                continue;
            };
            let pending_link =
                Arc::new(pending_links.enter(Some(peer), CarrierKind::Quic, incoming.progress()));
            let Ok(acceptor) = context.connection_context.node.links.acceptor(&plan.link) else {
                return;
            };
            let connection = context.connection_context.counters().accepted.add(1);
            let info = ConnectionInfo {
                connection,
                peer: Some(peer),
                tls: None,
            };
            let (arriving, open) = (context.clone(), open.clone());
            context
                .connection_context
                .scope
                .spawn("quic carrier", async move {
                    let (_ip_permit, _open) = (ip_permit, open);
                    let welcomed = Arc::clone(&pending_link);
                    let welcoming = acceptor
                        .quic_reporting(incoming, move |progress| welcomed.advance(progress));
                    serve_arrival(Box::pin(welcoming), pending_link, info, arriving).await;
                });
        }
    };
    tokio::select! {
        () = accepting => {}
        () = context.connection_context.scope.drained() => {}
    }
    // The endpoint drives every connection that it has accepted, so it closes after them.
    while ended.recv().await.is_some() {}
    listener.leave("the node is leaving").await;
}

/// What a carrier holds while it belongs to a session: a permit of its listener, and a descriptor.
pub type CarrierPermits = (LinkPermit, Option<LinkPermit>);

/// What a connection has become.
enum Welcomed {
    Session(Box<serving::WelcomedSession>, CarrierPermits),
    Carrier(Attached, CarrierPermits),
}

/// A connection is a pending link, and may be evicted in favour of others, until it is welcomed;
/// then it holds permits.
async fn serve_arrival(
    arriving: impl Future<Output = Result<Arrival, LinkError>>,
    pending_link: Arc<PendingLink>,
    info: ConnectionInfo,
    context: Arc<ListenerContext>,
) {
    // Each arm is cancel safe: what is dropped closes its connection. A drain does not wait for
    // unauthenticated peers.
    let welcomed = tokio::select! {
        welcomed = welcome(arriving, &context) => welcomed,
        () = pending_link.evicted() => {
            Some(Err(LinkError::Unreachable("it had sent no hello when its place was needed".into())))
        }
        () = context.connection_context.scope.drained() => None,
    };
    drop(pending_link);
    match welcomed {
        None => {}
        Some(Err(error)) => log_refused(&context, info.peer, &error),
        Some(Ok(Welcomed::Session(served, _held))) => {
            Box::pin(serve_session(*served, info.connection, context)).await
        }
        Some(Ok(Welcomed::Carrier(attached, _held))) => {
            let by = attached.carrier();
            tracing::debug!(
                peer = info.peer.map(display),
                "{by} was added to an existing session"
            );
            attached.ended().await;
        }
    }
}

/// Decides about the request of a connection. `None`: the listener was removed.
async fn welcome(
    arriving: impl Future<Output = Result<Arrival, LinkError>>,
    context: &ListenerContext,
) -> Option<Result<Welcomed, LinkError>> {
    let arrival = match arriving.await {
        Ok(arrival) => arrival,
        Err(error) => return Some(Err(error)),
    };
    let (_, frontend) = context.connection_context.plan()?;
    let Role::Link(plan) = &frontend.role else {
        return None;
    };
    Some(match arrival {
        Arrival::Hello(pending) => {
            let carrier = pending.carrier();
            welcome::welcome(
                &context.connection_context.node.links,
                *pending,
                plan,
                |grant| permits(context, grant, carrier),
            )
            .await
            .map(|(served, permits)| Welcomed::Session(Box::new(served), permits))
        }
        // Every session here was welcomed by a grant.
        Arrival::Attach(attaching) => {
            match attaching
                .grant()
                .ok_or(NoPermit::Full)
                .and_then(|grant| permits(context, grant, attaching.carrier()))
            {
                Ok(permits) => attaching
                    .accept()
                    .await
                    .map(|attached| Welcomed::Carrier(attached, permits)),
                Err(why) => Err(attaching.refuse(Refusal::Busy, why.to_string()).await),
            }
        }
    })
}

/// The permits for one more carrier of `grant`, if available. A QUIC carrier needs no descriptor of
/// its own.
fn permits(
    context: &ListenerContext,
    grant: GrantId,
    carrier: CarrierKind,
) -> Result<CarrierPermits, NoPermit> {
    let Admit::WhenWelcomed { listener, node } = &context.admit else {
        return Err(NoPermit::Full);
    };
    let permit = listener.take(grant)?;
    let descriptor = match carrier {
        CarrierKind::Quic => None,
        CarrierKind::Tls => Some(node.take(grant)?),
    };
    Ok((permit, descriptor))
}

/// Failures of unauthenticated peers are counted, and logged with a rate limit.
fn log_refused(context: &ListenerContext, peer: Option<SocketAddr>, error: &LinkError) {
    let counters = context.connection_context.counters();
    counters.link_handshakes_failed.add(1);
    // Normal for the slower carrier of a dialler while the link is up, and for a probe of the port.
    if matches!(error, LinkError::Left { .. }) {
        return tracing::debug!(peer = peer.map(display), listener = %context.connection_context.address, "no link: {error}");
    }
    let log_limits = match error {
        LinkError::Refused {
            why: Refusal::Busy, ..
        } => &counters.log_limits.links_busy,
        _ => &counters.log_limits.link_handshakes,
    };
    if let Some(line) = log_limits.count() {
        tracing::info!(peer = peer.map(display), listener = %context.connection_context.address, left_out = line.left_out, "no link: {error}");
    }
}

async fn serve_session(
    served: serving::WelcomedSession,
    connection: u64,
    context: Arc<ListenerContext>,
) {
    let (context, node) = (
        &context.connection_context,
        &context.connection_context.node,
    );
    let counters = context.counters();
    let (link, grant) = (served.link.clone(), served.grant().id);
    let (peer, identity) = (link.peer_addr(), link.peer().short());
    let by = served
        .carriers()
        .last()
        .map(ToString::to_string)
        .unwrap_or_default();
    if let Some(line) = counters.log_limits.links_up.count() {
        let left_out = line.left_out;
        tracing::info!(peer = peer.map(display), identity, grant = %grant, listener = %context.address, left_out, "link is up, by {by}");
    }
    counters.links.add(1);
    let at = AcceptedAt {
        address: Bind::clone(&context.address),
        settings: context.settings.clone(),
        scope: context.scope.clone(),
        ports: Arc::clone(node) as Arc<dyn PortOpener>,
    };
    let (mut session, streams, _) = served.split(&node.links, at);
    let from = IncomingStreams {
        context: Arc::clone(context),
        connection,
        outgoing: None,
        streams,
        link: link.clone(),
        user: Some(grant.to_string().into()),
    };
    let scope = &node.links.scope;
    scope.spawn("link streams", serve_streams(from));
    let reason = session.run().await;
    counters.links.sub(1);
    if let Some(line) = counters.log_limits.links_down.count() {
        tracing::info!(
            peer = peer.map(display),
            identity,
            left_out = line.left_out,
            "link is down: {reason}"
        );
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use tokio::time::timeout;

    use super::*;
    use crate::testing::Bench;

    /// The first bytes of a TLS record, and no more.
    const BEGUN: &[u8] = &[22, 3, 1, 2, 0];

    /// How long a broken test may hang.
    const HANG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_newcomer_that_sends_slowly_is_not_evicted_by_connections_that_send_nothing() {
        let state = tempfile::tempdir().unwrap();
        let lines = "[[serve]]\nlisten = \"127.0.0.1:0\"\nadvertise = \"127.0.0.1\"\n";
        let bench = Bench::with_state(lines, state.path());
        let (plan, _) = bench.context.plan().unwrap();
        let context = bench.listener();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connect = async || {
            let visitor = TcpStream::connect(listener.local_addr().unwrap())
                .await
                .unwrap();
            let (socket, peer) = listener.accept().await.unwrap();
            let accepted = Accepted {
                stream: Stream::accepted_tcp(socket),
                info: ConnectionInfo {
                    connection: 1,
                    peer: Some(peer),
                    tls: None,
                },
            };
            let (context, plan) = (Arc::clone(&context), Arc::clone(&plan));
            bench
                .context
                .scope
                .spawn("connection", serve_tcp(accepted, context, plan));
            visitor
        };
        let (pending_links, most) = (bench.context.node.admission.pending_links(), 8);
        pending_links.set_most(most);
        let until = async |progress, count| {
            let counted = async {
                while pending_links.count(progress) != count {
                    tokio::task::yield_now().await;
                }
            };
            timeout(HANG, counted).await.unwrap();
        };
        let mut newcomer = connect().await;
        until(Progress::Silent, 1).await;
        newcomer.write_all(BEGUN).await.unwrap();
        until(Progress::Spoke, 1).await;
        let mut others = Vec::new();
        for _ in 0..most {
            others.push(connect().await);
            until(Progress::Silent, others.len().min(most - 1)).await;
        }
        let end = timeout(HANG, others[0].read(&mut [0])).await.unwrap();
        assert!(
            !matches!(end, Ok(1..)),
            "the first silent connection was evicted: {end:?}"
        );
        assert_eq!(
            pending_links.count(Progress::Spoke),
            1,
            "the newcomer is still connected"
        );
        // Its next bytes are read: they are not a hello, so the connection is closed.
        newcomer.write_all(&[0; 512]).await.unwrap();
        until(Progress::Spoke, 0).await;
    }
}
