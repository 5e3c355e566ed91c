use std::fmt::Debug;

use proptest::prelude::*;

use super::*;

/// Parses every prefix of `bytes`: each incomplete one requests more, and bytes after the message
/// change nothing.
fn parsed<T: Debug + PartialEq>(parse: fn(&[u8]) -> Parsed<T>, bytes: &[u8]) -> T {
    for len in 0..bytes.len() {
        assert_eq!(
            parse(&bytes[..len]),
            Ok(None),
            "the first {len} bytes of {bytes:?}"
        );
    }
    let (message, len) = parse(bytes).unwrap().unwrap();
    assert_eq!(len, bytes.len());
    let longer = [bytes, b"behind\0\xff"].concat();
    assert_eq!(parse(&longer).unwrap().unwrap(), (message, len));
    parse(bytes).unwrap().unwrap().0
}

/// The error for `bytes`, which must be returned as soon as the last byte is there.
fn refused<T: Debug + PartialEq>(parse: fn(&[u8]) -> Parsed<T>, bytes: &[u8]) -> SocksError {
    for len in 0..bytes.len() {
        assert_eq!(
            parse(&bytes[..len]),
            Ok(None),
            "the first {len} bytes of {bytes:?}"
        );
    }
    parse(bytes).unwrap_err()
}

fn encoded(encode: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out);
    out
}

fn target(text: &str) -> Target {
    text.parse().unwrap()
}

#[test]
fn a_greeting_is_read_and_written() {
    let greeting = parsed(Greeting::parse, &[5, 3, 0, 2, 0x80]);
    assert!(greeting.offers(Method::Open) && greeting.offers(Method::Password));
    assert_eq!(encoded(|out| greeting.encode(out)), [5, 3, 0, 2, 0x80]);
    assert_eq!(
        encoded(|out| Greeting::new(&[Method::Password]).encode(out)),
        [5, 1, 2]
    );
    assert!(!parsed(Greeting::parse, &[5, 0]).offers(Method::Open));
}

#[test]
fn another_version_is_detected_at_the_first_byte() {
    assert_eq!(refused(Greeting::parse, &[4]), SocksError::Version(4));
    assert_eq!(refused(Request::parse, b"G"), SocksError::Version(b'G'));
    assert_eq!(refused(Request4::parse, &[5]), SocksError::Version(5));
    assert_eq!(refused(Login::parse, &[5]), SocksError::Version(5));
    assert_eq!(refused(Reply4::parse, &[4]), SocksError::Version(4));
}

#[test]
fn a_method_is_chosen_or_none_is() {
    let choices = [
        ([5, 0], MethodChoice::Use(Method::Open)),
        ([5, 2], MethodChoice::Use(Method::Password)),
        ([5, 0xff], MethodChoice::NoneAcceptable),
    ];
    for (bytes, choice) in choices {
        assert_eq!(parsed(MethodChoice::parse, &bytes), choice);
        assert_eq!(encoded(|out| choice.encode(out)), bytes);
    }
    assert_eq!(refused(MethodChoice::parse, &[5, 1]), SocksError::Method(1));
}

#[test]
fn a_login_is_read_and_written_and_never_printed() {
    let login = parsed(Login::parse, b"\x01\x05alice\x06secret");
    assert_eq!(
        (login.user(), login.password()),
        (&b"alice"[..], &b"secret"[..])
    );
    assert_eq!(encoded(|out| login.encode(out)), b"\x01\x05alice\x06secret");
    assert_eq!(format!("{login:?}"), "Login(alice)");
    assert_eq!(
        parsed(Login::parse, &[1, 0, 0]),
        Login::new(b"", b"").unwrap()
    );
    assert_eq!(
        Login::new(&[b'u'; 256], b""),
        Err(SocksError::TooLong("user", 255))
    );
    assert_eq!(
        Login::new(b"u", &[b'p'; 256]),
        Err(SocksError::TooLong("password", 255))
    );
}

#[test]
fn every_login_status_but_zero_is_a_refusal() {
    assert_eq!(parsed(LoginStatus::parse, &[1, 0]), LoginStatus::Accepted);
    assert_eq!(parsed(LoginStatus::parse, &[1, 7]), LoginStatus::Refused);
    assert_eq!(encoded(|out| LoginStatus::Refused.encode(out)), [1, 1]);
    assert_eq!(encoded(|out| LoginStatus::Accepted.encode(out)), [1, 0]);
}

#[test]
fn requests_are_read_and_written_with_every_kind_of_address() {
    let table: [(&[u8], Command, &str); 5] = [
        (
            b"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50",
            Command::Connect,
            "127.0.0.1:80",
        ),
        (
            b"\x05\x01\x00\x03\x0bexample.com\x01\xbb",
            Command::Connect,
            "example.com:443",
        ),
        (
            b"\x05\x02\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x00\x50",
            Command::Bind,
            "[::1]:80",
        ),
        (
            b"\x05\x03\x00\x01\x01\x02\x03\x04\x00\x35",
            Command::UdpAssociate,
            "1.2.3.4:53",
        ),
        (b"\x05\x01\x00\x03\x01a\x00\x01", Command::Connect, "a:1"),
    ];
    for (bytes, command, text) in table {
        let request = parsed(Request::parse, bytes);
        assert_eq!(
            (request.command(), request.target()),
            (command, &target(text))
        );
        assert_eq!(encoded(|out| request.encode(out)), bytes);
        assert_eq!(Request::new(command, target(text)), Ok(request));
    }
}

#[test]
fn a_name_that_is_an_address_is_read_as_the_address() {
    for (name, text) in [
        ("127.0.0.1", "127.0.0.1:80"),
        ("::1", "[::1]:80"),
        ("[::1]", "[::1]:80"),
    ] {
        let bytes = [&[5, 1, 0, 3, name.len() as u8], name.as_bytes(), &[0, 80]].concat();
        assert_eq!(
            parsed(Request::parse, &bytes).target(),
            &target(text),
            "{name}"
        );
        let bytes = [&[4, 1, 0, 80, 0, 0, 0, 7, 0], name.as_bytes(), &[0]].concat();
        assert_eq!(
            parsed(Request4::parse, &bytes).target(),
            &target(text),
            "{name}"
        );
    }
}

#[test]
fn names_that_are_no_host_names_are_refused() {
    for name in [
        &b"a b"[..],
        b"a\0b",
        b"\xff\xfe",
        b"127.1",
        b"0x7f.1",
        b"",
        b"-a",
        b"a..b",
        &[b'a'; 255],
    ] {
        let bytes = [&[5, 1, 0, 3, name.len() as u8], name, &[0, 80]].concat();
        assert!(
            matches!(refused(Request::parse, &bytes), SocksError::Target(_)),
            "{name:?}"
        );
    }
    assert_eq!(
        refused(Request::parse, b"\x05\x01\x00\x03\x02a\n\x00\x50").to_string(),
        "the SOCKS request has `a\\n`, which is not a valid host name, address or port"
    );
}

#[test]
fn port_zero_is_no_target_of_a_connect() {
    assert_eq!(
        refused(Request::parse, &[5, 1, 0, 1, 1, 2, 3, 4, 0, 0]),
        SocksError::Target("port 0".into())
    );
    assert_eq!(
        refused(Request::parse, b"\x05\x01\x00\x03\x01a\x00\x00"),
        SocksError::Target("port 0".into())
    );
    let any = parsed(Request::parse, &[5, 3, 0, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(any.target(), &Target::Addr(NO_ADDR));
}

#[test]
fn unknown_commands_and_address_types_are_reported() {
    assert_eq!(refused(Request::parse, &[5, 9]), SocksError::Command(9));
    assert_eq!(
        refused(Request::parse, &[5, 1, 0, 2]),
        SocksError::AddressType(2)
    );
    assert_eq!(refused(Request4::parse, &[4, 3]), SocksError::Command(3));
}

#[test]
fn replies_are_read_and_written_with_every_code() {
    for code in 0..=8 {
        let bytes = [5, code, 0, 1, 10, 0, 0, 1, 0x1f, 0x90];
        let reply = parsed(Reply::parse, &bytes);
        assert_eq!(
            (reply.code as u8, reply.bound),
            (code, "10.0.0.1:8080".parse().unwrap())
        );
        assert_eq!(encoded(|out| reply.encode(out)), bytes);
    }
    assert_eq!(refused(Reply::parse, &[5, 9]), SocksError::Code(9));
    assert_eq!(
        encoded(|out| Reply::new(ReplyCode::NotAllowed).encode(out)),
        [5, 2, 0, 1, 0, 0, 0, 0, 0, 0]
    );
}

#[test]
fn a_reply_may_carry_an_ipv6_address_or_a_name() {
    let bound = "[2001:db8::1]:80".parse().unwrap();
    let bytes = encoded(|out| {
        Reply {
            code: ReplyCode::Succeeded,
            bound,
        }
        .encode(out)
    });
    assert_eq!(parsed(Reply::parse, &bytes).bound, bound);
    assert_eq!(
        parsed(Reply::parse, b"\x05\x00\x00\x03\x02??\x00\x50").bound,
        NO_ADDR
    );
}

#[test]
fn version_four_is_read_and_written_with_and_without_a_name() {
    let plain = b"\x04\x01\x00\x50\x7f\x00\x00\x01alice\0";
    let request = parsed(Request4::parse, plain);
    assert_eq!(
        (request.target(), request.user()),
        (&target("127.0.0.1:80"), &b"alice"[..])
    );
    assert_eq!(encoded(|out| request.encode(out)), plain);
    assert_eq!(
        Request4::new(Command::Connect, target("127.0.0.1:80"), b"alice"),
        Ok(request)
    );

    let named = b"\x04\x02\x01\xbb\x00\x00\x00\x01\0example.com\0";
    let request = parsed(Request4::parse, named);
    assert_eq!(
        (request.command(), request.target()),
        (Command::Bind, &target("example.com:443"))
    );
    assert_eq!(encoded(|out| request.encode(out)), named);
}

#[test]
fn the_texts_of_version_four_are_bounded() {
    let head = [4, 1, 0, 80, 127, 0, 0, 1];
    let longest = [&head[..], &[b'u'; 255], &[0]].concat();
    assert_eq!(parsed(Request4::parse, &longest).user().len(), 255);
    let too_long = [&head[..], &[b'u'; 256]].concat();
    assert_eq!(
        refused(Request4::parse, &too_long),
        SocksError::TooLong("user id", 255)
    );
    let name = [&[4, 1, 0, 80, 0, 0, 0, 1, 0][..], &[b'n'; 256]].concat();
    assert_eq!(
        refused(Request4::parse, &name),
        SocksError::TooLong("host name", 255)
    );
}

#[test]
fn requests_unsupported_by_version_four_are_refused() {
    for text in ["[::1]:80", "0.0.0.9:80", "unix:/run/a"] {
        assert!(
            Request4::new(Command::Connect, target(text), b"").is_err(),
            "{text}"
        );
    }
    assert!(Request4::new(Command::UdpAssociate, target("a:80"), b"").is_err());
    assert!(Request4::new(Command::Connect, target("a:80"), b"a\0b").is_err());
    assert!(Request4::new(Command::Connect, target("a:80"), &[b'u'; 256]).is_err());
    assert!(Request::new(Command::Connect, target("unix:/run/a")).is_err());
}

#[test]
fn replies_of_version_four_are_read_and_written() {
    for code in 90..=93 {
        let bytes = [0, code, 0, 80, 10, 0, 0, 1];
        let reply = parsed(Reply4::parse, &bytes);
        assert_eq!(
            (reply.code as u8, reply.bound),
            (code, "10.0.0.1:80".parse().unwrap())
        );
        assert_eq!(encoded(|out| reply.encode(out)), bytes);
    }
    assert_eq!(refused(Reply4::parse, &[0, 94]), SocksError::Code(94));
    assert_eq!(
        Reply4::granted("[::1]:80".parse().unwrap()),
        Reply4::new(ReplyCode4::Granted)
    );
    assert_eq!(
        Reply4::granted("1.2.3.4:5".parse().unwrap()).bound,
        "1.2.3.4:5".parse().unwrap()
    );
}

/// Once the result for a prefix is not "incomplete", every longer prefix has the same result.
fn has_the_same_result_at_every_split<T: Debug + PartialEq>(
    parse: fn(&[u8]) -> Parsed<T>,
    bytes: &[u8],
) {
    let whole = parse(bytes);
    for len in 0..bytes.len() {
        let part = parse(&bytes[..len]);
        assert!(
            part == Ok(None) || part == whole,
            "at {len}: {part:?} but in the end {whole:?}"
        );
    }
}

proptest! {
    #[test]
    fn no_parser_depends_on_where_the_bytes_are_split(
        first in prop_oneof![Just(0_u8), Just(1), Just(4), Just(5)],
        second in 0_u8..6,
        rest in prop::collection::vec(prop_oneof![0_u8..8, any::<u8>()], 0..40),
    ) {
        let bytes = [&[first, second][..], &rest].concat();
        has_the_same_result_at_every_split(Greeting::parse, &bytes);
        has_the_same_result_at_every_split(MethodChoice::parse, &bytes);
        has_the_same_result_at_every_split(Login::parse, &bytes);
        has_the_same_result_at_every_split(LoginStatus::parse, &bytes);
        has_the_same_result_at_every_split(Request::parse, &bytes);
        has_the_same_result_at_every_split(Reply::parse, &bytes);
        has_the_same_result_at_every_split(Request4::parse, &bytes);
        has_the_same_result_at_every_split(Reply4::parse, &bytes);
    }
}
