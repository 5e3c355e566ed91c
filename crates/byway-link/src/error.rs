//! Link error: why there is no session, in words that say whose side it is, what to do, and whether
//! waiting helps.

use crate::wire::Refusal;

/// How the end of a connection begins that the other side closed in order.
pub(crate) const CLOSED: &str = "the other side closed the connection";

/// Why no session came about.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Nobody could be reached, or the connection broke: trying again may help.
    #[error("{0}")]
    Unreachable(String),
    /// The other side has another key than the pinned one.
    #[error(
        "{at} is not who the join string pins: its key is another one. Either it was set up anew (ask for its new join string) or somebody stands in between"
    )]
    WrongPin {
        /// Where it was dialled.
        at: String,
    },
    /// The other side shows the pinned key and cannot prove that it is its own.
    #[error(
        "{at} shows the pinned key and could not prove that it has its private half: somebody stands in between"
    )]
    Unproven {
        /// Where it was dialled.
        at: String,
    },
    /// Whatever answers there is no Byway.
    #[error(
        "what answers at {at} does not speak Byway's link protocol ({detail}); check the address and the port in the join string"
    )]
    NoByway {
        /// Where it was dialled.
        at: String,
        /// What was seen.
        detail: String,
    },
    /// The peer that dialled this node is not a Byway.
    #[error("{peer} did not come as a link: {detail}")]
    Unauthenticated {
        /// Where it came from.
        peer: String,
        /// What was seen.
        detail: String,
    },
    /// The peer that dialled this node ended the connection before its hello, as the slower carrier
    /// of a dialler does.
    #[error("{peer} ended the connection before its hello")]
    Left {
        /// Where it came from.
        peer: String,
    },
    /// The other side said no.
    #[error("{detail}")]
    Refused {
        /// The class.
        why: Refusal,
        /// Its own words.
        detail: String,
    },
    /// This side cannot.
    #[error("{0}")]
    Here(String),
}

impl LinkError {
    /// Whether trying again cannot help, as long as nobody changes anything.
    pub const fn is_final(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Here(_) | Self::NoByway { .. } => false,
            Self::Unauthenticated { .. } | Self::Left { .. } => false,
            Self::WrongPin { .. } | Self::Unproven { .. } => true,
            Self::Refused { why, .. } => why.is_final(),
        }
    }
}
