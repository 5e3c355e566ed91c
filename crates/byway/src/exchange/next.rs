//! Next: what becomes of a client connection after a request.
//!
//! In:    how the request ended.
//! Out:   the instruction for the loop that serves the connection.
//! Never: lets another request follow a response that was cut.

use crate::fault::Fault;
use crate::outbound::tunnel::Tunnel;

/// What to do with the client connection.
pub enum Next {
    /// The next request may come.
    KeepAlive,
    /// The response is complete; close in order.
    Close,
    /// The same, and the client has announced that it sends nothing more: do not wait for it.
    Leave,
    /// The response was cut, or could not be sent; close with a reset, so that the client notices.
    Reset(Fault),
    /// A CONNECT or an upgrade has opened a tunnel: relay the rest.
    Tunnel(Box<Tunnel>),
}

impl Next {
    /// Why the connection is reset.
    pub fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Reset(fault) => Some(fault),
            Self::KeepAlive | Self::Close | Self::Leave | Self::Tunnel(_) => None,
        }
    }
}
