//! Measuring: what each carrier of a session moves and loses, and which one new streams prefer.
//!
//! In:    the carriers of a session, looked at once a window.
//! Out:   a figure of each for metrics; the preference of this side, which the other side is informed of.
//! Never: sends traffic of its own.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::carrier::{CarrierKind, Sent};
use crate::link::Link;
use crate::preference::{Change, Preference, Window};
use crate::wire::Said;

/// A window while there is traffic.
const WINDOW: Duration = Duration::from_secs(1);

/// And while there is none.
const IDLE_WINDOW: Duration = Duration::from_secs(2);

/// Fewer bytes in a window than this are pings and the like.
const TRAFFIC_BYTES: u64 = 4096;

/// One carrier in the last window.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Which carrier.
    pub kind: CarrierKind,
    /// By the session's pings; none before the first reply.
    pub round_trip: Option<Duration>,
    /// The share of packets that was lost; none on TLS, and where hardly a packet was sent.
    pub loss: Option<f64>,
    /// Bytes sent per second, less those lost.
    pub rate: u64,
    /// Bytes that may be under way, where it is known.
    pub congestion_window: Option<u64>,
}

/// What was measured in one window.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) loss: Option<f64>,
    pub(crate) rate: u64,
}

/// What a window of traffic changes: nothing on a link that has no choice.
fn judged(link: &Link, preference: &mut Preference, window: &Window, now: Instant) -> Option<Change> {
    if !link.has_choice() {
        return None;
    }
    preference.measured(window, now.into_std())
}

/// Announces to the other side whether this side prefers TLS for new streams.
#[derive(Debug, Default)]
pub(crate) struct Announcer {
    last: Option<Announced>,
}

/// What was announced last, and the carriers of that moment.
#[derive(Debug, PartialEq, Eq)]
struct Announced {
    prefers_tls: bool,
    carriers: Vec<u64>,
}

impl Announcer {
    /// Announces the preference if it has changed, if the last attempt failed, or if the carriers have changed since:
    /// one that has ended may have lost the message, and one that was silent may have delivered an older one after it.
    /// Without any announcement the other side assumes QUIC.
    pub(crate) fn announce(&mut self, link: &Link, prefers_tls: bool) {
        let carriers = link.measurable().into_iter().map(|(number, ..)| number).collect();
        let now = Announced { prefers_tls, carriers };
        let is_due = self.last.as_ref().map_or(prefers_tls, |last| *last != now);
        if is_due && link.say(Said::PreferTls(u32::from(prefers_tls))) {
            self.last = Some(now);
        }
    }
}

/// Measures the carriers of `link` until it is over.
pub(crate) async fn measure(link: Link) {
    let measuring = async {
        let (mut preference, mut announcer, mut unlogged) = (Preference::default(), Announcer::default(), None);
        let mut before: HashMap<u64, Sent> = HashMap::new();
        let (mut begun, mut wait) = (Instant::now(), WINDOW);
        loop {
            sleep(wait).await;
            let now = Instant::now();
            let mut window = Window { lasted: now - begun, ..Window::default() };
            begun = now;
            let (mut after, mut has_tls) = (HashMap::new(), false);
            for (number, carrier, figures) in link.measurable() {
                let sent = carrier.sent();
                // A carrier that is new begins its first window now.
                let earlier = before.get(&number).copied().unwrap_or(sent);
                let bytes = sent.bytes.saturating_sub(earlier.bytes);
                let packets = sent.packets.saturating_sub(earlier.packets);
                let lost = sent.lost.saturating_sub(earlier.lost);
                match carrier.kind() {
                    CarrierKind::Tls => {
                        has_tls = true;
                        window.tls_bytes += bytes;
                    }
                    CarrierKind::Quic => {
                        window.quic_bytes += bytes;
                        window.quic_packets += packets;
                        window.quic_lost += lost;
                    }
                }
                let ms = u64::try_from(window.lasted.as_millis()).unwrap_or(u64::MAX).max(1);
                #[expect(clippy::cast_precision_loss, reason = "packets of a second are few")]
                let loss = (packets > 0).then(|| lost as f64 / packets as f64);
                *figures.lock() = Figures { loss, rate: bytes.saturating_mul(1000) / ms };
                after.insert(number, sent);
            }
            before = after;
            let moved = window.quic_bytes + window.tls_bytes;
            wait = if moved >= TRAFFIC_BYTES { WINDOW } else { IDLE_WINDOW };
            if let Some(change) = judged(&link, &mut preference, &window, now) {
                unlogged = Some(change);
            }
            // Without a TLS carrier nothing changes for any stream, and a dialler that uses QUIC alone never attaches one.
            if has_tls && let Some(change) = unlogged.take() {
                tracing::info!(peer = link.peer().short(), "{change}");
            }
            link.prefer_tls(preference.is_tls());
            announcer.announce(&link, preference.is_tls());
        }
    };
    tokio::select! {
        () = measuring => {}
        _ = link.ended() => {}
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Handle;

    use super::*;
    use crate::key::Fingerprint;
    use crate::mux::core::Side;

    #[tokio::test]
    async fn a_link_that_may_use_one_kind_of_carrier_alone_began_trials_of_the_other() {
        let peer = Fingerprint::of_spki(b"a server");
        let (link, _inbox) = Link::new([1; 16], peer, None, Side::Dialler, Handle::current());
        let lossy = Window { lasted: WINDOW, quic_packets: 1000, quic_lost: 100, quic_bytes: 1_000_000, tls_bytes: 0 };
        let begins_trial = |preference: &mut Preference| {
            let start = Instant::now();
            (0..10).any(|second| judged(&link, preference, &lossy, start + second * WINDOW).is_some())
        };
        assert!(begins_trial(&mut Preference::default()));
        link.keep_to_one_kind();
        let mut preference = Preference::default();
        assert!(!begins_trial(&mut preference) && !preference.is_tls());
    }
}
