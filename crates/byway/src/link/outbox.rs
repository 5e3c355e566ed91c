//! Outbox: the queue of control messages of a session to the other side.
//!
//! In:    messages; for a response, the change of names that must be on disk before it is sent.
//! Out:   one message at a time, as fast as the carrier takes them.
//! Never: ends a session because a queue is full, and never drops a message of a live session.

use std::collections::VecDeque;

use byway_link::Link;
use byway_link::wire::Control;

/// The most responses that may wait. Above this the owner receives no further requests until the
/// other side has taken some.
const MOST: usize = 1024;

/// The control messages of a session that wait to be sent, in order. A response may also wait until
/// a change of names is on disk.
#[derive(Default)]
pub struct Outbox {
    waiting: VecDeque<QueuedMessage>,
}

struct QueuedMessage {
    control: Control,
    /// The change that must be on disk first; 0 for none.
    after: u64,
}

impl Outbox {
    /// Adds a message.
    pub fn push(&mut self, control: Control) {
        self.push_after(0, control);
    }

    /// Adds a message that is sent once the change `after` has been saved.
    pub fn push_after(&mut self, after: u64, control: Control) {
        self.waiting.push_back(QueuedMessage { control, after });
    }

    /// Whether a request may be received that needs a response.
    pub fn has_room(&self) -> bool {
        self.waiting.len() < MOST
    }

    /// Sends the next message once `saved` reports that its change is on disk. Pending while there
    /// is none.
    ///
    /// # Cancel safety
    /// Safe: a message stays here until its carrier has taken it.
    pub async fn send_next(&mut self, link: &Link, saved: impl AsyncFnOnce(u64)) {
        let Some(next) = self.waiting.front() else {
            return std::future::pending().await;
        };
        if next.after != 0 {
            saved(next.after).await;
        }
        // If the session is over, its owner is informed elsewhere, and the message does not matter.
        link.send(next.control.clone()).await;
        self.waiting.pop_front();
    }
}
