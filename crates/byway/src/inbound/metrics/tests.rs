//! What a metrics listener answers, over a pipe of eight bytes and with a paused clock.

use std::time::Duration;

use byway_testkit::pipe;
use tokio::time::Instant;

use super::super::listener::ConnectionInfo;
use super::*;
use crate::testing::{Bench, Peer};

/// A visitor of the metrics of a node that has an edge as well.
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
async fn requests_on_one_connection_are_answered_in_turn_and_the_text_has_its_length() {
    let bench = Bench::edge("");
    let mut visitor = connect_client(&bench);
    for _ in 0..2 {
        visitor
            .send("GET /metrics HTTP/1.1\r\nHost: m\r\n\r\n")
            .await;
        let head = visitor.recv_head().await;
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
        let body = visitor.converse(b"", length).await;
        assert!(body.starts_with(b"# HELP byway_requests_total ") && body.ends_with(b"\n"));
    }
    visitor.send("HEAD /healthz HTTP/1.0\r\n\r\n").await;
    assert!(
        visitor
            .recv_end()
            .await
            .unwrap()
            .ends_with("Connection: close\r\n\r\n")
    );
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_leaving_says_so_to_whoever_has_asked_already() {
    let bench = Bench::edge("");
    let mut visitor = connect_client(&bench);
    visitor.send("GET /healthz HTTP/1.1\r\nHo").await;
    bench.stop.draining.raise();
    visitor.send("st: m\r\n\r\n").await;
    let answer = visitor.recv_end().await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("\r\n\r\ndraining\n"),
        "{answer}"
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_is_idle_when_the_node_leaves_is_let_go_of() {
    let bench = Bench::edge("");
    let mut visitor = connect_client(&bench);
    visitor
        .send("GET /healthz HTTP/1.1\r\nHost: m\r\n\r\n")
        .await;
    visitor.recv_head().await;
    visitor.recv("ok\n").await;
    bench.stop.draining.raise();
    assert_eq!(visitor.recv_end().await.unwrap(), "");
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_come_to_its_end_is_a_408_and_silence_is_none() {
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
async fn a_body_ends_the_connection_and_another_method_is_told_the_right_ones() {
    let bench = Bench::edge("");
    let mut visitor = connect_client(&bench);
    visitor
        .send("DELETE /metrics HTTP/1.1\r\nHost: m\r\nContent-Length: 1\r\n\r\n")
        .await;
    let answer = visitor.recv_end().await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 405 ") && answer.contains("\r\nAllow: GET, HEAD\r\n"),
        "{answer}"
    );
}
