//! Reading: bytes into frames.

use super::Connection;
use super::shutdown::Stage;
use crate::abuse::Cost;
use crate::error::{ConnectionError, ErrorCode};
use crate::event::{Event, Step};
use crate::frame::{FrameHeader, HEADER_BYTES, MAX_FRAME_BYTES, PREFACE, kind};
use crate::role::Role;

use super::data::DataFrame;

/// Memory for a frame in pieces that is kept for the next one.
const KEPT_BYTES: usize = 1024;

/// Where the next byte belongs.
#[derive(Debug)]
pub(super) struct Reading {
    state: State,
    /// The payload so far, of a frame that came in pieces.
    payload: Vec<u8>,
    /// Whether the settings that begin a connection have arrived.
    has_begun: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum State {
    /// To the preface, of which this many bytes were read.
    Preface(usize),
    /// To a header, of which so many bytes were read.
    Header([u8; HEADER_BYTES], usize),
    /// To the payload of a frame that is handled as a whole.
    Payload(FrameHeader),
    /// To that of a frame that is ignored; this many bytes are missing.
    Ignored(usize),
    /// To that of a DATA frame.
    Data(DataFrame),
}

impl State {
    pub(super) const HEADER: Self = Self::Header([0; HEADER_BYTES], 0);
}

/// What one step used, and what it was.
type Progress = (usize, Option<Event>);

impl Reading {
    pub(super) fn new(role: Role) -> Self {
        let state = match role {
            Role::Server => State::Preface(0),
            Role::Client => State::HEADER,
        };
        Self {
            state,
            payload: Vec::new(),
            has_begun: false,
        }
    }

    pub(super) fn set(&mut self, state: State) {
        self.state = state;
    }
}

impl Connection {
    /// Reads received bytes, up to the next event. Call it again with the rest of the bytes until
    /// all are taken and there is no event; an event may also come without bytes. If it takes
    /// nothing and has no event although there are bytes, keep them until some of the output has
    /// been written ([`wants_bytes`](Self::wants_bytes)).
    ///
    /// The bytes may be cut anywhere. The connection keeps what it needs of them; data is passed on
    /// as ranges of `bytes`.
    ///
    /// # Errors
    /// If the peer has ended the connection by an error of its own or costs too much. A GOAWAY is
    /// queued, and whatever else is passed is taken and ignored: write [`out`](Self::out), then
    /// close the socket, after a while if the peer still sends.
    pub fn read(&mut self, bytes: &[u8], now: std::time::Instant) -> Result<Step, ConnectionError> {
        self.now = now;
        let mut taken = 0;
        loop {
            if let Some(event) = self.events.pop_front() {
                let event = Some(event);
                return Ok(Step { taken, event });
            }
            if self.closing.stage == Stage::Closed {
                taken = bytes.len();
            }
            let rest = bytes.get(taken..).unwrap_or_default();
            if rest.is_empty() || !self.wants_bytes() {
                return Ok(Step { taken, event: None });
            }
            let (n, event) = self.step(rest, taken).map_err(|error| self.fail(error))?;
            taken += n;
            if event.is_some() {
                return Ok(Step { taken, event });
            }
        }
    }

    /// Whether the connection reads: not while more output waits than
    /// [`backlog_bytes`](crate::Limits::backlog_bytes), since each frame that is read may add to it.
    pub fn wants_bytes(&self) -> bool {
        self.closing.stage != Stage::Closed && !self.is_congested()
    }

    /// Whether the peer may close its side here: not within a frame or a field block.
    pub fn is_between_frames(&self) -> bool {
        matches!(self.reading.state, State::Header(_, 0)) && !self.block.is_open()
    }

    /// Reads one piece of what is expected. `rest` begins at `offset` of the bytes that were passed.
    fn step(&mut self, rest: &[u8], offset: usize) -> Result<Progress, ConnectionError> {
        match self.reading.state {
            State::Header(..) => self.read_header(rest),
            State::Data(frame) => self.read_data(frame, rest, offset),
            State::Payload(header) => self.read_payload(header, rest),
            State::Ignored(left) => {
                let n = left.min(rest.len());
                self.reading.state = match left - n {
                    0 => State::HEADER,
                    left => State::Ignored(left),
                };
                Ok((n, None))
            }
            State::Preface(matched) => {
                let expected = PREFACE.get(matched..).unwrap_or_default();
                let n = expected.len().min(rest.len());
                if expected.get(..n) != rest.get(..n) {
                    return Err(ConnectionError::protocol("the preface of HTTP/2 is wrong"));
                }
                self.reading.state = match matched + n {
                    all if all == PREFACE.len() => State::HEADER,
                    matched => State::Preface(matched),
                };
                Ok((n, None))
            }
        }
    }

    /// Reads a header, and the payload with it if all of it is there.
    fn read_header(&mut self, rest: &[u8]) -> Result<Progress, ConnectionError> {
        let State::Header(mut bytes, filled) = self.reading.state else {
            return Ok((0, None));
        };
        let n = (HEADER_BYTES - filled).min(rest.len());
        let (used, rest) = rest.split_at(n);
        bytes[filled..filled + n].copy_from_slice(used);
        if filled + n < HEADER_BYTES {
            self.reading.state = State::Header(bytes, filled + n);
            return Ok((n, None));
        }
        self.reading.state = State::HEADER;
        let header = FrameHeader::parse(bytes);
        self.check_header(header)?;
        if header.kind == kind::DATA {
            return Ok((n, self.begin_data(header)?));
        }
        if !is_known(header.kind) {
            self.abuse.charge(Cost::Unknown, self.now)?;
            if header.len > 0 {
                self.reading.state = State::Ignored(header.len);
            }
            return Ok((n, None));
        }
        if let Some(payload) = rest.get(..header.len) {
            return Ok((n + header.len, self.receive(header, payload)?));
        }
        self.reading.state = State::Payload(header);
        Ok((n, None))
    }

    fn read_payload(
        &mut self,
        header: FrameHeader,
        rest: &[u8],
    ) -> Result<Progress, ConnectionError> {
        let missing = header.len - self.reading.payload.len();
        let n = missing.min(rest.len());
        self.reading
            .payload
            .extend_from_slice(rest.get(..n).unwrap_or_default());
        if n < missing {
            return Ok((n, None));
        }
        self.reading.state = State::HEADER;
        let mut payload = std::mem::take(&mut self.reading.payload);
        let event = self.receive(header, &payload)?;
        if payload.capacity() <= KEPT_BYTES {
            payload.clear();
            self.reading.payload = payload;
        }
        Ok((n, event))
    }

    /// What does not depend on the type, or on the frames before it.
    fn check_header(&mut self, header: FrameHeader) -> Result<(), ConnectionError> {
        if !std::mem::replace(&mut self.reading.has_begun, true)
            && (header.kind != kind::SETTINGS || header.flags & crate::frame::flag::ACK != 0)
        {
            return Err(ConnectionError::protocol("the first frame is not SETTINGS"));
        }
        if header.len > MAX_FRAME_BYTES {
            return Err(ConnectionError::new(
                ErrorCode::FRAME_SIZE_ERROR,
                "a frame is longer than 16 KiB",
            ));
        }
        let continues = header.kind == kind::CONTINUATION;
        if continues != self.block.is_open() || (continues && self.block.number() != header.stream)
        {
            return Err(ConnectionError::protocol(
                "a field block is interrupted, or continued without a beginning",
            ));
        }
        Ok(())
    }
}

fn is_known(kind: u8) -> bool {
    kind <= kind::CONTINUATION || kind == kind::PRIORITY_UPDATE
}
