//! Traffic: what the carriers of a session have sent in one window of time.
//!
//! In:    the counters of each carrier at the end of a window.
//! Out:   what QUIC and TLS have delivered in it, and how much of that was payload of streams.
//! Never: does I/O or reads a clock.
//!
//! A side that only receives sends acknowledgements and credit, which may be many packets. They
//! show little about the speed of the carrier, so payload is counted separately: it is at most what
//! streams have written and at most what was delivered.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::carrier::{CarrierKind, Sent};

/// What was measured of one carrier in one window, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct CarrierStats {
    /// The share of packets that were lost.
    pub(crate) loss: Option<f64>,
    /// Bytes per second that were delivered.
    pub(crate) rate: u64,
}

/// What the carriers of one kind have sent in a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Packets, including those without payload.
    pub packets: u64,
    /// Packets, also earlier ones, that were found lost in the window.
    pub lost: u64,
    /// Bytes that were delivered, including overhead.
    pub bytes: u64,
    /// Payload of streams that was delivered.
    pub payload: u64,
    /// How long there was data to deliver.
    pub busy: Duration,
    /// Whether payload waits to be sent at the end of the window.
    pub is_backlogged: bool,
    /// The round-trip time of packets, if it is known.
    pub round_trip: Option<Duration>,
    /// TLS: packets wait in a queue of the path, and may be lost because it is full.
    pub meets_queue: bool,
}

impl Moved {
    fn add(&mut self, other: &Self) {
        self.packets += other.packets;
        self.lost += other.lost;
        self.bytes += other.bytes;
        self.payload += other.payload;
        self.busy = self.busy.max(other.busy);
        self.is_backlogged |= other.is_backlogged;
        self.round_trip = self.round_trip.max(other.round_trip);
        self.meets_queue |= other.meets_queue;
    }
}

/// One window of traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Its length.
    pub lasted: Duration,
    /// By QUIC.
    pub quic: Moved,
    /// By TLS.
    pub tls: Moved,
}

/// `bytes` in `time`, per second.
pub(crate) fn per_second(bytes: u64, time: Duration) -> u64 {
    let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
    bytes.saturating_mul(1000) / ms
}

/// The most payload of a UDP datagram on today's paths.
const DATAGRAM_BYTES: u64 = 1500;

/// The counters of a carrier at the end of the last window.
#[derive(Clone, Copy, Debug)]
struct Before {
    sent: Sent,
    /// Payload that was written and is not known to be delivered.
    pending: u64,
}

impl Before {
    /// The traffic since the last call, where `now` is the present state of the counters.
    fn until(&mut self, now: &Sent, lasted: Duration) -> Moved {
        let before = std::mem::replace(&mut self.sent, *now);
        let bytes = now.bytes.saturating_sub(before.bytes);
        let frames = now.stream_frames.zip(before.stream_frames);
        let most = frames.map_or(u64::MAX, |(now, before)| {
            now.saturating_sub(before).saturating_mul(DATAGRAM_BYTES)
        });
        self.pending += now.written.saturating_sub(before.written);
        let payload = self.pending.min(bytes).min(most);
        self.pending -= payload;
        let busy = now.busy.zip(before.busy).map_or(lasted, |(now, before)| {
            now.saturating_sub(before).min(lasted)
        });
        let packets = now.packets.saturating_sub(before.packets);
        Moved {
            packets,
            // After a silence, many packets of earlier windows are found lost at once.
            lost: now.lost.saturating_sub(before.lost).min(packets),
            bytes,
            payload,
            busy,
            is_backlogged: now.queued > 0,
            round_trip: now.round_trip,
            meets_queue: now.is_queued,
        }
    }
}

/// Takes the counters of the carriers once per window.
#[derive(Debug)]
pub(crate) struct Sampler {
    before: HashMap<u64, Before>,
    at: Instant,
}

impl Sampler {
    /// The first window starts at `now`.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            before: HashMap::new(),
            at: now,
        }
    }

    /// Ends the window at `now`: takes the number, the kind and the counters of each carrier. A new
    /// carrier starts its first window now.
    pub(crate) fn sample(
        &mut self,
        now: Instant,
        carriers: impl IntoIterator<Item = (u64, CarrierKind, Sent)>,
    ) -> (Traffic, Vec<(u64, CarrierStats)>) {
        let mut traffic = Traffic {
            lasted: now - self.at,
            ..Traffic::default()
        };
        self.at = now;
        let (mut after, mut stats) = (HashMap::new(), Vec::new());
        for (number, kind, sent) in carriers {
            // What was written before is counted as pending.
            let new = Before {
                sent,
                pending: sent.written.saturating_sub(sent.bytes),
            };
            let mut before = self.before.get(&number).copied().unwrap_or(new);
            let moved = before.until(&sent, traffic.lasted);
            match kind {
                CarrierKind::Quic => traffic.quic.add(&moved),
                CarrierKind::Tls => traffic.tls.add(&moved),
            }
            #[expect(clippy::cast_precision_loss, reason = "packets of a second are few")]
            let loss = (moved.packets > 0).then(|| moved.lost as f64 / moved.packets as f64);
            stats.push((
                number,
                CarrierStats {
                    loss,
                    rate: per_second(moved.bytes, traffic.lasted),
                },
            ));
            after.insert(number, before);
        }
        self.before = after;
        (traffic, stats)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MIB: u64 = 1024 * 1024;

    /// The windows of one carrier, by its counters at the end of each.
    fn windows(kind: CarrierKind, counters: impl IntoIterator<Item = Sent>) -> Vec<Moved> {
        let start = Instant::now();
        let mut sampler = Sampler::new(start);
        let mut at = start;
        let moved = |sent| {
            at += SECOND;
            let (traffic, _) = sampler.sample(at, [(1, kind, sent)]);
            match kind {
                CarrierKind::Quic => traffic.quic,
                CarrierKind::Tls => traffic.tls,
            }
        };
        counters.into_iter().map(moved).collect()
    }

    fn quic(second: u64, packets: u64, bytes: u64, written: u64, frames: u64) -> Sent {
        Sent {
            packets: packets * second,
            lost: packets * second * 3 / 100,
            bytes: bytes * second,
            written: written * second,
            stream_frames: Some(frames * second),
            ..Sent::default()
        }
    }

    #[test]
    fn acknowledgements_of_a_download_were_counted_as_traffic_of_this_side() {
        // A client that downloads: acknowledgements, and some credit, which travels on the control
        // stream.
        let windows = windows(
            CarrierKind::Quic,
            (0..10).map(|second| quic(second, 700, 30_000, 0, 20)),
        );
        assert!(
            windows[1..]
                .iter()
                .all(|moved| (moved.packets, moved.bytes, moved.payload) == (700, 30_000, 0))
        );
    }

    #[test]
    fn acknowledgements_are_not_counted_as_payload_of_a_reset_stream() {
        let after_reset = |second| Sent {
            written: 4 * MIB,
            ..quic(second, 700, 30_000, 0, 2)
        };
        let windows = windows(CarrierKind::Quic, (0..10).map(after_reset));
        assert!(
            windows[1..]
                .iter()
                .all(|moved| moved.payload <= 2 * DATAGRAM_BYTES),
            "{windows:?}"
        );
    }

    #[test]
    fn payload_that_is_written_at_once_counts_when_it_is_delivered() {
        let delivering = |second: u64| Sent {
            bytes: 1000 + 125_000 * second,
            written: if second == 0 { 0 } else { 2 * MIB },
            stream_frames: Some(100 * second),
            ..Sent::default()
        };
        let windows = windows(CarrierKind::Quic, (0..=20).map(delivering));
        assert!(
            windows[1..=16].iter().all(|moved| moved.payload == 125_000),
            "{windows:?}"
        );
        assert_eq!(
            windows.iter().map(|moved| moved.payload).sum::<u64>(),
            2 * MIB
        );
    }

    #[test]
    fn bytes_that_streams_had_written_into_the_mux_were_counted_as_delivered() {
        // The mux accepts 256 KiB of a stream at once, and the path moves 130 KB a second.
        let sent = |second: u64| Sent {
            bytes: 130_000 * second,
            written: 130_000 * second + 256 * 1024,
            queued: 256 * 1024,
            busy: Some(SECOND * u32::try_from(second).unwrap()),
            ..Sent::default()
        };
        let windows = windows(CarrierKind::Tls, (0..5).map(sent));
        for moved in &windows[1..] {
            assert_eq!(
                (moved.payload, moved.busy, moved.is_backlogged),
                (130_000, SECOND, true)
            );
        }
    }

    #[test]
    fn more_packets_were_lost_in_the_window_after_a_silence_than_were_sent_in_it() {
        let sent = |packets, lost| Sent {
            packets,
            lost,
            ..Sent::default()
        };
        let windows = windows(
            CarrierKind::Quic,
            [sent(0, 0), sent(100, 0), sent(108, 33), sent(208, 33)],
        );
        assert_eq!(
            windows
                .iter()
                .map(|moved| (moved.packets, moved.lost))
                .collect::<Vec<_>>(),
            [(0, 0), (100, 0), (8, 8), (100, 0)]
        );
    }

    #[test]
    fn carriers_of_one_kind_add_up_and_those_that_ended_are_forgotten() {
        let start = Instant::now();
        let mut sampler = Sampler::new(start);
        let sent = |bytes| Sent {
            bytes,
            written: bytes,
            packets: bytes / 1000,
            ..Sent::default()
        };
        sampler.sample(
            start + SECOND,
            [
                (1, CarrierKind::Tls, sent(0)),
                (2, CarrierKind::Tls, sent(5000)),
            ],
        );
        let both = [
            (1, CarrierKind::Tls, sent(20_000)),
            (2, CarrierKind::Tls, sent(15_000)),
        ];
        let (traffic, stats) = sampler.sample(start + 3 * SECOND, both);
        assert_eq!(
            (traffic.lasted, traffic.tls.bytes, traffic.tls.payload),
            (2 * SECOND, 30_000, 30_000)
        );
        assert_eq!(
            stats[0],
            (
                1,
                CarrierStats {
                    loss: Some(0.0),
                    rate: 10_000
                }
            )
        );
        let (traffic, _) = sampler.sample(
            start + 4 * SECOND,
            [(3, CarrierKind::Quic, sent(1_000_000))],
        );
        assert_eq!((traffic.tls, traffic.quic.bytes), (Moved::default(), 0));
        assert_eq!(sampler.before.len(), 1);
    }
}
