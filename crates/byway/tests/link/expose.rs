//! Expose: what visitors of an exposed service get: bytes, endings, addresses, heads.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;

use byway_testkit::origin::ok;
use byway_testkit::pattern::{MIB, Pattern};
use byway_testkit::{Ending, Gate, Origin, Program, Visitor, curl};
use socket2::SockRef;

use super::*;

const DOWN: u64 = 256 * MIB;
const UP: u64 = 64 * MIB;

/// Downloads 256 MiB and uploads 64 MiB by curl. `args` lead to the origin.
#[track_caller]
fn moves_all(base: &str, args: &[&str], what: &str) {
    let down = curl(&[args, &[&format!("{base}/bytes/{DOWN}")]].concat());
    assert_eq!(
        (down.exit, down.status, down.bytes),
        (0, 200, DOWN),
        "{what}: {}",
        down.said
    );
    assert_eq!(down.sha256, Pattern::sha256(DOWN), "{what}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), Pattern::whole(UP)).unwrap();
    let up = curl(
        &[
            args,
            &[
                "-X",
                "POST",
                "-T",
                &shown(file.path()),
                &format!("{base}/sum"),
            ],
        ]
        .concat(),
    );
    assert_eq!(
        (up.exit, up.text()),
        (0, format!("{UP} {}", Pattern::sha256(UP))),
        "{what}: {}",
        up.said
    );
}

#[test]
fn curl_moves_everything_through_an_exposed_tcp_service() {
    let origin = Origin::useful();
    on_both_carriers(&origin, |carrier, _, agent| {
        moves_all(&format!("http://{}", agent.public), &[], carrier);
    });
}

#[test]
fn curl_moves_everything_through_an_exposed_http_service() {
    let origin = Origin::useful();
    let server = Server::start();
    // The printed name need not resolve to loopback by IPv4 on this machine.
    let port = server.http().port();
    for carrier in CARRIERS {
        let agent = Agent::http(&server, carrier, origin.address(), &["--carrier", carrier]);
        assert_eq!(agent.public, format!("http://{carrier}.t.localhost:{port}"));
        let resolved = format!("{carrier}.t.localhost:{port}:127.0.0.1");
        moves_all(&agent.public, &["--resolve", &resolved], carrier);
    }
}

#[test]
fn visitors_of_exposed_services_have_lines_at_both_ends_with_their_own_address() {
    let (origin, folder) = (Origin::useful(), tempfile::tempdir().unwrap());
    let log = |name: &str| folder.path().join(name);
    let public = log("public");
    let server = Server::with(
        ANY,
        ANY,
        &[
            "--access-log",
            &shown(&public),
            "--access-log-format",
            "json",
        ],
    );
    for (name, agent) in [
        (
            "tcp",
            Agent::tcp(
                &server,
                origin.address(),
                &["--access-log", &shown(&log("tcp"))],
            ),
        ),
        (
            "http",
            Agent::http(
                &server,
                "app",
                origin.address(),
                &["--access-log", &shown(&log("http"))],
            ),
        ),
    ] {
        let address = if name == "tcp" {
            agent.address()
        } else {
            server.http()
        };
        let ask = "GET /bytes/10 HTTP/1.1\r\nHost: app.t.localhost\r\nConnection: close\r\n\r\n";
        let answer = ask_from([127, 0, 0, 7], address, ask);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let lines = access_lines(&log(name), 1);
        assert_eq!(agent.program.stop().code, Some(0));
        let line = lines.last().unwrap();
        let request = match name {
            "tcp" => format!("\"CONNECT {} LINK\" 200 ", origin.address()),
            _ => "\"GET /bytes/10 HTTP/1.1\" 200 10 ".to_owned(),
        };
        assert!(
            line.starts_with("127.0.0.7 - - [") && line.contains(&request),
            "{name}: {line}"
        );
    }
    let lines = access_lines(&public, 2).join("\n");
    assert_eq!(lines.matches("\"peer\":\"127.0.0.7:").count(), 2, "{lines}");
    assert_eq!(
        lines.matches("\"target\":\"/bytes/10\"").count(),
        1,
        "{lines}"
    );
}

#[test]
fn a_fin_of_the_visitor_is_forwarded_and_the_answer_still_arrives() {
    const ANSWER: u64 = 4 * MIB;
    let origin = Origin::scripted(|visitor| {
        let (bytes, ending) = visitor.to_end();
        visitor
            .send(format!("{} bytes, then {ending:?}", bytes.len()))
            .send(Pattern::whole(ANSWER));
    });
    on_both_carriers(&origin, |carrier, _, agent| {
        let mut visitor = Visitor::connect(agent.address());
        visitor.send(vec![7; 300_000]).finish();
        visitor.expect("300000 bytes, then Fin");
        assert!(
            visitor.to_end() == (Pattern::whole(ANSWER), Ending::Fin),
            "{carrier}"
        );
    });
}

#[test]
fn a_fin_of_the_service_is_forwarded_and_the_upload_continues() {
    const UPLOAD: u64 = 4 * MIB;
    let origin = Origin::scripted(|visitor| {
        visitor.send("early goodbye").finish();
        visitor.remember_to_end();
    });
    let mut before = 0;
    on_both_carriers(&origin, |carrier, _, agent| {
        let mut visitor = Visitor::connect(agent.address());
        assert_eq!(
            visitor.to_end(),
            (b"early goodbye".to_vec(), Ending::Fin),
            "{carrier}"
        );
        visitor.send(Pattern::whole(UPLOAD)).finish();
        let seen = origin.wait_for_requests(before + 1)[before].clone();
        assert!(
            seen.body == Pattern::whole(UPLOAD) && seen.head == "Fin",
            "{carrier}: {seen:?}"
        );
        before += 1;
    });
}

#[test]
fn a_reset_of_the_visitor_is_a_reset_for_the_service() {
    let origin = Origin::greeting();
    let mut before = 0;
    on_both_carriers(&origin, |carrier, _, agent| {
        let mut visitor = Visitor::connect(agent.address());
        visitor.expect("hello");
        visitor.reset();
        assert_eq!(
            origin.wait_for_requests(before + 1)[before].head,
            "Reset",
            "{carrier}"
        );
        before += 1;
    });
}

#[test]
fn a_reset_of_the_service_is_a_reset_for_the_visitor_and_never_looks_like_an_end() {
    let origin = Origin::resetting_after(2);
    on_both_carriers(&origin, |carrier, _, agent| {
        let mut visitor = Visitor::connect(agent.address());
        visitor.send("go");
        assert_eq!(visitor.ended(), Ending::Reset, "{carrier}");
    });
}

#[test]
fn a_reset_of_the_visitor_is_noticed_while_the_service_is_back_pressured() {
    let origin = Origin::sending_until_reset();
    let mut before = 0;
    on_both_carriers(&origin, |_, _, agent| {
        let mut visitor = Visitor::connect(agent.address());
        visitor.exactly(1000);
        visitor.reset();
        before += 1;
        origin.wait_for_ended(before);
    });
}

#[test]
fn a_local_service_that_refuses_is_a_reset_for_the_visitor_and_the_agent_logs_the_visitor() {
    let (refusing, _socket) = Origin::refusing();
    let server = Server::start();
    for carrier in CARRIERS {
        let agent = Agent::tcp(&server, refusing, &["--carrier", carrier]);
        let mut visitor = Visitor::connect(agent.address());
        assert_eq!(visitor.ended(), Ending::Reset, "{carrier}");
        let line = agent.program.wait_for_log("refused");
        assert!(line.contains(&visitor.local().to_string()), "{line}");
    }
}

#[test]
fn a_websocket_goes_through_an_exposed_http_service() {
    let origin = Origin::scripted(|visitor| {
        visitor.request();
        visitor.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        );
        while visitor.fill() {
            let bytes = visitor.taken();
            visitor.send(bytes);
        }
        visitor.send("the last word");
    });
    let server = Server::start();
    for carrier in CARRIERS {
        let _agent = Agent::http(&server, carrier, origin.address(), &["--carrier", carrier]);
        let mut visitor = Visitor::connect(server.http());
        visitor.send(format!(
            "GET /chat HTTP/1.1\r\nHost: {carrier}.t.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        ));
        let switch = visitor.head().unwrap();
        assert_eq!(
            (switch.status(), switch.field("Upgrade")),
            (101, Some("websocket")),
            "{carrier}"
        );
        for frame in [&b"\x81\x85\x01\x02\x03\x04hello"[..], &[7; 200_000]] {
            visitor.send(frame).expect(frame);
        }
        visitor.finish();
        assert_eq!(
            visitor.to_end(),
            (b"the last word".to_vec(), Ending::Fin),
            "{carrier}"
        );
    }
}

#[test]
fn a_name_that_is_not_exposed_is_a_404_and_a_service_that_refuses_a_502() {
    let origin = Origin::useful();
    let (refusing, _socket) = Origin::refusing();
    let server = Server::start();
    let _agents = [
        Agent::http(&server, "app", origin.address(), &[]),
        Agent::http(&server, "broken", refusing, &[]),
    ];
    assert_eq!(server.ask("app", "GET /").text(), "hello");
    assert_eq!(server.ask("APP", "GET /").text(), "hello");
    assert_eq!(server.ask("unknown", "GET /").status(), 404);
    assert_eq!(server.ask("app.app", "GET /").status(), 404);
    assert_eq!(server.ask("broken", "GET /").status(), 502);
    let elsewhere =
        Visitor::connect(server.http()).ask("GET / HTTP/1.1\r\nHost: app.example.com\r\n\r\n");
    assert_eq!(elsewhere.status(), 404);
}

#[test]
fn an_exposed_http_service_receives_our_forwarding_fields() {
    let origin = Origin::useful();
    let server = Server::start();
    let _agent = Agent::http(&server, "app", origin.address(), &[]);
    let answer = Visitor::connect(server.http()).ask(
        "GET /head HTTP/1.1\r\nHost: app.t.localhost\r\nX-Forwarded-For: 192.0.2.7\r\nConnection: close, X-Hop\r\n\
         X-Hop: 1\r\n\r\n",
    );
    assert_eq!(answer.status(), 200);
    let request = origin.requests()[0].clone();
    assert_eq!(
        request.field("Host"),
        Some("app.t.localhost"),
        "{request:?}"
    );
    assert_eq!(
        request.field("X-Forwarded-For"),
        Some("127.0.0.1"),
        "the visitor's own field is ignored: {request:?}"
    );
    assert_eq!(
        request.field("X-Forwarded-Proto"),
        Some("http"),
        "{request:?}"
    );
    assert_eq!(
        request.field("X-Forwarded-Host"),
        Some("app.t.localhost"),
        "{request:?}"
    );
    assert_eq!(request.field("X-Hop"), None, "{request:?}");
}

/// A stream that such a request leaves idle would take its carrier's memory, and no other request of
/// its kind could use it.
#[test]
fn the_stream_of_a_request_that_is_unsafe_to_repeat_closes_after_it() {
    let origin = Origin::useful();
    let server = Server::start();
    for (round, carrier) in CARRIERS.into_iter().enumerate() {
        let _agent = Agent::http(&server, carrier, origin.address(), &["--carrier", carrier]);
        let mut visitor = Visitor::connect(server.http());
        for line in ["POST /head", "GET /head", "POST /head", "GET /head"] {
            let ask = format!(
                "{line} HTTP/1.1\r\nHost: {carrier}.t.localhost\r\nContent-Length: 0\r\n\r\n"
            );
            assert_eq!(visitor.ask(&ask).status(), 200, "{carrier}, {line}");
        }
        // A service that is asked to close does so with unread bytes of the request, and that reset
        // overtakes its response.
        for sent in origin.requests() {
            assert_eq!(sent.field("Connection"), None, "{sent:?}");
        }
        // Both GETs used one stream.
        assert_eq!(origin.connections(), 3 * (round + 1), "{carrier}");
        origin.wait_for_ended(3 * round + 2);
    }
}

/// A reset behind an early response overtook what was still on its way to the service.
#[test]
fn a_service_that_answers_before_it_reads_gets_the_whole_request_and_then_a_reset() {
    const BODY: usize = 20_000;
    let server = Server::start();
    for carrier in CARRIERS {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        SockRef::from(&listener).set_recv_buffer_size(2048).unwrap();
        let address = listener.local_addr().unwrap();
        let answered = Gate::new();
        let is_answered = answered.clone();
        let service = std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let (mut request, mut byte) = (Vec::new(), [0]);
            while !request.ends_with(b"\r\n\r\n") {
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            stream.write_all(ok("early").as_bytes()).unwrap();
            is_answered.wait();
            let mut body = Vec::new();
            let end = stream.read_to_end(&mut body);
            (body.len(), end.unwrap_err().kind())
        });
        let _agent = Agent::http(&server, carrier, address, &["--carrier", carrier]);
        let head = format!(
            "POST / HTTP/1.1\r\nHost: {carrier}.t.localhost\r\nContent-Length: {BODY}\r\n\r\n"
        );
        let mut visitor = Visitor::connect(server.http());
        let response = visitor.ask(&(head + &"x".repeat(BODY)));
        assert_eq!(response.text(), "early", "{carrier}");
        answered.open();
        let seen = service.join().unwrap();
        assert_eq!(seen, (BODY, ErrorKind::ConnectionReset), "{carrier}");
    }
}

/// An agent that sent FIN first kept a port for a minute (TIME_WAIT) for each such request.
#[test]
fn the_agent_ends_the_connection_of_such_a_request_by_a_reset_and_keeps_no_port_for_it() {
    let origin = Origin::scripted(|visitor| {
        visitor.request();
        visitor.send(ok("done"));
        visitor.remember_to_end();
    });
    let server = Server::start();
    for (round, carrier) in CARRIERS.into_iter().enumerate() {
        let _agent = Agent::http(&server, carrier, origin.address(), &["--carrier", carrier]);
        assert_eq!(server.ask(carrier, "POST /").text(), "done", "{carrier}");
        let seen = origin.wait_for_requests(2 * round + 2);
        assert_eq!(seen[2 * round + 1].head, "Reset", "{carrier}");
    }
}

#[test]
fn a_tcp_service_is_public_at_the_requested_port() {
    let origin = Origin::named("here");
    let server = Server::start();
    let free = free_port();
    let agent = Agent::tcp(&server, origin.address(), &["--port", &free.to_string()]);
    assert_eq!(agent.address().port(), free);
    assert_eq!(greeting(agent.address()), "here");
}

#[test]
fn an_assigned_port_stays_with_the_identity_across_restarts_of_agent_and_server() {
    let (one, other) = (Origin::named("one"), Origin::named("other"));
    let [at_server, at_agent] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (at_server, at_agent) = (shown(at_server.path()), shown(at_agent.path()));
    let server = Server::with(ANY, ANY, &["--state", &at_server]);
    let expose = |server: &Server, origin: &Origin, name: &str| {
        Agent::tcp(
            server,
            origin.address(),
            &["--state", &at_agent, "--name", name],
        )
    };
    let [first, second] = [
        expose(&server, &one, "one"),
        expose(&server, &other, "other"),
    ];
    let (first_at, second_at) = (first.address(), second.address());
    assert_ne!(first_at, second_at);
    first.kill();
    assert_eq!(second.program.stop().code, Some(0));
    let second = expose(&server, &other, "other");
    let first = expose(&server, &one, "one");
    assert_eq!(
        (first.address(), second.address()),
        (first_at, second_at),
        "after a restart of the agents"
    );
    let (link, http, join) = (
        server.link().to_string(),
        server.http().to_string(),
        server.join.clone(),
    );
    drop((first, second));
    assert_eq!(server.program.stop().code, Some(0));
    let server = Server::with(&link, &http, &["--state", &at_server]);
    assert_eq!(server.join, join);
    assert_eq!(
        expose(&server, &other, "other").address(),
        second_at,
        "after a restart of the server"
    );
    let first = expose(&server, &one, "one");
    assert_eq!(
        (first.address(), greeting(first.address()).as_str()),
        (first_at, "one")
    );
}

#[test]
fn the_join_string_is_the_only_line_on_stdout_and_is_in_a_private_file() {
    use std::os::unix::fs::PermissionsExt;
    let server = Server::start();
    let file = server.program.folder().join("state").join("join-serve");
    assert_eq!(
        std::fs::read_to_string(&file).unwrap(),
        format!("{}\n", server.join)
    );
    assert_eq!(
        std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let origin = Origin::named("by file");
    let target = origin.address().to_string();
    let agent = Agent::start(&["tcp", &target, "--join-file", &shown(&file)]);
    assert_eq!(greeting(agent.address()), "by file");
    let (join, finished) = (server.join.clone(), agent.program.stop());
    assert_eq!(
        (finished.code, finished.stdout),
        (Some(0), format!("{}\n", agent.public))
    );
    let finished = server.program.stop();
    assert_eq!(
        (finished.code, finished.stdout),
        (Some(0), format!("join {join}\n"))
    );
    assert!(
        !finished.stderr.contains(&join[4..50]),
        "the secret is in the log: {}",
        finished.stderr
    );
}

#[test]
fn several_services_of_one_file_share_a_link() {
    let (web, raw) = (Origin::useful(), Origin::named("raw"));
    let server = Server::start();
    let config = format!(
        "[[expose]]\nname = \"web\"\nhttp = \"{}\"\njoin = \"{join}\"\n\
         [[expose]]\nname = \"raw\"\ntcp = \"{}\"\njoin = \"{join}\"\n",
        web.address(),
        raw.address(),
        join = server.join
    );
    let agent = Program::configured(BYWAY, &config);
    let line = agent.wait_for_log("`raw` is public at ");
    agent.wait_for_log("`web` is public at http://web.t.localhost:");
    assert_eq!(server.ask("web", "GET /").text(), "hello");
    assert_eq!(
        greeting(line.rsplit(' ').next().unwrap().parse().unwrap()),
        "raw"
    );
    assert_eq!(
        links_of(&server, ["`raw`", "`web`"]),
        1,
        "{}",
        server.program.stderr()
    );
}

/// A dev server that only answers its own Host, as Vite and webpack-dev-server do, and `app.test`.
fn dev_server() -> Origin {
    Origin::scripted(|visitor| {
        let own = visitor.local().to_string();
        while let Some(request) = visitor.request() {
            let host = request.field("Host").unwrap_or_default().to_owned();
            let answer = match host == own || host == "app.test" {
                true => format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{host}",
                    host.len()
                ),
                false => "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n".to_owned(),
            };
            visitor.send(answer);
        }
    })
}

#[test]
fn a_dev_server_that_checks_its_host_answers_when_the_agent_sets_it() {
    let origin = dev_server();
    let own = origin.address().to_string();
    let server = Server::start();
    for carrier in CARRIERS {
        for (number, (args, expected)) in [
            (&[][..], None),
            (&["--host", "keep"], None),
            (&["--host", "upstream"], Some(own.as_str())),
            (&["--host", "app.test"], Some("app.test")),
        ]
        .into_iter()
        .enumerate()
        {
            let name = format!("{carrier}-{number}");
            let agent = Agent::http(
                &server,
                &name,
                origin.address(),
                &[&["--carrier", carrier], args].concat(),
            );
            let before = origin.requests().len();
            // On a new stream, and on the kept one.
            for _ in 0..2 {
                let answer = server.ask(&name, "GET /");
                let received = (answer.status(), answer.text());
                match expected {
                    Some(host) => {
                        assert_eq!(received, (200, host.to_owned()), "{carrier} {args:?}")
                    }
                    None => assert_eq!(received.0, 403, "{carrier} {args:?}"),
                }
            }
            for request in &origin.requests()[before..] {
                assert_eq!(
                    request.field("X-Forwarded-Host"),
                    Some(format!("{name}.t.localhost").as_str()),
                    "{request:?}"
                );
            }
            assert!(
                !agent.program.stderr().contains("older version"),
                "{}",
                agent.program.stderr()
            );
        }
    }
}

#[test]
fn a_websocket_of_a_dev_server_has_the_host_that_the_agent_sets() {
    let origin = Origin::scripted(|visitor| {
        visitor.request();
        visitor.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        );
        visitor.hold();
    });
    let server = Server::start();
    let _agent = Agent::http(&server, "app", origin.address(), &["--host", "upstream"]);
    let mut visitor = Visitor::connect(server.http());
    visitor.send("GET / HTTP/1.1\r\nHost: app.t.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(visitor.head().unwrap().status(), 101);
    assert_eq!(
        origin.requests()[0].field("Host"),
        Some(origin.address().to_string().as_str())
    );
}

#[test]
fn a_service_in_a_config_file_can_set_its_host() {
    let origin = dev_server();
    let server = Server::start();
    let expose = format!(
        "[[expose]]\nname = \"app\"\nhttp = \"{}\"\nhost = \"upstream\"\njoin = \"{}\"\n",
        origin.address(),
        server.join
    );
    let agent = Program::configured(BYWAY, &expose);
    agent.wait_for_log("`app` is public at");
    assert_eq!(server.ask("app", "GET /").status(), 200);
}

#[test]
fn an_unnamed_service_keeps_its_random_name_across_restarts_and_uses_up_no_other() {
    let (one, other) = (Origin::named("one"), Origin::named("other"));
    let server = Server::start();
    let state = tempfile::tempdir().unwrap();
    let state = shown(state.path());
    let start = |origin: &Origin| {
        let target = origin.address().to_string();
        Agent::start(&["http", &target, "--join", &server.join, "--state", &state])
    };
    let first = start(&one);
    let public = first.public.clone();
    let name = public
        .strip_prefix("http://")
        .and_then(|rest| rest.split('.').next())
        .unwrap()
        .to_owned();
    assert_eq!(server.ask(&name, "GET /").text(), "one");
    first.program.stop();
    for _ in 0..3 {
        let again = start(&one);
        assert_eq!(again.public, public);
        again.program.stop();
    }
    assert_ne!(
        start(&other).public,
        public,
        "another target has another name"
    );
    assert_eq!(
        std::fs::read_dir(format!("{state}/service-names"))
            .unwrap()
            .count(),
        2
    );
}
