//! Link: two nodes from end to end: the built program twice, between real sockets and curl.
//!
//! `expose` services made public by an agent · `egress` a desk that goes out through an exit ·
//! `outages` crashes, restarts, drains, and conflicts over names · `blocked` networks that lose
//! packets · `busy` agents at a limit · `refusals` errors and where they are reported · `reload` a new config · `load` many
//! visitors, and stalled streams · `reports` the lines of an agent's access log for the requests of
//! its services · `many` agents with hundreds of services · `metrics` of links · `unauthenticated`
//! silent connections at the port of links · `ports` whose public ports are open · `state` the
//! state folder of a public end · `stopping` SIGTERM to each node.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod blocked;
mod busy;
mod egress;
mod expose;
mod idle_ends;
mod load;
mod many;
mod metrics;
mod outages;
mod ports;
mod refusals;
mod reload;
mod reports;
mod state;
mod stopping;
mod unauthenticated;

use std::net::SocketAddr;
use std::path::Path;

use byway_testkit::{Origin, Program, Visitor};

const BYWAY: &str = env!("CARGO_BIN_EXE_byway");

/// Both carriers must behave the same.
const CARRIERS: [&str; 2] = ["quic", "tls"];

/// Any free loopback port.
const ANY: &str = "127.0.0.1:0";

/// `byway serve`: the public end of services. HTTP services are below `t.localhost`.
struct Server {
    program: Program,
    join: String,
}

impl Server {
    /// On free ports, with its own state.
    #[track_caller]
    fn start() -> Self {
        Self::with(ANY, ANY, &[])
    }

    /// With these addresses for links and HTTP visitors. The join string contains 127.0.0.1, as
    /// `t.localhost` may resolve to anything.
    #[track_caller]
    fn with(listen: &str, http: &str, more: &[&str]) -> Self {
        let args = [
            "serve",
            "--listen",
            listen,
            "--http",
            http,
            "--domain",
            "t.localhost",
            "--advertise",
            "127.0.0.1",
        ];
        let program = Program::start(BYWAY, &[&args, more].concat());
        let join = join_string(&program);
        Self { program, join }
    }

    /// The address for links.
    #[track_caller]
    fn link(&self) -> SocketAddr {
        self.program.address_of("serve")
    }

    /// The address for HTTP visitors.
    #[track_caller]
    fn http(&self) -> SocketAddr {
        self.program.address_of("edge")
    }

    /// Sends a visitor's request to the HTTP service `name`.
    #[track_caller]
    fn ask(&self, name: &str, line: &str) -> byway_testkit::Message {
        Visitor::connect(self.http()).ask(&format!(
            "{line} HTTP/1.1\r\nHost: {name}.t.localhost\r\n\r\n"
        ))
    }
}

/// The join string that a program prints.
#[track_caller]
fn join_string(program: &Program) -> String {
    program
        .wait_for_stdout("join by1.")
        .split_off("join ".len())
}

/// The number of links that the server logged as up, once its log names all of `services`: the
/// server may log a service a moment after the agent got the answer.
#[track_caller]
fn links_of<const N: usize>(server: &Server, services: [&str; N]) -> usize {
    for service in services {
        server
            .program
            .wait_for_log(&format!("{service} is public at "));
    }
    server.program.stderr().matches("link is up").count()
}

/// The most memory that a node with one session may hold, however its streams are scheduled: 64 MiB
/// of window growth ([`byway_link::window::CARRIER_BYTES`]), for which QUIC holds up to 2.5 times
/// as much, since it keeps the received datagrams; 16 MiB of unsent bytes; 64 MiB in front of the
/// spill; 16 MiB of free and queued buffers. The program itself is not included.
const MOST_HELD_KIB: u64 = (64 * 5 / 2 + 16 + 64 + 16) * 1024;

/// Asserts that `node` has grown by no more than that since it had `before` KiB, while `wanted`
/// bytes were requested.
#[track_caller]
fn memory_is_bounded(what: &str, node: &Program, before: u64, wanted: u64) {
    assert!(
        wanted / 1024 > 2 * MOST_HELD_KIB,
        "{what}: {wanted} bytes would prove nothing"
    );
    let rss = node.rss_kib();
    eprintln!("{what}: {rss} KiB resident, {before} KiB before");
    assert!(
        rss < before + MOST_HELD_KIB,
        "{what}: {rss} KiB, {before} KiB before"
    );
}

/// `byway tcp` or `byway http`, once the service is public.
struct Agent {
    program: Program,
    public: String,
}

impl Agent {
    /// `args` follow `byway`. Waits for the public address.
    #[track_caller]
    fn start(args: &[&str]) -> Self {
        let program = Program::start(BYWAY, args);
        let public = program.wait_for_stdout("");
        Self { program, public }
    }

    /// Exposes a TCP service.
    #[track_caller]
    fn tcp(server: &Server, target: SocketAddr, more: &[&str]) -> Self {
        Self::start(&[&["tcp", &target.to_string(), "--join", &server.join], more].concat())
    }

    /// Exposes an HTTP service as `name`.
    #[track_caller]
    fn http(server: &Server, name: &str, target: SocketAddr, more: &[&str]) -> Self {
        Self::start(
            &[
                &[
                    "http",
                    &target.to_string(),
                    "--name",
                    name,
                    "--join",
                    &server.join,
                ],
                more,
            ]
            .concat(),
        )
    }

    /// The public address of a TCP service.
    #[track_caller]
    fn address(&self) -> SocketAddr {
        self.public
            .parse()
            .unwrap_or_else(|_| panic!("{:?} is not an address", self.public))
    }

    /// `kill -9`.
    fn kill(self) {
        self.program.signal(rustix::process::Signal::KILL);
        self.program.wait();
    }
}

/// The lines of an access log, once it has `count` of them.
#[track_caller]
fn access_lines(path: &Path, count: usize) -> Vec<String> {
    let mut lines = Vec::new();
    byway_testkit::eventually("the lines are there", || {
        lines = std::fs::read_to_string(path)
            .unwrap_or_default()
            .lines()
            .map(str::to_owned)
            .collect();
        lines.len() >= count
    });
    lines
}

/// The complete answer to a request that is sent from the address `from`, which is not that of the
/// link.
#[track_caller]
fn ask_from(from: [u8; 4], to: SocketAddr, request: &str) -> String {
    use std::io::{Read, Write};
    let visitor = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    visitor.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    visitor.connect(&to.into()).unwrap();
    let mut visitor = std::net::TcpStream::from(visitor);
    visitor.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    visitor.read_to_string(&mut answer).unwrap();
    answer
}

/// The answer of an origin through a public address.
#[track_caller]
fn greeting(address: SocketAddr) -> String {
    Visitor::connect(address).get("/").text()
}

/// A port that is free now.
fn free_port() -> u16 {
    std::net::TcpListener::bind(ANY)
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// A folder as an argument.
fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Exposes the origin over TCP and runs `check` on one carrier after the other.
#[track_caller]
fn on_both_carriers(origin: &Origin, mut check: impl FnMut(&'static str, &Server, &Agent)) {
    let server = Server::start();
    for carrier in CARRIERS {
        let agent = Agent::tcp(&server, origin.address(), &["--carrier", carrier]);
        server
            .program
            .wait_for_log(&format!("link is up, by {carrier}"));
        check(carrier, &server, &agent);
    }
}
