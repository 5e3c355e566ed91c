//! QPACK: the examples of the RFC, blocks of another implementation, what is refused, properties.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use byway_h3::qpack::{self, HeadWriter, QpackError};
use byway_head::{
    FieldSink, HeadOut, Limits, Malformed, RequestBuilder, RequestHead, Span, Version,
};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

type Field = (Vec<u8>, Vec<u8>);

/// Collects fields as they are.
#[derive(Default)]
struct Collected {
    text: Vec<u8>,
    fields: Vec<Field>,
}

impl FieldSink for Collected {
    fn text(&mut self) -> &mut Vec<u8> {
        &mut self.text
    }

    fn field(&mut self, name: Span, value: Span) {
        let field = (name.of(&self.text).to_vec(), value.of(&self.text).to_vec());
        let line = [&field.0[..], b": ", &field.1, b"\r\n"].concat();
        assert_eq!(self.text, line);
        self.text.clear();
        self.fields.push(field);
    }
}

fn decoded(block: &[u8]) -> Result<Vec<Field>, QpackError> {
    let mut sink = Collected::default();
    qpack::decode(block, usize::MAX, &mut sink).map(|()| sink.fields)
}

fn written(fields: &[Field]) -> Vec<u8> {
    let mut block = Vec::new();
    let mut out = HeadWriter::new(qpack::Encoder, &mut block);
    for (name, value) in fields {
        out.field(name, value).unwrap();
    }
    out.end();
    block
}

fn field(name: &str, value: &str) -> Field {
    (name.as_bytes().to_vec(), value.as_bytes().to_vec())
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16).unwrap() as u8;
    let (pairs, _) = hex.as_bytes().as_chunks::<2>();
    pairs
        .iter()
        .map(|[high, low]| digit(*high) << 4 | digit(*low))
        .collect()
}

/// Each character is one byte.
fn latin_1(text: &Value) -> Vec<u8> {
    let chars = text.as_str().unwrap().chars();
    chars.map(|char| u8::try_from(char).unwrap()).collect()
}

fn cases(json: &str) -> Vec<(Vec<u8>, Vec<Field>)> {
    let cases: Value = serde_json::from_str(json).unwrap();
    let case = |case: &Value| {
        let fields = case["fields"].as_array().unwrap();
        let fields = fields
            .iter()
            .map(|field| (latin_1(&field[0]), latin_1(&field[1])));
        (bytes_of(case["wire"].as_str().unwrap()), fields.collect())
    };
    cases.as_array().unwrap().iter().map(case).collect()
}

#[test]
fn the_example_of_appendix_b_1_is_decoded() {
    let block = bytes_of("0000510b2f696e6465782e68746d6c");
    assert_eq!(decoded(&block), Ok(vec![field(":path", "/index.html")]));
}

#[test]
fn the_examples_with_a_dynamic_table_are_refused() {
    // B.2, B.4.
    for hex in ["03811011", "050080c181"] {
        assert_eq!(decoded(&bytes_of(hex)), Err(QpackError::Dynamic), "{hex}");
    }
}

#[test]
fn the_blocks_of_another_implementation_are_decoded() {
    // Written by `generate.py`.
    let cases = cases(include_str!("vectors.json"));
    assert_eq!(cases.len(), 100);
    for (block, fields) in cases {
        assert_eq!(decoded(&block), Ok(fields));
    }
}

#[test]
fn our_blocks_are_those_that_another_implementation_has_read() {
    // Checked by `generate.py ours.json`.
    let cases = cases(include_str!("ours.json"));
    assert!(cases.len() > 10);
    for (block, fields) in cases {
        let is_pseudo = |field: &&Field| field.0.starts_with(b":");
        let mut ours = Vec::new();
        let mut out = HeadWriter::new(qpack::Encoder, &mut ours);
        if fields.iter().find(is_pseudo).is_some() {
            out.request(b"GET", b"/a?b", b"example.com").unwrap();
        }
        for (name, value) in fields.iter().filter(|field| !is_pseudo(field)) {
            out.field(name, value).unwrap();
        }
        out.end();
        assert_eq!(ours, block);
        assert_eq!(decoded(&block), Ok(fields));
    }
}

#[test]
fn what_is_not_a_static_field_or_a_literal_is_refused() {
    for (block, error) in [
        (&[][..], QpackError::Truncated),
        (&[0], QpackError::Truncated),
        (&[1, 0], QpackError::Dynamic),
        (&[0, 0x80], QpackError::Dynamic),
        // An indexed field, also after the base.
        (&[0, 0, 0x80], QpackError::Dynamic),
        (&[0, 0, 0x10], QpackError::Dynamic),
        // A name by index, also after the base.
        (&[0, 0, 0x40, 0], QpackError::Dynamic),
        (&[0, 0, 0x00, 0], QpackError::Dynamic),
        (&[0, 0, 0xff, 36], QpackError::IndexUnknown { index: 99 }),
        (&[0, 0, 0x5f, 84, 0], QpackError::IndexUnknown { index: 99 }),
        (&[0, 0, 0x51], QpackError::Truncated),
        (&[0, 0, 0x51, 1], QpackError::Truncated),
        (&[0, 0, 0x21], QpackError::Truncated),
        (&[0, 0, 0x21, b'a'], QpackError::Truncated),
        (&[0xff; 20], QpackError::NumberTooLarge),
    ] {
        assert_eq!(decoded(block), Err(error), "{block:x?}");
    }
    assert!(matches!(
        decoded(&[0, 0, 0x51, 0x81, 0xff]),
        Err(QpackError::Huffman(_))
    ));
    assert_eq!(decoded(&[0, 0x05]), Ok(vec![]));
}

#[test]
fn a_block_of_many_long_static_fields_stops_at_the_limit() {
    // 85 is `content-security-policy`, with 53 bytes of value.
    let block = [&[0, 0][..], &[0xff, 22].repeat(60_000)].concat();
    let limits = Limits::default();
    let (mut head, mut text) = (RequestHead::default(), Vec::new());
    let mut builder = RequestBuilder::new(Version::Http3, &mut head, &mut text, &limits);
    let limit = 4 * limits.head_bytes;
    let decoded = qpack::decode(&block, limit, &mut builder);
    assert_eq!(decoded, Err(QpackError::TooLarge { limit }));
    assert!(text.capacity() <= 4 * limits.head_bytes);

    let mut builder = RequestBuilder::new(Version::Http3, &mut head, &mut text, &limits);
    qpack::decode(&block[..2 * 200], limit, &mut builder).unwrap();
    let error = builder.finish(true).unwrap_err();
    assert_eq!(error, Malformed::TooManyFields { limit: 128 });
}

#[test]
fn a_secret_is_marked_for_all_later_hops() {
    // The name has index 84; 0x20 is the mark.
    let block = written(&[field("authorization", "x")]);
    assert_eq!(block[2..4], [0x7f, 84 - 15]);
    let block = written(&[field("x-api-key", "x")]);
    assert_eq!(block[2] & 0xf0, 0x30);
    let block = written(&[field("server", "x")]);
    assert_eq!(block[2], 0x5f);
}

#[test]
fn usual_heads_are_written_and_read_without_allocations() {
    let (mut head, mut text, mut block) = (RequestHead::default(), Vec::new(), Vec::new());
    let limits = Limits::default();
    let mut pass = || {
        block.clear();
        let mut out = HeadWriter::new(qpack::Encoder, &mut block);
        out.request(b"GET", b"/path", b"example.com").unwrap();
        out.field(b"User-Agent", b"Mozilla/5.0 (X11; Linux x86_64)")
            .unwrap();
        out.list(b"Accept", [&b"text/html"[..], b"*/*"]).unwrap();
        out.end();
        text.clear();
        let mut builder = RequestBuilder::new(Version::Http3, &mut head, &mut text, &limits);
        qpack::decode(&block, 1 << 18, &mut builder).unwrap();
        builder.finish(true).unwrap();
    };
    (0..10).for_each(|_| pass());
    let info = allocation_counter::measure(|| (0..100).for_each(|_| pass()));
    assert_eq!(info.count_total, 0);
}

proptest! {
    #[test]
    fn fields_are_decoded_as_they_were_written(
        fields in vec(("[a-z0-9-]{1,40}|server|vary|te-st", "[ -~]{0,60}|origin"), 0..20),
    ) {
        let fields: Vec<Field> = fields
            .iter()
            .map(|(name, value)| field(name, value.trim()))
            .filter(|(name, _)| name != b"te" && name != b"host" && name != b"upgrade")
            .collect();
        prop_assert_eq!(decoded(&written(&fields)), Ok(fields));
    }

    #[test]
    fn garbage_is_decoded_or_refused(mut block in vec(any::<u8>(), 0..300), prefix in any::<bool>()) {
        if prefix && block.len() > 1 {
            block[..2].fill(0);
        }
        let limits = Limits::default();
        let (mut head, mut text) = (RequestHead::default(), Vec::new());
        let mut builder = RequestBuilder::new(Version::Http3, &mut head, &mut text, &limits);
        let _ = qpack::decode(&block, 1 << 16, &mut builder);
        let _ = builder.finish(true);
    }
}
