//! Error: the codes of HTTP/3, and what ends a stream or a connection.

use std::fmt;

use byway_head::Malformed;
use thiserror::Error;

use crate::qpack::QpackError;

/// An error code of HTTP/3 or QPACK (RFC 9114 section 8.1, RFC 9204 section 6).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErrorCode(pub u64);

impl ErrorCode {
    /// No error: a graceful shutdown, or a body that is no longer needed.
    pub const NO_ERROR: Self = Self(0x100);
    /// The peer broke a rule that has no code of its own.
    pub const GENERAL_PROTOCOL_ERROR: Self = Self(0x101);
    /// This side failed.
    pub const INTERNAL_ERROR: Self = Self(0x102);
    /// A stream that the peer may not open.
    pub const STREAM_CREATION_ERROR: Self = Self(0x103);
    /// A stream ended that the connection needs.
    pub const CLOSED_CRITICAL_STREAM: Self = Self(0x104);
    /// A frame in a place where it is not allowed.
    pub const FRAME_UNEXPECTED: Self = Self(0x105);
    /// A frame of a wrong length or layout.
    pub const FRAME_ERROR: Self = Self(0x106);
    /// The peer costs more than it is worth.
    pub const EXCESSIVE_LOAD: Self = Self(0x107);
    /// An identifier that may not be used, or not in this order.
    pub const ID_ERROR: Self = Self(0x108);
    /// An invalid setting.
    pub const SETTINGS_ERROR: Self = Self(0x109);
    /// The control stream does not begin with SETTINGS.
    pub const MISSING_SETTINGS: Self = Self(0x10a);
    /// The request was not processed at all: it may be sent again.
    pub const REQUEST_REJECTED: Self = Self(0x10b);
    /// The stream is no longer needed.
    pub const REQUEST_CANCELLED: Self = Self(0x10c);
    /// The stream ended before its request was complete.
    pub const REQUEST_INCOMPLETE: Self = Self(0x10d);
    /// A malformed message.
    pub const MESSAGE_ERROR: Self = Self(0x10e);
    /// The connection behind a CONNECT request broke.
    pub const CONNECT_ERROR: Self = Self(0x10f);
    /// The request needs HTTP/1.1.
    pub const VERSION_FALLBACK: Self = Self(0x110);
    /// A header block that cannot be decoded.
    pub const QPACK_DECOMPRESSION_FAILED: Self = Self(0x200);
    /// An invalid instruction on the encoder stream.
    pub const QPACK_ENCODER_STREAM_ERROR: Self = Self(0x201);
    /// An invalid instruction on the decoder stream.
    pub const QPACK_DECODER_STREAM_ERROR: Self = Self(0x202);

    /// The name in the RFCs, or `UNKNOWN`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NO_ERROR => "H3_NO_ERROR",
            Self::GENERAL_PROTOCOL_ERROR => "H3_GENERAL_PROTOCOL_ERROR",
            Self::INTERNAL_ERROR => "H3_INTERNAL_ERROR",
            Self::STREAM_CREATION_ERROR => "H3_STREAM_CREATION_ERROR",
            Self::CLOSED_CRITICAL_STREAM => "H3_CLOSED_CRITICAL_STREAM",
            Self::FRAME_UNEXPECTED => "H3_FRAME_UNEXPECTED",
            Self::FRAME_ERROR => "H3_FRAME_ERROR",
            Self::EXCESSIVE_LOAD => "H3_EXCESSIVE_LOAD",
            Self::ID_ERROR => "H3_ID_ERROR",
            Self::SETTINGS_ERROR => "H3_SETTINGS_ERROR",
            Self::MISSING_SETTINGS => "H3_MISSING_SETTINGS",
            Self::REQUEST_REJECTED => "H3_REQUEST_REJECTED",
            Self::REQUEST_CANCELLED => "H3_REQUEST_CANCELLED",
            Self::REQUEST_INCOMPLETE => "H3_REQUEST_INCOMPLETE",
            Self::MESSAGE_ERROR => "H3_MESSAGE_ERROR",
            Self::CONNECT_ERROR => "H3_CONNECT_ERROR",
            Self::VERSION_FALLBACK => "H3_VERSION_FALLBACK",
            Self::QPACK_DECOMPRESSION_FAILED => "QPACK_DECOMPRESSION_FAILED",
            Self::QPACK_ENCODER_STREAM_ERROR => "QPACK_ENCODER_STREAM_ERROR",
            Self::QPACK_DECODER_STREAM_ERROR => "QPACK_DECODER_STREAM_ERROR",
            Self(_) => "UNKNOWN",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:#x})", self.name(), self.0)
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why this side ends a connection, with CONNECTION_CLOSE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{reason}: {code}")]
pub struct ConnectionError {
    /// The code to close with.
    pub code: ErrorCode,
    /// What the peer did, in a few words that are the same each time: for logs.
    pub reason: &'static str,
}

impl ConnectionError {
    pub(crate) const fn new(code: ErrorCode, reason: &'static str) -> Self {
        Self { code, reason }
    }
}

/// Why a message cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MessageError {
    /// The whole connection must end.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The message is malformed: reset both directions of the stream with
    /// [`ErrorCode::MESSAGE_ERROR`].
    #[error("a malformed message: {0}")]
    Malformed(Malformed),
    /// The body is longer or shorter than its Content-Length says: reset as above.
    #[error("a body of another length than its head says")]
    Length,
    /// The stream ended before the head: reset with [`ErrorCode::REQUEST_INCOMPLETE`].
    #[error("the stream ended before the head of its message")]
    Incomplete,
}

impl MessageError {
    /// The code to close or reset with.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Connection(error) => error.code,
            Self::Malformed(_) | Self::Length => ErrorCode::MESSAGE_ERROR,
            Self::Incomplete => ErrorCode::REQUEST_INCOMPLETE,
        }
    }
}

impl From<QpackError> for ConnectionError {
    fn from(error: QpackError) -> Self {
        match error {
            QpackError::TooLarge { .. } => Self::new(
                ErrorCode::EXCESSIVE_LOAD,
                "a header block that is too large when it is decoded",
            ),
            _ => Self::new(
                ErrorCode::QPACK_DECOMPRESSION_FAILED,
                "a header block that cannot be decoded",
            ),
        }
    }
}
