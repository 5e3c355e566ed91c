//! The eight bugs of Node's Agent, measured on its versions 20, 22 and 26, and our rule for each.
//! N7 and N8 are with their rows, in `node_idle` and `node_naming`.

use crate::memory::{agent, begin, get, get_error, ok, text};
use byway_agent::{Agent, BuildError, Error, InvalidLimits, Target, connector_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::join;

/// Node: `maxTotalSockets: 1` keeps an idle socket of one origin and opens a second one for
/// another.
#[tokio::test(start_paused = true)]
async fn n1_the_total_is_never_exceeded_an_idle_connection_of_another_origin_makes_room() {
    let (agent, mut origins) = agent(|builder| builder.max_total(1));
    let (_, idle) = join!(get(&agent, "http://a.example/"), async {
        let mut server = origins.accept().await;
        server.serve("x").await;
        server
    });
    let (_, ()) = join!(get(&agent, "http://b.example/"), async {
        let mut server = origins.accept().await;
        idle.closed().await; // before the new one is served
        assert_eq!(agent.stats().totals().open(), 1);
        server.serve("x").await;
    });
}

/// Node: with a total of 2, one busy origin with a queued request, and one free socket, a third
/// origin waits indefinitely.
#[tokio::test(start_paused = true)]
async fn n2_an_origin_at_its_own_limit_does_not_block_another_one() {
    let (agent, mut origins) = agent(|builder| builder.max_total(2).max_per_origin(1));
    let mut busy = Box::pin(agent.get("http://a.example/busy"));
    begin(busy.as_mut()).await;
    let _busy_server = origins.accept().await;
    let mut queued = Box::pin(agent.get("http://a.example/queued"));
    begin(queued.as_mut()).await;
    let (answer, ()) = join!(get(&agent, "http://c.example/"), async {
        drop(origins.accept().await.serve("at once").await)
    });
    assert_eq!(answer, "at once");
    assert_eq!(
        agent
            .stats()
            .group("http://a.example:80")
            .unwrap()
            .pending(),
        1
    );
}

/// Node: the queue survives `destroy()`; its requests dial later and succeed.
#[tokio::test(start_paused = true)]
async fn n3_a_shutdown_serves_the_queue_within_its_deadline_and_fails_the_rest() {
    let (agent, mut origins) = agent(|builder| {
        builder
            .max_per_origin(1)
            .queue_wait(Duration::from_secs(60))
    });
    let begun = tokio::time::Instant::now();
    let (active, queued, too_late, (left, _server)) = join!(
        async { text(agent.get("http://a.example/active").await).await },
        async { text(agent.get("http://a.example/queued").await).await },
        async {
            let stuck = agent.get("http://a.example/stuck");
            let (stuck, too_late) = join!(
                tokio::time::timeout(Duration::from_secs(30), stuck),
                get_error(&agent, "http://a.example/")
            );
            assert!(stuck.is_err(), "no response");
            too_late
        },
        async {
            let mut server = origins.accept().await;
            server.request().await;
            let (left, ()) = join!(agent.shutdown(Duration::from_secs(10)), async {
                assert!(
                    matches!(get_error(&agent, "http://b.example/").await, Error::Closed),
                    "new requests are refused"
                );
                server.send(ok("to its end")).await;
                server.serve("still served").await;
                assert_eq!(server.request().await.path(), "/stuck");
            });
            (left, server)
        }
    );
    assert_eq!(
        (active.as_str(), queued.as_str()),
        ("to its end", "still served")
    );
    assert!(matches!(too_late, Error::Closed), "{too_late}");
    assert!(begun.elapsed() >= Duration::from_secs(10));
    assert_eq!((left, origins.connections()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_without_a_deadline_fails_the_queue_at_once() {
    let (agent, _origins) = agent(|builder| builder.max_per_origin(1));
    let mut active = Box::pin(agent.get("http://a.example/"));
    begin(active.as_mut()).await;
    let (queued, left) = join!(
        get_error(&agent, "http://a.example/"),
        agent.shutdown(Duration::ZERO)
    );
    assert!(matches!(queued, Error::Closed), "{queued}");
    assert_eq!(left, 1);
}

/// Node: an asynchronous `createConnection` does not count while it runs, so four sockets are
/// opened where the limit is one.
#[tokio::test(start_paused = true)]
async fn n4_the_permit_is_taken_before_the_dial_so_slow_dials_count() {
    let (dialling, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (now, seen) = (Arc::clone(&dialling), Arc::clone(&most));
    let connector = connector_fn(move |_: Target| {
        let (now, seen) = (Arc::clone(&now), Arc::clone(&seen));
        async move {
            seen.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(50)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            Err::<tokio::io::DuplexStream, _>("refused")
        }
    });
    let agent = Agent::builder()
        .connector(connector)
        .max_per_origin(1)
        .build()
        .unwrap();
    let url = "http://a.example/";
    join!(
        get_error(&agent, url),
        get_error(&agent, url),
        get_error(&agent, url),
        get_error(&agent, url)
    );
    assert_eq!(
        (most.load(Ordering::SeqCst), dialling.load(Ordering::SeqCst)),
        (1, 0)
    );
}

/// Node: `requests` has no limit, and no time limit.
#[tokio::test(start_paused = true)]
async fn n5_the_queue_has_a_length_limit_and_a_time_limit() {
    let wait = Duration::from_secs(2);
    let (agent, _origins) = agent(|builder| builder.max_total(1).queue_len(1).queue_wait(wait));
    let mut holding = Box::pin(agent.get("http://a.example/"));
    begin(holding.as_mut()).await;
    let (waited, refused) = join!(
        get_error(&agent, "http://a.example/"),
        get_error(&agent, "http://a.example/")
    );
    assert!(
        matches!(waited, Error::QueueTimeout { waited } if waited == wait),
        "{waited}"
    );
    assert!(
        matches!(refused, Error::QueueFull { limit: 1 }),
        "{refused}"
    );
    assert!(
        waited.is_queue() && refused.is_queue() && waited.is_retryable() && refused.is_retryable()
    );
    let counters = agent.stats().counters();
    assert_eq!((counters.queue_full, counters.queue_timeout), (1, 1));
}

/// Node: `maxFreeSockets: 0` means 256.
#[test]
fn n6_zero_idle_connections_is_an_error() {
    let error = Agent::builder().max_idle_per_origin(0).build().unwrap_err();
    assert_eq!(
        error,
        BuildError::Limits(InvalidLimits::Zero {
            option: "max_idle_per_origin"
        })
    );
}
