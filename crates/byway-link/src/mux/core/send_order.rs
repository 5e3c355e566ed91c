//! Send order: which stream of a mux core sends next.
//!
//! In:    streams that have something to send, each listed once.
//! Out:   one at a time: control first, then streams that had nothing to send until now, then the
//!        others in rotation.
//! Never: lets a stream go first a second time before the others were served, or lets new ones take
//!        more than half.
//!
//! This is the order of FQ-CoDel's queues (RFC 8290 section 4.1). A stream that has sent all its
//! data stays listed behind the others. It may go first again only after it was reached there
//! without anything to send.

use std::collections::VecDeque;

use super::CONTROL;

/// The streams of a mux core that have something to send, in the order in which they send: control,
/// then streams that had nothing to send before, then the others in rotation.
#[derive(Default)]
pub(super) struct SendOrder {
    fresh: VecDeque<u32>,
    rest: VecDeque<u32>,
}

/// A stream, and whether it was taken from the fresh list.
pub(super) struct Next {
    pub(super) stream: u32,
    pub(super) is_fresh: bool,
}

impl SendOrder {
    /// Lists a stream that had nothing to send until now. It must not be listed already.
    pub(super) fn begin(&mut self, stream: u32) {
        match stream {
            CONTROL => self.rest.push_front(stream),
            _ => self.fresh.push_back(stream),
        }
    }

    /// Lists a stream that was just served, behind the others. It must not be listed already.
    pub(super) fn again(&mut self, stream: u32) {
        match stream {
            CONTROL => self.rest.push_front(stream),
            _ => self.rest.push_back(stream),
        }
    }

    /// Removes control from the list. Returns whether it was listed.
    pub(super) fn control(&mut self) -> bool {
        self.rest.pop_front_if(|first| *first == CONTROL).is_some()
    }

    /// Removes the next stream from the list; a fresh one only if `fresh` is set or nothing else is
    /// listed.
    pub(super) fn next(&mut self, fresh: bool) -> Option<Next> {
        let first = if fresh || self.rest.is_empty() {
            self.fresh.pop_front()
        } else {
            None
        };
        match first {
            Some(stream) => Some(Next {
                stream,
                is_fresh: true,
            }),
            None => self.rest.pop_front().map(|stream| Next {
                stream,
                is_fresh: false,
            }),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.rest.is_empty()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// How often a stream is listed.
    pub(super) fn count(&self, stream: u32) -> usize {
        self.fresh
            .iter()
            .chain(&self.rest)
            .filter(|listed| **listed == stream)
            .count()
    }
}
