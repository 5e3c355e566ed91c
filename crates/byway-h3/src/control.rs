//! Control: unidirectional streams and the frames of the control stream (RFC 9114 sections 6.2 and
//! 7.2).

use crate::connection::Role;
use crate::error::{ConnectionError, ErrorCode};
use crate::frame::{FrameHeader, HeaderReader, is_of_http2, kind};
use crate::settings::PeerSettings;
use crate::varint;

/// The longest payload of a control frame that is read.
const MOST_PAYLOAD_BYTES: u64 = 1024;

/// Types of unidirectional streams.
const CONTROL: u64 = 0x0;
const PUSH: u64 = 0x1;
const QPACK_ENCODER: u64 = 0x2;
const QPACK_DECODER: u64 = 0x3;

/// What a unidirectional stream of the peer is for. It begins with its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamKind {
    /// Settings, and frames about the connection.
    Control,
    /// Instructions of the peer's encoder.
    QpackEncoder,
    /// Instructions of the peer's decoder.
    QpackDecoder,
    /// A pushed response, which no side of ours allows.
    Push,
    /// A type that is not known. Stop reading it, with [`ErrorCode::STREAM_CREATION_ERROR`].
    Unknown,
}

impl StreamKind {
    /// Reads the type at the start of a stream, and returns it with its length; `None` if the bytes
    /// end within it (at most 8 are needed).
    pub fn read(bytes: &[u8]) -> Option<(Self, usize)> {
        let (kind, len) = varint::read(bytes)?;
        let kind = match kind {
            CONTROL => Self::Control,
            PUSH => Self::Push,
            QPACK_ENCODER => Self::QpackEncoder,
            QPACK_DECODER => Self::QpackDecoder,
            _ => Self::Unknown,
        };
        Some((kind, len))
    }
}

/// What the peer has said on its control stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlEvent {
    /// Its settings, once.
    Settings(PeerSettings),
    /// It accepts no requests from this stream on (to a client), or no pushes (to a server). Requests
    /// on streams from this id on were not processed.
    GoAway(u64),
}

/// Reads the peer's control stream.
#[derive(Debug, Default)]
pub(crate) struct ControlReader {
    header: HeaderReader,
    current: Option<FrameHeader>,
    payload: Vec<u8>,
    has_settings: bool,
    go_away: Option<u64>,
    max_push_id: Option<u64>,
}

impl ControlReader {
    /// Reads bytes. Returns how many are used, the frames that have ended, and an event.
    pub(crate) fn read(
        &mut self,
        bytes: &[u8],
        role: Role,
    ) -> Result<(usize, usize, Option<ControlEvent>), ConnectionError> {
        let (mut taken, mut frames) = (0, 0);
        loop {
            let rest = bytes.get(taken..).unwrap_or_default();
            let Some(frame) = self.current else {
                let (used, header) = self.header.read(rest);
                taken += used;
                let Some(header) = header else {
                    return Ok((taken, frames, None));
                };
                self.check(header, role)?;
                self.payload.clear();
                self.current = Some(header);
                continue;
            };
            let here = usize::try_from(frame.len)
                .unwrap_or(usize::MAX)
                .min(rest.len());
            taken += here;
            if is_read(frame.kind) {
                self.payload
                    .extend_from_slice(rest.get(..here).unwrap_or_default());
            }
            if (here as u64) < frame.len {
                let len = frame.len - here as u64;
                self.current = Some(FrameHeader { len, ..frame });
                return Ok((taken, frames, None));
            }
            self.current = None;
            frames += 1;
            if let Some(event) = self.ended(frame.kind, role)? {
                return Ok((taken, frames, Some(event)));
            }
        }
    }

    /// Whether a frame may come now.
    fn check(&self, header: FrameHeader, role: Role) -> Result<(), ConnectionError> {
        let unexpected = |reason| Err(ConnectionError::new(ErrorCode::FRAME_UNEXPECTED, reason));
        if !self.has_settings && header.kind != kind::SETTINGS {
            return Err(ConnectionError::new(
                ErrorCode::MISSING_SETTINGS,
                "a control stream that does not begin with SETTINGS",
            ));
        }
        match header.kind {
            kind::SETTINGS if self.has_settings => return unexpected("SETTINGS once more"),
            kind::DATA | kind::HEADERS | kind::PUSH_PROMISE => {
                return unexpected("a frame of messages on the control stream");
            }
            kind::MAX_PUSH_ID | kind::PRIORITY_UPDATE | kind::PRIORITY_UPDATE_PUSH
                if role == Role::Client =>
            {
                return unexpected("a frame that only clients send");
            }
            kind if is_of_http2(kind) => return unexpected("a frame of HTTP/2"),
            _ => {}
        }
        match is_read(header.kind) && header.len > MOST_PAYLOAD_BYTES {
            true => Err(ConnectionError::new(
                ErrorCode::EXCESSIVE_LOAD,
                "a control frame that is too long",
            )),
            false => Ok(()),
        }
    }

    fn ended(&mut self, kind: u64, role: Role) -> Result<Option<ControlEvent>, ConnectionError> {
        let id_error = |reason| Err(ConnectionError::new(ErrorCode::ID_ERROR, reason));
        match kind {
            kind::SETTINGS => {
                self.has_settings = true;
                let settings = PeerSettings::read(&self.payload)?;
                Ok(Some(ControlEvent::Settings(settings)))
            }
            kind::GOAWAY => {
                let id = self.number()?;
                if role == Role::Client && id % 4 != 0 {
                    return id_error("GOAWAY for a stream that is no request");
                }
                if self.go_away.is_some_and(|before| id > before) {
                    return id_error("GOAWAY for more streams than before");
                }
                self.go_away = Some(id);
                Ok(Some(ControlEvent::GoAway(id)))
            }
            kind::MAX_PUSH_ID => {
                let id = self.number()?;
                if self.max_push_id.is_some_and(|before| id < before) {
                    return id_error("MAX_PUSH_ID for fewer pushes than before");
                }
                self.max_push_id = Some(id);
                Ok(None)
            }
            // There is no push.
            kind::CANCEL_PUSH => {
                self.number()?;
                id_error("CANCEL_PUSH without a push")
            }
            kind::PRIORITY_UPDATE_PUSH => id_error("PRIORITY_UPDATE of a push"),
            kind::PRIORITY_UPDATE => match varint::read(&self.payload) {
                Some((id, _)) if id % 4 == 0 => Ok(None),
                Some(_) => id_error("PRIORITY_UPDATE of a stream that is no request"),
                None => Err(wrong_layout()),
            },
            _ => Ok(None),
        }
    }

    /// The payload as one number and nothing else.
    fn number(&self) -> Result<u64, ConnectionError> {
        match varint::read(&self.payload) {
            Some((number, len)) if len == self.payload.len() => Ok(number),
            _ => Err(wrong_layout()),
        }
    }
}

fn wrong_layout() -> ConnectionError {
    ConnectionError::new(ErrorCode::FRAME_ERROR, "a control frame of a wrong layout")
}

/// Whether the payload of a frame is read; that of others is skipped.
fn is_read(kind: u64) -> bool {
    matches!(
        kind,
        kind::SETTINGS
            | kind::GOAWAY
            | kind::MAX_PUSH_ID
            | kind::CANCEL_PUSH
            | kind::PRIORITY_UPDATE
            | kind::PRIORITY_UPDATE_PUSH
    )
}
