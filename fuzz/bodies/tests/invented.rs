//! The differential bodies without a fuzzer: messages built from the pieces of smuggling attacks.
//! `PROPTEST_CASES=25600` makes it a hundred times as long.

use byway_fuzz_bodies::{differential, h1};
use proptest::prelude::*;
use proptest::sample::{Index, select};

const STARTS: [&[u8]; 14] = [
    b"GET / HTTP/1.1\r\n",
    b"POST /a?b HTTP/1.1\r\n",
    b"HEAD / HTTP/1.0\r\n",
    b"OPTIONS * HTTP/1.1\r\n",
    b"CONNECT a:1 HTTP/1.1\r\n",
    b"GET http://a/ HTTP/1.1\r\n",
    b"\r\nGET / HTTP/1.1\r\n",
    b"GET / HTTP/1.1\n",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 204 \r\n",
    b"HTTP/1.0 304\r\n",
    b"HTTP/1.1 101 Go\r\n",
    b"HTTP/1.1 200 \xe9\r\n",
    b"GET /#\x80 HTTP/1.1\r\n",
];
const NAMES: [&[u8]; 11] = [
    b"Host",
    b"Content-Length",
    b"Transfer-Encoding",
    b"content-length",
    b"TRANSFER-ENCODING",
    b"X",
    b"",
    b" X",
    b"X ",
    b"Connection",
    b"X\x0b",
];
const COLONS: [&[u8]; 6] = [b":", b": ", b":\t", b" :", b"", b":\x0b"];
const VALUES: [&[u8]; 24] = [
    b"a",
    b"chunked",
    b"Chunked",
    b"chunked, chunked",
    b"gzip, chunked",
    b"chunked;a",
    b",chunked",
    b"xchunked",
    b"identity",
    b"0",
    b"5",
    b"05",
    b"+5",
    b"0x5",
    b"5,5",
    b"5, 6",
    b"9223372036854775808",
    b"18446744073709551621",
    b"",
    b"a\rb",
    b"a\x00b",
    b"\xff",
    b"a:80",
    b"close",
];
const ENDS: [&[u8]; 6] = [b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\r\n "];
const BODIES: [&[u8]; 20] = [
    b"\r\n",
    b"\r\n",
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"0\r\n",
    b"5;a=b\r\nhello\r\n",
    b"5\nhello\r\n",
    b"5\r\nhello\n",
    b"X: 1\r\n",
    b"hello",
    b"0x5\r\n",
    b"+5\r\n",
    b"5 ;a\r\n",
    b"5;a=\"\r\n",
    b"00000000000000000\r\n",
    b"fffffffffffffffff\r\n",
    b"\n",
    b"\r",
    b"\x00",
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
];

fn one_of<const N: usize>(pieces: [&'static [u8]; N]) -> impl Strategy<Value = &'static [u8]> {
    select(pieces.to_vec())
}

fn field() -> impl Strategy<Value = Vec<u8>> {
    let usual = (
        one_of(NAMES),
        Just(&b": "[..]),
        one_of(VALUES),
        Just(&b"\r\n"[..]),
    );
    let any = (one_of(NAMES), one_of(COLONS), one_of(VALUES), one_of(ENDS));
    prop_oneof![3 => usual.prop_map(|(a, b, c, d)| [a, b, c, d].concat()), 1 => any.prop_map(|(a, b, c, d)| [a, b, c, d].concat())]
}

fn message() -> impl Strategy<Value = Vec<u8>> {
    let fields = prop::collection::vec(field(), 0..5);
    let body = prop::collection::vec(one_of(BODIES), 0..6);
    (one_of(STARTS), any::<bool>(), fields, body).prop_map(|(start, host, fields, body)| {
        let host: &[u8] = if host { b"Host: a\r\n" } else { b"" };
        [start, host, &fields.concat(), b"\r\n", &body.concat()].concat()
    })
}

/// Up to three messages, with up to two bytes changed.
fn connection() -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<Index>(), any::<u8>()), 0..3);
    (prop::collection::vec(message(), 1..4), changes).prop_map(|(messages, changes)| {
        let mut bytes = messages.concat();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    })
}

/// Enough cases that each pair of name and value occurs in an otherwise valid head: about a second.
fn config() -> ProptestConfig {
    ProptestConfig {
        cases: byway_testkit::cases(20_000),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn generated_messages_are_read_as_other_parsers_read_them(bytes in connection()) {
        differential::request(&bytes);
        differential::response(&bytes);
        differential::stream(&bytes);
        h1::request_head(&bytes);
        h1::response_head(&bytes);
    }

    #[test]
    fn generated_chunks_end_where_the_reference_ends_them(body in prop::collection::vec(one_of(BODIES), 0..9)) {
        let body = body.concat();
        h1::chunked(&body);
        differential::stream(&[b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", &body[..]].concat());
    }

    #[test]
    fn generated_output_is_read_as_the_given_parts(parts in prop::collection::vec(prop_oneof![one_of(NAMES), one_of(VALUES)], 0..9)) {
        let mut bytes = b"GET\xff/\xffHost\xffa".to_vec();
        for part in parts {
            bytes.push(0xff);
            bytes.extend_from_slice(part);
        }
        differential::written(&bytes);
    }
}
