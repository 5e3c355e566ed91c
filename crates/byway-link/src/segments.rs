//! Segments: the TCP segment size for connections to each address, learned from earlier
//! connections.
//!
//! In:    connections whose full segments were lost on the path.
//! Out:   the size to use for the next connection.
//! Never: keeps a limit for longer than `LONGEST`, or more than `ADDRESSES` of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The most bytes of a segment, TCP options included, each step below the one before. With the
/// headers of IPv6, 1,200 bytes fit into its minimum MTU; every host accepts 536 (RFC 9293 section
/// 3.7.1).
const STEPS: [Option<u32>; 3] = [None, Some(1200), Some(536)];

/// How long a limit is kept at first. After that a connection is tried without it.
const KEPT: Duration = Duration::from_secs(3600);

/// The time is doubled each time the limit proves necessary again, up to this.
pub(crate) const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Addresses that are remembered. The one whose limit ends first is evicted.
const ADDRESSES: usize = 256;

/// The segment size of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SegmentSize(usize);

impl SegmentSize {
    /// In bytes; `None` for the size that the path MTU allows.
    pub(crate) fn bytes(self) -> Option<u32> {
        STEPS.get(self.0).copied().flatten()
    }

    /// One step below, or the smallest.
    pub(crate) fn smaller(self) -> Self {
        Self((self.0 + 1).min(STEPS.len() - 1))
    }

    /// The smaller of the two.
    pub(crate) fn and(self, other: Self) -> Self {
        self.max(other)
    }

    /// The larger of the two.
    pub(crate) fn or(self, other: Self) -> Self {
        self.min(other)
    }
}

/// The TCP segment size to use for each address: smaller where full segments were lost before.
/// Keeps up to `ADDRESSES` limits, each for at most `LONGEST`. One is shared by all links of a
/// node.
#[derive(Debug, Default)]
pub struct Segments(Mutex<HashMap<Arc<str>, Limit>>);

#[derive(Clone, Copy, Debug)]
struct Limit {
    size: SegmentSize,
    until: Instant,
    kept: Duration,
}

impl Segments {
    /// The size to use for a connection to `address` at `now`.
    pub(crate) fn size(&self, address: &str, now: Instant) -> SegmentSize {
        let limits = self.0.lock();
        limits
            .get(address)
            .filter(|limit| now < limit.until)
            .map(|limit| limit.size)
            .unwrap_or_default()
    }

    /// Notes that full segments of a connection to `address` with `size` were lost. Returns the
    /// size for the next ones and for how long, unless that was known.
    pub(crate) fn lost(
        &self,
        address: &Arc<str>,
        size: SegmentSize,
        now: Instant,
    ) -> Option<(SegmentSize, Duration)> {
        let mut limits = self.0.lock();
        let before = limits.get(address).copied();
        let known = before
            .filter(|limit| now < limit.until)
            .map(|limit| limit.size)
            .unwrap_or_default();
        let size = size.smaller().and(known);
        if size == known {
            return None;
        }
        // A limit that had ended proves necessary again.
        let kept = match before.filter(|_| known == SegmentSize::default()) {
            Some(limit) => (limit.kept * 2).min(LONGEST),
            None => KEPT,
        };
        if before.is_none() && limits.len() >= ADDRESSES {
            let first = limits
                .iter()
                .min_by_key(|(_, limit)| limit.until)
                .map(|(address, _)| Arc::clone(address));
            first.and_then(|first| limits.remove(&first));
        }
        limits.insert(
            Arc::clone(address),
            Limit {
                size,
                until: now + kept,
                kept,
            },
        );
        Some((size, kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: SegmentSize = SegmentSize(0);

    #[test]
    fn a_limit_goes_down_in_steps_ends_after_a_while_and_is_kept_longer_the_next_time() {
        let (segments, start) = (Segments::default(), Instant::now());
        let address: Arc<str> = "192.0.2.1:7000".into();
        let (one, two) = (FULL.smaller(), FULL.smaller().smaller());
        assert_eq!(
            [FULL, one, two].map(SegmentSize::bytes),
            [None, Some(1200), Some(536)]
        );
        assert_eq!(two.smaller(), two);
        assert_eq!(segments.size(&address, start), FULL);
        assert_eq!(segments.lost(&address, FULL, start), Some((one, KEPT)));
        assert_eq!(segments.lost(&address, FULL, start), None, "it is known");
        assert_eq!(segments.size(&address, start), one);
        assert_eq!(
            segments.size("192.0.2.2:7000", start),
            FULL,
            "another address"
        );
        assert_eq!(
            segments.lost(&address, one, start),
            Some((two, KEPT)),
            "smaller ones are lost, too"
        );
        assert_eq!(
            segments.lost(&address, two, start),
            None,
            "nothing is smaller"
        );
        let mut now = start;
        for doubled in [2, 4, 8, 16, 24, 24] {
            now += LONGEST;
            assert_eq!(
                segments.size(&address, now),
                FULL,
                "it is tried without a limit"
            );
            assert_eq!(
                segments.lost(&address, FULL, now),
                Some((one, KEPT * doubled))
            );
        }
    }

    #[test]
    fn the_number_of_remembered_addresses_is_bounded() {
        let (segments, start) = (Segments::default(), Instant::now());
        for n in 0..2 * ADDRESSES {
            let address: Arc<str> = n.to_string().into();
            let now = start + Duration::from_secs(n as u64);
            assert!(segments.lost(&address, FULL, now).is_some());
            assert_ne!(segments.size(&address, now), FULL);
        }
        assert_eq!(segments.0.lock().len(), ADDRESSES);
        assert_eq!(segments.size("0", start), FULL, "the oldest was evicted");
    }
}
