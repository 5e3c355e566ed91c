//! Measuring: the rate and loss of each carrier of a session, and which one new streams prefer.
//!
//! In:    the carriers of a session, sampled once per window.
//! Out:   statistics for the metrics; the preference of this side, announced to the other side.
//! Never: sends traffic of its own.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::bundle::MOST_CONNECTIONS;
use crate::carrier::{Carrier, CarrierKind};
use crate::link::Link;
use crate::lossy_path::LossyPath;
use crate::preference::{Change, Preference};
use crate::traffic::{Moved, Sampler, Traffic};
use crate::wire::{Control, FEATURE_BUNDLE};

/// A window while there is traffic.
const WINDOW: Duration = Duration::from_secs(1);

/// A window while there is none.
const IDLE_WINDOW: Duration = Duration::from_secs(2);

/// Fewer bytes in a window than this are pings and similar messages.
const TRAFFIC_BYTES: u64 = 4096;

/// The measurements of one carrier in the last window.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// The kind of carrier.
    pub kind: CarrierKind,
    /// Whether no reply to a ping is overdue.
    pub answers: bool,
    /// Measured by pings; `None` before the first reply. Includes the delay at the sender: on TLS a
    /// ping waits behind the bytes in the kernel.
    pub round_trip: Option<Duration>,
    /// The share of lost packets, on TLS from the kernel; `None` if no packet was sent or it is
    /// unknown.
    pub loss: Option<f64>,
    /// Bytes delivered per second: on TLS acknowledged bytes, where the kernel reports them; on
    /// QUIC bytes sent and not lost.
    pub rate: u64,
    /// The bytes that may be in flight, where it is known.
    pub congestion_window: Option<u64>,
    /// The number of TCP connections; 0 on QUIC.
    pub connections: usize,
}

/// The change that a window of traffic causes; `None` on a link that has no choice.
fn judged(
    link: &Link,
    preference: &mut Preference,
    traffic: &Traffic,
    now: Instant,
) -> Option<Change> {
    if !link.has_choice() {
        return None;
    }
    preference.measured(traffic, now.into_std())
}

/// Announces a decision of this side, yes or no, in a message of its own kind.
#[derive(Debug)]
pub(crate) struct Announcer {
    message: fn(u32) -> Control,
    last: Option<Announced>,
}

/// The last announcement, and the carriers at that time.
#[derive(Debug, PartialEq, Eq)]
struct Announced {
    decided: bool,
    carriers: Vec<u64>,
}

impl Announcer {
    pub(crate) const fn new(message: fn(u32) -> Control) -> Self {
        Self {
            message,
            last: None,
        }
    }

    /// Announces the decision if it has changed, if the last attempt failed, or if the carriers
    /// have changed since: a carrier that has ended may have lost the message, and one that was
    /// silent may have delivered an older one after it. Without an announcement the other side
    /// assumes no.
    pub(crate) fn announce(&mut self, link: &Link, decided: bool) {
        let carriers = link
            .measurable()
            .into_iter()
            .map(|(number, ..)| number)
            .collect();
        let now = Announced { decided, carriers };
        let is_due = self.last.as_ref().map_or(decided, |last| *last != now);
        if is_due && link.try_send((self.message)(u32::from(decided))) {
            self.last = Some(now);
        }
    }
}

/// Whether the use of a bundle, with its reason, was logged.
static LOGGED: AtomicBool = AtomicBool::new(false);

/// Whether new streams should use a bundle: the path loses what this side sends over TLS without
/// BBR. `lacks_bbr` returns the reason and the remedy if the kernel has no BBR.
fn wants_bundle(
    link: &Link,
    lossy: &mut LossyPath,
    tls: &Moved,
    is_trial: bool,
    now: Instant,
    lacks_bbr: impl FnOnce() -> Option<String>,
) -> bool {
    if !link.has(FEATURE_BUNDLE)
        || is_trial
        || link.best_kind() != Some(CarrierKind::Tls)
        || link.has_bundle()
    {
        lossy.forget();
        return false;
    }
    let Some(loss) = lossy.measured(tls.packets, tls.lost, tls.meets_queue, now.into_std()) else {
        // A bundle stays wanted until it exists, or until no window with loss is left.
        return link.wants_bundle() && lossy.has_loss();
    };
    if link.wants_bundle() {
        return true;
    }
    let Some(advice) = lacks_bbr() else {
        lossy.forget();
        return false;
    };
    if !LOGGED.swap(true, Relaxed) {
        let (whole, tenths) = (loss / 10, loss % 10);
        tracing::warn!(
            peer = link.peer_addr().map(tracing::field::display),
            identity = link.peer().short(),
            "the path loses {whole}.{tenths} % of what is sent over TLS, and this kernel does not provide BBR, which copes \
             with it: new streams use {MOST_CONNECTIONS} TCP connections; {advice}"
        );
    }
    true
}

/// Measures the carriers of `link` until it is over.
pub(crate) async fn measure(link: Link) {
    let measuring = async {
        let mut measurer = Measurer::new(Instant::now());
        let mut wait = WINDOW;
        loop {
            sleep(wait).await;
            let traffic = measurer.window(&link, Instant::now());
            wait = if traffic.quic.bytes + traffic.tls.bytes >= TRAFFIC_BYTES {
                WINDOW
            } else {
                IDLE_WINDOW
            };
        }
    };
    tokio::select! {
        () = measuring => {}
        _ = link.ended() => {}
    }
}

/// The state of measuring one link.
struct Measurer {
    sampler: Sampler,
    preference: Preference,
    lossy: LossyPath,
    preferring: Announcer,
    wanting: Announcer,
    /// The start of a trial that was not logged yet, because there is no TLS carrier.
    unlogged: Option<Change>,
}

impl Measurer {
    fn new(now: Instant) -> Self {
        let (preference, lossy, unlogged) = Default::default();
        let (preferring, wanting) = (
            Announcer::new(Control::PreferTls),
            Announcer::new(Control::WantBundle),
        );
        Self {
            sampler: Sampler::new(now),
            preference,
            lossy,
            preferring,
            wanting,
            unlogged,
        }
    }

    /// Takes a window that ends at `now`: stores the statistics of each carrier, and announces
    /// changes.
    fn window(&mut self, link: &Link, now: Instant) -> Traffic {
        let carriers = link.measurable();
        let counters = carriers
            .iter()
            .map(|(number, carrier, _)| (*number, carrier.kind(), carrier.sent()));
        let (traffic, stats) = self.sampler.sample(now, counters);
        for ((_, _, to), (_, stats)) in carriers.iter().zip(stats) {
            *to.lock() = stats;
        }
        let change = judged(link, &mut self.preference, &traffic, now);
        let tls = carriers
            .iter()
            .map(|(_, carrier, _)| carrier)
            .rfind(|carrier| carrier.kind() == CarrierKind::Tls);
        self.log(link, change, tls.is_some());
        let is_tls = self.preference.is_tls();
        link.prefer_tls(is_tls);
        self.preferring.announce(link, is_tls);
        let is_trial = self.preference.is_trial();
        let lacks_bbr = || tls.and_then(Carrier::lacks_bbr);
        let wants = wants_bundle(
            link,
            &mut self.lossy,
            &traffic.tls,
            is_trial,
            now,
            lacks_bbr,
        );
        link.want_bundle(wants);
        self.wanting.announce(link, wants);
        traffic
    }

    /// Logs a change that affects new streams. None does without a TLS carrier, which a dialler of
    /// QUIC alone never attaches: the start of a trial is logged once TLS is attached.
    fn log(&mut self, link: &Link, change: Option<Change>, has_tls: bool) {
        match (change, has_tls) {
            (Some(change @ Change::TryTls(_)), false) => self.unlogged = Some(change),
            (Some(_), false) => self.unlogged = None,
            (Some(change), true) => link.log(change),
            (None, true) => {
                if let Some(Change::TryTls(why)) = self.unlogged.take() {
                    link.log(format_args!(
                        "tls is attached beside quic, for a trial: {why}"
                    ));
                }
            }
            (None, false) => {}
        }
        if has_tls {
            self.unlogged = None;
        }
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
    async fn a_link_limited_to_one_kind_of_carrier_starts_no_trial_of_the_other() {
        let peer = Fingerprint::of_spki(b"a server");
        let (link, _inbox) = Link::new([1; 16], peer, None, Side::Dialler, Handle::current());
        let (packets, bytes) = (1000, 1_000_000);
        let quic = Moved {
            packets,
            lost: 100,
            bytes,
            payload: bytes,
            ..Moved::default()
        };
        let lossy = Traffic {
            lasted: WINDOW,
            quic,
            ..Traffic::default()
        };
        let begins_trial = |preference: &mut Preference| {
            let start = Instant::now();
            (0..10)
                .any(|second| judged(&link, preference, &lossy, start + second * WINDOW).is_some())
        };
        assert!(begins_trial(&mut Preference::default()));
        link.keep_to_one_kind();
        let mut preference = Preference::default();
        assert!(!begins_trial(&mut preference) && !preference.is_tls());
    }

    /// The first of ten windows, from 1, in which this side of `link` wants a bundle.
    fn wants(link: &Link, lost: u64, is_trial: bool, gives_bbr: bool) -> Option<u32> {
        let (mut lossy, start) = (LossyPath::default(), Instant::now());
        let tls = Moved {
            packets: 110,
            lost,
            ..Moved::default()
        };
        (1..=10).find(|window| {
            let lacks_bbr = || (!gives_bbr).then(|| "advice".to_owned());
            wants_bundle(
                link,
                &mut lossy,
                &tls,
                is_trial,
                start + *window * WINDOW,
                lacks_bbr,
            )
        })
    }

    #[tokio::test]
    async fn a_bundle_is_wanted_on_a_lossy_path_by_tls_without_bbr_and_never_otherwise() {
        let tls = Pair::new(Carriers::Tls).await;
        for link in [&tls.dialler.link, &tls.acceptor.link] {
            assert_eq!(wants(link, 2, false, false), Some(3));
            assert_eq!(wants(link, 0, false, false), None, "nothing is lost");
            assert_eq!(wants(link, 2, false, true), None, "the kernel provides BBR");
            assert_eq!(wants(link, 2, true, false), None, "QUIC may be back soon");
            link.agree(0);
            assert_eq!(
                wants(link, 2, false, false),
                None,
                "the other side does not support bundles"
            );
        }
        let quic = Pair::new(Carriers::Quic).await;
        assert_eq!(
            wants(&quic.dialler.link, 2, false, false),
            None,
            "QUIC is in use"
        );
    }
}
