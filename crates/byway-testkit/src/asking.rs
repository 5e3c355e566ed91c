//! Asking: the requests by which a client asks a proxy for a target, in every protocol.
//!
//! In:    a target.
//! Out:   the bytes of a request, or a client whose request was granted.
//! Never: more than CONNECT.

use std::net::SocketAddr;

use crate::visitor::Visitor;

/// SOCKS5: a greeting without authentication.
pub const GREETING: &[u8] = &[5, 1, 0];

/// SOCKS5: CONNECT to an IPv4 address.
pub fn socks5(to: SocketAddr) -> Vec<u8> {
    let SocketAddr::V4(to) = to else {
        panic!("tests use IPv4")
    };
    [
        &[5, 1, 0, 1][..],
        &to.ip().octets(),
        &to.port().to_be_bytes(),
    ]
    .concat()
}

/// SOCKS5: CONNECT to a name.
pub fn socks5_name(name: &str, port: u16) -> Vec<u8> {
    [
        &[5, 1, 0, 3, name.len() as u8][..],
        name.as_bytes(),
        &port.to_be_bytes(),
    ]
    .concat()
}

/// SOCKS4: CONNECT to an address, with any user.
pub fn socks4(to: SocketAddr) -> Vec<u8> {
    let SocketAddr::V4(to) = to else {
        panic!("SOCKS4 supports IPv4 only")
    };
    [
        &[4, 1][..],
        &to.port().to_be_bytes(),
        &to.ip().octets(),
        b"someone\0",
    ]
    .concat()
}

/// SOCKS4a: CONNECT to a name.
pub fn socks4a(name: &str, port: u16) -> Vec<u8> {
    [
        &[4, 1][..],
        &port.to_be_bytes(),
        &[0, 0, 0, 1],
        b"\0",
        name.as_bytes(),
        b"\0",
    ]
    .concat()
}

/// HTTP: CONNECT.
pub fn connect(to: impl std::fmt::Display) -> Vec<u8> {
    format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n").into_bytes()
}

/// A client that has gone through a SOCKS5 handshake to `to`.
#[track_caller]
pub fn through_socks5(egress: SocketAddr, to: SocketAddr) -> Visitor {
    let mut visitor = Visitor::connect(egress);
    visitor
        .send(GREETING)
        .expect([5, 0])
        .send(socks5(to))
        .expect([5, 0, 0, 1])
        .exactly(6);
    visitor
}

/// A client that has gone through CONNECT to `to`.
#[track_caller]
pub fn through_connect(egress: SocketAddr, to: SocketAddr) -> Visitor {
    let mut visitor = Visitor::connect(egress);
    visitor.send(connect(to));
    assert_eq!(visitor.head().expect("an answer").status(), 200);
    visitor
}

/// The code in the SOCKS5 reply to `request`.
#[track_caller]
pub fn socks5_reply(egress: SocketAddr, request: &[u8]) -> u8 {
    let mut visitor = Visitor::connect(egress);
    visitor.send(GREETING).expect([5, 0]).send(request);
    visitor.expect([5]).exactly(1)[0]
}
