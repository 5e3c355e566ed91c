//! Retries: what is sent to an origin again, how often at most, and what is logged about the rest.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;

use byway_testkit::{Ending, Gate, Origin, Program, Served, Visitor};
use parking_lot::Mutex;
use proptest::prelude::*;

use super::{BYWAY, config, edge, edge_with, to};

/// What an origin does with the next request of a connection.
#[derive(Clone, Copy, Debug)]
enum Point {
    Answer,
    BeforeReading,
    BehindTheHead,
    WithinTheBody,
    BehindTheRequest,
    BehindTheStatusLine,
    WithinTheAnswer,
}

/// A [`Point`], and whether the connection ends there with a reset.
type Step = (Point, bool);

const POINTS: [Point; 7] = [
    Point::Answer,
    Point::BeforeReading,
    Point::BehindTheHead,
    Point::WithinTheBody,
    Point::BehindTheRequest,
    Point::BehindTheStatusLine,
    Point::WithinTheAnswer,
];

/// Serves one connection by the next steps, one per request. Every head that is read counts as a
/// delivery.
fn misbehave(served: &mut Served, steps: &Mutex<VecDeque<Step>>) {
    loop {
        let (point, reset) = steps.lock().pop_front().unwrap_or((Point::Answer, false));
        if follow(served, point) {
            continue;
        }
        if reset {
            served.reset_now();
        }
        return;
    }
}

/// Returns false if the connection has to end.
fn follow(served: &mut Served, point: Point) -> bool {
    if matches!(point, Point::BeforeReading) {
        return false;
    }
    let Some(mut request) = served.request_head() else {
        return false;
    };
    let body = request
        .field("Content-Length")
        .map_or(0, |length| length.parse().unwrap());
    match point {
        Point::BeforeReading | Point::BehindTheHead => return false,
        Point::WithinTheBody => {
            served.exactly(body / 2);
            return false;
        }
        _ => served.request_body(&mut request),
    }
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone";
    served.try_send(match point {
        Point::BehindTheStatusLine => &answer[..17],
        Point::WithinTheAnswer => &answer[..answer.len() - 2],
        Point::Answer => answer,
        _ => "",
    });
    matches!(point, Point::Answer)
}

/// How a request is sent, and whether it may be delivered twice.
#[derive(Clone, Copy, Debug)]
struct Kind {
    method: &'static str,
    fields: &'static str,
    body: &'static str,
    repeatable: bool,
}

const KINDS: [Kind; 6] = [
    Kind {
        method: "GET",
        fields: "",
        body: "",
        repeatable: true,
    },
    Kind {
        method: "PUT",
        fields: "Content-Length: 8\r\n",
        body: "put this",
        repeatable: true,
    },
    Kind {
        method: "POST",
        fields: "",
        body: "",
        repeatable: false,
    },
    Kind {
        method: "POST",
        fields: "Content-Length: 8\r\n",
        body: "add this",
        repeatable: false,
    },
    Kind {
        method: "PATCH",
        fields: "Idempotency-Key: a\r\nContent-Length: 8\r\n",
        body: "keyed up",
        repeatable: true,
    },
    Kind {
        method: "POST",
        fields: "Idempotency-Key: a\r\nIdempotency-Key: b\r\nContent-Length: 8\r\n",
        body: "two keys",
        repeatable: false,
    },
];

#[test]
fn a_request_with_a_side_effect_is_delivered_at_most_once_whatever_its_origins_do() {
    let steps: Arc<Mutex<VecDeque<Step>>> = Arc::default();
    let origins: Vec<_> = (0..2)
        .map(|_| {
            let steps = Arc::clone(&steps);
            Origin::scripted(move |served| misbehave(served, &steps))
        })
        .collect();
    let both = format!(
        "to = [\"{}\", \"{}\"]",
        origins[0].address(),
        origins[1].address()
    );
    let program = Program::configured(
        BYWAY,
        &config("retry.budget_per_second = 1000000", &[&both]),
    );
    let step = (prop::sample::select(&POINTS[..]), any::<bool>());
    let strategy = (
        prop::collection::vec(step, 0..6),
        prop::collection::vec(0..KINDS.len(), 1..4),
    );
    let (number, twice, failed) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let cases = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(150)
    };
    let mut runner = proptest::test_runner::TestRunner::new(cases);
    let outcome = runner.run(&strategy, |(script, kinds)| {
        *steps.lock() = script.into();
        for kind in kinds.into_iter().map(|kind| KINDS[kind]) {
            number.set(number.get() + 1);
            let target = format!("/{}", number.get());
            let Kind {
                method,
                fields,
                body,
                ..
            } = kind;
            let mut visitor = Visitor::connect(program.address());
            visitor.send(format!(
                "{method} {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n{body}"
            ));
            let (answer, ending) = visitor.to_end();
            let delivered: usize = origins
                .iter()
                .flat_map(|origin| origin.requests())
                .filter(|request| request.target() == target)
                .count();
            let most = if kind.repeatable { 2 } else { 1 };
            prop_assert!(
                delivered <= most,
                "{kind:?} was delivered {delivered} times"
            );
            let whole = answer.starts_with(b"HTTP/1.1 200 ") && answer.ends_with(b"done");
            prop_assert!(delivered > 0 || !whole, "{kind:?} was not delivered");
            prop_assert!(
                whole || answer.starts_with(b"HTTP/1.1 502 ") || ending == Ending::Reset,
                "{kind:?}"
            );
            twice.set(twice.get() + usize::from(delivered == 2));
            failed.set(failed.get() + usize::from(!whole));
        }
        Ok(())
    });
    outcome.unwrap();
    let shown = format!("of {number:?} {twice:?} went twice, {failed:?} failed");
    assert!(
        twice.get() > 0 && failed.get() > 0,
        "{shown}: that shows nothing"
    );
}

#[test]
fn a_post_goes_to_the_next_upstream_if_the_first_cannot_be_reached() {
    let (refusing, _socket) = Origin::refusing();
    let origin = Origin::useful();
    let route = format!(
        "to = [\"{refusing}\", \"http://nowhere.invalid:80\", \"{}\"]",
        origin.address()
    );
    let program = Program::configured(BYWAY, &config("retry.attempts = 0\nworkers = 1", &[&route]));
    let mut visitor = Visitor::connect(program.address());
    for _ in 0..3 {
        let answer = visitor.ask("POST /sum HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
        assert!(answer.text().starts_with("4 "), "{answer:?}");
    }
    assert_eq!(origin.requests().len(), 3);
}

#[test]
fn the_log_says_why_a_retry_was_not_made() {
    let origin = Origin::scripted(|served| {
        let request = served.request_head().unwrap();
        if request.target() == "/partial" {
            served.send("HTTP/1.1 200 OK\r\n");
        } else if request.target() == "/long" {
            served.exactly(10_000);
        }
    });
    let (refusing, _socket) = Origin::refusing();
    let refused = format!("path = '^/refused'\nto = \"{refusing}\"");
    let settings = "retry.replay = \"1KiB\"\nretry.budget_percent = 0\nretry.budget_per_second = 1";
    let program = Program::configured(BYWAY, &config(settings, &[&refused, &to(&origin)]));
    let long = "x".repeat(10_000);
    for (request, reason) in [
        (
            "POST / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            "method-not-idempotent",
        ),
        (
            "GET /partial HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            "partial-response",
        ),
        (
            "GET /refused HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            "no-other-upstream",
        ),
        (
            format!("PUT /long HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n{long}"),
            "body-too-large-to-replay",
        ),
        ("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), "attempts"),
    ] {
        let answer = Visitor::connect(program.address()).ask(&request);
        assert_eq!(answer.status(), 502, "{reason}: {answer:?}");
        let id = answer.field("X-Request-Id").unwrap().to_owned();
        let line = program.wait_for_log(&id);
        assert!(
            line.contains("not_retried") && line.contains(reason),
            "{reason}: {line}"
        );
    }
    // The bucket held one retry, and one second earns no second one.
    let exhausted = (0..100).any(|_| {
        Visitor::connect(program.address()).get("/2");
        program.stderr().contains("not_retried=\"budget\"")
    });
    assert!(exhausted);
}

#[test]
fn a_503_names_the_limit_and_when_to_retry() {
    for (limits, class, key) in [
        (
            "max_per_origin = 1",
            "max-per-origin",
            "pool.max_per_origin",
        ),
        ("max_total = 1", "max-per-origin", "pool.max_per_origin"),
        (
            "max_total = 2\nmax_per_origin = 2",
            "max-per-origin",
            "pool.max_per_origin",
        ),
    ] {
        let gate = Gate::new();
        let go = gate.clone();
        let origin = Origin::scripted(move |served| {
            if served.request().is_some() {
                go.wait();
                served.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            }
        });
        let program = edge_with(
            &format!("[pool]\nqueue_wait = \"1100ms\"\n{limits}"),
            &origin,
        );
        let most = if limits.contains('2') { 2 } else { 1 };
        let mut holders: Vec<_> = (0..most)
            .map(|_| Visitor::connect(program.address()))
            .collect();
        for holder in &mut holders {
            holder.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        }
        origin.wait_for_requests(most);
        let answer = Visitor::connect(program.address()).get("/");
        assert_eq!(
            (answer.status(), answer.field("Retry-After")),
            (503, Some("2")),
            "{answer:?}"
        );
        let status = answer.field("Proxy-Status").unwrap();
        assert!(
            status.contains("connection_limit_reached") && status.contains(class),
            "{status}"
        );
        let line = program.wait_for_log(answer.field("X-Request-Id").unwrap());
        assert!(
            line.contains(key) && line.contains(&origin.address().to_string()),
            "{line}"
        );
        gate.open();
    }
}

#[test]
fn a_503_names_the_total_limit_if_other_upstreams_have_reached_it() {
    let gate = Gate::new();
    let go = gate.clone();
    let busy = Origin::scripted(move |served| {
        served.request();
        go.wait();
        served.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let origin = Origin::useful();
    let route = format!("path = '^/busy'\n{}", to(&busy));
    let settings = "[pool]\nqueue_wait = \"200ms\"\nmax_total = 2\nmax_per_origin = 2";
    let program = Program::configured(BYWAY, &config(settings, &[&route, &to(&origin)]));
    let mut holders: Vec<_> = (0..2)
        .map(|_| Visitor::connect(program.address()))
        .collect();
    for holder in &mut holders {
        holder.send("GET /busy HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    busy.wait_for_requests(2);
    let answer = Visitor::connect(program.address()).get("/");
    assert_eq!(
        (answer.status(), answer.field("Retry-After")),
        (503, Some("1"))
    );
    assert!(answer.text().contains("reason: max-total"), "{answer:?}");
    program.wait_for_log("pool.max_total: 2 connections");
    gate.open();
}

#[test]
fn a_503_of_an_egress_names_the_limit() {
    let gate = Gate::new();
    let go = gate.clone();
    let origin = Origin::scripted(move |served| {
        served.request();
        go.wait();
        served.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let egress = "[pool]\nqueue_wait = \"100ms\"\nmax_per_origin = 1\n[[proxy]]\nlisten = \"127.0.0.1:0\"\n\
                  [[proxy.rule]]\naction = \"allow\"\ncidr = \"127.0.0.1\"\n";
    let program = Program::configured(BYWAY, egress);
    let request = format!(
        "GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n\r\n",
        origin.address()
    );
    let mut holder = Visitor::connect(program.address());
    holder.send(&request);
    origin.wait_for_requests(1);
    let answer = Visitor::connect(program.address()).ask(&request);
    assert_eq!(answer.status(), 503);
    let detail = format!(
        "pool.max_per_origin: 1 connections are open to {}",
        origin.address()
    );
    assert!(answer.text().contains(&detail), "{answer:?}");
    assert!(
        answer
            .field("Proxy-Status")
            .unwrap()
            .contains("pool.queue_wait, 100ms"),
        "{answer:?}"
    );
    gate.open();
}

#[test]
fn a_stale_connection_is_replaced_during_a_request_with_a_body() {
    let origin = Origin::scripted(|served| {
        served.request();
        served.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        // The next request is read to its end and not answered.
        served.request();
    });
    let program = edge(&origin);
    let mut visitor = Visitor::connect(program.address());
    assert_eq!(visitor.get("/1").text(), "ok");
    let body = "b".repeat(60_000);
    let put = format!(
        "PUT /2 HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(visitor.ask(&put).text(), "ok");
    let seen = origin.requests();
    assert_eq!(
        seen.iter()
            .map(|request| request.target())
            .collect::<Vec<_>>(),
        ["/1", "/2", "/2"]
    );
    assert!(seen[1].text() == body && seen[2].text() == body);
}

#[test]
fn a_listed_status_is_retried_and_the_last_answer_is_passed_on() {
    let busy = Origin::answering(
        "HTTP/1.1 503 Service Unavailable\r\nX-From: busy\r\nContent-Length: 4\r\n\r\nlate",
    );
    let origin = Origin::useful();
    let both = format!("to = [\"{}\", \"{}\"]", busy.address(), origin.address());
    let alone = format!("path = '^/alone'\n{}", to(&busy));
    let settings = "workers = 1\nretry.on = [502, 503]\nretry.budget_per_second = 1000";
    let program = Program::configured(BYWAY, &config(settings, &[&alone, &both]));
    let mut visitor = Visitor::connect(program.address());
    for _ in 0..6 {
        let answer = visitor.ask("PUT /sum HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
        assert!(
            answer.status() == 200 && answer.text().starts_with("4 "),
            "{answer:?}"
        );
    }
    assert_eq!(
        (busy.requests().len(), busy.connections()),
        (3, 1),
        "a whole answer leaves its connection in use"
    );
    let statuses = ["/", "/"].map(|target| {
        visitor
            .ask(&format!("POST {target} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .status()
    });
    assert!(
        statuses.contains(&503) && statuses.contains(&200),
        "a POST gets what its upstream says: {statuses:?}"
    );
    let answer = visitor.get("/alone");
    assert_eq!(
        (
            answer.status(),
            answer.field("X-From"),
            answer.text().as_str()
        ),
        (503, Some("busy"), "late")
    );
    assert_eq!(
        busy.requests()
            .iter()
            .filter(|request| request.target() == "/alone")
            .count(),
        2
    );
}

#[test]
fn an_answer_that_is_not_passed_on_is_not_waited_for() {
    for body in [
        "Content-Length: 1000\r\n\r\nhalf",
        "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "\r\nhalf",
    ] {
        let origin = Origin::scripted(move |served| {
            served.request();
            if served.number == 0 {
                served.send(format!("HTTP/1.1 503 Service Unavailable\r\n{body}"));
                return served.hold();
            }
            served.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        });
        let program = edge_with("retry.on = \"503\"", &origin);
        assert_eq!(
            Visitor::connect(program.address()).get("/").text(),
            "ok",
            "{body:?}"
        );
        // The connection with half an answer on it is closed.
        origin.wait_for_ended(2);
    }
}
