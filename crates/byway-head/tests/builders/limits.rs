//! What a head may hold, while it is decoded.

use byway_head::{FieldSink, Limits, Malformed, RequestBuilder, RequestHead, Version};

use crate::{GET, request_within};

fn with(limits: &Limits, fields: &[(&[u8], &[u8])]) -> Result<(), Malformed> {
    let pseudo = GET
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let fields: Vec<_> = pseudo.chain(fields.iter().copied()).collect();
    request_within(limits, &fields, true).map(|_| ())
}

#[test]
fn a_head_is_as_long_as_its_limit_and_no_longer() {
    let lines: usize = GET
        .iter()
        .map(|(name, value)| name.len() + value.len() + 4)
        .sum();
    let limits = Limits {
        head_bytes: lines + 10 + 4,
        ..Limits::default()
    };
    assert_eq!(with(&limits, &[(b"a", &[b'b'; 9])]), Ok(()));
    let error = with(&limits, &[(b"a", &[b'b'; 10])]).unwrap_err();
    assert_eq!(
        error,
        Malformed::HeadTooLarge {
            limit: limits.head_bytes
        }
    );
    assert_eq!(error.status(), 431);
}

#[test]
fn fields_are_counted_and_pseudo_headers_are_not() {
    let limits = Limits {
        fields: 3,
        ..Limits::default()
    };
    let field = (&b"a"[..], &b""[..]);
    assert_eq!(with(&limits, &[field; 3]), Ok(()));
    let error = with(&limits, &[field; 4]).unwrap_err();
    assert_eq!(
        (error.clone(), error.status()),
        (Malformed::TooManyFields { limit: 3 }, 431)
    );
}

#[test]
fn a_path_over_its_limit_is_answered_with_414() {
    let limits = Limits {
        target_bytes: 4,
        ..Limits::default()
    };
    assert_eq!(with(&limits, &[]), Ok(()));
    let limits = Limits {
        target_bytes: 3,
        ..Limits::default()
    };
    let error = with(&limits, &[]).unwrap_err();
    assert_eq!(
        (error.clone(), error.status()),
        (Malformed::TargetTooLong { limit: 3 }, 414)
    );
}

#[test]
fn a_head_without_end_never_holds_more_than_the_limit_and_one_field() {
    let limits = Limits::default();
    let (mut head, mut text) = (RequestHead::default(), Vec::new());
    let mut builder = RequestBuilder::new(Version::Http2, &mut head, &mut text, &limits);
    for _ in 0..10_000 {
        crate::write(&mut builder, b"cookie", &[b'c'; 4000]);
        crate::write(&mut builder, b"name", &[b'v'; 4000]);
        assert!(builder.text().len() <= limits.head_bytes);
    }
    assert!(matches!(
        builder.finish(true),
        Err(Malformed::HeadTooLarge { .. })
    ));
    assert!(text.capacity() <= 4 * limits.head_bytes);
}
