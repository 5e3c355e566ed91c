//! Buffer budget: what all connections of a node together hold of heads and of bodies that are not
//! read, and the windows that they have announced.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that were received and not passed on or released, of many connections: bodies that are not
/// read, and the text of heads and trailers while the work for their requests lasts. While there are
/// more than the limit, connections that hold more than 64 KiB renew no windows and take no further
/// requests.
///
/// Besides, connections reserve here what their windows have beyond the first 64 KiB; together half
/// of the limit. What a connection receives until it looks here again is at most twice its window.
/// So all connections hold at most twice the limit, and for each connection 192 KiB, one head, and
/// trailers of 1 KiB for each stream.
///
/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct BufferBudget(Arc<Counters>);

#[derive(Debug)]
struct Counters {
    held: AtomicUsize,
    windows: AtomicUsize,
    most: usize,
}

/// The part of one connection.
#[derive(Debug)]
pub(crate) struct BudgetShare {
    budget: BufferBudget,
    held: usize,
    window: usize,
}

/// Above the limit, a connection that holds no more than this still renews its windows and takes
/// requests.
pub(crate) const SPARED_BYTES: usize = 64 * 1024;

impl BufferBudget {
    /// A limit of this many bytes.
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Counters {
            held: AtomicUsize::new(0),
            windows: AtomicUsize::new(0),
            most,
        }))
    }

    /// Bytes that are held now.
    pub fn held(&self) -> usize {
        self.0.held.load(Ordering::Relaxed)
    }

    /// Bytes of windows that are reserved now.
    pub fn reserved(&self) -> usize {
        self.0.windows.load(Ordering::Relaxed)
    }

    /// Whether more is held than the limit.
    pub(crate) fn is_exceeded(&self) -> bool {
        self.held() > self.0.most
    }
}

impl Default for BufferBudget {
    /// 256 MiB.
    fn default() -> Self {
        Self::new(256 * 1024 * 1024)
    }
}

impl BudgetShare {
    pub(crate) fn of(budget: BufferBudget) -> Self {
        Self {
            budget,
            held: 0,
            window: 0,
        }
    }

    /// The connection holds this much now.
    pub(crate) fn set(&mut self, held: usize) {
        let all = &self.budget.0.held;
        match held.checked_sub(self.held) {
            Some(0) => {}
            Some(more) => {
                all.fetch_add(more, Ordering::Relaxed);
            }
            None => {
                all.fetch_sub(self.held - held, Ordering::Relaxed);
            }
        }
        self.held = held;
    }

    /// Whether all connections hold more than the limit.
    pub(crate) fn is_exceeded(&self) -> bool {
        self.budget.is_exceeded()
    }

    /// Reserves so many bytes of a window until the connection ends. Returns false, and reserves
    /// nothing, if there is no room.
    pub(crate) fn reserve_window(&mut self, bytes: usize) -> bool {
        let Counters { windows, most, .. } = &*self.budget.0;
        let most = most / 2;
        let is_reserved = !self.is_exceeded()
            && (windows.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
                now.checked_add(bytes).filter(|all| *all <= most)
            }))
            .is_ok();
        if is_reserved {
            self.window += bytes;
        }
        is_reserved
    }
}

impl Drop for BudgetShare {
    fn drop(&mut self) {
        self.set(0);
        (self.budget.0.windows).fetch_sub(self.window, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_connections_hold_is_counted_until_they_end() {
        let budget = BufferBudget::new(200_000);
        let (mut one, mut other) = (
            BudgetShare::of(budget.clone()),
            BudgetShare::of(budget.clone()),
        );
        one.set(150_000);
        other.set(50_000);
        assert!(!one.is_exceeded());
        other.set(60_000);
        assert!(one.is_exceeded() && other.is_exceeded());
        drop(one);
        assert_eq!(budget.held(), 60_000);
        assert!(!other.is_exceeded());
    }

    #[test]
    fn windows_are_reserved_up_to_half_of_the_limit_and_while_it_is_not_exceeded() {
        let budget = BufferBudget::new(200_000);
        let mut one = BudgetShare::of(budget.clone());
        let mut other = BudgetShare::of(budget.clone());
        assert!(one.reserve_window(60_000) && !other.reserve_window(60_000));
        assert!(other.reserve_window(40_000));
        assert_eq!(budget.reserved(), 100_000);
        drop(one);
        assert_eq!(budget.reserved(), 40_000);
        other.set(200_001);
        assert!(!other.reserve_window(1));
    }
}
