//! Silence: watches a TLS carrier that does not answer while other carriers of its session do.
//!
//! In:    the carrier; whether it and the others answer.
//! Out:   that packets of full size seem to be lost on its path, at most once per carrier.
//! Never: mistakes an outage or a paused peer for that: others must answer all the time.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{sleep, timeout};

use super::Link;
use super::carriers::AttachedCarrier;
use crate::large_packets::{may_be_silence, note_loss};

/// Another carrier must answer a ping within this time. If none does, the path has an outage, or
/// the peer is paused.
const SOON: Duration = Duration::from_secs(3);

/// The carrier must stay silent for this many seconds more, and another one answer a ping in each.
/// After an outage of [`SOON`], TCP retransmits within this time.
const STILL_SECONDS: usize = 4;

/// Watches `watched` until it ends, or until a loss is noted.
pub(super) async fn watch(link: Link, watched: AttachedCarrier) {
    let AttachedCarrier {
        carrier,
        ping_control,
        ..
    } = &watched;
    loop {
        tokio::select! {
            () = link.until(|_| ping_control.is_overdue()) => {}
            () = carrier.ended() => return,
        }
        let mut unacknowledged = None;
        let is_silent = stays_silent(&link, &watched, &mut unacknowledged).await;
        if is_silent && let Some(bytes) = unacknowledged {
            return note_loss(carrier, bytes);
        }
        tokio::select! {
            () = link.until(|_| !ping_control.is_overdue()) => {}
            () = carrier.ended() => return,
        }
    }
}

/// Whether `watched`, which is overdue, stays so while others answer. Sets the last known number of
/// its unacknowledged bytes.
async fn stays_silent(
    link: &Link,
    watched: &AttachedCarrier,
    unacknowledged: &mut Option<u64>,
) -> bool {
    let AttachedCarrier {
        number,
        carrier,
        ping_control,
        ..
    } = watched;
    for second in 0..STILL_SECONDS {
        *unacknowledged = carrier.unacknowledged_bytes().or(*unacknowledged);
        // Its last answer may be older than the silence, so it is pinged again.
        if timeout(SOON, link.answered_beside(*number)).await.is_err() {
            return false;
        }
        if carrier.is_over() {
            // A peer that continues after a pause answers on some carriers before this one.
            return second > 0 && may_be_silence(&carrier.reason());
        }
        tokio::select! {
            () = sleep(Duration::from_secs(1)) => {}
            () = link.until(|_| !ping_control.is_overdue()) => {}
            () = carrier.ended() => {}
        }
    }
    ping_control.is_overdue() && (!carrier.is_over() || may_be_silence(&carrier.reason()))
}

impl Link {
    /// Pings all carriers but `number`, also those that are attached meanwhile, and resolves when
    /// one is answered.
    async fn answered_beside(&self, number: u64) {
        let mut changes = self.0.preference.changes.subscribe();
        loop {
            let mut others = self.0.carriers.lock().attached.clone();
            others.retain(|other| other.number != number);
            let mut pongs: FuturesUnordered<_> =
                others.iter().map(|other| other.carrier.pong()).collect();
            for other in &others {
                other.ping_control.ping_now();
            }
            tokio::select! {
                biased;
                Some(()) = pongs.next() => return,
                // `self` keeps the sender alive.
                _ = changes.changed() => {}
            }
        }
    }

    /// Ends its first carrier.
    #[cfg(test)]
    pub(crate) fn end_first(&self, reason: &str) {
        let first = self.0.carriers.lock().attached[0].clone();
        first.carrier.end(reason);
    }

    /// Whether its first carrier falls silent and stays so while others answer.
    #[cfg(test)]
    pub(crate) async fn first_stays_silent(&self) -> bool {
        let first = self.0.carriers.lock().attached[0].clone();
        self.until(|_| first.ping_control.is_overdue()).await;
        stays_silent(self, &first, &mut None).await
    }
}
