//! Target: the four forms of a request target, and the syntax of a host.
//!
//! In:    the method and the target's bytes.
//! Out:   its form, with the positions of its parts.
//! Never: decodes, normalises or resolves.

use std::net::Ipv6Addr;

use crate::error::Malformed;
use crate::section::Span;

/// A request target by its form (RFC 9112 section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetForm<'a> {
    /// A path with an optional query; the usual form.
    Origin,
    /// A whole URI, as sent to a forward proxy.
    Absolute {
        /// The scheme in its original case; compare it without regard to case.
        scheme: &'a [u8],
        /// Host and optional port; valid, never empty, without userinfo.
        authority: &'a [u8],
        /// The path with its query; `/` if the URI has none.
        path_and_query: &'a [u8],
    },
    /// Host and port, with CONNECT only.
    Authority,
    /// `*`, with OPTIONS only.
    Asterisk,
}

/// A host with an optional port, as in Host, in a CONNECT target and in an absolute URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// A registered name, an IPv4 address, or an IPv6 address in brackets.
    pub host: &'a [u8],
    /// The port, if there is one.
    pub port: Option<u16>,
}

/// The form of a target, with positions in the buffer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Form {
    #[default]
    Origin,
    Absolute {
        scheme: Span,
        authority: Span,
        /// `None` if the URI has no path.
        path_and_query: Option<Span>,
    },
    Authority,
    Asterisk,
}

impl<'a> Authority<'a> {
    /// Parses `uri-host [ ":" port ]` (RFC 9110 section 7.2) strictly: `None` if the host is empty
    /// or has other than reg-name characters, if there is no IPv6 address in brackets, if the port
    /// is empty or over 65535, or with userinfo.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (host, after) = if bytes.first() == Some(&b'[') {
            bytes.split_at(memchr::memchr(b']', bytes)? + 1)
        } else {
            bytes.split_at(memchr::memchr(b':', bytes).unwrap_or(bytes.len()))
        };
        let port = match after {
            [] => None,
            [b':', digits @ ..] => Some(port(digits)?),
            _ => return None,
        };
        is_host(host).then_some(Self { host, port })
    }
}

/// Determines the form; `at` is the target's position in the buffer.
pub(crate) fn form(method: &[u8], span: Span, text: &[u8]) -> Result<Form, Malformed> {
    let target = span.of(text);
    if method == b"CONNECT" {
        return match Authority::parse(target) {
            Some(Authority {
                port: Some(1..), ..
            }) => Ok(Form::Authority),
            _ => Err(Malformed::ConnectTarget),
        };
    }
    match target {
        [b'/', ..] => Ok(Form::Origin),
        b"*" if method == b"OPTIONS" => Ok(Form::Asterisk),
        b"*" => Err(Malformed::AsteriskTarget),
        _ => absolute(target, span.start()).ok_or(Malformed::TargetForm),
    }
}

fn absolute(target: &[u8], at: usize) -> Option<Form> {
    let colon = memchr::memchr(b':', target)?;
    let (scheme, after) = target.split_at(colon);
    let after = after.strip_prefix(b"://")?;
    let authority_len = memchr::memchr2(b'/', b'?', after).unwrap_or(after.len());
    let (authority, path) = after.split_at(authority_len);
    // `http://host?query` has no path before its query. No client sends it, so no path is invented.
    let valid =
        is_scheme(scheme) && Authority::parse(authority).is_some() && path.first() != Some(&b'?');
    let authority_at = at + colon + 3;
    let path_at = authority_at + authority_len;
    valid.then_some(Form::Absolute {
        scheme: Span::new(at, at + colon),
        authority: Span::new(authority_at, path_at),
        path_and_query: (!path.is_empty()).then_some(Span::new(path_at, path_at + path.len())),
    })
}

fn is_scheme(scheme: &[u8]) -> bool {
    scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme
            .iter()
            .all(|&byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

fn is_host(host: &[u8]) -> bool {
    match host {
        [] => false,
        [b'[', address @ .., b']'] => {
            std::str::from_utf8(address).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
        }
        _ => is_reg_name(host),
    }
}

/// `reg-name` of RFC 3986 section 3.2.2, but not empty.
fn is_reg_name(mut host: &[u8]) -> bool {
    loop {
        host = match host {
            [] => return true,
            [b'%', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                rest
            }
            [byte, rest @ ..] if is_reg_name_byte(*byte) => rest,
            _ => return false,
        };
    }
}

fn is_reg_name_byte(byte: u8) -> bool {
    let unreserved = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    unreserved
        || matches!(
            byte,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'='
        )
}

fn port(digits: &[u8]) -> Option<u16> {
    if digits.is_empty() || digits.len() > 5 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits
        .iter()
        .fold(0u32, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    u16::try_from(value).ok()
}
