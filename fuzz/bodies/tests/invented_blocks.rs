//! The bodies for HPACK without a fuzzer: header blocks built from the pieces of smuggling attacks.
//! `PROPTEST_CASES=25600` makes it a hundred times as long.

use byway_fuzz_bodies::hpack;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

const NAMES: [&[u8]; 22] = [
    b":method",
    b":path",
    b":scheme",
    b":authority",
    b":protocol",
    b":status",
    b":",
    b"",
    b"host",
    b"Host",
    b"content-length",
    b"transfer-encoding",
    b"te",
    b"cookie",
    b"connection",
    b"upgrade",
    b"expect",
    b"x",
    b"x\r\ny",
    b"x: y",
    b"x ",
    b"x\0",
];
const VALUES: [&[u8]; 30] = [
    b"GET",
    b"POST",
    b"CONNECT",
    b"OPTIONS",
    b"GET / HTTP/1.1\r\nhost: b\r\n\r\n",
    b"/",
    b"/a?b",
    b"*",
    b"/ HTTP/1.1\r\nx: y",
    b"http://a/",
    b"https",
    b"http",
    b"a",
    b"A",
    b"a:1",
    b"a:80, b",
    b"u@a",
    b"websocket",
    b"5",
    b"0",
    b"+5",
    b"5, 5",
    b"18446744073709551621",
    b"chunked",
    b"trailers",
    b"100-continue",
    b"b=c; d=e",
    b"b\r\nc: d",
    b" a",
    b"",
];

/// A usual start, or none.
const STARTS: [&[(&[u8], &[u8])]; 4] = [
    &[],
    &[
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":authority", b"a"),
        (b":path", b"/a?b"),
    ],
    &[(b":method", b"CONNECT"), (b":authority", b"a:1")],
    &[
        (b":method", b"CONNECT"),
        (b":protocol", b"websocket"),
        (b":scheme", b"http"),
        (b":authority", b"a"),
        (b":path", b"/"),
    ],
];

fn literal(block: &mut Vec<u8>, first: u8, name: &[u8], value: &[u8]) {
    block.push(first);
    for string in [name, value] {
        block.push(string.len() as u8);
        block.extend_from_slice(string);
    }
}

/// A block behind its length, of at most 255 bytes.
fn block() -> impl Strategy<Value = Vec<u8>> {
    let field = (
        select(&[0u8, 0x10, 0x40][..]),
        select(&NAMES[..]),
        select(&VALUES[..]),
    );
    let part = prop_oneof![
        4 => field.prop_map(|(first, name, value)| {
            let mut part = Vec::new();
            literal(&mut part, first, name, value);
            part
        }),
        1 => (62u8..70).prop_map(|index| vec![0x80 | index]),
    ];
    (select(&STARTS[..]), vec(part, 0..6)).prop_map(|(start, parts)| {
        let mut block = Vec::new();
        for (name, value) in start {
            literal(&mut block, 0, name, value);
        }
        for part in parts {
            if block.len() + part.len() < 256 {
                block.extend(part);
            }
        }
        block.insert(0, block.len() as u8);
        block
    })
}

/// About a second.
fn config() -> ProptestConfig {
    ProptestConfig {
        cases: byway_testkit::cases(5_000),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn header_blocks_of_attacks_are_refused_or_read_alike_as_http_1(
        options in 0u8..8,
        blocks in vec(block(), 1..6),
        flip in proptest::option::weighted(0.2, (any::<Index>(), any::<u8>())),
    ) {
        let mut input = vec![options];
        input.extend(blocks.concat());
        if let Some((at, bits)) = flip {
            let at = at.index(input.len());
            input[at] ^= bits;
        }
        hpack::decode(&input);
    }

    #[test]
    fn any_bytes_are_fields_that_come_back(input in vec(any::<u8>(), 0..600)) {
        hpack::round_trip(&input);
        hpack::decode(&input);
    }
}
