//! Handshakes: which peers get a session and which do not, and what each side is sent, on real
//! sockets.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::{Duration, Instant};

use byway_dial::{Broken, Pipe};
use byway_link::wire::{Attach, Control, Hello, Refused};
use byway_link::{
    CarrierKind, Carriers, Fingerprint, JoinString, Key, LinkError, Refusal, Settings,
};
use common::raw::{RawKey, RawPeer, connect, dialling_without_a_key, hello};
use common::{
    Listening, PATIENCE, Pair, Side, dial, dialler, listening, raw_session, read_to_end, within,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

const EACH: [Carriers; 3] = [Carriers::Quic, Carriers::Tls, Carriers::Auto];

/// The error of a dialler that uses `carriers`.
async fn refusal(join: JoinString, carriers: Carriers) -> LinkError {
    let dialler = dialler(
        join,
        carriers,
        Key::generate().unwrap(),
        Settings::default(),
    );
    within(dialler.connect(1, 1, PATIENCE))
        .await
        .map(|_| ())
        .expect_err("a session")
}

#[tokio::test]
async fn another_key_than_the_pinned_one_is_final_on_every_carrier() {
    for carriers in EACH {
        let listening = listening().await;
        let join = JoinString {
            pin: Fingerprint::of_spki(b"another key"),
            ..listening.join()
        };
        let error = refusal(join, carriers).await;
        assert!(
            matches!(error, LinkError::WrongPin { .. }) && error.is_final(),
            "{carriers:?}: {error:?}"
        );
        assert!(
            error
                .to_string()
                .starts_with(&listening.address.to_string())
        );
        // The dialler has sent nothing, in particular not its secret.
        let arrived = listening.next().await;
        assert!(
            matches!(arrived, Err(LinkError::Unauthenticated { .. })),
            "{carriers:?}: {arrived:?}"
        );
    }
}

#[tokio::test]
async fn a_refused_hello_gets_the_reason_as_text_on_every_carrier() {
    for (carriers, why, is_final, hellos) in [
        (Carriers::Quic, Refusal::Grant, true, 1),
        (Carriers::Tls, Refusal::Grant, true, 1),
        (Carriers::Auto, Refusal::Grant, true, 1),
        // A refusal that is not final is tried over the other carrier too.
        (Carriers::Auto, Refusal::Busy, false, 2),
    ] {
        let listening = listening().await;
        let refusing = async {
            for _ in 0..hellos {
                let refused = listening
                    .pending()
                    .await
                    .refuse(why, "the grant was revoked on Tuesday")
                    .await;
                assert!(
                    matches!(refused, LinkError::Refused { why: reason, .. } if reason == why),
                    "{refused:?}"
                );
            }
        };
        let (error, ()) = tokio::join!(refusal(listening.join(), carriers), refusing);
        assert!(
            matches!(error, LinkError::Refused { why: reason, .. } if reason == why),
            "{carriers:?}: {error:?}"
        );
        assert_eq!(error.is_final(), is_final);
        let words = format!(
            "{} refuses: the grant was revoked on Tuesday",
            listening.address
        );
        assert_eq!(error.to_string(), words);
        assert_eq!(listening.acceptor.sessions(), 0);
    }
}

#[tokio::test]
async fn a_hello_without_an_answer_ends_when_it_is_dropped() {
    for carriers in [Carriers::Quic, Carriers::Tls] {
        let listening = listening().await;
        let dropping = async { drop(listening.pending().await) };
        let (error, ()) = tokio::join!(refusal(listening.join(), carriers), dropping);
        assert!(
            matches!(error, LinkError::Unreachable(_)),
            "{carriers:?}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_session_is_known_while_it_lives_and_forgotten_when_it_ends() {
    for carriers in EACH {
        let pair = Pair::new(carriers).await;
        assert_eq!(pair.listening.acceptor.sessions(), 1);
        assert_eq!(pair.dialler.link.peer(), pair.listening.acceptor.pin());
        pair.dialler.link.end("enough");
        assert_eq!(&*within(pair.dialler.link.ended()).await, "enough");
        within(pair.acceptor.link.ended()).await;
        within(async {
            while pair.listening.acceptor.sessions() > 0 {
                tokio::task::yield_now().await
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_hello_of_another_version_gets_the_supported_versions() {
    let listening = listening().await;
    for (version_from, version_to) in [(2, 9), (0, 0), (9, 2)] {
        let mut peer = RawPeer::dialled(dial(&listening).await, &RawKey::generate()).await;
        peer.writer
            .send(Control::Hello(Hello {
                version_from,
                version_to,
                ..hello()
            }))
            .await;
        let Control::Refused(Refused { why, detail }) = peer.reader.recv().await.unwrap() else {
            panic!("not refused")
        };
        assert_eq!(Refusal::from_number(why), Refusal::Version);
        let words = format!(
            "versions 1 to 1 of the link protocol, the other one {version_from} to {version_to}"
        );
        assert!(detail.contains(&words), "{detail}");
        drop(peer);
        let arrived = listening.next().await;
        assert!(
            matches!(
                arrived,
                Err(LinkError::Refused {
                    why: Refusal::Version,
                    ..
                })
            ),
            "{arrived:?}"
        );
    }
    // A range that includes our version is accepted, also with unknown features.
    let mut peer = RawPeer::dialled(dial(&listening).await, &RawKey::generate()).await;
    peer.writer
        .send(Control::Hello(Hello {
            version_from: 0,
            version_to: 9,
            features: u64::MAX,
            ..hello()
        }))
        .await;
    let _session = listening.pending().await.welcome().await.unwrap();
    assert_eq!(peer.reader.welcome().await.len(), 16);
}

#[tokio::test]
async fn a_first_message_that_is_no_hello_is_refused() {
    let listening = listening().await;
    let mut peer = RawPeer::dialled(dial(&listening).await, &RawKey::generate()).await;
    peer.writer.send(Control::Ping(1)).await;
    let Control::Refused(refused) = peer.reader.recv().await.unwrap() else {
        panic!("not refused")
    };
    assert_eq!(Refusal::from_number(refused.why), Refusal::Protocol);
    drop(peer);
    assert!(matches!(
        listening.next().await,
        Err(LinkError::Refused {
            why: Refusal::Protocol,
            ..
        })
    ));
}

#[tokio::test]
async fn a_client_of_another_protocol_is_an_error_and_is_closed() {
    let listening = listening().await;
    let inputs: [&[u8]; 3] = [
        b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n",
        &[0; 64],
        &[0xff; 300],
    ];
    for bytes in inputs {
        let mut socket = TcpStream::connect(listening.address).await.unwrap();
        socket.write_all(bytes).await.unwrap();
        socket.shutdown().await.unwrap();
        let arrived = listening.next().await;
        assert!(
            matches!(arrived, Err(LinkError::Unauthenticated { .. })),
            "{bytes:?}: {arrived:?}"
        );
        // It may receive a TLS alert, and then the connection is closed.
        let _ = within(socket.read_to_end(&mut Vec::new())).await;
    }
    // A client that connects and disconnects.
    drop(TcpStream::connect(listening.address).await.unwrap());
    assert!(listening.next().await.is_err());
}

#[tokio::test]
async fn a_dialler_that_disconnects_before_its_hello_is_not_reported_as_unauthenticated() {
    let listening = listening().await;
    let left = async |when: &str| {
        let arrived = listening.next().await;
        assert!(
            matches!(arrived, Err(LinkError::Left { .. })),
            "{when}: {arrived:?}"
        );
    };
    drop(TcpStream::connect(listening.address).await.unwrap());
    left("without a byte").await;
    let mut socket = TcpStream::connect(listening.address).await.unwrap();
    socket.write_all(b"\x16\x03\x01\x40\x00").await.unwrap();
    socket.shutdown().await.unwrap();
    left("within TLS").await;
    let mut peer = RawPeer::dialled(dial(&listening).await, &RawKey::generate()).await;
    peer.writer.finish().await;
    left("after TLS").await;
    let quic = common::quic::RawQuic::dialled(listening.address, &RawKey::generate()).await;
    quic.connection
        .close(0_u32.into(), b"another carrier was faster");
    left("after the handshake of QUIC").await;
}

#[tokio::test]
async fn a_browser_at_the_link_port_is_reported_with_a_hint_at_the_http_listener() {
    let listening = listening().await;
    let reported = async |how: &str| {
        let Err(LinkError::Unauthenticated { detail, .. }) = listening.next().await else {
            panic!("the client is not reported")
        };
        assert!(
            detail.contains(how) && detail.contains("visitors come to the HTTP listener"),
            "{detail}"
        );
    };
    let mut socket = TcpStream::connect(listening.address).await.unwrap();
    socket
        .write_all(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
        .await
        .unwrap();
    reported("as a browser does for http://").await;
    let config = RawKey::generate().dialling(&["h2", "http/1.1"]);
    let tls = connect(dial(&listening).await, config).await;
    reported("as a browser does for https://").await;
    drop((socket, tls));
}

#[tokio::test]
async fn tls_without_a_key_or_without_our_protocol_is_an_error_on_both_sides() {
    let listening = listening().await;
    let configs = [
        ("no key", dialling_without_a_key()),
        ("no protocol", RawKey::generate().dialling(&[])),
        (
            "another protocol",
            RawKey::generate().dialling(&["h2", "http/1.1"]),
        ),
    ];
    for (what, config) in configs {
        // In TLS 1.3 the handshake of a dialler may succeed until it reads.
        if let Ok(mut tls) = connect(dial(&listening).await, config).await {
            let read = within(tls.read(&mut [0; 64])).await;
            assert!(matches!(read, Err(_) | Ok(0)), "{what}: {read:?}");
        }
        let arrived = listening.next().await;
        assert!(
            matches!(arrived, Err(LinkError::Unauthenticated { .. })),
            "{what}: {arrived:?}"
        );
    }
}

#[tokio::test]
async fn a_carrier_is_added_only_by_the_key_that_was_welcomed() {
    let listening = listening().await;
    let key = RawKey::generate();
    let (first, (link, _inbox), session) = raw_session(&listening, &key).await;

    let unknown = (key.clone(), vec![7; 16]);
    let too_short = (key.clone(), session[..15].to_vec());
    let stolen = (RawKey::generate(), session.clone());
    for (key, session) in [unknown, too_short, stolen] {
        let mut peer = RawPeer::dialled(dial(&listening).await, &key).await;
        peer.writer.send(Control::Attach(Attach { session })).await;
        let Control::Refused(refused) = peer.reader.recv().await.unwrap() else {
            panic!("not refused")
        };
        assert_eq!(
            (Refusal::from_number(refused.why), refused.detail.as_str()),
            (Refusal::Gone, "that session is over")
        );
        drop(peer);
        assert!(matches!(
            listening.next().await,
            Err(LinkError::Refused {
                why: Refusal::Gone,
                ..
            })
        ));
        assert_eq!(link.carriers(), [CarrierKind::Tls]);
    }

    let mut second = RawPeer::dialled(dial(&listening).await, &key).await;
    second
        .writer
        .send(Control::Attach(Attach {
            session: session.clone(),
        }))
        .await;
    assert_eq!(listening.attached().await.carrier(), CarrierKind::Tls);
    assert_eq!(link.carriers(), [CarrierKind::Tls; 2]);
    // The session survives the end of either carrier, and ends with the last.
    drop(first);
    within(async {
        while link.carriers().len() > 1 {
            tokio::task::yield_now().await
        }
    })
    .await;
    assert!(!link.is_over());
    drop(second);
    within(link.ended()).await;

    let mut late = RawPeer::dialled(dial(&listening).await, &key).await;
    within(async {
        while listening.acceptor.sessions() > 0 {
            tokio::task::yield_now().await
        }
    })
    .await;
    late.writer.send(Control::Attach(Attach { session })).await;
    assert!(matches!(
        late.reader.recv().await.unwrap(),
        Control::Refused(_)
    ));
}

#[tokio::test]
async fn a_dialler_that_reaches_another_program_reports_what_it_saw() {
    let answers: [(&str, &[u8]); 2] = [
        ("http", b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        ("nothing", b""),
    ];
    for (what, answer) in answers {
        let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        let answering = async {
            let (mut socket, _) = tcp.accept().await.unwrap();
            let _ = socket.read(&mut [0; 1024]).await;
            let _ = socket.write_all(answer).await;
        };
        let join = JoinString {
            address: byway_dial::Target::Addr(address),
            ..listening().await.join()
        };
        let (error, ()) = tokio::join!(refusal(join, Carriers::Tls), answering);
        assert!(
            !error.is_final() && error.to_string().contains(&address.to_string()),
            "{what}: {error}"
        );
        assert_eq!(
            matches!(error, LinkError::NoByway { .. }),
            what == "http",
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn where_udp_is_blocked_tls_serves_until_quic_works_and_after_it_fails() {
    let settings = Settings {
        quic_probe: Duration::from_millis(50),
        ..Settings::default()
    };
    let mut listening = Listening::by_tcp_alone(Key::generate().unwrap(), settings.clone()).await;
    let silent = UdpSocket::bind(listening.address).await.unwrap();
    let dialler = dialler(
        listening.join(),
        Carriers::Auto,
        Key::generate().unwrap(),
        settings,
    );
    let begun = Instant::now();
    let welcoming = async { listening.pending().await.welcome().await.unwrap() };
    let (dialled, accepted) = tokio::join!(within(dialler.connect(1, 1, PATIENCE)), welcoming);
    let (near, far) = (Side::new(dialled.unwrap()), Side::new(accepted));
    assert!(
        begun.elapsed() >= byway_link::dialler::TLS_STARTS,
        "TLS did not wait for QUIC"
    );
    assert_eq!(
        (near.link.carriers(), far.link.carriers()),
        (vec![CarrierKind::Tls], vec![CarrierKind::Tls])
    );
    let (opened, (_, mut old_far)) = near.open_to(&far).await;
    let mut old = opened.stream;

    drop(silent);
    let quic = listening.listen_quic();
    assert_eq!(listening.attached().await.carrier(), CarrierKind::Quic);
    let both = [CarrierKind::Tls, CarrierKind::Quic];
    within(async {
        while near.link.carriers() != both || far.link.carriers() != both {
            tokio::task::yield_now().await
        }
    })
    .await;
    let (opened, (_, mut new_far)) = near.open_to(&far).await;
    let mut new = opened.stream;
    new.write_all(b"by quic").await.unwrap();
    new.finish().await.unwrap();
    assert_eq!(read_to_end(&mut new_far).await.unwrap(), b"by quic");

    quic.close("it dies");
    let broken = read_to_end(&mut new).await.unwrap_err();
    assert!(matches!(broken, Broken::SessionLost), "{broken:?}");
    let broken = within(std::future::poll_fn(|cx| new_far.poll_broken(cx))).await;
    assert!(matches!(broken, Broken::SessionLost), "{broken:?}");
    within(async {
        while near.link.carriers().len() > 1 {
            tokio::task::yield_now().await
        }
    })
    .await;
    assert_eq!(near.link.carriers(), [CarrierKind::Tls]);
    old.write_all(b"by tls").await.unwrap();
    old.finish().await.unwrap();
    assert_eq!(read_to_end(&mut old_far).await.unwrap(), b"by tls");
    near.open_to(&far).await;
    assert!(!near.link.is_over() && !far.link.is_over());
}

#[tokio::test]
async fn quic_is_used_first_where_it_gets_through() {
    // Nothing accepts TCP: QUIC gets through first, however slow the machine is.
    let (mut listening, tcp) =
        Listening::by_nothing(Key::generate().unwrap(), Settings::default()).await;
    listening.listen_quic();
    let dialler = dialler(
        listening.join(),
        Carriers::Auto,
        Key::generate().unwrap(),
        Settings::default(),
    );
    let begun = Instant::now();
    let welcoming = async { listening.pending().await.welcome().await.unwrap() };
    let (dialled, (accepted, _inbox)) =
        tokio::join!(within(dialler.connect(1, 1, PATIENCE)), welcoming);
    let is_tls_under_way = tcp.into_std().unwrap().accept().is_ok();
    assert!(
        !is_tls_under_way || begun.elapsed() >= byway_link::dialler::TLS_STARTS,
        "TLS did not wait for QUIC"
    );
    assert_eq!(dialled.unwrap().0.carriers(), [CarrierKind::Quic]);
    assert_eq!(
        accepted.peer_addr().map(|peer| peer.ip()),
        Some(listening.address.ip())
    );
}
