//! Stream: the state of one stream (RFC 9113 section 5.1).

use crate::flow::{ReceiveWindow, SendWindow};
use crate::out::Place;
use crate::priority::Priority;

/// How far a message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Half {
    /// The final head has not been sent or received.
    Head,
    /// Its body.
    Body,
    /// All of it.
    Ended,
}

/// What the method of a request says about its response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Method {
    #[default]
    Other,
    /// The response has no body.
    Head,
    /// A 2xx response begins a tunnel.
    Connect,
}

impl Method {
    pub(crate) fn of(method: &[u8]) -> Self {
        match method {
            b"HEAD" => Self::Head,
            b"CONNECT" => Self::Connect,
            _ => Self::Other,
        }
    }

    /// A method of this kind.
    pub(crate) fn name(self) -> &'static [u8] {
        match self {
            Self::Other => b"GET",
            Self::Head => b"HEAD",
            Self::Connect => b"CONNECT",
        }
    }
}

/// Who has ended a stream before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResetBy {
    Us,
    Peer,
}

/// What a stream waits for before it can send more data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Nothing.
    No,
    /// A larger window of the stream.
    Window,
    /// Its turn.
    Turn,
}

/// One stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) number: u32,
    pub(crate) local: Half,
    pub(crate) remote: Half,
    pub(crate) reset: Option<ResetBy>,
    pub(crate) method: Method,
    /// Bytes of the peer's body that must follow, if that is known.
    pub(crate) expected: Option<u64>,
    /// The head that began it is over a limit: the answer to it is no useful work.
    pub(crate) is_unacceptable: bool,
    /// Bytes of text of its head and trailers.
    pub(crate) text: usize,
    pub(crate) window: SendWindow,
    pub(crate) receive: ReceiveWindow,
    pub(crate) priority: Priority,
    pub(crate) wait: Wait,
    /// Bytes that a frame of the data that waits should have at least.
    pub(crate) wanted: u32,
    /// Bytes that it may send although others wait.
    pub(crate) grant: usize,
    /// Whether it may send frames that are smaller than is sensible, since the peer does not grant
    /// more for a while.
    pub(crate) may_dribble: bool,
    /// Its last frame that could still get END_STREAM.
    pub(crate) last_frame: Option<Place>,
}

impl Stream {
    pub(crate) fn new(number: u32, window: u32, receive: u32) -> Self {
        Self {
            number,
            local: Half::Head,
            remote: Half::Head,
            reset: None,
            method: Method::default(),
            expected: None,
            is_unacceptable: false,
            text: 0,
            window: SendWindow::new(window),
            receive: ReceiveWindow::new(receive),
            priority: Priority::default(),
            wait: Wait::No,
            wanted: 0,
            grant: 0,
            may_dribble: false,
            last_frame: None,
        }
    }

    /// Whether both messages have ended, or the stream was reset.
    pub(crate) fn is_closed(&self) -> bool {
        self.reset.is_some() || self.has_completed()
    }

    /// Whether both messages have ended.
    pub(crate) fn has_completed(&self) -> bool {
        self.local == Half::Ended && self.remote == Half::Ended
    }

    /// Whether it was an exchange that earns points.
    pub(crate) fn has_earned(&self) -> bool {
        self.has_completed() && !self.is_unacceptable
    }

    /// Whether this side may still send on it.
    pub(crate) fn can_send(&self) -> bool {
        self.reset.is_none() && self.local != Half::Ended
    }

    /// Whether it waits for a window, and that is now large enough.
    pub(crate) fn has_window(&self) -> bool {
        self.wait == Wait::Window && self.window.bytes() >= self.wanted as usize
    }
}
