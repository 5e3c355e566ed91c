//! Handshake: what each side sends, and what it refuses.

#![allow(clippy::unwrap_used)]

use byway_ws::handshake::{ClientHandshake, HandshakeError, Request, Response};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

type Lines = Vec<(String, String)>;

/// Field lines as pairs.
fn parse_lines(text: &[u8]) -> Lines {
    let text = str::from_utf8(text).unwrap();
    assert!(text.is_empty() || text.ends_with("\r\n"));
    let pairs = text.lines().map(|line| line.split_once(": ").unwrap());
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn fields(lines: &Lines) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
    lines
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
}

/// Good lines, but for those of `changed`: a name with its values, none to leave it out.
fn changed(good: &[(&str, &str)], changed: &[(&str, &[&str])]) -> Lines {
    let kept = good
        .iter()
        .filter(|(name, _)| changed.iter().all(|(other, _)| name != other));
    let added = changed
        .iter()
        .flat_map(|(name, values)| values.iter().map(move |v| (name, v)));
    let lines = kept
        .map(|(name, value)| (*name, *value))
        .chain(added.map(|(n, v)| (*n, *v)));
    lines
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

const REQUEST: [(&str, &str); 5] = [
    ("Host", "example.com"),
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", KEY),
];

/// The accept key, or the reason of the refusal.
fn accept(changes: &[(&str, &[&str])]) -> Result<String, HandshakeError> {
    let lines = changed(&REQUEST, changes);
    let request = Request {
        method: b"GET",
        http_minor: 1,
        fields: fields(&lines),
    };
    request
        .check()
        .map(|accepted| accepted.accept_key().as_str().to_owned())
}

const RESPONSE: [(&str, &str); 3] = [
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Accept", ACCEPT),
];

fn check(status: u16, changes: &[(&str, &[&str])]) -> Result<Option<&'static str>, HandshakeError> {
    let lines = changed(&RESPONSE, changes);
    let handshake = ClientHandshake::new(*b"the sample nonce", &["chat", "superchat"]).unwrap();
    handshake.check(Response {
        status,
        http_minor: 1,
        fields: fields(&lines),
    })
}

#[test]
fn a_request_in_any_common_spelling_is_accepted() {
    for changes in [
        &[][..],
        &[("Upgrade", &["WebSocket"][..])],
        &[("Upgrade", &["h2c, websocket"])],
        &[("Upgrade", &[" websocket "])],
        &[("Connection", &["keep-alive, upgrade"])],
        &[("Connection", &["keep-alive", "UPGRADE"])],
        &[("Content-Length", &["0"])],
        &[(
            "Sec-WebSocket-Extensions",
            &["permessage-deflate; client_max_window_bits"],
        )],
        &[("Sec-WebSocket-Protocol", &["a,, b", "c"])],
    ] {
        assert_eq!(accept(changes), Ok(ACCEPT.to_owned()), "{changes:?}");
    }
}

#[test]
fn a_request_with_a_missing_or_wrong_part_is_refused_with_its_reason() {
    for (name, values, error, status) in [
        ("Upgrade", &[][..], HandshakeError::Upgrade, 426),
        ("Upgrade", &["websockets"], HandshakeError::Upgrade, 426),
        ("Connection", &[], HandshakeError::Connection, 426),
        (
            "Connection",
            &["keep-alive"],
            HandshakeError::Connection,
            426,
        ),
        ("Sec-WebSocket-Version", &[], HandshakeError::Version, 426),
        (
            "Sec-WebSocket-Version",
            &["8"],
            HandshakeError::Version,
            426,
        ),
        (
            "Sec-WebSocket-Version",
            &["13", "13"],
            HandshakeError::Version,
            426,
        ),
        ("Sec-WebSocket-Key", &[], HandshakeError::Key, 400),
        ("Sec-WebSocket-Key", &[KEY, KEY], HandshakeError::Key, 400),
        (
            "Sec-WebSocket-Key",
            &["dGhlIHNhbXBsZQ=="],
            HandshakeError::Key,
            400,
        ),
        (
            "Sec-WebSocket-Protocol",
            &["a b"],
            HandshakeError::Protocol,
            400,
        ),
        ("Content-Length", &["5"], HandshakeError::Body, 400),
        ("Transfer-Encoding", &["chunked"], HandshakeError::Body, 400),
    ] {
        let refused = accept(&[(name, values)]).unwrap_err();
        assert_eq!(
            (refused, refused.status()),
            (error, status),
            "{name}: {values:?}"
        );
    }
    let lines = changed(&REQUEST, &[]);
    for (method, http_minor, error, status) in [
        (&b"POST"[..], 1, HandshakeError::Method, 405),
        (b"get", 1, HandshakeError::Method, 405),
        (b"GET", 0, HandshakeError::Http10, 426),
    ] {
        let request = Request {
            method,
            http_minor,
            fields: fields(&lines),
        };
        let refused = request.check().map(|_| ()).unwrap_err();
        assert_eq!((refused, refused.status()), (error, status));
    }
}

#[test]
fn the_server_chooses_the_first_of_its_subprotocols_that_the_client_offers() {
    let lines = changed(
        &REQUEST,
        &[("Sec-WebSocket-Protocol", &["chat, superchat", "v2"])],
    );
    let request = Request {
        method: b"GET",
        http_minor: 1,
        fields: fields(&lines),
    };
    let accepted = request.check().unwrap();
    let offered: Vec<&str> = accepted.protocols().collect();
    assert_eq!(offered, ["chat", "superchat", "v2"]);
    assert_eq!(accepted.choose(&["v3", "v2", "chat"]), Some("v2"));
    assert_eq!(accepted.choose(&["CHAT"]), None);
    assert_eq!(accepted.choose(&[]), None);
    let mut out = Vec::new();
    let refused = accepted.write_fields(Some("v3\r\nSet-Cookie: a"), &mut out);
    assert_eq!(
        (refused, out.is_empty()),
        (Err(HandshakeError::ProtocolNotOffered), true)
    );
    accepted.write_fields(Some("v2"), &mut out).unwrap();
    let mut expected = changed(&RESPONSE, &[("Sec-WebSocket-Protocol", &["v2"])]);
    let mut written = parse_lines(&out);
    written.sort();
    expected.sort();
    assert_eq!(written, expected);
}

#[test]
fn both_sides_of_the_crate_agree() {
    for offered in [&[][..], &["chat"], &["superchat", "chat"]] {
        let client = ClientHandshake::new([7; 16], offered).unwrap();
        let mut request = Vec::new();
        client.write_fields(&mut request);
        let request_lines = parse_lines(&request);
        let request = Request {
            method: b"GET",
            http_minor: 1,
            fields: fields(&request_lines),
        };
        let accepted = request.check().unwrap();
        let protocol = accepted.choose(&["chat"]);
        let mut response = Vec::new();
        accepted.write_fields(protocol, &mut response).unwrap();
        let response_lines = parse_lines(&response);
        let checked = client.check(Response {
            status: 101,
            http_minor: 1,
            fields: fields(&response_lines),
        });
        assert_eq!(checked, Ok(protocol), "{offered:?}");
    }
}

#[test]
fn a_response_with_a_missing_or_wrong_part_is_refused_with_its_reason() {
    assert_eq!(check(101, &[]), Ok(None));
    assert_eq!(check(101, &[("Upgrade", &["WebSocket"])]), Ok(None));
    assert_eq!(
        check(101, &[("Sec-WebSocket-Protocol", &["superchat"])]),
        Ok(Some("superchat"))
    );
    assert_eq!(check(200, &[]), Err(HandshakeError::Status(200)));
    for (name, values, error) in [
        ("Upgrade", &[][..], HandshakeError::Upgrade),
        ("Upgrade", &["h2c"], HandshakeError::Upgrade),
        ("Connection", &[], HandshakeError::Connection),
        ("Connection", &["close"], HandshakeError::Connection),
        ("Sec-WebSocket-Accept", &[], HandshakeError::Accept),
        (
            "Sec-WebSocket-Accept",
            &["s3pPLMBiTxaQ9kYGzzhZRbK+xOO="],
            HandshakeError::Accept,
        ),
        (
            "Sec-WebSocket-Accept",
            &[ACCEPT, ACCEPT],
            HandshakeError::Accept,
        ),
        (
            "Sec-WebSocket-Extensions",
            &["permessage-deflate"],
            HandshakeError::Extension,
        ),
        (
            "Sec-WebSocket-Protocol",
            &["other"],
            HandshakeError::ProtocolNotOffered,
        ),
        (
            "Sec-WebSocket-Protocol",
            &[""],
            HandshakeError::ProtocolNotOffered,
        ),
        (
            "Sec-WebSocket-Protocol",
            &["chat, superchat"],
            HandshakeError::ProtocolNotOffered,
        ),
        (
            "Sec-WebSocket-Protocol",
            &["chat", "chat"],
            HandshakeError::ProtocolNotOffered,
        ),
    ] {
        assert_eq!(
            check(101, &[(name, values)]),
            Err(error),
            "{name}: {values:?}"
        );
    }
    let lines = changed(&RESPONSE, &[]);
    let old = Response {
        status: 101,
        http_minor: 0,
        fields: fields(&lines),
    };
    let handshake = ClientHandshake::new(*b"the sample nonce", &[]).unwrap();
    assert_eq!(handshake.check(old), Err(HandshakeError::Http10));
}

#[test]
fn a_subprotocol_that_would_end_its_line_is_not_offered() {
    for name in ["a\r\nb: c", "", "a b", "a,b", "\u{e9}"] {
        let refused = ClientHandshake::new([0; 16], &[name]).map(|_| ());
        assert_eq!(refused, Err(HandshakeError::Protocol), "{name:?}");
    }
}
