//! Stopping: SIGTERM to each kind of node of a link. It takes as long as the requests in progress,
//! and no client sees an error.
//!
//! In:    nodes with a drain deadline of ten minutes.
//! Out:   nodes that exit by themselves. A test that waits for the deadline fails.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use byway_link::wire::{Control, GoAway};
use byway_testkit::{Gate, Origin, Program, Visitor, eventually};
use rustix::process::Signal;
use tokio::time::timeout;

use super::outages::state;
use super::ports::Raw;
use super::reports::Stub;
use super::*;

/// No test takes this long.
const PATIENT: &str = "[drain]\ndeadline = \"10m\"\n";

/// A test that takes longer has failed.
const HANG_GUARD: Duration = Duration::from_secs(60);

/// An HTTP origin that keeps its connections, and delays the answer for `/slow` until the gate
/// opens.
fn slow(go: &Gate) -> Origin {
    let wait = go.clone();
    Origin::scripted(move |visitor| {
        while let Some(request) = visitor.request() {
            if request.target() == "/slow" {
                wait.wait();
            }
            visitor.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone");
        }
    })
}

/// Runs `check` on each carrier with an exit, its desk, and a client with a request in progress.
/// The origin answers when the gate opens.
fn on_patient_hops(check: impl Fn(&'static str, &Gate, &Origin, Program, Program, Visitor)) {
    for carrier in CARRIERS {
        let go = Gate::new();
        let origin = slow(&go);
        let (exit, desk) = patient_hop(carrier);
        let mut visitor = Visitor::connect(desk.address());
        visitor.send(absolute(&origin, "/slow"));
        origin.wait_for_requests(1);
        check(carrier, &go, &origin, exit, desk, visitor);
    }
}

/// A public end, and its join string.
fn patient_server() -> (Program, String) {
    let config = format!(
        "{PATIENT}[[serve]]\nlisten = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\ndomain = \"t.localhost\"\n\
         advertise = \"127.0.0.1\"\n"
    );
    let program = Program::configured(BYWAY, &config);
    let join = joins(&program, "serve");
    (program, join)
}

/// The join string for one purpose, from its file.
fn joins(program: &Program, purpose: &str) -> String {
    std::fs::read_to_string(
        program
            .folder()
            .join("state")
            .join(format!("join-{purpose}")),
    )
    .unwrap()
    .trim()
    .to_owned()
}

/// It exited because nothing was left to do.
#[track_caller]
fn ended_by_itself(what: &str, program: Program) {
    let finished = program.wait();
    assert_eq!(finished.code, Some(0), "{what}: {}", finished.stderr);
    assert!(
        finished.stderr.contains("drained"),
        "{what}: {}",
        finished.stderr
    );
}

const SLOW: &str = "GET /slow HTTP/1.1\r\nHost: app.t.localhost\r\n\r\n";
const REQUEST: &str = "GET / HTTP/1.1\r\nHost: app.t.localhost\r\n\r\n";

#[test]
fn a_server_that_is_stopped_ends_when_the_request_under_way_has_its_answer() {
    for carrier in CARRIERS {
        let go = Gate::new();
        let origin = slow(&go);
        let (server, join) = patient_server();
        let agent = Agent::start(&[
            "http",
            &origin.address().to_string(),
            "--name",
            "app",
            "--join",
            &join,
            "--carrier",
            carrier,
        ]);
        let mut visitor = Visitor::connect(server.address_of("edge"));
        visitor.send(SLOW);
        origin.wait_for_requests(1);
        server.signal(Signal::TERM);
        server.wait_for_log("draining");
        agent.program.wait_for_log("the other side is leaving");
        go.open();
        assert_eq!(visitor.response().text(), "done", "{carrier}");
        ended_by_itself(&format!("server over {carrier}"), server);
    }
}

#[test]
fn an_agent_that_is_stopped_ends_when_the_request_under_way_has_its_answer() {
    for carrier in CARRIERS {
        let go = Gate::new();
        let origin = slow(&go);
        let server = Server::start();
        let config = format!(
            "{PATIENT}[[expose]]\nname = \"app\"\nhttp = \"{}\"\njoin = \"{}\"\ncarrier = \"{carrier}\"\n",
            origin.address(),
            server.join
        );
        let agent = Program::configured(BYWAY, &config);
        agent.wait_for_log("`app` is public at ");
        // One connection in use, and one kept.
        let mut visitor = Visitor::connect(server.http());
        visitor.send(SLOW);
        origin.wait_for_requests(1);
        assert_eq!(Visitor::connect(server.http()).ask(REQUEST).text(), "done");
        agent.signal(Signal::TERM);
        server.program.wait_for_log("the other side leaves");
        go.open();
        assert_eq!(visitor.response().text(), "done", "{carrier}");
        ended_by_itself(&format!("agent over {carrier}"), agent);
    }
}

/// A desk and its exit, both with a drain deadline of ten minutes.
fn patient_hop(carrier: &str) -> (Program, Program) {
    let exit = Program::configured(
        BYWAY,
        &format!(
            "{PATIENT}[[exit]]\nlisten = \"127.0.0.1:0\"\nadvertise = \"127.0.0.1\"\n[[exit.rule]]\n\
             action = \"allow\"\ncidr = [\"127.0.0.0/8\"]\n"
        ),
    );
    let join = joins(&exit, "exit");
    let desk = Program::configured(
        BYWAY,
        &format!(
            "{PATIENT}[[proxy]]\nlisten = \"127.0.0.1:0\"\njoin = \"{join}\"\ncarrier = \"{carrier}\"\n"
        ),
    );
    (exit, desk)
}

fn absolute(origin: &Origin, path: &str) -> String {
    let to = origin.address();
    format!("GET http://{to}{path} HTTP/1.1\r\nHost: {to}\r\n\r\n")
}

#[test]
fn a_desk_that_is_stopped_ends_when_the_request_under_way_has_its_answer() {
    on_patient_hops(|carrier, go, _, _exit, desk, mut visitor| {
        desk.signal(Signal::TERM);
        desk.wait_for_log("draining");
        go.open();
        assert_eq!(visitor.response().text(), "done", "{carrier}");
        ended_by_itself(&format!("desk over {carrier}"), desk);
    });
}

#[test]
fn an_exit_that_is_stopped_does_not_wait_for_connections_that_its_desk_keeps() {
    on_patient_hops(|carrier, go, origin, exit, desk, mut visitor| {
        // This connection is kept, by the desk and through the exit.
        assert_eq!(
            Visitor::connect(desk.address())
                .ask(&absolute(origin, "/"))
                .text(),
            "done",
            "{carrier}"
        );
        exit.signal(Signal::TERM);
        desk.wait_for_log("the other side is leaving");
        go.open();
        assert_eq!(visitor.response().text(), "done", "{carrier}");
        ended_by_itself(&format!("exit over {carrier}"), exit);
    });
}

#[test]
fn agents_that_are_restarted_under_load_cause_no_errors_for_visitors() {
    const STOPS: usize = 6;
    let origin = Origin::useful();
    for carrier in CARRIERS {
        let server = Server::start();
        let (_folder, state) = state();
        let config = |name: &str, what: &str| {
            format!(
                "[[expose]]\nname = \"{name}\"\n{what} = \"{}\"\njoin = \"{}\"\ncarrier = \"{carrier}\"\n",
                origin.address(),
                server.join
            )
        };
        let file = format!("{state}/byway.toml");
        std::fs::write(
            &file,
            format!("{PATIENT}{}{}", config("web", "http"), config("raw", "tcp")),
        )
        .unwrap();
        let start = || {
            let agent = Program::start(BYWAY, &["run", "-c", &file, "--state", &state]);
            agent.wait_for_log("`web` is public at ");
            let public: SocketAddr = agent
                .wait_for_log("`raw` is public at ")
                .rsplit(' ')
                .next()
                .unwrap()
                .parse()
                .unwrap();
            (agent, public)
        };
        let (mut agent, public) = start();
        let (over, visits) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let visitors: Vec<_> = (0..6)
                .map(|number| {
                    let (over, visits, server) = (&over, &visits, &server);
                    scope.spawn(move || {
                        while !over.load(SeqCst) {
                            let answer = match number % 2 {
                                0 => server.ask("web", "GET /bytes/20000"),
                                _ => Visitor::connect(public).get("/bytes/20000"),
                            };
                            assert_eq!(
                                (answer.status(), answer.body.len()),
                                (200, 20_000),
                                "{carrier}: {answer:?}"
                            );
                            visits.fetch_add(1, SeqCst);
                        }
                    })
                })
                .collect();
            for _ in 0..STOPS {
                let before = visits.load(SeqCst);
                eventually("visitors have come", || visits.load(SeqCst) > before + 20);
                agent.signal(Signal::TERM);
                ended_by_itself(carrier, agent);
                agent = start().0;
            }
            over.store(true, SeqCst);
            visitors
                .into_iter()
                .for_each(|visitor| visitor.join().expect("a visitor"));
        });
    }
}

#[test]
fn an_agent_whose_server_ignores_its_goaway_does_not_wait_for_the_drain_deadline() {
    let (origin, stub) = (Origin::greeting(), Stub::new(byway_link::wire::FEATURES));
    let session = stub.session();
    let config = format!(
        "{PATIENT}[[expose]]\nname = \"app\"\nhttp = \"{}\"\njoin = \"{}\"\ncarrier = \"tls\"\n",
        origin.address(),
        stub.join
    );
    let agent = Program::configured(BYWAY, &config);
    // The server answers pings and nothing else.
    let (_link, _inbox) = stub.runtime.block_on(session).unwrap();
    agent.wait_for_log("`app` is public at ");
    agent.signal(Signal::TERM);
    ended_by_itself("agent of a server that does not answer", agent);
}

#[test]
fn an_agent_whose_server_has_answered_its_goaway_waits_until_the_server_is_idle() {
    let (origin, stub) = (Origin::greeting(), Stub::new(byway_link::wire::FEATURES));
    let session = stub.session();
    let config = format!(
        "{PATIENT}[[expose]]\nname = \"app\"\nhttp = \"{}\"\njoin = \"{}\"\ncarrier = \"tls\"\n",
        origin.address(),
        stub.join
    );
    let agent = Program::configured(BYWAY, &config);
    let (link, mut inbox) = stub.runtime.block_on(session).unwrap();
    agent.wait_for_log("`app` is public at ");
    agent.signal(Signal::TERM);
    let send = |away| stub.runtime.block_on(link.send(Control::GoAway(away)));
    assert!(
        matches!(stub.runtime.block_on(inbox.control.recv()), Some(Control::GoAway(away)) if !away.idle && !away.heard)
    );
    assert!(send(GoAway {
        heard: true,
        ..GoAway::default()
    }));
    // Longer than the agent waits for an answer: a reader on the other side may be slow.
    let waited = stub
        .runtime
        .block_on(async { timeout(Duration::from_secs(8), link.ended()).await });
    assert!(waited.is_err(), "the session has ended: {waited:?}");
    assert!(send(GoAway {
        idle: true,
        ..GoAway::default()
    }));
    ended_by_itself("agent of a server that was not idle at first", agent);
}

#[test]
fn a_session_that_never_reports_idle_ends_after_the_drain_deadline_when_its_listener_is_removed() {
    let drain = "[drain]\ndeadline = \"1s\"\n";
    let serve = "[[serve]]\nlisten = \"127.0.0.1:0\"\nadvertise = \"127.0.0.1\"\n";
    let server = Program::configured(BYWAY, &format!("{drain}{serve}"));
    let mut raw = Raw::join(&joins(&server, "serve"));
    raw.register(1, "it".into()).unwrap();
    server.reload(&format!(
        "{drain}[[tcp]]\nlisten = \"127.0.0.2:0\"\nto = \"127.0.0.1:1\"\n"
    ));
    // The client receives the server's messages and never answers.
    let ended = async { timeout(HANG_GUARD, raw.link.ended()).await };
    assert!(
        raw.runtime.block_on(ended).is_ok(),
        "the session does not end"
    );
    server.wait_for_log("link is down");
}
