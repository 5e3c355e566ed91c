//! H3 hostile: malicious clients of HTTP/3, one test for each class of attack: each ends its own
//! connection or costs no more than is stated, and others are served meanwhile.

use std::future::Future;
use std::net::UdpSocket;

use byway_testkit::http3::{Http3Visitor, frame, headers, kind, prefixed, varint};
use byway_testkit::{Gate, Launch, Origin, Program};
use quinn::VarInt;

use super::BYWAY;
use super::h3::until_offered;
use super::site::{Site, metric};

const HOST: &str = "a.example";

/// RFC 9114 section 8.1, RFC 9204 section 6.
const CLOSED_CRITICAL_STREAM: u64 = 0x104;
const FRAME_UNEXPECTED: u64 = 0x105;
const EXCESSIVE_LOAD: u64 = 0x107;
const SETTINGS_ERROR: u64 = 0x109;
const QPACK_DECOMPRESSION_FAILED: u64 = 0x200;
const QPACK_ENCODER_STREAM_ERROR: u64 = 0x201;

/// Most growth of the memory of the program, in KiB.
const MOST_GROWTH_KIB: u64 = 16 * 1024;

/// The program, which serves HTTP/3.
#[track_caller]
fn started(site: &Site, origin: &Origin, more: &str) -> Program {
    let program = site.edge(origin, more);
    until_offered(site, &program);
    program
}

#[track_caller]
fn attacker(site: &Site, program: &Program) -> Http3Visitor {
    site.client().http3(program.address(), HOST)
}

/// The program serves others, and has not grown beyond the limit since it had `before`.
#[track_caller]
fn still_serves(site: &Site, program: &Program, before: u64) {
    assert_eq!(attacker(site, program).get(HOST, "/").text(), "hello");
    let grown = program.rss_kib().saturating_sub(before);
    assert!(grown < MOST_GROWTH_KIB, "{grown} KiB");
}

/// Sends `part` again and again until the connection ends; returns its code.
#[track_caller]
fn flood(visitor: &mut Http3Visitor, on_control: bool, part: &[u8]) -> u64 {
    let bytes = part.repeat(100);
    let mut exchange = match on_control {
        true => None,
        false => Some(visitor.request("POST", HOST, "/sum", &[], false)),
    };
    for _ in 0..100_000 {
        let is_open = match &mut exchange {
            None => visitor.control(&bytes),
            Some(exchange) => visitor.wait(exchange.send.write_all(&bytes)).is_ok(),
        };
        if !is_open {
            return visitor.closed();
        }
    }
    panic!("the flood was never ended");
}

#[test]
fn floods_of_frames_end_their_connection_and_grow_no_memory() {
    let (site, origin) = (Site::new(), Origin::useful());
    let program = started(&site, &origin, "");
    let before = program.rss_kib();
    for (name, on_control, part) in [
        (
            "reserved frames on the control stream",
            true,
            frame(0x21, b"x"),
        ),
        ("PRIORITY_UPDATE", true, frame(0xf0700, &[0])),
        ("reserved frames on a request", false, frame(0x21, b"x")),
        ("empty DATA", false, frame(kind::DATA, b"")),
    ] {
        let mut visitor = attacker(&site, &program);
        assert_eq!(
            flood(&mut visitor, on_control, &part),
            EXCESSIVE_LOAD,
            "{name}"
        );
        still_serves(&site, &program, before);
    }
}

#[test]
fn rapid_resets_end_their_connection_and_open_no_more_connections_than_streams_may_run() {
    let (site, gate) = (Site::new(), Gate::new());
    let late = gate.clone();
    let origin = Origin::scripted(move |visitor| {
        while let Some(request) = visitor.request() {
            if request.target() == "/late" {
                late.wait();
            }
            visitor.send(byway_testkit::origin::ok("hello"));
        }
    });
    let program = started(&site, &origin, "");
    let before = program.rss_kib();
    let visitor = attacker(&site, &program);
    let mut sent = 0;
    while visitor.quic.close_reason().is_none() {
        let opened = visitor.wait(async { visitor.quic.open_bi().await });
        let Ok((mut send, mut recv)) = opened else {
            break;
        };
        let request = headers(&[
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", HOST),
            (":path", "/late"),
        ]);
        visitor.wait(async {
            let _ = send.write_all(&request).await;
        });
        let cancelled = VarInt::from_u32(0x10c);
        let _ = (send.reset(cancelled), recv.stop(cancelled));
        sent += 1;
        assert!(sent < 100_000, "the flood was never ended");
    }
    assert_eq!(visitor.closed(), EXCESSIVE_LOAD);
    assert!(origin.connections() <= 130, "{}", origin.connections());
    gate.open();
    still_serves(&site, &program, before);
}

#[test]
fn streams_beyond_the_limit_wait_until_another_has_ended() {
    let (site, gate) = (Site::new(), Gate::new());
    let late = gate.clone();
    let origin = Origin::scripted(move |visitor| {
        while let Some(request) = visitor.request() {
            if request.target() == "/late" {
                late.wait();
            }
            visitor.send(byway_testkit::origin::ok("hello"));
        }
    });
    site.issue("a", &[HOST, "127.0.0.1"]);
    let limits = "[limits]\nstreams_per_connection = 4\n".to_owned();
    let config = limits + &site.config(&origin, &["a.pem"], "");
    let program = Program::configured(BYWAY, &config);
    until_offered(&site, &program);
    let before = origin.requests().len();
    let visitor = attacker(&site, &program);
    let mut open: Vec<_> = (0..4)
        .map(|_| visitor.request("GET", HOST, "/late", &[], true))
        .collect();
    origin.wait_for_requests(before + 4);
    // The client may not open a fifth one: QUIC itself holds it back.
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut fifth = Box::pin(visitor.quic.open_bi());
    let is_held_back = fifth.as_mut().poll(&mut context).is_pending();
    assert!(is_held_back, "a fifth stream was opened");
    drop(fifth);
    open[0].cancel();
    assert_eq!(
        visitor.get(HOST, "/").text(),
        "hello",
        "its place is free again"
    );
    gate.open();
    for exchange in open.drain(1..) {
        assert_eq!(visitor.response(exchange).text(), "hello");
    }
}

#[test]
fn field_blocks_that_grow_or_refer_to_a_dynamic_table_are_bounded() {
    let (site, origin) = (Site::new(), Origin::useful());
    let program = started(&site, &origin, "");
    let before = program.rss_kib();
    // A reference to the dynamic table, which has no entries.
    let visitor = attacker(&site, &program);
    let dynamic = frame(kind::HEADERS, &[2, 0, 0x80]);
    let _stream = visitor.open("GET", &dynamic, true);
    assert_eq!(visitor.closed(), QPACK_DECOMPRESSION_FAILED);
    // An insertion on the encoder stream.
    let visitor = attacker(&site, &program);
    visitor.wait(async {
        let mut encoder = visitor.quic.open_uni().await.unwrap();
        let _ = encoder.write_all(&[2, 0x41, b'a', 1, b'b']).await;
    });
    assert_eq!(visitor.closed(), QPACK_ENCODER_STREAM_ERROR);
    // Many short references to long entries of the static table: 431, then the end.
    let visitor = attacker(&site, &program);
    let mut block = vec![0, 0];
    for _ in 0..60_000 {
        // `content-security-policy` is one of the longest: entry 85.
        prefixed(&mut block, 0xc0, 6, 85);
    }
    let exchange = visitor.open("GET", &frame(kind::HEADERS, &block), true);
    let response = visitor.response(exchange);
    let code = visitor.quic.close_reason().map(|_| visitor.closed());
    assert!(
        response.status() == 431 || code == Some(EXCESSIVE_LOAD) || response.reset.is_some(),
        "{response:?} {code:?}"
    );
    still_serves(&site, &program, before);
}

#[test]
fn broken_rules_of_control_streams_end_the_connection() {
    let (site, origin) = (Site::new(), Origin::useful());
    let program = started(&site, &origin, "");
    let before = program.rss_kib();
    type Attack = dyn Fn(&mut Http3Visitor);
    let on_control = |bytes: Vec<u8>| {
        Box::new(move |visitor: &mut Http3Visitor| {
            visitor.control(&bytes);
        }) as Box<Attack>
    };
    let attacks: Vec<(&str, Box<Attack>, u64)> = vec![
        (
            "the control stream is closed",
            Box::new(|visitor| visitor.control.as_mut().unwrap().finish().unwrap()),
            CLOSED_CRITICAL_STREAM,
        ),
        (
            "DATA on it",
            on_control(frame(kind::DATA, b"x")),
            FRAME_UNEXPECTED,
        ),
        (
            "a second SETTINGS",
            on_control(frame(kind::SETTINGS, &[])),
            FRAME_UNEXPECTED,
        ),
        (
            "a frame of HTTP/2",
            on_control(frame(6, &[0; 8])),
            FRAME_UNEXPECTED,
        ),
        (
            "DATA before HEADERS",
            Box::new(|visitor| {
                let _ = visitor.open("GET", &frame(kind::DATA, b"x"), false);
            }),
            FRAME_UNEXPECTED,
        ),
        (
            "SETTINGS on a request",
            Box::new(|visitor| {
                let _ = visitor.open("GET", &frame(kind::SETTINGS, b""), false);
            }),
            FRAME_UNEXPECTED,
        ),
        (
            "a second control stream",
            Box::new(|visitor| {
                let quic = visitor.quic.clone();
                visitor.wait(async {
                    let mut stream = quic.open_uni().await.unwrap();
                    let _ = stream.write_all(&[0]).await;
                });
            }),
            0x103,
        ),
    ];
    for (name, attack, code) in attacks {
        let mut visitor = attacker(&site, &program);
        attack(&mut visitor);
        assert_eq!(visitor.closed(), code, "{name}");
    }
    // A setting of HTTP/2 in the first SETTINGS needs a connection without our own.
    let setting = frame(kind::SETTINGS, &[&varint(2)[..], &varint(0)].concat());
    let config = (*site.client().config).clone();
    let visitor = Http3Visitor::without_settings(program.address(), HOST, config).unwrap();
    visitor.wait(async {
        let mut control = visitor.quic.open_uni().await.unwrap();
        let _ = control.write_all(&[&[0], &setting[..]].concat()).await;
    });
    assert_eq!(visitor.closed(), SETTINGS_ERROR);
    still_serves(&site, &program, before);
}

#[test]
fn a_client_that_reads_nothing_holds_a_bounded_part_of_a_response() {
    let (site, origin) = (Site::new(), Origin::sending_until_reset());
    let program = site.edge(&origin, "");
    let visitors: Vec<_> = (0..4)
        .map(|_| {
            let visitor = attacker(&site, &program);
            let mut exchange = visitor.request("GET", HOST, "/", &[], true);
            visitor.until(&mut exchange, |response| !response.body.is_empty());
            (visitor, exchange)
        })
        .collect();
    // 1 MiB for each connection in quinn, and what the exchange and the kernel hold.
    let before = program.rss_kib();
    assert!(before < 128 * 1024, "{before} KiB");
    drop(visitors);
}

#[test]
fn garbage_over_udp_changes_nothing() {
    let (site, origin) = (Site::new(), Origin::useful());
    let program = started(&site, &origin, "");
    let before = program.rss_kib();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut seed = 1_u32;
    for round in 0..20_000_usize {
        let mut bytes = vec![0; round % 1300];
        for byte in &mut bytes {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (seed >> 24) as u8;
        }
        let _ = socket.send_to(&bytes, program.address());
    }
    still_serves(&site, &program, before);
}

#[test]
fn many_handshakes_without_a_proof_of_their_address_cause_retries_and_others_are_served() {
    let (site, origin) = (Site::new(), Origin::useful());
    site.issue("a", &[HOST, "127.0.0.1"]);
    let config =
        "[metrics]\nlisten = \"127.0.0.1:0\"\n".to_owned() + &site.config(&origin, &["a.pem"], "");
    let program = Program::configured(BYWAY, &config);
    let to = program.addresses()[0];
    super::h3::until_offered_at(&site, to);
    // First packets, whose senders do not answer: with a whole ClientHello each.
    let recorded = first_packets(&site, 2_000);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for packet in &recorded {
        let _ = socket.send_to(packet, to);
    }
    assert_eq!(site.client().http3(to, HOST).get(HOST, "/").text(), "hello");
    assert!(metric(&program, "byway_quic_retries_total") > 0);
}

/// The first packets of clients that have never been answered.
fn first_packets(site: &Site, count: usize) -> Vec<Vec<u8>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let sink = UdpSocket::bind("127.0.0.1:0").unwrap();
    sink.set_read_timeout(Some(std::time::Duration::from_secs(5)))
        .unwrap();
    let mut config = (*site.client().config).clone();
    config.alpn_protocols = vec![b"h3".to_vec()];
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(config).unwrap();
    let config = quinn::ClientConfig::new(std::sync::Arc::new(crypto));
    let _inside = runtime.enter();
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let (mut packets, mut buffer) = (Vec::new(), [0; 2048]);
    while packets.len() < count {
        let connecting = endpoint.connect_with(config.clone(), sink.local_addr().unwrap(), HOST);
        let n = sink.recv(&mut buffer).unwrap();
        packets.push(buffer[..n].to_vec());
        drop(connecting);
    }
    packets
}

#[test]
fn websockets_on_streams_of_http_3_leave_descriptors_to_other_clients() {
    let (site, origin) = (Site::new(), Origin::websockets());
    site.issue("a", &[HOST, "127.0.0.1"]);
    let config = site.config(&origin, &["a.pem"], "");
    let program = Launch::configured(BYWAY, &config)
        .with_descriptors(256)
        .start();
    until_offered(&site, &program);
    let visitor = attacker(&site, &program);
    let fields = headers(&[
        (":method", "CONNECT"),
        (":scheme", "https"),
        (":authority", HOST),
        (":path", "/chat"),
        (":protocol", "websocket"),
        ("sec-websocket-version", "13"),
    ]);
    let mut held = Vec::new();
    for _ in 0..100 {
        let mut exchange = visitor.open("CONNECT", &fields, false);
        visitor.until(&mut exchange, |response| response.status() != 0);
        if exchange.response.status() == 200 {
            held.push(exchange);
            continue;
        }
        assert_eq!(exchange.response.status(), 503);
        let status = exchange.response.field("proxy-status");
        assert!(status.is_some_and(|status| status.contains("client-share")));
    }
    assert!((10..60).contains(&held.len()), "{} tunnels", held.len());
    for _ in 0..10 {
        let answer = site.client().get(program.address(), HOST, "/").unwrap();
        assert!(answer.contains("hello"), "{answer}");
        assert_eq!(attacker(&site, &program).get(HOST, "/").text(), "hello");
    }
    let log = program.stderr();
    assert!(!log.contains("cannot accept"), "{log}");
}
