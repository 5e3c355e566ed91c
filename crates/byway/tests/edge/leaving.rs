//! Leaving: drain, and what a reload does not change.

use std::net::TcpStream;

use byway_testkit::{Ending, Gate, Origin, Program, Visitor, eventually};
use rustix::process::Signal;

use super::{BYWAY, config, edge, edge_with, to};

/// Answers once the gate opens.
fn answering_late(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::scripted(move |visitor| {
        while visitor.request().is_some() {
            gate.wait();
            visitor.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nanswer");
        }
    })
}

#[test]
fn a_drain_finishes_open_requests_refuses_new_connections_and_exits_cleanly() {
    for signal in [Signal::TERM, Signal::INT] {
        let gate = Gate::new();
        let origin = answering_late(&gate);
        // One worker, so that the idle connection is accepted before the other one.
        let program = edge_with("workers = 1", &origin);
        let address = program.address();
        let mut idle = Visitor::connect(address);
        let mut busy = Visitor::connect(address);
        busy.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        origin.wait_for_requests(1);
        program.signal(signal);
        assert_eq!(
            idle.ended(),
            Ending::Fin,
            "an idle connection is closed at once"
        );
        eventually("new connections are refused", || {
            TcpStream::connect(address).is_err()
        });
        gate.open();
        let answer = busy.response();
        assert_eq!(answer.text(), "answer");
        assert_eq!(busy.ended(), Ending::Fin);
        drop(busy);
        let finished = program.wait();
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        assert!(finished.stderr.contains("drain"), "{}", finished.stderr);
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let origin = answering_late(&Gate::new());
    let program = edge(&origin);
    let mut busy = Visitor::connect(program.address());
    busy.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    origin.wait_for_requests(1);
    program.signal(Signal::TERM);
    program.wait_for_log("draining");
    program.signal(Signal::TERM);
    assert_eq!(
        busy.ended(),
        Ending::Reset,
        "what is cut is not presented as complete"
    );
    assert!(program.wait().code.is_some());
}

#[test]
fn a_drain_that_passes_its_deadline_cuts_what_is_left() {
    let origin = answering_late(&Gate::new());
    let program = edge_with("[drain]\ndeadline = \"200ms\"", &origin);
    let mut busy = Visitor::connect(program.address());
    busy.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    origin.wait_for_requests(1);
    let finished = program.stop();
    assert_eq!(busy.ended(), Ending::Reset);
    assert!(finished.stderr.contains("deadline"), "{}", finished.stderr);
}

/// Two routes with upstreams of their own. That of the kept route echoes after an upgrade.
struct Reloadable {
    kept: Origin,
    dropped: Origin,
    program: Program,
}

impl Reloadable {
    fn start() -> Self {
        let kept = Origin::scripted(|visitor| {
            while let Some(request) = visitor.request() {
                if request.field("Upgrade").is_some() {
                    visitor.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
                    while visitor.fill() {
                        let bytes = visitor.taken();
                        visitor.send(bytes);
                    }
                    return;
                }
                visitor.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nkept");
            }
        });
        let dropped = Origin::named("dropped");
        let program = Program::configured(
            BYWAY,
            &Self::config(&[&kept_route(&kept), &dropped_route(&dropped)]),
        );
        Self {
            kept,
            dropped,
            program,
        }
    }

    fn config(routes: &[&str]) -> String {
        config("[pool]\nidle_timeout = \"10m\"", routes)
    }
}

fn kept_route(origin: &Origin) -> String {
    format!("path = '^/kept'\n{}", to(origin))
}

fn dropped_route(origin: &Origin) -> String {
    format!("path = '^/dropped'\n{}", to(origin))
}

#[test]
fn a_reload_keeps_connections_of_unchanged_routes_and_closes_those_to_removed_upstreams() {
    let node = Reloadable::start();
    let address = node.program.address();
    let mut tunnel = Visitor::connect(address);
    tunnel.send("GET /kept HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
    assert_eq!(tunnel.head().unwrap().status(), 101);
    let mut visitor = Visitor::connect(address);
    assert_eq!(visitor.get("/kept").text(), "kept");
    assert_eq!(visitor.get("/dropped").text(), "dropped");
    let before = node.kept.connections();

    let added = Origin::named("added");
    let config = Reloadable::config(&[
        &kept_route(&node.kept),
        &format!("path = '^/added'\n{}", to(&added)),
    ]);
    let log = node.program.reload(&config);
    assert!(log.contains("reloaded"), "{log}");

    node.dropped.wait_for_ended(1);
    tunnel.send("still here").expect("still here");
    assert_eq!(
        visitor.get("/kept").text(),
        "kept",
        "the same client connection"
    );
    assert_eq!(visitor.get("/added").text(), "added");
    assert_eq!(visitor.get("/dropped").status(), 404);
    assert_eq!(
        node.kept.connections(),
        before,
        "and the same upstream connection"
    );
    let log = node.program.wait_for_log("/added");
    assert!(
        log.contains("added") || node.program.stderr().contains("removed"),
        "{}",
        node.program.stderr()
    );
}

#[test]
fn a_request_in_progress_on_a_removed_route_gets_its_answer() {
    let gate = Gate::new();
    let origin = answering_late(&gate);
    let other = Origin::named("other");
    let program = Program::configured(BYWAY, &config("", &[&to(&origin)]));
    let mut visitor = Visitor::connect(program.address());
    visitor.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    origin.wait_for_requests(1);
    program.reload(&config("", &[&to(&other)]));
    gate.open();
    assert_eq!(visitor.response().text(), "answer");
    assert_eq!(visitor.get("/").text(), "other");
    origin.wait_for_ended(1);
}

#[test]
fn a_reload_of_a_wrong_config_changes_nothing_and_reports_the_place() {
    let node = Reloadable::start();
    let mut visitor = Visitor::connect(node.program.address());
    assert_eq!(visitor.get("/dropped").text(), "dropped");
    let wrong = Reloadable::config(&["pth = '^/x'\nto = \"127.0.0.1:1\""]);
    let log = node.program.reload(&wrong);
    assert!(log.contains("refused"), "{log}");
    node.program.wait_for_log("did you mean `path`?");
    assert_eq!(visitor.get("/dropped").text(), "dropped");
    assert_eq!(node.dropped.connections(), 1);
}

#[test]
fn a_reload_closes_removed_listeners_and_opens_added_ones() {
    let origin = Origin::named("x");
    let edge = |socket: &str| {
        format!(
            "[[edge]]\nlisten = \"unix:{socket}\"\n[[edge.route]]\n{}\n",
            to(&origin)
        )
    };
    let folder = tempfile::tempdir().unwrap();
    let [old, new] = ["old", "new"].map(|name| folder.path().join(name).display().to_string());
    let stays = config("", &[&to(&origin)]);
    let program = Program::configured(BYWAY, &format!("{stays}{}", edge(&old)));
    let status = |socket: &str| byway_testkit::curl(&["--unix-socket", socket, "http://a/"]).status;
    assert_eq!((status(&old), status(&new)), (200, 0));
    program.reload(&format!("{stays}{}", edge(&new)));
    eventually("the old listener is gone", || status(&old) == 0);
    assert_eq!(status(&new), 200);
    assert_eq!(Visitor::connect(program.address()).get("/").status(), 200);
}
