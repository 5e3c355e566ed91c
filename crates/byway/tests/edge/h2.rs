//! H2: requests of HTTP/2 with prior knowledge, in front of origins of HTTP/1.

use byway_testkit::http2::{END_HEADERS, END_STREAM, Http2Visitor, field_block, kind, request};
use byway_testkit::{Ending, Gate, Origin, Visitor, eventually};
use rustix::process::Signal;

use super::{edge, edge_with};

/// RFC 9113 section 7.
const NO_ERROR: u32 = 0;
const PROTOCOL_ERROR: u32 = 1;
const INTERNAL_ERROR: u32 = 2;
const CANCEL: u32 = 8;

#[test]
fn a_request_reaches_its_origin_as_http_1_and_the_response_comes_back() {
    let origin = Origin::useful();
    let program = edge(&origin);
    let mut visitor = Http2Visitor::connect(program.address());
    let mut fields = request("GET", "/head?q=1");
    fields.extend([
        ("x-mine", "1"),
        ("te", "trailers"),
        ("cookie", "a=1"),
        ("cookie", "b=2"),
    ]);
    let stream = visitor.head(&fields, true);
    let response = visitor.response(stream);
    assert_eq!((response.status(), response.reset), (200, None));
    let head = &origin.requests()[0];
    assert_eq!(head.line(), "GET /head?q=1 HTTP/1.1");
    for (name, value) in [
        ("Host", Some("test.example")),
        ("X-Mine", Some("1")),
        ("Cookie", Some("a=1; b=2")),
        ("Via", Some("2.0 byway")),
        ("X-Forwarded-For", Some("127.0.0.1")),
        ("TE", None),
        ("Transfer-Encoding", None),
        ("Content-Length", None),
    ] {
        assert_eq!(head.field(name), value, "{name}");
    }
    assert_eq!(response.field("via"), Some("1.1 byway"));
    assert_eq!(response.field("connection"), None);
    assert_eq!(visitor.get("/").text(), "hello", "the connection goes on");
}

#[test]
fn streams_are_answered_as_their_origins_answer_and_not_in_order() {
    let gate = Gate::new();
    let late = gate.clone();
    let origin = Origin::scripted(move |visitor| {
        while let Some(request) = visitor.request() {
            if request.target() == "/late" {
                late.wait();
            }
            visitor.send(byway_testkit::origin::ok(request.target()));
        }
    });
    let program = edge(&origin);
    let mut visitor = Http2Visitor::connect(program.address());
    let late = visitor.head(&request("GET", "/late"), true);
    origin.wait_for_requests(1);
    for n in 0..50 {
        let path = format!("/{n}");
        assert_eq!(visitor.get(&path).text(), path);
    }
    assert_eq!(visitor.so_far(late).status(), 0);
    gate.open();
    assert_eq!(visitor.response(late).text(), "/late");
}

#[test]
fn bodies_of_any_size_pass_both_ways_with_and_without_a_length() {
    let origin = Origin::useful();
    let program = edge(&origin);
    let mut visitor = Http2Visitor::connect(program.address());
    for size in [0, 1, 16_384, 65_535, 65_536, 300_000, 2_000_000] {
        for path in ["/bytes", "/chunked"] {
            let response = visitor.get(&format!("{path}/{size}"));
            assert_eq!(
                (response.body.len(), response.reset),
                (size, None),
                "{path}"
            );
        }
        let expected = size.to_string();
        for length in [Some(&*expected), None] {
            let mut fields = request("POST", "/sum");
            fields.extend(length.map(|length| ("content-length", length)));
            let stream = visitor.head(&fields, false);
            let mut sent = 0;
            // No more than what the windows admit; more is sent as they are renewed.
            while sent < size {
                visitor.until_window(stream);
                let n = visitor.window(stream).min(size - sent).min(16_384);
                visitor.data(stream, &vec![b'x'; n], false);
                sent += n;
            }
            visitor.data(stream, &[], true);
            let response = visitor.response(stream);
            assert!(
                response.text().starts_with(&format!("{size} ")),
                "{response:?}"
            );
        }
    }
}

#[test]
fn a_post_that_ends_with_its_head_is_a_request_with_an_empty_body() {
    let origin = Origin::useful();
    let program = edge(&origin);
    let mut visitor = Http2Visitor::connect(program.address());
    for length in [Some("0"), None] {
        let mut fields = request("POST", "/sum");
        fields.extend(length.map(|length| ("content-length", length)));
        let stream = visitor.head(&fields, true);
        assert!(visitor.response(stream).text().starts_with("0 "));
    }
    assert_eq!(origin.requests()[0].field("Content-Length"), Some("0"));
}

#[test]
fn trailers_pass_both_ways() {
    let origin = Origin::scripted(|visitor| {
        visitor.request();
        visitor.send(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n",
        );
    });
    let program = edge(&origin);
    let mut visitor = Http2Visitor::connect(program.address());
    let stream = visitor.head(&request("POST", "/"), false);
    visitor.data(stream, b"body", false);
    visitor.trailers(stream, &[("x-checksum", "1"), ("content-length", "9")]);
    let response = visitor.response(stream);
    assert_eq!(response.text(), "hi");
    assert_eq!(response.trailers, [("x-sum".to_owned(), "7".to_owned())]);
    let came = &origin.requests()[0];
    assert_eq!(
        (came.text(), &*came.trailers),
        ("body".into(), "x-checksum: 1\r\n")
    );
}

#[test]
fn interim_responses_head_and_statuses_without_a_body_end_their_streams_in_order() {
    let origin = Origin::by_number(&[
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ]);
    let program = edge(&origin);
    let mut visitor = Http2Visitor::connect(program.address());
    let response = visitor.get("/0");
    assert_eq!(
        (&response.interim[..], response.text()),
        (&["103".to_owned()][..], "hi".into())
    );
    let stream = visitor.head(&request("HEAD", "/1"), true);
    let response = visitor.response(stream);
    assert_eq!(
        (response.field("content-length"), response.body.len()),
        (Some("9"), 0)
    );
    for (path, status) in [("/2", 204), ("/3", 304), ("/4", 200)] {
        let response = visitor.get(path);
        assert_eq!(
            (response.status(), response.body.len(), response.reset),
            (status, 0, None)
        );
    }
}

#[test]
fn an_early_answer_is_delivered_whole_and_the_upload_is_no_longer_wanted() {
    let origin = Origin::scripted(|visitor| {
        visitor.request_head();
        visitor.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
        visitor.hold();
    });
    let program = edge(&origin);
    let mut visitor = Http2Visitor::connect(program.address());
    let stream = visitor.head(&request("POST", "/"), false);
    visitor.data(stream, b"the beginning", false);
    let response = visitor.until(stream, "a reset", |response| response.reset.is_some());
    assert_eq!((response.status(), response.text()), (403, "no".into()));
    assert_eq!((response.has_ended, response.reset), (true, Some(NO_ERROR)));
}

#[test]
fn a_cut_response_is_reset_and_one_that_never_began_is_502() {
    let origin = Origin::by_number(&[
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf",
        "",
        "HTTP/1.1 200 OK\r\nContent-Le",
    ]);
    let program = edge(&origin);
    let mut visitor = Http2Visitor::connect(program.address());
    for path in ["/0", "/1"] {
        let response = visitor.get(path);
        assert_eq!(response.text(), "half");
        assert_eq!(
            (response.has_ended, response.reset),
            (false, Some(INTERNAL_ERROR))
        );
    }
    for path in ["/2", "/3"] {
        let response = visitor.get(path);
        assert_eq!((response.status(), response.reset), (502, None), "{path}");
    }
}

#[test]
fn a_client_that_resets_its_stream_ends_the_request_at_the_origin() {
    let origin = Origin::scripted(|visitor| {
        visitor.request_head();
        visitor.remember_to_end();
    });
    let program = edge(&origin);
    let mut visitor = Http2Visitor::connect(program.address());
    let stream = visitor.head(&request("POST", "/"), false);
    visitor.data(stream, b"half", false);
    origin.wait_for_requests(1);
    visitor.reset_stream(stream, CANCEL);
    assert_eq!(origin.wait_for_requests(2)[1].head, "Reset");
    assert_eq!(visitor.so_far(stream).status(), 0);
}

#[test]
fn a_malformed_request_is_reset_and_reaches_no_origin_and_the_connection_goes_on() {
    let origin = Origin::useful();
    let program = edge(&origin);
    let mut visitor = Http2Visitor::connect(program.address());
    let mut cases: Vec<Vec<(&str, &str)>> = vec![
        vec![(":method", "GET"), (":scheme", "http"), (":authority", "a")],
        vec![(":method", "GET"), (":path", "/"), (":authority", "a")],
        vec![(":scheme", "http"), (":path", "/"), (":authority", "a")],
        vec![
            (":method", "GET"),
            (":scheme", "http"),
            (":path", ""),
            (":authority", "a"),
        ],
    ];
    let bad_fields = [
        (":path", "/again"),
        (":status", "200"),
        (":unknown", "1"),
        ("host", "other"),
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("keep-alive", "1"),
        ("proxy-connection", "close"),
        ("te", "gzip"),
        ("Upper", "1"),
        ("a b", "1"),
        ("", "1"),
        ("x", "1\r\nx-smuggled: 1"),
        ("x", "1\n"),
        ("x", "\0"),
        ("x", " 1"),
        ("x", "1 "),
        ("content-length", "5"),
        ("content-length", "-1"),
        ("content-length", "1, 1"),
    ];
    for field in bad_fields {
        let mut fields = request("GET", "/");
        fields.push(field);
        cases.push(fields);
    }
    for method in [
        "GE T",
        "",
        "GET\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET",
    ] {
        cases.push(request(method, "/"));
    }
    for path in ["/ HTTP/1.1\r\nHost: b", "/a b", "noslash", "http://b/", "*"] {
        cases.push(request("GET", path));
    }
    for fields in cases {
        let stream = visitor.head(&fields, true);
        let response = visitor.response(stream);
        let is_refused = response.reset == Some(PROTOCOL_ERROR) || response.status() == 400;
        assert!(is_refused, "{fields:?}: {response:?}");
    }
    assert_eq!(origin.connections(), 0, "nothing reached an origin");
    assert_eq!(visitor.get("/").text(), "hello");
}

#[test]
fn a_head_over_the_limit_gets_431_and_the_table_stays_right() {
    let origin = Origin::useful();
    let program = edge_with(
        "[limits]\nhead_bytes = \"4KiB\"\nhead_fields = 1000",
        &origin,
    );
    let mut visitor = Http2Visitor::connect(program.address());
    // Short on the wire, and longer as lines of HTTP/1.
    let mut fields = request("GET", "/");
    fields.extend([("x", "y"); 700]);
    // The last field enters the table, although the head is refused by then.
    let mut block = field_block(&fields);
    block.extend(b"\x40\x05x-new\x03one");
    let stream = visitor.new_stream();
    visitor.frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &block);
    assert_eq!(visitor.response(stream).status(), 431);
    let mut block = field_block(&request("GET", "/head"));
    block.push(0x80 | 62);
    let stream = visitor.new_stream();
    visitor.frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &block);
    assert_eq!(visitor.response(stream).status(), 200);
    assert_eq!(origin.requests()[0].field("X-New"), Some("one"));
}

#[test]
fn a_websocket_begins_by_an_extended_connect_and_its_bytes_are_relayed() {
    let origin = Origin::scripted(|visitor| {
        let request = visitor.request().unwrap();
        let key = request.field("Sec-WebSocket-Key").unwrap();
        let accept = byway_testkit::http2::accept(key);
        visitor.send(format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\nfirst"
        ));
        while visitor.fill() {
            let bytes = visitor.taken();
            visitor.send(bytes);
        }
    });
    let program = edge(&origin);
    let mut visitor = Http2Visitor::connect(program.address());
    let mut fields = request("CONNECT", "/chat");
    fields.insert(1, (":protocol", "websocket"));
    fields.push(("sec-websocket-version", "13"));
    let stream = visitor.head(&fields, false);
    let other = visitor.until(stream, "its first bytes", |response| {
        response.body == b"first"
    });
    assert_eq!(
        (other.status(), other.field("sec-websocket-accept")),
        (200, None)
    );
    visitor.data(stream, b"\x81\x85\x01\x02\x03\x04hello", false);
    visitor.until(stream, "an echo", |response| response.body.len() == 16);
    let head = &origin.requests()[0];
    assert_eq!(head.line(), "GET /chat HTTP/1.1");
    assert_eq!(head.field("Upgrade"), Some("websocket"));
    assert_eq!(head.field("Sec-WebSocket-Version"), Some("13"));
    // Half-close: the origin sees FIN, closes, and its FIN is END_STREAM.
    visitor.data(stream, b"bye", true);
    let response = visitor.response(stream);
    assert!(response.has_ended && response.reset.is_none() && response.body.ends_with(b"bye"));
    assert_eq!(
        visitor.settings.get(&8),
        Some(&1),
        "SETTINGS_ENABLE_CONNECT_PROTOCOL"
    );
}

#[test]
fn a_websocket_that_its_origin_refuses_is_an_ordinary_response_and_never_a_success() {
    let origin = Origin::by_number(&[
        "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    ]);
    let program = edge(&origin);
    let mut visitor = Http2Visitor::connect(program.address());
    for (path, status) in [("/0", 404), ("/1", 502), ("/2", 502)] {
        let mut fields = request("CONNECT", path);
        fields.insert(1, (":protocol", "websocket"));
        let stream = visitor.head(&fields, false);
        let response = visitor.response(stream);
        assert_eq!(
            (response.status(), response.has_ended),
            (status, true),
            "{path}"
        );
    }
}

#[test]
fn a_drain_announces_itself_and_finishes_what_is_open() {
    let gate = Gate::new();
    let late = gate.clone();
    let origin = Origin::scripted(move |visitor| {
        visitor.request();
        late.wait();
        visitor.send(byway_testkit::origin::ok("late"));
    });
    let program = edge_with("workers = 1", &origin);
    let mut idle = Http2Visitor::connect(program.address());
    let mut busy = Http2Visitor::connect(program.address());
    let stream = busy.head(&request("GET", "/"), true);
    origin.wait_for_requests(1);
    program.signal(Signal::TERM);
    assert_eq!(idle.to_end(), Some(NO_ERROR));
    busy.until(stream, "a warning", |_| true);
    while busy.go_away.is_none_or(|(_, last)| last > stream) {
        assert!(busy.turn());
    }
    gate.open();
    assert_eq!(busy.response(stream).text(), "late");
    assert_eq!(busy.to_end(), Some(NO_ERROR));
    drop((busy, idle));
    assert_eq!(program.wait().code, Some(0));
}

#[test]
fn the_last_request_of_a_connection_is_announced_by_goaway() {
    let origin = Origin::useful();
    let program = edge_with("limits.requests_per_connection = 2", &origin);
    let mut visitor = Http2Visitor::connect(program.address());
    assert_eq!(visitor.get("/").text(), "hello");
    assert_eq!(visitor.go_away, None);
    assert_eq!(visitor.get("/").text(), "hello");
    assert_eq!(visitor.to_end(), Some(NO_ERROR));
}

#[test]
fn connect_is_refused_at_an_edge_and_http_2_after_http_1_too() {
    let origin = Origin::useful();
    let program = edge(&origin);
    let mut visitor = Http2Visitor::connect(program.address());
    let stream = visitor.head(&[(":method", "CONNECT"), (":authority", "a:1")], false);
    assert_eq!(visitor.response(stream).status(), 405);
    let mut visitor = Visitor::connect(program.address());
    assert_eq!(visitor.get("/").text(), "hello");
    visitor.send(byway_testkit::http2::PREFACE);
    assert_eq!(visitor.response().status(), 505);
    assert_eq!(visitor.ended(), Ending::Fin);
}

#[test]
fn the_access_log_and_the_metrics_name_the_version() {
    let origin = Origin::useful();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let settings = format!("metrics.listen = \"127.0.0.1:0\"\n[log]\naccess = {log:?}");
    let program = edge_with(&settings, &origin);
    let mut visitor = Http2Visitor::connect(program.address_of("edge"));
    assert_eq!(visitor.get("/bytes/3").body.len(), 3);
    eventually("the line is written", || {
        std::fs::read_to_string(&log)
            .is_ok_and(|text| text.contains("\"GET /bytes/3 HTTP/2\" 200 3"))
    });
    let mut metrics = Visitor::connect(program.address_of("metrics"));
    let text = metrics.get("/metrics").text();
    assert!(
        text.contains("byway_requests_by_version_total{version=\"HTTP/2\"} 1\n"),
        "{text}"
    );
    assert!(text.contains("byway_http2_connections_total 1\n"), "{text}");
}
