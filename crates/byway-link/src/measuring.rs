//! Measuring: what each carrier of a session moves and loses, and which one new streams prefer.
//!
//! In:    the carriers of a session, looked at once a window.
//! Out:   a figure of each for metrics; the preference of this side, which the other side is
//!        informed of.
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

/// And while there is none.
const IDLE_WINDOW: Duration = Duration::from_secs(2);

/// Fewer bytes in a window than this are pings and the like.
const TRAFFIC_BYTES: u64 = 4096;

/// One carrier in the last window.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Which carrier.
    pub kind: CarrierKind,
    /// Whether no reply to a ping is overdue.
    pub answers: bool,
    /// By the session's pings; none before the first reply. It includes what waits at the sender:
    /// on TLS a ping waits behind what the kernel has been given.
    pub round_trip: Option<Duration>,
    /// The share of packets that was lost, on TLS by the kernel; none where no packet was sent or
    /// it is not known.
    pub loss: Option<f64>,
    /// Bytes delivered per second: acknowledged on TLS, where the kernel says, and sent and not
    /// lost on QUIC.
    pub rate: u64,
    /// Bytes that may be under way, where it is known.
    pub congestion_window: Option<u64>,
    /// TCP connections; none on QUIC.
    pub connections: usize,
}

/// What a window of traffic changes: nothing on a link that has no choice.
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

/// Announces to the other side what this side has decided: yes or no, in a message of its own kind.
#[derive(Debug)]
pub(crate) struct Announcer {
    message: fn(u32) -> Control,
    last: Option<Announced>,
}

/// What was announced last, and the carriers of that moment.
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
    /// have changed since: one that has ended may have lost the message, and one that was silent
    /// may have delivered an older one after it. Without any announcement the other side assumes
    /// no.
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

/// Whether the log has said that a bundle is used, and why.
static SAID: AtomicBool = AtomicBool::new(false);

/// Whether new streams should use a bundle: the path loses what this side sends, by TLS, without
/// BBR. `lacks_bbr` says why the kernel does not give BBR, with the remedy, if it does not.
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
            peer = link.peer_addr().map(tracing::field::display),
            identity = link.peer().short(),
            "the path loses {whole}.{tenths} % of what is sent over TLS, and this kernel does not give BBR, which copes \
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

/// What is known of the carriers of a link.
struct Measurer {
    sampler: Sampler,
    preference: Preference,
    lossy: LossyPath,
    preferring: Announcer,
    wanting: Announcer,
    /// The begin of a trial, while there is no TLS carrier.
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

    /// Takes a window that ends `now`: writes the figures of each carrier, and announces what it
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

    /// Says a change that concerns new streams. Without a TLS carrier none does, and a dialler that
    /// uses QUIC alone never attaches one: the begin of a trial is said when TLS is there.
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
    async fn a_link_that_may_use_one_kind_of_carrier_alone_began_trials_of_the_other() {
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

    /// In which of ten windows, from 1, this side of `link` wants a bundle.
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
            assert_eq!(wants(link, 2, false, true), None, "the kernel gives BBR");
            assert_eq!(wants(link, 2, true, false), None, "QUIC may be back soon");
            link.agree(0);
            assert_eq!(
                wants(link, 2, false, false),
                None,
                "the other side knows no bundles"
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
