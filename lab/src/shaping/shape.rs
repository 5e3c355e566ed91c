//! Shape: what a path does to the packets of one direction.
//!
//! In:    parameters.
//! Out:   plain values, with constructors for the paths that are measured often.
//! Never: draws a random number or looks at a clock.

use std::time::Duration;

/// See the top of the file. The default is a perfect path.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shape {
    /// Propagation delay.
    pub delay: Duration,
    /// The most additional delay of a packet, uniformly distributed. Order is kept.
    pub jitter: Duration,
    /// Bits per second of the bottleneck. `None`: no bottleneck, and no queue.
    pub rate: Option<u64>,
    /// The drop-tail queue in front of the bottleneck.
    pub queue: Queue,
    /// Packets that are lost after the bottleneck; they have used its time.
    pub loss: Loss,
    /// Packets that arrive late, after others that were sent later.
    pub reorder: Option<Reorder>,
    /// IP packets larger than this are dropped without an ICMP message.
    pub mtu: Option<usize>,
    /// How UDP is treated.
    pub udp: Udp,
    /// Drops every packet.
    pub silent: bool,
}

/// How much may wait for the bottleneck, including the packet that is being sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// A number of bytes.
    Bytes(u64),
    /// The bytes that the bottleneck sends in this time.
    Time(Duration),
}

impl Default for Queue {
    fn default() -> Self {
        Self::Time(Duration::from_millis(100))
    }
}

/// Random loss. Shares are between 0 and 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Loss {
    /// None.
    #[default]
    None,
    /// Each packet independently (Bernoulli).
    Random(f64),
    /// The path is good or bad, and loses packets only while it is bad (Gilbert-Elliott).
    Bursts {
        /// The share of packets in the good state that begin a bad one.
        enter: f64,
        /// The share of packets in the bad state that end it.
        leave: f64,
        /// The share of packets that are lost in the bad state.
        lost: f64,
    },
}

/// See [`Shape::reorder`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reorder {
    /// The share of packets that are late.
    pub share: f64,
    /// How late they are.
    pub late: Duration,
}

/// How UDP is treated, compared with other packets.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Udp {
    /// Like other packets.
    #[default]
    AsOthers,
    /// With its own loss and rate, applied before the bottleneck.
    Policed {
        /// The share of packets that are lost.
        loss: f64,
        /// Bits per second. Packets above it are dropped.
        rate: u64,
        /// Bytes that may pass at once after a pause.
        burst: u64,
    },
    /// No UDP packet arrives.
    Dead,
}

impl Shape {
    /// A path with this delay, rate and queue, and no loss.
    pub fn clean(delay: Duration, rate: u64, queue: Queue) -> Self {
        Self {
            delay,
            rate: Some(rate),
            queue,
            ..Self::default()
        }
    }

    /// One direction of a symmetrical path with this round-trip time in milliseconds and this rate
    /// in Mbit/s. Its queue holds what the bottleneck sends in one round trip.
    pub fn of_round_trip(milliseconds: u64, megabits: u64) -> Self {
        let round_trip = Duration::from_millis(milliseconds);
        Self::clean(
            round_trip / 2,
            megabits * 1_000_000,
            Queue::Time(round_trip),
        )
    }

    /// The most bytes that a connection can have in flight: what the bottleneck sends in this
    /// round-trip time, and a full queue. `None` without a bottleneck.
    pub fn under_way_max(&self, round_trip: Duration) -> Option<u64> {
        let sent_in = |rate: u64, time: Duration| (rate as f64 / 8.0 * time.as_secs_f64()) as u64;
        let rate = self.rate?;
        let queue = match self.queue {
            Queue::Bytes(bytes) => bytes,
            Queue::Time(time) => sent_in(rate, time),
        };
        Some(sent_in(rate, round_trip).saturating_add(queue))
    }

    /// The same with this random loss.
    pub fn losing(self, share: f64) -> Self {
        Self {
            loss: Loss::Random(share),
            ..self
        }
    }

    /// The same with this share of packets late.
    pub fn reordering(self, share: f64, late: Duration) -> Self {
        Self {
            reorder: Some(Reorder { share, late }),
            ..self
        }
    }

    /// The same with this treatment of UDP.
    pub fn with_udp(self, udp: Udp) -> Self {
        Self { udp, ..self }
    }

    /// The same, but nothing passes.
    pub fn silent(self) -> Self {
        Self {
            silent: true,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_bytes_in_flight_are_a_round_trip_and_the_queue() {
        let round_trip = Duration::from_millis(100);
        let shape = Shape::of_round_trip(100, 500);
        assert_eq!(shape.under_way_max(round_trip), Some(12_500_000));
        let queue = Queue::Bytes(1_000);
        assert_eq!(
            Shape { queue, ..shape }.under_way_max(round_trip),
            Some(6_251_000)
        );
        assert_eq!(Shape::default().under_way_max(round_trip), None);
    }
}
