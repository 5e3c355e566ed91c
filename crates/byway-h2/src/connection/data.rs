//! Data: bodies that arrive, and the windows that admit them (RFC 9113 sections 5.2 and 6.1).

use super::Connection;
use super::reading::State;
use crate::abuse::Cost;
use crate::error::{ConnectionError, ErrorCode};
use crate::event::{Event, StreamId};
use crate::frame::{FrameHeader, flag, kind};
use crate::stream::{Half, ResetBy};

/// A DATA frame in progress.
#[derive(Clone, Copy, Debug)]
pub(super) struct DataFrame {
    /// The stream; none if the data is not wanted.
    id: Option<StreamId>,
    /// Bytes that are missing, padding included.
    left: usize,
    /// Of these, padding at the end; none if its length is the next byte.
    padding: Option<usize>,
    /// Whether the frame has data.
    has_data: bool,
    /// Whether the message ends with the frame.
    end: bool,
}

impl Connection {
    /// Data of a stream has left for its receiver: the peer may send as much again. The window grows
    /// if the stream is read as fast as it is sent.
    pub fn credit(&mut self, id: StreamId, bytes: usize) {
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        let window = &mut stream.receive;
        let returned = window.give_back(bytes);
        // What is still to come fits anyway, or nothing is.
        let all_fits = stream
            .expected
            .is_some_and(|rest| rest <= u64::from(window.available()));
        if stream.remote == Half::Body
            && stream.reset.is_none()
            && !all_fits
            && !self.withholds_credit
            && window.is_worth_announcing(0)
        {
            if window.held() < window.size() / 4 {
                let most = self.limits.stream_window_max_bytes;
                window.grow(window.size().saturating_mul(2).min(most));
            }
            let increment = window.announce(0);
            self.window_update(id.number, increment);
        }
        self.return_held(returned);
    }

    /// Whether credit is withheld, of all streams and of the connection: for a node that holds too
    /// much. What was received is held back from the peer until it is allowed again.
    pub fn withhold_credit(&mut self, withhold: bool) {
        self.withholds_credit = withhold;
        if withhold {
            return;
        }
        let mut updates = Vec::new();
        for (id, stream) in self.streams.iter_mut() {
            let receives = stream.remote == Half::Body && stream.reset.is_none();
            if receives && stream.receive.is_worth_announcing(0) {
                updates.push((id.number, stream.receive.announce(0)));
            }
        }
        for (number, increment) in updates {
            self.window_update(number, increment);
        }
        self.announce_connection_window();
    }

    /// Bytes that were received and not returned by [`credit`](Self::credit), on all streams.
    pub fn held_bytes(&self) -> usize {
        self.held as usize
    }

    /// Bytes of text of the heads and trailers of streams that were not released.
    pub fn held_text_bytes(&self) -> usize {
        self.held_text
    }

    /// From now on, while this connection holds more than `bytes` of bodies and heads together,
    /// requests are refused, and trailers of more than 1 KiB end their stream: for a node that holds
    /// too much. `None`: only [`text_bytes`](crate::Limits::text_bytes) applies.
    pub fn refuse_above(&mut self, bytes: Option<usize>) {
        self.text_allowance = bytes;
    }

    /// By how many bytes the connection's window should grow: as many again as it has, once the peer
    /// has used more than half of it, up to the limit. 0: it need not.
    pub fn wanted_window_bytes(&self) -> u32 {
        let size = self.receive_window.size();
        match self.wants_window && !self.withholds_credit {
            true => size.min(self.limits.connection_window_bytes - size),
            false => 0,
        }
    }

    /// Grows the connection's window by [`wanted_window_bytes`](Self::wanted_window_bytes), if
    /// `is_granted`; otherwise it is wanted again after further use.
    pub fn grow_connection_window(&mut self, is_granted: bool) {
        let more = self.wanted_window_bytes();
        self.wants_window = false;
        if is_granted && more > 0 {
            self.receive_window.grow(self.receive_window.size() + more);
            self.announce_connection_window();
            self.wants_window = false;
        }
    }

    /// A DATA frame begins.
    pub(super) fn begin_data(
        &mut self,
        header: FrameHeader,
    ) -> Result<Option<Event>, ConnectionError> {
        if header.stream == 0 {
            return Err(ConnectionError::protocol("DATA without a stream"));
        }
        if !self.receive_window.receive(header.len) {
            return Err(ConnectionError::new(
                ErrorCode::FLOW_CONTROL_ERROR,
                "more data than the window of the connection admits",
            ));
        }
        let (id, mut event) = self.receiver(header)?;
        let is_padded = header.has(flag::PADDED);
        if is_padded && header.len == 0 {
            return Err(ConnectionError::frame_size("padded DATA without a length"));
        }
        let mut frame = DataFrame {
            id,
            left: header.len,
            padding: if is_padded { None } else { Some(0) },
            has_data: false,
            end: header.has(flag::END_STREAM),
        };
        if !is_padded {
            event = event.or(self.check_length(&mut frame)?);
        }
        if header.len > 0 {
            self.reading.set(State::Data(frame));
            return Ok(event);
        }
        let ended = self.end_frame(frame, 0..0)?;
        Ok(event.or(ended))
    }

    /// The stream that a frame belongs to, if its data is wanted, or what is wrong with it.
    fn receiver(
        &mut self,
        header: FrameHeader,
    ) -> Result<(Option<StreamId>, Option<Event>), ConnectionError> {
        let Some(id) = self.streams.find(header.stream) else {
            self.check_ended(header.stream)?;
            return Ok((None, None));
        };
        let Some(stream) = self.streams.get_mut(id) else {
            return Ok((None, None));
        };
        let (code, reason) = match (stream.reset, stream.remote) {
            (Some(ResetBy::Us), _) => {
                self.abuse.charge(Cost::Late, self.now)?;
                return Ok((None, None));
            }
            (Some(ResetBy::Peer), _) => (ErrorCode::STREAM_CLOSED, "DATA after RST_STREAM"),
            (None, Half::Ended) => (ErrorCode::STREAM_CLOSED, "DATA after END_STREAM"),
            (None, Half::Head) => (ErrorCode::PROTOCOL_ERROR, "DATA before a final head"),
            (None, Half::Body) if stream.receive.receive(header.len) => {
                self.held += header.len as u32;
                return Ok((Some(id), None));
            }
            (None, Half::Body) => (
                ErrorCode::FLOW_CONTROL_ERROR,
                "more data than the window of the stream admits",
            ),
        };
        Ok((None, self.stream_error(id, code, reason)?))
    }

    /// Checks a frame, whose padding is known, against the length of the message. If it does not
    /// fit, the data is not wanted.
    fn check_length(&mut self, frame: &mut DataFrame) -> Result<Option<Event>, ConnectionError> {
        let data = frame.left - frame.padding.unwrap_or_default();
        let Some((id, stream)) = frame
            .id
            .and_then(|id| Some((id, self.streams.get_mut(id)?)))
        else {
            return Ok(None);
        };
        let Some(expected) = &mut stream.expected else {
            return Ok(None);
        };
        match expected.checked_sub(data as u64) {
            Some(rest) if rest == 0 || !frame.end => {
                *expected = rest;
                Ok(None)
            }
            _ => {
                frame.id = None;
                let reason = "a body of another length than its head says";
                self.stream_error(id, ErrorCode::PROTOCOL_ERROR, reason)
            }
        }
    }

    /// Reads a piece of a DATA frame.
    pub(super) fn read_data(
        &mut self,
        mut frame: DataFrame,
        rest: &[u8],
        offset: usize,
    ) -> Result<(usize, Option<Event>), ConnectionError> {
        let Some(padding) = frame.padding else {
            let padding = usize::from(rest.first().copied().unwrap_or_default());
            frame.left -= 1;
            if padding > frame.left {
                return Err(ConnectionError::protocol("more padding than payload"));
            }
            frame.padding = Some(padding);
            self.return_padding(frame.id, 1);
            let error = self.check_length(&mut frame)?;
            let event = self.continue_data(frame, 0..0)?;
            return Ok((1, error.or(event)));
        };
        let data = frame.left.saturating_sub(padding);
        if data == 0 {
            let n = frame.left.min(rest.len());
            (frame.left, frame.padding) = (frame.left - n, Some(padding - n));
            self.return_padding(frame.id, n);
            return Ok((n, self.continue_data(frame, offset..offset)?));
        }
        let n = data.min(rest.len());
        frame.left -= n;
        frame.has_data = true;
        self.receive_window.give_back(n);
        self.announce_connection_window();
        Ok((n, self.continue_data(frame, offset..offset + n)?))
    }

    /// What follows a piece of a frame.
    fn continue_data(
        &mut self,
        frame: DataFrame,
        range: std::ops::Range<usize>,
    ) -> Result<Option<Event>, ConnectionError> {
        if frame.left == 0 {
            self.reading.set(State::HEADER);
            return self.end_frame(frame, range);
        }
        self.reading.set(State::Data(frame));
        self.deliver(frame.id, range, false)
    }

    /// The last piece of a frame.
    fn end_frame(
        &mut self,
        frame: DataFrame,
        range: std::ops::Range<usize>,
    ) -> Result<Option<Event>, ConnectionError> {
        if !frame.has_data && !frame.end {
            self.abuse.charge(Cost::EmptyData, self.now)?;
        }
        self.deliver(frame.id, range, frame.end)
    }

    /// Passes data on.
    fn deliver(
        &mut self,
        id: Option<StreamId>,
        range: std::ops::Range<usize>,
        end: bool,
    ) -> Result<Option<Event>, ConnectionError> {
        let Some((id, stream)) = id.and_then(|id| Some((id, self.streams.get_mut(id)?))) else {
            return Ok(None);
        };
        // The user may have reset it within the frame.
        if stream.reset.is_some() || (range.is_empty() && !end) {
            if !range.is_empty() {
                self.credit(id, range.len());
            }
            return Ok(None);
        }
        self.abuse.moved(range.len());
        if end {
            self.note_remote_end(id);
        }
        Ok(Some(Event::Data { id, range, end }))
    }

    /// The peer's message has ended.
    pub(super) fn note_remote_end(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(id) {
            stream.remote = Half::Ended;
            if stream.has_earned() {
                self.abuse.completed();
            }
        }
    }

    /// Bytes of a frame that are no data, or data that is not wanted: the peer may send as many
    /// again.
    fn return_padding(&mut self, id: Option<StreamId>, bytes: usize) {
        self.receive_window.give_back(bytes);
        match id {
            Some(id) => self.credit(id, bytes),
            None => self.announce_connection_window(),
        }
    }

    /// Bytes of a stream are no longer held.
    pub(super) fn return_held(&mut self, bytes: u32) {
        self.held -= bytes;
        self.announce_connection_window();
    }

    /// Announces the connection's window, as far as it is not withheld.
    pub(super) fn announce_connection_window(&mut self) {
        let withheld = match self.withholds_credit {
            true => u32::MAX,
            false => self.held.saturating_sub(self.limits.buffer_bytes),
        };
        if self.receive_window.is_worth_announcing(withheld) {
            let increment = self.receive_window.announce(withheld);
            self.window_update(0, increment);
            self.wants_window = self.receive_window.size() < self.limits.connection_window_bytes;
        }
    }

    fn window_update(&mut self, number: u32, increment: u32) {
        if increment > 0 {
            self.frame(kind::WINDOW_UPDATE, 0, number, &increment.to_be_bytes());
        }
    }
}
