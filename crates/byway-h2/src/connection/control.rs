//! Control: SETTINGS, PING, GOAWAY, WINDOW_UPDATE and priorities.

use std::time::Instant;

use super::Connection;
use super::shutdown::DRAIN_PING;
use super::turns::SENSIBLE_BYTES;
use crate::abuse::Cost;
use crate::error::{ConnectionError, ErrorCode};
use crate::event::{Event, ResetCause, StreamId};
use crate::frame::{FrameHeader, flag, kind, split_number};
use crate::priority::Priority;
use crate::role::Role;
use crate::stream::{ResetBy, Wait};

/// The payload of a ping that the user asked for.
const USER_PING: [u8; 8] = *b"bywaypin";
/// Streams that have not begun whose priority is kept.
pub(super) const EARLY_PRIORITIES: usize = 16;

impl Connection {
    /// Asks the peer for a sign of life, which is reported as [`Event::Pong`]. Does nothing while
    /// one is on its way.
    pub fn ping(&mut self, now: Instant) {
        self.now = now;
        if self.pinged.is_none() {
            self.pinged = Some(now);
            self.frame(kind::PING, 0, 0, &USER_PING);
        }
    }

    /// When the ping was sent that has not been answered.
    pub fn pinged(&self) -> Option<Instant> {
        self.pinged
    }

    pub(super) fn receive_settings(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
    ) -> Result<Option<Event>, ConnectionError> {
        if header.stream != 0 {
            return Err(ConnectionError::protocol("SETTINGS on a stream"));
        }
        if header.has(flag::ACK) {
            if !payload.is_empty() {
                return Err(ConnectionError::frame_size(
                    "SETTINGS with ACK and a payload",
                ));
            }
            if self.settings_due.take().is_none() {
                self.abuse.charge(Cost::Settings, self.now)?;
            }
            return Ok(None);
        }
        if self.peer.arrived {
            self.abuse.charge(Cost::Settings, self.now)?;
        }
        let old = self.peer;
        self.peer.apply(payload, self.role.peer())?;
        if self.peer.header_table_bytes != old.header_table_bytes {
            self.encoder.allow_table(self.peer.header_table_bytes);
        }
        let more = i64::from(self.peer.window_bytes) - i64::from(old.window_bytes);
        if more != 0 {
            self.change_windows(more)?;
        }
        self.frame(kind::SETTINGS, flag::ACK, 0, &[]);
        Ok(Some(Event::Settings))
    }

    /// Changes what may be sent on each stream (RFC 9113 section 6.9.2).
    fn change_windows(&mut self, more: i64) -> Result<(), ConnectionError> {
        let (mut fits, mut are_tiny) = (true, false);
        for (id, stream) in self.streams.iter_mut() {
            fits &= stream.window.add(more);
            if stream.has_window() {
                stream.wait = Wait::Turn;
                self.waiting.push(id.slot, stream.priority);
            }
            are_tiny |= stream.wait == Wait::Window && stream.window.bytes() > 0;
        }
        if are_tiny {
            self.wait_for_window();
        }
        match fits {
            true => Ok(()),
            false => Err(ConnectionError::new(
                ErrorCode::FLOW_CONTROL_ERROR,
                "settings that make a window larger than 2^31-1",
            )),
        }
    }

    pub(super) fn receive_ping(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
    ) -> Result<Option<Event>, ConnectionError> {
        if header.stream != 0 {
            return Err(ConnectionError::protocol("PING on a stream"));
        }
        let Ok(payload) = <[u8; 8]>::try_from(payload) else {
            return Err(ConnectionError::frame_size("PING of a wrong length"));
        };
        if !header.has(flag::ACK) {
            self.abuse.charge(Cost::Ping, self.now)?;
            self.frame(kind::PING, flag::ACK, 0, &payload);
            return Ok(None);
        }
        match (payload, self.pinged) {
            (USER_PING, Some(sent)) => {
                self.pinged = None;
                let elapsed = self.now.saturating_duration_since(sent);
                return Ok(Some(Event::Pong { elapsed }));
            }
            (DRAIN_PING, _) if self.is_draining() => self.drain_finally(),
            _ => self.abuse.charge(Cost::Ping, self.now)?,
        }
        Ok(None)
    }

    pub(super) fn receive_go_away(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
    ) -> Result<Option<Event>, ConnectionError> {
        if header.stream != 0 {
            return Err(ConnectionError::protocol("GOAWAY on a stream"));
        }
        let split = split_number(payload);
        let Some((last, Some(code))) =
            split.map(|(last, rest)| (last, rest.first_chunk::<4>().copied()))
        else {
            return Err(ConnectionError::frame_size("GOAWAY of a wrong length"));
        };
        if self.closing.peer_last.is_some() {
            self.abuse.charge(Cost::Settings, self.now)?;
        }
        // It may become smaller only.
        let last = self.closing.peer_last.map_or(last, |old| old.min(last));
        self.closing.peer_last = Some(last);
        let code = ErrorCode(u32::from_be_bytes(code));
        if self.role == Role::Client {
            self.reset_excluded(last, code);
        }
        Ok(Some(Event::GoAway { last, code }))
    }

    /// The peer does not process streams above this one.
    fn reset_excluded(&mut self, last: u32, code: ErrorCode) {
        let excluded: Vec<StreamId> = self
            .streams
            .iter()
            .filter(|(id, stream)| id.number > last && !stream.is_closed())
            .map(|(id, _)| id)
            .collect();
        for id in excluded {
            self.note_reset(id, ResetBy::Peer);
            let cause = ResetCause::GoAway;
            self.events.push_back(Event::Reset { id, code, cause });
        }
    }

    pub(super) fn receive_window_update(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
    ) -> Result<Option<Event>, ConnectionError> {
        let Some((increment, [])) = split_number(payload) else {
            return Err(ConnectionError::frame_size(
                "WINDOW_UPDATE of a wrong length",
            ));
        };
        self.abuse.charge(Cost::WindowUpdate, self.now)?;
        if header.stream != 0 {
            return self.widen_stream(header.stream, increment);
        }
        if increment == 0 {
            return Err(ConnectionError::protocol("WINDOW_UPDATE by nothing"));
        }
        if !self.send_window.add(i64::from(increment)) {
            return Err(ConnectionError::new(
                ErrorCode::FLOW_CONTROL_ERROR,
                "a window of the connection larger than 2^31-1",
            ));
        }
        if !self.waiting.is_empty() && self.send_window.bytes() < SENSIBLE_BYTES {
            self.wait_for_window();
        }
        Ok(None)
    }

    fn widen_stream(
        &mut self,
        number: u32,
        increment: u32,
    ) -> Result<Option<Event>, ConnectionError> {
        let Some(id) = self.streams.find(number) else {
            // Those that have ended get one now and then: it was on its way.
            return match self.is_idle(number) && !self.excludes(number) {
                true => Err(ConnectionError::protocol(
                    "WINDOW_UPDATE on a stream that has not begun",
                )),
                false => Ok(None),
            };
        };
        let Some(stream) = self
            .streams
            .get_mut(id)
            .filter(|stream| !stream.is_closed())
        else {
            return Ok(None);
        };
        if increment == 0 {
            let reason = "WINDOW_UPDATE by nothing on a stream";
            return self.stream_error(id, ErrorCode::PROTOCOL_ERROR, reason);
        }
        if !stream.window.add(i64::from(increment)) {
            let reason = "a window of a stream larger than 2^31-1";
            return self.stream_error(id, ErrorCode::FLOW_CONTROL_ERROR, reason);
        }
        if stream.has_window() {
            stream.wait = Wait::Turn;
            self.waiting.push(id.slot, stream.priority);
        } else if stream.wait == Wait::Window && stream.window.bytes() > 0 {
            self.wait_for_window();
        }
        Ok(None)
    }

    /// A priority of RFC 7540, which is obsolete: it is checked and ignored.
    pub(super) fn receive_priority(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
    ) -> Result<Option<Event>, ConnectionError> {
        if header.stream == 0 {
            return Err(ConnectionError::protocol("PRIORITY without a stream"));
        }
        let Some((parent, [_weight])) = split_number(payload) else {
            return Err(ConnectionError::frame_size("PRIORITY of a wrong length"));
        };
        self.abuse.charge(Cost::Priority, self.now)?;
        match parent == header.stream {
            true => Err(ConnectionError::protocol("a stream that depends on itself")),
            false => Ok(None),
        }
    }

    /// RFC 9218 section 7.1.
    pub(super) fn receive_priority_update(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
    ) -> Result<Option<Event>, ConnectionError> {
        if header.stream != 0 || self.role == Role::Client {
            return Err(ConnectionError::protocol(
                "PRIORITY_UPDATE on a stream or of a server",
            ));
        }
        let Some((number, value)) = split_number(payload) else {
            return Err(ConnectionError::frame_size(
                "PRIORITY_UPDATE of a wrong length",
            ));
        };
        if number.is_multiple_of(2) {
            return Err(ConnectionError::protocol("PRIORITY_UPDATE of no request"));
        }
        self.abuse.charge(Cost::Priority, self.now)?;
        let priority = Priority::parse(value);
        if let Some(id) = self.streams.find(number) {
            self.set_priority(id, priority);
        } else if number > self.highest {
            self.early_priorities.retain(|(other, _)| *other != number);
            if self.early_priorities.len() == EARLY_PRIORITIES {
                self.early_priorities.pop_front();
            }
            self.early_priorities.push_back((number, priority));
        }
        Ok(None)
    }

    /// What was said about the priority of a stream before it began.
    pub(super) fn take_early_priority(&mut self, number: u32) -> Option<Priority> {
        if self.early_priorities.is_empty() {
            return None;
        }
        let known = self
            .early_priorities
            .iter()
            .find(|(other, _)| *other == number)
            .map(|(_, priority)| *priority);
        // Streams begin in the order of their numbers.
        self.early_priorities.retain(|(other, _)| *other > number);
        known
    }
}
