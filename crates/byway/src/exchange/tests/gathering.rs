//! Gathering: what a request head waits for before a connection is leased for it, and for how long.

use std::time::Duration;

use byway_testkit::pipe;
use tokio::time::{Instant, advance};

use super::recorded::{Recorded, Writes};
use crate::testing::{Bench, Peer, settle};

const KIB: usize = 1024;
const WAIT: Duration = Duration::from_millis(50);
/// The timer works in whole milliseconds.
const TICK: Duration = Duration::from_millis(1);

/// An edge with one upstream connection that takes everything at once. Writes to it are recorded.
async fn edge() -> (Peer, Peer, Writes) {
    let bench = Bench::edge("");
    let (near, far) = pipe::pair_of(1 << 20);
    let (near, writes) = Recorded::around(near.into_stream());
    bench.add_idle_connection(near).await;
    (
        bench.connect_client_through(1 << 20),
        Peer::new(far),
        writes,
    )
}

fn post(framing: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n")
}

/// How long a request head took to arrive, by a clock that moves only while every task waits.
async fn waited(request: &[u8]) -> Duration {
    let (mut client, mut upstream, _) = edge().await;
    let begun = Instant::now();
    client.send(request).await;
    upstream.recv_head().await;
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_short_upload_of_known_length_is_sent_in_one_write_with_its_head() {
    let (mut client, mut upstream, writes) = edge().await;
    let begun = Instant::now();
    client.send(post("Content-Length: 12")).await;
    for piece in ["four", "and ", "more"] {
        settle().await;
        assert_eq!(
            upstream.unread_bytes(),
            0,
            "nothing is sent before the body is complete"
        );
        advance(Duration::from_millis(10)).await;
        client.send(piece).await;
    }
    let head = upstream.recv_head().await;
    upstream.recv("fourand more").await;
    assert_eq!(*writes.lock(), [head.len() + 12]);
    assert!(
        begun.elapsed() < WAIT,
        "it waited for more than its body: {:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_body_that_came_with_its_head_is_not_waited_for() {
    assert_eq!(
        waited(format!("{}body", post("Content-Length: 4")).as_bytes()).await,
        Duration::ZERO
    );
    assert_eq!(
        waited(post("Content-Length: 0").as_bytes()).await,
        Duration::ZERO
    );
}

#[tokio::test(start_paused = true)]
async fn a_head_whose_body_does_not_come_is_sent_after_50_ms() {
    for sent in ["", "half"] {
        let waited = waited(format!("{}{sent}", post("Content-Length: 8")).as_bytes()).await;
        assert!(
            (WAIT..=WAIT + TICK).contains(&waited),
            "{sent:?}: {waited:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_that_arrive_slowly_do_not_hold_a_head_back_for_longer() {
    let (mut client, mut upstream, _) = edge().await;
    client.send(post("Content-Length: 1000")).await;
    for _ in 0..5 {
        settle().await;
        assert_eq!(upstream.unread_bytes(), 0);
        advance(Duration::from_millis(9)).await;
        client.send("x").await;
    }
    settle().await;
    advance(Duration::from_millis(6)).await;
    settle().await;
    assert!(
        upstream.unread_bytes() > 0,
        "the head is held back for 51 ms"
    );
    upstream.recv_head().await;
    upstream.recv("xxxxx").await;
}

#[tokio::test(start_paused = true)]
async fn a_chunked_upload_is_not_held_back() {
    assert_eq!(
        waited(post("Transfer-Encoding: chunked").as_bytes()).await,
        Duration::ZERO
    );
    assert_eq!(
        waited(format!("{}2\r\nab", post("Transfer-Encoding: chunked")).as_bytes()).await,
        Duration::ZERO
    );
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_waits_for_100_continue_is_not_held_back() {
    assert_eq!(
        waited(post("Content-Length: 4\r\nExpect: 100-continue").as_bytes()).await,
        Duration::ZERO
    );
}

#[tokio::test(start_paused = true)]
async fn no_more_than_64_kib_of_a_body_are_waited_for() {
    let with = |bytes: usize| {
        [
            post("Content-Length: 1000000").into_bytes(),
            vec![b'x'; bytes],
        ]
        .concat()
    };
    assert_eq!(waited(&with(64 * KIB)).await, Duration::ZERO);
    let waited = waited(&with(64 * KIB - 1)).await;
    assert!((WAIT..=WAIT + TICK).contains(&waited), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_client_leaves_within_the_body_is_not_passed_on() {
    let (mut client, upstream, writes) = edge().await;
    client.send(post("Content-Length: 8")).await;
    client.send("half").await;
    client.finish().await;
    client.wait_until_closed().await;
    assert!(writes.lock().is_empty() && upstream.unread_bytes() == 0);
}
