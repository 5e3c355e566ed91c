//! 101 is the only way into a tunnel.

use tokio::time::Instant;

use crate::testing::{Bench, settle};

const UPGRADE: &str =
    "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const SWITCHED: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn bytes_after_an_upgrade_request_wait_for_its_101() {
    let bench = Bench::edge("");
    let (mut client, mut upstream) = (bench.connect_client_through(1024), bench.upstream().await);
    client.send(format!("{UPGRADE}early")).await;
    let head = upstream.recv_head().await;
    assert!(
        head.contains("Connection: upgrade\r\nUpgrade: websocket\r\n"),
        "{head}"
    );
    settle().await;
    assert_eq!(upstream.unread_bytes(), 0);
    upstream.send(format!("{SWITCHED}greeting")).await;
    assert!(client.recv_head().await.starts_with("HTTP/1.1 101 "));
    client.recv("greeting").await;
    upstream.recv("early").await;
    client.send("\0\r\n").await;
    upstream.recv("\0\r\n").await;
    upstream.finish().await;
    assert_eq!(client.recv_end().await.unwrap(), "");
    client.send("still open").await;
    upstream.recv("still open").await;
    client.finish().await;
    upstream.wait_until_closed().await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_upgrade_is_a_response_and_no_tunnel() {
    let bench = Bench::edge("");
    let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
    client.send(UPGRADE).await;
    upstream.recv_head().await;
    upstream
        .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno")
        .await;
    client.recv_head().await;
    client.recv("no").await;
    client.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(upstream.recv_head().await.starts_with("GET /next "));
}

#[tokio::test(start_paused = true)]
async fn an_unrequested_101_is_a_502() {
    for exchange in [
        "",
        "Connection: Upgrade\r\nUpgrade: h2c\r\n",
        "Upgrade: websocket\r\n",
    ] {
        let bench = Bench::edge("");
        let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
        client
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
        let head = client.recv_head().await;
        assert!(
            head.starts_with("HTTP/1.1 502 ") && head.contains("unasked-upgrade"),
            "{head}"
        );
        assert!(upstream.recv_end().await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn a_101_before_the_request_was_read_is_a_502() {
    let bench = Bench::edge("");
    let (mut client, mut upstream) = (bench.connect_client(), bench.upstream().await);
    client.send(UPGRADE).await;
    upstream.recv("GET ").await;
    upstream.send(SWITCHED).await;
    assert!(client.recv_head().await.starts_with("HTTP/1.1 502 "));
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_that_an_upgrade_opened_at_an_egress_keeps_the_speed_limit() {
    let bench = Bench::egress("stream_limit = \"64KiB/s\"");
    let (mut client, mut origin) = (
        bench.connect_client_through(4096),
        bench.origin("a:80").await,
    );
    client.send(UPGRADE.replace("/ws", "http://a/ws")).await;
    origin.recv_head().await;
    origin.send(SWITCHED).await;
    client.recv_head().await;
    let begun = Instant::now();
    let bytes = vec![b'x'; 640 * 1024];
    let sending = async { origin.send(&bytes).await };
    let receiving = async { client.recv(&bytes).await };
    tokio::join!(sending, receiving);
    assert!(
        begun.elapsed().as_secs() >= 5,
        "640 KiB came within {:?}",
        begun.elapsed()
    );
}
