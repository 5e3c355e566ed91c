//! Receiving: what each frame does that is not DATA.

use super::Connection;
use crate::abuse::Cost;
use crate::error::{ConnectionError, ErrorCode};
use crate::event::{Event, ResetCause, StreamId};
use crate::frame::{FrameHeader, kind};
use crate::stream::ResetBy;

impl Connection {
    /// A whole frame.
    pub(super) fn receive(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
    ) -> Result<Option<Event>, ConnectionError> {
        match header.kind {
            kind::HEADERS => self.receive_headers(header, payload),
            kind::CONTINUATION => self.receive_continuation(header, payload),
            kind::PRIORITY => self.receive_priority(header, payload),
            kind::RST_STREAM => self.receive_reset(header, payload),
            kind::SETTINGS => self.receive_settings(header, payload),
            kind::PING => self.receive_ping(header, payload),
            kind::GOAWAY => self.receive_go_away(header, payload),
            kind::WINDOW_UPDATE => self.receive_window_update(header, payload),
            kind::PRIORITY_UPDATE => self.receive_priority_update(header, payload),
            kind::PUSH_PROMISE => Err(ConnectionError::protocol("PUSH_PROMISE")),
            _ => Ok(None),
        }
    }

    /// Whether no stream of this number has begun.
    pub(super) fn is_idle(&self, number: u32) -> bool {
        number.is_multiple_of(2) || number > self.highest
    }

    /// A frame that may not come on a stream without a slot, except on one that this side has reset
    /// or that it does not process.
    pub(super) fn check_ended(&mut self, number: u32) -> Result<(), ConnectionError> {
        if self.excludes(number) {
            return self.abuse.charge(Cost::Late, self.now);
        }
        if self.is_idle(number) {
            return Err(ConnectionError::protocol(
                "a frame on a stream that has not begun",
            ));
        }
        if !self.streams.was_reset(number) {
            return Err(ConnectionError::new(
                ErrorCode::STREAM_CLOSED,
                "a frame on a stream that has ended",
            ));
        }
        self.abuse.charge(Cost::Late, self.now)
    }

    /// Resets a stream since the peer broke a rule on it.
    pub(super) fn stream_error(
        &mut self,
        id: StreamId,
        code: ErrorCode,
        reason: &'static str,
    ) -> Result<Option<Event>, ConnectionError> {
        self.abuse.charge(Cost::Violation, self.now)?;
        let was_reset = self
            .streams
            .get(id)
            .is_none_or(|stream| stream.reset.is_some());
        self.reset_frame(id.number, code);
        self.note_reset(id, ResetBy::Us);
        let cause = ResetCause::Violation(reason);
        Ok((!was_reset).then_some(Event::Reset { id, code, cause }))
    }

    /// Resets a stream that gets no slot.
    pub(super) fn refuse(&mut self, number: u32, code: ErrorCode) {
        self.reset_frame(number, code);
        self.streams.remember_reset(number);
    }

    fn receive_reset(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
    ) -> Result<Option<Event>, ConnectionError> {
        let Ok(code) = <[u8; 4]>::try_from(payload) else {
            return Err(ConnectionError::frame_size("RST_STREAM of a wrong length"));
        };
        let code = ErrorCode(u32::from_be_bytes(code));
        if self.is_idle(header.stream) && !self.excludes(header.stream) {
            return Err(ConnectionError::protocol(
                "RST_STREAM on a stream that has not begun",
            ));
        }
        let id = self.streams.find(header.stream).filter(|id| {
            let stream = self.streams.get(*id);
            stream.is_some_and(|stream| !stream.is_closed())
        });
        let Some(id) = id else {
            self.abuse.charge(Cost::Late, self.now)?;
            return Ok(None);
        };
        self.abuse.charge(Cost::Reset, self.now)?;
        self.note_reset(id, ResetBy::Peer);
        let cause = ResetCause::Peer;
        Ok(Some(Event::Reset { id, code, cause }))
    }
}
