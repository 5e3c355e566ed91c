//! Egress: SOCKS and HTTP exits and plain forwards from end to end: the built program between real sockets and curl.
//!
//! `handshakes` every dialect, whole and byte by byte · `strangers` what is no handshake at all · `policy` who may go
//! where · `relaying` how streams end · `bulk` large transfers by curl · `slow` readers that pause, and caps.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bulk;
mod handshakes;
mod policy;
mod relaying;
mod slow;
mod strangers;

use std::net::SocketAddr;

use byway_testkit::{Program, Visitor};

const BYWAY: &str = env!("CARGO_BIN_EXE_byway");

/// Opens loopback, where every test lives.
const OPEN: [&str; 2] = ["--allow", "127.0.0.0/8"];

/// `byway proxy` on a free port of loopback.
#[track_caller]
fn egress(args: &[&str]) -> Program {
    Program::start(BYWAY, &[&["proxy", "--listen", "127.0.0.1:0"], args].concat())
}

/// `byway run` with one egress that opens loopback, and `settings` at the top of its config.
#[track_caller]
fn egress_with(settings: &str) -> Program {
    let rule = "[[proxy.rule]]\naction = \"allow\"\ncidr = \"127.0.0.0/8\"\n";
    Program::configured(BYWAY, &format!("{settings}\n[[proxy]]\nlisten = \"127.0.0.1:0\"\n{rule}"))
}

/// SOCKS5: a greeting without authentication.
const GREETING: &[u8] = &[5, 1, 0];

/// SOCKS5: CONNECT to an IPv4 address.
fn socks5(to: SocketAddr) -> Vec<u8> {
    let SocketAddr::V4(to) = to else { panic!("tests live on IPv4") };
    [&[5, 1, 0, 1][..], &to.ip().octets(), &to.port().to_be_bytes()].concat()
}

/// SOCKS5: CONNECT to a name.
fn socks5_name(name: &str, port: u16) -> Vec<u8> {
    [&[5, 1, 0, 3, name.len() as u8][..], name.as_bytes(), &port.to_be_bytes()].concat()
}

/// SOCKS4: CONNECT to an address for nobody in particular.
fn socks4(to: SocketAddr) -> Vec<u8> {
    let SocketAddr::V4(to) = to else { panic!("SOCKS4 knows IPv4 only") };
    [&[4, 1][..], &to.port().to_be_bytes(), &to.ip().octets(), b"someone\0"].concat()
}

/// SOCKS4a: CONNECT to a name.
fn socks4a(name: &str, port: u16) -> Vec<u8> {
    [&[4, 1][..], &port.to_be_bytes(), &[0, 0, 0, 1], b"\0", name.as_bytes(), b"\0"].concat()
}

/// HTTP: CONNECT.
fn connect(to: impl std::fmt::Display) -> Vec<u8> {
    format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n").into_bytes()
}

/// A visitor that has gone through a SOCKS5 handshake to `to`.
#[track_caller]
fn through_socks5(egress: SocketAddr, to: SocketAddr) -> Visitor {
    let mut visitor = Visitor::connect(egress);
    visitor.send(GREETING).expect([5, 0]).send(socks5(to)).expect([5, 0, 0, 1]).exactly(6);
    visitor
}

/// A visitor that has gone through CONNECT to `to`.
#[track_caller]
fn through_connect(egress: SocketAddr, to: SocketAddr) -> Visitor {
    let mut visitor = Visitor::connect(egress);
    visitor.send(connect(to));
    assert_eq!(visitor.head().expect("an answer").status(), 200);
    visitor
}

/// The code in the SOCKS5 reply to `request`.
#[track_caller]
fn socks5_reply(egress: SocketAddr, request: &[u8]) -> u8 {
    let mut visitor = Visitor::connect(egress);
    visitor.send(GREETING).expect([5, 0]).send(request);
    visitor.expect([5]).exactly(1)[0]
}
