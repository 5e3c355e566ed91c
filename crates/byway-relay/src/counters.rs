//! Counters of relays: running relays, spilled bytes and wasted bytes.
//!
//! Out:   numbers for the metrics.
//! Never: influences a relay; relaxed atomics, one set for each thread if the caller wants it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Sums over all relays that are given the same counters.
#[derive(Debug, Default)]
pub struct RelayCounters {
    active: AtomicU64,
    spilling: AtomicU64,
    spills: AtomicU64,
    spilled_bytes: AtomicU64,
    ring_bytes: AtomicU64,
    ring_peak_bytes: AtomicU64,
    wasted_bytes: AtomicU64,
    bytes_up: AtomicU64,
    bytes_down: AtomicU64,
}

impl RelayCounters {
    /// Running relays.
    pub fn active(&self) -> u64 {
        self.active.load(Relaxed)
    }

    /// Outflows that have bytes in a spill file.
    pub fn spilling(&self) -> u64 {
        self.spilling.load(Relaxed)
    }

    /// How often an outflow began to use a spill file. A total.
    pub fn spills(&self) -> u64 {
        self.spills.load(Relaxed)
    }

    /// Bytes in spill files that wait for their reader.
    pub fn spilled_bytes(&self) -> u64 {
        self.spilled_bytes.load(Relaxed)
    }

    /// Bytes in the memory of spilling outflows, including those on their way to or from the disk.
    pub fn ring_bytes(&self) -> u64 {
        self.ring_bytes.load(Relaxed)
    }

    /// The maximum of [`RelayCounters::ring_bytes`] so far.
    pub fn ring_peak_bytes(&self) -> u64 {
        self.ring_peak_bytes.load(Relaxed)
    }

    /// Bytes that were read from one side and never reached the other, because one of them broke. A
    /// total.
    pub fn wasted_bytes(&self) -> u64 {
        self.wasted_bytes.load(Relaxed)
    }

    /// Bytes delivered to upstreams by relays. A total.
    pub fn bytes_up(&self) -> u64 {
        self.bytes_up.load(Relaxed)
    }

    /// Bytes delivered to downstreams by relays. A total.
    pub fn bytes_down(&self) -> u64 {
        self.bytes_down.load(Relaxed)
    }

    pub(super) fn waste(&self, bytes: u64) {
        self.wasted_bytes.fetch_add(bytes, Relaxed);
    }

    pub(super) fn delivered(&self, up: u64, down: u64) {
        self.bytes_up.fetch_add(up, Relaxed);
        self.bytes_down.fetch_add(down, Relaxed);
    }
}

/// One running relay; dropping it decrements the counter.
#[derive(Debug)]
pub(super) struct Active(Arc<RelayCounters>);

impl Active {
    pub(super) fn new(counters: Arc<RelayCounters>) -> Self {
        counters.active.fetch_add(1, Relaxed);
        Self(counters)
    }

    pub(super) fn counters(&self) -> &RelayCounters {
        &self.0
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Relaxed);
    }
}

/// What one spilling outflow holds, as last reported; dropping it subtracts that from the sums.
#[derive(Debug)]
pub(super) struct SpillUsage {
    counters: Arc<RelayCounters>,
    ring_bytes: u64,
    spilled_bytes: u64,
}

impl SpillUsage {
    pub(super) fn new(counters: Arc<RelayCounters>) -> Self {
        Self {
            counters,
            ring_bytes: 0,
            spilled_bytes: 0,
        }
    }

    pub(super) fn report(&mut self, ring_bytes: u64, spilled_bytes: u64) {
        let now = shift(&self.counters.ring_bytes, &mut self.ring_bytes, ring_bytes);
        self.counters.ring_peak_bytes.fetch_max(now, Relaxed);
        let was_spilling = self.spilled_bytes > 0;
        shift(
            &self.counters.spilled_bytes,
            &mut self.spilled_bytes,
            spilled_bytes,
        );
        match (was_spilling, spilled_bytes > 0) {
            (false, true) => {
                self.counters.spilling.fetch_add(1, Relaxed);
                self.counters.spills.fetch_add(1, Relaxed);
            }
            (true, false) => {
                self.counters.spilling.fetch_sub(1, Relaxed);
            }
            _ => {}
        }
    }
}

impl Drop for SpillUsage {
    fn drop(&mut self) {
        self.report(0, 0);
    }
}

/// Changes one holder's part of a sum to `now`; returns the new sum.
fn shift(sum: &AtomicU64, part: &mut u64, now: u64) -> u64 {
    let change = now.wrapping_sub(*part);
    *part = now;
    // Wrapping addition of a negative change is a subtraction.
    sum.fetch_add(change, Relaxed).wrapping_add(change)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_holder_is_subtracted_from_the_sums() {
        let counters = Arc::new(RelayCounters::default());
        let mut one = SpillUsage::new(Arc::clone(&counters));
        let mut other = SpillUsage::new(Arc::clone(&counters));
        one.report(100, 0);
        other.report(50, 1000);
        one.report(10, 7);
        assert_eq!(
            (
                counters.ring_bytes(),
                counters.spilled_bytes(),
                counters.spilling()
            ),
            (60, 1007, 2)
        );
        drop((one, other));
        assert_eq!(
            (
                counters.ring_bytes(),
                counters.spilled_bytes(),
                counters.spilling()
            ),
            (0, 0, 0)
        );
        assert_eq!(counters.ring_peak_bytes(), 150);
    }
}
