//! Link streams: what the other side of a session opens: its services here, or targets.
//!
//! In:    the streams of a session that this node accepted or dialled.
//! Out:   an `Inquiry` for each stream; the reply to the other side; a relay.
//! Never: opens anything for a stream without an `Allowed`, on either side of a link; never waits
//!        for a peer without a deadline.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use byway_dial::{Dialled, Target, peer_text};
use byway_link::wire::{FEATURE_REPORTS, NETWORK_TCP, Open, Opened};
use byway_link::{ClientKey, IncomingStream, Link};
use byway_relay::{Early, RelayOptions};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::context::{ConnectionContext, ConnectionInfo, NodeContext};
use super::dial_permits::{DialPermit, NoDialPermit, PermitHolder};
use super::tunnel::{relay_options, relay_streams};
use super::tunnel_log::TunnelLog;
use crate::config::{Bind, FrontendPlan, Plan, Role, Serves, ServiceKind, Transport};
use crate::fault::{Fault, Reason, Who};
use crate::link::outgoing::{OutgoingLink, StreamServer};
use crate::live::ListenerSettings;
use crate::outbound::{self, direct};
use crate::route::{Allowed, Ask, Inquiry, Outbound, policy};

/// The streams that the other side of a session opens, and their session.
pub(super) struct IncomingStreams {
    pub(super) context: Arc<ConnectionContext>,
    /// The number of the connection that the session began on; 0 if this node dialled it.
    pub(super) connection: u64,
    /// For a session that this node dialled.
    pub(super) outgoing: Option<Arc<OutgoingLink>>,
    pub(super) streams: mpsc::Receiver<IncomingStream>,
    pub(super) link: Link,
    /// The grant that dialled.
    pub(super) user: Option<Arc<str>>,
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
            role: Role::Agent(plan),
            limits: self.engine.live.peek().limits.clone(),
            transport: Transport::Plain,
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
pub(super) async fn serve_streams(mut from: IncomingStreams) {
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
            tls: None,
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
    let Some((plan, frontend)) = context.plan() else {
        return;
    };
    let (peer, time_limit) = (info.peer, frontend.limits.handshake_timeout);
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
    let tunnel_log = TunnelLog::new(&context, &info, &frontend, user.as_deref(), "LINK");
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
        &frontend,
        &open,
        outgoing.as_deref(),
        peer,
        (user.as_ref(), pending_open.client()),
    ));
    // The other side may cancel meanwhile; then the far side is not needed.
    let opened = tokio::select! {
        opened = opening => opened,
        () = pending_open.given_up() => return tunnel_log.refused(target().as_ref(), &peer_cancelled()),
    };
    match opened {
        Err(fault) => {
            let counters = context.counters();
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
            let answer = Opened {
                local: dialled
                    .local
                    .map(|local| local.to_string())
                    .unwrap_or_default(),
                host: host.as_deref().unwrap_or_default().to_owned(),
                reports,
                ordered_end: open.ordered_end,
            };
            let answered = pending_open.opened(answer);
            let Ok(Ok(stream)) = timeout(time_limit, answered).await else {
                return tunnel_log.through(&allowed).client_left();
            };
            let options = RelayOptions {
                ordered_end: open.ordered_end.then_some(ORDERED_END),
                ..relay_options(context.engine(), &allowed, &frontend)
            };
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

/// How long a service may take to acknowledge requests that it has answered already. The opener
/// waits a little longer for the end of the stream (5 s).
const ORDERED_END: Duration = Duration::from_secs(4);

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
    frontend: &FrontendPlan,
    open: &Open,
    outgoing: Option<&OutgoingLink>,
    peer: Option<SocketAddr>,
    (user, client): (Option<&Arc<str>>, ClientKey),
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
        role: &frontend.role,
        peer,
        user,
        client: None,
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
                PermitHolder::PublicEnd(Arc::clone(&frontend.name)),
                is_only_public_end(plan),
            ),
        };
        context
            .node
            .admission
            .dialled()
            .take(&user, is_only_user, client)
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
    let reason = match reason {
        NoDialPermit::ClientShare { .. } => Reason::ClientShare,
        NoDialPermit::Full | NoDialPermit::Share { .. } => Reason::Descriptors,
    };
    Fault::new(Who::Us, reason, detail)
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
    use super::*;

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
