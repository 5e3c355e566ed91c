//! Properties: invariants for arbitrary bytes.

mod common;

use byway_h1::{Parsed, RequestParser, ResponseParser, write};
use byway_head::{Framed, Limits};
use common::{Lines, decode_in_pieces, parse_request, parse_response, text};
use proptest::prelude::*;

/// Pieces of heads, valid and invalid.
fn head_piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(b"\r\n".to_vec()),
        Just(b"\n".to_vec()),
        Just(b" ".to_vec()),
        Just(b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec()),
        Just(b"HTTP/1.1 200 OK\r\n".to_vec()),
        Just(b"Content-Length: 5\r\n".to_vec()),
        Just(b"Transfer-Encoding: chunked\r\n".to_vec()),
        Just(b"Connection: close\r\n".to_vec()),
        "[A-Za-z-]{1,8}: ?[a-z ]{0,8}\r\n".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..4),
    ]
}

fn chunk_piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 1..20).prop_map(|data| chunk(&data)),
        Just(b"0\r\n".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"A: b\r\n".to_vec()),
        Just(b";a=\"b\"".to_vec()),
        "[0-9a-f]{1,3}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..3),
    ]
}

fn joined(piece: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn chunk(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write::chunk_prefix(&mut out, data.len());
    out.extend_from_slice(data);
    out.extend_from_slice(write::CHUNK_SUFFIX);
    out
}

fn lines(fields: byway_head::Fields<'_>) -> Lines {
    fields.map(|f| (text(f.name), text(f.value))).collect()
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic_and_parse_the_same_at_every_split(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = parse_request(&bytes, &Limits::default());
        let _ = parse_response(&bytes, &Limits::default());
    }

    #[test]
    fn head_like_bytes_parse_the_same_at_every_split(bytes in joined(head_piece()), head_bytes in 1usize..200, fields in 0usize..6) {
        let limits = Limits { head_bytes, fields, target_bytes: 3, ..Limits::default() };
        let _ = parse_request(&bytes, &limits);
        let _ = parse_response(&bytes, &limits);
    }

    #[test]
    fn a_request_that_parses_is_written_and_parsed_again_to_the_same(bytes in joined(head_piece())) {
        let mut head = RequestParser::default();
        let limits = Limits::default();
        if let Ok(Parsed::Complete(_)) = head.parse(&bytes, &limits) {
            let first = head.view(&bytes);
            let mut out = Vec::new();
            write::request_line(&mut out, first.method(), first.target()).unwrap();
            first.fields().for_each(|f| write::field(&mut out, f.name, f.value).unwrap());
            write::end_of_head(&mut out);
            let mut again = RequestParser::default();
            prop_assert_eq!(again.parse(&out, &limits), Ok(Parsed::Complete(out.len())));
            let second = again.view(&out);
            prop_assert_eq!((first.method(), first.target()), (second.method(), second.target()));
            prop_assert_eq!(lines(first.fields()), lines(second.fields()));
            prop_assert_eq!(first.framing(), second.framing());
        }
    }

    #[test]
    fn any_fields_that_can_be_written_are_parsed_back(
        fields in prop::collection::vec(("[!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}", prop::collection::vec(any::<u8>(), 0..30)), 0..20),
    ) {
        let mut out = Vec::new();
        write::status_line(&mut out, 200, b"OK").unwrap();
        let mut sent = Lines::new();
        for (name, value) in &fields {
            if write::field(&mut out, name.as_bytes(), value).is_ok() {
                sent.push((name.clone(), text(trimmed(value))));
            }
        }
        write::end_of_head(&mut out);
        let mut head = ResponseParser::default();
        prop_assert_eq!(head.parse(&out, &Limits::default()), Ok(Parsed::Complete(out.len())));
        let read: Lines = head.view(&out).fields().map(|f| (text(f.name), text(f.value))).collect();
        prop_assert_eq!(read.into_iter().map(|(n, v)| (n.replace("\\'", "'"), v)).collect::<Lines>(), sent);
    }

    #[test]
    fn the_decoded_data_does_not_depend_on_splits(
        bytes in joined(chunk_piece()),
        cuts in prop::collection::vec(0usize..200, 0..6),
        most in 1usize..30,
        head_bytes in 1usize..60,
    ) {
        let limits = Limits { head_bytes, chunk_extension_bytes: 10, ..Limits::default() };
        let mut ends: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).chain([bytes.len()]).collect();
        ends.sort_unstable();
        let whole = decode_in_pieces(Framed::Chunked, &bytes, [bytes.len()], &limits, usize::MAX);
        prop_assert_eq!(&whole, &decode_in_pieces(Framed::Chunked, &bytes, ends, &limits, most));
        prop_assert_eq!(&whole, &decode_in_pieces(Framed::Chunked, &bytes, 0..=bytes.len(), &limits, most));
    }

    #[test]
    fn chunks_that_were_written_decode_to_their_data(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..400), 0..10),
        every in 1usize..50,
    ) {
        let mut out: Vec<u8> = pieces.iter().flat_map(|piece| chunk(piece)).collect();
        write::last_chunk(&mut out, []).unwrap();
        let len = out.len();
        out.extend_from_slice(b"next");
        let ends = (0..out.len()).step_by(every).chain([out.len()]);
        let body = decode_in_pieces(Framed::Chunked, &out, ends, &Limits::default(), usize::MAX).unwrap();
        prop_assert_eq!(body.data, pieces.concat());
        prop_assert_eq!(body.len, Some(len));
    }

    #[test]
    fn a_length_yields_exactly_that_many_bytes(bytes in prop::collection::vec(any::<u8>(), 0..100), length in 0usize..100) {
        let body = decode_in_pieces(Framed::Length(length as u64), &bytes, 0..=bytes.len(), &Limits::default(), 7).unwrap();
        prop_assert_eq!(body.data, &bytes[..length.min(bytes.len())]);
        prop_assert_eq!(body.len.is_some(), length <= bytes.len());
    }
}

fn trimmed(value: &[u8]) -> &[u8] {
    let start = value
        .iter()
        .position(|b| !b" \t".contains(b))
        .unwrap_or(value.len());
    let end = value
        .iter()
        .rposition(|b| !b" \t".contains(b))
        .map_or(start, |n| n + 1);
    &value[start..end]
}
