//! Keep-alive: the caller's policy for hints, and why a connection is closed after a response.

use super::event::CloseReason;
use byway_http::h1::{HintLimits, NotKept};
use std::time::Duration;

/// How the agent uses an origin's `Keep-Alive: timeout=N, max=M`, in any order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// The connection is kept idle for `timeout` less a margin, and for at most `max` more
    /// requests; a `timeout` that is not longer than the margin closes it at once. The default,
    /// with a margin of 1 s and at most 600 s.
    Honour {
        /// The time that a request may be in transit when the origin closes. Default 1 s; may be 0.
        margin: Duration,
        /// The longest idle time from a hint. Default 600 s; must be above 0.
        longest: Duration,
    },
    /// Hints are ignored: every connection is kept for `idle_timeout`.
    Ignore,
}

impl Default for Hint {
    fn default() -> Self {
        Self::Honour {
            margin: Duration::from_secs(1),
            longest: Duration::from_secs(600),
        }
    }
}

impl Hint {
    /// The limits of hints; `None` ignores them.
    pub(crate) fn limits(self) -> Option<HintLimits> {
        match self {
            Self::Honour { margin, longest } => Some(HintLimits { margin, longest }),
            Self::Ignore => None,
        }
    }
}

/// Keep it (idle for the given time, if the origin sent one), or close it.
pub(crate) type Keep = Result<Option<Duration>, CloseReason>;

/// A hint that leaves no time closes the connection at once.
pub(crate) fn keep(kept: Result<Option<Duration>, NotKept>) -> Keep {
    match kept {
        Ok(Some(Duration::ZERO)) | Err(NotKept::Hint) => Err(CloseReason::Hint),
        Ok(idle) => Ok(idle),
        Err(NotKept::LastResponse) => Err(CloseReason::LastResponse),
        Err(NotKept::ExtraBytes) => Err(CloseReason::ExtraBytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use byway_h1::ResponseParser;
    use byway_head::{Framed, Limits};
    use byway_http::h1::keep_alive;

    fn keep_with(fields: &str, framed: Framed, left: Option<u64>) -> (Keep, Option<u64>) {
        let text = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
        let mut head = ResponseParser::default();
        head.parse(text.as_bytes(), &Limits::default()).unwrap();
        let mut left = left;
        let response = head.view(text.as_bytes());
        let kept = keep_alive(&response, framed, Hint::default().limits(), &mut left);
        (keep(kept), left)
    }

    fn hint(value: &str) -> Keep {
        keep_with(&format!("Keep-Alive: {value}\r\n"), Framed::None, None).0
    }

    #[test]
    fn a_hint_is_read_in_any_order_and_shortened_by_a_second() {
        let seconds = |n| Ok(Some(Duration::from_secs(n)));
        for value in [
            "timeout=5",
            "timeout=5, max=100",
            "max=100, timeout=5",
            "max=9,Timeout = 5",
            "timeout=\"5\"",
        ] {
            assert_eq!(hint(value), seconds(4), "{value}");
        }
        assert_eq!(hint("timeout=5, timeout=3"), seconds(2));
        assert_eq!(hint("timeout=99999"), seconds(600));
    }

    #[test]
    fn a_hint_without_time_or_without_requests_closes_at_once() {
        for value in ["timeout=1", "timeout=0", "max=0, timeout=60"] {
            assert_eq!(hint(value), Err(CloseReason::Hint), "{value}");
        }
    }

    #[test]
    fn a_hint_that_is_not_a_number_is_ignored() {
        for value in [
            "timeout=x",
            "timeout",
            "=5",
            "timeout=-1",
            "timeout=",
            "timeout=99999999999999999999999",
        ] {
            assert_eq!(hint(value), Ok(None), "{value}");
        }
    }

    #[test]
    fn a_max_counts_down_even_if_the_origin_sends_it_once() {
        assert_eq!(
            keep_with("Keep-Alive: max=2\r\n", Framed::None, None),
            (Ok(None), Some(2))
        );
        assert_eq!(keep_with("", Framed::None, Some(1)), (Ok(None), Some(1)));
        assert_eq!(
            keep_with("", Framed::None, Some(0)),
            (Err(CloseReason::Hint), Some(0))
        );
        assert_eq!(
            keep_with("Keep-Alive: max=7\r\n", Framed::None, Some(0)),
            (Ok(None), Some(7))
        );
    }

    #[test]
    fn a_close_or_a_body_until_close_is_the_last_response() {
        assert_eq!(
            keep_with("Connection: close\r\n", Framed::None, None).0,
            Err(CloseReason::LastResponse)
        );
        assert_eq!(
            keep_with("", Framed::UntilClose, None).0,
            Err(CloseReason::LastResponse)
        );
    }
}
