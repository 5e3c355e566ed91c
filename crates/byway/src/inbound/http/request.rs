//! Request: the pipeline that every HTTP request passes, at an edge and at an egress.
//!
//! ```text
//! guards ─▶ inquiry ─▶ policy ─▶ Action ─▶ record
//! ```
//!
//! In:    the head of a request, its connection, the Plan in force.
//! Out:   its response, sent; what becomes of the connection.
//! Never: opens anything without an `Allowed`, or lets a request end without a record.

use std::borrow::Cow;
use std::sync::Arc;

use byway_dial::peer_text;
use byway_head::{Request, TargetForm};
use byway_http::LazyTimer;
use byway_pool::Client;
use tokio::time::Instant;

use super::super::context::{ConnectionContext, ConnectionInfo};
use super::super::tunnel;
use super::super::{connect, credentials};
use super::request_log::RequestLog;
use super::respond::respond;
use super::{client, guards, redirect};
use crate::config::{EdgePlan, EgressPlan, FrontendPlan, Plan, Role, Transport};
use crate::exchange::answer::Answer;
use crate::exchange::downstream::Downstream;
use crate::exchange::exchange_request::{ExchangeRequest, RequestRecord};
use crate::exchange::forward::forward;
use crate::exchange::head::{Forwarded, IpText};
use crate::exchange::next::Next;
use crate::exchange::request_id::RequestId;
use crate::exchange::{max_forwards, path};
use crate::fault::{Fault, Reason, Who};
use crate::observe::ending::Ending;
use crate::observe::metrics::ListenerMetrics;
use crate::outbound::pooled::PoolKey;
use crate::route::{Allowed, Ask, Inquiry, policy};

/// What a connection brings to each of its requests.
pub(super) struct RequestContext<'a> {
    pub(super) connection: &'a ConnectionContext,
    /// The Plan in force, and the settings of the listener in it.
    pub(super) plan: &'a Arc<Plan>,
    pub(super) frontend: &'a FrontendPlan,
    pub(super) info: &'a ConnectionInfo,
    /// The address of the peer for X-Forwarded-For.
    pub(super) peer_text: Option<&'a IpText>,
    /// The key of the peer in the pool.
    pub(super) client: Client,
    pub(super) listener_metrics: &'a ListenerMetrics,
    /// Whether no request may follow this one on the connection.
    pub(super) is_last: bool,
}

/// A request, with what the log needs.
pub(super) struct ReceivedRequest<'a> {
    pub(super) request: Request<'a>,
    pub(super) id: RequestId,
    pub(super) begun: Instant,
}

impl ReceivedRequest<'_> {
    pub(super) fn is_connect(&self) -> bool {
        matches!(self.request.target_form(), TargetForm::Authority)
    }
}

/// What a request leads to, once it has passed the guards and policy.
enum Action<'r> {
    /// A response made here, as Max-Forwards is used up. It needs no permission.
    LastHop,
    /// A redirect to this URL. It needs no permission.
    Redirect(Box<str>),
    /// The answer to a challenge of an ACME authority. It needs no permission.
    Challenge(Arc<str>),
    /// An exchange, with what its [`ExchangeRequest`] is made of.
    Exchange {
        allowed: Allowed,
        client: Client,
        origin: Option<PoolKey>,
        target: Cow<'r, [u8]>,
        forwarded: Option<Forwarded<'r>>,
    },
    /// A tunnel to the target of a CONNECT.
    Tunnel(Allowed),
}

/// Serves one request.
///
/// # Cancel safety
/// Not safe, as [`forward`].
pub(super) async fn serve(
    cx: &RequestContext<'_>,
    request: Request<'_>,
    downstream: &mut Downstream<'_>,
    timer: &mut LazyTimer,
) -> Next {
    let received = ReceivedRequest {
        request,
        id: RequestId::random(),
        begun: Instant::now(),
    };
    let mut record = RequestRecord::begun(received.begun);
    let action = match &cx.frontend.role {
        Role::Edge(edge) => edge_action(cx, &received, edge),
        Role::Egress(egress) => egress_action(cx, &received, egress, &mut record),
        // A reload has turned the listener into one of another role: these bytes are not meant for
        // it.
        _ => return Next::Close,
    };
    // By reference: moved, it would be in the future of the request twice.
    let served = match &action {
        Ok(action) => perform(cx, &received, downstream, timer, action, &mut record).await,
        Err(fault) => Err(fault.clone()),
    };
    conclude(cx, &received, downstream, served, &mut record).await
}

/// The guards of an edge, and policy.
fn edge_action<'r>(
    cx: &RequestContext<'r>,
    received: &'r ReceivedRequest<'_>,
    edge: &EdgePlan,
) -> Result<Action<'r>, Fault> {
    let request = &received.request;
    guards::refuse_connect(request)?;
    guards::refuse_loop(request)?;
    if max_forwards::end_here(request)? {
        return Ok(Action::LastHop);
    }
    let ip = cx.info.peer.map(|peer| peer.ip().to_canonical());
    let trusted = ip.is_some_and(|ip| edge.trusted_proxies.iter().any(|net| net.contains(&ip)));
    let is_tls = cx.info.tls.is_some();
    // Before the redirect and the routes: the authority asks for any host, on any plain listener.
    if let Some(text) = cx.connection.node.tls.challenge_answer(request.path()) {
        return Ok(Action::Challenge(text));
    }
    if let Transport::Redirect(https) = &cx.frontend.transport
        && !(trusted && guards::was_https(request))
    {
        return redirect::to_https(cx, request, https).map(Action::Redirect);
    }
    guards::refuse_misdirected(request, trusted, is_tls)?;
    let path = path::canonical(request.path(), edge.settings.reject_empty_segments)?;
    let reported = trusted
        .then(|| client::reported(request, &edge.trusted_proxies))
        .flatten();
    let host = guards::host(request)?;
    let tls = &cx.connection.node.tls;
    match &cx.info.tls {
        Some(session) => guards::refuse_other_host(tls, session, host)?,
        // It may have checked the certificate itself.
        None if trusted => {}
        None => guards::refuse_without_tls(tls, host)?,
    }
    let allowed = decide(cx, None, Ask::Request { host, path: &path })?;
    // A service has no upstreams to balance: its connections are pooled under its name.
    let service = allowed.outbound().service();
    Ok(Action::Exchange {
        origin: service.map(|name| PoolKey::Service(name.clone())),
        allowed,
        client: reported.unwrap_or(cx.client),
        target: path::target(&path, request.path(), request.path_and_query()),
        forwarded: Some(Forwarded {
            peer: cx.peer_text.map(IpText::as_bytes),
            client_cert: cx.info.tls_client().map(|one| &*one.field),
            request_id: received.id.as_str(),
            trusted,
            is_tls,
            hsts_seconds: hsts_seconds(cx.frontend, cx.info),
            alt_svc: cx.connection.http3.alt_svc().filter(|_| is_tls),
        }),
    })
}

/// For how long browsers have to use HTTPS; 0 without TLS, where they would ignore it (RFC 6797
/// section 7.2), and where the config does not say it.
pub(super) fn hsts_seconds(frontend: &FrontendPlan, info: &ConnectionInfo) -> u32 {
    let Role::Edge(edge) = &frontend.role else {
        return 0;
    };
    match (&info.tls, edge.settings.hsts) {
        (Some(_), Some(time)) => u32::try_from(time.as_secs()).unwrap_or(u32::MAX),
        _ => 0,
    }
}

/// The guards of an egress, and policy.
fn egress_action<'r>(
    cx: &RequestContext<'r>,
    received: &'r ReceivedRequest<'_>,
    egress: &EgressPlan,
    record: &mut RequestRecord,
) -> Result<Action<'r>, Fault> {
    let request = &received.request;
    let user = credentials::authenticate(request, egress, cx.connection.counters())?;
    record.timing.user.clone_from(&user);
    guards::refuse_loop(request)?;
    if max_forwards::end_here(request)? {
        return Ok(Action::LastHop);
    }
    let target = connect::target(request)?;
    let decided = decide(cx, user.as_ref(), Ask::Target(&target));
    let allowed = decided.inspect_err(|_| {
        cx.connection.counters().denied.add(1);
    })?;
    if received.is_connect() {
        return Ok(Action::Tunnel(allowed));
    }
    Ok(Action::Exchange {
        allowed,
        client: user.as_ref().map_or(cx.client, client::of_user),
        origin: Some(PoolKey::Egress {
            generation: cx.plan.generation,
            listener: cx.connection.settings.listener(),
            user,
            certificate: cx
                .info
                .tls_client()
                .map(|client| Arc::clone(&client.fingerprint)),
            target,
        }),
        target: request.path_and_query().into(),
        forwarded: None,
    })
}

/// Asks policy.
fn decide(
    cx: &RequestContext<'_>,
    user: Option<&Arc<str>>,
    ask: Ask<'_>,
) -> Result<Allowed, Fault> {
    policy::decide(&Inquiry {
        plan: cx.plan,
        role: &cx.frontend.role,
        peer: cx.info.peer,
        user,
        client: cx.info.tls_client(),
        own: &cx.connection.live().own_addresses(),
        ask,
    })
}

/// Does what was permitted.
async fn perform(
    cx: &RequestContext<'_>,
    received: &ReceivedRequest<'_>,
    downstream: &mut Downstream<'_>,
    timer: &mut LazyTimer,
    action: &Action<'_>,
    record: &mut RequestRecord,
) -> Result<Next, Fault> {
    let engine = cx.connection.engine();
    match action {
        Action::LastHop => Ok(respond(cx, received, downstream, Answer::LastHop, record).await),
        Action::Challenge(text) => {
            let answer = Answer::Challenge(text);
            Ok(respond(cx, received, downstream, answer, record).await)
        }
        Action::Redirect(location) => {
            let answer = Answer::Redirect(location);
            Ok(respond(cx, received, downstream, answer, record).await)
        }
        Action::Tunnel(allowed) => {
            let user = record.timing.user.clone();
            let opened = connect::open(engine, downstream, &received.request, allowed, user).await;
            opened.map(Next::Tunnel)
        }
        Action::Exchange {
            allowed,
            client,
            origin,
            target,
            forwarded,
        } => {
            downstream.send_through(|| tunnel::slow_reader_guard(engine, allowed));
            let limits = &cx.frontend.limits;
            let exchange = ExchangeRequest {
                engine,
                pool: &cx.connection.pool,
                request: received.request,
                route_state: engine.route_states.state_for(allowed.outbound()),
                client: *client,
                allowed,
                origin: origin.as_ref(),
                limits,
                max_body: match allowed.outbound().route() {
                    Some(route) => route.max_body,
                    None => limits.max_body,
                },
                target,
                forwarded: forwarded.as_ref(),
                filter: cx.connection.response_filter,
                scope: &cx.connection.scope,
                is_last: cx.is_last,
                begun: received.begun,
            };
            forward(&exchange, downstream, timer, record).await
        }
    }
}

/// Responds to a fault if nothing was sent yet, records how the request ended, and decides about
/// the connection.
async fn conclude(
    cx: &RequestContext<'_>,
    received: &ReceivedRequest<'_>,
    downstream: &mut Downstream<'_>,
    served: Result<Next, Fault>,
    record: &mut RequestRecord,
) -> Next {
    let next = match served {
        // Its log line is written at its end.
        Ok(Next::Tunnel(tunnel)) if received.is_connect() => {
            cx.listener_metrics.note(200, 0, 0);
            let worker_metrics = &cx.connection.worker_stats.metrics;
            worker_metrics.note_version(received.request.version());
            return Next::Tunnel(tunnel);
        }
        Ok(next) => next,
        // The client is gone, or earlier output is still unsent: no error response can be
        // delivered.
        Err(fault)
            if fault.reason == Reason::ClosedEarly && fault.who == Who::Downstream
                || downstream.has_queued() =>
        {
            Next::Reset(fault)
        }
        Err(fault) => {
            let answer = Answer::Fault(&fault);
            let next = respond(cx, received, downstream, answer, record).await;
            log_request(cx, received, record, Some(&fault));
            return next;
        }
    };
    log_request(cx, received, record, next.fault());
    next
}

/// Counts and logs a request that has ended.
fn log_request(
    cx: &RequestContext<'_>,
    received: &ReceivedRequest<'_>,
    record: &RequestRecord,
    fault: Option<&Fault>,
) {
    let phase = record.timing.phase().word();
    let ending = fault.map_or_else(
        || Ending::done(phase),
        |fault| Ending::of_fault(fault, phase),
    );
    let request_log = RequestLog {
        context: cx.connection,
        info: cx.info,
        listener_metrics: cx.listener_metrics,
        frontend: cx.frontend,
    };
    request_log.note(
        Some(&received.request),
        received.id.as_str(),
        record,
        ending,
    );
    // Every successful request passes here: no clock is read and nothing is formatted for a line
    // that is not enabled.
    if fault.is_none() && !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    let (method, target) = (
        peer_text(received.request.method()),
        peer_text(received.request.target()),
    );
    let (peer, listener) = (
        cx.info.peer.map(tracing::field::display),
        &*cx.connection.address,
    );
    let took_us = received.begun.elapsed().as_micros() as u64;
    // What was passed on, even if it was cut later.
    let status = match (record.status, fault) {
        (0, Some(fault)) => fault.status(),
        (status, _) => status,
    };
    match fault {
        None => tracing::debug!(
            peer, %listener, request = received.id.as_str(), status,
            up = record.up, down = record.down, took_us, "{method} {target}"
        ),
        // Errors of clients are counted. One line each would let any client fill the log.
        Some(fault) if fault.who == Who::Downstream => {
            tracing::debug!(
                peer, %listener, request = received.id.as_str(), status,
                class = fault.reason.word(), up = record.up, down = record.down, took_us, "{method} {target}: {fault}"
            );
        }
        // Includes why it was not retried.
        Some(fault) => {
            let counters = cx.connection.counters();
            let Some(line) = counters.log_limits.fault(fault) else {
                return;
            };
            tracing::info!(
                peer, %listener, request = received.id.as_str(), status,
                who = fault.who.word(), class = fault.reason.word(), upstream = record.timing.upstream.as_deref(),
                up = record.up, down = record.down, took_us, retries = record.retries, not_retried = record.timing.not_retried,
                left_out = line.left_out,
                "{method} {target}: {fault}"
            );
        }
    }
}
