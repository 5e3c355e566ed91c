//! Turns: which stream sends next while room is scarce (RFC 9218).
//!
//! Room is what the peer's window of the connection and the backlog admit. A stream that wants to
//! send more waits in a queue of its urgency. A turn is a part of the room for the first of them: all of it if the stream is not incremental, otherwise a
//! share of at least 16 KiB.

use std::time::Duration;

use super::Connection;
use crate::event::StreamId;
use crate::frame::{HEADER_BYTES, MAX_FRAME_BYTES};
use crate::priority::{Priority, QUANTUM_BYTES};
use crate::stream::Wait;

/// A frame with less data is sent only if it has the rest of what is sent, or the peer grants no
/// more for a second: peers that open a window byte by byte would cost a frame for each.
pub(super) const SENSIBLE_BYTES: usize = 1024;

/// How long a stream may have a turn without using it while others wait.
const LAPSE: Duration = Duration::from_millis(100);

impl Connection {
    /// The next stream that waits and may send now, the most urgent first: call
    /// [`send`](Self::send) for it. Call this until it returns none, at the start of each round of
    /// the connection's loop, and again after streams have run and the output was written: a stream
    /// that has not used its turn by then has lost it to the next, and waits again once it sends.
    pub fn next_turn(&mut self) -> Option<StreamId> {
        if !std::mem::replace(&mut self.is_giving_turns, true) {
            self.withdraw_grants();
        }
        let next = self.give_turn();
        self.is_giving_turns = next.is_some();
        if next.is_none() {
            self.turns_lapse = self.has_idle_turns().then(|| self.now + LAPSE);
        }
        next
    }

    /// Whether streams wait for their turn.
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Changes the priority of a response. A server does it by the client's wishes without this;
    /// call it for what a response says about itself (RFC 9218 section 8).
    pub fn set_priority(&mut self, id: StreamId, priority: Priority) {
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        let old = std::mem::replace(&mut stream.priority, priority);
        if stream.wait == Wait::Turn {
            self.waiting.remove(id.slot, old);
            self.waiting.push(id.slot, priority);
        }
    }

    /// Bytes of data that the connection admits now.
    pub(super) fn room(&self) -> usize {
        let free = self.limits.backlog_bytes.saturating_sub(self.out.len());
        let frames = free / (HEADER_BYTES + MAX_FRAME_BYTES) + 1;
        let data = free.saturating_sub(frames * HEADER_BYTES);
        self.send_window.bytes().min(data)
    }

    /// What is left of it for those without a turn.
    pub(super) fn free_room(&self) -> usize {
        self.room().saturating_sub(self.granted_bytes)
    }

    /// Takes back what is left of a stream's turn.
    pub(super) fn end_turn(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(id) {
            self.granted_bytes -= std::mem::take(&mut stream.grant);
        }
    }

    fn give_turn(&mut self) -> Option<StreamId> {
        let slot = self.waiting.first()?;
        let room = self.free_room();
        let (id, stream) = self.streams.at(slot)?;
        if room < stream.wanted as usize && !(self.may_dribble && room > 0) {
            return None;
        }
        self.waiting.pop();
        stream.wait = Wait::No;
        stream.grant = match stream.priority.incremental {
            true => share(room, self.waiting.len() + 1),
            false => room,
        };
        self.granted_bytes += stream.grant;
        self.granted.push(id);
        Some(id)
    }

    /// Whether streams wait while others have turns that they have not used.
    pub(super) fn has_idle_turns(&self) -> bool {
        self.granted_bytes > 0 && !self.waiting.is_empty()
    }

    /// Takes back all turns that have not been used.
    pub(super) fn withdraw_grants(&mut self) {
        while let Some(id) = self.granted.pop() {
            self.end_turn(id);
        }
    }
}

/// What one of this many streams gets of the room: all of it if it is alone, otherwise whole frames,
/// and at least one.
fn share(room: usize, waiting: usize) -> usize {
    if waiting == 1 {
        return room;
    }
    let frames = (room / waiting / QUANTUM_BYTES).max(1);
    room.min(frames * QUANTUM_BYTES)
}
