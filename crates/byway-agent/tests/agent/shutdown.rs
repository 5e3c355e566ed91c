//! The shutdown of an agent.

use crate::memory::{agent, begin, get, get_error, ok, text};
use byway_agent::Error;
use std::time::Duration;
use tokio::join;

const URL: &str = "http://a.example/";

#[tokio::test(start_paused = true)]
async fn a_shutdown_closes_idle_connections_and_refuses_new_requests() {
    let (agent, mut origins) = agent(|builder| builder);
    let (_, server) = join!(get(&agent, URL), async {
        let mut server = origins.accept().await;
        server.serve("x").await;
        server
    });
    assert_eq!(agent.shutdown(Duration::from_secs(1)).await, 0);
    server.closed().await;
    assert!(matches!(get_error(&agent, URL).await, Error::Closed));
    assert_eq!(agent.shutdown(Duration::from_secs(1)).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_bodies_and_returns_how_many_are_left() {
    let (agent, mut origins) = agent(|builder| builder);
    let (response, mut server) = join!(agent.get(URL), async {
        let mut server = origins.accept().await;
        server.request().await;
        server
            .send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
            .await;
        server
    });
    let response = response.unwrap();
    let begun = tokio::time::Instant::now();
    assert_eq!(agent.shutdown(Duration::from_secs(5)).await, 1);
    assert_eq!(begun.elapsed(), Duration::from_secs(5));
    let totals = agent.stats().totals().clone();
    assert_eq!(
        (totals.draining(), totals.active(), totals.open()),
        (1, 0, 1)
    );
    // It still completes, and the connection is closed after it.
    let (answer, left, ()) = join!(
        async { text(Ok(response)).await },
        agent.shutdown(Duration::from_secs(60)),
        server.send("cd")
    );
    assert_eq!((answer.as_str(), left), ("abcd", 0));
    assert_eq!(begun.elapsed(), Duration::from_secs(5));
    server.closed().await;
}

#[tokio::test(start_paused = true)]
async fn the_last_clone_closes_idle_connections_and_not_a_running_response() {
    let (agent, mut origins) = agent(|builder| builder);
    let ((), (idle, mut busy)) = join!(
        async {
            let (one, two) = join!(get(&agent, URL), agent.get(URL));
            assert_eq!(one, "x");
            drop(agent);
            assert_eq!(text(two).await, "still");
        },
        async {
            let (mut idle, mut busy) = (origins.accept().await, origins.accept().await);
            idle.serve("x").await;
            busy.request().await;
            busy.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nst")
                .await;
            tokio::task::yield_now().await;
            busy.send("ill").await;
            (idle, busy)
        }
    );
    idle.closed().await;
    busy.send("").await;
    busy.closed().await;
}

#[tokio::test(start_paused = true)]
async fn closing_idle_connections_affects_nothing_else() {
    let (agent, mut origins) = agent(|builder| builder);
    let (_, idle) = join!(get(&agent, URL), async {
        let mut server = origins.accept().await;
        server.serve("x").await;
        server
    });
    let mut busy = Box::pin(agent.get("http://b.example/"));
    begin(busy.as_mut()).await;
    assert_eq!(agent.close_idle(), 1);
    idle.closed().await;
    let (answer, ()) = join!(async { text(busy.await).await }, async {
        let mut server = origins.accept().await;
        server.request().await;
        server.send(ok("untouched")).await;
    });
    assert_eq!(answer, "untouched");
    assert_eq!(agent.stats().totals().idle(), 1);
}
