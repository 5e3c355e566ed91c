//! Responses: what a client reads of a stream.

use byway_h3::{ErrorCode, Limits, MessageError};
use byway_head::{Framed, HeadOut};

use crate::{Seen, data, frame, head, read_response, trailers};

fn read(method: &str, parts: &[Vec<u8>]) -> (Seen, Result<(), MessageError>) {
    let stream = parts.concat();
    let whole = read_response(method, &stream, stream.len().max(1), &Limits::default());
    for piece in [1, 3] {
        let pieces = read_response(method, &stream, piece, &Limits::default());
        assert_eq!(whole, pieces, "pieces of {piece}");
    }
    whole
}

fn status(status: u16, length: Option<u64>) -> Vec<u8> {
    head(|out| {
        out.response(status, b"")?;
        if let Some(length) = length {
            out.framing(Framed::Length(length));
        }
        Ok(())
    })
}

#[test]
fn interim_responses_come_before_the_final_one_and_are_counted() {
    let parts = [
        status(100, None),
        status(103, None),
        status(200, Some(4)),
        data(b"body"),
    ];
    let (seen, ended) = read("GET", &parts);
    let statuses: Vec<_> = seen.heads.iter().map(|head| &*head.0).collect();
    assert_eq!(statuses, ["100", "103", "200"]);
    assert_eq!(
        (seen.waste, seen.data, ended),
        (2, b"body".to_vec(), Ok(()))
    );
    let (_, ended) = read("GET", &[status(103, None), trailers()]);
    assert!(
        matches!(ended, Err(MessageError::Malformed(_))),
        "{ended:?}"
    );
    assert_eq!(
        read("GET", &[status(103, None), data(b"a")])
            .1
            .unwrap_err()
            .code(),
        ErrorCode::FRAME_UNEXPECTED
    );
}

#[test]
fn a_response_has_the_body_that_method_and_status_allow() {
    for (method, code, length, body, valid) in [
        ("GET", 200, None, "body", true),
        ("GET", 200, Some(4), "body", true),
        ("GET", 200, Some(5), "body", false),
        ("GET", 200, Some(3), "body", false),
        ("HEAD", 200, Some(4), "", true),
        ("HEAD", 200, Some(4), "body", false),
        ("GET", 204, None, "", true),
        ("GET", 204, None, "body", false),
        ("GET", 304, Some(4), "", true),
        ("CONNECT", 200, None, "bytes", true),
        ("CONNECT", 407, Some(4), "body", true),
    ] {
        let ended = read(method, &[status(code, length), data(body.as_bytes())]).1;
        let expected = if valid {
            Ok(())
        } else {
            Err(MessageError::Length)
        };
        assert_eq!(ended, expected, "{method} {code} {length:?} {body}");
    }
}

#[test]
fn trailers_end_a_response_and_a_tunnel_has_none() {
    let (seen, ended) = read("GET", &[status(200, None), data(b"body"), trailers()]);
    assert_eq!(seen.trailers, Some(vec!["grpc-status: 0".to_owned()]));
    assert_eq!(ended, Ok(()));
    let (_, ended) = read("CONNECT", &[status(200, None), trailers()]);
    assert_eq!(ended.unwrap_err().code(), ErrorCode::FRAME_UNEXPECTED);
}

#[test]
fn a_push_is_refused() {
    let (_, ended) = read("GET", &[status(200, None), frame(0x5, &[0, 0, 0])]);
    assert_eq!(ended.unwrap_err().code(), ErrorCode::ID_ERROR);
}
