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

use byway_dial::{Target, peer_text};
use byway_head::{Request, TargetForm};
use byway_pool::Client;
use tokio::time::Instant;

use super::super::context::{ConnectionContext, ConnectionInfo};
use super::super::tunnel;
use super::super::{connect, credentials};
use super::request_log::RequestLog;
use super::respond::respond;
use super::{client, guards};
use crate::config::{EdgePlan, EgressPlan, FrontendPlan, Plan, Role};
use crate::exchange::answer::Answer;
use crate::exchange::downstream::Downstream;
use crate::exchange::forward::{ExchangeRequest, Moved, forward};
use crate::exchange::head::{Forwarded, IpText};
use crate::exchange::lazy_timer::LazyTimer;
use crate::exchange::next::Next;
use crate::exchange::request_id::RequestId;
use crate::exchange::{max_forwards, path};
use crate::fault::{Fault, Reason, Who};
#[cfg(not(test))]
use crate::http::filter::MakeFilter;
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
    pub(super) info: ConnectionInfo,
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

/// What a request asks for, once it has passed the guards.
struct Asked<'r> {
    /// Who asks, if the listener has users.
    user: Option<Arc<str>>,
    client: Client,
    what: What<'r>,
}

enum What<'r> {
    /// A path of a host, at an edge.
    Path {
        host: &'r str,
        path: Cow<'r, str>,
        /// The target in the form that the upstream gets.
        target: Cow<'r, [u8]>,
        /// Whether the peer is a trusted proxy.
        trusted: bool,
    },
    /// A target, at an egress.
    Target(Target),
}

/// What a permitted request leads to. (What the guards answer themselves needs no permission.)
enum Action<'r> {
    /// One of the upstreams of a route.
    Proxy {
        /// The target in the form that the upstream gets.
        target: Cow<'r, [u8]>,
        /// Whether the peer is a trusted proxy.
        trusted: bool,
    },
    /// A service behind a link. It has no upstreams to balance: its connections are pooled under
    /// its name.
    Service {
        service: PoolKey,
        target: Cow<'r, [u8]>,
        trusted: bool,
    },
    /// The target of a request at an egress.
    Target { origin: PoolKey, target: &'r [u8] },
    /// A tunnel to the target of a CONNECT.
    Tunnel,
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
    let header = ReceivedRequest {
        request,
        id: RequestId::random(),
        begun: Instant::now(),
    };
    let mut moved = Moved::begun(header.begun);
    let served = match &cx.frontend.role {
        Role::Edge(edge) => match ask_edge(cx, &header, edge) {
            Ok(asked) => perform(cx, &header, downstream, timer, asked, &mut moved).await,
            Err(fault) => Err(fault),
        },
        Role::Egress(egress) => match ask_egress(cx, &header, egress, &mut moved) {
            Ok(asked) => perform(cx, &header, downstream, timer, asked, &mut moved).await,
            Err(fault) => Err(fault),
        },
        // A reload has turned the listener into one of another role: these bytes are not meant for
        // it.
        _ => return Next::Close,
    };
    conclude(cx, &header, downstream, served, &mut moved).await
}

/// The guards of an edge. `None`: the request ends here (Max-Forwards).
fn ask_edge<'r>(
    cx: &RequestContext<'_>,
    header: &ReceivedRequest<'r>,
    edge: &EdgePlan,
) -> Result<Option<Asked<'r>>, Fault> {
    let request = &header.request;
    guards::refuse_connect(request)?;
    guards::refuse_loop(request)?;
    if max_forwards::end_here(request)? {
        return Ok(None);
    }
    let ip = cx.info.peer.map(|peer| peer.ip().to_canonical());
    let trusted = ip.is_some_and(|ip| edge.trusted_proxies.iter().any(|net| net.contains(&ip)));
    guards::refuse_misdirected(request, trusted)?;
    let path = path::canonical(request.path(), edge.settings.reject_empty_segments)?;
    let reported = trusted
        .then(|| client::reported(request, &edge.trusted_proxies))
        .flatten();
    Ok(Some(Asked {
        user: None,
        client: reported.unwrap_or(cx.client),
        what: What::Path {
            host: guards::host(request)?,
            target: path::target(&path, request.path(), request.path_and_query()),
            path,
            trusted,
        },
    }))
}

/// The guards of an egress. `None`: the request ends here (Max-Forwards).
fn ask_egress<'r>(
    cx: &RequestContext<'_>,
    header: &ReceivedRequest<'r>,
    egress: &EgressPlan,
    moved: &mut Moved,
) -> Result<Option<Asked<'r>>, Fault> {
    let request = &header.request;
    let user = credentials::authenticate(request, egress, cx.connection.counters())?;
    moved.timing.user.clone_from(&user);
    guards::refuse_loop(request)?;
    if max_forwards::end_here(request)? {
        return Ok(None);
    }
    Ok(Some(Asked {
        client: user.as_ref().map_or(cx.client, client::of_user),
        user,
        what: What::Target(connect::target(request)?),
    }))
}

impl<'r> Asked<'r> {
    /// What the permitted request leads to.
    fn action(
        self,
        cx: &RequestContext<'_>,
        header: &ReceivedRequest<'r>,
        allowed: &Allowed,
    ) -> Action<'r> {
        match self.what {
            _ if header.is_connect() => Action::Tunnel,
            What::Path {
                target, trusted, ..
            } => match allowed.outbound().service() {
                Some(name) => Action::Service {
                    service: PoolKey::Service(name.clone()),
                    target,
                    trusted,
                },
                None => Action::Proxy { target, trusted },
            },
            What::Target(target) => Action::Target {
                origin: PoolKey::Egress {
                    generation: cx.plan.generation,
                    listener: cx.connection.settings.listener(),
                    user: self.user,
                    target,
                },
                target: header.request.path_and_query(),
            },
        }
    }

    /// Asks policy.
    fn decide(&self, cx: &RequestContext<'_>) -> Result<Allowed, Fault> {
        let own = cx.connection.live().own_addresses();
        let inquiry = Inquiry {
            plan: cx.plan,
            role: &cx.frontend.role,
            peer: cx.info.peer,
            user: self.user.as_ref(),
            own: &own,
            ask: match &self.what {
                What::Path { host, path, .. } => Ask::Request { host, path },
                What::Target(target) => Ask::Target(target),
            },
        };
        policy::decide(&inquiry).inspect_err(|_| {
            if matches!(self.what, What::Target(_)) {
                cx.connection.counters().denied.add(1);
            }
        })
    }
}

/// Policy, and the action that it permits.
async fn perform(
    cx: &RequestContext<'_>,
    header: &ReceivedRequest<'_>,
    downstream: &mut Downstream<'_>,
    timer: &mut LazyTimer,
    asked: Option<Asked<'_>>,
    moved: &mut Moved,
) -> Result<Next, Fault> {
    let Some(asked) = asked else {
        return Ok(respond(cx, header, downstream, Answer::LastHop, moved).await);
    };
    let (engine, allowed) = (cx.connection.engine(), asked.decide(cx)?);
    let (client, limits) = (asked.client, &cx.frontend.limits);
    let (origin, target, trusted) = match asked.action(cx, header, &allowed) {
        Action::Tunnel => {
            let user = moved.timing.user.clone();
            let opened = connect::open(engine, downstream, &header.request, allowed, user).await;
            return opened.map(Next::Tunnel);
        }
        Action::Proxy { target, trusted } => (None, target, Some(trusted)),
        Action::Service {
            service,
            target,
            trusted,
        } => (Some(service), target, Some(trusted)),
        Action::Target { origin, target } => {
            downstream.send_through(|| tunnel::slow_reader_guard(engine, &allowed));
            (Some(origin), Cow::Borrowed(target), None)
        }
    };
    let forwarded = trusted.map(|trusted| Forwarded {
        peer: cx.peer_text.map(IpText::as_str),
        trusted,
        proto: "http",
        request_id: header.id.as_str(),
    });
    let exchange = ExchangeRequest {
        engine,
        pool: &cx.connection.pool,
        request: header.request,
        route_state: engine.route_states.state_for(allowed.outbound()),
        client,
        allowed: &allowed,
        origin,
        limits,
        max_body: match allowed.outbound().route() {
            Some(route) => route.max_body,
            None => limits.max_body,
        },
        target: &target,
        forwarded,
        filter: response_filter(),
        scope: &cx.connection.scope,
        is_last: cx.is_last,
        begun: header.begun,
    };
    forward(&exchange, downstream, timer, moved).await
}

/// The filter that the route of a request names. No route can name one yet.
#[cfg(not(test))]
const fn response_filter() -> Option<MakeFilter> {
    None
}

#[cfg(test)]
use crate::testing::response_filter;

/// Responds to a fault if nothing was sent yet, records how the request ended, and decides about
/// the connection.
async fn conclude(
    cx: &RequestContext<'_>,
    header: &ReceivedRequest<'_>,
    downstream: &mut Downstream<'_>,
    served: Result<Next, Fault>,
    moved: &mut Moved,
) -> Next {
    let next = match served {
        // Its log line is written at its end.
        Ok(Next::Tunnel(tunnel)) if header.is_connect() => {
            cx.listener_metrics.note(200, 0, 0);
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
            let next = respond(cx, header, downstream, answer, moved).await;
            record(cx, header, moved, Some(&fault));
            return next;
        }
    };
    record(cx, header, moved, next.fault());
    next
}

/// Counts and logs a request that has ended.
fn record(
    cx: &RequestContext<'_>,
    header: &ReceivedRequest<'_>,
    moved: &Moved,
    fault: Option<&Fault>,
) {
    let phase = moved.timing.phase().word();
    let ending = fault.map_or_else(
        || Ending::done(phase),
        |fault| Ending::of_fault(fault, phase),
    );
    let request_log = RequestLog {
        context: cx.connection,
        info: cx.info,
        listener_metrics: cx.listener_metrics,
        listener: cx.frontend,
    };
    request_log.note(Some(&header.request), header.id.as_str(), moved, ending);
    // Every successful request passes here: no clock is read and nothing is formatted for a line
    // that is not enabled.
    if fault.is_none() && !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    let (method, target) = (
        peer_text(header.request.method()),
        peer_text(header.request.target()),
    );
    let (peer, listener) = (
        cx.info.peer.map(tracing::field::display),
        &*cx.connection.address,
    );
    let took_us = header.begun.elapsed().as_micros() as u64;
    match fault {
        None => tracing::debug!(
            peer, %listener, request = header.id.as_str(), status = moved.status,
            up = moved.up, down = moved.down, took_us, "{method} {target}"
        ),
        // Errors of clients are counted. One line each would let any client fill the log.
        Some(fault) if fault.who == Who::Downstream => {
            cx.connection.counters().faults.add(1);
            tracing::debug!(
                peer, %listener, request = header.id.as_str(), status = fault.status(),
                class = fault.reason.word(), up = moved.up, down = moved.down, took_us, "{method} {target}: {fault}"
            );
        }
        // Includes why it was not retried.
        Some(fault) => {
            let counters = cx.connection.counters();
            counters.faults.add(1);
            let Some(line) = counters.log_limits.fault(fault) else {
                return;
            };
            tracing::info!(
                peer, %listener, request = header.id.as_str(), status = fault.status(),
                who = fault.who.word(), class = fault.reason.word(), upstream = moved.timing.upstream.as_deref(),
                up = moved.up, down = moved.down, took_us, retries = moved.retries, not_retried = moved.timing.not_retried,
                left_out = line.left_out,
                "{method} {target}: {fault}"
            );
        }
    }
}
