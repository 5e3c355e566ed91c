//! Endings: notifies a waiter when a marked connection of the origin has ended.
//!
//! In:    a mark, registered before the request that carries it (`?mark=NAME`).
//! Out:   a signal when that connection ended with FIN on both sides; an error if it broke.
//! Never: remembers a mark without a waiter.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Waiters for the end of connections of the origin, by the mark of a request. A waiter gets a
/// signal if its connection ended with FIN on both sides, and an error if it broke.
#[derive(Default)]
pub(super) struct Endings(Mutex<HashMap<String, oneshot::Sender<()>>>);

impl Endings {
    /// The signal for `mark`. It fails if the connection breaks.
    pub(super) fn expect(&self, mark: &str) -> oneshot::Receiver<()> {
        let (ended, ending) = oneshot::channel();
        self.0.lock().insert(mark.to_owned(), ended);
        ending
    }

    /// The connection that carried `mark` has ended; `is_clean`: with FIN from both sides.
    pub(super) fn note(&self, mark: &str, is_clean: bool) {
        let waiter = self.0.lock().remove(mark);
        if let Some(waiter) = waiter.filter(|_| is_clean) {
            // The receiver may be dropped.
            let _ = waiter.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clean_end_reaches_its_waiter_and_a_broken_connection_is_an_error() {
        let endings = Endings::default();
        let (mut good, mut bad) = (endings.expect("good"), endings.expect("bad"));
        endings.note("unknown", true);
        endings.note("good", true);
        endings.note("bad", false);
        assert_eq!(good.try_recv(), Ok(()));
        assert_eq!(bad.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        assert!(endings.0.lock().is_empty());
    }
}
