//! Invariants: what must hold for a core at any time. Only tests and fuzzing check it.

use super::{CONTROL, HEADER_BYTES, MuxCore, STREAM_QUEUE_BYTES};

impl MuxCore {
    /// Fails if a counter is wrong, or if a stream holds more than its bounds.
    pub(crate) fn assert_sound(&self) {
        let queued: usize = self
            .streams
            .values()
            .map(|entry| entry.send.queued_bytes)
            .sum();
        assert_eq!(
            self.queued_bytes, queued,
            "the session's queue is not the sum of its streams' queues"
        );
        let theirs = self
            .streams
            .keys()
            .filter(|stream| self.side.peer().opens(**stream))
            .count();
        assert!(
            self.lost || self.theirs as usize == theirs,
            "the peer's streams are miscounted"
        );
        assert!(
            self.theirs <= self.most,
            "the peer has more streams than it may have"
        );
        for (stream, entry) in &self.streams {
            let chunks: usize = entry
                .send
                .chunks
                .iter()
                .map(|chunk| chunk.len() - HEADER_BYTES)
                .sum();
            assert_eq!(
                entry.send.queued_bytes, chunks,
                "stream {stream} has a wrong queue count"
            );
            assert!(
                chunks <= STREAM_QUEUE_BYTES,
                "stream {stream} queues too much"
            );
            let listed = self.send_order.count(*stream);
            assert!(
                self.lost || usize::from(entry.send.listed) == listed,
                "stream {stream} is listed {listed} times"
            );
            assert!(
                self.lost || entry.send.starved == self.starved.contains(stream),
                "the starved flag and the starved list differ"
            );
            assert!(
                entry.recv.unread() <= entry.recv.window.size() as usize,
                "more bytes are held than the window allows"
            );
        }
    }

    /// Fails if anything is left of closed streams.
    pub(crate) fn assert_empty(&self) {
        self.assert_sound();
        assert!(
            self.streams.keys().all(|stream| *stream == CONTROL),
            "streams are left"
        );
        assert!(
            self.lost || self.theirs == 0,
            "streams of the peer are left"
        );
        assert_eq!(self.queued_bytes, 0, "queued bytes are left");
        assert!(
            self.urgent.is_empty() && self.send_order.is_empty() && self.starved.is_empty(),
            "something is left to send"
        );
    }
}
