//! End: how a relay ended.
//!
//! Never: guesses; it contains only what was observed.

use std::fmt;

use byway_dial::Broken;

use crate::spill::SpillError;

/// Which side ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The downstream.
    Downstream,
    /// The upstream.
    Upstream,
    /// The session that carried one of them (a link of Byway, for example).
    Link,
    /// This program.
    Us,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndKind {
    /// Both directions finished in order; the side is the one that finished first.
    Fin,
    /// The side reset.
    Reset,
    /// The session that carried the side is gone.
    SessionLost,
    /// No bytes moved for too long.
    Idle,
    /// Any other failure: of the side's socket or TLS, or of the spill.
    Error,
}

/// Bytes that were delivered, without those that were read and never left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelayedBytes {
    /// Delivered to the upstream.
    pub up: u64,
    /// Delivered to the downstream.
    pub down: u64,
}

/// How a relay ended.
#[derive(Debug)]
pub struct End {
    /// Which side ended it. A lost session is attributed to the link, whichever side it carried.
    pub who: Side,
    /// How it ended.
    pub kind: EndKind,
    /// What had been delivered.
    pub bytes: RelayedBytes,
    /// The last failure. A clean end can have one: a peer that broke after its FIN, when it had
    /// received everything.
    pub error: Option<RelayError>,
}

/// What failed in a relay.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The stream of this side broke.
    #[error("{0}: {1}")]
    Broken(Side, #[source] Broken),
    /// Spilled bytes were lost.
    #[error(transparent)]
    Spill(#[from] SpillError),
}

impl End {
    /// Whether everything that was sent was also delivered, in both directions.
    pub fn is_clean(&self) -> bool {
        self.kind == EndKind::Fin
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RelayedBytes { up, down } = self.bytes;
        write!(
            f,
            "{} {} after {up} bytes up, {down} bytes down",
            self.who, self.kind
        )
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Downstream => "downstream",
            Self::Upstream => "upstream",
            Self::Link => "link",
            Self::Us => "byway",
        })
    }
}

impl fmt::Display for EndKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fin => "finished",
            Self::Reset => "reset",
            Self::SessionLost => "was lost",
            Self::Idle => "gave up an idle connection",
            Self::Error => "failed",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_reads_as_one_line() {
        let end = End {
            who: Side::Upstream,
            kind: EndKind::Reset,
            bytes: RelayedBytes { up: 12, down: 3400 },
            error: Some(RelayError::Broken(Side::Upstream, Broken::Reset(0))),
        };
        assert_eq!(
            end.to_string(),
            "upstream reset after 12 bytes up, 3400 bytes down"
        );
        assert_eq!(
            end.error.unwrap().to_string(),
            "upstream: the peer reset the connection"
        );
    }
}
