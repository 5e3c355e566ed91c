//! Answer: the bytes of Byway's own responses.
//!
//! In:    a fault, or a short text.
//! Out:   a complete response in the send queue of a connection: status, reason, request id,
//!        Proxy-Status (RFC 9209).
//! Never: reveals addresses behind an edge to its clients; the log has them under the request id.

use byway_h1::write;
use byway_head::reason_phrase;

use super::head::PSEUDONYM;
use super::{date, max_forwards};
use crate::fault::{Fault, Reason};

/// How a response is generated.
pub struct ResponseOptions<'a> {
    /// The id that the log lists the request under.
    pub request_id: &'a str,
    /// Whether the client may read the full reason (egress), or only its word (edge).
    pub in_detail: bool,
    /// Whether the connection closes after the response.
    pub close: bool,
    /// HEAD: the head of the response, without its body.
    pub head_only: bool,
}

/// Queues the response to `fault`. Returns the length of its body.
pub fn fault(out: &mut Vec<u8>, fault: &Fault, options: &ResponseOptions<'_>) -> u64 {
    let status = fault.status();
    let phrase = reason_phrase(status);
    let mut body = format!(
        "{status} {phrase}\nreason: {}\nrequest: {}\n",
        fault.reason.word(),
        options.request_id
    );
    if options.in_detail {
        body.push_str(&fault.for_peer().to_string());
        body.push('\n');
    }
    // Status, phrase and names are constants, and the values are printable by construction. A value
    // that is not is left out.
    let _ = write::status_line(out, status, phrase.as_bytes());
    let _ = write::field(out, b"Date", &date::now());
    let mut field = |name: &str, value: &str| {
        let _ = write::field(out, name.as_bytes(), value.as_bytes());
    };
    field("Content-Type", "text/plain; charset=utf-8");
    field("Content-Length", &body.len().to_string());
    field("Cache-Control", "no-store");
    field("X-Request-Id", options.request_id);
    field("Proxy-Status", &proxy_status(fault, options.in_detail));
    if let Some(seconds) = fault.retry_after_seconds() {
        field("Retry-After", &seconds.to_string());
    }
    match fault.reason {
        Reason::Unauthorized => field(
            "Proxy-Authenticate",
            "Basic realm=\"byway\", charset=\"UTF-8\"",
        ),
        Reason::MethodNotAllowed => field("Allow", max_forwards::ALLOW),
        _ => {}
    }
    if options.close {
        field("Connection", "close");
    }
    write::end_of_head(out);
    if options.head_only {
        return 0;
    }
    out.extend_from_slice(body.as_bytes());
    body.len() as u64
}

fn proxy_status(fault: &Fault, in_detail: bool) -> String {
    let error = fault.answer().proxy_status;
    match in_detail {
        true => format!(
            "{PSEUDONYM}; error={error}; details=\"{}\"",
            quoted(&fault.for_peer().to_string())
        ),
        false => format!(
            "{PSEUDONYM}; error={error}; details=\"{}\"",
            fault.reason.word()
        ),
    }
}

/// Escapes for a structured-fields string (RFC 8941 section 3.3.3). Characters that it cannot hold
/// become `?`.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            ' '..='~' => quoted.push(character),
            _ => quoted.push('?'),
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Who;

    fn answer(in_detail: bool, head_only: bool) -> String {
        let fault = Fault::new(
            Who::Upstream,
            Reason::Refused,
            "10.0.0.5:80 refused the \"connection\"",
        );
        let mut out = Vec::new();
        super::fault(
            &mut out,
            &fault,
            &ResponseOptions {
                request_id: "r1",
                in_detail,
                close: true,
                head_only,
            },
        );
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_client_of_an_edge_gets_the_reason_and_not_the_address() {
        let text = answer(false, false);
        assert!(text.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{text}");
        assert!(
            text.contains("Proxy-Status: byway; error=connection_refused; details=\"refused\"\r\n"),
            "{text}"
        );
        assert!(
            text.contains("reason: refused\nrequest: r1\n") && !text.contains("10.0.0.5"),
            "{text}"
        );
    }

    #[test]
    fn a_client_of_an_egress_gets_the_full_reason() {
        let text = answer(true, false);
        assert!(
            text.contains(r#"details="10.0.0.5:80 refused the \"connection\"""#),
            "{text}"
        );
    }

    #[test]
    fn the_answer_to_head_has_the_length_but_no_body() {
        let text = answer(false, true);
        assert!(
            text.contains("Content-Length: ") && text.ends_with("\r\n\r\n"),
            "{text}"
        );
    }
}
