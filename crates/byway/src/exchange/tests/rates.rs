//! Slow clients are disconnected, and one that waits for its upstream is not slow.

use std::time::Duration;

use byway_dial::Broken;
use tokio::time::{Instant, sleep};

use crate::testing::{Bench, Peer};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// Sends `bytes` bytes, one per second, while they are taken.
async fn drip(peer: &mut Peer, bytes: usize) -> Result<(), Broken> {
    for _ in 0..bytes {
        peer.try_send("x").await?;
        sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_upload_below_the_minimum_rate_is_a_408_with_its_reason() {
    let bench = Bench::edge("limits.min_rate = \"2B/s\"");
    let (mut client, mut upstream) = (bench.connect_client_through(1024), bench.upstream().await);
    client
        .send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
        .await;
    upstream.recv_head().await;
    let begun = Instant::now();
    let receiving = async { while upstream.recv_some().await {} };
    let dripping = async {
        drip(&mut client, 60).await.unwrap();
        client.recv_head().await
    };
    let ((), head) = tokio::join!(receiving, dripping);
    assert!(
        head.starts_with("HTTP/1.1 408 ") && head.contains("details=\"request-rate\""),
        "{head}"
    );
    assert!(
        (60..=61).contains(&begun.elapsed().as_secs()),
        "after {:?}",
        begun.elapsed()
    );
    assert_eq!(bench.context.counters().slow_requests.value(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_upload_at_the_minimum_rate_may_take_any_time() {
    for least in ["1B/s", "none"] {
        let bench = Bench::edge(&format!("limits.min_rate = \"{least}\""));
        let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
        client
            .send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
            .await;
        upstream.recv_head().await;
        let (dripped, ()) = tokio::join!(drip(&mut client, 1000), upstream.recv("x".repeat(1000)));
        dripped.unwrap();
        upstream
            .send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .await;
        assert!(
            client.recv_head().await.starts_with("HTTP/1.1 200 "),
            "{least}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_below_the_minimum_rate_is_reset() {
    let bench = Bench::edge("limits.min_rate = \"20B/s\"");
    let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
    client.send(GET).await;
    upstream.recv_head().await;
    let begun = Instant::now();
    let answering = async {
        upstream
            .send("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            .await;
        let _ = upstream.try_send("x".repeat(100_000)).await;
    };
    let reading = async {
        client.recv_head().await;
        while client.try_recv_some().await.is_ok() {
            sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::join!(answering, reading);
    assert!(
        (60..=75).contains(&begun.elapsed().as_secs()),
        "after {:?}",
        begun.elapsed()
    );
    assert_eq!(bench.context.counters().slow_responses.value(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_at_the_minimum_rate_gets_everything() {
    let bench = Bench::edge("limits.min_rate = \"7B/s\"");
    let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
    client.send(GET).await;
    upstream.recv_head().await;
    let answering = upstream.send(format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{}",
        "x".repeat(5000)
    ));
    let reading = async {
        client.recv_head().await;
        while client.unread_bytes() > 0 {
            client.try_recv_some().await.unwrap();
            sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::join!(answering, reading);
    assert_eq!(bench.context.counters().slow_responses.value(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_rare_events_is_not_slow() {
    let bench = Bench::edge("limits.min_rate = \"1MiB/s\"");
    let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
    client.send(GET).await;
    upstream.recv_head().await;
    upstream
        .send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 1000\r\n\r\n")
        .await;
    client.recv_head().await;
    for _ in 0..100 {
        sleep(Duration::from_secs(50)).await;
        tokio::join!(upstream.send("data:\n"), client.recv("data:\n"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_waits_for_100_is_not_slow() {
    let bench = Bench::edge("limits.min_rate = \"1B/s\"");
    let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
    client
        .send("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 70\r\n\r\n")
        .await;
    upstream.recv_head().await;
    sleep(Duration::from_secs(55)).await;
    upstream.send("HTTP/1.1 100 Continue\r\n\r\n").await;
    assert!(client.recv_head().await.starts_with("HTTP/1.1 100 "));
    let (dripped, ()) = tokio::join!(drip(&mut client, 70), upstream.recv("x".repeat(70)));
    dripped.unwrap();
    upstream
        .send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        .await;
    assert!(client.recv_head().await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test(start_paused = true)]
async fn a_slow_upstream_does_not_count_against_the_client() {
    let bench = Bench::edge("limits.min_rate = \"1MiB/s\"\nlimits.first_byte = \"1h\"");
    let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody")
        .await;
    upstream.recv_head().await;
    upstream.recv("body").await;
    sleep(Duration::from_secs(3000)).await;
    upstream
        .send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        .await;
    assert!(client.recv_head().await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_may_be_idle() {
    let bench = Bench::edge("limits.min_rate = \"1MiB/s\"");
    let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
    client
        .send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .await;
    upstream.recv_head().await;
    upstream
        .send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        )
        .await;
    client.recv_head().await;
    for _ in 0..3 {
        sleep(Duration::from_secs(1000)).await;
        tokio::join!(client.send("ping"), upstream.recv("ping"));
        tokio::join!(upstream.send("pong"), client.recv("pong"));
    }
}
