//! Budget: a limited number of bytes that can be taken and given back.
//!
//! In:    takes and gives.
//! Out:   whether that much is left.
//! Never: more than its limit, or than the limit of a budget that it is part of.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

/// A budget of its own, or a part of another.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: u64,
    used: AtomicU64,
    /// The outermost budget must keep this many times as much free as is taken of this one.
    leaves: u64,
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
        Arc::new(Self {
            limit,
            used: AtomicU64::new(0),
            leaves,
            outer,
        })
    }

    /// A budget that is not part of another.
    pub(crate) fn new(limit: u64) -> Arc<Self> {
        Self::with(limit, 0, Outer::None)
    }

    /// A part of `outer` that always leaves as much free there as it has taken itself.
    pub(crate) fn share_of(outer: &Arc<Self>) -> Arc<Self> {
        Self::with(u64::MAX, 1, Outer::Of(OnceLock::from(Arc::clone(outer))))
    }

    /// A budget of a carrier that belongs to no session yet: nothing can be taken before
    /// [`Budget::assign`]. It always leaves `times` as much free as it has taken itself.
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
    pub(crate) fn take(&self, bytes: u64) -> bool {
        self.take_leaving(bytes, 0)
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

    /// `left` is what must stay free in the outermost budget.
    fn take_leaving(&self, bytes: u64, left: u64) -> bool {
        let more = |used: u64| {
            let sum = used.checked_add(bytes)?;
            (sum.checked_add(left)? <= self.limit).then_some(sum)
        };
        let Ok(before) = self.used.fetch_update(Relaxed, Relaxed, more) else {
            return false;
        };
        let left = left.max(self.leaves.saturating_mul(before + bytes));
        let granted = match &self.outer {
            Outer::None => true,
            Outer::Of(outer) => outer
                .get()
                .is_some_and(|outer| outer.take_leaving(bytes, left)),
        };
        if !granted {
            self.used.fetch_sub(bytes, Relaxed);
        }
        granted
    }

    /// Gives back taken bytes.
    pub(crate) fn give(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Relaxed);
        if let Outer::Of(outer) = &self.outer
            && let Some(outer) = outer.get()
        {
            outer.give(bytes);
        }
    }

    /// How many bytes are taken.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_share_leaves_as_much_as_it_has_taken() {
        let node = Budget::new(100);
        let take_all = |budget: &Budget| {
            std::iter::repeat_with(|| budget.take(1))
                .take_while(|taken| *taken)
                .count()
        };
        let [first, second, third] = [(); 3].map(|()| Budget::share_of(&node));
        assert_eq!(
            [&first, &second, &third].map(|share| take_all(share)),
            [50, 25, 12]
        );
        first.give(50);
        assert_eq!((take_all(&third), take_all(&first)), (25, 19));
    }
}
