//! Bodies: how messages are framed on each side, and how they end.

use byway_testkit::message::Message;
use byway_testkit::pattern::Pattern;
use byway_testkit::{Ending, Gate, Origin, Visitor, curl};

use super::{edge, edge_with};

#[test]
fn bodies_pass_both_ways_with_a_length_and_in_chunks() {
    let origin = Origin::useful();
    let program = edge(&origin);
    let mut visitor = Visitor::connect(program.address());
    for length in [0, 1, 1000, 70_000, 3_000_000] {
        let body = Pattern::whole(length);
        let expected = format!("{length} {}", Pattern::sha256(length));
        visitor
            .send(format!(
                "POST /sum HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"
            ))
            .send(&body);
        assert_eq!(
            visitor.response().text(),
            expected,
            "up, {length} with a length"
        );
        visitor.send("POST /sum HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        for piece in body.chunks(33_333) {
            visitor
                .send(format!("{:X}\r\n", piece.len()))
                .send(piece)
                .send("\r\n");
        }
        visitor.send("0\r\n\r\n");
        assert_eq!(
            visitor.response().text(),
            expected,
            "up, {length} in chunks"
        );
        assert!(
            visitor.get(&format!("/bytes/{length}")).body == body,
            "down, {length} with a length"
        );
        assert!(
            visitor.get(&format!("/chunked/{length}")).body == body,
            "down, {length} in chunks"
        );
    }
    assert_eq!(
        origin.connections(),
        1,
        "every message ended where its framing says"
    );
}

#[test]
fn trailers_pass_both_ways() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n",
    );
    let program = edge(&origin);
    let answer = Visitor::connect(program.address())
        .ask("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX-Up: 3\r\n\r\n");
    assert_eq!(
        (answer.text().as_str(), answer.trailers.as_str()),
        ("ok", "X-Sum: 1\r\nX-More: 2\r\n")
    );
    assert_eq!(
        (
            origin.requests()[0].text().as_str(),
            origin.requests()[0].trailers.as_str()
        ),
        ("body", "X-Up: 3\r\n")
    );
}

#[test]
fn chunks_are_forwarded_as_they_come_and_not_when_the_body_is_complete() {
    let gate = Gate::new();
    let seen = gate.clone();
    let origin = Origin::scripted(move |visitor| {
        visitor.request();
        visitor.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
        seen.wait();
        visitor.send("6\r\nsecond\r\n0\r\n\r\n");
    });
    let program = edge(&origin);
    let mut visitor = Visitor::connect(program.address());
    visitor.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    visitor.until(b"first\r\n");
    gate.open();
    visitor.until(b"second\r\n0\r\n\r\n");
}

#[test]
fn responses_without_a_body_leave_the_connection_where_the_next_one_starts() {
    let origin = Origin::scripted(|visitor| {
        while let Some(request) = visitor.request() {
            visitor.send(match request.target() {
                "/204" => "HTTP/1.1 204 No Content\r\n\r\n",
                "/304" => "HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\nETag: \"x\"\r\n\r\n",
                "/head" => "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n",
                "/chunked" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext",
            });
        }
    });
    let program = edge(&origin);
    let mut visitor = Visitor::connect(program.address());
    let cases = [
        ("GET", "/204", 204, None),
        ("GET", "/304", 304, Some("77")),
        ("HEAD", "/head", 200, Some("1234")),
        ("HEAD", "/chunked", 200, None),
    ];
    for (method, path, status, length) in cases {
        let answer = visitor.ask(&format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(
            (answer.status(), answer.field("Content-Length")),
            (status, length),
            "{method} {path}"
        );
        assert_eq!(
            visitor.get("/next").text(),
            "next",
            "behind {method} {path}"
        );
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn an_http_1_0_client_gets_a_body_it_can_read() {
    let origin = Origin::useful();
    let program = edge(&origin);
    let body = Pattern::whole(100_000);
    for (path, has_length) in [("/bytes/100000", true), ("/chunked/100000", false)] {
        let mut visitor = Visitor::connect(program.address());
        let answer = visitor.ask(&format!("GET {path} HTTP/1.0\r\n\r\n"));
        assert!(answer.body == body, "{path}");
        assert_eq!(answer.field("Content-Length").is_some(), has_length);
        assert_eq!(answer.field("Transfer-Encoding"), None);
        assert_eq!(visitor.ended(), Ending::Fin);
    }
    let mut visitor = Visitor::connect(program.address());
    for _ in 0..2 {
        let answer = visitor.ask("GET /bytes/10 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(answer.field("Connection"), Some("keep-alive"));
    }
}

#[test]
fn a_body_that_ends_with_the_upstream_connection_is_chunked_for_clients_that_can_read_it() {
    let origin = Origin::scripted(|visitor| {
        visitor.request();
        visitor.send("HTTP/1.0 200 OK\r\n\r\nuntil the end");
    });
    let program = edge(&origin);
    let mut visitor = Visitor::connect(program.address());
    for _ in 0..2 {
        let answer = visitor.get("/");
        assert_eq!(
            (answer.text().as_str(), answer.field("Transfer-Encoding")),
            ("until the end", Some("chunked"))
        );
    }
    assert_eq!(
        Visitor::connect(program.address())
            .ask("GET / HTTP/1.0\r\n\r\n")
            .text(),
        "until the end"
    );
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::useful();
    let program = edge(&origin);
    let mut visitor = Visitor::connect(program.address());
    let one = "GET /bytes/70000 HTTP/1.1\r\nHost: a\r\n\r\n";
    let two = "POST /sum HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    let three = "GET /missing HTTP/1.1\r\nHost: a\r\n\r\n";
    visitor.send(format!("{one}{two}{three}{one}"));
    assert_eq!(visitor.response().body.len(), 70_000);
    assert!(visitor.response().text().starts_with("3 "));
    assert_eq!(visitor.response().text(), "hello");
    assert_eq!(visitor.response().body.len(), 70_000);
}

#[test]
fn a_complete_request_followed_by_fin_gets_its_response() {
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody",
    ] {
        let sent = Gate::new();
        let fin = sent.clone();
        let origin = Origin::scripted(move |visitor| {
            visitor.request();
            fin.wait();
            visitor.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nanswer");
        });
        let program = edge(&origin);
        let mut visitor = Visitor::connect(program.address());
        visitor.send(request).finish();
        sent.open();
        assert_eq!(visitor.response().text(), "answer", "{request:?}");
        assert_eq!(visitor.ended(), Ending::Fin);
    }
}

const CUT: [&str; 4] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nonly this",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n0\r\n",
];

#[test]
fn a_truncated_upstream_body_is_never_presented_as_complete() {
    let origin = Origin::by_number(&CUT);
    let program = edge(&origin);
    for (number, response) in CUT.iter().enumerate() {
        for version in ["1.1", "1.0"] {
            let mut visitor = Visitor::connect(program.address());
            visitor.send(format!("GET /{number} HTTP/{version}\r\nHost: a\r\n\r\n"));
            let (bytes, ending) = visitor.to_end();
            let text = String::from_utf8_lossy(&bytes);
            assert_eq!(
                ending,
                Ending::Reset,
                "{response:?} on HTTP/{version}: {text}"
            );
            assert!(
                !text.contains("\r\n0\r\n\r\n"),
                "{response:?} on HTTP/{version}: {text}"
            );
        }
        let fetched = curl(&[&format!("http://{}/{number}", program.address())]);
        assert!(matches!(fetched.exit, 18 | 56), "{response:?}: {fetched:?}");
    }
    program.wait_for_log("closed-early");
}

#[test]
fn an_upstream_that_resets_within_its_body_resets_the_client() {
    for response in [CUT[0], CUT[1], "HTTP/1.0 200 OK\r\n\r\nonly this"] {
        for version in ["1.1", "1.0"] {
            let go = Gate::new();
            let passed_on = go.clone();
            let origin = Origin::scripted(move |visitor| {
                visitor.request();
                visitor.send(response);
                passed_on.wait();
                visitor.reset_now();
            });
            let program = edge(&origin);
            let mut visitor = Visitor::connect(program.address());
            visitor.send(format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n"));
            visitor.until(b"only this");
            go.open();
            let (rest, ending) = visitor.to_end();
            assert_eq!(
                ending,
                Ending::Reset,
                "{response:?} on HTTP/{version}: {}",
                rest.escape_ascii()
            );
        }
    }
}

#[test]
fn an_upstream_that_does_not_speak_http_is_a_502() {
    const GARBAGE: &[&str] = &[
        "SSH-2.0-OpenSSH_9.6\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/2 200\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX : 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: 1\r\n folded\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: \0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    ];
    let origin = Origin::by_number(GARBAGE);
    let program = edge(&origin);
    let mut visitor = Visitor::connect(program.address());
    for (number, garbage) in GARBAGE.iter().enumerate() {
        let answer = visitor.get(&format!("/{number}"));
        assert_eq!(answer.status(), 502, "{garbage:?}");
        assert!(
            answer
                .field("Proxy-Status")
                .unwrap()
                .contains("error=http_protocol_error"),
            "{garbage:?} {answer:?}"
        );
    }
}

#[test]
fn an_upstream_that_closes_without_an_answer_is_a_502() {
    // Before the first byte of a response a GET is retried once. After it nothing is retried.
    for (half_an_answer, deliveries) in [("", 2), ("HTTP/1.1 200 OK\r\nContent-Le", 1)] {
        let origin = Origin::scripted(move |visitor| {
            visitor.request();
            visitor.send(half_an_answer);
        });
        let program = edge(&origin);
        let answer = Visitor::connect(program.address()).get("/");
        assert_eq!(
            (answer.status(), origin.requests().len()),
            (502, deliveries),
            "{half_an_answer:?}"
        );
    }
}

#[test]
fn chunks_that_go_wrong_on_the_way_down_reset_the_client() {
    const WRONG: &[&str] = &[
        "+2\r\nok\r\n0\r\n\r\n",
        "2\r\nok0\r\n\r\n",
        "2\nok\r\n0\r\n\r\n",
        "fffffffffffffffff\r\n0\r\n\r\n",
        "x\r\n0\r\n\r\n",
    ];
    for wrong in WRONG {
        let gate = Gate::new();
        let arrived = gate.clone();
        let origin = Origin::scripted(move |served| {
            served.request();
            served.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n");
            arrived.wait();
            served.send(wrong);
        });
        let program = edge(&origin);
        let mut visitor = Visitor::connect(program.address());
        visitor.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        // Bytes that were sent to the client cannot be withdrawn.
        visitor.until(b"2\r\nok\r\n");
        gate.open();
        let (bytes, ending) = visitor.to_end();
        let text = String::from_utf8_lossy(&bytes);
        assert!(
            ending == Ending::Reset && !text.contains("\r\n0\r\n"),
            "{wrong:?}: {ending:?} {text}"
        );
    }
}

#[test]
fn chunks_that_go_wrong_on_the_way_up_are_a_400_and_no_complete_request_for_the_origin() {
    let origin = Origin::scripted(|visitor| {
        visitor.request_head();
        visitor.remember_to_end();
    });
    let program = edge(&origin);
    let wrong = [
        "+4\r\nbody\r\n0\r\n\r\n",
        "4\r\nbody0\r\n\r\n",
        "4\nbody\r\n0\r\n\r\n",
        "0x4\r\nbody\r\n",
        "fffffffffffffffff\r\n",
    ];
    for (number, wrong) in wrong.iter().enumerate() {
        let mut visitor = Visitor::connect(program.address());
        visitor.send(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n{wrong}"
        ));
        assert_eq!(visitor.response().status(), 400, "{wrong:?}");
        let body = origin.wait_for_requests(2 * number + 2)[2 * number + 1].text();
        assert!(
            !body.ends_with("0\r\n\r\n"),
            "{wrong:?}: the origin saw an end: {body:?}"
        );
    }
}

#[test]
fn an_aborted_upload_is_no_complete_request_for_the_origin() {
    let origin = Origin::scripted(|visitor| {
        visitor.request_head();
        visitor.remember_to_end();
    });
    let program = edge(&origin);
    let framings = [
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "Content-Length: 9\r\n\r\nabc",
    ];
    let cases = framings
        .iter()
        .flat_map(|framing| [(framing, true), (framing, false)]);
    for (number, (framing, by_reset)) in cases.enumerate() {
        let mut visitor = Visitor::connect(program.address());
        visitor.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}"));
        origin.wait_for_requests(2 * number + 1);
        match by_reset {
            true => visitor.reset(),
            false => drop(visitor),
        }
        let seen = origin.wait_for_requests(2 * number + 2)[2 * number + 1].clone();
        assert!(
            !seen.text().ends_with("0\r\n\r\n") && seen.body.len() < 9 + 9,
            "{framing:?}: {seen:?}"
        );
    }
}

#[test]
fn a_slow_upstream_is_a_504_that_names_its_deadline() {
    let origin = Origin::scripted(|visitor| {
        visitor.request();
        visitor.hold();
    });
    let program = edge_with("[limits]\nfirst_byte = \"200ms\"", &origin);
    let answer = Visitor::connect(program.address()).get("/");
    assert_eq!(answer.status(), 504);
    assert!(
        answer
            .field("Proxy-Status")
            .unwrap()
            .contains("http_response_timeout"),
        "{answer:?}"
    );
    assert!(answer.text().contains("first-byte"), "{answer:?}");
    origin.wait_for_ended(1);
}

#[test]
fn an_upstream_body_that_stalls_is_cut_and_not_ended() {
    let origin = Origin::scripted(|visitor| {
        visitor.request();
        visitor.send(CUT[2]);
        visitor.hold();
    });
    let program = edge_with("[limits]\nbody_progress = \"200ms\"", &origin);
    let mut visitor = Visitor::connect(program.address());
    visitor.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let (bytes, ending) = visitor.to_end();
    assert_eq!(ending, Ending::Reset, "{}", bytes.escape_ascii());
    origin.wait_for_ended(1);
}

#[test]
fn answers_that_come_byte_by_byte_are_passed_on_whole() {
    let origin = Origin::scripted(|visitor| {
        while visitor.request().is_some() {
            visitor.send_bytewise(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=\"b\"\r\nhello\r\n00\r\nT: 1\r\n\r\n",
            );
        }
    });
    let program = edge(&origin);
    let mut visitor = Visitor::connect(program.address());
    for _ in 0..2 {
        let Message { body, trailers, .. } = visitor.get("/");
        assert_eq!(
            (body.as_slice(), trailers.as_str()),
            (&b"hello"[..], "T: 1\r\n")
        );
    }
    assert_eq!(origin.connections(), 1);
}
