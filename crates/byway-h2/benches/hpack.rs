//! Speed: the cost of decoding and encoding heads.
//!
//! In:    nothing; `cargo bench -p byway-h2 --bench hpack`.
//! Out:   ns per head, the median and the best of some rounds.
//! Never: uses sockets; fails on a slow result: numbers of a shared machine are noisy.

#![allow(clippy::print_stdout, clippy::expect_used)] // a program that prints and may panic

use std::hint::black_box;
use std::time::Instant;

use byway_h2::hpack::{Decoder, Encoder, HeadWriter, TABLE_BYTES};
use byway_head::{
    FieldSink, Framed, HeadOut, Limits, RequestBuilder, RequestHead, ResponseBuilder, ResponseHead,
    Scheme, Span, Version, huffman,
};

const ROUNDS: usize = 31;
/// Heads of one round.
const HEADS: usize = 20_000;

/// What a load generator sends beside the pseudo-headers.
const FEW: &[(&str, &str)] = &[("user-agent", "h2load nghttp2/1.52.0")];

/// What a browser sends.
const MANY: &[(&str, &str)] = &[
    (
        "sec-ch-ua",
        "\"Chromium\";v=\"156\", \"Not(A:Brand\";v=\"24\"",
    ),
    ("sec-ch-ua-mobile", "?0"),
    ("sec-ch-ua-platform", "\"Linux\""),
    ("upgrade-insecure-requests", "1"),
    (
        "user-agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/156.0.0.0 Safari/537.36",
    ),
    (
        "accept",
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8",
    ),
    ("sec-fetch-site", "none"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-user", "?1"),
    ("sec-fetch-dest", "document"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("accept-language", "en-US,en;q=0.9"),
    (
        "cookie",
        "session=0123456789abcdef0123456789abcdef; theme=dark",
    ),
];

/// What an origin answers, and what a proxy adds.
const RESPONSE: &[(&str, &str)] = &[
    ("Server", "nginx/1.31.0"),
    ("Date", "Mon, 30 Nov 2026 21:20:13 GMT"),
    ("Content-Type", "text/html; charset=utf-8"),
    ("Last-Modified", "Sun, 29 Nov 2026 10:00:00 GMT"),
    ("ETag", "\"656f0a2c-400\""),
    ("Via", "1.1 byway"),
];

fn main() {
    println!("{:<52} {:>9} {:>9}", "ns per head", "median", "best");
    for (label, fields) in [("5 fields", FEW), ("17 fields", MANY)] {
        decode_request(label, fields);
        encode_request(label, fields);
    }
    decode_response();
    encode_response();
    strings();
}

/// The first block of a connection and the one that repeats.
fn blocks(write: impl Fn(&mut HeadWriter<'_>)) -> [Vec<u8>; 2] {
    let mut encoder = Encoder::default();
    [(), ()].map(|()| {
        let mut block = Vec::new();
        let mut out = HeadWriter::new(&mut encoder, &mut block).scheme(Scheme::Https);
        write(&mut out);
        out.end();
        block
    })
}

fn write_request(out: &mut HeadWriter<'_>, fields: &[(&str, &str)]) {
    out.request(b"GET", b"/path/to/1k.html", b"www.example.com")
        .expect("valid");
    for (name, value) in fields {
        out.field(name.as_bytes(), value.as_bytes()).expect("valid");
    }
}

fn decode_request(label: &str, fields: &[(&str, &str)]) {
    let [first, block] = blocks(|out| write_request(out, fields));
    let mut decoder = Decoder::new(TABLE_BYTES);
    let (mut head, mut text, limits) = (RequestHead::default(), Vec::new(), Limits::default());
    let mut decode = |block: &[u8]| {
        text.clear();
        let mut builder = RequestBuilder::new(Version::Http2, &mut head, &mut text, &limits);
        decoder.decode(block, 1 << 18, &mut builder).expect("valid");
        builder.finish(true).expect("valid");
        black_box(head.view(&text).path());
    };
    decode(&first);
    let rounds = measure(|| (0..HEADS).for_each(|_| decode(black_box(&block))));
    print(
        &format!("decode a request of {label}, {} bytes", block.len()),
        rounds,
    );
}

fn encode_request(label: &str, fields: &[(&str, &str)]) {
    let (mut encoder, mut block) = (Encoder::default(), Vec::new());
    let rounds = measure(|| {
        for _ in 0..HEADS {
            block.clear();
            let mut out = HeadWriter::new(&mut encoder, &mut block).scheme(Scheme::Https);
            write_request(&mut out, black_box(fields));
            out.end();
            black_box(&block);
        }
    });
    print(
        &format!("encode a request of {label}, {} bytes", block.len()),
        rounds,
    );
}

fn write_response(out: &mut HeadWriter<'_>) {
    out.response(200, b"OK").expect("valid");
    for (name, value) in RESPONSE {
        out.field(name.as_bytes(), value.as_bytes()).expect("valid");
    }
    out.framing(Framed::Length(1024));
}

fn decode_response() {
    let [first, block] = blocks(write_response);
    let mut decoder = Decoder::new(TABLE_BYTES);
    let (mut head, mut text, limits) = (ResponseHead::default(), Vec::new(), Limits::default());
    let mut decode = |block: &[u8]| {
        text.clear();
        let mut builder = ResponseBuilder::new(Version::Http2, &mut head, &mut text, &limits);
        decoder.decode(block, 1 << 18, &mut builder).expect("valid");
        builder.finish(false).expect("valid");
        black_box(head.view(&text).status());
    };
    decode(&first);
    let rounds = measure(|| (0..HEADS).for_each(|_| decode(black_box(&block))));
    print(
        &format!("decode a response of 8 fields, {} bytes", block.len()),
        rounds,
    );
}

fn encode_response() {
    let (mut encoder, mut block) = (Encoder::default(), Vec::new());
    let mut text = Vec::new();
    let mut head = ResponseHead::default();
    for (name, value) in RESPONSE {
        let at = text.len();
        text.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        let value_at = at + name.len() + 2;
        let (name, value) = (
            Span::new(at, at + name.len()),
            Span::new(value_at, value_at + value.len()),
        );
        head.section().push(name, value);
    }
    let rounds = measure(|| {
        for _ in 0..HEADS {
            block.clear();
            let mut out = HeadWriter::new(&mut encoder, &mut block);
            out.response(200, b"OK").expect("valid");
            for line in black_box(&head).view(&text).lines() {
                out.line(line).expect("valid");
            }
            out.framing(Framed::Length(1024));
            out.end();
            black_box(&block);
        }
    });
    print(
        &format!("encode a response of 8 fields, {} bytes", block.len()),
        rounds,
    );
}

/// Huffman code alone, per string.
fn strings() {
    let string = b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/156.0.0.0";
    let (mut code, mut out) = (Vec::new(), Vec::new());
    let rounds = measure(|| {
        for _ in 0..HEADS {
            code.clear();
            let string = black_box(&string[..]);
            huffman::encode(string, huffman::encoded_len(string), &mut code);
        }
    });
    print(&format!("Huffman: encode {} bytes", string.len()), rounds);
    let rounds = measure(|| {
        for _ in 0..HEADS {
            out.clear();
            huffman::decode(black_box(&code), &mut out).expect("valid");
        }
    });
    print(&format!("Huffman: decode {} bytes", code.len()), rounds);
    Discarded::default().measure();
}

/// A sink that checks nothing: the decoder alone.
#[derive(Default)]
struct Discarded(Vec<u8>);

impl FieldSink for Discarded {
    fn text(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    fn field(&mut self, name: Span, value: Span) {
        black_box((name, value));
    }
}

impl Discarded {
    fn measure(mut self) {
        let [first, block] = blocks(|out| write_request(out, MANY));
        let mut decoder = Decoder::new(TABLE_BYTES);
        decoder.decode(&first, 1 << 18, &mut self).expect("valid");
        let rounds = measure(|| {
            for _ in 0..HEADS {
                self.0.clear();
                decoder
                    .decode(black_box(&block), 1 << 18, &mut self)
                    .expect("valid");
            }
        });
        print("decode a request of 17 fields, unchecked", rounds);
    }
}

/// Seconds of each round, sorted.
fn measure(mut round: impl FnMut()) -> Vec<f64> {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            round();
            start.elapsed().as_secs_f64()
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds
}

fn print(label: &str, rounds: Vec<f64>) {
    let ns = |at: usize| rounds.get(at).copied().unwrap_or(f64::NAN) / HEADS as f64 * 1e9;
    println!("{label:<52} {:>9.0} {:>9.0}", ns(rounds.len() / 2), ns(0));
}
