//! Endings: tells whoever waits that a marked connection of the origin has ended.
//!
//! In:    a mark, agreed on before the request that carries it (`?mark=NAME`).
//! Out:   a signal once that connection has ended in order on both sides; its loss if it broke.
//! Never: remembers a mark that nobody waits for.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// See the head of the file.
#[derive(Default)]
pub(super) struct Endings(Mutex<HashMap<String, oneshot::Sender<()>>>);

impl Endings {
    /// The signal for `mark`. It fails if the connection breaks.
    pub(super) fn expect(&self, mark: &str) -> oneshot::Receiver<()> {
        let (ended, ending) = oneshot::channel();
        self.0.lock().insert(mark.to_owned(), ended);
        ending
    }

    /// The connection that carried `mark` has ended; `in_order`: with FIN from both sides.
    pub(super) fn note(&self, mark: &str, in_order: bool) {
        let waiting = self.0.lock().remove(mark);
        if let Some(waiting) = waiting.filter(|_| in_order) {
            // Whoever waited may have given up.
            let _ = waiting.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ending_reaches_whoever_waits_for_it_and_a_break_is_none() {
        let endings = Endings::default();
        let (mut good, mut bad) = (endings.expect("good"), endings.expect("bad"));
        endings.note("unheard of", true);
        endings.note("good", true);
        endings.note("bad", false);
        assert_eq!(good.try_recv(), Ok(()));
        assert_eq!(bad.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        assert!(endings.0.lock().is_empty());
    }
}
