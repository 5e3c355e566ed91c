//! Node's Agent, rows 11 to 22: when a connection is free again.

use crate::memory::{Events, agent, begin, get, get_error, ok, post, text};
use crate::streaming;
use bytes::Bytes;
use byway_agent::{Agent, Body, CloseReason, Error};
use http::Request;
use std::time::Duration;
use tokio::join;

fn counts(agent: &Agent) -> (usize, usize) {
    let stats = agent.stats();
    (stats.totals().active(), stats.totals().idle())
}

#[tokio::test(start_paused = true)]
async fn row_11_a_connection_is_free_when_the_response_is_read_and_the_request_written_and_not_before()
 {
    let (agent, mut origins) = agent(|builder| builder);
    let (body, source) = streaming::channel();
    let request = Request::post("http://a.example/").body(body).unwrap();
    let (response, mut server) = join!(agent.request(request), async {
        let mut server = origins.accept().await;
        server.head().await;
        server.send(ok("early")).await;
        server
    });
    // The response is complete before the request is.
    let mut body = response.unwrap().into_body();
    let data = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(data, "early");
    assert_eq!(counts(&agent), (1, 0));
    source.send(Bytes::from_static(b"late")).await;
    drop(source);
    assert!(body.frame().await.is_none());
    assert_eq!(server.until(b"0\r\n\r\n").await, b"4\r\nlate\r\n0\r\n\r\n");
    assert_eq!(counts(&agent), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn row_11_a_response_that_ends_before_the_request_body_closes_the_connection() {
    let events = Events::default();
    let (agent, mut origins) = agent(|builder| builder.on_event(events.observe()));
    let (body, source) = streaming::channel();
    let request = Request::post("http://a.example/").body(body).unwrap();
    let (answer, server) = join!(async { text(agent.request(request).await).await }, async {
        let mut server = origins.accept().await;
        server.head().await;
        server.send(ok("no need for that")).await;
        server
    });
    assert_eq!(answer, "no need for that");
    server.closed().await;
    events.assert_closed(&[CloseReason::EarlyResponse]);
    drop(source);
}

fn expecting(url: &str) -> Request<Body> {
    Request::post(url)
        .header("expect", "100-continue")
        .body(Body::from("the body"))
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn row_12_a_final_response_instead_of_100_keeps_the_body_back_and_closes_once() {
    let events = Events::default();
    let (agent, mut origins) = agent(|builder| builder.on_event(events.observe()));
    let (status, server) = join!(
        async {
            let response = agent.request(expecting("http://a.example/")).await.unwrap();
            let status = response.status().as_u16();
            text(Ok(response)).await;
            status
        },
        async {
            let mut server = origins.accept().await;
            server.head().await;
            server
                .send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno")
                .await;
            server
        }
    );
    assert_eq!(status, 417);
    server.closed().await; // and no byte of the body was received
    events.assert_closed(&[CloseReason::EarlyResponse]);
    assert_eq!(agent.stats().totals().open(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_100_or_a_second_without_one_releases_the_body() {
    let (agent, mut origins) = agent(|builder| builder);
    let begun = tokio::time::Instant::now();
    let (_, mut server) = join!(
        async { text(agent.request(expecting("http://a.example/")).await).await },
        async {
            let mut server = origins.accept().await;
            server.head().await;
            server.send("HTTP/1.1 100 Continue\r\n\r\n").await;
            assert_eq!(server.exactly(8).await, b"the body");
            assert_eq!(begun.elapsed(), Duration::ZERO);
            server.send(ok("x")).await;
            server
        }
    );
    let (_, ()) = join!(
        async { text(agent.request(expecting("http://a.example/")).await).await },
        async {
            server.head().await;
            assert_eq!(server.exactly(8).await, b"the body");
            assert_eq!(begun.elapsed(), Duration::from_secs(1));
            server.send(ok("x")).await;
        }
    );
    assert_eq!(counts(&agent), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn row_13_a_released_connection_goes_directly_to_the_oldest_waiter() {
    let events = Events::default();
    let (agent, mut origins) =
        agent(|builder| builder.max_per_origin(1).on_event(events.observe()));
    let (.., order) = join!(
        get(&agent, "http://a.example/1"),
        get(&agent, "http://a.example/2"),
        async {
            let mut server = origins.accept().await;
            let first = server.request().await;
            assert_eq!(
                (agent.stats().totals().pending(), counts(&agent)),
                (1, (1, 0))
            );
            server.send(ok("x")).await;
            [
                first.path().to_owned(),
                server.serve("x").await.path().to_owned(),
            ]
        }
    );
    assert_eq!(order, ["/1", "/2"]);
    assert_eq!(
        events.lines(),
        ["opened", "queued", "idle", "reused for request 2", "idle"]
    );
    assert_eq!(agent.stats().totals().pending(), 0);
}

/// Row 14: Node hands a connection over even with keepAlive false, if a request waits. Here false
/// always means one connection for one request, as users expect.
#[tokio::test(start_paused = true)]
async fn row_14_without_keep_alive_each_request_has_its_own_connection() {
    let (agent, mut origins) = agent(|builder| builder.keep_alive(false).max_per_origin(1));
    join!(
        get(&agent, "http://a.example/1"),
        get(&agent, "http://a.example/2"),
        get(&agent, "http://a.example/3"),
        async {
            for _ in 0..3 {
                let mut server = origins.accept().await;
                assert_eq!(server.serve("x").await.field("connection"), Some("close"));
                server.closed().await;
            }
        }
    );
    assert_eq!(agent.stats().counters().reused, 0);
}

#[tokio::test(start_paused = true)]
async fn row_15_of_five_free_connections_the_limit_is_kept() {
    let (agent, mut origins) = agent(|builder| builder.max_idle_per_origin(2));
    let url = "http://a.example/";
    let (.., servers) = join!(
        get(&agent, url),
        get(&agent, url),
        get(&agent, url),
        get(&agent, url),
        get(&agent, url),
        async {
            let mut servers = Vec::new();
            for _ in 0..5 {
                let mut server = origins.accept().await;
                server.request().await;
                servers.push(server);
            }
            for server in &mut servers {
                server.send(ok("x")).await;
            }
            servers
        }
    );
    assert_eq!(counts(&agent), (0, 2));
    let mut servers = servers.into_iter();
    for closed in servers.by_ref().take(3) {
        closed.closed().await;
    }
}

/// Row 16: Node's `keepSocketAlive` can veto. Here the caller vetoes with the request, or evicts.
#[tokio::test(start_paused = true)]
async fn row_16_a_caller_can_close_a_connection_with_a_request_field_or_by_eviction() {
    let events = Events::default();
    let (agent, mut origins) = agent(|builder| builder.on_event(events.observe()));
    let close = Request::get("http://a.example/")
        .header("connection", "close")
        .body(Body::empty())
        .unwrap();
    let (_, ()) = join!(async { text(agent.request(close).await).await }, async {
        let mut server = origins.accept().await;
        assert_eq!(server.serve("x").await.field("connection"), Some("close"));
        server.closed().await;
    });
    let (_, server) = join!(get(&agent, "http://a.example/"), async {
        let mut server = origins.accept().await;
        server.serve("x").await;
        server
    });
    assert_eq!(
        agent.evict(|conn| conn.group().to_string() == "http://b.example:80"),
        0
    );
    assert_eq!(
        agent.evict(|conn| conn.requests() == 1 && conn.remote_addr().is_none()),
        1
    );
    server.closed().await;
    events.assert_closed(&[CloseReason::LastResponse, CloseReason::Evicted]);
}

/// Whether a connection is kept after this response to this method.
async fn is_kept(method: &str, response: &str) -> bool {
    let (agent, mut origins) = agent(|builder| builder);
    let request = Request::builder()
        .method(method)
        .uri("http://a.example/")
        .body(Body::empty())
        .unwrap();
    let ((), ()) = join!(
        async {
            let body = agent.request(request).await.unwrap().into_body();
            body.bytes(100).await.unwrap();
        },
        async {
            let mut server = origins.accept().await;
            server.request().await;
            server.send(response).await;
        }
    );
    agent.stats().totals().idle() == 1
}

#[tokio::test(start_paused = true)]
async fn row_17_a_connection_is_kept_after_self_delimited_responses_without_close() {
    for (kept, method, response) in [
        (
            false,
            "GET",
            "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx",
        ),
        (
            true,
            "GET",
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx",
        ),
        (
            false,
            "GET",
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx",
        ),
        (
            false,
            "GET",
            "HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 1\r\n\r\nx",
        ),
        (false, "GET", "HTTP/1.1 200 OK\r\n\r\nuntil the end"),
        (true, "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        (true, "GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        (
            true,
            "GET",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n",
        ),
        (
            true,
            "HEAD",
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
        ),
        (
            true,
            "HEAD",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
        (
            true,
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        ),
    ] {
        assert_eq!(
            is_kept(method, response).await,
            kept,
            "{method} {response:?}"
        );
    }
}

/// Row 18: Node sends `Connection: keep-alive`, which has been the default of HTTP/1.1 since 1997.
#[tokio::test(start_paused = true)]
async fn row_18_a_connection_field_is_sent_only_if_it_is_needed() {
    let (agent, mut origins) = agent(|builder| builder);
    let (_, received) = join!(get(&agent, "http://a.example/"), async {
        origins.accept().await.serve("x").await
    });
    assert_eq!(received.head, "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
}

#[tokio::test(start_paused = true)]
async fn row_19_the_lease_is_released_with_the_last_frame_and_not_before() {
    let (agent, mut origins) = agent(|builder| builder);
    let (response, mut server) = join!(agent.get("http://a.example/"), async {
        let mut server = origins.accept().await;
        server.request().await;
        server
            .send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
            .await;
        server
    });
    let mut body = response.unwrap().into_body();
    assert_eq!(
        body.frame().await.unwrap().unwrap().into_data().unwrap(),
        "abc"
    );
    assert_eq!(counts(&agent), (1, 0));
    server.send("def").await;
    assert_eq!(counts(&agent), (1, 0));
    assert_eq!(
        body.frame().await.unwrap().unwrap().into_data().unwrap(),
        "def"
    );
    assert_eq!(counts(&agent), (0, 1));
    assert!(body.frame().await.is_none());
}

/// Row 20: in Node a response that is not read holds its connection indefinitely, and the next
/// request waits indefinitely.
#[tokio::test(start_paused = true)]
async fn row_20_an_unread_response_delays_the_next_request_only_up_to_queue_wait() {
    let (agent, mut origins) =
        agent(|builder| builder.max_per_origin(1).queue_wait(Duration::from_secs(2)));
    let (unread, mut server) = join!(agent.get("http://a.example/"), async {
        let mut server = origins.accept().await;
        server.request().await;
        server
            .send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
            .await;
        server
    });
    let error = get_error(&agent, "http://a.example/").await;
    assert!(
        matches!(error, Error::QueueTimeout { waited } if waited == Duration::from_secs(2)),
        "{error}"
    );
    drop(unread);
    server.send("late!").await;
    let (_, ()) = join!(get(&agent, "http://a.example/"), async {
        drop(origins.accept().await.serve("x").await)
    });
}

#[tokio::test(start_paused = true)]
async fn row_21_dropping_a_response_that_was_read_does_not_affect_the_freed_connection() {
    let (agent, mut origins) = agent(|builder| builder);
    let (response, _server) = join!(agent.get("http://a.example/"), async {
        let mut server = origins.accept().await;
        server.serve("abc").await;
        server
    });
    let mut body = response.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    assert_eq!(counts(&agent), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn row_22_dropping_a_partly_read_response_closes_the_connection() {
    let events = Events::default();
    let (agent, mut origins) = agent(|builder| builder.on_event(events.observe()));
    let (response, server) = join!(agent.get("http://a.example/"), async {
        let mut server = origins.accept().await;
        server.request().await;
        server
            .send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
            .await;
        server
    });
    drop(response);
    server.closed().await;
    events.assert_closed(&[CloseReason::Dropped]);
    assert_eq!(agent.stats().totals().open(), 0);
}

/// Skipping what has already arrived costs nothing, and most error bodies have.
#[tokio::test(start_paused = true)]
async fn a_response_that_has_arrived_completely_may_be_dropped_unread() {
    let (agent, mut origins) = agent(|builder| builder);
    for response in [
        ok("whole"),
        "HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n".into(),
    ] {
        let (response, _server) = join!(agent.get("http://a.example/"), async {
            let mut server = origins.accept().await;
            server.request().await;
            server.send(response).await;
            server
        });
        drop(response);
        assert_eq!(counts(&agent), (0, 1));
        agent.close_idle();
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_dropped_before_its_response_closes_its_connection_and_frees_its_permit()
{
    let (agent, mut origins) = agent(|builder| builder.max_total(1));
    let mut waiting = Box::pin(agent.request(post("http://a.example/", "body")));
    begin(waiting.as_mut()).await;
    let mut server = origins.accept().await;
    assert_eq!(server.request().await.body, b"body");
    drop(waiting);
    server.closed().await;
    assert_eq!(agent.stats().totals().open(), 0);
}
