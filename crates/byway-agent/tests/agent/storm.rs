//! Many requests with different outcomes at once, on several threads: the limits hold at every
//! moment, every request ends, and nothing is left over.

use byway_agent::{Agent, Body, Error, Event, Target, connector_fn};
use http::Request;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex,
};
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::JoinSet;
use tokio::time::timeout;

const MAX_TOTAL: usize = 8;
const REQUESTS: u64 = 3000;

/// Pseudo-random numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// An origin that returns the path in each response, and often misbehaves.
async fn serve(mut io: DuplexStream, seed: u64) {
    let (mut dice, mut unread) = (Dice(seed), Vec::new());
    loop {
        while !unread.windows(4).any(|window| window == b"\r\n\r\n") {
            if !matches!(io.read_buf(&mut unread).await, Ok(1..)) {
                return;
            }
        }
        let head = String::from_utf8(std::mem::take(&mut unread)).unwrap();
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let whole = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}",
            path.len()
        );
        let chunked = format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{path}\r\n0\r\n\r\n",
            path.len()
        );
        let (answer, closes) = match dice.below(10) {
            0 => (String::new(), true),
            1 => (whole[..whole.len() - 1].to_owned(), true),
            2 => (format!("HTTP/1.1 102 Processing\r\n\r\n{whole}"), false),
            3 => (whole.replace("OK\r\n", "OK\r\nConnection: close\r\n"), true),
            4 => (
                whole.replace("OK\r\n", "OK\r\nKeep-Alive: max=1\r\n"),
                false,
            ),
            5 => (chunked, false),
            6 => (whole.clone(), true),
            7 => ("no http at all\r\n\r\n".to_owned(), true),
            _ => (whole.clone(), false),
        };
        for piece in answer.as_bytes().chunks(1 + dice.below(40) as usize) {
            if io.write_all(piece).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
        if closes {
            return;
        }
    }
}

/// Open connections, from the start of their dial to their drop.
#[derive(Default)]
struct Count {
    now: AtomicUsize,
    most: AtomicUsize,
}

struct Open(Arc<Count>);

impl Open {
    fn new(count: &Arc<Count>) -> Self {
        count
            .most
            .fetch_max(count.now.fetch_add(1, SeqCst) + 1, SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, SeqCst);
    }
}

struct Counted {
    io: DuplexStream,
    _open: Open,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_a_storm_the_limits_hold_every_request_ends_and_no_response_is_mixed_up() {
    let count = Arc::new(Count::default());
    let (open_events, seen) = (Arc::new(AtomicUsize::new(0)), Arc::clone(&count));
    let balance = Arc::clone(&open_events);
    let observe = move |event: &Event<'_>| match event {
        Event::Opened { .. } => drop(balance.fetch_add(1, SeqCst)),
        Event::Closed { .. } => drop(balance.fetch_sub(1, SeqCst)),
        _ => {}
    };
    let (sender, mut accepted) = unbounded_channel();
    let connector = connector_fn(move |target: Target| {
        let (sender, open) = (sender.clone(), Open::new(&seen));
        async move {
            tokio::task::yield_now().await;
            if target.host().ends_with("7.example") {
                return Err(io::Error::from(io::ErrorKind::ConnectionRefused));
            }
            let (ours, theirs) = duplex(64);
            sender.send(theirs).map_err(io::Error::other)?;
            Ok(Counted {
                io: ours,
                _open: open,
            })
        }
    });
    let agent = Agent::builder()
        .max_total(MAX_TOTAL)
        .max_per_origin(3)
        .shards(4)
        .queue_len(REQUESTS as usize)
        .queue_wait(Duration::from_secs(60))
        .connector(connector)
        .on_event(observe)
        .build()
        .unwrap();
    let mut origins = JoinSet::new();
    origins.spawn(async move {
        let (mut connections, mut seed) = (JoinSet::new(), 0);
        while let Some(io) = accepted.recv().await {
            seed += 1;
            connections.spawn(serve(io, seed));
        }
    });
    let mut requests = JoinSet::new();
    for n in 0..REQUESTS {
        let agent = agent.shard(n as usize);
        requests.spawn(async move {
            let mut dice = Dice(n);
            let (path, host) = (format!("/{n}"), dice.below(20));
            let request = Request::get(format!("http://{host}.example{path}"))
                .body(Body::empty())
                .unwrap();
            let exchange = async {
                let body = agent.request(request).await?.into_body();
                if n % 7 == 0 {
                    drop(body);
                    return Ok(());
                }
                let text = body.text().await?;
                assert_eq!(text, path, "the response to another request");
                Ok::<_, Error>(())
            };
            match n % 5 {
                0 => timeout(Duration::from_micros(dice.below(3000)), exchange)
                    .await
                    .unwrap_or(Ok(()))
                    .is_ok(),
                _ => exchange.await.is_ok(),
            }
        });
    }
    let ended = timeout(Duration::from_secs(60), requests.join_all())
        .await
        .expect("every request ends");
    let good = ended.iter().filter(|good| **good).count();
    assert!(
        good > REQUESTS as usize / 3 && good < REQUESTS as usize,
        "{good} of {REQUESTS}"
    );
    let most = count.most.load(SeqCst);
    assert!(
        most == MAX_TOTAL,
        "{most} connections were open at once, the limit is {MAX_TOTAL}"
    );
    assert_eq!(agent.shutdown(Duration::from_secs(10)).await, 0);
    let left = agent.stats();
    assert_eq!(
        (
            count.now.load(SeqCst),
            left.totals().open(),
            left.groups().len()
        ),
        (0, 0, 0),
        "{left}"
    );
    assert_eq!(
        open_events.load(SeqCst),
        0,
        "each connection has an opened and a closed event"
    );
}
