//! Load: many connections to one process, and running out of descriptors.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use byway_testkit::http2::{Http2Visitor, request};
use byway_testkit::{Launch, Origin, Program, Visitor, eventually};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const BYWAY: &str = env!("CARGO_BIN_EXE_byway");

const CROWD: usize = 2000;

/// The tests hold both ends of every connection.
fn raise_descriptors() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    )
    .unwrap();
    let enough = 2 * CROWD as u64 + 500;
    assert!(
        maximum.is_none_or(|most| most >= enough),
        "this test needs {enough} descriptors (ulimit -Hn), not {maximum:?}"
    );
}

/// The tests run one at a time: each of them uses the whole machine.
static ALONE: parking_lot::Mutex<()> = parking_lot::Mutex::new(());

#[test]
fn two_thousand_tunnels_through_the_egress_are_open_at_once_and_all_of_them_work() {
    let _alone = ALONE.lock();
    raise_descriptors();
    let origin = Origin::echo();
    let program = Program::start(
        BYWAY,
        &["proxy", "--listen", "127.0.0.1:0", "--allow", "127.0.0.0/8"],
    );
    let empty = program.rss_kib();
    let mut visitors: Vec<_> = (0..CROWD)
        .map(|n| tunnel(n, program.address(), origin.address()))
        .collect();
    origin.wait_for_connections(CROWD);
    let idle = program.rss_kib();
    for round in 0..2 {
        for (n, visitor) in visitors.iter_mut().enumerate() {
            visitor.send(format!("round {round} of {n:05}"));
        }
        for (n, visitor) in visitors.iter_mut().enumerate() {
            visitor.expect(format!("round {round} of {n:05}"));
        }
    }
    report("tunnels through the egress", &program, empty, idle);
    drop(visitors);
    origin.wait_for_ended(CROWD);
    assert_eq!(program.stop().code, Some(0));
}

/// A tunnel, alternately by SOCKS5 and by CONNECT.
fn tunnel(number: usize, egress: SocketAddr, to: SocketAddr) -> Visitor {
    let mut visitor = Visitor::connect(egress);
    if number.is_multiple_of(2) {
        let [high, low] = to.port().to_be_bytes();
        visitor
            .send([5, 1, 0])
            .expect([5, 0])
            .send([5, 1, 0, 1, 127, 0, 0, 1, high, low])
            .expect([5, 0, 0, 1])
            .exactly(6);
    } else {
        visitor.send(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n"));
        assert_eq!(visitor.head().expect("an answer").status(), 200);
    }
    visitor
}

#[test]
fn two_thousand_clients_are_kept_alive_on_the_edge_and_share_few_connections_to_its_origin() {
    let _alone = ALONE.lock();
    raise_descriptors();
    let origin = Origin::useful();
    let to = origin.address().to_string();
    let program = Program::start(BYWAY, &["edge", "--from", "127.0.0.1:0", "--to", &to]);
    let empty = program.rss_kib();
    let mut visitors: Vec<_> = (0..CROWD)
        .map(|_| Visitor::connect(program.address()))
        .collect();
    for round in 0..3 {
        // A hundred at a time, so that none is refused with a 503.
        for some in visitors.chunks_mut(100) {
            for visitor in some.iter_mut() {
                visitor.send("GET /bytes/2000 HTTP/1.1\r\nHost: a\r\n\r\n");
            }
            for visitor in some {
                let answer = visitor.response();
                assert_eq!(
                    (answer.status(), answer.body.len()),
                    (200, 2000),
                    "round {round}"
                );
            }
        }
    }
    let idle = program.rss_kib();
    report("clients kept alive on the edge", &program, empty, idle);
    assert!(
        origin.connections() <= 128 * 3,
        "{} connections to the origin",
        origin.connections()
    );
    drop(visitors);
    assert_eq!(program.stop().code, Some(0));
}

fn report(what: &str, program: &Program, empty: u64, idle: u64) {
    let (now, crowd) = (program.rss_kib(), CROWD as u64);
    eprintln!(
        "{CROWD} {what}: {empty} KiB resident before, {idle} KiB idle ({} KiB each), {now} KiB at the end",
        (idle - empty) / crowd
    );
    // This is a debug build. The lab measures release builds.
    assert!(now < 64 * crowd, "{now} KiB for {CROWD} {what}");
}

#[test]
fn two_thousand_requests_at_once_are_all_answered() {
    let _alone = ALONE.lock();
    raise_descriptors();
    let origin = Origin::useful();
    let to = origin.address().to_string();
    let program = Program::start(BYWAY, &["edge", "--from", "127.0.0.1:0", "--to", &to]);
    let mut visitors: Vec<_> = (0..CROWD)
        .map(|_| Visitor::connect(program.address()))
        .collect();
    for visitor in &mut visitors {
        visitor.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    let mut answered = 0;
    for visitor in &mut visitors {
        match visitor.response().status() {
            200 => answered += 1,
            status => assert_eq!(status, 503),
        }
    }
    eprintln!("{answered} of {CROWD} were answered, the others got a 503");
    assert_eq!(
        answered, CROWD,
        "the pool has a connection for each of them"
    );
    assert_eq!(visitors[0].get("/").status(), 200);
}

/// Lowers the limit of a running program, so that it runs out of descriptors although it reserved
/// some.
fn take_descriptors(program: &Program, most: u64) {
    let limit = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    rustix::process::prlimit(Some(program.pid()), Resource::Nofile, limit).unwrap();
}

#[test]
fn idle_connections_do_not_take_the_descriptors_that_requests_on_the_accepted_ones_need() {
    let _alone = ALONE.lock();
    let origin =
        Origin::answering("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    let to = origin.address().to_string();
    for args in [
        &["edge", "--from", "127.0.0.1:0", "--to", &to][..],
        &["proxy", "--listen", "127.0.0.1:0", "--allow", "127.0.0.0/8"],
    ] {
        let program = Launch::new(BYWAY, args).with_descriptors(256).start();
        let target = if args[0] == "edge" {
            "/".to_owned()
        } else {
            format!("http://{to}/")
        };
        let mut crowd: Vec<_> = (0..400)
            .map(|_| Visitor::connect(program.address()))
            .collect();
        for visitor in &mut crowd {
            visitor.send(format!(
                "GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
            ));
        }
        // Each connection closes after its answer, which makes room for one that waits to be
        // accepted.
        let refused = crowd
            .iter_mut()
            .map(|visitor| visitor.response().status())
            .filter(|status| *status != 200)
            .count();
        let log = program.stderr();
        assert_eq!(
            (refused, log.contains("cannot accept")),
            (0, false),
            "{args:?}: {log}"
        );
        assert!(
            log.contains("limits.connections is lowered from 10000 to "),
            "{log}"
        );
    }
}

#[test]
fn all_accepted_tunnels_find_a_descriptor_for_their_target() {
    let _alone = ALONE.lock();
    let origin = Origin::echo();
    let program = Launch::new(
        BYWAY,
        &["proxy", "--listen", "127.0.0.1:0", "--allow", "127.0.0.0/8"],
    )
    .with_descriptors(256)
    .start();
    let mut crowd: Vec<_> = (0..200)
        .map(|_| Visitor::connect(program.address()))
        .collect();
    for visitor in &mut crowd {
        visitor.send(format!(
            "CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\n",
            origin.address()
        ));
    }
    // The accepted ones are answered. When they close, others are accepted.
    while !crowd.is_empty() {
        let before = crowd.len();
        crowd.retain_mut(|visitor| {
            let is_answered = !visitor.is_silent();
            assert!(!is_answered || visitor.head().is_some_and(|head| head.status() == 200));
            !is_answered
        });
        eventually("more are accepted", || {
            crowd.len() < before || crowd.iter_mut().any(|visitor| !visitor.is_silent())
        });
    }
    assert!(
        !program.stderr().contains("cannot accept"),
        "{}",
        program.stderr()
    );
}

#[test]
fn running_out_of_descriptors_neither_spins_nor_kills_and_service_resumes() {
    let _alone = ALONE.lock();
    let origin = Origin::useful();
    let to = origin.address().to_string();
    for args in [
        &["edge", "--from", "127.0.0.1:0", "--to", &to][..],
        &["proxy", "--listen", "127.0.0.1:0", "--allow", "127.0.0.0/8"],
    ] {
        let program = Launch::new(BYWAY, args).with_descriptors(256).start();
        take_descriptors(&program, 48);
        let absolute = format!("GET http://{to}/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let request = if args[0] == "edge" {
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        } else {
            &absolute
        };
        // The kernel completes these connections, but the program cannot accept all of them.
        let crowd: Vec<_> = (0..100)
            .map(|_| Visitor::connect(program.address()))
            .collect();
        program.wait_for_log("cannot accept");

        let (started, before) = (Instant::now(), program.cpu_time());
        eventually("a second has passed", || {
            started.elapsed() > Duration::from_secs(1)
        });
        let (passed, used) = (started.elapsed(), program.cpu_time() - before);
        assert!(
            used < passed / 2,
            "{args:?}: {used:?} of processor time in {passed:?} without descriptors"
        );

        drop(crowd);
        // While one worker still closes the connections of the crowd, another one may have no
        // descriptor for an origin and report that.
        let served = || {
            let mut visitor = Visitor::connect(program.address());
            visitor.send(request);
            visitor.response().status() == 200
        };
        eventually("service resumes", || (0..20).all(|_| served()));
        let complaints = program.stderr().matches("cannot accept").count();
        assert!(complaints < 20, "{complaints} lines about one shortage");
        assert_eq!(program.stop().code, Some(0));
    }
}

#[test]
fn a_request_that_gets_no_descriptor_for_its_origin_is_a_503_with_retry_after() {
    let _alone = ALONE.lock();
    let origin =
        Origin::answering("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    let to = origin.address().to_string();
    let program = Launch::new(BYWAY, &["edge", "--from", "127.0.0.1:0", "--to", &to])
        .with_descriptors(256)
        .start();
    let mut first = Visitor::connect(program.address());
    assert_eq!(
        first.get("/").status(),
        200,
        "accepted before descriptors run out"
    );
    take_descriptors(&program, 48);
    let crowd: Vec<_> = (0..100)
        .map(|_| Visitor::connect(program.address()))
        .collect();
    program.wait_for_log("cannot accept");
    let answer = first.get("/");
    assert_eq!(answer.status(), 503, "{answer:?}");
    assert!(answer.field("Retry-After").is_some(), "{answer:?}");
    drop(crowd);
    eventually("the same client is served", || {
        first.get("/").status() == 200
    });
}

/// Clients of one address that open as many tunnels as they can over HTTP/2. Returns them, and how
/// many tunnels are open.
fn tunnels_over_http2(address: SocketAddr, fields: &[(&str, &str)]) -> (Vec<Http2Visitor>, usize) {
    let mut clients: Vec<_> = (0..12).map(|_| Http2Visitor::connect(address)).collect();
    let mut open = 0;
    for client in &mut clients {
        let streams: Vec<_> = (0..127).map(|_| client.head(fields, false)).collect();
        for stream in streams {
            let answer = client.until(stream, "an answer", |answer| answer.status() != 0);
            match answer.status() {
                200 => open += 1,
                status => {
                    assert_eq!(status, 503);
                    let answer = client.response(stream);
                    assert!(answer.field("retry-after").is_some(), "{answer:?}");
                    assert!(answer.text().contains("client-share"), "{answer:?}");
                }
            }
        }
    }
    (clients, open)
}

#[test]
fn tunnels_on_streams_of_http_2_took_all_descriptors_of_an_egress() {
    let _alone = ALONE.lock();
    raise_descriptors();
    let origin = Origin::echo();
    let any = "\"127.0.0.1:0\"";
    let config = format!(
        "metrics.listen = {any}\n[[proxy]]\nlisten = {any}\n\
         [[proxy.rule]]\naction = \"allow\"\ncidr = \"127.0.0.0/8\"\n"
    );
    let program = Launch::configured(BYWAY, &config)
        .with_descriptors(1024)
        .start();
    let metrics = program.address_of("metrics");
    let egress = program.addresses();
    let egress = *egress
        .iter()
        .find(|address| **address != metrics)
        .expect("the egress");
    let to = origin.address().to_string();
    let connect = [(":method", "CONNECT"), (":authority", &*to)];
    let (clients, open) = tunnels_over_http2(egress, &connect);
    assert!((64..256).contains(&open), "{open} tunnels of one address");
    // Other connections, other addresses, and the metrics.
    for number in 0..20 {
        tunnel(number, egress, origin.address())
            .send("hello")
            .expect("hello");
        assert_eq!(Visitor::connect(metrics).get("/metrics").status(), 200);
    }
    let wire = Visitor::connect_from("127.0.0.2".parse().unwrap(), egress);
    let mut other = Http2Visitor::with_settings(wire, &[]);
    let streams: Vec<_> = (0..30).map(|_| other.head(&connect, false)).collect();
    for stream in streams {
        let answer = other.until(stream, "an answer", |answer| answer.status() != 0);
        assert_eq!(answer.status(), 200, "{answer:?}");
    }
    let files = program.open_files().len();
    assert!(files < 512, "{files} descriptors for {open} + 30 tunnels");
    let log = program.stderr();
    assert!(!log.contains("cannot accept"), "{log}");
    drop((clients, other));
    origin.wait_for_ended(open + 20 + 30);
    let (_clients, again) = tunnels_over_http2(egress, &connect);
    assert!(again > 64, "{again} permits came back");
}

#[test]
fn websockets_on_streams_of_http_2_took_all_descriptors_of_an_edge() {
    let _alone = ALONE.lock();
    raise_descriptors();
    let origin = Origin::websockets();
    let any = "\"127.0.0.1:0\"";
    let config = format!(
        "metrics.listen = {any}\n[[edge]]\nlisten = {any}\n[[edge.route]]\nto = \"{}\"\n",
        origin.address()
    );
    let program = Launch::configured(BYWAY, &config)
        .with_descriptors(1024)
        .start();
    let metrics = program.address_of("metrics");
    let edge = program.addresses();
    let edge = *edge
        .iter()
        .find(|address| **address != metrics)
        .expect("the edge");
    let mut fields = request("CONNECT", "/chat");
    fields.insert(1, (":protocol", "websocket"));
    fields.push(("sec-websocket-version", "13"));
    let (clients, open) = tunnels_over_http2(edge, &fields);
    assert!((64..256).contains(&open), "{open} tunnels of one address");
    for _ in 0..20 {
        assert_eq!(Visitor::connect(edge).get("/").status(), 200);
        assert_eq!(Visitor::connect(metrics).get("/metrics").status(), 200);
    }
    let log = program.stderr();
    assert!(!log.contains("cannot accept"), "{log}");
    drop(clients);
    eventually("the permits came back", || {
        tunnels_over_http2(edge, &fields).1 > 64
    });
}
