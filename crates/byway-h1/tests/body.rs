//! Bodies: the decoded data, and the error for each violation of the chunked coding. Every case
//! runs at every split.

mod common;

use byway_h1::{BodyDecoder, Step, Truncated};
use byway_head::{Framed, Limits, Malformed, may_be_trailer};
use common::{chunked, decode};

fn refused(body: &str) -> &'static str {
    match chunked(body.as_bytes()) {
        Err(error) => error.class(),
        Ok(body) => panic!("{body:?}"),
    }
}

#[test]
fn no_body_and_an_empty_body_are_done_at_once_and_consume_nothing() {
    for framed in [Framed::None, Framed::Length(0)] {
        let mut decoder = BodyDecoder::new(framed, &Limits::default());
        assert!(decoder.is_done());
        assert_eq!((decoder.remaining(), decoder.eof()), (Some(0), Ok(())));
        assert_eq!(decoder.step(b"GET / HTTP/1.1"), Ok(Step::End(0)));
    }
}

#[test]
fn a_length_takes_exactly_its_bytes() {
    let body = decode(Framed::Length(5), b"helloGET /", &Limits::default()).unwrap();
    assert_eq!((body.data, body.len), (b"hello".to_vec(), Some(5)));
}

#[test]
fn a_truncated_length_reports_how_much_is_missing() {
    let mut decoder = BodyDecoder::new(Framed::Length(5), &Limits::default());
    assert_eq!(decoder.step(b"he"), Ok(Step::Data(2)));
    decoder.taken(2);
    assert_eq!(decoder.step(b""), Ok(Step::More));
    assert_eq!(decoder.remaining(), Some(3));
    assert_eq!(decoder.eof(), Err(Truncated { missing: Some(3) }));
    assert!(!decoder.is_done());
}

#[test]
fn a_body_until_close_ends_with_the_connection() {
    let mut decoder = BodyDecoder::new(Framed::UntilClose, &Limits::default());
    assert_eq!(decoder.step(b"abc"), Ok(Step::Data(3)));
    decoder.taken(3);
    assert_eq!((decoder.remaining(), decoder.is_done()), (None, false));
    assert_eq!(decoder.eof(), Ok(()));
    assert_eq!(
        (decoder.step(b""), decoder.remaining()),
        (Ok(Step::End(0)), Some(0))
    );
    assert!(decoder.is_done());
}

#[test]
fn taking_a_part_of_the_data_leaves_the_rest() {
    let mut decoder = BodyDecoder::new(Framed::Chunked, &Limits::default());
    assert_eq!(decoder.step(b"5\r\nhello\r\n"), Ok(Step::Skip(3)));
    assert_eq!(decoder.step(b"hello\r\n"), Ok(Step::Data(5)));
    assert_eq!(decoder.step(b"hello\r\n"), Ok(Step::Data(5)));
    decoder.taken(2);
    assert_eq!(decoder.step(b"llo\r\n"), Ok(Step::Data(3)));
    decoder.taken(3);
    assert_eq!(decoder.step(b"\r\n"), Ok(Step::Skip(2)));
    assert_eq!(decoder.step(b""), Ok(Step::More));
}

#[test]
fn taking_more_than_the_data_takes_all_without_overflow() {
    for framed in [Framed::Length(3), Framed::Chunked] {
        let mut decoder = BodyDecoder::new(framed, &Limits::default());
        while let Ok(Step::Skip(_)) = decoder.step(b"3\r\n") {}
        decoder.taken(usize::MAX);
        assert!(decoder.remaining().is_none_or(|left| left == 0));
    }
}

#[test]
fn chunks_decode_to_their_data_and_end_before_the_next_message() {
    for (sent, data, len) in [
        ("0\r\n\r\n", "", 5),
        ("5\r\nhello\r\n0\r\n\r\nGET / ", "hello", 15),
        (
            "a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n",
            "01234567890123456789",
            35,
        ),
        ("0000000000000001\r\nx\r\n0000\r\n\r\n", "x", 29),
        ("2\r\n\r\n\r\n0\r\n\r\n0\r\n\r\n", "\r\n", 12),
        ("1;a\r\nx\r\n0\r\n\r\n", "x", 13),
        (
            "1 ;\ta =\tb ;c=\"d; \\\" \t\u{e9}\";e\r\nx\r\n0;z\r\n\r\n",
            "x",
            38,
        ),
    ] {
        let body = chunked(sent.as_bytes()).unwrap();
        assert_eq!(
            (body.data, body.len),
            (data.as_bytes().to_vec(), Some(len)),
            "{sent:?}"
        );
    }
}

#[test]
fn an_invalid_chunk_size_is_refused() {
    for (body, class) in [
        ("\r\n", "chunk-size-byte"),
        ("+5\r\n", "chunk-size-byte"),
        ("-1\r\n", "chunk-size-byte"),
        ("0x5\r\n", "chunk-size-byte"),
        (" 5\r\n", "chunk-size-byte"),
        ("5_0\r\n", "chunk-size-byte"),
        ("5g\r\n", "chunk-size-byte"),
        ("5,5\r\n", "chunk-size-byte"),
        (";a\r\n", "chunk-size-byte"),
        ("\n", "chunk-size-byte"),
        ("5\0\r\n", "chunk-size-byte"),
        ("5 \r\n", "chunk-extension-byte"),
        ("5 5\r\n", "chunk-extension-byte"),
        ("00000000000000001\r\n", "chunk-size-too-large"),
        ("8000000000000000\r\n", "chunk-size-too-large"),
        ("ffffffffffffffff\r\n", "chunk-size-too-large"),
        ("10000000000000005\r\n", "chunk-size-too-large"),
    ] {
        assert_eq!(refused(body), class, "{body:?}");
    }
}

#[test]
fn the_largest_chunk_size_is_read_whole() {
    let mut decoder = BodyDecoder::new(Framed::Chunked, &Limits::default());
    assert_eq!(decoder.step(b"7fffffffffffffff\r\nx"), Ok(Step::Skip(18)));
    assert_eq!(decoder.step(b"x"), Ok(Step::Data(1)));
    assert_eq!(decoder.remaining(), None);
}

#[test]
fn a_line_of_the_chunked_coding_that_does_not_end_with_crlf_is_refused() {
    for (body, class) in [
        ("5\nhello", "chunk-line-end"),
        ("5\rhello", "chunk-line-end"),
        ("5\r\r\n", "chunk-line-end"),
        ("5;a\nhello", "chunk-line-end"),
        ("5;a=\"\n\"", "chunk-line-end"),
        ("5;a\rb\r\n", "chunk-line-end"),
        ("5\r\nhello\n", "chunk-line-end"),
        ("5\r\nhello\r0", "chunk-line-end"),
        ("5\r\nhelloX\r\n", "chunk-line-end"),
        ("5\r\nhello0\r\n\r\n", "chunk-line-end"),
        ("0\n\n", "chunk-line-end"),
        ("0\r\n\r0", "chunk-line-end"),
        ("0\r\n\n", "bare-lf"),
    ] {
        assert_eq!(refused(body), class, "{body:?}");
    }
}

#[test]
fn an_invalid_extension_is_refused() {
    for body in [
        "5;\r\n",
        "5;=\r\n",
        "5;a=\r\n",
        "5;a=;\r\n",
        "5;;a\r\n",
        "5;a b\r\n",
        "5;a=b c\r\n",
        "5;a=\"b\r\n",
        "5;a=\"b\"c\r\n",
        "5;a\0\r\n",
        "5;a=\"\0\"\r\n",
        "5;a=\"\\\0\"\r\n",
        "5;a \r\n",
        "5;a=b \r\n",
        "5; \r\n",
        "5;a=\"b\r c\"\r\n",
        "5;a\u{e9}\r\n",
    ] {
        assert_eq!(refused(body), "chunk-extension-byte", "{body:?}");
    }
}

#[test]
fn extensions_are_counted_over_the_whole_message() {
    let limits = Limits {
        chunk_extension_bytes: 4,
        ..Limits::default()
    };
    assert!(
        decode(
            Framed::Chunked,
            b"1;a\r\nx\r\n1;a\r\nx\r\n0\r\n\r\n",
            &limits
        )
        .is_ok()
    );
    let error = decode(
        Framed::Chunked,
        b"1;a\r\nx\r\n1;ab\r\nx\r\n0\r\n\r\n",
        &limits,
    )
    .unwrap_err();
    assert_eq!(error, Malformed::ChunkExtensionsTooLong { limit: 4 });
}

#[test]
fn trailers_are_read_like_fields_and_belong_to_the_message() {
    let sent = b"1\r\nx\r\n0\r\nGrpc-Status: 0 \r\nX-Sum:\tabc\r\n\r\nGET /";
    let body = chunked(sent).unwrap();
    assert_eq!(body.len, Some(sent.len() - 5));
    let trailers =
        [("Grpc-Status", "0"), ("X-Sum", "abc")].map(|(n, v)| (n.to_owned(), v.to_owned()));
    assert_eq!(body.trailers, trailers);
}

#[test]
fn the_end_step_covers_the_trailer_section_and_comes_once() {
    let mut decoder = BodyDecoder::new(Framed::Chunked, &Limits::default());
    assert_eq!(decoder.step(b"0\r\nA: b\r\n\r\nrest"), Ok(Step::Skip(3)));
    assert_eq!(decoder.trailers(b"A: b\r\n\r\nrest").count(), 0);
    assert_eq!(decoder.step(b"A: b\r\n\r\nrest"), Ok(Step::End(8)));
    assert_eq!(decoder.trailers(b"A: b\r\n\r\nrest").count(), 1);
    assert_eq!(decoder.step(b"rest"), Ok(Step::End(0)));
}

#[test]
fn trailers_that_must_not_be_trailers_are_dropped() {
    let names = [
        "Transfer-Encoding",
        "Content-Length",
        "Host",
        "Authorization",
        "Proxy-Authorization",
        "Set-Cookie",
        "Cookie",
        "Content-Type",
        "Content-Encoding",
        "Content-Range",
        "Trailer",
        "TE",
        "Connection",
        "If-Match",
        "Cache-Control",
        "X-Forwarded-For",
        "Forwarded",
        "X-Real-IP",
        "X-Client-IP",
        "X-Request-Id",
        "Location",
    ];
    for name in names {
        let body =
            chunked(format!("0\r\n{name}: 1\r\nKept: 2\r\n{name}: 3\r\n\r\n").as_bytes()).unwrap();
        assert_eq!(
            body.trailers,
            [("Kept".to_owned(), "2".to_owned())],
            "{name}"
        );
        assert!(!may_be_trailer(name.to_uppercase().as_bytes()), "{name}");
    }
    for name in [
        "Grpc-Status",
        "ETag",
        "Content-Digest",
        "Server-Timing",
        "X-Amz-Checksum-Crc32",
    ] {
        assert!(may_be_trailer(name.as_bytes()), "{name}");
    }
}

#[test]
fn invalid_trailers_are_refused_like_fields() {
    for (line, class) in [
        ("A : b", "space-before-colon"),
        (" A: b", "leading-whitespace"),
        ("A: b\r\n c: d", "obs-fold"),
        ("A: b\nC: d", "bare-lf"),
        ("A: \0", "value-byte"),
        ("A", "colon-missing"),
        (": a", "name-empty"),
    ] {
        assert_eq!(refused(&format!("0\r\n{line}\r\n\r\n")), class, "{line:?}");
    }
}

#[test]
fn a_trailer_section_has_the_limits_of_a_head() {
    let limits = Limits {
        head_bytes: 12,
        fields: 2,
        ..Limits::default()
    };
    assert!(
        decode(
            Framed::Chunked,
            b"0\r\nA: b\r\nC:\r\n\r\n",
            &Limits {
                head_bytes: 13,
                ..limits
            }
        )
        .is_ok()
    );
    for (body, error) in [
        (
            &b"0\r\nA: b\r\nC: d\r\n\r\n"[..],
            Malformed::TrailersTooLarge { limit: 12 },
        ),
        (
            b"0\r\nA: bbbbbbbbbbbbbbbbbbbbbb",
            Malformed::TrailersTooLarge { limit: 12 },
        ),
        (
            b"0\r\nA:\r\nB:\r\nC:\r\n",
            Malformed::TooManyFields { limit: 2 },
        ),
    ] {
        assert_eq!(decode(Framed::Chunked, body, &limits).unwrap_err(), error);
        assert_eq!(error.status(), 431);
    }
}

#[test]
fn a_chunked_body_that_ends_early_is_truncated() {
    let sent = b"5;a=b\r\nhello\r\n0\r\nA: b\r\n\r\n";
    for cut in 0..sent.len() {
        let mut decoder = BodyDecoder::new(Framed::Chunked, &Limits::default());
        let mut unread = &sent[..cut];
        loop {
            match decoder.step(unread).unwrap() {
                Step::Data(n) => {
                    decoder.taken(n);
                    unread = &unread[n..];
                }
                Step::Skip(n) => unread = &unread[n..],
                Step::More => break,
                Step::End(_) => panic!("ended at {cut}"),
            }
        }
        assert_eq!(
            decoder.eof(),
            Err(Truncated { missing: None }),
            "cut at {cut}"
        );
    }
}

#[test]
fn a_broken_body_stays_broken() {
    let mut decoder = BodyDecoder::new(Framed::Chunked, &Limits::default());
    let error = decoder.step(b"g").unwrap_err();
    assert_eq!(decoder.step(b"5\r\nhello"), Err(error.clone()));
    assert_eq!(decoder.step(b""), Err(error));
    assert_eq!(decoder.eof(), Err(Truncated { missing: None }));
    assert!(!decoder.is_done());
}
