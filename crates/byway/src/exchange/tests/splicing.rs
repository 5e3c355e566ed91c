//! Bodies that pass through a kernel pipe: what precedes them, what follows them, and what prevents
//! it.
#![cfg(target_os = "linux")]

use std::future::poll_fn;

use byway_dial::Stream;
use byway_head::{Framed, Limits};
use byway_http::BodyError;
use byway_http::h1::{Conn, H1Reading, H1Sink, H1Source, H1Writing};
use byway_relay::splice::accounting;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::exchange::body::BodyTransfer;

/// A `Conn`, and its peer.
async fn pair() -> (Conn, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connecting = TcpStream::connect(listener.local_addr().unwrap());
    let (ours, theirs) = tokio::join!(connecting, listener.accept());
    (Conn::new(Stream::tcp(ours.unwrap())), theirs.unwrap().0)
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|n| (n * 7 + n / 251) as u8).collect()
}

/// Passes a body that `sent` begins with, and returns what arrived.
async fn pass(
    transfer: &mut BodyTransfer,
    (framed, sent_as): (Framed, Framed),
    queued: &[u8],
    sent: &[u8],
) -> (Result<(), BodyError>, Vec<u8>, Vec<u8>) {
    let ((mut from, mut sender), (mut to, mut receiver)) = (pair().await, pair().await);
    to.queue().extend_from_slice(queued);
    let sending = async {
        sender.write_all(sent).await.unwrap();
        sender.shutdown().await.unwrap();
    };
    let moving = async {
        let (mut reading, mut writing) = (
            H1Reading::new(framed, &Limits::default()),
            H1Writing::default(),
        );
        writing.begin(sent_as);
        let mut source = H1Source {
            conn: &mut from,
            reading: &mut reading,
        };
        let mut sink = H1Sink {
            conn: &mut to,
            writing: &mut writing,
        };
        let passed = poll_fn(|cx| transfer.poll(cx, &mut source, &mut sink)).await;
        to.finish().await.unwrap();
        let mut behind = from.unread().to_vec();
        while let Ok(byway_dial::Read::Data(_)) = from.fill().await {
            behind = from.unread().to_vec();
        }
        (passed, behind)
    };
    let mut received = Vec::new();
    let ((), (passed, behind), read) =
        tokio::join!(sending, moving, receiver.read_to_end(&mut received));
    read.unwrap();
    (passed, received, behind)
}

#[tokio::test]
async fn a_large_body_passes_through_a_pipe_after_its_head_and_ends_before_the_next_message() {
    let body = pattern(1 << 20);
    let mut transfer = BodyTransfer::new(None);
    let sent = [&body[..], b"HTTP/1.1 200 next"].concat();
    let (passed, received, behind) = pass(
        &mut transfer,
        (Framed::Length(1 << 20), Framed::Length(1 << 20)),
        b"head\r\n\r\n",
        &sent,
    )
    .await;
    passed.unwrap();
    assert!(received.starts_with(b"head\r\n\r\n") && received[8..] == body);
    assert_eq!(behind, b"HTTP/1.1 200 next");
    assert_eq!(transfer.moved(), 1 << 20);
    assert_eq!(
        (accounting().on_loan, accounting().waiting),
        (0, 1),
        "a pipe was used and returned"
    );
}

#[tokio::test]
async fn a_body_until_close_passes_through_a_pipe_once_it_has_proved_large() {
    let body = pattern(1 << 20);
    let mut transfer = BodyTransfer::new(None);
    let (passed, received, _) = pass(
        &mut transfer,
        (Framed::UntilClose, Framed::UntilClose),
        b"",
        &body,
    )
    .await;
    passed.unwrap();
    assert!(received == body);
    assert_eq!((accounting().on_loan, accounting().waiting), (0, 1));
}

#[tokio::test]
async fn a_small_body_and_one_with_a_new_framing_use_no_pipe() {
    let small = pattern(20_000);
    let mut transfer = BodyTransfer::new(None);
    let (passed, received, _) = pass(
        &mut transfer,
        (Framed::Length(20_000), Framed::Length(20_000)),
        b"",
        &small,
    )
    .await;
    passed.unwrap();
    assert!(received == small);

    let large = pattern(1 << 20);
    let mut transfer = BodyTransfer::new(None);
    let (passed, received, _) = pass(
        &mut transfer,
        (Framed::UntilClose, Framed::Chunked),
        b"",
        &large,
    )
    .await;
    passed.unwrap();
    assert!(received.ends_with(b"0\r\n\r\n"));
    assert_eq!((accounting().on_loan, accounting().waiting), (0, 0));
}

#[tokio::test]
async fn a_body_that_is_cut_short_in_the_pipe_is_truncated_and_not_complete() {
    let mut transfer = BodyTransfer::new(None);
    let (passed, received, _) = pass(
        &mut transfer,
        (Framed::Length(2 << 20), Framed::Length(2 << 20)),
        b"",
        &pattern(1 << 20),
    )
    .await;
    assert!(matches!(passed, Err(BodyError::Truncated)), "{passed:?}");
    assert_eq!(received.len(), 1 << 20);
    assert_eq!(accounting().on_loan, 0);
}

#[tokio::test]
async fn a_body_until_close_never_exceeds_its_limit_through_a_pipe() {
    let mut transfer = BodyTransfer::new(Some(100_000));
    let (passed, received, _) = pass(
        &mut transfer,
        (Framed::UntilClose, Framed::UntilClose),
        b"",
        &pattern(1 << 20),
    )
    .await;
    assert!(matches!(passed, Err(BodyError::TooLarge)), "{passed:?}");
    assert!(received.len() <= 100_000);
    assert_eq!((accounting().on_loan, accounting().waiting), (0, 0));
}

#[tokio::test]
async fn without_a_pipe_a_large_body_is_copied() {
    let all: Vec<_> = std::iter::from_fn(byway_relay::Splice::take).collect();
    let body = pattern(1 << 20);
    let mut transfer = BodyTransfer::new(None);
    let (passed, received, _) = pass(
        &mut transfer,
        (Framed::Length(1 << 20), Framed::Length(1 << 20)),
        b"",
        &body,
    )
    .await;
    passed.unwrap();
    assert!(received == body);
    drop(all);
}
