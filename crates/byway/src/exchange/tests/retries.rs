//! What goes to an upstream again, and why the rest does not.

use std::io::IoSlice;
use std::task::{Context, Poll};

use byway_dial::{Broken, Pipe, Read, Stream};
use byway_testkit::Origin;
use tokio::sync::oneshot;

use crate::testing::{Bench, Peer};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const PUT: &str = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody";

/// Answers every request with the body it came with.
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

/// Takes the head of a request on an idle connection, and `more` behind it, and leaves without a
/// word.
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
        .shared
        .counters
        .snapshot()
        .into_iter()
        .find(|(known, _)| *known == name)
        .unwrap()
        .1
}

/// Every counter of retries that is not zero.
fn retries(bench: &Bench) -> Vec<(&'static str, u64)> {
    let all = bench.context.shared.counters.snapshot().into_iter();
    all.filter(|(name, value)| {
        *value > 0 && (name.starts_with("retried") || name.starts_with("not_retried"))
    })
    .collect()
}

#[tokio::test]
async fn a_request_on_a_stale_connection_goes_once_more_on_a_new_one() {
    let origin = echoing();
    let bench = Bench::edge_to(&origin.address().to_string(), "");
    let stale = leave_behind(&bench, "").await;
    let mut visitor = bench.connect_client();
    visitor.send(GET).await;
    assert!(visitor.recv_head().await.starts_with("HTTP/1.1 200 "));
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
    let mut visitor = bench.connect_client();
    visitor.send(GET).await;
    let head = visitor.recv_head().await;
    assert!(
        head.starts_with("HTTP/1.1 502 ") && head.contains("closed-early"),
        "{head}"
    );
    assert_eq!(origin.connections(), 1);
    assert!(
        stale.try_recv().is_ok() != unused.try_recv().is_ok(),
        "one idle connection was tried, the other was left"
    );
    assert_eq!(
        retries(&bench),
        [("retried_unanswered", 1), ("not_retried_attempts", 1)]
    );
}

#[tokio::test]
async fn as_many_times_as_the_config_says() {
    for (attempts, deliveries) in [(0, 1), (3, 4)] {
        let origin = Origin::scripted(|served| {
            served.request();
        });
        let bench = Bench::edge_to(
            &origin.address().to_string(),
            &format!("retry.attempts = {attempts}"),
        );
        let mut visitor = bench.connect_client();
        visitor.send(GET).await;
        assert!(visitor.recv_head().await.starts_with("HTTP/1.1 502 "));
        assert_eq!(origin.requests().len(), deliveries);
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_have_been_done_already_is_not_done_again() {
    for request in [
        "POST / HTTP/1.1\r\nHost: a\r\n\r\n",
        "PATCH / HTTP/1.1\r\nHost: a\r\nIdempotency-Key: a\r\nIdempotency-Key: b\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nIdempotency-Key:\r\n\r\n",
    ] {
        let bench = Bench::edge("");
        let stale = leave_behind(&bench, "").await;
        let mut visitor = bench.connect_client();
        visitor.send(request).await;
        assert!(
            visitor.recv_head().await.starts_with("HTTP/1.1 502 "),
            "{request}"
        );
        stale.await.unwrap();
        assert_eq!(retries(&bench), [("not_retried_method", 1)]);
    }
}

#[tokio::test]
async fn a_body_that_was_kept_goes_again_whole_in_whatever_framing() {
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
        // The first upstream may have heard any part of it.
        for heard in 0..=whole.len() {
            let stale = leave_behind(&bench, &whole[..heard]).await;
            let mut visitor = bench.connect_client_through(4096);
            visitor
                .send(request.replace("Host: a", "Host: a\r\nConnection: close"))
                .await;
            let head = visitor.recv_head().await;
            assert!(
                head.starts_with("HTTP/1.1 200 "),
                "{request}, {heard}: {head}"
            );
            visitor.recv("body").await;
            stale.await.unwrap();
            let delivered = origin.requests().pop().unwrap();
            assert_eq!(
                delivered.trailers.contains("X-Sum: 1"),
                request.contains("X-Sum"),
                "{heard}: {delivered:?}"
            );
            bench.context.shared.pool.close_idle();
        }
        assert_eq!(
            retries(&bench),
            [("retried_unanswered", whole.len() as u64 + 1)]
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_longer_than_what_is_kept_goes_out_once() {
    for (request, heard) in [
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
        let stale = leave_behind(&bench, heard).await;
        let mut visitor = bench.connect_client();
        visitor.send(request).await;
        assert!(
            visitor.recv_head().await.starts_with("HTTP/1.1 502 "),
            "{request}"
        );
        stale.await.unwrap();
        assert_eq!(retries(&bench), [("not_retried_body", 1)]);
    }
}

#[tokio::test]
async fn what_is_kept_is_given_back_with_the_first_head_of_an_answer() {
    let bench = Bench::edge("");
    let (mut visitor, mut upstream) = (bench.connect_client(), bench.upstream().await);
    visitor.send(PUT).await;
    upstream.recv_head().await;
    upstream.recv("body").await;
    upstream.send("HTTP/1.1 103 Early Hints\r\n\r\n").await;
    assert!(visitor.recv_head().await.starts_with("HTTP/1.1 103 "));
    upstream.finish().await;
    assert!(visitor.recv_head().await.starts_with("HTTP/1.1 502 "));
    assert_eq!(retries(&bench), [("not_retried_partial", 1)]);
}

/// A connection that looked alive when it was lent and is dead: it takes nothing.
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
async fn what_has_not_left_goes_again_whatever_its_method_and_body() {
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
            .lend_to_edge(Stream::other(Box::new(Dead::default())))
            .await;
        let mut visitor = bench.connect_client_through(1 << 20);
        visitor.send(&request).await;
        let head = visitor.recv_head().await;
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
async fn the_budget_ends_retries_and_says_so() {
    // The upstream that is dialled for the second try refuses.
    let bench = Bench::edge("retry.budget_percent = 0\nretry.budget_per_second = 2");
    for _ in 0..3 {
        let stale = leave_behind(&bench, "").await;
        let mut visitor = bench.connect_client();
        visitor.send(GET).await;
        assert!(visitor.recv_head().await.starts_with("HTTP/1.1 502 "));
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
async fn who_has_waited_for_an_answer_does_not_wait_as_long_again() {
    let bench = Bench::edge("limits.first_byte = \"5s\"");
    let (mut visitor, mut upstream) = (bench.connect_client(), bench.upstream().await);
    visitor.send(GET).await;
    upstream.recv_head().await;
    assert!(visitor.recv_head().await.starts_with("HTTP/1.1 504 "));
    assert_eq!(retries(&bench), [("not_retried_deadline", 1)]);
}

#[tokio::test(start_paused = true)]
async fn no_try_begins_once_queue_and_connect_might_have_been_over() {
    for (seconds, reason) in [(2, "not_retried_no_upstream"), (3, "not_retried_deadline")] {
        // The upstream that would be dialled refuses.
        let bench = Bench::edge("pool.queue_wait = \"1s\"\ndial.connect_timeout = \"2s\"");
        let (mut visitor, mut upstream) = (bench.connect_client(), bench.upstream().await);
        visitor.send(GET).await;
        upstream.recv_head().await;
        tokio::time::sleep(std::time::Duration::from_secs(seconds)).await;
        upstream.finish().await;
        assert!(visitor.recv_head().await.starts_with("HTTP/1.1 502 "));
        assert_eq!(count(&bench, reason), 1, "{:?}", retries(&bench));
    }
}

#[tokio::test]
async fn a_visitor_that_leaves_is_no_reason_to_ask_again() {
    let bench = Bench::edge("");
    let (mut visitor, mut upstream): (Peer, Peer) =
        (bench.connect_client(), bench.upstream().await);
    visitor
        .send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbo")
        .await;
    upstream.recv_head().await;
    upstream.recv("bo").await;
    drop(visitor);
    assert!(upstream.recv_end().await.is_err());
    assert_eq!(retries(&bench), []);
}
