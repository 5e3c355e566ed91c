//! Simulator: a thread that moves packets between two TUN devices, according to the shapes of both
//! directions.
//!
//! In:    two devices, a shape for each direction, a seed, plans.
//! Out:   packets at their times; counts by cause; its own CPU time.
//! Never: holds more than [`HELD_BYTES_MAX`] of packets in a direction, or drops one without
//!        counting it.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};
use std::num::NonZeroU64;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use parking_lot::Mutex;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::process::setpriority_process;
use rustix::thread::{gettid, set_current_timer_slack};

use super::tun::Tun;
use crate::machine;
use crate::process::{CpuTime, thread_cpu_time};
use lab::shaping::counts::{Cause, Counted, Counts};
use lab::shaping::packet::Packet;
use lab::shaping::plan::{Direction, Plan, Step};
use lab::shaping::shape::Shape;
use lab::shaping::shaper::{Shaper, Verdict};

/// The most bytes in flight in one direction: a second at 1 Gbit/s.
const HELD_BYTES_MAX: usize = 128 << 20;
/// Packets of one direction that are read before the other direction is served.
const READ_AT_ONCE: usize = 32;
/// Buffers that are kept for reuse.
const SPARE_BUFFERS_MAX: usize = 4096;
/// A higher priority than ordinary programs: a late simulator would add delay to the path.
const NICENESS: i32 = -15;

/// See the top of the file. Dropping it ends the thread.
pub(crate) struct Simulator {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<()>>>,
}

struct Shared {
    counts: [Counts; 2],
    /// A plan that is waiting to start.
    plan: Mutex<Option<Plan>>,
    ends: AtomicBool,
    wake: OwnedFd,
    /// The thread's id; 0 until it runs.
    thread: AtomicI32,
}

impl Shared {
    fn wakes(&self) {
        // This fails only if the counter is full, and then the thread is awake.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}

impl Simulator {
    /// Starts it between the devices of the near and the far end.
    pub(super) fn start(near: Tun, far: Tun, shapes: [Shape; 2], seed: u64) -> Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .context("making an eventfd")?;
        let shared = Arc::new(Shared {
            counts: Default::default(),
            plan: Mutex::default(),
            ends: AtomicBool::new(false),
            wake,
            thread: AtomicI32::new(0),
        });
        let [down, up] = shapes;
        let lanes = [Lane::new(down, seed), Lane::new(up, seed.wrapping_add(1))];
        let of_thread = Arc::clone(&shared);
        let run = move || {
            of_thread
                .thread
                .store(gettid().as_raw_nonzero().get(), Relaxed);
            run(&of_thread, lanes, [&far, &near])
        };
        let spawn = || std::thread::Builder::new().name("path".into()).spawn(run);
        let thread = machine::unpinned(spawn).context("starting the simulator's thread")?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Starts a plan now. The rest of an earlier plan is discarded.
    pub(crate) fn begin(&self, plan: Plan) {
        *self.shared.plan.lock() = Some(plan);
        self.shared.wakes();
    }

    /// The counts of a direction so far.
    pub(crate) fn counted(&self, direction: Direction) -> Counted {
        self.shared.counts[direction as usize].now()
    }

    /// CPU time of the thread. Most of it is kernel time: each packet is received within a write.
    pub(crate) fn cpu_time(&self) -> Result<CpuTime> {
        thread_cpu_time(self.shared.thread.load(Relaxed))
    }

    /// An error if the thread has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        if !self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
            return Ok(());
        }
        let ended = self.thread.take().map(JoinHandle::join);
        let why = match ended {
            Some(Ok(Err(error))) => error,
            Some(Err(_)) => anyhow!("it panicked"),
            _ => anyhow!("it has already ended"),
        };
        Err(why).context("the path simulator")
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.shared.ends.store(true, Relaxed);
        self.shared.wakes();
        if let Some(thread) = self.thread.take() {
            match thread.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => eprintln!("lab: the path simulator: {error:#}"),
                Err(_) => eprintln!("lab: the path simulator panicked"),
            }
        }
    }
}

/// `sources` are the devices from which packets of each direction come; the other device is their
/// target.
fn run(shared: &Shared, mut lanes: [Lane; 2], sources: [&Tun; 2]) -> Result<()> {
    // Both make the path more exact; it works without them.
    let _ = set_current_timer_slack(NonZeroU64::new(1));
    let _ = setpriority_process(None, NICENESS);
    let clock = Instant::now();
    let (mut plan, mut started) = (Plan::default(), Duration::ZERO);
    let mut buffer = vec![0; 65_536];
    let [far, near] = sources;
    let targets = [near, far];
    while !shared.ends.load(Relaxed) {
        if let Some(new) = shared.plan.lock().take() {
            (plan, started) = (new, clock.elapsed());
        }
        let now = clock.elapsed();
        for Step {
            direction, shape, ..
        } in plan.due(now.saturating_sub(started))
        {
            lanes[direction as usize].shaper.reshape(shape);
        }
        let mut next = plan.next().map(|at| started + at);
        for ((lane, target), counts) in lanes.iter_mut().zip(targets).zip(&shared.counts) {
            lane.deliver(now, target, counts);
            next = next.into_iter().chain(lane.next()).min();
        }
        wait(
            shared,
            sources,
            next.map(|at| at.saturating_sub(clock.elapsed())),
        )?;
        let both = lanes
            .iter_mut()
            .zip(&shared.counts)
            .zip(sources.into_iter().zip(targets));
        for ((lane, counts), (source, target)) in both {
            for _ in 0..READ_AT_ONCE {
                let Some(n) = source.read(&mut buffer)? else {
                    break;
                };
                lane.take(
                    clock.elapsed(),
                    buffer.get(..n).unwrap_or_default(),
                    target,
                    counts,
                );
            }
        }
    }
    Ok(())
}

/// Waits until a packet or a plan arrives, at most this long.
fn wait(shared: &Shared, sources: [&Tun; 2], most: Option<Duration>) -> Result<()> {
    let most = most.map(|most| Timespec {
        tv_sec: i64::try_from(most.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: most.subsec_nanos().into(),
    });
    let [far, near] = sources.map(|source| source.as_fd());
    let mut fds =
        [far, near, shared.wake.as_fd()].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    match poll(&mut fds, most.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error).context("waiting for packets"),
    }
    if fds[2].revents().contains(PollFlags::IN) {
        // Only the event counts, not how often it was written.
        let _ = rustix::io::read(&shared.wake, &mut [0; 8]);
    }
    Ok(())
}

/// One direction, with its packets in flight.
struct Lane {
    shaper: Shaper,
    /// Sorted by time.
    ordered: VecDeque<Held>,
    late: BinaryHeap<Reverse<Held>>,
    held_bytes: usize,
    spare: Vec<Vec<u8>>,
    taken: u64,
}

#[derive(Debug, PartialEq, Eq)]
struct Held {
    at: Duration,
    /// Packets with the same time leave in order of arrival.
    number: u64,
    packet: Vec<u8>,
}

impl Ord for Held {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Lane {
    fn new(shape: Shape, seed: u64) -> Self {
        Self {
            shaper: Shaper::new(shape, seed),
            ordered: VecDeque::new(),
            late: BinaryHeap::new(),
            held_bytes: 0,
            spare: Vec::new(),
            taken: 0,
        }
    }

    /// Takes a packet that enters the path.
    fn take(&mut self, now: Duration, packet: &[u8], target: &Tun, counts: &Counts) {
        let (at, late) = match self.shaper.offer(now, Packet::of(packet)) {
            Verdict::Dropped(cause) => return counts.drops(cause),
            Verdict::Arrives { at, late } => (at, late),
        };
        if at <= now && self.ordered.is_empty() {
            match target.write(packet) {
                true => counts.passes(packet.len(), late),
                false => counts.drops(Cause::Device),
            }
            return;
        }
        if self.held_bytes + packet.len() > HELD_BYTES_MAX {
            return counts.drops(Cause::Simulator);
        }
        counts.passes(packet.len(), late);
        let mut copy = self.spare.pop().unwrap_or_default();
        copy.clear();
        copy.extend_from_slice(packet);
        self.held_bytes += packet.len();
        self.taken += 1;
        let held = Held {
            at,
            number: self.taken,
            packet: copy,
        };
        match late {
            true => self.late.push(Reverse(held)),
            false => self.ordered.push_back(held),
        }
    }

    /// When the next packet leaves.
    fn next(&self) -> Option<Duration> {
        let late = self.late.peek().map(|Reverse(held)| held.at);
        self.ordered
            .front()
            .map(|held| held.at)
            .into_iter()
            .chain(late)
            .min()
    }

    /// Delivers all packets that are due.
    fn deliver(&mut self, now: Duration, target: &Tun, counts: &Counts) {
        while let Some(held) = self.due(now) {
            if !target.write(&held.packet) {
                counts.drops_after_all(held.packet.len(), Cause::Device);
            }
            self.held_bytes -= held.packet.len();
            if self.spare.len() < SPARE_BUFFERS_MAX {
                self.spare.push(held.packet);
            }
        }
    }

    fn due(&mut self, now: Duration) -> Option<Held> {
        let late = self
            .late
            .peek()
            .filter(|Reverse(held)| held.at <= now)
            .map(|Reverse(held)| held);
        let first = self.ordered.front().filter(|held| held.at <= now);
        match (first, late) {
            (Some(first), Some(late)) if late < first => self.late.pop().map(|Reverse(held)| held),
            (Some(_), _) => self.ordered.pop_front(),
            (None, Some(_)) => self.late.pop().map(|Reverse(held)| held),
            (None, None) => None,
        }
    }
}
