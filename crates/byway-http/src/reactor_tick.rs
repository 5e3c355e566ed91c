//! Reactor tick: how often the reactor of the calling thread has polled for events.
//!
//! In:    one call from the runtime, each time after its thread has waited for events.
//! Out:   a per-thread count. If it has changed since an earlier value, every readiness that
//!        existed then has been delivered; when more sockets are ready than one poll returns, the
//!        oldest are delivered first.
//! Never: counts too much; a poll that the runtime makes between tasks, without waiting, is not
//!        reported and not counted.

use std::cell::Cell;

thread_local! {
    static TICKS: Cell<u64> = const { Cell::new(0) };
}

/// The current count of this thread; always 0 on a thread whose runtime does not call [`advance`].
pub fn current() -> u64 {
    TICKS.try_with(Cell::get).unwrap_or_default()
}

/// Counts one poll of the reactor.
pub fn advance() {
    let _ = TICKS.try_with(|ticks| ticks.set(ticks.get() + 1));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_counts_only_its_own_ticks() {
        let before = current();
        advance();
        assert_eq!(current(), before + 1);
        assert_eq!(std::thread::spawn(current).join().unwrap(), 0);
    }
}
