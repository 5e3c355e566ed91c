//! Http1: HTTP/1 requests on one client connection, one after the other, in order.
//!
//! In:    an accepted connection of an edge, or of an egress that speaks HTTP.
//! Out:   an `Inquiry` for each request; its exchange; CONNECT and upgrades passed to a relay.
//! Never: reads the next request before the response to the last was sent, or serves a partial
//!        request.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use byway_agent::Client;
use byway_dial::{Read, peer_text};
use byway_h1::{Parsed, Request, RequestHead, TargetForm};
use tokio::time::{Instant, timeout};

use super::client;
use super::connect::{self, Tunnel};
use super::context::{Accepted, ConnectionContext, ConnectionInfo};
use super::future_pool::{self, FuturePool};
use super::request_log::RequestLog;
use crate::config::{EdgePlan, EgressPlan, FrontendPlan, LimitsPlan, Plan, Role};
use crate::exchange::answer::{self, ResponseOptions};
use crate::exchange::forward::{After, ExchangeRequest, Moved, codec_limits, forward};
use crate::exchange::head::{Forwarded, IpText, PSEUDONYM};
use crate::exchange::lazy_timer::LazyTimer;
use crate::exchange::request_id::RequestId;
use crate::exchange::{max_forwards, other_protocol, path};
use crate::fault::{Deadline, Fault, FaultKind, Who, malformed};
use crate::http::conn::Conn;
use crate::http::scratch::{Scratch, ScratchBytes};
use crate::observe::ending::Ending;
use crate::observe::metrics::ListenerMetrics;
use crate::outbound::pooled::PoolKey;
use crate::route::{Allowed, Ask, Inquiry, Outbound, policy};

/// Serves a connection of an edge.
pub fn serve_edge(
    accepted: Accepted,
    context: Arc<ConnectionContext>,
) -> impl Future<Output = ()> + Send {
    Http1Connection::new(Conn::new(accepted.stream), accepted.info, context).serve()
}

/// Serves a connection of an egress whose first bytes look like HTTP.
pub fn serve_egress(
    downstream: Conn,
    info: ConnectionInfo,
    context: Arc<ConnectionContext>,
) -> impl Future<Output = ()> + Send {
    Http1Connection::new(downstream, info, context).serve()
}

/// One client connection. While it is idle it owns nothing but its socket.
struct Http1Connection {
    downstream: Conn,
    peer: Option<SocketAddr>,
    /// The address of the peer for X-Forwarded-For.
    peer_text: Option<IpText>,
    /// The key of the client in the pool.
    client: Client,
    /// Its number.
    connection: u64,
    context: Arc<ConnectionContext>,
    /// The Plan of the last request and the listener in it.
    view: Option<(Arc<Plan>, Arc<FrontendPlan>)>,
    /// Where that listener's requests are counted.
    listener_metrics: Arc<ListenerMetrics>,
    served: u64,
    timer: LazyTimer,
}

/// The head of a request: its own copy, so that the connection's buffer is free for the body, and
/// the index over it.
struct HeadText {
    index: Scratch<RequestHead>,
    bytes: Scratch<ScratchBytes>,
}

/// A request, or what came instead.
enum NextRequest {
    Request(HeadText),
    /// The client finished, was idle for too long, or the node is draining: no response is due.
    Ended,
}

/// What to do with the connection.
enum Then {
    Continue,
    Close,
    /// Close without waiting for more from the client.
    Leave,
    Reset,
    Relay(Box<Tunnel>),
}

/// A connection with a request to serve.
struct RequestJob {
    session: Box<Http1Connection>,
    text: HeadText,
    plan: Arc<Plan>,
    listener: Arc<FrontendPlan>,
}

/// A connection whose request was served, and what to do with it.
struct Answered(Box<Http1Connection>, Then);

thread_local! {
    static FUTURES: FuturePool<RequestJob, Answered> = const { FuturePool::new() };
}

impl RequestJob {
    async fn answer(self) -> Answered {
        let Self {
            mut session,
            text,
            plan,
            listener,
        } = self;
        let then = session.answer_request(text, &plan, &listener).await;
        Answered(session, then)
    }
}

impl Http1Connection {
    fn new(downstream: Conn, info: ConnectionInfo, context: Arc<ConnectionContext>) -> Box<Self> {
        let ConnectionInfo { connection, peer } = info;
        let peer_text = peer.map(|peer| IpText::of(peer.ip()));
        Box::new(Self {
            downstream,
            peer,
            peer_text,
            client: client::of_peer(peer),
            connection,
            context,
            view: None,
            listener_metrics: Arc::default(),
            served: 0,
            timer: LazyTimer::default(),
        })
    }

    /// Serves one request after the other. Each is served in pooled memory of the worker, so that
    /// an idle connection takes little.
    async fn serve(mut self: Box<Self>) {
        let Some((_, mut listener)) = self.view() else {
            return Box::pin(self.downstream.lingering_close()).await;
        };
        loop {
            let next = self.next_request(&listener.limits).await;
            // A reload may have come while the connection waited. If its listener was removed, the
            // connection closes, and its client sends the request again.
            let Some((plan, current)) = self.view() else {
                break;
            };
            listener = current;
            let then = match next {
                Ok(NextRequest::Request(text)) => {
                    let job = RequestJob {
                        session: self,
                        text,
                        plan,
                        listener: Arc::clone(&listener),
                    };
                    let Answered(session, then) =
                        future_pool::start(&FUTURES, job, RequestJob::answer).await;
                    self = session;
                    then
                }
                Ok(NextRequest::Ended) => return Box::pin(self.downstream.fin_and_drop()).await,
                Err(fault) => self.refuse_head(&fault, &listener),
            };
            match then {
                Then::Continue => {}
                Then::Close => break,
                Then::Leave => return Box::pin(self.downstream.fin_and_drop()).await,
                Then::Reset => return,
                Then::Relay(tunnel) => {
                    let info = self.info();
                    return Box::pin(connect::relay(
                        self.downstream,
                        *tunnel,
                        &info,
                        &self.context,
                        &listener,
                    ))
                    .await;
                }
            }
        }
        Box::pin(self.downstream.lingering_close()).await;
    }

    /// The current Plan, looked up again only when it has changed; `None` once it has no such
    /// listener.
    fn view(&mut self) -> Option<(Arc<Plan>, Arc<FrontendPlan>)> {
        let current = self.context.live().peek();
        let is_current = self
            .view
            .as_ref()
            .is_some_and(|(plan, _)| Arc::ptr_eq(plan, &current));
        if !is_current {
            self.view = self.context.plan();
            if let Some((_, listener)) = &self.view {
                self.listener_metrics = self.context.worker_stats.listener_metrics(&listener.name);
            }
        }
        self.view.clone()
    }

    /// Reads up to the end of the next head.
    async fn next_request(&mut self, limits: &LimitsPlan) -> Result<NextRequest, Fault> {
        if self.downstream.unread().is_empty() && !self.first_byte(limits).await {
            return Ok(NextRequest::Ended);
        }
        let mut index = Scratch::<RequestHead>::take();
        let codec = codec_limits(limits);
        if let Some(text) = self.take_head(&mut index, &codec)? {
            return Ok(NextRequest::Request(HeadText { index, bytes: text }));
        }
        let deadline = Instant::now() + limits.head_timeout;
        loop {
            let (downstream, timer) = (&mut self.downstream, &mut self.timer);
            let read = poll_fn(|cx| match downstream.poll_fill(cx) {
                Poll::Ready(read) => Poll::Ready(Some(read)),
                Poll::Pending => timer.poll_at(cx, deadline).map(|()| None),
            });
            match read.await {
                Some(Ok(Read::Data(_))) => {}
                // The connection ended within a head: no response is due.
                Some(Ok(Read::Fin) | Err(_)) => return Ok(NextRequest::Ended),
                // Empty lines, which some clients send after a body, get no response.
                None if self
                    .downstream
                    .unread()
                    .iter()
                    .all(|byte| b"\r\n".contains(byte)) =>
                {
                    return Ok(NextRequest::Ended);
                }
                None => return Err(slow_head(limits.head_timeout)),
            }
            if let Some(text) = self.take_head(&mut index, &codec)? {
                return Ok(NextRequest::Request(HeadText { index, bytes: text }));
            }
        }
    }

    /// Waits for the first byte of a request. `false` means that none will come.
    async fn first_byte(&mut self, limits: &LimitsPlan) -> bool {
        let time_limit = if self.served == 0 {
            limits.head_timeout
        } else {
            limits.keep_alive
        };
        let deadline = Instant::now() + time_limit;
        let (downstream, timer, scope) =
            (&mut self.downstream, &mut self.timer, &self.context.scope);
        // A request that has arrived is served even while the node drains.
        let first = poll_fn(|cx| match downstream.poll_fill(cx) {
            Poll::Ready(read) => Poll::Ready(matches!(read, Ok(Read::Data(_)))),
            Poll::Pending if scope.poll_drained(cx).is_ready() => Poll::Ready(false),
            Poll::Pending => timer.poll_at(cx, deadline).map(|()| false),
        });
        first.await
    }

    /// A copy of the head, once it is complete.
    fn take_head(
        &mut self,
        index: &mut RequestHead,
        codec: &byway_h1::Limits,
    ) -> Result<Option<Scratch<ScratchBytes>>, Fault> {
        let n = match index.parse(self.downstream.unread(), codec) {
            Ok(Parsed::Complete(n)) => n,
            unfinished => {
                if let Some(fault) = other_protocol::in_request(self.downstream.unread()) {
                    return Err(self.note_malformed(fault));
                }
                unfinished
                    .map_err(|error| self.note_malformed(malformed(Who::Downstream, &error)))?;
                return Ok(None);
            }
        };
        let mut bytes = Scratch::<ScratchBytes>::take();
        bytes
            .0
            .extend_from_slice(self.downstream.unread().get(..n).unwrap_or_default());
        self.downstream.consume(n);
        Ok(Some(bytes))
    }

    fn note_malformed(&self, fault: Fault) -> Fault {
        let counters = &self.context.counters();
        counters.malformed_requests.add(1);
        if let Some(line) = counters.log_limits.malformed_requests.count() {
            tracing::info!(
                peer = self.peer.map(display), listener = %self.context.address, class = fault.class(),
                left_out = line.left_out, "malformed request: {fault}"
            );
        }
        fault
    }

    /// Responds to a malformed head. The connection closes, as no message boundary is known.
    fn refuse_head(&mut self, fault: &Fault, listener: &FrontendPlan) -> Then {
        self.context.counters().faults.add(1);
        // The error comes from the client's own bytes and names nothing behind this node.
        let in_detail = true;
        let id = RequestId::random();
        let options = ResponseOptions {
            request_id: id.as_str(),
            in_detail,
            close: true,
            head_only: false,
        };
        let mut moved = Moved::begun(Instant::now());
        moved.down = answer::fault(self.downstream.queue(), fault, &options);
        moved.status = fault.status();
        self.request_log(listener).note(
            None,
            id.as_str(),
            &moved,
            Ending::of_fault(fault, "request_head"),
        );
        Then::Close
    }

    async fn answer_request(
        &mut self,
        text: HeadText,
        plan: &Arc<Plan>,
        listener: &FrontendPlan,
    ) -> Then {
        self.served += 1;
        let request = text.index.view(&text.bytes.0);
        let head = Head {
            request,
            id: RequestId::random(),
            begun: Instant::now(),
        };
        match &listener.role {
            Role::Edge(edge) => self.answer_at_edge(&head, plan, listener, edge).await,
            Role::Egress(egress) => self.answer_at_egress(&head, plan, listener, egress).await,
            // A reload has turned the listener into a TCP forward: these bytes are not meant for
            // it.
            Role::Forward(_) => Then::Close,
            Role::Link(_) | Role::Metrics | Role::Exposed(_) | Role::Joined(_) => Then::Close,
        }
    }

    async fn answer_at_edge(
        &mut self,
        head: &Head<'_>,
        plan: &Arc<Plan>,
        listener: &FrontendPlan,
        edge: &EdgePlan,
    ) -> Then {
        let context = Arc::clone(&self.context);
        let (engine, pool) = (context.engine(), &context.pool);
        let is_last = self.is_last(listener);
        let mut moved = Moved::begun(head.begun);
        let result = async {
            let request = &head.request;
            if matches!(request.target_form(), TargetForm::Authority) {
                let detail = "CONNECT is served by an egress (byway proxy), not by an edge";
                return Err(Fault::new(
                    Who::Downstream,
                    FaultKind::MethodNotAllowed,
                    detail,
                ));
            }
            refuse_loop(request)?;
            if max_forwards::end_here(request)? {
                return Ok(self.answer_last_hop(request, listener).await);
            }
            let ip = self.peer.map(|peer| peer.ip().to_canonical());
            let trusted =
                ip.is_some_and(|ip| edge.trusted_proxies.iter().any(|net| net.contains(&ip)));
            refuse_misdirected(request, trusted)?;
            let path = path::canonical(request.path(), edge.reject_empty_segments)?;
            let target = path::target(&path, request.path(), request.path_and_query());
            let authority = text(request.host().unwrap_or_default())?;
            let own = engine.live.own();
            let inquiry = Inquiry {
                plan,
                role: &listener.role,
                peer: self.peer,
                user: None,
                own: &own,
                ask: Ask::Request {
                    host: without_port(authority),
                    path: &path,
                },
            };
            let allowed = policy::decide(&inquiry)?;
            let reported = trusted
                .then(|| client::reported(request, &edge.trusted_proxies))
                .flatten();
            let peer = self.peer_text.as_ref().map(IpText::as_str);
            let exchange = ExchangeRequest {
                engine,
                pool,
                request: *request,
                route: engine.routes.state_for(allowed.outbound()),
                client: reported.unwrap_or(self.client),
                allowed: &allowed,
                origin: exposed_origin(&allowed),
                limits: &listener.limits,
                max_body: allowed.max_body(),
                target: &target,
                forwarded: Some(Forwarded {
                    peer,
                    trusted,
                    proto: "http",
                    request_id: head.id.as_str(),
                }),
                scope: &self.context.scope,
                is_last,
                begun: head.begun,
            };
            forward(&exchange, &mut self.downstream, &mut self.timer, &mut moved).await
        }
        .await;
        self.conclude(result, head, listener, &mut moved).await
    }

    async fn answer_at_egress(
        &mut self,
        head: &Head<'_>,
        plan: &Arc<Plan>,
        listener: &FrontendPlan,
        egress: &EgressPlan,
    ) -> Then {
        let context = Arc::clone(&self.context);
        let (engine, pool) = (context.engine(), &context.pool);
        let is_last = self.is_last(listener);
        let mut moved = Moved::begun(head.begun);
        let result = async {
            let request = &head.request;
            let user = connect::authenticate(request, egress, context.counters())?;
            moved.timing.user.clone_from(&user);
            refuse_loop(request)?;
            if max_forwards::end_here(request)? {
                return Ok(EgressOutcome::After(
                    self.answer_last_hop(request, listener).await,
                ));
            }
            let target = connect::target(request)?;
            let own = engine.live.own();
            let inquiry = Inquiry {
                plan,
                role: &listener.role,
                peer: self.peer,
                user: user.as_ref(),
                own: &own,
                ask: Ask::Target(&target),
            };
            let allowed = policy::decide(&inquiry).inspect_err(|_| {
                context.counters().denied.add(1);
            })?;
            if matches!(request.target_form(), TargetForm::Authority) {
                return connect::open(engine, &mut self.downstream, request, &allowed)
                    .await
                    .map(EgressOutcome::Tunnel);
            }
            if !self.downstream.has_outflow()
                && let Some(outflow) = connect::slow_reader_guard(engine, &allowed)
            {
                self.downstream.send_through(outflow);
            }
            let client = user.as_deref().map_or(self.client, client::of_user);
            let (generation, listener_key) = (plan.generation, self.context.section.listener());
            let origin = PoolKey::Egress {
                generation,
                listener: listener_key,
                user,
                target,
            };
            let exchange = ExchangeRequest {
                engine,
                pool,
                request: *request,
                route: engine.routes.state_for(allowed.outbound()),
                client,
                allowed: &allowed,
                origin: Some(origin),
                limits: &listener.limits,
                max_body: listener.limits.max_body,
                target: request.path_and_query(),
                forwarded: None,
                scope: &self.context.scope,
                is_last,
                begun: head.begun,
            };
            forward(&exchange, &mut self.downstream, &mut self.timer, &mut moved)
                .await
                .map(EgressOutcome::After)
        }
        .await;
        match result {
            // Its line is written at its end.
            Ok(EgressOutcome::Tunnel(tunnel)) => {
                self.listener_metrics.note(200, 0, 0);
                Then::Relay(Box::new(tunnel.used_by(moved.timing.user)))
            }
            Ok(EgressOutcome::After(after)) => {
                self.conclude(Ok(after), head, listener, &mut moved).await
            }
            Err(fault) => self.conclude(Err(fault), head, listener, &mut moved).await,
        }
    }

    /// Responds to an OPTIONS on its last hop (Max-Forwards: 0).
    async fn answer_last_hop(&mut self, request: &Request<'_>, listener: &FrontendPlan) -> After {
        let close = request.framing().has_body()
            || !request.keep_alive()
            || self.is_last(listener)
            || self.context.scope.is_draining();
        max_forwards::answer(self.downstream.queue(), close);
        match (
            timeout(listener.limits.body_progress, self.downstream.flush()).await,
            close,
        ) {
            (Ok(Ok(())), true) => After::Close,
            (Ok(Ok(())), false) => After::KeepAlive,
            _ => After::Abort(Fault::new(
                Who::Downstream,
                FaultKind::ClosedEarly,
                "the client read no response",
            )),
        }
    }

    fn info(&self) -> ConnectionInfo {
        ConnectionInfo {
            connection: self.connection,
            peer: self.peer,
        }
    }

    /// Where completed requests are counted and logged.
    fn request_log<'s>(&'s self, listener: &'s FrontendPlan) -> RequestLog<'s> {
        RequestLog {
            context: &self.context,
            info: self.info(),
            listener_metrics: &self.listener_metrics,
            listener,
        }
    }

    /// Whether no request may follow this one on the connection.
    fn is_last(&self, listener: &FrontendPlan) -> bool {
        self.served >= listener.limits.requests_per_connection
    }

    /// Logs how the request ended, responds to its fault if nothing was sent yet, and decides about
    /// the connection.
    async fn conclude(
        &mut self,
        result: Result<After, Fault>,
        head: &Head<'_>,
        listener: &FrontendPlan,
        moved: &mut Moved,
    ) -> Then {
        match result {
            Ok(After::KeepAlive) => self.log(head, moved, None, listener, Then::Continue),
            Ok(After::Close) => self.log(head, moved, None, listener, Then::Close),
            Ok(After::Leave) => self.log(head, moved, None, listener, Then::Leave),
            Ok(After::Abort(fault)) => self.log(head, moved, Some(&fault), listener, Then::Reset),
            Ok(After::Switch(switched)) => {
                let then = Then::Relay(Box::new(Tunnel::switched(*switched)));
                self.log(head, moved, None, listener, then)
            }
            // The client is gone, or earlier output is still unsent: no error response can be
            // delivered.
            Err(fault)
                if fault.kind == FaultKind::ClosedEarly && fault.who == Who::Downstream
                    || self.downstream.has_queued() =>
            {
                self.log(head, moved, Some(&fault), listener, Then::Reset)
            }
            Err(fault) => self.answer_fault(fault, head, listener, moved).await,
        }
    }

    async fn answer_fault(
        &mut self,
        fault: Fault,
        head: &Head<'_>,
        listener: &FrontendPlan,
        moved: &mut Moved,
    ) -> Then {
        let request = &head.request;
        // An unread body would have to be read before the next request: if there is one, the
        // connection closes. Bytes after a CONNECT may have been sent early and be meant for the
        // far side; they are not a request.
        let unread_body = request.framing().has_body();
        let connect = matches!(request.target_form(), TargetForm::Authority);
        let close = unread_body
            || connect
            || !request.keep_alive()
            || self.is_last(listener)
            || self.context.scope.is_draining();
        let in_detail = matches!(listener.role, Role::Egress(_));
        let options = ResponseOptions {
            request_id: head.id.as_str(),
            in_detail,
            close,
            head_only: request.method() == b"HEAD",
        };
        let body_bytes = answer::fault(self.downstream.queue(), &fault, &options);
        let sent = timeout(listener.limits.body_progress, self.downstream.flush()).await;
        if let Ok(Ok(())) = sent {
            (moved.status, moved.down) = (fault.status(), body_bytes);
        }
        let then = match (sent, close) {
            (Ok(Ok(())), false) => Then::Continue,
            (Ok(Ok(())), true) => Then::Close,
            _ => Then::Reset,
        };
        self.log(head, moved, Some(&fault), listener, then)
    }

    fn log(
        &self,
        head: &Head<'_>,
        moved: &Moved,
        fault: Option<&Fault>,
        listener: &FrontendPlan,
        then: Then,
    ) -> Then {
        let phase = moved.timing.phase().word();
        let ending = fault.map_or_else(
            || Ending::done(phase),
            |fault| Ending::of_fault(fault, phase),
        );
        self.request_log(listener)
            .note(Some(&head.request), head.id.as_str(), moved, ending);
        // Every successful request passes here: no clock is read and nothing is formatted for a
        // line that is not enabled.
        if fault.is_none() && !tracing::enabled!(tracing::Level::DEBUG) {
            return then;
        }
        let (method, target) = (
            peer_text(head.request.method()),
            peer_text(head.request.target()),
        );
        let took_us = head.begun.elapsed().as_micros() as u64;
        match fault {
            None => tracing::debug!(
                peer = self.peer.map(display), listener = %self.context.address, request = head.id.as_str(), status = moved.status,
                up = moved.up, down = moved.down, took_us, "{method} {target}"
            ),
            // Errors of clients are counted. One line each would let any client fill the log.
            Some(fault) if fault.who == Who::Downstream => {
                self.context.counters().faults.add(1);
                tracing::debug!(
                    peer = self.peer.map(display), listener = %self.context.address, request = head.id.as_str(), status = fault.status(),
                    class = fault.class(), up = moved.up, down = moved.down, took_us, "{method} {target}: {fault}"
                );
            }
            // Includes why it was not retried.
            Some(fault) => {
                let counters = &self.context.counters();
                counters.faults.add(1);
                let Some(line) = counters.log_limits.fault(fault) else {
                    return then;
                };
                tracing::info!(
                    peer = self.peer.map(display), listener = %self.context.address, request = head.id.as_str(), status = fault.status(),
                    who = fault.who.word(), class = fault.class(), upstream = moved.timing.upstream.as_deref(),
                    up = moved.up, down = moved.down, took_us, retries = moved.retries, not_retried = moved.timing.not_retried,
                    left_out = line.left_out,
                    "{method} {target}: {fault}"
                );
            }
        }
        then
    }
}

/// A service behind a link has no upstreams to balance: its connections are pooled under its name.
fn exposed_origin(allowed: &Allowed) -> Option<PoolKey> {
    match allowed.outbound() {
        Outbound::Service(name) => Some(PoolKey::Service(name.clone())),
        _ => None,
    }
}

/// A request, with what the log needs.
struct Head<'a> {
    request: Request<'a>,
    id: RequestId,
    begun: Instant,
}

/// The outcome of a request at an egress.
enum EgressOutcome {
    After(After),
    Tunnel(Box<Tunnel>),
}

/// An exit that leads to itself, or two that lead to each other, would use up all connections.
const MOST_HOPS: usize = 16;

fn refuse_loop(request: &Request<'_>) -> Result<(), Fault> {
    let ours = |value: &[u8]| {
        value
            .split(|b| *b == b',')
            .filter(|hop| hop.trim_ascii_end().ends_with(PSEUDONYM.as_bytes()))
            .count()
    };
    let hops: usize = request.fields_named("Via").map(ours).sum();
    match hops < MOST_HOPS {
        true => Ok(()),
        false => Err(Fault::new(
            Who::Downstream,
            FaultKind::Loop,
            "the request has passed through here 16 times: a loop",
        )),
    }
}

/// A target in absolute form has a scheme. In clear text that must be `http`; a trusted proxy may
/// have terminated TLS in front of this node.
fn refuse_misdirected(request: &Request<'_>, trusted: bool) -> Result<(), Fault> {
    match request.target_form() {
        TargetForm::Absolute { scheme, .. }
            if !scheme.eq_ignore_ascii_case(b"http") && !trusted =>
        {
            let detail = "the target has a scheme other than http, and this connection is not TLS: request it by its path";
            Err(Fault::new(Who::Downstream, FaultKind::Misdirected, detail))
        }
        _ => Ok(()),
    }
}

fn slow_head(limit: Duration) -> Fault {
    let detail = format!("the request head was not complete within head_timeout, {limit:?}");
    Fault::new(
        Who::Downstream,
        FaultKind::Deadline(Deadline::RequestHead),
        detail,
    )
}

fn text(bytes: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(bytes).map_err(|_| {
        Fault::new(
            Who::Downstream,
            FaultKind::Malformed("bad-host"),
            "the host is not ASCII",
        )
    })
}

/// The host of an authority: the part before the last colon that is not inside brackets.
pub fn without_port(authority: &str) -> &str {
    match authority.rfind(':') {
        Some(colon) if !authority.get(colon..).unwrap_or_default().contains(']') => {
            authority.get(..colon).unwrap_or(authority)
        }
        _ => authority,
    }
}
