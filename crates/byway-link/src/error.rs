//! Link error: why there is no session: the cause, the remedy, and whether a retry can help.

use crate::wire::Refusal;

/// The start of the reason when the other side closed the connection regularly.
pub(crate) const CLOSED: &str = "the other side closed the connection";

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The peer was not reached, or the connection broke: a retry may help.
    #[error("{0}")]
    Unreachable(String),
    /// The other side has another key than the pinned one.
    #[error(
        "{at} does not have the key that the join string pins. Either it was set up anew (get its new join string) or the connection is intercepted"
    )]
    WrongPin {
        /// The address that was dialled.
        at: String,
    },
    /// The other side presents the pinned key but cannot prove its private half.
    #[error(
        "{at} presents the pinned key and could not prove that it has its private half: the connection is intercepted"
    )]
    Unproven {
        /// The address that was dialled.
        at: String,
    },
    /// Another program answers at that address.
    #[error(
        "what answers at {at} does not speak Byway's link protocol ({detail}); check the address and the port in the join string"
    )]
    NoByway {
        /// The address that was dialled.
        at: String,
        /// What was seen.
        detail: String,
    },
    /// The dialling peer does not speak the link protocol.
    #[error("{peer} did not connect as a link: {detail}")]
    Unauthenticated {
        /// The address of the peer.
        peer: String,
        /// What was seen.
        detail: String,
    },
    /// The dialling peer closed the connection before its hello, as a dialler does with its slower
    /// carrier.
    #[error("{peer} ended the connection before its hello")]
    Left {
        /// The address of the peer.
        peer: String,
    },
    /// The other side refused.
    #[error("{detail}")]
    Refused {
        /// The class.
        why: Refusal,
        /// The text that the other side sent.
        detail: String,
    },
    /// A failure of this side.
    #[error("{0}")]
    Here(String),
}

impl LinkError {
    /// Whether a retry cannot help unless the configuration changes.
    pub const fn is_final(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Here(_) | Self::NoByway { .. } => false,
            Self::Unauthenticated { .. } | Self::Left { .. } => false,
            Self::WrongPin { .. } | Self::Unproven { .. } => true,
            Self::Refused { why, .. } => why.is_final(),
        }
    }
}
