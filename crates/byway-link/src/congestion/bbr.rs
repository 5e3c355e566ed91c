//! BBR: a congestion controller that follows a model of the path instead of its losses.
//!
//! In:    what was sent, acknowledged and found lost, from quinn.
//! Out:   the congestion window, from which quinn also derives its pacing.
//! Never: a window below [`LEAST_PACKETS`] packets or above [`MOST_WINDOW_BYTES`].
//!
//! The model is that of draft-ietf-ccwg-bbr (version 3): the highest recent delivery rate, the
//! smallest recent round trip, and bounds learned from losses; a cycle of phases probes for more of
//! each. The differences from the draft, and their reasons:
//!
//! - **Windows instead of pacing rates.** Quinn paces at 1.25 windows per smoothed round trip, and
//!   a controller sets only the window. So each phase sets the amount in flight instead of a rate:
//!   the rate times the smallest round trip, times the gain of the phase.
//! - **A part of the standing queue counts as path.** With the smallest round trip alone, a flow
//!   starves beside one that fills the buffer. With the whole queue, it would never drain a queue
//!   of its own. Two thirds of the queue ([`QUEUE_SHARE`]) keep its own queue from growing, and
//!   preserve its share beside other flows. As in the draft, the window is at most two times the
//!   product of rate and smallest round trip; two and a quarter while probing.
//! - **Losses are compared with the usual losses of the path**, see [`super::loss`]. The draft's
//!   threshold of 2 % would throttle each path that loses more than that at random.
//! - **Startup doubles.** With the draft's gain of 2.77, a queue as long as the path overflows for
//!   several rounds. It ends with the first round that is not faster while there is a long queue.
//! - **Startup is repeated** after a probe whose rate grew in each of [`UP_MOST_ROUNDS`] rounds,
//!   and when quinn lowers the MTU: the losses before that were caused by packet size.
//! - **The smallest round trip is measured in passing.** Half a window for 200 ms every five
//!   seconds costs 3 % at 100 ms; it is skipped while round trips near the smallest one are seen
//!   without it.

use std::time::{Duration, Instant};

use super::aggregation::Aggregation;
use super::arithmetic::{bytes_in, percent, time_for};
use super::bounds::Bounds;
use super::cycle::{Cycle, Phase};
use super::delivery::{Delivery, Sample};
use super::filter::CycleMax;
use super::loss::{Losses, Sending, Verdict};
use super::min_round_trip::{MinRoundTrip, QUEUE_MARGIN};
use super::round::{Growth, Round, RoundFacts};

/// Packets of the first window.
pub(super) const INITIAL_PACKETS: u64 = 32;

/// Packets of the smallest window.
const LEAST_PACKETS: u64 = 4;

/// The largest window; quinn also keeps no more than this for retransmission.
pub(super) const MOST_WINDOW_BYTES: u64 = 16 * 1024 * 1024;

/// The gains of the phases, and their limits while there is a queue, in hundredths.
const STARTUP_GAIN: u64 = 200;
const UP_GAIN: u64 = 125;
const DOWN_GAIN: u64 = 90;
const PROBE_RTT_GAIN: u64 = 50;
const MOST_GAIN: u64 = 200;
const MOST_UP_GAIN: u64 = 225;

/// What remains of a bound at a sign of congestion, in hundredths.
const BETA: u64 = 70;

/// The share of a standing queue that counts as path, in hundredths.
const QUEUE_SHARE: u32 = 65;

/// A round has grown if its rate is at least this share of the best before it, in hundredths; in
/// startup and in probes.
const STARTUP_GROWTH: u64 = 125;
const UP_GROWTH: u64 = 110;

/// Rounds without growth after which startup has filled the path.
const STARTUP_FLAT_ROUNDS: u32 = 3;

/// The least rounds of a probe for more: what is sent in the first is measured in the second.
const UP_ROUNDS: u32 = 2;

/// Rounds of a probe after which it becomes a startup, if the rate has grown in each.
const UP_MOST_ROUNDS: u32 = 4;

/// Rounds of sending less after a probe: the second shows the losses of the path while it is not
/// full.
const DOWN_ROUNDS: u32 = 2;

/// Rounds after which a phase that drains a queue always ends.
const DRAIN_ROUNDS: u32 = 4;

/// After this long without a round trip near the smallest one, one is measured by sending less.
const PROBE_RTT_EVERY: Duration = Duration::from_secs(5);

/// How long little is in flight for that measurement.
const PROBE_RTT_FOR: Duration = Duration::from_millis(200);

/// The most rounds between two probes: as often as a Reno flow of the same rate would grow by the
/// size of a probe.
const CRUISE_ROUNDS: u64 = 63;

/// The least round trip for computing windows: below it, the scheduling of tasks and threads takes
/// longer than the path.
const LEAST_ROUND_TRIP: Duration = Duration::from_millis(4);

/// What a completed round means for the phases and bounds.
#[derive(Clone, Copy, Debug)]
struct Judgement {
    /// The rate has grown. Always false outside of startup and probes.
    grown: bool,
    /// Other flows keep a queue, and the round had one.
    crowded: bool,
    verdict: Verdict,
}

impl Judgement {
    fn congested(&self) -> bool {
        self.verdict != Verdict::Usual
    }
}

/// BBR version 3 with a congestion window, in bytes, instead of a pacing rate. Takes the time as an
/// argument.
#[derive(Clone, Debug)]
pub(super) struct Bbr {
    mtu: u64,
    window: u64,
    delivery: Delivery,
    losses: Losses,
    aggregation: Aggregation,
    max_rate: CycleMax,
    min_round_trip: MinRoundTrip,
    /// Startup has filled the path at least once.
    filled: bool,
    growth: Growth,
    cycle: Cycle,
    round: Round,
    last_round: RoundFacts,
    bounds: Bounds,
    last_sent: Instant,
    /// Packets sent until then may have been larger than the MTU of the path.
    too_large_until: Option<Instant>,
}

impl Bbr {
    pub(super) fn new(now: Instant, mtu: u16, seed: u64) -> Self {
        let mtu = u64::from(mtu).max(1);
        Self {
            mtu,
            window: INITIAL_PACKETS * mtu,
            delivery: Delivery::new(now),
            losses: Losses::default(),
            aggregation: Aggregation::new(now),
            max_rate: CycleMax::default(),
            min_round_trip: MinRoundTrip::new(now),
            filled: false,
            growth: Growth::default(),
            cycle: Cycle::new(now, seed),
            round: Round::default(),
            last_round: RoundFacts::default(),
            bounds: Bounds::default(),
            last_sent: now,
            too_large_until: None,
        }
    }

    pub(super) fn window(&self) -> u64 {
        self.window
    }

    pub(super) fn initial_window(&self) -> u64 {
        INITIAL_PACKETS * self.mtu
    }

    /// The estimated rate of the path, in bytes per second.
    #[cfg(test)]
    pub(super) fn rate(&self) -> u64 {
        self.max_rate.get()
    }

    pub(super) fn on_sent(&mut self, now: Instant, bytes: u64) {
        self.last_sent = now;
        if self.delivery.on_sent(now, bytes) {
            // Nothing was in flight, so no queue of this flow could hide the smallest round trip.
            self.min_round_trip.near_at = now;
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
        if self.too_large_until.is_some_and(|until| sent <= until) {
            // The losses of this size that were known at the restart were dropped there.
            return;
        }
        self.losses.on_lost(bytes);
        if let Some(in_flight) = self.delivery.in_flight_at(sent) {
            self.round.add_in_flight(in_flight);
        }
        if persistent {
            // The path may have changed. The model is kept, and the window grows back to it.
            self.bounds.start_ramp(self.initial_window());
            self.set_window();
        }
    }

    pub(super) fn on_mtu(&mut self, mtu: u16) {
        let before = std::mem::replace(&mut self.mtu, u64::from(mtu).max(1));
        if self.mtu < before {
            self.restart();
        }
        self.set_window();
    }

    /// Restarts after the MTU was lowered. Packets of the former size were lost at any rate, so the
    /// conclusions from their losses are dropped. The window restarts at its first size: the path
    /// may have changed, and the losses may have been congestion. The measured rate is kept.
    fn restart(&mut self) {
        self.too_large_until = Some(self.last_sent);
        self.losses = Losses::default();
        self.bounds = Bounds::default();
        self.bounds.start_ramp(self.initial_window());
        self.start_up();
    }

    fn start_up(&mut self) {
        self.growth = Growth::default();
        self.filled = false;
        self.enter(Phase::Startup);
    }

    pub(super) fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool) {
        let Some(sample) = self.delivery.end_acks(now, in_flight, app_limited) else {
            return;
        };
        self.min_round_trip.add(now, sample.round_trip);
        self.delivery.set_min_round_trip(self.min_round_trip.get());
        self.round.add_round_trip(sample.round_trip);
        self.add_rate(now, &sample);
        if self.round.ends_with(sample.prior_delivered) {
            let round = self.take_round(&sample);
            let judgement = self.judge(&round);
            self.advance(now, &round, judgement);
        }
        self.step(now);
        self.set_window();
    }

    fn add_rate(&mut self, now: Instant, sample: &Sample) {
        self.round.add_app_limited(sample.app_limited);
        let valid = |rate: &u64| !sample.app_limited || *rate > self.max_rate.get();
        if let Some(rate) = sample.rate.filter(valid) {
            self.max_rate.update(rate);
            self.round.add_rate(rate);
        }
        let (rate, most) = (self.max_rate.get(), self.product(100));
        self.aggregation
            .update(now, sample.acked, rate, self.round.number(), most);
    }

    /// Rate times smallest round trip, times `gain` hundredths.
    fn product(&self, gain: u64) -> u64 {
        let round_trip = self.min_round_trip.get().max(LEAST_ROUND_TRIP);
        percent(bytes_in(self.max_rate.get(), round_trip), gain)
    }

    /// Room for bursts of acknowledgements, and for what quinn sends at once.
    fn room(&self) -> u64 {
        self.aggregation
            .bytes()
            .saturating_add(LEAST_PACKETS * self.mtu)
    }

    /// The longest wait that the room for bursts causes, on a path without other traffic.
    fn own_queue(&self) -> Duration {
        time_for(self.room(), self.max_rate.get()).min(self.min_round_trip.get() / 2)
    }

    /// Ends the round and starts the next.
    fn take_round(&mut self, sample: &Sample) -> RoundFacts {
        let min = self.min_round_trip.get();
        self.round.add_in_flight(sample.in_flight);
        let mut round = self.round.take(self.delivery.delivered(), min);
        let margin = (min / 8).max(QUEUE_MARGIN).max(self.own_queue() * 2);
        round.queue = round.min_round_trip > min + margin;
        (round.acked, round.lossless) = (self.losses.acked(), !self.losses.any());
        self.cycle.add_round(round.app_limited);
        self.last_round = round;
        round
    }

    /// Decides what the round means, and learns from it. Does not change the phase.
    fn judge(&mut self, round: &RoundFacts) -> Judgement {
        let grown = self.judge_growth(round);
        if self.cycle.phase() == Phase::Cruise {
            self.cycle.add_cruise_round(round.queue);
            if self.cycle.crowded() {
                // How much fits now depends on the other flows.
                self.bounds.high = None;
            }
        }
        let crowded = self.cycle.crowded() && round.queue;
        let (probing, learns) = match self.cycle.phase() {
            Phase::Startup => (!grown, grown),
            Phase::Up => (true, false),
            // The first round acknowledges what was sent before.
            Phase::Drain | Phase::Down => (false, self.cycle.rounds() > 1),
            Phase::Cruise | Phase::Refill | Phase::ProbeRtt => (false, false),
        };
        let sending = Sending {
            queue: round.queue,
            probing,
            crowded,
            learns,
            mtu: self.mtu,
        };
        let verdict = self.losses.end_round(sending);
        Judgement {
            grown,
            crowded,
            verdict,
        }
    }

    fn judge_growth(&mut self, round: &RoundFacts) -> bool {
        match self.cycle.phase() {
            Phase::Startup => {
                let flat = self.growth.flat;
                let grown = self.growth.round(round.rate, STARTUP_GROWTH);
                if round.app_limited && !grown {
                    // Such a round shows nothing about the path.
                    self.growth.flat = flat;
                }
                grown
            }
            Phase::Up if self.cycle.rounds() > 1 => self.growth.round(round.rate, UP_GROWTH),
            _ => false,
        }
    }

    /// Sets the bounds, and changes the phase if the round requires it.
    fn advance(&mut self, now: Instant, round: &RoundFacts, judgement: Judgement) {
        self.bounds
            .grow_ramp(judgement.congested(), MOST_WINDOW_BYTES);
        match self.cycle.phase() {
            Phase::Startup => self.advance_startup(round, judgement),
            Phase::Up => self.advance_probe(now, round, judgement),
            Phase::Drain | Phase::Cruise | Phase::ProbeRtt => self.adapt_low(round, judgement),
            Phase::Down => {
                self.adapt_low(round, judgement);
                self.end_rate_cycle();
            }
            Phase::Refill => {}
        }
    }

    fn advance_startup(&mut self, round: &RoundFacts, judgement: Judgement) {
        let min = self.min_round_trip.get();
        let long_queue = round.min_round_trip > min + (min / 2).max(QUEUE_MARGIN);
        let congested = judgement.congested();
        let full = !judgement.grown && (congested || (long_queue && !round.app_limited));
        if full || self.growth.flat >= STARTUP_FLAT_ROUNDS {
            self.filled = true;
            if congested {
                // Half of it was in flight one round before. If nearly all packets of a round are
                // lost, the rest shows nothing about the path.
                let before = round.max_in_flight / 2;
                self.bounds.high = Some(round.acked.max(self.product(100)).max(before));
            }
            self.enter(Phase::Drain);
        }
    }

    fn advance_probe(&mut self, now: Instant, round: &RoundFacts, judgement: Judgement) {
        if judgement.congested() {
            let target = percent(self.product(100).min(self.window), BETA);
            let high = round.max_in_flight.max(target);
            self.bounds.high = Some(high).filter(|_| !judgement.crowded);
            self.start_cycle(now);
            if judgement.crowded {
                self.bounds
                    .set_low(percent(self.shared(100, MOST_GAIN), BETA), false);
            }
            return;
        }
        // What was in flight without congestion may be in flight again.
        let high = self.bounds.high.map(|high| high.max(round.max_in_flight));
        self.bounds.high = high.filter(|high| *high < self.product(MOST_GAIN));
        if self.cycle.rounds() >= UP_ROUNDS && !judgement.grown {
            self.start_cycle(now);
        } else if self.cycle.rounds() >= UP_MOST_ROUNDS {
            // The path carries much more than was measured.
            self.bounds.high = None;
            self.start_up();
        }
    }

    fn adapt_low(&mut self, round: &RoundFacts, judgement: Judgement) {
        if !judgement.congested() {
            self.bounds
                .recover_low(round.lossless, UP_GAIN, self.product(MOST_GAIN));
            return;
        }
        let cut = percent(self.bounds.low().min(self.window), BETA);
        let low = match judgement.verdict {
            // A policer would drop nothing of this amount.
            Verdict::Excess => round.acked.max(self.product(DOWN_GAIN)),
            _ if judgement.crowded => cut.max(self.product(BETA)),
            _ => cut.max(round.acked),
        };
        self.bounds
            .set_low(low, judgement.verdict == Verdict::Severe);
    }

    /// After the first round of `Down`, everything that the probe has sent is measured. A cycle in
    /// which the application limited the rate does not replace an older rate.
    fn end_rate_cycle(&mut self) {
        if self.cycle.rounds() != 1 {
            return;
        }
        let app_limited = self.cycle.take_app_limited();
        if !app_limited {
            self.max_rate.advance();
        }
    }

    /// Changes the phase by time or by the amount in flight.
    fn step(&mut self, now: Instant) {
        let in_flight = self.delivery.in_flight();
        let rounds = self.cycle.rounds();
        match self.cycle.phase() {
            Phase::Drain if self.drained(in_flight) => self.start_cycle(now),
            Phase::Down if self.drained(in_flight) && rounds >= DOWN_ROUNDS => {
                self.enter(Phase::Cruise)
            }
            Phase::Cruise => {
                let packets = self.product(100) / self.mtu;
                let most = packets.clamp(1, CRUISE_ROUNDS);
                if now >= self.cycle.cruise_until() || u64::from(rounds) >= most {
                    self.bounds.remove_low();
                    self.cycle.end_cruise();
                    self.enter(Phase::Refill);
                }
            }
            Phase::Refill if rounds >= 1 => {
                self.growth = Growth {
                    best: self.max_rate.get(),
                    flat: 0,
                };
                self.enter(Phase::Up);
            }
            Phase::ProbeRtt => self.step_probe_rtt(now, in_flight),
            _ => {}
        }
        let stale = now.saturating_duration_since(self.min_round_trip.near_at) >= PROBE_RTT_EVERY;
        if stale && self.cycle.phase() != Phase::ProbeRtt && self.max_rate.get() > 0 {
            let long_queue = self.last_round.min_round_trip > self.min_round_trip.get() * 2;
            let slow = self.last_round.rate < self.max_rate.get() / 2;
            self.min_round_trip.rate_outdated = long_queue && slow;
            self.min_round_trip.probe_until = None;
            self.enter(Phase::ProbeRtt);
        }
    }

    /// Whether the queue of this flow is drained, or the phase that drains it has lasted long
    /// enough.
    fn drained(&self, in_flight: u64) -> bool {
        let fits = self.product(100).saturating_add(self.room());
        let limit = fits.min(self.bounds.high_between_probes());
        in_flight <= limit || self.cycle.rounds() >= DRAIN_ROUNDS
    }

    fn step_probe_rtt(&mut self, now: Instant, in_flight: u64) {
        match self.min_round_trip.probe_until {
            None => {
                if in_flight <= self.probe_rtt_window() {
                    self.min_round_trip.probe_until = Some(now + PROBE_RTT_FOR);
                    self.cycle.restart_rounds();
                }
            }
            Some(until) if now >= until && self.cycle.rounds() >= 1 => {
                self.min_round_trip.near_at = now;
                self.bounds.remove_low();
                if self.filled {
                    self.cycle.draw_cruise(now);
                    self.enter(Phase::Cruise);
                } else {
                    self.enter(Phase::Startup);
                }
            }
            Some(_) => {}
        }
    }

    fn probe_rtt_window(&self) -> u64 {
        // Half of a product with an outdated rate may be more than the path can hold.
        let gain = if self.min_round_trip.rate_outdated {
            0
        } else {
            PROBE_RTT_GAIN
        };
        self.product(gain).max(LEAST_PACKETS * self.mtu)
    }

    fn start_cycle(&mut self, now: Instant) {
        self.cycle.draw_cruise(now);
        self.enter(Phase::Down);
    }

    fn enter(&mut self, phase: Phase) {
        self.cycle.enter(phase);
        // The first round of the phase starts with the next packet.
        self.round
            .extend_to(self.delivery.delivered().saturating_add(1));
    }

    fn set_window(&mut self) {
        let least = LEAST_PACKETS * self.mtu;
        let wanted = self.wanted().min(self.bounds.ramp());
        self.window = wanted.clamp(least, MOST_WINDOW_BYTES.max(least));
    }

    fn wanted(&self) -> u64 {
        if self.max_rate.get() == 0 {
            return self.initial_window();
        }
        let room = self.room();
        let (low, high) = (self.bounds.low(), self.bounds.high());
        let held = self.bounds.high_between_probes();
        match self.cycle.phase() {
            Phase::Startup => {
                let doubled = self.product(STARTUP_GAIN).saturating_add(room);
                doubled.max(self.initial_window())
            }
            Phase::Drain => self.product(100).min(low),
            Phase::Down => self.product(DOWN_GAIN).min(low).min(held),
            Phase::ProbeRtt => self.probe_rtt_window(),
            Phase::Cruise => self
                .shared(100, MOST_GAIN)
                .saturating_add(room)
                .min(low)
                .min(held),
            Phase::Refill => self.shared(100, MOST_GAIN).saturating_add(room).min(high),
            Phase::Up => {
                let limit = self.bounds.high_in_probe(UP_GAIN, LEAST_PACKETS * self.mtu);
                self.shared(UP_GAIN, MOST_UP_GAIN)
                    .saturating_add(room)
                    .min(limit)
            }
        }
    }

    /// Rate times the round trip with a part of the standing queue, times `gain`; at most `most`
    /// times the product without the queue.
    fn shared(&self, gain: u64, most: u64) -> u64 {
        let min = self.min_round_trip.get().max(LEAST_ROUND_TRIP);
        let mean = self.last_round.mean_round_trip;
        let queue = mean.saturating_sub(min).saturating_sub(self.own_queue());
        let round_trip = min + queue * QUEUE_SHARE / 100;
        percent(bytes_in(self.max_rate.get(), round_trip), gain).min(self.product(most))
    }
}
