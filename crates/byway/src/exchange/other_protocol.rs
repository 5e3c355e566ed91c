//! Other protocol: detects another protocol where HTTP/1 was expected, by its first bytes.
//!
//! In:    the unread bytes of a connection, in which the parser has not found a complete head.
//! Out:   a fault that names the protocol and what to do; or none.
//! Never: names an address, so that its text may be shown to the client.

use crate::fault::{Fault, Reason, Who};

/// The first line of an HTTP/2 client with prior knowledge (RFC 9113 section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";

/// Whether HTTP/2 begins here, with prior knowledge.
pub fn is_http2(unread: &[u8]) -> bool {
    unread.starts_with(HTTP2_PREFACE)
}

/// The fault for a client that does not speak HTTP/1.
pub fn in_request(unread: &[u8]) -> Option<Fault> {
    if is_tls(unread, TLS_HANDSHAKE) {
        let detail = "this port speaks plain HTTP, and the client began a TLS handshake: ask for http:// instead of \
                      https://, or put a server that ends TLS in front";
        return Some(Fault::new(Who::Downstream, Reason::TlsAtPlainPort, detail));
    }
    if is_http2(unread) {
        let detail = "the client began with HTTP/2 (prior knowledge) after requests of HTTP/1: it needs a connection of its own";
        return Some(Fault::new(Who::Downstream, Reason::HttpVersion, detail));
    }
    if matches!(unread, [5, 1..=255, _, ..] | [4, 1 | 2, _, ..]) {
        let detail =
            "this port speaks HTTP, and this looks like SOCKS: that is what `byway proxy` serves";
        return Some(Fault::new(Who::Downstream, Reason::SocksAtHttpPort, detail));
    }
    None
}

/// The fault for an upstream that does not speak HTTP/1. TLS servers answer plain HTTP with an
/// alert record. `exposed`: it is a service behind a link.
pub fn in_response(unread: &[u8], exposed: bool) -> Option<Fault> {
    let (reason, detail) = if is_tls(unread, TLS_ALERT) || is_tls(unread, TLS_HANDSHAKE) {
        let detail = match exposed {
            false => {
                "the upstream speaks TLS, and was sent plain HTTP: write https:// in front of it"
            }
            true => {
                "the service speaks TLS, and was sent plain HTTP: expose it by `byway tcp`, or expose a plain HTTP port"
            }
        };
        (Reason::UpstreamSpeaksTls, detail)
    } else if is_http2_settings(unread) {
        (
            Reason::UpstreamSpeaksHttp2,
            "the upstream speaks HTTP/2 alone: name a port of it that speaks HTTP/1.1",
        )
    } else {
        return None;
    };
    Some(Fault::new(Who::Upstream, reason, detail))
}

/// Content types of TLS records (RFC 8446 section 5.1).
const TLS_ALERT: u8 = 21;
const TLS_HANDSHAKE: u8 = 22;

/// Whether a TLS record of this type begins here: the type, and 3 as the major version.
fn is_tls(unread: &[u8], content_type: u8) -> bool {
    matches!(unread, [first, rest @ ..] if *first == content_type && rest.first().is_none_or(|major| *major == 3))
}

/// Whether an HTTP/2 server preface begins here: a SETTINGS frame on stream 0 (RFC 9113 sections
/// 3.4 and 4.1).
fn is_http2_settings(unread: &[u8]) -> bool {
    matches!(unread, [0, _, _, 4, _, 0, 0, 0, 0, ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(fault: Option<Fault>) -> Option<Reason> {
        fault.map(|fault| fault.reason)
    }

    #[test]
    fn the_first_bytes_of_tls_and_of_http2_are_detected_on_both_sides() {
        assert_eq!(reason(in_request(b"\x16")), Some(Reason::TlsAtPlainPort));
        assert_eq!(
            reason(in_request(b"\x16\x03\x01\x02\x00\x01")),
            Some(Reason::TlsAtPlainPort)
        );
        assert_eq!(
            reason(in_request(b"\x05\x02\x00\x02")),
            Some(Reason::SocksAtHttpPort)
        );
        assert_eq!(
            reason(in_request(b"\x04\x01\x00\x50\x7f\0\0\x01\0")),
            Some(Reason::SocksAtHttpPort)
        );
        assert_eq!(
            reason(in_request(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")),
            Some(Reason::HttpVersion)
        );
        assert_eq!(
            reason(in_response(b"\x15\x03\x01\x00\x02\x02\x46", false)),
            Some(Reason::UpstreamSpeaksTls)
        );
        assert_eq!(
            reason(in_response(
                b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03",
                true
            )),
            Some(Reason::UpstreamSpeaksHttp2)
        );
    }

    #[test]
    fn what_may_still_become_http_is_not_taken_for_another_protocol() {
        for bytes in [
            &b""[..],
            b"\r\n",
            b"G",
            b"PRI * HTTP/2.",
            b"PRI / HTTP/1.1\r\n",
            b"\x16\x04",
            b"\x04\x01",
        ] {
            assert_eq!(reason(in_request(bytes)), None, "{bytes:?}");
        }
        for bytes in [
            &b""[..],
            b"H",
            b"HTTP/1.1 200",
            b"\x00\x00\x06",
            b"\x15\x02",
        ] {
            assert_eq!(reason(in_response(bytes, false)), None, "{bytes:?}");
        }
    }
}
