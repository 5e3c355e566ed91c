//! Trailers: fields only, by the rules of all fields.

use byway_head::{Limits, Malformed, Section, Trailers, TrailersBuilder};

fn trailers(fields: &[(&str, &str)]) -> Result<Vec<String>, Malformed> {
    let (mut section, mut text, limits) = (Section::default(), b"body".to_vec(), Limits::default());
    let mut builder = TrailersBuilder::new(&mut section, &mut text, &limits);
    for (name, value) in fields {
        crate::write(&mut builder, name.as_bytes(), value.as_bytes());
    }
    let built = builder.finish();
    assert!(text.starts_with(b"body"));
    built.map(|()| {
        Trailers::new(&section, &text)
            .map(|field| format!("{field:?}"))
            .collect()
    })
}

#[test]
fn trailers_are_fields_and_those_that_may_not_be_trailers_are_left_out() {
    assert_eq!(
        trailers(&[
            ("grpc-status", "0"),
            ("content-length", "5"),
            ("grpc-message", "")
        ]),
        Ok(vec![
            "grpc-status: 0".to_owned(),
            "grpc-message: ".to_owned()
        ])
    );
    assert_eq!(trailers(&[]), Ok(vec![]));
}

#[test]
fn pseudo_headers_and_invalid_fields_are_refused_in_trailers() {
    for (field, error) in [
        ((":status", "200"), Malformed::PseudoUnknown),
        ((":path", "/"), Malformed::PseudoUnknown),
        (("transfer-encoding", "chunked"), Malformed::ConnectionField),
        (
            ("Grpc-Status", "0"),
            Malformed::NameByte { at: 9, byte: b'G' },
        ),
    ] {
        assert_eq!(
            trailers(&[("a", ""), field]).unwrap_err().class(),
            error.class(),
            "{field:?}"
        );
    }
}

#[test]
fn trailers_over_the_limit_are_refused_as_such() {
    let (mut section, mut text) = (Section::default(), Vec::new());
    let limits = Limits {
        head_bytes: 10,
        ..Limits::default()
    };
    let mut builder = TrailersBuilder::new(&mut section, &mut text, &limits);
    crate::write(&mut builder, b"name", b"value");
    assert_eq!(
        builder.finish(),
        Err(Malformed::TrailersTooLarge { limit: 10 })
    );
    assert!(section.is_empty());
}
