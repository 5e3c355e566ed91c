//! Epoch: a number for each process of an identity, higher than that of every earlier process.
//!
//! In:    the state folder, the clock.
//! Out:   the number, stored before the first dial.
//! Never: returns the same number twice, even if two processes start at once or the clock runs
//!        backwards. If a full disk prevents storing it, the number is the clock if that is ahead
//!        of the stored number; else there is none.

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use byway_tls::state_file;

/// The epoch of another node counts as at most this far ahead of the local clock.
const MOST_AHEAD_MS: u64 = 24 * 3600 * 1000;

/// Limits another node's epoch. Otherwise a thief of its key could lock the owner out permanently,
/// with a number that no clock reaches.
pub(crate) fn capped(epoch: u64, clock_ms: u64) -> u64 {
    epoch.min(clock_ms.saturating_add(MOST_AHEAD_MS))
}

/// The clock, in milliseconds.
pub(crate) fn clock_ms() -> u64 {
    let clock = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis());
    u64::try_from(clock).unwrap_or(u64::MAX)
}

/// Takes the next epoch: the stored one plus one, or the clock in milliseconds if that is higher.
/// Because of the clock, a folder that was restored from a backup does not reuse numbers that it
/// has already sent.
///
/// # Errors
/// The system error.
pub fn take(folder: &Path) -> io::Result<TakenEpoch> {
    take_with(folder, clock_ms, state_file::replace)
}

/// An epoch that was taken.
#[derive(Debug)]
pub struct TakenEpoch {
    /// The number.
    pub epoch: u64,
    /// Why it could not be stored. Then the number is the clock, so the next process still has a
    /// higher one.
    pub unstored: Option<io::Error>,
}

/// Longer than one step of the clock.
const CLOCK_STEP: Duration = Duration::from_millis(2);

fn take_with(
    folder: &Path,
    clock: impl Fn() -> u64,
    replace: impl FnOnce(&Path, &[u8]) -> io::Result<()>,
) -> io::Result<TakenEpoch> {
    let _lock = state_file::lock(&folder.join("epoch.lock"))?;
    let path = folder.join("epoch");
    let stored = state_file::read(&path)?
        .and_then(|bytes| String::from_utf8(bytes).ok()?.trim().parse::<u64>().ok());
    let epoch = next(stored, clock());
    let Err(error) = replace(&path, format!("{epoch}\n").as_bytes()) else {
        return Ok(TakenEpoch {
            epoch,
            unstored: None,
        });
    };
    let epoch = clock();
    if stored.is_none_or(|stored| epoch <= stored) {
        return Err(error);
    }
    // Under the lock: a process that waits for it takes a later time.
    #[expect(
        clippy::disallowed_methods,
        reason = "2 ms, once at the start of a process whose disk is full"
    )]
    std::thread::sleep(CLOCK_STEP);
    Ok(TakenEpoch {
        epoch,
        unstored: Some(error),
    })
}

fn next(stored: Option<u64>, clock_ms: u64) -> u64 {
    stored.map_or(clock_ms, |stored| stored.saturating_add(1).max(clock_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take_at(folder: &Path, clock_ms: u64) -> io::Result<u64> {
        take_with(folder, || clock_ms, state_file::replace).map(|taken| taken.epoch)
    }

    #[test]
    fn a_full_disk_does_not_keep_a_process_from_starting_whose_clock_is_ahead() {
        let folder = tempfile::tempdir().unwrap();
        let full = |clock_ms: u64| {
            take_with(
                folder.path(),
                || clock_ms,
                |_, _| Err(io::ErrorKind::StorageFull.into()),
            )
        };
        assert_eq!(
            full(1000).unwrap_err().kind(),
            io::ErrorKind::StorageFull,
            "earlier numbers are unknown"
        );
        take_at(folder.path(), 1000).unwrap();
        let taken = full(2000).unwrap();
        assert_eq!(
            (taken.epoch, taken.unstored.unwrap().kind()),
            (2000, io::ErrorKind::StorageFull)
        );
        assert!(full(1000).is_err(), "another process may have the number");
        assert!(full(999).is_err());
        assert!(take_at(folder.path(), 2001).unwrap() > 2000);
    }

    #[test]
    fn an_epoch_is_higher_than_every_one_before_also_when_the_clock_runs_backwards() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(take_at(folder.path(), 1000).unwrap(), 1000);
        assert_eq!(take_at(folder.path(), 1000).unwrap(), 1001);
        assert_eq!(take_at(folder.path(), 5).unwrap(), 1002);
        assert_eq!(take_at(folder.path(), 9000).unwrap(), 9000);
    }

    #[test]
    fn processes_that_start_at_once_get_different_epochs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let taken: Vec<u64> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..16)
                .map(|_| scope.spawn(|| take(path).unwrap().epoch))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        let distinct: std::collections::HashSet<_> = taken.iter().collect();
        assert_eq!(distinct.len(), taken.len());
    }

    #[test]
    fn an_epoch_that_no_clock_reaches_counts_as_a_day_ahead() {
        assert_eq!(capped(u64::MAX, 1_000), 1_000 + MOST_AHEAD_MS);
        assert_eq!(capped(1_000 + MOST_AHEAD_MS, 1_000), 1_000 + MOST_AHEAD_MS);
        assert_eq!(capped(999, 1_000), 999);
    }

    #[test]
    fn a_damaged_file_is_replaced_by_the_clock() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("epoch"), "rubbish").unwrap();
        assert_eq!(take_at(folder.path(), 77).unwrap(), 77);
    }
}
