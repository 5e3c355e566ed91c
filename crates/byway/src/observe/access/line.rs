//! Line: one line of the access log, as text.
//!
//! In:    a request or a tunnel that has ended.
//! Out:   the line, appended to a buffer that has room for it.
//! Never: allocates, if there is room for [`MOST_LINE_BYTES`]; nor lets text from the network end
//!        its field.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use byway_head::Version;

use super::clock::Dates;
use super::escape::{self, MOST_WRITTEN_BYTES};
use super::fields::{self, FieldWriter, Value};
use crate::observe::ending::Ending;
use crate::observe::timing::Timers;

/// Texts of variable length in a line: user, method, target, host, Referer, User-Agent, upstream,
/// the listener's name, the name and the client of a TLS session.
const TEXTS: usize = 10;

/// The longest line: all texts at their longest, and the rest.
pub const MOST_LINE_BYTES: usize = TEXTS * MOST_WRITTEN_BYTES + 2048;

/// The fields of a line.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The number of the connection, counted from 1 in this process.
    pub connection: u64,
    /// The id of the request, as in its response; empty for tunnels.
    pub request_id: &'a str,
    /// The name of the listener.
    pub listener: &'a str,
    /// The address of the client; `None` on a Unix socket.
    pub peer: Option<SocketAddr>,
    /// The authenticated user.
    pub user: Option<&'a str>,
    /// The TLS session with the client.
    pub tls: Option<TlsEntry<'a>>,
    /// What was requested.
    pub subject: EntrySubject<'a>,
    /// The status of the response; 0 for none.
    pub status: u16,
    /// Bytes of body, or of the tunnel, towards the upstream.
    pub bytes_in: u64,
    /// The same towards the downstream.
    pub bytes_out: u64,
    /// How long each phase took.
    pub timers: Timers,
    /// The upstream that was used.
    pub upstream: Option<&'a str>,
    /// Whether it was sent on a kept connection.
    pub reused: bool,
    /// Whether it was sent more than once.
    pub retried: bool,
    /// Why it was not retried, if it failed.
    pub not_retried: Option<&'static str>,
    /// How it ended.
    pub ending: Ending,
}

/// The TLS session with a client.
#[derive(Clone, Copy, Debug)]
pub struct TlsEntry<'a> {
    /// Its version.
    pub version: &'static str,
    /// Its cipher suite.
    pub cipher: &'static str,
    /// The name that the client sent (SNI).
    pub name: Option<&'a str>,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// The subject of the client's certificate.
    pub client: Option<&'a str>,
}

/// What was requested.
#[derive(Clone, Copy, Debug)]
pub enum EntrySubject<'a> {
    /// A request with its head.
    Request {
        /// As received.
        method: &'a [u8],
        /// As received.
        target: &'a [u8],
        /// As received.
        version: Version,
        /// The effective Host.
        host: Option<&'a [u8]>,
        /// `Referer`.
        referer: Option<&'a [u8]>,
        /// `User-Agent`.
        agent: Option<&'a [u8]>,
    },
    /// A head that could not be parsed.
    Unreadable,
    /// A stream of bytes, by CONNECT, SOCKS, a forward, a link or an upgrade.
    Tunnel {
        /// The destination.
        target: &'a str,
        /// The protocol of the request for it.
        protocol: &'static str,
        /// 200 once it was open, else the status that an HTTP response would have.
        status: u16,
    },
}

impl Entry<'_> {
    /// One line in the default format of Apache and nginx:
    /// `%h - %u [%t] "%r" %>s %b "%{Referer}i" "%{User-Agent}i"`. The request line of a tunnel is
    /// that of CONNECT, with the protocol of its request in place of the version. This layout has
    /// no place for more fields.
    pub fn combined(&self, out: &mut Vec<u8>, dates: &mut Dates, now: Duration) {
        let (referer, agent, status) = match self.subject {
            EntrySubject::Request { referer, agent, .. } => (referer, agent, self.status),
            EntrySubject::Unreadable => (None, None, self.status),
            EntrySubject::Tunnel { status, .. } => (None, None, status),
        };
        match self.peer {
            Some(peer) => ip(out, peer.ip().to_canonical()),
            None => out.extend_from_slice(b"unix:"),
        }
        out.extend_from_slice(b" - ");
        match self.user {
            Some(user) => word(out, user),
            None => out.push(b'-'),
        }
        out.extend_from_slice(b" [");
        out.extend_from_slice(dates.combined(now));
        out.extend_from_slice(b"] \"");
        self.request_line(out);
        out.extend_from_slice(b"\" ");
        let status = u64::from(status);
        out.extend(
            [status / 100 % 10, status / 10 % 10, status % 10].map(|digit| b'0' + digit as u8),
        );
        out.push(b' ');
        number(out, self.bytes_out);
        for text in [referer, agent] {
            out.extend_from_slice(b" \"");
            escape::combined(out, text.unwrap_or(b"-"));
            out.push(b'"');
        }
        out.push(b'\n');
    }

    fn request_line(&self, out: &mut Vec<u8>) {
        let (method, target, version) = match self.subject {
            EntrySubject::Request {
                method,
                target,
                version,
                ..
            } => (method, target, version_text(version).as_bytes()),
            EntrySubject::Tunnel {
                target: "",
                protocol,
                ..
            } => (&b"CONNECT"[..], &b"-"[..], protocol.as_bytes()),
            EntrySubject::Tunnel {
                target, protocol, ..
            } => (&b"CONNECT"[..], target.as_bytes(), protocol.as_bytes()),
            EntrySubject::Unreadable => return,
        };
        escape::combined(out, method);
        out.push(b' ');
        escape::combined(out, target);
        out.push(b' ');
        out.extend_from_slice(version);
    }

    /// One JSON object with every field; `null` if there is no value.
    pub fn json(&self, out: &mut Vec<u8>, dates: &mut Dates, now: Duration) {
        let begin = out.len();
        fields::write(self, &mut JsonWriter { out, dates, now });
        // Every field begins with a comma, also the first one.
        if let Some(first) = out.get_mut(begin) {
            *first = b'{';
        }
        out.extend_from_slice(b"}\n");
    }
}

struct JsonWriter<'w> {
    out: &'w mut Vec<u8>,
    dates: &'w mut Dates,
    now: Duration,
}

impl FieldWriter for JsonWriter<'_> {
    #[inline(always)]
    fn field(&mut self, name: &'static str, value: Value<'_>) {
        let out = &mut *self.out;
        out.extend_from_slice(b",\"");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        match value {
            Value::Time => {
                out.push(b'"');
                out.extend_from_slice(self.dates.json(self.now));
                let millis = self.now.subsec_millis();
                out.push(b'.');
                out.extend(
                    [millis / 100, millis / 10 % 10, millis % 10].map(|digit| b'0' + digit as u8),
                );
                out.extend_from_slice(b"Z\"");
            }
            Value::Text(Some(text)) => {
                out.push(b'"');
                escape::json(out, text);
                out.push(b'"');
            }
            Value::Number(Some(value)) => number(out, value),
            Value::Flag(value) => {
                out.extend_from_slice(if value { b"true" } else { b"false" });
            }
            Value::Address(Some(peer)) => {
                out.push(b'"');
                address(out, peer);
                out.push(b'"');
            }
            Value::Text(None) | Value::Number(None) | Value::Address(None) => {
                out.extend_from_slice(b"null");
            }
        }
    }
}

/// The version as a request line has it.
pub const fn version_text(version: Version) -> &'static str {
    match version {
        Version::Http10 => "HTTP/1.0",
        Version::Http11 => "HTTP/1.1",
        Version::Http2 => "HTTP/2",
        Version::Http3 => "HTTP/3",
    }
}

/// A user name in a field that ends with a space.
fn word(out: &mut Vec<u8>, name: &str) {
    let from = out.len();
    escape::combined(out, name.as_bytes());
    for byte in out.iter_mut().skip(from).filter(|byte| **byte == b' ') {
        *byte = b'_';
    }
    if out.len() == from {
        out.push(b'-');
    }
}

fn number(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut begin = digits.len();
    for (at, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
        begin = at;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(begin..).unwrap_or_default());
}

fn ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            for (at, octet) in ip.octets().into_iter().enumerate() {
                if at > 0 {
                    out.push(b'.');
                }
                number(out, octet.into());
            }
        }
        // Writing to a Vec does not fail, and Display of an address does not allocate.
        IpAddr::V6(ip) => {
            let _ = write!(out, "{ip}");
        }
    }
}

fn address(out: &mut Vec<u8>, peer: SocketAddr) {
    match peer.ip().to_canonical() {
        IpAddr::V4(four) => ip(out, four.into()),
        six => {
            out.push(b'[');
            ip(out, six);
            out.push(b']');
        }
    }
    out.push(b':');
    number(out, peer.port().into());
}
