//! Interim: 100 and 103, early answers, and bodies that are refused before they arrive.

use byway_testkit::{Ending, Gate, Origin, Visitor};

use super::{edge, edge_with};

const EXPECTING: &str =
    "POST /sum HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";

#[test]
fn a_100_of_the_origin_is_forwarded_and_the_body_follows() {
    let origin = Origin::useful();
    let program = edge(&origin);
    let mut visitor = Visitor::connect(program.address());
    visitor.send(EXPECTING);
    assert_eq!(visitor.head().unwrap().status(), 100);
    visitor.send("body");
    assert!(visitor.response().text().starts_with("4 "));
    assert_eq!(origin.requests()[0].field("Expect"), Some("100-continue"));
    assert_eq!(visitor.get("/").text(), "hello", "the connection goes on");
}

#[test]
fn a_final_answer_instead_of_100_is_forwarded_and_the_body_is_never_parsed_as_a_request() {
    let origin = Origin::scripted(|visitor| {
        visitor.request_head();
        visitor.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
        visitor.hold();
    });
    let program = edge(&origin);
    let mut visitor = Visitor::connect(program.address());
    visitor
        .send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 30\r\n\r\n");
    assert_eq!(visitor.response().status(), 403);
    visitor.try_send("GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
    let (rest, _) = visitor.to_end();
    assert!(rest.is_empty(), "{}", rest.escape_ascii());
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn a_body_announced_as_too_large_gets_413_at_once_with_no_100_and_no_dial() {
    let origin = Origin::useful();
    let program = edge_with("[limits]\nmax_body = \"1KiB\"", &origin);
    for expect in ["Expect: 100-continue\r\n", ""] {
        let mut visitor = Visitor::connect(program.address());
        visitor.send(format!(
            "POST /sum HTTP/1.1\r\nHost: a\r\n{expect}Content-Length: 1025\r\n\r\n"
        ));
        assert_eq!(
            visitor.head().unwrap().status(),
            413,
            "the first head that comes is the final one"
        );
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_body_that_turns_out_too_large_gets_413_and_is_no_complete_request_for_the_origin() {
    let origin = Origin::scripted(|visitor| {
        visitor.request_head();
        visitor.remember_to_end();
    });
    let program = edge_with("[limits]\nmax_body = \"10\"", &origin);
    let mut visitor = Visitor::connect(program.address());
    visitor
        .send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n123456\r\n5\r\n78901\r\n0\r\n\r\n");
    assert_eq!(visitor.response().status(), 413);
    let body = origin.wait_for_requests(2)[1].text();
    assert!(!body.ends_with("0\r\n\r\n"), "{body:?}");
}

#[test]
fn a_route_may_limit_bodies_more_than_the_file_does() {
    let origin = Origin::useful();
    let program = byway_testkit::Program::configured(
        super::BYWAY,
        &super::config(
            "[limits]\nmax_body = \"1KiB\"",
            &[&format!("max_body = \"3\"\n{}", super::to(&origin))],
        ),
    );
    let mut visitor = Visitor::connect(program.address());
    assert_eq!(
        visitor
            .ask("POST /sum HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
            .status(),
        200
    );
    assert_eq!(
        visitor
            .ask("POST /sum HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd")
            .status(),
        413
    );
}

#[test]
fn a_103_is_forwarded_before_the_answer() {
    let origin = Origin::answering(
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n\
         HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    let program = edge(&origin);
    let mut visitor = Visitor::connect(program.address());
    visitor.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let hints = visitor.head().unwrap();
    assert_eq!(
        (hints.status(), hints.field("Link")),
        (103, Some("</a.css>; rel=preload"))
    );
    assert_eq!(visitor.head().unwrap().status(), 103);
    assert_eq!(visitor.response().text(), "ok");
    assert_eq!(visitor.get("/").text(), "ok");
}

#[test]
fn an_http_1_0_client_gets_no_interim_answers() {
    let origin = Origin::answering(
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    let program = edge(&origin);
    let mut visitor = Visitor::connect(program.address());
    visitor.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(visitor.head().unwrap().status(), 200);
}

// CVE-2025-4366: the rest of an upload that was answered early was parsed as the next request.
#[test]
fn an_early_answer_reaches_the_client_and_its_unread_upload_is_never_a_request() {
    let answered = Gate::new();
    let early = answered.clone();
    let origin = Origin::scripted(move |visitor| {
        visitor.request_head();
        visitor.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno");
        early.open();
        visitor.hold();
    });
    let program = edge(&origin);
    let mut visitor = Visitor::connect(program.address());
    visitor.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\nfirst bytes");
    answered.wait();
    assert_eq!(visitor.response().text(), "no");
    visitor.try_send("GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
    let (rest, _) = visitor.to_end();
    assert!(rest.is_empty(), "{}", rest.escape_ascii());
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn an_early_answer_is_delivered_even_if_the_origin_takes_no_more_of_the_upload() {
    let origin = Origin::scripted(|visitor| {
        visitor.request_head();
        visitor
            .send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
        visitor.finish();
    });
    let program = edge(&origin);
    let mut visitor = Visitor::connect(program.address());
    visitor.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
    let answer = visitor.response();
    assert_eq!(
        (answer.status(), answer.field("Connection")),
        (401, Some("close"))
    );
    assert_eq!(visitor.ended(), Ending::Fin);
}

#[test]
fn an_answer_that_streams_while_the_upload_still_runs_goes_both_ways() {
    let origin = Origin::scripted(|visitor| {
        visitor.request_head();
        visitor.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for word in ["ping", "pong", "pang"] {
            visitor.until(word.as_bytes());
            visitor.send(format!("6\r\n{word}!!\r\n"));
        }
        visitor.until(b"\r\n0\r\n\r\n");
        visitor.send("0\r\n\r\n");
    });
    let program = edge(&origin);
    let mut visitor = Visitor::connect(program.address());
    visitor.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    visitor.until(b"\r\n\r\n");
    for word in ["ping", "pong", "pang"] {
        visitor.send(format!("4\r\n{word}\r\n"));
        visitor.until(word.as_bytes());
    }
    visitor.send("0\r\n\r\n");
    visitor.until(b"\r\n0\r\n\r\n");
}
