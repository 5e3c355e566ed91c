//! Invariants: what always holds, for tests.

use super::Connection;
use super::control::EARLY_PRIORITIES;
use crate::stream::Wait;

impl Connection {
    /// Checks what must always hold, for tests and fuzzing.
    ///
    /// # Panics
    /// If it does not.
    #[doc(hidden)]
    pub fn check_invariants(&self) {
        self.receive_window.check_invariants();
        let (mut held, mut text, mut grants, mut turns) = (0, 0, 0, 0);
        for (id, stream) in self.streams.iter() {
            stream.receive.check_invariants();
            held += stream.receive.held();
            text += stream.text;
            grants += stream.grant;
            turns += usize::from(stream.wait == Wait::Turn);
            assert!(
                stream.can_send() || (stream.wait == Wait::No && stream.grant == 0),
                "stream {} waits although it has ended",
                id.number
            );
            assert!(id.number <= self.highest, "stream {} is unknown", id.number);
        }
        assert_eq!(held, self.held, "held bytes");
        assert_eq!(text, self.held_text, "bytes of text");
        assert_eq!(grants, self.granted_bytes, "granted bytes");
        assert_eq!(turns, self.waiting.len(), "waiting streams");
        assert_eq!(turns, self.waiting.iter().count(), "waiting streams");
        assert!(self.streams.len() <= self.limits.streams as usize, "slots");
        assert!(
            self.early_priorities.len() <= EARLY_PRIORITIES,
            "priorities"
        );
        let most = self.limits.connection_window_bytes + self.limits.buffer_bytes;
        assert!(self.held <= most, "{} bytes are held", self.held);
    }
}
