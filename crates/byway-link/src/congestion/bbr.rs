//! BBR: a congestion controller that follows a model of the path instead of its losses.
//!
//! In:    what was sent, acknowledged and found lost, from quinn.
//! Out:   the congestion window, from which quinn derives its pacing, too.
//! Never: a window below [`LEAST_PACKETS`] packets or above [`MOST_WINDOW_BYTES`].
//!
//! The model is that of draft-ietf-ccwg-bbr (version 3): the highest recent delivery rate, the smallest recent round trip,
//! and bounds learned from losses; a cycle of phases probes for more of each. What differs from the draft, and why:
//!
//! - **Windows instead of pacing rates.** Quinn paces at 1.25 windows per smoothed round trip and lets a controller choose
//!   nothing but the window. So each phase sets the amount under way instead of a rate: the rate times the smallest round
//!   trip, times the gain of the phase.
//! - **A part of the standing queue counts as path.** With the smallest round trip alone a flow starves beside one that
//!   fills the buffer. With all of the queue it would never drain what it has filled itself. Two thirds of it
//!   ([`QUEUE_SHARE`]) keep a queue of its own from growing, and hold a share beside others. Two (while probing: two and a
//!   quarter) times the path's product of rate and delay bound it, as in the draft.
//! - **Losses are judged against what the path loses anyway**, see [`super::loss`]. The draft's threshold of 2 % would
//!   throttle each path that loses more than that at random.
//! - **Startup doubles.** With the draft's 2.77 a queue as long as the path overflows for several rounds. It ends with the
//!   first round that is not faster while a long queue stands.
//! - **The smallest round trip is measured in passing.** Half a window for 200 ms every five seconds costs 3 % at 100 ms;
//!   it is skipped while round trips near the smallest one are seen without it.

use std::time::{Duration, Instant};

use super::aggregation::Aggregation;
use super::delivery::{Delivery, Sample, bytes_in};
use super::filter::{CycleMax, TimedMin};
use super::loss::{Losses, Round, Verdict};

/// Packets of the first window.
pub(super) const INITIAL_PACKETS: u64 = 32;

/// Packets of the smallest window.
const LEAST_PACKETS: u64 = 4;

/// The largest window; no more is kept for retransmission, either.
pub(super) const MOST_WINDOW_BYTES: u64 = 16 * 1024 * 1024;

/// The gains of the phases, and what bounds them while a queue stands, in hundredths.
const STARTUP_GAIN: u64 = 200;
const UP_GAIN: u64 = 125;
const DOWN_GAIN: u64 = 90;
const PROBE_RTT_GAIN: u64 = 50;
const MOST_GAIN: u64 = 200;
const MOST_UP_GAIN: u64 = 225;

/// What is left of a bound at a sign of congestion, in hundredths.
const BETA: u64 = 70;

/// How much of the upper bound is used between probes, in hundredths, so that others find room.
const HEADROOM: u64 = 85;

/// The share of a standing queue that counts as path, in hundredths.
const QUEUE_SHARE: u32 = 65;

/// A round whose rate is this much higher than the best before it, in hundredths, has found more; in startup and in probes.
const STARTUP_GROWTH: u64 = 125;
const UP_GROWTH: u64 = 110;

/// Rounds without growth after which startup has filled the path.
const STARTUP_FLAT_ROUNDS: u32 = 3;

/// Rounds that a probe for more lasts at least: what is sent in the first is measured in the second.
const UP_ROUNDS: u32 = 2;

/// Rounds of sending less after a probe: the second shows what the path loses without being full.
const DOWN_ROUNDS: u32 = 2;

/// Rounds after which a phase that drains a queue ends in any case.
const DRAIN_ROUNDS: u32 = 4;

/// How long the smallest round trip is believed.
const MIN_ROUND_TRIP_WINDOW: Duration = Duration::from_secs(10);

/// Without a round trip near the smallest one for this long, one is made by sending less.
const PROBE_RTT_EVERY: Duration = Duration::from_secs(5);

/// How long little is under way then.
const PROBE_RTT_FOR: Duration = Duration::from_millis(200);

/// Between two probes for more: from the first up to both together, so that flows do not probe in step.
const CRUISE: Duration = Duration::from_secs(2);
const CRUISE_SPREAD: Duration = Duration::from_secs(1);

/// Rounds between two probes at most, as often as a Reno flow of the same rate would grow by what a probe takes.
const CRUISE_ROUNDS: u64 = 63;

/// Shorter round trips are taken for this one where windows are computed: below it, the scheduling of tasks and threads is
/// longer than the path.
const LEAST_ROUND_TRIP: Duration = Duration::from_millis(4);

/// A round trip this much above the smallest is a queue, at least; else an eighth of it.
const QUEUE_MARGIN: Duration = Duration::from_millis(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Grows until the rate does not.
    Startup,
    /// Takes away the queue that startup has made.
    Drain,
    /// Takes away what a probe has made.
    Down,
    /// Holds.
    Cruise,
    /// Fills the path for one round, so that a probe does not measure an empty one.
    Refill,
    /// Probes for more.
    Up,
    /// Measures the smallest round trip.
    ProbeRtt,
}

/// Follows whether the rate grows from round to round.
#[derive(Clone, Copy, Debug, Default)]
struct Growth {
    best: u64,
    flat: u32,
}

impl Growth {
    /// A round of `rate` is over; growing means by `growth` hundredths of the best. Says whether it has grown.
    fn round(&mut self, rate: u64, growth: u64) -> bool {
        let grown = rate >= percent(self.best, growth) && rate > 0;
        if grown {
            (self.best, self.flat) = (rate, 0);
        } else {
            self.flat = self.flat.saturating_add(1);
        }
        grown
    }
}

/// See the head of the file.
#[derive(Clone, Debug)]
pub(super) struct Bbr {
    phase: Phase,
    mtu: u64,
    window: u64,
    delivery: Delivery,
    losses: Losses,
    aggregation: Aggregation,
    max_rate: CycleMax,
    min_round_trip: TimedMin,
    /// When a round trip near the smallest was seen last.
    near_min_at: Instant,
    filled: bool,
    growth: Growth,
    // The round.
    rounds: u64,
    round_end: u64,
    round_rate: u64,
    round_limited: bool,
    round_trip: Option<Duration>,
    round_trips: Duration,
    round_samples: u32,
    round_in_flight: u64,
    // The phase and the cycle.
    phase_rounds: u32,
    cycle_limited: bool,
    cruise_until: Instant,
    probe_rtt_until: Option<Instant>,
    /// The path has a long queue and less than half of its rate: the rate may be out of date.
    outdated: bool,
    last_rate: u64,
    /// Rounds of this cruise, of which so many with a queue; and whether most of the last one had one.
    cruised: u32,
    queued: u32,
    crowded: bool,
    /// The smallest and the mean round trip of the last round that is over.
    least_round_trip: Duration,
    mean_round_trip: Duration,
    /// What may be under way by what probes have found; and by what was lost since the last one.
    high: Option<u64>,
    low: Option<u64>,
    /// `low` is for losses without a queue and goes up again with them.
    low_recovers: bool,
    /// After all was lost for a while: grows from a first window again.
    ramp: Option<u64>,
    random: fastrand::Rng,
}

impl Bbr {
    pub(super) fn new(now: Instant, mtu: u16, seed: u64) -> Self {
        let mtu = u64::from(mtu).max(1);
        Self {
            phase: Phase::Startup,
            mtu,
            window: INITIAL_PACKETS * mtu,
            delivery: Delivery::new(now),
            losses: Losses::default(),
            aggregation: Aggregation::new(now),
            max_rate: CycleMax::default(),
            min_round_trip: TimedMin::new(MIN_ROUND_TRIP_WINDOW, now),
            near_min_at: now,
            filled: false,
            growth: Growth::default(),
            rounds: 0,
            round_end: 0,
            round_rate: 0,
            round_limited: false,
            round_trip: None,
            round_trips: Duration::ZERO,
            round_samples: 0,
            round_in_flight: 0,
            phase_rounds: 0,
            cycle_limited: false,
            cruise_until: now,
            probe_rtt_until: None,
            outdated: false,
            last_rate: 0,
            cruised: 0,
            queued: 0,
            crowded: false,
            least_round_trip: Duration::ZERO,
            mean_round_trip: Duration::ZERO,
            high: None,
            low: None,
            low_recovers: false,
            ramp: None,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    pub(super) fn window(&self) -> u64 {
        self.window
    }

    pub(super) fn initial_window(&self) -> u64 {
        INITIAL_PACKETS * self.mtu
    }

    /// The rate that the path is thought to have, in bytes per second.
    #[cfg(test)]
    pub(super) fn rate(&self) -> u64 {
        self.max_rate.get()
    }

    pub(super) fn on_sent(&mut self, now: Instant, bytes: u64) {
        if self.delivery.on_sent(now, bytes) {
            // Nothing was under way, so no queue of ours could hide the smallest round trip.
            self.near_min_at = now;
        }
    }

    pub(super) fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64) {
        self.delivery.on_ack(now, sent, bytes);
        self.losses.on_ack(bytes);
    }

    pub(super) fn on_lost(&mut self, sent: Instant, bytes: u64, persistent: bool) {
        if bytes == 0 {
            self.losses.on_mark();
        }
        self.delivery.on_lost(bytes);
        self.losses.on_lost(bytes);
        if let Some(in_flight) = self.delivery.in_flight_at(sent) {
            self.round_in_flight = self.round_in_flight.max(in_flight);
        }
        if persistent {
            // The path may be another one now. What is known of it is kept, and reached step by step.
            self.ramp = Some(self.initial_window());
            self.set_window();
        }
    }

    pub(super) fn on_mtu(&mut self, mtu: u16) {
        self.mtu = u64::from(mtu).max(1);
        self.set_window();
    }

    pub(super) fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool) {
        let Some(sample) = self.delivery.end_acks(now, in_flight, app_limited) else { return };
        self.note_round_trip(now, sample.round_trip);
        self.note_rate(now, &sample);
        if sample.prior_delivered >= self.round_end {
            self.end_round(now, &sample);
        }
        self.step(now);
        self.set_window();
    }

    fn note_round_trip(&mut self, now: Instant, round_trip: Duration) {
        self.min_round_trip.update(now, round_trip);
        self.delivery.set_min_round_trip(self.min_round_trip());
        let near = self.min_round_trip() + (self.min_round_trip() / 16).max(QUEUE_MARGIN / 2);
        if round_trip <= near {
            self.near_min_at = now;
        }
        self.round_trip = Some(self.round_trip.map_or(round_trip, |least| least.min(round_trip)));
        self.round_trips = self.round_trips.saturating_add(round_trip);
        self.round_samples = self.round_samples.saturating_add(1);
    }

    fn note_rate(&mut self, now: Instant, sample: &Sample) {
        self.round_limited |= sample.app_limited;
        if let Some(rate) = sample.rate.filter(|rate| !sample.app_limited || *rate > self.max_rate.get()) {
            self.max_rate.update(rate);
            self.round_rate = self.round_rate.max(rate);
        }
        let most = self.product(100);
        self.aggregation.update(now, sample.acked, self.max_rate.get(), self.rounds, most);
    }

    fn min_round_trip(&self) -> Duration {
        self.min_round_trip.get().unwrap_or_default()
    }

    /// Rate times smallest round trip, times `gain` hundredths.
    fn product(&self, gain: u64) -> u64 {
        let round_trip = self.min_round_trip().max(LEAST_ROUND_TRIP);
        percent(bytes_in(self.max_rate.get(), round_trip), gain)
    }

    /// Room for bursts: of acknowledgements, and of what quinn sends at once.
    fn room(&self) -> u64 {
        self.aggregation.bytes().saturating_add(LEAST_PACKETS * self.mtu)
    }

    /// The wait that the room for bursts makes at most, on a path without other traffic.
    fn own_queue(&self) -> Duration {
        let nanos = u128::from(self.room()) * 1_000_000_000 / u128::from(self.max_rate.get().max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)).min(self.min_round_trip() / 2)
    }

    fn end_round(&mut self, now: Instant, sample: &Sample) {
        self.rounds += 1;
        self.phase_rounds = self.phase_rounds.saturating_add(1);
        self.round_end = self.delivery.delivered();
        let least = self.min_round_trip();
        self.least_round_trip = self.round_trip.take().unwrap_or(least);
        let samples = std::mem::take(&mut self.round_samples).max(1);
        self.mean_round_trip = std::mem::take(&mut self.round_trips) / samples;
        let queue = self.least_round_trip > least + (least / 8).max(QUEUE_MARGIN).max(self.own_queue() * 2);
        let rate = std::mem::take(&mut self.round_rate);
        self.last_rate = rate;
        let limited = std::mem::take(&mut self.round_limited);
        let in_flight = std::mem::take(&mut self.round_in_flight).max(sample.in_flight);
        let delivered = self.losses.acked();
        let clean = !self.losses.any();
        self.cycle_limited |= limited;
        let grown = match self.phase {
            Phase::Startup => {
                let flat = self.growth.flat;
                let grown = self.growth.round(rate, STARTUP_GROWTH);
                if limited && !grown {
                    // It says nothing of the path.
                    self.growth.flat = flat;
                }
                grown
            }
            Phase::Up if self.phase_rounds > 1 => self.growth.round(rate, UP_GROWTH),
            _ => false,
        };
        let probing = match self.phase {
            Phase::Startup => !grown,
            Phase::Up => true,
            _ => false,
        };
        if self.phase == Phase::Cruise {
            self.cruised += 1;
            self.queued += u32::from(queue);
            self.crowded = self.queued * 2 > self.cruised;
            if self.crowded {
                // What may be under way depends on the others now.
                self.high = None;
            }
        }
        let crowded = self.crowded && queue;
        let learns = match self.phase {
            Phase::Startup => grown,
            // The first round acknowledges what was sent before.
            Phase::Drain | Phase::Down => self.phase_rounds > 1,
            _ => false,
        };
        let verdict = self.losses.end_round(Round { queue, probing, crowded, learns, mtu: self.mtu });
        let congested = verdict != Verdict::Usual;
        if let Some(ramp) = self.ramp {
            let ramp = if congested { ramp } else { ramp.saturating_mul(2) };
            self.ramp = Some(ramp).filter(|ramp| *ramp < MOST_WINDOW_BYTES);
        }
        match self.phase {
            Phase::Startup => {
                let long_queue = self.least_round_trip > least + (least / 2).max(QUEUE_MARGIN);
                let full = !grown && (congested || (long_queue && !limited));
                if full || self.growth.flat >= STARTUP_FLAT_ROUNDS {
                    self.filled = true;
                    if congested {
                        self.high = Some(delivered.max(self.product(100)));
                    }
                    self.enter(Phase::Drain);
                }
            }
            Phase::Up => {
                if congested {
                    let target = percent(self.product(100).min(self.window), BETA);
                    self.high = Some(in_flight.max(target)).filter(|_| !crowded);
                    self.start_cycle(now);
                    if crowded {
                        self.low = Some(percent(self.shared(100, MOST_GAIN), BETA));
                    }
                } else {
                    // What went well may be under way again.
                    self.high =
                        self.high.map(|high| high.max(in_flight)).filter(|high| *high < self.product(MOST_GAIN));
                    if self.phase_rounds >= UP_ROUNDS && !grown {
                        self.start_cycle(now);
                    }
                }
            }
            Phase::Drain | Phase::Down | Phase::Cruise | Phase::ProbeRtt => {
                if congested {
                    let cut = percent(self.low.unwrap_or(self.window).min(self.window), BETA);
                    self.low = Some(match verdict {
                        // At this much, a policer would lose nothing.
                        Verdict::Excess => delivered.max(self.product(DOWN_GAIN)),
                        _ if crowded => cut.max(self.product(BETA)),
                        _ => cut.max(delivered),
                    });
                    self.low_recovers = verdict == Verdict::Severe;
                } else if let Some(low) = self.low.filter(|_| self.low_recovers && clean) {
                    self.low = Some(percent(low, UP_GAIN)).filter(|low| *low < self.product(MOST_GAIN));
                }
                if self.phase == Phase::Down && self.phase_rounds == 1 && !std::mem::take(&mut self.cycle_limited) {
                    // All that the probe has sent is measured.
                    self.max_rate.advance();
                }
            }
            Phase::Refill => {}
        }
    }

    /// Changes of phase that come with time or with what is under way.
    fn step(&mut self, now: Instant) {
        let in_flight = self.delivery.in_flight();
        match self.phase {
            Phase::Drain | Phase::Down => {
                let enough = self.product(100).saturating_add(self.room()).min(self.held());
                let measured = self.phase == Phase::Drain || self.phase_rounds >= DOWN_ROUNDS;
                if (in_flight <= enough && measured) || self.phase_rounds >= DRAIN_ROUNDS {
                    match self.phase {
                        Phase::Drain => self.start_cycle(now),
                        _ => self.enter(Phase::Cruise),
                    }
                }
            }
            Phase::Cruise => {
                let packets = self.product(100) / self.mtu;
                if now >= self.cruise_until || u64::from(self.phase_rounds) >= packets.clamp(1, CRUISE_ROUNDS) {
                    (self.low, self.low_recovers) = (None, false);
                    (self.cruised, self.queued) = (0, 0);
                    self.enter(Phase::Refill);
                }
            }
            Phase::Refill => {
                if self.phase_rounds >= 1 {
                    self.growth = Growth { best: self.max_rate.get(), flat: 0 };
                    self.enter(Phase::Up);
                }
            }
            Phase::ProbeRtt => self.step_probe_rtt(now, in_flight),
            Phase::Startup | Phase::Up => {}
        }
        let stale = now.saturating_duration_since(self.near_min_at) >= PROBE_RTT_EVERY;
        if stale && self.phase != Phase::ProbeRtt && self.max_rate.get() > 0 {
            self.probe_rtt_until = None;
            self.outdated =
                self.least_round_trip > self.min_round_trip() * 2 && self.last_rate < self.max_rate.get() / 2;
            self.enter(Phase::ProbeRtt);
        }
    }

    fn step_probe_rtt(&mut self, now: Instant, in_flight: u64) {
        match self.probe_rtt_until {
            None => {
                if in_flight <= self.probe_rtt_window() {
                    self.probe_rtt_until = Some(now + PROBE_RTT_FOR);
                    self.phase_rounds = 0;
                }
            }
            Some(until) if now >= until && self.phase_rounds >= 1 => {
                self.near_min_at = now;
                (self.low, self.low_recovers) = (None, false);
                if self.filled {
                    self.start_cruise(now);
                } else {
                    self.enter(Phase::Startup);
                }
            }
            Some(_) => {}
        }
    }

    fn probe_rtt_window(&self) -> u64 {
        // Half of what was thought to fit may be more than what does.
        let gain = if self.outdated { 0 } else { PROBE_RTT_GAIN };
        self.product(gain).max(LEAST_PACKETS * self.mtu)
    }

    fn start_cycle(&mut self, now: Instant) {
        self.start_cruise(now);
        self.enter(Phase::Down);
    }

    fn start_cruise(&mut self, now: Instant) {
        let spread = CRUISE_SPREAD.mul_f64(self.random.f64());
        self.cruise_until = now + CRUISE + spread;
        self.enter(Phase::Cruise);
    }

    fn enter(&mut self, phase: Phase) {
        (self.phase, self.phase_rounds) = (phase, 0);
        // What is sent from now on is the round to judge.
        self.round_end = self.delivery.delivered().saturating_add(1).max(self.round_end);
    }

    /// The upper bound between probes.
    fn held(&self) -> u64 {
        self.high.map_or(u64::MAX, |high| percent(high, HEADROOM))
    }

    fn set_window(&mut self) {
        let least = LEAST_PACKETS * self.mtu;
        let wanted = self.wanted().min(self.ramp.unwrap_or(u64::MAX)).clamp(least, MOST_WINDOW_BYTES.max(least));
        self.window = wanted;
    }

    fn wanted(&self) -> u64 {
        if self.max_rate.get() == 0 {
            return self.initial_window();
        }
        let room = self.room();
        let low = self.low.unwrap_or(u64::MAX);
        match self.phase {
            Phase::Startup => self.product(STARTUP_GAIN).saturating_add(room).max(self.initial_window()),
            Phase::Drain => self.product(100).min(low),
            Phase::Down => self.product(DOWN_GAIN).min(low).min(self.held()),
            Phase::ProbeRtt => self.probe_rtt_window(),
            Phase::Cruise => self.shared(100, MOST_GAIN).saturating_add(room).min(low).min(self.held()),
            Phase::Refill => self.shared(100, MOST_GAIN).saturating_add(room).min(self.high.unwrap_or(u64::MAX)),
            Phase::Up => {
                let high = self.high.map_or(u64::MAX, |high| percent(high, UP_GAIN));
                self.shared(UP_GAIN, MOST_UP_GAIN).saturating_add(room).min(high)
            }
        }
    }

    /// Rate times the round trip with a part of the standing queue, times `gain`; at most `most` times the one without.
    fn shared(&self, gain: u64, most: u64) -> u64 {
        let least = self.min_round_trip().max(LEAST_ROUND_TRIP);
        let queue = self.mean_round_trip.saturating_sub(least).saturating_sub(self.own_queue());
        let round_trip = least + queue * QUEUE_SHARE / 100;
        percent(bytes_in(self.max_rate.get(), round_trip), gain).min(self.product(most))
    }
}

/// `hundredths` of `value`.
fn percent(value: u64, hundredths: u64) -> u64 {
    u64::try_from(u128::from(value) * u128::from(hundredths) / 100).unwrap_or(u64::MAX)
}
