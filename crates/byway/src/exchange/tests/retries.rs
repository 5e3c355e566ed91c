//! What is sent to an upstream again, and why the rest is not.

use std::io::IoSlice;
use std::task::{Context, Poll};

use byway_dial::{Broken, Pipe, Read, Stream};
use byway_testkit::Origin;
use tokio::sync::oneshot;

use crate::testing::{Bench, Peer};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const PUT: &str = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody";

/// Responds to every request with its body.
fn echoing() -> Origin {
    Origin::scripted(|served| {
        while let Some(request) = served.request() {
            served.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}",
                request.body.len(),
                request.text()
            ));
        }
    })
}

/// Reads the head of a request on an idle connection, and `more` after it, and closes without a
/// response.
async fn leave_behind(bench: &Bench, more: &'static str) -> oneshot::Receiver<()> {
    let mut upstream = bench.upstream().await;
    let (left, leaving) = oneshot::channel();
    bench.context.scope.spawn("upstream", async move {
        upstream.recv_head().await;
        upstream.recv(more).await;
        upstream.finish().await;
        left.send(()).unwrap();
    });
    leaving
}

fn count(bench: &Bench, name: &str) -> u64 {
    bench
        .context
        .counters()
        .snapshot()
        .into_iter()
        .find(|(known, _)| *known == name)
        .unwrap()
        .1
}

/// Every counter of retries that is not zero.
fn retries(bench: &Bench) -> Vec<(&'static str, u64)> {
    let all = bench.context.counters().snapshot().into_iter();
    all.filter(|(name, value)| {
        *value > 0 && (name.starts_with("retried") || name.starts_with("not_retried"))
    })
    .collect()
}

#[tokio::test]
async fn a_request_on_a_stale_connection_is_retried_on_a_new_one() {
    let origin = echoing();
    let bench = Bench::edge_to(&origin.address().to_string(), "");
    let stale = leave_behind(&bench, "").await;
    let mut client = bench.connect_client();
    client.send(GET).await;
    assert!(client.recv_head().await.starts_with("HTTP/1.1 200 "));
    stale.await.unwrap();
    assert_eq!(retries(&bench), [("retried_unanswered", 1)]);
}

#[tokio::test]
async fn a_request_is_never_sent_a_third_time() {
    let origin = Origin::scripted(|served| {
        served.request();
    });
    let bench = Bench::edge_to(&origin.address().to_string(), "");
    let (mut stale, mut unused) = (
        leave_behind(&bench, "").await,
        leave_behind(&bench, "").await,
    );
    let mut client = bench.connect_client();
    client.send(GET).await;
    let head = client.recv_head().await;
    assert!(
        head.starts_with("HTTP/1.1 502 ") && head.contains("closed-early"),
        "{head}"
    );
    assert_eq!(origin.connections(), 1);
    assert!(
        stale.try_recv().is_ok() != unused.try_recv().is_ok(),
        "one idle connection was tried, the other was not"
    );
    assert_eq!(
        retries(&bench),
        [("retried_unanswered", 1), ("not_retried_attempts", 1)]
    );
}

#[tokio::test]
async fn a_request_is_retried_as_often_as_configured() {
    for (attempts, deliveries) in [(0, 1), (3, 4)] {
        let origin = Origin::scripted(|served| {
            served.request();
        });
        let bench = Bench::edge_to(
            &origin.address().to_string(),
            &format!("retry.attempts = {attempts}"),
        );
        let mut client = bench.connect_client();
        client.send(GET).await;
        assert!(client.recv_head().await.starts_with("HTTP/1.1 502 "));
        assert_eq!(origin.requests().len(), deliveries);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_not_idempotent_is_not_retried() {
    for request in [
        "POST / HTTP/1.1\r\nHost: a\r\n\r\n",
        "PATCH / HTTP/1.1\r\nHost: a\r\nIdempotency-Key: a\r\nIdempotency-Key: b\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nIdempotency-Key:\r\n\r\n",
    ] {
        let bench = Bench::edge("");
        let stale = leave_behind(&bench, "").await;
        let mut client = bench.connect_client();
        client.send(request).await;
        assert!(
            client.recv_head().await.starts_with("HTTP/1.1 502 "),
            "{request}"
        );
        stale.await.unwrap();
        assert_eq!(retries(&bench), [("not_retried_method", 1)]);
    }
}

#[tokio::test]
async fn a_kept_body_is_sent_again_whole_in_any_framing() {
    const CHUNKED: &str = "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n";
    for (request, whole) in [
        (PUT.to_owned(), "body"),
        (format!("{CHUNKED}\r\n"), "2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n"),
        (
            format!("{CHUNKED}X-Sum: 1\r\n\r\n"),
            "2\r\nbo\r\n2\r\ndy\r\n0\r\nX-Sum: 1\r\n\r\n",
        ),
        (
            PUT.replace("PUT", "POST")
                .replace("Host: a", "Host: a\r\nIdempotency-Key: \"k\""),
            "body",
        ),
    ] {
        let origin = echoing();
        let bench = Bench::edge_to(
            &origin.address().to_string(),
            "retry.budget_per_second = 1000",
        );
        // The first upstream may have received any part of it.
        for received in 0..=whole.len() {
            let stale = leave_behind(&bench, &whole[..received]).await;
            let mut client = bench.connect_client_through(4096);
            client
                .send(request.replace("Host: a", "Host: a\r\nConnection: close"))
                .await;
            let head = client.recv_head().await;
            assert!(
                head.starts_with("HTTP/1.1 200 "),
                "{request}, {received}: {head}"
            );
            client.recv("body").await;
            stale.await.unwrap();
            let delivered = origin.requests().pop().unwrap();
            assert_eq!(
                delivered.trailers.contains("X-Sum: 1"),
                request.contains("X-Sum"),
                "{received}: {delivered:?}"
            );
            bench.context.node.engine.pool.close_idle();
        }
        assert_eq!(
            retries(&bench),
            [("retried_unanswered", whole.len() as u64 + 1)]
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_longer_than_the_replay_limit_is_sent_once() {
    for (request, received) in [
        (
            "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nbody!",
            "body!",
        ),
        (
            "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n1\r\n!\r\n0\r\n\r\n",
            "4\r\nbody\r\n1\r\n!",
        ),
    ] {
        let bench = Bench::edge("retry.replay = 4");
        let stale = leave_behind(&bench, received).await;
        let mut client = bench.connect_client();
        client.send(request).await;
        assert!(
            client.recv_head().await.starts_with("HTTP/1.1 502 "),
            "{request}"
        );
        stale.await.unwrap();
        assert_eq!(retries(&bench), [("not_retried_body", 1)]);
    }
}

#[tokio::test]
async fn a_kept_body_is_released_with_the_first_head_of_a_response() {
    let bench = Bench::edge("");
    let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
    client.send(PUT).await;
    upstream.recv_head().await;
    upstream.recv("body").await;
    upstream.send("HTTP/1.1 103 Early Hints\r\n\r\n").await;
    assert!(client.recv_head().await.starts_with("HTTP/1.1 103 "));
    upstream.finish().await;
    assert!(client.recv_head().await.starts_with("HTTP/1.1 502 "));
    assert_eq!(retries(&bench), [("not_retried_partial", 1)]);
}

/// A connection that seemed alive when it was leased and is dead: it takes nothing.
#[derive(Default)]
struct Dead {
    written: bool,
}

impl Pipe for Dead {
    fn poll_read(&mut self, _: &mut Context<'_>, _: &mut [u8]) -> Poll<Result<Read, Broken>> {
        if self.written {
            Poll::Ready(Err(Broken::Reset(0)))
        } else {
            Poll::Pending
        }
    }
    fn poll_write(
        &mut self,
        _: &mut Context<'_>,
        _: &[IoSlice<'_>],
    ) -> Poll<Result<usize, Broken>> {
        self.written = true;
        Poll::Ready(Err(Broken::Reset(0)))
    }
    fn poll_finish(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Poll::Ready(Err(Broken::Reset(0)))
    }
    fn poll_broken(&mut self, _: &mut Context<'_>) -> Poll<Broken> {
        Poll::Pending
    }
    fn reset(&mut self, _: u32) {}
    fn close_on_drop(&mut self) {}
}

#[tokio::test]
async fn an_unsent_request_is_retried_with_any_method_and_body() {
    let long = "x".repeat(100_000);
    for request in [
        GET.to_owned(),
        PUT.replace("PUT", "POST"),
        format!(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{long}",
            long.len()
        ),
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
            .to_owned(),
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
    ] {
        let origin = echoing();
        let bench = Bench::edge_to(
            &origin.address().to_string(),
            "retry.attempts = 0\nretry.replay = 0",
        );
        bench
            .add_idle_connection(Stream::other(Box::new(Dead::default())))
            .await;
        let mut client = bench.connect_client_through(1 << 20);
        client.send(&request).await;
        let head = client.recv_head().await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let (_, body) = request.split_once("\r\n\r\n").unwrap();
        let sent = origin.requests().remove(0).body.len();
        assert_eq!(
            sent,
            if request.contains("chunked") {
                body.matches("body").count() * 4
            } else {
                body.len()
            }
        );
        assert_eq!(retries(&bench), [("retried_unsent", 1)]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_exhausted_budget_ends_retries_and_is_counted() {
    // The upstream that is dialled for the second try refuses.
    let bench = Bench::edge("retry.budget_percent = 0\nretry.budget_per_second = 2");
    for _ in 0..3 {
        let stale = leave_behind(&bench, "").await;
        let mut client = bench.connect_client();
        client.send(GET).await;
        assert!(client.recv_head().await.starts_with("HTTP/1.1 502 "));
        stale.await.unwrap();
    }
    let counted = [
        ("retried_unanswered", 2),
        ("not_retried_budget", 1),
        ("not_retried_no_upstream", 2),
    ];
    assert_eq!(retries(&bench), counted);
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_response_timed_out_is_not_retried() {
    let bench = Bench::edge("limits.first_byte = \"5s\"");
    let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
    client.send(GET).await;
    upstream.recv_head().await;
    assert!(client.recv_head().await.starts_with("HTTP/1.1 504 "));
    assert_eq!(retries(&bench), [("not_retried_deadline", 1)]);
}

#[tokio::test(start_paused = true)]
async fn no_try_begins_after_the_sum_of_queue_wait_and_connect_timeout() {
    for (seconds, reason) in [(2, "not_retried_no_upstream"), (3, "not_retried_deadline")] {
        // The upstream that would be dialled refuses.
        let bench = Bench::edge("pool.queue_wait = \"1s\"\ndial.connect_timeout = \"2s\"");
        let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
        client.send(GET).await;
        upstream.recv_head().await;
        tokio::time::sleep(std::time::Duration::from_secs(seconds)).await;
        upstream.finish().await;
        assert!(client.recv_head().await.starts_with("HTTP/1.1 502 "));
        assert_eq!(count(&bench, reason), 1, "{:?}", retries(&bench));
    }
}

#[tokio::test]
async fn a_request_whose_client_has_left_is_not_retried() {
    let bench = Bench::edge("");
    let (mut client, mut upstream): (Peer, Peer) = (bench.connect_client(), bench.upstream().await);
    client
        .send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbo")
        .await;
    upstream.recv_head().await;
    upstream.recv("bo").await;
    drop(client);
    assert!(upstream.recv_end().await.is_err());
    assert_eq!(retries(&bench), []);
}
