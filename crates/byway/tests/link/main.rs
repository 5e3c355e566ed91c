//! Link: two nodes from end to end: the built program twice, between real sockets and curl.
//!
//! `expose` services made public by an agent · `egress` a desk that goes out through an exit ·
//! `outages` who dies, comes back, leaves, or wants what another has · `blocked` networks that lose
//! packets · `refusals` what is wrong and who is told · `reload` a new config · `load` crowds, and
//! streams that stall · `reports` the lines that an agent's access log has of the requests of its
//! services · `many` agents with hundreds of services · `metrics` what they say of links ·
//! `strangers` at the port of links · `ports` whose public ports are open · `state` the state
//! folder of a public end · `stopping` SIGTERM to each node.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod blocked;
mod egress;
mod expose;
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
mod strangers;

use std::net::SocketAddr;
use std::path::Path;

use byway_testkit::{Origin, Program, Visitor};

const BYWAY: &str = env!("CARGO_BIN_EXE_byway");

/// Whatever holds on one holds on the other.
const CARRIERS: [&str; 2] = ["quic", "tls"];

/// Any free port of loopback.
const ANY: &str = "127.0.0.1:0";

/// `byway serve`: the public end of services, HTTP services below `t.localhost`.
struct Server {
    program: Program,
    join: String,
}

impl Server {
    /// On free ports, with a state of its own.
    #[track_caller]
    fn start() -> Self {
        Self::with(ANY, ANY, &[])
    }

    /// With its links and HTTP visitors at these addresses. A join string says 127.0.0.1, whatever
    /// `t.localhost` is.
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

    /// Where links arrive.
    #[track_caller]
    fn link(&self) -> SocketAddr {
        self.program.address_of("serve")
    }

    /// Where HTTP visitors arrive.
    #[track_caller]
    fn http(&self) -> SocketAddr {
        self.program.address_of("edge")
    }

    /// A visitor's request to the HTTP service `name`.
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

/// How many links the server has said to be up, by the time that its log names all of `services`:
/// what an agent has heard already may stand in the server's log a moment later.
#[track_caller]
fn links_of<const N: usize>(server: &Server, services: [&str; N]) -> usize {
    for service in services {
        server
            .program
            .wait_for_log(&format!("{service} is public at "));
    }
    server.program.stderr().matches("link is up").count()
}

/// What a node with one session may come to, however its streams are scheduled: 64 MiB that windows
/// grow by ([`byway_link::window::SESSION_BYTES`]), for which QUIC holds up to two and a half times
/// as much, since it keeps the datagrams that the bytes came in; 16 MiB that it has not sent yet;
/// 64 MiB in front of the spill; 16 MiB of free and queued buffers. Without the program itself.
const MOST_HELD_KIB: u64 = (64 * 5 / 2 + 16 + 64 + 16) * 1024;

/// Asserts that `node` has grown by no more than that since it had `before` KiB; `wanted` bytes
/// were asked for meanwhile.
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
    /// `args` after `byway`; waits for the public address.
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
            .unwrap_or_else(|_| panic!("{:?} is no address", self.public))
    }

    /// `kill -9`.
    fn kill(self) {
        self.program.signal(rustix::process::Signal::KILL);
        self.program.wait();
    }
}

/// The lines of an access log, once there are as many.
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

/// What comes back of a request that is sent from an address of its own, which is not that of the
/// link, up to the end.
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

/// What an origin answers through a public address.
#[track_caller]
fn greeting(address: SocketAddr) -> String {
    Visitor::connect(address).get("/").text()
}

/// A port that nobody listens on now.
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

/// The public address of an origin that is exposed over TCP, on one carrier after the other.
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
