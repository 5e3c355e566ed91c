//! Blocked: networks that lose UDP, or everything for a while. Each has its own namespaces. Without
//! root or `ip` these tests are skipped with a message.

use std::time::{Duration, Instant};

use byway_testkit::asking::through_socks5;
use byway_testkit::pattern::{MIB, Pattern, Sum};
use byway_testkit::{Block, Network, Origin, Program, Visitor, eventually};

use super::*;

/// Longer than it takes to detect that the peer does not answer (about 7 s).
const BLACK_HOLE: Duration = Duration::from_secs(20);

/// A server at the far end.
#[track_caller]
fn server_in(network: &Network) -> Server {
    let listen = format!("{}:0", Network::FAR);
    network.far(|| {
        let program = Program::start(BYWAY, &["serve", "--listen", &listen]);
        let join = join_string(&program);
        Server { program, join }
    })
}

/// `byway run` at the near end: exposes an origin there, and probes QUIC every second.
#[track_caller]
fn agent_in(network: &Network, server: &Server, origin: &Origin) -> Program {
    let config = format!(
        "[link]\nquic_probe = \"1s\"\n[[expose]]\nname = \"it\"\ntcp = \"{}\"\njoin = \"{}\"\n",
        origin.address(),
        server.join
    );
    network.near(|| Program::configured(BYWAY, &config))
}

/// The public address of the service, from the log of `byway run`.
#[track_caller]
fn public(agent: &Program) -> SocketAddr {
    agent
        .wait_for_log("`it` is public at ")
        .rsplit(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

/// The answer to a visitor at the far end.
#[track_caller]
fn greeting_in(network: &Network, address: SocketAddr) -> String {
    network.far(|| greeting(address))
}

fn took(what: &str, started: Instant) {
    eprintln!("{what}: {} ms", started.elapsed().as_millis());
}

/// Blocks UDP, starts an agent, unblocks UDP, and waits for QUIC.
#[track_caller]
fn tls_serves_and_quic_comes_back(how: Block) {
    let Some(network) = Network::new() else {
        return;
    };
    let server = server_in(&network);
    let origin = network.near(|| Origin::named("near"));
    network.block("udp", how);
    let started = Instant::now();
    let agent = agent_in(&network, &server, &origin);
    agent.wait_for_log("is up, by tls");
    assert_eq!(greeting_in(&network, public(&agent)), "near");
    took(
        &format!("UDP blocked ({how:?}): the first visitor was served over TLS"),
        started,
    );

    network.heal();
    let started = Instant::now();
    agent.wait_for_log("quic is attached: new streams use quic");
    took(
        &format!("UDP healed ({how:?}): QUIC was in use again"),
        started,
    );
    // New streams use QUIC: without TCP there is no other carrier.
    network.block("tcp", Block::Drop);
    assert_eq!(greeting_in(&network, public(&agent)), "near");
}

#[test]
fn where_udp_is_dropped_silently_tls_serves_and_quic_comes_back() {
    tls_serves_and_quic_comes_back(Block::Drop);
}

#[test]
fn where_udp_is_filtered_with_an_icmp_error_tls_serves_and_quic_comes_back() {
    tls_serves_and_quic_comes_back(Block::Prohibit);
}

#[test]
fn where_udp_is_unreachable_with_an_icmp_error_tls_serves_and_quic_comes_back() {
    tls_serves_and_quic_comes_back(Block::Unreachable);
}

#[test]
fn a_server_without_udp_is_joined_over_tls() {
    let origin = Origin::named("by tls");
    let port = free_port();
    let server = Program::start(
        BYWAY,
        &[
            "serve",
            "--listen",
            ANY,
            "--advertise",
            &format!("127.0.0.1:{port}"),
        ],
    );
    // The advertised port forwards only TCP; it has no UDP socket.
    let forward = format!(
        "[[tcp]]\nlisten = \"127.0.0.1:{port}\"\nto = \"{}\"\n",
        server.address()
    );
    let _forward = Program::configured(BYWAY, &forward);
    let started = Instant::now();
    let agent = Agent::start(&[
        "tcp",
        &origin.address().to_string(),
        "--join",
        &join_string(&server),
    ]);
    assert_eq!(greeting(agent.address()), "by tls");
    took(
        "no UDP at the server: the first visitor was served over TLS",
        started,
    );
    agent.program.wait_for_log("is up, by tls");
}

#[test]
fn a_session_over_quic_moves_to_tls_when_udp_is_lost_and_its_visitors_are_parked_meanwhile() {
    let Some(network) = Network::new() else {
        return;
    };
    let server = server_in(&network);
    let origin = network.near(|| Origin::named("near"));
    // On a slow machine TLS could be first. Without TCP it cannot.
    network.block("tcp", Block::Drop);
    let agent = agent_in(&network, &server, &origin);
    agent.wait_for_log("is up, by quic");
    let public = public(&agent);
    network.heal();
    assert_eq!(greeting_in(&network, public), "near");
    network.block("udp", Block::Drop);
    let started = Instant::now();
    assert_eq!(greeting_in(&network, public), "near");
    took(
        "UDP lost under a session: a visitor who came at once was served over TLS",
        started,
    );
    // The session continues: a TLS carrier was dialled for it.
    agent.wait_for_log("tls is attached, as quic does not answer: new streams use tls");
}

#[test]
fn agents_and_desks_survive_a_black_hole_on_both_carriers() {
    let Some(network) = Network::new() else {
        return;
    };
    let server = server_in(&network);
    let (near, beyond) = (
        network.near(|| Origin::named("near")),
        network.far(|| Origin::named("beyond")),
    );
    let exit = network.far(|| {
        Program::start(
            BYWAY,
            &[
                "proxy",
                "serve",
                "--listen",
                &format!("{}:0", Network::FAR),
                "--allow",
                "127.0.0.0/8",
            ],
        )
    });
    let join = join_string(&exit);
    let agents = CARRIERS.map(|carrier| {
        network.near(|| Agent::tcp(&server, near.address(), &["--carrier", carrier]))
    });
    let desks = CARRIERS.map(|carrier| {
        let desk = network.near(|| {
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
        desk.wait_for_log("is up");
        desk
    });
    let through = |desk: &Program| {
        network.near(|| {
            through_socks5(desk.address(), beyond.address())
                .get("/")
                .text()
        })
    };
    for (agent, desk) in agents.iter().zip(&desks) {
        assert_eq!(
            (
                greeting_in(&network, agent.address()).as_str(),
                through(desk).as_str()
            ),
            ("near", "beyond")
        );
    }

    network.black_hole();
    let started = Instant::now();
    eventually("the black hole is over", || started.elapsed() > BLACK_HOLE);
    network.heal();
    let started = Instant::now();
    std::thread::scope(|scope| {
        for (place, carrier) in CARRIERS.into_iter().enumerate() {
            let (network, agents, desks, through) = (&network, &agents, &desks, &through);
            scope.spawn(move || {
                assert_eq!(
                    greeting_in(network, agents[place].address()),
                    "near",
                    "{carrier}"
                );
                took(
                    &format!(
                        "black hole of {BLACK_HOLE:?} over: a visitor of the agent over {carrier}"
                    ),
                    started,
                );
            });
            scope.spawn(move || {
                assert_eq!(through(&desks[place]), "beyond", "{carrier}");
                took(
                    &format!(
                        "black hole of {BLACK_HOLE:?} over: an inquiry of the desk over {carrier}"
                    ),
                    started,
                );
            });
        }
    });
}

#[test]
fn an_unreachable_network_is_reported_in_plain_words() {
    let Some(network) = Network::new() else {
        return;
    };
    let join = server_in(&network)
        .join
        .replace(&format!("@{}:", Network::FAR), "@203.0.113.1:");
    let program = network.near(|| Program::start(BYWAY, &["tcp", "22", "--join", &join]));
    program.wait_for_log("failures=1");
    let stderr = program.stop().stderr;
    assert!(
        stderr.contains("203.0.113.1:") && stderr.contains("cannot be reached"),
        "{stderr}"
    );
    for text in ["Some(", "None", "Os {", "Transmit"] {
        assert!(!stderr.contains(text), "{text}: {stderr}");
    }
}

#[test]
fn visitors_are_served_when_udp_fails_while_a_tls_carrier_is_attached() {
    let Some(network) = Network::new() else {
        return;
    };
    let server = server_in(&network);
    let origin = network.near(|| Origin::named("near"));
    network.block("udp", Block::Drop);
    let agent = agent_in(&network, &server, &origin);
    agent.wait_for_log("is up, by tls");
    let public = public(&agent);
    network.heal();
    agent.wait_for_log("quic is attached: new streams use quic");
    network.block("udp", Block::Drop);
    let started = Instant::now();
    assert_eq!(greeting_in(&network, public), "near");
    took("UDP lost beside TLS: a visitor was served", started);
}

/// Longer than the 7 s after which streams used to be cut, and the time that they must survive.
const HOLE: Duration = Duration::from_secs(10);

#[test]
fn a_download_survives_ten_seconds_without_packets_on_both_carriers() {
    let Some(network) = Network::new() else {
        return;
    };
    let server = server_in(&network);
    let origin = network.near(Origin::useful);
    let agents = CARRIERS.map(|carrier| {
        network.near(|| Agent::tcp(&server, origin.address(), &["--carrier", carrier]))
    });
    let mut visitors = agents
        .each_ref()
        .map(|agent| network.far(|| Visitor::connect(agent.address())));
    for visitor in &mut visitors {
        visitor.send("GET /bytes/16777216 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert_eq!(visitor.head().expect("an answer").status(), 200);
    }
    network.black_hole();
    let started = Instant::now();
    eventually("the hole is over", || started.elapsed() > HOLE);
    network.heal();
    let started = Instant::now();
    for (mut visitor, carrier) in visitors.into_iter().zip(CARRIERS) {
        let mut sum = Sum::new();
        visitor.exactly_each(16 * MIB, |bytes| sum.add(bytes));
        assert_eq!(sum.hex(), Pattern::sha256(16 * MIB), "{carrier}");
        took(
            &format!("hole of {HOLE:?} over: the rest of a download over {carrier}"),
            started,
        );
    }
}

/// Far below the MTU of 1,500 bytes at both ends, and above the packet size after the first step.
const HOLE_BYTES: u32 = 1300;

/// Sequential requests, each for more than one packet.
const REQUESTS: usize = 20;

/// Downloads from an origin. The error is why the download is incomplete.
fn fetch(mut visitor: Visitor) -> Result<(), String> {
    visitor.send("GET /bytes/20480 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let (mut sum, head) = (Sum::new(), visitor.head());
    if head.as_ref().map(byway_testkit::Message::status) != Some(200) {
        return Err(format!("{head:?}"));
    }
    visitor.exactly_each(20_480, |bytes| sum.add(bytes));
    (sum.hex() == Pattern::sha256(20_480))
        .then_some(())
        .ok_or_else(|| "other bytes".to_owned())
}

/// Calls `ask`, drops large packets, lets one request run into that, and calls `ask` again once the
/// link of `dialler` has recovered.
fn goes_on_across_a_hole(
    network: &Network,
    dialler: &Program,
    ask: impl Fn() -> Result<(), String> + Sync,
) {
    ask().expect("the path is whole");
    network.drop_larger_than(HOLE_BYTES);
    let met = std::thread::scope(|scope| {
        let met = scope.spawn(&ask);
        dialler.wait_for_log("use segments of at most 1200 bytes");
        for number in 0..REQUESTS {
            ask().unwrap_or_else(|why| panic!("request {number}: {why}"));
        }
        met.join()
    });
    eprintln!(
        "the request whose connection met the hole was served: {}",
        met.is_ok_and(|met| met.is_ok())
    );
}

#[test]
fn visitors_are_served_over_tls_when_the_path_loses_large_packets_of_the_agent() {
    let Some(network) = Network::new() else {
        return;
    };
    let server = server_in(&network);
    let origin = network.near(Origin::useful);
    let agent = network.near(|| Agent::tcp(&server, origin.address(), &["--carrier", "tls"]));
    let address = agent.address();
    goes_on_across_a_hole(&network, &agent.program, || {
        network.far(|| fetch(Visitor::connect(address)))
    });
}

#[test]
fn downloads_of_a_desk_work_over_tls_when_the_path_loses_large_packets_of_the_exit() {
    let Some(network) = Network::new() else {
        return;
    };
    let beyond = network.far(Origin::useful);
    let exit = network.far(|| {
        Program::start(
            BYWAY,
            &[
                "proxy",
                "serve",
                "--listen",
                &format!("{}:0", Network::FAR),
                "--allow",
                "127.0.0.0/8",
            ],
        )
    });
    let join = join_string(&exit);
    let desk = network.near(|| {
        Program::start(
            BYWAY,
            &["proxy", "join", &join, "--listen", ANY, "--carrier", "tls"],
        )
    });
    desk.wait_for_log("is up");
    goes_on_across_a_hole(&network, &desk, || {
        network.near(|| fetch(through_socks5(desk.address(), beyond.address())))
    });
}

#[test]
fn a_link_over_tls_recovers_when_its_address_is_no_longer_on_the_machine() {
    let Some(network) = Network::new() else {
        return;
    };
    let server = server_in(&network);
    let origin = network.near(Origin::useful);
    let agent = network.near(|| Agent::tcp(&server, origin.address(), &["--carrier", "tls"]));
    let mut visitor = network.far(|| Visitor::connect(agent.address()));
    visitor.send("GET /bytes/1073741824 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(visitor.head().expect("an answer").status(), 200);
    network.move_near();
    agent
        .program
        .wait_for_log("its address 10.77.1.2 is no longer on this machine");
    assert_eq!(
        network.far(|| fetch(Visitor::connect(agent.address()))),
        Ok(()),
        "the link goes on from the new address"
    );
}
