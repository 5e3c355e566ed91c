//! Keeping: maintains the carriers of an established session: dials QUIC again after it was lost,
//! dials another carrier beside a silent one, and ends one that was replaced once it is unused.
//!
//! In:    a session, and the state of its carriers.
//! Out:   carriers that are attached to it.
//! Never: ends a carrier with open streams unless no carrier answers and no slot is free; never
//!        dials while a carrier answers, except for QUIC beside TLS, TLS beside a QUIC carrier that
//!        performs badly, and a bundle beside a TLS carrier that does.

use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::{sleep, timeout};

use super::attempts::Attempts;
use super::{Authenticating, Carriers, Dialler};
use crate::authenticated::Authenticated;
use crate::carrier::CarrierKind;
use crate::link::Link;

/// The longest time between two probes of QUIC.
const LONGEST_PROBE: Duration = Duration::from_secs(600);

/// How long one probe may take.
pub(super) const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the connections of one try may take. Equal to the longest try of a session, see
/// [`Backoff`](crate::Backoff).
const REPLACE_TIMEOUT: Duration = Duration::from_secs(20);

/// The pause between two tries to attach TLS beside QUIC.
const BESIDE_PAUSE: Duration = Duration::from_secs(5);

/// The pause between two failed tries, and after a carrier was attached.
const REPLACE_PAUSE: Duration = Duration::from_secs(1);

/// A replaced carrier is kept for this long, and while it has streams.
const REPLACED_KEPT: Duration = Duration::from_secs(15);

/// How often replaced carriers are looked for.
const REPLACED_LOOK: Duration = Duration::from_secs(5);

impl Dialler {
    /// Maintains the carriers of `link` until it ends. `under_way`: attempts by QUIC that may still
    /// succeed.
    pub(super) fn keep(&self, link: &Link, under_way: FuturesUnordered<Authenticating>) {
        let (dialler, watched) = (self.clone(), link.clone());
        link.spawn(async move {
            let bringing = dialler.bring_quic_back(&watched, under_way);
            let (beside, replacing) = (
                dialler.bring_tls_beside(&watched),
                dialler.replace_silent(&watched),
            );
            let (bundling, ending) = (dialler.bring_bundle(&watched), end_replaced(&watched));
            let keeping = async { tokio::join!(bringing, beside, replacing, bundling, ending) };
            tokio::select! {
                _ = keeping => {}
                _ = watched.ended() => {}
            }
        });
    }

    async fn bring_quic_back(&self, link: &Link, mut under_way: FuturesUnordered<Authenticating>) {
        if self.carriers != Carriers::Auto {
            return;
        }
        let late = async {
            while let Some(late) = under_way.next().await {
                if late.is_ok() {
                    return late.ok();
                }
            }
            None
        };
        // Only if no QUIC carrier is attached: a late one of an overlapping round would be a
        // useless second one.
        if !link.carriers().contains(&CarrierKind::Quic)
            && let Ok(Some(late)) = timeout(PROBE_TIMEOUT, late).await
        {
            self.attach(link, late).await;
        }
        drop(under_way);
        let mut wait = self.settings.quic_probe;
        loop {
            sleep(wait).await;
            if link.carriers().contains(&CarrierKind::Quic) {
                wait = self.settings.quic_probe;
                continue;
            }
            match timeout(PROBE_TIMEOUT, self.by_quic()).await {
                Ok(Ok(authenticated)) => self.attach(link, authenticated).await,
                _ => wait = (wait * 2).min(LONGEST_PROBE.max(self.settings.quic_probe)),
            }
        }
    }

    /// Attaches TLS beside a QUIC carrier that performs badly.
    async fn bring_tls_beside(&self, link: &Link) {
        if self.carriers != Carriers::Auto {
            return;
        }
        loop {
            link.until(|link| {
                link.is_tls_preferred() && !link.carriers().contains(&CarrierKind::Tls)
            })
            .await;
            if let Ok(Ok(authenticated)) =
                timeout(PROBE_TIMEOUT, self.by_tls(self.segment_size())).await
            {
                self.attach(link, authenticated).await;
            }
            sleep(BESIDE_PAUSE).await;
        }
    }

    /// When no carrier answers, dials another one, and attaches it if it is established before an
    /// old one answers.
    async fn replace_silent(&self, link: &Link) {
        loop {
            link.silent().await;
            let dialled = tokio::select! {
                dialled = self.any_carrier(link) => Some(dialled),
                () = link.answers() => None,
            };
            if let Some(authenticated) = dialled {
                self.attach(link, authenticated).await;
            }
            sleep(REPLACE_PAUSE).await;
        }
    }

    /// Returns the first connection that is established. If the carriers of `link` may be silent
    /// because full-size packets are lost, TLS connections use segments one step smaller: the loss
    /// is not confirmed yet.
    async fn any_carrier(&self, link: &Link) -> Authenticated {
        loop {
            let known = self.segment_size();
            let size = link
                .smaller_segments()
                .map_or(known, |smaller| smaller.or(known.smaller()).and(known));
            let (address, bytes) = (&self.join.address, size.bytes());
            tracing::debug!(
                segment_bytes = bytes,
                "{address}: no carrier answers; another one is dialled"
            );
            let mut attempts = Attempts::new(self, size);
            let first = async {
                while let Some((_, attempted)) = attempts.next().await {
                    if let Ok(authenticated) = attempted {
                        return Some(authenticated);
                    }
                }
                None
            };
            if let Ok(Some(authenticated)) = timeout(REPLACE_TIMEOUT, first).await {
                return authenticated;
            }
            sleep(REPLACE_PAUSE).await;
        }
    }
}

/// Ends replaced carriers.
async fn end_replaced(link: &Link) {
    loop {
        sleep(REPLACED_LOOK).await;
        link.end_replaced(REPLACED_KEPT);
    }
}
