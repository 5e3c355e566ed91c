//! Delivery rate: how fast acknowledged bytes arrive at the receiver, sampled once per
//! acknowledgement.
//!
//! In:    bytes sent, acknowledged and lost, with their times.
//! Out:   one [`Sample`] per batch of acknowledgements.
//! Never: more than [`MAX_BATCHES`] entries, however long no acknowledgement arrives.
//!
//! This is the estimator of draft-ietf-ccwg-bbr: each packet records how many bytes had been
//! delivered when it was sent. The rate is what was delivered since then, over the longer of the
//! two intervals in which it was sent and acknowledged. Quinn identifies a packet only by the time
//! at which it was sent, so packets that are sent within a small fraction of a round trip share one
//! entry.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::arithmetic::per_second;

/// The most entries; a new one replaces the oldest. Acknowledgements of dropped entries give no
/// sample.
const MAX_BATCHES: usize = 4096;

/// Packets that are sent within this fraction of the smallest round trip share an entry.
const BATCHES_PER_ROUND_TRIP: u32 = 128;

/// How long entries older than the newest acknowledged one are kept, in round trips.
const KEPT_ROUND_TRIPS: u32 = 2;

/// The state when a batch of packets was sent.
#[derive(Clone, Copy, Debug)]
struct Batch {
    sent: Instant,
    delivered: u64,
    delivered_at: Instant,
    first_sent: Instant,
    app_limited: bool,
    in_flight: u64,
}

/// The result of one batch of acknowledgements.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// Bytes per second; `None` if the interval is too short.
    pub(super) rate: Option<u64>,
    /// The sender had too little to send for the rate to show the capacity of the path.
    pub(super) app_limited: bool,
    /// All bytes that had been delivered when the newest acknowledged packet was sent.
    pub(super) prior_delivered: u64,
    /// Bytes in flight when the newest acknowledged packet was sent, including it.
    pub(super) in_flight: u64,
    /// Bytes that this batch acknowledges.
    pub(super) acked: u64,
    /// The smallest round trip of this batch, with the receiver's delay of acknowledgements.
    pub(super) round_trip: Duration,
}

/// Estimates the delivery rate: keeps what was sent and not acknowledged, in at most `MAX_BATCHES`
/// entries, and returns one sample for each batch of acknowledgements.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    batches: VecDeque<Batch>,
    delivered: u64,
    delivered_at: Instant,
    first_sent: Instant,
    in_flight: u64,
    /// Samples are application-limited until this many bytes are delivered; 0 if they are not.
    limited_until: u64,
    min_round_trip: Duration,
    // Of the acknowledgements that are being reported.
    acked: u64,
    round_trip: Option<Duration>,
    newest: Option<Batch>,
    newest_sent: Instant,
}

impl Delivery {
    /// Nothing was sent yet.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            batches: VecDeque::new(),
            delivered: 0,
            delivered_at: now,
            first_sent: now,
            in_flight: 0,
            limited_until: 0,
            min_round_trip: Duration::ZERO,
            acked: 0,
            round_trip: None,
            newest: None,
            newest_sent: now,
        }
    }

    /// All bytes delivered.
    pub(super) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// An estimate of the bytes in flight; exact after each batch of acknowledgements.
    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Sets the shortest interval for which a rate is computed.
    pub(super) fn set_min_round_trip(&mut self, min: Duration) {
        self.min_round_trip = min;
    }

    /// Adds sent bytes. Returns whether nothing was in flight before.
    pub(super) fn on_sent(&mut self, now: Instant, bytes: u64) -> bool {
        let idle = self.in_flight == 0;
        if idle {
            (self.first_sent, self.delivered_at) = (now, now);
        }
        self.in_flight = self.in_flight.saturating_add(bytes);
        let step = self.min_round_trip / BATCHES_PER_ROUND_TRIP;
        match self.batches.back_mut() {
            Some(last) if !idle && now.saturating_duration_since(last.sent) <= step => {
                last.in_flight = self.in_flight;
            }
            _ => {
                if self.batches.len() >= MAX_BATCHES {
                    self.batches.pop_front();
                }
                self.batches.push_back(Batch {
                    sent: now,
                    delivered: self.delivered,
                    delivered_at: self.delivered_at,
                    first_sent: self.first_sent,
                    app_limited: self.limited_until > 0,
                    in_flight: self.in_flight,
                });
            }
        }
        idle
    }

    /// Adds an acknowledged packet.
    pub(super) fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64) {
        self.delivered = self.delivered.saturating_add(bytes);
        self.delivered_at = now;
        self.in_flight = self.in_flight.saturating_sub(bytes);
        self.acked = self.acked.saturating_add(bytes);
        let round_trip = now.saturating_duration_since(sent);
        self.round_trip = Some(
            self.round_trip
                .map_or(round_trip, |least| least.min(round_trip)),
        );
        if self.newest.is_none() || sent > self.newest_sent {
            self.newest_sent = sent;
            if let Some(batch) = self.batch(sent) {
                self.newest = Some(batch);
                self.first_sent = sent;
            }
        }
    }

    /// The entry of what was sent at `sent`.
    fn batch(&self, sent: Instant) -> Option<Batch> {
        let after = self.batches.partition_point(|batch| batch.sent <= sent);
        self.batches.get(after.checked_sub(1)?).copied()
    }

    /// Bytes in flight when a packet was sent at `sent`.
    pub(super) fn in_flight_at(&self, sent: Instant) -> Option<u64> {
        self.batch(sent).map(|batch| batch.in_flight)
    }

    /// Removes lost bytes.
    pub(super) fn on_lost(&mut self, bytes: u64) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
    }

    /// Ends a batch of acknowledgements.
    pub(super) fn end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
    ) -> Option<Sample> {
        self.in_flight = in_flight;
        if self.limited_until > 0 && self.delivered > self.limited_until {
            self.limited_until = 0;
        }
        if app_limited {
            self.limited_until = self.delivered.saturating_add(in_flight).max(1);
        }
        let acked = std::mem::take(&mut self.acked);
        let round_trip = self.round_trip.take()?;
        let batch = self.newest.take()?;
        let sending = self.newest_sent.saturating_duration_since(batch.first_sent);
        let acking = now.saturating_duration_since(batch.delivered_at);
        let interval = sending.max(acking);
        let delivered = self.delivered.saturating_sub(batch.delivered);
        let known = interval >= self.min_round_trip && !interval.is_zero();
        let keep = round_trip
            .max(self.min_round_trip)
            .saturating_mul(KEPT_ROUND_TRIPS);
        while self.batches.len() > 1
            && self
                .batches
                .get(1)
                .is_some_and(|next| batch.sent.saturating_duration_since(next.sent) > keep)
        {
            self.batches.pop_front();
        }
        Some(Sample {
            rate: known.then(|| per_second(delivered, interval)),
            app_limited: batch.app_limited,
            prior_delivered: batch.delivered,
            in_flight: batch.in_flight,
            acked,
            round_trip,
        })
    }

    #[cfg(test)]
    pub(super) fn batches(&self) -> usize {
        self.batches.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_rate_is_what_was_delivered_over_the_round_trip() {
        let start = Instant::now();
        let mut delivery = Delivery::new(start);
        for ms in 0..100 {
            delivery.on_sent(start + ms * MS, 1000);
        }
        let mut last = None;
        for ms in 0..300 {
            let now = start + (100 + ms) * MS;
            delivery.on_sent(now, 1000);
            delivery.on_ack(now, start + ms * MS, 1000);
            last = delivery.end_acks(now, 100_000, false);
        }
        let last = last.unwrap();
        assert_eq!((last.acked, last.round_trip), (1000, 100 * MS));
        let rate = last.rate.unwrap();
        assert!((990_000..=1_000_000).contains(&rate), "{rate}");
    }

    #[test]
    fn samples_of_packets_from_an_idle_sender_are_marked() {
        let start = Instant::now();
        let mut delivery = Delivery::new(start);
        delivery.on_sent(start, 1000);
        delivery.on_ack(start + 10 * MS, start, 1000);
        assert!(
            !delivery
                .end_acks(start + 10 * MS, 0, true)
                .unwrap()
                .app_limited
        );
        delivery.on_sent(start + 20 * MS, 1000);
        delivery.on_sent(start + 25 * MS, 1000);
        delivery.on_ack(start + 30 * MS, start + 20 * MS, 1000);
        assert!(
            delivery
                .end_acks(start + 30 * MS, 1000, false)
                .unwrap()
                .app_limited
        );
        delivery.on_sent(start + 31 * MS, 1000);
        delivery.on_ack(start + 41 * MS, start + 31 * MS, 1000);
        assert!(
            !delivery
                .end_acks(start + 41 * MS, 1000, false)
                .unwrap()
                .app_limited
        );
    }

    #[test]
    fn a_sender_without_acknowledgements_holds_a_bounded_number_of_entries() {
        let start = Instant::now();
        let mut delivery = Delivery::new(start);
        for ms in 0..20_000 {
            delivery.on_sent(start + ms * MS, 40);
        }
        assert_eq!(delivery.batches(), MAX_BATCHES);
        // The oldest entry was dropped.
        delivery.on_ack(start + 20_000 * MS, start, 40);
        assert!(delivery.end_acks(start + 20_000 * MS, 40, false).is_none());
    }

    #[test]
    fn entries_behind_the_newest_acknowledged_packet_are_dropped() {
        let start = Instant::now();
        let mut delivery = Delivery::new(start);
        for ms in 0..5_000 {
            let now = start + ms * MS;
            delivery.on_sent(now, 1000);
            if ms >= 50 {
                delivery.on_ack(now, now - 50 * MS, 1000);
                delivery.end_acks(now, 50_000, false).unwrap();
            }
        }
        assert!(delivery.batches() <= 200, "{}", delivery.batches());
    }
}
