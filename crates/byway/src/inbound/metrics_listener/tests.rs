//! The responses of a metrics listener, over a pipe of eight bytes and with a paused clock.

use std::time::Duration;

use byway_testkit::pipe;
use tokio::time::Instant;

use super::super::context::ConnectionInfo;
use super::*;
use crate::testing::{Bench, Peer};

/// A client of the metrics of a node that has an edge as well.
fn connect_client(bench: &Bench) -> Peer {
    let (near, far) = pipe::pair();
    let (accepted, context) = (
        Accepted {
            stream: near.into_stream(),
            info: ConnectionInfo::default(),
        },
        bench.context.clone(),
    );
    let (_, listener) = context.plan().unwrap();
    bench
        .context
        .scope
        .spawn("metrics", serve(accepted, context, listener));
    Peer::new(far)
}

#[tokio::test(start_paused = true)]
async fn requests_on_one_connection_are_served_in_order_with_the_length_of_the_text() {
    let bench = Bench::edge("");
    let mut client = connect_client(&bench);
    for _ in 0..2 {
        client
            .send("GET /metrics HTTP/1.1\r\nHost: m\r\n\r\n")
            .await;
        let head = client.recv_head().await;
        assert!(
            head.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4;"),
            "{head}"
        );
        let length: usize = head
            .split("Content-Length: ")
            .nth(1)
            .unwrap()
            .lines()
            .next()
            .unwrap()
            .parse()
            .unwrap();
        let body = client.converse(b"", length).await;
        assert!(body.starts_with(b"# HELP byway_requests_total ") && body.ends_with(b"\n"));
    }
    client.send("HEAD /healthz HTTP/1.0\r\n\r\n").await;
    assert!(
        client
            .recv_end()
            .await
            .unwrap()
            .ends_with("Connection: close\r\n\r\n")
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_begun_before_the_drain_gets_a_503() {
    let bench = Bench::edge("");
    let mut client = connect_client(&bench);
    client.send("GET /healthz HTTP/1.1\r\nHo").await;
    bench.stop.draining.raise();
    client.send("st: m\r\n\r\n").await;
    let answer = client.recv_end().await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("\r\n\r\ndraining\n"),
        "{answer}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_ends_with_the_drain() {
    let bench = Bench::edge("");
    let mut client = connect_client(&bench);
    client
        .send("GET /healthz HTTP/1.1\r\nHost: m\r\n\r\n")
        .await;
    client.recv_head().await;
    client.recv("ok\n").await;
    bench.stop.draining.raise();
    assert_eq!(client.recv_end().await.unwrap(), "");
}

#[tokio::test(start_paused = true)]
async fn an_incomplete_head_is_a_408_and_silence_gets_no_response() {
    let bench = Bench::edge("limits.head_timeout = \"2s\"\nlimits.keep_alive = \"1s\"");
    let begun = Instant::now();
    let mut slow = connect_client(&bench);
    slow.send("GET /metr").await;
    assert!(slow.recv_end().await.unwrap().starts_with("HTTP/1.1 408 "));
    assert!(begun.elapsed() >= Duration::from_secs(2));
    let mut silent = connect_client(&bench);
    assert_eq!(silent.recv_end().await.unwrap(), "");
}

#[tokio::test(start_paused = true)]
async fn a_body_ends_the_connection_and_another_method_gets_a_405_with_allow() {
    let bench = Bench::edge("");
    let mut client = connect_client(&bench);
    client
        .send("DELETE /metrics HTTP/1.1\r\nHost: m\r\nContent-Length: 1\r\n\r\n")
        .await;
    let answer = client.recv_end().await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 405 ") && answer.contains("\r\nAllow: GET, HEAD\r\n"),
        "{answer}"
    );
}
