//! Reactor tick: how often the reactor of the calling thread has been asked what is new.
//!
//! In:    one call from the runtime, each time after its thread has waited for events.
//! Out:   a number that differs from an earlier one only if what had come by then was announced
//!        since; where more sockets had news at once than one look brings, the oldest news first.
//! Never: counts a turn too many; one that the runtime makes between tasks, without waiting, is not
//!        told and not counted.

use std::cell::Cell;

thread_local! {
    static TURNS: Cell<u64> = const { Cell::new(0) };
}

/// The number of this thread's last turn; 0 for ever on a thread whose runtime does not tell.
pub fn current() -> u64 {
    TURNS.try_with(Cell::get).unwrap_or_default()
}

/// The reactor has turned.
pub fn advance() {
    let _ = TURNS.try_with(|turns| turns.set(turns.get() + 1));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_counts_its_own_turns_alone() {
        let before = current();
        advance();
        assert_eq!(current(), before + 1);
        assert_eq!(std::thread::spawn(current).join().unwrap(), 0);
    }
}
