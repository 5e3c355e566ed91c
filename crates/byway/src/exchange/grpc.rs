//! gRPC: what a call is answered with if Byway cannot pass it on.
//!
//! In:    a fault.
//! Out:   a response of trailers alone, with the status of the call.
//! Never: answers a request that is not one of gRPC.

use byway_head::{Framed, HeadOut, Request};

use super::answer::{ResponseOptions, proxy_status};
use super::date;
use super::downstream::Downstream;
use crate::fault::Fault;

/// Whether a request is a call of gRPC: `application/grpc`, with a format or without. Those of
/// gRPC-Web are not, as their clients read the status from a body.
pub fn is_call(request: &Request<'_>) -> bool {
    const TYPE: &[u8] = b"application/grpc";
    let Some((start, rest)) = request
        .field("Content-Type")
        .and_then(|value| value.split_at_checked(TYPE.len()))
    else {
        return false;
    };
    start.eq_ignore_ascii_case(TYPE) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

/// The status of a call (<https://grpc.github.io/grpc/core/md_doc_statuscodes.html>) for the status
/// of a response, as the libraries of gRPC read it, and for the deadlines and limits of Byway.
pub(super) fn status_of(status: u16) -> u8 {
    const UNKNOWN: u8 = 2;
    const DEADLINE_EXCEEDED: u8 = 4;
    const PERMISSION_DENIED: u8 = 7;
    const RESOURCE_EXHAUSTED: u8 = 8;
    const UNIMPLEMENTED: u8 = 12;
    const INTERNAL: u8 = 13;
    const UNAVAILABLE: u8 = 14;
    const UNAUTHENTICATED: u8 = 16;
    match status {
        400 => INTERNAL,
        401 | 407 => UNAUTHENTICATED,
        403 => PERMISSION_DENIED,
        404 | 405 => UNIMPLEMENTED,
        408 | 504 => DEADLINE_EXCEEDED,
        413 | 431 => RESOURCE_EXHAUSTED,
        429 | 502 | 503 => UNAVAILABLE,
        _ => UNKNOWN,
    }
}

/// Queues a response of trailers alone. Returns the length of its body, which is 0.
pub(super) fn queue(
    downstream: &mut Downstream<'_>,
    fault: &Fault,
    options: &ResponseOptions<'_>,
) -> u64 {
    let detail = match options.in_detail {
        true => fault.for_peer().to_string(),
        false => fault.reason.word().to_owned(),
    };
    // Names are constants, and the values are printable by construction.
    let written = downstream.write_head(Framed::Length(0), |out| {
        out.response(200, b"OK")?;
        out.field(b"Date", &date::now())?;
        out.field(b"Content-Type", b"application/grpc")?;
        let status = status_of(fault.status()).to_string();
        out.field(b"Grpc-Status", status.as_bytes())?;
        out.field(b"Grpc-Message", percent_encoded(&detail).as_bytes())?;
        out.field(b"X-Request-Id", options.request_id.as_bytes())?;
        let proxy_status = proxy_status(fault, options.in_detail);
        out.field(b"Proxy-Status", proxy_status.as_bytes())?;
        out.framing(Framed::Length(0));
        if options.close {
            out.connection("close");
        }
        out.end();
        Ok(())
    });
    debug_assert!(written.is_ok(), "{written:?}");
    downstream.queue_body(&[]);
    0
}

/// A message as gRPC writes it: printable ASCII without `%`, and everything else as `%` and two
/// digits.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use byway_h1::RequestParser;
    use byway_head::Limits;

    use super::*;
    use crate::fault::Reason;

    #[test]
    fn a_call_is_known_by_its_content_type() {
        for (content_type, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("Application/GRPC; charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/grpc-web-text+proto", false),
            ("application/grp", false),
            ("text/plain", false),
        ] {
            let text =
                format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Type: {content_type}\r\n\r\n");
            let mut index = RequestParser::default();
            index.parse(text.as_bytes(), &Limits::default()).unwrap();
            let is_call = is_call(&index.view(text.as_bytes()));
            assert_eq!(is_call, expected, "{content_type}");
        }
    }

    #[test]
    fn every_status_of_a_fault_has_a_status_of_a_call() {
        for reason in Reason::ALL {
            for (_, answer) in reason.answers() {
                assert_ne!(status_of(answer.status), 0, "{}", reason.word());
            }
        }
        assert_eq!(
            [502, 503, 504, 404].map(status_of),
            [14, 14, 4, 12],
            "as clients expect"
        );
    }

    #[test]
    fn a_message_is_printable() {
        assert_eq!(percent_encoded("a b%\n\u{e9}"), "a b%25%0A%C3%A9");
    }
}
