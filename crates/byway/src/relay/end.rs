//! End: how a relay ended; one value for the log and the metrics.
//!
//! Never: guesses; it contains only what was observed.

use std::fmt;

use byway_dial::Broken;

/// Which side ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The client.
    Downstream,
    /// The upstream.
    Upstream,
    /// The link that carried one of them.
    Link,
    /// This node.
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
    /// A deadline passed.
    Deadline,
    /// This node shuts down and the grace period is over.
    Drained,
    /// Closed to save the rest: a limit or a shortage.
    Shed,
    /// The side violated its protocol.
    Malformed,
    /// Any other failure of the side's socket, TLS or disk.
    Error,
}

/// The phase in which it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndPhase {
    /// TLS, SOCKS or link handshake with the downstream.
    Handshake,
    /// Opening the upstream.
    Dial,
    /// Bytes in both directions.
    Relay,
    /// Between two requests.
    Idle,
    /// Reading the request head.
    RequestHead,
    /// Moving the request body.
    RequestBody,
    /// Waiting for or reading the response head.
    ResponseHead,
    /// Moving the response body.
    ResponseBody,
}

/// Bytes that were delivered, without those that were read and never left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelayedBytes {
    /// Delivered to the upstream.
    pub up: u64,
    /// Delivered to the downstream.
    pub down: u64,
}

/// How it ended. See the head of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Which side ended it.
    pub who: Side,
    /// How it ended.
    pub kind: EndKind,
    /// The phase.
    pub phase: EndPhase,
    /// What had been delivered.
    pub bytes: RelayedBytes,
}

impl End {
    /// The end for a broken stream of `side`. A lost session is attributed to the link, whichever
    /// side it carried.
    pub const fn broken(side: Side, broken: &Broken, phase: EndPhase, bytes: RelayedBytes) -> Self {
        let (who, kind) = match broken {
            Broken::Reset(_) => (side, EndKind::Reset),
            Broken::SessionLost => (Side::Link, EndKind::SessionLost),
            Broken::Io(_) => (side, EndKind::Error),
        };
        Self {
            who,
            kind,
            phase,
            bytes,
        }
    }

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
            "{} {} during {} after {up} bytes up, {down} bytes down",
            self.who, self.kind, self.phase
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
            Self::Deadline => "met its deadline",
            Self::Drained => "drained",
            Self::Shed => "shed the connection",
            Self::Malformed => "broke the protocol",
            Self::Error => "failed",
        })
    }
}

impl EndPhase {
    /// The name of the phase, in a word or two.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Dial => "dial",
            Self::Relay => "relay",
            Self::Idle => "idle",
            Self::RequestHead => "request head",
            Self::RequestBody => "request body",
            Self::ResponseHead => "response head",
            Self::ResponseBody => "response body",
        }
    }
}

impl fmt::Display for EndPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_reads_as_one_line() {
        let bytes = RelayedBytes { up: 12, down: 3400 };
        let end = End::broken(
            Side::Upstream,
            &Broken::Reset(0),
            EndPhase::ResponseBody,
            bytes,
        );
        assert_eq!(
            end.to_string(),
            "upstream reset during response body after 12 bytes up, 3400 bytes down"
        );
    }

    #[test]
    fn a_lost_session_is_attributed_to_the_link() {
        let end = End::broken(
            Side::Downstream,
            &Broken::SessionLost,
            EndPhase::Relay,
            RelayedBytes::default(),
        );
        assert_eq!((end.who, end.kind), (Side::Link, EndKind::SessionLost));
    }
}
