//! In flight: a guard for a running request, from its first poll to the end of its response. A
//! shutdown waits until none is left.
//!
//! Never: outlives its response's body.

use super::Inner;
use super::event::{CloseReason, Event};
use super::keep_alive::Keep;
use super::pooled_conn::Exchange;
use super::reaper;
use byway_pool::Release;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::timeout;

/// A guard that counts one running request of an agent, so that a shutdown can wait for it.
/// Dropping it marks the request as over.
pub(crate) struct InFlight(Arc<Inner>);

/// How many requests are running.
#[derive(Debug, Default)]
pub(crate) struct InFlightCount {
    under_way: AtomicUsize,
    none: Notify,
}

impl InFlight {
    pub(crate) fn begin(inner: &Arc<Inner>) -> Self {
        inner.in_flight.under_way.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(inner))
    }

    pub(crate) fn agent(&self) -> &Arc<Inner> {
        &self.0
    }

    /// Returns a connection to the pool, or closes it. One with a byte left over is closed in any
    /// case: the byte would be read as the start of the next response.
    pub(crate) fn settle(&self, exchange: Exchange, keep: Keep) {
        let mut lease = exchange.lease;
        let keep = if lease.is_clean() {
            keep
        } else {
            keep.and(Err(CloseReason::ExtraBytes))
        };
        match keep {
            Err(reason) => {
                lease.close_reason = Some(reason);
            }
            Ok(idle) => {
                lease.close_reason = None;
                self.0.observer.notify(&Event::Idle { group: lease.key() });
                lease.release(Release::Keep { idle });
                reaper::wake(&self.0);
            }
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.0.in_flight.under_way.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.in_flight.none.notify_waiters();
        }
    }
}

impl InFlightCount {
    pub(crate) fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Acquire)
    }

    /// Waits until no request is running, but no longer than `limit`. Cancel safe.
    pub(crate) async fn wait_idle(&self, limit: Duration) {
        let _ = timeout(limit, self.idle()).await;
    }

    async fn idle(&self) {
        loop {
            let mut none = std::pin::pin!(self.none.notified());
            none.as_mut().enable(); // before the check, so that no notification is missed
            if self.under_way() == 0 {
                return;
            }
            none.await;
        }
    }
}
