//! Which side a failure is attributed to, what is retried, and that no peer can hold a connection
//! without limit.

use std::io::IoSlice;
use std::sync::Arc;
use std::task::{Context, Poll};

use byway_dial::{Broken, Pipe, Read, Stream};
use byway_testkit::pipe;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::testing::{Bench, Peer, settle};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn an_incomplete_response_is_a_502_and_is_not_retried() {
    let bench = Bench::edge("");
    let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
    client.send(GET).await;
    upstream.recv_head().await;
    upstream.send("HTTP/1.1 200 OK\r\nContent-").await;
    upstream.finish().await;
    assert!(client.recv_head().await.starts_with("HTTP/1.1 502 "));
    assert_eq!(bench.context.counters().retried_unanswered.value(), 0);
    assert_eq!(bench.context.counters().not_retried_partial.value(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_malformed_response_is_a_502_and_the_client_connection_stays() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "SSH-2.0-x\r\n",
    ] {
        let bench = Bench::edge("");
        let (mut client, mut upstream) =
            (bench.connect_client_through(4096), bench.upstream().await);
        client.send(GET).await;
        upstream.recv_head().await;
        let _ = upstream.try_send(answer).await;
        let head = client.recv_head().await;
        assert!(
            head.starts_with("HTTP/1.1 502 ") && !head.contains("Connection: close"),
            "{head}"
        );
        assert!(!head.contains("127.0.0.1"), "{head}");
        assert_eq!(bench.context.counters().malformed_responses.value(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_end_is_a_408_after_the_deadline() {
    let bench = Bench::edge("limits.head_timeout = \"7s\"");
    let mut client = bench.connect_client();
    client.send("GET / HT").await;
    let begun = Instant::now();
    let head = client.recv_head().await;
    assert!(
        head.starts_with("HTTP/1.1 408 ") && head.contains("Connection: close\r\n"),
        "{head}"
    );
    assert_eq!(begun.elapsed().as_secs(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_nothing_or_an_empty_line_gets_no_response() {
    for sent in ["", "\r\n"] {
        let bench = Bench::edge("");
        let mut client = bench.connect_client();
        client.send(sent).await;
        assert_eq!(client.recv_end().await.unwrap(), "", "{sent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_without_an_answer_is_a_504() {
    let bench = Bench::edge("limits.first_byte = \"5s\"");
    let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
    client.send(GET).await;
    upstream.recv_head().await;
    let head = client.recv_head().await;
    assert!(
        head.starts_with("HTTP/1.1 504 ") && head.contains("first-byte"),
        "{head}"
    );
    assert!(upstream.recv_end().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_sends_its_head_slowly_is_a_504_at_the_same_deadline() {
    let bench = Bench::edge("limits.first_byte = \"5s\"");
    let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
    client.send(GET).await;
    upstream.recv_head().await;
    let begun = Instant::now();
    let drip = async {
        for byte in b"HTTP/1.1 200 OK\r\nX-Slow: very" {
            let _ = upstream.try_send([*byte]).await;
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
    };
    let answer = async { (client.recv_head().await, begun.elapsed().as_secs()) };
    let ((head, seconds), ()) = tokio::join!(answer, drip);
    assert!(head.starts_with("HTTP/1.1 504 "), "{head}");
    assert_eq!(seconds, 5);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_began_its_head_during_the_upload_has_the_same_deadline() {
    let bench = Bench::edge("limits.first_byte = \"5s\"\nlimits.body_progress = \"3s\"");
    let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n1")
        .await;
    upstream.recv_head().await;
    upstream.send("H").await;
    client.send("2").await;
    upstream.recv("12").await;
    let drip = async {
        for byte in b"TTP/1.1 200 OK\r\nX-Slow: very" {
            let _ = upstream.try_send([*byte]).await;
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
    };
    let (head, ()) = tokio::join!(client.recv_head(), drip);
    assert!(head.starts_with("HTTP/1.1 504 "), "{head}");
}

#[tokio::test(start_paused = true)]
async fn a_stalled_request_body_is_attributed_to_the_side_that_stalls_it() {
    for (sent, status) in [("some", "408"), ("more than one pipe", "504")] {
        let bench = Bench::edge("");
        let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
        client
            .send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
            .await;
        upstream.recv_head().await;
        client.send(sent).await;
        let head = client.recv_head().await;
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{sent}: {head}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_is_reset_after_the_deadline() {
    for answer in [
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}",
            "x".repeat(100)
        ),
        "HTTP/1.1 100 Continue\r\n\r\n".into(),
    ] {
        let bench = Bench::edge("limits.first_byte = \"1h\"");
        let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
        client.send(GET).await;
        upstream.recv_head().await;
        let _ = upstream.try_send(answer).await;
        let begun = Instant::now();
        upstream.wait_until_closed().await;
        assert!(
            begun.elapsed().as_secs() < 600,
            "it was held for {:?}",
            begun.elapsed()
        );
        assert!(client.recv_end().await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn an_interim_answer_that_is_not_read_yet_does_not_hold_the_upload_up() {
    let bench = Bench::edge("");
    let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
    let begun = Instant::now();
    client
        .send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n")
        .await;
    upstream.recv_head().await;
    upstream
        .send("HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n")
        .await;
    settle().await;
    // This client sends its whole request before it reads.
    let (body, receiving) = ("x".repeat(100), async {
        upstream.recv("x".repeat(100)).await
    });
    tokio::join!(client.send(body), receiving);
    tokio::join!(
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        async {
            assert!(client.recv_head().await.starts_with("HTTP/1.1 103 "));
            assert!(client.recv_head().await.starts_with("HTTP/1.1 200 "));
        }
    );
    assert_eq!(begun.elapsed().as_secs(), 0);
}

#[tokio::test(start_paused = true)]
async fn endless_interim_responses_are_ended() {
    let bench = Bench::edge("");
    let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    upstream.recv_head().await;
    let mut sent = 0;
    while upstream
        .try_send("HTTP/1.1 102 Processing\r\n\r\n")
        .await
        .is_ok()
    {
        sent += 1;
        assert!(sent < 10_000);
    }
    assert!(client.recv_head().await.starts_with("HTTP/1.1 502 "));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_is_noticed_while_its_response_is_slow() {
    let bench = Bench::edge("limits.first_byte = \"30m\"");
    let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
    client.send(GET).await;
    upstream.recv_head().await;
    let begun = Instant::now();
    drop(client);
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
async fn a_panic_ends_its_own_connection_and_no_other() {
    let bench = Bench::edge("");
    let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
    client.send(GET).await;
    upstream.recv_head().await;
    let (near, far) = pipe::pair();
    bench.serve(Stream::other(Box::new(Trap(Box::new(near)))));
    assert!(
        Peer::new(far).recv_end().await.is_err(),
        "the panicking connection is reset"
    );
    assert_eq!(bench.context.counters().panics.value(), 1);
    upstream
        .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        .await;
    client.recv_head().await;
    client.recv("hi").await;
}

#[tokio::test(start_paused = true)]
async fn a_link_that_is_lost_before_the_response_is_not_the_upstreams_fault() {
    for begun in ["", "HTTP/1.1 200 OK\r\nContent-"] {
        let bench = Bench::edge("");
        let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
        client
            .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nbody")
            .await;
        upstream.recv_head().await;
        upstream.send(begun).await;
        upstream.lose_session();
        let head = client.recv_head().await;
        assert!(
            head.starts_with("HTTP/1.1 502 ") && head.contains("link-lost"),
            "{head}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_a_lost_link_did_not_answer_is_repeated_as_after_a_close() {
    let bench = Bench::edge("");
    let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
    client.send(GET).await;
    upstream.recv_head().await;
    upstream.lose_session();
    client.recv_head().await;
    assert_eq!(bench.context.counters().retried_unanswered.value(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_cut_is_logged_with_the_status_that_was_sent() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false);
    let subscriber = subscriber.with_writer(move || writer.clone()).finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let bench = Bench::edge("");
    let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
    client.send(GET).await;
    upstream.recv_head().await;
    upstream
        .send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbody")
        .await;
    assert!(client.recv_head().await.starts_with("HTTP/1.1 200 "));
    client.recv("body").await;
    upstream.lose_session();
    assert!(client.recv_end().await.is_err());
    settle().await;
    let text = String::from_utf8(log.0.lock().clone()).unwrap();
    let line = text
        .lines()
        .find(|line| line.contains("GET /"))
        .unwrap_or_default();
    for part in ["status=200 ", "who=\"link\"", "class=\"link-lost\""] {
        assert!(line.contains(part), "{part}: {text}");
    }
}

/// The lines of the program log.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(line);
        Ok(line.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
