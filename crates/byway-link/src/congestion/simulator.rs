//! Simulator: senders that share one bottleneck, as a queue of events with a simulated clock.
//!
//! The path from the senders is the lab's [`Shaper`]; acknowledgements return after half a round
//! trip. A sender behaves like quinn's: it sends by window and pacing, declares packets lost by
//! packet and time thresholds, probes by a timer, and detects MTU black holes. A receiver
//! acknowledges every second packet, or after 25 ms. All randomness has a seed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::{Duration, Instant};

use lab::shaping::counts::Cause;
use lab::shaping::packet::Packet;
use lab::shaping::plan::{Direction, Plan};
use lab::shaping::shape::{Queue, Shape, Udp};
use lab::shaping::shaper::{Shaper, Verdict};

use super::bbr::Bbr;
use super::cubic::Cubic;

pub(super) const PACKET: u64 = 1250;
/// The size of probes, and of all packets after an MTU black hole was detected.
const SMALL_PACKET: u64 = 1000;
/// This many bursts of losses of large packets, without a large packet acknowledged since, are an
/// MTU black hole.
const BLACK_HOLE_BURSTS: u32 = 4;
const PACKET_THRESHOLD: u64 = 32;
const ACK_DELAY: Duration = Duration::from_millis(25);

pub(super) const fn mbit(rate: u64) -> u64 {
    rate * 1_000_000 / 8
}

/// The path of all flows.
#[derive(Clone, Debug)]
pub(super) struct Path {
    /// From the senders; half of the round trip without a queue.
    pub(super) shape: Shape,
    /// Changes of the shape over time.
    plan: Plan,
    /// Acknowledgements arrive only at multiples of this.
    pub(super) ack_every: Option<Duration>,
}

impl Path {
    /// A queue of `queue` at the full rate, and no losses. Rates are in bytes per second.
    pub(super) fn new(rate: u64, round_trip: Duration, queue: Duration) -> Self {
        let bytes = (rate as f64 * queue.as_secs_f64()) as u64;
        Self::of(Shape::clean(round_trip / 2, rate * 8, Queue::Bytes(bytes)))
    }

    /// No queue: what exceeds the rate by more than `burst` bytes is dropped.
    pub(super) fn policed(rate: u64, round_trip: Duration, burst: u64) -> Self {
        let udp = Udp::Policed {
            loss: 0.0,
            rate: rate * 8,
            burst,
        };
        Self::of(Shape {
            delay: round_trip / 2,
            udp,
            ..Shape::default()
        })
    }

    fn of(shape: Shape) -> Self {
        Self {
            shape,
            plan: Plan::default(),
            ack_every: None,
        }
    }

    pub(super) fn losing(self, share: f64) -> Self {
        Self {
            shape: self.shape.losing(share),
            ..self
        }
    }

    /// The same with another rate from `at` on. The queue holds as many bytes as before.
    pub(super) fn rate_from(self, at: Duration, rate: u64) -> Self {
        let shape = Shape {
            rate: Some(rate * 8),
            ..self.shape.clone()
        };
        Self {
            plan: self.plan.one(at, Direction::Up, &shape),
            ..self
        }
    }

    /// The same with an MTU between the sizes of small and large packets from `at` on.
    pub(super) fn mtu_hole_from(self, at: Duration) -> Self {
        let shape = Shape {
            mtu: Some((SMALL_PACKET + PACKET) as usize / 2),
            ..self.shape.clone()
        };
        Self {
            plan: self.plan.one(at, Direction::Up, &shape),
            ..self
        }
    }

    /// The same with another share of losses between two times.
    pub(super) fn losing_between(self, from: Duration, to: Duration, share: f64) -> Self {
        let losing = self.shape.clone().losing(share);
        Self {
            plan: self.plan.episode(from, to - from, &losing, &self.shape),
            ..self
        }
    }
}

/// Event a flow sends.
#[derive(Clone, Copy, Debug)]
pub(super) enum App {
    /// Without limit, from this time on.
    Bulk(Duration),
    /// Without limit until the first time, then some bytes at an interval, and without limit from
    /// the last time on.
    BulkTicksBulk(Duration, u64, Duration, Duration),
}

pub(super) enum Controller {
    Bbr(Box<Bbr>),
    Cubic(Cubic),
}

impl Controller {
    pub(super) fn bbr(start: Instant, seed: u64) -> Self {
        Self::Bbr(Box::new(Bbr::new(start, PACKET as u16, seed)))
    }

    pub(super) fn window(&self) -> u64 {
        match self {
            Self::Bbr(bbr) => bbr.window(),
            Self::Cubic(cubic) => cubic.window(),
        }
    }
}

/// A packet in flight.
#[derive(Clone, Copy)]
struct SentPacket {
    at: Instant,
    bytes: u64,
}

pub(super) struct Flow {
    pub(super) control: Controller,
    app: App,
    /// Bytes of a packet.
    packet: u64,
    /// Bursts of losses of large packets since one was acknowledged, and the highest number of an
    /// acknowledged one.
    large_bursts: u32,
    largest_large_acked: Option<u64>,
    allowed: u64,
    sent_bytes: u64,
    next: u64,
    in_flight: BTreeMap<u64, SentPacket>,
    in_flight_bytes: u64,
    largest_acked: Option<u64>,
    app_limited: bool,
    smoothed: Option<Duration>,
    tokens: f64,
    refilled: Instant,
    timer: u64,
    probes: u32,
    // The receiver.
    to_ack: Vec<u64>,
    ack_timer: u64,
    /// Bytes that have arrived, by tenths of a second.
    pub(super) arrived: Vec<u64>,
    /// Packets dropped by a full queue or a policer, not at random.
    pub(super) dropped: u64,
}

impl Flow {
    /// Removes a packet from those in flight.
    fn take(&mut self, number: u64) -> Option<SentPacket> {
        let sent = self.in_flight.remove(&number)?;
        self.in_flight_bytes -= sent.bytes;
        Some(sent)
    }

    /// The mean rate of arrivals between two times.
    pub(super) fn rate(&self, from: Duration, to: Duration) -> u64 {
        let tenth = |time: Duration| (time.as_millis() / 100) as usize;
        let bytes: u64 = self.arrived.iter().take(tenth(to)).skip(tenth(from)).sum();
        (bytes as f64 / (to - from).as_secs_f64()) as u64
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Timer(usize, u64),
    App(usize),
    /// A packet by its number, and its bytes.
    Arrive(usize, u64, u64),
    AckTimer(usize, u64),
    /// A list of acknowledged packets by its number.
    Ack(usize, usize),
}

pub(super) struct Simulator {
    pub(super) start: Instant,
    now: Instant,
    path: Path,
    shaper: Shaper,
    events: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    order: u64,
    acks: Vec<Vec<u64>>,
    pub(super) flows: Vec<Flow>,
    /// When a packet left the bottleneck, and how long it had waited, including the jitter of the
    /// path.
    pub(super) waits: Vec<(Duration, Duration)>,
}

impl Simulator {
    pub(super) fn new(path: Path, seed: u64) -> Self {
        let start = Instant::now();
        let shaper = Shaper::new(path.shape.clone(), seed);
        Self {
            start,
            now: start,
            path,
            shaper,
            events: BinaryHeap::new(),
            order: 0,
            acks: Vec::new(),
            flows: Vec::new(),
            waits: Vec::new(),
        }
    }

    pub(super) fn bbr(&mut self, app: App) -> usize {
        let control = Controller::bbr(self.start, self.flows.len() as u64 + 1);
        self.add(control, app)
    }

    pub(super) fn cubic(&mut self, app: App) -> usize {
        self.add(Controller::Cubic(Cubic::new()), app)
    }

    fn add(&mut self, control: Controller, app: App) -> usize {
        let flow = self.flows.len();
        self.flows.push(Flow {
            control,
            app,
            packet: PACKET,
            large_bursts: 0,
            largest_large_acked: None,
            allowed: 0,
            sent_bytes: 0,
            next: 0,
            in_flight: BTreeMap::new(),
            in_flight_bytes: 0,
            largest_acked: None,
            app_limited: true,
            smoothed: None,
            tokens: 10.0 * PACKET as f64,
            refilled: self.start,
            timer: 0,
            probes: 0,
            to_ack: Vec::new(),
            ack_timer: 0,
            arrived: Vec::new(),
            dropped: 0,
        });
        let first = match app {
            App::Bulk(from) => from,
            App::BulkTicksBulk(..) => Duration::ZERO,
        };
        self.push(self.start + first, Event::App(flow));
        flow
    }

    fn push(&mut self, at: Instant, event: Event) {
        self.order += 1;
        self.events
            .push(Reverse((at.max(self.now), self.order, event)));
    }

    pub(super) fn run(&mut self, until: Duration) {
        let until = self.start + until;
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            if at > until {
                self.push(at, event);
                break;
            }
            self.now = at;
            match event {
                Event::Timer(flow, number) => {
                    if self.flows[flow].timer == number {
                        self.on_timer(flow);
                    }
                }
                Event::App(flow) => self.on_app(flow),
                Event::Arrive(flow, number, bytes) => self.on_arrive(flow, number, bytes),
                Event::AckTimer(flow, number) => {
                    if self.flows[flow].ack_timer == number {
                        self.acknowledge(flow);
                    }
                }
                Event::Ack(flow, list) => self.on_acks(flow, list),
            }
        }
        self.now = until;
    }

    fn on_app(&mut self, flow: usize) {
        let elapsed = self.now - self.start;
        let sender = &mut self.flows[flow];
        match sender.app {
            App::Bulk(_) => sender.allowed = u64::MAX,
            App::BulkTicksBulk(until, bytes, every, from) => {
                let ticks = (until..from).contains(&elapsed);
                let from_now = if ticks && sender.allowed == u64::MAX {
                    sender.sent_bytes
                } else {
                    sender.allowed
                };
                sender.allowed = if ticks { from_now + bytes } else { u64::MAX };
                let at = self.now + every;
                self.push(at, Event::App(flow));
            }
        }
        self.send(flow, false);
    }

    fn smoothed(&self, flow: usize) -> Duration {
        self.flows[flow]
            .smoothed
            .unwrap_or(Duration::from_millis(100))
    }

    fn send(&mut self, flow: usize, probe: bool) {
        let smoothed = self.smoothed(flow);
        let mut probe = probe;
        let mut blocked = None;
        let mut sent_any = false;
        loop {
            let now = self.now;
            let sender = &mut self.flows[flow];
            let window = sender.control.window();
            let bytes = if probe { SMALL_PACKET } else { sender.packet };
            if !probe {
                if sender.sent_bytes + bytes > sender.allowed {
                    sender.app_limited = !sent_any;
                    break;
                }
                if sender.in_flight_bytes + bytes >= window {
                    sender.app_limited = false;
                    break;
                }
            }
            // Quinn's pacer.
            let rate = 1.25 * window as f64 / smoothed.as_secs_f64();
            let packet = bytes as f64;
            let capacity = (rate / 1.25 * 0.002).clamp(10.0 * packet, 256.0 * packet);
            let elapsed = (now - sender.refilled).as_secs_f64();
            sender.tokens = (sender.tokens + rate * elapsed).min(capacity);
            sender.refilled = now;
            if sender.tokens < packet && !probe {
                sender.app_limited = false;
                blocked = Some(Duration::from_secs_f64((capacity - sender.tokens) / rate));
                break;
            }
            sender.tokens -= packet;
            probe = false;
            sent_any = true;
            let number = sender.next;
            sender.next += 1;
            sender.sent_bytes += bytes;
            sender.in_flight_bytes += bytes;
            sender
                .in_flight
                .insert(number, SentPacket { at: now, bytes });
            if let Controller::Bbr(bbr) = &mut sender.control {
                bbr.on_sent(now, bytes);
            }
            self.offer(flow, number, bytes);
        }
        self.set_timer(flow, blocked);
    }

    fn set_timer(&mut self, flow: usize, pacing: Option<Duration>) {
        let smoothed = self.smoothed(flow);
        let now = self.now;
        let sender = &mut self.flows[flow];
        sender.timer += 1;
        let number = sender.timer;
        let mut at = pacing.map(|pacing| now + pacing);
        if let Some((&oldest, sent)) = sender.in_flight.first_key_value() {
            let loss = if sender.largest_acked.is_some_and(|largest| largest > oldest) {
                sent.at + smoothed * 9 / 8
            } else {
                let (_, last) = sender.in_flight.last_key_value().unwrap();
                last.at + (smoothed * 2 + ACK_DELAY) * 2_u32.pow(sender.probes.min(10))
            };
            at = Some(at.map_or(loss, |at| at.min(loss)));
        }
        if let Some(at) = at {
            self.push(at, Event::Timer(flow, number));
        }
    }

    fn on_timer(&mut self, flow: usize) {
        let smoothed = self.smoothed(flow);
        self.detect_losses(flow);
        let sender = &mut self.flows[flow];
        let waits = (smoothed * 2 + ACK_DELAY) * 2_u32.pow(sender.probes.min(10));
        let silent = sender
            .in_flight
            .last_key_value()
            .is_some_and(|(_, last)| self.now >= last.at + waits);
        if silent {
            sender.probes += 1;
        }
        self.send(flow, silent);
    }

    fn offer(&mut self, flow: usize, number: u64, bytes: u64) {
        let now = self.now - self.start;
        for step in self
            .path
            .plan
            .due(now)
            .filter(|step| step.direction == Direction::Up)
        {
            self.shaper.reshape(step.shape);
        }
        let delay = self.path.shape.delay;
        match self.shaper.offer(
            now,
            Packet {
                bytes: bytes as usize,
                udp: true,
            },
        ) {
            Verdict::Arrives { at, .. } => {
                self.waits.push((at - delay, at - delay - now));
                self.push(self.start + at, Event::Arrive(flow, number, bytes));
            }
            Verdict::Dropped(Cause::Queue | Cause::UdpRate) => self.flows[flow].dropped += 1,
            Verdict::Dropped(_) => {}
        }
    }

    fn on_arrive(&mut self, flow: usize, number: u64, bytes: u64) {
        let tenth = ((self.now - self.start).as_millis() / 100) as usize;
        let receiver = &mut self.flows[flow];
        if receiver.arrived.len() <= tenth {
            receiver.arrived.resize(tenth + 1, 0);
        }
        receiver.arrived[tenth] += bytes;
        receiver.to_ack.push(number);
        if receiver.to_ack.len() >= 2 {
            return self.acknowledge(flow);
        }
        receiver.ack_timer += 1;
        let timer = receiver.ack_timer;
        self.push(self.now + ACK_DELAY, Event::AckTimer(flow, timer));
    }

    fn acknowledge(&mut self, flow: usize) {
        let receiver = &mut self.flows[flow];
        receiver.ack_timer += 1;
        let list = std::mem::take(&mut receiver.to_ack);
        self.acks.push(list);
        let mut at = self.now + self.path.shape.delay;
        if let Some(every) = self.path.ack_every {
            let elapsed = (at - self.start).as_nanos();
            let late = every.as_nanos() - elapsed % every.as_nanos();
            at += Duration::from_nanos(late as u64);
        }
        let list = self.acks.len() - 1;
        self.push(at, Event::Ack(flow, list));
    }

    fn on_acks(&mut self, flow: usize, list: usize) {
        let mut list = std::mem::take(&mut self.acks[list]);
        list.sort_unstable();
        let now = self.now;
        let sender = &mut self.flows[flow];
        let mut round_trip = None;
        for number in list {
            let Some(sent) = sender.take(number) else {
                continue;
            };
            sender.probes = 0;
            sender.largest_acked = sender.largest_acked.max(Some(number));
            round_trip = Some(now - sent.at);
            if sent.bytes > SMALL_PACKET {
                sender.large_bursts = 0;
                sender.largest_large_acked = sender.largest_large_acked.max(Some(number));
            }
            let limited = sender.app_limited;
            let smoothed = sender.smoothed.unwrap_or(now - sent.at);
            match &mut sender.control {
                Controller::Bbr(bbr) => bbr.on_ack(now, sent.at, sent.bytes),
                Controller::Cubic(cubic) => {
                    cubic.on_ack(now, sent.at, sent.bytes, smoothed, limited)
                }
            }
        }
        let Some(round_trip) = round_trip else { return };
        let in_flight = sender.in_flight_bytes;
        if let Controller::Bbr(bbr) = &mut sender.control {
            bbr.on_end_acks(now, in_flight, sender.app_limited);
        }
        sender.smoothed = Some(
            sender
                .smoothed
                .map_or(round_trip, |old| (old * 7 + round_trip) / 8),
        );
        self.detect_losses(flow);
        self.send(flow, false);
    }

    fn detect_losses(&mut self, flow: usize) {
        let now = self.now;
        let smoothed = self.smoothed(flow);
        let sender = &mut self.flows[flow];
        let Some(largest) = sender.largest_acked else {
            return;
        };
        let lost: Vec<(u64, SentPacket)> = sender
            .in_flight
            .range(..largest)
            .filter(|(number, sent)| {
                largest - **number >= PACKET_THRESHOLD || now - sent.at >= smoothed * 9 / 8
            })
            .map(|(number, sent)| (*number, *sent))
            .collect();
        let (Some((_, oldest)), Some((_, newest))) = (lost.first(), lost.last()) else {
            return;
        };
        let (oldest, newest) = (oldest.at, newest.at);
        let persistent = newest - oldest > (smoothed * 2 + ACK_DELAY) * 3
            && lost.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1);
        let bytes: u64 = lost.iter().map(|(_, sent)| sent.bytes).sum();
        for (number, _) in &lost {
            sender.take(*number);
        }
        // Lost bytes are sent again.
        sender.sent_bytes -= bytes;
        let bursts = lost.chunk_by(|a, b| b.0 == a.0 + 1);
        let unexplained = |burst: &&[(u64, SentPacket)]| {
            let after = burst.last().map(|(number, _)| *number) > sender.largest_large_acked;
            after && burst.iter().all(|(_, sent)| sent.bytes > SMALL_PACKET)
        };
        sender.large_bursts += bursts.filter(unexplained).count() as u32;
        let black_hole = sender.large_bursts >= BLACK_HOLE_BURSTS && sender.packet > SMALL_PACKET;
        if black_hole {
            sender.packet = SMALL_PACKET;
        }
        match &mut sender.control {
            Controller::Bbr(bbr) => {
                if black_hole {
                    bbr.on_mtu(SMALL_PACKET as u16);
                }
                bbr.on_lost(newest, bytes, persistent);
            }
            Controller::Cubic(cubic) => cubic.on_lost(now, newest),
        }
    }

    /// The wait in the queue that the given share of the packets between two times, in hundredths,
    /// did not exceed.
    pub(super) fn wait(&self, from: Duration, to: Duration, hundredths: usize) -> Duration {
        let mut waits: Vec<_> = self
            .waits
            .iter()
            .filter(|(at, _)| (from..to).contains(at))
            .map(|(_, wait)| *wait)
            .collect();
        waits.sort_unstable();
        waits
            .get((waits.len() * hundredths / 100).min(waits.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    }
}
