//! A relay with an ordered end: the FIN of the downstream ends it, and no byte before it is lost.
#![allow(clippy::unwrap_used)]
#![cfg(target_os = "linux")]

use std::io::IoSlice;
use std::task::{Context, Poll};
use std::time::Duration;

use byway_dial::{Broken, Pipe, Read, Stream};
use byway_relay::{Early, EndKind, RelayOptions, Side, relay};
use byway_testkit::pipe;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::{Instant, timeout};

/// No step takes this long.
const HANG: Duration = Duration::from_secs(60);

/// Sent before anything of the request was read.
const ANSWER: &[u8] = b"refused";

fn ordered_end(within: Duration) -> RelayOptions {
    RelayOptions {
        ordered_end: Some(within),
        ..RelayOptions::default()
    }
}

/// The relay's end of a TCP connection, and that of a service with a small receive buffer.
async fn service() -> (Stream, Stream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    SockRef::from(&listener).set_recv_buffer_size(2048).unwrap();
    let near = TcpSocket::new_v4().unwrap();
    let address = listener.local_addr().unwrap();
    let (near, far) = tokio::join!(near.connect(address), listener.accept());
    (Stream::tcp(near.unwrap()), Stream::tcp(far.unwrap().0))
}

async fn read_to_end(stream: &mut Stream) -> (usize, Result<(), Broken>) {
    let (mut received, mut buf) = (0, [0; 512]);
    loop {
        match stream.read(&mut buf).await {
            Ok(Read::Data(n)) => received += n,
            Ok(Read::Fin) => return (received, Ok(())),
            Err(broken) => return (received, Err(broken)),
        }
        // Slower than it arrives.
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_service_that_reads_late_gets_everything_and_then_a_reset() {
    let (near_down, down) = pipe::pair_of(64);
    let (near_up, mut up) = service().await;
    let body = vec![b'x'; 200_000];
    let visitor = async {
        let mut down = down.into_stream();
        down.write_all(&body).await.unwrap();
        down.finish().await.unwrap();
        let (received, end) = read_to_end(&mut down).await;
        assert_eq!(received, ANSWER.len());
        assert!(matches!(end, Err(Broken::Reset(_))), "{end:?}");
    };
    let service = async {
        up.write_all(ANSWER).await.unwrap();
        let (received, end) = read_to_end(&mut up).await;
        assert_eq!(received, body.len());
        assert!(matches!(end, Err(Broken::Reset(_))), "{end:?}");
    };
    let options = ordered_end(HANG);
    let relay = relay(near_down.into_stream(), near_up, &options, Early::default());
    let ((), (), end) = timeout(HANG, async { tokio::join!(visitor, service, relay) })
        .await
        .unwrap();
    assert_eq!(
        (end.who, end.kind),
        (Side::Downstream, EndKind::Fin),
        "{end}"
    );
    assert_eq!(end.bytes.up, 200_000);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_never_reads_is_reset_when_the_time_is_over() {
    let (near_down, down) = pipe::pair_of(4096);
    let (near_up, up) = pipe::pair_of(64);
    let mut down = down.into_stream();
    let mut up = up.into_stream();
    down.write_all(&[b'x'; 1000]).await.unwrap();
    down.finish().await.unwrap();
    let began = Instant::now();
    let options = ordered_end(Duration::from_secs(4));
    let end = relay(
        near_down.into_stream(),
        near_up.into_stream(),
        &options,
        Early::default(),
    )
    .await;
    assert_eq!(
        (end.who, end.kind),
        (Side::Downstream, EndKind::Fin),
        "{end}"
    );
    let took = began.elapsed().as_millis();
    assert!((4000..4100).contains(&took), "{took} ms");
    let mut received = 0;
    let broken = loop {
        match up.read(&mut [0; 64]).await {
            Ok(Read::Data(n)) => received += n,
            other => break other,
        }
    };
    assert!(received < 1000 && matches!(broken, Err(Broken::Reset(_))));
}

/// An upstream that cannot tell what was acknowledged.
struct Silent(Stream);

impl Pipe for Silent {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<Result<Read, Broken>> {
        self.0.poll_read(cx, buf)
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize, Broken>> {
        self.0.poll_write(cx, bufs)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.0.poll_finish(cx)
    }

    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        self.0.poll_broken(cx)
    }

    fn reset(&mut self, code: u32) {
        self.0.reset(code);
    }

    fn close_on_drop(&mut self) {
        self.0.close_on_drop();
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_cannot_tell_what_was_acknowledged_gets_the_fin() {
    let (near_down, down) = pipe::pair_of(4096);
    let (near_up, up) = pipe::pair_of(64);
    let (mut down, mut up) = (down.into_stream(), up.into_stream());
    let script = async {
        down.write_all(&[b'x'; 1000]).await.unwrap();
        down.finish().await.unwrap();
        let (received, end) = read_to_end(&mut up).await;
        assert!(received == 1000 && end.is_ok(), "{received}, {end:?}");
        up.finish().await.unwrap();
        assert_eq!(down.read(&mut [0]).await.unwrap(), Read::Fin);
    };
    let upstream = Stream::other(Box::new(Silent(near_up.into_stream())));
    let options = ordered_end(Duration::from_secs(4));
    let relay = relay(
        near_down.into_stream(),
        upstream,
        &options,
        Early::default(),
    );
    let ((), end) = timeout(HANG, async { tokio::join!(script, relay) })
        .await
        .unwrap();
    assert_eq!(end.kind, EndKind::Fin, "{end}");
}
