//! Who is blamed for what, what is tried again, and that no peer can hold us for ever.

use std::io::IoSlice;
use std::task::{Context, Poll};

use byway_dial::{Broken, Pipe, Read, Stream};
use byway_testkit::pipe;
use tokio::time::Instant;

use crate::testing::{Bench, Peer, settle};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn half_an_answer_is_a_502_and_no_reason_to_ask_again() {
    let bench = Bench::edge("");
    let (mut visitor, mut upstream) = (bench.connect_client(), bench.upstream().await);
    visitor.send(GET).await;
    upstream.recv_head().await;
    upstream.send("HTTP/1.1 200 OK\r\nContent-").await;
    upstream.finish().await;
    assert!(visitor.recv_head().await.starts_with("HTTP/1.1 502 "));
    assert_eq!(bench.context.shared.counters.retried_unanswered.value(), 0);
    assert_eq!(bench.context.shared.counters.not_retried_partial.value(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_cannot_be_read_is_a_502_and_the_visitor_may_ask_again() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "SSH-2.0-x\r\n",
    ] {
        let bench = Bench::edge("");
        let (mut visitor, mut upstream) =
            (bench.connect_client_through(4096), bench.upstream().await);
        visitor.send(GET).await;
        upstream.recv_head().await;
        let _ = upstream.try_send(answer).await;
        let head = visitor.recv_head().await;
        assert!(
            head.starts_with("HTTP/1.1 502 ") && !head.contains("Connection: close"),
            "{head}"
        );
        assert!(!head.contains("127.0.0.1"), "{head}");
        assert_eq!(bench.context.shared.counters.malformed_responses.value(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_end_is_a_408_after_the_deadline() {
    let bench = Bench::edge("limits.head_timeout = \"7s\"");
    let mut visitor = bench.connect_client();
    visitor.send("GET / HT").await;
    let begun = Instant::now();
    let head = visitor.recv_head().await;
    assert!(
        head.starts_with("HTTP/1.1 408 ") && head.contains("Connection: close\r\n"),
        "{head}"
    );
    assert_eq!(begun.elapsed().as_secs(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_visitor_that_says_nothing_or_an_empty_line_is_owed_nothing() {
    for said in ["", "\r\n"] {
        let bench = Bench::edge("");
        let mut visitor = bench.connect_client();
        visitor.send(said).await;
        assert_eq!(visitor.recv_end().await.unwrap(), "", "{said:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_without_an_answer_is_a_504() {
    let bench = Bench::edge("limits.first_byte = \"5s\"");
    let (mut visitor, mut upstream) = (bench.connect_client(), bench.upstream().await);
    visitor.send(GET).await;
    upstream.recv_head().await;
    let head = visitor.recv_head().await;
    assert!(
        head.starts_with("HTTP/1.1 504 ") && head.contains("first-byte"),
        "{head}"
    );
    assert!(upstream.recv_end().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_drips_its_head_is_a_504_at_the_same_deadline() {
    let bench = Bench::edge("limits.first_byte = \"5s\"");
    let (mut visitor, mut upstream) = (bench.connect_client(), bench.upstream().await);
    visitor.send(GET).await;
    upstream.recv_head().await;
    let begun = Instant::now();
    let drip = async {
        for byte in b"HTTP/1.1 200 OK\r\nX-Slow: very" {
            let _ = upstream.try_send([*byte]).await;
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
    };
    let answer = async { (visitor.recv_head().await, begun.elapsed().as_secs()) };
    let ((head, seconds), ()) = tokio::join!(answer, drip);
    assert!(head.starts_with("HTTP/1.1 504 "), "{head}");
    assert_eq!(seconds, 5);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_began_its_head_during_the_upload_does_not_outlive_the_deadline_of_the_head()
 {
    let bench = Bench::edge("limits.first_byte = \"5s\"\nlimits.body_progress = \"3s\"");
    let (mut visitor, mut upstream) = (bench.connect_client(), bench.upstream().await);
    visitor
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n1")
        .await;
    upstream.recv_head().await;
    upstream.send("H").await;
    visitor.send("2").await;
    upstream.recv("12").await;
    let drip = async {
        for byte in b"TTP/1.1 200 OK\r\nX-Slow: very" {
            let _ = upstream.try_send([*byte]).await;
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
    };
    let (head, ()) = tokio::join!(visitor.recv_head(), drip);
    assert!(head.starts_with("HTTP/1.1 504 "), "{head}");
}

#[tokio::test(start_paused = true)]
async fn a_request_body_that_stands_still_is_blamed_on_whoever_holds_it_up() {
    for (sent, status) in [("some", "408"), ("more than one pipe", "504")] {
        let bench = Bench::edge("");
        let (mut visitor, mut upstream) = (bench.connect_client(), bench.upstream().await);
        visitor
            .send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
            .await;
        upstream.recv_head().await;
        visitor.send(sent).await;
        let head = visitor.recv_head().await;
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{sent}: {head}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_visitor_that_reads_nothing_is_reset_after_the_deadline() {
    for answer in [
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}",
            "x".repeat(100)
        ),
        "HTTP/1.1 100 Continue\r\n\r\n".into(),
    ] {
        let bench = Bench::edge("limits.first_byte = \"1h\"");
        let (mut visitor, mut upstream) = (bench.connect_client(), bench.upstream().await);
        visitor.send(GET).await;
        upstream.recv_head().await;
        let _ = upstream.try_send(answer).await;
        let begun = Instant::now();
        upstream.wait_until_left().await;
        assert!(
            begun.elapsed().as_secs() < 600,
            "it was held for {:?}",
            begun.elapsed()
        );
        assert!(visitor.recv_end().await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn an_interim_answer_that_is_not_read_yet_does_not_hold_the_upload_up() {
    let bench = Bench::edge("");
    let (mut visitor, mut upstream) = (bench.connect_client(), bench.upstream().await);
    let begun = Instant::now();
    visitor
        .send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n")
        .await;
    upstream.recv_head().await;
    upstream
        .send("HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n")
        .await;
    settle().await;
    // This visitor sends its whole request before it reads.
    let (body, heard) = ("x".repeat(100), async {
        upstream.recv("x".repeat(100)).await
    });
    tokio::join!(visitor.send(body), heard);
    tokio::join!(
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        async {
            assert!(visitor.recv_head().await.starts_with("HTTP/1.1 103 "));
            assert!(visitor.recv_head().await.starts_with("HTTP/1.1 200 "));
        }
    );
    assert_eq!(begun.elapsed().as_secs(), 0);
}

#[tokio::test(start_paused = true)]
async fn interim_answers_without_end_are_ended() {
    let bench = Bench::edge("");
    let (mut visitor, mut upstream) = (bench.connect_client(), bench.upstream().await);
    visitor.send("GET / HTTP/1.0\r\n\r\n").await;
    upstream.recv_head().await;
    let mut said = 0;
    while upstream
        .try_send("HTTP/1.1 102 Processing\r\n\r\n")
        .await
        .is_ok()
    {
        said += 1;
        assert!(said < 10_000);
    }
    assert!(visitor.recv_head().await.starts_with("HTTP/1.1 502 "));
}

#[tokio::test(start_paused = true)]
async fn a_visitor_that_leaves_is_noticed_while_its_answer_is_slow() {
    let bench = Bench::edge("limits.first_byte = \"30m\"");
    let (mut visitor, mut upstream) = (bench.connect_client(), bench.upstream().await);
    visitor.send(GET).await;
    upstream.recv_head().await;
    let begun = Instant::now();
    drop(visitor);
    assert!(upstream.recv_end().await.is_err());
    assert!(begun.elapsed().as_secs() < 5);
}

/// A stream whose reads panic.
struct Trap(Box<dyn Pipe>);

impl Pipe for Trap {
    fn poll_read(&mut self, _: &mut Context<'_>, _: &mut [u8]) -> Poll<Result<Read, Broken>> {
        panic!("on purpose")
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
async fn a_panic_ends_its_own_connection_and_leaves_the_others_alone() {
    let bench = Bench::edge("");
    let (mut visitor, mut upstream) = (bench.connect_client(), bench.upstream().await);
    visitor.send(GET).await;
    upstream.recv_head().await;
    let (near, far) = pipe::pair();
    bench.serve(Stream::other(Box::new(Trap(Box::new(near)))));
    assert!(
        Peer::new(far).recv_end().await.is_err(),
        "the panicking connection is reset"
    );
    assert_eq!(bench.context.shared.counters.panics.value(), 1);
    upstream
        .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        .await;
    visitor.recv_head().await;
    visitor.recv("hi").await;
}
