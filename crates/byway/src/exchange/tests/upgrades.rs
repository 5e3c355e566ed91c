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
    let (mut visitor, mut upstream) = (bench.connect_client_through(1024), bench.upstream().await);
    visitor.send(format!("{UPGRADE}early")).await;
    let head = upstream.recv_head().await;
    assert!(
        head.contains("Connection: upgrade\r\nUpgrade: websocket\r\n"),
        "{head}"
    );
    settle().await;
    assert_eq!(upstream.unread_bytes(), 0);
    upstream.send(format!("{SWITCHED}greeting")).await;
    assert!(visitor.recv_head().await.starts_with("HTTP/1.1 101 "));
    visitor.recv("greeting").await;
    upstream.recv("early").await;
    visitor.send("\0\r\n").await;
    upstream.recv("\0\r\n").await;
    upstream.finish().await;
    assert_eq!(visitor.recv_end().await.unwrap(), "");
    visitor.send("still open").await;
    upstream.recv("still open").await;
    visitor.finish().await;
    upstream.wait_until_left().await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_upgrade_is_an_answer_and_no_tunnel() {
    let bench = Bench::edge("");
    let (mut visitor, mut upstream) = (bench.connect_client(), bench.upstream().await);
    visitor.send(UPGRADE).await;
    upstream.recv_head().await;
    upstream
        .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno")
        .await;
    visitor.recv_head().await;
    visitor.recv("no").await;
    visitor.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(upstream.recv_head().await.starts_with("GET /next "));
}

#[tokio::test(start_paused = true)]
async fn a_101_that_nobody_asked_for_is_a_502() {
    for exchange in [
        "",
        "Connection: Upgrade\r\nUpgrade: h2c\r\n",
        "Upgrade: websocket\r\n",
    ] {
        let bench = Bench::edge("");
        let (mut visitor, mut upstream) = (bench.connect_client(), bench.upstream().await);
        visitor
            .send(format!("GET / HTTP/1.1\r\nHost: a\r\n{exchange}\r\n"))
            .await;
        assert!(
            !upstream
                .recv_head()
                .await
                .to_ascii_lowercase()
                .contains("upgrade")
        );
        upstream.send(SWITCHED).await;
        let head = visitor.recv_head().await;
        assert!(
            head.starts_with("HTTP/1.1 502 ") && head.contains("unasked-upgrade"),
            "{head}"
        );
        assert!(upstream.recv_end().await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn a_101_before_the_request_was_taken_is_a_502() {
    let bench = Bench::edge("");
    let (mut visitor, mut upstream) = (bench.connect_client(), bench.upstream().await);
    visitor.send(UPGRADE).await;
    upstream.recv("GET ").await;
    upstream.send(SWITCHED).await;
    assert!(visitor.recv_head().await.starts_with("HTTP/1.1 502 "));
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_that_an_upgrade_opened_at_an_egress_keeps_the_speed_limit() {
    let bench = Bench::egress("stream_limit = \"64KiB/s\"");
    let (mut visitor, mut origin) = (
        bench.connect_client_through(4096),
        bench.origin("a:80").await,
    );
    visitor.send(UPGRADE.replace("/ws", "http://a/ws")).await;
    origin.recv_head().await;
    origin.send(SWITCHED).await;
    visitor.recv_head().await;
    let begun = Instant::now();
    let bytes = vec![b'x'; 640 * 1024];
    let said = async { origin.send(&bytes).await };
    let heard = async { visitor.recv(&bytes).await };
    tokio::join!(said, heard);
    assert!(
        begun.elapsed().as_secs() >= 5,
        "640 KiB came within {:?}",
        begun.elapsed()
    );
}
