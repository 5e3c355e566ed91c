//! Handshakes: every dialect of the one port: whole, byte by byte, and with data right after it.

use byway_testkit::{Origin, Visitor};

use super::*;

/// A whole handshake, pipelined, and the replies of the egress before the tunnel opens.
struct Dialect {
    name: &'static str,
    handshake: Vec<u8>,
    reply: &'static [u8],
    /// Number of reply bytes with values chosen by the system.
    then: usize,
}

fn dialects(to: SocketAddr) -> Vec<Dialect> {
    let host = |request: Vec<u8>| [GREETING, &request].concat();
    vec![
        Dialect {
            name: "SOCKS5",
            handshake: host(socks5(to)),
            reply: &[5, 0, 5, 0, 0, 1],
            then: 6,
        },
        Dialect {
            name: "SOCKS5 by name",
            handshake: host(socks5_name("localhost", to.port())),
            reply: &[5, 0, 5, 0, 0, 1],
            then: 6,
        },
        Dialect {
            name: "SOCKS5, address as name",
            handshake: host(socks5_name("127.0.0.1", to.port())),
            reply: &[5, 0, 5, 0, 0, 1],
            then: 6,
        },
        Dialect {
            name: "SOCKS4",
            handshake: socks4(to),
            reply: &[0, 90],
            then: 6,
        },
        Dialect {
            name: "SOCKS4a",
            handshake: socks4a("localhost", to.port()),
            reply: &[0, 90],
            then: 6,
        },
        Dialect {
            name: "CONNECT",
            handshake: connect(to),
            reply: b"HTTP/1.1 200 Connection established\r\n\r\n",
            then: 0,
        },
        Dialect {
            name: "CONNECT by name",
            handshake: connect(format!("localhost:{}", to.port())),
            reply: b"HTTP/1.1 200 Connection established\r\n\r\n",
            then: 0,
        },
    ]
}

#[test]
fn every_dialect_opens_a_tunnel_whole_and_byte_by_byte() {
    let origin = Origin::echo();
    let program = egress(&OPEN);
    for dialect in dialects(origin.address()) {
        for bytewise in [false, true] {
            eprintln!("{} {bytewise}", dialect.name);
            let mut visitor = Visitor::connect(program.address());
            let everything = [&dialect.handshake[..], b"and data right behind it"].concat();
            match bytewise {
                true => visitor.send_bytewise(everything),
                false => visitor.send(everything),
            };
            visitor.expect(dialect.reply).exactly(dialect.then);
            visitor
                .expect("and data right behind it")
                .send("and more")
                .expect("and more");
        }
    }
}

#[test]
fn every_split_of_a_handshake_into_two_parts_works() {
    let origin = Origin::echo();
    let program = egress(&OPEN);
    for dialect in dialects(origin.address())
        .iter()
        .filter(|dialect| !dialect.name.contains("name"))
    {
        for split in 1..dialect.handshake.len() {
            eprintln!("{} at {split}", dialect.name);
            let mut visitor = Visitor::connect(program.address());
            visitor
                .send(&dialect.handshake[..split])
                .send(&dialect.handshake[split..]);
            visitor.expect(dialect.reply).exactly(dialect.then);
            visitor.send("x").expect("x");
        }
    }
}

#[test]
fn a_password_opens_socks5_whole_and_byte_by_byte() {
    let origin = Origin::echo();
    let program = egress(&[
        "--user",
        "alice:secret",
        "--user",
        "bob:p:w",
        OPEN[0],
        OPEN[1],
    ]);
    for login in [&b"\x01\x05alice\x06secret"[..], b"\x01\x03bob\x03p:w"] {
        let everything = [&[5, 2, 0, 2][..], login, &socks5(origin.address()), b"data"].concat();
        for bytewise in [false, true] {
            let mut visitor = Visitor::connect(program.address());
            match bytewise {
                true => visitor.send_bytewise(&everything),
                false => visitor.send(&everything),
            };
            visitor.expect([5, 2, 1, 0, 5, 0, 0, 1]).exactly(6);
            visitor.expect("data");
        }
    }
}

#[test]
fn a_wrong_password_is_refused_in_every_dialect_and_nothing_is_dialled() {
    let origin = Origin::echo();
    let program = egress(&["--user", "alice:secret", OPEN[0], OPEN[1]]);
    let logins = [
        &b"\x01\x05alice\x05wrong"[..],
        b"\x01\x03eve\x06secret",
        b"\x01\x05alice\x06secreT",
        b"\x01\0\0",
    ];
    for login in logins {
        let mut visitor = Visitor::connect(program.address());
        visitor.send([5, 1, 2]).expect([5, 2]).send(login);
        let reply = visitor.exactly(2);
        assert!(reply[0] == 1 && reply[1] != 0, "{login:?}: {reply:?}");
        visitor.ended();
    }
    let mut without = Visitor::connect(program.address());
    without.send(GREETING).expect([5, 0xff]).ended();
    let mut fourth = Visitor::connect(program.address());
    fourth.send(socks4(origin.address())).expect([0, 91]);

    let absolute = format!(
        "GET http://{}/ HTTP/1.1\r\nHost: x\r\n\r\n",
        origin.address()
    );
    let connect = String::from_utf8(connect(origin.address())).unwrap();
    for request in [absolute, connect] {
        for credentials in [
            "",
            "Proxy-Authorization: Basic YWxpY2U6d3Jvbmc=\r\n",
            "Proxy-Authorization: Bearer x\r\n",
        ] {
            let mut visitor = Visitor::connect(program.address());
            let answer =
                visitor.ask(&request.replace("\r\n\r\n", &format!("\r\n{credentials}\r\n")));
            assert_eq!(answer.status(), 407, "{request} {credentials}");
            assert!(
                answer
                    .field("Proxy-Authenticate")
                    .unwrap()
                    .starts_with("Basic "),
                "{answer:?}"
            );
        }
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn the_right_password_opens_http_and_is_not_forwarded() {
    let origin = Origin::useful();
    let program = egress(&["--user", "alice:secret", OPEN[0], OPEN[1]]);
    let credentials = "Proxy-Authorization: basic YWxpY2U6c2VjcmV0\r\n";
    let answer = Visitor::connect(program.address()).ask(&format!(
        "GET http://{}/head HTTP/1.1\r\nHost: x\r\n{credentials}\r\n",
        origin.address()
    ));
    assert_eq!(answer.status(), 200);
    assert!(
        !answer.text().to_lowercase().contains("proxy-auth"),
        "{answer:?}"
    );
    let mut visitor = Visitor::connect(program.address());
    visitor.send(format!(
        "CONNECT {} HTTP/1.1\r\n{credentials}Host: x\r\n\r\n",
        origin.address()
    ));
    assert_eq!(visitor.head().unwrap().status(), 200);
    assert_eq!(visitor.get("/").text(), "hello");
}

#[test]
fn absolute_form_is_an_exchange_and_sends_the_origin_nothing_about_its_user() {
    let origin = Origin::useful();
    let program = egress(&OPEN);
    let mut visitor = Visitor::connect(program.address());
    let absolute = |path: &str| {
        format!(
            "GET http://{}{path} HTTP/1.1\r\nHost: other.example\r\nProxy-Connection: keep-alive\r\n\r\n",
            origin.address()
        )
    };
    for path in ["/head?x=1", "/bytes/100000", "/chunked/100000", ""] {
        assert_eq!(visitor.ask(&absolute(path)).status(), 200);
    }
    let requests = origin.requests();
    assert_eq!(requests[0].line(), "GET /head?x=1 HTTP/1.1");
    assert_eq!(requests[3].line(), "GET / HTTP/1.1");
    assert_eq!(
        requests[0].field("Host"),
        Some(&*origin.address().to_string())
    );
    for name in [
        "X-Forwarded-For",
        "X-Real-IP",
        "Forwarded",
        "Proxy-Connection",
    ] {
        assert_eq!(requests[0].field(name), None, "{name}");
    }
    assert_eq!(origin.connections(), 1, "and its connection is used again");
    let mut bytewise = Visitor::connect(program.address());
    bytewise.send_bytewise(absolute("/bytes/5"));
    assert_eq!(bytewise.response().body.len(), 5);
}

#[test]
fn commands_and_addresses_that_are_not_served_get_their_own_reply() {
    let program = egress(&OPEN);
    let bind = [5, 2, 0, 1, 127, 0, 0, 1, 0, 80];
    let udp = [5, 3, 0, 1, 127, 0, 0, 1, 0, 80];
    assert_eq!(socks5_reply(program.address(), &bind), 7);
    assert_eq!(socks5_reply(program.address(), &udp), 7);
    assert_eq!(
        socks5_reply(program.address(), &[5, 9, 0, 1, 127, 0, 0, 1, 0, 80]),
        7
    );
    assert_eq!(
        socks5_reply(program.address(), &[5, 1, 0, 9, 127, 0, 0, 1, 0, 80]),
        8
    );
    assert_eq!(
        socks5_reply(program.address(), &socks5_name("not a name", 80)),
        1
    );
    let mut visitor = Visitor::connect(program.address());
    visitor.send([4, 2, 0, 80, 127, 0, 0, 1, 0]).expect([0, 91]);
}

#[test]
fn an_http_request_that_an_egress_cannot_serve_is_answered_with_what_to_write_instead() {
    let program = egress(&OPEN);
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET https://a.example/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://127.0.0.1:0/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("CONNECT a.example HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (
            "CONNECT 127.0.0.1:80 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (
            "GET http://a.example/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
    ] {
        let answer = Visitor::connect(program.address()).ask(request);
        assert_eq!(answer.status(), status, "{request:?}");
        assert!(
            answer.text().lines().count() >= 3,
            "the reason stands in the body: {answer:?}"
        );
    }
}
