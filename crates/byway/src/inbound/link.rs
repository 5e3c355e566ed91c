//! Link: incoming traffic of links: carriers with a hello, sessions, and the streams that the other
//! side opens.
//!
//! In:    a connection of a `[[serve]]` or an `[[exit]]`, over TCP or QUIC; or the streams of a
//!        session that this node dialled.
//! Out:   an `Inquiry` for each stream; the reply to the other side; a relay.
//! Never: opens anything for a stream without an `Allowed`, on either side of a link; never waits
//!        for a peer without a deadline.

use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use byway_dial::{Dialled, Stream, Target, peer_text};
use byway_link::wire::{FEATURE_REPORTS, NETWORK_TCP, Open};
use byway_link::{
    Arrival, Attached, CarrierKind, GrantId, IncomingStream, Link, LinkError, Progress,
    QuicListener, Refusal,
};
use socket2::SockRef;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::admission::Admit;
use super::context::{Accepted, ConnectionContext, ConnectionInfo, NodeContext};
use super::dial_permits::{DialPermit, NoDialPermit, PermitHolder};
use super::link_permits::{LinkPermit, NoPermit};
use super::listener::ListenerContext;
use super::pending_links::PendingLink;
use super::tunnel::{relay_options, relay_streams};
use super::tunnel_log::TunnelLog;
use crate::config::{Bind, FrontendPlan, Plan, Role, Serves, ServiceKind};
use crate::fault::{Fault, Reason, Who};
use crate::link::outgoing::{OutgoingLink, StreamServer};
use crate::link::public_ports::PublicPorts;
use crate::link::serving::AcceptedAt;
use crate::link::{serving, welcome};
use crate::live::ListenerSettings;
use crate::outbound::{self, direct};
use crate::relay::Early;
use crate::route::{Allowed, Ask, Inquiry, Outbound, policy};

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
    let accepting = async {
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
            };
            let arriving = context.clone();
            context
                .connection_context
                .scope
                .spawn("quic carrier", async move {
                    let _ip_permit = ip_permit;
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
    listener.idle().await;
    listener.close("the node is leaving");
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
        ports: Arc::clone(node) as Arc<dyn PublicPorts>,
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

/// The streams that the other side of a session opens, and their session.
struct IncomingStreams {
    context: Arc<ConnectionContext>,
    /// The number of the connection that the session began on; 0 if this node dialled it.
    connection: u64,
    outgoing: Option<Arc<OutgoingLink>>,
    streams: mpsc::Receiver<IncomingStream>,
    link: Link,
    user: Option<Arc<str>>,
}

impl StreamServer for NodeContext {
    fn serve(
        self: Arc<Self>,
        streams: mpsc::Receiver<IncomingStream>,
        link: Link,
        outgoing: Arc<OutgoingLink>,
    ) {
        let plan = outgoing.plan();
        let address = link.peer_addr();
        let frontend = FrontendPlan {
            name: Arc::clone(&plan.id),
            role: Role::Joined(plan),
            limits: self.engine.live.peek().limits.clone(),
        };
        let address = Bind::Tcp(address.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0))));
        let scope = self.links.scope.clone();
        let settings = ListenerSettings::Fixed(Arc::new(frontend));
        let context = ConnectionContext::new(
            &self,
            settings,
            Arc::new(address),
            usize::MAX,
            scope.clone(),
        );
        let streams = IncomingStreams {
            context: Arc::new(context),
            connection: 0,
            outgoing: Some(outgoing),
            streams,
            link,
            user: None,
        };
        scope.spawn("link streams", serve_streams(streams));
    }
}

/// Passes each stream to a worker, which dials its target. Ends with the session.
async fn serve_streams(mut from: IncomingStreams) {
    static NEXT_WORKER: AtomicUsize = AtomicUsize::new(0);
    loop {
        // Both arms are cancel safe: a stream that is not taken stays in its channel.
        let arrived = tokio::select! {
            Some(arrived) = from.streams.recv() => arrived,
            _ = from.link.ended() => return,
        };
        let node = &from.context.node;
        let scopes = &node.scopes;
        let worker = NEXT_WORKER
            .fetch_add(1, Relaxed)
            .checked_rem(scopes.len())
            .unwrap_or_default();
        let scope = scopes.get(worker).unwrap_or(&from.context.scope);
        let (settings, address) = (
            from.context.settings.clone(),
            Arc::clone(&from.context.address),
        );
        let context = ConnectionContext::new(node, settings, address, worker, scope.clone());
        let context = Arc::new(context);
        let (outgoing, link, user) = (from.outgoing.clone(), from.link.clone(), from.user.clone());
        let info = ConnectionInfo {
            connection: from.connection,
            peer: arrived.peer(),
        };
        scope.spawn("link stream", async move {
            serve_stream(arrived, info, context, outgoing, link, user).await
        });
    }
}

async fn serve_stream(
    arrived: IncomingStream,
    info: ConnectionInfo,
    context: Arc<ConnectionContext>,
    outgoing: Option<Arc<OutgoingLink>>,
    link: Link,
    user: Option<Arc<str>>,
) {
    let Some((plan, listener)) = context.plan() else {
        return;
    };
    let (peer, time_limit) = (info.peer, listener.limits.handshake_timeout);
    let (open, mut pending_open) = match timeout(time_limit, arrived.asked()).await {
        Ok(Ok(pending_open)) => pending_open,
        Ok(Err(error)) => {
            return tracing::debug!(
                peer = peer.map(display),
                "a stream without a target: {error}"
            );
        }
        Err(_) => {
            return tracing::debug!(
                peer = peer.map(display),
                "a stream that sent no target within {time_limit:?}"
            );
        }
    };
    // An agent logs the address of the visitor, which the public end sends.
    let visitor = outgoing.as_ref().and_then(|_| open.visitor.parse().ok());
    let info = ConnectionInfo {
        peer: visitor.or(peer),
        ..info
    };
    let tunnel_log = TunnelLog::new(&context, &info, &listener, user.as_deref(), "LINK");
    let target = || match open.service {
        0 => target_of(&open).ok(),
        number => outgoing
            .as_ref()
            .and_then(|outgoing| outgoing.service(number))
            .map(|service| service.to),
    };
    let opening = Box::pin(decide_and_open(
        &context,
        &plan,
        &listener,
        &open,
        outgoing.as_deref(),
        peer,
        user.as_ref(),
    ));
    // The other side may cancel meanwhile; then the far side is not needed.
    let opened = tokio::select! {
        opened = opening => opened,
        () = pending_open.given_up() => return tunnel_log.refused(target().as_ref(), &peer_cancelled()),
    };
    match opened {
        Err(fault) => {
            let counters = context.counters();
            counters.faults.add(1);
            if let Some(line) = counters.log_limits.fault(&fault) {
                tracing::info!(
                    peer = peer.map(display),
                    visitor = named(&open.visitor),
                    who = fault.who.word(),
                    class = fault.reason.word(),
                    left_out = line.left_out,
                    "link stream: {fault}"
                );
            }
            tunnel_log.refused(target().as_ref(), &fault);
            let _ = timeout(time_limit, pending_open.refused(fault.to_link())).await;
        }
        // The permit is held for as long as the stream lasts.
        Ok(OpenedTarget {
            dialled,
            allowed,
            host,
            _dial_permit,
        }) => {
            // The public end reports the requests of an HTTP service, so that each has its own
            // line.
            let is_http = |outgoing: &Arc<OutgoingLink>| {
                outgoing
                    .service(open.service)
                    .is_some_and(|it| it.kind == ServiceKind::Http)
            };
            let reports = context.worker_stats.log_buffer.is_on()
                && link.has(FEATURE_REPORTS)
                && outgoing.as_ref().is_some_and(is_http);
            let answered = pending_open.opened(dialled.local, host.as_deref(), reports);
            let Ok(Ok(stream)) = timeout(time_limit, answered).await else {
                return tunnel_log.through(&allowed).client_left();
            };
            let options = relay_options(context.engine(), &allowed, &listener);
            let tunnel_log = tunnel_log.through(&allowed);
            let tunnel_log = if reports {
                tunnel_log.without_line()
            } else {
                tunnel_log
            };
            relay_streams(
                stream,
                dialled.stream,
                Early::default(),
                &options,
                &tunnel_log,
            )
            .await;
        }
    }
}

/// The visitor that the other side has named, for the log. An exit gets none.
fn named(visitor: &str) -> Option<tracing::field::DisplayValue<byway_dial::PeerText<'_>>> {
    (!visitor.is_empty()).then(|| tracing::field::display(peer_text(visitor)))
}

fn peer_cancelled() -> Fault {
    Fault::new(
        Who::Downstream,
        Reason::ClosedEarly,
        "the other side cancelled before the target was open",
    )
}

async fn decide_and_open(
    context: &ConnectionContext,
    plan: &Arc<Plan>,
    listener: &FrontendPlan,
    open: &Open,
    outgoing: Option<&OutgoingLink>,
    peer: Option<SocketAddr>,
    user: Option<&Arc<str>>,
) -> Result<OpenedTarget, Fault> {
    if open.network != NETWORK_TCP {
        let detail = format!(
            "network {} is not carried by this version: only TCP is",
            open.network
        );
        return Err(Fault::new(Who::Downstream, Reason::Network, detail));
    }
    // A draining node serves it, too: it was opened before the other side learned of the drain.
    let (service, target);
    let mut host = None;
    let ask = match open.service {
        0 => {
            target = target_of(open)?;
            Ask::Target(&target)
        }
        number => {
            service = outgoing
                .and_then(|outgoing| outgoing.service(number))
                .ok_or_else(|| {
                    Fault::new(
                        Who::Downstream,
                        Reason::NoRoute,
                        "no such service is registered by this session",
                    )
                })?;
            host.clone_from(&service.host);
            Ask::Service(&service)
        }
    };
    let own = context.live().own_addresses();
    let inquiry = Inquiry {
        plan,
        role: &listener.role,
        peer,
        user,
        own: &own,
        ask,
    };
    let allowed = policy::decide(&inquiry).inspect_err(|_| {
        context.counters().denied.add(1);
    })?;
    let dial_permit = || {
        let (user, is_only_user) = match user {
            // Any number of grants may exist.
            Some(grant) => (PermitHolder::Grant(Arc::clone(grant)), false),
            None => (
                PermitHolder::PublicEnd(Arc::clone(&listener.name)),
                is_only_public_end(plan),
            ),
        };
        context
            .node
            .admission
            .dialled()
            .take(&user, is_only_user)
            .map_err(no_descriptor)
    };
    let (dialled, dial_permit) = match allowed.outbound() {
        Outbound::Direct(target) => {
            let opening = Box::pin(direct::open_with_permit(
                context.engine(),
                target,
                &allowed,
                dial_permit,
            ));
            opening
                .await
                .map(|(dialled, dial_permit)| (dialled, Some(dial_permit)))?
        }
        Outbound::Via(..) => {
            let dial_permit = dial_permit()?;
            (
                outbound::open(context.engine(), &allowed).await?,
                Some(dial_permit),
            )
        }
        // These are streams of other links.
        Outbound::Exit(..) | Outbound::Service(_) | Outbound::Pooled(_) => {
            (outbound::open(context.engine(), &allowed).await?, None)
        }
    };
    Ok(OpenedTarget {
        dialled,
        allowed,
        host,
        _dial_permit: dial_permit,
    })
}

/// Whether streams are dialled only for the services of one link.
fn is_only_public_end(plan: &Plan) -> bool {
    let is_exit =
        |role: &Role| matches!(role, Role::Link(link) if matches!(link.serves, Serves::Exit(_)));
    plan.joins
        .iter()
        .filter(|join| !join.services.is_empty())
        .count()
        == 1
        && !plan
            .listeners
            .iter()
            .any(|listener| is_exit(&listener.frontend.role))
}

/// The opened target of a stream.
struct OpenedTarget {
    dialled: Dialled,
    allowed: Allowed,
    host: Option<Arc<str>>,
    _dial_permit: Option<DialPermit>,
}

fn no_descriptor(reason: NoDialPermit) -> Fault {
    let detail =
        format!("{reason}; raise the limit of open files of this node (ulimit -n, LimitNOFILE=)");
    Fault::new(Who::Us, Reason::Descriptors, detail)
}

/// The host of an [`Open`] has no brackets. A name is checked and resolved only here.
fn target_of(open: &Open) -> Result<Target, Fault> {
    let bad = |detail: String| Fault::new(Who::Downstream, Reason::BadTarget, detail);
    let port = u16::try_from(open.port).map_err(|_| bad(format!("{} is no port", open.port)))?;
    match open.host.parse::<IpAddr>() {
        Ok(ip) if port != 0 => Ok(Target::Addr(SocketAddr::new(ip, port))),
        _ => Target::from_host(&open.host, port).map_err(|error| bad(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

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

    #[test]
    fn a_target_is_an_address_or_a_name_and_never_port_zero() {
        let open = |host: &str, port| Open {
            host: host.into(),
            port,
            ..Open::default()
        };
        assert_eq!(target_of(&open("::1", 80)).unwrap().to_string(), "[::1]:80");
        assert_eq!(
            target_of(&open("192.0.2.1", 80)).unwrap().to_string(),
            "192.0.2.1:80"
        );
        assert_eq!(
            target_of(&open("Example.com", 443)).unwrap().to_string(),
            "example.com:443"
        );
        for (host, port) in [
            ("", 80),
            ("a b", 80),
            ("example.com", 0),
            ("192.0.2.1", 0),
            ("x", 70_000),
            ("127.1", 80),
        ] {
            assert_eq!(
                target_of(&open(host, port)).unwrap_err().status(),
                400,
                "{host}:{port}"
            );
        }
    }
}
