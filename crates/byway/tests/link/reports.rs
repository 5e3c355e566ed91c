//! Reports: the access log of an agent has a line for each request of its HTTP services, as
//! reported by the public end.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use byway_dial::{Read, Stream};
use byway_link::wire::{Control, FEATURE_REPORTS, FEATURES, Open, Registered, Visited};
use byway_link::{Acceptor, Arrival, GrantId, GrantSecret, Inbox, JoinString, Key, Link, Settings};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::*;

/// The timeout of every wait.
const PATIENCE: Duration = Duration::from_secs(60);

/// Answers "hello", with 404 for `/missing`.
fn origin() -> Origin {
    Origin::scripted(|visitor| {
        while let Some(request) = visitor.request() {
            let status = if request.target() == "/missing" {
                "404 Not Found"
            } else {
                "200 OK"
            };
            visitor.send(format!(
                "HTTP/1.1 {status}\r\nContent-Length: 5\r\n\r\nhello"
            ));
        }
    })
}

/// A server with one worker, so that its requests share the kept streams.
fn server() -> Program {
    let config = "workers = 1\n[[serve]]\nlisten = \"127.0.0.1:0\"\nadvertise = \"127.0.0.1\"\n\
                  domain = \"t.localhost\"\nhttp = \"127.0.0.1:0\"\n";
    Program::configured(BYWAY, config)
}

#[test]
fn each_visitor_of_a_kept_stream_has_a_line_at_the_agent_when_its_request_ends() {
    for (format, carrier) in [("combined", "quic"), ("json", "tls")] {
        let (origin, server, folder) = (origin(), server(), tempfile::tempdir().unwrap());
        let join =
            std::fs::read_to_string(server.folder().join("state").join("join-serve")).unwrap();
        let log = folder.path().join("log");
        let target = origin.address().to_string();
        let shown_log = shown(&log);
        let _agent = Agent::start(
            &[
                &[
                    "http",
                    &target,
                    "--name",
                    "app",
                    "--join",
                    join.trim(),
                    "--carrier",
                    carrier,
                ][..],
                &["--access-log", &shown_log, "--access-log-format", format],
            ]
            .concat(),
        );
        for (host, line, body) in [
            (2, "GET /first", ""),
            (3, "PUT /second?q=1", "abc"),
            (4, "GET /missing", ""),
        ] {
            let length = body.len();
            let head = format!(
                "Host: app.t.localhost\r\nUser-Agent: visitor {host}\r\nContent-Length: {length}\r\n"
            );
            let request = format!("{line} HTTP/1.1\r\n{head}Connection: close\r\n\r\n{body}");
            let answer = ask_from([127, 0, 0, host], server.address_of("edge"), &request);
            assert!(answer.ends_with("hello"), "{answer}");
        }
        // The agent still runs, and the stream is still open.
        let lines = access_lines(&log, 3);
        assert_eq!((lines.len(), origin.connections()), (3, 1), "{lines:?}");
        let wanted = [
            ("127.0.0.2", "GET", "/first", 200, 0, 2),
            ("127.0.0.3", "PUT", "/second?q=1", 200, 3, 3),
            ("127.0.0.4", "GET", "/missing", 404, 0, 4),
        ];
        for (line, (visitor, method, path, status, in_bytes, number)) in lines.iter().zip(wanted) {
            if format == "combined" {
                let end = format!(
                    "+0000] \"{method} {path} HTTP/1.1\" {status} 5 \"-\" \"visitor {number}\""
                );
                assert!(
                    line.starts_with(&format!("{visitor} - - [")) && line.ends_with(&end),
                    "{line}"
                );
                continue;
            }
            for text in [
                "\"kind\":\"request\"".to_owned(),
                format!("\"peer\":\"{visitor}:"),
                format!("\"method\":\"{method}\",\"target\":\"{path}\",\"version\":\"HTTP/1.1\""),
                format!("\"status\":{status},\"in_bytes\":{in_bytes},\"out_bytes\":5,"),
                format!("\"upstream\":\"{target}\""),
                "\"end\":\"done\"".to_owned(),
            ] {
                assert!(line.contains(&text), "{text} in {line}");
            }
        }
    }
}

/// A public end in the test, with these features.
pub(super) struct Stub {
    pub(super) runtime: Runtime,
    acceptor: Arc<Acceptor>,
    tcp: Arc<TcpListener>,
    pub(super) join: String,
}

impl Stub {
    pub(super) fn new(features: u64) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let settings = Settings {
            features,
            ..Settings::default()
        };
        let acceptor =
            Acceptor::new(Key::generate().unwrap(), settings, runtime.handle().clone()).unwrap();
        let tcp = runtime
            .block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .unwrap();
        let join = JoinString {
            pin: acceptor.pin(),
            id: GrantId::from_bytes([1; 6]),
            secret: GrantSecret::from_bytes([2; 24]),
            address: byway_dial::Target::Addr(tcp.local_addr().unwrap()),
        };
        Self {
            runtime,
            acceptor: Arc::new(acceptor),
            tcp: Arc::new(tcp),
            join: join.expose(),
        }
    }

    /// Accepts the next agent. Returns its session once its service is public.
    pub(super) fn session(&self) -> JoinHandle<(Link, Inbox)> {
        let (acceptor, tcp, handle) = (
            Arc::clone(&self.acceptor),
            Arc::clone(&self.tcp),
            self.runtime.handle().clone(),
        );
        self.runtime.spawn(async move {
            let (socket, _) = tcp.accept().await.unwrap();
            let Ok(Arrival::Hello(pending)) = acceptor.tcp(Stream::tcp(socket), &handle).await
            else {
                panic!("no hello")
            };
            let (link, mut inbox) = pending.welcome().await.unwrap();
            let Some(Control::Register(register)) = inbox.control.recv().await else {
                panic!("no service")
            };
            let public = "http://app.test".to_owned();
            assert!(
                link.send(Control::Registered(Registered {
                    service: register.service,
                    public
                }))
                .await
            );
            (link, inbox)
        })
    }

    /// An agent with a service, and its session.
    #[track_caller]
    fn agent(&self, target: SocketAddr, log: &Path) -> (Agent, Link, Inbox) {
        let session = self.session();
        let (target, log) = (target.to_string(), shown(log));
        let args = [
            "http",
            &target,
            "--join",
            &self.join,
            "--carrier",
            "tls",
            "--access-log",
            &log,
        ];
        let agent = Agent::start(&args);
        let (link, inbox) = self.runtime.block_on(session).unwrap();
        (agent, link, inbox)
    }
}

/// A visitor's request on its own stream. Returns whether the agent wants a report of it.
async fn visit(link: &Link) -> bool {
    let open = Open {
        service: 1,
        visitor: "192.0.2.7:4711".into(),
        ..Open::default()
    };
    let mut opened = link.open(&open, PATIENCE).await.unwrap();
    opened
        .stream
        .write_all(b"GET / HTTP/1.1\r\nHost: app.test\r\n\r\n")
        .await
        .unwrap();
    let (mut answer, mut room) = (Vec::new(), [0; 1024]);
    while !answer.ends_with(b"hello") {
        match tokio::time::timeout(PATIENCE, opened.stream.read(&mut room))
            .await
            .unwrap()
            .unwrap()
        {
            Read::Data(n) => answer.extend_from_slice(&room[..n]),
            Read::Fin => panic!("{answer:?}"),
        }
    }
    opened.stream.finish().await.unwrap();
    opened.reports
}

#[test]
fn an_agent_of_an_older_public_end_that_reports_nothing_logs_the_stream() {
    let (origin, folder) = (origin(), tempfile::tempdir().unwrap());
    let (stub, log) = (
        Stub::new(FEATURES & !FEATURE_REPORTS),
        folder.path().join("log"),
    );
    let (_agent, link, _inbox) = stub.agent(origin.address(), &log);
    assert!(!stub.runtime.block_on(visit(&link)));
    let line = access_lines(&log, 1).remove(0);
    let request = format!("\"CONNECT {} LINK\" 200 ", origin.address());
    assert!(
        line.starts_with("192.0.2.7 - - [") && line.contains(&request),
        "{line}"
    );
}

#[test]
fn a_server_that_floods_an_agent_with_reports_neither_blocks_it_nor_grows_its_memory() {
    const REPORTS: usize = 1000;
    const TEXT_BYTES: usize = 60_000;
    const MOST_GROWTH_KIB: u64 = 28 * 1024;
    let (origin, folder) = (origin(), tempfile::tempdir().unwrap());
    let (stub, log) = (Stub::new(FEATURES), folder.path().join("log"));
    // An access log that is not read: its lines have to be dropped.
    mknodat(CWD, &log, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let _reader = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&log)
        .unwrap();
    let (agent, link, _inbox) = stub.agent(origin.address(), &log);
    assert!(
        stub.runtime.block_on(visit(&link)),
        "the agent requests reports"
    );
    let before = agent.program.rss_kib();
    stub.runtime.block_on(async {
        for at in 0..REPORTS {
            let visited = Visited {
                // Some are for services that do not exist.
                service: if at % 10 == 0 { 7 } else { 1 },
                // Some have an invalid visitor.
                visitor: if at % 10 == 1 {
                    "invalid"
                } else {
                    "192.0.2.8:1"
                }
                .into(),
                method: b"GET".to_vec(),
                target: vec![b'\n'; TEXT_BYTES],
                status: 200,
                ..Visited::default()
            };
            assert!(
                link.send(Control::Visited(Box::new(visited))).await,
                "the session is over"
            );
            if at % 250 == 0 {
                visit(&link).await;
            }
        }
        visit(&link).await;
    });
    let grown = agent.program.rss_kib().saturating_sub(before);
    assert!(
        grown < MOST_GROWTH_KIB && (REPORTS * TEXT_BYTES) as u64 / 1024 > 2 * MOST_GROWTH_KIB,
        "{grown} KiB"
    );
    assert!(!link.is_over());
}
