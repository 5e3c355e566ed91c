//! Ports: which public ports are open and reserved, for which grant, and when they close.

use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use byway_dial::Resolver;
use byway_link::wire::{Control, GoAway, Register};
use byway_link::{Carriers, Dialler, Inbox, Key, Link, Purpose, Refusal, ServiceKind, Settings};
use byway_testkit::{Launch, Origin, Program, Visitor, eventually};
use rustix::process::{Resource, Rlimit, Signal};

use super::*;

/// A session whose control messages the test sends itself.
pub(super) struct Raw {
    pub(super) runtime: tokio::runtime::Runtime,
    pub(super) link: Link,
    inbox: Inbox,
}

impl Raw {
    #[track_caller]
    pub(super) fn join(join: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let handle = runtime.handle().clone();
        let key = Key::load_or_create(&tempfile::tempdir().unwrap().path().join("key")).unwrap();
        let dial = byway_dial::Dialler::new(
            Resolver::system(handle.clone()),
            byway_dial::Options::default(),
        );
        let (join, settings) = (join.parse().unwrap(), Settings::default());
        let dialler = Dialler::new(
            key,
            join,
            Purpose::Serve,
            Carriers::Tls,
            dial,
            settings,
            handle,
        );
        let (link, inbox) = runtime
            .block_on(dialler.connect(1, 1, Duration::from_secs(20)))
            .unwrap();
        Self {
            runtime,
            link,
            inbox,
        }
    }

    fn send(&self, control: Control) {
        assert!(self.runtime.block_on(self.link.send(control)));
    }

    /// Requests a port of the server's choice and waits for the answer: the address or the refusal.
    #[track_caller]
    pub(super) fn register(
        &mut self,
        service: u32,
        name: String,
    ) -> Result<String, (Refusal, String)> {
        let kind = ServiceKind::Tcp.number();
        self.send(Control::Register(Register {
            service,
            kind,
            name,
            port: 0,
        }));
        let control = &mut self.inbox.control;
        let answer = async {
            loop {
                match control.recv().await {
                    // The server may report that it is idle before it answers.
                    Some(Control::GoAway(_)) => {}
                    answer => return answer,
                }
            }
        };
        let answer = async { tokio::time::timeout(Duration::from_secs(20), answer).await };
        match self.runtime.block_on(answer) {
            Ok(Some(Control::Registered(registered))) => Ok(registered.public),
            Ok(Some(Control::Withdrawn(withdrawn))) => {
                Err((Refusal::from_number(withdrawn.why), withdrawn.detail))
            }
            other => panic!("no answer to a registration: {other:?}"),
        }
    }
}

#[track_caller]
pub(super) fn another_grant(server: &Server, more: &[&str]) -> String {
    let state = shown(&server.program.folder().join("state"));
    let advertise = server.link().to_string();
    let args = ["token", "add", "--state", &state, "--advertise", &advertise];
    let added = Launch::new(BYWAY, &[&args, more].concat()).run();
    assert_eq!(added.code, Some(0), "{}", added.stderr);
    added.stdout.trim().trim_start_matches("join ").to_owned()
}

#[track_caller]
fn revoke(server: &Server, join: &str) {
    let state = shown(&server.program.folder().join("state"));
    let id = join
        .parse::<byway_link::JoinString>()
        .unwrap()
        .id
        .to_string();
    let revoked = Launch::new(BYWAY, &["token", "revoke", &id, "--state", &state]).run();
    assert_eq!(revoked.code, Some(0), "{}", revoked.stderr);
}

#[test]
fn a_registration_that_is_refused_opens_no_port() {
    let server = Server::start();
    let mut raw = Raw::join(&server.join);
    for service in 1..=256 {
        raw.register(service, format!("label {service}")).unwrap();
    }
    let open = server.program.sockets();
    for service in 257..=288 {
        let (why, detail) = raw
            .register(service, format!("label {service}"))
            .unwrap_err();
        assert!(
            why == Refusal::Denied && detail.contains("256 names"),
            "{why:?}: {detail}"
        );
    }
    assert_eq!(
        server.program.sockets(),
        open,
        "32 refused registrations have left sockets"
    );
}

#[test]
fn grants_with_many_public_ports_leave_descriptors_for_everything_else() {
    let args = [
        "serve",
        "--listen",
        ANY,
        "--http",
        ANY,
        "--domain",
        "t.localhost",
        "--advertise",
        "127.0.0.1",
    ];
    let program = Launch::new(BYWAY, &args).with_descriptors(1024).start();
    let join = join_string(&program);
    let server = Server { program, join };
    let mut sessions = Vec::new();
    let mut counts = Vec::new();
    for join in [
        server.join.clone(),
        another_grant(&server, &[]),
        another_grant(&server, &[]),
    ] {
        let mut raw = Raw::join(&join);
        let refused = (1..=256).find_map(|service| {
            let refused = raw.register(service, format!("label {service}")).err()?;
            Some((service, refused))
        });
        let (service, (why, detail)) = refused.expect("256 ports do not fit three times");
        assert!(
            why == Refusal::Busy && detail.contains("ulimit -n"),
            "{why:?}: {detail}"
        );
        counts.push(service - 1);
        sessions.push(raw);
    }
    assert!(
        counts.iter().all(|count| *count >= 1) && counts[0] >= counts[1],
        "{counts:?}"
    );
    assert!(
        server.program.sockets() < 512,
        "{} sockets",
        server.program.sockets()
    );
    // Names are still written, and new agents are served.
    let origin = Origin::named("app");
    let _app = Agent::http(&server, "app", origin.address(), &[]);
    assert_eq!(server.ask("app", "GET /").text(), "app");
    // A port of an absent agent is given up for one of another grant.
    drop(sessions.remove(0));
    server.program.wait_for_log("link is down");
    let late = another_grant(&server, &[]);
    let target = origin.address().to_string();
    let agents: Vec<Agent> = (0..2)
        .map(|_| Agent::start(&["tcp", &target, "--join", &late]))
        .collect();
    for agent in &agents {
        assert_eq!(greeting(agent.address()), "app");
    }
}

#[test]
fn a_port_that_another_listener_has_is_not_reserved_for_the_grant_that_requested_it() {
    let server = Server::start();
    let (other, origin) = (another_grant(&server, &[]), Origin::named("other"));
    let elsewhere = TcpListener::bind(ANY).unwrap();
    let taken = elsewhere.local_addr().unwrap().port();
    let (another, own) = (
        "is in use by another program",
        "the server itself listens on",
    );
    for (port, why) in [
        (taken, another),
        (server.http().port(), own),
        (server.link().port(), own),
    ] {
        let finished = Launch::new(
            BYWAY,
            &[
                "tcp",
                "22",
                "--port",
                &port.to_string(),
                "--join",
                &server.join,
            ],
        )
        .run();
        assert!(
            finished.stderr.contains(why) && finished.stderr.contains(&format!("port {port}")),
            "{}",
            finished.stderr
        );
    }
    drop(elsewhere);
    let target = origin.address().to_string();
    let agent = Agent::start(&[
        "tcp",
        &target,
        "--port",
        &taken.to_string(),
        "--join",
        &other,
    ]);
    assert_eq!(greeting(agent.address()), "other");
    let names = std::fs::read_to_string(server.program.folder().join("state/names")).unwrap();
    assert_eq!(
        names
            .lines()
            .filter(|line| line.starts_with("tcp "))
            .count(),
        1,
        "{names}"
    );
}

#[test]
fn a_revoked_grants_ports_close_and_its_parked_visitors_are_refused_at_once() {
    let server = Server::start();
    let (join, origin) = (another_grant(&server, &[]), Origin::named("gone"));
    let target = origin.address().to_string();
    let tcp = Agent::start(&["tcp", &target, "--join", &join]);
    let http = Agent::start(&[
        "http",
        &target,
        "--name",
        "app",
        "--join",
        &join,
        "--carrier",
        "tls",
    ]);
    let public = tcp.address();
    // The agents are killed; their visitors are parked.
    for agent in [&tcp, &http] {
        agent.program.signal(Signal::KILL);
    }
    server.program.wait_for_log("link is down");
    let mut by_tcp = Visitor::connect(public);
    let mut by_http = Visitor::connect(server.http());
    by_http.send("GET / HTTP/1.1\r\nHost: app.t.localhost\r\n\r\n");
    by_tcp.send("hello");
    let wait = std::time::Instant::now();
    eventually("they wait", || {
        wait.elapsed() > Duration::from_millis(200) || !by_tcp.is_silent()
    });
    assert!(by_tcp.is_silent() && by_http.is_silent());
    revoke(&server, &join);
    let answer = by_http.response();
    assert_eq!(
        answer.status(),
        404,
        "not the 503 of a visitor who has waited for too long: {answer:?}"
    );
    by_tcp.to_end();
    eventually("the port is closed", || TcpStream::connect(public).is_err());
    // Both are free for the other grants.
    let next = Agent::http(&server, "app", origin.address(), &[]);
    let port = public.port().to_string();
    let again = Agent::tcp(&server, origin.address(), &["--port", &port]);
    assert_eq!(
        (
            greeting(again.address()).as_str(),
            server.ask("app", "GET /").text()
        ),
        ("gone", "gone".into())
    );
    drop(next);
}

#[test]
fn one_port_number_on_two_addresses_is_two_ports() {
    let two = "[[serve]]\nlisten = \"127.0.0.1:0\"\n[[serve]]\nlisten = \"127.0.0.2:0\"\n";
    let server = Program::configured(BYWAY, two);
    let (one, other) = (Origin::named("one"), Origin::named("other"));
    let port = free_port().to_string();
    let agents = [(0, "127.0.0.1", &one), (1, "127.0.0.2", &other)].map(|(number, ip, origin)| {
        let link = server.addresses()[number];
        assert_eq!(link.ip().to_string(), ip);
        let file = server
            .folder()
            .join(format!("state/join-serve-{}", link.port()));
        let target = origin.address().to_string();
        let agent = Agent::start(&[
            "tcp",
            &target,
            "--port",
            &port,
            "--join-file",
            &shown(&file),
        ]);
        assert_eq!(agent.public, format!("{ip}:{port}"));
        agent
    });
    assert_eq!(greeting(agents[0].address()), "one");
    assert_eq!(greeting(agents[1].address()), "other");
}

#[test]
fn a_service_that_is_registered_after_go_away_gets_no_name() {
    let server = Server::start();
    let mut raw = Raw::join(&server.join);
    raw.register(1, "first".into()).unwrap();
    raw.send(Control::GoAway(GoAway {
        detail: "leaving".into(),
        ..GoAway::default()
    }));
    let (why, _) = raw.register(2, "second".into()).unwrap_err();
    assert_eq!(why, Refusal::Gone);
    let names = std::fs::read_to_string(server.program.folder().join("state/names")).unwrap();
    assert!(!names.contains("second"), "{names}");
}

#[test]
fn a_refusal_does_not_name_another_tenants_grant() {
    let server = Server::start();
    let (other, origin) = (another_grant(&server, &[]), Origin::named("mine"));
    let _mine = Agent::http(&server, "app", origin.address(), &[]);
    let id = server
        .join
        .parse::<byway_link::JoinString>()
        .unwrap()
        .id
        .to_string();
    let refused = Launch::new(BYWAY, &["http", "80", "--name", "app", "--join", &other]).run();
    assert_eq!(refused.code, Some(2));
    assert!(
        refused.stderr.contains("held by another grant") && !refused.stderr.contains(&id),
        "{}",
        refused.stderr
    );
}

#[test]
fn a_server_that_cannot_open_ports_does_not_report_that_none_is_free() {
    let args = ["serve", "--listen", ANY, "--advertise", "127.0.0.1"];
    let server = Launch::new(BYWAY, &args).start();
    let mut raw = Raw::join(&join_string(&server));
    raw.register(1000, "first".into()).unwrap();
    // Lowered from outside: the shares computed at the start leave descriptors for all ports that
    // they allow.
    let files = std::fs::read_dir(format!("/proc/{}/fd", server.pid().as_raw_nonzero()))
        .unwrap()
        .count();
    let most = u64::try_from(files + 8).ok();
    let limit = Rlimit {
        current: most,
        maximum: most,
    };
    rustix::process::prlimit(Some(server.pid()), Resource::Nofile, limit).unwrap();
    let refused =
        (1..=256).find_map(|service| raw.register(service, format!("label {service}")).err());
    let (why, detail) = refused.expect("256 ports need more than 8 descriptors");
    assert!(
        why == Refusal::Busy && detail.contains("cannot open the port"),
        "{why:?}: {detail}"
    );
}

#[test]
fn an_agent_with_few_descriptors_refuses_streams_above_their_share() {
    let (server, origin) = (Server::start(), Origin::named("app"));
    let target = origin.address().to_string();
    let args = ["tcp", &target, "--join", &server.join];
    let agent = Launch::new(BYWAY, &args).with_descriptors(128).start();
    let public: SocketAddr = agent.wait_for_stdout("").parse().unwrap();
    let visitors: Vec<Visitor> = (0..70).map(|_| Visitor::connect(public)).collect();
    agent.wait_for_log("are in use by one client of it, and the rest is reserved");
    assert!(agent.sockets() < 64, "{} sockets", agent.sockets());
    drop(visitors);
    eventually("the streams have ended", || agent.sockets() < 16);
    assert_eq!(greeting(public), "app");
}
