//! Tests of internals: stolen keys, unused carriers, peers that stop.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use byway_testkit::pipe;
use tokio::time::{Instant, sleep_until};

use super::*;
use crate::Congestion;
use crate::common::raw::{RawKey, RawPeer, frame};
use crate::common::{Listening, PATIENCE, dialler, within};
use crate::fair_budget::{FairBudget, Limits, Purpose};
use crate::large_packets;
use crate::measuring::Announcer;
use crate::mux::frame::{CONTROL, FrameKind};
use crate::wire::{FEATURE_HOST, GoAway, Refused, Welcome};
use crate::{Arrival, ClientKey, GrantId, GrantSecret, NodeBudget, OpenAttempts, OpenError, wire};

fn key() -> Key {
    Key::generate().unwrap()
}

#[tokio::test]
async fn a_copied_public_key_is_unproven_and_final_on_every_carrier() {
    for carriers in [Carriers::Quic, Carriers::Tls, Carriers::Auto] {
        let victim = key();
        let listening =
            Listening::new(victim.with_stolen_public_half(&key()), Settings::default()).await;
        assert_eq!(
            listening.acceptor.pin(),
            victim.fingerprint(),
            "it shows the pinned key"
        );
        let dialler = dialler(listening.join(), carriers, key(), Settings::default());
        let error = within(dialler.connect(1, 1, PATIENCE))
            .await
            .map(|_| ())
            .unwrap_err();
        assert!(
            matches!(error, LinkError::Unproven { .. }) && error.is_final(),
            "{carriers:?}: {error:?}"
        );
        let arrived = listening.next().await;
        assert!(
            matches!(arrived, Err(LinkError::Unauthenticated { .. })),
            "{carriers:?}: {arrived:?}"
        );
    }
}

#[tokio::test]
async fn a_key_copied_from_another_dialler_is_never_welcomed() {
    for carriers in [Carriers::Quic, Carriers::Tls] {
        let listening = Listening::new(key(), Settings::default()).await;
        let thief = key().with_stolen_public_half(&key());
        let dialler = dialler(listening.join(), carriers, thief, Settings::default());
        let (connected, arrived) =
            tokio::join!(within(dialler.connect(1, 1, PATIENCE)), listening.next());
        assert!(connected.is_err());
        assert!(
            matches!(arrived, Err(LinkError::Unauthenticated { .. })),
            "{carriers:?}: {arrived:?}"
        );
    }
}

/// Both sides of a TLS carrier in memory: ours has dialled the test's peer.
async fn dialled(settings: &Settings) -> (Dialler, Authenticated, RawPeer) {
    let (near, far) = pipe::pair_of(1 << 20);
    let theirs = RawKey::generate();
    let join = JoinString {
        pin: theirs.key().fingerprint(),
        id: GrantId::from_bytes([1; 6]),
        secret: GrantSecret::from_bytes([2; 24]),
        address: Target::Addr("192.0.2.1:7000".parse().unwrap()),
    };
    let dialler = dialler(join, Carriers::Tls, key(), settings.clone());
    let config = tls::dialler(&dialler.key, dialler.join.pin).unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let connecting = connector.connect(no_name(), AsIo(near.into_stream()));
    let far = far.into_stream();
    let (session, peer) = tokio::join!(connecting, RawPeer::accepted(far, &theirs));
    let (pin, runtime) = (dialler.join.pin, Handle::current());
    let authenticated = over_tls(
        session.unwrap().into(),
        None,
        pin,
        Side::Dialler,
        settings,
        &runtime,
    );
    (dialler, authenticated, peer)
}

/// A session on such a carrier, with a dialler that may use `carriers`.
async fn welcomed_with(carriers: Carriers) -> (Link, Inbox, RawPeer) {
    let (dialler, authenticated, mut peer) = dialled(&Settings::default()).await;
    let dialler = Dialler {
        carriers,
        ..dialler
    };
    let welcoming = async {
        assert!(matches!(
            peer.reader.recv().await.unwrap(),
            Control::Hello(_)
        ));
        peer.writer.send(welcome(16)).await;
    };
    let (control, ()) = tokio::join!(dialler.send_hello(authenticated, 1, 1), welcoming);
    let (link, inbox) = control.unwrap();
    (link, inbox, peer)
}

/// The same with a dialler that may use only TLS.
async fn welcomed() -> (Link, Inbox, RawPeer) {
    welcomed_with(Carriers::Tls).await
}

fn welcome(id_bytes: usize) -> Control {
    Control::Welcome(Welcome {
        version: 1,
        session: vec![3; id_bytes],
        ..Welcome::default()
    })
}

#[tokio::test]
async fn an_unused_carrier_is_closed() {
    let (_, authenticated, mut peer) = dialled(&Settings::default()).await;
    drop(authenticated);
    peer.reader.closed().await;

    let listening = Listening::new(key(), Settings::default()).await;
    let dialler = dialler(listening.join(), Carriers::Quic, key(), Settings::default());
    let pin = dialler.join.pin;
    let quic = quic::dial(listening.address, &dialler.key, pin, Congestion::Bbr)
        .await
        .unwrap();
    let control = LinkStream::quic(quic.open(&[], None, &TaskTracker::new()).await.unwrap());
    drop(over_quic(
        quic.clone(),
        control,
        pin,
        TaskTracker::new(),
        &dialler.settings,
        &Handle::current(),
    ));
    within(quic.closed()).await;
}

#[tokio::test]
async fn a_cancelled_hello_closes_its_carrier() {
    let (dialler, authenticated, mut peer) = dialled(&Settings::default()).await;
    {
        let mut sending = std::pin::pin!(dialler.send_hello(authenticated, 1, 1));
        let received = async { peer.reader.recv().await.unwrap() };
        tokio::select! {
            _ = sending.as_mut() => panic!("an answer that was not sent"),
            control = received => assert!(matches!(control, Control::Hello(_))),
        }
    }
    peer.reader.closed().await;
}

#[tokio::test]
async fn carriers_of_one_grant_drew_on_the_budget_of_the_node_as_if_each_were_alone() {
    let settings = Settings {
        budget: NodeBudget::of(Limits::both(400), 0),
        ..Settings::default()
    };
    let listening = Listening::by_tcp_alone(key(), settings).await;
    let mut held = Vec::new();
    let mut budgets = Vec::new();
    for grant in [1, 1, 2] {
        // Each with a key of its own.
        let mut peer =
            RawPeer::dialled(crate::common::dial(&listening).await, &RawKey::generate()).await;
        peer.writer
            .send(Control::Hello(Hello {
                grant: vec![grant; 6],
                ..crate::common::raw::hello()
            }))
            .await;
        let pending = listening.pending().await;
        let budget = Arc::clone(&pending.arrived.budget);
        assert_eq!(take_all(&budget), 0, "it is not welcomed yet");
        held.push((peer, pending.welcome().await.unwrap()));
        budgets.push(budget);
    }
    let first = take_all(&budgets[0]);
    assert!((190..=200).contains(&first), "half of the node: {first}");
    assert_eq!(
        take_all(&budgets[1]),
        0,
        "another carrier of the same grant"
    );
    let other = take_all(&budgets[2]);
    assert!((90..=100).contains(&other), "the other grant: {other}");
}

/// Takes all that is left for streams of different clients. Returns how much that was.
fn take_all(budget: &FairBudget) -> u64 {
    let mut taken = 0;
    while budget.take(Purpose::Growth, ClientKey::numbered(taken + 1), 0, 1) {
        taken += 1;
    }
    taken
}

#[tokio::test]
async fn each_unexpected_answer_to_a_hello_is_one_error() {
    let refused = |why| {
        Control::Refused(Refused {
            why,
            detail: "no".into(),
        })
    };
    let answers = [
        (welcome(15), "its welcome names no session"),
        (welcome(0), "its welcome names no session"),
        (Control::Ping(1), "it answered a hello with something else"),
        (
            Control::GoAway(GoAway::default()),
            "it answered a hello with something else",
        ),
        (
            refused(Refusal::Grant.number()),
            "192.0.2.1:7000 refuses: no",
        ),
        (refused(4711), "192.0.2.1:7000 refuses: no"),
    ];
    for (answer, words) in answers {
        let (dialler, authenticated, mut peer) = dialled(&Settings::default()).await;
        peer.writer.send(answer.clone()).await;
        let error = within(dialler.send_hello(authenticated, 1, 1))
            .await
            .map(|_| ())
            .unwrap_err();
        assert!(error.to_string().contains(words), "{answer:?}: {error}");
        peer.reader.closed().await;
    }
}

#[tokio::test]
async fn an_acceptor_has_the_features_it_names_and_unknown_ones_are_ignored() {
    for (features, has) in [
        (0, false),
        (FEATURE_HOST, true),
        (!FEATURE_HOST, false),
        (u64::MAX, true),
    ] {
        let (dialler, authenticated, mut peer) = dialled(&Settings::default()).await;
        let answer = Welcome {
            version: 1,
            session: vec![3; 16],
            features,
            ..Welcome::default()
        };
        peer.writer.send(Control::Welcome(answer)).await;
        let (link, _inbox) = within(dialler.send_hello(authenticated, 1, 1))
            .await
            .unwrap();
        assert_eq!(link.has(FEATURE_HOST), has, "{features:#x}");
        assert!(!link.has(1 << 63), "{features:#x}");
    }
}

#[tokio::test]
async fn a_refused_attach_does_not_affect_its_session() {
    let (link, mut inbox, _peer) = welcomed().await;
    let (dialler, authenticated, mut second) = dialled(&Settings::default()).await;
    dialler.attach(&link, authenticated).await;
    assert_eq!(link.carriers(), [CarrierKind::Tls; 2]);
    assert!(matches!(
        second.reader.recv().await.unwrap(),
        Control::Attach(_)
    ));
    second
        .writer
        .send(Control::Refused(Refused {
            why: Refusal::Gone.number(),
            detail: "gone".into(),
        }))
        .await;
    second.reader.closed().await;
    within(async {
        while link.carriers().len() > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(!link.is_over());
    assert!(
        inbox.control.try_recv().is_err(),
        "the owner of the session is not involved"
    );
}

// ---- peers that stop, with a clock that jumps ----

#[tokio::test(start_paused = true)]
async fn a_session_whose_peer_stops_answering_ends() {
    let (link, _inbox, mut peer) = welcomed().await;
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
    assert!((6..9).contains(&lasted.as_secs()), "after {lasted:?}");
    assert!(link.carriers().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_answers_pings_is_kept_and_one_that_only_sends_is_not() {
    let (link, _inbox, mut peer) = welcomed().await;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(60) {
        let Control::Ping(number) = peer.reader.recv().await.unwrap() else {
            panic!("no ping")
        };
        peer.writer.send(Control::Pong(number)).await;
        assert!(!link.is_over());
    }
    // It goes on sending: pings of its own, and replies to pings that were not sent.
    let talking = async {
        let mut number = 0;
        loop {
            number += 1;
            peer.writer.send(Control::Ping(number)).await;
            peer.writer.send(Control::Pong(1_000_000 + number)).await;
            sleep(Duration::from_millis(100)).await;
            if link.is_over() {
                break;
            }
        }
    };
    let (reason, ()) = tokio::join!(within(link.ended()), talking);
    assert_eq!(&*reason, "the other side does not answer any more");
}

#[tokio::test(start_paused = true)]
async fn an_open_to_a_dead_peer_fails_long_before_its_timeout() {
    let (link, _inbox, _peer) = welcomed().await;
    let open = wire::Open {
        host: "example.com".into(),
        port: 80,
        ..wire::Open::default()
    };
    let start = Instant::now();
    let opened = link.open(&open, Duration::from_secs(60)).await;
    assert!(matches!(opened, Err(OpenError::Lost)), "{opened:?}");
    assert!(start.elapsed() < Duration::from_secs(9));
    assert!(link.is_over());
}

#[tokio::test]
async fn a_server_that_opens_a_stream_before_its_welcome_ends_the_carrier() {
    let (dialler, authenticated, mut peer) = dialled(&Settings::default()).await;
    let opening = async {
        assert!(matches!(
            peer.reader.recv().await.unwrap(),
            Control::Hello(_)
        ));
        peer.writer
            .frame(FrameKind::Open, 2, &[0; 1000])
            .await
            .unwrap();
        peer.reader.closed().await;
    };
    let (control, ()) = tokio::join!(dialler.send_hello(authenticated, 1, 1), opening);
    let error = control.map(|_| ()).unwrap_err().to_string();
    assert_eq!(
        error,
        "the other side broke the protocol: a stream was opened before the session was established"
    );
}

#[tokio::test]
async fn a_stream_in_the_same_packet_as_the_welcome_is_served() {
    let (dialler, authenticated, mut peer) = dialled(&Settings::default()).await;
    let welcoming = async {
        assert!(matches!(
            peer.reader.recv().await.unwrap(),
            Control::Hello(_)
        ));
        let mut message = Vec::new();
        wire::encode(&wire::ControlMessage::from(welcome(16)), &mut message);
        let both = [
            frame(FrameKind::Data, CONTROL, &message),
            frame(FrameKind::Open, 2, b"at once"),
        ]
        .concat();
        peer.writer.bytes(&both).await.unwrap();
    };
    let (control, ()) = tokio::join!(dialler.send_hello(authenticated, 1, 1), welcoming);
    let (_link, mut inbox) = control.unwrap();
    within(inbox.streams.recv()).await.unwrap();
}

#[tokio::test]
async fn reports_beyond_their_queue_are_dropped_and_delay_no_other_message() {
    let (link, _inbox, mut peer) = welcomed().await;
    let visited = || {
        Box::new(wire::Visited {
            service: 1,
            target: b"/x".to_vec(),
            ..wire::Visited::default()
        })
    };
    // The task that writes them does not run before this one waits.
    let taken = (0..10_000).filter(|_| link.report(visited())).count();
    assert_eq!(taken, 128);
    assert!(
        link.try_send(Control::GoAway(GoAway::default())),
        "reports have a queue of their own"
    );
    let (mut reports, mut goodbyes) = (0, 0);
    while (reports, goodbyes) != (taken, 1) {
        match peer.reader.recv().await.unwrap() {
            Control::Visited(_) => reports += 1,
            Control::GoAway(_) => goodbyes += 1,
            Control::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    }
    link.end("enough");
    assert!(!link.report(visited()));
}

// ---- silence ----

/// Answers pings until `over`, then reads and sends nothing more.
async fn answer_pings(peer: &mut RawPeer, over: impl Future<Output = ()>) {
    let answering = async {
        loop {
            if let Control::Ping(number) = peer.reader.recv().await.unwrap() {
                peer.writer.send(Control::Pong(number)).await;
            }
        }
    };
    tokio::select! {
        () = answering => {}
        () = over => {}
    }
}

fn target() -> wire::Open {
    wire::Open {
        host: "example.com".into(),
        port: 80,
        ..wire::Open::default()
    }
}

/// Answers pings and each open with success.
async fn serve(peer: &mut RawPeer) {
    let mut control = Vec::new();
    loop {
        match peer.reader.frame().await.unwrap() {
            (FrameKind::Open, stream, _) => {
                let mut answer = Vec::new();
                wire::encode(
                    &wire::Answer::from(wire::Answered::Opened(wire::Opened::default())),
                    &mut answer,
                );
                peer.writer
                    .frame(FrameKind::Data, stream, &answer)
                    .await
                    .unwrap();
            }
            (FrameKind::Data, CONTROL, bytes) => {
                control.extend_from_slice(&bytes);
                while let Some((message, n)) =
                    wire::decode::<wire::ControlMessage>(&control).unwrap()
                {
                    control.drain(..n);
                    if let Some(Control::Ping(number)) = message.control {
                        peer.writer.send(Control::Pong(number)).await;
                    }
                }
            }
            _ => {}
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_open_on_a_silent_carrier_waited_for_its_end_although_another_one_answered() {
    let (link, _inbox, mut old) = welcomed().await;
    let (dialler, authenticated, mut newer) = dialled(&Settings::default()).await;
    dialler.attach(&link, authenticated).await;
    // Both answer for a while; then the newer one, which is preferred, stops.
    let both = async {
        tokio::join!(
            answer_pings(&mut old, sleep(2 * TLS_STARTS)),
            answer_pings(&mut newer, sleep(2 * TLS_STARTS))
        )
    };
    within(both).await;
    let start = Instant::now();
    let open = target();
    tokio::select! {
        opened = link.open(&open, Duration::from_secs(60)) => {
            let opened = opened.unwrap();
            assert!(start.elapsed() < Duration::from_millis(1200), "after {:?}", start.elapsed());
            drop(opened);
        }
        () = serve(&mut old) => unreachable!(),
    }
    assert_eq!(
        link.carriers().len(),
        2,
        "the silent one is kept: its streams may recover"
    );
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_was_paused_was_taken_for_a_path_that_loses_large_packets() {
    let seconds = |seconds| Duration::from_millis((seconds * 1000.0) as u64);
    // The first carrier is pinged at whole seconds, the other one 0.6 s later. The first one answers
    // for 2.9 s, the other one for these times.
    for (stops_at, goes_on_at, first_ends, is_loss) in [
        (2.9, 60.0, false, false),
        (4.9, 60.0, false, false),
        (2.9, 5.0, true, false),
        (60.0, 60.0, false, true),
    ] {
        let (link, _inbox, mut first) = welcomed().await;
        let start = Instant::now();
        answer_pings(&mut first, sleep(seconds(0.6))).await;
        let (dialler, authenticated, mut other) = dialled(&Settings::default()).await;
        dialler.attach(&link, authenticated).await;
        let at = |time| sleep_until(start + seconds(time));
        let answering = async {
            answer_pings(&mut other, at(stops_at)).await;
            at(goes_on_at).await;
            if first_ends {
                // Another one was dialled during the pause, and needs its place.
                link.end_first(large_packets::MADE_ROOM);
            }
            answer_pings(&mut other, std::future::pending()).await;
        };
        let is_silent = tokio::select! {
            is_silent = within(link.first_stays_silent()) => is_silent,
            _ = async { tokio::join!(answering, answer_pings(&mut first, at(2.9))) } => unreachable!(),
        };
        assert_eq!(is_silent, is_loss, "{stops_at} {goes_on_at}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_opens_for_one_visitor_are_bounded_while_carriers_fall_silent() {
    let (link, _inbox, first) = welcomed().await;
    let mut peers = vec![first];
    for _ in 0..3 {
        let (dialler, authenticated, peer) = dialled(&Settings::default()).await;
        dialler.attach(&link, authenticated).await;
        peers.push(peer);
    }
    // The carrier that got the last open answers no pings, and all others do.
    let (opens, silent) = (AtomicUsize::new(0), AtomicUsize::new(usize::MAX));
    let serving = (0..).zip(&mut peers).map(async |(index, peer)| {
        let (mut control, mut unanswered) = (Vec::new(), Vec::new());
        loop {
            match timeout(Duration::from_millis(50), peer.reader.frame()).await {
                Ok(Ok((FrameKind::Open, ..))) => {
                    opens.fetch_add(1, Relaxed);
                    silent.store(index, Relaxed);
                }
                Ok(Ok((FrameKind::Data, CONTROL, bytes))) => {
                    control.extend_from_slice(&bytes);
                    while let Some((message, n)) =
                        wire::decode::<wire::ControlMessage>(&control).unwrap()
                    {
                        control.drain(..n);
                        if let Some(Control::Ping(number)) = message.control {
                            unanswered.push(number);
                        }
                    }
                }
                Ok(Err(_)) => std::future::pending().await,
                _ => {}
            }
            if silent.load(Relaxed) != index {
                for number in unanswered.drain(..) {
                    peer.writer.send(Control::Pong(number)).await;
                }
            }
        }
    });
    let open = target();
    let visiting = async {
        sleep(2 * TLS_STARTS).await;
        let mut attempts = OpenAttempts::default();
        let patience = Duration::from_secs(5);
        let opened = link
            .open_again(&open, ClientKey::UNKNOWN, patience, &mut attempts)
            .await;
        assert!(matches!(opened, Err(OpenError::Timeout)), "{opened:?}");
        let first = opens.load(Relaxed);
        assert!(!attempts.is_used_up());
        while !attempts.is_used_up() {
            let opened = link
                .open_again(&open, ClientKey::UNKNOWN, patience, &mut attempts)
                .await;
            assert!(matches!(opened, Err(OpenError::Timeout)), "{opened:?}");
        }
        let opened = link
            .open_again(&open, ClientKey::UNKNOWN, patience, &mut attempts)
            .await;
        assert!(matches!(opened, Err(OpenError::Lost)), "{opened:?}");
        (first, opens.load(Relaxed))
    };
    tokio::select! {
        opens = visiting => assert_eq!(opens, (3, 4)),
        _ = futures_util::future::join_all(serving) => unreachable!(),
    }
}

#[tokio::test(start_paused = true)]
async fn an_open_stream_survives_ten_seconds_of_silence() {
    let (link, _inbox, mut peer) = welcomed().await;
    let open = target();
    let opened = tokio::select! {
        opened = link.open(&open, Duration::from_secs(60)) => opened.unwrap(),
        () = serve(&mut peer) => unreachable!(),
    };
    sleep(Duration::from_secs(10)).await;
    let mut stream = opened.stream;
    assert!(link.is_silent() && !link.is_over());
    let mut room = [0; 8];
    let reading = async {
        peer.writer
            .frame(FrameKind::Data, 1, b"go on")
            .await
            .unwrap();
        answer_pings(&mut peer, sleep(Duration::from_secs(60))).await;
    };
    let (read, ()) = tokio::join!(stream.read(&mut room), reading);
    assert_eq!(read.unwrap(), byway_dial::Read::Data(5));
    assert!(!link.is_silent() && !link.is_over());
}

#[tokio::test(start_paused = true)]
async fn a_session_that_the_other_side_no_longer_has_ends_when_its_silent_carrier_is_replaced() {
    let (link, _inbox, _silent) = welcomed().await;
    within(link.silent()).await;
    let (dialler, authenticated, mut second) = dialled(&Settings::default()).await;
    dialler.attach(&link, authenticated).await;
    second
        .writer
        .send(Control::Refused(Refused {
            why: Refusal::Gone.number(),
            detail: "that session is over".into(),
        }))
        .await;
    assert_eq!(&*within(link.ended()).await, "that session is over");
}

#[tokio::test]
async fn a_session_whose_only_carrier_is_silent_gets_another_one_and_keeps_the_first() {
    let key = RawKey::generate();
    let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let join = JoinString {
        pin: key.key().fingerprint(),
        id: GrantId::from_bytes([1; 6]),
        secret: GrantSecret::from_bytes([2; 24]),
        address: Target::Addr(tcp.local_addr().unwrap()),
    };
    let dialler = dialler(join, Carriers::Tls, self::key(), Settings::default());
    let accepting = async || {
        RawPeer::accepted(byway_dial::Stream::tcp(tcp.accept().await.unwrap().0), &key).await
    };
    let welcoming = async {
        let mut peer = accepting().await;
        assert!(matches!(
            peer.reader.recv().await.unwrap(),
            Control::Hello(_)
        ));
        peer.writer.send(welcome(16)).await;
        peer
    };
    let (connected, first) = tokio::join!(within(dialler.connect(1, 1, PATIENCE)), welcoming);
    let (link, _inbox) = connected.unwrap();
    // `first` sends no replies.
    let mut second = within(accepting()).await;
    assert!(matches!(
        second.reader.recv().await.unwrap(),
        Control::Attach(_)
    ));
    let open = target();
    tokio::select! {
        opened = link.open(&open, PATIENCE) => drop(opened.unwrap()),
        () = serve(&mut second) => unreachable!(),
    }
    assert!(!link.is_over());
    drop(first);
}

#[tokio::test(start_paused = true)]
async fn a_carrier_that_was_replaced_ends_once_it_has_no_streams() {
    let (link, _inbox, mut old) = welcomed().await;
    let (dialler, authenticated, mut newer) = dialled(&Settings::default()).await;
    dialler.attach(&link, authenticated).await;
    assert_eq!(link.carriers().len(), 2);
    dialler.keep(&link, futures_util::stream::FuturesUnordered::new());
    tokio::select! {
        () = serve(&mut newer) => unreachable!(),
        () = old.reader.closed() => {}
    }
    assert_eq!(link.carriers().len(), 1);
    assert!(!link.is_over());
}

#[tokio::test(start_paused = true)]
async fn four_silent_carriers_left_no_slot_for_one_that_answers() {
    let (link, _inbox, first) = welcomed().await;
    let mut silent = vec![first];
    for _ in 0..3 {
        let (dialler, authenticated, peer) = dialled(&Settings::default()).await;
        dialler.attach(&link, authenticated).await;
        silent.push(peer);
    }
    assert!(
        link.reserve().is_err(),
        "none of them is known to be silent"
    );
    within(link.silent()).await;
    let (dialler, authenticated, mut fifth) = dialled(&Settings::default()).await;
    dialler.attach(&link, authenticated).await;
    assert_eq!(link.carriers().len(), 4);
    let open = target();
    tokio::select! {
        opened = link.open(&open, Duration::from_secs(60)) => drop(opened.unwrap()),
        () = serve(&mut fifth) => unreachable!(),
    }
    assert!(!link.is_over());
}

/// The number of connections that start within `patience` if no reply is ever sent.
async fn connections_within(patience: Duration) -> usize {
    let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let join = JoinString {
        pin: key().fingerprint(),
        id: GrantId::from_bytes([1; 6]),
        secret: GrantSecret::from_bytes([2; 24]),
        address: Target::Addr(tcp.local_addr().unwrap()),
    };
    let dialler = dialler(join, Carriers::Tls, key(), Settings::default());
    let mut started = Vec::new();
    let connecting = dialler.connect(1, 1, patience);
    let accepting = async {
        loop {
            started.push(tcp.accept().await.unwrap());
        }
    };
    tokio::select! {
        connected = connecting => assert!(connected.is_err()),
        () = accepting => unreachable!(),
    }
    started.len()
}

#[tokio::test]
async fn a_path_that_came_back_during_a_try_was_noticed_only_by_the_next_try() {
    // The connections of a try overlap: a later one finds the recovered path, an earlier one a slow
    // path.
    let started = connections_within(attempts::NEXT_ROUND * 2 + Duration::from_millis(500)).await;
    assert!(
        (2..=3).contains(&started),
        "{started} connections were started"
    );
}

// ---- the preferred carrier ----

#[tokio::test]
async fn an_acceptor_began_trials_of_a_carrier_that_its_dialler_never_attaches() {
    for (carriers, has_choice) in [
        (Carriers::Auto, true),
        (Carriers::Quic, false),
        (Carriers::Tls, false),
    ] {
        let listening = Listening::new(key(), Settings::default()).await;
        let dialler = dialler(listening.join(), carriers, key(), Settings::default());
        let welcoming = async {
            loop {
                // On a slow machine the carrier that is not needed arrives, too, and ends.
                if let Ok(Arrival::Hello(pending)) = listening.next().await {
                    return pending.welcome().await.unwrap();
                }
            }
        };
        let (dialled, accepted) = tokio::join!(within(dialler.connect(1, 1, PATIENCE)), welcoming);
        let (Ok((dialled, _)), (accepted, _)) = (dialled, accepted) else {
            panic!("{carriers:?}: no link")
        };
        assert_eq!(
            [&dialled, &accepted].map(Link::has_choice),
            [has_choice; 2],
            "{carriers:?}"
        );
    }
    // A dialler of an earlier version does not send it.
    let listening = Listening::new(key(), Settings::default()).await;
    let (_peer, (accepted, _inbox), _session) =
        crate::common::raw_session(&listening, &RawKey::generate()).await;
    assert!(accepted.has_choice());
}

#[tokio::test]
async fn a_dialler_limited_to_one_kind_of_carrier_makes_links_without_a_preference() {
    for (carriers, has_choice) in [
        (Carriers::Auto, true),
        (Carriers::Quic, false),
        (Carriers::Tls, false),
    ] {
        let (link, _inbox, _peer) = welcomed_with(carriers).await;
        assert_eq!(link.has_choice(), has_choice, "{carriers:?}");
    }
}

/// The next preference that `peer` receives.
async fn preference(peer: &mut RawPeer) -> u32 {
    loop {
        if let Control::PreferTls(prefers) = within(peer.reader.recv()).await.unwrap() {
            return prefers;
        }
    }
}

#[tokio::test]
async fn a_preference_was_never_repeated_after_the_queue_had_no_room_for_it() {
    let (link, _inbox, mut peer) = welcomed().await;
    let mut announcer = Announcer::new(Control::PreferTls);
    // The task that writes them does not run before this one waits.
    while link.try_send(Control::GoAway(GoAway::default())) {}
    announcer.announce(&link, true);
    within(async {
        while !matches!(peer.reader.recv().await.unwrap(), Control::PreferTls(1)) {
            // As after each window of traffic.
            announcer.announce(&link, true);
        }
    })
    .await;
}

#[tokio::test]
async fn a_preference_that_may_be_lost_with_its_carrier_is_repeated_also_when_it_was_withdrawn() {
    let (link, _inbox, mut first) = welcomed().await;
    let mut announcer = Announcer::new(Control::PreferTls);
    announcer.announce(&link, false);
    announcer.announce(&link, true);
    announcer.announce(&link, true);
    announcer.announce(&link, false);
    let (_, both) = (preference(&mut first).await, preference(&mut first).await);
    assert_eq!(
        both, 0,
        "the initial preference and an unchanged one are not announced"
    );
    let (dialler, authenticated, mut second) = dialled(&Settings::default()).await;
    dialler.attach(&link, authenticated).await;
    announcer.announce(&link, false);
    assert_eq!(preference(&mut second).await, 0);
    drop(first);
    within(async {
        while link.carriers().len() > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    announcer.announce(&link, false);
    assert_eq!(preference(&mut second).await, 0);
}
