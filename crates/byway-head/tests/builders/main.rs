//! Heads and trailers of HTTP/2 and HTTP/3, built from fields as a decoder writes them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod cookies;
mod fields;
mod limits;
mod requests;
mod responses;
mod trailers;

use byway_head::{
    FieldSink, Limits, Malformed, RequestBuilder, RequestHead, ResponseBuilder, ResponseHead, Span,
    Version,
};

/// Writes a field as a decoder does.
fn write(sink: &mut impl FieldSink, name: &[u8], value: &[u8]) {
    let text = sink.text();
    let at = text.len();
    for part in [name, b": ", value, b"\r\n"] {
        text.extend_from_slice(part);
    }
    let value_at = at + name.len() + 2;
    sink.field(
        Span::new(at, at + name.len()),
        Span::new(value_at, value_at + value.len()),
    );
}

type Pairs<'a> = &'a [(&'a str, &'a str)];

/// The head of a request with its text.
#[derive(Debug)]
struct Built {
    head: RequestHead,
    text: Vec<u8>,
}

impl Built {
    fn view(&self) -> byway_head::Request<'_> {
        self.head.view(&self.text)
    }

    /// The fields as `name=value`, separated by spaces.
    fn fields(&self) -> Vec<(String, String)> {
        let own = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let fields = self.view().fields();
        fields
            .map(|field| (own(field.name), own(field.value)))
            .collect()
    }
}

fn request_within(
    limits: &Limits,
    fields: &[(&[u8], &[u8])],
    ended: bool,
) -> Result<Built, Malformed> {
    let (mut head, mut text) = (RequestHead::default(), b"before".to_vec());
    let mut builder =
        RequestBuilder::new(Version::Http2, &mut head, &mut text, limits).allow_protocol(true);
    for (name, value) in fields {
        write(&mut builder, name, value);
    }
    let built = builder.finish(ended);
    assert!(text.starts_with(b"before"));
    built.map(|()| Built { head, text })
}

/// A request with these fields and no others.
fn request(fields: Pairs<'_>, ended: bool) -> Result<Built, Malformed> {
    let bytes: Vec<_> = fields
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
        .collect();
    request_within(&Limits::default(), &bytes, ended)
}

/// Pseudo-headers of a usual request.
const GET: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "example.com"),
    (":path", "/a?b"),
];

/// A usual request with these fields behind its pseudo-headers.
fn get(fields: Pairs<'_>) -> Result<Built, Malformed> {
    request(&[&GET, fields].concat(), true)
}

fn response(fields: Pairs<'_>, ended: bool) -> Result<(ResponseHead, Vec<u8>), Malformed> {
    let (mut head, mut text, limits) = (ResponseHead::default(), Vec::new(), Limits::default());
    let mut builder = ResponseBuilder::new(Version::Http2, &mut head, &mut text, &limits);
    for (name, value) in fields {
        write(&mut builder, name.as_bytes(), value.as_bytes());
    }
    builder.finish(ended).map(|()| (head, text))
}
