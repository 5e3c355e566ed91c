//! Forward: carries one request: leases a connection, sends the request, returns the response and
//! the connection; retries if that fails before anything came back.
//!
//! In:    a parsed request that policy allowed, and the downstream connection that it came on.
//! Out:   what to do with the downstream connection; or the fault to respond with, if nothing was
//!        sent downstream yet.
//! Never: dials for a body that is announced as too large, or decides about retries: `retry` does.
//!        (`attempt` is one try.)

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use byway_head::{Framed, HeadOut, Request};
use byway_http::LazyTimer;
use byway_http::filter::MakeFilter;
use byway_pool::{Client, Pool};
use tokio::time::Instant;

use super::attempt::{Attempt, Destination};
use super::body::BodyTransfer;
use super::client_gone::unless_gone;
use super::connection_options::refuse_end_to_end;
use super::downstream::Downstream;
use super::failure::AttemptFailure;
use super::head::{self, RequestRules};
use super::next::Next;
use super::retry::{self, Failed, Tries, is_repeatable, kept_bytes};
use super::upstream::Upstream;
use crate::config::{HostMode, LimitsPlan};
use crate::fault::{Fault, Reason, Who, malformed};
use crate::observe::counters::Counters;
use crate::observe::request_report::Reports;
use crate::observe::timing::{Phase, Timing};
use crate::outbound::Engine;
use crate::outbound::balance::Walk;
use crate::outbound::pooled::{
    self, Borrowed, Freshness, PoolKey, Want, is_worth_another_upstream,
};
use crate::outbound::retry_budget::RetryBudget;
use crate::outbound::route_states::RouteState;
use crate::outbound::upstream_conn::UpstreamConn;
use crate::route::{Allowed, Outbound};
use crate::runtime::scope::Scope;

/// A request in progress, with everything that was decided about it.
pub struct ExchangeRequest<'a> {
    /// What opens and keeps connections.
    pub engine: &'a Engine,
    /// HTTP connections to upstreams, this worker's part of them.
    pub pool: &'a Pool<PoolKey, UpstreamConn>,
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

/// Bytes moved, and timing, for the log.
pub struct Moved {
    /// Of the request's body.
    pub up: u64,
    /// Of the response's body.
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

impl Moved {
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

/// Sends the request to its upstream and the response back.
///
/// # Errors
/// A fault before anything was sent downstream: the caller responds to it.
///
/// # Cancel safety
/// Not cancel safe: a cancelled exchange leaves a partial message. Drop the downstream connection
/// with it.
pub async fn forward(
    exchange: &ExchangeRequest<'_>,
    downstream: &mut Downstream<'_>,
    timer: &mut LazyTimer,
    moved: &mut Moved,
) -> Result<Next, Fault> {
    refuse_large_body(exchange)?;
    let forwarding_is_ours = exchange
        .forwarded
        .is_some_and(|forwarded| !forwarded.trusted);
    refuse_end_to_end(&exchange.request, forwarding_is_ours)?;
    gather_short_body(exchange, downstream, timer).await?;
    let mut upload = exchange.upload();
    let mut selection = exchange.selection();
    let plan = exchange.allowed.plan();
    let mut tries = Tries::new(
        &plan.retry,
        selection.upstreams,
        exchange.begun + plan.pool.queue_wait + plan.dial.connect_timeout,
    );
    exchange.budget().note_request();
    loop {
        let borrowed = {
            let borrowing = pin!(exchange.borrow(&mut selection, &mut moved.timing));
            unless_gone(|cx| downstream.poll_broken(cx), borrowing).await
        };
        let failure = match borrowed {
            Ok((upstream, to)) => {
                moved.timing.connected(upstream.reused());
                moved.reports = upstream.reports().cloned();
                let mut attempt = Attempt::new(exchange, &mut upload, &upstream, downstream);
                match attempt
                    .run(upstream, to, downstream, &mut tries, timer, moved)
                    .await
                {
                    Ok(next) => return Ok(next),
                    Err(failure) => failure,
                }
            }
            Err(fault) if is_worth_another_upstream(&fault) => AttemptFailure::unreached(fault),
            Err(fault) => return Err(fault),
        };
        if failure.fault.who != Who::Upstream {
            return Err(failure.fault);
        }
        if !failure.granted
            && !exchange.decide_retry(&mut tries, failure.retry_input(exchange, &upload), moved)
        {
            return Err(failure.fault);
        }
        tracing::debug!(
            outcome = retry::word(failure.outcome),
            "retrying: {}",
            failure.fault
        );
        exchange.counters().retried(failure.outcome).add(1);
        moved.retries += 1;
        moved.timing.retried = true;
        moved.timing.enter(Phase::Queue);
        if failure.connected && !failure.granted {
            selection.fresh = Freshness::New;
        }
    }
}

/// Where the next connection comes from.
struct Selection<'a> {
    /// Over the upstreams of a route. Without a route there is one destination.
    walk: Option<Walk<'a>>,
    upstreams: usize,
    fresh: Freshness,
}

/// Waits a moment for a body of known length before a connection is leased for it, so that a short
/// body that arrives in pieces occupies none meanwhile. Any other request proceeds as soon as its
/// head is complete.
async fn gather_short_body(
    exchange: &ExchangeRequest<'_>,
    downstream: &mut Downstream<'_>,
    timer: &mut LazyTimer,
) -> Result<(), Fault> {
    let Framed::Length(length) = exchange.request.framing() else {
        return Ok(());
    };
    let enough = usize::try_from(length)
        .unwrap_or(usize::MAX)
        .min(GATHERED_BYTES);
    if exchange.request.expects_continue() {
        return Ok(());
    }
    let mut deadline = None;
    poll_fn(|cx| match downstream.poll_gathered(cx, enough) {
        Poll::Ready(gathered) => Poll::Ready(gathered.map_err(|_| {
            let detail = "the client closed within its request body";
            Fault::new(Who::Downstream, Reason::ClosedEarly, detail)
        })),
        Poll::Pending => {
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + GATHERING);
            timer.poll_at(cx, deadline).map(Ok)
        }
    })
    .await
}

/// How much of a body is waited for, and for how long, before a connection is leased.
const GATHERED_BYTES: usize = 64 * 1024;
const GATHERING: Duration = Duration::from_millis(50);

/// Refuses a body that is announced as too large before anything is dialled, and before any 100
/// (Expect).
fn refuse_large_body(exchange: &ExchangeRequest<'_>) -> Result<(), Fault> {
    match (exchange.request.framing(), exchange.max_body) {
        (Framed::Length(length), Some(most)) if length > most => Err(body_too_large(most)),
        _ => Ok(()),
    }
}

pub(super) fn body_too_large(most: u64) -> Fault {
    Fault::new(
        Who::Downstream,
        Reason::BodyTooLarge,
        format!("the request body is larger than max_body, {most} bytes"),
    )
}

impl ExchangeRequest<'_> {
    /// Whether the request may be sent a second time without harm, and is certain to be available
    /// whole.
    fn is_safe_to_retry(&self) -> bool {
        let plan = &self.allowed.plan().retry;
        let whole = match self.request.framing() {
            Framed::None => true,
            Framed::Length(length) => length <= plan.replay as u64,
            Framed::Chunked | Framed::UntilClose => false,
        };
        whole && plan.attempts > 0 && is_repeatable(&self.request)
    }

    fn upload(&self) -> BodyTransfer {
        let kept = kept_bytes(&self.request, &self.allowed.plan().retry);
        BodyTransfer::new(self.max_body)
            .without_aliases(self.forwarded.is_some())
            .keeping(kept)
    }

    fn selection(&self) -> Selection<'_> {
        let route = self.allowed.outbound().route();
        Selection {
            walk: route.map(|route| Walk::over(route, &self.route_state)),
            upstreams: route.map_or(1, |route| route.upstreams.len()),
            fresh: self.freshness(),
        }
    }

    /// Decides about a retry, and records a refusal.
    pub(super) fn decide_retry(
        &self,
        tries: &mut Tries<'_>,
        failed: Failed,
        moved: &mut Moved,
    ) -> bool {
        match tries.again(failed, Instant::now(), self.budget()) {
            Ok(()) => true,
            Err(why) => {
                self.counters().not_retried(why).add(1);
                moved.timing.not_retried = Some(why.word());
                false
            }
        }
    }

    fn budget(&self) -> &RetryBudget {
        &self.route_state.retries
    }

    /// What the node counts.
    pub(super) fn counters(&self) -> &Counters {
        &self.engine.telemetry.counters
    }

    /// An idle connection behind a link may be dead without notice. A request that may not be
    /// retried gets a new one, which the far side has to accept before a byte is sent: an outage is
    /// then a wait and not a failure.
    fn freshness(&self) -> Freshness {
        match self.allowed.outbound().is_behind_link() && !self.is_safe_to_retry() {
            true => Freshness::New,
            false => Freshness::Any,
        }
    }

    async fn borrow(
        &self,
        selection: &mut Selection<'_>,
        timing: &mut Timing,
    ) -> Result<(Upstream, Destination), Fault> {
        let want = Want {
            fresh: selection.fresh,
            upgrade: self.upgrade().is_some(),
            client: self.client,
        };
        #[cfg(test)]
        if let Some(stream) = super::double::take_upstream() {
            let to = Destination {
                authority: "upstream".into(),
                slot: None,
                single_use: false,
            };
            return Ok((Upstream::Double(stream), to));
        }
        let Borrowed {
            lease,
            authority,
            slot,
            single_use,
        } = match (&mut selection.walk, self.origin) {
            (Some(walk), _) => {
                pooled::lease(self.engine, self.pool, walk, self.allowed, want, timing).await?
            }
            (None, Some(origin)) => {
                pooled::lease_single(self.engine, self.pool, origin, self.allowed, want, timing)
                    .await?
            }
            (None, None) => {
                let detail = "an exchange without a route and without an origin";
                return Err(Fault::new(Who::Us, Reason::Internal, detail));
            }
        };
        let to = Destination {
            authority,
            slot,
            single_use,
        };
        Ok((Upstream::h1(lease), to))
    }

    /// The protocol to upgrade to: not together with a body, and never h2c (its requests would
    /// bypass every check here).
    pub(super) fn upgrade(&self) -> Option<&[u8]> {
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

    pub(super) fn write_request(
        &self,
        out: &mut impl HeadOut,
        authority: &Arc<str>,
    ) -> Result<(), Fault> {
        let own_host = match self.allowed.outbound() {
            Outbound::Pooled(route) => route.settings.host == HostMode::Upstream,
            Outbound::Service(_) => !authority.is_empty(),
            Outbound::Direct(_) | Outbound::Via(..) | Outbound::Exit(..) => false,
        };
        let host = match (own_host, self.request.host()) {
            (false, Some(host)) => host,
            _ => authority.as_bytes(),
        };
        let rules = RequestRules {
            target: self.target,
            host,
            forwarded: self.forwarded.copied(),
            upgrade: self.upgrade(),
        };
        head::forward_request(out, &self.request, &rules)
            .map_err(|error| malformed(Who::Downstream, &error))
    }
}

/// The codec limits from the listener limits.
pub fn codec_limits(limits: &LimitsPlan) -> byway_head::Limits {
    byway_head::Limits {
        head_bytes: limits.head_bytes,
        fields: limits.head_fields,
        ..byway_head::Limits::default()
    }
}
