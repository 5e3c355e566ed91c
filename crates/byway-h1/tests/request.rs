//! Request heads: the parsed parts of valid ones, and the error for each violation. Every case runs
//! at every split.

mod common;

use byway_h1::{Parsed, RequestParser};
use byway_head::{Authority, Framed, Limits, Malformed, TargetForm, Version};
use common::{framing, parse_request, refused, refused_fields, request, text};

#[test]
fn a_plain_request_is_read_as_it_was_sent() {
    let buf = b"GET /a/b?c=d HTTP/1.1\r\nHost: example.com:8080\r\nX-Two:\t one \r\nx-two:two\r\nEmpty:\r\n\r\nrest";
    let head = request(buf);
    let view = head.view(buf);
    assert_eq!(view.method(), b"GET");
    assert_eq!(view.target(), b"/a/b?c=d");
    assert_eq!(view.target_form(), TargetForm::Origin);
    assert_eq!(
        (view.path(), view.query()),
        (&b"/a/b"[..], Some(&b"c=d"[..]))
    );
    assert_eq!(view.version(), Version::Http11);
    assert_eq!(view.host(), Some(&b"example.com:8080"[..]));
    assert_eq!(view.framing(), Framed::None);
    let fields: Vec<_> = view
        .fields()
        .map(|f| (text(f.name), text(f.value)))
        .collect();
    let sent = [
        ("Host", "example.com:8080"),
        ("X-Two", "one"),
        ("x-two", "two"),
        ("Empty", ""),
    ];
    assert_eq!(fields, sent.map(|(n, v)| (n.to_owned(), v.to_owned())));
    assert_eq!(view.fields().len(), 4);
    assert_eq!(view.field("x-TWO"), Some(&b"one"[..]));
    assert_eq!(
        view.fields_named("X-TWO").collect::<Vec<_>>(),
        [b"one", b"two"]
    );
    assert_eq!(view.field("three"), None);
}

#[test]
fn the_head_ends_where_the_body_starts() {
    let buf = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbody";
    let (_, parsed) = parse_request(buf, &Limits::default()).unwrap();
    assert_eq!(parsed, Parsed::Complete(buf.len() - 4));
}

#[test]
fn a_complete_head_stays_complete() {
    let buf = b"GET / HTTP/1.0\r\n\r\n";
    let mut head = RequestParser::default();
    assert_eq!(
        head.parse(buf, &Limits::default()),
        Ok(Parsed::Complete(buf.len()))
    );
    assert_eq!(
        head.parse(buf, &Limits::default()),
        Ok(Parsed::Complete(buf.len()))
    );
}

#[test]
fn a_cleared_index_reads_the_next_request_from_its_own_start() {
    let first = b"POST /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 9\r\n\r\n";
    let second = b"GET /2 HTTP/1.0\r\n\r\n";
    let mut head = request(first);
    head.clear();
    assert_eq!(
        head.parse(second, &Limits::default()),
        Ok(Parsed::Complete(second.len()))
    );
    let view = head.view(second);
    assert_eq!(
        (view.path(), view.framing(), view.host()),
        (&b"/2"[..], Framed::None, None)
    );
    assert_eq!(view.fields().count(), 0);
}

#[test]
fn a_view_of_a_buffer_that_is_too_short_is_empty_and_does_not_panic() {
    let head = request(b"GET /abc HTTP/1.1\r\nHost: a\r\n\r\n");
    let view = head.view(b"GET");
    assert_eq!(
        (view.method(), view.target(), view.path()),
        (&b"GET"[..], &b""[..], &b""[..])
    );
    assert_eq!(view.fields().count(), 1);
}

#[test]
fn two_empty_lines_before_a_request_line_are_skipped() {
    for lead in ["\r\n", "\r\n\r\n"] {
        let buf = format!("{lead}GET /x HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes();
        assert_eq!(request(&buf).view(&buf).path(), b"/x");
    }
}

#[test]
fn three_empty_lines_before_a_request_line_are_refused() {
    assert_eq!(
        refused(b"\r\n\r\n\r\nGET / HTTP/1.1\r\n"),
        Malformed::EmptyLines { at: 4 }
    );
}

#[test]
fn an_invalid_start_line_is_refused_before_it_ends() {
    for (start, class) in [
        (&b"\x16\x03\x01\x02"[..], "method-byte"),
        (b" GET", "method-byte"),
        (b"GET\t/", "method-byte"),
        (b"G\xc3\x89T", "method-byte"),
        (b"GE\rT", "method-byte"),
        (b"GET\r", "method-byte"),
        (b"\rGET", "bare-cr"),
    ] {
        assert_eq!(refused(start).class(), class, "{}", start.escape_ascii());
    }
    assert_eq!(
        refused("M".repeat(65).as_bytes()),
        Malformed::MethodTooLong { limit: 64 }
    );
}

#[test]
fn each_violation_in_a_request_line_has_its_error() {
    for (line, class) in [
        ("GET / HTTP/1.1\n", "bare-lf"),
        ("\n", "bare-lf"),
        ("GET /\n", "bare-lf"),
        ("GET /\r\n", "version-missing"),
        ("GET  / HTTP/1.1\r\n", "target-empty"),
        ("GET  HTTP/1.1\r\n", "target-empty"),
        ("GET /  HTTP/1.1\r\n", "extra-space"),
        ("GET / HTTP/1.1 \r\n", "extra-space"),
        ("GET /a b HTTP/1.1\r\n", "extra-space"),
        ("GET /a\tb HTTP/1.1\r\n", "target-byte"),
        ("GET /a#b HTTP/1.1\r\n", "target-byte"),
        ("GET /\u{e9} HTTP/1.1\r\n", "target-byte"),
        ("GET /a\0b HTTP/1.1\r\n", "target-byte"),
        ("GET /a\rb HTTP/1.1\r\n", "target-byte"),
        ("GET /\x7f HTTP/1.1\r\n", "target-byte"),
        ("GET / http/1.1\r\n", "version-invalid"),
        ("GET / HTTP/1.10\r\n", "version-invalid"),
        ("GET / HTTP/1\r\n", "version-invalid"),
        ("GET / HTTP/1.1\r\r\n", "version-invalid"),
        ("GET / HTTP/ 1.1\r\n", "extra-space"),
        ("GET / \r\n", "version-invalid"),
        ("GET / HTTP/1.2\r\n", "version-unsupported"),
        ("GET / HTTP/0.9\r\n", "version-unsupported"),
        ("PRI * HTTP/2.0\r\n", "version-unsupported"),
    ] {
        assert_eq!(refused(line.as_bytes()).class(), class, "{line:?}");
    }
}

#[test]
fn each_violation_in_a_field_line_has_its_error() {
    for (line, class) in [
        ("A: b\nC: d", "bare-lf"),
        ("A: b\rC: d", "bare-cr"),
        ("A: b\r", "bare-cr"),
        ("\rA: b", "bare-cr"),
        ("A: b\r\n c", "obs-fold"),
        ("A: b\r\n\tc", "obs-fold"),
        ("A: b\r\n \r\nC: d", "obs-fold"),
        ("A: b\0", "value-byte"),
        ("A: \x01b", "value-byte"),
        ("A: b\x1b", "value-byte"),
        ("A: b\x7f", "value-byte"),
        ("A: b\x0bc", "value-byte"),
        ("A : b", "space-before-colon"),
        ("A\t: b", "space-before-colon"),
        (": b", "name-empty"),
        (":", "name-empty"),
        ("A", "colon-missing"),
        ("A b", "colon-missing"),
        ("A b: c", "name-byte"),
        ("A\0: b", "name-byte"),
        ("A\r: b", "bare-cr"),
        ("A@: b", "name-byte"),
        ("\u{e9}: b", "name-byte"),
        ("A(: b", "name-byte"),
    ] {
        assert_eq!(refused_fields(line).class(), class, "{line:?}");
    }
}

#[test]
fn white_space_before_the_first_field_is_refused() {
    assert_eq!(
        refused(b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
        Malformed::LeadingWhitespace { at: 16 }
    );
    assert_eq!(
        refused(b"GET / HTTP/1.1\r\n\tHost: a\r\n\r\n"),
        Malformed::LeadingWhitespace { at: 16 }
    );
}

#[test]
fn the_error_has_the_position_of_the_byte() {
    assert_eq!(
        refused(b"GET /ab\x01 HTTP/1.1\r\n"),
        Malformed::TargetByte { at: 7, byte: 1 }
    );
    assert_eq!(
        refused(b"GET / HTTP/1.1\r\nA: b\0\r\n"),
        Malformed::ValueByte { at: 20, byte: 0 }
    );
    assert_eq!(
        refused(b"GET / HTTP/1.1\r\nA: b\n"),
        Malformed::BareLf { at: 20 }
    );
    assert_eq!(
        refused(b"GET / HTTP/1.1\r\nA: b\0\r\n").to_string(),
        "byte 20: 0x00 is not allowed in a field value"
    );
}

#[test]
fn tabs_and_high_bytes_are_allowed_in_values() {
    let buf = b"GET / HTTP/1.1\r\nHost: a\r\nX: \tone\ttwo \xff\xe9\t\r\n\r\n";
    assert_eq!(
        request(buf).view(buf).field("x"),
        Some(&b"one\ttwo \xff\xe9"[..])
    );
}

#[test]
fn heads_at_a_limit_are_accepted_and_heads_over_it_are_refused() {
    let buf = b"GET /1234 HTTP/1.1\r\nHost: a\r\nA: b\r\n\r\n";
    let exact = Limits {
        head_bytes: buf.len(),
        fields: 2,
        target_bytes: 5,
        ..Limits::default()
    };
    assert!(matches!(
        parse_request(buf, &exact),
        Ok((_, Parsed::Complete(_)))
    ));
    for (limits, error) in [
        (
            Limits {
                head_bytes: buf.len() - 1,
                ..exact
            },
            Malformed::HeadTooLarge {
                limit: buf.len() - 1,
            },
        ),
        (
            Limits { fields: 1, ..exact },
            Malformed::TooManyFields { limit: 1 },
        ),
        (
            Limits {
                target_bytes: 4,
                ..exact
            },
            Malformed::TargetTooLong { limit: 4 },
        ),
    ] {
        assert_eq!(parse_request(buf, &limits).unwrap_err(), error);
    }
}

#[test]
fn connection_options_are_limited_over_all_connection_fields_together() {
    let head = |fields: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes();
    let list = |n: usize| vec!["x"; n].join(",");
    for fields in [
        format!("Connection: {}\r\n", list(64)),
        format!(
            "Connection: {}\r\nX: y\r\nCONNECTION: {}\r\n",
            list(60),
            list(4)
        ),
        format!("Connection: x{}\r\n", ",".repeat(63)),
        "Connection: close\r\n".repeat(64),
        format!("Keep-Alive: {}\r\nTE: {}\r\n", list(1000), list(1000)),
    ] {
        assert!(
            matches!(
                parse_request(&head(&fields), &Limits::default()),
                Ok((_, Parsed::Complete(_)))
            ),
            "{fields}"
        );
    }
    let error = Malformed::TooManyConnectionOptions { limit: 64 };
    assert_eq!(
        (error.status(), error.class()),
        (400, "too-many-connection-options")
    );
    for fields in [
        format!("Connection: {}\r\n", list(65)),
        format!(
            "Connection: {}\r\nX: y\r\nCONNECTION: {}\r\n",
            list(60),
            list(5)
        ),
        format!("Connection: x{}\r\n", ",".repeat(65)),
        format!("Connection: {}\r\n", ",".repeat(65)),
        "Connection: close\r\n".repeat(65),
    ] {
        assert_eq!(
            parse_request(&head(&fields), &Limits::default()).unwrap_err(),
            error,
            "{fields}"
        );
    }
}

#[test]
fn a_target_without_end_is_refused_before_its_line_ends() {
    let limits = Limits {
        target_bytes: 8,
        ..Limits::default()
    };
    assert_eq!(
        parse_request(b"GET /12345678", &limits)
            .unwrap_err()
            .status(),
        414
    );
}

#[test]
fn a_head_without_end_is_refused_at_the_limit() {
    let limits = Limits {
        head_bytes: 32,
        ..Limits::default()
    };
    let error = parse_request(
        b"GET / HTTP/1.1\r\nA: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        &limits,
    )
    .unwrap_err();
    assert_eq!((error.status(), error.class()), (431, "head-too-large"));
}

#[test]
fn each_kind_of_refusal_has_its_status() {
    for (head, status) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/3.0\r\n", 505),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
            501,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            501,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n",
            501,
        ),
    ] {
        assert_eq!(refused(head.as_bytes()).status(), status, "{head:?}");
    }
}

#[test]
fn a_length_is_one_plain_decimal_number() {
    for (line, framed) in [
        ("", Framed::None),
        ("Content-Length: 0\r\n", Framed::Length(0)),
        ("content-length:12 \r\n", Framed::Length(12)),
        (
            "CONTENT-LENGTH: 9223372036854775807\r\n",
            Framed::Length(i64::MAX as u64),
        ),
        ("Transfer-Encoding: chunked\r\n", Framed::Chunked),
        ("transfer-encoding:\tCHUNKED\r\n", Framed::Chunked),
    ] {
        assert_eq!(framing(line), framed, "{line:?}");
    }
}

#[test]
fn a_target_has_its_form() {
    let absolute = |authority, path_and_query| TargetForm::Absolute {
        scheme: b"HTTP",
        authority,
        path_and_query,
    };
    for (line, form, path, query) in [
        ("GET //a HTTP/1.1", TargetForm::Origin, "//a", None),
        ("GET /? HTTP/1.1", TargetForm::Origin, "/", Some("")),
        ("GET HTTP://b HTTP/1.1", absolute(b"b", b"/"), "/", None),
        (
            "GET HTTP://b:1/x?y HTTP/1.1",
            absolute(b"b:1", b"/x?y"),
            "/x",
            Some("y"),
        ),
        (
            "GET HTTP://[::1]:1/ HTTP/1.1",
            absolute(b"[::1]:1", b"/"),
            "/",
            None,
        ),
        ("OPTIONS * HTTP/1.1", TargetForm::Asterisk, "*", None),
        ("CONNECT b:443 HTTP/1.1", TargetForm::Authority, "", None),
    ] {
        let buf = format!("{line}\r\nHost: b\r\n\r\n").into_bytes();
        let head = request(&buf);
        let view = head.view(&buf);
        assert_eq!(view.target_form(), form, "{line}");
        assert_eq!(
            (text(view.path()), view.query().map(text)),
            (path.to_owned(), query.map(str::to_owned)),
            "{line}"
        );
    }
}

#[test]
fn a_target_without_a_valid_form_is_refused() {
    for (start, class) in [
        ("GET a", "target-form"),
        ("GET ?a", "target-form"),
        ("GET mailto:a", "target-form"),
        ("GET http:/a", "target-form"),
        ("GET http://", "target-form"),
        ("GET http:///x", "target-form"),
        ("GET http://a?b", "target-form"),
        ("GET http://u@a/", "target-form"),
        ("GET http://u:p@a/", "target-form"),
        ("GET http://a:99999/", "target-form"),
        ("GET 1http://a/", "target-form"),
        ("GET ://a/", "target-form"),
        ("GET a:80", "target-form"),
        ("GET *", "asterisk-target"),
        ("OPTIONS *x", "target-form"),
        ("options *", "asterisk-target"),
    ] {
        let head = format!("{start} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(refused(head.as_bytes()).class(), class, "{start}");
    }
}

#[test]
fn a_host_is_a_name_or_an_address_with_an_optional_port() {
    for host in [
        "a",
        "a:1",
        "A.b-c_d~e",
        "a:65535",
        "a:00080",
        "127.0.0.1:1",
        "[::1]",
        "[::ffff:1.2.3.4]:8",
        "%41",
        "a!$&'()*+,;=b",
    ] {
        let buf = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes();
        assert_eq!(request(&buf).view(&buf).host(), Some(host.as_bytes()));
        assert!(Authority::parse(host.as_bytes()).is_some());
    }
    assert_eq!(
        Authority::parse(b"[::1]:80"),
        Some(Authority {
            host: b"[::1]",
            port: Some(80)
        })
    );
    assert_eq!(
        Authority::parse(b"a"),
        Some(Authority {
            host: b"a",
            port: None
        })
    );
}

#[test]
fn an_invalid_host_is_refused() {
    for host in [
        "",
        ":80",
        "a:",
        "a:b",
        "a:65536",
        "a:000080",
        "a:+1",
        "a b",
        "a/b",
        "a?b",
        "a@b",
        "u:p@b",
        "a:1:2",
        "::1",
        "[::1",
        "[]",
        "[::1]x",
        "[::1]80",
        "[fe80::1%25eth0]",
        "[v1.a]",
        "[1.2.3.4]",
        "%4",
        "%zz",
        "a\\b",
        "a<b",
        "h\u{e9}",
        "\"a\"",
    ] {
        let error = refused(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
        assert_eq!(error, Malformed::HostInvalid, "{host:?}");
    }
}

#[test]
fn an_http10_request_needs_no_host_but_must_not_have_two() {
    let buf = b"GET / HTTP/1.0\r\n\r\n";
    assert_eq!(request(buf).view(buf).host(), None);
    assert_eq!(
        refused(b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"),
        Malformed::HostRepeated
    );
}

#[test]
fn the_connection_is_kept_by_version_and_connection() {
    for (version, connection, keep) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: CLOSE\r\n", false),
        ("1.1", "Connection: keep-alive\r\n", true),
        ("1.1", "Connection: keep-alive, close\r\n", false),
        ("1.1", "Connection: x, ,Close ,y\r\n", false),
        ("1.1", "Connection: x\r\nConnection: close\r\n", false),
        ("1.1", "Connection: closed\r\n", true),
        ("1.1", "Proxy-Connection: close\r\n", true),
        ("1.0", "", false),
        ("1.0", "Connection: close\r\n", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
        ("1.0", "Proxy-Connection: keep-alive\r\n", false),
    ] {
        let buf = format!("GET / HTTP/{version}\r\nHost: a\r\n{connection}\r\n").into_bytes();
        assert_eq!(
            request(&buf).view(&buf).keep_alive(),
            keep,
            "{version} {connection:?}"
        );
    }
}

#[test]
fn connection_options_are_collected_from_all_connection_fields() {
    let buf = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: ,a , B,,\r\nX: y\r\nconnection:c\r\nConnection:\r\n\r\n";
    let head = request(buf);
    assert_eq!(
        head.view(buf).connection_options().collect::<Vec<_>>(),
        [b"a", b"B", b"c"]
    );
}

#[test]
fn continue_is_expected_only_in_http11_with_the_field() {
    for (version, line, expects) in [
        ("1.1", "Expect: 100-continue\r\n", true),
        ("1.1", "expect: 100-Continue\r\n", true),
        ("1.1", "Expect: x\r\n", false),
        ("1.1", "", false),
        ("1.0", "Expect: 100-continue\r\n", false),
    ] {
        let buf = format!("POST / HTTP/{version}\r\nHost: a\r\n{line}\r\n").into_bytes();
        assert_eq!(
            request(&buf).view(&buf).expects_continue(),
            expects,
            "{version} {line:?}"
        );
    }
}

#[test]
fn an_upgrade_counts_only_if_connection_lists_it() {
    for (version, lines, upgrade) in [
        (
            "1.1",
            "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n",
            Some("websocket"),
        ),
        ("1.1", "Upgrade: websocket\r\n", None),
        ("1.1", "Connection: upgrade\r\n", None),
        ("1.0", "Connection: upgrade\r\nUpgrade: websocket\r\n", None),
    ] {
        let buf = format!("GET / HTTP/{version}\r\nHost: a\r\n{lines}\r\n").into_bytes();
        assert_eq!(
            request(&buf).view(&buf).upgrade().map(text).as_deref(),
            upgrade,
            "{version} {lines:?}"
        );
    }
}

#[test]
fn printing_a_request_does_not_print_values() {
    let buf = b"GET / HTTP/1.1\r\nHost: a\r\nCookie: secret\r\n\r\n";
    let printed = format!("{:?}", request(buf).view(buf));
    assert!(printed.contains("Cookie") && !printed.contains("secret"));
}
