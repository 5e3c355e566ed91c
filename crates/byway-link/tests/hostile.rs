//! Hostile: malicious peers that have proven a key. Each ends in one clear error, or is bounded and
//! does not affect other streams. The connections are in memory, so that tests of minutes run on a
//! paused clock.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Duration;

use byway_dial::Stream;
use byway_link::mux::frame::{CONTROL, FrameKind, HEADER_BYTES};
use byway_link::window::INITIAL_BYTES;
use byway_link::wire::{self, Control, GoAway, Open};
use byway_link::{Acceptor, Arrival, Code, Inbox, Key, Link, LinkError, OpenError, Settings};
use byway_testkit::pipe;
use common::quic::RawQuic;
use common::raw::{RawKey, RawPeer, dialling_without_a_key, frame, hello};
use common::within;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};

/// Bytes that fit between the two sides, in each direction.
const PIPE: usize = 1 << 20;

const GIBIBYTE: [u8; 4] = [0x40, 0, 0, 0];

fn acceptor(settings: Settings) -> Acceptor {
    Acceptor::new(Key::generate().unwrap(), settings, Handle::current()).unwrap()
}

/// The result of a connection to an acceptor, while `peer` uses the other end of it.
async fn arrival<T>(
    pipe_bytes: usize,
    peer: impl AsyncFnOnce(Stream) -> T,
) -> (Result<Arrival, LinkError>, T) {
    let (near, far) = pipe::pair_of(pipe_bytes);
    let acceptor = acceptor(Settings::default());
    let here = Handle::current();
    tokio::join!(
        acceptor.tcp(near.into_stream(), &here),
        peer(far.into_stream())
    )
}

/// A session whose other side is the test. It has a window of `INITIAL_BYTES` for our control
/// messages.
async fn session(settings: Settings, pipe_bytes: usize) -> (Link, Inbox, RawPeer) {
    let (near, far) = pipe::pair_of(pipe_bytes);
    let (acceptor, key) = (acceptor(settings), RawKey::generate());
    let greeting = async {
        match acceptor
            .tcp(near.into_stream(), &Handle::current())
            .await
            .unwrap()
        {
            Arrival::Hello(pending) => pending.welcome().await.unwrap(),
            other => panic!("{other:?}"),
        }
    };
    let dialling = async {
        let mut peer = RawPeer::dialled(far.into_stream(), &key).await;
        peer.writer.send(Control::Hello(hello())).await;
        peer.reader.welcome().await;
        peer
    };
    let ((link, inbox), peer) = tokio::join!(greeting, dialling);
    (link, inbox, peer)
}

/// Checks both directions of a session: it answers a ping.
async fn answers(peer: &mut RawPeer, number: u64) {
    peer.writer.send(Control::Ping(number)).await;
    loop {
        match peer.reader.recv().await.unwrap() {
            Control::Pong(answered) if answered == number => return,
            Control::Ping(asked) => peer.writer.send(Control::Pong(asked)).await,
            Control::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

// ---- before there is a session ----

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_disconnected_after_ten_seconds() {
    let begun = Instant::now();
    let (arrived, closed) = arrival(PIPE, async |mut far: Stream| {
        far.read(&mut [0; 8]).await.is_err()
    })
    .await;
    assert_eq!(arrived.unwrap_err().to_string(), "no hello within 10 s");
    assert!(closed && begun.elapsed() < Duration::from_secs(11));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_proves_a_key_and_sends_no_hello_is_disconnected() {
    let begun = Instant::now();
    let (arrived, ()) = arrival(PIPE, async |far| {
        let mut peer = RawPeer::dialled(far, &RawKey::generate()).await;
        // Half a hello.
        peer.writer
            .frame(FrameKind::Data, CONTROL, &[0, 0, 0, 50, 1])
            .await
            .unwrap();
        peer.reader.closed().await;
    })
    .await;
    assert_eq!(arrived.unwrap_err().to_string(), "no hello within 10 s");
    assert!(begun.elapsed() < Duration::from_secs(11));
}

#[tokio::test(start_paused = true)]
async fn a_slow_handshake_is_disconnected_wherever_it_stops() {
    // The first message of a dialler, one byte per second.
    let mut first = Vec::new();
    let config = std::sync::Arc::new(dialling_without_a_key());
    let mut tls =
        rustls::ClientConnection::new(config, "byway.invalid".try_into().unwrap()).unwrap();
    tls.write_tls(&mut first).unwrap();
    let (arrived, written) = arrival(PIPE, async |mut far: Stream| {
        for (place, byte) in first.iter().enumerate() {
            if far.write_all(&[*byte]).await.is_err() {
                return place;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        panic!("the handshake was not disconnected");
    })
    .await;
    assert_eq!(arrived.unwrap_err().to_string(), "no hello within 10 s");
    assert!((9..12).contains(&written), "{written} bytes were taken");
}

#[tokio::test]
async fn a_handshake_and_a_hello_arrive_through_eight_bytes() {
    let (link, _inbox, mut peer) = session(Settings::default(), pipe::CAPACITY_BYTES).await;
    answers(&mut peer, 1).await;
    assert!(!link.is_over());
}

#[tokio::test]
async fn a_first_message_of_a_gibibyte_is_refused_before_it_is_waited_for() {
    let (arrived, ()) = arrival(PIPE, async |far| {
        let mut peer = RawPeer::dialled(far, &RawKey::generate()).await;
        peer.writer
            .frame(FrameKind::Data, CONTROL, &GIBIBYTE)
            .await
            .unwrap();
        peer.reader.closed().await;
    })
    .await;
    let error = arrived.unwrap_err().to_string();
    assert!(
        error.contains("a message of 1073741824 bytes was announced; the limit is 4096"),
        "{error}"
    );
}

#[tokio::test]
async fn every_truncated_hello_is_an_error() {
    let mut control = Vec::new();
    wire::encode(
        &wire::ControlMessage::from(Control::Hello(hello())),
        &mut control,
    );
    let control = frame(FrameKind::Data, CONTROL, &control);
    for length in 0..control.len() {
        let (arrived, ()) = arrival(PIPE, async |far| {
            let mut peer = RawPeer::dialled(far, &RawKey::generate()).await;
            peer.writer.bytes(&control[..length]).await.unwrap();
            peer.writer.finish().await;
        })
        .await;
        let is_expected = match length {
            0 => matches!(arrived, Err(LinkError::Left { .. })),
            _ => matches!(arrived, Err(LinkError::Unreachable(_))),
        };
        assert!(is_expected, "cut at {length}: {arrived:?}");
    }
}

#[tokio::test]
async fn a_client_that_disconnects_within_the_handshake_is_an_error() {
    let (arrived, ()) = arrival(PIPE, async |mut far: Stream| {
        // The first bytes of a TLS record.
        far.write_all(&[22, 3, 1, 2, 0]).await.unwrap();
        far.finish().await.unwrap();
    })
    .await;
    assert!(
        matches!(arrived, Err(LinkError::Left { .. })),
        "{arrived:?}"
    );
}

// ---- in a session ----

/// The reason with which a session ends that receives `bytes`.
async fn end_of(bytes: &[u8]) -> String {
    let (link, _inbox, mut peer) = session(Settings::default(), PIPE).await;
    peer.writer.bytes(bytes).await.unwrap();
    let reason = within(link.ended()).await.to_string();
    peer.reader.closed().await;
    assert!(matches!(
        link.open(&Open::default(), Duration::from_secs(1)).await,
        Err(OpenError::Lost)
    ));
    reason
}

#[tokio::test]
async fn each_protocol_violation_ends_the_session_with_its_own_error() {
    let one = 1_u32.to_be_bytes();
    let window = vec![0; INITIAL_BYTES as usize + 1];
    let broke = "the other side broke the protocol";
    let cases = [
        (
            b"GET / HTTP/1.1\r\n".to_vec(),
            format!("{broke}: a frame of the unknown kind 71"),
        ),
        (
            frame(FrameKind::Data, 1, b"x"),
            format!("{broke}: a Data frame for an invalid stream"),
        ),
        (
            frame(FrameKind::Fin, 2, b""),
            format!("{broke}: a Fin frame for an invalid stream"),
        ),
        (
            frame(FrameKind::Credit, 77, &one),
            format!("{broke}: a Credit frame for an invalid stream"),
        ),
        (
            frame(FrameKind::Open, 2, b""),
            format!("{broke}: a Open frame for an invalid stream"),
        ),
        (
            frame(FrameKind::Open, 1, &window),
            format!("{broke}: more bytes than the stream had credit for"),
        ),
        (
            frame(FrameKind::Credit, CONTROL, &[255; 4]),
            format!("{broke}: more credit than a stream can have"),
        ),
        (
            frame(FrameKind::Data, CONTROL, &GIBIBYTE),
            format!("{broke}: a message of 1073741824 bytes was announced; the limit is 65536"),
        ),
        (
            frame(FrameKind::Fin, CONTROL, b""),
            "the other side closed the link".to_owned(),
        ),
        (
            frame(FrameKind::Reset, CONTROL, &one),
            "the link was lost: ".to_owned(),
        ),
        (
            frame(FrameKind::Stop, CONTROL, &one),
            "the link was lost: ".to_owned(),
        ),
        (
            frame(FrameKind::Data, CONTROL, &[0, 0, 0, 2, 0x0a, 0x7f]),
            format!("{broke}: a message that cannot be read: "),
        ),
    ];
    for (bytes, expected) in cases {
        let reason = end_of(&bytes).await;
        assert!(
            reason.starts_with(&expected),
            "{reason:?} instead of {expected:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn streams_above_the_limit_are_refused_and_the_session_continues() {
    const MOST: usize = 10;
    const OPENED: usize = 2000;
    let settings = Settings {
        streams: MOST as u32,
        ..Settings::default()
    };
    let (link, mut inbox, mut peer) = session(settings, PIPE).await;
    let opens: Vec<u8> = (0..OPENED as u32)
        .flat_map(|place| frame(FrameKind::Open, 2 * place + 1, b"x"))
        .collect();
    let (written, refused) = tokio::join!(peer.writer.bytes(&opens), async {
        let mut refused = 0;
        while refused < OPENED - MOST {
            if let (FrameKind::Reset, stream, code) = peer.reader.frame().await.unwrap() {
                assert_eq!(code, Code::Busy.number().to_be_bytes(), "stream {stream}");
                refused += 1;
            }
        }
        refused
    });
    written.unwrap();
    assert_eq!(refused, OPENED - MOST);
    let mut arrived = Vec::new();
    for _ in 0..MOST {
        arrived.push(within(inbox.streams.recv()).await.unwrap());
    }
    assert_eq!(link.streams(), MOST);
    answers(&mut peer, 1).await;
    // Streams that are released make room for the same number.
    drop(arrived);
    for place in 0..MOST as u32 {
        peer.writer
            .frame(FrameKind::Open, 100_001 + 2 * place, b"")
            .await
            .unwrap();
        within(inbox.streams.recv()).await.unwrap();
    }
    assert!(!link.is_over());
}

#[tokio::test(start_paused = true)]
async fn unserved_streams_wait_in_a_bounded_inbox() {
    let (link, inbox, mut peer) = session(Settings::default(), PIPE).await;
    for place in 0..5000 {
        peer.writer
            .frame(FrameKind::Open, 2 * place + 1, b"x")
            .await
            .unwrap();
    }
    answers(&mut peer, 1).await;
    // 64 in the inbox and one that is being put there; the others wait on their carrier.
    assert_eq!((inbox.streams.len(), link.streams()), (64, 65));
    drop(inbox);
    assert_eq!(
        &*within(link.ended()).await,
        "the session is no longer served"
    );
}

#[tokio::test(start_paused = true)]
async fn unread_messages_stop_at_the_window_and_the_inbox() {
    let (link, inbox, mut peer) = session(Settings::default(), 64 * 1024).await;
    let mut message = Vec::new();
    wire::encode(
        &wire::ControlMessage::from(Control::GoAway(GoAway {
            detail: "x".repeat(1000),
            ..GoAway::default()
        })),
        &mut message,
    );
    let message = frame(FrameKind::Data, CONTROL, &message);
    // Respects the credit: sends no more than the window and later grants.
    let mut credit = INITIAL_BYTES as usize - 200;
    let mut sent = 0;
    let flooding = async {
        loop {
            while credit >= message.len() {
                credit -= message.len() - HEADER_BYTES;
                peer.writer.bytes(&message).await.unwrap();
                sent += message.len();
            }
            match peer.reader.frame().await {
                Ok((FrameKind::Credit, CONTROL, more)) => {
                    credit += u32::from_be_bytes(more.try_into().unwrap()) as usize
                }
                Ok((kind, stream, _)) => assert_eq!((kind, stream), (FrameKind::Data, CONTROL)),
                Err(_) => break,
            }
        }
    };
    // The replies to the session's pings are behind the messages, so the session ends as if there
    // were none.
    within(flooding).await;
    assert_eq!(inbox.control.len(), 64);
    // The window of a stream that is read fast has grown.
    let most = 65 * message.len() + BACKLOG_BYTES + 8 * INITIAL_BYTES as usize;
    assert!(sent > 64 * 1000 && sent <= most, "{sent} bytes were taken");
    within(link.ended()).await;
}

/// The bytes of messages that wait for the owner of a session, beside its inbox.
const BACKLOG_BYTES: usize = 128 * 1024;

/// A short message for the owner of a session.
fn short() -> Control {
    Control::GoAway(GoAway::default())
}

#[tokio::test(start_paused = true)]
async fn pings_are_answered_while_the_inbox_is_full() {
    let (link, inbox, mut peer) = session(Settings::default(), PIPE).await;
    for _ in 0..500 {
        peer.writer.send(short()).await;
    }
    within(answers(&mut peer, 1)).await;
    assert_eq!(inbox.control.len(), 64);
    assert!(!link.is_over());
}

#[tokio::test(start_paused = true)]
async fn a_waiting_sender_sees_the_end_of_the_session_while_the_inbox_is_full() {
    let (link, inbox, mut peer) = session(Settings::default(), PIPE).await;
    for _ in 0..2000 {
        peer.writer.send(short()).await;
    }
    within(async {
        while inbox.control.len() < 64 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(peer);
    within(async { while link.send(short()).await {} }).await;
    within(link.ended()).await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_reads_is_given_up_in_seconds() {
    // It is given up whatever it requests meanwhile.
    let cases: [(&str, Vec<u8>); 3] = [
        ("nothing", Vec::new()),
        ("pings", {
            let mut ping = Vec::new();
            wire::encode(&wire::ControlMessage::from(Control::Ping(7)), &mut ping);
            frame(FrameKind::Data, CONTROL, &ping)
        }),
        (
            "streams that are stopped",
            [
                frame(FrameKind::Open, 1, b"x"),
                frame(FrameKind::Fin, 1, b""),
            ]
            .concat(),
        ),
    ];
    for (what, bytes) in cases {
        let (link, _inbox, mut peer) = session(Settings::default(), 4096).await;
        let begun = Instant::now();
        let asking = async {
            // Only pings may be repeated without limit.
            while what == "pings" && peer.writer.bytes(&bytes).await.is_ok() {}
            if what != "pings" {
                peer.writer.bytes(&bytes).await.unwrap();
            }
            std::future::pending::<()>().await;
        };
        let reason = tokio::select! {
            reason = link.ended() => reason,
            () = asking => unreachable!(),
        };
        let expected = [
            "the other side does not answer any more",
            "the other side accepts no messages",
        ];
        let broke = "the other side broke the protocol: more bytes than the stream had credit for";
        assert!(
            expected.contains(&&*reason) || (what == "pings" && &*reason == broke),
            "{what}: {reason}"
        );
        assert!(
            begun.elapsed() < Duration::from_secs(25),
            "{what}: after {:?}",
            begun.elapsed()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_pings_is_answered_in_order_and_delays_no_other_stream() {
    const PINGS: u64 = 20_000;
    let (link, mut inbox, mut peer) = session(Settings::default(), PIPE).await;
    peer.writer.credit(CONTROL, 10_000_000).await;
    let RawPeer {
        mut writer,
        mut reader,
    } = peer;
    let (grant, mut granted) = tokio::sync::mpsc::unbounded_channel();
    let flooding = async {
        let mut credit = INITIAL_BYTES as usize - 1000;
        for number in 0..PINGS {
            let mut ping = Vec::new();
            wire::encode(
                &wire::ControlMessage::from(Control::Ping(number)),
                &mut ping,
            );
            while credit < ping.len() {
                credit += granted.recv().await.unwrap();
            }
            credit -= ping.len();
            writer.frame(FrameKind::Data, CONTROL, &ping).await.unwrap();
            if number == PINGS / 2 {
                writer
                    .frame(FrameKind::Open, 1, b"in between")
                    .await
                    .unwrap();
            }
        }
    };
    let receiving = async {
        let (mut control, mut next) = (Vec::new(), 0);
        while next < PINGS {
            match reader.frame().await.unwrap() {
                (FrameKind::Credit, CONTROL, more) => {
                    grant
                        .send(u32::from_be_bytes(more.try_into().unwrap()) as usize)
                        .unwrap();
                }
                (FrameKind::Data, CONTROL, bytes) => control.extend_from_slice(&bytes),
                other => panic!("{other:?}"),
            }
            while let Some((message, n)) = wire::decode::<wire::ControlMessage>(&control).unwrap() {
                control.drain(..n);
                if let Some(Control::Pong(number)) = message.control {
                    assert_eq!(number, next);
                    next += 1;
                }
            }
        }
    };
    tokio::join!(flooding, receiving);
    within(inbox.streams.recv()).await.unwrap();
    assert!(!link.is_over());
}

#[tokio::test(start_paused = true)]
async fn an_invalid_open_message_resets_only_its_stream() {
    let (link, mut inbox, mut peer) = session(Settings::default(), PIPE).await;
    let cases: [(&[u8], &str); 3] = [
        (
            &GIBIBYTE,
            "a message of 1073741824 bytes was announced; the limit is 4096",
        ),
        (&[0, 0, 0, 2, 0x1a, 0x7f], "a message that cannot be read: "),
        (
            &[0xff; 300],
            "a message of 4294967295 bytes was announced; the limit is 4096",
        ),
    ];
    for (place, (bytes, words)) in cases.into_iter().enumerate() {
        let stream = 2 * place as u32 + 1;
        peer.writer
            .frame(FrameKind::Open, stream, bytes)
            .await
            .unwrap();
        let error = within(inbox.streams.recv())
            .await
            .unwrap()
            .asked()
            .await
            .map(|_| ())
            .unwrap_err();
        assert!(error.starts_with(words), "{error}");
        let code = loop {
            if let (FrameKind::Reset, reset, code) = peer.reader.frame().await.unwrap() {
                assert_eq!(reset, stream);
                break code;
            }
        };
        assert_eq!(code, Code::Protocol.number().to_be_bytes());
    }
    answers(&mut peer, 1).await;
    assert_eq!(link.streams(), 0);
}

#[tokio::test(start_paused = true)]
async fn each_invalid_answer_to_an_open_is_one_error_and_the_session_continues() {
    let (link, _inbox, mut peer) = session(Settings::default(), PIPE).await;
    let answers_given: [(FrameKind, &[u8], &str); 6] = [
        (
            FrameKind::Data,
            &GIBIBYTE,
            "Bad(\"a message of 1073741824 bytes was announced; the limit is 4096\")",
        ),
        (
            FrameKind::Data,
            &[0, 0, 0, 0],
            "Bad(\"an answer of an unknown kind\")",
        ),
        (
            FrameKind::Data,
            &[0, 0, 0, 2, 0x0a, 0x7f],
            "Bad(\"a message that cannot be read: ",
        ),
        (
            FrameKind::Fin,
            b"",
            "Bad(\"the far side closed the stream without an answer\")",
        ),
        (
            FrameKind::Reset,
            &[0, 0, 0, 3],
            "Fault(OpenFault { code: 3, class: \"\", detail: \"the far side reset the stream: DENIED\"",
        ),
        (
            FrameKind::Stop,
            &[0, 0, 0, 99],
            "Fault(OpenFault { code: 99, class: \"\", detail: \"the far side reset the stream: BROKEN\"",
        ),
    ];
    for (kind, bytes, words) in answers_given {
        let open = Open {
            host: "example.com".into(),
            port: 80,
            ..Open::default()
        };
        let answering = async {
            let stream = loop {
                if let (FrameKind::Open, stream, _) = peer.reader.frame().await.unwrap() {
                    break stream;
                }
            };
            peer.writer.frame(kind, stream, bytes).await.unwrap();
        };
        let (opened, ()) =
            tokio::join!(within(link.open(&open, Duration::from_secs(5))), answering);
        let error = format!("{:?}", opened.map(|_| ()).unwrap_err());
        assert!(error.starts_with(words), "{error}");
    }
    answers(&mut peer, 1).await;
    assert_eq!(link.streams(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stops_answering_is_given_up_by_the_acceptor() {
    let (link, _inbox, mut peer) = session(Settings::default(), PIPE).await;
    for _ in 0..5 {
        let Control::Ping(number) = peer.reader.recv().await.unwrap() else {
            panic!("no ping")
        };
        peer.writer.send(Control::Pong(number)).await;
    }
    let stopped = Instant::now();
    assert_eq!(
        &*within(link.ended()).await,
        "the other side does not answer any more"
    );
    let lasted = stopped.elapsed();
    assert!((10..13).contains(&lasted.as_secs()), "after {lasted:?}");
    peer.reader.closed().await;
}

#[tokio::test(start_paused = true)]
async fn an_open_without_an_answer_makes_the_session_ping_at_once() {
    let (link, _inbox, mut peer) = session(Settings::default(), PIPE).await;
    let Control::Ping(number) = peer.reader.recv().await.unwrap() else {
        panic!("no ping")
    };
    peer.writer.send(Control::Pong(number)).await;
    let begun = Instant::now();
    let open = Open {
        host: "example.com".into(),
        port: 80,
        ..Open::default()
    };
    let asked = async {
        assert!(matches!(
            peer.reader.recv().await.unwrap(),
            Control::Ping(_)
        ));
        begun.elapsed()
    };
    let (opened, asked) = tokio::join!(link.open(&open, Duration::from_secs(60)), asked);
    // Otherwise it would have sent a ping after five seconds.
    assert!((250..1000).contains(&asked.as_millis()), "after {asked:?}");
    assert!(matches!(opened, Err(OpenError::Lost)), "{opened:?}");
    assert!(
        begun.elapsed() < Duration::from_secs(9),
        "after {:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn streams_that_announce_an_open_message_and_never_send_it_are_bounded() {
    let (link, mut inbox, mut peer) = session(Settings::default(), PIPE).await;
    // The longest open message, announced and not sent, 8,190 times.
    let opens: Vec<u8> = (0..8190)
        .flat_map(|place| frame(FrameKind::Open, 2 * place + 1, &[0, 0, 16, 0]))
        .collect();
    let sending = async { peer.writer.bytes(&opens).await.unwrap() };
    let (mut asking, mut most) = (Vec::new(), 0);
    let serving = async {
        while let Ok(Some(arrived)) = timeout(Duration::from_secs(1), inbox.streams.recv()).await {
            asking.push(Box::pin(arrived.asked()));
            most = most.max(asking.len());
        }
    };
    tokio::join!(sending, serving);
    assert_eq!(most, 256, "streams without an open message");
    answers(&mut peer, 1).await;
    // Streams that are given up make room for others.
    asking.clear();
    within(inbox.streams.recv()).await.unwrap();
    assert!(!link.is_over());
}

#[tokio::test]
async fn a_fault_with_a_long_detail_still_fits_into_an_answer() {
    let pair = common::Pair::new(byway_link::Carriers::Tls).await;
    let refusing = async {
        let (_, asked) = pair.acceptor.next_asked().await;
        let (class, detail) = ("long".to_owned(), "\u{fc}".repeat(10_000));
        asked
            .refused(wire::OpenFault {
                code: Code::Denied.number(),
                class,
                detail,
            })
            .await;
    };
    let (opened, ()) = tokio::join!(pair.dialler.open(), refusing);
    let Err(OpenError::Fault(fault)) = opened.map(|_| ()) else {
        panic!("no fault")
    };
    assert!(fault.code == Code::Denied.number() && fault.detail.starts_with("\u{fc}\u{fc}"));
}

#[tokio::test]
async fn the_bytes_of_streams_that_wait_to_be_accepted_are_bounded() {
    const FIRST: usize = 32 * 1024;
    let (link, inbox, mut peer) = session(Settings::default(), PIPE).await;
    let RawPeer { writer, reader } = &mut peer;
    // The session is not served: 65 streams were accepted, and 4 MiB of the bytes of other streams
    // are kept.
    let kept = 65 + 4 * 1024 * 1024 / FIRST;
    let sending = async {
        for place in 0..1000 {
            writer
                .frame(FrameKind::Open, 2 * place + 1, &[0; FIRST])
                .await
                .unwrap();
        }
    };
    let refused = async {
        let mut refused = 0;
        while refused < 1000 - kept {
            if let (FrameKind::Reset, _, code) = reader.frame().await.unwrap() {
                assert_eq!(code, Code::Busy.number().to_be_bytes());
                refused += 1;
            }
        }
    };
    tokio::join!(sending, within(refused));
    answers(&mut peer, 1).await;
    assert!(!link.is_over());
    drop(inbox);
}

#[tokio::test]
async fn streams_by_quic_that_were_refused_and_not_finished_were_kept_without_a_bound() {
    const KEPT: usize = 1024;
    let listening = common::listening().await;
    let mut peer = RawQuic::dialled(listening.address, &RawKey::generate()).await;
    peer.send(Control::Hello(hello())).await;
    let (link, _inbox) = listening.pending().await.welcome().await.unwrap();
    assert!(matches!(peer.recv_control().await, Control::Welcome(_)));
    let connection = peer.connection.clone();
    connection.set_max_concurrent_bi_streams(4096_u16.into());
    let answering = async {
        loop {
            if let Control::Ping(number) = peer.recv_control().await {
                peer.send(Control::Pong(number)).await;
            }
        }
    };
    let refusing = async {
        let refusal = wire::OpenFault {
            code: Code::Denied.number(),
            ..wire::OpenFault::default()
        };
        let mut answer = Vec::new();
        wire::encode(
            &wire::Answer::from(wire::Answered::Fault(refusal)),
            &mut answer,
        );
        let mut streams = Vec::new();
        loop {
            let (mut send, recv) = connection.accept_bi().await.unwrap();
            send.write_all(&answer).await.unwrap();
            streams.push((send, recv));
            if streams.len() > KEPT {
                break streams;
            }
        }
    };
    let opening = async {
        for _ in 0..=KEPT {
            let opened = link.open(&Open::default(), Duration::from_secs(20)).await;
            assert!(matches!(opened, Err(OpenError::Fault(_))), "{opened:?}");
        }
    };
    let stopped = async {
        let (mut streams, ()) = tokio::join!(refusing, opening);
        let first = &mut streams[0].0;
        let code = within(first.stopped()).await.unwrap();
        assert_eq!(code.map(quinn::VarInt::into_inner), Some(0));
        let last = &mut streams[KEPT].0;
        last.write_all(b"x").await.unwrap();
    };
    tokio::select! {
        () = stopped => {}
        () = answering => {}
    }
    assert!(!link.is_over());
}
