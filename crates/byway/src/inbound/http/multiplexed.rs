//! Multiplexed: what the requests of one client connection have in common, where each has a stream
//! of its own: HTTP/2 and HTTP/3.
//!
//! In:    a connection, and requests that cannot be read.
//! Out:   what the pipeline needs for a request; answers, counts and lines for the unreadable ones.
//! Never: depends on the version.

use std::cell::RefCell;
use std::sync::Arc;

use byway_dial::{Pipe, Stream};
use byway_head::Malformed;
use byway_http::LazyTimer;
use byway_pool::Client;
use tokio::time::{Instant, timeout};

use super::super::context::{ConnectionContext, ConnectionInfo};
use super::super::tunnel;
use super::client;
use super::request::{self, RequestContext};
use super::request_log::RequestLog;
use crate::config::{FrontendPlan, Plan};
use crate::exchange::answer::{self, Answer, ResponseOptions};
use crate::exchange::downstream::Downstream;
use crate::exchange::exchange_request::RequestRecord;
use crate::exchange::head::IpText;
use crate::exchange::next::Next;
use crate::exchange::request_id::RequestId;
use crate::fault::{Fault, Who, malformed};
use crate::observe::ending::Ending;
use crate::observe::log_limit::LogLimit;
use crate::observe::metrics::ListenerMetrics;
use crate::outbound::tunnel::Tunnel;

/// What the streams of a connection have in common.
pub(super) struct Common {
    pub(super) context: Arc<ConnectionContext>,
    pub(super) info: ConnectionInfo,
    /// The address of the peer for X-Forwarded-For.
    peer_text: Option<IpText>,
    /// The key of the client in the pool.
    client: Client,
}

/// What the next stream of a connection needs.
pub(super) struct Streams {
    pub(super) common: Arc<Common>,
    pub(super) view: Arc<View>,
    served: u64,
}

/// What one stream needs.
pub(super) struct StreamContext {
    pub(super) common: Arc<Common>,
    pub(super) view: Arc<View>,
    pub(super) timer: LazyTimer,
    /// The connection takes no more.
    pub(super) is_last: bool,
}

/// Timers of streams that have ended, for the next ones of their connection.
#[derive(Default)]
pub(super) struct Timers(RefCell<Vec<LazyTimer>>);

/// How many are kept.
const KEPT_TIMERS: usize = 8;

impl Timers {
    pub(super) fn take(&self) -> LazyTimer {
        self.0.borrow_mut().pop().unwrap_or_default()
    }

    pub(super) fn keep(&self, timer: LazyTimer) {
        let mut timers = self.0.borrow_mut();
        if timers.len() < KEPT_TIMERS {
            timers.push(timer);
        }
    }
}

impl Streams {
    pub(super) fn new(view: View, info: ConnectionInfo, context: Arc<ConnectionContext>) -> Self {
        Self {
            common: Arc::new(Common::new(info, context)),
            view: Arc::new(view),
            served: 0,
        }
    }

    /// What a new stream needs, by the Plan in force; `None` once that has no such listener.
    pub(super) fn next(&mut self, timer: LazyTimer) -> Option<StreamContext> {
        if !self.common.follow_reload(&mut self.view) {
            return None;
        }
        self.served += 1;
        Some(StreamContext {
            common: Arc::clone(&self.common),
            view: Arc::clone(&self.view),
            timer,
            is_last: self.served >= self.view.frontend.limits.requests_per_connection,
        })
    }
}

/// A Plan, and the listener in it.
pub(super) struct View {
    pub(super) plan: Arc<Plan>,
    pub(super) frontend: Arc<FrontendPlan>,
    listener_metrics: Arc<ListenerMetrics>,
}

impl View {
    /// Of the Plan in force; `None` if that has no such listener.
    pub(super) fn of(context: &ConnectionContext) -> Option<Self> {
        let (plan, frontend) = context.plan()?;
        let listener_metrics = context.worker_stats.listener_metrics(&frontend.name);
        Some(Self {
            plan,
            frontend,
            listener_metrics,
        })
    }
}

impl Common {
    /// Logs that the connection was closed, since its client broke the protocol or cost too much.
    pub(super) fn log_closed(&self, limit: &LogLimit, version: &str, code: &str, reason: &str) {
        if let Some(line) = limit.count() {
            tracing::info!(
                peer = self.info.peer.map(tracing::field::display), listener = %self.context.address,
                code, left_out = line.left_out, "an {version} connection was closed: {reason}"
            );
        }
    }

    /// Of a connection.
    pub(super) fn new(info: ConnectionInfo, context: Arc<ConnectionContext>) -> Self {
        Self {
            peer_text: info.peer.map(|peer| IpText::of(peer.ip())),
            client: client::of_peer(info.peer),
            info,
            context,
        }
    }

    /// Takes the Plan in force, if it is another one. False once it has no such listener.
    pub(super) fn follow_reload(&self, view: &mut Arc<View>) -> bool {
        if Arc::ptr_eq(&view.plan, &self.context.live().peek()) {
            return true;
        }
        let Some(newer) = View::of(&self.context) else {
            return false;
        };
        *view = Arc::new(newer);
        true
    }

    /// What the pipeline needs for a request.
    pub(super) fn request_context<'a>(
        &'a self,
        view: &'a View,
        is_last: bool,
    ) -> RequestContext<'a> {
        RequestContext {
            connection: &self.context,
            plan: &view.plan,
            frontend: &view.frontend,
            info: &self.info,
            peer_text: self.peer_text.as_ref(),
            client: self.client,
            listener_metrics: &view.listener_metrics,
            is_last,
        }
    }

    /// Counts and logs a request that was reset, since it is malformed.
    pub(super) fn note_malformed(&self, error: &Malformed, view: &View) {
        let fault = malformed(Who::Downstream, error);
        self.log_malformed(&fault);
        let record = RequestRecord::begun(Instant::now());
        self.note_unreadable(view, RequestId::random().as_str(), &record, &fault);
    }

    /// Responds to a head that is over a limit.
    pub(super) async fn refuse_head(
        &self,
        mut downstream: Downstream<'_>,
        fault: &Fault,
        view: &View,
    ) -> Next {
        self.log_malformed(fault);
        let id = RequestId::random();
        let options = ResponseOptions {
            request_id: id.as_str(),
            in_detail: true,
            close: false,
            head_only: false,
            hsts_seconds: request::hsts_seconds(&view.frontend, &self.info),
            is_grpc: false,
        };
        let mut record = RequestRecord::begun(Instant::now());
        record.down = answer::queue(&mut downstream, &Answer::Fault(fault), &options);
        record.status = fault.status();
        // Without a reader the deadlines of the connection end it.
        let _ = timeout(view.frontend.limits.body_progress, downstream.flush()).await;
        self.note_unreadable(view, id.as_str(), &record, fault);
        Next::Close
    }

    /// Relays a stream that is a tunnel.
    pub(super) async fn relay(&self, stream: Box<dyn Pipe>, tunnel: Tunnel, view: &View) {
        tunnel::relay(
            Stream::other(stream),
            Vec::new(),
            tunnel,
            &self.info,
            &self.context,
            &view.frontend,
        )
        .await;
    }

    fn log_malformed(&self, fault: &Fault) {
        let counters = self.context.counters();
        counters.malformed_requests.add(1);
        if let Some(line) = counters.log_limits.malformed_requests.count() {
            tracing::info!(
                peer = self.info.peer.map(tracing::field::display), listener = %self.context.address,
                class = fault.reason.word(), left_out = line.left_out, "malformed request: {fault}"
            );
        }
    }

    /// Records a request without a head.
    fn note_unreadable(&self, view: &View, id: &str, record: &RequestRecord, fault: &Fault) {
        let request_log = RequestLog {
            context: &self.context,
            info: &self.info,
            listener_metrics: &view.listener_metrics,
            frontend: &view.frontend,
        };
        request_log.note(None, id, record, Ending::of_fault(fault, "request_head"));
    }
}
