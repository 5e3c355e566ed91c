//! Exchange request: a request that is forwarded, what was decided about it, and the record of it.
//!
//! Never: opens a connection, or waits.

use std::sync::Arc;

use byway_head::{Framed, Request};
use byway_http::filter::MakeFilter;
use byway_pool::Client;
use byway_ws::handshake::ClientHandshake;
use tokio::time::Instant;

use super::body::BodyTransfer;
use super::head::{self, RequestRules};
use super::head_out::Head;
use super::retry::{Failed, Tries, is_repeatable, kept_bytes};
use super::websocket;
use crate::config::{HostMode, Http2Mode, LimitsPlan};
use crate::fault::{Fault, Who, malformed};
use crate::observe::counters::Counters;
use crate::observe::request_report::Reports;
use crate::observe::timing::Timing;
use crate::outbound::Engine;
use crate::outbound::pooled::{Freshness, PoolKey, UpstreamPool};
use crate::outbound::retry_budget::RetryBudget;
use crate::outbound::route_states::RouteState;
use crate::route::{Allowed, Outbound};
use crate::runtime::scope::Scope;

/// A request in progress, with everything that was decided about it.
pub struct ExchangeRequest<'a> {
    /// What opens and keeps connections.
    pub engine: &'a Engine,
    /// HTTP connections to upstreams, this worker's part of them.
    pub pool: &'a UpstreamPool,
    /// The head.
    pub request: Request<'a>,
    /// The client that sent it, where clients share an upstream.
    pub client: Client,
    /// What its route knows of earlier requests.
    pub route_state: Arc<RouteState>,
    /// How policy permitted it.
    pub allowed: &'a Allowed,
    /// The pool's key of the only destination; the upstreams of a route have their own.
    pub origin: Option<&'a PoolKey>,
    /// The limits of the listener.
    pub limits: &'a LimitsPlan,
    /// The maximum size of the body, by route, edge or listener.
    pub max_body: Option<u64>,
    /// The target in the form sent to the upstream.
    pub target: &'a [u8],
    /// What the upstream learns about the client (edge).
    pub forwarded: Option<&'a head::Forwarded<'a>>,
    /// Makes what changes the body of the response, if the route names a filter.
    pub filter: Option<MakeFilter>,
    /// The scope of the downstream connection. Once it drains, no request follows this one.
    pub scope: &'a Scope,
    /// Whether the downstream connection has reached its limit of requests.
    pub is_last: bool,
    /// When the request was received.
    pub begun: Instant,
}

/// What is recorded of a request in progress, for log and metrics.
pub struct RequestRecord {
    /// Bytes of the request's body.
    pub up: u64,
    /// Bytes of the response's body.
    pub down: u64,
    /// The status that was passed on; 0 for none.
    pub status: u16,
    /// Number of retries.
    pub retries: u32,
    /// Its phases, and where it went.
    pub timing: Timing,
    /// Where else it is reported: to the agent of the service that it was last sent to.
    pub reports: Option<Arc<Reports>>,
}

impl RequestRecord {
    /// The initial state of a request whose head was complete at `begun`.
    pub const fn begun(begun: Instant) -> Self {
        Self {
            up: 0,
            down: 0,
            status: 0,
            retries: 0,
            timing: Timing::begun(begun),
            reports: None,
        }
    }
}

impl ExchangeRequest<'_> {
    /// Whether the request may be sent a second time without harm, and is certain to be available
    /// whole.
    pub(super) fn is_safe_to_retry(&self) -> bool {
        let plan = &self.allowed.plan().retry;
        let whole = match self.request.framing() {
            Framed::None => true,
            Framed::Length(length) => length <= plan.replay as u64,
            Framed::Chunked | Framed::UntilClose => false,
        };
        whole && plan.attempts > 0 && is_repeatable(&self.request)
    }

    pub(super) fn upload(&self) -> BodyTransfer {
        let route = self.allowed.outbound().route();
        let may_be_refused = route.is_some_and(|route| route.settings.h2 != Http2Mode::Never);
        let kept = kept_bytes(&self.request, &self.allowed.plan().retry, may_be_refused);
        BodyTransfer::new(self.max_body)
            .without_aliases(self.forwarded.is_some())
            .keeping(kept)
    }

    /// Decides about a retry, and records a refusal.
    pub(super) fn decide_retry(
        &self,
        tries: &mut Tries<'_>,
        failed: Failed,
        record: &mut RequestRecord,
    ) -> bool {
        match tries.again(failed, Instant::now(), self.budget()) {
            Ok(()) => true,
            Err(why) => {
                self.counters().not_retried(why).add(1);
                record.timing.not_retried = Some(why.word());
                false
            }
        }
    }

    pub(super) fn budget(&self) -> &RetryBudget {
        &self.route_state.retries
    }

    /// What the node counts.
    pub(super) fn counters(&self) -> &Counters {
        &self.engine.telemetry.counters
    }

    /// An idle connection behind a link may be dead without notice. A request that may not be
    /// retried gets a new one, which the far side has to accept before a byte is sent: an outage is
    /// then a wait and not a failure.
    pub(super) fn freshness(&self) -> Freshness {
        match self.allowed.outbound().is_behind_link() && !self.is_safe_to_retry() {
            true => Freshness::New,
            false => Freshness::Any,
        }
    }

    /// The protocol to upgrade to: not together with a body, and never h2c (its requests would
    /// bypass every check here). An egress upgrades no extended CONNECT: programs use CONNECT there.
    pub(super) fn upgrade(&self) -> Option<&[u8]> {
        if self.request.version().has_streams() && self.forwarded.is_none() {
            return None;
        }
        let protocol = self.request.upgrade()?;
        let h2c = protocol
            .split(|b| *b == b',')
            .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"h2c"));
        (self.request.framing() == Framed::None && !h2c).then_some(protocol)
    }

    /// A server may only switch to a requested protocol (RFC 9110 section 7.8).
    pub(super) fn asks_to_upgrade_to(&self, protocol: &[u8]) -> bool {
        let requested = self.upgrade().unwrap_or_default();
        requested
            .split(|b| *b == b',')
            .any(|one| one.trim_ascii().eq_ignore_ascii_case(protocol))
    }

    /// The handshake that is made for a client that begins a WebSocket by an extended CONNECT.
    pub(super) fn websocket(&self) -> Option<ClientHandshake<'static>> {
        websocket::handshake(&self.request, self.forwarded?.request_id)
    }

    /// Whether the request is an extended CONNECT, whose client takes any 2xx for the beginning of a
    /// tunnel.
    pub(super) fn is_extended_connect(&self) -> bool {
        self.request.version().has_streams() && self.request.upgrade().is_some()
    }

    pub(super) fn write_request(
        &self,
        out: &mut Head<'_>,
        authority: Option<&str>,
    ) -> Result<(), Fault> {
        let own_host = match self.allowed.outbound() {
            Outbound::Pooled(route) => route.settings.host == HostMode::Upstream,
            Outbound::Service(_) => true,
            Outbound::Direct(_) | Outbound::Via(..) | Outbound::Exit(..) => false,
        };
        let (own, requested) = (authority.map(str::as_bytes), self.request.host());
        let host = match own_host {
            true => own.or(requested),
            false => requested.or(own),
        };
        let handshake = self.websocket();
        let rules = RequestRules {
            websocket_key: handshake.as_ref().map(ClientHandshake::key),
            target: self.target,
            host: host.unwrap_or_default(),
            forwarded: self.forwarded.copied(),
            upgrade: self.upgrade(),
            te_trailers: out.frames_trailers(),
        };
        head::forward_request(out, &self.request, &rules)
            .map_err(|error| malformed(Who::Downstream, &error))
    }
}
