//! Hostile: malicious peers, one test for each class of attack on HTTP that has had a CVE, from
//! end to end.
//!
//! `framing` two readings of one request · `chunks` the chunked coding · `lines` start lines,
//! fields, Host, paths · `identity` fields that identify the client · `tunnels` Upgrade, CONNECT,
//! Expect · `origins` malformed responses and unsolicited bytes · `slow` peers that send or read
//! too slowly · `h2` floods and other attacks on HTTP/2.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod chunks;
mod framing;
mod h2;
mod identity;
mod lines;
mod origins;
mod slow;
mod tunnels;

use byway_testkit::{Origin, Program, Visitor};

const BYWAY: &str = env!("CARGO_BIN_EXE_byway");
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/// One edge in front of one origin, on one worker, so that all clients share one pool.
#[track_caller]
fn edge(settings: &str, origin: &Origin) -> Program {
    let config = format!(
        "workers = 1\n{settings}\n[[edge]]\nlisten = \"127.0.0.1:0\"\n[[edge.route]]\nto = \"{}\"\n",
        origin.address()
    );
    Program::configured(BYWAY, &config)
}

/// Each request is answered with 4xx or 5xx, then its connection ends. The request behind it is
/// never answered, and no byte of either reaches the origin.
#[track_caller]
fn refused<T: AsRef<[u8]>>(requests: impl IntoIterator<Item = T>) {
    let origin = Origin::useful();
    let program = edge("", &origin);
    for request in requests {
        let request = request.as_ref();
        let shown = request[..request.len().min(200)].escape_ascii().to_string();
        let mut visitor = Visitor::connect(program.address());
        // The edge may close the connection while the rest is being sent.
        visitor.try_send(request);
        visitor.try_send(SMUGGLED);
        let method = if request.starts_with(b"HEAD ") {
            "HEAD"
        } else {
            "GET"
        };
        let answer = visitor.response_to(method);
        assert!(
            (400..=505).contains(&answer.status()),
            "{shown}: {answer:?}"
        );
        let (rest, _) = visitor.to_end();
        assert!(
            rest.is_empty(),
            "behind {shown} came {}",
            rest.escape_ascii()
        );
    }
    assert_eq!(origin.connections(), 0, "something reached the origin");
    assert_eq!(
        Visitor::connect(program.address()).get("/").status(),
        200,
        "the edge still serves"
    );
}

/// Each body goes wrong behind a valid head: the origin may receive a part of it, but never a
/// complete request, nor the one behind it.
#[track_caller]
fn never_completed<T: AsRef<[u8]>>(bodies: impl IntoIterator<Item = T>) {
    let origin = Origin::scripted(|visitor| {
        visitor.request_head();
        visitor.remember_to_end();
    });
    let program = edge("", &origin);
    for (n, body) in bodies.into_iter().enumerate() {
        let body = body.as_ref();
        let shown = body[..body.len().min(200)].escape_ascii().to_string();
        let mut visitor = Visitor::connect(program.address());
        visitor.send("POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        visitor.try_send(body);
        visitor.try_send(SMUGGLED);
        assert!(
            (400..=431).contains(&visitor.response().status()),
            "{shown}"
        );
        let (rest, _) = visitor.to_end();
        assert!(
            rest.is_empty(),
            "behind {shown} came {}",
            rest.escape_ascii()
        );
        origin.wait_for_ended(n + 1);
        // If the error was found before the head was sent, nothing was sent.
        for got in origin.requests().iter().map(byway_testkit::Message::text) {
            assert!(
                !got.ends_with("0\r\n\r\n") && !got.contains("HTTP/1.1"),
                "{shown}: the origin got {got:?}"
            );
        }
        assert!(
            origin
                .requests()
                .iter()
                .all(|request| !request.line().contains("/smuggled")),
            "{shown}"
        );
    }
}

/// The only request that reached the origin.
#[track_caller]
fn forwarded(request: &str) -> byway_testkit::Message {
    let origin = Origin::useful();
    let program = edge("", &origin);
    let answer = Visitor::connect(program.address()).ask(request);
    assert_eq!(answer.status(), 200, "{request:?}: {answer:?}");
    let mut requests = origin.requests();
    assert_eq!(requests.len(), 1, "{request:?}");
    requests.remove(0)
}
