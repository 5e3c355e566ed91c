//! Keep alive: whether a connection may carry another request after a response, and for how long it
//! may be idle until then.

use std::time::Duration;

use byway_head::{Framed, Response};

/// How a server's `Keep-Alive: timeout=N, max=M` is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HintLimits {
    /// Subtracted from its timeout: the time that a request may be in transit when the server
    /// closes. 1 s by default.
    pub margin: Duration,
    /// The longest idle time from a hint. 600 s by default.
    pub longest: Duration,
}

impl Default for HintLimits {
    fn default() -> Self {
        Self {
            margin: Duration::from_secs(1),
            longest: Duration::from_secs(600),
        }
    }
}

/// Why a connection cannot carry another request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotKept {
    /// The response was the last one: it has `Connection: close`, it ended with the connection, or
    /// the next bytes may not begin a message.
    LastResponse,
    /// The server takes no more requests, by its hint.
    Hint,
    /// Bytes of either message are left over.
    ExtraBytes,
}

/// Decides about the connection of `response`: it may be idle for as long as the server's hint
/// allows, if there is one. `requests_left` is the number that the server announced before, and is
/// updated from this response. Without `hints` they are ignored.
pub fn keep_alive(
    response: &Response<'_>,
    framed: Framed,
    hints: Option<HintLimits>,
    requests_left: &mut Option<u64>,
) -> Result<Option<Duration>, NotKept> {
    let is_last = !response.keep_alive()
        || framed == Framed::UntilClose
        || response.announces_impossible_body();
    if is_last {
        return Err(NotKept::LastResponse);
    }
    let Some(HintLimits { margin, longest }) = hints else {
        return Ok(None);
    };
    let hint = response.keep_alive_hint();
    *requests_left = hint.max.or(*requests_left);
    if *requests_left == Some(0) {
        return Err(NotKept::Hint);
    }
    let idle = |seconds| Duration::from_secs(seconds).saturating_sub(margin);
    Ok(hint
        .timeout_seconds
        .map(|seconds| idle(seconds).min(longest)))
}

#[cfg(test)]
mod tests {
    use byway_h1::{Parsed, ResponseParser};
    use byway_head::Limits;

    use super::*;

    fn kept(fields: &str, framed: Framed) -> Option<Option<Duration>> {
        let text = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\n");
        let mut index = ResponseParser::default();
        assert!(matches!(
            index.parse(text.as_bytes(), &Limits::default()).unwrap(),
            Parsed::Complete(_)
        ));
        let response = index.view(text.as_bytes());
        keep_alive(&response, framed, Some(HintLimits::default()), &mut None).ok()
    }

    #[test]
    fn a_hint_is_used_less_a_second_in_any_order_and_up_to_a_limit() {
        for (fields, seconds) in [
            ("", None),
            ("Keep-Alive: timeout=5\r\n", Some(4)),
            ("Keep-Alive: max=9, Timeout = 5\r\n", Some(4)),
            ("Keep-Alive: timeout=1\r\n", Some(0)),
            ("Keep-Alive: timeout=0\r\n", Some(0)),
            ("Keep-Alive: timeout=99999999\r\n", Some(600)),
            ("Keep-Alive: timeout=soon\r\n", None),
            ("Keep-Alive: timeout=-1\r\n", None),
        ] {
            assert_eq!(
                kept(fields, Framed::Length(2)),
                Some(seconds.map(Duration::from_secs)),
                "{fields}"
            );
        }
    }

    #[test]
    fn a_connection_that_closes_after_its_response_is_not_kept() {
        assert_eq!(
            kept(
                "Connection: close\r\nKeep-Alive: timeout=5\r\n",
                Framed::Length(2)
            ),
            None
        );
        assert_eq!(kept("", Framed::UntilClose), None);
        assert_eq!(
            kept("Keep-Alive: timeout=5, max=0\r\n", Framed::Length(2)),
            None
        );
    }
}
