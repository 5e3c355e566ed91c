//! Errors: every reason to fail a connection, each with a name.
//!
//! Out:   text for people, a close code for the peer, a class for logs.
//! Never: repeats bytes of a message.

use thiserror::Error;

use crate::close::CloseCode;

/// Why the bytes of a peer are refused. The connection must be closed: nothing after the error can
/// be read reliably.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Malformed {
    /// A reserved bit is set, and no extension was negotiated.
    #[error("a reserved bit is set, and no extension was negotiated")]
    ReservedBit,
    /// An opcode that RFC 6455 does not define.
    #[error("opcode {0} is not defined")]
    Opcode(u8),
    /// A control frame without FIN.
    #[error("a control frame is fragmented")]
    ControlFragmented,
    /// A control frame with a payload over 125 bytes.
    #[error("the payload of a control frame is longer than 125 bytes")]
    ControlTooLong,
    /// A client sent a frame without a mask.
    #[error("a frame of the client is not masked")]
    MaskMissing,
    /// A server sent a frame with a mask.
    #[error("a frame of the server is masked")]
    MaskUnexpected,
    /// A payload length in more bytes than it needs.
    #[error("a payload length is not written in its shortest form")]
    LengthNotMinimal,
    /// A payload length with its highest bit set.
    #[error("a payload length is larger than 2^63-1")]
    LengthInvalid,
    /// A payload over [`Limits::frame_bytes`](crate::Limits::frame_bytes).
    #[error("a frame is longer than {limit} bytes")]
    FrameTooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// A message over [`Limits::message_bytes`](crate::Limits::message_bytes).
    #[error("a message is longer than {limit} bytes")]
    MessageTooLarge {
        /// The limit, in bytes.
        limit: u64,
    },
    /// A message of more frames than [`Limits::fragments`](crate::Limits::fragments).
    #[error("a message has more than {limit} fragments")]
    TooManyFragments {
        /// The limit.
        limit: u32,
    },
    /// A continuation frame without a message to continue.
    #[error("a continuation frame without a message to continue")]
    ContinuationUnexpected,
    /// A text or binary frame before the message in fragments has ended.
    #[error("a new message starts before the last one has ended")]
    MessageUnfinished,
    /// A text that is not UTF-8.
    #[error("a text message is not UTF-8")]
    TextNotUtf8,
    /// A close frame with a payload of one byte.
    #[error("the payload of a close frame is one byte")]
    CloseTooShort,
    /// A close frame with a code that may not be sent.
    #[error("close code {0} may not be sent")]
    CloseCode(u16),
    /// The reason of a close frame is not UTF-8.
    #[error("the reason of a close frame is not UTF-8")]
    ReasonNotUtf8,
}

impl Malformed {
    /// The close code to send (RFC 6455 section 7.4.1).
    pub fn close_code(&self) -> CloseCode {
        match self {
            Self::TextNotUtf8 | Self::ReasonNotUtf8 => CloseCode::INVALID_PAYLOAD,
            Self::FrameTooLarge { .. } | Self::MessageTooLarge { .. } => CloseCode::TOO_LARGE,
            Self::TooManyFragments { .. } => CloseCode::POLICY,
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }

    /// A short, stable name in kebab case, for logs and metrics.
    pub fn class(&self) -> &'static str {
        match self {
            Self::ReservedBit => "reserved-bit",
            Self::Opcode(_) => "opcode",
            Self::ControlFragmented => "control-fragmented",
            Self::ControlTooLong => "control-too-long",
            Self::MaskMissing => "mask-missing",
            Self::MaskUnexpected => "mask-unexpected",
            Self::LengthNotMinimal => "length-not-minimal",
            Self::LengthInvalid => "length-invalid",
            Self::FrameTooLarge { .. } => "frame-too-large",
            Self::MessageTooLarge { .. } => "message-too-large",
            Self::TooManyFragments { .. } => "too-many-fragments",
            Self::ContinuationUnexpected => "continuation-unexpected",
            Self::MessageUnfinished => "message-unfinished",
            Self::TextNotUtf8 => "text-not-utf8",
            Self::CloseTooShort => "close-too-short",
            Self::CloseCode(_) => "close-code",
            Self::ReasonNotUtf8 => "reason-not-utf8",
        }
    }
}
