//! 101 is the only way into a tunnel.

use tokio::time::Instant;

use crate::testing::{Bench, settle};

const UPGRADE: &str =
    "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const SWITCHED: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn bytes_behind_an_upgrade_request_wait_for_its_101() {
    let bench = Bench::edge("");
    let (mut visitor, mut upstream) = (bench.visit_through(1024), bench.upstream().await);
    visitor.say(format!("{UPGRADE}early")).await;
    let head = upstream.hear_head().await;
    assert!(
        head.contains("Connection: upgrade\r\nUpgrade: websocket\r\n"),
        "{head}"
    );
    settle().await;
    assert_eq!(upstream.unread_bytes(), 0);
    upstream.say(format!("{SWITCHED}greeting")).await;
    assert!(visitor.hear_head().await.starts_with("HTTP/1.1 101 "));
    visitor.hear("greeting").await;
    upstream.hear("early").await;
    visitor.say("\0\r\n").await;
    upstream.hear("\0\r\n").await;
    upstream.finish().await;
    assert_eq!(visitor.hear_end().await.unwrap(), "");
    visitor.say("still open").await;
    upstream.hear("still open").await;
    visitor.finish().await;
    upstream.wait_until_left().await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_upgrade_is_an_answer_and_no_tunnel() {
    let bench = Bench::edge("");
    let (mut visitor, mut upstream) = (bench.visit(), bench.upstream().await);
    visitor.say(UPGRADE).await;
    upstream.hear_head().await;
    upstream
        .say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno")
        .await;
    visitor.hear_head().await;
    visitor.hear("no").await;
    visitor.say("GET /next HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(upstream.hear_head().await.starts_with("GET /next "));
}

#[tokio::test(start_paused = true)]
async fn a_101_that_nobody_asked_for_is_a_502() {
    for asked in [
        "",
        "Connection: Upgrade\r\nUpgrade: h2c\r\n",
        "Upgrade: websocket\r\n",
    ] {
        let bench = Bench::edge("");
        let (mut visitor, mut upstream) = (bench.visit(), bench.upstream().await);
        visitor
            .say(format!("GET / HTTP/1.1\r\nHost: a\r\n{asked}\r\n"))
            .await;
        assert!(
            !upstream
                .hear_head()
                .await
                .to_ascii_lowercase()
                .contains("upgrade")
        );
        upstream.say(SWITCHED).await;
        let head = visitor.hear_head().await;
        assert!(
            head.starts_with("HTTP/1.1 502 ") && head.contains("unasked-upgrade"),
            "{head}"
        );
        assert!(upstream.hear_end().await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn a_101_before_the_request_was_taken_is_a_502() {
    let bench = Bench::edge("");
    let (mut visitor, mut upstream) = (bench.visit(), bench.upstream().await);
    visitor.say(UPGRADE).await;
    upstream.hear("GET ").await;
    upstream.say(SWITCHED).await;
    assert!(visitor.hear_head().await.starts_with("HTTP/1.1 502 "));
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_that_an_upgrade_opened_at_an_egress_keeps_the_speed_limit() {
    let bench = Bench::egress("stream_limit = \"64KiB/s\"");
    let (mut visitor, mut origin) = (bench.visit_through(4096), bench.origin("a:80").await);
    visitor.say(UPGRADE.replace("/ws", "http://a/ws")).await;
    origin.hear_head().await;
    origin.say(SWITCHED).await;
    visitor.hear_head().await;
    let begun = Instant::now();
    let bytes = vec![b'x'; 640 * 1024];
    let said = async { origin.say(&bytes).await };
    let heard = async { visitor.hear(&bytes).await };
    tokio::join!(said, heard);
    assert!(
        begun.elapsed().as_secs() >= 5,
        "640 KiB came within {:?}",
        begun.elapsed()
    );
}
