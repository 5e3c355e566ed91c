//! Recall: an exchange that keeps a permit waiting for its own client ends when the pool asks, so
//! that other clients are served.
//!
//! In:    which side an exchange waits for, and how far it has come.
//! Out:   the fault to end it with, once the pool asks.
//! Never: ends an exchange that waits for its upstream alone.

use std::task::Context;

use byway_agent::Lease;

use super::conn::Conn;
use crate::fault::{Fault, FaultKind, Who};
use crate::outbound::pooled::PoolKey;

/// To be asked whenever an exchange has to wait: for its client, with its progress so far, or for
/// its upstream alone.
pub(super) fn recalled(
    cx: &Context<'_>,
    lease: &mut Lease<PoolKey, Conn>,
    awaits_client: bool,
    progress: u64,
) -> Option<Fault> {
    let moved = awaits_client.then_some(progress);
    lease.poll_recalled(cx, moved).is_ready().then(|| {
        let detail = "other clients wait for the upstream, and this client held more than its share of the connections to \
                      it and kept this one waiting";
        Fault::new(Who::Us, FaultKind::Overloaded("client-share"), detail)
    })
}
