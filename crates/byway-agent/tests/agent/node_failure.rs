//! Node's Agent, rows 33 to 43: failures, cancelled requests, and what remains of them.

use crate::memory::{Events, agent, begin, get, get_error, ok, text};
use byway_agent::{Agent, Body, CloseReason, Error, Target, connector_fn};
use http::Request;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::DuplexStream;
use tokio::join;

const URL: &str = "http://a.example/";

#[tokio::test(start_paused = true)]
async fn row_33_when_a_connection_closes_the_head_of_the_queue_gets_a_new_one_and_only_the_head() {
    let (agent, mut origins) = agent(|builder| builder.max_per_origin(1));
    join!(
        get(&agent, "http://a.example/1"),
        get(&agent, "http://a.example/2"),
        get(&agent, "http://a.example/3"),
        async {
            for path in ["/1", "/2", "/3"] {
                let mut server = origins.accept().await;
                assert_eq!(server.request().await.path(), path);
                assert_eq!(agent.stats().totals().open(), 1);
                server
                    .send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx")
                    .await;
                server.closed().await;
            }
        }
    );
    assert_eq!(origins.connections(), 3);
}

/// An agent whose dials fail, and the number of dials.
fn refusing(max: usize) -> (Agent, Arc<AtomicUsize>) {
    let dials = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&dials);
    let connector = connector_fn(move |_: Target| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { Err::<DuplexStream, _>(io::Error::from(io::ErrorKind::ConnectionRefused)) }
    });
    (
        Agent::builder()
            .connector(connector)
            .max_per_origin(max)
            .build()
            .unwrap(),
        dials,
    )
}

#[tokio::test(start_paused = true)]
async fn row_34_each_of_three_requests_has_its_own_error_and_nothing_hangs() {
    let (agent, dials) = refusing(1);
    let (one, two, three) = join!(
        get_error(&agent, URL),
        get_error(&agent, URL),
        get_error(&agent, URL)
    );
    for error in [one, two, three] {
        assert!(matches!(&error, Error::Connect { .. }), "{error}");
        assert!(error.is_retryable());
    }
    assert_eq!(dials.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn row_35_a_connectors_error_reaches_the_request_and_leaves_nothing_behind() {
    let (agent, _) = refusing(1);
    let error = get_error(&agent, URL).await;
    assert_eq!(
        error.to_string(),
        "no connection to a.example:80: connection refused"
    );
    let stats = agent.stats();
    assert_eq!(
        (
            stats.totals().open(),
            stats.totals().pending(),
            stats.groups().len()
        ),
        (0, 0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_silent_connector_fails_after_the_connect_timeout() {
    let connector = connector_fn(|_: Target| std::future::pending::<io::Result<DuplexStream>>());
    let agent = Agent::builder()
        .connector(connector)
        .connect_timeout(Duration::from_secs(3))
        .build()
        .unwrap();
    let begun = tokio::time::Instant::now();
    let error = get_error(&agent, URL).await;
    assert_eq!(
        error.to_string(),
        "no connection was opened within 3s (connect_timeout)"
    );
    assert!(error.is_retryable() && error.is_timeout());
    assert_eq!(begun.elapsed(), Duration::from_secs(3));
    assert_eq!(agent.stats().totals().open(), 0);
}

#[tokio::test(start_paused = true)]
async fn row_36_a_request_dropped_in_the_queue_never_reaches_the_origin_and_harms_no_connection() {
    let (agent, mut origins) = agent(|builder| builder.max_per_origin(1));
    let mut first = Box::pin(agent.get("http://a.example/1"));
    begin(first.as_mut()).await;
    let mut given_up = Box::pin(agent.get("http://a.example/given-up"));
    begin(given_up.as_mut()).await;
    let mut last = Box::pin(agent.get("http://a.example/last"));
    begin(last.as_mut()).await;
    drop(given_up);
    let (.., paths) = join!(
        async { text(first.await).await },
        async { text(last.await).await },
        async {
            let mut server = origins.accept().await;
            [
                server.serve("x").await.path().to_owned(),
                server.serve("x").await.path().to_owned(),
            ]
        }
    );
    assert_eq!(paths, ["/1", "/last"]);
    assert_eq!(origins.connections(), 1);
}

/// Row 37: Node keeps a cancelled request in `requests` until a socket is free.
#[tokio::test(start_paused = true)]
async fn row_37_a_request_dropped_in_the_queue_leaves_it_at_once() {
    let (agent, _origins) = agent(|builder| builder.max_per_origin(1));
    let mut holding = Box::pin(agent.get(URL));
    begin(holding.as_mut()).await;
    let mut queued = Box::pin(agent.get(URL));
    begin(queued.as_mut()).await;
    assert_eq!(agent.stats().totals().pending(), 1);
    assert!(agent.stats().totals().oldest_wait().is_some());
    drop(queued);
    assert_eq!(agent.stats().totals().pending(), 0);
    assert!(agent.stats().totals().oldest_wait().is_none());
}

/// Rows 25 and 38: in some versions of Node a dial outlives its request and may become free. Here
/// it belongs to the request.
#[tokio::test(start_paused = true)]
async fn row_38_a_request_dropped_during_its_dial_drops_the_dial_and_frees_its_permit() {
    let connector = connector_fn(|_: Target| std::future::pending::<io::Result<DuplexStream>>());
    let agent = Agent::builder()
        .connector(connector)
        .max_total(1)
        .build()
        .unwrap();
    let mut dialling = Box::pin(agent.get(URL));
    begin(dialling.as_mut()).await;
    assert_eq!(agent.stats().totals().connecting(), 1);
    drop(dialling);
    assert_eq!(agent.stats().totals().open(), 0);
}

#[tokio::test(start_paused = true)]
async fn row_39_a_request_that_is_never_polled_does_nothing() {
    let (agent, origins) = agent(|builder| builder);
    drop(agent.get(URL));
    assert_eq!(origins.connections(), 0);
    assert_eq!(agent.shutdown(Duration::from_secs(1)).await, 0);
}

/// Row 40: thirty requests with different outcomes over four connections.
#[tokio::test(start_paused = true)]
async fn row_40_in_a_mix_of_thirty_every_request_ends_exactly_once() {
    let (agent, mut origins) = agent(|builder| {
        builder
            .max_per_origin(4)
            .queue_wait(Duration::from_secs(600))
            .first_byte_timeout(Duration::from_secs(1))
    });
    let urls: Vec<_> = (0..30).map(|n| format!("http://a.example/{n}")).collect();
    let served = async {
        // The connections alternate: respond; stay silent; respond and close; end in the middle.
        let (mut number, mut tasks) = (0, tokio::task::JoinSet::new());
        loop {
            let mut server = origins.accept().await;
            number += 1;
            let fate = number % 4;
            tasks.spawn(async move {
                server.request().await;
                match fate {
                    0 => server.send(ok("x")).await,
                    1 => server.closed().await, // waits for the agent's timeout
                    2 => server
                        .send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx")
                        .await,
                    _ => {
                        server
                            .send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx")
                            .await
                    }
                }
            });
        }
    };
    let mut requests = tokio::task::JoinSet::new();
    for url in urls {
        let agent = agent.clone();
        requests.spawn(async move {
            match agent.get(url).await {
                Ok(response) => response.into_body().text().await.map(|_| ()),
                Err(error) => Err(error),
            }
        });
    }
    let ended = async { requests.join_all().await };
    let ended = tokio::select! {
        ended = ended => ended,
        () = served => unreachable!(),
    };
    let count = |which: fn(&Error) -> bool| {
        ended
            .iter()
            .filter(|end| end.as_ref().is_err_and(which))
            .count()
    };
    let timeouts = count(|error| matches!(error, Error::Timeout { .. }));
    let lost = count(|error| {
        matches!(
            error,
            Error::ConnectionLost {
                bytes_read: 1..,
                ..
            }
        )
    });
    let ok = ended.iter().filter(|end| end.is_ok()).count();
    assert_eq!((ok + timeouts + lost, ended.len()), (30, 30));
    assert!(ok > 0 && timeouts > 0 && lost > 0, "{ok} {timeouts} {lost}");
    assert_eq!(agent.stats().totals().active(), 0);
}

#[tokio::test(start_paused = true)]
async fn row_43_origins_leave_nothing_behind() {
    let (agent, mut origins) = agent(|builder| builder.max_total(10).max_per_origin(1));
    for n in 0..1000 {
        let url = format!("http://host-{n}.example/");
        let (_, _server) = join!(get(&agent, &url), async {
            let mut server = origins.accept().await;
            server.serve("x").await;
            server
        });
        assert!(agent.stats().groups().len() <= 10);
    }
    agent.close_idle();
    assert_eq!(agent.stats().groups().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_truncated_body_is_an_error_and_never_a_short_success() {
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n",
    ] {
        let events = Events::default();
        let (agent, mut origins) = agent(|builder| builder.on_event(events.observe()));
        let (error, ()) = join!(
            async {
                agent
                    .get(URL)
                    .await
                    .unwrap()
                    .into_body()
                    .text()
                    .await
                    .unwrap_err()
            },
            async {
                let mut server = origins.accept().await;
                server.request().await;
                server.send(response).await;
            }
        );
        assert!(
            matches!(
                error,
                Error::ConnectionLost {
                    reused: false,
                    bytes_read: 1..,
                    source: None,
                    ..
                }
            ),
            "{error}"
        );
        assert!(!error.is_retryable());
        events.assert_closed(&[CloseReason::Failed]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_origin_fails_after_the_first_byte_timeout_and_a_slow_one_does_not() {
    let limit = Duration::from_secs(5);
    let (agent, mut origins) = agent(|builder| builder.first_byte_timeout(limit));
    let begun = tokio::time::Instant::now();
    let (error, server) = join!(get_error(&agent, URL), async {
        let mut server = origins.accept().await;
        server.request().await;
        server.send("HTTP/1.1 200 OK\r\n").await; // a partial head
        server
    });
    assert_eq!(
        error.to_string(),
        "the origin sent no response within 5s (first_byte_timeout)"
    );
    assert!(!error.is_retryable());
    assert_eq!(begun.elapsed(), limit);
    server.closed().await;
    // An interim response restarts the timeout.
    let (answer, ()) = join!(get(&agent, URL), async {
        let mut server = origins.accept().await;
        server.request().await;
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(4)).await;
            server.send("HTTP/1.1 102 Processing\r\n\r\n").await;
        }
        tokio::time::sleep(Duration::from_secs(4)).await;
        server.send(ok("slow")).await;
    });
    assert_eq!(answer, "slow");
}

#[tokio::test(start_paused = true)]
async fn a_failing_request_body_is_the_requests_error_and_closes_the_connection() {
    let (agent, mut origins) = agent(|builder| builder);
    let request = Request::post(URL).body(Failing).unwrap();
    let (error, server) = join!(agent.request(request), origins.accept());
    assert_eq!(
        error
            .map(|_: http::Response<Body>| ())
            .unwrap_err()
            .to_string(),
        "the request's body failed: disk gone"
    );
    server.closed().await; // nothing was sent
}

/// A body that fails at once.
struct Failing;

impl http_body::Body for Failing {
    type Data = bytes::Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<http_body::Frame<bytes::Bytes>>>> {
        Poll::Ready(Some(Err(io::Error::other("disk gone"))))
    }
}
