//! Counts: what happened to the packets of one direction, by cause.
//!
//! In:    a verdict for each packet.
//! Out:   sums that may be read from another thread.
//! Never: leaves a packet out: offered packets are the sum of passed and dropped ones.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Why a packet does not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The path was silent.
    Silence,
    /// It was larger than the path's MTU.
    Mtu,
    /// It was UDP, and no UDP passes.
    UdpDead,
    /// It was UDP, above the rate limit of UDP.
    UdpRate,
    /// It was UDP, dropped by the loss of UDP.
    UdpLoss,
    /// The queue was full.
    Queue,
    /// It was lost at random.
    Loss,
    /// The simulator's memory limit was reached. Not part of the path: figures with such packets
    /// are invalid.
    Simulator,
    /// The device did not accept it. Not part of the path, either.
    Device,
}

impl Cause {
    /// Every cause, in the order of [`Counts`].
    pub const ALL: [Self; 9] = [
        Self::Silence,
        Self::Mtu,
        Self::UdpDead,
        Self::UdpRate,
        Self::UdpLoss,
        Self::Queue,
        Self::Loss,
        Self::Simulator,
        Self::Device,
    ];

    /// The name in a report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Silence => "silence",
            Self::Mtu => "MTU",
            Self::UdpDead => "UDP dead",
            Self::UdpRate => "UDP rate",
            Self::UdpLoss => "UDP loss",
            Self::Queue => "queue",
            Self::Loss => "loss",
            Self::Simulator => "simulator full",
            Self::Device => "device",
        }
    }
}

/// See the top of the file.
#[derive(Debug, Default)]
pub struct Counts {
    offered: AtomicU64,
    passed: AtomicU64,
    passed_bytes: AtomicU64,
    late: AtomicU64,
    dropped: [AtomicU64; Cause::ALL.len()],
}

/// The counts at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Packets that entered the path.
    pub offered: u64,
    /// Of these, the packets that arrive.
    pub passed: u64,
    /// Their bytes, IP headers included.
    pub passed_bytes: u64,
    /// Of the packets that arrive, the reordered ones.
    pub late: u64,
    dropped: [u64; Cause::ALL.len()],
}

impl Counts {
    /// Counts a packet that arrives.
    pub fn passes(&self, bytes: usize, late: bool) {
        self.offered.fetch_add(1, Relaxed);
        self.passed.fetch_add(1, Relaxed);
        self.passed_bytes.fetch_add(bytes as u64, Relaxed);
        self.late.fetch_add(u64::from(late), Relaxed);
    }

    /// Counts a packet that does not arrive.
    pub fn drops(&self, cause: Cause) {
        self.offered.fetch_add(1, Relaxed);
        self.dropped[cause as usize].fetch_add(1, Relaxed);
    }

    /// Turns a packet counted as arriving into a dropped one.
    pub fn drops_after_all(&self, bytes: usize, cause: Cause) {
        self.passed.fetch_sub(1, Relaxed);
        self.passed_bytes.fetch_sub(bytes as u64, Relaxed);
        self.dropped[cause as usize].fetch_add(1, Relaxed);
    }

    /// The current counts.
    pub fn now(&self) -> Counted {
        let value = |counter: &AtomicU64| counter.load(Relaxed);
        Counted {
            offered: value(&self.offered),
            passed: value(&self.passed),
            passed_bytes: value(&self.passed_bytes),
            late: value(&self.late),
            dropped: self.dropped.each_ref().map(value),
        }
    }
}

impl Counted {
    /// Packets that were dropped for this reason.
    pub const fn dropped(&self, cause: Cause) -> u64 {
        self.dropped[cause as usize]
    }

    /// Packets that were dropped for any reason.
    pub fn dropped_in_all(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// The difference from earlier counts.
    pub fn since(&self, before: &Self) -> Self {
        let mut dropped = self.dropped;
        dropped
            .iter_mut()
            .zip(before.dropped)
            .for_each(|(now, before)| *now -= before);
        Self {
            offered: self.offered - before.offered,
            passed: self.passed.saturating_sub(before.passed),
            passed_bytes: self.passed_bytes.saturating_sub(before.passed_bytes),
            late: self.late - before.late,
            dropped,
        }
    }

    /// As text: `1,234 packets, 12 dropped (loss 10, queue 2), 3 late`.
    pub fn words(&self) -> String {
        let causes: Vec<String> = Cause::ALL
            .into_iter()
            .filter(|cause| self.dropped(*cause) > 0)
            .map(|cause| format!("{} {}", cause.name(), self.dropped(cause)))
            .collect();
        let dropped = match causes.is_empty() {
            true => "none dropped".to_owned(),
            false => format!("{} dropped ({})", self.dropped_in_all(), causes.join(", ")),
        };
        let late = if self.late > 0 {
            format!(", {} late", self.late)
        } else {
            String::new()
        };
        format!("{} packets, {dropped}{late}", self.offered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_counted_in_the_order_in_which_they_are_listed() {
        for (place, cause) in Cause::ALL.into_iter().enumerate() {
            assert_eq!(place, cause as usize);
        }
    }

    #[test]
    fn counts_are_kept_by_cause_and_their_difference_by_time() {
        let counts = Counts::default();
        counts.passes(100, false);
        let before = counts.now();
        counts.passes(200, true);
        counts.drops(Cause::Loss);
        counts.passes(50, false);
        counts.drops_after_all(50, Cause::Device);
        let since = counts.now().since(&before);
        assert_eq!(
            (since.offered, since.passed, since.passed_bytes),
            (3, 1, 200)
        );
        assert_eq!(
            since.words(),
            "3 packets, 2 dropped (loss 1, device 1), 1 late"
        );
    }
}
