//! Shaper: decides for each packet of one direction whether it arrives, and when.
//!
//! In:    a shape, a seed, and packets with the time at which they enter the path.
//! Out:   the time at which each arrives, or why it does not.
//! Never: looks at a clock, holds a packet, or uses the random numbers of one property for another:
//!        with the same seed, a change of the loss does not change which packets are reordered.

use std::time::Duration;

use fastrand::Rng;

use super::counts::Cause;
use super::packet::Packet;
use super::shape::{Loss, Queue, Shape, Udp};

/// The decision on a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It arrives at this time.
    Arrives {
        /// The arrival time. The times of packets that are not late never decrease.
        at: Duration,
        /// Whether packets that entered later may arrive before it.
        late: bool,
    },
    /// It does not arrive.
    Dropped(Cause),
}

/// See the top of the file. Times count from an arbitrary start, the same for all calls.
#[derive(Clone, Debug)]
pub struct Shaper {
    shape: Shape,
    /// When the bottleneck has sent all packets it was given.
    idle_at: Duration,
    /// When all packets that are not late have arrived.
    last_at: Duration,
    /// Whether the path is in the bad state of [`Loss::Bursts`].
    bad: bool,
    policer: Policer,
    draws: Draws,
}

/// One sequence of random numbers for each property.
#[derive(Clone, Debug)]
struct Draws {
    loss: Rng,
    state: Rng,
    jitter: Rng,
    reorder: Rng,
    udp: Rng,
}

impl Draws {
    fn new(seed: u64) -> Self {
        let mut seeds = Rng::with_seed(seed);
        let mut next = || Rng::with_seed(seeds.u64(..));
        Self {
            loss: next(),
            state: next(),
            jitter: next(),
            reorder: next(),
            udp: next(),
        }
    }
}

fn happens(rng: &mut Rng, share: f64) -> bool {
    // A sequence advances by one for each packet, whatever the share is.
    rng.f64() < share
}

impl Shaper {
    /// A path on which nothing has been sent.
    pub fn new(shape: Shape, seed: u64) -> Self {
        let (idle_at, last_at) = (Duration::ZERO, Duration::ZERO);
        Self {
            shape,
            idle_at,
            last_at,
            bad: false,
            policer: Policer::default(),
            draws: Draws::new(seed),
        }
    }

    /// Changes the path from the next packet on. Packets in flight keep their times.
    pub fn reshape(&mut self, shape: Shape) {
        self.shape = shape;
    }

    /// Decides on a packet that enters the path. `now` never decreases.
    pub fn offer(&mut self, now: Duration, packet: Packet) -> Verdict {
        match self.passes(now, packet) {
            Ok((at, late)) => Verdict::Arrives { at, late },
            Err(cause) => Verdict::Dropped(cause),
        }
    }

    fn passes(&mut self, now: Duration, packet: Packet) -> Result<(Duration, bool), Cause> {
        if self.shape.silent {
            return Err(Cause::Silence);
        }
        if self.shape.mtu.is_some_and(|mtu| packet.bytes > mtu) {
            return Err(Cause::Mtu);
        }
        if packet.udp {
            self.polices(now, packet.bytes)?;
        }
        let sent = self.sends(now, packet.bytes)?;
        if self.loses() {
            return Err(Cause::Loss);
        }
        let jitter = match self.shape.jitter {
            Duration::ZERO => Duration::ZERO,
            most => most.mul_f64(self.draws.jitter.f64()),
        };
        let at = (sent + self.shape.delay + jitter).max(self.last_at);
        if let Some(reorder) = self.shape.reorder
            && happens(&mut self.draws.reorder, reorder.share)
        {
            return Ok((at + reorder.late, true));
        }
        self.last_at = at;
        Ok((at, false))
    }

    /// Applies the loss and the rate of UDP, before the bottleneck.
    fn polices(&mut self, now: Duration, bytes: usize) -> Result<(), Cause> {
        match self.shape.udp {
            Udp::AsOthers => Ok(()),
            Udp::Dead => Err(Cause::UdpDead),
            Udp::Policed { loss, rate, burst } => {
                if happens(&mut self.draws.udp, loss) {
                    return Err(Cause::UdpLoss);
                }
                if self.policer.takes(now, bytes as u64, rate, burst) {
                    Ok(())
                } else {
                    Err(Cause::UdpRate)
                }
            }
        }
    }

    /// When the bottleneck has sent the packet.
    fn sends(&mut self, now: Duration, bytes: usize) -> Result<Duration, Cause> {
        let Some(rate) = self.shape.rate else {
            return Ok(now);
        };
        let waits = self.idle_at.saturating_sub(now);
        let takes = time_of(bytes as u64, rate);
        let full = match self.shape.queue {
            Queue::Time(most) => waits + takes > most.max(takes),
            // One packet always fits, or nothing would ever be sent.
            Queue::Bytes(most) => {
                waits > Duration::ZERO && bytes_of(waits, rate) + bytes as u64 > most
            }
        };
        if full {
            return Err(Cause::Queue);
        }
        self.idle_at = now.max(self.idle_at) + takes;
        Ok(self.idle_at)
    }

    fn loses(&mut self) -> bool {
        match self.shape.loss {
            Loss::None => false,
            Loss::Random(share) => happens(&mut self.draws.loss, share),
            Loss::Bursts { enter, leave, lost } => {
                let turns = happens(&mut self.draws.state, if self.bad { leave } else { enter });
                self.bad ^= turns;
                happens(&mut self.draws.loss, lost) && self.bad
            }
        }
    }
}

/// A token bucket that drops packets that do not fit.
#[derive(Clone, Copy, Debug, Default)]
struct Policer {
    /// When the bucket is full, if it is filled at the rate from now on. If it is in
    /// the past, the bucket is full.
    full_at: Duration,
}

impl Policer {
    fn takes(&mut self, now: Duration, bytes: u64, rate: u64, burst: u64) -> bool {
        let full_at = self.full_at.max(now) + time_of(bytes, rate);
        let fits = full_at - now <= time_of(burst, rate);
        if fits {
            self.full_at = full_at;
        }
        fits
    }
}

/// The time that a line of this rate needs for this many bytes, in whole nanoseconds, rounded up. A
/// rate of 0 counts as 1.
fn time_of(bytes: u64, rate: u64) -> Duration {
    let nanoseconds = (u128::from(bytes) * 8_000_000_000).div_ceil(u128::from(rate.max(1)));
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

/// The whole bytes that a line of this rate sends in this time.
fn bytes_of(time: Duration, rate: u64) -> u64 {
    u64::try_from(time.as_nanos() * u128::from(rate) / 8_000_000_000).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shaping::shape::Reorder;
    use proptest::prelude::*;

    const PACKET: Packet = Packet {
        bytes: 1500,
        udp: false,
    };
    const UDP: Packet = Packet {
        bytes: 1500,
        udp: true,
    };

    fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    /// The verdicts on `count` packets, `gap` apart.
    fn verdicts(shaper: &mut Shaper, packet: Packet, count: u32, gap: Duration) -> Vec<Verdict> {
        (0..count)
            .map(|number| shaper.offer(gap * number, packet))
            .collect()
    }

    fn dropped(verdicts: &[Verdict], cause: Cause) -> usize {
        verdicts
            .iter()
            .filter(|verdict| **verdict == Verdict::Dropped(cause))
            .count()
    }

    #[test]
    fn a_perfect_path_delivers_at_once() {
        let mut shaper = Shaper::new(Shape::default(), 1);
        assert_eq!(
            shaper.offer(millis(7), PACKET),
            Verdict::Arrives {
                at: millis(7),
                late: false
            }
        );
    }

    #[test]
    fn a_packet_arrives_after_its_transmission_time_and_the_delay() {
        // 12,000 bits at 12 Mbit/s are 1 ms.
        let mut shaper = Shaper::new(
            Shape::clean(millis(50), 12_000_000, Queue::Time(millis(100))),
            1,
        );
        let arrivals: Vec<Verdict> = (0..3).map(|_| shaper.offer(millis(10), PACKET)).collect();
        let expected = [61, 62, 63].map(|at| Verdict::Arrives {
            at: millis(at),
            late: false,
        });
        assert_eq!(arrivals, expected);
        // The line was idle, which gives no credit.
        assert_eq!(
            shaper.offer(millis(100), PACKET),
            Verdict::Arrives {
                at: millis(151),
                late: false
            }
        );
    }

    #[test]
    fn a_queue_of_a_time_and_one_of_as_many_bytes_hold_the_same_packets() {
        for queue in [Queue::Time(millis(10)), Queue::Bytes(15_000)] {
            let mut shaper = Shaper::new(Shape::clean(Duration::ZERO, 12_000_000, queue), 1);
            let all = verdicts(&mut shaper, PACKET, 15, Duration::ZERO);
            assert_eq!(dropped(&all, Cause::Queue), 5, "{queue:?}");
            // A millisecond later one packet has left.
            assert!(
                matches!(shaper.offer(millis(1), PACKET), Verdict::Arrives { .. }),
                "{queue:?}"
            );
            assert_eq!(
                shaper.offer(millis(1), PACKET),
                Verdict::Dropped(Cause::Queue),
                "{queue:?}"
            );
        }
    }

    #[test]
    fn a_packet_larger_than_the_whole_queue_passes_when_nothing_waits() {
        for queue in [Queue::Time(Duration::from_micros(1)), Queue::Bytes(100)] {
            let mut shaper = Shaper::new(Shape::clean(Duration::ZERO, 12_000_000, queue), 1);
            assert!(matches!(
                shaper.offer(Duration::ZERO, PACKET),
                Verdict::Arrives { .. }
            ));
            assert_eq!(
                shaper.offer(Duration::ZERO, PACKET),
                Verdict::Dropped(Cause::Queue)
            );
        }
    }

    #[test]
    fn the_share_of_lost_packets_is_the_configured_one() {
        let mut shaper = Shaper::new(Shape::default().losing(0.05), 7);
        let lost = dropped(
            &verdicts(&mut shaper, PACKET, 100_000, Duration::ZERO),
            Cause::Loss,
        );
        assert!((4_700..5_300).contains(&lost), "{lost}");
    }

    #[test]
    fn bursts_lose_packets_in_runs() {
        // A bad state of 10 packets on average, one in every 200 + 10, all of its packets lost.
        let loss = Loss::Bursts {
            enter: 0.005,
            leave: 0.1,
            lost: 1.0,
        };
        let mut shaper = Shaper::new(
            Shape {
                loss,
                ..Shape::default()
            },
            3,
        );
        let all = verdicts(&mut shaper, PACKET, 100_000, Duration::ZERO);
        let lost = dropped(&all, Cause::Loss);
        assert!((3_800..5_800).contains(&lost), "{lost}");
        let is_lost = |verdict: &Verdict| *verdict == Verdict::Dropped(Cause::Loss);
        let runs = all
            .windows(2)
            .filter(|pair| !is_lost(&pair[0]) && is_lost(&pair[1]))
            .count();
        let mean = lost as f64 / runs as f64;
        assert!((8.0..12.0).contains(&mean), "{mean}");
    }

    #[test]
    fn a_late_packet_arrives_after_later_ones_and_does_not_delay_them() {
        let reorder = Some(Reorder {
            share: 0.5,
            late: millis(3),
        });
        let mut shaper = Shaper::new(
            Shape {
                reorder,
                delay: millis(10),
                ..Shape::default()
            },
            5,
        );
        for number in 0..100 {
            let now = millis(number);
            let Verdict::Arrives { at, late } = shaper.offer(now, PACKET) else {
                panic!("dropped")
            };
            assert_eq!(at, now + millis(if late { 13 } else { 10 }));
        }
    }

    #[test]
    fn packets_larger_than_the_mtu_are_dropped_and_those_as_large_pass() {
        let mut shaper = Shaper::new(
            Shape {
                mtu: Some(1400),
                ..Shape::default()
            },
            1,
        );
        let of = |bytes| Packet { bytes, udp: false };
        assert_eq!(
            shaper.offer(Duration::ZERO, of(1401)),
            Verdict::Dropped(Cause::Mtu)
        );
        assert!(matches!(
            shaper.offer(Duration::ZERO, of(1400)),
            Verdict::Arrives { .. }
        ));
    }

    #[test]
    fn dead_udp_leaves_tcp_alone() {
        let mut shaper = Shaper::new(Shape::default().with_udp(Udp::Dead), 1);
        assert_eq!(
            shaper.offer(Duration::ZERO, UDP),
            Verdict::Dropped(Cause::UdpDead)
        );
        assert!(matches!(
            shaper.offer(Duration::ZERO, PACKET),
            Verdict::Arrives { .. }
        ));
    }

    #[test]
    fn policed_udp_has_its_burst_and_then_its_rate() {
        // 12 Mbit/s are one packet per millisecond; 5 packets of burst.
        let udp = Udp::Policed {
            loss: 0.0,
            rate: 12_000_000,
            burst: 7_500,
        };
        let mut shaper = Shaper::new(Shape::default().with_udp(udp), 1);
        assert_eq!(
            dropped(
                &verdicts(&mut shaper, UDP, 8, Duration::ZERO),
                Cause::UdpRate
            ),
            3
        );
        let mut passed = 0;
        for tick in 1..=1000 {
            passed += usize::from(matches!(
                shaper.offer(millis(tick) / 4, UDP),
                Verdict::Arrives { .. }
            ));
        }
        assert_eq!(passed, 250);
        assert!(matches!(
            shaper.offer(millis(250), PACKET),
            Verdict::Arrives { .. }
        ));
    }

    #[test]
    fn a_silent_path_drops_all_and_a_new_shape_applies_from_the_next_packet() {
        let mut shaper = Shaper::new(Shape::default().silent(), 1);
        assert_eq!(
            shaper.offer(Duration::ZERO, PACKET),
            Verdict::Dropped(Cause::Silence)
        );
        shaper.reshape(Shape {
            delay: millis(20),
            ..Shape::default()
        });
        assert_eq!(
            shaper.offer(Duration::ZERO, PACKET),
            Verdict::Arrives {
                at: millis(20),
                late: false
            }
        );
        // On a shorter path, packets do not overtake those still on the longer one.
        shaper.reshape(Shape::default());
        assert_eq!(
            shaper.offer(millis(5), PACKET),
            Verdict::Arrives {
                at: millis(20),
                late: false
            }
        );
    }

    #[test]
    fn a_change_of_the_loss_does_not_change_which_packets_are_late() {
        let late = |loss: f64| {
            let shape = Shape::default().losing(loss).reordering(0.1, millis(3));
            let mut shaper = Shaper::new(shape, 11);
            (0..50)
                .map(|_| shaper.offer(Duration::ZERO, PACKET))
                .collect::<Vec<_>>()
        };
        let position = |all: &[Verdict]| {
            all.iter()
                .position(|one| matches!(one, Verdict::Arrives { late: true, .. }))
        };
        assert_eq!(position(&late(0.0)), position(&late(1e-9)));
    }

    fn any_shape() -> impl Strategy<Value = Shape> {
        let loss = prop_oneof![
            Just(Loss::None),
            (0.0..1.0).prop_map(Loss::Random),
            (0.0..0.5, 0.1..1.0, 0.0..1.0).prop_map(|(enter, leave, lost)| Loss::Bursts {
                enter,
                leave,
                lost
            }),
        ];
        let queue = prop_oneof![
            (0_u64..100_000).prop_map(Queue::Bytes),
            (0_u64..200).prop_map(|time| Queue::Time(millis(time))),
        ];
        let udp = prop_oneof![
            Just(Udp::AsOthers),
            Just(Udp::Dead),
            (0.0..1.0, 1_u64..100_000_000, 0_u64..50_000)
                .prop_map(|(loss, rate, burst)| Udp::Policed { loss, rate, burst }),
        ];
        let reorder = proptest::option::of((0.0..1.0, 0_u64..20)).prop_map(|both| {
            both.map(|(share, late)| Reorder {
                share,
                late: millis(late),
            })
        });
        let rate = proptest::option::of(1_u64..1_000_000_000);
        let mtu = proptest::option::of(100_usize..1500);
        (0_u64..200, 0_u64..20, rate, queue, loss, reorder, mtu, udp).prop_map(
            |(delay, jitter, rate, queue, loss, reorder, mtu, udp)| Shape {
                delay: millis(delay),
                jitter: millis(jitter),
                rate,
                queue,
                loss,
                reorder,
                mtu,
                udp,
                silent: false,
            },
        )
    }

    fn any_packets() -> impl Strategy<Value = Vec<(u64, usize, bool)>> {
        proptest::collection::vec((0_u64..5_000_000, 20_usize..1501, any::<bool>()), 1..200)
    }

    /// The packets with their verdicts; the first number of a packet is its gap in nanoseconds.
    fn run(
        shape: &Shape,
        seed: u64,
        packets: &[(u64, usize, bool)],
    ) -> Vec<(Duration, Packet, Verdict)> {
        let mut shaper = Shaper::new(shape.clone(), seed);
        let mut now = Duration::ZERO;
        let offer = |(gap, bytes, udp): &(u64, usize, bool)| {
            now += Duration::from_nanos(*gap);
            let packet = Packet {
                bytes: *bytes,
                udp: *udp,
            };
            (now, packet, shaper.offer(now, packet))
        };
        packets.iter().map(offer).collect()
    }

    proptest! {
        #[test]
        fn the_same_seed_gives_the_same_path(shape in any_shape(), seed: u64, packets in any_packets()) {
            prop_assert_eq!(run(&shape, seed, &packets), run(&shape, seed, &packets));
        }

        #[test]
        fn packets_are_dropped_by_causes_that_the_shape_has(
            shape in any_shape(), seed: u64, packets in any_packets(),
        ) {
            for (_, packet, verdict) in run(&shape, seed, &packets) {
                let Verdict::Dropped(cause) = verdict else { continue };
                let may = match cause {
                    Cause::Silence | Cause::Simulator | Cause::Device => false,
                    Cause::Mtu => shape.mtu.is_some_and(|mtu| packet.bytes > mtu),
                    Cause::UdpDead => packet.udp && shape.udp == Udp::Dead,
                    Cause::UdpRate | Cause::UdpLoss => packet.udp && matches!(shape.udp, Udp::Policed { .. }),
                    Cause::Queue => shape.rate.is_some(),
                    Cause::Loss => shape.loss != Loss::None,
                };
                prop_assert!(may, "{:?} of {:?}", cause, packet);
            }
        }

        #[test]
        fn no_packet_is_early_and_order_is_kept_except_for_late_ones(
            shape in any_shape(), seed: u64, packets in any_packets(),
        ) {
            let mut last = Duration::ZERO;
            for (now, _, verdict) in run(&shape, seed, &packets) {
                let Verdict::Arrives { at, late } = verdict else { continue };
                prop_assert!(at >= now + shape.delay);
                if !late {
                    prop_assert!(at >= last);
                    last = at;
                }
            }
        }

        #[test]
        fn the_bottleneck_never_sends_faster_than_its_rate(
            rate in 1_000_u64..1_000_000_000, seed: u64, packets in any_packets(),
        ) {
            let shape = Shape::clean(Duration::ZERO, rate, Queue::Bytes(50_000));
            let (mut bytes, mut started) = (0, None);
            for (now, packet, verdict) in run(&shape, seed, &packets) {
                let Verdict::Arrives { at, .. } = verdict else { continue };
                let started = *started.get_or_insert(now);
                bytes += packet.bytes as u64;
                prop_assert!(at - started >= Duration::from_nanos(bytes * 8_000_000_000 / rate));
            }
        }

        #[test]
        fn no_packet_waits_longer_than_the_queue_is_long(seed: u64, packets in any_packets(), most in 1_u64..100) {
            let shape = Shape::clean(Duration::ZERO, 1_000_000, Queue::Time(millis(most)));
            for (now, packet, verdict) in run(&shape, seed, &packets) {
                let Verdict::Arrives { at, .. } = verdict else { continue };
                prop_assert!(at - now <= millis(most).max(time_of(packet.bytes as u64, 1_000_000)));
            }
        }
    }
}
