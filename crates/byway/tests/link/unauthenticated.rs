//! Unauthenticated: silent connections at the port of links beside agents that connect, and how
//! many connections a link takes.

use std::net::{TcpStream, UdpSocket};

use byway_testkit::{Launch, Origin, Program};

use super::ports::{Raw, another_grant};
use super::*;

/// A server that accepts `most` connections per listener.
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
fn silent_unauthenticated_connections_do_not_block_an_agent() {
    let origin = Origin::named("in");
    // So few descriptors that a few dozen unauthenticated connections take all that links may use.
    let server = Launch::new(
        BYWAY,
        &["serve", "--listen", ANY, "--advertise", "127.0.0.1"],
    )
    .with_descriptors(256)
    .start();
    let link = server.address_of("serve");
    let silent: Vec<_> = (0..400)
        .map(|_| TcpStream::connect(link).unwrap())
        .collect();
    // An agent behind them in the queue would wait for their timeouts several times over.
    let agent = Agent::start(&[
        "tcp",
        &origin.address().to_string(),
        "--join",
        &join_string(&server),
        "--carrier",
        "tls",
    ]);
    assert_eq!(greeting(agent.address()), "in");
    drop(silent);
}

#[test]
fn a_link_above_the_limit_is_refused_with_the_reason_and_retries() {
    let origin = Origin::named("there is room");
    for carrier in CARRIERS {
        let server = with_connections(1, ANY);
        let first = agent(&origin, &server, carrier);
        first.wait_for_log("is up");
        let second = agent(&origin, &server, carrier);
        second.wait_for_log("reached its limit of links");
        first.signal(rustix::process::Signal::KILL);
        first.wait();
        second.wait_for_log("is up");
    }
}

#[test]
fn one_grant_that_takes_most_links_does_not_block_the_agents_of_another_grant() {
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
    more.wait_for_log("this grant has reached its share of the links");
    let agent = Agent::start(&[
        "tcp",
        &origin.address().to_string(),
        "--join",
        &other,
        "--carrier",
        "tls",
    ]);
    assert_eq!(greeting(agent.address()), "of the other grant");
    // It connects when there is room again.
    drop(greedy);
    more.wait_for_log("is up");
}

#[test]
fn a_carrier_that_is_attached_takes_a_connection_of_the_listener() {
    let origin = Origin::named("by tls");
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    // Links use TLS only while the port is in use over UDP.
    let udp = UdpSocket::bind(&address).unwrap();
    let server = with_connections(1, &address);
    let agent = agent(&origin, &server, "auto");
    agent.wait_for_log("is up, by tls");
    drop(udp);
    server.wait_for_log("links may use QUIC");
    server.wait_for_log("reached its limit of links");
    assert!(
        !agent.stderr().contains("the link was lost"),
        "{}",
        agent.stderr()
    );
}

#[test]
fn a_probe_of_the_link_port_is_not_logged_and_a_browser_is_logged_in_plain_words() {
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
fn silent_unauthenticated_connections_do_not_delay_a_stop() {
    let server = Program::start(
        BYWAY,
        &["serve", "--listen", ANY, "--advertise", "127.0.0.1"],
    );
    let link = server.address_of("serve");
    let silent: Vec<_> = (0..20).map(|_| TcpStream::connect(link).unwrap()).collect();
    // Once the server has answered a later connection, it has accepted all of these.
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
    drop(silent);
}
