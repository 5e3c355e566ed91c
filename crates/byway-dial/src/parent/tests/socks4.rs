//! SOCKS 4 and 4a as a parent.

use super::*;

const GRANTED: &[u8] = b"\x00\x5a\x00\x50\x7f\x00\x00\x01";

async fn socks4(
    scheme: Scheme,
    target: &str,
    user: Option<&str>,
    script: &[Step<'_>],
) -> (Result<Dialled, DialError>, Played) {
    let (parent, listener) = parent(scheme, user.map(|user| (user, ""))).await;
    ask_for(&target.parse().unwrap(), parent, listener, script).await
}

#[tokio::test]
async fn version_4_sends_an_address_and_early_bytes_of_the_target_are_kept() {
    let request = b"\x04\x01\x01\xbb\x01\x01\x01\x01bob\x00";
    let early = [GRANTED, b"220 welcome"].concat();
    for say in [Step::Send(&early), Step::SendBytewise(&early)] {
        let script = [Step::Recv(request.len()), say];
        let (dialled, parent) = socks4(Scheme::Socks4, "1.1.1.1:443", Some("bob"), &script).await;
        assert_eq!(parent.received, request);
        assert_eq!(read(&mut dialled.unwrap().stream, 11).await, b"220 welcome");
    }
}

#[tokio::test]
async fn version_4a_sends_a_name_without_a_user() {
    let request = b"\x04\x01\x01\xbb\x00\x00\x00\x01\x00name.example\x00";
    let script = [Step::Recv(request.len()), Step::Send(GRANTED)];
    let (dialled, parent) = socks4(Scheme::Socks4a, "name.example:443", None, &script).await;
    assert!(dialled.is_ok(), "{dialled:?}");
    assert_eq!(parent.received, request);
}

#[tokio::test]
async fn the_answers_of_version_4_are_distinguished() {
    let answer = |code| [0, code, 0, 0, 0, 0, 0, 0];
    let owned = |bytes: &[u8]| bytes.to_vec();
    let mut errors = Vec::new();
    for answer in [
        owned(&answer(91)),
        owned(&answer(92)),
        owned(&answer(94)),
        owned(b"\x05\x00"),
        owned(b"\x00"),
    ] {
        let script = [Step::Recv(22), Step::Send(&answer), Step::Close];
        errors.push(why(socks4(
            Scheme::Socks4a,
            "name.example:443",
            None,
            &script,
        )
        .await
        .0));
    }
    assert!(
        matches!(
            errors.as_slice(),
            [
                ParentError::Failed { status: None },
                ParentError::Credentials,
                ParentError::Socks(SocksError::Code(94)),
                ParentError::Socks(SocksError::Version(5)),
                ParentError::Closed
            ]
        ),
        "{errors:?}"
    );
}

#[test]
fn targets_unsupported_by_version_4_fail_before_anything_is_dialled() {
    let error = |target: &str, user: &str| {
        let credentials = Some((user.to_owned(), String::new()));
        let parent = Parent {
            scheme: Scheme::Socks4a,
            at: "127.0.0.1:1".parse().unwrap(),
            credentials,
        };
        Dialogue::new(&parent, &target.parse().unwrap()).err()
    };
    for (target, user) in [
        ("[2001:db8::1]:1", ""),
        ("0.0.0.7:1", ""),
        ("unix:/run/a", ""),
        ("a:1", "a\0b"),
        ("a:1", &"x".repeat(256)),
    ] {
        assert!(
            matches!(error(target, user), Some(ParentError::Request(_))),
            "{target} {user}"
        );
    }
    assert!(error("a:1", "bob").is_none());
}
