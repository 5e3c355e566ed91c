//! Keep alive: whether an upstream connection may be reused, and how long it may be idle.
//!
//! In:    the head of its last response, and how that response is framed.
//! Out:   no; or yes, within the limit that the upstream has requested.
//! Never: follows a hint for longer than Byway's own limit.

use std::time::Duration;

use byway_head::{Framed, Response};

/// `None`: close it. `Some(idle)`: keep it, for as long as the upstream's hint allows, less one
/// second for the transit of the next request.
pub fn keep_upstream(response: &Response<'_>, framed: Framed) -> Option<Option<Duration>> {
    let hint = response.keep_alive_hint();
    let must_close = !response.keep_alive()
        || framed == Framed::UntilClose
        || response.announces_impossible_body();
    let kept = !must_close && hint.max != Some(0);
    let idle = |seconds: u64| Duration::from_secs(seconds.saturating_sub(1)).min(LONGEST_HINT);
    kept.then(|| hint.timeout_seconds.map(idle))
}

/// No hint keeps a connection longer than this.
const LONGEST_HINT: Duration = Duration::from_secs(600);

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
        keep_upstream(&index.view(text.as_bytes()), framed)
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
