//! Writing: the encoded messages, and that ambiguous ones are never written.

use byway_h1::{HeadWriter, write};
use byway_head::{Field, Framed, HeadOut, Malformed};

#[test]
fn a_request_is_written_line_by_line() {
    let mut out = Vec::new();
    write::request_line(&mut out, b"GET", b"/a?b").unwrap();
    write::field(&mut out, b"Host", b"example.com").unwrap();
    write::field(&mut out, b"Empty", b"").unwrap();
    write::end_of_head(&mut out);
    assert_eq!(
        out,
        b"GET /a?b HTTP/1.1\r\nHost: example.com\r\nEmpty: \r\n\r\n"
    );
}

#[test]
fn a_status_line_is_written_with_or_without_a_reason() {
    let mut out = Vec::new();
    write::status_line(&mut out, 204, b"No Content").unwrap();
    write::status_line(&mut out, 999, b"").unwrap();
    assert_eq!(out, b"HTTP/1.1 204 No Content\r\nHTTP/1.1 999 \r\n");
}

#[test]
fn a_chunk_is_its_size_its_data_and_a_line_end() {
    for (len, prefix) in [
        (1, "1"),
        (9, "9"),
        (10, "a"),
        (16, "10"),
        (255, "ff"),
        (65_536, "10000"),
        (usize::MAX, "ffffffffffffffff"),
    ] {
        let mut out = Vec::new();
        write::chunk_prefix(&mut out, len);
        assert_eq!(out, format!("{prefix}\r\n").into_bytes());
    }
    assert_eq!(write::CHUNK_SUFFIX, b"\r\n");
}

#[test]
fn an_empty_chunk_is_not_written_because_it_would_end_the_body() {
    let mut out = Vec::new();
    write::chunk_prefix(&mut out, 0);
    assert_eq!(out, b"");
}

#[test]
fn the_last_chunk_carries_the_trailers() {
    let mut out = Vec::new();
    write::last_chunk(&mut out, []).unwrap();
    assert_eq!(out, b"0\r\n\r\n");
    out.clear();
    write::last_chunk(
        &mut out,
        [Field {
            name: b"A",
            value: b"b",
        }],
    )
    .unwrap();
    assert_eq!(out, b"0\r\nA: b\r\n\r\n");
}

#[test]
fn a_field_that_would_end_its_line_early_is_not_written() {
    for (name, value, class) in [
        (&b"A"[..], &b"b\r\nEvil: 1"[..], "value-byte"),
        (b"A", b"b\n", "value-byte"),
        (b"A", b"b\r", "value-byte"),
        (b"A", b"\0", "value-byte"),
        (b"A", b"\x7f", "value-byte"),
        (b"A\r\nB", b"", "name-byte"),
        (b"A:", b"", "name-byte"),
        (b"A ", b"", "name-byte"),
        (b":status", b"200", "name-byte"),
        (b"\xc3", b"", "name-byte"),
        (b"", b"a", "name-empty"),
    ] {
        let mut out = b"kept".to_vec();
        assert_eq!(
            write::field(&mut out, name, value).unwrap_err().class(),
            class
        );
        assert_eq!(out, b"kept");
        assert_eq!(
            write::last_chunk(
                &mut out,
                [
                    Field {
                        name: b"Ok",
                        value: b""
                    },
                    Field { name, value }
                ]
            )
            .unwrap_err()
            .class(),
            class
        );
        assert_eq!(out, b"kept");
    }
}

#[test]
fn a_start_line_that_would_end_early_is_not_written() {
    let mut out = b"kept".to_vec();
    for (method, target, class) in [
        (&b"GET /x"[..], &b"/"[..], "method-byte"),
        (b"GET\r\n", b"/", "method-byte"),
        (b"", b"/", "method-byte"),
        (b"GET", b"", "target-empty"),
        (b"GET", b"/ HTTP/1.1\r\nHost: evil\r\n\r\n", "target-byte"),
        (b"GET", b"/a b", "target-byte"),
        (b"GET", b"/\xff", "target-byte"),
    ] {
        assert_eq!(
            write::request_line(&mut out, method, target)
                .unwrap_err()
                .class(),
            class
        );
    }
    assert_eq!(
        write::status_line(&mut out, 99, b""),
        Err(Malformed::StatusCode { at: 0 })
    );
    assert_eq!(
        write::status_line(&mut out, 1000, b""),
        Err(Malformed::StatusCode { at: 0 })
    );
    assert_eq!(
        write::status_line(&mut out, 200, b"O\r\nK"),
        Err(Malformed::ReasonByte { at: 1, byte: b'\r' })
    );
    assert_eq!(out, b"kept");
}

#[test]
fn a_line_is_copied_or_rewritten_if_it_had_other_white_space() {
    let buf = b"GET / HTTP/1.1\r\nHost: a\r\nPlain: a value\r\nTight:x\r\nWide:  y \t\r\nEmpty:\r\nSpaced: \r\n\r\n";
    let mut head = byway_h1::RequestParser::default();
    assert!(matches!(
        head.parse(buf, &byway_head::Limits::default()),
        Ok(byway_h1::Parsed::Complete(_))
    ));
    let mut out = Vec::new();
    for line in head.view(buf).lines() {
        write::line(&mut out, line).unwrap();
    }
    let text = String::from_utf8(out).unwrap();
    assert_eq!(
        text,
        "Host: a\r\nPlain: a value\r\nTight: x\r\nWide: y\r\nEmpty: \r\nSpaced: \r\n"
    );
}

#[test]
fn a_list_is_one_field_and_an_invalid_element_writes_nothing() {
    let mut out = b"before".to_vec();
    write::list(&mut out, b"Via", [&b"1.1 a"[..], b"1.1 b"]).unwrap();
    assert_eq!(out, b"beforeVia: 1.1 a, 1.1 b\r\n");
    assert!(write::list(&mut out, b"Via", [&b"1.1 a"[..], b"b\r\nEvil: x"]).is_err());
    assert_eq!(out, b"beforeVia: 1.1 a, 1.1 b\r\n");
    write::list(&mut out, b"Via", []).unwrap();
    assert_eq!(out, b"beforeVia: 1.1 a, 1.1 b\r\n");
}

#[test]
fn a_content_length_is_written_in_full_for_every_size() {
    for length in [0, 9, 10, 1024, u64::MAX] {
        let mut out = Vec::new();
        write::content_length(&mut out, length);
        assert_eq!(out, format!("Content-Length: {length}\r\n").into_bytes());
    }
}

#[test]
fn a_head_in_neutral_parts_is_written_as_http_1() {
    let mut out = Vec::new();
    let mut head = HeadWriter(&mut out);
    head.request(b"GET", b"/a", b"example.com").unwrap();
    head.list(b"Via", [&b"1.0 a"[..], b"1.1 b"]).unwrap();
    head.framing(Framed::Length(3));
    head.upgrade(b"chat").unwrap();
    assert!(head.upgrade(b"chat\r\nX: 1").is_err());
    head.end();
    assert_eq!(
        out,
        b"GET /a HTTP/1.1\r\nHost: example.com\r\nVia: 1.0 a, 1.1 b\r\nContent-Length: 3\r\n\
          Connection: upgrade\r\nUpgrade: chat\r\n\r\n"
    );

    let mut out = Vec::new();
    let mut head = HeadWriter(&mut out);
    head.response(200, b"OK").unwrap();
    head.framing(Framed::Chunked);
    head.framing(Framed::None);
    head.framing(Framed::UntilClose);
    head.connection("close");
    head.end();
    assert_eq!(
        out,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    );
}
