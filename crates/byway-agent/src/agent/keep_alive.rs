//! Keep-alive: whether a connection may carry another request, and for how long it is believed to
//! live.
//!
//! In:    a response's head, the caller's wish, the agent's policy.
//! Out:   keep it so long, or close it and why.
//! Never: keeps a connection past what the origin has announced.

use super::event::CloseReason;
use byway_h1::{Framed, Response};
use std::time::Duration;

/// What the agent makes of an origin's `Keep-Alive: timeout=N, max=M`, in any order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// The connection is kept idle for `timeout` less a margin, and for at most `max` more
    /// requests; a `timeout` that is no longer than the margin closes it at once. The default, with
    /// a margin of 1 s and at most 600 s.
    Honour {
        /// The time that a request of ours may be on its way when the origin closes. Default 1 s;
        /// may be 0.
        margin: Duration,
        /// No hint keeps a connection longer than this. Default 600 s; must be above 0.
        longest: Duration,
    },
    /// Hints are not read: every connection is kept for `idle_timeout`.
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

/// Keep it (for so long, if the origin said how long), or close it.
pub(crate) type Keep = Result<Option<Duration>, CloseReason>;

/// Decides about the connection that `response` came on. `requests_left` is what the origin said
/// before, and is set to what it says now.
pub(crate) fn keep(
    response: &Response<'_>,
    framed: Framed,
    hint: Hint,
    requests_left: &mut Option<u64>,
) -> Keep {
    if !response.keep_alive()
        || framed == Framed::UntilClose
        || response.announces_impossible_body()
    {
        return Err(CloseReason::LastResponse);
    }
    let Hint::Honour { margin, longest } = hint else {
        return Ok(None);
    };
    let said = response.keep_alive_hint();
    *requests_left = said.max.or(*requests_left);
    if *requests_left == Some(0) {
        return Err(CloseReason::Hint);
    }
    match said
        .timeout_seconds
        .map(|seconds| Duration::from_secs(seconds).saturating_sub(margin))
    {
        Some(Duration::ZERO) => Err(CloseReason::Hint),
        idle => Ok(idle.map(|idle| idle.min(longest))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use byway_h1::{Limits, ResponseHead};

    fn judged(fields: &str, framed: Framed, left: Option<u64>) -> (Keep, Option<u64>) {
        let text = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
        let mut head = ResponseHead::default();
        head.parse(text.as_bytes(), &Limits::default()).unwrap();
        let mut left = left;
        let keep = keep(
            &head.view(text.as_bytes()),
            framed,
            Hint::default(),
            &mut left,
        );
        (keep, left)
    }

    fn hint(value: &str) -> Keep {
        judged(&format!("Keep-Alive: {value}\r\n"), Framed::None, None).0
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
    fn what_is_no_number_says_nothing() {
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
    fn a_max_counts_down_even_if_the_origin_says_it_once() {
        assert_eq!(
            judged("Keep-Alive: max=2\r\n", Framed::None, None),
            (Ok(None), Some(2))
        );
        assert_eq!(judged("", Framed::None, Some(1)), (Ok(None), Some(1)));
        assert_eq!(
            judged("", Framed::None, Some(0)),
            (Err(CloseReason::Hint), Some(0))
        );
        assert_eq!(
            judged("Keep-Alive: max=7\r\n", Framed::None, Some(0)),
            (Ok(None), Some(7))
        );
    }

    #[test]
    fn a_close_or_a_body_until_close_is_the_last_response() {
        assert_eq!(
            judged("Connection: close\r\n", Framed::None, None).0,
            Err(CloseReason::LastResponse)
        );
        assert_eq!(
            judged("", Framed::UntilClose, None).0,
            Err(CloseReason::LastResponse)
        );
    }
}
