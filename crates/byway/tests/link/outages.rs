//! Outages: nodes that crash, restart, drain, or meet another one that wants the same name.

use std::time::{Duration, Instant};

use byway_testkit::asking::*;
use byway_testkit::pattern::{MIB, Pattern, Sum};
use byway_testkit::{Finished, Gate, Launch, Origin, Program, Visitor, eventually};
use rustix::process::Signal;
use tempfile::TempDir;

use super::metrics::{METRICS, scrape};
use super::*;

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: app.t.localhost\r\n\r\n";

/// Prints how long a recovery took, usually a second or two. It asserts nothing: a slow machine may
/// need longer, and the timeout of each wait already catches a broken build.
fn recovered(what: &str, took: Duration) {
    eprintln!("{what}: {} ms", took.as_millis());
}

/// A state folder and its argument.
pub(super) fn state() -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = shown(folder.path());
    (folder, path)
}

#[test]
fn a_visitor_that_arrives_while_the_agent_is_down_is_parked_and_served_by_the_next_one() {
    let origin = Origin::named("still here");
    let server = Server::start();
    for carrier in CARRIERS {
        let (_folder, state) = state();
        let more = ["--state", &state, "--carrier", carrier];
        let start = || {
            let tcp = Agent::tcp(&server, origin.address(), &more);
            (Agent::http(&server, carrier, origin.address(), &more), tcp)
        };
        let (http, tcp) = start();
        let (public, served) = (tcp.address(), origin.connections());
        tcp.kill();
        http.kill();
        let mut waiting = [Visitor::connect(public), Visitor::connect(server.http())];
        for visitor in &mut waiting {
            visitor.send(format!(
                "GET / HTTP/1.1\r\nHost: {carrier}.t.localhost\r\n\r\n"
            ));
        }
        // No agent can answer now, whether the server has noticed that (TCP) or not (QUIC).
        let started = Instant::now();
        eventually("a moment has passed", || {
            started.elapsed() > Duration::from_millis(300)
        });
        for visitor in &mut waiting {
            assert!(visitor.is_silent(), "{carrier}");
        }
        assert_eq!(origin.connections(), served, "{carrier}");
        let started = Instant::now();
        let again = start();
        let [by_tcp, by_http] = &mut waiting;
        assert_eq!(by_http.response().text(), "still here", "{carrier}");
        recovered(
            &format!("agents killed over {carrier}, both started again: parked HTTP visitor"),
            started.elapsed(),
        );
        assert_eq!(by_tcp.response().text(), "still here", "{carrier}");
        recovered(
            &format!("agents killed over {carrier}, both started again: parked TCP visitor"),
            started.elapsed(),
        );
        assert_eq!(again.1.address(), public, "{carrier}");
        assert_eq!(greeting(public), "still here", "{carrier}");
    }
}

#[test]
fn the_address_answers_again_once_a_killed_agent_is_restarted() {
    let origin = Origin::named("back");
    let server = Server::start();
    for carrier in CARRIERS {
        let (_folder, state) = state();
        let more = ["--state", &state, "--carrier", carrier];
        let agent = Agent::tcp(&server, origin.address(), &more);
        let public = agent.address();
        agent.kill();
        let started = Instant::now();
        let _again = Agent::tcp(&server, origin.address(), &more);
        assert_eq!(greeting(public), "back", "{carrier}");
        recovered(
            &format!("agent killed over {carrier} and started again"),
            started.elapsed(),
        );
    }
}

#[test]
fn agents_reconnect_after_their_server_was_killed_and_restarted() {
    let origin = Origin::named("back");
    let (_folder, state) = state();
    let mut server = Server::with(ANY, ANY, &["--state", &state]);
    let agents: Vec<_> = CARRIERS
        .iter()
        .map(|carrier| {
            Agent::tcp(
                &server,
                origin.address(),
                &["--name", carrier, "--carrier", carrier],
            )
        })
        .collect();
    let (link, http) = (server.link().to_string(), server.http().to_string());
    for round in 0..2 {
        server.program.signal(Signal::KILL);
        server.program.wait();
        server = Server::with(&link, &http, &["--state", &state]);
        let started = Instant::now();
        let mut left: Vec<_> = CARRIERS.iter().zip(&agents).collect();
        eventually("both are public again, where they were", || {
            left.retain(|(carrier, agent)| {
                let there = std::net::TcpStream::connect(agent.address()).is_ok();
                if there {
                    assert_eq!(greeting(agent.address()), "back", "{carrier}");
                    recovered(
                        &format!("server killed and started again, {carrier}, round {round}"),
                        started.elapsed(),
                    );
                }
                !there
            });
            left.is_empty()
        });
    }
    for agent in agents {
        let finished = agent.program.stop();
        assert_eq!(
            (finished.code, finished.stdout),
            (Some(0), format!("{}\n", agent.public)),
            "the address is printed once"
        );
    }
}

#[test]
fn a_desk_reconnects_after_its_exit_was_killed_and_requests_wait_meanwhile() {
    let origin = Origin::named("beyond");
    let (_folder, state) = state();
    let exit = |listen: &str| {
        Program::start(
            BYWAY,
            &[
                "proxy",
                "serve",
                "--listen",
                listen,
                "--allow",
                "127.0.0.0/8",
                "--state",
                &state,
            ],
        )
    };
    let mut running = exit(ANY);
    let (join, link) = (join_string(&running), running.address().to_string());
    let desks = CARRIERS.map(|carrier| {
        Program::start(
            BYWAY,
            &[
                "proxy",
                "join",
                &join,
                "--listen",
                ANY,
                "--carrier",
                carrier,
            ],
        )
    });
    for desk in &desks {
        through_socks5(desk.address(), origin.address());
    }
    running.signal(Signal::KILL);
    running.wait();
    let mut waiting: Vec<_> = desks
        .iter()
        .map(|desk| Visitor::connect(desk.address()))
        .collect();
    for visitor in &mut waiting {
        visitor
            .send(GREETING)
            .expect([5, 0])
            .send(socks5(origin.address()));
    }
    running = exit(&link);
    let started = Instant::now();
    for (visitor, carrier) in waiting.iter_mut().zip(CARRIERS) {
        visitor.expect([5, 0, 0, 1]).exactly(6);
        assert_eq!(visitor.get("/").text(), "beyond", "{carrier}");
        recovered(
            &format!("exit killed and started again, an inquiry over {carrier}"),
            started.elapsed(),
        );
    }
    drop(waiting);
    assert_eq!(running.stop().code, Some(0));
}

#[test]
fn two_processes_of_one_identity_with_different_names_run_side_by_side() {
    let [one, other] = ["one", "other"].map(Origin::named);
    let server = Server::start();
    let (_folder, state) = state();
    let _agents = [&one, &other].map(|origin| {
        let name = if std::ptr::eq(origin, &one) {
            "one"
        } else {
            "other"
        };
        Agent::http(&server, name, origin.address(), &["--state", &state])
    });
    for _ in 0..5 {
        assert_eq!(server.ask("one", "GET /").text(), "one");
        assert_eq!(server.ask("other", "GET /").text(), "other");
    }
}

#[test]
fn of_two_processes_of_one_identity_with_one_name_the_newer_wins_and_the_older_stops_with_the_reason()
 {
    let [old, new] = ["old", "new"].map(Origin::named);
    let server = Server::start();
    let (_folder, state) = state();
    for carrier in CARRIERS {
        let more = ["--state", &state, "--carrier", carrier];
        let older = Agent::http(&server, "app", old.address(), &more);
        assert_eq!(server.ask("app", "GET /").text(), "old", "{carrier}");
        let newer = Agent::http(&server, "app", new.address(), &more);
        let finished = older.program.wait();
        assert_eq!(finished.code, Some(1), "{carrier}: {}", finished.stderr);
        stderr_contains(
            &finished,
            &[
                "error: ",
                "app.t.localhost",
                "newer process with the same key",
            ],
        );
        assert_eq!(server.ask("app", "GET /").text(), "new", "{carrier}");
        assert_eq!(newer.program.stop().code, Some(0), "{carrier}");
    }
}

#[test]
fn open_streams_of_an_older_process_finish_when_a_newer_one_takes_its_name() {
    let go = Gate::new();
    let wait = go.clone();
    let origin = Origin::scripted(move |visitor| {
        visitor.request();
        visitor.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf ");
        wait.wait();
        visitor.send("done");
    });
    let server = Server::start();
    let (_folder, state) = state();
    let older = Agent::tcp(&server, origin.address(), &["--state", &state]);
    let mut visitor = Visitor::connect(older.address());
    visitor.send(REQUEST);
    visitor.until(b"half ");
    let newer = Agent::tcp(&server, origin.address(), &["--state", &state]);
    assert_eq!(older.address(), newer.address());
    older.program.wait_for_log("newer process");
    go.open();
    visitor.expect("done");
}

#[test]
fn another_identity_that_requests_a_held_name_gets_the_holder_and_the_time() {
    let origin = Origin::named("first");
    let target = origin.address().to_string();
    for carrier in CARRIERS {
        let server = Server::start();
        let agent = Agent::http(&server, "app", origin.address(), &["--carrier", carrier]);
        let identity = identity_of_the_first(&server);
        let args = [
            "http",
            &target,
            "--name",
            "app",
            "--join",
            &server.join,
            "--carrier",
            carrier,
        ];
        let finished = Launch::new(BYWAY, &args).run();
        assert_eq!(
            (finished.code, finished.stdout.as_str()),
            (Some(2), ""),
            "{carrier}: {}",
            finished.stderr
        );
        stderr_contains(
            &finished,
            &["app.t.localhost", "held by", &identity, ", for "],
        );
        assert_eq!(server.ask("app", "GET /").text(), "first", "{carrier}");
        assert_eq!(agent.program.stop().code, Some(0));
    }
    let server = Server::start();
    let agent = Agent::tcp(&server, origin.address(), &[]);
    let port = agent.address().port().to_string();
    let finished = Launch::new(
        BYWAY,
        &["tcp", &target, "--port", &port, "--join", &server.join],
    )
    .run();
    assert_eq!(finished.code, Some(2), "{}", finished.stderr);
    stderr_contains(&finished, &[&format!("port {port}"), "held by", ", for "]);
}

/// The short key of the first agent, from the server's log.
#[track_caller]
fn identity_of_the_first(server: &Server) -> String {
    let line = server.program.wait_for_log("link is up");
    line.split("identity=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("its identity")
        .to_owned()
}

#[track_caller]
fn stderr_contains(finished: &Finished, texts: &[&str]) {
    for text in texts {
        assert!(
            finished.stderr.contains(text),
            "{text:?} is not in:\n{}",
            finished.stderr
        );
    }
    assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
}

/// Another grant of the server with this state, by `byway token add`.
#[track_caller]
pub(super) fn another_grant(state: &str, link: SocketAddr, more: &[&str]) -> String {
    let advertise = link.to_string();
    let args = [
        &["token", "add", "--state", state, "--advertise", &advertise],
        more,
    ]
    .concat();
    let finished = Launch::new(BYWAY, &args).run();
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    finished
        .stdout
        .trim_end()
        .strip_prefix("join ")
        .expect("a join string")
        .to_owned()
}

#[test]
fn another_grant_cannot_take_a_name_that_is_reserved_and_not_held_even_after_a_restart_of_the_server()
 {
    let origin = Origin::named("mine");
    let (_folder, at_server) = state();
    let (_agents, at_agent) = state();
    let mut server = Server::with(ANY, ANY, &["--state", &at_server]);
    let (link, http) = (server.link(), server.http());
    let other = another_grant(&at_server, link, &[]);
    let mine = Agent::http(&server, "app", origin.address(), &["--state", &at_agent]);
    mine.kill();
    let target = origin.address().to_string();
    for after in ["the agent has gone", "a restart of the server"] {
        let finished =
            Launch::new(BYWAY, &["http", &target, "--name", "app", "--join", &other]).run();
        assert_eq!(finished.code, Some(2), "after {after}: {}", finished.stderr);
        stderr_contains(&finished, &["app.t.localhost", "held by another grant"]);
        if after == "the agent has gone" {
            server.program.signal(Signal::KILL);
            server.program.wait();
            server = Server::with(
                &link.to_string(),
                &http.to_string(),
                &["--state", &at_server],
            );
        }
    }
    let _theirs = Agent::start(&["http", &target, "--name", "other", "--join", &other]);
    let _mine = Agent::http(&server, "app", origin.address(), &["--state", &at_agent]);
    assert_eq!(server.ask("app", "GET /").text(), "mine");
    assert_eq!(server.ask("other", "GET /").text(), "mine");
}

#[test]
fn a_grant_with_on_conflict_share_gives_visitors_to_its_nodes_in_turn() {
    let origins = ["one", "other"].map(Origin::named);
    let (_folder, at_server) = state();
    let server = Server::with(ANY, ANY, &["--state", &at_server]);
    let (join, port) = (
        another_grant(&at_server, server.link(), &["--on-conflict", "share"]),
        free_port().to_string(),
    );
    let agents = origins.each_ref().map(|origin| {
        Agent::start(&[
            "tcp",
            &origin.address().to_string(),
            "--port",
            &port,
            "--join",
            &join,
            "--carrier",
            "tls",
        ])
    });
    let public = agents[0].address();
    assert_eq!(agents[1].address(), public);
    let _web = origins.each_ref().map(|origin| {
        Agent::start(&[
            "http",
            &origin.address().to_string(),
            "--name",
            "app",
            "--join",
            &join,
        ])
    });
    let ways: [&dyn Fn() -> String; 2] =
        [&|| greeting(public), &|| server.ask("app", "GET /").text()];
    for (visit, kind) in ways.into_iter().zip(["TCP", "HTTP"]) {
        let mut answers: Vec<_> = (0..8).map(|_| visit()).collect();
        answers.sort();
        assert_eq!(answers, [["one"; 4], ["other"; 4]].concat(), "{kind}");
    }
    let [one, other] = agents;
    one.kill();
    for _ in 0..4 {
        assert_eq!(greeting(public), "other");
    }
    drop(other);
}

#[test]
fn a_name_that_two_agents_share_leaves_no_idle_stream() {
    let origin = Origin::useful();
    let (_folder, at_server) = state();
    let server = Server::with(ANY, ANY, &["--state", &at_server]);
    let join = another_grant(&at_server, server.link(), &["--on-conflict", "share"]);
    let target = origin.address().to_string();
    let _agents =
        [(); 2].map(|()| Agent::start(&["http", &target, "--name", "app", "--join", &join]));
    let mut visitor = Visitor::connect(server.http());
    for _ in 0..4 {
        let answer = visitor.ask("GET /head HTTP/1.1\r\nHost: app.t.localhost\r\n\r\n");
        assert_eq!(answer.status(), 200);
    }
    origin.wait_for_ended(4);
}

#[test]
fn a_grant_with_on_conflict_take_gets_the_name_at_once_and_the_other_node_stops_with_the_reason() {
    let [old, new] = ["old", "new"].map(Origin::named);
    let (_folder, at_server) = state();
    let server = Server::with(ANY, ANY, &["--state", &at_server]);
    let join = another_grant(&at_server, server.link(), &["--on-conflict", "take"]);
    let start = |origin: &Origin| {
        Agent::start(&[
            "http",
            &origin.address().to_string(),
            "--name",
            "app",
            "--join",
            &join,
        ])
    };
    let older = start(&old);
    let _newer = start(&new);
    let finished = older.program.wait();
    assert_eq!(finished.code, Some(1), "{}", finished.stderr);
    stderr_contains(
        &finished,
        &[
            "app.t.localhost",
            "another node of the same grant has taken it over",
        ],
    );
    assert_eq!(server.ask("app", "GET /").text(), "new");
}

#[test]
fn a_parked_visitor_gets_a_503_after_the_timeout() {
    let origin = Origin::named("gone");
    let config = "[link]\npark = \"400ms\"\n[[serve]]\nlisten = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\n\
                  domain = \"t.localhost\"\nadvertise = \"127.0.0.1\"\n";
    let program = Program::configured(BYWAY, config);
    let file = program.folder().join("state").join("join-serve");
    let join = std::fs::read_to_string(file).unwrap().trim().to_owned();
    let http = program.addresses()[1];
    let agent = Agent::start(&[
        "http",
        &origin.address().to_string(),
        "--name",
        "app",
        "--join",
        &join,
        "--carrier",
        "tls",
    ]);
    assert_eq!(Visitor::connect(http).ask(REQUEST).text(), "gone");
    agent.kill();
    let started = Instant::now();
    let answer = Visitor::connect(http).ask(REQUEST);
    assert_eq!(answer.status(), 503, "{answer:?}");
    assert!(
        started.elapsed() >= Duration::from_millis(400),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn a_client_that_takes_all_places_of_parked_visitors_does_not_block_another_client() {
    let origin = Origin::named("app");
    let config = format!(
        "{METRICS}[link]\nparked = 4\npark = \"300s\"\n[[serve]]\nlisten = \"{ANY}\"\nhttp = \"{ANY}\"\ndomain = \
         \"t.localhost\"\nadvertise = \"127.0.0.1\"\n"
    );
    let program = Program::configured(BYWAY, &config);
    let join = std::fs::read_to_string(program.folder().join("state/join-serve"))
        .unwrap()
        .trim()
        .to_owned();
    let server = Server { program, join };
    let (_folder, state) = state();
    for kind in ["http", "tcp"] {
        let more = ["--state", &state, "--carrier", "tls"];
        let start = || match kind {
            "http" => Agent::http(&server, "app", origin.address(), &more),
            _ => Agent::tcp(&server, origin.address(), &more),
        };
        let agent = start();
        let public = if kind == "http" {
            server.http()
        } else {
            agent.address()
        };
        agent.kill();
        let mut visitors: Vec<Visitor> = (0..4).map(|_| Visitor::connect(public)).collect();
        for visitor in &mut visitors {
            visitor.send(REQUEST);
        }
        eventually("all places are taken", || {
            scrape(&server.program)["byway_parked"] == 4.0
        });
        let request = REQUEST.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
        let other = std::thread::spawn(move || ask_from([127, 0, 0, 2], public, &request));
        let mut displaced = None;
        eventually("one gives its place to the other client", || {
            displaced =
                displaced.or_else(|| visitors.iter_mut().position(|visitor| !visitor.is_silent()));
            displaced.is_some()
        });
        let mut displaced = visitors.remove(displaced.unwrap());
        if kind == "http" {
            let answer = displaced.response();
            assert_eq!(answer.status(), 503);
            assert!(answer.text().contains("client-share"), "{}", answer.text());
        } else {
            // A reset, already read by `is_silent`.
            assert!(displaced.to_end().0.is_empty());
        }
        let _again = start();
        let answer = other.join().unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("app"),
            "{kind}: {answer}"
        );
        for mut visitor in visitors {
            assert_eq!(visitor.response().text(), "app", "{kind}");
        }
    }
}

/// Starts a download through `public`, calls `leave` in the middle of it, and reads the rest.
#[track_caller]
fn download_during(origin: &Origin, public: SocketAddr, leave: impl FnOnce()) {
    const BYTES: u64 = 64 * MIB;
    let mut visitor = Visitor::connect(public);
    visitor.send(format!(
        "GET /bytes/{BYTES} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    ));
    assert_eq!(visitor.head().expect("an answer").status(), 200);
    let mut sum = Sum::new();
    visitor.exactly_each(MIB, |bytes| sum.add(bytes));
    leave();
    visitor.exactly_each(BYTES - MIB, |bytes| sum.add(bytes));
    assert_eq!(sum.hex(), Pattern::sha256(BYTES));
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_server_that_drains_lets_a_download_finish() {
    for carrier in CARRIERS {
        let origin = Origin::useful();
        let server = Server::start();
        let agent = Agent::tcp(&server, origin.address(), &["--carrier", carrier]);
        download_during(&origin, agent.address(), || {
            server.program.signal(Signal::TERM);
            server.program.wait_for_log("draining");
        });
        let finished = server.program.wait();
        assert_eq!(finished.code, Some(0), "{carrier}: {}", finished.stderr);
        assert!(
            finished.stderr.contains("drained"),
            "{carrier}: {}",
            finished.stderr
        );
    }
}

#[test]
fn an_agent_that_drains_lets_a_download_finish() {
    for carrier in CARRIERS {
        let origin = Origin::useful();
        let server = Server::start();
        let agent = Agent::tcp(&server, origin.address(), &["--carrier", carrier]);
        download_during(&origin, agent.address(), || {
            agent.program.signal(Signal::TERM);
            agent.program.wait_for_log("draining");
        });
        let finished = agent.program.wait();
        assert_eq!(finished.code, Some(0), "{carrier}: {}", finished.stderr);
        assert!(
            finished.stderr.contains("drained"),
            "{carrier}: {}",
            finished.stderr
        );
    }
}
