//! Each row of the table in `deadline.rs`: which side is waited for, how long, and which side the
//! response names.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::testing::{Bench, Peer};

const EXPECTING: &str =
    "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1000\r\n\r\n";
const UPLOAD: &str = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n";
const BEGUN: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n";

/// Sends one byte per second until the peer has closed.
async fn drip_until_left(peer: &mut Peer) {
    while peer.try_send("x").await.is_ok() {
        sleep(Duration::from_secs(1)).await;
    }
}

/// An upload of which the upstream has read nothing but the head, and which fills every buffer on
/// the path.
async fn held_back(bench: &Bench) -> (Peer, Peer) {
    let (mut client, mut upstream) = (bench.connect_client_through(4096), bench.upstream().await);
    client.send(UPLOAD).await;
    upstream.recv_head().await;
    client.send("x".repeat(4000)).await;
    (client, upstream)
}

#[tokio::test(start_paused = true)]
async fn a_silent_upstream_is_a_504_while_the_client_waits_for_its_100() {
    let bench = Bench::edge("limits.first_byte = \"5s\"\nlimits.body_progress = \"3s\"");
    let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
    client.send(EXPECTING).await;
    upstream.recv_head().await;
    let begun = Instant::now();
    let head = client.recv_head().await;
    assert!(
        head.starts_with("HTTP/1.1 504 ") && head.contains("details=\"first-byte\""),
        "{head}"
    );
    assert_eq!(begun.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn early_hints_are_not_the_100_that_a_client_waits_for() {
    let bench = Bench::edge("limits.first_byte = \"5s\"\nlimits.body_progress = \"2s\"");
    let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
    client.send(EXPECTING).await;
    upstream.recv_head().await;
    upstream.send("HTTP/1.1 103 Early Hints\r\n\r\n").await;
    assert!(client.recv_head().await.starts_with("HTTP/1.1 103 "));
    let head = client.recv_head().await;
    assert!(
        head.starts_with("HTTP/1.1 504 ") && head.contains("details=\"first-byte\""),
        "{head}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_slow_upload_that_has_ended_does_not_cut_the_answer_that_follows() {
    let bench = Bench::edge("limits.body_progress = \"2s\"\nlimits.min_rate = \"1000B/s\"");
    let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
    client
        .send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n0123456789")
        .await;
    upstream.recv_head().await;
    upstream.recv("0123456789").await;
    sleep(Duration::from_millis(1500)).await;
    upstream
        .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        .await;
    assert!(client.recv_head().await.starts_with("HTTP/1.1 200 "));
    sleep(Duration::from_millis(300)).await;
    client.send("0123456789").await;
    upstream.recv("0123456789").await;
    sleep(Duration::from_millis(1900)).await;
    upstream.send("ok").await;
    client.recv("ok").await;
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_never_ends_does_not_cut_the_end_of_an_answer_that_is_read() {
    let bench = Bench::edge("limits.body_progress = \"2s\"\nlimits.min_rate = \"1000B/s\"");
    let (mut client, mut upstream) = (bench.connect_client_through(1024), bench.upstream().await);
    client.send(UPLOAD).await;
    upstream.recv_head().await;
    sleep(Duration::from_millis(1700)).await;
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 30000\r\n\r\n{}",
        "x".repeat(30_000)
    );
    let read = async {
        assert!(client.recv_head().await.starts_with("HTTP/1.1 200 "));
        for _ in 0..30 {
            client.recv("x".repeat(1000)).await;
            sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::join!(upstream.send(answer), read);
}

#[tokio::test(start_paused = true)]
async fn the_body_of_a_client_that_begins_before_the_100_is_waited_for_from_then_on() {
    let bench = Bench::edge("limits.first_byte = \"5s\"\nlimits.body_progress = \"20s\"");
    let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
    client.send(EXPECTING).await;
    upstream.recv_head().await;
    sleep(Duration::from_secs(4)).await;
    client.send("some").await;
    upstream.recv("some").await;
    let begun = Instant::now();
    let head = client.recv_head().await;
    assert!(
        head.starts_with("HTTP/1.1 408 ") && head.contains("details=\"request-body\""),
        "{head}"
    );
    assert!(
        (20..=40).contains(&begun.elapsed().as_secs()),
        "after {:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn the_response_to_a_client_that_began_before_the_100_has_the_whole_deadline() {
    let bench = Bench::edge("limits.first_byte = \"5s\"");
    let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
    client.send(EXPECTING).await;
    upstream.recv_head().await;
    sleep(Duration::from_secs(4)).await;
    tokio::join!(
        client.send("x".repeat(1000)),
        upstream.recv("x".repeat(1000))
    );
    sleep(Duration::from_secs(4)).await;
    upstream
        .send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        .await;
    assert!(client.recv_head().await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test(start_paused = true)]
async fn a_head_that_drips_while_the_upload_is_held_back_ends_by_the_deadline_of_the_head() {
    let bench = Bench::edge("limits.first_byte = \"5s\"\nlimits.min_rate = \"none\"");
    let (mut client, mut upstream) = held_back(&bench).await;
    sleep(Duration::from_secs(20)).await;
    upstream.send("HTTP/1.1 200 OK\r\nX: ").await;
    let begun = Instant::now();
    let (head, ()) = tokio::join!(client.recv_head(), drip_until_left(&mut upstream));
    assert!(
        head.starts_with("HTTP/1.1 504 ") && head.contains("details=\"first-byte\""),
        "{head}"
    );
    assert!(
        (4..=6).contains(&begun.elapsed().as_secs()),
        "after {:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn bytes_of_a_head_are_not_progress_of_an_upload_that_is_held_back() {
    let bench = Bench::edge("limits.first_byte = \"1h\"\nlimits.body_progress = \"10s\"");
    let (mut client, mut upstream) = held_back(&bench).await;
    let begun = Instant::now();
    upstream.send("HTTP/1.1 200 OK\r\nX: ").await;
    let (head, ()) = tokio::join!(client.recv_head(), drip_until_left(&mut upstream));
    assert!(
        head.starts_with("HTTP/1.1 504 ") && head.contains("details=\"request-body\""),
        "{head}"
    );
    assert!(
        (10..=22).contains(&begun.elapsed().as_secs()),
        "after {:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_is_noticed_while_its_upload_is_held_back() {
    let bench = Bench::edge("limits.first_byte = \"30m\"\nlimits.body_progress = \"30m\"");
    let (client, upstream) = held_back(&bench).await;
    let begun = Instant::now();
    drop(client);
    // The upstream must not read: that would let the upload proceed.
    while !upstream.is_closed_by_peer() && begun.elapsed().as_secs() < 10 {
        sleep(Duration::from_millis(100)).await;
    }
    assert!(begun.elapsed().as_secs() < 5, "after {:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_is_noticed_while_the_rest_of_its_answer_is_slow() {
    let bench = Bench::edge("limits.body_progress = \"30m\"");
    let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    upstream.recv_head().await;
    upstream.send(BEGUN).await;
    client.recv_head().await;
    client.recv("2\r\nok\r\n").await;
    let begun = Instant::now();
    drop(client);
    upstream.wait_until_closed().await;
    assert!(begun.elapsed().as_secs() < 5, "after {:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_upload_below_the_minimum_rate_is_ended_although_the_response_has_begun() {
    let bench = Bench::edge("limits.min_rate = \"20B/s\"");
    let (mut client, mut upstream) = (bench.connect_client_through(4096), bench.upstream().await);
    client.send(UPLOAD).await;
    upstream.recv_head().await;
    upstream.send(BEGUN).await;
    client.recv_head().await;
    client.recv("2\r\nok\r\n").await;
    let begun = Instant::now();
    let receiving = async { while upstream.recv_some().await {} };
    tokio::join!(drip_until_left(&mut client), receiving);
    assert!(
        (60..=185).contains(&begun.elapsed().as_secs()),
        "after {:?}",
        begun.elapsed()
    );
    assert_eq!(bench.context.counters().slow_requests.value(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_its_client_has_stopped_does_not_end_a_response_that_continues() {
    let bench = Bench::edge("");
    let (mut client, mut upstream) = (bench.connect_client_through(4096), bench.upstream().await);
    client.send(UPLOAD).await;
    upstream.recv_head().await;
    upstream.send(BEGUN).await;
    client.recv_head().await;
    client.recv("2\r\nok\r\n").await;
    for _ in 0..20 {
        sleep(Duration::from_secs(50)).await;
        upstream.send("1\r\nx\r\n").await;
        client.recv("1\r\nx\r\n").await;
    }
    upstream.send("0\r\n\r\n").await;
    client.recv("0\r\n\r\n").await;
    assert_eq!(bench.context.counters().slow_requests.value(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_an_interim_response_below_the_minimum_rate_is_disconnected() {
    let bench = Bench::edge("limits.min_rate = \"20B/s\"");
    let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    upstream.recv_head().await;
    let begun = Instant::now();
    upstream
        .send(format!(
            "HTTP/1.1 103 Early Hints\r\nLink: <{}>\r\n\r\n",
            "x".repeat(5000)
        ))
        .await;
    let reading = async {
        while bench.context.counters().slow_responses.value() == 0 {
            client.try_recv_some().await.unwrap();
            sleep(Duration::from_secs(1)).await;
        }
    };
    reading.await;
    assert!(
        (60..=75).contains(&begun.elapsed().as_secs()),
        "after {:?}",
        begun.elapsed()
    );
}
