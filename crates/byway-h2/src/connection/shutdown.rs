//! Shutdown: the end of a connection, in order or not (RFC 9113 section 6.8).

use std::time::{Duration, Instant};

use super::Connection;
use crate::error::ErrorCode;
use crate::frame::kind;
use crate::role::Role;

/// How long a client that does not answer a PING may still open streams after the first GOAWAY.
const GRACE: Duration = Duration::from_secs(1);
/// The payload of the PING behind the first GOAWAY.
pub(super) const DRAIN_PING: [u8; 8] = *b"bywaybye";
/// The last stream of a GOAWAY that excludes none.
const ALL_STREAMS: u32 = 0x7fff_ffff;

/// How far the end has come.
#[derive(Debug, Default)]
pub(super) struct Closing {
    /// The stage of this side.
    pub(super) stage: Stage,
    /// The last stream that the peer's GOAWAY admits.
    pub(super) peer_last: Option<u32>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    #[default]
    Open,
    /// A GOAWAY without a last stream was sent; the final one follows at the PING's answer, or then.
    Warned(Instant),
    /// The final GOAWAY: streams above this one are not processed.
    Final(u32),
    /// Nothing is read any more.
    Closed,
}

impl Connection {
    /// Ends the connection in order. A server announces it by a GOAWAY that excludes no stream, and
    /// says with a second one which streams it processes: after a round trip, or one second, so that
    /// no request that is on its way is lost. A client sends one GOAWAY. Streams go on; once
    /// [`is_drained`](Self::is_drained), close the connection.
    pub fn drain(&mut self, now: Instant) {
        self.now = now;
        if self.closing.stage != Stage::Open {
            return;
        }
        match self.role {
            Role::Server => {
                self.closing.stage = Stage::Warned(now + GRACE);
                self.go_away(ALL_STREAMS, ErrorCode::NO_ERROR);
                self.frame(kind::PING, 0, 0, &DRAIN_PING);
            }
            Role::Client => {
                self.closing.stage = Stage::Final(0);
                self.go_away(0, ErrorCode::NO_ERROR);
            }
        }
    }

    /// The second step of [`drain`](Self::drain).
    pub(super) fn drain_finally(&mut self) {
        if let Stage::Warned(_) = self.closing.stage {
            self.closing.stage = Stage::Final(self.highest);
            self.go_away(self.highest, ErrorCode::NO_ERROR);
        }
    }

    /// Ends the connection now: queues a GOAWAY with this code, and neither reads nor queues anything
    /// more. Does nothing if it was called before.
    pub fn close(&mut self, code: ErrorCode) {
        if self.closing.stage == Stage::Closed {
            return;
        }
        let last = match self.role {
            Role::Server => self.highest,
            Role::Client => 0,
        };
        self.go_away(last, code);
        self.closing.stage = Stage::Closed;
    }

    /// Whether the connection is over: it was closed or drained, and no stream is left. Write what
    /// [`out`](Self::out) has before closing the socket.
    pub fn is_drained(&self) -> bool {
        match self.closing.stage {
            Stage::Closed => true,
            Stage::Final(_) => self.streams.len() == 0,
            _ => false,
        }
    }

    /// Whether this side has said that the connection ends.
    pub fn is_draining(&self) -> bool {
        self.closing.stage != Stage::Open
    }

    /// Whether a client has begun this stream after the last one that this server processes.
    pub(super) fn excludes(&self, number: u32) -> bool {
        let is_later = matches!(self.closing.stage, Stage::Final(last) if number > last);
        is_later && self.role == Role::Server
    }

    fn go_away(&mut self, last: u32, code: ErrorCode) {
        let mut payload = [0; 8];
        payload[..4].copy_from_slice(&last.to_be_bytes());
        payload[4..].copy_from_slice(&code.0.to_be_bytes());
        self.frame(kind::GOAWAY, 0, 0, &payload);
    }
}
