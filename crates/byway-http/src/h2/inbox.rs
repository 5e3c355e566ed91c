//! Inbox: data of one stream that has arrived and was not taken.
//!
//! Never: holds memory while it is empty, except for its list of pieces.

use std::collections::VecDeque;

use byway_relay::{Buffer, Size};

/// Data in pieces.
#[derive(Debug, Default)]
pub(super) struct Inbox(VecDeque<Buffer>);

impl Inbox {
    /// Appends a copy of data.
    pub(super) fn push(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            let has_room = self.0.back().is_some_and(|last| last.room() > 0);
            if !has_room {
                self.0.push_back(Buffer::take(Size::holding(data.len())));
            }
            let Some(last) = self.0.back_mut() else {
                return;
            };
            let n = data.len().min(last.room());
            let (now, rest) = data.split_at(n);
            if let Some(space) = last.space().get_mut(..n) {
                space.copy_from_slice(now);
            }
            last.advance(n);
            data = rest;
        }
    }

    /// The first piece.
    pub(super) fn pop(&mut self) -> Option<Buffer> {
        self.0.pop_front()
    }

    /// Drops everything.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// How many bytes there are.
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(Buffer::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_comes_out_as_it_went_in() {
        let (mut inbox, mut sent, mut received) = (Inbox::default(), Vec::new(), Vec::new());
        for (n, byte) in [1, 8191, 1, 70_000, 5, 300_000].into_iter().zip(b'a'..) {
            inbox.push(&vec![byte; n]);
            sent.extend(vec![byte; n]);
        }
        while let Some(piece) = inbox.pop() {
            received.extend_from_slice(piece.filled());
        }
        assert!(sent == received && inbox.len() == 0);
        inbox.push(b"abc");
        assert_eq!(inbox.len(), 3);
        inbox.clear();
        assert_eq!(inbox.len(), 0);
    }
}
