//! Common: parses heads and bodies at every split, so that a test cannot pass at one split only.
#![allow(dead_code)] // each test file uses its own part

use byway_h1::{BodyDecoder, Parsed, RequestParser, ResponseParser, Step};
use byway_head::{Framed, Limits, Malformed};

/// A message's start line and fields as owned text.
pub(crate) type Lines = Vec<(String, String)>;

/// Parses at every split; all results must agree.
pub(crate) fn parse_request(
    bytes: &[u8],
    limits: &Limits,
) -> Result<(RequestParser, Parsed), Malformed> {
    let whole = request_in_pieces(bytes, 0..=bytes.len(), bytes.len(), limits);
    let singles = request_in_pieces(bytes, 0..=bytes.len(), 1, limits);
    assert_eq!(
        outcome(&whole),
        outcome(&singles),
        "byte by byte: {}",
        bytes.escape_ascii()
    );
    for cut in cuts(bytes.len()) {
        let halves = request_in_pieces(bytes, [cut, bytes.len()], 1, limits);
        assert_eq!(
            outcome(&whole),
            outcome(&halves),
            "cut at {cut}: {}",
            bytes.escape_ascii()
        );
    }
    whole
}

pub(crate) fn parse_response(
    bytes: &[u8],
    limits: &Limits,
) -> Result<(ResponseParser, Parsed), Malformed> {
    let whole = response_in_pieces(bytes, 0..=bytes.len(), bytes.len(), limits);
    let singles = response_in_pieces(bytes, 0..=bytes.len(), 1, limits);
    assert_eq!(
        outcome(&whole),
        outcome(&singles),
        "byte by byte: {}",
        bytes.escape_ascii()
    );
    for cut in cuts(bytes.len()) {
        let halves = response_in_pieces(bytes, [cut, bytes.len()], 1, limits);
        assert_eq!(
            outcome(&whole),
            outcome(&halves),
            "cut at {cut}: {}",
            bytes.escape_ascii()
        );
    }
    whole
}

/// A complete request head; panics if it is refused or incomplete.
pub(crate) fn request(bytes: &[u8]) -> RequestParser {
    match parse_request(bytes, &Limits::default()) {
        Ok((head, Parsed::Complete(_))) => head,
        other => panic!("{}: {:?}", bytes.escape_ascii(), outcome(&other)),
    }
}

pub(crate) fn response(bytes: &[u8]) -> ResponseParser {
    match parse_response(bytes, &Limits::default()) {
        Ok((head, Parsed::Complete(_))) => head,
        other => panic!("{}: {:?}", bytes.escape_ascii(), outcome(&other)),
    }
}

/// The error for a request; panics if there is none.
pub(crate) fn refused(bytes: &[u8]) -> Malformed {
    match parse_request(bytes, &Limits::default()) {
        Err(error) => error,
        Ok((_, parsed)) => panic!("{}: {parsed:?}", bytes.escape_ascii()),
    }
}

pub(crate) fn refused_response(bytes: &[u8]) -> Malformed {
    match parse_response(bytes, &Limits::default()) {
        Err(error) => error,
        Ok((_, parsed)) => panic!("{}: {parsed:?}", bytes.escape_ascii()),
    }
}

/// The error for a POST with these further field lines.
pub(crate) fn refused_fields(lines: &str) -> Malformed {
    refused(format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n").as_bytes())
}

pub(crate) fn framing(lines: &str) -> Framed {
    let bytes = format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n").into_bytes();
    request(&bytes).view(&bytes).framing()
}

/// The result of decoding a body.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Body {
    pub(crate) data: Vec<u8>,
    pub(crate) trailers: Lines,
    /// Bytes of the input that belong to the message; `None` if it did not end.
    pub(crate) len: Option<usize>,
}

/// Decodes a body at every split; all results must agree.
pub(crate) fn decode(framed: Framed, bytes: &[u8], limits: &Limits) -> Result<Body, Malformed> {
    let whole = decode_in_pieces(framed, bytes, [bytes.len()], limits, usize::MAX);
    let singles = decode_in_pieces(framed, bytes, 0..=bytes.len(), limits, usize::MAX);
    assert_eq!(whole, singles, "byte by byte: {}", bytes.escape_ascii());
    let slow = decode_in_pieces(framed, bytes, [bytes.len()], limits, 1);
    assert_eq!(whole, slow, "taken byte by byte: {}", bytes.escape_ascii());
    for cut in cuts(bytes.len()) {
        let halves = decode_in_pieces(framed, bytes, [cut, bytes.len()], limits, 3);
        assert_eq!(whole, halves, "cut at {cut}: {}", bytes.escape_ascii());
    }
    whole
}

pub(crate) fn chunked(bytes: &[u8]) -> Result<Body, Malformed> {
    decode(Framed::Chunked, bytes, &Limits::default())
}

/// Passes growing prefixes that end at `ends`; moves at most `most` bytes of data at a time.
pub(crate) fn decode_in_pieces(
    framed: Framed,
    bytes: &[u8],
    ends: impl IntoIterator<Item = usize>,
    limits: &Limits,
    most: usize,
) -> Result<Body, Malformed> {
    let mut decoder = BodyDecoder::new(framed, limits);
    let mut body = Body::default();
    let mut read = 0;
    for end in ends {
        loop {
            let unread = &bytes[read..end];
            match decoder.step(unread)? {
                Step::Data(n) => {
                    assert!(n > 0 && n <= unread.len());
                    let taken = n.min(most);
                    body.data.extend_from_slice(&unread[..taken]);
                    decoder.taken(taken);
                    read += taken;
                }
                Step::Skip(n) => {
                    assert!(n > 0 && n <= unread.len());
                    read += n;
                }
                Step::More => break,
                Step::End(n) => {
                    assert!(decoder.is_done() && n <= unread.len());
                    assert_eq!(decoder.remaining(), Some(0));
                    body.trailers = decoder
                        .trailers(unread)
                        .map(|f| (text(f.name), text(f.value)))
                        .collect();
                    body.len = Some(read + n);
                    return Ok(body);
                }
            }
        }
    }
    Ok(body)
}

pub(crate) fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn request_in_pieces(
    bytes: &[u8],
    ends: impl IntoIterator<Item = usize>,
    every: usize,
    limits: &Limits,
) -> Result<(RequestParser, Parsed), Malformed> {
    let mut head = RequestParser::default();
    let mut parsed = Parsed::Partial;
    for end in ends.into_iter().step_by(every.max(1)) {
        parsed = head.parse(&bytes[..end], limits)?;
        if parsed != Parsed::Partial {
            break;
        }
    }
    Ok((head, parsed))
}

fn response_in_pieces(
    bytes: &[u8],
    ends: impl IntoIterator<Item = usize>,
    every: usize,
    limits: &Limits,
) -> Result<(ResponseParser, Parsed), Malformed> {
    let mut head = ResponseParser::default();
    let mut parsed = Parsed::Partial;
    for end in ends.into_iter().step_by(every.max(1)) {
        parsed = head.parse(&bytes[..end], limits)?;
        if parsed != Parsed::Partial {
            break;
        }
    }
    Ok((head, parsed))
}

fn outcome<H>(result: &Result<(H, Parsed), Malformed>) -> Result<Parsed, &Malformed> {
    result.as_ref().map(|(_, parsed)| *parsed)
}

/// All positions to split at; for long inputs some hundred, to save time.
fn cuts(len: usize) -> impl Iterator<Item = usize> {
    (0..len).step_by(len / 500 + 1)
}
