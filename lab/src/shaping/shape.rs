//! Shape: what a path does to the packets of one direction.
//!
//! In:    nothing.
//! Out:   plain values, with names for the paths that are measured often.
//! Never: draws a random number or looks at a clock.

use std::time::Duration;

/// See the head of the file. The default is a perfect path.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shape {
    /// Propagation delay.
    pub delay: Duration,
    /// Each packet is delayed by up to this much more, evenly distributed. Order is kept.
    pub jitter: Duration,
    /// Bits per second of the bottleneck. None: no bottleneck, and no queue.
    pub rate: Option<u64>,
    /// The drop-tail queue in front of the bottleneck.
    pub queue: Queue,
    /// Packets that are lost behind the bottleneck; they have used its time.
    pub loss: Loss,
    /// Packets that arrive late, behind others that were sent later.
    pub reorder: Option<Reorder>,
    /// IP packets larger than this vanish, and no ICMP message says so.
    pub mtu: Option<usize>,
    /// How UDP is treated.
    pub udp: Udp,
    /// Every packet vanishes.
    pub silent: bool,
}

/// How much may wait for the bottleneck, the packet that is being sent included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// So many bytes.
    Bytes(u64),
    /// As many bytes as the bottleneck sends in this time.
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
    /// Each packet by itself (Bernoulli).
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
    /// By how much.
    pub late: Duration,
}

/// How UDP is treated beside everything else.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Udp {
    /// Like everything else.
    #[default]
    AsOthers,
    /// It has a loss and a rate of its own, in front of the bottleneck.
    Policed {
        /// The share of packets that are lost.
        loss: f64,
        /// Bits per second. What comes faster is dropped.
        rate: u64,
        /// Bytes that may come at once after a pause.
        burst: u64,
    },
    /// No UDP packet arrives.
    Dead,
}

impl Shape {
    /// A path of one delay, rate and queue.
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

    /// The most bytes that a connection can have under way: what the bottleneck sends in this
    /// round-trip time, and a full queue. None without a bottleneck.
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

    /// The same with UDP treated so.
    pub fn with_udp(self, udp: Udp) -> Self {
        Self { udp, ..self }
    }

    /// The same with nothing passing.
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
    fn what_is_under_way_at_most_is_a_round_trip_and_the_queue() {
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
