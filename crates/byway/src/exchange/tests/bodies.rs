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
    let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
    let (up, down) = (pattern(BYTES), pattern(BYTES + 1));
    client
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
        client.recv_head().await.contains("Connection: close\r\n"),
        "the response came before the request had ended"
    );
    let (at_client, at_upstream) = tokio::join!(
        client.converse(&up, BYTES + 1),
        upstream.converse(&down, BYTES)
    );
    assert!(at_client == down && at_upstream == up);
    assert_eq!(client.recv_end().await.unwrap(), "");
}

#[tokio::test(start_paused = true)]
async fn an_early_answer_ends_with_the_connection_and_not_with_the_rest_of_the_request() {
    let bench = Bench::edge("");
    let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nsome")
        .await;
    upstream.recv_head().await;
    upstream.recv("some").await;
    upstream
        .send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
        .await;
    assert!(client.recv_head().await.contains("Connection: close\r\n"));
    // What follows is neither a request nor part of a body.
    client
        .send("GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    client.finish().await;
    assert_eq!(client.recv_end().await.unwrap(), "");
    assert!(
        upstream.recv_end().await.is_err(),
        "an incomplete upload ends with a reset"
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
            let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
            client
                .send(format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n"))
                .await;
            upstream.recv_head().await;
            upstream
                .send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}"))
                .await;
            client.recv_head().await;
            if !reset {
                upstream.finish().await;
            }
            drop(upstream);
            assert!(
                client.recv_end().await.is_err(),
                "HTTP/{version} {head}, reset: {reset}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_until_close_that_is_reset_is_cut_too() {
    let bench = Bench::edge("");
    let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    upstream.recv_head().await;
    upstream.send("HTTP/1.1 200 OK\r\n\r\npart").await;
    client.recv_head().await;
    drop(upstream);
    assert!(client.recv_end().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_cut_upload_resets_the_upstream_and_never_looks_finished() {
    for framing in [
        "Content-Length: 10\r\n\r\npart",
        "Transfer-Encoding: chunked\r\n\r\n4\r\npart\r\n",
    ] {
        let bench = Bench::edge("");
        let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
        client
            .send(format!("PUT / HTTP/1.1\r\nHost: a\r\n{framing}"))
            .await;
        upstream.recv_head().await;
        client.finish().await;
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
        let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
        client
            .send(format!("PUT / HTTP/1.1\r\nHost: a\r\n{framing}"))
            .await;
        let head = client.recv_head().await;
        assert!(
            head.starts_with("HTTP/1.1 413 ") && head.contains("Connection: close\r\n"),
            "{head}"
        );
        if framing.contains("Expect") {
            assert_eq!(upstream.unread_bytes(), 0, "the upstream received nothing");
        } else {
            assert!(upstream.recv_end().await.is_err());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_holds_bytes_until_its_flush_is_flushed_before_waiting() {
    let bench = Bench::edge("");
    let (near, far) = pipe::pair();
    bench
        .add_idle_connection(near.holding_until_flush(64 * 1024).into_stream())
        .await;
    let (held, far_client) = pipe::pair();
    bench.serve(held.holding_until_flush(64 * 1024).into_stream());
    let (mut client, mut upstream) = (Peer::new(far_client), Peer::new(far));
    client
        .send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n")
        .await;
    upstream.recv_head().await;
    client.send("half").await;
    upstream.recv("half").await;
    client.send("rest").await;
    upstream.recv("rest").await;
    upstream
        .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevnt\r\n")
        .await;
    client.recv_head().await;
    client.recv("4\r\nevnt\r\n").await;
    upstream.send("0\r\n\r\n").await;
    client.recv("0\r\n\r\n").await;
}

#[tokio::test(start_paused = true)]
async fn bytes_after_a_response_end_the_upstream_connection() {
    let bench = Bench::edge("");
    let (near, far) = pipe::pair_of(4096);
    bench.add_idle_connection(near.into_stream()).await;
    let (mut client, mut upstream) = (bench.connect_client(), Peer::new(far));
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    upstream.recv_head().await;
    let _ = upstream
        .try_send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 forged\r\n\r\n")
        .await;
    client.recv_head().await;
    upstream.wait_until_closed().await;
    settle().await;
    assert_eq!(client.unread_bytes(), 0);
}

#[tokio::test]
async fn small_chunks_of_an_upload_share_writes() {
    const CHUNKS: usize = 10_000;
    let bench = Bench::edge("");
    let (near, far) = pipe::pair_of(1 << 20);
    let (near, writes) = Recorded::around(near.into_stream());
    bench.add_idle_connection(near).await;
    let (mut client, mut upstream) = (bench.connect_client_through(1 << 20), Peer::new(far));
    let chunks = "1\r\nx\r\n".repeat(CHUNKS);
    client
        .send(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"
        ))
        .await;
    upstream.recv_head().await;
    upstream.recv(format!("{chunks}0\r\n\r\n")).await;
    let writes = writes.lock().len();
    assert!(
        writes < CHUNKS / 50,
        "{CHUNKS} chunks were sent in {writes} writes"
    );
}

#[tokio::test(start_paused = true)]
async fn a_small_chunk_of_an_upload_does_not_wait_for_the_next_one() {
    let bench = Bench::edge("");
    let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    upstream.recv_head().await;
    for _ in 0..3 {
        client.send("1\r\nx\r\n1\r\ny\r\n").await;
        upstream.recv("1\r\nx\r\n1\r\ny\r\n").await;
    }
}
