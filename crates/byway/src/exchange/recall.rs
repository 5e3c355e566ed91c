//! Recall: ends an exchange that occupies a permit while it waits for its own client, when the pool
//! requires it to serve other clients.
//!
//! In:    which side an exchange waits for, and its progress.
//! Out:   the fault to end it with, once the pool requires it.
//! Never: ends an exchange that waits only for its upstream.

use std::task::Context;

use super::upstream::Upstream;
use crate::fault::{Fault, Reason, Who};

/// Call it whenever an exchange has to wait: for its client, with the progress so far, or only for
/// its upstream.
pub(super) fn recalled(
    cx: &Context<'_>,
    upstream: &mut Upstream,
    awaits_client: bool,
    progress: u64,
) -> Option<Fault> {
    let moved = awaits_client.then_some(progress);
    upstream.poll_recalled(cx, moved).is_ready().then(|| {
        let detail = "other clients wait for the upstream, and this client held more than its share of the connections to \
                      it and kept this one waiting";
        Fault::new(Who::Us, Reason::ClientShare, detail)
    })
}
