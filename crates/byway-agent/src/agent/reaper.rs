//! Reaper: closes idle connections when their time is over.
//!
//! In:    the pool's next expiry.   Out:   calls of `Pool::expire`.
//! Never: runs while nothing is idle; spins; keeps an agent or a runtime alive.
//!
//! One task, started by the first connection that becomes idle; it ends when none is idle. It holds
//! the agent weakly and sleeps between checks; a runtime that shuts down drops it like any task,
//! and the next connection that becomes idle starts a new one. It is not needed for safety: age is
//! also checked when a connection is acquired.

use super::Inner;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// The shortest time between two checks.
const PAUSE: Duration = Duration::from_millis(100);

/// Marks that a reaper is running; the drop clears the mark.
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

/// A connection has become idle: starts the reaper if none is running.
pub(crate) fn wake(inner: &Arc<Inner>) {
    if inner.sweeping.load(Ordering::SeqCst) || inner.sweeping.swap(true, Ordering::SeqCst) {
        return;
    }
    let running = Running {
        agent: Arc::downgrade(inner),
        marked: true,
    };
    // Outside a runtime (a body dropped there) none is started; the next connection that becomes
    // idle inside a runtime starts it.
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        // The task ends by itself soon after the agent is dropped, or when nothing is idle.
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
    /// The time of the next check, or `None` when nothing is idle or the agent is dropped.
    fn next_look(&mut self) -> Option<Instant> {
        let inner = self.agent.upgrade()?;
        let mut next = inner.pool.next_expiry();
        if next.is_none() {
            inner.sweeping.store(false, Ordering::SeqCst);
            self.marked = false;
            // A connection that became idle between the check and the store saw a running reaper.
            next = inner.pool.next_expiry();
            self.marked = next.is_some() && !inner.sweeping.swap(true, Ordering::SeqCst);
        }
        let next = next.filter(|_| self.marked)?;
        let now = Instant::now();
        // A connection that becomes idle meanwhile may expire earlier than those idle now.
        Some(
            Instant::from_std(next)
                .min(now + inner.config.idle_timeout)
                .max(now + PAUSE),
        )
    }
}
