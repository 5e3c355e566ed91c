//! H2: malicious clients of HTTP/2, one test for each class of attack that has had a CVE: each ends
//! its own connection, and costs no more memory or connections to the origin than is stated.

use byway_testkit::http2::{
    END_HEADERS, END_STREAM, Http2Visitor, PREFACE, field_block, frame, kind, request,
};
use byway_testkit::{Gate, Origin, Program, Visitor, eventually};

use super::edge;

/// RFC 9113 section 7.
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const COMPRESSION_ERROR: u32 = 9;
const ENHANCE_YOUR_CALM: u32 = 11;

/// Most growth of the memory of the program, in KiB.
const MOST_GROWTH_KIB: u64 = 16 * 1024;

/// What a flood sends in each round.
type Round = dyn Fn(&mut Http2Visitor) -> Vec<u8>;

/// Sends rounds of a flood until the connection ends, and nothing is read from it meanwhile unless
/// `reads`. Returns the code of the GOAWAY.
#[track_caller]
fn flooded(program: &Program, round: &Round) -> Option<u32> {
    let mut visitor = Http2Visitor::connect(program.address());
    let mut rounds = 0;
    loop {
        let bytes = round(&mut visitor);
        if !visitor.wire.try_send(bytes) {
            break;
        }
        rounds += 1;
        assert!(rounds < 100_000, "the flood was never ended");
        while !visitor.wire.is_silent() {
            if !visitor.turn() {
                return visitor.go_away.map(|(code, _)| code);
            }
        }
    }
    visitor.to_end()
}

/// The edge still serves others.
#[track_caller]
fn still_serves(program: &Program) {
    assert_eq!(
        Http2Visitor::connect(program.address()).get("/").text(),
        "hello"
    );
    assert_eq!(Visitor::connect(program.address()).get("/").text(), "hello");
}

#[test]
fn floods_of_frames_end_their_connection_and_grow_no_memory() {
    let origin = Origin::useful();
    let program = edge("", &origin);
    still_serves(&program);
    let before = program.rss_kib();
    let repeat = |frame: Vec<u8>| frame.repeat(100);
    let floods: Vec<(&str, Box<Round>)> = vec![
        (
            "PING (CVE-2019-9512)",
            Box::new(move |_| repeat(frame(kind::PING, 0, 0, &[0; 8]))),
        ),
        (
            "SETTINGS (CVE-2019-9515)",
            Box::new(move |_| repeat(frame(kind::SETTINGS, 0, 0, &[]))),
        ),
        (
            "PRIORITY (CVE-2019-9513)",
            Box::new(move |_| repeat(frame(kind::PRIORITY, 0, 7, &[0, 0, 0, 0, 1]))),
        ),
        (
            "unknown frames",
            Box::new(move |_| repeat(frame(0xbb, 0, 0, b"x"))),
        ),
        (
            "WINDOW_UPDATE",
            Box::new(move |_| repeat(frame(kind::WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()))),
        ),
        (
            "resets (CVE-2023-44487)",
            Box::new(move |visitor| {
                let mut bytes = Vec::new();
                for _ in 0..100 {
                    let stream = visitor.new_stream();
                    let head = field_block(&request("GET", "/"));
                    bytes.extend(frame(
                        kind::HEADERS,
                        END_HEADERS | END_STREAM,
                        stream,
                        &head,
                    ));
                    bytes.extend(frame(kind::RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
                }
                bytes
            }),
        ),
        (
            "resets that the server makes (CVE-2025-8671)",
            Box::new(move |visitor| {
                let mut bytes = Vec::new();
                for _ in 0..100 {
                    let stream = visitor.new_stream();
                    let head = field_block(&request("GET", "/"));
                    bytes.extend(frame(
                        kind::HEADERS,
                        END_HEADERS | END_STREAM,
                        stream,
                        &head,
                    ));
                    bytes.extend(frame(kind::WINDOW_UPDATE, 0, stream, &0_u32.to_be_bytes()));
                }
                bytes
            }),
        ),
        (
            "malformed requests",
            Box::new(move |visitor| {
                let mut bytes = Vec::new();
                for _ in 0..100 {
                    let stream = visitor.new_stream();
                    let head = field_block(&request("GET", ""));
                    bytes.extend(frame(
                        kind::HEADERS,
                        END_HEADERS | END_STREAM,
                        stream,
                        &head,
                    ));
                }
                bytes
            }),
        ),
    ];
    for (name, round) in floods {
        let code = flooded(&program, &*round);
        // A client that does not read may lose the GOAWAY to the reset behind it.
        assert!(
            matches!(code, None | Some(ENHANCE_YOUR_CALM)),
            "{name}: {code:?}"
        );
        still_serves(&program);
    }
    let grown = program.rss_kib().saturating_sub(before);
    assert!(grown < MOST_GROWTH_KIB, "{grown} KiB");
}

#[test]
fn empty_frames_of_a_body_and_of_a_head_end_their_connection() {
    let origin = Origin::useful();
    let program = edge("", &origin);
    let mut visitor = Http2Visitor::connect(program.address());
    let stream = visitor.head(&request("POST", "/"), false);
    while visitor
        .wire
        .try_send(frame(kind::DATA, 0, stream, &[]).repeat(100))
    {}
    assert!(matches!(visitor.to_end(), None | Some(ENHANCE_YOUR_CALM)));

    let mut visitor = Http2Visitor::connect(program.address());
    let stream = visitor.new_stream();
    visitor.frame(kind::HEADERS, 0, stream, &field_block(&request("GET", "/")));
    while visitor
        .wire
        .try_send(frame(kind::CONTINUATION, 0, stream, &[]).repeat(100))
    {}
    let code = visitor.to_end();
    assert!(code.is_none() || code != Some(0), "{code:?}");
    still_serves(&program);
}

#[test]
fn a_head_that_never_ends_is_cut_at_its_limit() {
    let origin = Origin::useful();
    let program = edge("", &origin);
    let before = program.rss_kib();
    let mut visitor = Http2Visitor::connect(program.address());
    let stream = visitor.new_stream();
    visitor.frame(kind::HEADERS, 0, stream, &field_block(&request("GET", "/")));
    let part = field_block(&[("x", &*"y".repeat(16_000))]);
    let mut sent = 0;
    while visitor
        .wire
        .try_send(frame(kind::CONTINUATION, 0, stream, &part))
    {
        sent += 1;
        assert!(sent < 1000, "CVE-2024-27316");
    }
    let code = visitor.to_end();
    assert!(code != Some(0), "{code:?}");
    assert!(program.rss_kib().saturating_sub(before) < MOST_GROWTH_KIB);
    still_serves(&program);
}

#[test]
fn a_small_block_that_decodes_to_much_is_refused_while_it_is_decoded() {
    let origin = Origin::useful();
    let program = edge("", &origin);
    let before = program.rss_kib();
    for _ in 0..50 {
        let mut visitor = Http2Visitor::connect(program.address());
        // One entry of nearly the whole table, then references to it (CVE-2016-6581).
        let mut block = field_block(&request("GET", "/"));
        block.extend(b"\x40\x01x\x7f\xc1\x1e");
        block.extend([b'y'; 4032]);
        block.extend([0x80 | 62; 12_000]);
        let stream = visitor.new_stream();
        visitor.frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &block);
        let code = visitor.to_end();
        assert!(code.is_some_and(|code| code != 0), "{code:?}");
    }
    let grown = program.rss_kib().saturating_sub(before);
    assert!(grown < MOST_GROWTH_KIB, "{grown} KiB");
    still_serves(&program);
}

#[test]
fn streams_that_were_reset_count_until_their_work_has_ended() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::scripted(move |visitor| {
        while visitor.request_head().is_some() {
            held.wait();
            visitor.send(byway_testkit::origin::ok("hello"));
        }
    });
    let program = edge("[limits]\nstreams_per_connection = 10", &origin);
    let mut visitor = Http2Visitor::connect(program.address());
    for _ in 0..200 {
        let stream = visitor.head(&request("GET", "/"), true);
        visitor.reset_stream(stream, 8);
    }
    // Each of those that were not refused was begun and given up; never more than ten at once.
    let stream = visitor.head(&request("GET", "/"), true);
    visitor.until(stream, "an answer", |response| {
        gate.open();
        response.has_ended || response.reset.is_some()
    });
    assert!(origin.connections() <= 200, "{}", origin.connections());
    drop(visitor);
    eventually("the connections to the origin are given up", || {
        program.sockets() < 30
    });
    still_serves(&program);
}

#[test]
fn resets_of_requests_that_are_answered_soon_cost_no_connection_each() {
    let origin = Origin::useful();
    let program = edge("[limits]\nstreams_per_connection = 10", &origin);
    let mut visitor = Http2Visitor::connect(program.address());
    for _ in 0..100 {
        let stream = visitor.head(&request("GET", "/"), true);
        visitor.reset_stream(stream, 8);
        // Its slot is free again once the origin has answered.
        let probe = visitor.head(&request("GET", "/"), true);
        assert_eq!(visitor.response(probe).text(), "hello");
    }
    assert!(origin.connections() <= 10, "{}", origin.connections());
}

#[test]
fn streams_beyond_the_limit_are_refused_and_may_be_sent_again() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::scripted(move |visitor| {
        while visitor.request_head().is_some() {
            held.wait();
            visitor.send(byway_testkit::origin::ok("hello"));
        }
    });
    let program = edge("[limits]\nstreams_per_connection = 10", &origin);
    let mut visitor = Http2Visitor::connect(program.address());
    let streams: Vec<u32> = (0..30)
        .map(|_| visitor.head(&request("GET", "/"), true))
        .collect();
    for stream in &streams[10..] {
        assert_eq!(visitor.response(*stream).reset, Some(7), "REFUSED_STREAM");
    }
    assert!(origin.connections() <= 10);
    gate.open();
    for stream in &streams[..10] {
        assert_eq!(visitor.response(*stream).text(), "hello");
    }
    assert_eq!(visitor.get("/").text(), "hello");
}

#[test]
fn clients_that_open_no_window_hold_little_and_are_closed_in_time() {
    let origin = Origin::useful();
    let program = edge("[limits]\nbody_progress = \"1s\"", &origin);
    let before = program.rss_kib();
    let mut stalled = Vec::new();
    for _ in 0..20 {
        // CVE-2019-9517, CVE-2019-9511: a window of nothing, or of one byte.
        let mut visitor =
            Http2Visitor::with_settings(Visitor::connect(program.address()), &[(4, 0)]);
        visitor.grants = false;
        for _ in 0..50 {
            visitor.head(&request("GET", "/bytes/1000000"), true);
        }
        stalled.push(visitor);
    }
    for visitor in &mut stalled {
        let response = visitor.response(1);
        assert!(
            response.reset.is_some() && response.body.is_empty(),
            "{response:?}"
        );
    }
    let grown = program.rss_kib().saturating_sub(before);
    assert!(grown < 4 * MOST_GROWTH_KIB, "{grown} KiB");
    drop(stalled);
    still_serves(&program);
}

#[test]
fn a_stalled_upload_does_not_stop_the_others_on_its_connection() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::scripted(move |visitor| {
        let Some(request) = visitor.request_head() else {
            return;
        };
        if request.target() == "/stalled" {
            held.wait();
        }
        visitor.request_body_each(&request, |_| {});
        visitor.send(byway_testkit::origin::ok("done"));
    });
    let program = edge("", &origin);
    let mut visitor = Http2Visitor::connect(program.address());
    let stalled = visitor.head(&request("POST", "/stalled"), false);
    visitor.until_window(stalled);
    while visitor.window(stalled) > 0 {
        let n = visitor.window(stalled).min(16_384);
        visitor.data(stalled, &vec![b'x'; n], false);
    }
    let other = visitor.head(&request("POST", "/other"), false);
    for _ in 0..40 {
        visitor.until_window(other);
        let n = visitor.window(other).min(16_384);
        visitor.data(other, &vec![b'y'; n], false);
    }
    visitor.data(other, &[], true);
    assert_eq!(visitor.response(other).text(), "done");
    gate.open();
    visitor.data(stalled, &[], true);
    assert_eq!(visitor.response(stalled).text(), "done");
}

#[test]
fn what_breaks_the_protocol_ends_the_connection_with_its_code() {
    let origin = Origin::useful();
    let program = edge("", &origin);
    let cases: [(&str, Vec<u8>, u32); 6] = [
        (
            "DATA without a stream",
            frame(kind::DATA, 0, 0, b"x"),
            PROTOCOL_ERROR,
        ),
        (
            "DATA on a stream that has not begun",
            frame(kind::DATA, 0, 1, b"x"),
            PROTOCOL_ERROR,
        ),
        (
            "HEADERS of an even number",
            frame(kind::HEADERS, 5, 2, &[0x82]),
            PROTOCOL_ERROR,
        ),
        (
            "a block that cannot be decoded",
            frame(kind::HEADERS, 5, 1, &[0xff; 8]),
            COMPRESSION_ERROR,
        ),
        (
            "a window of more than 2^31-1",
            frame(kind::WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes()),
            FLOW_CONTROL_ERROR,
        ),
        ("a push", frame(5, 4, 1, &[0, 0, 0, 2]), PROTOCOL_ERROR),
    ];
    for (what, bytes, code) in cases {
        let mut visitor = Http2Visitor::connect(program.address());
        visitor.wire.send(bytes);
        assert_eq!(visitor.to_end(), Some(code), "{what}");
    }
    program.wait_for_log("an HTTP/2 connection was closed");
    still_serves(&program);
}

#[test]
fn clients_that_say_nothing_or_not_the_rest_are_closed() {
    let origin = Origin::useful();
    let settings = "[limits]\nhead_timeout = \"1s\"\nkeep_alive = \"1s\"";
    let program = edge(settings, &origin);
    let settings = frame(kind::SETTINGS, 0, 0, &[]);
    let head = frame(
        kind::HEADERS,
        END_HEADERS,
        1,
        &field_block(&request("POST", "/")),
    );
    for begun in [
        PREFACE.to_vec(),
        [PREFACE, &settings].concat(),
        [PREFACE, &settings, &head[..head.len() - 1]].concat(),
        [
            PREFACE,
            &settings,
            &frame(kind::HEADERS, 0, 1, &field_block(&request("GET", "/"))),
        ]
        .concat(),
    ] {
        let mut visitor = Visitor::connect(program.address());
        visitor.send(&begun);
        visitor.to_end();
    }
    let mut idle = Http2Visitor::connect(program.address());
    assert_eq!(idle.get("/").text(), "hello");
    assert_eq!(idle.to_end(), Some(0));
}
