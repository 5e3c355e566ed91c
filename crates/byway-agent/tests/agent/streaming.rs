//! Bodies that stream, in both directions at once.

use crate::memory::{agent, agent_with_room, get, ok, text};
use bytes::Bytes;
use byway_agent::{Agent, Body, Error, Target, Unsuited, Which, connector_fn};
use http::Request;
use http_body::Frame;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::join;
use tokio::sync::mpsc::{Receiver, Sender, channel as bounded};
use tokio::time::Instant;

/// A body that a test feeds while it is sent.
pub struct Fed(Receiver<Frame<Bytes>>);

/// The feeding end; dropping it ends the body.
pub struct Source(Sender<Frame<Bytes>>);

pub fn channel() -> (Fed, Source) {
    let (sender, receiver) = bounded(16);
    (Fed(receiver), Source(sender))
}

impl Source {
    pub async fn send(&self, data: Bytes) {
        self.0.send(Frame::data(data)).await.ok();
    }

    pub async fn send_trailers(&self, trailers: http::HeaderMap) {
        self.0.send(Frame::trailers(trailers)).await.ok();
    }
}

impl http_body::Body for Fed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

const URL: &str = "http://a.example/";

fn fed(method: &str) -> (Request<Fed>, Source) {
    let (body, source) = channel();
    (
        Request::builder()
            .method(method)
            .uri(URL)
            .body(body)
            .unwrap(),
        source,
    )
}

#[tokio::test(start_paused = true)]
async fn an_exchange_streams_both_ways_at_the_same_time() {
    let (agent, mut origins) = agent(|builder| builder);
    let (request, source) = fed("POST");
    let (response, mut server) = join!(agent.request(request), async {
        let mut server = origins.accept().await;
        server.head().await;
        server
            .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await;
        server
    });
    let mut body = response.unwrap().into_body();
    for word in ["ping", "pong", "ping"] {
        source.send(Bytes::from_static(word.as_bytes())).await;
        let (received, ()) = join!(body.frame(), async {
            assert_eq!(server.until(b"\r\n").await, b"4\r\n");
            assert_eq!(server.exactly(6).await, format!("{word}\r\n").as_bytes());
            server.send(format!("4\r\n{word}\r\n")).await;
        });
        assert_eq!(received.unwrap().unwrap().into_data().unwrap(), word);
    }
    drop(source);
    let (end, ()) = join!(body.frame(), async {
        server.until(b"0\r\n\r\n").await;
        server.send("0\r\n\r\n").await;
    });
    assert!(end.is_none());
    assert_eq!(agent.stats().totals().idle(), 1);
}

#[tokio::test(start_paused = true)]
async fn large_bodies_pass_through_small_pipes_in_both_directions() {
    let (agent, mut origins) = agent_with_room(1000, |builder| builder);
    let sent: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
    let request = Request::post(URL).body(Body::from(sent.clone())).unwrap();
    let (received, ()) = join!(
        async {
            agent
                .request(request)
                .await
                .unwrap()
                .into_body()
                .bytes(1_000_000)
                .await
                .unwrap()
        },
        async {
            let mut server = origins.accept().await;
            let received = server.request().await;
            assert!(received.body == sent);
            server
                .send(format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                    received.body.len()
                ))
                .await;
            server.send(&received.body).await;
        }
    );
    assert!(received == sent);
    assert_eq!(agent.stats().totals().idle(), 1);
}

#[tokio::test(start_paused = true)]
async fn trailers_pass_in_both_directions() {
    let (agent, mut origins) = agent(|builder| builder);
    let (request, source) = fed("PUT");
    source.send(Bytes::from_static(b"x")).await;
    source
        .send_trailers([("content-digest", "d")].into_iter().map(header).collect())
        .await;
    let (response, received) = join!(agent.request(request), async {
        let mut server = origins.accept().await;
        let received = server.request().await;
        server
            .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\ny\r\n0\r\nX-Sum: 7\r\nHost: evil\r\n\r\n")
            .await;
        received
    });
    assert_eq!(
        (received.body.as_slice(), received.trailers.as_str()),
        (&b"x"[..], "content-digest: d\r\n")
    );
    let mut body = response.unwrap().into_body();
    assert_eq!(
        body.frame().await.unwrap().unwrap().into_data().unwrap(),
        "y"
    );
    assert_eq!(
        agent.stats().totals().active(),
        1,
        "the trailers are still to come"
    );
    let trailers = body
        .frame()
        .await
        .unwrap()
        .unwrap()
        .into_trailers()
        .unwrap();
    assert_eq!(trailers, [("x-sum", "7")].into_iter().map(header).collect());
    assert_eq!(agent.stats().totals().idle(), 1);
    assert!(body.frame().await.is_none());
}

fn header((name, value): (&'static str, &'static str)) -> (http::HeaderName, http::HeaderValue) {
    (
        http::HeaderName::from_static(name),
        http::HeaderValue::from_static(value),
    )
}

/// The error of a request whose head announces `length` and whose body is `given`.
async fn fails_with(length: usize, given: &'static str) -> String {
    let (agent, mut origins) = agent(|builder| builder);
    let (body, source) = channel();
    source.send(Bytes::from_static(given.as_bytes())).await;
    drop(source);
    let request = Request::put(URL)
        .header("content-length", length)
        .body(body)
        .unwrap();
    let (response, server) = join!(agent.request(request), origins.accept());
    let error = response.map(|_| ()).unwrap_err();
    drop(server);
    assert!(matches!(error, Error::Body(_)), "{error}");
    assert_eq!(agent.stats().totals().open(), 0);
    error.to_string()
}

#[tokio::test(start_paused = true)]
async fn a_body_of_another_length_than_announced_fails_the_request() {
    assert!(
        fails_with(5, "four")
            .await
            .ends_with("it ended 1 bytes before its Content-Length")
    );
    assert!(
        fails_with(3, "four")
            .await
            .ends_with("it is longer than its Content-Length")
    );
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_takes_nothing_times_out_and_a_caller_that_sends_nothing_does_not() {
    let limit = Duration::from_secs(5);
    let (agent, mut origins) = agent_with_room(1000, |builder| {
        builder.body_idle_timeout(limit).first_byte_timeout(limit)
    });
    let begun = Instant::now();
    let request = Request::post(URL)
        .body(Body::from(vec![7; 100_000]))
        .unwrap();
    let (response, _server) = join!(agent.request(request), async {
        let mut server = origins.accept().await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        server.head().await; // takes some bytes, and then no more
        server
    });
    let error = response.map(|_| ()).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Timeout {
                which: Which::RequestBody,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(begun.elapsed(), Duration::from_secs(8));

    let (request, source) = fed("POST");
    let (answer, ()) = join!(async { text(agent.request(request).await).await }, async {
        let mut server = origins.accept().await;
        tokio::time::sleep(limit * 10).await;
        source.send(Bytes::from_static(b"at last")).await;
        drop(source);
        server.request().await;
        server.send(ok("patient")).await;
    });
    assert_eq!(answer, "patient");
}

#[tokio::test(start_paused = true)]
async fn a_response_that_pauses_too_long_fails_and_one_that_is_slow_but_steady_does_not() {
    let limit = Duration::from_secs(5);
    let (agent, mut origins) = agent(|builder| builder.body_idle_timeout(limit));
    let (error, server) = join!(
        async {
            agent
                .get(URL)
                .await
                .unwrap()
                .into_body()
                .text()
                .await
                .unwrap_err()
        },
        async {
            let mut server = origins.accept().await;
            server.request().await;
            server
                .send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12")
                .await;
            server
        }
    );
    assert_eq!(
        error.to_string(),
        "the origin sent no more of the response's body within 5s (body_idle_timeout)"
    );
    server.closed().await;
    let (answer, ()) = join!(get(&agent, URL), async {
        let mut server = origins.accept().await;
        server.request().await;
        server
            .send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
            .await;
        for byte in ["s", "t", "e", "a", "d"] {
            tokio::time::sleep(Duration::from_secs(4)).await;
            server.send(byte).await;
        }
    });
    assert_eq!(answer, "stead");
}

#[tokio::test(start_paused = true)]
async fn a_paused_reader_is_not_a_timeout_of_the_origin() {
    let (agent, mut origins) = agent(|builder| builder.body_idle_timeout(Duration::from_secs(5)));
    let (response, mut server) = join!(agent.get(URL), async {
        let mut server = origins.accept().await;
        server.request().await;
        server
            .send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
            .await;
        server
    });
    let mut body = response.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_secs(600)).await;
    server.send("cd").await;
    assert_eq!(
        body.frame().await.unwrap().unwrap().into_data().unwrap(),
        "cd"
    );
}

/// In an exchange the origin may have nothing to send before the caller sends.
#[tokio::test(start_paused = true)]
async fn a_pause_of_the_callers_own_body_is_not_a_timeout_of_the_origin() {
    let limit = Duration::from_secs(5);
    let (agent, mut origins) = agent(|builder| builder.body_idle_timeout(limit));
    let (request, source) = fed("POST");
    let (response, mut server) = join!(agent.request(request), async {
        let mut server = origins.accept().await;
        server.head().await;
        server
            .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await;
        server
    });
    let mut body = response.unwrap().into_body();
    let (received, ()) = join!(body.frame(), async {
        tokio::time::sleep(limit * 10).await;
        source.send(Bytes::from_static(b"well?")).await;
        server.until(b"well?\r\n").await;
        server.send("4\r\nyes!\r\n").await;
    });
    assert_eq!(received.unwrap().unwrap().into_data().unwrap(), "yes!");
    // When the caller's body has ended, the pause is the origin's.
    drop(source);
    let begun = Instant::now();
    let error = body.frame().await.unwrap().unwrap_err();
    assert!(
        matches!(
            error,
            Error::Timeout {
                which: Which::ResponseBody,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(begun.elapsed(), limit);
}

#[tokio::test(start_paused = true)]
async fn a_body_is_limited_to_the_bytes_that_its_reader_allows() {
    for response in [
        ok("too long"),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\ntoo long\r\n0\r\n\r\n".into(),
    ] {
        let (agent, mut origins) = agent(|builder| builder);
        let (error, ()) = join!(
            async {
                agent
                    .get(URL)
                    .await
                    .unwrap()
                    .into_body()
                    .bytes(7)
                    .await
                    .unwrap_err()
            },
            async {
                let mut server = origins.accept().await;
                server.request().await;
                server.send(response).await;
            }
        );
        assert!(
            matches!(error, Error::Unsuited(Unsuited::TooLong { limit: 7 })),
            "{error}"
        );
    }
    let (agent, mut origins) = agent(|builder| builder);
    let (error, ()) = join!(
        async {
            agent
                .get(URL)
                .await
                .unwrap()
                .into_body()
                .text()
                .await
                .unwrap_err()
        },
        async {
            let mut server = origins.accept().await;
            server.request().await;
            server
                .send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n\xff")
                .await;
        }
    );
    assert!(
        matches!(error, Error::Unsuited(Unsuited::NotText)),
        "{error}"
    );
}

/// An origin that responds before the request is complete, and reads no more.
#[tokio::test(start_paused = true)]
async fn an_early_response_is_read_although_the_origin_takes_no_more() {
    let (agent, mut origins) = agent_with_room(1000, |builder| builder);
    let request = Request::post(URL)
        .body(Body::from(vec![7; 100_000]))
        .unwrap();
    let begun = Instant::now();
    let (answer, server) = join!(async { text(agent.request(request).await).await }, async {
        let mut server = origins.accept().await;
        server.head().await;
        server
            .send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 6\r\n\r\nenough")
            .await;
        server
    });
    assert_eq!(answer, "enough");
    assert_eq!(
        begun.elapsed(),
        Duration::from_secs(1),
        "the end waits 1 s for an origin that may still take bytes"
    );
    drop(server);
    assert_eq!(agent.stats().totals().open(), 0);

    // An origin that responds and closes: the broken request does not hide the response.
    let request = Request::post(URL)
        .body(Body::from(vec![7; 100_000]))
        .unwrap();
    let (answer, ()) = join!(async { text(agent.request(request).await).await }, async {
        let mut server = origins.accept().await;
        server.head().await;
        server.send("HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 6\r\n\r\nenough").await;
    });
    assert_eq!(answer, "enough");
}

/// A connection that is always writable, and a body that never ends.
#[tokio::test]
async fn an_endless_body_on_an_always_writable_connection_does_not_starve_other_tasks() {
    let connector =
        connector_fn(|_: Target| std::future::ready(Ok::<_, std::io::Error>(Bottomless)));
    let agent = Agent::builder().connector(connector).build().unwrap();
    let request = Request::post(URL)
        .body(Endless(Bytes::from_static(&[7; 16 * 1024])))
        .unwrap();
    let others = async {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        response = agent.request(request) => panic!("a response: {response:?}"),
        () = others => {}
    }
}

struct Endless(Bytes);

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(self.0.clone()))))
    }
}

struct Bottomless;

impl AsyncRead for Bottomless {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Bottomless {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
