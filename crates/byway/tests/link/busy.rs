//! Busy: an agent whose descriptors are in use by one visitor, and agents that share a name.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use byway_testkit::{Launch, Origin, Program, Visitor};

use super::outages::{another_grant, state};
use super::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: app.t.localhost\r\nConnection: close\r\n\r\n";

/// An upload that does not end.
fn upload() -> String {
    let head = "POST / HTTP/1.1\r\nHost: app.t.localhost\r\nContent-Length: 100000\r\n\r\n";
    format!("{head}{}", "x".repeat(2000))
}

/// An agent with few descriptors, and its public address.
#[track_caller]
fn small_agent(server: &Server, args: &[&str]) -> (Program, String) {
    let args = [args, &["--join", &server.join]].concat();
    let agent = Launch::new(BYWAY, &args).with_descriptors(128).start();
    let public = agent.wait_for_stdout("");
    (agent, public)
}

/// Connections from 127.0.0.1, more than a client may have at a small agent.
#[track_caller]
fn more_than_a_share(agent: &Program, address: SocketAddr, request: &str) -> Vec<Visitor> {
    let visitors = (0..70).map(|_| {
        let mut visitor = Visitor::connect(address);
        visitor.send(request);
        visitor
    });
    let visitors = visitors.collect();
    agent.wait_for_log("are in use by one client of it");
    visitors
}

fn connect_from(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let visitor = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    visitor.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    visitor.connect(&to.into()).unwrap();
    visitor.into()
}

#[test]
fn one_visitor_with_many_connections_left_no_descriptor_of_the_agent_to_another_one() {
    let (server, origin) = (Server::start(), Origin::named("app"));
    let target = origin.address().to_string();
    let (tcp, public) = small_agent(&server, &["tcp", &target]);
    let public = public.parse().unwrap();
    let (http, _) = small_agent(&server, &["http", &target, "--name", "app"]);
    for (agent, address, request) in [(&tcp, public, ""), (&http, server.http(), &*upload())] {
        let held = more_than_a_share(agent, address, request);
        for _ in 0..5 {
            let mut visitor = connect_from([127, 0, 0, 2], address);
            visitor.write_all(GET.as_bytes()).unwrap();
            let mut answer = [0; 12];
            visitor.read_exact(&mut answer).unwrap();
            assert_eq!(answer, *b"HTTP/1.1 200");
        }
        drop(held);
    }
}

#[test]
fn a_visitor_was_refused_at_once_though_a_descriptor_of_the_agent_became_free_a_moment_later() {
    let (server, origin) = (Server::start(), Origin::named("app"));
    let target = origin.address().to_string();
    let (tcp, public) = small_agent(&server, &["tcp", &target]);
    let public = public.parse().unwrap();
    let (http, _) = small_agent(&server, &["http", &target, "--name", "app"]);
    for (agent, address, request) in [(&tcp, public, ""), (&http, server.http(), &*upload())] {
        let held = more_than_a_share(agent, address, request);
        let mut late = Visitor::connect(address);
        late.send(GET);
        drop(held);
        assert_eq!(late.response().text(), "app");
    }
}

#[test]
fn requests_above_the_share_of_their_visitor_starved_beside_others_of_it_that_went_on() {
    const CLIENTS: usize = 80;
    const ROUNDS: usize = 20;
    let (server, origin) = (Server::start(), Origin::named("app"));
    let target = origin.address().to_string();
    let (agent, _) = small_agent(&server, &["http", &target, "--name", "app"]);
    let address = server.http();
    // Each goes on until all have had their rounds, so that no connection to the agent is given up
    // before.
    let (unfinished, failed) = (AtomicUsize::new(CLIENTS), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut visitor = Visitor::connect(address);
                let mut rounds = 0;
                while unfinished.load(Relaxed) > 0 && !failed.load(Relaxed) {
                    visitor.send("GET / HTTP/1.1\r\nHost: app.t.localhost\r\n\r\n");
                    let answer = visitor.response();
                    failed.fetch_or(answer.status() != 200, Relaxed);
                    assert_eq!((answer.status(), answer.text()), (200, "app".into()));
                    rounds += 1;
                    if rounds == ROUNDS {
                        unfinished.fetch_sub(1, Relaxed);
                    }
                }
            });
        }
    });
    agent.wait_for_log("are in use by one client of it");
}

#[test]
fn the_refusal_of_one_agent_was_the_answer_though_another_one_of_the_name_was_healthy() {
    let origin = Origin::named("healthy");
    let (dead, _socket) = Origin::refusing();
    let (_folder, at_server) = state();
    let server = Server::with(ANY, ANY, &["--state", &at_server]);
    let join = another_grant(&at_server, server.link(), &["--on-conflict", "share"]);
    let port = free_port().to_string();
    let targets = [dead, origin.address()].map(|target| target.to_string());
    let agents = targets.each_ref().map(|target| {
        (
            Agent::start(&["http", target, "--name", "app", "--join", &join]),
            Agent::start(&["tcp", target, "--port", &port, "--join", &join]),
        )
    });
    for _ in 0..4 {
        assert_eq!(server.ask("app", "GET /").text(), "healthy");
        assert_eq!(greeting(agents[0].1.address()), "healthy");
    }
    let [_, (healthy, _)] = agents;
    healthy.kill();
    let answer = server.ask("app", "GET /");
    assert_eq!(answer.status(), 502, "the only one that is left refuses");
}
