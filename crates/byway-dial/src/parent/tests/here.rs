//! Parents that get addresses: names are resolved locally, under the caller's address rules.

use super::*;
use crate::dial::tests::dialler_for;
use crate::rules::AddressRule;

/// The request of SOCKS 5 for an IPv4 address at port 443.
fn request_v4(ip: [u8; 4]) -> Vec<u8> {
    [&[5, 1, 0, 1], &ip[..], &[1, 0xbb]].concat()
}

const NOT_REACHED: &[u8] = &[5, 4, 0, 1, 0, 0, 0, 0, 0, 0];

/// Dials `a.example`, which has `ips`, and plays one script for each connection to the parent.
async fn ask_here(
    scheme: Scheme,
    ips: &[&str],
    scripts: &[&[Step<'_>]],
) -> (Result<Dialled, DialError>, Vec<Played>) {
    let (parent, listener) = parent(scheme, None).await;
    let dialler = dialler_for(ips);
    let target = "a.example:443".parse().unwrap();
    let play = async {
        let mut played = Vec::new();
        for script in scripts {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut received = Vec::new();
            for step in *script {
                step.play(&mut socket, &mut received).await;
            }
            played.push(Played { socket, received });
        }
        played
    };
    let rules = AddressRules::guarded();
    tokio::join!(dialler.open_via(&parent, &target, &rules), play)
}

#[tokio::test]
async fn with_socks5_an_address_is_sent_and_the_next_one_if_the_parent_cannot_or_must_not_reach_it()
{
    let granting: &[_] = &[
        Step::Recv(3),
        Step::Send(b"\x05\x00"),
        Step::Recv(10),
        Step::Send(SOCKS_GRANTED),
    ];
    let refused = |code| [5, code, 0, 1, 0, 0, 0, 0, 0, 0];
    for answer in [
        refused(1),
        refused(2),
        refused(3),
        refused(4),
        refused(5),
        refused(8),
    ] {
        let refusing: &[_] = &[
            Step::Recv(3),
            Step::Send(b"\x05\x00"),
            Step::Recv(10),
            Step::Send(&answer),
        ];
        let (dialled, played) = ask_here(
            Scheme::Socks5,
            &["1.1.1.1", "8.8.8.8"],
            &[refusing, granting],
        )
        .await;
        assert!(dialled.is_ok(), "{dialled:?}");
        assert_eq!(
            played[0].received,
            [b"\x05\x01\x00", &request_v4([1, 1, 1, 1])[..]].concat()
        );
        assert_eq!(
            played[1].received,
            [b"\x05\x01\x00", &request_v4([8, 8, 8, 8])[..]].concat()
        );
    }
}

#[tokio::test]
async fn at_most_four_addresses_are_sent_and_a_refused_login_ends_the_dial() {
    let refusing: &[_] = &[
        Step::Recv(3),
        Step::Send(b"\x05\x00"),
        Step::Recv(10),
        Step::Send(NOT_REACHED),
    ];
    let ips = ["1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.4", "1.1.1.5"];
    let (dialled, _) = ask_here(Scheme::Socks5, &ips, &[refusing; 4]).await;
    assert!(matches!(why(dialled), ParentError::Unreachable { .. }));
    let (dialled, _) = ask_here(
        Scheme::Socks5,
        &ips,
        &[&[Step::Recv(3), Step::Send(b"\x05\xff")]],
    )
    .await;
    assert!(matches!(why(dialled), ParentError::Credentials));
}

#[tokio::test]
async fn an_address_that_the_rules_deny_is_not_sent() {
    let granting: &[_] = &[
        Step::Recv(9),
        Step::Send(b"\x00\x5a\x00\x00\x00\x00\x00\x00"),
    ];
    let (dialled, played) = ask_here(Scheme::Socks4, &["10.0.0.5", "1.1.1.1"], &[granting]).await;
    assert!(dialled.is_ok(), "{dialled:?}");
    assert_eq!(played[0].received, b"\x04\x01\x01\xbb\x01\x01\x01\x01\x00");
    for scheme in [Scheme::Socks4, Scheme::Socks5] {
        let (dialled, _) = ask_here(scheme, &["10.0.0.5"], &[]).await;
        assert!(matches!(dialled, Err(DialError::Denied(_))), "{dialled:?}");
    }
}

#[tokio::test]
async fn a_literal_address_is_checked_like_a_resolved_one() {
    let parent = Parent {
        scheme: Scheme::Socks5,
        at: "127.0.0.1:1".parse().unwrap(),
        credentials: None,
    };
    let target = "10.0.0.5:443".parse().unwrap();
    let deny = AddressRule {
        cidr: "10.0.0.0/8".parse().unwrap(),
        ports: Vec::new(),
        allow: false,
        number: 1,
    };
    let rules = AddressRules {
        rules: vec![deny],
        ..AddressRules::open()
    };
    let dialled = dialler_for(&[]).open_via(&parent, &target, &rules).await;
    assert!(matches!(dialled, Err(DialError::Denied(_))), "{dialled:?}");
}

#[tokio::test]
async fn socks4_skips_ipv6_and_reports_it_when_no_address_is_left() {
    let granting: &[_] = &[
        Step::Recv(9),
        Step::Send(b"\x00\x5a\x00\x00\x00\x00\x00\x00"),
    ];
    let (dialled, played) =
        ask_here(Scheme::Socks4, &["2606:4700::1111", "1.1.1.1"], &[granting]).await;
    assert!(dialled.is_ok(), "{dialled:?}");
    assert_eq!(&played[0].received[4..8], [1, 1, 1, 1]);
    let error = why(ask_here(Scheme::Socks4, &["2606:4700::1111"], &[]).await.0);
    assert_eq!(
        error.to_string(),
        "the request cannot be made: SOCKS 4 carries IPv4 addresses only, and a.example:443 has none; \
         use socks4a:// or socks5h://"
    );
}

#[tokio::test]
async fn an_unknown_name_is_reported_and_the_parent_not_dialled() {
    let (parent, listener) = parent(Scheme::Socks5, None).await;
    drop(listener);
    let dialled = dialler_for(&[])
        .open_via(
            &parent,
            &"b.example:443".parse().unwrap(),
            &AddressRules::guarded(),
        )
        .await;
    assert!(
        matches!(dialled, Err(DialError::NotFound { .. })),
        "{dialled:?}"
    );
}
