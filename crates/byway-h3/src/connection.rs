//! Connection: what the streams of one connection share (RFC 9114 sections 3 to 6).

use std::time::Instant;

use crate::abuse::{AbuseBudget, Cost};
use crate::control::{ControlEvent, ControlReader, StreamKind};
use crate::error::{ConnectionError, ErrorCode};
use crate::frame::{kind, write_header};
use crate::limits::Limits;
use crate::qpack::{DecoderInstructions, EncoderInstructions};
use crate::settings::{self, PeerSettings};
use crate::varint;

/// The side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It answers requests.
    Server,
    /// It sends requests.
    Client,
}

/// What becomes of a new request stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Admission {
    /// Its work begins. Call [`Connection::released`] when the work has ended.
    Accepted,
    /// Reset it with this code, and read nothing of it.
    Refused(ErrorCode),
}

/// The state of a connection that is not part of one message. It does no I/O: give it the bytes of the
/// peer's unidirectional streams, and write what it appends to the stream of this side that
/// [`start`](Self::start) began.
#[derive(Debug)]
pub struct Connection {
    role: Role,
    limits: Limits,
    control: ControlReader,
    encoder: EncoderInstructions,
    decoder: DecoderInstructions,
    /// Which critical streams the peer has opened: control, encoder, decoder.
    opened: [bool; 3],
    peer: Option<PeerSettings>,
    budget: AbuseBudget,
    /// Requests whose work has not ended.
    streams: u32,
    /// The first stream that is not accepted any more.
    refused_from: Option<u64>,
    /// The first stream that was never accepted.
    next: u64,
}

impl Connection {
    /// A new connection.
    pub fn new(role: Role, limits: Limits, now: Instant) -> Self {
        Self {
            role,
            budget: AbuseBudget::new(limits.abuse_budget, now),
            limits,
            control: ControlReader::default(),
            encoder: EncoderInstructions::default(),
            decoder: DecoderInstructions::default(),
            opened: [false; 3],
            peer: None,
            streams: 0,
            refused_from: None,
            next: 0,
        }
    }

    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What the peer has announced, once its SETTINGS are here. A client waits for them before an
    /// extended CONNECT.
    pub fn peer(&self) -> Option<PeerSettings> {
        self.peer
    }

    /// Appends the start of this side's control stream, which is unidirectional and stays open. No
    /// other stream is needed, as this side has no dynamic tables.
    pub fn start(&self, out: &mut Vec<u8>) {
        out.push(0);
        settings::write(out, &self.limits, self.role == Role::Server);
    }

    /// Notes a unidirectional stream of the peer. Returns whether it is read; if not, stop it with
    /// [`ErrorCode::STREAM_CREATION_ERROR`].
    ///
    /// # Errors
    /// If the peer may not open it.
    pub fn opened(&mut self, kind: StreamKind, now: Instant) -> Result<bool, ConnectionError> {
        let place = match kind {
            StreamKind::Control => 0,
            StreamKind::QpackEncoder => 1,
            StreamKind::QpackDecoder => 2,
            StreamKind::Unknown => {
                self.budget.charge(Cost::UnknownStream, 1, now)?;
                return Ok(false);
            }
            StreamKind::Push => {
                let code = match self.role {
                    Role::Server => ErrorCode::STREAM_CREATION_ERROR,
                    Role::Client => ErrorCode::ID_ERROR,
                };
                return Err(ConnectionError::new(code, "a push stream"));
            }
        };
        let [control, encoder, decoder] = &mut self.opened;
        let is_open = [control, encoder, decoder].into_iter().nth(place);
        match is_open.is_some_and(|open| !std::mem::replace(open, true)) {
            true => Ok(true),
            false => Err(ConnectionError::new(
                ErrorCode::STREAM_CREATION_ERROR,
                "a second stream of a type that occurs once",
            )),
        }
    }

    /// Notes that a unidirectional stream of the peer has ended or was reset.
    ///
    /// # Errors
    /// If the connection needs it.
    pub fn closed(&self, kind: StreamKind) -> Result<(), ConnectionError> {
        match kind {
            StreamKind::Push | StreamKind::Unknown => Ok(()),
            _ => Err(ConnectionError::new(
                ErrorCode::CLOSED_CRITICAL_STREAM,
                "the end of a stream that the connection needs",
            )),
        }
    }

    /// Reads bytes of the peer's control stream. Returns how many are used, and an event; without one
    /// all are used.
    ///
    /// # Errors
    /// If a frame is malformed, not allowed, or there are too many.
    pub fn read_control(
        &mut self,
        bytes: &[u8],
        now: Instant,
    ) -> Result<(usize, Option<ControlEvent>), ConnectionError> {
        let (taken, frames, event) = self.control.read(bytes, self.role)?;
        self.budget.charge(Cost::Control, frames, now)?;
        if let Some(ControlEvent::Settings(settings)) = event {
            self.peer = Some(settings);
        }
        Ok((taken, event))
    }

    /// Reads bytes of the peer's encoder stream.
    ///
    /// # Errors
    /// If it uses a dynamic table, or costs too much.
    pub fn read_encoder(&mut self, bytes: &[u8], now: Instant) -> Result<(), ConnectionError> {
        let instructions = self.encoder.read(bytes).ok_or(ConnectionError::new(
            ErrorCode::QPACK_ENCODER_STREAM_ERROR,
            "an instruction for a dynamic table, which has size 0",
        ))?;
        self.budget.charge(Cost::Control, instructions, now)
    }

    /// Reads bytes of the peer's decoder stream.
    ///
    /// # Errors
    /// If it acknowledges what was not sent, or costs too much.
    pub fn read_decoder(&mut self, bytes: &[u8], now: Instant) -> Result<(), ConnectionError> {
        let instructions = self.decoder.read(bytes).ok_or(ConnectionError::new(
            ErrorCode::QPACK_DECODER_STREAM_ERROR,
            "an acknowledgement of entries that were not sent",
        ))?;
        self.budget.charge(Cost::Control, instructions, now)
    }

    /// Decides about a request on a new stream, by its QUIC stream id. The slot of a request is taken
    /// until its work has ended, even if its stream was reset before: QUIC gives the peer new streams
    /// for those that were reset.
    ///
    /// # Errors
    /// If too many requests were refused.
    pub fn admit(&mut self, stream: u64, now: Instant) -> Result<Admission, ConnectionError> {
        if self.refused_from.is_some_and(|first| stream >= first) {
            return Ok(Admission::Refused(ErrorCode::REQUEST_REJECTED));
        }
        if self.streams >= self.limits.streams.max(1) {
            self.budget.charge(Cost::Refused, 1, now)?;
            return Ok(Admission::Refused(ErrorCode::REQUEST_REJECTED));
        }
        self.streams += 1;
        self.next = self.next.max(stream.saturating_add(4));
        Ok(Admission::Accepted)
    }

    /// Notes that the work of a request has ended. `complete` says whether both of its messages have.
    pub fn released(&mut self, complete: bool) {
        self.streams = self.streams.saturating_sub(1);
        if complete {
            self.budget.completed();
        }
    }

    /// Requests whose work has not ended.
    pub fn streams(&self) -> u32 {
        self.streams
    }

    /// Notes data that has moved, in either direction.
    pub fn moved(&mut self, bytes: usize) {
        self.budget.moved(bytes);
    }

    /// Charges for what the peer has done on its streams.
    ///
    /// # Errors
    /// If it costs more than it is worth. The connection must then end.
    pub fn charge(
        &mut self,
        cost: Cost,
        times: usize,
        now: Instant,
    ) -> Result<(), ConnectionError> {
        self.budget.charge(cost, times, now)
    }

    /// Appends the first GOAWAY of a shutdown to the control stream of a server: more requests may
    /// come, but the client should open none (RFC 9114 section 5.2).
    pub fn warn_of_go_away(&self, out: &mut Vec<u8>) {
        // The largest id of a request.
        write_go_away(out, varint::MOST - 3);
    }

    /// Refuses requests on streams that were not accepted yet, and appends GOAWAY with the first of
    /// them. In the role of a client it refuses pushes, of which there are none.
    pub fn go_away(&mut self, out: &mut Vec<u8>) {
        let first = match self.role {
            Role::Server => self.next,
            Role::Client => 0,
        };
        if self.refused_from.is_none_or(|before| first < before) {
            self.refused_from = Some(first);
            write_go_away(out, first);
        }
    }
}

fn write_go_away(out: &mut Vec<u8>, id: u64) {
    let mut payload = Vec::new();
    varint::write(&mut payload, id);
    write_header(out, kind::GOAWAY, payload.len() as u64);
    out.extend_from_slice(&payload);
}
