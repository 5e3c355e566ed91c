//! Response heads: the parsed parts of valid ones, the error for each violation, and where the body
//! ends. Every case runs at every split.

mod common;

use byway_h1::Parsed;
use byway_head::{Framed, Limits, Malformed, Version, is_hop_by_hop, reason_phrase};
use common::{parse_response, refused_response, response};

#[test]
fn a_plain_response_is_read_as_it_was_sent() {
    let buf = b"HTTP/1.1 404 Not \xe9\tFound\r\nSet-Cookie: a\r\nset-cookie: b\r\nConnection: x\r\n\r\nrest";
    let head = response(buf);
    let view = head.view(buf);
    assert_eq!(
        (view.version(), view.status(), view.reason()),
        (Version::Http11, 404, &b"Not \xe9\tFound"[..])
    );
    assert_eq!(
        view.fields_named("set-cookie").collect::<Vec<_>>(),
        [b"a", b"b"]
    );
    assert_eq!(view.field("Set-Cookie"), Some(&b"a"[..]));
    assert_eq!(view.connection_options().collect::<Vec<_>>(), [b"x"]);
    assert_eq!(view.fields().count(), 3);
}

#[test]
fn the_reason_may_be_empty_or_missing() {
    for line in ["HTTP/1.0 200 \r\n\r\n", "HTTP/1.0 200\r\n\r\n"] {
        let head = response(line.as_bytes());
        let view = head.view(line.as_bytes());
        assert_eq!(
            (view.version(), view.status(), view.reason()),
            (Version::Http10, 200, &b""[..])
        );
    }
}

#[test]
fn each_violation_in_a_status_line_has_its_error() {
    for (line, class) in [
        ("HTTP/1.1 200 OK\n", "bare-lf"),
        ("HTTP/1.1 200 O\rK\r\n", "bare-cr"),
        ("HTTP/1.1 200 O\0K\r\n", "reason-byte"),
        ("HTTP/1.1 20 OK\r\n", "status-code"),
        ("HTTP/1.1 2000 OK\r\n", "status-code"),
        ("HTTP/1.1 099 OK\r\n", "status-code"),
        ("HTTP/1.1 +20 OK\r\n", "status-code"),
        ("HTTP/1.1  200 OK\r\n", "status-code"),
        ("HTTP/1.1\t200 OK\r\n", "status-code"),
        ("HTTP/1.1 200\tOK\r\n", "status-code"),
        ("HTTP/1.1\r\n", "status-code"),
        ("http/1.1 200 OK\r\n", "version-invalid"),
        ("HTTP/1.10 200 OK\r\n", "status-code"),
        ("HTTP/11 200 OK\r\n", "version-invalid"),
        ("HTTP/2.0 200 OK\r\n", "version-unsupported"),
        ("ICY 200 OK\r\n", "version-invalid"),
        ("\r\n", "version-invalid"),
        (" HTTP/1.1 200 OK\r\n", "version-invalid"),
        ("SSH", "version-invalid"),
    ] {
        assert_eq!(refused_response(line.as_bytes()).class(), class, "{line:?}");
    }
}

#[test]
fn too_many_connection_options_are_refused_in_a_response_too() {
    let list = vec!["x"; 65].join(", ");
    let buf = format!("HTTP/1.1 200 OK\r\nConnection: {list}\r\n\r\n");
    assert_eq!(
        refused_response(buf.as_bytes()),
        Malformed::TooManyConnectionOptions { limit: 64 }
    );
}

#[test]
fn a_body_is_impossible_only_after_a_status_without_one() {
    for (status, fields, impossible) in [
        (204, "Content-Length: 5\r\n", true),
        (204, "Transfer-Encoding: chunked\r\n", true),
        (204, "Content-Length: x\r\n", true),
        (204, "Content-Length: 0\r\n", false),
        (204, "", false),
        (103, "Content-Length: 5\r\n", true),
        (100, "", false),
        (304, "Content-Length: 5\r\n", false),
        (200, "Content-Length: 5\r\n", false),
    ] {
        let buf = format!("HTTP/1.1 {status} X\r\n{fields}\r\n");
        let head = response(buf.as_bytes());
        assert_eq!(
            head.view(buf.as_bytes()).announces_impossible_body(),
            impossible,
            "{buf:?}"
        );
    }
}

#[test]
fn field_lines_of_responses_are_as_strict_as_those_of_requests() {
    for (line, class) in [
        ("A : b", "space-before-colon"),
        ("A: b\r\n c", "obs-fold"),
        ("A: b\nC: d", "bare-lf"),
        ("A: \0", "value-byte"),
        ("A", "colon-missing"),
        (": a", "name-empty"),
        (" A: b", "leading-whitespace"),
    ] {
        let head = format!("HTTP/1.1 200 OK\r\n{line}\r\n\r\n");
        assert_eq!(refused_response(head.as_bytes()).class(), class, "{line:?}");
    }
}

#[test]
fn a_head_without_end_is_refused_at_the_limit() {
    let limits = Limits {
        head_bytes: 24,
        fields: 1,
        ..Limits::default()
    };
    let long = b"HTTP/1.1 200 OK\r\nA: bbbbbbbbbbbbbb";
    assert_eq!(
        parse_response(long, &limits).unwrap_err(),
        Malformed::HeadTooLarge { limit: 24 }
    );
    let many = b"HTTP/1.1 200 \r\nA:\r\nB:\r\n";
    assert_eq!(
        parse_response(many, &limits).unwrap_err(),
        Malformed::TooManyFields { limit: 1 }
    );
}

#[test]
fn head_method_and_status_define_the_end_of_the_body() {
    for (method, status, lines, framed) in [
        ("GET", 200, "", Framed::UntilClose),
        ("GET", 200, "Content-Length: 5\r\n", Framed::Length(5)),
        ("GET", 200, "Content-Length: 0\r\n", Framed::Length(0)),
        (
            "GET",
            200,
            "Transfer-Encoding: chunked\r\n",
            Framed::Chunked,
        ),
        ("HEAD", 200, "Content-Length: 5\r\n", Framed::None),
        ("HEAD", 200, "Transfer-Encoding: chunked\r\n", Framed::None),
        ("HEAD", 200, "", Framed::None),
        ("GET", 100, "", Framed::None),
        ("GET", 101, "Upgrade: x\r\n", Framed::None),
        ("GET", 103, "Content-Length: 5\r\n", Framed::None),
        ("GET", 204, "Content-Length: 5\r\n", Framed::None),
        ("GET", 304, "Content-Length: 5\r\n", Framed::None),
        ("GET", 205, "Content-Length: 0\r\n", Framed::Length(0)),
        ("CONNECT", 200, "Content-Length: 5\r\n", Framed::None),
        (
            "CONNECT",
            200,
            "Transfer-Encoding: chunked\r\n",
            Framed::None,
        ),
        ("CONNECT", 407, "Content-Length: 5\r\n", Framed::Length(5)),
        ("CONNECT", 502, "", Framed::UntilClose),
        ("head", 200, "Content-Length: 5\r\n", Framed::Length(5)),
    ] {
        let buf = format!("HTTP/1.1 {status} \r\n{lines}\r\n").into_bytes();
        let head = response(&buf);
        assert_eq!(
            head.view(&buf).framing(method.as_bytes()),
            Ok(framed),
            "{method} {status} {lines:?}"
        );
    }
}

#[test]
fn a_response_without_one_length_is_refused_for_every_method() {
    for (lines, class) in [
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "length-and-coding",
        ),
        (
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "length-repeated",
        ),
        ("Content-Length: 5, 5\r\n", "length-invalid"),
        ("Content-Length:\r\n", "length-invalid"),
        ("Transfer-Encoding: gzip\r\n", "coding-unasked"),
        ("Transfer-Encoding: gzip, chunked\r\n", "coding-unasked"),
        (
            "Transfer-Encoding: chunked, chunked\r\n",
            "chunked-repeated",
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "coding-repeated",
        ),
    ] {
        let buf = format!("HTTP/1.1 200 OK\r\n{lines}\r\n").into_bytes();
        let head = response(&buf);
        for method in ["GET", "HEAD", "CONNECT"] {
            let error = head.view(&buf).framing(method.as_bytes()).unwrap_err();
            assert_eq!(
                (error.class(), error.status()),
                (class, 400),
                "{method} {lines:?}"
            );
        }
    }
    let old = b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(
        response(old).view(old).framing(b"GET"),
        Err(Malformed::CodingOnHttp10)
    );
}

#[test]
fn the_connection_is_kept_by_version_and_connection() {
    for (version, connection, keep) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.0", "", false),
        ("1.0", "Connection: keep-alive\r\n", true),
    ] {
        let buf = format!("HTTP/{version} 200 OK\r\n{connection}\r\n").into_bytes();
        assert_eq!(
            response(&buf).view(&buf).keep_alive(),
            keep,
            "{version} {connection:?}"
        );
    }
}

#[test]
fn an_interim_response_has_its_own_head() {
    let buf = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";
    let (mut head, parsed) = parse_response(buf, &Limits::default()).unwrap();
    assert_eq!(parsed, Parsed::Complete(25));
    head.clear();
    assert_eq!(
        head.parse(&buf[25..], &Limits::default()),
        Ok(Parsed::Complete(19))
    );
    assert_eq!(head.view(&buf[25..]).status(), 200);
}

#[test]
fn a_101_has_its_protocol() {
    let buf = b"HTTP/1.1 101 \r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(response(buf).view(buf).upgrade(), Some(&b"websocket"[..]));
}

#[test]
fn each_registered_status_has_its_phrase_and_others_have_none() {
    let phrases = [
        (200, "OK"),
        (101, "Switching Protocols"),
        (308, "Permanent Redirect"),
        (431, "Request Header Fields Too Large"),
    ];
    for (status, phrase) in phrases.into_iter().chain([
        (504, "Gateway Timeout"),
        (299, ""),
        (999, ""),
        (0, ""),
        (418, ""),
    ]) {
        assert_eq!(reason_phrase(status), phrase, "{status}");
    }
}

#[test]
fn the_fields_of_one_hop_are_known_in_any_case() {
    for name in [
        "Connection",
        "Keep-Alive",
        "Proxy-Connection",
        "Proxy-Authenticate",
        "Proxy-Authorization",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "Upgrade",
    ] {
        assert!(
            is_hop_by_hop(name.as_bytes()) && is_hop_by_hop(name.to_uppercase().as_bytes()),
            "{name}"
        );
    }
    for name in [
        "Host",
        "Content-Length",
        "Via",
        "Cookie",
        "T",
        "",
        "Trailers",
        "Sec-WebSocket-Key",
    ] {
        assert!(!is_hop_by_hop(name.as_bytes()), "{name}");
    }
}
