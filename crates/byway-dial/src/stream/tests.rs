use tokio::net::TcpListener;
use tokio::task::coop::consume_budget;

use super::*;

async fn tcp_pair() -> (Stream, Stream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (near, far) = tokio::join!(
        TcpStream::connect(listener.local_addr().unwrap()),
        listener.accept()
    );
    (Stream::tcp(near.unwrap()), Stream::tcp(far.unwrap().0))
}

fn unix_pair() -> (Stream, Stream) {
    let (near, far) = UnixStream::pair().unwrap();
    (Stream::unix(near), Stream::unix(far))
}

/// Reads to the end: the bytes, and whether a FIN or an error ended them.
async fn read_to_end(stream: &mut Stream) -> (Vec<u8>, Result<(), Broken>) {
    let (mut all, mut buf) = (Vec::new(), [0; 64]);
    loop {
        match stream.read(&mut buf).await {
            Ok(Read::Data(n)) => all.extend_from_slice(&buf[..n]),
            Ok(Read::Fin) => return (all, Ok(())),
            Err(broken) => return (all, Err(broken)),
        }
    }
}

/// Waits until the socket is readable.
async fn readable(stream: &Stream) {
    match &stream.0 {
        StreamKind::Tcp(tcp) => tcp.io.readable().await.unwrap(),
        StreamKind::Unix(unix) => unix.io.readable().await.unwrap(),
        StreamKind::Tls(tls) => Box::pin(readable(tls.wire())).await,
        StreamKind::Other(_) => unreachable!("the tests use none"),
    }
}

async fn broken_now(stream: &mut Stream) -> Poll<Broken> {
    poll_fn(|cx| Poll::Ready(stream.poll_broken(cx))).await
}

#[tokio::test]
async fn a_tcp_stream_that_is_dropped_without_finish_resets_its_peer() {
    let (mut near, mut far) = tcp_pair().await;
    near.write_all(b"half a message").await.unwrap();
    drop(near);
    assert!(matches!(
        read_to_end(&mut far).await.1,
        Err(Broken::Reset(0))
    ));
}

#[tokio::test]
async fn finish_is_a_fin_and_the_other_direction_stays_open() {
    let (mut near, mut far) = tcp_pair().await;
    near.write_all(b"question").await.unwrap();
    near.finish().await.unwrap();
    near.finish().await.unwrap();
    let (bytes, end) = read_to_end(&mut far).await;
    assert_eq!((bytes.as_slice(), end.is_ok()), (&b"question"[..], true));
    assert_eq!(far.read(&mut [0; 8]).await.unwrap(), Read::Fin);

    far.write_all(b"answer").await.unwrap();
    far.finish().await.unwrap();
    drop(far);
    let (bytes, end) = read_to_end(&mut near).await;
    assert_eq!((bytes.as_slice(), end.is_ok()), (&b"answer"[..], true));
}

#[tokio::test]
async fn close_on_drop_sends_what_was_written_and_then_fin() {
    let (mut near, mut far) = tcp_pair().await;
    near.write_all(b"refusal").await.unwrap();
    near.close_on_drop();
    drop(near);
    let (bytes, end) = read_to_end(&mut far).await;
    assert_eq!((bytes.as_slice(), end.is_ok()), (&b"refusal"[..], true));
}

#[tokio::test]
async fn a_stream_that_is_used_again_after_close_on_drop_is_reset_when_it_is_dropped() {
    let (mut near, mut far) = tcp_pair().await;
    near.close_on_drop();
    near.reset_on_drop();
    drop(near);
    let (_, end) = read_to_end(&mut far).await;
    assert!(matches!(end, Err(Broken::Reset(0))), "{end:?}");
    // A FIN that was sent stays one.
    let (mut near, mut far) = tcp_pair().await;
    near.finish().await.unwrap();
    near.reset_on_drop();
    drop(near);
    let (_, end) = read_to_end(&mut far).await;
    assert!(end.is_ok(), "{end:?}");
}

#[tokio::test]
async fn a_reset_after_finish_is_still_a_reset() {
    let (mut near, mut far) = tcp_pair().await;
    near.finish().await.unwrap();
    assert_eq!(far.read(&mut [0; 8]).await.unwrap(), Read::Fin);
    near.reset(0);
    near.reset(0);
    drop(near);
    assert!(matches!(
        poll_fn(|cx| far.poll_broken(cx)).await,
        Broken::Reset(0)
    ));
}

#[tokio::test]
async fn a_reset_is_noticed_with_unread_bytes_and_without_a_reader() {
    let (mut near, mut far) = tcp_pair().await;
    near.write_all(b"unread bytes").await.unwrap();
    readable(&far).await;
    assert!(broken_now(&mut far).await.is_pending());
    drop(near);
    assert!(matches!(
        poll_fn(|cx| far.poll_broken(cx)).await,
        Broken::Reset(0)
    ));
    // It is remembered: a later read must not look like a FIN.
    assert!(matches!(
        read_to_end(&mut far).await.1,
        Err(Broken::Reset(_))
    ));
    assert!(matches!(
        broken_now(&mut far).await,
        Poll::Ready(Broken::Reset(_))
    ));
}

#[tokio::test]
async fn a_fin_does_not_look_broken() {
    let (mut near, mut far) = tcp_pair().await;
    near.finish().await.unwrap();
    assert_eq!(far.read(&mut [0; 8]).await.unwrap(), Read::Fin);
    assert!(broken_now(&mut far).await.is_pending());
    far.finish().await.unwrap();
    assert_eq!(near.read(&mut [0; 8]).await.unwrap(), Read::Fin);
    assert!(broken_now(&mut near).await.is_pending());
}

#[tokio::test]
async fn finishing_a_stream_that_was_reset_returns_reset() {
    let (near, mut far) = tcp_pair().await;
    drop(near);
    let _ = poll_fn(|cx| far.poll_broken(cx)).await;
    assert!(matches!(far.finish().await, Err(Broken::Reset(_))));
}

#[tokio::test]
async fn an_idle_stream_distinguishes_silence_from_a_byte_a_fin_and_a_reset() {
    for pair in [tcp_pair().await, unix_pair()] {
        let (mut near, mut far) = pair;
        assert!(!far.is_readable_or_closed());
        near.write_all(b"!").await.unwrap();
        readable(&far).await;
        assert!(far.is_readable_or_closed());
        assert_eq!(
            far.read(&mut [0; 8]).await.unwrap(),
            Read::Data(1),
            "the check consumes nothing"
        );
        assert!(!far.is_readable_or_closed());
        near.finish().await.unwrap();
        readable(&far).await;
        assert!(far.is_readable_or_closed());
    }
    let (near, mut far) = tcp_pair().await;
    drop(near);
    let _ = far.as_tcp().unwrap().ready(Interest::ERROR).await;
    assert!(far.is_readable_or_closed());
}

#[tokio::test]
async fn a_task_with_an_exhausted_budget_still_sees_a_readable_stream() {
    let (mut near, far) = tcp_pair().await;
    near.write_all(b"!").await.unwrap();
    readable(&far).await;
    let mut far = Stream::other(Box::new(far));
    let is_readable = poll_fn(|cx| {
        while std::pin::pin!(consume_budget()).poll(cx).is_ready() {}
        Poll::Ready(far.is_readable_or_closed())
    });
    assert!(is_readable.await);
}

#[tokio::test]
async fn a_unix_stream_carries_bytes_and_a_fin() {
    let (mut near, mut far) = unix_pair();
    near.write_all(b"question").await.unwrap();
    near.finish().await.unwrap();
    let (bytes, end) = read_to_end(&mut far).await;
    assert_eq!((bytes.as_slice(), end.is_ok()), (&b"question"[..], true));
    assert!(broken_now(&mut far).await.is_pending());
    far.write_all(b"answer").await.unwrap();
    drop(far);
    assert_eq!(read_to_end(&mut near).await.0, b"answer");
}

#[tokio::test]
async fn writes_to_a_unix_stream_that_was_reset_fail() {
    let (mut near, mut far) = unix_pair();
    near.reset(0);
    assert!(matches!(
        far.write_all(b"data").await,
        Err(Broken::Reset(_))
    ));
}

#[tokio::test]
async fn addresses_are_those_of_the_socket_beneath() {
    let (near, far) = tcp_pair().await;
    assert_eq!(
        (near.peer_addr(), near.local_addr()),
        (far.local_addr(), far.peer_addr())
    );
    assert!(near.peer_addr().is_some());
    assert_eq!(
        (unix_pair().0.peer_addr(), unix_pair().0.local_addr()),
        (None, None)
    );
}

#[test]
fn how_a_stream_broke_survives_a_layer_of_plain_io() {
    let through = |broken| Broken::from(io::Error::from(broken));
    assert!(matches!(through(Broken::Reset(7)), Broken::Reset(7)));
    assert!(matches!(through(Broken::SessionLost), Broken::SessionLost));
    let Broken::Io(error) = through(Broken::Io(io::ErrorKind::TimedOut.into())) else {
        panic!("not the same")
    };
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    for kind in [
        io::ErrorKind::BrokenPipe,
        io::ErrorKind::ConnectionAborted,
        io::ErrorKind::NotConnected,
    ] {
        assert!(
            matches!(Broken::from(io::Error::from(kind)), Broken::Reset(0)),
            "{kind:?}"
        );
    }
}

/// A pipe that accepts nothing and returns success.
struct TakesNothing;

impl Pipe for TakesNothing {
    fn poll_read(&mut self, _cx: &mut Context<'_>, _buf: &mut [u8]) -> Poll<Result<Read, Broken>> {
        Poll::Ready(Ok(Read::Fin))
    }

    fn poll_write(
        &mut self,
        _cx: &mut Context<'_>,
        _bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize, Broken>> {
        Poll::Ready(Ok(0))
    }

    fn poll_finish(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Poll::Ready(Ok(()))
    }

    fn poll_broken(&mut self, _cx: &mut Context<'_>) -> Poll<Broken> {
        Poll::Pending
    }

    fn reset(&mut self, _code: u32) {}

    fn close_on_drop(&mut self) {}
}

#[tokio::test]
async fn a_pipe_that_accepts_nothing_is_an_error_and_no_endless_loop() {
    let written = Stream::other(Box::new(TakesNothing)).write_all(b"x").await;
    assert!(matches!(written, Err(Broken::Io(error)) if error.kind() == io::ErrorKind::WriteZero));
}

mod tls {
    use super::*;
    use crate::tls::tests::{Peer, connect};

    #[tokio::test]
    async fn tickets_do_not_make_an_idle_session_readable_but_a_byte_does() {
        let (mut near, mut far) = connect(&Peer::good(), tcp_pair().await).await.unwrap();
        // The tickets were sent at the end of the handshake.
        readable(&near).await;
        assert!(!near.is_readable_or_closed());
        let StreamKind::Tls(tls) = &mut near.0 else {
            unreachable!()
        };
        assert!(
            !tls.wire_mut().is_readable_or_closed(),
            "the tickets were processed"
        );
        far.write_all(b"!").await.unwrap();
        readable(&near).await;
        assert!(near.is_readable_or_closed());
    }

    #[tokio::test]
    async fn finish_is_a_fin_and_a_drop_is_none() {
        let (mut near, mut far) = connect(&Peer::good(), tcp_pair().await).await.unwrap();
        near.write_all(b"question").await.unwrap();
        near.finish().await.unwrap();
        let (bytes, end) = read_to_end(&mut far).await;
        assert_eq!((bytes.as_slice(), end.is_ok()), (&b"question"[..], true));
        far.write_all(b"half an answer").await.unwrap();
        drop(far);
        assert!(read_to_end(&mut near).await.1.is_err());
    }

    #[tokio::test]
    async fn a_connection_that_is_cut_below_the_session_is_no_fin() {
        let (near, mut far) = connect(&Peer::good(), unix_pair()).await.unwrap();
        drop(near);
        assert!(
            read_to_end(&mut far).await.1.is_err(),
            "no close_notify came"
        );
    }

    #[tokio::test]
    async fn a_reset_below_the_session_is_noticed_without_a_reader() {
        let (near, mut far) = connect(&Peer::good(), tcp_pair().await).await.unwrap();
        drop(near);
        assert!(matches!(
            poll_fn(|cx| far.poll_broken(cx)).await,
            Broken::Reset(_)
        ));
    }
}
