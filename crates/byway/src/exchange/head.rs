//! Head: which fields of a request and of a response are passed on, and which Byway adds.
//!
//! In:    a parsed head, and what is known of the peer.
//! Out:   the head to send, written from the parsed structure only, in any version.
//! Never: passes on a hop-by-hop field, trusts an untrusted forwarding field, or lets a client
//!        remove the added ones: what the client lists in Connection is dropped *before* they are
//!        added (CVE-2024-45410).

use std::fmt::Write as _;
use std::net::IpAddr;

use byway_head::{
    Framed, HeadOut, Malformed, Request, Response, Version, is_alias, is_forwarding, is_hop_by_hop,
};
use byway_http::filter::BodyFilter;

use super::connection_options::ConnectionOptions;
use super::{date, max_forwards, websocket};

/// The name of this proxy in Via and Proxy-Status.
pub const PSEUDONYM: &str = "byway";

const HSTS: &str = "Strict-Transport-Security";
const ALT_SVC: &str = "Alt-Svc";

/// An address as text, written once per connection.
#[derive(Clone, Copy)]
pub struct IpText {
    text: [u8; Self::MOST_BYTES],
    len: u8,
}

impl IpText {
    /// The longest: IPv6 with an IPv4 tail.
    const MOST_BYTES: usize = 45;

    /// The canonical form of `ip`: an IPv4-mapped IPv6 address is written as IPv4.
    pub fn of(ip: IpAddr) -> Self {
        let mut text = Self {
            text: [0; Self::MOST_BYTES],
            len: 0,
        };
        // The longest address fits.
        let _ = write!(text, "{}", ip.to_canonical());
        text
    }

    /// The text, of ASCII only.
    pub fn as_bytes(&self) -> &[u8] {
        self.text.get(..usize::from(self.len)).unwrap_or_default()
    }
}

impl std::fmt::Write for IpText {
    fn write_str(&mut self, part: &str) -> std::fmt::Result {
        let end = usize::from(self.len) + part.len();
        let room = self
            .text
            .get_mut(usize::from(self.len)..end)
            .ok_or(std::fmt::Error)?;
        room.copy_from_slice(part.as_bytes());
        self.len = end as u8;
        Ok(())
    }
}

/// What an edge sends its upstream about the client.
#[derive(Clone, Copy)]
pub struct Forwarded<'a> {
    /// The address that connected; `None` on a Unix socket.
    pub peer: Option<&'a [u8]>,
    /// The certificate that it has presented, as the value of Client-Cert (RFC 9440).
    pub client_cert: Option<&'a [u8]>,
    /// The id of this request.
    pub request_id: &'a str,
    /// Whether the peer's own forwarding fields are trusted.
    pub trusted: bool,
    /// Whether it speaks TLS.
    pub is_tls: bool,
    /// What the response says in Strict-Transport-Security; 0 for nothing.
    pub hsts_seconds: u32,
    /// What the response says in Alt-Svc, if this edge speaks HTTP/3.
    pub alt_svc: Option<&'a str>,
}

/// How a request is passed on.
pub struct RequestRules<'a> {
    /// The target to write: origin-form, or the path of an absolute one.
    pub target: &'a [u8],
    /// The Host to write.
    pub host: &'a [u8],
    /// Set at an edge; absent at an egress, which reveals nothing about its users.
    pub forwarded: Option<Forwarded<'a>>,
    /// The protocol to upgrade to, if the request names one that is allowed.
    pub upgrade: Option<&'a [u8]>,
    /// Whether `TE: trailers` of the client is passed to the upstream.
    pub te_trailers: bool,
    /// The key of a WebSocket whose client sends none.
    pub websocket_key: Option<&'a str>,
}

/// Writes the request head for the upstream.
///
/// # Errors
/// When a field cannot be written as it is; the head may then not be sent.
pub fn forward_request(
    out: &mut impl HeadOut,
    request: &Request<'_>,
    rules: &RequestRules<'_>,
) -> Result<(), Malformed> {
    out.request(request.method(), rules.target, rules.host)?;
    let at_edge = rules.forwarded.is_some();
    let trusted = rules
        .forwarded
        .as_ref()
        .is_some_and(|forwarded| forwarded.trusted);
    let listed = ConnectionOptions::in_request(request);
    for line in request.lines() {
        let field = line.field();
        let ours = at_edge
            && (is_forwarding(field.name) && !trusted
                || is_extended(field.name)
                || is_alias(field.name));
        let dropped = is_hop_by_hop(field.name)
            || is_framing(field.name)
            || field.name.eq_ignore_ascii_case(b"Host")
            || (rules.websocket_key.is_some() && websocket::is_of_handshake(field.name))
            || listed
                .as_ref()
                .is_some_and(|listed| listed.drops(field.name));
        if ours || dropped {
            continue;
        }
        match max_forwards::counted_down(request.method(), field.name, field.value) {
            Some(left) => out.field(field.name, left.to_string().as_bytes())?,
            None => out.line(line)?,
        }
    }
    if rules.te_trailers && accepts_trailers(request) {
        out.field(b"TE", b"trailers")?;
    }
    if let Some(forwarded) = &rules.forwarded {
        forwarding_fields(out, request, forwarded)?;
    }
    write_via(out, request.version())?;
    out.framing(request.framing());
    if let Some(key) = rules.websocket_key {
        out.field(b"Sec-WebSocket-Key", key.as_bytes())?;
    }
    if let Some(protocol) = rules.upgrade {
        out.upgrade(protocol)?;
    }
    out.end();
    Ok(())
}

/// Whether `trailers` is among the elements of TE (RFC 9110 section 10.1.4).
fn accepts_trailers(request: &Request<'_>) -> bool {
    request
        .fields_named("TE")
        .flat_map(|value| value.split(|byte| *byte == b','))
        .any(|element| element.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// X-Forwarded-For, -Proto, -Host, X-Real-IP and X-Request-Id. The chain of a trusted peer is
/// extended; that of any other peer was dropped.
fn forwarding_fields(
    out: &mut impl HeadOut,
    request: &Request<'_>,
    about: &Forwarded<'_>,
) -> Result<(), Malformed> {
    let peer = about.peer.unwrap_or(b"unknown");
    match about.trusted {
        true => out.list(
            b"X-Forwarded-For",
            request.fields_named("X-Forwarded-For").chain([peer]),
        )?,
        false => out.field(b"X-Forwarded-For", peer)?,
    }
    let given = |name: &str| {
        if about.trusted {
            request.field(name)
        } else {
            None
        }
    };
    if given("X-Forwarded-Proto").is_none() {
        let proto: &[u8] = if about.is_tls { b"https" } else { b"http" };
        out.field(b"X-Forwarded-Proto", proto)?;
    }
    if let (None, Some(host)) = (given("X-Forwarded-Host"), request.host()) {
        out.field(b"X-Forwarded-Host", host)?;
    }
    if let (None, Some(peer)) = (given("X-Real-IP"), about.peer) {
        out.field(b"X-Real-IP", peer)?;
    }
    if given("X-Request-Id").is_none() {
        out.field(b"X-Request-Id", about.request_id.as_bytes())?;
    }
    if let (None, Some(certificate)) = (given("Client-Cert"), about.client_cert) {
        out.field(b"Client-Cert", certificate)?;
    }
    Ok(())
}

/// How a response is passed on.
pub struct ResponseRules<'a> {
    /// How its body is framed downstream.
    pub framed: Framed,
    /// Whether the downstream connection closes after it.
    pub close: bool,
    /// The HTTP version of the client.
    pub downstream: Version,
    /// Whether a Content-Length describes a body that is not sent (HEAD, 304).
    pub length_describes: bool,
    /// The lifetime in Strict-Transport-Security, if the upstream sends none; 0 for nothing.
    pub hsts_seconds: u32,
    /// What it says in Alt-Svc, if the upstream sends none.
    pub alt_svc: Option<&'a str>,
}

/// A body of unknown length is chunked for HTTP/1.1 (streams of later versions frame it
/// themselves) and ends with the connection for HTTP/1.0 (RFC 9112 section 6.3). A filter may
/// change its length, or make it unknown.
pub fn framed_downstream(
    framed: Framed,
    filter: Option<&dyn BodyFilter>,
    version: Version,
) -> Framed {
    let framed = match (framed, filter) {
        (Framed::None, _) | (_, None) => framed,
        (Framed::Length(length), Some(filter)) => of_size(filter.size(Some(length))),
        (Framed::Chunked | Framed::UntilClose, Some(filter)) => of_size(filter.size(None)),
    };
    match (framed, version) {
        (Framed::Chunked | Framed::UntilClose, Version::Http10) => Framed::UntilClose,
        (Framed::Chunked | Framed::UntilClose, _) => Framed::Chunked,
        (framed, _) => framed,
    }
}

fn of_size(bytes: Option<u64>) -> Framed {
    bytes.map_or(Framed::Chunked, Framed::Length)
}

/// Writes Strict-Transport-Security (RFC 6797) for this many seconds; nothing for 0.
///
/// # Errors
/// None with a number.
pub fn write_hsts(out: &mut impl HeadOut, seconds: u32) -> Result<(), Malformed> {
    if seconds == 0 {
        return Ok(());
    }
    let value = format!("max-age={seconds}");
    out.field(HSTS.as_bytes(), value.as_bytes())
}

/// Writes the response head for the client.
///
/// # Errors
/// When a field cannot be written as it is; the head may then not be sent.
pub fn forward_response(
    out: &mut impl HeadOut,
    response: &Response<'_>,
    rules: &ResponseRules<'_>,
) -> Result<(), Malformed> {
    out.response(response.status(), response.reason())?;
    end_to_end_fields(out, response)?;
    if response.field("Date").is_none() {
        // RFC 9110 section 6.6.1: a recipient adds the time of receipt to a response without Date.
        out.field(b"Date", &date::now())?;
    }
    if response.field(HSTS).is_none() {
        write_hsts(out, rules.hsts_seconds)?;
    }
    if let Some(value) = rules.alt_svc.filter(|_| response.field(ALT_SVC).is_none()) {
        out.field(ALT_SVC.as_bytes(), value.as_bytes())?;
    }
    write_via(out, response.version())?;
    match (rules.framed, rules.length_describes) {
        (Framed::None, true) => write_described_length(out, response)?,
        (framed, _) => out.framing(framed),
    }
    match (rules.close, rules.downstream) {
        (true, _) => out.connection("close"),
        (false, Version::Http10) => out.connection("keep-alive"),
        (false, _) => {}
    }
    out.end();
    Ok(())
}

/// Writes an interim response (100, 103, …), which has neither body nor framing.
///
/// # Errors
/// When a field cannot be written as it is.
pub fn forward_interim(out: &mut impl HeadOut, response: &Response<'_>) -> Result<(), Malformed> {
    out.response(response.status(), response.reason())?;
    end_to_end_fields(out, response)?;
    out.end();
    Ok(())
}

/// Writes the 101 that turns the connection, or a stream of it, into a tunnel.
///
/// # Errors
/// When a field cannot be written as it is.
pub fn forward_switch(
    out: &mut impl HeadOut,
    response: &Response<'_>,
    protocol: &[u8],
    downstream: Version,
) -> Result<(), Malformed> {
    out.response(101, response.reason())?;
    end_to_end_fields_but(out, response, |name| {
        downstream.has_streams() && websocket::is_of_handshake(name)
    })?;
    write_via(out, response.version())?;
    out.upgrade(protocol)?;
    out.end();
    Ok(())
}

fn end_to_end_fields(out: &mut impl HeadOut, response: &Response<'_>) -> Result<(), Malformed> {
    end_to_end_fields_but(out, response, |_| false)
}

fn end_to_end_fields_but(
    out: &mut impl HeadOut,
    response: &Response<'_>,
    is_left_out: impl Fn(&[u8]) -> bool,
) -> Result<(), Malformed> {
    let listed = ConnectionOptions::in_response(response);
    for line in response.lines() {
        let name = line.field().name;
        let dropped = is_hop_by_hop(name)
            || is_framing(name)
            || is_left_out(name)
            || listed.as_ref().is_some_and(|listed| listed.drops(name));
        if !dropped {
            out.line(line)?;
        }
    }
    Ok(())
}

/// The length that a GET would have had: passed on if it is a single valid number, dropped
/// otherwise.
fn write_described_length(
    out: &mut impl HeadOut,
    response: &Response<'_>,
) -> Result<(), Malformed> {
    let mut lengths = response.fields_named("Content-Length");
    match (lengths.next(), lengths.next()) {
        (Some(length), None) if !length.is_empty() && length.iter().all(u8::is_ascii_digit) => {
            out.field(b"Content-Length", length)
        }
        _ => Ok(()),
    }
}

fn write_via(out: &mut impl HeadOut, version: Version) -> Result<(), Malformed> {
    let version: &[u8] = match version {
        Version::Http10 => b"1.0 byway",
        Version::Http11 => b"1.1 byway",
        Version::Http2 => b"2.0 byway",
        Version::Http3 => b"3.0 byway",
    };
    out.field(b"Via", version)
}

/// Content-Length and Transfer-Encoding are written again from the framing decision, never copied.
fn is_framing(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"Content-Length") || name.eq_ignore_ascii_case(b"Transfer-Encoding")
}

/// Always written by Byway, extended or not.
fn is_extended(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"X-Forwarded-For")
}

#[cfg(test)]
mod tests;
