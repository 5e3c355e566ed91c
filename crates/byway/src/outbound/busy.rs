//! Busy: opens a stream of a link again when the far side has refused it because of a limit.
//!
//! In:    refusals; how long the client may wait.
//! Out:   pauses between the tries; then the refusal, when the time is over.
//! Never: holds a lock while it waits, tries again without a pause, or closes idle streams to make
//!        room at the far side: their descriptors stay until a service that answered early has read
//!        everything, and idle ones end by themselves after a few seconds.
//!
//! The far side does not report when it has room, so the open is tried again. A request does not
//! need a stream of its own if another request of its client leaves one
//! ([`OpenPermit::next_idle`]). A visitor of an exposed service has a place among those that wait
//! for its agent meanwhile. A tunnel ends its wait with its client; a request has one of the pool's
//! permits, which the pool may recall for another client.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use byway_dial::Dialled;
use byway_pool::{Client, Lease, NextIdle, OpenPermit};
use tokio::time::Instant;

use super::pooled::PoolKey;
use super::upstream_conn::UpstreamConn;
use super::upstream_session::UpstreamSession;
use super::{Engine, open_once};
use crate::fault::{Fault, Reason, Who};
use crate::route::{Allowed, Outbound};

/// The first pause. Each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Whether the far side of a link has refused a stream because of a limit of its own.
pub fn is_busy(fault: &Fault) -> bool {
    matches!(fault.reason, Reason::FarSideBusy | Reason::FarSideShare)
}

/// One open that may have to wait.
pub(super) struct BusyWait<'e> {
    engine: &'e Engine,
    allowed: &'e Allowed,
    client: Client,
    pauses: Pauses,
}

/// The pauses between its tries.
#[derive(Debug)]
struct Pauses {
    deadline: Instant,
    patience: Duration,
    next: Duration,
}

impl Pauses {
    /// For a client that waits for at most `patience` from now.
    fn new(patience: Duration) -> Self {
        Self {
            deadline: Instant::now() + patience,
            patience,
            next: FIRST_PAUSE,
        }
    }

    /// How long to wait before the next try, of which the last one is at the deadline.
    ///
    /// # Errors
    /// The same fault if it is final: it has another reason, or the time is over.
    fn after(&mut self, fault: Fault) -> Result<Duration, Fault> {
        if !is_busy(&fault) {
            return Err(fault);
        }
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(fault.retry_after(self.patience));
        }
        let pause = self.next.min(left);
        self.next = (self.next * 2).min(LONGEST_PAUSE);
        Ok(pause)
    }
}

impl<'e> BusyWait<'e> {
    /// For an open of `client` that waits for at most `patience` from now.
    pub(super) fn new(
        engine: &'e Engine,
        allowed: &'e Allowed,
        client: Client,
        patience: Duration,
    ) -> Self {
        Self {
            engine,
            allowed,
            client,
            pauses: Pauses::new(patience),
        }
    }

    /// Waits before the next try; for a service in a place of the client.
    ///
    /// # Errors
    /// The same fault if it is final; 503 if there is no such place, or another client gets it.
    ///
    /// # Cancel safety
    /// Safe.
    pub(super) async fn pause(&mut self, refused: Fault) -> Result<(), Fault> {
        let pause = self.pauses.after(refused)?;
        match self.allowed.outbound() {
            Outbound::Service(name) => {
                let settings = self.engine.live.peek().link.clone();
                let services = self.engine.link_table.services();
                services.pause(name, self.client, &settings, pause).await
            }
            _ => {
                tokio::time::sleep(pause).await;
                Ok(())
            }
        }
    }

    /// As [`BusyWait::pause`], with a permit of the pool.
    ///
    /// # Errors
    /// Also [`Reason::ClientShare`], when the permit is needed for another client.
    pub(super) async fn pause_with(
        &mut self,
        permit: &mut OpenPermit<PoolKey, UpstreamConn, UpstreamSession>,
        refused: Fault,
    ) -> Result<(), Fault> {
        let waited = tokio::select! {
            waited = self.pause(refused) => waited,
            () = poll_fn(|cx| permit.poll_recalled(cx, Some(0))) => return Err(recalled()),
        };
        // It waits for the far side again.
        let _ = poll_fn(|cx| Poll::Ready(permit.poll_recalled(cx, None))).await;
        waited
    }
}

/// A connection of the pool that became idle, if the open may use one.
pub(super) type MayReuse = Option<NextIdle<PoolKey, UpstreamConn, UpstreamSession>>;

/// What `work` results in, or a connection that became idle before.
///
/// # Cancel safety
/// As safe as `work`.
pub(super) async fn or_reuse<T>(
    reuse: &mut MayReuse,
    work: impl Future<Output = T>,
) -> Result<T, Lease<PoolKey, UpstreamConn, UpstreamSession>> {
    let mut work = pin!(work);
    poll_fn(|cx| {
        if let Some(next) = reuse
            && let Poll::Ready(lease) = Pin::new(next).poll(cx)
        {
            return Poll::Ready(Err(lease));
        }
        work.as_mut().poll(cx).map(Ok)
    })
    .await
}

/// Opens a tunnel.
///
/// # Errors
/// As [`super::open`].
///
/// # Cancel safety
/// Safe, also while it waits.
pub(super) async fn open_tunnel(
    engine: &Engine,
    allowed: &Allowed,
    client: Client,
) -> Result<Dialled, Fault> {
    let mut waiting = BusyWait::new(engine, allowed, client, tunnel_patience(engine, allowed));
    loop {
        match open_once(engine, allowed, client).await {
            Ok(dialled) => return Ok(dialled),
            Err(fault) => waiting.pause(fault).await?,
        }
    }
}

/// A visitor of a TCP service waits as long as for an agent that is away. Other clients get an
/// answer with the reason, so they wait as long as requests do.
fn tunnel_patience(engine: &Engine, allowed: &Allowed) -> Duration {
    let plan = engine.live.peek();
    match allowed.outbound() {
        Outbound::Service(_) => plan.link.park,
        _ => plan.pool.queue_wait,
    }
}

fn recalled() -> Fault {
    let detail = "other clients wait for a connection, and this client held more than its share of them while the far \
                  side of the link was busy";
    Fault::new(Who::Us, Reason::ClientShare, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy(reason: Reason) -> Fault {
        Fault::new(Who::Link, reason, "all descriptors are in use")
    }

    /// Waits until the fault is final; returns it, the number of tries and the time.
    async fn try_until_final(patience: Duration, reason: Reason) -> (Fault, u32, Duration) {
        let (start, mut waiting, mut tries) = (Instant::now(), Pauses::new(patience), 0);
        loop {
            tries += 1;
            match waiting.after(busy(reason)) {
                Ok(pause) => tokio::time::sleep(pause).await,
                Err(fault) => return (fault, tries, start.elapsed()),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_far_side_that_stays_busy_is_tried_a_few_times_until_the_time_is_over() {
        for (seconds, expected) in [(5, 15), (15, 35)] {
            let patience = Duration::from_secs(seconds);
            for reason in [Reason::FarSideBusy, Reason::FarSideShare] {
                let (fault, tries, time) = try_until_final(patience, reason).await;
                assert_eq!((fault.status(), fault.reason), (503, reason));
                assert_eq!(fault.retry_after_seconds(), Some(seconds));
                assert_eq!((tries, time), (expected, patience));
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn other_refusals_and_clients_without_time_are_not_tried_again() {
        let patience = Duration::from_secs(5);
        let (_, tries, time) = try_until_final(patience, Reason::Refused).await;
        assert_eq!((tries, time), (1, Duration::ZERO));
        let (_, tries, time) = try_until_final(Duration::ZERO, Reason::FarSideBusy).await;
        assert_eq!((tries, time), (1, Duration::ZERO));
    }
}
