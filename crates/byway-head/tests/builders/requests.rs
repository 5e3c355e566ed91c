//! Pseudo-headers of requests, CONNECT, Host, and framing.

use byway_head::{Framed, Malformed, Scheme, TargetForm, Version};

use crate::{GET, get, request};

const MISSING_METHOD: Malformed = Malformed::PseudoMissing { name: ":method" };
const MISSING_SCHEME: Malformed = Malformed::PseudoMissing { name: ":scheme" };
const MISSING_PATH: Malformed = Malformed::PseudoMissing { name: ":path" };

#[test]
fn a_request_has_method_path_scheme_and_authority_and_no_field_for_them() {
    let built = get(&[("accept", "*/*")]).unwrap();
    let request = built.view();
    assert_eq!(request.method(), b"GET");
    assert_eq!(
        (request.path(), request.query()),
        (&b"/a"[..], Some(&b"b"[..]))
    );
    assert_eq!(request.scheme(), Some(Scheme::Https));
    assert_eq!(request.host(), Some(&b"example.com"[..]));
    assert_eq!(request.target_form(), TargetForm::Origin);
    assert_eq!(request.version(), Version::Http2);
    assert_eq!(built.fields(), [("accept".to_owned(), "*/*".to_owned())]);
    assert!(request.keep_alive());
    assert_eq!(request.upgrade(), None);
}

#[test]
fn a_field_is_a_line_that_can_be_copied_to_http_1() {
    let built = get(&[("accept", "*/*"), ("x-empty", "")]).unwrap();
    let lines: Vec<_> = built
        .view()
        .lines()
        .map(|line| line.sent().unwrap())
        .collect();
    assert_eq!(lines, [&b"accept: */*\r\n"[..], b"x-empty: \r\n"]);
}

#[test]
fn each_pseudo_header_of_a_request_is_needed() {
    for (missing, error) in [
        (":method", MISSING_METHOD),
        (":scheme", MISSING_SCHEME),
        (":path", MISSING_PATH),
        (":authority", Malformed::HostMissing),
    ] {
        let fields: Vec<_> = GET.into_iter().filter(|field| field.0 != missing).collect();
        assert_eq!(request(&fields, true).unwrap_err(), error, "{missing}");
    }
}

#[test]
fn an_empty_pseudo_header_counts_as_none_and_an_empty_authority_as_no_host() {
    for (empty, error) in [
        (":method", MISSING_METHOD),
        (":scheme", MISSING_SCHEME),
        (":path", MISSING_PATH),
        (":authority", Malformed::HostInvalid),
    ] {
        let fields = GET.map(|(name, value)| (name, if name == empty { "" } else { value }));
        assert_eq!(request(&fields, true).unwrap_err(), error, "{empty}");
    }
}

#[test]
fn a_pseudo_header_occurs_once() {
    for repeated in GET {
        let fields = [&GET[..], &[repeated]].concat();
        let error = request(&fields, true).unwrap_err();
        assert_eq!(error, Malformed::PseudoRepeated { name: repeated.0 });
    }
}

#[test]
fn a_pseudo_header_comes_before_all_fields() {
    for last in GET {
        let mut fields: Vec<_> = GET.into_iter().filter(|field| *field != last).collect();
        fields.extend([("accept", "*/*"), last]);
        assert_eq!(
            request(&fields, true).unwrap_err(),
            Malformed::PseudoAfterField
        );
    }
}

#[test]
fn a_pseudo_header_that_is_not_defined_is_refused() {
    for name in [":status", ":foo", ":", ":Method", ":path ", "::path"] {
        let fields = [&GET[..], &[(name, "200")]].concat();
        assert_eq!(
            request(&fields, true).unwrap_err(),
            Malformed::PseudoUnknown,
            "{name}"
        );
    }
}

#[test]
fn a_method_is_a_token_of_at_most_64_bytes() {
    let with = |method: &str| {
        let fields =
            GET.map(|(name, value)| (name, if name == ":method" { method } else { value }));
        request(&fields, true).map(|built| built.view().method().to_vec())
    };
    assert_eq!(with("get"), Ok(b"get".to_vec()));
    assert_eq!(with(&"M".repeat(64)), Ok(vec![b'M'; 64]));
    assert_eq!(
        with(&"M".repeat(65)),
        Err(Malformed::MethodTooLong { limit: 64 })
    );
    for method in ["GET /", "GET\r\nX: y", "G\0T", "GET ", "GET:"] {
        let error = with(method).unwrap_err();
        assert!(
            matches!(error, Malformed::MethodByte { .. }),
            "{method:?} {error:?}"
        );
    }
}

#[test]
fn a_path_begins_with_a_slash_and_has_visible_ascii_only() {
    let with = |path: &str| {
        let fields = GET.map(|(name, value)| (name, if name == ":path" { path } else { value }));
        request(&fields, true).map(|built| built.view().target().to_vec())
    };
    for path in ["/", "//", "/a/../b", "/%00", "/a?b?c"] {
        assert_eq!(with(path), Ok(path.as_bytes().to_vec()));
    }
    for path in [
        "a",
        "?a",
        "http://example.com/",
        "https://other/",
        "example.com:80",
    ] {
        assert_eq!(with(path), Err(Malformed::TargetForm), "{path}");
    }
    for path in [
        "/ HTTP/1.1\r\nX: y",
        "/a b",
        "/#",
        "/\u{e4}",
        "/\0",
        "/\t",
        " /",
        "/ ",
    ] {
        let error = with(path).unwrap_err();
        assert!(
            matches!(error, Malformed::TargetByte { .. }),
            "{path:?} {error:?}"
        );
    }
    assert_eq!(with("*"), Err(Malformed::AsteriskTarget));
}

#[test]
fn an_asterisk_is_the_path_of_options_only() {
    let fields = GET.map(|(name, value)| match name {
        ":method" => (name, "OPTIONS"),
        ":path" => (name, "*"),
        _ => (name, value),
    });
    let built = request(&fields, true).unwrap();
    assert_eq!(built.view().target_form(), TargetForm::Asterisk);
}

#[test]
fn a_scheme_is_http_or_https_in_any_case() {
    let with = |scheme: &str| {
        let fields =
            GET.map(|(name, value)| (name, if name == ":scheme" { scheme } else { value }));
        request(&fields, true).map(|built| built.view().scheme())
    };
    assert_eq!(with("http"), Ok(Some(Scheme::Http)));
    assert_eq!(with("HTTPS"), Ok(Some(Scheme::Https)));
    for scheme in [
        "ftp",
        "https://example.com/?",
        "http ",
        "https\r\nx: y",
        "httpss",
    ] {
        assert_eq!(with(scheme), Err(Malformed::SchemeUnknown), "{scheme}");
    }
}

#[test]
fn an_authority_is_a_host_with_an_optional_port_and_has_no_user() {
    let with = |authority: &str| {
        let fields = GET.map(|(name, value)| {
            (
                name,
                if name == ":authority" {
                    authority
                } else {
                    value
                },
            )
        });
        request(&fields, true).map(|built| built.view().host().unwrap().to_vec())
    };
    for authority in ["a", "a:80", "[::1]:443", "127.0.0.1", "a,b"] {
        assert_eq!(with(authority), Ok(authority.as_bytes().to_vec()));
    }
    for authority in [
        "u@a",
        "a b",
        "a\r\nx: y",
        "a/",
        "a:",
        "a:99999",
        ":80",
        "a#",
    ] {
        assert_eq!(with(authority), Err(Malformed::HostInvalid), "{authority}");
    }
}

#[test]
fn host_stands_in_for_a_missing_authority_and_must_equal_one() {
    let without: Vec<_> = GET
        .into_iter()
        .filter(|field| field.0 != ":authority")
        .collect();
    let with_host = |fields: &[(&str, &str)], host| {
        let fields = [fields, &[("host", host)]].concat();
        request(&fields, true).map(|built| built.view().host().unwrap().to_vec())
    };
    assert_eq!(with_host(&without, "a:1"), Ok(b"a:1".to_vec()));
    assert_eq!(with_host(&GET, "Example.COM"), Ok(b"example.com".to_vec()));
    for host in ["other", "example.com:443", "", "example.com."] {
        assert_eq!(with_host(&GET, host), Err(Malformed::HostDiffers), "{host}");
    }
    let twice = [("host", "example.com"), ("host", "example.com")];
    assert_eq!(get(&twice).unwrap_err(), Malformed::HostRepeated);
}

const CONNECT: [(&str, &str); 2] = [(":method", "CONNECT"), (":authority", "a.test:443")];

#[test]
fn connect_has_an_authority_with_a_port_and_neither_scheme_nor_path() {
    let built = request(&CONNECT, false).unwrap();
    let connect = built.view();
    assert_eq!(connect.target_form(), TargetForm::Authority);
    assert_eq!(
        (connect.target(), connect.host()),
        (&b"a.test:443"[..], Some(&b"a.test:443"[..]))
    );
    assert_eq!((connect.scheme(), connect.framing()), (None, Framed::None));
    for (extra, name) in [((":scheme", "https"), ":scheme"), ((":path", "/"), ":path")] {
        let error = request(&[&CONNECT[..], &[extra]].concat(), false).unwrap_err();
        assert_eq!(error, Malformed::PseudoUnexpected { name });
    }
    for (authority, error) in [
        ("", Malformed::PseudoMissing { name: ":authority" }),
        ("a.test", Malformed::ConnectTarget),
        ("a.test:0", Malformed::ConnectTarget),
        ("u@a.test:1", Malformed::ConnectTarget),
    ] {
        let fields = [CONNECT[0], (":authority", authority)];
        assert_eq!(request(&fields, false).unwrap_err(), error, "{authority}");
    }
    let missing = request(&CONNECT[..1], false).unwrap_err();
    assert_eq!(missing, Malformed::PseudoMissing { name: ":authority" });
    let other_host = request(&[&CONNECT[..], &[("host", "b.test:443")]].concat(), false);
    assert_eq!(other_host.unwrap_err(), Malformed::HostDiffers);
    let content = request(&[&CONNECT[..], &[("content-length", "1")]].concat(), false);
    assert_eq!(content.unwrap_err(), Malformed::ConnectBody);
}

#[test]
fn an_extended_connect_is_a_get_with_an_upgrade() {
    let fields = [
        &[(":method", "CONNECT"), (":protocol", "websocket")],
        &GET[1..],
    ]
    .concat();
    let built = request(&fields, false).unwrap();
    let view = built.view();
    assert_eq!((view.method(), view.path()), (&b"GET"[..], &b"/a"[..]));
    assert_eq!(view.upgrade(), Some(&b"websocket"[..]));
    assert_eq!(
        (view.host(), view.framing()),
        (Some(&b"example.com"[..]), Framed::None)
    );
    assert_eq!(view.scheme(), Some(Scheme::Https));
    for missing in [":scheme", ":path", ":authority"] {
        let fields: Vec<_> = fields
            .iter()
            .copied()
            .filter(|field| field.0 != missing)
            .collect();
        assert!(request(&fields, false).is_err(), "{missing}");
    }
    let content = request(&[&fields[..], &[("content-length", "1")]].concat(), false);
    assert_eq!(content.unwrap_err(), Malformed::ConnectBody);
    for protocol in ["", "a b", "websocket\r\nx: y"] {
        let fields = [
            &[(":method", "CONNECT"), (":protocol", protocol)],
            &GET[1..],
        ]
        .concat();
        assert_eq!(
            request(&fields, false).unwrap_err(),
            Malformed::ProtocolInvalid
        );
    }
}

#[test]
fn a_protocol_is_refused_with_other_methods_and_where_it_is_not_allowed() {
    let error = Malformed::PseudoUnexpected { name: ":protocol" };
    let fields = [&GET[..], &[(":protocol", "websocket")]].concat();
    assert_eq!(request(&fields, false).unwrap_err(), error);

    let (mut head, mut text) = Default::default();
    let limits = byway_head::Limits::default();
    let mut builder =
        byway_head::RequestBuilder::new(Version::Http2, &mut head, &mut text, &limits);
    let extended = [
        &[(":method", "CONNECT"), (":protocol", "websocket")],
        &GET[1..],
    ]
    .concat();
    for (name, value) in extended {
        crate::write(&mut builder, name.as_bytes(), value.as_bytes());
    }
    assert_eq!(builder.finish(false).unwrap_err(), error);
}

#[test]
fn the_body_is_framed_by_the_length_or_the_stream() {
    for (method, lengths, ended, framed) in [
        ("GET", &[][..], true, Ok(Framed::None)),
        ("GET", &[], false, Ok(Framed::Chunked)),
        ("GET", &["0"], true, Ok(Framed::Length(0))),
        ("DELETE", &[], true, Ok(Framed::None)),
        ("POST", &[], true, Ok(Framed::Length(0))),
        ("PUT", &[], true, Ok(Framed::Length(0))),
        ("PATCH", &[], true, Ok(Framed::Length(0))),
        ("POST", &[], false, Ok(Framed::Chunked)),
        ("POST", &["5"], false, Ok(Framed::Length(5))),
        ("POST", &["0"], false, Ok(Framed::Length(0))),
        ("POST", &["5"], true, Err(Malformed::LengthInvalid)),
        ("POST", &["5", "5"], false, Err(Malformed::LengthRepeated)),
        ("POST", &["5, 5"], false, Err(Malformed::LengthInvalid)),
        ("POST", &["+5"], false, Err(Malformed::LengthInvalid)),
        ("POST", &["-1"], false, Err(Malformed::LengthInvalid)),
        ("POST", &[""], false, Err(Malformed::LengthInvalid)),
        ("POST", &["0x5"], false, Err(Malformed::LengthInvalid)),
        (
            "POST",
            &["9223372036854775808"],
            false,
            Err(Malformed::LengthTooLarge),
        ),
    ] {
        let mut fields = GET.to_vec();
        fields[0].1 = method;
        fields.extend(lengths.iter().map(|length| ("content-length", *length)));
        let framing = request(&fields, ended).map(|built| built.view().framing());
        assert_eq!(framing, framed, "{method} {lengths:?} {ended}");
    }
}
