//! Node's Agent, rows 23 to 32: what ends an idle connection, and the origin's hints about that.

use crate::memory::{Events, Server, agent, get, ok};
use byway_agent::{Agent, BadAnswer, CloseReason, Error, Hint};
use std::time::Duration;
use tokio::join;
use tokio::time::{Instant, advance};

const URL: &str = "http://a.example/";

/// An idle connection: one request has been served on it.
async fn idle(agent: &Agent, origins: &mut crate::memory::Origins) -> Server {
    idle_after(agent, origins, &ok("x")).await
}

async fn idle_after(agent: &Agent, origins: &mut crate::memory::Origins, response: &str) -> Server {
    let (_, server) = join!(get(agent, URL), async {
        let mut server = origins.accept().await;
        server.request().await;
        server.send(response).await;
        server
    });
    server
}

#[tokio::test(start_paused = true)]
async fn row_23_a_connection_that_the_origin_closed_while_idle_is_not_used_and_causes_no_error() {
    let events = Events::default();
    let (agent, mut origins) = agent(|builder| builder.on_event(events.observe()));
    drop(idle(&agent, &mut origins).await);
    let (answer, ()) = join!(get(&agent, URL), async {
        drop(origins.accept().await.serve("fresh").await)
    });
    assert_eq!(answer, "fresh");
    events.assert_closed(&[CloseReason::Stale]);
    let counters = agent.stats().counters();
    assert_eq!(
        (
            counters.opened,
            counters.closed,
            counters.stale_closed,
            counters.reused
        ),
        (2, 1, 1, 0)
    );
}

/// The first test of this crate: CVE-2026-48931. Bytes that arrive without a request would be read
/// as the response to the next request, which may be another user's.
#[tokio::test(start_paused = true)]
async fn row_24_any_byte_on_an_idle_connection_ends_it_and_is_never_taken_for_a_response() {
    for poison in [
        "x",
        "\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
    ] {
        let events = Events::default();
        let (agent, mut origins) = agent(|builder| builder.on_event(events.observe()));
        let mut server = idle(&agent, &mut origins).await;
        server.send(poison).await;
        let (answer, ()) = join!(get(&agent, URL), async {
            drop(origins.accept().await.serve("clean").await)
        });
        assert_eq!(answer, "clean");
        server.closed().await;
        events.assert_closed(&[CloseReason::Stale]);
    }
}

#[tokio::test(start_paused = true)]
async fn row_24_bytes_behind_a_response_end_its_connection() {
    let framed = [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nx",
    ];
    for response in framed {
        let events = Events::default();
        let (agent, mut origins) = agent(|builder| builder.on_event(events.observe()));
        idle_after(&agent, &mut origins, response)
            .await
            .closed()
            .await;
        events.assert_closed(&[CloseReason::ExtraBytes]);
    }
    let (agent, mut origins) = agent(|builder| builder);
    idle_after(&agent, &mut origins, "HTTP/1.1 204 No Content\r\n\r\nx")
        .await
        .closed()
        .await;
}

#[tokio::test(start_paused = true)]
async fn row_26_closed_connections_are_skipped_until_one_is_alive() {
    let (agent, mut origins) = agent(|builder| builder);
    let (.., (mut alive, ended)) = join!(get(&agent, URL), get(&agent, URL), async {
        let (mut alive, mut ended) = (origins.accept().await, origins.accept().await);
        alive.serve("x").await;
        tokio::task::yield_now().await;
        ended.serve("x").await;
        (alive, ended)
    });
    drop(ended); // the most recently used, which would be reused first
    let (answer, _) = join!(get(&agent, URL), alive.serve("alive"));
    assert_eq!(answer, "alive");
    assert_eq!(origins.connections(), 2);
}

#[tokio::test(start_paused = true)]
async fn row_27_the_idle_timeout_ends_idle_connections_and_never_one_in_use() {
    let events = Events::default();
    let wait = Duration::from_secs(3);
    let (agent, mut origins) =
        agent(|builder| builder.idle_timeout(wait).on_event(events.observe()));
    let (answer, server) = join!(get(&agent, URL), async {
        let mut server = origins.accept().await;
        server.request().await;
        advance(wait * 5).await; // in use for much longer than the timeout
        server.send(ok("slow")).await;
        server
    });
    assert_eq!(answer, "slow");
    let begun = Instant::now();
    server.closed().await;
    assert_eq!(begun.elapsed(), wait);
    events.assert_closed(&[CloseReason::IdleTimeout]);
}

#[tokio::test(start_paused = true)]
async fn row_28_the_origins_hint_wins_over_the_idle_timeout_in_both_directions() {
    for (hint, seconds) in [("timeout=3", 2), ("timeout=30", 29)] {
        let (agent, mut origins) = agent(|builder| builder.idle_timeout(Duration::from_secs(10)));
        let response =
            format!("HTTP/1.1 200 OK\r\nKeep-Alive: {hint}\r\nContent-Length: 0\r\n\r\n");
        let server = idle_after(&agent, &mut origins, &response).await;
        let begun = Instant::now();
        server.closed().await;
        assert_eq!(begun.elapsed(), Duration::from_secs(seconds), "{hint}");
    }
}

fn hinting(hint: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nKeep-Alive: {hint}\r\nContent-Length: 1\r\n\r\nx")
}

#[tokio::test(start_paused = true)]
async fn row_29_a_hint_is_shortened_by_a_second_and_closes_at_once_if_nothing_is_left() {
    let events = Events::default();
    let (agent, mut origins) = agent(|builder| builder.on_event(events.observe()));
    idle_after(&agent, &mut origins, &hinting("timeout=1"))
        .await
        .closed()
        .await;
    events.assert_closed(&[CloseReason::Hint]);
    let server = idle_after(&agent, &mut origins, &hinting("timeout=2")).await;
    let begun = Instant::now();
    server.closed().await;
    assert_eq!(begun.elapsed(), Duration::from_secs(1));
}

/// Row 30 and N7: Node reads `timeout` only if it comes first, only if the agent has its own
/// timeout, and never reads `max`.
#[tokio::test(start_paused = true)]
async fn row_30_n7_a_hint_is_read_in_any_order_and_max_is_counted() {
    let (agent, mut origins) = agent(|builder| builder.idle_timeout(Duration::from_secs(60)));
    let server = idle_after(&agent, &mut origins, &hinting("max=5, timeout=2")).await;
    let begun = Instant::now();
    server.closed().await;
    assert_eq!(begun.elapsed(), Duration::from_secs(1));

    // The origin announces once that it will take one more request.
    let mut server = idle_after(&agent, &mut origins, &hinting("max=1")).await;
    join!(get(&agent, URL), server.serve("the last"));
    server.closed().await;
}

#[tokio::test(start_paused = true)]
async fn a_hint_can_be_ignored() {
    let (agent, mut origins) = agent(|builder| builder.server_keep_alive(Hint::Ignore));
    let server = idle_after(&agent, &mut origins, &hinting("timeout=1, max=0")).await;
    let begun = Instant::now();
    server.closed().await;
    assert_eq!(begun.elapsed(), Duration::from_secs(4));
}

#[tokio::test(start_paused = true)]
async fn a_lifetime_and_a_number_of_requests_end_a_connection_between_two_requests() {
    let (agent, mut origins) = agent(|builder| builder.max_requests_per_conn(2));
    let mut server = idle(&agent, &mut origins).await;
    join!(get(&agent, URL), server.serve("the last"));
    server.closed().await;

    let lifetime = Duration::from_secs(10);
    let (agent, mut origins) = crate::memory::agent(|builder| builder.max_lifetime(lifetime));
    let mut server = idle(&agent, &mut origins).await;
    for _ in 0..3 {
        advance(Duration::from_secs(3)).await;
        join!(get(&agent, URL), server.serve("x"));
    }
    let (answer, _) = join!(get(&agent, URL), async {
        server.request().await;
        advance(Duration::from_secs(3)).await; // it expires while in use, and is not closed
        server.send(ok("old")).await;
    });
    assert_eq!(answer, "old");
    server.closed().await;
}

#[tokio::test(start_paused = true)]
async fn idle_connections_of_all_origins_together_have_a_limit_and_the_oldest_is_closed() {
    let events = Events::default();
    let (agent, mut origins) =
        agent(|builder| builder.max_idle_total(2).on_event(events.observe()));
    let mut servers = Vec::new();
    for host in ["a", "b", "c"] {
        let url = format!("http://{host}.example/");
        let (_, server) = join!(get(&agent, &url), async {
            let mut server = origins.accept().await;
            server.serve("x").await;
            server
        });
        servers.push(server);
    }
    servers.remove(0).closed().await;
    assert_eq!(agent.stats().totals().idle(), 2);
    events.assert_closed(&[CloseReason::IdleLimit]);
}

#[tokio::test(start_paused = true)]
async fn a_shard_reuses_its_own_connections_and_shares_the_limits() {
    let events = Events::default();
    let (agent, mut origins) =
        agent(|builder| builder.shards(2).max_total(1).on_event(events.observe()));
    let mut server = idle(&agent, &mut origins).await;
    join!(get(&agent, URL), server.serve("its own"));
    let other = agent.shard(1);
    let (answer, ()) = join!(get(&other, URL), async {
        let mut fresh = origins.accept().await;
        server.closed().await;
        fresh.serve("the other's").await;
    });
    assert_eq!(answer, "the other's");
    events.assert_closed(&[CloseReason::Reclaimed]);
    assert_eq!(
        (agent.stats().totals().open(), other.stats().totals().open()),
        (1, 1)
    );
}

/// Row 32: an idle socket must not keep a program alive.
#[test]
fn row_32_an_idle_agent_does_not_keep_a_runtime_alive() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (agent, mut origins) = agent(|builder| builder.idle_timeout(Duration::from_secs(3600)));
    let server = runtime.block_on(idle(&agent, &mut origins));
    assert_eq!(agent.stats().totals().idle(), 1);
    drop(runtime);
    drop((agent, server));
}

/// hyper#4100: a task for idle connections must sleep, and end when there are none.
#[test]
fn the_reaper_sleeps_while_it_waits_and_ends_when_nothing_is_idle() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let metrics = runtime.metrics();
    runtime.block_on(async {
        let (agent, mut origins) = agent(|builder| builder);
        assert_eq!(metrics.num_alive_tasks(), 0, "nothing is idle yet");
        let server = idle(&agent, &mut origins).await;
        assert_eq!(metrics.num_alive_tasks(), 1);
        server.closed().await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(metrics.num_alive_tasks(), 0, "nothing is idle");
        // It starts again with the next idle connection.
        let server = idle(&agent, &mut origins).await;
        assert_eq!(metrics.num_alive_tasks(), 1);
        drop(agent);
        server.closed().await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(metrics.num_alive_tasks(), 0, "the agent was dropped");
    });
}

#[tokio::test(start_paused = true)]
async fn a_malformed_response_ends_the_request_and_the_connection() {
    let events = Events::default();
    let (agent, mut origins) = agent(|builder| builder.on_event(events.observe()));
    let (response, server) = join!(agent.get(URL), async {
        let mut server = origins.accept().await;
        server.request().await;
        server.send("HTTP/1.1 2OO OK\r\n\r\n").await;
        server
    });
    let error = response.map(|_| ()).unwrap_err();
    assert!(
        matches!(error, Error::Malformed(BadAnswer::Codec(_))),
        "{error}"
    );
    assert!(!error.is_retryable());
    server.closed().await;
    events.assert_closed(&[CloseReason::Failed]);
}
