//! Buffer budget: what all connections of a node together hold of bodies that are not read.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of bodies that were received and not passed on, of many connections. While there are more
/// than the limit, connections that hold much renew no windows. Cheap to clone.
#[derive(Clone, Debug)]
pub struct BufferBudget(Arc<Counter>);

#[derive(Debug)]
struct Counter {
    held: AtomicUsize,
    most: usize,
}

/// The part of one connection.
#[derive(Debug)]
pub(super) struct BudgetShare {
    budget: BufferBudget,
    held: usize,
}

/// Above the limit, a connection that holds no more than this still renews its windows.
const SPARED_BYTES: usize = 64 * 1024;

impl BufferBudget {
    /// A limit of this many bytes. It may be exceeded by what the peers' windows admit already.
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Counter {
            held: AtomicUsize::new(0),
            most,
        }))
    }

    /// Bytes that are held now.
    pub fn held(&self) -> usize {
        self.0.held.load(Ordering::Relaxed)
    }
}

impl Default for BufferBudget {
    /// 256 MiB.
    fn default() -> Self {
        Self::new(256 * 1024 * 1024)
    }
}

impl BudgetShare {
    pub(super) fn of(budget: BufferBudget) -> Self {
        Self { budget, held: 0 }
    }

    /// The connection holds this much now. Returns whether it renews no windows.
    pub(super) fn set(&mut self, held: usize) -> bool {
        let Counter { held: all, most } = &*self.budget.0;
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
        held > SPARED_BYTES && all.load(Ordering::Relaxed) > *most
    }
}

impl Drop for BudgetShare {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_holds_much_waits_while_the_node_holds_too_much() {
        let budget = BufferBudget::new(200_000);
        let (mut one, mut other) = (
            BudgetShare::of(budget.clone()),
            BudgetShare::of(budget.clone()),
        );
        assert!(!one.set(150_000));
        assert!(!other.set(50_000));
        assert!(!other.set(60_000), "it holds little");
        assert!(one.set(150_000));
        assert!(other.set(70_000));
        drop(one);
        assert_eq!(budget.held(), 70_000);
        assert!(!other.set(70_000));
    }
}
