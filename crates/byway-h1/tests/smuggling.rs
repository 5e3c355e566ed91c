//! Smuggling: the known ways to make two parsers disagree on where a message ends, each refused.
//! Named after advisories of other programs. Every case runs at every split.

mod common;

use byway_head::{Framed, Limits, Malformed};
use common::{chunked, decode, framing, refused, refused_fields, request};

#[test]
fn cl_te_is_refused_in_either_order_cve_2026_2835() {
    for lines in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
        "Content-Length: 0\r\nTransfer-Encoding: chunked",
        "Content-Length: 4\r\nContent-Length: 4\r\nTransfer-Encoding: chunked",
        "Content-Length: 4\r\nTransfer-Encoding: identity",
        "Content-Length:\r\nTransfer-Encoding:",
        "content-length: 4\r\nTRANSFER-ENCODING: chunked",
    ] {
        assert_eq!(
            refused_fields(lines),
            Malformed::LengthAndCoding,
            "{lines:?}"
        );
    }
}

#[test]
fn transfer_encoding_on_http_1_0_is_refused_cve_2026_2835() {
    for connection in ["", "Connection: keep-alive\r\n"] {
        let head =
            format!("POST / HTTP/1.0\r\nHost: a\r\n{connection}Transfer-Encoding: chunked\r\n\r\n");
        assert_eq!(refused(head.as_bytes()), Malformed::CodingOnHttp10);
    }
}

#[test]
fn a_transfer_encoding_other_than_chunked_alone_is_refused() {
    for (value, class, status) in [
        ("gzip", "coding-unknown", 501),
        ("gzip, chunked", "coding-unknown", 501),
        ("identity", "coding-unknown", 501),
        ("xchunked", "coding-unknown", 501),
        ("chunke", "coding-unknown", 501),
        ("chunked;q=1", "coding-unknown", 501),
        ("chunked, gzip", "chunked-not-last", 400),
        ("chunked, identity", "chunked-not-last", 400),
        ("chunked, chunked", "chunked-repeated", 400),
        ("chunked, gzip, chunked", "chunked-repeated", 400),
        ("", "coding-invalid", 400),
        (",chunked", "coding-invalid", 400),
        ("chunked,", "coding-invalid", 400),
        ("\"chunked\"", "coding-invalid", 400),
        ("chun ked", "coding-invalid", 400),
        ("chunked\u{a0}", "coding-invalid", 400),
        ("\u{212a}chunked", "coding-invalid", 400),
    ] {
        let error = refused_fields(&format!("Transfer-Encoding: {value}"));
        assert_eq!(
            (error.class(), error.status()),
            (class, status),
            "{value:?}"
        );
    }
}

#[test]
fn white_space_that_hides_a_transfer_encoding_is_refused() {
    for (line, class) in [
        ("Transfer-Encoding : chunked", "space-before-colon"),
        ("Transfer-Encoding\t: chunked", "space-before-colon"),
        ("Transfer-Encoding: \x0bchunked", "value-byte"),
        ("Transfer-Encoding:\x0cchunked", "value-byte"),
        ("Transfer-Encoding:\r\n chunked", "obs-fold"),
        ("X: y\r\n Transfer-Encoding: chunked", "obs-fold"),
        ("X: y\nTransfer-Encoding: chunked", "bare-lf"),
        ("X: y\rTransfer-Encoding: chunked", "bare-cr"),
        ("Transfer\u{2010}Encoding: chunked", "name-byte"),
        ("\0Transfer-Encoding: chunked", "name-byte"),
    ] {
        assert_eq!(refused_fields(line).class(), class, "{line:?}");
    }
}

#[test]
fn several_transfer_encodings_are_refused() {
    for second in ["chunked", "identity", "x", ""] {
        let lines = format!("Transfer-Encoding: chunked\r\nTransfer-Encoding: {second}");
        assert_eq!(
            refused_fields(&lines),
            Malformed::CodingRepeated,
            "{second:?}"
        );
    }
}

#[test]
fn several_content_lengths_are_refused_even_if_equal() {
    for second in ["5", "6", "", "05"] {
        let lines = format!("Content-Length: 5\r\ncontent-length: {second}");
        assert_eq!(
            refused_fields(&lines),
            Malformed::LengthRepeated,
            "{second:?}"
        );
    }
}

#[test]
fn a_content_length_that_is_not_a_plain_number_is_refused() {
    for value in [
        "", "+5", "-5", "-0", "0x5", "5 5", "5, 5", "5,5", "5,", ",5", "5.0", "5e1", "5;", "five",
        "0b1", "5_0", "\u{664}", "'5'", "\"5\"",
    ] {
        assert_eq!(
            refused_fields(&format!("Content-Length: {value}")),
            Malformed::LengthInvalid,
            "{value:?}"
        );
    }
}

#[test]
fn an_empty_content_length_is_refused_cve_2023_40225() {
    assert_eq!(refused_fields("Content-Length:"), Malformed::LengthInvalid);
    assert_eq!(
        refused_fields("Content-Length: \t"),
        Malformed::LengthInvalid
    );
}

#[test]
fn a_content_length_that_overflows_is_refused() {
    for value in [
        "9223372036854775808",
        "18446744073709551616",
        "18446744073709551621",
        "99999999999999999999999999999999",
    ] {
        assert_eq!(
            refused_fields(&format!("Content-Length: {value}")),
            Malformed::LengthTooLarge,
            "{value}"
        );
    }
}

#[test]
fn an_empty_header_name_is_refused_and_not_the_end_of_the_head_cve_2023_25725() {
    assert_eq!(
        refused_fields(": x\r\nContent-Length: 5").class(),
        "name-empty"
    );
    assert_eq!(
        refused_fields(":\r\nTransfer-Encoding: chunked").class(),
        "name-empty"
    );
}

#[test]
fn a_header_name_too_long_for_small_integers_is_still_that_name_cve_2021_40346() {
    let lines = format!(
        "Content-Length0{}: 5\r\nContent-Length: 3\r\n",
        "a".repeat(256)
    );
    assert_eq!(framing(&lines), Framed::Length(3));
    let lines = format!("{}Content-Length: 5\r\n", "a".repeat(65_536 - 14));
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    assert_eq!(refused(head.as_bytes()).class(), "head-too-large");
}

#[test]
fn names_that_only_look_like_framing_are_not_framing() {
    for line in [
        "Content_Length: 5",
        "Content-Length-X: 5",
        "X-Content-Length: 5",
        "Transfer_Encoding: chunked",
    ] {
        assert_eq!(framing(&format!("{line}\r\n")), Framed::None, "{line}");
    }
}

#[test]
fn obs_fold_is_refused_and_never_joined() {
    for fold in [
        "Content-Length: 1\r\n 2",
        "X: y\r\n\tz",
        "X:\r\n z",
        "X: y\r\n \r\n",
    ] {
        assert_eq!(refused_fields(fold).class(), "obs-fold", "{fold:?}");
    }
}

#[test]
fn chunk_extensions_cannot_amplify_cve_2023_39326() {
    let mut body = Vec::new();
    for _ in 0..20 {
        body.extend_from_slice(format!("1;a={}\r\nx\r\n", "b".repeat(1_000)).as_bytes());
    }
    let error = decode(Framed::Chunked, &body, &Limits::default()).unwrap_err();
    assert_eq!(
        error,
        Malformed::ChunkExtensionsTooLong { limit: 16 * 1024 }
    );
}

#[test]
fn bare_lf_in_the_chunked_coding_is_refused() {
    for body in [
        "5\nhello\r\n0\r\n\r\n",
        "5;a\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "0\n\r\n",
        "0\r\nA: b\n\r\n",
        "0\r\n\n",
    ] {
        assert!(
            matches!(
                chunked(body.as_bytes()).map_err(|error| error.class()),
                Err("chunk-line-end" | "bare-lf")
            ),
            "{body:?}"
        );
    }
}

#[test]
fn a_newline_in_a_quoted_extension_is_refused() {
    for body in ["1;a=\"\r\n0\r\n\r\n\"", "1;a=\"\n\"\r\n", "1;\n0\r\n\r\n"] {
        assert!(chunked(body.as_bytes()).is_err(), "{body:?}");
    }
}

#[test]
fn a_chunk_size_that_overflows_is_refused() {
    for size in [
        "10000000000000000",
        "fffffffffffffffff",
        "8000000000000000",
        "000000000000000005",
    ] {
        assert_eq!(
            chunked(format!("{size}\r\nhello").as_bytes()),
            Err(Malformed::ChunkSizeTooLarge),
            "{size}"
        );
    }
}

#[test]
fn chunk_data_longer_than_its_size_is_refused() {
    assert_eq!(
        chunked(b"3\r\nhello\r\n0\r\n\r\n").unwrap_err().class(),
        "chunk-line-end"
    );
}

#[test]
fn a_length_or_coding_in_the_trailers_is_dropped_without_effect_on_the_framing() {
    let body =
        chunked(b"0\r\nContent-Length: 9\r\nTransfer-Encoding: x\r\nHost: b\r\n\r\nGET /").unwrap();
    assert!(body.trailers.is_empty());
    assert_eq!(body.len, Some(55));
}

#[test]
fn several_hosts_are_refused_even_if_equal() {
    for second in ["a", "b", ""] {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\nhost: {second}\r\n\r\n");
        assert_eq!(
            refused(head.as_bytes()),
            Malformed::HostRepeated,
            "{second:?}"
        );
    }
}

#[test]
fn a_missing_host_is_refused_for_every_target() {
    for start in ["GET /", "GET http://a/", "OPTIONS *", "CONNECT a:1"] {
        assert_eq!(
            refused(format!("{start} HTTP/1.1\r\n\r\n").as_bytes()),
            Malformed::HostMissing,
            "{start}"
        );
    }
}

#[test]
fn the_authority_of_an_absolute_target_wins_over_host() {
    let buf = b"GET http://real:81/x HTTP/1.1\r\nHost: other\r\n\r\n";
    assert_eq!(request(buf).view(buf).host(), Some(&b"real:81"[..]));
    let buf = b"CONNECT real:81 HTTP/1.1\r\nHost: other\r\n\r\n";
    assert_eq!(request(buf).view(buf).host(), Some(&b"real:81"[..]));
}

#[test]
fn an_invalid_host_is_refused_even_where_the_target_wins() {
    assert_eq!(
        refused(b"GET http://real/ HTTP/1.1\r\nHost: a/b\r\n\r\n"),
        Malformed::HostInvalid
    );
    assert_eq!(
        refused(b"GET http://real/ HTTP/1.1\r\nHost: a@b\r\n\r\n"),
        Malformed::HostInvalid
    );
}

#[test]
fn a_connect_target_is_exactly_host_and_port() {
    for target in [
        "a",
        "a:",
        "a:0",
        "a:65536",
        "/",
        "/a:1",
        "http://a:1/",
        "*",
        "u@a:1",
        ":1",
        "[::1]",
        "::1:1",
        "a:1/",
        "a:1?x",
        "a:1:2",
        "a:+1",
    ] {
        let head = format!("CONNECT {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(
            refused(head.as_bytes()),
            Malformed::ConnectTarget,
            "{target}"
        );
    }
    for target in ["a:1", "[::1]:443", "1.2.3.4:65535"] {
        let buf = format!("CONNECT {target} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes();
        assert_eq!(request(&buf).view(&buf).host(), Some(target.as_bytes()));
    }
}

#[test]
fn connect_with_a_body_is_refused() {
    for lines in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
        let head = format!("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n{lines}\r\n\r\n");
        assert_eq!(refused(head.as_bytes()), Malformed::ConnectBody, "{lines}");
    }
    let buf = b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(request(buf).view(buf).framing(), Framed::Length(0));
}

#[test]
fn an_alias_of_a_barred_trailer_is_barred_too() {
    for name in [
        "X_Forwarded_For",
        "x.forwarded.for",
        "X_Real_IP",
        "X_Request_Id",
        "Transfer_Encoding",
        "content.length",
        "Host",
        "Set_Cookie",
    ] {
        assert!(!byway_head::may_be_trailer(name.as_bytes()), "{name}");
    }
    for name in ["X_Sum", "x.sum", "X-Sum", "Content_Digest"] {
        assert!(byway_head::may_be_trailer(name.as_bytes()), "{name}");
    }
}

#[test]
fn options_for_a_whole_host_in_absolute_form_has_the_asterisk_as_path() {
    for (target, path) in [
        ("http://a", "*"),
        ("http://a:80", "*"),
        ("http://a/", "/"),
        ("http://a/x", "/x"),
    ] {
        let text = format!("OPTIONS {target} HTTP/1.1\r\nHost: b\r\n\r\n");
        let mut head = byway_h1::RequestParser::default();
        head.parse(text.as_bytes(), &Limits::default()).unwrap();
        assert_eq!(
            head.view(text.as_bytes()).path_and_query(),
            path.as_bytes(),
            "{target}"
        );
    }
}
