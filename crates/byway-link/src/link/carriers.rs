//! Carriers of a session: which are attached, which one new streams use, and which were replaced.
//!
//! In:    carriers whose handshake is complete; whether each answers; the kind each side prefers.
//! Out:   the best carrier for a new stream or message; the state in which no carrier answers; the
//!        end of the session with its last carrier.
//! Never: more than [`MOST_CARRIERS`]; never ends a carrier with open streams to make room for
//!        another, unless no carrier answers and no slot is free.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::log::Choice;
use super::{INBOX, Link, REPORTS, accept, silence};
use crate::carrier::{Carrier, CarrierKind};
use crate::control::{self, ControlStream, OutgoingMessages, PingControl};
use crate::large_packets;
use crate::liveness::{ACCEPTOR_PING_INTERVAL, DIALLER_PING_INTERVAL, Liveness};
use crate::measuring::{Measured, measure};
use crate::mux::core::Side;
use crate::segments::SegmentSize;
use crate::traffic::CarrierStats;
use crate::wire::{Control, Visited};

/// The most carriers of one session.
const MOST_CARRIERS: usize = 4;

#[derive(Default)]
pub(super) struct SessionCarriers {
    pub(super) attached: Vec<AttachedCarrier>,
    /// Slots that are reserved for carriers that are not attached yet.
    reserved: usize,
    next: u64,
    is_measured: bool,
    /// Carriers that have ended.
    ended: u64,
    /// Why the session has ended.
    pub(super) end: Option<Arc<str>>,
}

impl SessionCarriers {
    fn is_full(&self) -> bool {
        self.attached.len() + self.reserved >= MOST_CARRIERS
    }

    /// Removes and returns the carrier with the fewest streams, if no carrier answers.
    fn take_silent(&mut self) -> Option<AttachedCarrier> {
        if self
            .attached
            .iter()
            .any(|attached| !attached.ping_control.is_overdue())
        {
            return None;
        }
        let all = self.attached.iter().enumerate();
        let (place, _) =
            all.min_by_key(|(_, attached)| (attached.carrier.streams(), attached.number))?;
        self.ended += 1;
        Some(self.attached.remove(place))
    }
}

#[derive(Clone)]
pub(super) struct AttachedCarrier {
    pub(super) number: u64,
    pub(super) carrier: Carrier,
    since: Instant,
    stats: Arc<Mutex<CarrierStats>>,
    pub(super) control_queue: mpsc::Sender<Control>,
    pub(super) reports: mpsc::Sender<Box<Visited>>,
    pub(super) ping_control: Arc<PingControl>,
}

/// A reserved slot among the carriers of a session, until a carrier is attached in it.
pub(crate) struct CarrierSlot(Option<Link>);

impl CarrierSlot {
    /// Hands the slot to the carrier added under this lock, so it is never counted twice.
    fn hand_to_carrier(mut self, carriers: &mut SessionCarriers) {
        if self.0.take().is_some() {
            carriers.reserved -= 1;
        }
    }
}

impl Drop for CarrierSlot {
    fn drop(&mut self) {
        if let Some(link) = &self.0 {
            link.0.carriers.lock().reserved -= 1;
        }
    }
}

/// Why a session accepts no more carriers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoCarrierSlot {
    /// It has [`MOST_CARRIERS`].
    #[error("that session has the maximum number of carriers")]
    Full,
    /// It has ended.
    #[error("that session is over")]
    Over,
}

impl Link {
    /// The kinds of the session's carriers, the best last.
    pub fn carriers(&self) -> Vec<CarrierKind> {
        let mut kinds: Vec<_> = self
            .0
            .carriers
            .lock()
            .attached
            .iter()
            .map(|a| a.carrier.kind())
            .collect();
        kinds.sort();
        kinds
    }

    /// Resolves when the number of carriers that have ended differs from `known`, and returns it.
    /// What was sent on one of them and not answered may be lost. Cancel safe.
    pub async fn carriers_ended(&self, known: u64) -> u64 {
        let ended = |link: &Self| link.0.carriers.lock().ended;
        self.until(|link| ended(link) != known).await;
        ended(self)
    }

    /// Reserves a slot for one more carrier. If none is free and no carrier answers, the carrier
    /// with the fewest streams is ended.
    pub(crate) fn reserve(&self) -> Result<CarrierSlot, NoCarrierSlot> {
        let mut carriers = self.0.carriers.lock();
        if carriers.end.is_some() {
            return Err(NoCarrierSlot::Over);
        }
        let silent = if carriers.is_full() {
            carriers.take_silent()
        } else {
            None
        };
        if carriers.is_full() {
            return Err(NoCarrierSlot::Full);
        }
        carriers.reserved += 1;
        drop(carriers);
        if let Some(silent) = silent {
            silent.carrier.end(large_packets::MADE_ROOM);
        }
        Ok(CarrierSlot(Some(self.clone())))
    }

    /// Adds a carrier whose handshake is complete, in its reserved slot. Ends it at once if the
    /// session is over.
    pub(crate) fn attach(&self, place: CarrierSlot, carrier: Carrier, control: ControlStream) {
        let (control_queue, saying) = mpsc::channel(INBOX);
        let (reports, reporting) = mpsc::channel(REPORTS);
        let ping_control = Arc::new(PingControl::new(Arc::clone(&self.0.preference)));
        let (attached, begin_measuring) = {
            let mut carriers = self.0.carriers.lock();
            if carriers.end.is_some() {
                return carrier.end("the session is over");
            }
            carriers.next += 1;
            let number = carriers.next;
            let ping_control = Arc::clone(&ping_control);
            let since = Instant::now();
            let (carrier, stats) = (carrier.clone(), Arc::default());
            let attached = AttachedCarrier {
                number,
                carrier,
                since,
                stats,
                control_queue,
                reports,
                ping_control,
            };
            carriers.attached.push(attached.clone());
            place.hand_to_carrier(&mut carriers);
            (
                attached,
                !std::mem::replace(&mut carriers.is_measured, true),
            )
        };
        if begin_measuring {
            self.spawn(measure(self.clone()));
            self.spawn(self.clone().log_changes(Choice::of(self)));
        }
        self.0.preference.changes.send_replace(());
        let every = match self.0.side {
            Side::Dialler => DIALLER_PING_INTERVAL,
            Side::Acceptor => ACCEPTOR_PING_INTERVAL,
        };
        let liveness = Liveness::new(every, Instant::now().into_std());
        let outgoing = OutgoingMessages {
            control_queue: saying,
            reports: reporting,
        };
        let served = control::serve(
            control,
            carrier.clone(),
            liveness,
            outgoing,
            ping_control,
            self.0.inbox.clone(),
        );
        self.spawn(served);
        self.spawn(accept(
            carrier.clone(),
            self.holder(),
            self.0.streams.clone(),
            Arc::clone(&self.0.unannounced),
        ));
        let (link, number) = (self.clone(), attached.number);
        self.spawn(async move {
            carrier.ended().await;
            link.detach(number, &carrier);
        });
        if attached.carrier.kind() == CarrierKind::Tls {
            self.spawn(silence::watch(self.clone(), attached));
        }
    }

    pub(super) fn detach(&self, number: u64, carrier: &Carrier) {
        let mut carriers = self.0.carriers.lock();
        let before = carriers.attached.len();
        carriers
            .attached
            .retain(|attached| attached.number != number);
        let is_new = carriers.attached.len() < before;
        carriers.ended += u64::from(is_new);
        let last = carriers.attached.is_empty();
        // No other carrier answers, and the peer reports that it has no such session: they will not
        // recover.
        let is_gone = carrier.is_gone()
            && carriers
                .attached
                .iter()
                .all(|attached| attached.ping_control.is_overdue());
        if last {
            carriers.end.get_or_insert_with(|| carrier.reason().into());
        }
        drop(carriers);
        // The end of the last one ends the session, which logs its own line.
        if is_new && !last {
            self.log(format_args!(
                "{} ended: {}",
                carrier.kind(),
                carrier.reason()
            ));
        }
        self.0.preference.changes.send_replace(());
        if last {
            self.0.over.cancel();
        } else if is_gone {
            self.end(&carrier.reason());
        }
    }

    /// The best carrier: one that answers before a silent one, QUIC before TLS unless TLS is
    /// preferred, and the newer of two equals.
    pub(super) fn best(&self) -> Option<AttachedCarrier> {
        let preferred = if self.is_tls_preferred() {
            CarrierKind::Tls
        } else {
            CarrierKind::Quic
        };
        let carriers = self.0.carriers.lock();
        let rank = |attached: &&AttachedCarrier| {
            (
                !attached.ping_control.is_overdue(),
                attached.carrier.kind() == preferred,
                attached.number,
            )
        };
        carriers.attached.iter().max_by_key(rank).cloned()
    }

    /// Whether new streams use TLS where it is attached, by the measurements of both sides.
    pub(crate) fn is_tls_preferred(&self) -> bool {
        self.0.preference.is_tls_preferred()
    }

    /// Notes that this side's config allows only one kind of carrier: no other is tried or
    /// preferred.
    pub(crate) fn keep_to_one_kind(&self) {
        self.0.one_kind.store(true, Relaxed);
    }

    /// Whether this side may choose between the two kinds of carrier.
    pub(crate) fn has_choice(&self) -> bool {
        !self.0.one_kind.load(Relaxed)
    }

    /// Sets whether this side prefers TLS for new streams.
    pub(crate) fn prefer_tls(&self, prefers: bool) {
        self.0.preference.prefer_tls(prefers);
    }

    /// Sets whether this side wants a bundle for new streams.
    pub(crate) fn want_bundle(&self, wants: bool) {
        self.0.preference.want_bundle(wants);
    }

    pub(crate) fn wants_bundle(&self) -> bool {
        self.0.preference.wants_bundle()
    }

    /// Whether either side wants a bundle.
    pub(crate) fn is_bundle_wanted(&self) -> bool {
        self.0.preference.is_bundle_wanted()
    }

    /// Whether one of the carriers is TLS over several connections.
    pub(crate) fn has_bundle(&self) -> bool {
        self.0
            .carriers
            .lock()
            .attached
            .iter()
            .any(|attached| attached.carrier.is_bundle())
    }

    /// The kind of carrier that new streams use.
    pub(crate) fn best_kind(&self) -> Option<CarrierKind> {
        self.best().map(|best| best.carrier.kind())
    }

    /// The carriers with their numbers, and where their statistics are stored.
    pub(crate) fn measurable(&self) -> Vec<(u64, Carrier, Arc<Mutex<CarrierStats>>)> {
        let carriers = self.0.carriers.lock();
        let each = |attached: &AttachedCarrier| {
            (
                attached.number,
                attached.carrier.clone(),
                Arc::clone(&attached.stats),
            )
        };
        carriers.attached.iter().map(each).collect()
    }

    /// The kind that new streams use, and what was measured of the carriers in the last seconds.
    pub fn measured(&self) -> (Option<CarrierKind>, Vec<Measured>) {
        let attached = self.0.carriers.lock().attached.clone();
        let measured = attached.iter().map(
            |AttachedCarrier {
                 carrier,
                 stats,
                 ping_control,
                 ..
             }| {
                let stats = *stats.lock();
                Measured {
                    kind: carrier.kind(),
                    answers: !ping_control.is_overdue(),
                    round_trip: carrier.round_trip(),
                    loss: stats.loss,
                    rate: stats.rate,
                    congestion_window: carrier.sent().congestion_window,
                    connections: carrier.connections(),
                }
            },
        );
        (
            self.best().map(|best| best.carrier.kind()),
            measured.collect(),
        )
    }

    /// The next smaller segment size, if carriers may be silent because large packets are lost.
    pub(crate) fn smaller_segments(&self) -> Option<SegmentSize> {
        let carriers = self.0.carriers.lock();
        let silent = carriers
            .attached
            .iter()
            .filter(|attached| attached.ping_control.is_overdue());
        silent
            .filter_map(|attached| large_packets::suspected(&attached.carrier))
            .max()
            .map(SegmentSize::smaller)
    }

    /// Whether no carrier answers.
    pub fn is_silent(&self) -> bool {
        self.0
            .carriers
            .lock()
            .attached
            .iter()
            .all(|attached| attached.ping_control.is_overdue())
    }

    /// Resolves while no carrier answers. Cancel safe.
    pub async fn silent(&self) {
        self.until(Self::is_silent).await;
    }

    /// Resolves once `deadline` has passed and no carrier answers. Cancel safe.
    pub async fn silent_at(&self, deadline: Instant) {
        sleep_until(deadline).await;
        self.silent().await;
    }

    /// Resolves once a carrier answers. Cancel safe.
    pub(crate) async fn answers(&self) {
        self.until(|link| !link.is_silent()).await;
    }

    /// Resolves once `is_so` is true; it is evaluated again after each change of a carrier or of
    /// the preference. Cancel safe.
    pub(crate) async fn until(&self, is_so: impl Fn(&Self) -> bool) {
        let mut changes = self.0.preference.changes.subscribe();
        while !is_so(self) {
            // `self` keeps the sender alive.
            let _ = changes.changed().await;
        }
    }

    /// Whether a slot is free.
    pub(crate) fn has_place(&self) -> bool {
        !self.0.carriers.lock().is_full()
    }

    /// Ends each carrier without open streams that a newer one of its kind has replaced for at
    /// least `kept`.
    pub(crate) fn end_replaced(&self, kept: Duration) {
        let replaced: Vec<_> = {
            let carriers = self.0.carriers.lock();
            let is_replaced = |old: &&AttachedCarrier| {
                let replaces = |new: &AttachedCarrier| {
                    let is_newer =
                        new.number > old.number && new.carrier.kind() == old.carrier.kind();
                    is_newer && !new.ping_control.is_overdue() && new.since.elapsed() >= kept
                };
                old.carrier.streams() == 0 && carriers.attached.iter().any(replaces)
            };
            carriers
                .attached
                .iter()
                .filter(is_replaced)
                .map(|attached| attached.carrier.clone())
                .collect()
        };
        replaced
            .iter()
            .for_each(|carrier| carrier.end(large_packets::REPLACED));
    }
}
