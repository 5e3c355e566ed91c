//! Reaper: closes idle connections when their time is over.
//!
//! In:    the pool's next expiry.   Out:   calls of `Pool::expire`.
//! Never: runs while nothing is idle; spins; keeps an agent or a runtime alive.
//!
//! One task, started by the first connection that becomes idle, and gone when none is. It holds the
//! agent weakly and sleeps between looks; a runtime that shuts down drops it like any task, and the
//! next connection that becomes idle starts it anew. Nothing unsafe happens without it: age is also
//! checked when a connection is lent.

use super::Inner;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Looks are at least this far apart.
const PAUSE: Duration = Duration::from_millis(100);

/// The mark that a sweep is running, taken back however it ends.
struct Running {
    agent: Weak<Inner>,
    marked: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(inner) = self.agent.upgrade().filter(|_| self.marked) {
            inner.sweeping.store(false, Ordering::SeqCst);
        }
    }
}

/// A connection has become idle: sees to it that somebody closes it.
pub(crate) fn wake(inner: &Arc<Inner>) {
    if inner.sweeping.load(Ordering::SeqCst) || inner.sweeping.swap(true, Ordering::SeqCst) {
        return;
    }
    let running = Running {
        agent: Arc::downgrade(inner),
        marked: true,
    };
    // Outside of a runtime (a body that was dropped there) none is started; the next that ends
    // inside of one does it.
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        // Its owner is the agent: it ends by itself soon after the agent has, or when nothing is
        // idle.
        drop(runtime.spawn(reap(running)));
    }
}

async fn reap(mut running: Running) {
    while let Some(next) = running.next_look() {
        sleep_until(next).await;
        let Some(inner) = running.agent.upgrade() else {
            return;
        };
        inner.pool.expire(Instant::now().into_std());
    }
}

impl Running {
    /// When to look next, or `None` when nothing is idle or the agent is gone.
    fn next_look(&mut self) -> Option<Instant> {
        let inner = self.agent.upgrade()?;
        let mut next = inner.pool.next_expiry();
        if next.is_none() {
            inner.sweeping.store(false, Ordering::SeqCst);
            self.marked = false;
            // A connection that became idle between the look and the store has found a sweep
            // running.
            next = inner.pool.next_expiry();
            self.marked = next.is_some() && !inner.sweeping.swap(true, Ordering::SeqCst);
        }
        let next = next.filter(|_| self.marked)?;
        let now = Instant::now();
        // One that becomes idle meanwhile may have less time than those that are idle now.
        Some(
            Instant::from_std(next)
                .min(now + inner.config.idle_timeout)
                .max(now + PAUSE),
        )
    }
}
