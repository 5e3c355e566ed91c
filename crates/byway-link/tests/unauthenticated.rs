//! Unauthenticated peers: what a peer gets before it belongs to a session: one stream and a small
//! window, on every carrier.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Duration;

use byway_link::mux::frame::FrameKind;
use byway_link::wire::{
    Attach, Control, ControlMessage, Credit, LENGTH_BYTES, MOST_FIRST_BYTES, Open, OpenFault,
    Opened, StreamCredit,
};
use byway_link::{Arrival, Carriers, Key, Settings};
use common::quic::RawQuic;
use common::raw::{RawKey, RawPeer, hello};
use common::{Listening, Pair, dial, listening, raw_session, within};

#[tokio::test]
async fn a_stream_opened_before_the_hello_ends_the_carrier_and_is_never_kept() {
    let listening = listening().await;
    let mut peer = RawPeer::dialled(dial(&listening).await, &RawKey::generate()).await;
    let opening = async {
        let mut sent = 0;
        while sent < 100_000
            && peer
                .writer
                .frame(FrameKind::Open, 2 * sent + 1, &[0; 32 * 1024])
                .await
                .is_ok()
        {
            sent += 1;
        }
        peer.reader.closed().await;
    };
    let (arrived, ()) = tokio::join!(listening.next(), within(opening));
    let error = arrived.unwrap_err().to_string();
    assert_eq!(
        error,
        "the other side broke the protocol: a stream was opened before the session was established"
    );
}

#[tokio::test]
async fn a_first_message_that_decodes_to_much_memory_is_refused_at_its_length() {
    let listening = listening().await;
    let grants = vec![StreamCredit::default(); 32_700];
    let mut message = Vec::new();
    byway_link::wire::encode(
        &ControlMessage::from(Control::Credit(Credit { grants })),
        &mut message,
    );
    let expected = format!(
        "a message of {} bytes was announced; the limit is {MOST_FIRST_BYTES}",
        message.len() - LENGTH_BYTES
    );

    let mut peer = RawPeer::dialled(dial(&listening).await, &RawKey::generate()).await;
    peer.writer
        .frame(FrameKind::Data, 0, &message[..LENGTH_BYTES])
        .await
        .unwrap();
    let error = listening.next().await.unwrap_err().to_string();
    assert!(error.contains(&expected), "by TLS: {error}");
    within(peer.reader.closed()).await;

    let mut peer = RawQuic::dialled(listening.address, &RawKey::generate()).await;
    within(peer.send.write_all(&message[..LENGTH_BYTES]))
        .await
        .unwrap();
    let error = listening.next().await.unwrap_err().to_string();
    assert!(error.contains(&expected), "by QUIC: {error}");
}

#[tokio::test]
async fn a_first_message_that_is_not_a_hello_is_refused_and_later_messages_are_not_kept() {
    let listening = listening().await;
    let mut peer = RawPeer::dialled(dial(&listening).await, &RawKey::generate()).await;
    peer.writer.send(Control::Ping(1)).await;
    assert!(matches!(
        peer.reader.recv().await.unwrap(),
        Control::Refused(_)
    ));
    // No message is read any more: a length that would end the carrier with an error of its own has
    // no effect.
    peer.writer
        .frame(FrameKind::Data, 0, &[0xff; 8])
        .await
        .unwrap();
    peer.writer.finish().await;
    assert_eq!(
        listening.next().await.unwrap_err().to_string(),
        "the first message must be a hello"
    );
    within(peer.reader.closed()).await;
}

#[tokio::test]
async fn a_stream_opened_right_after_a_hello_waits_for_the_answer_to_the_hello() {
    let listening = listening().await;
    let mut peer = RawPeer::dialled(dial(&listening).await, &RawKey::generate()).await;
    peer.writer.send(Control::Hello(hello())).await;
    peer.writer
        .frame(FrameKind::Open, 1, b"early")
        .await
        .unwrap();
    // It is not read before the hello was answered; then it is a stream like any other.
    let (link, mut inbox) = listening.pending().await.welcome().await.unwrap();
    within(inbox.streams.recv()).await.unwrap();
    assert!(!link.is_over());

    let mut peer = RawPeer::dialled(dial(&listening).await, &RawKey::generate()).await;
    peer.writer.send(Control::Hello(hello())).await;
    peer.writer
        .frame(FrameKind::Open, 1, b"early")
        .await
        .unwrap();
    let error = listening
        .pending()
        .await
        .refuse(byway_link::Refusal::Grant, "no")
        .await;
    assert_eq!(error.to_string(), "no");
    assert!(matches!(
        peer.reader.recv().await.unwrap(),
        Control::Refused(_)
    ));
}

#[tokio::test]
async fn a_quic_client_has_one_stream_and_64_kib_until_it_is_welcomed() {
    let listening = listening().await;
    let mut peer = RawQuic::dialled(listening.address, &RawKey::generate()).await;
    // One byte of a message, so that the server has read it and the windows have their final size.
    let mut hello_bytes = Vec::new();
    byway_link::wire::encode(
        &ControlMessage::from(Control::Hello(hello())),
        &mut hello_bytes,
    );
    within(peer.send.write_all(&hello_bytes[..1]))
        .await
        .unwrap();
    let second = peer.connection.open_bi();
    let mut second = std::pin::pin!(second);
    let early = tokio::time::timeout(Duration::from_millis(300), second.as_mut()).await;
    assert!(
        early.is_err(),
        "a second stream was granted before the welcome"
    );
    within(peer.send.write_all(&hello_bytes[1..]))
        .await
        .unwrap();
    // More than the window, after a hello that is not answered: it is not accepted.
    let pending = listening.pending().await;
    let flooded = tokio::time::timeout(Duration::from_millis(300), async {
        let mut sent = 0;
        loop {
            sent += peer.send.write(&[0; 1024]).await.unwrap();
            assert!(
                sent <= 128 * 1024,
                "{sent} bytes were accepted before the welcome"
            );
        }
    });
    assert!(flooded.await.is_err());
    drop(pending);
    within(peer.connection.closed()).await;

    let mut peer = RawQuic::dialled(listening.address, &RawKey::generate()).await;
    peer.send(Control::Hello(hello())).await;
    let (link, _inbox) = listening.pending().await.welcome().await.unwrap();
    assert!(matches!(peer.recv_control().await, Control::Welcome(_)));
    within(peer.connection.open_bi()).await.unwrap();
    assert!(!link.is_over());
}

#[tokio::test]
async fn a_carrier_that_is_attached_gets_its_streams_only_then() {
    let listening = listening().await;
    let key = RawKey::generate();
    let mut first = RawQuic::dialled(listening.address, &key).await;
    first.send(Control::Hello(hello())).await;
    let (link, mut inbox) = listening.pending().await.welcome().await.unwrap();
    let Control::Welcome(welcome) = first.recv_control().await else {
        panic!("no welcome")
    };

    let mut by_tls = RawPeer::dialled(dial(&listening).await, &key).await;
    by_tls
        .writer
        .send(Control::Attach(Attach {
            session: welcome.session.clone(),
        }))
        .await;
    by_tls
        .writer
        .frame(FrameKind::Open, 1, b"by tls")
        .await
        .unwrap();
    listening.attached().await;
    within(inbox.streams.recv()).await.unwrap();

    let mut by_quic = RawQuic::dialled(listening.address, &key).await;
    by_quic
        .send(Control::Attach(Attach {
            session: welcome.session,
        }))
        .await;
    listening.attached().await;
    let (mut send, _recv) = within(by_quic.connection.open_bi()).await.unwrap();
    within(send.write_all(b"by quic")).await.unwrap();
    within(inbox.streams.recv()).await.unwrap();
    assert_eq!(link.carriers().len(), 3);
}

#[tokio::test]
async fn streams_without_an_open_message_do_not_raise_the_limits_of_quic() {
    const FIRST: usize = 128;
    let listening = listening().await;
    let mut peer = RawQuic::dialled(listening.address, &RawKey::generate()).await;
    peer.send(Control::Hello(hello())).await;
    let (_link, mut inbox) = listening.pending().await.welcome().await.unwrap();
    assert!(matches!(peer.recv_control().await, Control::Welcome(_)));
    let mut message = Vec::new();
    byway_link::wire::encode(
        &Open {
            host: "a".into(),
            port: 1,
            ..Open::default()
        },
        &mut message,
    );
    let (mut sending, mut arrived) = (Vec::new(), Vec::new());
    for _ in 0..FIRST {
        let (mut send, recv) = within(peer.connection.open_bi()).await.unwrap();
        within(send.write_all(&message[..1])).await.unwrap();
        sending.push((send, recv));
        arrived.push(within(inbox.streams.recv()).await.unwrap());
    }
    {
        let another = peer.connection.open_bi();
        let early = tokio::time::timeout(Duration::from_millis(300), another).await;
        assert!(
            early.is_err(),
            "a stream was granted though none has sent its open message"
        );
    }
    let mut asked = Vec::new();
    for ((send, _), arrived) in sending.iter_mut().zip(arrived) {
        within(send.write_all(&message[1..])).await.unwrap();
        asked.push(within(arrived.asked()).await.unwrap());
    }
    within(peer.connection.open_bi()).await.unwrap();
}

#[tokio::test]
async fn streams_that_were_refused_and_are_not_finished_do_not_widen_the_window_of_quic() {
    const REFUSED: usize = 512;
    // 4 MiB for streams that were not answered with success, 1 MiB beside them, and the control
    // stream.
    const MOST_BYTES: usize = 6 * 1024 * 1024;
    let listening = listening().await;
    let mut peer = RawQuic::dialled(listening.address, &RawKey::generate()).await;
    peer.send(Control::Hello(hello())).await;
    let (_link, mut inbox) = listening.pending().await.welcome().await.unwrap();
    assert!(matches!(peer.recv_control().await, Control::Welcome(_)));
    let mut message = Vec::new();
    byway_link::wire::encode(
        &Open {
            service: 77,
            ..Open::default()
        },
        &mut message,
    );
    let mut refused = Vec::new();
    for _ in 0..REFUSED {
        let (mut send, mut recv) = within(peer.connection.open_bi()).await.unwrap();
        within(send.write_all(&message)).await.unwrap();
        let (_, asked) = within(within(inbox.streams.recv()).await.unwrap().asked())
            .await
            .unwrap();
        within(asked.refused(OpenFault::default())).await;
        within(recv.read_to_end(1024)).await.unwrap();
        refused.push((send, recv));
    }
    let (mut silent, mut bytes) = (Vec::new(), 0);
    let filling = async {
        while bytes <= 2 * MOST_BYTES {
            let (mut send, recv) = peer.connection.open_bi().await.unwrap();
            for _ in 0..32 {
                bytes += send.write(&[0; 1024]).await.unwrap();
            }
            silent.push((send, recv));
        }
    };
    // The peer stays blocked once the window is used up.
    let blocked = async {
        let mut before = usize::MAX;
        let mut filling = std::pin::pin!(filling);
        while tokio::time::timeout(Duration::from_millis(500), filling.as_mut())
            .await
            .is_err()
        {
            let sent = peer.connection.stats().udp_tx.bytes as usize;
            if sent == before {
                return;
            }
            before = sent;
        }
    };
    within(blocked).await;
    assert!(
        bytes <= MOST_BYTES,
        "{bytes} bytes were taken on streams without an open message"
    );
    drop(refused);
}

#[tokio::test]
async fn thousands_of_streams_are_open_at_once_on_a_link_that_starts_with_a_low_limit() {
    const MANY: usize = 3000;
    for carriers in [Carriers::Quic, Carriers::Tls] {
        let pair = Pair::new(carriers).await;
        for (near, far) in [
            (&pair.dialler, &pair.acceptor),
            (&pair.acceptor, &pair.dialler),
        ] {
            let opening = futures_util::future::join_all((0..MANY).map(|_| near.open()));
            let answering = async {
                let mut streams = Vec::new();
                for _ in 0..MANY {
                    let (_, asked) = far.next_asked().await;
                    streams.push(asked.opened(Opened::default()).await.unwrap());
                }
                streams
            };
            let (opened, answered) = tokio::join!(opening, answering);
            assert!(opened.iter().all(Result::is_ok), "{carriers:?}");
            assert_eq!(
                (near.link.streams(), far.link.streams(), answered.len()),
                (MANY, MANY, MANY),
                "{carriers:?}"
            );
        }
    }
}

#[tokio::test]
async fn handshakes_from_unproven_addresses_are_limited_and_the_others_must_retry() {
    const CLIENTS: usize = 200;
    let mut listening =
        Listening::by_tcp_alone(Key::generate().unwrap(), Settings::default()).await;
    let quic = listening.listen_quic();
    // A relay that drops every answer, as if the sender's address was forged.
    let relay = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let far = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let relay_address = relay.local_addr().unwrap();
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let key = RawKey::generate();
    let _calling: Vec<_> = (0..CLIENTS)
        .map(|_| common::quic::call(&endpoint, relay_address, &key))
        .collect();
    let (mut answered, mut room) = (std::collections::HashSet::new(), [0; 2048]);
    let relaying = async {
        let mut packet = [0; 2048];
        while answered.len() < CLIENTS {
            tokio::select! {
                came = relay.recv(&mut packet) => {
                    far.send_to(&packet[..came.unwrap()], listening.address).await.unwrap();
                }
                came = far.recv(&mut room) => {
                    // A long header carries the connection id of the client (RFC 9000 section
                    // 17.2).
                    let packet = &room[..came.unwrap()];
                    if packet[0] & 0x80 != 0 {
                        let length = usize::from(packet[5]);
                        answered.insert(packet[6..6 + length].to_vec());
                    }
                }
            }
        }
    };
    within(relaying).await;
    assert!(
        quic.connections() <= 64,
        "{} connections are kept for addresses that may be forged",
        quic.connections()
    );
    // A client with a real address gets through.
    let mut peer = RawQuic::dialled(listening.address, &key).await;
    peer.send(Control::Hello(hello())).await;
    listening.pending().await.welcome().await.unwrap();
}

/// A dialler that gives its attempts up while a node restarts sends the node nothing but the close
/// of each; forged packets can look the same.
#[tokio::test]
async fn connections_closed_by_their_first_packet_were_not_limited_and_kept_a_stopping_node() {
    const CLIENTS: usize = 100;
    let mut listening =
        Listening::by_tcp_alone(Key::generate().unwrap(), Settings::default()).await;
    let quic = listening.listen_quic();
    let node = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let far = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let (key, mut packet) = (RawKey::generate(), [0; 2048]);
    let mut answers = 0;
    for _ in 0..CLIENTS {
        let calling = common::quic::call(&endpoint, node.local_addr().unwrap(), &key);
        // The node does not get the first packet.
        within(node.recv(&mut packet)).await.unwrap();
        drop(calling);
        let bytes = within(node.recv(&mut packet)).await.unwrap();
        far.send_to(&packet[..bytes], listening.address)
            .await
            .unwrap();
        // It is closed at once, or answered with a Retry, which is the only answer.
        tokio::select! {
            arrived = listening.next() => drop(arrived.unwrap_err()),
            answer = within(far.recv(&mut packet)) => answers += usize::from(answer.is_ok()),
        }
    }
    assert!(
        quic.connections() <= 64,
        "{} connections remain",
        quic.connections()
    );
    assert_eq!(answers, CLIENTS - 64);
    within(quic.leave("the node is leaving")).await;
}

/// Answers pings until it is refused.
async fn keep(mut peer: RawPeer) {
    while let Ok(control) = peer.reader.recv().await {
        match control {
            Control::Ping(number) => peer.writer.send(Control::Pong(number)).await,
            Control::Refused(_) => return,
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn carriers_that_attach_at_the_same_moment_are_four_at_most() {
    let here = tokio::runtime::Handle::current();
    for _ in 0..10 {
        let listening = listening().await;
        let key = RawKey::generate();
        let (first, (link, _inbox), session) = raw_session(&listening, &key).await;
        let (mut kept, mut attaching) = (vec![here.spawn(keep(first))], Vec::new());
        for _ in 0..8 {
            let mut peer = RawPeer::dialled(dial(&listening).await, &key).await;
            peer.writer
                .send(Control::Attach(Attach {
                    session: session.clone(),
                }))
                .await;
            match listening.next().await {
                Ok(Arrival::Attach(asks)) => attaching.push(asks),
                other => panic!("{other:?}"),
            }
            kept.push(here.spawn(keep(peer)));
        }
        let start = std::sync::Arc::new(tokio::sync::Barrier::new(attaching.len()));
        let accepting = attaching.into_iter().map(|asks| {
            let start = std::sync::Arc::clone(&start);
            here.spawn(async move {
                start.wait().await;
                asks.accept().await.is_ok()
            })
        });
        let accepted = futures_util::future::join_all(accepting.collect::<Vec<_>>()).await;
        assert_eq!(
            accepted
                .into_iter()
                .filter(|accepted| *accepted.as_ref().unwrap())
                .count(),
            3
        );
        link.end("enough");
        kept.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

#[tokio::test]
async fn an_attached_carrier_can_be_waited_for_until_it_ends() {
    let listening = listening().await;
    let key = RawKey::generate();
    let (_first, (link, _inbox), session) = raw_session(&listening, &key).await;
    let mut second = RawPeer::dialled(dial(&listening).await, &key).await;
    second
        .writer
        .send(Control::Attach(Attach { session }))
        .await;
    let attached = listening.attached().await;
    let mut ended = std::pin::pin!(attached.ended());
    assert!(futures_util::poll!(ended.as_mut()).is_pending());
    drop(second);
    within(ended).await;
    assert!(!link.is_over());
}

#[tokio::test]
async fn an_epoch_that_no_clock_reaches_locks_the_owner_out_for_at_most_a_day() {
    let listening = listening().await;
    let mut peer = RawPeer::dialled(dial(&listening).await, &RawKey::generate()).await;
    peer.writer
        .send(Control::Hello(byway_link::wire::Hello {
            epoch: u64::MAX,
            ..hello()
        }))
        .await;
    let pending = listening.pending().await;
    let clock = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_millis() as u64;
    assert!(
        pending.hello().epoch <= clock + 24 * 3600 * 1000,
        "{}",
        pending.hello().epoch
    );
}

#[tokio::test]
async fn a_session_whose_welcome_is_cancelled_is_not_kept() {
    let listening = listening().await;
    let mut peer = RawPeer::dialled(dial(&listening).await, &RawKey::generate()).await;
    peer.writer.send(Control::Hello(hello())).await;
    let mut welcoming = Box::pin(listening.pending().await.welcome());
    let _ = futures_util::poll!(welcoming.as_mut());
    drop(welcoming);
    within(async {
        while listening.acceptor.sessions() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
