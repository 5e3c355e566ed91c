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
async fn an_address_travels_in_version_4_and_early_bytes_of_the_target_are_kept() {
    let request = b"\x04\x01\x01\xbb\x01\x01\x01\x01bob\x00";
    let early = [GRANTED, b"220 welcome"].concat();
    for say in [Step::Say(&early), Step::Spell(&early)] {
        let script = [Step::Hear(request.len()), say];
        let (dialled, parent) = socks4(Scheme::Socks4, "1.1.1.1:443", Some("bob"), &script).await;
        assert_eq!(parent.heard, request);
        assert_eq!(read(&mut dialled.unwrap().stream, 11).await, b"220 welcome");
    }
}

#[tokio::test]
async fn a_name_travels_in_version_4a_and_without_a_user() {
    let request = b"\x04\x01\x01\xbb\x00\x00\x00\x01\x00name.example\x00";
    let script = [Step::Hear(request.len()), Step::Say(GRANTED)];
    let (dialled, parent) = socks4(Scheme::Socks4a, "name.example:443", None, &script).await;
    assert!(dialled.is_ok(), "{dialled:?}");
    assert_eq!(parent.heard, request);
}

#[tokio::test]
async fn the_answers_of_version_4_are_told_apart() {
    let answer = |code| [0, code, 0, 0, 0, 0, 0, 0];
    let say = |bytes: &[u8]| bytes.to_vec();
    let mut told = Vec::new();
    for answer in [
        say(&answer(91)),
        say(&answer(92)),
        say(&answer(94)),
        say(b"\x05\x00"),
        say(b"\x00"),
    ] {
        let script = [Step::Hear(22), Step::Say(&answer), Step::Close];
        told.push(why(socks4(
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
            told.as_slice(),
            [
                ParentError::Failed { status: None },
                ParentError::Credentials,
                ParentError::Socks(SocksError::Code(94)),
                ParentError::Socks(SocksError::Version(5)),
                ParentError::Closed
            ]
        ),
        "{told:?}"
    );
}

#[test]
fn what_version_4_cannot_carry_is_told_before_anything_is_dialled() {
    let told = |target: &str, user: &str| {
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
            matches!(told(target, user), Some(ParentError::Request(_))),
            "{target} {user}"
        );
    }
    assert!(told("a:1", "bob").is_none());
}
