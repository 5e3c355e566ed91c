//! Upgrades: how many upgraded connections (WebSockets) each upstream may have, apart from its requests.
//!
//! In:    the origin that an upgrade would go to, before its request is sent.
//! Out:   a slot, to be held for as long as the tunnel lives; or why there is none.
//! Never: counts a tunnel against the limits of requests, or lets one begin without a slot.

use byway_agent::{AcquireError, Acquired, Client, Conn, InvalidLimits, Limits, OpenPermit, Pool, Probe};

use super::pooled::Origin;
use crate::config::PoolPlan;
use crate::fault::{Fault, Kind, Who};

/// The permits of a second pool, which never holds a connection: the same queue and the same rules of who is served next.
#[derive(Clone, Debug)]
pub struct Upgrades(Pool<Origin, Nothing>);

/// The right to have one upgraded connection. It counts until it is dropped.
pub type Slot = OpenPermit<Origin, Nothing>;

/// What the second pool would hold: there is no value of it.
#[derive(Debug)]
pub enum Nothing {}

impl Conn for Nothing {
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
            ..Limits::capped(MOST_OF_ALL.max(plan.max_upgraded_per_origin), plan.max_upgraded_per_origin)
        };
        Pool::sharded(limits, shards).map(Self)
    }

    /// A slot for one upgraded connection of `client` to `origin`; waits for one as a request waits for a connection.
    ///
    /// # Errors
    /// 503 with the limit that was reached.
    ///
    /// # Cancel safety
    /// Safe: the place in the queue is given up.
    pub async fn slot(&self, origin: &Origin, client: Client, plan: &PoolPlan) -> Result<Slot, Fault> {
        match self.0.acquire_for(origin, client).await {
            Ok(Acquired::Open(slot)) => Ok(slot),
            Ok(Acquired::Lease(lease)) => match *lease {},
            Err(AcquireError::Closed) => {
                Err(Fault::new(Who::Us, Kind::Draining, "the node is leaving: no connection is upgraded any more"))
            }
            Err(_) => {
                let detail = format!(
                    "pool.max_upgraded_per_origin: {} upgraded connections are open to {origin}, and none ended within \
                     pool.queue_wait, {:?}",
                    plan.max_upgraded_per_origin, plan.queue_wait
                );
                let fault = Fault::new(Who::Us, Kind::Overloaded("max-upgraded-per-origin"), detail);
                Err(fault.worth_asking_again_after(plan.queue_wait))
            }
        }
    }

    /// Upgraded connections of all origins.
    pub fn count(&self) -> usize {
        self.0.stats().connecting
    }

    /// No more are admitted.
    pub fn close(&self) {
        self.0.close();
    }
}

/// Tunnels to all upstreams together are bounded by the connections that are accepted.
const MOST_OF_ALL: usize = 1 << 30;
