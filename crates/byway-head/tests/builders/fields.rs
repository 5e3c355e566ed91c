//! Names and values of fields, and fields that HTTP/2 does not have.

use byway_head::{Limits, Malformed};

use crate::{GET, get, request_within, response};

fn with(name: &[u8], value: &[u8]) -> Result<(), Malformed> {
    let mut fields: Vec<_> = GET
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
        .collect();
    fields.push((name, value));
    request_within(&Limits::default(), &fields, true).map(|_| ())
}

#[test]
fn a_name_is_a_token_in_lower_case() {
    for byte in 0..=u8::MAX {
        let is_valid = byway_head::octets::is_token_byte(byte) && !byte.is_ascii_uppercase();
        for name in [&[byte, b'a'][..], &[b'a', byte], &[b'a', byte, b'a']] {
            if name[0] == b':' {
                continue;
            }
            let accepted = with(name, b"");
            assert_eq!(accepted.is_ok(), is_valid, "{name:?}");
            assert!(
                is_valid || matches!(accepted, Err(Malformed::NameByte { .. })),
                "{name:?}"
            );
        }
    }
    assert!(matches!(with(b"", b"a"), Err(Malformed::NameEmpty { .. })));
}

#[test]
fn a_value_has_no_control_bytes_except_tabs() {
    for byte in 0..=u8::MAX {
        let is_valid = byte == b'\t' || byte >= b' ' && byte != 0x7f;
        let accepted = with(b"a", &[b'a', byte, b'a']);
        assert_eq!(accepted.is_ok(), is_valid, "{byte}");
        assert!(
            is_valid || matches!(accepted, Err(Malformed::ValueByte { .. })),
            "{byte}"
        );
    }
    for value in [&b"a\r\nx: y"[..], b"a\nb", b"a\rb", b"a\0b", b"\r\n", b"\0"] {
        assert!(
            matches!(with(b"a", value), Err(Malformed::ValueByte { .. })),
            "{value:?}"
        );
    }
    assert_eq!(with(b"a", b""), Ok(()));
}

#[test]
fn a_value_neither_starts_nor_ends_with_white_space() {
    for value in [&b" a"[..], b"a ", b"\ta", b"a\t", b" ", b"\t"] {
        assert!(
            matches!(with(b"a", value), Err(Malformed::ValueSpace { .. })),
            "{value:?}"
        );
    }
    assert_eq!(with(b"a", b"a \t a"), Ok(()));
}

#[test]
fn fields_about_the_connection_are_refused_in_requests_and_responses() {
    for (name, value) in [
        ("connection", "close"),
        ("connection", "x-a"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "identity"),
        ("upgrade", "websocket"),
    ] {
        assert_eq!(
            get(&[(name, value)]).unwrap_err(),
            Malformed::ConnectionField,
            "{name}"
        );
        let refused = response(&[(":status", "200"), (name, value)], true);
        assert_eq!(refused.unwrap_err(), Malformed::ConnectionField, "{name}");
    }
}

#[test]
fn te_is_trailers_or_refused() {
    assert!(get(&[("te", "trailers")]).is_ok());
    assert!(get(&[("te", "Trailers")]).is_ok());
    for value in ["", "gzip", "trailers, gzip", "trailers;q=0.5", "chunked"] {
        assert_eq!(
            get(&[("te", value)]).unwrap_err(),
            Malformed::TeUnsupported,
            "{value}"
        );
    }
}

#[test]
fn the_first_violation_counts_and_nothing_is_kept_behind_it() {
    let (mut head, mut text, limits) = Default::default();
    let mut builder =
        byway_head::RequestBuilder::new(byway_head::Version::Http2, &mut head, &mut text, &limits);
    crate::write(&mut builder, b"a", b"\0");
    for _ in 0..1000 {
        crate::write(&mut builder, b"b\n", &[b'b'; 100]);
        assert!(byway_head::FieldSink::text(&mut builder).is_empty());
    }
    let error = builder.finish(true).unwrap_err();
    assert!(
        matches!(error, Malformed::ValueByte { byte: 0, .. }),
        "{error:?}"
    );
}
