//! What a relay does when a side breaks after its FIN: everything that the side sent still arrives.
//!
//! A peer that closes its socket discards its state some time after its FIN, and then answers every
//! packet (a keepalive, too) with a reset. The tests do this at once: a FIN, then a close that
//! resets.
#![allow(clippy::unwrap_used)]
#![cfg(target_os = "linux")]

use std::sync::Arc;
use std::time::Duration;

use byway_dial::{Broken, Pipe, Read, Stream};
use byway_relay::{Early, End, EndKind, Rate, RelayOptions, Side, relay};
use byway_testkit::pipe;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::timeout;

/// More than a relay and its sockets hold towards a paused reader, and less than one receive
/// buffer.
const BODY_BYTES: usize = 300_000;

/// No step takes this long.
const HANG: Duration = Duration::from_secs(60);

/// The relay's end of a TCP connection, and the peer's. The relay's socket has a large receive
/// buffer and a small send buffer.
async fn tcp_pair() -> (Stream, Stream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let far = TcpSocket::new_v4().unwrap();
    far.set_recv_buffer_size(4096).unwrap();
    let address = listener.local_addr().unwrap();
    SockRef::from(&listener)
        .set_recv_buffer_size(4 << 20)
        .unwrap();
    SockRef::from(&listener).set_send_buffer_size(4096).unwrap();
    let (far, near) = tokio::join!(far.connect(address), listener.accept());
    (Stream::tcp(near.unwrap().0), Stream::tcp(far.unwrap()))
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

async fn read_to_end(stream: &mut Stream) -> (Vec<u8>, Result<(), Broken>) {
    let (mut received, mut buf) = (Vec::new(), vec![0; 65_536]);
    loop {
        match stream.read(&mut buf).await {
            Ok(Read::Data(n)) => received.extend_from_slice(&buf[..n]),
            Ok(Read::Fin) => return (received, Ok(())),
            Err(broken) => return (received, Err(broken)),
        }
    }
}

async fn all_acknowledged(stream: &Stream) {
    while stream.is_acknowledged() != Some(true) {
        tokio::task::yield_now().await;
    }
}

/// Sends all bytes and the FIN, and resets the connection once all of it is acknowledged.
async fn send_finish_and_forget(mut stream: Stream, bytes: &[u8]) {
    stream.write_all(bytes).await.unwrap();
    stream.finish().await.unwrap();
    all_acknowledged(&stream).await;
    stream.reset(0);
}

async fn run(
    near: (Stream, Stream),
    options: &RelayOptions,
    script: impl Future<Output = ()>,
) -> End {
    let both = async { tokio::join!(relay(near.0, near.1, options, Early::default()), script) };
    timeout(HANG, both).await.unwrap().0
}

fn without_splice() -> RelayOptions {
    let rate = Arc::new(Rate::new(1 << 40));
    RelayOptions {
        limit_up: Some(Arc::clone(&rate)),
        limit_down: Some(rate),
        ..RelayOptions::default()
    }
}

#[tokio::test]
async fn a_download_whose_reader_was_paused_until_the_origin_discarded_its_connection_is_not_cut() {
    for options in [RelayOptions::default(), without_splice()] {
        for reader_finishes_first in [false, true] {
            let ((near_down, mut down), (near_up, up)) = (tcp_pair().await, tcp_pair().await);
            let body = pattern(BODY_BYTES);
            let script = async {
                let mut up = up;
                if reader_finishes_first {
                    down.finish().await.unwrap();
                    assert_eq!(up.read(&mut [0]).await.unwrap(), Read::Fin);
                }
                send_finish_and_forget(up, &body).await;
                let (received, end) = read_to_end(&mut down).await;
                assert!(end.is_ok(), "{end:?} after {} bytes", received.len());
                assert!(received == body, "{} bytes", received.len());
                down.finish().await.unwrap();
            };
            let end = run((near_down, near_up), &options, script).await;
            assert_eq!(end.kind, EndKind::Fin, "{end}");
            assert_eq!(end.bytes.down, BODY_BYTES as u64);
        }
    }
}

#[tokio::test]
async fn a_reader_that_sends_before_it_reads_still_gets_everything_that_the_origin_sent() {
    let ((near_down, mut down), (near_up, up)) = (tcp_pair().await, tcp_pair().await);
    let body = pattern(BODY_BYTES);
    let script = async {
        send_finish_and_forget(up, &body).await;
        down.write_all(b"is anybody there?").await.unwrap();
        let (received, end) = read_to_end(&mut down).await;
        assert!(end.is_ok(), "{end:?} after {} bytes", received.len());
        assert!(received == body, "{} bytes", received.len());
        // What the reader sent was lost. It sees the reset after it has read everything.
        assert!(matches!(
            std::future::poll_fn(|cx| down.poll_broken(cx)).await,
            Broken::Reset(_)
        ));
    };
    let end = run((near_down, near_up), &RelayOptions::default(), script).await;
    assert_eq!((end.who, end.kind), (Side::Upstream, EndKind::Reset));
    assert_eq!(end.bytes.down, BODY_BYTES as u64);
}

#[tokio::test]
async fn a_fin_that_was_read_and_waits_behind_bytes_for_a_slow_reader_outlives_the_origin() {
    let (near_down, down) = pipe::pair_of(1024);
    let control = down.control();
    let mut down = down.into_stream();
    let (near_up, up) = tcp_pair().await;
    let body = pattern(4096);
    let script = async {
        control.pause_reads();
        send_finish_and_forget(up, &body).await;
        while !control.is_full() {
            tokio::task::yield_now().await;
        }
        control.resume_reads();
        let (received, end) = read_to_end(&mut down).await;
        assert!(
            end.is_ok() && received == body,
            "{end:?} after {} bytes",
            received.len()
        );
        down.finish().await.unwrap();
    };
    let end = run(
        (near_down.into_stream(), near_up),
        &RelayOptions::default(),
        script,
    )
    .await;
    assert_eq!(end.kind, EndKind::Fin, "{end}");
}

#[tokio::test]
async fn a_reader_that_has_everything_may_close_cleanly_after_the_origin_is_gone() {
    let ((near_down, mut down), (near_up, up)) = (tcp_pair().await, tcp_pair().await);
    let script = async {
        let mut up = up;
        up.write_all(b"answer").await.unwrap();
        up.finish().await.unwrap();
        let (received, end) = read_to_end(&mut down).await;
        assert!(end.is_ok() && received == b"answer");
        up.reset(0);
        drop(up);
        down.finish().await.unwrap();
    };
    let end = run((near_down, near_up), &RelayOptions::default(), script).await;
    assert!(matches!(end.kind, EndKind::Fin | EndKind::Reset), "{end}");
}

#[tokio::test]
async fn an_upload_whose_sender_is_gone_after_its_fin_arrives_whole_and_then_the_origin_is_reset() {
    for options in [RelayOptions::default(), without_splice()] {
        let ((near_down, down), (near_up, mut up)) = (tcp_pair().await, tcp_pair().await);
        let body = pattern(BODY_BYTES);
        let script = async {
            send_finish_and_forget(down, &body).await;
            let (received, end) = read_to_end(&mut up).await;
            assert!(
                end.is_ok() && received == body,
                "{end:?} after {} bytes",
                received.len()
            );
            assert!(matches!(
                std::future::poll_fn(|cx| up.poll_broken(cx)).await,
                Broken::Reset(_)
            ));
        };
        let end = run((near_down, near_up), &options, script).await;
        assert_eq!((end.who, end.kind), (Side::Downstream, EndKind::Reset));
        assert_eq!(end.bytes.up, BODY_BYTES as u64);
    }
}

#[tokio::test]
async fn a_reset_in_the_middle_of_a_download_never_looks_like_its_end() {
    for reader_finishes_first in [false, true] {
        let ((near_down, mut down), (near_up, mut up)) = (tcp_pair().await, tcp_pair().await);
        let script = async {
            if reader_finishes_first {
                down.finish().await.unwrap();
                assert_eq!(up.read(&mut [0]).await.unwrap(), Read::Fin);
            }
            up.write_all(&pattern(BODY_BYTES)).await.unwrap();
            all_acknowledged(&up).await;
            up.reset(0);
            drop(up);
            let (_, end) = read_to_end(&mut down).await;
            assert!(matches!(end, Err(Broken::Reset(_))), "{end:?}");
        };
        let end = run((near_down, near_up), &RelayOptions::default(), script).await;
        assert_eq!((end.who, end.kind), (Side::Upstream, EndKind::Reset));
    }
}
