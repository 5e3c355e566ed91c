//! Epoch: a number for each process of an identity, higher than that of every process before it.
//!
//! In:    the state folder, the clock.
//! Out:   the number, stored before anybody is dialled.
//! Never: the same number twice, also if two processes start at once or the clock runs backwards.

use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::store;

/// How far ahead of the clock here the epoch of another node counts.
const MOST_AHEAD_MS: u64 = 24 * 3600 * 1000;

/// What another node's epoch counts as. Whoever stole a key could otherwise keep its owner out for ever with a number that no
/// clock reaches.
pub(crate) fn capped(epoch: u64, clock_ms: u64) -> u64 {
    epoch.min(clock_ms.saturating_add(MOST_AHEAD_MS))
}

/// The clock, in milliseconds.
pub(crate) fn clock_ms() -> u64 {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    u64::try_from(clock).unwrap_or(u64::MAX)
}

/// Takes the next epoch: the stored one and one more, or the clock in milliseconds if that is higher. The clock keeps a
/// folder that was restored from a backup ahead of what it has told others.
///
/// # Errors
/// What the system says.
pub fn take(folder: &Path) -> io::Result<u64> {
    take_at(folder, clock_ms())
}

fn take_at(folder: &Path, clock_ms: u64) -> io::Result<u64> {
    let _lock = store::lock(&folder.join("epoch.lock"))?;
    let path = folder.join("epoch");
    let stored = store::read(&path)?.and_then(|bytes| String::from_utf8(bytes).ok()?.trim().parse::<u64>().ok());
    let epoch = next(stored, clock_ms);
    store::replace(&path, format!("{epoch}\n").as_bytes())?;
    Ok(epoch)
}

fn next(stored: Option<u64>, clock_ms: u64) -> u64 {
    stored.map_or(clock_ms, |stored| stored.saturating_add(1).max(clock_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let threads: Vec<_> = (0..16).map(|_| scope.spawn(|| take(path).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
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
    fn a_damaged_file_is_overruled_by_the_clock() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("epoch"), "rubbish").unwrap();
        assert_eq!(take_at(folder.path(), 77).unwrap(), 77);
    }
}
