//! Bodies that are large, slow, held back, or cut.

use byway_testkit::pipe;

use super::recorded::Recorded;
use crate::testing::{Bench, Peer, settle};

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|n| (n * 31 % 251) as u8).collect()
}

#[tokio::test(start_paused = true)]
async fn large_bodies_both_ways_at_once_through_pipes_of_eight_bytes_do_not_deadlock() {
    const BYTES: usize = 100_000;
    let bench = Bench::edge("");
    let (mut visitor, mut upstream) = (bench.connect_client(), bench.upstream().await);
    let (up, down) = (pattern(BYTES), pattern(BYTES + 1));
    visitor
        .send(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {BYTES}\r\n\r\n"
        ))
        .await;
    upstream.recv_head().await;
    upstream
        .send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
            BYTES + 1
        ))
        .await;
    assert!(
        visitor.recv_head().await.contains("Connection: close\r\n"),
        "the answer came before the request had ended"
    );
    let (at_visitor, at_upstream) = tokio::join!(
        visitor.converse(&up, BYTES + 1),
        upstream.converse(&down, BYTES)
    );
    assert!(at_visitor == down && at_upstream == up);
    assert_eq!(visitor.recv_end().await.unwrap(), "");
}

#[tokio::test(start_paused = true)]
async fn an_early_answer_ends_with_the_connection_and_not_with_the_rest_of_the_request() {
    let bench = Bench::edge("");
    let (mut visitor, mut upstream) = (bench.connect_client(), bench.upstream().await);
    visitor
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nsome")
        .await;
    upstream.recv_head().await;
    upstream.recv("some").await;
    upstream
        .send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
        .await;
    assert!(visitor.recv_head().await.contains("Connection: close\r\n"));
    // What follows is neither a request nor anybody's body.
    visitor
        .send("GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    visitor.finish().await;
    assert_eq!(visitor.recv_end().await.unwrap(), "");
    assert!(
        upstream.recv_end().await.is_err(),
        "half an upload ends with a reset"
    );
}

#[tokio::test(start_paused = true)]
async fn a_truncated_answer_is_never_presented_as_complete() {
    for (version, head, body) in [
        ("1.1", "Content-Length: 10", "part"),
        ("1.1", "Transfer-Encoding: chunked", "4\r\npart\r\n"),
        ("1.1", "Transfer-Encoding: chunked", "8\r\npart"),
        ("1.0", "Transfer-Encoding: chunked", "4\r\npart\r\n0\r\n"),
    ] {
        for reset in [false, true] {
            let bench = Bench::edge("");
            let (mut visitor, mut upstream) = (bench.connect_client(), bench.upstream().await);
            visitor
                .send(format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n"))
                .await;
            upstream.recv_head().await;
            upstream
                .send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}"))
                .await;
            visitor.recv_head().await;
            if !reset {
                upstream.finish().await;
            }
            drop(upstream);
            assert!(
                visitor.recv_end().await.is_err(),
                "HTTP/{version} {head}, reset: {reset}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_until_the_end_that_is_reset_is_cut_too() {
    let bench = Bench::edge("");
    let (mut visitor, mut upstream) = (bench.connect_client(), bench.upstream().await);
    visitor.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    upstream.recv_head().await;
    upstream.send("HTTP/1.1 200 OK\r\n\r\npart").await;
    visitor.recv_head().await;
    drop(upstream);
    assert!(visitor.recv_end().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_cut_upload_resets_the_upstream_and_never_looks_finished() {
    for framing in [
        "Content-Length: 10\r\n\r\npart",
        "Transfer-Encoding: chunked\r\n\r\n4\r\npart\r\n",
    ] {
        let bench = Bench::edge("");
        let (mut visitor, mut upstream) = (bench.connect_client(), bench.upstream().await);
        visitor
            .send(format!("PUT / HTTP/1.1\r\nHost: a\r\n{framing}"))
            .await;
        upstream.recv_head().await;
        visitor.finish().await;
        assert!(upstream.recv_end().await.is_err(), "{framing}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_over_the_limit_is_refused_with_or_without_a_length() {
    for framing in [
        "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n",
    ] {
        let bench = Bench::edge("limits.max_body = 4");
        let (mut visitor, mut upstream) = (bench.connect_client(), bench.upstream().await);
        visitor
            .send(format!("PUT / HTTP/1.1\r\nHost: a\r\n{framing}"))
            .await;
        let head = visitor.recv_head().await;
        assert!(
            head.starts_with("HTTP/1.1 413 ") && head.contains("Connection: close\r\n"),
            "{head}"
        );
        if framing.contains("Expect") {
            assert_eq!(upstream.unread_bytes(), 0, "the upstream never heard of it");
        } else {
            assert!(upstream.recv_end().await.is_err());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_holds_bytes_until_its_flush_is_flushed_before_we_wait() {
    let bench = Bench::edge("");
    let (near, far) = pipe::pair();
    bench
        .lend_to_edge(near.holding_until_flush(64 * 1024).into_stream())
        .await;
    let (held, far_visitor) = pipe::pair();
    bench.serve(held.holding_until_flush(64 * 1024).into_stream());
    let (mut visitor, mut upstream) = (Peer::new(far_visitor), Peer::new(far));
    visitor
        .send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n")
        .await;
    upstream.recv_head().await;
    visitor.send("half").await;
    upstream.recv("half").await;
    visitor.send("rest").await;
    upstream.recv("rest").await;
    upstream
        .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevnt\r\n")
        .await;
    visitor.recv_head().await;
    visitor.recv("4\r\nevnt\r\n").await;
    upstream.send("0\r\n\r\n").await;
    visitor.recv("0\r\n\r\n").await;
}

#[tokio::test(start_paused = true)]
async fn bytes_behind_an_answer_end_the_upstream_connection() {
    let bench = Bench::edge("");
    let (near, far) = pipe::pair_of(4096);
    bench.lend_to_edge(near.into_stream()).await;
    let (mut visitor, mut upstream) = (bench.connect_client(), Peer::new(far));
    visitor.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    upstream.recv_head().await;
    let _ = upstream
        .try_send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 forged\r\n\r\n")
        .await;
    visitor.recv_head().await;
    upstream.wait_until_left().await;
    settle().await;
    assert_eq!(visitor.unread_bytes(), 0);
}

#[tokio::test]
async fn small_chunks_of_an_upload_leave_together_and_not_each_in_a_write_of_its_own() {
    const CHUNKS: usize = 10_000;
    let bench = Bench::edge("");
    let (near, far) = pipe::pair_of(1 << 20);
    let (near, writes) = Recorded::around(near.into_stream());
    bench.lend_to_edge(near).await;
    let (mut visitor, mut upstream) = (bench.connect_client_through(1 << 20), Peer::new(far));
    let chunks = "1\r\nx\r\n".repeat(CHUNKS);
    visitor
        .send(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"
        ))
        .await;
    upstream.recv_head().await;
    upstream.recv(format!("{chunks}0\r\n\r\n")).await;
    let writes = writes.lock().len();
    assert!(
        writes < CHUNKS / 50,
        "{CHUNKS} chunks left in {writes} writes"
    );
}

#[tokio::test(start_paused = true)]
async fn a_small_chunk_of_an_upload_does_not_wait_for_the_next_one() {
    let bench = Bench::edge("");
    let (mut visitor, mut upstream) = (bench.connect_client(), bench.upstream().await);
    visitor
        .send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    upstream.recv_head().await;
    for _ in 0..3 {
        visitor.send("1\r\nx\r\n1\r\ny\r\n").await;
        upstream.recv("1\r\nx\r\n1\r\ny\r\n").await;
    }
}
