//! Role: which side of the connection this program is.

/// The side of a connection. A client masks each of its frames and a server none (RFC 6455 section
/// 5.1); each side refuses frames that look like its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The side that connected and sent the handshake's request.
    Client,
    /// The side that accepted.
    Server,
}

impl Role {
    /// Whether the frames that this side sends are masked.
    pub fn masks(self) -> bool {
        self == Self::Client
    }

    /// The other side.
    pub fn peer(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}
