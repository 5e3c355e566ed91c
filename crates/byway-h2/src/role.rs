//! Role: which side of a connection this is.

/// A side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Accepts streams, with odd numbers.
    Server,
    /// Opens streams.
    Client,
}

impl Role {
    /// The other side.
    pub(crate) fn peer(self) -> Self {
        match self {
            Self::Server => Self::Client,
            Self::Client => Self::Server,
        }
    }
}
