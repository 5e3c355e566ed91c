//! Upgrades: limits the upgraded connections (WebSockets) of each upstream, separately from its
//! requests.
//!
//! In:    the origin of an upgrade, before its request is sent.
//! Out:   a slot, held for as long as the tunnel lives; or why there is none.
//! Never: counts a tunnel against the limits of requests, or starts one without a slot.

use std::time::Duration;

use byway_pool::{
    AcquireError, Acquired, Client, Conn, InvalidLimits, Limits, OpenPermit, Pool, Probe, Stats,
};

use super::pooled::PoolKey;
use crate::config::PoolPlan;
use crate::fault::{Fault, Reason, Who};

/// The permits of a second pool, which never holds a connection. It has the same queue and the same
/// order of service.
#[derive(Clone, Debug)]
pub struct Upgrades {
    pool: Pool<PoolKey, NoConnection>,
    /// The limits at the start: a reload changes neither.
    most_of_one: usize,
    queue_wait: Duration,
}

/// The permit for one upgraded connection. It counts until it is dropped.
pub type UpgradeSlot = OpenPermit<PoolKey, NoConnection>;

/// The connection type of the second pool, which has no values.
#[derive(Debug)]
pub enum NoConnection {}

impl Conn for NoConnection {
    fn probe(&mut self) -> Probe {
        match *self {}
    }
}

impl Upgrades {
    /// With the limit of `plan`.
    ///
    /// # Errors
    /// As [`Pool::sharded`].
    pub fn new(plan: &PoolPlan, shards: usize) -> Result<Self, InvalidLimits> {
        let limits = Limits {
            queue_len: plan.queue,
            queue_wait: plan.queue_wait,
            ..Limits::capped(
                MOST_OF_ALL.max(plan.max_upgraded_per_origin),
                plan.max_upgraded_per_origin,
            )
        };
        let pool = Pool::sharded(limits, shards)?;
        Ok(Self {
            pool,
            most_of_one: plan.max_upgraded_per_origin,
            queue_wait: plan.queue_wait,
        })
    }

    /// A slot for one upgraded connection of `client` to `origin`; waits for one as a request waits
    /// for a connection.
    ///
    /// # Errors
    /// 503 with the limit that was reached.
    ///
    /// # Cancel safety
    /// Safe: the place in the queue is released.
    pub async fn slot(&self, origin: &PoolKey, client: Client) -> Result<UpgradeSlot, Fault> {
        match self.pool.acquire_for(origin, client).await {
            Ok(Acquired::Open(slot)) => Ok(slot),
            Ok(Acquired::Lease(lease)) => match *lease {},
            Err(AcquireError::Closed) => Err(Fault::new(
                Who::Us,
                Reason::Draining,
                "the node is draining: connections are no longer upgraded",
            )),
            Err(AcquireError::QueueFull { limit }) => {
                let detail = format!(
                    "pool.queue: {limit} upgrades wait for a connection to {origin} already"
                );
                Err(self.retry_later(Reason::QueueFull, detail))
            }
            Err(AcquireError::ClientShare { limit }) => {
                let detail = format!(
                    "pool.queue: {limit} upgrades wait for a connection, and this client held more places in the \
                     queue than another client that needed one"
                );
                Err(self.retry_later(Reason::ClientShare, detail))
            }
            Err(AcquireError::QueueTimeout { .. }) => {
                let detail = format!(
                    "pool.max_upgraded_per_origin: {} upgraded connections are open to {origin}, and none ended within \
                     pool.queue_wait, {:?}",
                    self.most_of_one, self.queue_wait
                );
                Err(self.retry_later(Reason::MaxUpgradedPerOrigin, detail))
            }
        }
    }

    fn retry_later(&self, reason: Reason, detail: String) -> Fault {
        Fault::new(Who::Us, reason, detail).retry_after(self.queue_wait)
    }

    /// Upgraded connections and waiting upgrades, by origin: the former count as connecting.
    pub fn stats(&self) -> Stats<PoolKey> {
        self.pool.stats()
    }

    /// Upgraded connections of all origins.
    pub fn count(&self) -> usize {
        self.pool.stats().connecting
    }

    /// Admits no more.
    pub fn close(&self) {
        self.pool.close();
    }
}

/// Tunnels to all upstreams together are bounded by the accepted connections, and those on streams by
/// `TunnelPermits`.
const MOST_OF_ALL: usize = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_and_a_timed_out_wait_have_different_reasons() {
        let pool = crate::testing::plan(
            "[[edge]]\nlisten = \"127.0.0.1:0\"\n[[edge.route]]\nto = \"a:1\"\n",
        )
        .pool;
        let plan = PoolPlan {
            max_upgraded_per_origin: 1,
            queue: 1,
            ..pool
        };
        let (upgrades, origin) = (
            Upgrades::new(&plan, 1).unwrap(),
            PoolKey::Upstream("http://a:1".into()),
        );
        let held = upgrades.slot(&origin, Client::ANYONE).await.unwrap();
        let mut waiting = Box::pin(upgrades.slot(&origin, Client::ANYONE));
        assert!(futures_now(&mut waiting).await.is_none());
        let full = upgrades.slot(&origin, Client::ANYONE).await.unwrap_err();
        assert_eq!((full.reason.word(), full.status()), ("queue-full", 503));
        assert!(full.to_string().contains("pool.queue: 1 "), "{full}");
        let in_vain = waiting.await.unwrap_err();
        assert_eq!(
            (in_vain.reason.word(), in_vain.status()),
            ("max-upgraded-per-origin", 503)
        );
        assert!(
            in_vain
                .to_string()
                .contains("max_upgraded_per_origin: 1 upgraded"),
            "{in_vain}"
        );
        drop(held);
    }

    /// The result of `future`, if it is ready.
    async fn futures_now<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(match std::pin::Pin::new(&mut *future).poll(context) {
                std::task::Poll::Ready(output) => Some(output),
                std::task::Poll::Pending => None,
            })
        })
        .await
    }
}
