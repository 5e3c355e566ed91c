//! Egress: a desk accepts SOCKS and HTTP, an exit dials; a link connects them.

use std::time::{Duration, Instant};

use byway_testkit::asking::*;
use byway_testkit::pattern::{MIB, Pattern, Sum};
use byway_testkit::{Ending, Gate, Launch, Origin, Program, Visitor, curl, eventually};
use rustix::process::{Resource, Rlimit};

use super::*;

/// Opens loopback, where all origins of the tests are.
const OPEN: [&str; 2] = ["--allow", "127.0.0.0/8"];

/// One way to open a stream to an origin.
type Way = (&'static str, fn(SocketAddr, SocketAddr) -> Visitor);

const WAYS: [Way; 2] = [("SOCKS5", through_socks5), ("CONNECT", through_connect)];

/// A desk and its exit.
pub(super) struct TwoHop {
    pub(super) exit: Program,
    pub(super) desk: Program,
}

impl TwoHop {
    #[track_caller]
    pub(super) fn start(carrier: &str, exit: &[&str]) -> Self {
        let exit = Program::start(
            BYWAY,
            &[&["proxy", "serve", "--listen", ANY], exit].concat(),
        );
        let join = join_string(&exit);
        let desk = Program::start(
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
        );
        desk.wait_for_log(&format!("is up, by {carrier}"));
        Self { exit, desk }
    }

    #[track_caller]
    pub(super) fn address(&self) -> SocketAddr {
        self.desk.address()
    }
}

/// Runs `check` in every way on both carriers.
#[track_caller]
fn each_way(origin: &Origin, mut check: impl FnMut(&str, Visitor)) {
    for carrier in CARRIERS {
        let nodes = TwoHop::start(carrier, &OPEN);
        for (name, through) in WAYS {
            check(
                &format!("{name} over {carrier}"),
                through(nodes.address(), origin.address()),
            );
        }
    }
}

/// Downloads 256 MiB and uploads 64 MiB by curl in every dialect.
#[track_caller]
fn moves_all(carrier: &str) {
    const DOWN: u64 = 256 * MIB;
    const UP: u64 = 64 * MIB;
    let origin = Origin::useful();
    let nodes = TwoHop::start(carrier, &OPEN);
    let (port, desk) = (origin.address().port(), nodes.address());
    let (down_sum, up_answer) = (
        Pattern::sha256(DOWN),
        format!("{UP} {}", Pattern::sha256(UP)),
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), Pattern::whole(UP)).unwrap();
    for (scheme, tunnel, host) in [
        ("socks5", false, "127.0.0.1"),
        ("socks5h", false, "localhost"),
        ("socks4a", false, "localhost"),
        ("http", true, "localhost"),
        ("http", false, "localhost"),
    ] {
        let what = format!("{scheme} over {carrier}, tunnel: {tunnel}");
        let proxy = format!("{scheme}://{desk}");
        let begin: Vec<&str> = ["-x", &proxy]
            .into_iter()
            .chain(tunnel.then_some("-p"))
            .collect();
        let down = curl(&[&begin[..], &[&format!("http://{host}:{port}/bytes/{DOWN}")]].concat());
        assert_eq!(
            (down.exit, down.status, down.bytes),
            (0, 200, DOWN),
            "{what}: {}",
            down.said
        );
        assert_eq!(down.sha256, down_sum, "{what}");
        let url = format!("http://{host}:{port}/sum");
        let up = curl(&[&begin[..], &["-X", "POST", "-T", &shown(file.path()), &url]].concat());
        assert_eq!(
            (up.exit, up.text()),
            (0, up_answer.clone()),
            "{what}: {}",
            up.said
        );
    }
}

#[test]
fn curl_moves_everything_in_every_dialect_over_quic() {
    moves_all("quic");
}

#[test]
fn curl_moves_everything_in_every_dialect_over_tls() {
    moves_all("tls");
}

#[test]
fn a_refused_target_is_reported_in_every_protocol() {
    let (refusing, _socket) = Origin::refusing();
    for carrier in CARRIERS {
        let nodes = TwoHop::start(carrier, &OPEN);
        assert_eq!(
            socks5_reply(nodes.address(), &socks5(refusing)),
            5,
            "{carrier}"
        );
        Visitor::connect(nodes.address())
            .send(socks4(refusing))
            .expect([0, 91]);
        let absolute = format!("GET http://{refusing}/ HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes();
        for request in [connect(refusing), absolute] {
            let answer =
                Visitor::connect(nodes.address()).ask(&String::from_utf8(request).unwrap());
            assert_eq!(answer.status(), 502, "{carrier}");
            assert!(
                answer
                    .field("Proxy-Status")
                    .unwrap()
                    .contains("error=connection_refused"),
                "{answer:?}"
            );
        }
    }
}

#[test]
fn the_desk_passes_on_a_refusal_of_the_exit_with_its_reason() {
    let origin = Origin::useful();
    let nodes = TwoHop::start("quic", &[]);
    let port = origin.address().port();
    assert_eq!(socks5_reply(nodes.address(), &socks5(origin.address())), 2);
    assert_eq!(
        socks5_reply(nodes.address(), &socks5_name("localhost", port)),
        2
    );
    Visitor::connect(nodes.address())
        .send(socks4a("localhost", port))
        .expect([0, 91]);
    for (target, kind) in [
        (format!("127.0.0.1:{port}"), "loopback"),
        (format!("localhost:{port}"), "loopback"),
        ("[::1]:80".to_owned(), "loopback"),
        ("169.254.169.254:80".to_owned(), "metadata"),
        ("10.0.0.1:80".to_owned(), "private"),
    ] {
        let absolute = format!("GET http://{target}/ HTTP/1.1\r\nHost: x\r\n\r\n");
        for request in [String::from_utf8(connect(&target)).unwrap(), absolute] {
            let answer = Visitor::connect(nodes.address()).ask(&request);
            assert_eq!(answer.status(), 403, "{target}: {answer:?}");
            let status = answer.field("Proxy-Status").expect("Proxy-Status");
            assert!(status.contains(kind), "{target}: {status}");
        }
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn names_are_sent_to_the_exit_and_its_rules_match_them_as_names() {
    let origin = Origin::named("by its name");
    let nodes = TwoHop::start("tls", &["--deny", "localhost", OPEN[0], OPEN[1]]);
    let (desk, port) = (nodes.address(), origin.address().port());
    // The rule names a host: it would not match if the exit received an address.
    assert_eq!(socks5_reply(desk, &socks5_name("localhost", port)), 2);
    assert_eq!(socks5_reply(desk, &socks5(origin.address())), 0);
    assert_eq!(socks5_reply(desk, &socks5_name("nowhere.invalid", port)), 4);
    let answer =
        Visitor::connect(desk).ask(&String::from_utf8(connect("nowhere.invalid:80")).unwrap());
    assert_eq!(answer.status(), 502);
    assert!(
        answer.field("Proxy-Status").unwrap().contains("error=dns_"),
        "{answer:?}"
    );
    // The exit looked it up.
    nodes.exit.wait_for_log("nowhere.invalid");
}

#[test]
fn success_is_reported_only_once_the_exit_has_connected() {
    for carrier in CARRIERS {
        let nodes = TwoHop::start(carrier, &OPEN);
        let (full, _fillers) = full_listener();
        let target = full.local_addr().unwrap();
        let mut by_socks = Visitor::connect(nodes.address());
        by_socks.send(GREETING).expect([5, 0]).send(socks5(target));
        let mut by_connect = Visitor::connect(nodes.address());
        by_connect.send(connect(target));
        let started = Instant::now();
        eventually("a moment has passed", || {
            started.elapsed() > Duration::from_millis(300)
        });
        assert!(
            by_socks.is_silent() && by_connect.is_silent(),
            "{carrier}: the exit has not connected yet"
        );
        std::thread::spawn(move || full.incoming().collect::<Vec<_>>());
        by_socks.expect([5, 0, 0, 1]);
        assert_eq!(by_connect.head().unwrap().status(), 200, "{carrier}");
    }
}

#[test]
fn the_address_in_a_socks_reply_is_the_one_that_the_exit_has_connected_from() {
    let target = std::net::TcpListener::bind(ANY).unwrap();
    for carrier in CARRIERS {
        let nodes = TwoHop::start(carrier, &OPEN);
        let mut visitor = Visitor::connect(nodes.address());
        visitor
            .send(GREETING)
            .expect([5, 0])
            .send(socks5(target.local_addr().unwrap()));
        let (_connection, from) = target.accept().unwrap();
        visitor
            .expect([5, 0, 0, 1, 127, 0, 0, 1])
            .expect(from.port().to_be_bytes());
    }
}

/// A listener with a full queue, so that new connections wait; and the connections that fill it.
fn full_listener() -> (std::net::TcpListener, Vec<std::net::TcpStream>) {
    let listener = byway_testkit::origin::listen_shallowly();
    let address = listener.local_addr().unwrap();
    let connect = || std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200));
    let fillers: Vec<_> = std::iter::from_fn(|| connect().ok()).take(16).collect();
    assert!(fillers.len() < 16, "the queue of the system does not fill");
    (listener, fillers)
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
    each_way(&origin, |way, mut visitor| {
        visitor.send(vec![7; 300_000]).finish();
        visitor.expect("300000 bytes, then Fin");
        assert!(
            visitor.to_end() == (Pattern::whole(ANSWER), Ending::Fin),
            "{way}"
        );
    });
}

#[test]
fn a_fin_of_the_origin_is_forwarded_and_the_upload_continues() {
    const UPLOAD: u64 = 4 * MIB;
    let origin = Origin::scripted(|visitor| {
        visitor.send("early goodbye").finish();
        visitor.remember_to_end();
    });
    let mut before = 0;
    each_way(&origin, |way, mut visitor| {
        assert_eq!(
            visitor.to_end(),
            (b"early goodbye".to_vec(), Ending::Fin),
            "{way}"
        );
        visitor.send(Pattern::whole(UPLOAD)).finish();
        let seen = origin.wait_for_requests(before + 1)[before].clone();
        assert!(
            seen.body == Pattern::whole(UPLOAD) && seen.head == "Fin",
            "{way}: {seen:?}"
        );
        before += 1;
    });
}

#[test]
fn a_reset_of_the_visitor_is_a_reset_for_the_origin() {
    let origin = Origin::greeting();
    let mut before = 0;
    each_way(&origin, |way, mut visitor| {
        visitor.expect("hello");
        visitor.reset();
        assert_eq!(
            origin.wait_for_requests(before + 1)[before].head,
            "Reset",
            "{way}"
        );
        before += 1;
    });
}

#[test]
fn a_reset_of_the_origin_is_a_reset_for_the_visitor_and_never_looks_like_an_end() {
    let origin = Origin::resetting_after(2);
    each_way(&origin, |way, mut visitor| {
        visitor.send("go");
        assert_eq!(visitor.ended(), Ending::Reset, "{way}");
    });
}

#[test]
fn a_reset_of_a_paused_visitor_is_noticed_while_bytes_are_queued_for_it() {
    let origin = Origin::sending_until_reset();
    let mut before = 0;
    each_way(&origin, |_, mut visitor| {
        visitor.exactly(1000);
        visitor.reset();
        before += 1;
        origin.wait_for_ended(before);
    });
}

#[test]
fn an_unread_upload_blocks_its_sender_and_arrives_complete_later() {
    for carrier in CARRIERS {
        let read_on = Gate::new();
        let go = read_on.clone();
        let origin = Origin::scripted(move |visitor| {
            go.wait();
            visitor.remember_to_end();
        });
        let nodes = TwoHop::start(carrier, &OPEN);
        let mut visitor = through_socks5(nodes.address(), origin.address());
        let all = Pattern::whole(64 * MIB);
        let taken = visitor.send_until_full(&all, Duration::from_millis(300));
        assert!(
            taken < all.len() / 2,
            "{carrier}: {taken} bytes were taken and not read"
        );
        read_on.open();
        visitor.send(&all[taken..]).finish();
        assert!(origin.wait_for_requests(1)[0].body == all, "{carrier}");
    }
}

const EACH: u64 = 64 * MIB;
const READERS: usize = 10;

/// A client that requested `bytes` bytes, read the head of the answer, and paused.
#[track_caller]
fn paused_reader(number: usize, desk: SocketAddr, origin: SocketAddr, bytes: u64) -> Visitor {
    let request = format!("GET /bytes/{bytes} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let mut visitor = if number.is_multiple_of(2) {
        through_socks5(desk, origin)
    } else {
        through_connect(desk, origin)
    };
    visitor.send(request);
    assert_eq!(visitor.head().expect("an answer").status(), 200);
    visitor
}

/// Answers one request with a pattern and closes.
fn one_pattern(bytes: u64) -> Origin {
    Origin::scripted(move |visitor| {
        visitor.request_head();
        visitor.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\nConnection: close\r\n\r\n"
        ));
        let mut pattern = Pattern::new(bytes);
        while let Some(block) = pattern.next_block() {
            visitor.send(block);
        }
    })
}

#[test]
fn paused_readers_let_the_origin_finish_keep_memory_of_both_nodes_bounded_and_get_every_byte() {
    let expected = Pattern::sha256(EACH);
    for carrier in CARRIERS {
        let origin = one_pattern(EACH);
        let nodes = TwoHop::start(carrier, &OPEN);
        let both = [("exit", &nodes.exit), ("desk", &nodes.desk)];
        let before = both.map(|(_, node)| node.rss_kib());
        let mut readers: Vec<_> = (0..READERS)
            .map(|number| paused_reader(number, nodes.address(), origin.address(), EACH))
            .collect();
        origin.wait_for_ended(READERS);
        for ((name, node), before) in both.into_iter().zip(before) {
            let what = format!(
                "{READERS} paused readers of {} MiB over {carrier}: {name}",
                EACH / MIB
            );
            memory_is_bounded(&what, node, before, READERS as u64 * EACH);
        }
        for (number, reader) in readers.iter_mut().enumerate() {
            let mut sum = Sum::new();
            reader.exactly_each(EACH, |bytes| sum.add(bytes));
            assert_eq!(sum.hex(), expected, "reader {number} over {carrier}");
            reader.ended();
        }
        let spilled = nodes.desk.folder().join("state").join("spill");
        assert!(!spilled.exists(), "the spill is the exit's: {spilled:?}");
    }
}

#[test]
fn a_stream_limit_of_the_exit_slows_each_reader_and_not_the_origin() {
    const BYTES: u64 = 8 * MIB;
    for carrier in CARRIERS {
        let origin = one_pattern(BYTES);
        let nodes = TwoHop::start(carrier, &["--stream-limit", "128KiB/s", OPEN[0], OPEN[1]]);
        let started = Instant::now();
        let mut readers: Vec<_> = (0..4)
            .map(|number| paused_reader(number, nodes.address(), origin.address(), BYTES))
            .collect();
        // At this rate the transfer takes a minute. The origin finishes long before.
        origin.wait_for_ended(4);
        for reader in &mut readers {
            reader.exactly(384 * 1024);
        }
        // The bucket starts with 64 KiB, so 384 KiB at 128 KiB/s take at least 2.5 s.
        assert!(
            started.elapsed() > Duration::from_millis(2400),
            "{carrier}: {:?}",
            started.elapsed()
        );
    }
}

#[test]
fn a_desk_that_other_machines_can_reach_requires_the_right_password() {
    let origin = Origin::named("inside");
    let exit = Program::start(
        BYWAY,
        &["proxy", "serve", "--listen", ANY, OPEN[0], OPEN[1]],
    );
    let join = join_string(&exit);
    let open = Launch::new(BYWAY, &["proxy", "join", &join, "--listen", "0.0.0.0:0"]).run();
    assert_eq!(open.code, Some(2), "{}", open.stderr);
    let desk = Program::start(
        BYWAY,
        &[
            "proxy",
            "join",
            &join,
            "--listen",
            ANY,
            "--user",
            "alice:secret",
        ],
    );
    let fetch = |user: &str| {
        curl(&[
            "-x",
            &format!("http://{user}@{}", desk.address()),
            &format!("http://{}/", origin.address()),
        ])
    };
    assert_eq!(fetch("alice:wrong").status, 407);
    assert_eq!(fetch("alice:secret").text(), "inside");
}

#[test]
fn an_exit_logs_no_visitor_if_it_received_none() {
    let nodes = TwoHop::start("tls", &[]);
    let mut visitor = Visitor::connect(nodes.address());
    visitor.send(b"CONNECT 10.0.0.1:80 HTTP/1.1\r\nHost: 10.0.0.1:80\r\n\r\n");
    let line = nodes.exit.wait_for_log("link stream: ");
    assert!(!line.contains("visitor="), "{line}");
}

/// A grant of `exit` beside that of the join string `first`.
#[track_caller]
fn another_grant(exit: &Program, first: &str) -> String {
    let state = shown(&exit.folder().join("state"));
    let advertise = first
        .parse::<byway_link::JoinString>()
        .unwrap()
        .address
        .to_string();
    let args = [
        "token",
        "add",
        "--purpose",
        "exit",
        "--state",
        &state,
        "--advertise",
        &advertise,
    ];
    let added = Launch::new(BYWAY, &args).run();
    assert_eq!(added.code, Some(0), "{}", added.stderr);
    added.stdout.trim().trim_start_matches("join ").to_owned()
}

/// A desk whose link is up.
#[track_caller]
fn desk_of(join: &str) -> Program {
    let desk = Program::start(BYWAY, &["proxy", "join", join, "--listen", ANY]);
    desk.wait_for_log("is up, by ");
    desk
}

#[test]
fn one_grant_of_an_exit_leaves_descriptors_for_streams_to_another_one() {
    let args = [&["proxy", "serve", "--listen", ANY], &OPEN[..]].concat();
    let exit = Launch::new(BYWAY, &args).with_descriptors(256).start();
    let first = join_string(&exit);
    let second = another_grant(&exit, &first);
    let (greedy, other) = (desk_of(&first), desk_of(&second));
    let origin = Origin::named("app");
    let target = origin.address();
    let held: Vec<Visitor> = (0..120)
        .map(|_| {
            let mut visitor = Visitor::connect(greedy.address());
            visitor.send(connect(target));
            visitor
        })
        .collect();
    exit.wait_for_log("of one grant are in use by one client of it");
    assert_eq!(
        through_connect(other.address(), target).get("/").text(),
        "app"
    );
    drop(held);
}

/// The limit is lowered after the start by what links, look-ups, attempts, pipes and later visitors
/// may have: streams and their spill files must do with their own share.
#[test]
fn paused_readers_of_an_exit_took_two_descriptors_each_and_left_none_for_links_and_other_grants() {
    const BYTES: u64 = 2 * MIB;
    let large = Origin::scripted(|visitor| {
        let mut pattern = Pattern::new(BYTES);
        while let Some(block) = pattern.next_block() {
            visitor.send(block);
        }
    });
    let small = Origin::named("app");
    let args = ["proxy", "serve", "--listen", ANY, "--metrics", ANY];
    let exit = Launch::new(BYWAY, &[&args[..], &OPEN[..]].concat())
        .with_descriptors(512)
        .start();
    let most = Some(280);
    let limit = Rlimit {
        current: most,
        maximum: most,
    };
    rustix::process::prlimit(Some(exit.pid()), Resource::Nofile, limit).unwrap();
    let first = join_string(&exit);
    let [second, third, fourth, late] = [(); 4].map(|()| another_grant(&exit, &first));
    let greedy = [&first, &second, &third].map(|join| desk_of(join));
    let other = desk_of(&fourth);
    let mut paused = Vec::new();
    for (desk, count) in greedy.iter().zip([120, 60, 30]) {
        let mut asked: Vec<_> = (0..count)
            .map(|_| {
                let mut visitor = Visitor::connect_with_buffer(desk.address(), 16 * 1024);
                visitor.send(connect(large.address()));
                visitor
            })
            .collect();
        asked.retain_mut(|visitor| visitor.head().expect("an answer").status() == 200);
        assert!(asked.len() < count, "{count} streams");
        paused.extend(asked);
    }
    exit.wait_for_log("goes on with back-pressure");
    for _ in 0..10 {
        let metrics = Visitor::connect(exit.address_of("metrics")).get("/metrics");
        assert_eq!(metrics.status(), 200);
        let mut visitor = through_connect(other.address(), small.address());
        assert_eq!(visitor.get("/").text(), "app");
    }
    desk_of(&late);
    // Those without a file wait, and nothing of theirs is lost.
    let expected = Pattern::sha256(BYTES);
    for visitor in paused.iter_mut().step_by(10) {
        let mut sum = Sum::new();
        visitor.exactly_each(BYTES, |bytes| sum.add(bytes));
        assert_eq!(sum.hex(), expected);
        visitor.ended();
    }
    let log = exit.stderr();
    assert!(!log.contains("cannot accept"), "{log}");
}
