//! Fairness: a client that takes all it can get does not block the upstream for another client.

use byway_testkit::{Gate, Launch, Origin, Program, Visitor};

use super::{BYWAY, to};

const CROWD: usize = 130;

/// The pool settings to test with, and how many of the greedy client's requests reach the origin.
const SETTINGS: [(&str, usize); 2] = [
    ("", CROWD),
    (
        "[pool]\nmax_per_origin = 128\nmax_upgraded_per_origin = 128",
        128,
    ),
];

/// An edge that trusts the forwarding fields of local connections.
#[track_caller]
fn edge(settings: &str, origin: &Origin) -> Program {
    launch(settings, origin).start()
}

#[track_caller]
fn launch(settings: &str, origin: &Origin) -> Launch {
    let edge =
        "[[edge]]\nlisten = \"127.0.0.1:0\"\ntrusted_proxies = \"127.0.0.0/8\"\n[[edge.route]]";
    Launch::configured(BYWAY, &format!("{settings}\n{edge}\n{}\n", to(origin)))
}

/// A request of the greedy client. Requests without this X-Forwarded-For are the other client's.
fn greedy(line: &str, fields: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.66\r\n{fields}\r\n")
}

fn crowd(program: &Program, each: &str) -> Vec<Visitor> {
    let visitors = (0..CROWD).map(|_| {
        let mut visitor = Visitor::connect(program.address());
        visitor.send(each);
        visitor
    });
    visitors.collect()
}

/// Answers `/large` with more than the socket buffers hold, `/ws` with a tunnel, and everything
/// else with `ok`.
fn origin() -> Origin {
    Origin::scripted(|served| {
        while let Some(request) = served.request_head() {
            if request.field("Upgrade").is_some() {
                served.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
                return served.hold();
            }
            match request.target() {
                "/large" => {
                    if !served.try_send(format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                        LARGE * 100
                    )) {
                        return;
                    }
                    let block = vec![b'x'; LARGE];
                    if !(0..100).all(|_| served.try_send(&block)) {
                        return;
                    }
                }
                "/upload" => return served.hold(),
                _ => {
                    served.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                }
            }
        }
    })
}

const LARGE: usize = 1 << 20;

#[test]
fn stalled_uploads_do_not_block_the_upstream_for_another_client() {
    for (settings, reaching) in SETTINGS {
        let origin = origin();
        let program = edge(settings, &origin);
        let _crowd = crowd(
            &program,
            &(greedy("POST /upload", "Content-Length: 10\r\n") + "1"),
        );
        origin.wait_for_connections(reaching);
        for _ in 0..3 {
            let answer = Visitor::connect(program.address()).get("/");
            assert_eq!(answer.status(), 200, "{settings}: {answer:?}");
        }
    }
}

#[test]
fn clients_that_wait_for_100_do_not_block_the_upstream_for_another_client() {
    for (settings, reaching) in SETTINGS {
        let origin = origin();
        let program = edge(settings, &origin);
        let fields = "Expect: 100-continue\r\nContent-Length: 10\r\n";
        let _crowd = crowd(&program, &greedy("POST /upload", fields));
        origin.wait_for_connections(reaching);
        for _ in 0..3 {
            let answer = Visitor::connect(program.address()).get("/");
            assert_eq!(answer.status(), 200, "{settings}: {answer:?}");
        }
    }
}

#[test]
fn readers_that_do_not_read_do_not_block_the_upstream_for_another_client() {
    for (settings, reaching) in SETTINGS {
        let origin = origin();
        let program = edge(settings, &origin);
        let _crowd = crowd(&program, &greedy("GET /large", ""));
        origin.wait_for_requests(reaching);
        for _ in 0..3 {
            let answer = Visitor::connect(program.address()).get("/");
            assert_eq!(answer.status(), 200, "{settings}: {answer:?}");
        }
    }
}

#[test]
fn idle_websockets_block_neither_requests_nor_websockets_of_another_client() {
    const FIELDS: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    for (settings, reaching) in SETTINGS {
        let origin = origin();
        let program = edge(settings, &origin);
        let _crowd = crowd(&program, &greedy("GET /ws", FIELDS));
        origin.wait_for_requests(reaching);
        assert_eq!(
            Visitor::connect(program.address()).get("/").status(),
            200,
            "{settings}"
        );
        let mut other = Visitor::connect(program.address());
        other.send(format!("GET /ws HTTP/1.1\r\nHost: a\r\n{FIELDS}\r\n"));
        assert_eq!(other.head().unwrap().status(), 101, "{settings}");
    }
}

#[test]
fn an_exchange_that_loses_its_permit_gets_the_reason() {
    let origin = origin();
    let program = edge("[pool]\nmax_per_origin = 2", &origin);
    let upload = greedy("POST /upload", "Content-Length: 10\r\n") + "1";
    let mut holders: Vec<_> = (0..2)
        .map(|_| Visitor::connect(program.address()))
        .collect();
    for (n, holder) in holders.iter_mut().enumerate() {
        holder.send(&upload);
        origin.wait_for_connections(n + 1);
    }
    assert_eq!(Visitor::connect(program.address()).get("/").status(), 200);
    let answer = holders[0].response();
    assert_eq!(
        answer.status(),
        503,
        "the one that has waited longest: {answer:?}"
    );
    assert!(answer.text().contains("reason: client-share"), "{answer:?}");
    assert!(answer.field("Retry-After").is_some(), "{answer:?}");
    assert!(holders[1].is_silent(), "one is enough");
    program.wait_for_log("client-share");
}

#[test]
fn an_exchange_that_only_waits_for_its_upstream_never_loses_its_permit() {
    let gate = Gate::new();
    let go = gate.clone();
    let origin = Origin::scripted(move |served| {
        while served.request().is_some() {
            go.wait();
            served.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let program = edge(
        "[pool]\nmax_per_origin = 2\nqueue_wait = \"400ms\"",
        &origin,
    );
    let mut holders: Vec<_> = (0..2)
        .map(|_| Visitor::connect(program.address()))
        .collect();
    for holder in &mut holders {
        holder.send(greedy("POST /slow", "Content-Length: 4\r\n") + "body");
    }
    origin.wait_for_requests(2);
    let answer = Visitor::connect(program.address()).get("/");
    assert_eq!(answer.status(), 503, "{answer:?}");
    assert!(
        answer.text().contains("reason: max-per-origin"),
        "{answer:?}"
    );
    gate.open();
    assert!(
        holders
            .iter_mut()
            .all(|holder| holder.response().status() == 200)
    );
}

#[test]
fn a_head_is_forwarded_before_its_body_arrives() {
    let origin = origin();
    let program = edge("", &origin);
    for fields in [
        "Content-Length: 10\r\n",
        "Content-Length: 1000000\r\n",
        "Transfer-Encoding: chunked\r\n",
    ] {
        let before = origin.requests().len();
        let mut visitor = Visitor::connect(program.address());
        visitor.send(greedy("POST /upload", fields));
        origin.wait_for_requests(before + 1);
    }
}

/// A pool with a queue that one client can fill.
const SHORT_QUEUE: &str =
    "[pool]\nmax_per_origin = 2\nmax_upgraded_per_origin = 2\nqueue = 8\nqueue_wait = \"20s\"";

/// A crowd that filled the queue: one of its requests was refused.
fn filling_crowd(program: &Program, each: &str) -> Vec<Visitor> {
    let crowd = crowd(program, each);
    program.wait_for_log("queue-full");
    crowd
}

#[test]
fn a_client_that_fills_the_queue_does_not_block_the_upstream_for_another_client() {
    let origin = origin();
    let program = edge(SHORT_QUEUE, &origin);
    let _crowd = filling_crowd(
        &program,
        &(greedy("POST /upload", "Content-Length: 10\r\n") + "1"),
    );
    for _ in 0..3 {
        let answer = Visitor::connect(program.address()).get("/");
        assert_eq!(answer.status(), 200, "{answer:?}");
    }
    program.wait_for_log("client-share");
}

#[test]
fn a_client_that_fills_the_queue_of_websockets_does_not_block_the_upstream_for_another_client() {
    const FIELDS: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    let origin = origin();
    let program = edge(SHORT_QUEUE, &origin);
    let _crowd = filling_crowd(&program, &greedy("GET /ws", FIELDS));
    let mut other = Visitor::connect(program.address());
    other.send(format!("GET /ws HTTP/1.1\r\nHost: a\r\n{FIELDS}\r\n"));
    let head = other.head().unwrap();
    assert_eq!(head.status(), 101, "{head:?}");
}

#[test]
fn a_request_whose_client_has_reset_waits_for_no_connection() {
    let origin = origin();
    let program = launch(SHORT_QUEUE, &origin)
        .with_args(&["--log-level", "debug"])
        .start();
    let upload = greedy("POST /upload", "Content-Length: 10\r\n") + "1";
    let _holders: Vec<_> = (0..2)
        .map(|n| {
            let mut holder = Visitor::connect(program.address());
            holder.send(&upload);
            origin.wait_for_connections(n + 1);
            holder
        })
        .collect();
    let crowd = filling_crowd(&program, &greedy("GET /left", ""));
    crowd.into_iter().for_each(|visitor| visitor.reset());
    program.wait_for_log("the client left");
    assert_eq!(
        origin.requests().len(),
        2,
        "the upstream got a request whose client had left"
    );
}
