//! Fields: what a line of the access log can say, each field declared once, in the order of a line.
//!
//! In:    the `Entry` of a line.
//! Out:   name, type, meaning and value of each field; `docs/access-log.md` has the same rows.
//! Never: allocates, or changes the text of a peer: the format escapes it.

use std::net::SocketAddr;

use super::line::{Entry, EntrySubject, version_text};

/// A field of the access log.
pub struct Field {
    /// Its name, which ends in its unit.
    pub name: &'static str,
    /// The name of its type: a variant of [`Value`].
    pub kind: &'static str,
    /// Which lines have a value.
    pub lines: Lines,
    /// Its meaning, as in `docs/access-log.md`.
    pub meaning: &'static str,
}

/// Which lines have a value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// Those of requests and of tunnels.
    All,
    /// Those of requests.
    Requests,
}

/// The value of a field. `None`: the line has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'e> {
    /// When the line is written.
    Time,
    /// A text, which may be of a peer.
    Text(Option<&'e [u8]>),
    /// A number.
    Number(Option<u64>),
    /// True or false.
    Flag(bool),
    /// An address with its port.
    Address(Option<SocketAddr>),
}

/// Writes the fields of a line in one format.
pub trait FieldWriter {
    /// Writes one field.
    fn field(&mut self, name: &'static str, value: Value<'_>);
}

/// For each field its meaning, its name, the lines that have it, its type, and where it is read.
macro_rules! fields {
    ($($(#[doc = $meaning:literal])+ $name:ident: $lines:ident, $kind:ident $(= $read:expr)?;)+) => {
        /// Every field, in the order of a line.
        pub const FIELDS: &[Field] = &[$(Field {
            name: stringify!($name),
            kind: stringify!($kind),
            lines: Lines::$lines,
            meaning: concat!($($meaning),+).trim_ascii_start(),
        },)+];

        /// Writes every field of `entry`. Unrolled: a loop over functions makes a line of JSON a
        /// quarter slower.
        pub fn write(entry: &Entry<'_>, to: &mut impl FieldWriter) {
            $(to.field(stringify!($name), Value::$kind $((read(entry, $read)))?);)+
        }
    };
}

fn read<'e, T>(entry: &'e Entry<'e>, read: impl FnOnce(&'e Entry<'e>) -> T) -> T {
    read(entry)
}

fields! {
    /// when it ended, in UTC
    time: All, Time;
    /// `request` or `tunnel`
    kind: All, Text = |entry| match entry.subject {
        EntrySubject::Request { .. } | EntrySubject::Unreadable => Some(&b"request"[..]),
        EntrySubject::Tunnel { .. } => Some(&b"tunnel"[..]),
    };
    /// the number of the connection, from 1; 0 in a line that a public end reported
    connection: All, Number = |entry| Some(entry.connection);
    /// the id of the request, as in Byway's own responses (`X-Request-Id`)
    request: Requests, Text = |entry| match entry.request_id {
        "" => None,
        id => Some(id.as_bytes()),
    };
    /// the name of the listener; in a line that a public end reported, of the link
    listener: All, Text = |entry| Some(entry.listener.as_bytes());
    /// the address of the client; none on a Unix socket
    peer: All, Address = |entry| entry.peer;
    /// the user who logged in
    user: All, Text = |entry| entry.user.map(str::as_bytes);
    /// the method, as received
    method: Requests, Text = |entry| match entry.subject {
        EntrySubject::Request { method, .. } => Some(method),
        _ => None,
    };
    /// the request target, as received; the destination of a tunnel
    target: All, Text = |entry| match entry.subject {
        EntrySubject::Request { target, .. } => Some(target),
        EntrySubject::Tunnel { target, .. } => Some(target.as_bytes()),
        EntrySubject::Unreadable => None,
    };
    /// `HTTP/1.0`, `HTTP/1.1`, `HTTP/2` or `HTTP/3`
    version: Requests, Text = |entry| match entry.subject {
        EntrySubject::Request { version, .. } => Some(version_text(version).as_bytes()),
        _ => None,
    };
    /// the version of TLS, `TLSv1.2` or `TLSv1.3`
    tls_version: All, Text = |entry| entry.tls.map(|tls| tls.version.as_bytes());
    /// its cipher suite, as IANA names it
    tls_cipher: All, Text = |entry| entry.tls.map(|tls| tls.cipher.as_bytes());
    /// the name that the client sent in its TLS handshake (SNI)
    tls_name: All, Text = |entry| entry.tls.and_then(|tls| tls.name).map(str::as_bytes);
    /// whether an earlier TLS session was resumed
    tls_resumed: All, Flag = |entry| entry.tls.is_some_and(|tls| tls.resumed);
    /// the subject of the certificate that the client has presented
    tls_client: All, Text = |entry| entry.tls.and_then(|tls| tls.client).map(str::as_bytes);
    /// the host that the request is for
    host: Requests, Text = |entry| match entry.subject {
        EntrySubject::Request { host, .. } => host,
        _ => None,
    };
    /// the field `Referer`
    referer: Requests, Text = |entry| match entry.subject {
        EntrySubject::Request { referer, .. } => referer,
        _ => None,
    };
    /// the field `User-Agent`
    user_agent: Requests, Text = |entry| match entry.subject {
        EntrySubject::Request { agent, .. } => agent,
        _ => None,
    };
    /// the status of the response; none if none was sent
    status: Requests, Number = |entry| match entry.status {
        0 => None,
        status => Some(status.into()),
    };
    /// bytes of the body, or of the tunnel, that the upstream took
    in_bytes: All, Number = |entry| Some(entry.bytes_in);
    /// bytes of the body, or of the tunnel, that the client took
    out_bytes: All, Number = |entry| Some(entry.bytes_out);
    /// waiting for a connection, in microseconds as all timers
    queue_us: Requests, Number = |entry| Some(entry.timers.queue_us);
    /// opening a connection; 0 on a kept one
    connect_us: Requests, Number = |entry| Some(entry.timers.connect_us);
    /// from the connection to the head of the response
    first_byte_us: Requests, Number = |entry| Some(entry.timers.first_byte_us);
    /// from that head to the end; the duration of a tunnel
    transfer_us: All, Number = |entry| Some(entry.timers.transfer_us);
    /// the sum of the four timers
    total_us: All, Number = |entry| Some(entry.timers.total_us());
    /// the upstream that was used last
    upstream: Requests, Text = |entry| entry.upstream.map(str::as_bytes);
    /// whether the last connection had been used before
    reused: Requests, Flag = |entry| entry.reused;
    /// whether it was sent more than once
    retried: Requests, Flag = |entry| entry.retried;
    /// why a failed request was not sent again, in one word
    not_retried: Requests, Text = |entry| entry.not_retried.map(str::as_bytes);
    /// `done`, or the [reason](reasons.md) why it failed
    end: All, Text = |entry| Some(entry.ending.reason.word().as_bytes());
    /// the side that failed: `downstream`, `upstream`, `link` or `byway`
    end_who: All, Text = |entry| entry.ending.who.map(|who| who.word().as_bytes());
    /// when: the timer that ran (`queue`, `connect`, `first_byte`, `transfer`), `request_head`, or
    /// for a tunnel `dial` or `relay`
    end_phase: All, Text = |entry| Some(entry.ending.phase.as_bytes());
}

#[cfg(test)]
mod tests;
