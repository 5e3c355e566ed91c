//! H2 upstreams: requests of both versions that pass to upstreams of HTTP/2. The upstream is another
//! edge in front of an origin of HTTP/1, or one that is scripted frame by frame.

use byway_testkit::http2::{
    END_HEADERS, END_STREAM, Http2Visitor, field_block, frame, kind, request,
};
use byway_testkit::origin::Served;
use byway_testkit::{Message, Origin, Program, Visitor};

use super::{BYWAY, config, edge};

/// An edge that speaks HTTP/2 to `upstream`.
#[track_caller]
pub(crate) fn edge_to(upstream: &Program, settings: &str) -> Program {
    let route = format!("to = \"{}\"\nh2 = true", upstream.address());
    Program::configured(BYWAY, &config(settings, &[&route]))
}

/// An edge that speaks HTTP/2 to an origin.
#[track_caller]
fn edge_to_origin(origin: &Origin) -> Program {
    let route = format!("to = \"{}\"\nh2 = true", origin.address());
    Program::configured(BYWAY, &config("", &[&route]))
}

#[test]
fn requests_of_both_versions_reach_an_upstream_of_http_2_and_share_a_connection() {
    let origin = Origin::useful();
    let upstream = edge(&origin);
    let program = edge_to(&upstream, "workers = 1");
    let mut visitor = Http2Visitor::connect(program.address());
    let mut old = Visitor::connect(program.address());
    for _ in 0..3 {
        assert_eq!(visitor.get("/").text(), "hello");
        assert_eq!(old.get("/").text(), "hello");
    }
    let heads = origin.requests();
    let vias: Vec<&str> = heads[0].fields("Via").collect();
    assert_eq!(vias, ["2.0 byway", "2.0 byway"]);
    let vias: Vec<&str> = heads[1].fields("Via").collect();
    assert_eq!(vias, ["1.1 byway", "2.0 byway"]);
}

#[test]
fn bodies_and_trailers_pass_both_ways_between_any_two_versions() {
    let origin = Origin::useful();
    let upstream = edge(&origin);
    let program = edge_to(&upstream, "");
    let mut visitor = Http2Visitor::connect(program.address());
    let mut old = Visitor::connect(program.address());
    for size in [0, 1, 65_536, 2_000_000] {
        for path in ["/bytes", "/chunked"] {
            let path = format!("{path}/{size}");
            assert_eq!(visitor.get(&path).body.len(), size, "{path}");
            assert_eq!(old.get(&path).body.len(), size, "{path}");
        }
        let head = format!("POST /sum HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n");
        old.send(head).send(vec![b'x'; size]);
        let response = old.response();
        assert!(response.text().starts_with(&format!("{size} ")), "{size}");
    }
}

#[test]
fn trailers_interim_responses_and_heads_without_bodies_pass() {
    let origin = Origin::by_number(&[
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
    ]);
    let upstream = edge(&origin);
    let program = edge_to(&upstream, "");
    let mut visitor = Http2Visitor::connect(program.address());
    let stream = visitor.head(&request("POST", "/0"), false);
    visitor.data(stream, b"body", false);
    visitor.trailers(stream, &[("x-checksum", "1")]);
    let response = visitor.response(stream);
    assert_eq!(response.interim, ["103"]);
    assert_eq!(response.text(), "hi");
    assert_eq!(response.trailers, [("x-sum".to_owned(), "7".to_owned())]);
    let came = &origin.requests()[0];
    assert_eq!(&*came.trailers, "x-checksum: 1\r\n");
    let stream = visitor.head(&request("HEAD", "/1"), true);
    let response = visitor.response(stream);
    assert_eq!(
        (response.field("content-length"), response.body.len()),
        (Some("9"), 0)
    );
    for (path, status) in [("/2", 204), ("/3", 304)] {
        let response = visitor.get(path);
        assert_eq!((response.status(), response.reset), (status, None));
    }
}

#[test]
fn a_burst_to_an_upstream_that_takes_two_streams_at_once_is_served() {
    let origin = Origin::useful();
    let route = format!("to = \"{}\"", origin.address());
    let settings = "[limits]\nstreams_per_connection = 2\n";
    let upstream = Program::configured(BYWAY, &config(settings, &[&route]));
    let program = edge_to(&upstream, "workers = 1");
    let mut visitor = Http2Visitor::connect(program.address());
    let streams: Vec<u32> = (0..40)
        .map(|_| visitor.head(&request("GET", "/"), true))
        .collect();
    for stream in streams {
        let response = visitor.response(stream);
        assert_eq!((response.status(), response.text()), (200, "hello".into()));
    }
    assert_eq!(origin.requests().len(), 40);
}

/// The upstream side of a connection of HTTP/2: reads the preface, sends settings, and then runs
/// `script` for each request head, with the number of its stream.
fn upstream(script: impl Fn(&mut Served, u32) + Send + Sync + 'static) -> Origin {
    Origin::scripted(move |served| {
        if served.try_exactly(24).is_none() {
            return;
        }
        served.try_send(frame(kind::SETTINGS, 0, 0, &[]));
        while let Some((kind, flags, stream, payload)) = next_frame(served) {
            match kind {
                kind::SETTINGS if flags == 0 => {
                    served.try_send(frame(kind::SETTINGS, 1, 0, &[]));
                }
                kind::PING if flags == 0 => {
                    served.try_send(frame(kind::PING, 1, 0, &payload));
                }
                kind::HEADERS => {
                    served.remember(Message::default());
                    script(served, stream);
                }
                kind::RST_STREAM => served.remember(Message {
                    head: "RST_STREAM".into(),
                    ..Message::default()
                }),
                _ => {}
            }
        }
    })
}

fn next_frame(served: &mut Served) -> Option<(u8, u8, u32, Vec<u8>)> {
    let header = served.try_exactly(9)?;
    let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
    let stream = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
    let payload = served.try_exactly(length)?;
    Some((header[3], header[4], stream, payload))
}

/// A head as a frame.
fn head(stream: u32, fields: &[(&str, &str)], flags: u8) -> Vec<u8> {
    frame(
        kind::HEADERS,
        END_HEADERS | flags,
        stream,
        &field_block(fields),
    )
}

/// An answer to a request.
fn ok(stream: u32) -> Vec<u8> {
    head(stream, &[(":status", "200")], END_STREAM)
}

const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody";

#[test]
fn a_refused_stream_is_sent_again_whatever_its_method() {
    for how in ["refused", "excluded", "closed"] {
        let origin = upstream(move |served, stream| match (how, served.number) {
            ("refused", 0 | 1) => {
                served.try_send(frame(kind::RST_STREAM, 0, stream, &7_u32.to_be_bytes()));
            }
            ("excluded", 0) => {
                served.try_send(frame(kind::GOAWAY, 0, 0, &[0; 8]));
            }
            ("closed", 0) => {
                // It takes no more, and the answer to this one is the last.
                let mut last = [0; 8];
                last[..4].copy_from_slice(&stream.to_be_bytes());
                served.try_send(ok(stream));
                served.try_send(frame(kind::GOAWAY, 0, 0, &last));
            }
            _ => {
                served.try_send(ok(stream));
            }
        });
        let program = edge_to_origin(&origin);
        let mut visitor = Visitor::connect(program.address());
        for _ in 0..3 {
            assert_eq!(visitor.ask(POST).status(), 200, "{how}");
        }
    }
}

#[test]
fn an_upstream_that_refuses_every_stream_is_tried_a_limited_number_of_times() {
    let origin = upstream(|served, stream| {
        served.try_send(frame(kind::RST_STREAM, 0, stream, &7_u32.to_be_bytes()));
    });
    let program = edge_to_origin(&origin);
    let mut visitor = Visitor::connect(program.address());
    assert_eq!(visitor.ask(POST).status(), 502);
    let tries = origin.requests().len();
    assert!((2..=8).contains(&tries), "{tries}");
}

#[test]
fn a_malformed_or_endless_response_is_502_and_the_others_of_the_node_go_on() {
    type Answer = fn(&mut Served, u32);
    let answers: &[(&str, Answer)] = &[
        ("a name in upper case", |served, stream| {
            served.try_send(head(stream, &[(":status", "200"), ("X", "1")], END_STREAM));
        }),
        ("no status", |served, stream| {
            served.try_send(head(stream, &[("x", "1")], END_STREAM));
        }),
        ("a field of a connection", |served, stream| {
            let fields = [(":status", "200"), ("transfer-encoding", "chunked")];
            served.try_send(head(stream, &fields, END_STREAM));
        }),
        ("a line break in a value", |served, stream| {
            let fields = [(":status", "200"), ("x", "1\r\nset-cookie: a=b")];
            served.try_send(head(stream, &fields, END_STREAM));
        }),
        ("101", |served, stream| {
            served.try_send(head(stream, &[(":status", "101")], 0));
        }),
        ("a head of a megabyte", |served, stream| {
            let value = "v".repeat(16_000);
            let fields = [(":status", "200"), ("x", &*value)];
            served.try_send(frame(kind::HEADERS, 0, stream, &field_block(&fields)));
            for _ in 0..64 {
                let more = field_block(&[("y", &*value)]);
                served.try_send(frame(kind::CONTINUATION, 0, stream, &more));
            }
        }),
        ("interim responses without an end", |served, stream| {
            for _ in 0..1000 {
                served.try_send(head(stream, &[(":status", "103")], 0));
            }
        }),
        ("a frame on no stream", |served, _| {
            served.try_send(frame(kind::DATA, 0, 0, b"x"));
        }),
        ("a stream of its own", |served, _| {
            served.try_send(head(2, &[(":status", "200")], END_STREAM));
        }),
        ("a window that overflows", |served, stream| {
            let most = 0x7fff_ffff_u32.to_be_bytes();
            served.try_send(frame(kind::WINDOW_UPDATE, 0, stream, &most));
            served.try_send(frame(kind::WINDOW_UPDATE, 0, stream, &most));
        }),
        ("HTTP/1", |served, _| {
            served.try_send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }),
    ];
    for (what, answer) in answers {
        let origin = upstream(answer);
        let program = edge_to_origin(&origin);
        let mut visitor = Http2Visitor::connect(program.address());
        for _ in 0..2 {
            let response = visitor.get("/");
            assert_eq!((response.status(), response.reset), (502, None), "{what}");
        }
    }
}

#[test]
fn a_client_that_cancels_resets_its_stream_and_the_connection_stays() {
    let origin = upstream(|served, stream| {
        if stream > 1 {
            served.try_send(ok(stream));
        }
    });
    let route = format!("to = \"{}\"\nh2 = true", origin.address());
    let program = Program::configured(BYWAY, &config("workers = 1", &[&route]));
    let mut visitor = Http2Visitor::connect(program.address());
    let cancelled = visitor.head(&request("POST", "/"), false);
    visitor.data(cancelled, b"half", false);
    origin.wait_for_requests(1);
    visitor.reset_stream(cancelled, 8);
    let seen = origin.wait_for_requests(2);
    assert_eq!(seen[1].head, "RST_STREAM");
    assert_eq!(visitor.get("/").status(), 200);
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_node_that_drains_closes_idle_connections_and_ends() {
    let origin = upstream(|served, stream| {
        served.try_send(ok(stream));
    });
    let program = edge_to_origin(&origin);
    assert_eq!(Visitor::connect(program.address()).get("/").status(), 200);
    assert_eq!(program.stop().code, Some(0));
    origin.wait_for_ended(1);
}

#[test]
fn an_upgrade_to_an_upstream_of_http_2_alone_is_refused() {
    let origin = upstream(|served, stream| {
        served.try_send(ok(stream));
    });
    let program = edge_to_origin(&origin);
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    assert_eq!(
        Visitor::connect(program.address()).ask(upgrade).status(),
        502
    );
    assert!(origin.requests().is_empty());
}
