//! A stream with a large window, through a forwarder that drops every second packet.

use std::any::Any;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use byway_dial::Read;
use quinn::{ClientConfig, Endpoint, ServerConfig, TokioRuntime};
use quinn_proto::RttEstimator;
use quinn_proto::congestion::{Controller, ControllerFactory};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::super::*;
use super::*;
use crate::fair_budget::{FairBudget, Limits};
use crate::window::INITIAL_BYTES;

/// Sends without limit, so that losses do not slow it down.
#[derive(Clone)]
struct Unlimited;

impl ControllerFactory for Unlimited {
    fn build(self: Arc<Self>, _now: Instant, _mtu: u16) -> Box<dyn Controller> {
        Box::new(Self)
    }
}

impl Controller for Unlimited {
    fn on_ack(&mut self, _: Instant, _: Instant, _: u64, _: bool, _: &RttEstimator) {}

    fn on_congestion_event(&mut self, _: Instant, _: Instant, _: bool, _: u64) {}

    fn on_mtu_update(&mut self, _: u16) {}

    fn window(&self) -> u64 {
        12 * 1024 * 1024
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self)
    }

    fn initial_window(&self) -> u64 {
        self.window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Clean,
    /// Every second large packet is dropped, and all acknowledgements are, until [`APART`] large
    /// ones were forwarded.
    Lossy,
    Over,
}

/// Packets that are forwarded in the lossy phase, each behind a gap: several times what quinn
/// accepts.
const APART: usize = 3000;

/// Forwards between a client and `server`, which sends the large packets.
async fn forward(front: UdpSocket, server: SocketAddr, phase: watch::Sender<Phase>) {
    let back = UdpSocket::from_std(bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap()).unwrap();
    let (mut client, mut large, mut through) = (None, 0_usize, 0);
    let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        let lossy = *phase.borrow() == Phase::Lossy;
        // Both arms are cancel safe.
        tokio::select! {
            got = front.recv_from(&mut up) => {
                let Ok((n, from)) = got else { continue };
                client = Some(from);
                if !lossy {
                    let _ = back.send_to(&up[..n], server).await;
                }
            }
            got = timeout(Duration::from_millis(500), back.recv_from(&mut down)) => {
                let got = match got {
                    Ok(Ok((n, _))) => n,
                    Ok(Err(_)) => continue,
                    Err(_) if lossy => {
                        // The sender waits for acknowledgements: its window is full.
                        phase.send_replace(Phase::Over);
                        continue;
                    }
                    Err(_) => continue,
                };
                if lossy && got > 1000 {
                    large += 1;
                    if large % 2 == 1 {
                        continue;
                    }
                    through += 1;
                    if through == APART {
                        phase.send_replace(Phase::Over);
                    }
                }
                if let Some(client) = client {
                    let _ = front.send_to(&down[..got], client).await;
                }
            }
        }
    }
}

fn unlimited(side: Side) -> Arc<TransportConfig> {
    let mut config = transport(side, Congestion::Bbr).unwrap();
    config.congestion_controller_factory(Arc::new(Unlimited));
    Arc::new(config)
}

/// Two connections, the first of which is the dialler's, through a forwarder.
async fn connected(phase: watch::Sender<Phase>, tasks: &TaskTracker) -> (Quic, Quic) {
    let (near, far) = (Key::generate().unwrap(), Key::generate().unwrap());
    let socket = bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let server = socket.local_addr().unwrap();
    let crypto = QuicServerConfig::try_from(tls::acceptor(&far).unwrap()).unwrap();
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(unlimited(Side::Acceptor));
    let config = Some(config);
    let accepting = Endpoint::new(
        endpoint_config(&far, server),
        config,
        socket,
        Arc::new(TokioRuntime),
    )
    .unwrap();

    let front = UdpSocket::from_std(bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap()).unwrap();
    let address = front.local_addr().unwrap();
    tasks.spawn(forward(front, server, phase));

    let socket = bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let crypto =
        QuicClientConfig::try_from(tls::dialler(&near, far.fingerprint()).unwrap()).unwrap();
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(unlimited(Side::Dialler));
    let dialling = Endpoint::new(
        EndpointConfig::default(),
        None,
        socket,
        Arc::new(TokioRuntime),
    )
    .unwrap();
    let connecting = dialling.connect_with(config, address, NO_NAME).unwrap();
    let accepted = async { accepting.accept().await.unwrap().await.unwrap() };
    let (dialled, accepted) = tokio::join!(connecting, accepted);
    (
        Quic::new(dialled.unwrap(), Side::Dialler, Some(dialling)),
        Quic::new(accepted, Side::Acceptor, Some(accepting)),
    )
}

fn byte(at: usize) -> u8 {
    (at * 31 % 251) as u8
}

/// The credits of both ends. With this round-trip time every read counts as fast, so windows grow.
fn credits(near: &Quic, far: &Quic) -> (Credits, Credits) {
    let made = [near, far].map(|quic| {
        quic.allow(8);
        quic.grown(64 * 1024 * 1024);
        Credits::new(quic.side(), FairBudget::node(Limits::both(1 << 30)))
    });
    made[0].set_round_trip(Duration::from_secs(60));
    made.into()
}

/// A stream whose reader has a pump and has read everything, and the end that writes to it.
async fn pumped(near: &Quic, far: &Quic, tasks: &TaskTracker) -> (QuicStream, QuicStream) {
    let (near_credits, far_credits) = credits(near, far);
    let mut reader = near.open(b"get", Some(&near_credits), tasks).await.unwrap();
    let mut writer = far.accept(Some(&far_credits), tasks).await.unwrap();
    let (part, mut buf) = (
        vec![0; INITIAL_BYTES as usize / 2],
        vec![0; INITIAL_BYTES as usize / 2],
    );
    while matches!(reader.recv, Some(Receiving::Ordered(_))) {
        let (mut sent, mut read) = (0, 0);
        while sent < part.len() {
            sent +=
                std::future::poll_fn(|cx| writer.poll_write(cx, &[IoSlice::new(&part[sent..])]))
                    .await
                    .unwrap();
        }
        while read < sent {
            match std::future::poll_fn(|cx| reader.poll_read(cx, &mut buf))
                .await
                .unwrap()
            {
                Read::Data(n) => read += n,
                Read::Fin => panic!("it was not finished"),
            }
        }
        while let Ok(credit) = timeout(Duration::ZERO, near_credits.next_credit()).await {
            far_credits.granted(&credit).unwrap();
        }
    }
    (reader, writer)
}

#[tokio::test]
async fn a_peer_that_exceeds_its_credit_is_detected_while_nothing_is_read() {
    let tasks = TaskTracker::new();
    let (near, far) = connected(watch::Sender::new(Phase::Clean), &tasks).await;
    let (reader, mut writer) = pumped(&near, &far, &tasks).await;
    let left = std::future::poll_fn(|cx| writer.credits.as_ref().unwrap().poll_left(cx)).await;
    assert!(
        left < MOST_BYTES as usize / 2,
        "QUIC itself would allow much more: {left}"
    );
    writer.send.write_all(&vec![0; left + 1]).await.unwrap();
    let reason = timeout(Duration::from_secs(60), far.closed())
        .await
        .expect("the connection goes on")
        .to_string();
    assert!(
        reason.contains("more bytes than a stream had credit for"),
        "{reason}"
    );
    drop(reader);
}

#[tokio::test]
async fn a_stream_without_a_reader_ends_at_the_first_byte_that_arrives_even_behind_a_gap() {
    let (phase, _) = watch::channel(Phase::Clean);
    let tasks = TaskTracker::new();
    let (near, far) = connected(phase.clone(), &tasks).await;
    let (mut reader, mut writer) = pumped(&near, &far, &tasks).await;
    phase.send_replace(Phase::Lossy);
    reader.close_on_drop();
    let counted = Arc::clone(near.ours());
    assert_eq!(counted.load(Relaxed), 1);
    drop(reader);
    // The task that takes its place starts to wait now, before anything has arrived.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    writer.send.write_all(&[0; 64 * 1024]).await.unwrap();
    // No acknowledgement arrives, so nothing is retransmitted and the first packet stays missing.
    let ended = async {
        while counted.load(Relaxed) > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(30), ended)
        .await
        .expect("it waits for the first byte");
    assert!(
        timeout(Duration::ZERO, near.closed()).await.is_err(),
        "the connection lives on"
    );
}

#[tokio::test]
async fn thousands_of_gaps_lose_no_stream_and_no_byte_even_while_the_reader_is_paused() {
    const BYTES: usize = 64 * 1024 * 1024;
    let (phase, mut phases) = watch::channel(Phase::Clean);
    let tasks = TaskTracker::new();
    let (near, far) = connected(phase.clone(), &tasks).await;
    let (near_credits, far_credits) = credits(&near, &far);
    let (sender, receiver) = (near_credits.clone(), far_credits.clone());
    let has_credit = async move { while receiver.granted(&sender.next_credit().await).is_ok() {} };

    let mut reader = near
        .open(b"get", Some(&near_credits), &tasks)
        .await
        .unwrap();
    let mut writer = far.accept(Some(&far_credits), &tasks).await.unwrap();
    let written = AtomicUsize::new(0);
    let writing = async {
        let bytes: Vec<u8> = (0..251 * 1024).map(byte).collect();
        while written.load(Relaxed) < BYTES {
            let at = written.load(Relaxed);
            let from = at % 251;
            let part = IoSlice::new(&bytes[from..bytes.len().min(from + BYTES - at)]);
            let n = std::future::poll_fn(|cx| writer.poll_write(cx, &[part]))
                .await
                .unwrap();
            written.fetch_add(n, Relaxed);
        }
        writer.finish().unwrap();
        std::future::pending::<()>().await;
    };
    let reading = async {
        let (mut at, mut buf) = (0, vec![0; 65_536]);
        loop {
            let window = reader.credits.as_ref().unwrap().window();
            if *phase.borrow() == Phase::Clean && window == MOST_BYTES {
                assert!(matches!(reader.recv, Some(Receiving::Pumped(_))));
                phase.send_replace(Phase::Lossy);
                phases
                    .wait_for(|phase| *phase == Phase::Over)
                    .await
                    .unwrap();
            }
            match std::future::poll_fn(|cx| reader.poll_read(cx, &mut buf))
                .await
                .unwrap()
            {
                Read::Fin => break,
                Read::Data(n) => {
                    assert!(
                        buf[..n].iter().zip(at..).all(|(got, at)| *got == byte(at)),
                        "around {at}"
                    );
                    at += n;
                }
            }
        }
        at
    };
    let all = async {
        tokio::select! {
            read = reading => read,
            () = writing => 0,
            () = has_credit => 0,
        }
    };
    assert_eq!(
        timeout(Duration::from_secs(120), all)
            .await
            .expect("timed out"),
        BYTES
    );
    assert!(*phase.borrow() == Phase::Over, "there were no losses");
}
