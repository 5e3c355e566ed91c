//! Window: how much a peer may send on one stream before it is consumed.
//!
//! In:    bytes received, bytes consumed, the time and the round-trip time.
//! Out:   credit to grant, or that the peer has exceeded it.
//! Never: takes back what was granted; never grows beyond the share of its stream, client, carrier
//!        or grant ([`fair_budget`](crate::fair_budget)).
//!
//! A window starts with [`INITIAL_BYTES`], so a stalled stream holds little. It doubles when half
//! of it is consumed within two round trips, since the last grant or since the first bytes were
//! consumed: then a peer on this path would have to wait for credit. On a path with a long round
//! trip, a stream that is known to be wanted starts with [`WIDE_BYTES`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client_key::ClientKey;
use crate::fair_budget::{FairBudget, Limits, Purpose};

/// The initial window of every stream; part of the protocol, known to both sides.
pub const INITIAL_BYTES: u32 = 32 * 1024;

/// The initial window of a stream on a long path, once it is known to be wanted: about what the
/// sender's first round trips carry.
pub const WIDE_BYTES: u32 = 256 * 1024;

/// A path with at least this round trip is long: below it, the first credit arrives before the
/// window is used up.
pub(crate) const LONG_ROUND_TRIP: Duration = Duration::from_millis(5);

/// The largest window of a stream: 1 Gbit/s at 128 ms.
pub const MOST_BYTES: u32 = 16 * 1024 * 1024;

/// What the windows of one carrier may take beyond their first size: 64 MiB of growth, a quarter of
/// which one stream alone can have, and early credit for 109 streams, of
/// which one client has half.
pub const CARRIER_BYTES: Limits = Limits {
    early_bytes: 24 * 1024 * 1024,
    growth_bytes: 64 * 1024 * 1024,
};

/// What the windows of one node may take beyond their first size: 256 MiB in all.
pub const NODE_BYTES: Limits = Limits {
    early_bytes: 96 * 1024 * 1024,
    growth_bytes: 160 * 1024 * 1024,
};

/// How much the peer may send on one stream.
#[derive(Debug)]
pub struct Window {
    budget: Arc<FairBudget>,
    /// What it has taken counts for this client.
    client: ClientKey,
    /// What it has taken as early credit, and by growing.
    early: u32,
    growth: u32,
    size: u32,
    /// How much the peer may still send.
    open: u32,
    /// How much was consumed and not granted again yet.
    ungranted: u32,
    /// The time of the last grant, or of the first consumption.
    since: Option<Instant>,
}

impl Window {
    /// A window of [`INITIAL_BYTES`] that grows from `budget`, for a client that is not known.
    pub fn new(budget: Arc<FairBudget>) -> Self {
        Self {
            budget,
            client: ClientKey::UNKNOWN,
            early: 0,
            growth: 0,
            size: INITIAL_BYTES,
            open: INITIAL_BYTES,
            ungranted: 0,
            since: None,
        }
    }

    /// Counts what it has taken and what it will take for `client`.
    pub fn set_client(&mut self, client: ClientKey) {
        if client == self.client {
            return;
        }
        for purpose in Purpose::ALL {
            let taken = self.taken(purpose);
            if taken > 0 {
                self.budget.move_to(purpose, self.client, client, taken);
            }
        }
        self.client = client;
    }

    /// What it has taken for `purpose`.
    fn taken(&self, purpose: Purpose) -> u64 {
        u64::from(match purpose {
            Purpose::Early => self.early,
            Purpose::Growth => self.growth,
        })
    }

    fn take(&self, purpose: Purpose, bytes: u32) -> bool {
        let own = self.taken(purpose);
        self.budget.take(purpose, self.client, own, bytes.into())
    }

    /// Accounts for received bytes. `false`: the peer had no credit for them.
    #[must_use]
    pub fn receive(&mut self, bytes: usize) -> bool {
        let left = u32::try_from(bytes)
            .ok()
            .and_then(|bytes| self.open.checked_sub(bytes));
        if let Some(left) = left {
            self.open = left;
        }
        left.is_some()
    }

    /// Accounts for consumed bytes. Returns the credit to grant now, if any.
    pub fn consume(&mut self, bytes: usize, now: Instant, round_trip: Duration) -> Option<u32> {
        self.ungranted = self
            .ungranted
            .saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX))
            .min(self.size - self.open);
        let since = self.since.replace(self.since.unwrap_or(now));
        if self.ungranted < self.size / 2 {
            return None;
        }
        let is_fast =
            since.is_some_and(|since| now.saturating_duration_since(since) < round_trip * 2);
        self.since = Some(now);
        let grows = is_fast && self.size < MOST_BYTES && self.take(Purpose::Growth, self.size);
        let growth = if grows { self.size } else { 0 };
        self.growth += growth;
        Some(self.grant(growth))
    }

    /// Grows the window to [`WIDE_BYTES`] if it is smaller, the round trip is long and its client has
    /// early credit; a stream that was not used yet only if its client has little of it. Returns the
    /// credit to grant.
    pub fn widen(&mut self, round_trip: Duration, is_used: bool) -> Option<u32> {
        let more = WIDE_BYTES
            .checked_sub(self.size)
            .filter(|more| *more > 0 && round_trip >= LONG_ROUND_TRIP)?;
        let is_taken = match is_used {
            true => self.take(Purpose::Early, more),
            false => self.budget.take_unused(self.client, more.into()),
        };
        is_taken.then(|| {
            self.early += more;
            self.grant(more)
        })
    }

    /// Gives back what it has taken: there is no reader any more. The peer may still send what it
    /// was granted.
    pub fn settle(&mut self) {
        for purpose in Purpose::ALL {
            let taken = self.taken(purpose);
            if taken > 0 {
                self.budget.give(purpose, self.client, taken);
            }
        }
        (self.early, self.growth) = (0, 0);
    }

    /// Counts all received bytes as consumed: there is no reader any more. Returns the credit to
    /// grant now, if the peer may be short of it.
    pub fn forgo(&mut self) -> Option<u32> {
        self.ungranted = self.size - self.open;
        (self.ungranted >= self.size / 2).then(|| self.grant(0))
    }

    fn grant(&mut self, growth: u32) -> u32 {
        self.size += growth;
        let grant = self.ungranted + growth;
        self.open += grant;
        self.ungranted = 0;
        grant
    }

    /// Its present size.
    pub const fn size(&self) -> u32 {
        self.size
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.settle();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROUND_TRIP: Duration = Duration::from_millis(50);

    /// A budget of `bytes` for each purpose.
    fn budget(bytes: u64) -> Arc<FairBudget> {
        FairBudget::node(Limits::both(bytes))
    }

    fn window(budget: &Arc<FairBudget>) -> Window {
        Window::new(Arc::clone(budget))
    }

    #[test]
    fn credit_is_granted_when_half_a_window_was_consumed() {
        let mut window = window(&budget(0));
        let now = Instant::now();
        assert!(window.receive(INITIAL_BYTES as usize));
        assert!(!window.receive(1), "the window is used up");
        assert_eq!(
            window.consume(INITIAL_BYTES as usize / 2 - 1, now, ROUND_TRIP),
            None
        );
        assert_eq!(window.consume(1, now, ROUND_TRIP), Some(INITIAL_BYTES / 2));
        assert!(window.receive(INITIAL_BYTES as usize / 2));
        assert!(!window.receive(1));
    }

    #[test]
    fn a_window_grows_with_the_path_and_returns_its_budget() {
        let budget = budget(CARRIER_BYTES.growth_bytes);
        let mut window = window(&budget);
        let mut now = Instant::now();
        let mut pump = |window: &mut Window, gap: Duration| {
            now += gap;
            let half = window.size() as usize / 2;
            assert!(window.receive(half));
            window.consume(half, now, ROUND_TRIP).unwrap();
        };
        // A slow reader on the same path stays small.
        for _ in 0..10 {
            pump(&mut window, ROUND_TRIP * 3);
        }
        assert_eq!(window.size(), INITIAL_BYTES);
        for _ in 0..20 {
            pump(&mut window, ROUND_TRIP);
        }
        assert_eq!(window.size(), MOST_BYTES);
        assert_eq!(budget.used(), u64::from(MOST_BYTES - INITIAL_BYTES));
        drop(window);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn the_first_half_of_a_window_that_is_consumed_quickly_did_not_double_it() {
        let budget = budget(1 << 22);
        let now = Instant::now();
        for (gap, grown) in [(ROUND_TRIP, true), (ROUND_TRIP * 2, false)] {
            let mut window = window(&budget);
            assert!(window.receive(INITIAL_BYTES as usize / 2));
            assert_eq!(window.consume(1, now, ROUND_TRIP), None);
            window
                .consume(INITIAL_BYTES as usize / 2 - 1, now + gap, ROUND_TRIP)
                .unwrap();
            assert_eq!(window.size() > INITIAL_BYTES, grown, "after {gap:?}");
        }
        // Bytes that were consumed all at once show nothing about the path.
        let mut window = window(&budget);
        assert!(window.receive(INITIAL_BYTES as usize));
        window
            .consume(INITIAL_BYTES as usize, now, ROUND_TRIP)
            .unwrap();
        assert_eq!(window.size(), INITIAL_BYTES);
    }

    #[test]
    fn an_exhausted_budget_keeps_windows_small_and_stalls_no_stream() {
        let node = budget(u64::from(INITIAL_BYTES) * 5);
        let now = Instant::now();
        let mut windows = [(); 3].map(|()| window(&node));
        for window in &mut windows {
            for _ in 0..4 {
                let half = window.size() as usize / 2;
                assert!(window.receive(half));
                assert!(window.consume(half, now, ROUND_TRIP).is_some());
            }
        }
        assert_eq!(
            windows
                .each_ref()
                .map(|window| window.size() / INITIAL_BYTES),
            [2, 2, 1]
        );
        assert_eq!(node.used(), 2 * u64::from(INITIAL_BYTES));
    }

    #[test]
    fn discarded_bytes_are_granted_again_and_only_once() {
        let mut window = window(&budget(1 << 22));
        assert_eq!(window.forgo(), None);
        assert!(window.receive(INITIAL_BYTES as usize / 2 - 1));
        assert_eq!(window.forgo(), None, "the peer has credit left");
        assert!(window.receive(INITIAL_BYTES as usize / 2 + 1));
        assert_eq!(window.forgo(), Some(INITIAL_BYTES));
        assert_eq!(
            (window.forgo(), window.size(), window.open),
            (None, INITIAL_BYTES, INITIAL_BYTES)
        );
    }

    #[test]
    fn a_wanted_stream_on_a_long_path_starts_wide_while_there_is_early_credit() {
        let budget = budget(u64::from(WIDE_BYTES) * 8);
        let mut near = window(&budget);
        assert_eq!(near.widen(Duration::from_millis(1), true), None);
        let mut far: Vec<Window> = (0..8).map(|_| window(&budget)).collect();
        let widened = far
            .iter_mut()
            .filter_map(|window| window.widen(ROUND_TRIP, true))
            .count();
        assert_eq!(widened, 6, "the rest is for others");
        assert_eq!(far[0].size(), WIDE_BYTES);
        assert_eq!(far[0].widen(ROUND_TRIP, true), None, "only once");
        assert!(far[0].receive(WIDE_BYTES as usize) && !far[0].receive(1));
        drop(far);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn what_a_window_has_taken_moves_to_the_client_that_its_stream_is_for_now() {
        let carrier = FairBudget::carrier(CARRIER_BYTES);
        carrier.assign(&FairBudget::grant(&FairBudget::node(NODE_BYTES)));
        let [first, second] = ["first", "second"].map(|name| ClientKey::of(&name));
        let mut window = window(&carrier);
        window.set_client(first);
        window.widen(ROUND_TRIP, true).unwrap();
        let now = Instant::now();
        for _ in 0..4 {
            let half = window.size() as usize / 2;
            assert!(window.receive(half));
            window.consume(half, now, ROUND_TRIP).unwrap();
        }
        let taken = u64::from(window.size() - INITIAL_BYTES);
        assert!(taken > u64::from(WIDE_BYTES));
        assert_eq!(carrier.used_by(first), taken);
        window.set_client(second);
        assert_eq!(
            (carrier.used_by(first), carrier.used_by(second)),
            (0, taken)
        );
        drop(window);
        assert_eq!((carrier.used(), carrier.used_by(second)), (0, 0));
    }

    #[test]
    fn a_window_without_a_reader_has_taken_nothing_and_still_counts_what_arrives() {
        let budget = budget(CARRIER_BYTES.growth_bytes);
        let mut window = window(&budget);
        window.widen(ROUND_TRIP, true).unwrap();
        window.settle();
        assert_eq!(budget.used(), 0);
        assert!(window.receive(WIDE_BYTES as usize) && !window.receive(1));
        drop(window);
        assert_eq!(budget.used(), 0);
    }

    proptest! {
        #[test]
        fn a_peer_never_holds_more_than_the_window(steps in prop::collection::vec((0_usize..40_000, 0_usize..40_000), 1..200)) {
            let mut window = window(&budget(1 << 22));
            let (mut buffered, now) = (0_usize, Instant::now());
            for (sent, read) in steps {
                if window.receive(sent) {
                    buffered += sent;
                }
                let read = read.min(buffered);
                buffered -= read;
                window.consume(read, now, ROUND_TRIP);
                prop_assert!(buffered <= window.size() as usize);
                prop_assert_eq!(window.open + window.ungranted + buffered as u32, window.size());
            }
        }
    }
}
