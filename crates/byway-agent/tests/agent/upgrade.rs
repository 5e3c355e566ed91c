//! Connections that leave HTTP (rows 41 and 42 of Node's Agent).

use crate::memory::{Events, agent, get, get_error, ok, soon};
use byway_agent::{BadAnswer, Body, Error, Upgraded};
use http::{Method, Request, Response};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::join;

const SWITCHING: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";

fn upgrading() -> Request<Body> {
    let request = Request::get("http://a.example/chat")
        .header("connection", "Upgrade")
        .header("upgrade", "echo");
    request.body(Body::empty()).unwrap()
}

async fn take(response: Result<Response<Body>, Error>) -> Upgraded {
    response
        .unwrap()
        .into_body()
        .upgraded()
        .expect("an upgraded connection")
}

#[tokio::test(start_paused = true)]
async fn row_41_an_upgraded_connection_leaves_the_pool_with_the_bytes_after_its_head() {
    let events = Events::default();
    let (agent, mut origins) = agent(|builder| {
        builder
            .max_total(1)
            .queue_wait(Duration::from_secs(1))
            .on_event(events.observe())
    });
    let (mut upgraded, mut server) = join!(
        async { take(agent.request(upgrading()).await).await },
        async {
            let mut server = origins.accept().await;
            let received = server.request().await;
            assert_eq!(
                (received.field("connection"), received.field("upgrade")),
                (Some("Upgrade"), Some("echo"))
            );
            server.send(format!("{SWITCHING}directly after")).await;
            server
        }
    );
    let mut received = [0; 14];
    upgraded.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"directly after");
    upgraded.write_all(b"over to you").await.unwrap();
    assert_eq!(server.exactly(11).await, b"over to you");
    server.send("bye").await;
    upgraded.read_exact(&mut received[..3]).await.unwrap();
    assert_eq!(&received[..3], b"bye");

    // It counts, and is neither reused nor closed for another request.
    let totals = agent.stats().totals().clone();
    assert_eq!(
        (
            totals.upgraded(),
            totals.active(),
            totals.idle(),
            totals.open()
        ),
        (1, 0, 0, 1)
    );
    assert!(matches!(
        get_error(&agent, "http://b.example/").await,
        Error::QueueTimeout { .. }
    ));
    upgraded.shutdown().await.unwrap();
    server.closed().await;
    drop(upgraded);
    assert_eq!(agent.stats().totals().open(), 0);
    assert_eq!(
        events.lines()[..2],
        ["opened", "upgraded"].map(str::to_owned)
    );
}

/// As in Node: `totalSocketCount` decreases at the 101.
#[tokio::test(start_paused = true)]
async fn row_41_upgraded_connections_count_or_not_according_to_the_option() {
    let (agent, mut origins) = agent(|builder| builder.max_total(1).count_upgraded(false));
    let (_upgraded, _server) = join!(
        async { take(agent.request(upgrading()).await).await },
        async {
            let mut server = origins.accept().await;
            server.request().await;
            server.send(SWITCHING).await;
            server
        }
    );
    assert_eq!(agent.stats().totals().open(), 0);
    let (answer, ()) = join!(get(&agent, "http://b.example/"), async {
        drop(origins.accept().await.serve("room").await)
    });
    assert_eq!(answer, "room");
}

#[tokio::test(start_paused = true)]
async fn row_42_a_connection_can_be_detached_and_its_permit_freed_later() {
    let (agent, mut origins) = agent(|builder| builder);
    let (upgraded, mut server) = join!(
        async { take(agent.request(upgrading()).await).await },
        async {
            let mut server = origins.accept().await;
            server.request().await;
            server.send(format!("{SWITCHING}first")).await;
            server
        }
    );
    let (mut stream, unread, permit) = upgraded.into_parts();
    assert_eq!(unread, "first");
    assert_eq!(agent.stats().totals().upgraded(), 1);
    drop(permit);
    assert_eq!(agent.stats().totals().upgraded(), 0);
    stream.write_all(b"still there").await.unwrap();
    assert_eq!(server.exactly(11).await, b"still there");
}

#[tokio::test(start_paused = true)]
async fn another_response_than_101_is_an_ordinary_response() {
    let (agent, mut origins) = agent(|builder| builder);
    let (response, mut server) = join!(agent.request(upgrading()), async {
        let mut server = origins.accept().await;
        server.request().await;
        server.send(ok("no")).await;
        server
    });
    assert_eq!(response.unwrap().into_body().text().await.unwrap(), "no");
    join!(get(&agent, "http://a.example/"), server.serve("kept"));
}

#[tokio::test(start_paused = true)]
async fn an_unrequested_101_is_refused() {
    let (agent, mut origins) = agent(|builder| builder);
    let (error, server) = join!(get_error(&agent, "http://a.example/"), async {
        let mut server = origins.accept().await;
        server.request().await;
        server.send(SWITCHING).await;
        server
    });
    assert!(
        matches!(error, Error::Malformed(BadAnswer::UnaskedUpgrade)),
        "{error}"
    );
    server.closed().await;
}

fn connecting() -> Request<Body> {
    Request::builder()
        .method(Method::CONNECT)
        .uri("far.example:22")
        .body(Body::empty())
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_2xx_to_connect_is_a_tunnel_and_anything_else_is_not() {
    let (agent, mut origins) = agent(|builder| builder);
    let (mut tunnel, mut server) = join!(
        async { take(agent.request(connecting()).await).await },
        async {
            let mut server = origins.accept().await;
            let received = server.request().await;
            assert_eq!(received.line(), "CONNECT far.example:22 HTTP/1.1");
            // A Content-Length has no meaning here (RFC 9110 section 9.3.6).
            server
                .send("HTTP/1.1 200 Connected\r\nContent-Length: 5\r\n\r\nSSH-2.0\r\n")
                .await;
            server
        }
    );
    let mut banner = [0; 9];
    soon("the banner", tunnel.read_exact(&mut banner))
        .await
        .unwrap();
    assert_eq!(&banner, b"SSH-2.0\r\n");
    drop(tunnel);
    server.send("").await;

    let (response, _server) = join!(agent.request(connecting()), async {
        let mut server = origins.accept().await;
        server.request().await;
        server
            .send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
            .await;
        server
    });
    let body = response.unwrap().into_body();
    assert_eq!(body.text().await.unwrap(), "no");
    assert_eq!(agent.stats().totals().idle(), 1);
}
