//! HPACK: invariants for all header blocks of a peer, and for all fields to write.
//!
//! In:    bytes from a fuzzer.
//! Out:   nothing, or a panic for each violation.
//! Never: needs more memory than the limits and a few copies of its input.

#![allow(clippy::expect_used, reason = "a finding is a panic")]

use byway_h1::{HeadWriter as H1Writer, Parsed, RequestParser};
use byway_h2::hpack::{Decoder, Encoder, HeadWriter, TABLE_BYTES};
use byway_head::{
    FieldSink, HeadOut, Limits, Request, RequestBuilder, RequestHead, Section, Span, Trailers,
    TrailersBuilder, Version, is_valid_field,
};

/// Decoded bytes of one block at most.
const MOST_BYTES: usize = 1 << 16;

/// Collects all fields, and checks nothing.
#[derive(Default)]
struct Collected {
    text: Vec<u8>,
    fields: Vec<(Vec<u8>, Vec<u8>)>,
}

impl FieldSink for Collected {
    fn text(&mut self) -> &mut Vec<u8> {
        &mut self.text
    }

    fn field(&mut self, name: Span, value: Span) {
        let field = (name.of(&self.text).to_vec(), value.of(&self.text).to_vec());
        self.text.clear();
        self.fields.push(field);
    }

    fn valid_field(&mut self, name: Span, value: Span) {
        let (name_bytes, value_bytes) = (name.of(&self.text), value.of(&self.text));
        assert!(is_valid_field(name_bytes, value_bytes), "an invalid field");
        self.field(name, value);
    }
}

/// Header blocks of one connection, each behind a byte with its length; the first byte of the input
/// selects the limits. Refused heads leave the table as accepted ones do; an accepted request is
/// written as HTTP/1 and read there as the same request; accepted trailers are valid fields.
pub fn decode(data: &[u8]) {
    let Some((&options, mut rest)) = data.split_first() else {
        return;
    };
    let limits = match options & 1 {
        0 => Limits::default(),
        _ => Limits {
            head_bytes: 100,
            fields: 4,
            target_bytes: 10,
            ..Limits::default()
        },
    };
    let mut decoders = [(); 3].map(|()| Decoder::new(TABLE_BYTES));
    while let Some((&len, after)) = rest.split_first() {
        let (block, after) = after.split_at(usize::from(len).min(after.len()));
        rest = after;
        let mut collected = Collected::default();
        let [plain, of_requests, of_trailers] = &mut decoders;
        let decoded = plain.decode(block, MOST_BYTES, &mut collected);

        let (mut head, mut text) = (RequestHead::default(), Vec::new());
        let mut builder = RequestBuilder::new(Version::Http2, &mut head, &mut text, &limits)
            .allow_protocol(options & 2 == 2);
        let as_request = of_requests.decode(block, MOST_BYTES, &mut builder);
        assert_eq!(as_request, decoded, "the sink changes the result");
        let built = builder.finish(options & 4 == 4);

        let mut section = Section::default();
        let mut trailers_text = Vec::new();
        let mut builder = TrailersBuilder::new(&mut section, &mut trailers_text, &limits);
        let as_trailers = of_trailers.decode(block, MOST_BYTES, &mut builder);
        assert_eq!(as_trailers, decoded, "the sink changes the result");
        let trailers = builder.finish();

        if decoded.is_err() {
            return;
        }
        if built.is_ok() {
            // A joined cookie and the method of an upgrade are behind the received text.
            assert!(text.len() <= 2 * limits.head_bytes + 16);
            check_request(head.view(&text), &limits);
        }
        if trailers.is_ok() {
            for field in Trailers::new(&section, &trailers_text) {
                assert!(is_valid_field(field.name, field.value));
            }
            assert!(
                collected
                    .fields
                    .iter()
                    .all(|(name, _)| !name.starts_with(b":"))
            );
        }
        if limits == Limits::default() {
            comes_back(&collected.fields);
        }
    }
}

/// Writes a request as HTTP/1, as a proxy passes it on, and reads it.
fn check_request(request: Request<'_>, limits: &Limits) {
    assert!(request.fields().len() <= limits.fields);
    let host = request.host().expect("a host");
    let mut bytes = Vec::new();
    let mut out = H1Writer(&mut bytes);
    out.request(request.method(), request.target(), host)
        .expect("a valid request");
    let mut written = vec![(b"Host".to_vec(), host.to_vec())];
    for line in request.lines() {
        let field = line.field();
        assert!(is_valid_field(field.name, field.value), "{field:?}");
        assert!(line.sent().is_some(), "a line that cannot be copied");
        if matches!(field.name, b"host" | b"content-length") {
            continue;
        }
        out.line(line).expect("a valid line");
        written.push((field.name.to_vec(), field.value.to_vec()));
    }
    out.framing(request.framing());
    out.end();
    let mut parser = RequestParser::default();
    let parsed = parser.parse(&bytes, &Limits::default());
    assert_eq!(parsed, Ok(Parsed::Complete(bytes.len())));
    let read = parser.view(&bytes);
    assert_eq!(read.method(), request.method());
    assert_eq!(read.path_and_query(), request.path_and_query());
    assert_eq!(read.host(), request.host());
    assert_eq!(read.framing(), request.framing());
    let fields: Vec<_> = read
        .fields()
        .map(|field| (field.name.to_vec(), field.value.to_vec()))
        .collect();
    assert!(fields.starts_with(&written));
    assert!(fields.len() <= written.len() + 1);
}

/// Fields of one connection: a byte for what each is, its length, and its bytes. What can be written
/// is decoded to the same, in a table of any size, and also if blocks are not sent.
pub fn round_trip(mut data: &[u8]) {
    let (mut encoder, mut decoder) = (Encoder::default(), Decoder::new(TABLE_BYTES));
    let mut fields = Vec::new();
    while let [options, name_len, value_len, rest @ ..] = data {
        let (name, rest) = rest.split_at(usize::from(*name_len).min(rest.len()));
        let (value, rest) = rest.split_at(usize::from(*value_len).min(rest.len()));
        data = rest;
        fields.push((name.to_vec(), value.to_vec()));
        match options & 7 {
            0 => encoder.allow_table(u32::from(*options) * 20),
            1 => {
                // A block that is not sent.
                write(&mut encoder, &fields, false);
                continue;
            }
            2 => {}
            _ => continue,
        }
        let (block, written) = write(&mut encoder, &fields, true);
        let mut collected = Collected::default();
        decoder
            .decode(&block, usize::MAX, &mut collected)
            .expect("our own block");
        assert_eq!(collected.fields, written);
        fields.clear();
    }
}

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// Writes what can be written. Returns the block and the fields as they will be decoded.
fn write(encoder: &mut Encoder, fields: &[(Vec<u8>, Vec<u8>)], is_sent: bool) -> (Vec<u8>, Fields) {
    let (mut block, mut written) = (Vec::new(), Vec::new());
    let mut out = HeadWriter::new(encoder, &mut block);
    for (name, value) in fields {
        if out.field(name, value).is_ok() {
            let value = byway_head::octets::trim_ows(value).to_vec();
            written.push((name.to_ascii_lowercase(), value));
        }
    }
    if is_sent {
        out.end();
    }
    written.retain(|(name, value)| match &name[..] {
        b"host"
        | b"connection"
        | b"keep-alive"
        | b"proxy-connection"
        | b"upgrade"
        | b"transfer-encoding"
        | b"http2-settings"
        | b"sec-websocket-key"
        | b"sec-websocket-accept" => false,
        b"te" => value.eq_ignore_ascii_case(b"trailers"),
        _ => true,
    });
    (block, written)
}

/// Encodes decoded fields, and decodes them again.
fn comes_back(fields: &[(Vec<u8>, Vec<u8>)]) {
    let (block, written) = write(&mut Encoder::default(), fields, true);
    let mut collected = Collected::default();
    Decoder::new(TABLE_BYTES)
        .decode(&block, usize::MAX, &mut collected)
        .expect("our own block");
    assert_eq!(collected.fields, written);
}
