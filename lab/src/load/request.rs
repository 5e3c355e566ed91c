//! Request: a request of the generator, ready to be sent.
//!
//! In:    the method, the length and the host.
//! Out:   the bytes of one request, head and body in one piece, and the length of its response.
//! Never: a field that a browser or a library would not send.

use std::net::SocketAddr;
use std::sync::Arc;

/// One request that is sent repeatedly.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Head and body.
    pub(crate) bytes: Arc<[u8]>,
    /// The length of the response body.
    pub(crate) answer_bytes: u64,
    /// Whether the connection is closed after the response, so that each request needs a new one.
    pub(crate) alone: bool,
}

impl Request {
    /// A GET of `length` bytes, on a connection that stays open.
    pub(crate) fn get(length: u64, host: SocketAddr) -> Self {
        Self {
            bytes: get(length, &host.to_string(), "").into(),
            answer_bytes: length,
            alone: false,
        }
    }

    /// The same, for a host name.
    pub(crate) fn get_from(length: u64, host: &str) -> Self {
        Self {
            bytes: get(length, host, "").into(),
            answer_bytes: length,
            alone: false,
        }
    }

    /// The same as [`Request::get`], with `Connection: close`. The server closes the connection.
    pub(crate) fn get_alone(length: u64, host: SocketAddr) -> Self {
        Self {
            bytes: get(length, &host.to_string(), "Connection: close\r\n").into(),
            answer_bytes: length,
            alone: true,
        }
    }

    /// A POST of `length` bytes, with an empty response body.
    pub(crate) fn post(length: u64, host: SocketAddr) -> Self {
        let head = format!(
            "POST / HTTP/1.1\r\nHost: {host}\r\nUser-Agent: lab/1\r\nAccept: */*\r\n\
             Content-Type: application/octet-stream\r\nContent-Length: {length}\r\n\r\n"
        );
        let mut bytes = head.into_bytes();
        bytes.resize(
            bytes.len() + usize::try_from(length).unwrap_or_default(),
            b'.',
        );
        Self {
            bytes: bytes.into(),
            answer_bytes: 0,
            alone: false,
        }
    }
}

/// A GET with the minimal fields of a browser or a library, and `more` lines.
fn get(length: u64, host: &str, more: &str) -> Vec<u8> {
    format!(
        "GET /{length} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: lab/1\r\nAccept: */*\r\nAccept-Encoding: gzip, br\r\n{more}\r\n"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 80);

    #[test]
    fn a_post_carries_the_body_that_it_announces() {
        let request = Request::post(5, HOST);
        let text = String::from_utf8(request.bytes.to_vec()).unwrap();
        assert!(
            text.contains("\r\nContent-Length: 5\r\n") && text.ends_with("\r\n\r\n....."),
            "{text}"
        );
    }

    #[test]
    fn only_an_alone_request_has_connection_close() {
        let text = |request: Request| String::from_utf8(request.bytes.to_vec()).unwrap();
        assert!(text(Request::get_alone(1, HOST)).ends_with("\r\nConnection: close\r\n\r\n"));
        assert!(!text(Request::get(1, HOST)).contains("Connection"));
    }
}
