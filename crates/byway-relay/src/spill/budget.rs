//! Budget: how many bytes spill files may hold, how many files there may be, and how much memory
//! their queues may use.
//!
//! In:    charges before bytes are written, releases after their blocks are free again; permits of
//!        files.
//! Out:   granted or refused.
//! Never: waits, never lets the free disk space fall below its reserve, and never lets one user
//!        take the share of others.
//!
//! Bytes on disk cannot be taken back from a user before the reader has read them, so room for
//! other users must stay free: a user may hold at most as much as is still free after it. One user
//! alone holds at most half of the budget; of two that take all they can each holds a third, of n
//! each holds 1/(n + 1). Files, of which each takes a descriptor, are shared by the same rule.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use byway_dial::ClientId;
use parking_lot::Mutex;

use crate::fair_permits::{FairPermit, FairPermits, NoPermit};

const GIB: u64 = 1024 * 1024 * 1024;

/// The most that [`SpillBudget::for_directory`] allows.
const MOST_BYTES: u64 = 10 * GIB;

/// The default of the memory that the queues of all streams may hold before they are kept short.
const MEMORY_BYTES: u64 = 64 * 1024 * 1024;

/// How many bytes are written between two checks of the free disk space.
const CHECK_EVERY_BYTES: u64 = 64 * 1024 * 1024;

/// The disk space for slow readers, the number of their files, and the memory of their queues, of
/// all streams together. The disk and the files are shared between users: each may have as much as
/// is still free after it. 5 % of the disk always stay free.
#[derive(Debug)]
pub struct SpillBudget {
    limit: AtomicU64,
    /// Whether the limit follows from the free space of the disk, so that it grows with it.
    limit_is_derived: bool,
    /// Whether a spill thread has been asked to look at the disk again.
    raise_is_due: AtomicBool,
    charged: Mutex<DiskUsage>,
    files: FairPermits<ClientId>,
    memory_limit: u64,
    memory_used: AtomicU64,
    /// Bytes written since the last check of the disk.
    unchecked: AtomicU64,
    check_every: u64,
    disk_is_full: AtomicBool,
}

/// Bytes on disk.
#[derive(Debug, Default)]
struct DiskUsage {
    all: u64,
    /// Users that hold any.
    users: HashMap<ClientId, u64>,
}

impl SpillBudget {
    /// At most `bytes` on disk; 0 means none.
    pub fn of(bytes: u64) -> Self {
        Self {
            limit: AtomicU64::new(bytes),
            limit_is_derived: false,
            raise_is_due: AtomicBool::new(false),
            charged: Mutex::default(),
            files: FairPermits::new(usize::MAX),
            memory_limit: MEMORY_BYTES,
            memory_used: AtomicU64::new(0),
            unchecked: AtomicU64::new(0),
            check_every: CHECK_EVERY_BYTES,
            disk_is_full: AtomicBool::new(false),
        }
    }

    /// The smaller of 10 GiB and a fifth of the free space on the disk of `directory`: other
    /// programs use the disk, too. The limit grows if more space is free when it is reached.
    /// `directory` need not exist yet. Blocks for a moment.
    ///
    /// # Errors
    /// When the file system cannot be queried.
    pub fn for_directory(directory: &Path) -> std::io::Result<Self> {
        let disk = Disk::below(directory)?;
        // On a small disk 64 MiB may be more than the reserve: check more often there.
        let check_every = CHECK_EVERY_BYTES.min(disk.total / 100);
        Ok(Self {
            check_every,
            limit_is_derived: true,
            ..Self::of(disk.share())
        })
    }

    /// Keeps each queue in memory at 32 KiB once together they hold half of `bytes`. Default
    /// 64 MiB.
    #[must_use]
    pub const fn with_memory(mut self, bytes: u64) -> Self {
        self.memory_limit = bytes;
        self
    }

    /// Opens no more files than there are `files`. Default: any number.
    #[must_use]
    pub fn with_files(mut self, files: FairPermits<ClientId>) -> Self {
        self.files = files;
        self
    }

    /// Bytes charged now.
    pub fn used(&self) -> u64 {
        self.charged.lock().all
    }

    /// The limit in bytes.
    pub fn limit(&self) -> u64 {
        self.limit.load(Relaxed)
    }

    /// Whether the caller is to have a spill thread call [`SpillBudget::raise_limit`]: the limit
    /// may be lower than the free space allows, and no other caller does.
    pub(super) fn wants_raise(&self) -> bool {
        self.limit_is_derived && self.limit() < MOST_BYTES && !self.raise_is_due.swap(true, Relaxed)
    }

    /// Raises a limit that follows from the free space, if more is free than when it was set. May
    /// block, so call it on a spill thread.
    pub(super) fn raise_limit(&self, directory: &Path) {
        self.raise_is_due.store(false, Relaxed);
        if let Ok(mut disk) = Disk::below(directory) {
            disk.free = disk.free.saturating_add(self.used());
            self.limit.fetch_max(disk.share(), Relaxed);
        }
    }

    /// Memory that the queues hold now, in bytes, free room in their buffers included.
    pub fn memory_used(&self) -> u64 {
        self.memory_used.load(Relaxed)
    }

    /// Whether the queues must be kept short.
    pub(super) fn is_short_of_memory(&self) -> bool {
        self.memory_used.load(Relaxed) >= self.memory_limit / 2
    }

    pub(super) fn shift_memory(&self, part: &mut u64, now: u64) {
        self.memory_used.fetch_add(now.wrapping_sub(*part), Relaxed);
        *part = now;
    }

    /// Whether `bytes` may be written now without touching the disk's reserve: 5 % always stay
    /// free. Queries the file system now and then, which may block, so call it on a spill thread.
    pub(super) fn disk_has_room(&self, directory: &Path, bytes: u64) -> bool {
        let unchecked = self.unchecked.fetch_add(bytes, Relaxed) + bytes;
        let due = unchecked >= self.check_every || self.disk_is_full.load(Relaxed);
        if due {
            // If the file system cannot be queried, the write reports what is wrong.
            let full = Disk::of(directory).is_ok_and(|disk| disk.is_full_after(bytes));
            self.disk_is_full.store(full, Relaxed);
            self.unchecked.store(0, Relaxed);
        }
        !self.disk_is_full.load(Relaxed)
    }

    /// Whether a stream may keep a file that it does not use.
    pub(super) fn has_ample_files(&self) -> bool {
        self.files.half_is_left()
    }

    fn charge(&self, user: &ClientId, bytes: u64) -> bool {
        let mut charged = self.charged.lock();
        let own = charged
            .users
            .get(user)
            .copied()
            .unwrap_or(0)
            .saturating_add(bytes);
        let all = charged.all.saturating_add(bytes);
        let granted = self
            .limit()
            .checked_sub(all)
            .is_some_and(|free| own <= free);
        if granted && bytes > 0 {
            charged.all = all;
            charged.users.insert(user.clone(), own);
        }
        granted
    }

    fn release(&self, user: &ClientId, bytes: u64) {
        let mut charged = self.charged.lock();
        charged.all -= bytes;
        if let Some(own) = charged.users.get_mut(user) {
            *own -= bytes;
            if *own == 0 {
                charged.users.remove(user);
            }
        }
    }
}

/// The charge of one stream. Dropping it releases everything.
#[derive(Debug)]
pub(super) struct Charge {
    budget: Arc<SpillBudget>,
    user: ClientId,
    bytes: u64,
}

impl Charge {
    pub(super) const fn new(budget: Arc<SpillBudget>, user: ClientId) -> Self {
        Self {
            budget,
            user,
            bytes: 0,
        }
    }

    pub(super) const fn budget(&self) -> &Arc<SpillBudget> {
        &self.budget
    }

    /// The permit of one file, which must be closed before the permit is dropped.
    ///
    /// # Errors
    /// When all are in use, or those that are left are for other users.
    pub(super) fn file_permit(&self) -> Result<FairPermit<ClientId>, NoPermit> {
        self.budget.files.take(&self.user, false)
    }

    /// Charges `more` bytes, unless the stream would then hold more than `stream_limit`, or the
    /// user more than its share of the budget.
    pub(super) fn grow(&mut self, more: u64, stream_limit: u64) -> bool {
        let granted = self.bytes + more <= stream_limit && self.budget.charge(&self.user, more);
        if granted {
            self.bytes += more;
        }
        granted
    }

    /// Releases what is charged above `bytes`.
    pub(super) fn settle(&mut self, bytes: u64) {
        if let Some(surplus) = self.bytes.checked_sub(bytes) {
            self.budget.release(&self.user, surplus);
            self.bytes = bytes;
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.settle(0);
    }
}

/// The size of a disk and the space that an unprivileged user may still use, in bytes.
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

    /// The disk that `directory` is on, or will be created on.
    fn below(directory: &Path) -> std::io::Result<Self> {
        let existing = directory.ancestors().find(|folder| folder.exists());
        Self::of(existing.unwrap_or(directory))
    }

    /// What the spill may have of it unless the user says otherwise.
    fn share(&self) -> u64 {
        MOST_BYTES.min(self.free / 5)
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
        // Two streams of one user.
        let mut one = Charge::new(Arc::clone(&budget), user("eve"));
        let mut other = Charge::new(Arc::clone(&budget), user("eve"));
        assert!(one.grow(30, u64::MAX));
        assert!(!other.grow(21, u64::MAX));
        assert!(other.grow(20, u64::MAX));
        assert!(!one.grow(1, u64::MAX) && !one.grow(u64::MAX - 30, u64::MAX));
        one.settle(10);
        assert_eq!(budget.used(), 30);
        drop((one, other));
        assert_eq!(budget.used(), 0);
        assert!(budget.charged.lock().users.is_empty());
    }

    #[test]
    fn a_user_that_takes_all_it_can_leaves_room_for_new_users() {
        let budget = Arc::new(SpillBudget::of(1200));
        let take_all = |charge: &mut Charge| {
            while charge.grow(1, u64::MAX) {}
            charge.bytes
        };
        let [mut eve, mut ann, mut bob] =
            ["eve", "ann", "bob"].map(|name| Charge::new(Arc::clone(&budget), user(name)));
        assert_eq!(take_all(&mut eve), 600);
        assert_eq!(take_all(&mut ann), 300);
        assert_eq!(take_all(&mut bob), 150);
        // As readers continue, the shares of the users that take all they can become equal.
        for _ in 0..20 {
            for charge in [&mut eve, &mut ann, &mut bob] {
                charge.settle(charge.bytes / 2);
                take_all(charge);
            }
        }
        for charge in [&eve, &ann, &bob] {
            assert!((290..=310).contains(&charge.bytes), "{}", charge.bytes);
        }
        assert!(budget.used() <= 1200);
    }

    fn user(name: &str) -> ClientId {
        ClientId::User(name.into())
    }

    #[test]
    fn a_stream_has_a_limit_of_its_own() {
        let mut charge = Charge::new(Arc::new(SpillBudget::of(1000)), ClientId::Own);
        assert!(charge.grow(10, 10));
        assert!(!charge.grow(1, 10));
    }

    #[test]
    fn a_disk_keeps_a_twentieth_free() {
        let disk = Disk {
            total: 1000,
            free: 60,
        };
        assert!(!disk.is_full_after(10));
        assert!(disk.is_full_after(11));
    }

    #[test]
    fn the_default_is_a_fifth_of_the_free_disk_or_ten_gibibytes() {
        let directory = std::env::temp_dir();
        let free = Disk::of(&directory).unwrap().free;
        let budget = SpillBudget::for_directory(&directory).unwrap();
        assert!(budget.limit() <= MOST_BYTES && budget.limit() <= free);
    }
}
