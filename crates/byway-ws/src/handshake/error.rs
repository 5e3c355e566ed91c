//! Error: why a handshake fails.

use thiserror::Error;

/// Why a handshake fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// A request with another method than GET.
    #[error("the method is not GET")]
    Method,
    /// A message of HTTP/1.0, in which Upgrade has no effect.
    #[error("the version is HTTP/1.0")]
    Http10,
    /// A request with a body.
    #[error("the request has a body")]
    Body,
    /// Upgrade does not name websocket.
    #[error("Upgrade does not name websocket")]
    Upgrade,
    /// Connection does not name Upgrade.
    #[error("Connection does not name Upgrade")]
    Connection,
    /// There is not exactly one Sec-WebSocket-Version, or it is not 13.
    #[error("Sec-WebSocket-Version is not 13")]
    Version,
    /// There is not exactly one Sec-WebSocket-Key, or it is not 16 bytes in base64.
    #[error("Sec-WebSocket-Key is not 16 bytes in base64")]
    Key,
    /// Sec-WebSocket-Protocol is not a list of tokens.
    #[error("Sec-WebSocket-Protocol is not a list of tokens")]
    Protocol,
    /// The status of a response is not 101.
    #[error("the status is {0} instead of 101")]
    Status(u16),
    /// There is not exactly one Sec-WebSocket-Accept, or it does not belong to the key.
    #[error("Sec-WebSocket-Accept does not match the key")]
    Accept,
    /// The server uses an extension that was not requested.
    #[error("the server uses an extension that was not requested")]
    Extension,
    /// The server chose several subprotocols, or one that was not offered.
    #[error("the server chose a subprotocol that was not offered")]
    ProtocolNotOffered,
}

impl HandshakeError {
    /// The status of the response to a request with this error: 400, 405 or 426. A response with
    /// 426 has the fields `Upgrade: websocket` and `Sec-WebSocket-Version: 13`.
    pub fn status(&self) -> u16 {
        match self {
            Self::Method => 405,
            Self::Http10 | Self::Upgrade | Self::Connection | Self::Version => 426,
            _ => 400,
        }
    }

    /// A short, stable name in kebab case, for logs and metrics.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Http10 => "http10",
            Self::Body => "body",
            Self::Upgrade => "upgrade",
            Self::Connection => "connection",
            Self::Version => "version",
            Self::Key => "key",
            Self::Protocol => "protocol",
            Self::Status(_) => "status",
            Self::Accept => "accept",
            Self::Extension => "extension",
            Self::ProtocolNotOffered => "protocol-not-offered",
        }
    }
}
