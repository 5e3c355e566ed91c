//! HTTP/1: invariants for all bytes from a peer.
//!
//! In:    bytes from a fuzzer.
//! Out:   nothing, or a panic for each violation.
//! Never: needs more memory than a few copies of its input.

use byway_h1::{BodyDecoder, Parsed, RequestParser, ResponseParser, Step, Truncated, write};
use byway_head::{Field, Fields, Framed, Limits, Malformed};

/// The result of decoding a body.
#[derive(Debug, PartialEq, Eq)]
struct Decoded {
    data: Vec<u8>,
    trailers: Vec<(Vec<u8>, Vec<u8>)>,
    /// Bytes of the input that belong to the message, the reason for a refusal, or `None` if it has
    /// not ended.
    end: Option<Result<usize, Malformed>>,
}

/// A request head: parsed whole and byte by byte to the same result; a parsed head is written and
/// parsed again to the same.
pub fn request_head(data: &[u8]) {
    for limits in [Limits::default(), small()] {
        let whole = parse_request(data, data.len(), &limits);
        let singles = parse_request(data, 1, &limits);
        assert_eq!(whole.1, singles.1, "the result depends on the split");
        if let (head, Ok(Parsed::Complete(len))) = whole {
            assert!(
                len <= data.len().min(limits.head_bytes),
                "the head is longer than the input or the limit"
            );
            check_request(&head, data);
        }
    }
}

/// A response head: as [`request_head`], and its framing is never ambiguous.
pub fn response_head(data: &[u8]) {
    for limits in [Limits::default(), small()] {
        let whole = parse_response(data, data.len(), &limits);
        let singles = parse_response(data, 1, &limits);
        assert_eq!(whole.1, singles.1, "the result depends on the split");
        if let (head, Ok(Parsed::Complete(len))) = whole {
            assert!(
                len <= data.len().min(limits.head_bytes),
                "the head is longer than the input or the limit"
            );
            check_response(&head, data);
        }
    }
}

/// A chunked body: decoded whole, byte by byte and taken byte by byte to the same result; never
/// more data than input; a decoded body is written and decoded again to the same.
pub fn chunked(data: &[u8]) {
    for limits in [Limits::default(), small()] {
        let whole = decode(data, data.len(), usize::MAX, &limits);
        assert_eq!(
            whole,
            decode(data, 1, usize::MAX, &limits),
            "the result depends on the split"
        );
        assert_eq!(
            whole,
            decode(data, data.len(), 1, &limits),
            "the result depends on how data are taken"
        );
        assert!(whole.data.len() <= data.len(), "more data than input");
        if let Some(Ok(_)) = whole.end {
            check_chunked(&whole);
        }
    }
}

fn small() -> Limits {
    Limits {
        head_bytes: 96,
        fields: 3,
        target_bytes: 8,
        connection_options: 2,
        chunk_extension_bytes: 6,
    }
}

fn parse_request(
    data: &[u8],
    piece: usize,
    limits: &Limits,
) -> (RequestParser, Result<Parsed, Malformed>) {
    let mut head = RequestParser::default();
    let mut result = Ok(Parsed::Partial);
    for end in ends(data.len(), piece) {
        result = head.parse(&data[..end], limits);
        if result != Ok(Parsed::Partial) {
            break;
        }
    }
    (head, result)
}

fn parse_response(
    data: &[u8],
    piece: usize,
    limits: &Limits,
) -> (ResponseParser, Result<Parsed, Malformed>) {
    let mut head = ResponseParser::default();
    let mut result = Ok(Parsed::Partial);
    for end in ends(data.len(), piece) {
        result = head.parse(&data[..end], limits);
        if result != Ok(Parsed::Partial) {
            break;
        }
    }
    (head, result)
}

/// Ends of growing prefixes, in steps of `piece`, up to and including `len`.
fn ends(len: usize, piece: usize) -> impl Iterator<Item = usize> {
    (0..len).step_by(piece.max(1)).chain([len])
}

fn check_request(head: &RequestParser, data: &[u8]) {
    let first = head.view(data);
    assert_ne!(
        first.framing(),
        Framed::UntilClose,
        "a request ends with its connection"
    );
    check_names(first.fields());
    let mut out = Vec::new();
    assert_eq!(
        write::request_line(&mut out, first.method(), first.target()),
        Ok(())
    );
    write_fields(&mut out, first.fields());
    let mut again = RequestParser::default();
    let parsed = again.parse(
        &out,
        &Limits {
            target_bytes: data.len(),
            head_bytes: out.len(),
            ..Limits::default()
        },
    );
    // The output is always 1.1, while a 1.0 head may have no Host.
    if first.field("host").is_none() {
        assert_eq!(parsed, Err(Malformed::HostMissing));
        return;
    }
    assert_eq!(
        parsed,
        Ok(Parsed::Complete(out.len())),
        "a parsed and written head is not parsed again"
    );
    let second = again.view(&out);
    assert_eq!(
        (first.method(), first.target()),
        (second.method(), second.target())
    );
    assert_eq!(
        (first.target_form(), first.host()),
        (second.target_form(), second.host())
    );
    assert_eq!(first.framing(), second.framing());
    assert!(
        first.fields().eq(second.fields()),
        "fields differ after a round trip"
    );
}

fn check_response(head: &ResponseParser, data: &[u8]) {
    let first = head.view(data);
    check_names(first.fields());
    let mut out = Vec::new();
    assert_eq!(
        write::status_line(&mut out, first.status(), first.reason()),
        Ok(())
    );
    write_fields(&mut out, first.fields());
    let mut again = ResponseParser::default();
    let parsed = again.parse(
        &out,
        &Limits {
            head_bytes: out.len(),
            ..Limits::default()
        },
    );
    assert_eq!(
        parsed,
        Ok(Parsed::Complete(out.len())),
        "a parsed and written head is not parsed again"
    );
    let second = again.view(&out);
    assert_eq!(
        (first.status(), first.reason()),
        (second.status(), second.reason())
    );
    assert!(
        first.fields().eq(second.fields()),
        "fields differ after a round trip"
    );
    for method in [&b"GET"[..], b"HEAD", b"CONNECT"] {
        if first.framing(method) != Err(Malformed::CodingOnHttp10) {
            assert_eq!(first.framing(method), second.framing(method));
        }
    }
}

fn check_names(fields: Fields<'_>) {
    for field in fields {
        assert!(!field.name.is_empty(), "a field without a name");
        assert!(
            !field.value.iter().any(|byte| b"\r\n\0".contains(byte)),
            "a line end or NUL in a value"
        );
    }
}

fn write_fields(out: &mut Vec<u8>, fields: Fields<'_>) {
    for field in fields {
        assert_eq!(
            write::field(out, field.name, field.value),
            Ok(()),
            "a parsed field cannot be written"
        );
    }
    write::end_of_head(out);
}

fn decode(bytes: &[u8], piece: usize, most: usize, limits: &Limits) -> Decoded {
    let mut decoder = BodyDecoder::new(Framed::Chunked, limits);
    let mut decoded = Decoded {
        data: Vec::new(),
        trailers: Vec::new(),
        end: None,
    };
    let mut read = 0;
    for end in ends(bytes.len(), piece) {
        loop {
            let unread = &bytes[read..end];
            match decoder.step(unread) {
                Ok(Step::Data(n)) => {
                    assert!(n > 0 && n <= unread.len(), "data beyond the input");
                    let taken = n.min(most);
                    decoded.data.extend_from_slice(&unread[..taken]);
                    decoder.taken(taken);
                    read += taken;
                }
                Ok(Step::Skip(n)) => {
                    assert!(n > 0 && n <= unread.len(), "framing beyond the input");
                    read += n;
                }
                Ok(Step::More) => break,
                Ok(Step::End(n)) => {
                    assert!(
                        n <= unread.len() && decoder.is_done() && decoder.eof().is_ok(),
                        "the end is reported too early"
                    );
                    decoded.trailers = decoder
                        .trailers(unread)
                        .map(|f| (f.name.to_vec(), f.value.to_vec()))
                        .collect();
                    decoded.end = Some(Ok(read + n));
                    return decoded;
                }
                Err(error) => {
                    assert_eq!(
                        decoder.step(unread),
                        Err(error.clone()),
                        "a broken body continued"
                    );
                    decoded.end = Some(Err(error));
                    return decoded;
                }
            }
        }
    }
    assert_eq!(
        decoder.eof(),
        Err(Truncated { missing: None }),
        "a truncated body was reported complete"
    );
    decoded
}

fn check_chunked(first: &Decoded) {
    let mut out = Vec::new();
    for piece in first.data.chunks(7) {
        write::chunk_prefix(&mut out, piece.len());
        out.extend_from_slice(piece);
        out.extend_from_slice(write::CHUNK_SUFFIX);
    }
    let trailers = first
        .trailers
        .iter()
        .map(|(name, value)| Field { name, value });
    assert_eq!(
        write::last_chunk(&mut out, trailers),
        Ok(()),
        "a decoded trailer cannot be written"
    );
    let second = decode(
        &out,
        out.len(),
        usize::MAX,
        &Limits {
            head_bytes: out.len() + 1,
            ..Limits::default()
        },
    );
    assert_eq!(second.end, Some(Ok(out.len())));
    assert_eq!(
        (&first.data, &first.trailers),
        (&second.data, &second.trailers),
        "a body differs after a round trip"
    );
}
