//! Budget: how many bytes may lie in spill files, and how much memory their queues may hold.
//!
//! In:    charges before bytes are written, releases after their blocks are free again.
//! Out:   yes or no.
//! Never: waits, and never lets the disk fall below its reserve.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

const GIB: u64 = 1024 * 1024 * 1024;

/// The most that a node spills by default.
const NODE_BYTES: u64 = 10 * GIB;

/// What the queues of all streams may hold in memory by default before they are kept short.
const MEMORY_BYTES: u64 = 64 * 1024 * 1024;

/// How many bytes are written between two looks at the free disk.
const CHECK_EVERY_BYTES: u64 = 64 * 1024 * 1024;

/// What may lie on disk: for a node, or for a part of it (a user) within a larger budget.
#[derive(Debug)]
pub struct SpillBudget {
    limit: u64,
    used: AtomicU64,
    parent: Option<Arc<Self>>,
    memory_limit: u64,
    memory_used: AtomicU64,
    /// Bytes written since the last look at the disk.
    unchecked: AtomicU64,
    check_every: u64,
    disk_is_full: AtomicBool,
}

impl SpillBudget {
    /// At most `bytes` on disk.
    pub fn of(bytes: u64) -> Self {
        Self {
            limit: bytes,
            used: AtomicU64::new(0),
            parent: None,
            memory_limit: MEMORY_BYTES,
            memory_used: AtomicU64::new(0),
            unchecked: AtomicU64::new(0),
            check_every: CHECK_EVERY_BYTES,
            disk_is_full: AtomicBool::new(false),
        }
    }

    /// The default of a node: the smaller of 10 GiB and a fifth of what is free on the disk of `directory`.
    ///
    /// # Errors
    /// When the disk cannot be asked.
    pub fn for_directory(directory: &Path) -> std::io::Result<Self> {
        let disk = Disk::of(directory)?;
        // On a small disk 64 MiB may be more than the reserve: look more often there.
        let check_every = CHECK_EVERY_BYTES.min(disk.total / 100);
        Ok(Self { check_every, ..Self::of(NODE_BYTES.min(disk.free / 5)) })
    }

    /// At most `bytes` on disk out of what `parent` allows: the budget of one user.
    pub fn within(parent: Arc<Self>, bytes: u64) -> Self {
        Self { parent: Some(parent), ..Self::of(bytes) }
    }

    /// Keeps the queues in memory short once together they hold half of `bytes`. Default 64 MiB.
    #[must_use]
    pub const fn with_memory(mut self, bytes: u64) -> Self {
        self.memory_limit = bytes;
        self
    }

    /// Bytes charged now.
    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// The limit in bytes.
    pub const fn limit(&self) -> u64 {
        self.limit
    }

    /// Memory that the queues hold now, in bytes, free room in their buffers included.
    pub fn memory_used(&self) -> u64 {
        self.node().memory_used.load(Relaxed)
    }

    /// Whether the queues shall be kept short.
    pub(super) fn is_short_of_memory(&self) -> bool {
        let node = self.node();
        node.memory_used.load(Relaxed) >= node.memory_limit / 2
    }

    pub(super) fn shift_memory(&self, part: &mut u64, now: u64) {
        self.node().memory_used.fetch_add(now.wrapping_sub(*part), Relaxed);
        *part = now;
    }

    /// Whether `bytes` may be written now, as far as the disk's reserve goes: 5 % always stay free. Asks the disk now
    /// and then; it blocks, so it belongs on a spill thread.
    pub(super) fn disk_has_room(&self, directory: &Path, bytes: u64) -> bool {
        let node = self.node();
        let unchecked = node.unchecked.fetch_add(bytes, Relaxed) + bytes;
        let due = unchecked >= node.check_every || node.disk_is_full.load(Relaxed);
        if due {
            // A disk that cannot be asked will say what is wrong when it is written to.
            let full = Disk::of(directory).is_ok_and(|disk| disk.is_full_after(bytes));
            node.disk_is_full.store(full, Relaxed);
            node.unchecked.store(0, Relaxed);
        }
        !node.disk_is_full.load(Relaxed)
    }

    fn node(&self) -> &Self {
        let mut node = self;
        while let Some(parent) = &node.parent {
            node = parent;
        }
        node
    }

    fn charge(&self, bytes: u64) -> bool {
        let fits = |used: u64| used.checked_add(bytes).filter(|&sum| sum <= self.limit);
        if self.used.fetch_update(Relaxed, Relaxed, fits).is_err() {
            return false;
        }
        let granted = self.parent.as_ref().is_none_or(|parent| parent.charge(bytes));
        if !granted {
            self.used.fetch_sub(bytes, Relaxed);
        }
        granted
    }

    fn release(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Relaxed);
        if let Some(parent) = &self.parent {
            parent.release(bytes);
        }
    }
}

/// What one stream has been charged. Dropping it gives everything back.
#[derive(Debug)]
pub(super) struct Charge {
    budget: Arc<SpillBudget>,
    bytes: u64,
}

impl Charge {
    pub(super) const fn new(budget: Arc<SpillBudget>) -> Self {
        Self { budget, bytes: 0 }
    }

    pub(super) const fn budget(&self) -> &Arc<SpillBudget> {
        &self.budget
    }

    /// Charges `more` bytes, unless the stream would then hold more than `stream_limit` or the budget is spent.
    pub(super) fn grow(&mut self, more: u64, stream_limit: u64) -> bool {
        let granted = self.bytes + more <= stream_limit && self.budget.charge(more);
        if granted {
            self.bytes += more;
        }
        granted
    }

    /// Gives back what is charged above `bytes`.
    pub(super) fn settle(&mut self, bytes: u64) {
        if let Some(surplus) = self.bytes.checked_sub(bytes) {
            self.budget.release(surplus);
            self.bytes = bytes;
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.settle(0);
    }
}

/// A disk's size and what an ordinary user may still write, in bytes.
struct Disk {
    total: u64,
    free: u64,
}

impl Disk {
    fn of(directory: &Path) -> std::io::Result<Self> {
        let stat = rustix::fs::statvfs(directory)?;
        Ok(Self {
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
        })
    }

    const fn is_full_after(&self, bytes: u64) -> bool {
        self.free.saturating_sub(bytes) < self.total / 20
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_never_overdrawn_and_gets_everything_back() {
        let budget = Arc::new(SpillBudget::of(100));
        let mut one = Charge::new(Arc::clone(&budget));
        let mut other = Charge::new(Arc::clone(&budget));
        assert!(one.grow(60, u64::MAX));
        assert!(!other.grow(50, u64::MAX));
        assert!(other.grow(40, u64::MAX));
        one.settle(10);
        assert_eq!(budget.used(), 50);
        drop((one, other));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_user_is_bound_by_its_own_budget_and_by_the_nodes() {
        let node = Arc::new(SpillBudget::of(100));
        let alice = Arc::new(SpillBudget::within(Arc::clone(&node), 80));
        let bob = Arc::new(SpillBudget::within(Arc::clone(&node), 80));
        let mut of_alice = Charge::new(alice);
        let mut of_bob = Charge::new(Arc::clone(&bob));
        assert!(!of_alice.grow(81, u64::MAX));
        assert!(of_alice.grow(80, u64::MAX));
        assert!(!of_bob.grow(30, u64::MAX));
        assert_eq!((bob.used(), node.used()), (0, 80));
    }

    #[test]
    fn a_stream_has_a_limit_of_its_own() {
        let mut charge = Charge::new(Arc::new(SpillBudget::of(1000)));
        assert!(charge.grow(10, 10));
        assert!(!charge.grow(1, 10));
    }

    #[test]
    fn a_disk_keeps_a_twentieth_free() {
        let disk = Disk { total: 1000, free: 60 };
        assert!(!disk.is_full_after(10));
        assert!(disk.is_full_after(11));
    }

    #[test]
    fn the_default_is_a_fifth_of_the_free_disk_or_ten_gibibytes() {
        let directory = std::env::temp_dir();
        let free = Disk::of(&directory).unwrap().free;
        let budget = SpillBudget::for_directory(&directory).unwrap();
        assert!(budget.limit() <= NODE_BYTES && budget.limit() <= free);
    }
}
