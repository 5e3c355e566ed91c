//! Origins: responses with two readings, and unsolicited bytes. Neither this client nor the next
//! one may receive them as its answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use byway_testkit::{Gate, Origin, Visitor};

use super::edge;

const MINE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmine";
const POISON: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";

/// Each response is answered with 502, and the next request uses another connection and gets its
/// own answer.
#[track_caller]
fn distrusted(method: &str, responses: &[&str]) {
    let next = Arc::new(AtomicUsize::new(0));
    let all: Vec<String> = responses
        .iter()
        .map(|&response| response.to_owned())
        .collect();
    let count = Arc::clone(&next);
    let origin = Origin::scripted(move |visitor| {
        while let Some(request) = visitor.request() {
            match request.target() {
                "/evil" => visitor.send(&all[count.load(Relaxed)]),
                _ => visitor.send(MINE),
            };
        }
    });
    let program = edge("", &origin);
    for response in responses {
        let shown = response.as_bytes()[..response.len().min(120)]
            .escape_ascii()
            .to_string();
        let answer = Visitor::connect(program.address())
            .ask(&format!("{method} /evil HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(answer.status(), 502, "{shown}");
        assert!(!answer.text().contains("poison"), "{shown}");
        assert_eq!(
            Visitor::connect(program.address()).get("/honest").text(),
            "mine",
            "behind {shown}"
        );
        let requests = origin.requests();
        let [evil, honest] = &requests[requests.len() - 2..] else {
            panic!("two requests")
        };
        assert_ne!(
            evil.connection, honest.connection,
            "{shown}: the connection was used again"
        );
        next.fetch_add(1, Relaxed);
    }
}

#[test]
fn responses_with_a_length_and_a_coding_or_two_lengths() {
    let with = |fields: &str| {
        format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n5\r\nhello\r\n0\r\n\r\n{POISON}")
    };
    let all = [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5, 5",
        "Content-Length: +5",
        "Content-Length: 0x5",
        "Content-Length:",
        "Content-Length: 18446744073709551621",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding:",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding: \x0bchunked",
        "X: 1\r\n Transfer-Encoding: chunked",
        "X: 1\nTransfer-Encoding: chunked",
        "X: a\rb",
        "X: \0",
        ": 1",
        "X",
        " X: 1",
        "X y: 1",
    ]
    .map(with);
    distrusted("GET", &all.each_ref().map(String::as_str));
}

#[test]
fn invalid_responses() {
    let giant = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(70_000));
    let endless = "x".repeat(100_000);
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: 1\r\n".repeat(200));
    distrusted(
        "GET",
        &[
            "hello\r\n\r\n",
            "HTTP/2 200\r\n\r\n",
            "HTTP/1.1 099 Low\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 2000 OK\r\n\r\n",
            "HTTP/1.1  200 OK\r\n\r\n",
            "HTTP/1.1 200 a\rb\r\n\r\n",
            "HTTP/1.1 200 OK\n\n",
            "\r\nHTTP/1.1 200 OK\r\n\r\n",
            "ICY 200 OK\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            &giant,
            &endless,
            &many,
        ],
    );
}

#[test]
fn an_unrequested_101_opens_no_tunnel() {
    let switch = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n{POISON}"
    );
    for method in ["GET", "POST", "HEAD"] {
        distrusted(method, &[&switch]);
    }
}

#[test]
fn interim_answers_without_end() {
    let flood = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(1000);
    let origin = Origin::answering(flood);
    let program = edge("", &origin);
    let mut visitor = Visitor::connect(program.address());
    visitor.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    // The first ones are passed on. Then a limit is reached.
    assert_eq!(visitor.response().status(), 502);
    program.wait_for_log("endless-interim");
}

#[test]
fn bodies_behind_responses_that_have_none_are_never_served() {
    for (method, head) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 51\r\n\r\n"),
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        (
            "GET",
            "HTTP/1.1 204 No Content\r\nContent-Length: 51\r\n\r\n",
        ),
        (
            "GET",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 51\r\n\r\n",
        ),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
    ] {
        let origin = Origin::scripted(move |visitor| {
            while let Some(request) = visitor.request() {
                match request.target() {
                    "/evil" => visitor.send(format!("{head}{POISON}")),
                    _ => visitor.send(MINE),
                };
            }
        });
        let program = edge("", &origin);
        let mut visitor = Visitor::connect(program.address());
        let answer = visitor.ask(&format!("{method} /evil HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(
            answer.status() < 400 && answer.body.is_empty(),
            "{head:?}: {answer:?}"
        );
        // On this connection and on a new one.
        assert_eq!(visitor.get("/honest").text(), "mine", "{head:?}");
        assert_eq!(
            Visitor::connect(program.address()).get("/honest").text(),
            "mine",
            "{head:?}"
        );
        assert_ne!(
            origin.requests()[0].connection,
            origin.requests()[1].connection,
            "{head:?}"
        );
    }
}

#[test]
fn a_204_with_a_length_does_not_keep_its_connection_even_if_the_body_is_late() {
    for (head, kept) in [
        (
            "HTTP/1.1 204 No Content\r\nContent-Length: 51\r\n\r\n".to_owned(),
            false,
        ),
        (
            "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
            false,
        ),
        (
            format!("HTTP/1.1 103 Early Hints\r\nContent-Length: 51\r\n\r\n{MINE}"),
            false,
        ),
        (
            format!("HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\n{MINE}"),
            false,
        ),
        (
            "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n".to_owned(),
            true,
        ),
        (
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 51\r\n\r\n".to_owned(),
            true,
        ),
        (
            format!("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n{MINE}"),
            true,
        ),
    ] {
        let shown = head.clone();
        let origin = Origin::scripted(move |visitor| {
            while let Some(request) = visitor.request() {
                match request.target() {
                    "/evil" => visitor.send(&head),
                    _ => visitor.send(MINE),
                };
            }
        });
        let program = edge("", &origin);
        let mut visitor = Visitor::connect(program.address());
        assert!(visitor.get("/evil").status() < 400, "{shown:?}");
        assert_eq!(visitor.get("/honest").text(), "mine", "{shown:?}");
        let requests = origin.requests();
        assert_eq!(
            requests[0].connection == requests[1].connection,
            kept,
            "{shown:?}"
        );
    }
}

#[test]
fn a_bad_first_chunk_beside_the_head_is_a_502_and_no_reset() {
    for chunks in [
        "x\r\nhello\r\n",
        "5\r\nhello\r\nx\r\n",
        "0\r\nX : 1\r\n\r\n",
        "10000000000000000\r\n",
    ] {
        let origin = Origin::answering(format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"
        ));
        let program = edge("", &origin);
        let mut visitor = Visitor::connect(program.address());
        let answer = visitor.get("/");
        assert_eq!(answer.status(), 502, "{chunks:?}: {answer:?}");
        assert!(
            answer.text().contains("reason: chunk") || answer.text().contains("reason: space"),
            "{answer:?}"
        );
        assert_eq!(
            visitor.get("/").status(),
            502,
            "{chunks:?}: the connection of the client goes on"
        );
    }
}

#[test]
fn cve_2026_48931_bytes_on_an_idle_connection_are_never_served() {
    let (ask, sent) = (Gate::new(), Gate::new());
    let (asked, done) = (ask.clone(), sent.clone());
    let origin = Origin::scripted(move |visitor| {
        while let Some(request) = visitor.request() {
            visitor.send(MINE);
            if request.target() == "/first" {
                asked.wait();
                visitor.send(POISON);
                done.open();
            }
        }
    });
    let program = edge("", &origin);
    let mut first = Visitor::connect(program.address());
    assert_eq!(first.get("/first").text(), "mine");
    ask.open();
    sent.wait();
    assert_eq!(
        Visitor::connect(program.address()).get("/second").text(),
        "mine"
    );
    assert_eq!(
        first.get("/third").text(),
        "mine",
        "the first client is not affected either"
    );
    assert_eq!(
        origin.connections(),
        2,
        "one was closed, the other is still used"
    );
}

#[test]
fn truncated_and_broken_bodies_are_cut_and_never_ended() {
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nx\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n10000000000000000\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX : 1\r\n\r\n",
    ] {
        let origin = Origin::scripted(move |visitor| {
            visitor.request();
            visitor.send(response);
        });
        let program = edge("", &origin);
        let mut visitor = Visitor::connect(program.address());
        visitor.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let (all, ending) = visitor.to_end();
        let text = String::from_utf8_lossy(&all);
        assert!(!text.ends_with("0\r\n\r\n"), "{response:?}: {text}");
        // If the error was found before anything was sent, the answer is a 502.
        let cut = ending == byway_testkit::Ending::Reset || text.contains("Content-Length: 50");
        assert!(
            cut || text.starts_with("HTTP/1.1 502 "),
            "{response:?}: {ending:?} {text}"
        );
    }
}

#[test]
fn trailers_of_a_response_cannot_frame_or_set_cookies() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nmine\r\n0\r\nContent-Length: 99\r\nTransfer-Encoding: x\r\n\
         Set-Cookie: a=1\r\nSet_Cookie: a=1\r\nX-Sum: 1\r\n\r\n",
    );
    let program = edge("", &origin);
    let answer = Visitor::connect(program.address()).get("/");
    assert_eq!(
        (answer.text().as_str(), answer.trailers.as_str()),
        ("mine", "X-Sum: 1\r\n")
    );
}
