//! The crate as another program uses it: on a pipe of its own, and on TCP sockets.
#![allow(clippy::unwrap_used)]

use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use byway_dial::{Broken, Pipe, Read, Stream};
use byway_relay::{
    Early, EndKind, Rate, RelayCounters, RelayError, RelayOptions, Side, SpillBudget, SpillOptions,
    SpillPool, relay,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

/// One end of `tokio::io::duplex`, which has no resets.
struct Duplex(DuplexStream);

impl Pipe for Duplex {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<Result<Read, Broken>> {
        let mut buf = ReadBuf::new(buf);
        ready!(Pin::new(&mut self.0).poll_read(cx, &mut buf))?;
        Poll::Ready(Ok(match buf.filled().len() {
            0 => Read::Fin,
            n => Read::Data(n),
        }))
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize, Broken>> {
        let written = Pin::new(&mut self.0).poll_write_vectored(cx, bufs);
        written.map_err(Broken::from)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Pin::new(&mut self.0)
            .poll_shutdown(cx)
            .map_err(Broken::from)
    }

    fn poll_broken(&mut self, _cx: &mut Context<'_>) -> Poll<Broken> {
        Poll::Pending
    }

    fn reset(&mut self, _code: u32) {}

    fn close_on_drop(&mut self) {}
}

/// A stream for the relay, and the other end of its pipe of eight bytes.
fn duplex() -> (Stream, DuplexStream) {
    let (ours, theirs) = tokio::io::duplex(8);
    (Stream::other(Box::new(Duplex(ours))), theirs)
}

/// A stream for the relay, and its peer.
async fn tcp() -> (Stream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connecting = TcpStream::connect(listener.local_addr().unwrap());
    let (theirs, ours) = tokio::join!(connecting, listener.accept());
    (Stream::tcp(ours.unwrap().0), theirs.unwrap())
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

async fn read_to_end(peer: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut received = Vec::new();
    peer.read_to_end(&mut received).await.unwrap();
    received
}

/// The client finishes first; the service answers after that.
async fn half_close(
    (downstream, mut client): (Stream, impl AsyncRead + AsyncWrite + Unpin),
    (upstream, mut service): (Stream, impl AsyncRead + AsyncWrite + Unpin),
) {
    let conversation = async {
        client.write_all(b"more than eight bytes").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(read_to_end(&mut service).await, b"more than eight bytes");
        let answer = pattern(100_000);
        let sending = async {
            service.write_all(&answer).await.unwrap();
            service.shutdown().await.unwrap();
        };
        let ((), received) = tokio::join!(sending, read_to_end(&mut client));
        assert!(received == answer);
    };
    let options = RelayOptions::default();
    let relay = relay(downstream, upstream, &options, Early::default());
    let (end, ()) = tokio::join!(relay, conversation);
    assert_eq!((end.who, end.kind), (Side::Downstream, EndKind::Fin));
    assert_eq!((end.bytes.up, end.bytes.down), (21, 100_000));
    assert!(end.error.is_none());
}

#[tokio::test]
async fn a_fin_is_forwarded_alone() {
    half_close(duplex(), duplex()).await;
    half_close(tcp().await, tcp().await).await;
    half_close(duplex(), tcp().await).await;
}

#[tokio::test]
async fn a_reset_resets_the_other_side_and_is_in_the_end() {
    let ((downstream, mut client), (upstream, service)) = (tcp().await, tcp().await);
    let options = RelayOptions::default();
    let relay = relay(downstream, upstream, &options, Early::default());
    let conversation = async {
        // Closing with SO_LINGER 0 sends a reset.
        socket2::SockRef::from(&service)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(service);
        let error = client.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    };
    let (end, ()) = tokio::join!(relay, conversation);
    assert_eq!((end.who, end.kind), (Side::Upstream, EndKind::Reset));
    assert!(matches!(
        end.error,
        Some(RelayError::Broken(Side::Upstream, Broken::Reset(0)))
    ));
}

#[tokio::test]
async fn a_service_is_done_long_before_its_slow_reader() {
    const LEN: usize = 4 << 20;
    let directory = tempfile::tempdir().unwrap();
    let budget = Arc::new(SpillBudget::of(1 << 30));
    let pool = SpillPool::start(directory.path(), budget, |event| panic!("{event:?}")).unwrap();
    let counters = Arc::new(RelayCounters::default());
    let options = RelayOptions {
        spill: Some(SpillOptions::new(pool)),
        counters: Some(Arc::clone(&counters)),
        ..RelayOptions::default()
    };
    let ((downstream, mut client), (upstream, mut service)) = (duplex(), tcp().await);
    let relay = relay(downstream, upstream, &options, Early::default());
    let conversation = async {
        client.shutdown().await.unwrap();
        service.write_all(&pattern(LEN)).await.unwrap();
        service.shutdown().await.unwrap();
        assert_eq!(read_to_end(&mut service).await, b"");
        drop(service);
        // The relay has taken everything, while the client has read nothing.
        let taken = || counters.spilled_bytes() + counters.ring_bytes() + counters.bytes_down();
        while taken() < LEN as u64 {
            tokio::task::yield_now().await;
        }
        assert!(counters.bytes_down() <= 8);
        assert!(read_to_end(&mut client).await == pattern(LEN));
    };
    let (end, ()) = tokio::join!(relay, conversation);
    assert!(end.is_clean());
    assert_eq!((counters.spills(), counters.spilled_bytes()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_rate_bounds_what_arrives() {
    const RATE: u64 = 200_000;
    const LEN: usize = 1_000_000;
    let options = RelayOptions {
        limit_down: Some(Arc::new(Rate::new(RATE))),
        ..RelayOptions::default()
    };
    let ((downstream, mut client), (upstream, mut service)) = (duplex(), duplex());
    let start = Instant::now();
    let relay = relay(downstream, upstream, &options, Early::default());
    let conversation = async {
        client.shutdown().await.unwrap();
        let sending = async {
            service.write_all(&pattern(LEN)).await.unwrap();
            service.shutdown().await.unwrap();
        };
        let receiving = async {
            let (mut received, mut buf) = (0, [0; 8]);
            while let n @ 1.. = client.read(&mut buf).await.unwrap() {
                received += n;
                // All but a first burst came at the rate.
                let earned = u128::from(RATE) * start.elapsed().as_micros() / 1_000_000;
                assert!(received as u128 <= earned + 65_536 + 1, "{received} bytes");
            }
            received
        };
        tokio::join!(sending, receiving).1
    };
    let (end, received) = tokio::join!(relay, conversation);
    assert!(end.is_clean());
    assert_eq!(received, LEN);
}
