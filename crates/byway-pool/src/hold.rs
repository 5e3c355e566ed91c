//! Hold: a permit in use, as the permits see it: its client, and whether its user waits for that
//! client.
//!
//! In:    what the user of the permit reports while it waits.
//! Out:   the same to the permits, and their recall to the user.
//! Never: costs a lease anything while the client stays the same and does not keep the permit
//!        waiting.

use crate::client::Client;
use crate::sync::Mutex;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

/// The state of a permit in use: the client that it is used for, since when its user waits for that
/// client, and whether it was recalled. Shared by the permits and the permit.
pub(crate) struct Hold {
    client: AtomicU64,
    /// Milliseconds since the first call of `millis`, plus one; 0 while its user does not wait for
    /// its client.
    waits_since: AtomicU64,
    recalled: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

/// The user's side: its last report.
pub(crate) struct Waiting {
    moved: u64,
    waker: Waker,
}

impl Hold {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client: AtomicU64::new(client.number()),
            waits_since: AtomicU64::new(0),
            recalled: AtomicBool::new(false),
            waker: Mutex::new(None),
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client::numbered(self.client.load(Ordering::Relaxed))
    }

    pub(crate) fn belongs_to(&self, client: Client) {
        self.client.store(client.number(), Ordering::Relaxed);
    }

    /// When its user began to wait for its client without progress; `None` if it does not wait.
    pub(crate) fn waits_since(&self) -> Option<u64> {
        match self.waits_since.load(Ordering::Acquire) {
            0 => None,
            since => Some(since),
        }
    }

    /// Whether its user was recalled, and has made no progress since.
    pub(crate) fn is_leaving(&self) -> bool {
        self.recalled.load(Ordering::Acquire) && self.waits_since().is_some()
    }

    /// Recalls the permit. The caller wakes the user afterwards, outside the permits' lock.
    pub(crate) fn recall(&self) {
        self.recalled.store(true, Ordering::Release);
    }

    pub(crate) fn wake(&self) {
        let waker = self.waker.lock().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// See [`Lease::poll_recalled`](crate::Lease::poll_recalled).
    pub(crate) fn poll_recalled(
        &self,
        known: &mut Option<Waiting>,
        cx: &Context<'_>,
        moved: Option<u64>,
    ) -> Poll<()> {
        let Some(moved) = moved else {
            self.rest(known);
            return Poll::Pending;
        };
        let same_waker = known
            .as_ref()
            .is_some_and(|known| known.waker.will_wake(cx.waker()));
        let same_place = known.as_ref().is_some_and(|known| known.moved == moved);
        if known.is_none() {
            self.recalled.store(false, Ordering::Relaxed);
        }
        if !same_waker {
            // An old waker may be the last reference to its task: it is dropped after unlocking.
            let old = self.waker.lock().replace(cx.waker().clone());
            drop(old);
        }
        if !(same_waker && same_place) {
            *known = Some(Waiting {
                moved,
                waker: cx.waker().clone(),
            });
        }
        if !same_place {
            self.waits_since.store(millis(), Ordering::Release);
        }
        if self.recalled.load(Ordering::Acquire) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Its user no longer waits for its client.
    pub(crate) fn rest(&self, known: &mut Option<Waiting>) {
        if known.take().is_some() {
            self.waits_since.store(0, Ordering::Release);
            let old = self.waker.lock().take();
            drop(old);
        }
    }
}

/// Milliseconds since the first call in this process, plus one.
fn millis() -> u64 {
    static BEGUN: OnceLock<std::time::Instant> = OnceLock::new();
    let now = crate::pool::now();
    let begun = BEGUN.get_or_init(|| now);
    now.saturating_duration_since(*begun)
        .as_millis()
        .try_into()
        .unwrap_or(u64::MAX - 1)
        + 1
}
