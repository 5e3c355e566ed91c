//! Splice against real sockets.

use std::future::poll_fn;

use byway_dial::{Read, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::{Early, EndKind, RelayOptions, Side, relay};

/// A stream of this node, and its peer.
async fn pair() -> (Stream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connecting = TcpStream::connect(listener.local_addr().unwrap());
    let (ours, theirs) = tokio::join!(connecting, listener.accept());
    (Stream::tcp(ours.unwrap()), theirs.unwrap().0)
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|n| (n * 7 + n / 251) as u8).collect()
}

async fn drain(splice: &mut Splice, sink: &mut Stream) {
    while !splice.is_empty() {
        poll_fn(|cx| splice.poll_drain(cx, sink)).await.unwrap();
    }
}

#[tokio::test]
async fn bytes_arrive_in_order_and_the_end_behind_them() {
    let ((mut source, mut sender), (mut sink, mut receiver)) = (pair().await, pair().await);
    let sent = pattern(300_000);
    let sending = async {
        sender.write_all(&sent).await.unwrap();
        sender.shutdown().await.unwrap();
    };
    let moving = async {
        let mut splice = Splice::take().unwrap();
        while let Read::Data(n) = poll_fn(|cx| splice.poll_fill(cx, &mut source, usize::MAX))
            .await
            .unwrap()
        {
            assert_eq!(splice.held(), n);
            drain(&mut splice, &mut sink).await;
        }
        sink.finish().await.unwrap();
    };
    let mut received = Vec::new();
    let (_, (), read) = tokio::join!(sending, moving, receiver.read_to_end(&mut received));
    assert_eq!(read.unwrap(), sent.len());
    assert!(received == sent);
}

#[tokio::test]
async fn no_more_is_read_than_requested() {
    let (mut source, mut sender) = pair().await;
    sender
        .write_all(b"the body|the next message")
        .await
        .unwrap();
    let mut splice = Splice::take().unwrap();
    let read = poll_fn(|cx| splice.poll_fill(cx, &mut source, 8))
        .await
        .unwrap();
    assert_eq!(read, Read::Data(8));
    let mut rest = [0; 17];
    let mut len = 0;
    while len < rest.len() {
        let Read::Data(n) = source.read(&mut rest[len..]).await.unwrap() else {
            panic!("an early end")
        };
        len += n;
    }
    assert_eq!(&rest, b"|the next message");
}

#[tokio::test]
async fn a_full_sink_blocks_on_the_sink_and_a_silent_source_on_the_source() {
    let ((mut source, mut sender), (mut sink, mut receiver)) = (pair().await, pair().await);
    let mut splice = Splice::take().unwrap();
    let waiting =
        poll_fn(|cx| Poll::Ready(splice.poll_fill(cx, &mut source, 1024).is_pending())).await;
    assert!(waiting, "nothing was sent");
    // The receiver reads nothing: eventually the sink is full.
    let chunk = pattern(64 * 1024);
    let mut sent = 0;
    let mut full = false;
    while !full {
        sender.write_all(&chunk).await.unwrap();
        sent += chunk.len();
        let read = poll_fn(|cx| splice.poll_fill(cx, &mut source, usize::MAX))
            .await
            .unwrap();
        assert!(matches!(read, Read::Data(1..)));
        full = poll_fn(|cx| {
            while !splice.is_empty() {
                match splice.poll_drain(cx, &mut sink) {
                    Poll::Ready(drained) => _ = drained.unwrap(),
                    Poll::Pending => return Poll::Ready(true),
                }
            }
            Poll::Ready(false)
        })
        .await;
    }
    // The task that waits for the sink is woken when the receiver reads, and nothing was lost.
    drop(sender);
    let moving = async {
        drain(&mut splice, &mut sink).await;
        while let Read::Data(_) = poll_fn(|cx| splice.poll_fill(cx, &mut source, usize::MAX))
            .await
            .unwrap()
        {
            drain(&mut splice, &mut sink).await;
        }
        sink.finish().await.unwrap();
    };
    let mut received = Vec::new();
    let ((), read) = tokio::join!(moving, receiver.read_to_end(&mut received));
    assert_eq!(read.unwrap(), sent);
    assert!(received.chunks(chunk.len()).all(|piece| piece == chunk));
}

#[tokio::test]
async fn a_reset_source_is_broken_and_not_finished() {
    let (mut source, sender) = pair().await;
    reset(sender);
    let mut splice = Splice::take().unwrap();
    let read = poll_fn(|cx| splice.poll_fill(cx, &mut source, 1024)).await;
    assert!(matches!(read, Err(Broken::Reset(0))), "{read:?}");
}

#[tokio::test]
async fn a_pipe_that_still_holds_bytes_is_never_reused() {
    let (mut source, mut sender) = pair().await;
    sender.write_all(b"of a flow").await.unwrap();
    let mut splice = Splice::take().unwrap();
    poll_fn(|cx| splice.poll_fill(cx, &mut source, 1024))
        .await
        .unwrap();
    let before = accounting();
    drop(splice);
    assert_eq!(
        accounting(),
        Accounting {
            on_loan: before.on_loan - 1,
            ..before
        },
        "a pipe with bytes must be closed"
    );
    drop(Splice::take().unwrap());
    assert_eq!(
        accounting().waiting,
        before.waiting + 1,
        "an empty pipe must be kept"
    );
}

#[test]
fn a_worker_makes_no_more_pipes_than_its_bound() {
    let pipes: Vec<_> = (0..PIPES).map_while(|_| Splice::take()).collect();
    assert_eq!(pipes.len(), PIPES);
    assert!(Splice::take().is_none());
    drop(pipes);
    assert_eq!(
        accounting(),
        Accounting {
            on_loan: 0,
            waiting: KEPT
        }
    );
}

#[tokio::test]
async fn a_bulk_relay_between_plain_sockets_uses_a_pipe_and_keeps_its_half_open_direction() {
    let ((downstream, mut client), (upstream, mut origin)) = (pair().await, pair().await);
    let body = pattern(2 << 20);
    let relaying = relay(
        downstream,
        upstream,
        &RelayOptions::default(),
        Early::default(),
    );
    let uploading = async {
        client.write_all(&body).await.unwrap();
        client.shutdown().await.unwrap();
        let mut response = Vec::new();
        client.read_to_end(&mut response).await.unwrap();
        response
    };
    let answering = async {
        let mut received = Vec::new();
        origin.read_to_end(&mut received).await.unwrap();
        origin.write_all(b"got it").await.unwrap();
        origin.shutdown().await.unwrap();
        received
    };
    let (end, response, received) = tokio::join!(relaying, uploading, answering);
    assert!(received == body);
    assert_eq!(response, b"got it");
    assert!(end.is_clean() && end.bytes.up == body.len() as u64, "{end}");
    assert_eq!(
        accounting(),
        Accounting {
            on_loan: 0,
            waiting: 1
        },
        "a pipe was used and given back"
    );
}

#[tokio::test]
async fn a_reset_behind_a_spliced_flow_resets_the_other_side_at_once() {
    let ((downstream, client), (upstream, mut origin)) = (pair().await, pair().await);
    let mut relaying = Box::pin(relay(
        downstream,
        upstream,
        &RelayOptions::default(),
        Early::default(),
    ));
    // The client reads nothing: the flow stalls with a full pipe.
    let chunk = pattern(64 * 1024);
    let mut quiet = 0;
    while quiet < 200 {
        tokio::select! {
            biased;
            end = &mut relaying => panic!("ended: {end}"),
            written = origin.write_all(&chunk) => written.unwrap(),
            () = tokio::task::yield_now() => quiet += 1,
        }
    }
    reset(client);
    let end = relaying.as_mut().await;
    drop(relaying);
    assert!(
        end.who == Side::Downstream && end.kind == EndKind::Reset,
        "{end}"
    );
    let read = origin.read(&mut [0]).await;
    assert!(read.is_err(), "{read:?}");
    assert_eq!(accounting().on_loan, 0);
}

fn reset(peer: TcpStream) {
    socket2::SockRef::from(&peer)
        .set_linger(Some(std::time::Duration::ZERO))
        .unwrap();
    drop(peer);
}
