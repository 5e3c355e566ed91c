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
use std::task::Poll;
use std::time::Duration;

use byway_head::Framed;
use byway_http::LazyTimer;
use tokio::time::Instant;

use super::attempt::Attempt;
use super::client_gone::unless_gone;
use super::connection_options::refuse_end_to_end;
use super::downstream::Downstream;
use super::exchange_request::{ExchangeRequest, RequestRecord};
use super::failure::{AttemptFailure, body_too_large};
use super::next::Next;
use super::retry::{self, Tries};
use super::upstream::Upstream;
use crate::fault::{Fault, Reason, Who};
use crate::observe::timing::Phase;
use crate::outbound::balance::Walk;
use crate::outbound::pooled::{
    self, Borrowed, Destination, Freshness, Want, is_worth_another_upstream,
};

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
    record: &mut RequestRecord,
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
        exchange.upstreams(),
        exchange.begun + plan.pool.queue_wait + plan.dial.connect_timeout,
    );
    exchange.budget().note_request();
    loop {
        let borrowed = {
            let borrowing = pin!(exchange.borrow(&mut selection, record));
            unless_gone(|cx| downstream.poll_broken(cx), borrowing).await
        };
        let failure = match borrowed {
            Ok((upstream, to)) => {
                record.timing.connected(upstream.reused());
                record.reports = upstream.reports().cloned();
                let mut attempt = Attempt::new(exchange, &mut upload, &upstream, downstream);
                match attempt
                    .run(upstream, to, downstream, &mut tries, timer, record)
                    .await
                {
                    Ok(next) => return Ok(next),
                    Err(failure) => failure,
                }
            }
            Err(fault) if is_worth_another_upstream(&fault) => AttemptFailure::unreached(fault),
            Err(fault) => return Err(fault),
        };
        if !failure.fault.is_of_far_side() {
            return Err(failure.fault);
        }
        if !failure.granted
            && !exchange.decide_retry(&mut tries, failure.retry_input(exchange, &upload), record)
        {
            return Err(failure.fault);
        }
        tracing::debug!(
            outcome = retry::word(failure.outcome),
            "retrying: {}",
            failure.fault
        );
        exchange.counters().retried(failure.outcome).add(1);
        record.retries += 1;
        record.timing.retried = true;
        record.timing.enter(Phase::Queue);
        if failure.connected && !failure.granted {
            selection.fresh = Freshness::New;
        }
    }
}

/// Where the next connection comes from.
struct Selection<'a> {
    /// Over the upstreams of a route. Without a route there is one destination.
    walk: Option<Walk<'a>>,
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

impl ExchangeRequest<'_> {
    /// How many there are. Without a route there is one destination.
    fn upstreams(&self) -> usize {
        let route = self.allowed.outbound().route();
        route.map_or(1, |route| route.upstreams.len())
    }

    fn selection(&self) -> Selection<'_> {
        let route = self.allowed.outbound().route();
        Selection {
            walk: route.map(|route| Walk::over(route, &self.route_state)),
            fresh: self.freshness(),
        }
    }

    async fn borrow(
        &self,
        selection: &mut Selection<'_>,
        record: &mut RequestRecord,
    ) -> Result<(Upstream, Destination), Fault> {
        let want = Want {
            fresh: selection.fresh,
            upgrade: self.upgrade().is_some(),
            on_stream: self.request.version().has_streams(),
            client: self.client,
            scope: self.scope,
        };
        #[cfg(test)]
        if let Some(upstream) = super::double::take_upstream() {
            return Ok(upstream);
        }
        let Borrowed { lease, destination } = match (&mut selection.walk, self.origin) {
            (Some(walk), _) => {
                pooled::lease(
                    self.engine,
                    self.pool,
                    walk,
                    self.allowed,
                    &want,
                    &mut record.timing,
                )
                .await?
            }
            (None, Some(origin)) => {
                pooled::lease_single(
                    self.engine,
                    self.pool,
                    origin,
                    self.allowed,
                    &want,
                    &mut record.timing,
                )
                .await?
            }
            (None, None) => {
                let detail = "an exchange without a route and without an origin";
                return Err(Fault::new(Who::Us, Reason::Internal, detail));
            }
        };
        Ok((Upstream::new(lease), destination))
    }
}
