use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;

use super::dialogue::{Dialogue, connected};
use super::*;
use crate::answer_head::BadHead;
use crate::dial::{Dialled, Dialler, Options};
use crate::error::DialError;
use crate::resolve::Resolver;
use crate::rules::AddressRules;
use crate::socks::SocksError;
use crate::stream::{Read, Stream};

mod here;
mod https;
mod socks4;

/// Dials through a parent that plays a script.
async fn ask(
    parent: Parent,
    listener: TcpListener,
    script: &[Step<'_>],
) -> (Result<Dialled, DialError>, Played) {
    ask_for(&target(), parent, listener, script).await
}

async fn ask_for(
    target: &Target,
    parent: Parent,
    listener: TcpListener,
    script: &[Step<'_>],
) -> (Result<Dialled, DialError>, Played) {
    let dialler = Dialler::new(Resolver::system(Handle::current()), Options::default());
    let play = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.set_nodelay(true).unwrap();
        let mut received = Vec::new();
        for step in script {
            step.play(&mut socket, &mut received).await;
        }
        Played { socket, received }
    };
    let rules = AddressRules::guarded();
    tokio::join!(dialler.open_via(&parent, target, &rules), play)
}

struct Played {
    socket: TcpStream,
    received: Vec<u8>,
}

enum Step<'a> {
    /// Reads this number of bytes.
    Recv(usize),
    /// Reads up to the end of a request head.
    RecvHead,
    /// Writes these bytes at once.
    Send(&'a [u8]),
    /// Writes these bytes one by one.
    SendBytewise(&'a [u8]),
    /// Closes in order.
    Close,
}

impl Step<'_> {
    async fn play(&self, socket: &mut TcpStream, received: &mut Vec<u8>) {
        match self {
            Self::Recv(len) => {
                let mut part = vec![0; *len];
                socket.read_exact(&mut part).await.unwrap();
                received.extend(part);
            }
            Self::RecvHead => {
                while !received.ends_with(b"\r\n\r\n") {
                    received.push(socket.read_u8().await.unwrap());
                }
            }
            // A write may fail because the other side has closed already; the test checks for that.
            Self::Send(bytes) => drop(socket.write_all(bytes).await),
            Self::SendBytewise(bytes) => {
                for byte in *bytes {
                    let _ = socket.write_all(&[*byte]).await;
                    tokio::task::yield_now().await;
                }
            }
            Self::Close => drop(socket.shutdown().await),
        }
    }
}

fn target() -> Target {
    "name.example:443".parse().unwrap()
}

async fn parent(scheme: Scheme, login: Option<(&str, &str)>) -> (Parent, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = Target::Addr(listener.local_addr().unwrap());
    let credentials = login.map(|(user, password)| (user.to_owned(), password.to_owned()));
    (
        Parent {
            scheme,
            at,
            credentials,
        },
        listener,
    )
}

async fn socks(
    login: Option<(&str, &str)>,
    script: &[Step<'_>],
) -> (Result<Dialled, DialError>, Played) {
    let (parent, listener) = parent(Scheme::Socks5h, login).await;
    ask(parent, listener, script).await
}

async fn http(
    login: Option<(&str, &str)>,
    script: &[Step<'_>],
) -> (Result<Dialled, DialError>, Played) {
    let (parent, listener) = parent(Scheme::Http, login).await;
    ask(parent, listener, script).await
}

fn why(dialled: Result<Dialled, DialError>) -> ParentError {
    match dialled {
        Err(DialError::Parent { source, .. }) => source,
        other => panic!("{other:?}"),
    }
}

/// Reads exactly `len` bytes of the target.
async fn read(stream: &mut Stream, len: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < len {
        let mut buf = vec![0; len - all.len()];
        let Read::Data(n) = stream.read(&mut buf).await.unwrap() else {
            panic!("an early end")
        };
        all.extend_from_slice(&buf[..n]);
    }
    all
}

const SOCKS_REQUEST: &[u8] = b"\x05\x01\x00\x03\x0cname.example\x01\xbb";
const SOCKS_GRANTED: &[u8] = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50";

#[tokio::test]
async fn a_socks_parent_gets_the_name_and_early_bytes_of_the_target_are_kept() {
    let early = [SOCKS_GRANTED, b"220 welcome"].concat();
    let script = [
        Step::Recv(3),
        Step::Send(b"\x05\x00"),
        Step::Recv(SOCKS_REQUEST.len()),
        Step::Send(&early),
    ];
    let (dialled, mut parent) = socks(None, &script).await;
    let mut dialled = dialled.unwrap();
    assert_eq!(parent.received, [b"\x05\x01\x00", SOCKS_REQUEST].concat());
    assert_eq!(read(&mut dialled.stream, 11).await, b"220 welcome");
    dialled.stream.write_all(b"EHLO").await.unwrap();
    let mut received = [0; 4];
    parent.socket.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"EHLO");
    assert_eq!(dialled.peer, parent.socket.local_addr().ok());
}

#[tokio::test]
async fn a_socks_parent_may_answer_byte_by_byte_and_with_any_kind_of_address() {
    let v6 = [&b"\x05\x00\x00\x04"[..], &[0; 18]].concat();
    let name = [&b"\x05\x00\x00\x03\xff"[..], &[b'?'; 257]].concat();
    for granted in [SOCKS_GRANTED, &v6, &name] {
        let answer = [granted, b"early"].concat();
        let script = [
            Step::Recv(3),
            Step::SendBytewise(b"\x05\x00"),
            Step::Recv(SOCKS_REQUEST.len()),
            Step::SendBytewise(&answer),
        ];
        let (dialled, _parent) = socks(None, &script).await;
        assert_eq!(read(&mut dialled.unwrap().stream, 5).await, b"early");
    }
}

#[tokio::test]
async fn a_socks_parent_that_requires_a_password_gets_it() {
    let script = [
        Step::Recv(4),
        Step::SendBytewise(b"\x05\x02"),
        Step::Recv(9),
        Step::SendBytewise(b"\x01\x00"),
        Step::Recv(SOCKS_REQUEST.len()),
        Step::Send(SOCKS_GRANTED),
    ];
    let (dialled, parent) = socks(Some(("bob", "key")), &script).await;
    assert!(dialled.is_ok(), "{dialled:?}");
    assert_eq!(
        parent.received,
        [b"\x05\x02\x00\x02\x01\x03bob\x03key", SOCKS_REQUEST].concat()
    );
}

#[tokio::test]
async fn rejected_credentials_of_a_socks_parent_are_reported() {
    let wrong = [
        Step::Recv(4),
        Step::Send(b"\x05\x02"),
        Step::Recv(9),
        Step::Send(b"\x01\x01"),
    ];
    assert!(matches!(
        why(socks(Some(("bob", "key")), &wrong).await.0),
        ParentError::Credentials
    ));
    let none = [Step::Recv(3), Step::Send(b"\x05\xff")];
    assert!(matches!(
        why(socks(None, &none).await.0),
        ParentError::Credentials
    ));
    let unasked = [Step::Recv(3), Step::Send(b"\x05\x02")];
    assert!(matches!(
        why(socks(None, &unasked).await.0),
        ParentError::Credentials
    ));
}

#[tokio::test]
async fn the_refusals_of_a_socks_parent_are_distinguished() {
    let answer = |code| [5, code, 0, 1, 0, 0, 0, 0, 0, 0];
    let answers = [answer(2), answer(5), answer(4)];
    let mut errors = Vec::new();
    for answer in &answers {
        let script = [
            Step::Recv(3),
            Step::Send(b"\x05\x00"),
            Step::Recv(SOCKS_REQUEST.len()),
            Step::Send(answer),
        ];
        errors.push(why(socks(None, &script).await.0));
    }
    assert!(matches!(
        errors.as_slice(),
        [
            ParentError::Denied,
            ParentError::Refused,
            ParentError::Unreachable { status: None }
        ]
    ));
}

#[tokio::test]
async fn an_invalid_answer_of_a_socks_parent_is_reported() {
    let garbage = [
        Step::Recv(3),
        Step::Send(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    ];
    let error = why(socks(None, &garbage).await.0);
    assert_eq!(
        error.to_string(),
        "the SOCKS message has the wrong version 72; is it a SOCKS proxy of the configured version?"
    );
    let unoffered = [Step::Recv(3), Step::Send(b"\x05\x01")];
    assert!(matches!(
        why(socks(None, &unoffered).await.0),
        ParentError::Socks(SocksError::Method(1))
    ));
    let unknown = [
        Step::Recv(3),
        Step::Send(b"\x05\x00"),
        Step::Recv(SOCKS_REQUEST.len()),
        Step::Send(b"\x05\x63"),
    ];
    assert!(matches!(
        why(socks(None, &unknown).await.0),
        ParentError::Socks(SocksError::Code(0x63))
    ));
    for early_end in [&b""[..], b"\x05"] {
        let closing = [Step::Recv(3), Step::Send(early_end), Step::Close];
        assert!(matches!(
            why(socks(None, &closing).await.0),
            ParentError::Closed
        ));
    }
}

#[tokio::test]
async fn an_http_parent_gets_the_name_and_early_bytes_of_the_target_are_kept() {
    let answer = b"HTTP/1.1 200 Connection established\r\nContent-Length: 5\r\n\r\nearly";
    for say in [Step::Send(answer), Step::SendBytewise(answer)] {
        let (dialled, parent) = http(Some(("bob", "key")), &[Step::RecvHead, say]).await;
        assert_eq!(read(&mut dialled.unwrap().stream, 5).await, b"early");
        assert_eq!(
            String::from_utf8(parent.received).unwrap(),
            "CONNECT name.example:443 HTTP/1.1\r\nHost: name.example:443\r\n\
             Proxy-Authorization: Basic Ym9iOmtleQ==\r\n\r\n"
        );
    }
}

#[tokio::test]
async fn interim_responses_are_skipped_but_101_is_an_error() {
    let answer = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nA: b\r\n\r\nHTTP/1.0 200\r\n\r\nearly";
    let (dialled, _parent) = http(None, &[Step::RecvHead, Step::Send(answer)]).await;
    assert_eq!(read(&mut dialled.unwrap().stream, 5).await, b"early");
    let (dialled, _parent) = http(
        None,
        &[
            Step::RecvHead,
            Step::Send(b"HTTP/1.1 101 Switching\r\n\r\n"),
        ],
    )
    .await;
    assert!(matches!(
        why(dialled),
        ParentError::Failed { status: Some(101) }
    ));
}

#[tokio::test]
async fn the_refusals_of_an_http_parent_are_distinguished() {
    let (dialled, _parent) = http(
        None,
        &[
            Step::RecvHead,
            Step::Send(b"HTTP/1.1 407 No\r\nContent-Length: 2\r\n\r\nno"),
        ],
    )
    .await;
    assert!(matches!(why(dialled), ParentError::Credentials));
    let error = |status| connected(status).unwrap_err();
    assert!(matches!(error(403), ParentError::Denied));
    assert!(matches!(
        error(502),
        ParentError::Unreachable { status: Some(502) }
    ));
    assert!(matches!(error(503), ParentError::Unreachable { .. }));
    assert!(matches!(error(504), ParentError::TargetTimeout));
    assert!(matches!(error(405), ParentError::Unsupported { .. }));
    assert!(matches!(
        error(500),
        ParentError::Failed { status: Some(500) }
    ));
    assert!(matches!(
        error(302),
        ParentError::Failed { status: Some(302) }
    ));
    assert_eq!(
        error(502).to_string(),
        "it cannot reach the target (HTTP status 502)"
    );
    assert!((200..300).all(|status| connected(status).is_ok()));
}

#[tokio::test]
async fn an_invalid_answer_of_an_http_parent_is_reported() {
    let endless = [b"HTTP/1.1 200 OK\r\nA: ".to_vec(), vec![b'a'; 20_000]].concat();
    let interims = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(1000);
    let table: [(&[u8], BadHead); 6] = [
        (b"SSH-2.0-OpenSSH\r\n", BadHead::NotHttp),
        (b"\x05\x00\x00\x00\x00\x00\x00", BadHead::NotHttp),
        (b"HTTP/1.1 2x0 OK\r\n\r\n", BadHead::StatusLine),
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", BadHead::Field),
        (&endless, BadHead::TooLarge),
        (&interims, BadHead::TooLarge),
    ];
    for (answer, fault) in table {
        let error = why(http(None, &[Step::RecvHead, Step::Send(answer)]).await.0);
        assert!(
            matches!(error, ParentError::Http(found) if found == fault),
            "{error:?}"
        );
    }
    for early_end in [&b""[..], b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r"] {
        let closing = [Step::RecvHead, Step::Send(early_end), Step::Close];
        assert!(matches!(
            why(http(None, &closing).await.0),
            ParentError::Closed
        ));
    }
}

#[tokio::test]
async fn a_silent_parent_times_out() {
    for scheme in [Scheme::Socks5h, Scheme::Http] {
        let (parent, _listener) = parent(scheme, None).await;
        let options = Options {
            connect_timeout: Duration::from_millis(50),
            ..Options::default()
        };
        let dialler = Dialler::new(Resolver::system(Handle::current()), options);
        let error = why(dialler
            .open_via(&parent, &target(), &AddressRules::guarded())
            .await);
        assert!(matches!(error, ParentError::Timeout { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_parent_that_is_down_is_distinguished_from_a_target_that_is_down() {
    let bound = tokio::net::TcpSocket::new_v4().unwrap();
    bound.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let at = Target::Addr(bound.local_addr().unwrap());
    let parent = Parent {
        scheme: Scheme::Socks5h,
        at: at.clone(),
        credentials: None,
    };
    let dialler = Dialler::new(Resolver::system(Handle::current()), Options::default());
    let error = dialler
        .open_via(&parent, &target(), &AddressRules::guarded())
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "through the parent proxy {at}: {at} refused the connection; nothing listens there"
        )
    );
}

#[test]
fn a_request_that_does_not_fit_the_protocol_fails_before_anything_is_dialled() {
    let plan = |scheme, target: &str, login: Option<(&str, &str)>| {
        let credentials = login.map(|(user, password)| (user.to_owned(), password.to_owned()));
        let parent = Parent {
            scheme,
            at: "127.0.0.1:1".parse().unwrap(),
            credentials,
        };
        Dialogue::new(&parent, &target.parse().unwrap()).err()
    };
    let long = "x".repeat(256);
    assert!(matches!(
        plan(Scheme::Socks5h, "unix:/run/a", None),
        Some(ParentError::Request(_))
    ));
    assert!(matches!(
        plan(Scheme::Http, "unix:/run/a", None),
        Some(ParentError::Request(_))
    ));
    assert!(matches!(
        plan(Scheme::Socks5h, "a:1", Some((&long, ""))),
        Some(ParentError::Request(_))
    ));
    assert!(matches!(
        plan(Scheme::Http, "a:1", Some(("a:b", ""))),
        Some(ParentError::Request(_))
    ));
    assert!(plan(Scheme::Http, "[::1]:1", Some(("a", "b:c"))).is_none());
}

#[test]
fn an_unusable_parent_is_reported_before_the_first_stream() {
    let check = |scheme, at: &str, user: &str| {
        let credentials = Some((user.to_owned(), String::new()));
        Parent {
            scheme,
            at: at.parse().unwrap(),
            credentials,
        }
        .check()
    };
    let long = "x".repeat(256);
    for scheme in [
        Scheme::Socks4,
        Scheme::Socks4a,
        Scheme::Socks5,
        Scheme::Socks5h,
        Scheme::Http,
        Scheme::Https,
    ] {
        assert!(check(scheme, "a:1", "bob").is_ok());
        let bad = if scheme.is_http() { "a:b" } else { &long };
        assert!(
            matches!(check(scheme, "a:1", bad), Err(ParentError::Request(_))),
            "{scheme:?}"
        );
    }
    assert!(check(Scheme::Http, "unix:/run/proxy", "bob").is_ok());
    assert!(check(Scheme::Https, "unix:/run/proxy", "bob").is_err());
}

#[tokio::test]
async fn a_parent_never_shows_its_password() {
    let (parent, _listener) = parent(Scheme::Socks5h, Some(("bob", "hunter2"))).await;
    for shown in [format!("{parent:?}"), parent.to_string()] {
        assert!(
            shown.contains("bob:***@") && !shown.contains("hunter2"),
            "{shown}"
        );
    }
}

#[tokio::test]
async fn an_ipv6_target_is_sent_in_brackets() {
    let (parent, listener) = parent(Scheme::Http, None).await;
    let target = "[2001:db8::1]:443".parse().unwrap();
    let (_, played) = ask_for(&target, parent, listener, &[Step::RecvHead, Step::Close]).await;
    assert_eq!(
        played.received,
        b"CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n\r\n"
    );
}

#[tokio::test]
async fn a_parent_for_requests_in_absolute_form_is_opened_without_a_tunnel() {
    let (parent, listener) = parent(Scheme::Http, Some(("bob", "key"))).await;
    let dialler = Dialler::new(Resolver::system(Handle::current()), Options::default());
    let (dialled, accepted) = tokio::join!(dialler.open_parent(&parent), listener.accept());
    dialled
        .unwrap()
        .stream
        .write_all(b"GET http://a.example/ HTTP/1.1\r\n")
        .await
        .unwrap();
    let mut received = [0; 32];
    accepted.unwrap().0.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"GET http://a.example/ HTTP/1.1\r\n");
    assert_eq!(
        parent.authorization().unwrap().as_deref(),
        Some("Basic Ym9iOmtleQ==")
    );
    let socks = Parent {
        scheme: Scheme::Socks5h,
        ..parent
    };
    assert_eq!(socks.authorization().unwrap(), None);
    assert!(matches!(
        why(dialler.open_parent(&socks).await),
        ParentError::Request(_)
    ));
}
