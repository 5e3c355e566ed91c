//! Window: how much a peer may send on one stream before it is consumed; and the budgets that
//! windows grow from.
//!
//! In:    bytes received, bytes consumed, the time and the round-trip time.
//! Out:   credit to grant, or that the peer has exceeded it.
//! Never: takes back what was granted; never grows beyond the budget of its stream, session or
//!        node.
//!
//! A window starts with [`INITIAL_BYTES`], so a stalled stream holds little. It doubles when half
//! of it is consumed within two round trips, since the last grant or since the first bytes were
//! consumed: then a peer on this path would have to wait for credit. On a path with a long round
//! trip, a stream that is known to be wanted starts with [`WIDE_BYTES`], while at least a quarter
//! of the budgets is free, or within [`EARLY_RESERVE_BYTES`]. What one grant may take of a node's budget is decided in
//! [`node_budget`](crate::node_budget).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// The initial window of every stream; part of the protocol, known to both sides.
pub const INITIAL_BYTES: u32 = 32 * 1024;

/// The initial window of a stream on a long path, once it is known to be wanted: about what the
/// sender's first round trips carry.
pub const WIDE_BYTES: u32 = 256 * 1024;

/// Early credit that one grant may have although more than three quarters of the node's budget are
/// taken: four streams.
pub const EARLY_RESERVE_BYTES: u64 = 4 * WIDE_BYTES as u64;

/// A path with at least this round trip is long: below it, the first credit arrives before the
/// window is used up.
pub(crate) const LONG_ROUND_TRIP: Duration = Duration::from_millis(5);

/// The largest window of a stream: 1 Gbit/s at 128 ms.
pub const MOST_BYTES: u32 = 16 * 1024 * 1024;

/// How much the windows of one carrier may grow in total.
pub const SESSION_BYTES: u64 = 64 * 1024 * 1024;

/// How much the windows of one node may grow in total.
pub const NODE_BYTES: u64 = 256 * 1024 * 1024;

/// A limited number of bytes that can be taken and given back. A budget may be part of another.
#[derive(Debug)]
pub struct Budget {
    limit: u64,
    used: AtomicU64,
    /// The outermost budget must keep this many times as much free as is taken of this one.
    leaves: u64,
    /// While no more than this is taken here, early credit may take all of the outer budgets.
    early_reserve: u64,
    outer: Outer,
}

#[derive(Debug)]
enum Outer {
    None,
    /// Until it is assigned, nothing can be taken.
    Of(OnceLock<Arc<Budget>>),
}

impl Budget {
    fn with(limit: u64, leaves: u64, outer: Outer) -> Arc<Self> {
        Arc::new(Self::made(limit, leaves, 0, outer))
    }

    const fn made(limit: u64, leaves: u64, early_reserve: u64, outer: Outer) -> Self {
        Self {
            limit,
            used: AtomicU64::new(0),
            leaves,
            early_reserve,
            outer,
        }
    }

    /// A budget that is not part of another.
    pub fn new(limit: u64) -> Arc<Self> {
        Self::with(limit, 0, Outer::None)
    }

    /// A budget that also draws on `outer`.
    pub fn within(limit: u64, outer: &Arc<Self>) -> Arc<Self> {
        Self::with(limit, 0, Outer::Of(OnceLock::from(Arc::clone(outer))))
    }

    /// A part of `outer` that always leaves as much free there as it has taken itself.
    pub(crate) fn share_of(outer: &Arc<Self>) -> Arc<Self> {
        let outer = Outer::Of(OnceLock::from(Arc::clone(outer)));
        Arc::new(Self::made(u64::MAX, 1, EARLY_RESERVE_BYTES, outer))
    }

    /// A budget of a carrier that belongs to no session yet: nothing can be taken before
    /// [`Budget::assign`].
    pub(crate) fn unassigned(limit: u64) -> Arc<Self> {
        Self::with(limit, 0, Outer::Of(OnceLock::new()))
    }

    /// The same without a limit of its own; it always leaves `times` as much free as it has taken
    /// itself.
    pub(crate) fn unassigned_leaving(times: u64) -> Arc<Self> {
        Self::with(u64::MAX, times, Outer::Of(OnceLock::new()))
    }

    /// Makes it a part of `outer`. Only the first call has an effect.
    pub(crate) fn assign(&self, outer: &Arc<Self>) {
        if let Outer::Of(unknown) = &self.outer {
            unknown.get_or_init(|| Arc::clone(outer));
        }
    }

    /// Takes `bytes` if that many are left, here and in all outer budgets.
    pub fn take(&self, bytes: u64) -> bool {
        self.take_below(bytes, |limit| limit, 0)
    }

    /// The same for optional uses: only while no more than three quarters are taken, or
    /// [`EARLY_RESERVE_BYTES`] by one grant. Two grants can take three quarters of a node's budget;
    /// the reserve is for the others.
    pub fn take_early(&self, bytes: u64) -> bool {
        self.take_below(bytes, |limit| limit / 4 * 3, 0)
    }

    /// Takes `bytes`, or else a half, a quarter and so on, but at least `least`. Returns how many.
    pub(crate) fn take_some(&self, bytes: u64, least: u64) -> u64 {
        let mut some = bytes;
        while some > 0 && !self.take(some) {
            some = if some > least {
                (some / 2).max(least)
            } else {
                0
            };
        }
        some
    }

    /// Takes up to `part` of each limit; `left` is what must stay free of that in the outermost
    /// budget.
    fn take_below(&self, bytes: u64, part: fn(u64) -> u64, left: u64) -> bool {
        let more = |used: u64| {
            let sum = used.checked_add(bytes)?;
            (sum.checked_add(left)? <= part(self.limit)).then_some(sum)
        };
        let Ok(before) = self.used.fetch_update(Relaxed, Relaxed, more) else {
            return false;
        };
        let left = left.max(self.leaves.saturating_mul(before + bytes));
        let is_reserved = before + bytes <= self.early_reserve;
        let part = if is_reserved { |limit| limit } else { part };
        let granted = match &self.outer {
            Outer::None => true,
            Outer::Of(outer) => outer
                .get()
                .is_some_and(|outer| outer.take_below(bytes, part, left)),
        };
        if !granted {
            self.used.fetch_sub(bytes, Relaxed);
        }
        granted
    }

    /// Gives back taken bytes.
    pub fn give(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Relaxed);
        if let Outer::Of(outer) = &self.outer
            && let Some(outer) = outer.get()
        {
            outer.give(bytes);
        }
    }

    /// How many bytes are taken.
    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }
}

/// See the file header.
#[derive(Debug)]
pub struct Window {
    budget: Arc<Budget>,
    size: u32,
    /// How much the peer may still send.
    open: u32,
    /// How much was consumed and not granted again yet.
    ungranted: u32,
    /// The time of the last grant, or of the first consumption.
    since: Option<Instant>,
}

impl Window {
    /// A window of [`INITIAL_BYTES`] that grows from `budget`.
    pub fn new(budget: Arc<Budget>) -> Self {
        Self {
            budget,
            size: INITIAL_BYTES,
            open: INITIAL_BYTES,
            ungranted: 0,
            since: None,
        }
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
        let growth = if is_fast && self.size < MOST_BYTES && self.budget.take(self.size.into()) {
            self.size
        } else {
            0
        };
        Some(self.grant(growth))
    }

    /// Grows the window to [`WIDE_BYTES`] if it is smaller, the round trip is long and the budget
    /// has room. Returns the credit to grant.
    pub fn widen(&mut self, round_trip: Duration) -> Option<u32> {
        let growth = WIDE_BYTES
            .checked_sub(self.size)
            .filter(|growth| *growth > 0)?;
        let taken = round_trip >= LONG_ROUND_TRIP && self.budget.take_early(growth.into());
        taken.then(|| self.grant(growth))
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
        self.budget.give((self.size - INITIAL_BYTES).into());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROUND_TRIP: Duration = Duration::from_millis(50);

    fn window(budget: &Arc<Budget>) -> Window {
        Window::new(Arc::clone(budget))
    }

    #[test]
    fn credit_is_granted_when_half_a_window_was_consumed() {
        let mut window = window(&Budget::new(0));
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
        let budget = Budget::new(u64::from(MOST_BYTES));
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
        let budget = Budget::new(1 << 22);
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
        let node = Budget::new(u64::from(INITIAL_BYTES));
        let (one, other) = (
            Budget::within(1 << 30, &node),
            Budget::within(1 << 30, &node),
        );
        let (mut first, mut second) = (window(&one), window(&other));
        let now = Instant::now();
        for window in [&mut first, &mut second] {
            for _ in 0..4 {
                let half = window.size() as usize / 2;
                assert!(window.receive(half));
                assert!(window.consume(half, now, ROUND_TRIP).is_some());
            }
        }
        assert_eq!(
            (first.size(), second.size()),
            (2 * INITIAL_BYTES, INITIAL_BYTES)
        );
        assert_eq!(
            (one.used(), other.used(), node.used()),
            (u64::from(INITIAL_BYTES), 0, u64::from(INITIAL_BYTES))
        );
    }

    #[test]
    fn a_budget_grants_a_part_where_not_all_is_left() {
        let budget = Budget::new(100);
        assert_eq!(
            [
                budget.take_some(64, 10),
                budget.take_some(64, 10),
                budget.take_some(64, 10)
            ],
            [64, 32, 0]
        );
        assert_eq!(
            (
                budget.take_some(4, 10),
                budget.take_some(4, 10),
                budget.used()
            ),
            (4, 0, 100)
        );
    }

    #[test]
    fn discarded_bytes_are_granted_again_and_only_once() {
        let mut window = window(&Budget::new(1 << 22));
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
    fn a_wanted_stream_on_a_long_path_starts_wide_while_a_quarter_of_the_budget_is_free() {
        let budget = Budget::new(u64::from(WIDE_BYTES) * 4);
        let mut near = window(&budget);
        assert_eq!(near.widen(Duration::from_millis(1)), None);
        let mut far: Vec<Window> = (0..4).map(|_| window(&budget)).collect();
        let widened = far
            .iter_mut()
            .filter_map(|window| window.widen(ROUND_TRIP))
            .count();
        assert_eq!(widened, 3, "the rest is for streams that are read");
        assert_eq!(far[0].size(), WIDE_BYTES);
        assert_eq!(far[0].widen(ROUND_TRIP), None, "only once");
        assert!(far[0].receive(WIDE_BYTES as usize) && !far[0].receive(1));
        drop(far);
        assert_eq!(budget.used(), 0);
    }

    proptest! {
        #[test]
        fn a_peer_never_holds_more_than_the_window(steps in prop::collection::vec((0_usize..40_000, 0_usize..40_000), 1..200)) {
            let mut window = window(&Budget::new(1 << 22));
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
