//! Answer: Byway's own responses.
//!
//! In:    what is answered: a fault, the end of a request at this hop, a redirect to HTTPS,
//!        or a challenge of an ACME authority.
//! Out:   a complete response, queued downstream in any version: status, reason, request id,
//!        Proxy-Status (RFC 9209).
//! Never: reveals addresses behind an edge to its clients; the log has them under the request id.

use byway_head::{Framed, HeadOut, Malformed, reason_phrase};

use super::downstream::Downstream;
use super::head::{PSEUDONYM, write_hsts};
use super::{date, grpc, max_forwards};
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
    /// For how long browsers have to use HTTPS; 0 where that is not said.
    pub hsts_seconds: u32,
    /// Whether the request is one of gRPC, whose client reads the status of its call from trailers.
    pub is_grpc: bool,
}

/// What is answered.
pub enum Answer<'a> {
    /// A request that was not served.
    Fault(&'a Fault),
    /// An OPTIONS that ends here (Max-Forwards).
    LastHop,
    /// A request that has to be made over HTTPS, at this URL.
    Redirect(&'a str),
    /// What a challenge of an ACME authority is answered with.
    Challenge(&'a str),
}

impl Answer<'_> {
    /// The status of the response.
    pub fn status(&self) -> u16 {
        match self {
            Self::Fault(fault) => fault.status(),
            Self::LastHop | Self::Challenge(_) => 200,
            Self::Redirect(_) => 308,
        }
    }

    fn body(&self, options: &ResponseOptions<'_>) -> String {
        match self {
            Self::Fault(fault) => fault_text(fault, options),
            Self::LastHop | Self::Redirect(_) => String::new(),
            Self::Challenge(text) => (*text).to_owned(),
        }
    }
}

/// Queues a response. Returns the length of its body.
pub fn queue(
    downstream: &mut Downstream<'_>,
    answer: &Answer<'_>,
    options: &ResponseOptions<'_>,
) -> u64 {
    if let (Answer::Fault(fault), true) = (answer, options.is_grpc) {
        return grpc::queue(downstream, fault, options);
    }
    let body = answer.body(options);
    let framed = Framed::Length(body.len() as u64);
    // Names are constants, and the values are printable by construction.
    let written = downstream.write_head(framed, |out| match answer {
        Answer::Fault(fault) => write_fault(out, fault, framed, options),
        Answer::LastHop => write_last_hop(out, framed, options),
        Answer::Redirect(location) => write_redirect(out, location, framed, options),
        Answer::Challenge(_) => write_challenge(out, framed, options),
    });
    debug_assert!(written.is_ok(), "{written:?}");
    let body = if options.head_only { "" } else { &body };
    downstream.queue_body(body.as_bytes());
    body.len() as u64
}

/// Queues the response to a CONNECT whose target is open.
pub fn queue_connected(downstream: &mut Downstream<'_>) {
    let _ = downstream.write_head(Framed::None, |out| {
        out.response(200, b"Connection established")?;
        out.end();
        Ok(())
    });
}

fn write_last_hop(
    out: &mut impl HeadOut,
    framed: Framed,
    options: &ResponseOptions<'_>,
) -> Result<(), Malformed> {
    out.response(200, b"OK")?;
    out.field(b"Allow", max_forwards::ALLOW.as_bytes())?;
    out.field(b"Date", &date::now())?;
    write_hsts(out, options.hsts_seconds)?;
    out.framing(framed);
    if options.close {
        out.connection("close");
    }
    out.end();
    Ok(())
}

/// 308 keeps the method and the body (RFC 9110 section 15.4.9).
fn write_redirect(
    out: &mut impl HeadOut,
    location: &str,
    framed: Framed,
    options: &ResponseOptions<'_>,
) -> Result<(), Malformed> {
    out.response(308, b"Permanent Redirect")?;
    out.field(b"Location", location.as_bytes())?;
    out.field(b"Date", &date::now())?;
    out.framing(framed);
    if options.close {
        out.connection("close");
    }
    out.end();
    Ok(())
}

/// RFC 8555 section 8.3.
fn write_challenge(
    out: &mut impl HeadOut,
    framed: Framed,
    options: &ResponseOptions<'_>,
) -> Result<(), Malformed> {
    out.response(200, b"OK")?;
    out.field(b"Content-Type", b"application/octet-stream")?;
    out.field(b"Date", &date::now())?;
    out.framing(framed);
    if options.close {
        out.connection("close");
    }
    out.end();
    Ok(())
}

fn fault_text(fault: &Fault, options: &ResponseOptions<'_>) -> String {
    let status = fault.status();
    let mut text = format!(
        "{status} {}\nreason: {}\nrequest: {}\n",
        reason_phrase(status),
        fault.reason.word(),
        options.request_id
    );
    if options.in_detail {
        text.push_str(&fault.for_peer().to_string());
        text.push('\n');
    }
    text
}

fn write_fault(
    out: &mut impl HeadOut,
    fault: &Fault,
    framed: Framed,
    options: &ResponseOptions<'_>,
) -> Result<(), Malformed> {
    let status = fault.status();
    out.response(status, reason_phrase(status).as_bytes())?;
    out.field(b"Date", &date::now())?;
    out.field(b"Content-Type", b"text/plain; charset=utf-8")?;
    write_hsts(out, options.hsts_seconds)?;
    out.framing(framed);
    let mut field = |name: &str, value: &str| {
        // A value that is not printable is left out.
        let _ = out.field(name.as_bytes(), value.as_bytes());
    };
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
        out.connection("close");
    }
    out.end();
    Ok(())
}

pub(super) fn proxy_status(fault: &Fault, in_detail: bool) -> String {
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
    use byway_head::Limits;

    use super::*;
    use crate::fault::Who;
    use byway_http::h1::Conn;

    fn answer(in_detail: bool, head_only: bool) -> String {
        let fault = Fault::new(
            Who::Upstream,
            Reason::Refused,
            "10.0.0.5:80 refused the \"connection\"",
        );
        let options = ResponseOptions {
            request_id: "r1",
            in_detail,
            close: true,
            head_only,
            hsts_seconds: 0,
            is_grpc: false,
        };
        let mut conn = Conn::new(byway_testkit::pipe::pair().0.into_stream());
        let mut downstream = Downstream::h1(&mut conn, Framed::None, &Limits::default());
        queue(&mut downstream, &Answer::Fault(&fault), &options);
        String::from_utf8(conn.queue().clone()).unwrap()
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
