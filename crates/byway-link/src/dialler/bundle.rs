//! Bundle: dials the connections that the acceptor joins into one carrier.
//!
//! In:    a session of which either side wants a bundle.
//! Out:   a bundle that is attached to it.
//! Never: more than one at a time; never the next one within [`FIRST_PAUSE`] of the one before,
//!        whether that succeeded or failed.

use std::time::Duration;

use byway_dial::{Target, peer_text};
use futures_util::future::try_join_all;
use tokio::time::{sleep, timeout};

use super::keeping::PROBE_TIMEOUT;
use super::{Carriers, Dialler};
use crate::authenticated::{Authenticated, adopt, over_bundle};
use crate::bundle::MOST_CONNECTIONS;
use crate::error::LinkError;
use crate::gathering::{Tls, hear, send};
use crate::link::Link;
use crate::mux::core::Side;
use crate::segments::SegmentSize;
use crate::tls;
use crate::wire::{Control, FEATURE_BUNDLE, Part, Refusal};

/// The pause between two bundles of a session; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(60);

/// See [`FIRST_PAUSE`].
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

impl Dialler {
    /// Attaches a bundle whenever one is wanted.
    pub(super) async fn bring_bundle(&self, link: &Link) {
        if self.carriers == Carriers::Quic || !link.has(FEATURE_BUNDLE) {
            return;
        }
        let mut pause = FIRST_PAUSE;
        loop {
            link.until(|link| link.is_bundle_wanted() && !link.has_bundle() && link.has_place())
                .await;
            let made = timeout(PROBE_TIMEOUT, self.by_bundle(link)).await;
            let made =
                made.unwrap_or_else(|_| Err(LinkError::Unreachable("it took too long".into())));
            match (made, link.reserve()) {
                (Ok(authenticated), Ok(place)) => {
                    adopt(link, place, authenticated);
                    link.log(format_args!(
                        "tls over {MOST_CONNECTIONS} connections is attached: new streams use it"
                    ));
                }
                (Ok(_), Err(error)) => tracing::debug!("{}: no bundle: {error}", self.join.address),
                (Err(error), _) => tracing::debug!("{}: no bundle: {error}", self.join.address),
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// A carrier over several connections, which the acceptor has attached to `link` already.
    pub(crate) async fn by_bundle(&self, link: &Link) -> Result<Authenticated, LinkError> {
        // The machine of the session: its name may have several addresses.
        let target = link
            .peer_addr()
            .map_or_else(|| self.join.address.clone(), Target::Addr);
        let (session, bundle) = (link.id().to_vec(), fastrand::u64(..));
        let size = self.segment_size();
        let parts = (0..MOST_CONNECTIONS as u32).map(|part| {
            let part = Part {
                session: session.clone(),
                bundle,
                part,
                parts: MOST_CONNECTIONS as u32,
            };
            Box::pin(self.part(&target, part, size))
        });
        let parts = try_join_all(parts).await?;
        let peer = link.peer_addr();
        let over = over_bundle(
            parts,
            peer,
            self.join.pin,
            Side::Dialler,
            &self.settings,
            &self.runtime,
        );
        over.carrier.set_dialled(self.dialled(size));
        Ok(over)
    }

    /// Dials one of the connections, and waits until the acceptor has them all.
    async fn part(&self, target: &Target, part: Part, size: SegmentSize) -> Result<Tls, LinkError> {
        let (mut tls, _) = self.tls_to(target, tls::BUNDLE_ALPN, size).await?;
        send(&mut tls, Control::Part(part)).await?;
        match hear(&mut tls).await? {
            Control::Welcome(_) => Ok(tls),
            Control::Refused(refused) => Err(LinkError::Refused {
                why: Refusal::from_number(refused.why),
                detail: peer_text(&refused.detail).to_string(),
            }),
            _ => Err(self.no_byway("it sent an unexpected reply to a part of a bundle")),
        }
    }
}
