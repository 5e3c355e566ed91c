//! Forward: the story of one request: borrow a connection, send it, bring the response back, give
//! the connection back; and
//!          if that fails before anything came back, again.
//!
//! In:    a parsed request that policy allowed, and the downstream connection that it came on.
//! Out:   what becomes of the downstream connection; or the fault to answer with, if nothing was
//!        sent downstream yet.
//! Never: dials for a body that is announced as too large, or decides about retries: `retry` does.
//!        (`attempt` is one try.)

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use byway_agent::{Client, Pool};
use byway_dial::{Read, Stream};
use byway_h1::{Framed, Request};
use tokio::time::Instant;

use super::alarm::Alarm;
use super::attempt::Attempt;
use super::body::Passage;
use super::budget::Budget;
use super::conn::Conn;
use super::departure::unless_gone;
use super::failure::Failure;
use super::head::{self, RequestRules};
use super::listed::refuse_end_to_end;
use super::retry::{Failed, Tries, is_repeatable, kept_bytes};
use crate::config::{HostMode, LimitsPlan};
use crate::fault::{Fault, Kind, Who, malformed};
use crate::link::report::Reports;
use crate::observe::course::{Course, Stage};
use crate::outbound::balance::Walk;
use crate::outbound::pooled::{self, Borrowed, Freshness, Origin, Want, is_worth_another_upstream};
use crate::outbound::upgrades::Slot;
use crate::route::{Allowed, Outbound};
use crate::scope::Scope;
use crate::shared::Shared;

/// A request on its way, with all that was decided about it.
pub struct Asked<'a> {
    /// What the node shares.
    pub shared: &'a Shared,
    /// HTTP connections to upstreams, this worker's part of them.
    pub pool: &'a Pool<Origin, Conn>,
    /// The head.
    pub request: Request<'a>,
    /// The client it is for, where clients share an upstream.
    pub client: Client,
    /// How policy permitted it.
    pub allowed: &'a Allowed,
    /// The pool's key, at an egress; an edge's key is its upstream.
    pub origin: Option<Origin>,
    /// The limits of the listener.
    pub limits: &'a LimitsPlan,
    /// The most bytes of body, by route, edge or listener.
    pub max_body: Option<u64>,
    /// The target in the form the upstream gets it.
    pub target: &'a [u8],
    /// What the upstream is told about the downstream (edge).
    pub forwarded: Option<head::Forwarded<'a>>,
    /// What the downstream connection belongs to; once it drains, no request follows this one.
    pub scope: &'a Scope,
    /// Whether the downstream connection has carried as many requests as it may.
    pub is_last: bool,
    /// When the request had come.
    pub begun: Instant,
}

/// What becomes of the downstream connection.
pub enum After {
    /// The next request may come.
    KeepAlive,
    /// Everything was said; close in order.
    Close,
    /// The same, and the client has said that nothing more comes from it.
    Leave,
    /// The response was cut: only a reset tells the truth.
    Abort(Fault),
    /// The upstream has switched protocols: relay the rest.
    Switch(Box<Switched>),
}

/// The upstream side of a tunnel that a 101 opened.
pub struct Switched {
    /// The upstream's stream.
    pub stream: Stream,
    /// What the upstream has sent behind its 101.
    pub early: Vec<u8>,
    /// The permission it was opened with: the tunnel has the request's limits.
    pub allowed: Allowed,
    /// Counts against the upstream's limit of upgraded connections until the relay has ended.
    pub slot: Option<Slot>,
}

/// Bytes that moved, and when what was done, for the log.
pub struct Moved {
    /// Of the request's body.
    pub up: u64,
    /// Of the response's body.
    pub down: u64,
    /// The status that was passed on; 0 for none.
    pub status: u16,
    /// How often it was tried again.
    pub retries: u32,
    /// Its phases, and where it went.
    pub course: Course,
    /// Where else it is reported: to the agent of the service that it was sent to last.
    pub reports: Option<Arc<Reports>>,
}

impl Moved {
    /// Nothing yet, of a request whose head was complete at `begun`.
    pub const fn begun(begun: Instant) -> Self {
        Self {
            up: 0,
            down: 0,
            status: 0,
            retries: 0,
            course: Course::begun(begun),
            reports: None,
        }
    }
}

/// Carries the request to its upstream and the response back.
///
/// # Errors
/// A fault before anything was sent downstream: the caller answers it.
///
/// # Cancel safety
/// Not safe: a cancelled exchange leaves half a message behind; drop the downstream connection with
/// it.
pub async fn forward(
    asked: &Asked<'_>,
    downstream: &mut Conn,
    alarm: &mut Alarm,
    moved: &mut Moved,
) -> Result<After, Fault> {
    refuse_large_body(asked)?;
    let forwarding_is_ours = asked
        .forwarded
        .as_ref()
        .is_some_and(|forwarded| !forwarded.trusted);
    refuse_end_to_end(&asked.request, forwarding_is_ours)?;
    gather_short_body(asked, downstream, alarm).await?;
    let mut upload = asked.upload();
    let mut way = asked.way();
    let plan = asked.allowed.plan();
    let mut tries = Tries::new(
        &plan.retry,
        way.upstreams,
        asked.begun + plan.pool.queue_wait + plan.dial.connect_timeout,
    );
    asked.budget().note_request();
    loop {
        let borrowed = {
            let borrowing = pin!(asked.borrow(&mut way, &mut moved.course));
            unless_gone(downstream.stream(), borrowing).await
        };
        let failure = match borrowed {
            Ok(borrowed) => {
                moved.course.lent(borrowed.lease.reused());
                moved.reports = borrowed.lease.reports().cloned();
                let mut attempt = Attempt::new(asked, &mut upload, &borrowed.lease, downstream);
                match attempt
                    .run(borrowed, downstream, &mut tries, alarm, moved)
                    .await
                {
                    Ok(after) => return Ok(after),
                    Err(failure) => failure,
                }
            }
            Err(fault) if is_worth_another_upstream(&fault) => Failure::unreached(fault),
            Err(fault) => return Err(fault),
        };
        if failure.fault.who != Who::Upstream {
            return Err(failure.fault);
        }
        if !failure.granted && !asked.goes_again(&mut tries, failure.told(asked, &upload), moved) {
            return Err(failure.fault);
        }
        tracing::debug!(
            outcome = failure.outcome.word(),
            "tried again: {}",
            failure.fault
        );
        asked.shared.counters.retried(failure.outcome).add(1);
        moved.retries += 1;
        moved.course.retried = true;
        moved.course.turn(Stage::Queue);
        if failure.connected && !failure.granted {
            way.fresh = Freshness::New;
        }
    }
}

/// Where the next connection comes from.
struct Way<'a> {
    /// Over the upstreams of a route; what has no route has one place to go.
    walk: Option<Walk<'a>>,
    upstreams: usize,
    fresh: Freshness,
}

/// A body of known length is waited for a moment before a connection is taken for it, so that a
/// short one that comes in pieces holds none meanwhile. Anything else goes on as soon as its head
/// is there.
async fn gather_short_body(
    asked: &Asked<'_>,
    downstream: &mut Conn,
    alarm: &mut Alarm,
) -> Result<(), Fault> {
    let Framed::Length(length) = asked.request.framing() else {
        return Ok(());
    };
    let enough = usize::try_from(length)
        .unwrap_or(usize::MAX)
        .min(GATHERED_BYTES);
    if asked.request.expects_continue() || downstream.unread().len() >= enough {
        return Ok(());
    }
    let deadline = Instant::now() + GATHERING;
    poll_fn(|cx| {
        while downstream.unread().len() < enough {
            match downstream.poll_fill(cx) {
                Poll::Ready(Ok(Read::Data(_))) => {}
                Poll::Ready(Ok(Read::Fin) | Err(_)) => {
                    let detail = "the client closed within its request body";
                    return Poll::Ready(Err(Fault::new(
                        Who::Downstream,
                        Kind::ClosedEarly,
                        detail,
                    )));
                }
                Poll::Pending => return alarm.poll_at(cx, deadline).map(Ok),
            }
        }
        Poll::Ready(Ok(()))
    })
    .await
}

/// How much of a body is waited for, and for how long, before a connection is taken.
const GATHERED_BYTES: usize = 64 * 1024;
const GATHERING: Duration = Duration::from_millis(50);

/// A body that is announced as too large is refused before anything is dialled, and before any 100
/// (Expect).
fn refuse_large_body(asked: &Asked<'_>) -> Result<(), Fault> {
    match (asked.request.framing(), asked.max_body) {
        (Framed::Length(length), Some(most)) if length > most => Err(body_too_large(most)),
        _ => Ok(()),
    }
}

pub(super) fn body_too_large(most: u64) -> Fault {
    Fault::new(
        Who::Downstream,
        Kind::BodyTooLarge,
        format!("the request body is larger than max_body, {most} bytes"),
    )
}

impl Asked<'_> {
    /// Whether the request may be sent a second time, without harm, and whole for certain.
    fn may_go_again(&self) -> bool {
        let plan = &self.allowed.plan().retry;
        let whole = match self.request.framing() {
            Framed::None => true,
            Framed::Length(length) => length <= plan.replay_bytes as u64,
            Framed::Chunked | Framed::UntilClose => false,
        };
        whole && plan.attempts > 0 && is_repeatable(&self.request)
    }

    fn upload(&self) -> Passage {
        let framed = self.request.framing();
        let kept = kept_bytes(&self.request, &self.allowed.plan().retry);
        Passage::new(framed, framed, &codec_limits(self.limits), self.max_body)
            .without_aliases(self.forwarded.is_some())
            .keeping(kept)
    }

    fn way(&self) -> Way<'_> {
        let (walk, upstreams) = match self.allowed.outbound() {
            Outbound::Pooled(route) => (Some(Walk::over(route)), route.upstreams.len()),
            _ => (None, 1),
        };
        Way {
            walk,
            upstreams,
            fresh: self.freshness(),
        }
    }

    /// Asks the judge of retries, and notes what he says.
    pub(super) fn goes_again(
        &self,
        tries: &mut Tries<'_>,
        failed: Failed,
        moved: &mut Moved,
    ) -> bool {
        match tries.again(failed, Instant::now(), self.budget()) {
            Ok(()) => true,
            Err(why) => {
                self.shared.counters.not_retried(why).add(1);
                moved.course.not_retried = Some(why.name());
                false
            }
        }
    }

    fn budget(&self) -> &Budget {
        match self.allowed.outbound() {
            Outbound::Pooled(route) => &route.retries,
            _ => &self.shared.retries,
        }
    }

    /// An idle connection behind a link proves nothing: the other side may be gone without a word.
    /// What may not go again gets a new one, which the far side has to answer before a byte
    /// travels: an outage is then a wait and no failure.
    fn freshness(&self) -> Freshness {
        match self.allowed.outbound() {
            Outbound::Service(_) | Outbound::Exit(..) if !self.may_go_again() => Freshness::New,
            _ => Freshness::Any,
        }
    }

    async fn borrow(&self, way: &mut Way<'_>, course: &mut Course) -> Result<Borrowed, Fault> {
        let want = Want {
            fresh: way.fresh,
            upgrade: self.upgrade().is_some(),
            client: self.client,
        };
        match (&mut way.walk, &self.origin) {
            (Some(walk), _) => {
                pooled::lease(self.shared, self.pool, walk, self.allowed, want, course).await
            }
            (None, Some(origin)) => {
                pooled::lease_egress(self.shared, self.pool, origin, self.allowed, want, course)
                    .await
            }
            (None, None) => Err(Fault::new(
                Who::Us,
                Kind::Internal,
                "an egress exchange without an origin",
            )),
        }
    }

    /// The protocol to upgrade to: not together with a body, never h2c (it would carry requests
    /// past every check here).
    pub(super) fn upgrade(&self) -> Option<&[u8]> {
        let protocol = self.request.upgrade()?;
        let h2c = protocol
            .split(|b| *b == b',')
            .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"h2c"));
        (self.request.framing() == Framed::None && !h2c).then_some(protocol)
    }

    /// A server may only switch to what was asked for (RFC 9110 section 7.8).
    pub(super) fn asks_to_upgrade_to(&self, protocol: &[u8]) -> bool {
        let asked = self.upgrade().unwrap_or_default();
        asked
            .split(|b| *b == b',')
            .any(|one| one.trim_ascii().eq_ignore_ascii_case(protocol))
    }

    pub(super) fn queue_request(
        &self,
        out: &mut Vec<u8>,
        authority: &Arc<str>,
    ) -> Result<(), Fault> {
        let own_host = match self.allowed.outbound() {
            Outbound::Pooled(route) => route.host == HostMode::Upstream,
            Outbound::Service(_) => !authority.is_empty(),
            _ => false,
        };
        let host = match (own_host, self.request.host()) {
            (false, Some(host)) => host,
            _ => authority.as_bytes(),
        };
        let rules = RequestRules {
            target: self.target,
            host,
            forwarded: self.forwarded.as_ref().map(|f| head::Forwarded { ..*f }),
            upgrade: self.upgrade(),
        };
        head::forward_request(out, &self.request, &rules)
            .map_err(|error| malformed(Who::Downstream, &error))
    }
}

/// The codec's limits out of the listener's.
pub fn codec_limits(limits: &LimitsPlan) -> byway_h1::Limits {
    byway_h1::Limits {
        head_bytes: limits.head_bytes,
        fields: limits.head_fields,
        ..byway_h1::Limits::default()
    }
}
