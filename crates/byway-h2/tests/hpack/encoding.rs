//! What an encoder writes: heads, indexes, secrets, and changes of its table.

use byway_h2::hpack::{Decoder, Encoder, HeadWriter, TABLE_BYTES};
use byway_head::{Framed, HeadOut, Malformed, Scheme};

use crate::{Collected, Field, owned};

/// Both ends of one direction.
struct Pair {
    encoder: Encoder,
    decoder: Decoder,
    block: Vec<u8>,
}

impl Pair {
    fn new() -> Self {
        Self {
            encoder: Encoder::default(),
            decoder: Decoder::new(TABLE_BYTES),
            block: Vec::new(),
        }
    }

    /// Writes a block and decodes it.
    fn send(&mut self, write: impl FnOnce(&mut HeadWriter<'_>)) -> Vec<Field> {
        self.block.clear();
        let mut out = HeadWriter::new(&mut self.encoder, &mut self.block).scheme(Scheme::Https);
        write(&mut out);
        out.end();
        let mut sink = Collected::default();
        self.decoder
            .decode(&self.block, usize::MAX, &mut sink)
            .unwrap();
        sink.fields
    }

    fn field(&mut self, name: &str, value: &str) -> usize {
        let written = self.send(|out| out.field(name.as_bytes(), value.as_bytes()).unwrap());
        assert_eq!(written, owned(&[(&name.to_ascii_lowercase(), value)]));
        self.block.len()
    }
}

#[test]
fn a_request_begins_with_its_pseudo_headers() {
    let mut pair = Pair::new();
    let written = pair.send(|out| {
        out.request(b"GET", b"/a", b"example.com").unwrap();
        out.field(b"Accept", b"*/*").unwrap();
        out.framing(Framed::None);
    });
    let head = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "example.com"),
        (":path", "/a"),
        ("accept", "*/*"),
    ];
    assert_eq!(written, owned(&head));
}

#[test]
fn connect_has_no_scheme_and_no_path() {
    let written = Pair::new().send(|out| {
        out.request(b"CONNECT", b"a.test:443", b"a.test:443")
            .unwrap();
    });
    assert_eq!(
        written,
        owned(&[(":method", "CONNECT"), (":authority", "a.test:443")])
    );
}

#[test]
fn an_upgrade_is_an_extended_connect_without_the_fields_of_http_1() {
    let (mut encoder, mut block, mut sink) = (Encoder::default(), Vec::new(), Collected::default());
    let mut out = HeadWriter::new(&mut encoder, &mut block).protocol(Some(b"websocket"));
    out.request(b"GET", b"/chat", b"example.com").unwrap();
    out.field(b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ==")
        .unwrap();
    out.field(b"Sec-WebSocket-Version", b"13").unwrap();
    out.upgrade(b"websocket").unwrap();
    out.end();
    Decoder::new(TABLE_BYTES)
        .decode(&block, usize::MAX, &mut sink)
        .unwrap();
    let head = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":authority", "example.com"),
        (":path", "/chat"),
        ("sec-websocket-version", "13"),
    ];
    assert_eq!(sink.fields, owned(&head));
}

#[test]
fn a_response_has_its_status_and_a_length_but_no_coding() {
    let mut pair = Pair::new();
    for status in [
        100, 103, 200, 204, 206, 304, 400, 404, 500, 301, 502, 999, 101,
    ] {
        let written = pair.send(|out| out.response(status, b"Reason").unwrap());
        let status = if status == 101 { 200 } else { status };
        assert_eq!(written, owned(&[(":status", &status.to_string())]));
    }
    for (framed, fields) in [
        (Framed::Length(0), &[("content-length", "0")][..]),
        (
            Framed::Length(u64::MAX),
            &[("content-length", "18446744073709551615")],
        ),
        (Framed::Chunked, &[]),
        (Framed::UntilClose, &[]),
    ] {
        assert_eq!(pair.send(|out| out.framing(framed)), owned(fields));
    }
    let refused = pair.send(|out| {
        assert_eq!(out.response(99, b""), Err(Malformed::StatusCode { at: 0 }));
        out.response(200, b"").unwrap();
    });
    assert_eq!(refused, owned(&[(":status", "200")]));
}

#[test]
fn fields_about_the_connection_are_left_out() {
    let written = Pair::new().send(|out| {
        for (name, value) in [
            ("Connection", "close"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Connection", "close"),
            ("Transfer-Encoding", "chunked"),
            ("Upgrade", "h2c"),
            ("HTTP2-Settings", "AAMAAABkAAQAAP__"),
            ("Host", "example.com"),
            ("TE", "gzip"),
            ("TE", "trailers"),
        ] {
            out.field(name.as_bytes(), value.as_bytes()).unwrap();
        }
        out.connection("close");
    });
    assert_eq!(written, owned(&[("te", "trailers")]));
}

#[test]
fn what_cannot_be_written_is_refused_and_writes_nothing() {
    let written = Pair::new().send(|out| {
        for (method, target, authority) in [
            (&b""[..], &b"/"[..], &b"a"[..]),
            (b"G T", b"/", b"a"),
            (b"GET", b"", b"a"),
            (b"GET", b"/ x", b"a"),
            (b"GET", b"/", b"a\r\nb"),
        ] {
            assert!(out.request(method, target, authority).is_err());
        }
        for (name, value) in [
            (&b""[..], &b"a"[..]),
            (b"a b", b"a"),
            (b":status", b"200"),
            (b"a", b"b\r\nc: d"),
            (b"a", b"\0"),
        ] {
            assert!(out.field(name, value).is_err());
        }
        assert!(out.list(b"a", [&b"b"[..], b"\n"]).is_err());
        assert!(out.upgrade(b"\n").is_err());
    });
    assert_eq!(written, []);
}

#[test]
fn white_space_around_a_value_is_removed() {
    let written = Pair::new().send(|out| out.field(b"a", b" \tb c\t ").unwrap());
    assert_eq!(written, owned(&[("a", "b c")]));
}

#[test]
fn a_list_is_one_field() {
    let mut pair = Pair::new();
    let written = pair.send(|out| out.list(b"Vary", [&b"a"[..], b"b"]).unwrap());
    assert_eq!(written, owned(&[("vary", "a, b")]));
    assert_eq!(pair.send(|out| out.list(b"Vary", []).unwrap()), []);
}

#[test]
fn a_field_that_repeats_becomes_one_byte() {
    let mut pair = Pair::new();
    for (name, value) in [
        ("server", "byway"),
        ("X-Frame-Options", "DENY"),
        ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
        ("user-agent", "curl/8.0.0"),
    ] {
        assert!(pair.field(name, value) > 1);
        assert_eq!(pair.field(name, value), 1, "{name}");
    }
    assert_eq!(pair.field("accept-encoding", "gzip, deflate"), 1);
    // The name is an index of two bytes.
    assert_eq!(pair.field("x-frame-options", "X"), 4);
}

#[test]
fn a_secret_is_never_indexed() {
    let mut pair = Pair::new();
    for (name, value, first) in [
        ("authorization", "Basic YTpi", 0x1f),
        ("proxy-authorization", "Basic YTpi", 0x1f),
        ("set-cookie", "a=b", 0x1f),
        ("cookie", "short=1", 0x1f),
        ("x-api-key", "k", 0x10),
        // Long, but different for each user.
        ("cookie", "session=0123456789abcdef0123456789abcdef", 0x0f),
    ] {
        let len = pair.field(name, value);
        assert_eq!(pair.field(name, value), len, "{name}");
        assert_eq!(pair.block[0], first, "{name}");
    }
}

#[test]
fn a_field_whose_value_changes_is_not_indexed() {
    let mut pair = Pair::new();
    for name in [
        "content-length",
        "etag",
        "last-modified",
        "location",
        "x-request-id",
    ] {
        let len = pair.field(name, "12345");
        assert_eq!(pair.field(name, "12345"), len, "{name}");
        assert!(len > 1, "{name}");
    }
    let path = pair.send(|out| out.request(b"GET", b"/long/path", b"a").unwrap());
    let len = pair.block.len();
    assert_eq!(
        pair.send(|out| out.request(b"GET", b"/long/path", b"a").unwrap()),
        path
    );
    // `:authority` is indexed.
    assert_eq!(pair.block.len(), len - 2);
}

#[test]
fn an_encoder_uses_the_table_that_its_peer_allows_and_at_most_4_kib() {
    let mut pair = Pair::new();
    pair.field("a", "b");
    pair.encoder.allow_table(1 << 20);
    // No change is announced.
    assert_eq!(pair.field("a", "b"), 1);

    pair.encoder.allow_table(0);
    pair.encoder.allow_table(100);
    let len = pair.field("a", "b");
    assert_eq!(pair.block[..3], [0x20, 0x3f, 100 - 31], "{len}");
    assert_eq!(pair.field("a", "b"), 1);

    pair.encoder.allow_table(0);
    pair.field("a", "b");
    assert_eq!(pair.block[..2], [0x20, 0x20]);
    assert!(pair.field("a", "b") > 1);
}

#[test]
fn a_peer_that_allows_no_table_gets_no_entries() {
    let mut pair = Pair::new();
    pair.decoder = Decoder::new(0);
    pair.encoder.allow_table(0);
    for _ in 0..3 {
        assert!(pair.field("a", "b") > 1);
        assert_eq!(pair.block.last_chunk::<3>(), Some(&[b'a', 1, b'b']));
    }
}

#[test]
fn after_a_block_that_was_not_sent_both_tables_are_empty() {
    let mut pair = Pair::new();
    pair.field("a", "b");
    assert_eq!(pair.field("a", "b"), 1);
    let mut unsent = Vec::new();
    let mut out = HeadWriter::new(&mut pair.encoder, &mut unsent);
    out.field(b"c", b"d").unwrap();
    out.field(b"c", b"\n").unwrap_err();
    pair.field("c", "d");
    assert_eq!(pair.block[..4], [0x20, 0x3f, 0xe1, 0x1f]);
    assert_eq!(pair.field("c", "d"), 1);
    pair.field("a", "b");
}

#[test]
fn a_full_table_evicts_its_oldest_and_stays_right() {
    let mut pair = Pair::new();
    for n in 0..10_000 {
        pair.field(&format!("name-{}", n % 150), &format!("value-{}", n % 170));
        if n % 3 == 0 {
            assert_eq!(
                pair.field(&format!("name-{}", n % 150), &format!("value-{}", n % 170)),
                1
            );
        }
    }
}

#[test]
fn a_large_field_does_not_evict_the_others() {
    let mut pair = Pair::new();
    pair.field("a", "b");
    pair.field("large", &"x".repeat(5000));
    pair.field("large", &"x".repeat(2500));
    assert_eq!(pair.field("a", "b"), 1);
}

#[test]
fn a_name_of_any_length_is_written_in_lower_case() {
    let mut pair = Pair::new();
    for len in [1, 63, 64, 65, 127, 1000] {
        let name = "N".repeat(len);
        pair.field(&name, "v");
    }
}
