//! Open attempts: how often the far side was asked to connect for one visitor, on all carriers and
//! sessions together.
//!
//! In:    each open that is sent; each move to another carrier.
//! Out:   whether there may be another one.
//! Never: more than [`MOST_ATTEMPTS`]: each may make the far side connect once.

/// Opens that are sent for one visitor, at most.
const MOST_ATTEMPTS: u32 = 4;

/// How many of them are sent because the carrier of the one before has become silent. The others
/// are left for when a carrier or a session ends.
const MOST_MOVES: u32 = 2;

/// How often the far side was asked to connect for one visitor; at most 4 times.
#[derive(Debug, Default)]
pub struct OpenAttempts {
    sent: u32,
    moves: u32,
}

impl OpenAttempts {
    /// Whether no further open may be sent.
    pub const fn is_used_up(&self) -> bool {
        self.sent >= MOST_ATTEMPTS
    }

    pub(super) const fn note_sent(&mut self) {
        self.sent += 1;
    }

    pub(super) const fn may_move(&self) -> bool {
        self.moves < MOST_MOVES && !self.is_used_up()
    }

    pub(super) const fn note_move(&mut self) {
        self.moves += 1;
    }
}
