//! Strangers: connections at a port of links that say nothing, beside agents that want in; and what
//! a link holds.

use std::net::{TcpStream, UdpSocket};

use byway_testkit::{Launch, Origin, Program};

use super::ports::{Raw, another_grant};
use super::*;

/// A server with so many connections for each listener.
fn with_connections(most: usize, listen: &str) -> Program {
    let config = format!(
        "[limits]\nconnections = {most}\n[[serve]]\nlisten = \"{listen}\"\nadvertise = \"127.0.0.1\"\n"
    );
    Program::configured(BYWAY, &config)
}

fn agent(origin: &Origin, server: &Program, carrier: &str) -> Program {
    let join = std::fs::read_to_string(server.folder().join("state").join("join-serve")).unwrap();
    let config = format!(
        "[link]\nquic_probe = \"1s\"\n[[expose]]\nname = \"it\"\ntcp = \"{}\"\njoin = \"{}\"\ncarrier = \"{carrier}\"\n",
        origin.address(),
        join.trim()
    );
    Program::configured(BYWAY, &config)
}

#[test]
fn strangers_who_say_nothing_do_not_keep_an_agent_out() {
    let origin = Origin::named("in");
    // So few descriptors that a few dozen strangers take all that links may have.
    let server = Launch::new(
        BYWAY,
        &["serve", "--listen", ANY, "--advertise", "127.0.0.1"],
    )
    .with_descriptors(256)
    .start();
    let link = server.address_of("serve");
    let strangers: Vec<_> = (0..400)
        .map(|_| TcpStream::connect(link).unwrap())
        .collect();
    // An agent behind them in the queue would wait for their time to pass, many times over.
    let agent = Agent::start(&[
        "tcp",
        &origin.address().to_string(),
        "--join",
        &join_string(&server),
        "--carrier",
        "tls",
    ]);
    assert_eq!(greeting(agent.address()), "in");
    drop(strangers);
}

#[test]
fn a_link_for_which_there_is_no_room_is_told_so_and_comes_back() {
    let origin = Origin::named("there is room");
    for carrier in CARRIERS {
        let server = with_connections(1, ANY);
        let first = agent(&origin, &server, carrier);
        first.wait_for_log("is up");
        let second = agent(&origin, &server, carrier);
        second.wait_for_log("as many links as it may have");
        first.signal(rustix::process::Signal::KILL);
        first.wait();
        second.wait_for_log("is up");
    }
}

#[test]
fn one_grant_that_takes_most_links_does_not_keep_the_agents_of_another_grant_out() {
    let origin = Origin::named("of the other grant");
    let program = with_connections(4, ANY);
    let join = std::fs::read_to_string(program.folder().join("state").join("join-serve")).unwrap();
    let server = Server {
        program,
        join: join.trim().to_owned(),
    };
    let other = another_grant(&server, &[]);
    let greedy: Vec<_> = (0..3).map(|_| Raw::join(&server.join)).collect();
    let more = Program::start(
        BYWAY,
        &["tcp", &origin.address().to_string(), "--join", &server.join],
    );
    more.wait_for_log("this grant has its share of the links");
    let agent = Agent::start(&[
        "tcp",
        &origin.address().to_string(),
        "--join",
        &other,
        "--carrier",
        "tls",
    ]);
    assert_eq!(greeting(agent.address()), "of the other grant");
    // It comes in when there is room for it again.
    drop(greedy);
    more.wait_for_log("is up");
}

#[test]
fn a_carrier_that_is_attached_takes_a_connection_of_the_listener() {
    let origin = Origin::named("by tls");
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    // Links come by TLS alone while the port is in use over UDP.
    let udp = UdpSocket::bind(&address).unwrap();
    let server = with_connections(1, &address);
    let agent = agent(&origin, &server, "auto");
    agent.wait_for_log("is up, by tls");
    drop(udp);
    server.wait_for_log("links may come by QUIC");
    server.wait_for_log("as many links as it may have");
    assert!(
        !agent.stderr().contains("the link was lost"),
        "{}",
        agent.stderr()
    );
}

#[test]
fn a_probe_of_the_port_of_links_is_no_line_of_the_log_and_a_browser_is_one_in_plain_words() {
    let server = Program::start(
        BYWAY,
        &["serve", "--listen", ANY, "--advertise", "127.0.0.1"],
    );
    let link = server.address_of("serve");
    drop(TcpStream::connect(link).unwrap());
    let mut browser = TcpStream::connect(link).unwrap();
    std::io::Write::write_all(&mut browser, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    server.wait_for_log("visitors come to the HTTP listener");
    let log = server.stop().stderr;
    assert_eq!(log.matches("no link: ").count(), 1, "{log}");
}

#[test]
fn strangers_who_say_nothing_do_not_delay_a_stop() {
    let server = Program::start(
        BYWAY,
        &["serve", "--listen", ANY, "--advertise", "127.0.0.1"],
    );
    let link = server.address_of("serve");
    let strangers: Vec<_> = (0..20).map(|_| TcpStream::connect(link).unwrap()).collect();
    // The server has accepted them once it has answered a later connection.
    let origin = Origin::named("in");
    let agent = Agent::start(&[
        "tcp",
        &origin.address().to_string(),
        "--join",
        &join_string(&server),
        "--carrier",
        "tls",
    ]);
    agent.kill();
    server.signal(rustix::process::Signal::TERM);
    let finished = server.wait();
    assert_eq!(finished.code, Some(0));
    assert!(
        !finished.stderr.contains("no hello within"),
        "{}",
        finished.stderr
    );
    drop(strangers);
}
