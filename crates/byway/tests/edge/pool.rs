//! Pool: connections to origins are reused, except when their state is in doubt.

use byway_testkit::{Gate, Origin, Program, Visitor};

use super::{BYWAY, edge, edge_with};

#[test]
fn many_requests_of_many_clients_share_one_connection_to_the_origin() {
    let origin = Origin::useful();
    let program = edge_with("workers = 1", &origin);
    for _ in 0..5 {
        let mut visitor = Visitor::connect(program.address());
        for path in ["/", "/bytes/100000", "/chunked/100000", "/head"] {
            assert_eq!(visitor.get(path).status(), 200);
        }
        visitor.ask("POST /sum HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
    }
    assert_eq!((origin.requests().len(), origin.connections()), (25, 1));
}

#[test]
fn an_idle_connection_that_the_origin_closed_is_not_used_again() {
    let (closed, was_closed) = std::sync::mpsc::channel();
    let origin = Origin::scripted(move |visitor| {
        visitor.request();
        visitor
            .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .finish();
        closed.send(()).unwrap();
        visitor.hold();
    });
    let program = edge(&origin);
    let mut visitor = Visitor::connect(program.address());
    for method in ["GET", "POST", "PATCH"] {
        let answer = visitor.ask(&format!(
            "{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
        ));
        assert_eq!(answer.text(), "ok", "{method}");
        was_closed.recv().unwrap();
    }
    assert_eq!((origin.connections(), origin.requests().len()), (3, 3));
}

#[test]
fn a_connection_that_closes_during_an_idempotent_request_is_replaced_once() {
    let origin = Origin::scripted(|visitor| {
        visitor.request();
        visitor.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        // The second request is read and not answered.
        visitor.request();
    });
    let program = edge(&origin);
    let mut visitor = Visitor::connect(program.address());
    assert_eq!(visitor.get("/1").text(), "ok");
    assert_eq!(
        visitor.get("/2").text(),
        "ok",
        "sent again on a new connection"
    );
    assert_eq!(
        visitor.ask("POST /3 HTTP/1.1\r\nHost: a\r\n\r\n").status(),
        502,
        "a POST may have been served: not again"
    );
    let targets: Vec<_> = origin
        .requests()
        .iter()
        .map(|request| request.target().to_owned())
        .collect();
    assert_eq!(targets, ["/1", "/2", "/2", "/3"]);
}

// CVE-2026-48931 and similar: unsolicited bytes from an origin are served as the answer to the next
// client.
#[test]
fn bytes_on_an_idle_connection_are_never_served_to_the_next_client() {
    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    const POISON: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    for behind_the_answer in [true, false] {
        let (ask, sent) = (Gate::new(), Gate::new());
        let (asked, done) = (ask.clone(), sent.clone());
        let origin = Origin::scripted(move |visitor| {
            while let Some(request) = visitor.request() {
                match request.target() {
                    "/first" if behind_the_answer => visitor.send(format!("{OK}{POISON}")),
                    "/first" => {
                        visitor.send(OK);
                        asked.wait();
                        visitor.send(POISON)
                    }
                    _ => visitor.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmine"),
                };
                done.open();
            }
        });
        let program = edge(&origin);
        assert_eq!(
            Visitor::connect(program.address()).get("/first").text(),
            "ok"
        );
        ask.open();
        sent.wait();
        assert_eq!(
            Visitor::connect(program.address()).get("/second").text(),
            "mine"
        );
        assert_eq!(
            origin.connections(),
            2,
            "the connection with bytes on it was closed"
        );
    }
}

#[test]
fn a_connection_is_closed_if_either_side_requests_it() {
    for response in [
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 2\r\n\r\nok",
    ] {
        let origin = Origin::answering(response);
        let program = edge(&origin);
        let mut visitor = Visitor::connect(program.address());
        assert_eq!(visitor.get("/").text(), "ok");
        assert_eq!(
            visitor.get("/").text(),
            "ok",
            "the client's own connection goes on"
        );
        assert_eq!(origin.connections(), 2, "{response:?}");
    }
    let origin = Origin::useful();
    let program = edge(&origin);
    let mut visitor = Visitor::connect(program.address());
    let answer = visitor.ask("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_eq!(answer.field("Connection"), Some("close"));
    visitor.ended();
}

#[test]
fn idle_connections_are_closed_after_their_timeout() {
    let origin = Origin::useful();
    let program = edge_with("[pool]\nidle_timeout = \"200ms\"", &origin);
    Visitor::connect(program.address()).get("/");
    origin.wait_for_ended(1);
}

#[test]
fn no_more_connections_than_the_cap_and_no_longer_queue_than_allowed() {
    let gate = Gate::new();
    let go = gate.clone();
    let origin = Origin::scripted(move |visitor| {
        while visitor.request().is_some() {
            go.wait();
            visitor.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let program = edge_with(
        "workers = 1\n[pool]\nmax_per_origin = 2\nqueue = 1\nqueue_wait = \"20s\"",
        &origin,
    );
    let mut visitors: Vec<_> = (0..2)
        .map(|_| Visitor::connect(program.address()))
        .collect();
    for visitor in &mut visitors {
        visitor.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    origin.wait_for_requests(2);
    // Of the next two, the first to arrive waits and the other gets a 503.
    let mut late: Vec<_> = (0..2)
        .map(|_| Visitor::connect(program.address()))
        .collect();
    for visitor in &mut late {
        visitor.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    program.wait_for_log("queue-full");
    gate.open();
    let answers: Vec<_> = late.iter_mut().map(|visitor| visitor.response()).collect();
    let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 503]);
    let refused = answers
        .iter()
        .find(|answer| answer.status() == 503)
        .unwrap();
    assert!(refused.field("Retry-After").is_some(), "{refused:?}");
    assert!(
        visitors
            .iter_mut()
            .all(|visitor| visitor.response().text() == "ok")
    );
    assert_eq!(origin.connections(), 2);
}

#[test]
fn a_client_that_disconnects_frees_its_permit_at_the_origin() {
    let origin = Origin::scripted(|visitor| {
        while let Some(request) = visitor.request() {
            if request.target() == "/never" {
                return visitor.hold();
            }
            visitor.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let program = Program::configured(
        BYWAY,
        &super::config("[pool]\nmax_per_origin = 1", &[&super::to(&origin)]),
    );
    let mut gone = Visitor::connect(program.address());
    gone.send("GET /never HTTP/1.1\r\nHost: a\r\n\r\n");
    origin.wait_for_requests(1);
    gone.reset();
    assert_eq!(Visitor::connect(program.address()).get("/").text(), "ok");
}
