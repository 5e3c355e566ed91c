//! Responses: their status, interim ones, and framing.

use byway_head::{Framed, Malformed};

use crate::response;

fn status(status: &str, ended: bool) -> Result<u16, Malformed> {
    response(&[(":status", status)], ended).map(|(head, text)| head.view(&text).status())
}

#[test]
fn a_status_has_three_digits_and_does_not_begin_with_zero() {
    for valid in ["200", "204", "404", "599", "999"] {
        assert_eq!(status(valid, true), Ok(valid.parse().unwrap()));
    }
    for invalid in ["20", "2000", "099", "2 0", "2x0", "+20", "200 OK", "-20"] {
        let error = status(invalid, true).unwrap_err();
        assert!(matches!(error, Malformed::StatusCode { .. }), "{invalid}");
    }
}

#[test]
fn a_response_has_one_status_and_no_other_pseudo_header() {
    let missing = Malformed::PseudoMissing { name: ":status" };
    for (fields, error) in [
        (&[][..], missing.clone()),
        (&[(":status", "")], missing),
        (
            &[(":status", "200"), (":status", "200")],
            Malformed::PseudoRepeated { name: ":status" },
        ),
        (
            &[("a", "1"), (":status", "200")],
            Malformed::PseudoAfterField,
        ),
        (
            &[(":status", "200"), (":path", "/")],
            Malformed::PseudoUnknown,
        ),
        (
            &[(":method", "GET"), (":status", "200")],
            Malformed::PseudoUnknown,
        ),
    ] {
        assert_eq!(response(fields, true).unwrap_err(), error, "{fields:?}");
    }
}

#[test]
fn an_interim_response_does_not_end_the_stream_and_is_not_101() {
    assert_eq!(status("100", false), Ok(100));
    assert_eq!(status("103", false), Ok(103));
    assert_eq!(status("103", true), Err(Malformed::InterimInvalid));
    assert_eq!(status("101", false), Err(Malformed::InterimInvalid));
    assert_eq!(status("101", true), Err(Malformed::InterimInvalid));
}

#[test]
fn the_body_is_framed_by_the_length_or_the_stream() {
    for (method, fields, ended, framed) in [
        ("GET", &[(":status", "200")][..], false, Ok(Framed::Chunked)),
        ("GET", &[(":status", "200")], true, Ok(Framed::Length(0))),
        (
            "GET",
            &[(":status", "200"), ("content-length", "7")],
            false,
            Ok(Framed::Length(7)),
        ),
        (
            "HEAD",
            &[(":status", "200"), ("content-length", "7")],
            true,
            Ok(Framed::None),
        ),
        (
            "GET",
            &[(":status", "304"), ("content-length", "7")],
            true,
            Ok(Framed::None),
        ),
        ("GET", &[(":status", "204")], true, Ok(Framed::None)),
        ("CONNECT", &[(":status", "200")], false, Ok(Framed::None)),
        (
            "GET",
            &[
                (":status", "200"),
                ("content-length", "7"),
                ("content-length", "7"),
            ],
            false,
            Err(Malformed::LengthRepeated),
        ),
    ] {
        let (head, text) = response(fields, ended).unwrap();
        let framing = head.view(&text).framing(method.as_bytes());
        assert_eq!(framing, framed, "{method} {fields:?} {ended}");
    }
}
