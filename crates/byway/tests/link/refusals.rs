//! Refusals: each error is reported once, on the side that can fix it, with exit code 2 if a user
//! has to act. Existing agents are still served.

use std::io::Write;
use std::net::{TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use byway_dial::Target;
use byway_link::wire::{Control, GoAway, Register};
use byway_link::{GrantSecret, JoinString};
use byway_testkit::{Finished, Launch, Origin, Program, Visitor, eventually};

use super::*;

/// Refused as config or credentials at the first try, with one message that contains each of these
/// texts and nothing on stdout.
#[track_caller]
fn refused(args: &[&str], expected: &[&str]) {
    let finished = Launch::new(BYWAY, args).run();
    single_error(&finished, expected);
    assert_eq!(finished.stdout, "");
    assert!(
        !finished.stderr.contains("trying again"),
        "{}",
        finished.stderr
    );
}

/// Asserts exit code 2 and one message.
#[track_caller]
fn single_error(finished: &Finished, expected: &[&str]) {
    let stderr = &finished.stderr;
    assert_eq!(finished.code, Some(2), "{stderr}");
    assert_eq!(
        stderr
            .lines()
            .filter(|line| line.starts_with("error: "))
            .count(),
        1,
        "one message:\n{stderr}"
    );
    for text in expected {
        assert!(stderr.contains(text), "{text:?} is not in:\n{stderr}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
}

/// What an authenticated peer sends is text in the server's log, and cannot forge a line.
#[test]
fn a_peer_that_sends_line_feeds_cannot_forge_lines_of_the_log() {
    let (server, folder) = (Server::start(), tempfile::tempdir().unwrap());
    let forged = "x\n2026-01-01T00:00:00Z  INFO forged\u{1b}[31m\u{202e}";
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (link, _inbox) = runtime.block_on(async {
        let here = tokio::runtime::Handle::current();
        let dial = byway_dial::Dialler::new(
            byway_dial::Resolver::system(here.clone()),
            byway_dial::Options::default(),
        );
        let dialler = byway_link::Dialler::new(
            byway_link::Key::load_or_create(&folder.path().join("key")).unwrap(),
            server.join.parse().unwrap(),
            byway_link::Purpose::Serve,
            byway_link::Carriers::Tls,
            dial,
            byway_link::Settings::default(),
            here,
        );
        dialler
            .connect(1, 1, Duration::from_secs(30))
            .await
            .unwrap()
    });
    let register = |service, kind: byway_link::ServiceKind, name: &str| {
        Control::Register(Register {
            service,
            kind: kind.number(),
            name: name.into(),
            port: 0,
        })
    };
    assert!(link.try_send(register(1, byway_link::ServiceKind::Tcp, forged)));
    assert!(link.try_send(register(2, byway_link::ServiceKind::Http, forged)));
    assert!(link.try_send(Control::GoAway(GoAway {
        detail: forged.repeat(100),
        ..GoAway::default()
    })));
    let line = server.program.wait_for_log("the other side leaves");
    assert!(line.len() < 500, "{line}");
    server.program.wait_for_log("is public at");
    let log = server.program.stderr();
    assert!(
        log.contains(r"x\n2026-01-01T00:00:00Z  INFO forged\u{1b}[31m\u{202e}"),
        "{log}"
    );
    assert!(
        !log.lines()
            .any(|line| line.trim_start().starts_with("2026-01-01")),
        "{log}"
    );
    assert!(!log.contains(['\u{1b}', '\u{202e}']), "{log}");
}

/// The same join string after `change`, with a valid checksum.
#[track_caller]
fn changed(join: &str, change: impl FnOnce(&mut JoinString)) -> String {
    let mut join: JoinString = join.parse().unwrap();
    change(&mut join);
    join.expose()
}

/// The server still accepts agents.
#[track_caller]
fn still_serves(server: &Server) {
    let origin = Origin::named("still served");
    for carrier in CARRIERS {
        let agent = Agent::tcp(server, origin.address(), &["--carrier", carrier]);
        assert_eq!(greeting(agent.address()), "still served", "{carrier}");
    }
    assert!(
        !server.program.stderr().contains("panicked"),
        "{}",
        server.program.stderr()
    );
}

#[test]
fn a_wrong_token_or_pin_is_refused_on_every_carrier_and_the_server_keeps_running() {
    let server = Server::start();
    let other = Server::start();
    let pin = other.join.parse::<JoinString>().unwrap().pin;
    let wrong_secret = changed(&server.join, |join| {
        join.secret = GrantSecret::from_bytes([7; 24])
    });
    let wrong_grant = changed(&server.join, |join| {
        join.id = other.join.parse::<JoinString>().unwrap().id
    });
    let wrong_pin = changed(&server.join, |join| join.pin = pin);
    let at = server.link().to_string();
    for carrier in ["auto", "quic", "tls"] {
        for join in [&wrong_secret, &wrong_grant] {
            let expected = [
                &at[..],
                "the grant in the join string is not known here, or was revoked",
                "current join string",
            ];
            refused(
                &["tcp", "22", "--join", join, "--carrier", carrier],
                &expected,
            );
        }
        let expected = [
            &at[..],
            "does not have the key that the join string pins",
            "its new join string",
        ];
        refused(
            &["tcp", "22", "--join", &wrong_pin, "--carrier", carrier],
            &expected,
        );
    }
    server.program.wait_for_log("no link: ");
    still_serves(&server);
}

#[test]
fn a_join_string_of_the_wrong_purpose_names_the_right_command() {
    let server = Server::start();
    let exit = Program::start(BYWAY, &["proxy", "serve", "--listen", ANY]);
    let to_exit = join_string(&exit);
    for carrier in CARRIERS {
        let more = ["--carrier", carrier];
        refused(
            &[&["proxy", "join", &server.join, "--listen", ANY][..], &more].concat(),
            &["`byway http` or `byway tcp`"],
        );
        refused(
            &[&["tcp", "22", "--join", &to_exit][..], &more].concat(),
            &["`byway proxy join`"],
        );
        refused(
            &[
                &["http", "80", "--name", "a", "--join", &to_exit][..],
                &more,
            ]
            .concat(),
            &["`byway proxy join`"],
        );
    }
    still_serves(&server);
}

#[test]
fn a_port_outside_of_the_grant_and_a_name_without_a_domain_are_refused() {
    let server = Server::start();
    refused(
        &["tcp", "22", "--port", "80", "--join", &server.join],
        &["port 80", "1024 to 65535"],
    );
    let bare = Program::start(BYWAY, &["serve", "--listen", ANY]);
    let join = join_string(&bare);
    refused(
        &["http", "80", "--name", "app", "--join", &join],
        &["no domain", "--domain"],
    );
    let state = shown(&server.program.folder().join("state"));
    let advertise = server.link().to_string();
    let narrow = [
        "token",
        "add",
        "--state",
        &state,
        "--advertise",
        &advertise,
        "--ports",
        "20000-20001",
    ];
    let added = Launch::new(BYWAY, &narrow).run();
    assert_eq!(added.code, Some(0), "{}", added.stderr);
    let join = added.stdout.trim().trim_start_matches("join ");
    refused(
        &["tcp", "22", "--port", "20002", "--join", join],
        &["port 20002", "20000 to 20001"],
    );
    still_serves(&server);
}

#[test]
fn a_port_of_another_program_ends_an_interactive_command_and_is_retried_by_a_daemon() {
    let server = Server::start();
    let taken = std::net::TcpListener::bind(ANY).unwrap();
    let port = taken.local_addr().unwrap().port();
    let in_use = format!("port {port} is in use by another program on the server");
    refused(
        &[
            "tcp",
            "22",
            "--port",
            &port.to_string(),
            "--join",
            &server.join,
        ],
        &[&in_use],
    );
    let config = format!(
        "[[expose]]\nname = \"it\"\ntcp = \"127.0.0.1:22\"\nport = {port}\njoin = \"{}\"\n",
        server.join
    );
    let daemon = Program::configured(BYWAY, &config);
    let line = daemon.wait_for_log(&in_use);
    assert!(line.contains("trying again in "), "{line}");
    assert_eq!(daemon.stop().code, Some(0));
}

#[test]
fn revoking_a_grant_ends_its_sessions_at_once_and_no_node_can_join_by_it() {
    let server = Server::start();
    let origin = Origin::echo();
    let state = shown(&server.program.folder().join("state"));
    let id = server.join.parse::<JoinString>().unwrap().id.to_string();
    let agents = CARRIERS.map(|carrier| {
        Agent::tcp(
            &server,
            origin.address(),
            &["--name", carrier, "--carrier", carrier],
        )
    });
    let mut visitors = agents
        .each_ref()
        .map(|agent| Visitor::connect(agent.address()));
    for visitor in &mut visitors {
        visitor.send("open").expect("open");
    }
    let list = || {
        Launch::new(BYWAY, &["token", "list", "--state", &state])
            .run()
            .stdout
    };
    assert!(
        list()
            .lines()
            .any(|line| line.starts_with(&id) && line.ends_with("good")),
        "{}",
        list()
    );
    let started = Instant::now();
    let revoked = Launch::new(BYWAY, &["token", "revoke", &id, "--state", &state]).run();
    assert_eq!(revoked.code, Some(0), "{}", revoked.stderr);
    for visitor in &mut visitors {
        visitor.to_end();
    }
    eprintln!(
        "a grant was revoked: its streams had ended after {} ms",
        started.elapsed().as_millis()
    );
    for agent in agents {
        single_error(&agent.program.wait(), &["not known here, or was revoked"]);
    }
    assert!(
        list()
            .lines()
            .any(|line| line.starts_with(&id) && line.ends_with("revoked")),
        "{}",
        list()
    );
    refused(&["tcp", "22", "--join", &server.join], &["revoked"]);
    let again = Launch::new(BYWAY, &["token", "revoke", &id, "--state", &state]).run();
    single_error(&again, &[&id, "revoked already"]);
    let unknown = Launch::new(
        BYWAY,
        &["token", "revoke", "00112233aabb", "--state", &state],
    )
    .run();
    single_error(&unknown, &["00112233aabb", "byway token list"]);
}

#[test]
fn a_forgotten_grant_is_no_longer_listed_and_stays_refused() {
    let (server, origin) = (Server::start(), Origin::named("in"));
    let state = shown(&server.program.folder().join("state"));
    let token = |args: &[&str]| {
        Launch::new(BYWAY, &[&["token"], args, &["--state", &state]].concat()).run()
    };
    let id = server.join.parse::<JoinString>().unwrap().id.to_string();
    let agent = Agent::tcp(&server, origin.address(), &["--name", "it"]);
    single_error(&token(&["forget", &id]), &[&id, "byway token revoke"]);
    assert_eq!(
        greeting(agent.address()),
        "in",
        "a grant that is good is not taken away"
    );
    assert_eq!(token(&["revoke", &id]).code, Some(0));
    single_error(&agent.program.wait(), &["not known here, or was revoked"]);
    assert_eq!(token(&["forget", &id]).code, Some(0));
    assert!(
        !token(&["list"]).stdout.contains(&id),
        "{}",
        token(&["list"]).stdout
    );
    refused(&["tcp", "22", "--join", &server.join], &["revoked"]);
    single_error(&token(&["forget", &id]), &[&id, "byway token list"]);

    // Another grant gets the name, even from a grant that was valid a moment ago.
    let other = ports::another_grant(&server, &[]);
    let agent = Agent::start(&[
        "tcp",
        &origin.address().to_string(),
        "--name",
        "it",
        "--join",
        &other,
    ]);
    assert_eq!(greeting(agent.address()), "in");
    let id = other.parse::<JoinString>().unwrap().id.to_string();
    assert_eq!(token(&["forget", "--force", &id]).code, Some(0));
    single_error(&agent.program.wait(), &["not known here, or was revoked"]);
    assert!(
        !token(&["list"]).stdout.contains(&id),
        "{}",
        token(&["list"]).stdout
    );
}

#[test]
fn an_agent_retries_while_its_grant_file_cannot_be_read() {
    let (server, origin) = (Server::start(), Origin::named("back"));
    let id = server.join.parse::<JoinString>().unwrap().id.to_string();
    let grants = server.program.folder().join("state").join("grants");
    let (file, aside) = (grants.join(&id), server.program.folder().join("aside"));
    // A folder in place of the file: reading it fails with an error other than "not found". They
    // change places in one step, as without a file the grant counts as revoked.
    std::fs::create_dir(&aside).unwrap();
    let exchange = || {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        renameat_with(CWD, &file, CWD, &aside, RenameFlags::EXCHANGE).unwrap();
    };
    exchange();
    for carrier in CARRIERS {
        let target = origin.address().to_string();
        let agent = Program::start(
            BYWAY,
            &["tcp", &target, "--join", &server.join, "--carrier", carrier],
        );
        let line = agent.wait_for_log("the server cannot read its grants at the moment");
        assert!(line.contains("trying again"), "{line}");
        server
            .program
            .wait_for_log(&format!("cannot read {}", file.display()));
        exchange();
        assert_eq!(
            greeting(agent.wait_for_stdout("").parse().unwrap()),
            "back",
            "{carrier}"
        );
        assert_eq!(agent.stop().code, Some(0));
        exchange();
        // The server has read the file once and remembers it.
        let agent = Agent::tcp(&server, origin.address(), &["--carrier", carrier]);
        assert_eq!(greeting(agent.address()), "back", "{carrier}");
        assert_eq!(agent.program.stop().code, Some(0));
        // The remembered grant is dropped with the file.
        std::fs::remove_dir(&file).unwrap();
        refused(
            &["tcp", "22", "--join", &server.join, "--carrier", carrier],
            &["was revoked"],
        );
        std::fs::create_dir(&file).unwrap();
    }
}

#[test]
fn garbage_and_http_on_the_link_port_are_closed_and_agents_can_still_join() {
    let server = Server::start();
    let udp = UdpSocket::bind(ANY).unwrap();
    for rubbish in [
        &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        b"\x05\x01\x00",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        // A TLS record with a length of 16 KiB, and the header of a QUIC packet without a payload.
        b"\x16\x03\x01\x40\x00\x01",
        b"\xc3\x00\x00\x00\x01\x08",
        &[0xff; 1200],
        &[0; 70_000],
    ] {
        let mut stream = TcpStream::connect(server.link()).unwrap();
        // The server may close the connection while this is sent.
        let _ = stream.write_all(rubbish);
        let mut visitor = byway_testkit::Wire::new(stream);
        visitor.finish();
        visitor.to_end();
        let _ = udp.send_to(&rubbish[..rubbish.len().min(1400)], server.link());
    }
    still_serves(&server);
}

#[test]
fn silent_connections_do_not_block_other_connections() {
    let server = Server::start();
    let mut silent: Vec<_> = (0..200)
        .map(|_| TcpStream::connect(server.link()).unwrap())
        .collect();
    for stream in &mut silent {
        stream.write_all(b"\x16\x03\x01").unwrap();
    }
    still_serves(&server);
}

#[test]
fn a_server_that_does_not_speak_the_link_protocol_is_reported_and_retried() {
    let server = Server::start();
    let web = Origin::scripted(|visitor| {
        visitor.fill();
        visitor.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        visitor.hold();
    });
    let wrong = changed(&server.join, |join| {
        join.address = Target::Addr(web.address())
    });
    let agent = Program::start(BYWAY, &["tcp", "22", "--join", &wrong, "--carrier", "tls"]);
    let line = agent.wait_for_log("does not speak Byway's link protocol");
    assert!(
        line.contains(&web.address().to_string()) && line.contains("trying again"),
        "{line}"
    );
    let (refusing, _socket) = Origin::refusing();
    let dead = changed(&server.join, |join| join.address = Target::Addr(refusing));
    let agent = Program::start(BYWAY, &["tcp", "22", "--join", &dead]);
    let line = agent.wait_for_log("nothing listens there");
    assert!(line.contains(&refusing.to_string()), "{line}");
    assert_eq!(
        agent.stop().code,
        Some(0),
        "it can be stopped while it waits"
    );
}

#[test]
fn a_daemon_keeps_its_other_services_and_reports_the_one_that_is_not_public() {
    let server = Server::start();
    let origins = ["first", "second"].map(Origin::named);
    let _holder = Agent::http(&server, "held", origins[0].address(), &[]);
    let expose = |name: &str| {
        format!(
            "[[expose]]\nname = \"{name}\"\nhttp = \"{}\"\njoin = \"{}\"\n",
            origins[1].address(),
            server.join
        )
    };
    let daemon = Program::configured(BYWAY, &(expose("held") + &expose("free")));
    daemon.wait_for_log("`held` is not public: ");
    daemon.wait_for_log("`free` is public at ");
    assert_eq!(server.ask("held", "GET /").text(), "first");
    assert_eq!(server.ask("free", "GET /").text(), "second");
    eventually("its log holds no secret", || {
        !daemon.stderr().contains(&server.join[4..50])
    });
}

/// The ready line reports the link as up or, on a slow machine, as not up yet.
#[track_caller]
fn is_up_when_ready(program: &Program, link: SocketAddr) {
    let ready = program.wait_for_log("ready: ");
    let has_state = |state: &str| ready.contains(&format!("link to {link} ({state}"));
    assert!(has_state("up by ") || has_state("connecting)"), "{ready}");
    program.wait_for_log("is up, by ");
}

#[test]
fn the_ready_line_shows_whether_the_link_is_up() {
    let server = Server::start();
    let origin = Origin::useful();
    let target = origin.address().to_string();
    for args in [&["http", &target, "--name", "app"][..], &["tcp", &target]] {
        let agent = Program::start(BYWAY, &[args, &["--join", &server.join]].concat());
        is_up_when_ready(&agent, server.link());
    }
    let exit = Program::start(BYWAY, &["proxy", "serve", "--listen", ANY]);
    let desk = Program::start(
        BYWAY,
        &["proxy", "join", &join_string(&exit), "--listen", ANY],
    );
    is_up_when_ready(&desk, exit.address());
}

#[test]
fn a_refused_dial_is_reported_with_the_next_step_while_quic_is_still_tried() {
    let server = Server::start();
    let (join, link) = (server.join.clone(), server.link());
    drop(server);
    for (carrier, next) in [("auto", "still trying QUIC"), ("tls", "trying again in ")] {
        for args in [
            &["tcp", "22", "--join", &join][..],
            &["proxy", "join", &join, "--listen", ANY],
        ] {
            let program = Program::start(BYWAY, &[args, &["--carrier", carrier]].concat());
            let ready = program.wait_for_log("ready: ");
            let has_state = |state: &str| ready.contains(&format!("link to {link} ({state})"));
            assert!(
                has_state("down and trying again") || has_state("connecting"),
                "{carrier}: {ready}"
            );
            let line = program.wait_for_log(next);
            assert!(
                line.contains(&format!("{link} refused the connection")),
                "{carrier}: {line}"
            );
            assert!(!program.stderr().contains("Some("), "{}", program.stderr());
        }
    }
}

#[test]
fn a_link_that_can_never_come_up_has_an_error_and_no_ready_line() {
    let server = Server::start();
    let state = tempfile::tempdir().unwrap();
    let other = [
        "token",
        "add",
        "--state",
        &shown(state.path()),
        "--advertise",
        &server.link().to_string(),
    ];
    let join = Launch::new(BYWAY, &other)
        .run()
        .stdout
        .trim()
        .replace("join ", "");
    let finished = Launch::new(BYWAY, &["tcp", "22", "--join", &join]).run();
    assert_eq!(finished.code, Some(2), "{}", finished.stderr);
    assert!(
        finished
            .stderr
            .contains("does not have the key that the join string pins"),
        "{}",
        finished.stderr
    );
    assert!(!finished.stderr.contains("ready: "), "{}", finished.stderr);
}

#[test]
fn a_server_that_cannot_read_a_grant_logs_retries_of_its_agent_less_and_less_often() {
    let (server, origin) = (Server::start(), Origin::named("app"));
    let join: JoinString = server.join.parse().unwrap();
    let grant = server
        .program
        .folder()
        .join("state/grants")
        .join(join.id.to_string());
    // A folder in place of the file: it exists and cannot be read.
    std::fs::remove_file(&grant).unwrap();
    std::fs::create_dir(&grant).unwrap();
    let agent = Program::start(
        BYWAY,
        &["tcp", &origin.address().to_string(), "--join", &server.join],
    );
    agent.wait_for_log("failures=8");
    let log = server.program.stderr();
    let lines = log
        .lines()
        .filter(|line| line.contains("cannot read") || line.contains("no link: "))
        .count();
    assert!(
        (2..=12).contains(&lines),
        "{lines} lines for eight tries:\n{log}"
    );
}
