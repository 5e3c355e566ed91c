//! Retries: only on a reused connection that returned no byte, only if it is safe, and only once.

use crate::memory::{Events, Origins, Server, agent, get, post, text};
use crate::streaming;
use bytes::Bytes;
use byway_agent::{Agent, Body, Error, Retry};
use http::Request;
use tokio::join;

const URL: &str = "http://a.example/";

/// An idle connection whose origin will close it when the next request arrives.
async fn idle(agent: &Agent, origins: &mut Origins) -> Server {
    let (_, server) = join!(get(agent, URL), async {
        let mut server = origins.accept().await;
        server.serve("x").await;
        server
    });
    server
}

/// Sends `request` on a reused connection that is closed when the request arrives; a retry is
/// served by `fresh`.
async fn on_stale<B>(
    events: &Events,
    retry: Retry,
    request: Request<B>,
) -> Result<(String, Vec<u8>), Error>
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<byway_agent::BoxError>,
{
    let (agent, mut origins) = agent(|builder| builder.retry(retry).on_event(events.observe()));
    let mut stale = idle(&agent, &mut origins).await;
    let served = async {
        stale.head().await;
        drop(stale);
        let mut fresh = origins.accept().await;
        let received = fresh.request().await;
        fresh.send(crate::memory::ok("fresh")).await;
        received.body
    };
    let (mut served, mut request) = (Box::pin(served), Box::pin(agent.request(request)));
    let mut body = None;
    let response = loop {
        tokio::select! {
            response = &mut request => break response?,
            received = &mut served, if body.is_none() => body = Some(received),
        }
    };
    let text = text(Ok(response)).await;
    let body = match body {
        Some(body) => body,
        None => served.await,
    };
    Ok((text, body))
}

#[tokio::test(start_paused = true)]
async fn an_idempotent_request_on_a_stale_connection_is_retried_on_a_new_one() {
    let events = Events::default();
    let request = Request::get(URL).body(Body::empty()).unwrap();
    assert_eq!(
        on_stale(&events, Retry::Stale, request).await.unwrap().0,
        "fresh"
    );
    let lines = events.lines();
    assert_eq!(
        lines[..6],
        [
            "opened",
            "idle",
            "reused for request 2",
            "closed after 2: Failed",
            "retried",
            "opened"
        ]
        .map(str::to_owned)
    );
}

#[tokio::test(start_paused = true)]
async fn the_body_of_a_retry_starts_from_its_first_byte() {
    let events = Events::default();
    let request = Request::put(URL).body(Body::from("all of it")).unwrap();
    assert_eq!(
        on_stale(&events, Retry::Stale, request).await.unwrap(),
        ("fresh".to_owned(), b"all of it".to_vec())
    );

    // The same in pieces of unknown number: what was pulled from the caller is sent again.
    let (body, source) = streaming::channel();
    source.send(Bytes::from_static(b"one ")).await;
    source.send(Bytes::from_static(b"two")).await;
    drop(source);
    let request = Request::put(URL).body(body).unwrap();
    assert_eq!(
        on_stale(&events, Retry::Stale, request).await.unwrap().1,
        b"one two"
    );
}

#[tokio::test(start_paused = true)]
async fn a_post_is_not_sent_twice_unless_it_carries_an_idempotency_key() {
    let events = Events::default();
    let error = on_stale(&events, Retry::Stale, post(URL, "once"))
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::ConnectionLost {
                reused: true,
                bytes_written: 1..,
                bytes_read: 0,
                ..
            }
        ),
        "{error}"
    );
    assert!(!error.is_retryable());
    assert_eq!(events.lines().last().unwrap(), "not retried: Method");

    let mut keyed = post(URL, "twice");
    keyed
        .headers_mut()
        .insert("idempotency-key", "k".parse().unwrap());
    assert_eq!(
        on_stale(&Events::default(), Retry::Stale, keyed)
            .await
            .unwrap()
            .1,
        b"twice"
    );
}

#[tokio::test(start_paused = true)]
async fn an_empty_or_repeated_idempotency_key_does_not_permit_a_retry() {
    for keys in [&[""][..], &[" "], &["k", "k"], &["k", ""]] {
        let mut keyed = post(URL, "once");
        for key in keys {
            keyed
                .headers_mut()
                .append("idempotency-key", key.parse().unwrap());
        }
        let events = Events::default();
        let error = on_stale(&events, Retry::Stale, keyed).await.unwrap_err();
        assert!(!error.is_retryable(), "{keys:?}: {error}");
        assert_eq!(
            events.lines().last().unwrap(),
            "not retried: Method",
            "{keys:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_post_is_not_sent_twice_if_only_its_head_was_written() {
    let events = Events::default();
    let (agent, mut origins) = agent(|builder| builder.on_event(events.observe()));
    let mut stale = idle(&agent, &mut origins).await;
    let (body, source) = streaming::channel();
    let request = Request::post(URL).body(body).unwrap();
    let (response, ()) = join!(agent.request(request), async {
        stale.head().await;
        drop(stale);
        source.send(Bytes::from_static(b"late")).await;
        drop(source);
    });
    let error = response.map(|_| ()).unwrap_err();
    assert!(
        matches!(
            error,
            Error::ConnectionLost {
                bytes_written: 1..,
                bytes_read: 0,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(events.lines().last().unwrap(), "not retried: Method");
    assert_eq!(origins.connections(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_too_long_to_keep_is_not_sent_twice() {
    let events = Events::default();
    let (agent, mut origins) = agent(|builder| builder.on_event(events.observe()));
    let mut stale = idle(&agent, &mut origins).await;
    let request = Request::put(URL).body(Body::from(vec![7; 70_000])).unwrap();
    let (response, ()) = join!(agent.request(request), async {
        stale.exactly(1000).await;
        drop(stale);
    });
    let error = response.map(|_| ()).unwrap_err();
    assert!(
        matches!(
            error,
            Error::ConnectionLost {
                reused: true,
                bytes_read: 0,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.is_retryable(), "by the caller, which has the body");
    assert_eq!(events.lines().last().unwrap(), "not retried: Body");
}

#[tokio::test(start_paused = true)]
async fn the_policy_can_forbid_a_retry() {
    let events = Events::default();
    let request = Request::get(URL).body(Body::empty()).unwrap();
    let error = on_stale(&events, Retry::Never, request).await.unwrap_err();
    assert!(error.is_retryable());
    assert_eq!(events.lines().last().unwrap(), "not retried: Policy");
}

/// hyper-util#150: a retry that retries itself dials without end.
#[tokio::test(start_paused = true)]
async fn a_retry_on_a_new_connection_that_fails_is_not_retried() {
    let (agent, mut origins) = agent(|builder| builder);
    let mut stale = idle(&agent, &mut origins).await;
    let (error, ()) = join!(crate::memory::get_error(&agent, URL), async {
        stale.head().await;
        drop(stale);
        let mut fresh = origins.accept().await;
        fresh.head().await;
        drop(fresh);
    });
    assert!(
        matches!(
            error,
            Error::ConnectionLost {
                reused: false,
                bytes_read: 0,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(origins.connections(), 2);
}

#[tokio::test(start_paused = true)]
async fn one_byte_of_response_prevents_a_retry() {
    let (agent, mut origins) = agent(|builder| builder);
    let mut stale = idle(&agent, &mut origins).await;
    let (error, ()) = join!(crate::memory::get_error(&agent, URL), async {
        stale.head().await;
        stale.send("H").await;
        drop(stale);
    });
    assert!(
        matches!(
            error,
            Error::ConnectionLost {
                reused: true,
                bytes_read: 1,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(origins.connections(), 1);
}
