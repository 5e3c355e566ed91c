//! Deadlines: what happens although the peer does nothing.

use std::time::{Duration, Instant};

use super::Connection;
use super::shutdown::Stage;
use crate::error::{ConnectionError, ErrorCode};
use crate::stream::Wait;

/// How long data waits for a window of a sensible size, before it is sent in pieces of any size.
const DRIBBLE_AFTER: Duration = Duration::from_secs(1);

impl Connection {
    /// When to call [`expire`](Self::expire) next, if nothing else happens.
    pub fn deadline(&self) -> Option<Instant> {
        let warned = match self.closing.stage {
            Stage::Warned(until) => Some(until),
            Stage::Closed => return None,
            _ => None,
        };
        let lapse = self.turns_lapse.filter(|_| self.has_idle_turns());
        [self.settings_due, self.dribble, warned, lapse]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does what is due: ends a connection whose settings were not acknowledged, takes the second
    /// step of [`drain`](Self::drain), takes turns back that were not used, and lets data leave in
    /// small pieces if the peer grants no larger windows. Ask for [turns](Self::next_turn)
    /// afterwards.
    ///
    /// # Errors
    /// If the connection is over; a GOAWAY is queued.
    pub fn expire(&mut self, now: Instant) -> Result<(), ConnectionError> {
        self.now = now;
        if self.closing.stage == Stage::Closed {
            return Ok(());
        }
        if self.settings_due.is_some_and(|due| due <= now) {
            let reason = "settings were not acknowledged in time";
            return Err(self.fail(ConnectionError::new(ErrorCode::SETTINGS_TIMEOUT, reason)));
        }
        if matches!(self.closing.stage, Stage::Warned(until) if until <= now) {
            self.drain_finally();
        }
        if self.turns_lapse.is_some_and(|until| until <= now) {
            self.turns_lapse = None;
            self.withdraw_grants();
        }
        if self.dribble.is_some_and(|until| until <= now) {
            self.dribble = None;
            self.dribble_now();
        }
        Ok(())
    }

    /// Data waits for a larger window: no longer than a while.
    pub(super) fn wait_for_window(&mut self) {
        if self.dribble.is_none() {
            self.dribble = Some(self.now + DRIBBLE_AFTER);
        }
    }

    /// Lets everything leave that waits for larger windows.
    fn dribble_now(&mut self) {
        self.may_dribble = true;
        for (id, stream) in self.streams.iter_mut() {
            if stream.wait == Wait::Window && stream.window.bytes() > 0 {
                stream.may_dribble = true;
                stream.wait = Wait::Turn;
                self.waiting.push(id.slot, stream.priority);
            }
        }
    }
}
