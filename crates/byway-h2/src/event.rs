//! Event: what a peer did, as the user of a connection needs to know it.

use std::ops::Range;
use std::time::Duration;

use byway_head::Malformed;

use crate::error::ErrorCode;

/// A stream of a connection. It never names another stream: an id of a stream that was
/// [released](crate::Connection::release) does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamId {
    pub(crate) slot: u32,
    pub(crate) number: u32,
}

impl StreamId {
    /// A small number that no other stream has before this one is released, below
    /// [`Limits::streams`](crate::Limits::streams): an index for what a user keeps for each stream.
    pub fn slot(self) -> usize {
        self.slot as usize
    }

    /// The stream identifier on the wire, 1 to 2^31-1; each is used once on a connection.
    pub fn number(self) -> u32 {
        self.number
    }
}

/// What [`Connection::read`](crate::Connection::read) did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Bytes that are used up.
    pub taken: usize,
    /// What they were, if the user needs to know. If this is none and `taken` is 0, the connection
    /// reads no more until some of its output was written.
    pub event: Option<Event>,
}

/// What a peer did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Server: a request on a new stream. Client: the head of a response, interim (1xx) or final.
    /// [`take_request`](crate::Connection::take_request) or
    /// [`take_response`](crate::Connection::take_response) has it until the next read.
    Head {
        /// The stream.
        id: StreamId,
        /// Whether the message ends with it.
        end: bool,
    },
    /// Server: a request on a new stream whose head is over a limit. Answer it with
    /// [`Malformed::status`] (431, 414, 501), or reset it. There is no head to take.
    Unacceptable {
        /// The stream.
        id: StreamId,
        /// What is wrong.
        error: Malformed,
        /// Whether the message ends with it.
        end: bool,
    },
    /// Data of a body: a range of the bytes that were passed to the read. Return it with
    /// [`credit`](crate::Connection::credit) once it has left for its receiver.
    Data {
        /// The stream.
        id: StreamId,
        /// Where the data is; empty if only `end` is new.
        range: Range<usize>,
        /// Whether the message ends with it.
        end: bool,
    },
    /// Trailers, with which the message ends.
    /// [`take_trailers`](crate::Connection::take_trailers) has them until the next read.
    Trailers {
        /// The stream.
        id: StreamId,
    },
    /// The stream is over, in both directions, before its end. It counts against
    /// [`Limits::streams`](crate::Limits::streams) until it is released.
    Reset {
        /// The stream.
        id: StreamId,
        /// The code, received or sent.
        code: ErrorCode,
        /// Which of both sides ended it, and why.
        cause: ResetCause,
    },
    /// A malformed message. Its stream was reset with `PROTOCOL_ERROR`.
    Malformed {
        /// The stream. None in the server role if it was the head of a request: there is no such
        /// stream.
        id: Option<StreamId>,
        /// What is wrong.
        error: Malformed,
    },
    /// The peer opens or accepts no further streams. Streams above `last` were reset, with an event
    /// each; those up to it go on.
    GoAway {
        /// The highest stream that the peer has processed or will.
        last: u32,
        /// Why.
        code: ErrorCode,
    },
    /// The peer's settings have arrived or changed ([`peer`](crate::Connection::peer)).
    Settings,
    /// The answer to a [`ping`](crate::Connection::ping).
    Pong {
        /// How long it took.
        elapsed: Duration,
    },
}

/// Why a stream is over before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetCause {
    /// The peer reset it.
    Peer,
    /// A GOAWAY of the peer excludes it: the peer has not processed it.
    GoAway,
    /// This side reset it, since the peer did this on it.
    Violation(&'static str),
}

impl Event {
    /// Whether this says that a request was not processed at all, so that it may be sent again,
    /// whatever its method (RFC 9113 section 8.7).
    pub fn is_unsent(&self) -> bool {
        match self {
            Self::Reset { code, cause, .. } => match cause {
                ResetCause::GoAway => true,
                ResetCause::Peer => *code == ErrorCode::REFUSED_STREAM,
                ResetCause::Violation(_) => false,
            },
            _ => false,
        }
    }
}
