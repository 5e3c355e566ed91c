//! Request head: writes the head of a request.
//!
//! In:    a checked request, and the form that its connection needs.
//! Out:   the head, appended to a queue.
//! Never: repeats a field that may occur once; sends the caller's hop-by-hop fields that have no
//!        meaning here; lets a byte end a line early: `byway_h1::write` checks each.

use super::checked_request::CheckedRequest;
use super::error::Error;
use super::pooled_conn::Exchange;
use byway_h1::write;
use byway_head::{Framed, HeadOut};
use byway_http::h2::KeptHead;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderName, HeaderValue, Method};
use std::io::Write;

/// Queues the head on the connection; on an error nothing is queued.
pub(super) fn queue(
    checked: &CheckedRequest,
    exchange: &mut Exchange,
    keep_alive: bool,
) -> Result<(), Error> {
    let conn = &mut *exchange.lease;
    let absolute = conn.absolute_form && !checked.is_tls();
    let own = std::mem::take(&mut conn.fields);
    let written = exchange.write_head(checked.outgoing, |head| {
        write(checked, head.0, absolute, &own, keep_alive)
    });
    exchange.lease.fields = own;
    written.map_err(|error| Error::invalid(format!("{error}")))
}

type Own = [(HeaderName, HeaderValue)];

fn write(
    checked: &CheckedRequest,
    out: &mut Vec<u8>,
    absolute: bool,
    own: &Own,
    keep_alive: bool,
) -> Result<(), byway_head::Malformed> {
    let parts = &checked.parts;
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    match (&parts.method, absolute) {
        (&Method::CONNECT, _) => {
            write::request_line(out, b"CONNECT", connect_target(checked).as_bytes())?
        }
        (method, true) => {
            let path = if path == "*" { "" } else { path };
            let url = format!("http://{}{path}", checked.host());
            write::request_line(out, method.as_str().as_bytes(), url.as_bytes())?;
        }
        (method, false) => write::request_line(out, method.as_str().as_bytes(), path.as_bytes())?,
    }
    if !parts.headers.contains_key(HOST) {
        write::field(out, b"Host", checked.host().as_bytes())?;
    }
    for (name, value) in &parts.headers {
        let replaced = own.iter().any(|(mine, _)| mine == name);
        if !replaced && !is_ours(name) {
            write::field(out, name.as_str().as_bytes(), value.as_bytes())?;
        }
    }
    for (name, value) in own {
        write::field(out, name.as_str().as_bytes(), value.as_bytes())?;
    }
    connection(checked, out, keep_alive)?;
    match checked.outgoing {
        Framed::None | Framed::UntilClose => {}
        Framed::Length(length) => {
            let mut digits = [0; 20];
            let len = decimal(&mut digits, length);
            write::field(out, b"content-length", &digits[..len])?;
        }
        Framed::Chunked => write::field(out, b"transfer-encoding", b"chunked")?,
    }
    write::end_of_head(out);
    Ok(())
}

/// Writes the head of a request of HTTP/2 (RFC 9113 section 8.3.1): Host becomes `:authority`, and
/// fields of a connection are left out (section 8.2.2).
pub(super) fn write_h2(
    checked: &CheckedRequest,
    head: &mut KeptHead,
) -> Result<(), byway_head::Malformed> {
    let parts = &checked.parts;
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let authority = parts.headers.get(HOST);
    let authority = authority.map_or_else(|| checked.host().as_bytes(), HeaderValue::as_bytes);
    head.request(parts.method.as_str().as_bytes(), path.as_bytes(), authority)?;
    let of_connection: Vec<_> = parts.headers.get_all(CONNECTION).iter().collect();
    for (name, value) in &parts.headers {
        let is_trailers = value.as_bytes().eq_ignore_ascii_case(b"trailers");
        let is_left_out = is_ours(name)
            || *name == HOST
            || *name == UPGRADE
            || *name == TE && !is_trailers
            || *name != TE && lists(&of_connection, name);
        if !is_left_out {
            head.field(name.as_str().as_bytes(), value.as_bytes())?;
        }
    }
    head.framing(checked.outgoing);
    head.end();
    Ok(())
}

/// Whether a Connection field names this one.
fn lists(connection: &[&HeaderValue], name: &HeaderName) -> bool {
    let mut options = connection
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    options.any(|option| {
        option
            .trim_ascii()
            .eq_ignore_ascii_case(name.as_str().as_bytes())
    })
}

/// Host and port; CONNECT always has both.
fn connect_target(checked: &CheckedRequest) -> String {
    match checked.authority().port_u16() {
        Some(_) => checked.authority().to_string(),
        None => format!(
            "{}:{}",
            checked.authority().host(),
            if checked.is_tls() { 443 } else { 80 }
        ),
    }
}

/// One Connection field: the caller's options, and `close` if the connection will not be kept.
fn connection(
    checked: &CheckedRequest,
    out: &mut Vec<u8>,
    keep_alive: bool,
) -> Result<(), byway_head::Malformed> {
    let mut listed = Vec::new();
    for value in checked.parts.headers.get_all(CONNECTION) {
        for option in value
            .as_bytes()
            .split(|byte| *byte == b',')
            .map(<[u8]>::trim_ascii)
        {
            if option.is_empty()
                || option.eq_ignore_ascii_case(b"keep-alive")
                || option.eq_ignore_ascii_case(b"close")
            {
                continue;
            }
            append_option(&mut listed, option);
        }
    }
    if checked.closes || !keep_alive {
        append_option(&mut listed, b"close");
    }
    match listed.is_empty() {
        true => Ok(()),
        false => write::field(out, b"connection", &listed),
    }
}

fn append_option(listed: &mut Vec<u8>, option: &[u8]) {
    if !listed.is_empty() {
        listed.extend_from_slice(b", ");
    }
    listed.extend_from_slice(option);
}

/// Fields that the agent writes itself, and legacy proxy fields that mean nothing to an origin.
fn is_ours(name: &HeaderName) -> bool {
    [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING].contains(name)
        || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

fn decimal(digits: &mut [u8; 20], number: u64) -> usize {
    let mut room = &mut digits[..];
    let before = room.len();
    // 20 bytes hold every 64-bit number.
    let _ = write!(room, "{number}");
    before - room.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn head(
        build: impl FnOnce(http::request::Builder) -> http::request::Builder,
        exact: Option<u64>,
        keep_alive: bool,
    ) -> String {
        let (parts, ()) = build(Request::builder().uri("http://a.example/x?y"))
            .body(())
            .unwrap()
            .into_parts();
        let checked = CheckedRequest::new(parts, exact, None).unwrap();
        let mut out = Vec::new();
        write(&checked, &mut out, false, &[], keep_alive).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_get_has_only_the_required_fields() {
        assert_eq!(
            head(|r| r, Some(0), true),
            "GET /x?y HTTP/1.1\r\nHost: a.example\r\n\r\n"
        );
    }

    #[test]
    fn the_callers_fields_are_sent_and_the_framing_is_rewritten() {
        let head = head(
            |r| {
                r.method("POST")
                    .header("x-a", "1")
                    .header("content-length", "0005")
            },
            Some(5),
            true,
        );
        assert_eq!(
            head,
            "POST /x?y HTTP/1.1\r\nHost: a.example\r\nx-a: 1\r\ncontent-length: 5\r\n\r\n"
        );
    }

    #[test]
    fn connection_options_are_written_once_and_close_is_added() {
        let text = head(
            |r| {
                r.header("connection", "Upgrade, keep-alive")
                    .header("upgrade", "x")
            },
            Some(0),
            false,
        );
        assert!(
            text.contains("\r\nconnection: Upgrade, close\r\n"),
            "{text}"
        );
        assert_eq!(text.matches("onnection").count(), 1, "{text}");
    }

    #[test]
    fn connect_has_host_and_port() {
        let text = head(|r| r.method("CONNECT").uri("b.example:443"), Some(0), true);
        assert!(
            text.starts_with("CONNECT b.example:443 HTTP/1.1\r\nHost: b.example:443\r\n"),
            "{text}"
        );
    }

    #[test]
    fn a_path_with_forbidden_bytes_is_refused() {
        let (parts, ()) = Request::builder()
            .uri("http://a.example/\u{e4}")
            .body(())
            .unwrap()
            .into_parts();
        let checked = CheckedRequest::new(parts, Some(0), None).unwrap();
        assert!(write(&checked, &mut Vec::new(), false, &[], true).is_err());
    }

    #[test]
    fn numbers_are_written_in_full() {
        let mut digits = [0; 20];
        let len = decimal(&mut digits, u64::MAX);
        assert_eq!(&digits[..len], b"18446744073709551615");
    }
}
