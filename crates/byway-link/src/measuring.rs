//! Measuring: what each carrier of a session moves and loses, and which one new streams prefer.
//!
//! In:    the carriers of a session, looked at once a window.
//! Out:   a figure of each for metrics; the preference of this side, which the other side is informed of.
//! Never: sends traffic of its own.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::bundle::MOST_CONNECTIONS;
use crate::carrier::{Carrier, CarrierKind, Sent};
use crate::link::Link;
use crate::lossy_path::LossyPath;
use crate::preference::{Change, Preference, Window};
use crate::wire::{FEATURE_BUNDLE, Said};

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
    /// The share of packets that was lost, on TLS by the kernel; none where no packet was sent or it is not known.
    pub loss: Option<f64>,
    /// Bytes sent per second, less those lost.
    pub rate: u64,
    /// Bytes that may be under way, where it is known.
    pub congestion_window: Option<u64>,
    /// TCP connections; none on QUIC.
    pub connections: usize,
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

/// Announces to the other side what this side has decided: yes or no, in a message of its own kind.
#[derive(Debug)]
pub(crate) struct Announcer {
    message: fn(u32) -> Said,
    last: Option<Announced>,
}

/// What was announced last, and the carriers of that moment.
#[derive(Debug, PartialEq, Eq)]
struct Announced {
    decided: bool,
    carriers: Vec<u64>,
}

impl Announcer {
    pub(crate) const fn new(message: fn(u32) -> Said) -> Self {
        Self { message, last: None }
    }

    /// Announces the decision if it has changed, if the last attempt failed, or if the carriers have changed since:
    /// one that has ended may have lost the message, and one that was silent may have delivered an older one after it.
    /// Without any announcement the other side assumes no.
    pub(crate) fn announce(&mut self, link: &Link, decided: bool) {
        let carriers = link.measurable().into_iter().map(|(number, ..)| number).collect();
        let now = Announced { decided, carriers };
        let is_due = self.last.as_ref().map_or(decided, |last| *last != now);
        if is_due && link.say((self.message)(u32::from(decided))) {
            self.last = Some(now);
        }
    }
}

/// Whether the log has said that a bundle is used, and why.
static SAID: AtomicBool = AtomicBool::new(false);

/// What the TLS carriers have sent and lost in a window.
#[derive(Clone, Copy, Debug, Default)]
struct Segments {
    sent: u64,
    lost: u64,
    is_queued: bool,
}

/// Whether new streams should use a bundle: the path loses what this side sends, by TLS, without BBR. `lacks_bbr` says
/// why the kernel does not give BBR, with the remedy, if it does not.
fn wants_bundle(
    link: &Link,
    lossy: &mut LossyPath,
    segments: Segments,
    is_trial: bool,
    now: Instant,
    lacks_bbr: impl FnOnce() -> Option<String>,
) -> bool {
    if !link.has(FEATURE_BUNDLE) || is_trial || link.best_kind() != Some(CarrierKind::Tls) || link.has_bundle() {
        lossy.forget();
        return false;
    }
    let Some(loss) = lossy.measured(segments.sent, segments.lost, segments.is_queued, now.into_std()) else {
        // What was wanted is wanted until it is there, or no window with loss is left.
        return link.wants_bundle() && lossy.has_loss();
    };
    if link.wants_bundle() {
        return true;
    }
    let Some(advice) = lacks_bbr() else {
        lossy.forget();
        return false;
    };
    if !SAID.swap(true, Relaxed) {
        let (whole, tenths) = (loss / 10, loss % 10);
        tracing::warn!(
            peer = link.peer().short(),
            "the path loses {whole}.{tenths} % of what is sent over TLS, and this kernel does not give BBR, which copes \
             with it: new streams use {MOST_CONNECTIONS} TCP connections; {advice}"
        );
    }
    true
}

/// Measures the carriers of `link` until it is over.
pub(crate) async fn measure(link: Link) {
    let measuring = async {
        let (mut preference, mut unlogged, mut lossy) = (Preference::default(), None, LossyPath::default());
        let (mut preferring, mut wanting) = (Announcer::new(Said::PreferTls), Announcer::new(Said::WantBundle));
        let mut before: HashMap<u64, Sent> = HashMap::new();
        let (mut begun, mut wait) = (Instant::now(), WINDOW);
        loop {
            sleep(wait).await;
            let now = Instant::now();
            let mut window = Window { lasted: now - begun, ..Window::default() };
            begun = now;
            let (mut after, mut tls, mut segments) = (HashMap::new(), None, Segments::default());
            for (number, carrier, figures) in link.measurable() {
                let sent = carrier.sent();
                // A carrier that is new begins its first window now.
                let earlier = before.get(&number).copied().unwrap_or(sent);
                let bytes = sent.bytes.saturating_sub(earlier.bytes);
                let packets = sent.packets.saturating_sub(earlier.packets);
                let lost = sent.lost.saturating_sub(earlier.lost);
                match carrier.kind() {
                    CarrierKind::Tls => {
                        window.tls_bytes += bytes;
                        segments.sent += packets;
                        segments.lost += lost;
                        segments.is_queued |= sent.is_queued;
                        tls = Some(carrier.clone());
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
            if tls.is_some()
                && let Some(change) = unlogged.take()
            {
                tracing::info!(peer = link.peer().short(), "{change}");
            }
            link.prefer_tls(preference.is_tls());
            preferring.announce(&link, preference.is_tls());
            let lacks_bbr = || tls.as_ref().and_then(Carrier::lacks_bbr);
            let wants = wants_bundle(&link, &mut lossy, segments, preference.is_trial(), now, lacks_bbr);
            link.want_bundle(wants);
            wanting.announce(&link, wants);
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
    use crate::Carriers;
    use crate::common::Pair;
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

    /// In which of ten windows, from 1, this side of `link` wants a bundle.
    fn wants(link: &Link, lost: u64, is_trial: bool, gives_bbr: bool) -> Option<u32> {
        let (mut lossy, start) = (LossyPath::default(), Instant::now());
        let segments = Segments { sent: 110, lost, is_queued: false };
        (1..=10).find(|window| {
            let lacks_bbr = || (!gives_bbr).then(|| "advice".to_owned());
            wants_bundle(link, &mut lossy, segments, is_trial, start + *window * WINDOW, lacks_bbr)
        })
    }

    #[tokio::test]
    async fn a_bundle_is_wanted_on_a_lossy_path_by_tls_without_bbr_and_never_otherwise() {
        let tls = Pair::new(Carriers::Tls).await;
        for link in [&tls.dialler.link, &tls.acceptor.link] {
            assert_eq!(wants(link, 2, false, false), Some(3));
            assert_eq!(wants(link, 0, false, false), None, "nothing is lost");
            assert_eq!(wants(link, 2, false, true), None, "the kernel gives BBR");
            assert_eq!(wants(link, 2, true, false), None, "QUIC may be back soon");
            link.agree(0);
            assert_eq!(wants(link, 2, false, false), None, "the other side knows no bundles");
        }
        let quic = Pair::new(Carriers::Quic).await;
        assert_eq!(wants(&quic.dialler.link, 2, false, false), None, "QUIC is in use");
    }
}
