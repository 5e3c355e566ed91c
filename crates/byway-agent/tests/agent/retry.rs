//! The second try: only on a kept connection that gave no byte, only if it can do no harm, and only
//! once.

use crate::memory::{Origins, Server, Told, agent, get, post, text};
use crate::streaming;
use bytes::Bytes;
use byway_agent::{Agent, Body, Error, Retry};
use http::Request;
use tokio::join;

const URL: &str = "http://a.example/";

/// An idle connection whose origin will close it when the next request comes.
async fn idle(agent: &Agent, origins: &mut Origins) -> Server {
    let (_, server) = join!(get(agent, URL), async {
        let mut server = origins.accept().await;
        server.serve("x").await;
        server
    });
    server
}

/// Sends `request` on a kept connection that is closed when the request has come; a second try is
/// answered by `fresh`.
async fn on_stale<B>(
    told: &Told,
    retry: Retry,
    request: Request<B>,
) -> Result<(String, Vec<u8>), Error>
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<byway_agent::BoxError>,
{
    let (agent, mut origins) = agent(|builder| builder.retry(retry).on_event(told.observe()));
    let mut stale = idle(&agent, &mut origins).await;
    let served = async {
        stale.head().await;
        drop(stale);
        let mut fresh = origins.accept().await;
        let came = fresh.request().await;
        fresh.send(crate::memory::ok("fresh")).await;
        came.body
    };
    let (mut served, mut request) = (Box::pin(served), Box::pin(agent.request(request)));
    let mut body = None;
    let response = loop {
        tokio::select! {
            response = &mut request => break response?,
            came = &mut served, if body.is_none() => body = Some(came),
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
async fn an_idempotent_request_on_a_stale_connection_is_sent_once_more_on_a_new_one() {
    let told = Told::default();
    let request = Request::get(URL).body(Body::empty()).unwrap();
    assert_eq!(
        on_stale(&told, Retry::Stale, request).await.unwrap().0,
        "fresh"
    );
    let lines = told.lines();
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
async fn its_body_goes_out_once_more_from_its_first_byte() {
    let told = Told::default();
    let request = Request::put(URL).body(Body::from("all of it")).unwrap();
    assert_eq!(
        on_stale(&told, Retry::Stale, request).await.unwrap(),
        ("fresh".to_owned(), b"all of it".to_vec())
    );

    // The same in pieces of unknown number: what was pulled from the caller is given again.
    let (body, source) = streaming::channel();
    source.send(Bytes::from_static(b"one ")).await;
    source.send(Bytes::from_static(b"two")).await;
    drop(source);
    let request = Request::put(URL).body(body).unwrap();
    assert_eq!(
        on_stale(&told, Retry::Stale, request).await.unwrap().1,
        b"one two"
    );
}

#[tokio::test(start_paused = true)]
async fn a_post_is_not_sent_twice_unless_it_carries_an_idempotency_key() {
    let told = Told::default();
    let error = on_stale(&told, Retry::Stale, post(URL, "once"))
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
    assert_eq!(told.lines().last().unwrap(), "not retried: Method");

    let mut keyed = post(URL, "twice");
    keyed
        .headers_mut()
        .insert("idempotency-key", "k".parse().unwrap());
    assert_eq!(
        on_stale(&Told::default(), Retry::Stale, keyed)
            .await
            .unwrap()
            .1,
        b"twice"
    );
}

#[tokio::test(start_paused = true)]
async fn an_empty_or_repeated_idempotency_key_does_not_permit_a_second_try() {
    for keys in [&[""][..], &[" "], &["k", "k"], &["k", ""]] {
        let mut keyed = post(URL, "once");
        for key in keys {
            keyed
                .headers_mut()
                .append("idempotency-key", key.parse().unwrap());
        }
        let told = Told::default();
        let error = on_stale(&told, Retry::Stale, keyed).await.unwrap_err();
        assert!(!error.is_retryable(), "{keys:?}: {error}");
        assert_eq!(
            told.lines().last().unwrap(),
            "not retried: Method",
            "{keys:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_post_is_not_sent_twice_if_its_head_has_left_and_its_next_chunk_has_not() {
    let told = Told::default();
    let (agent, mut origins) = agent(|builder| builder.on_event(told.observe()));
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
    assert_eq!(told.lines().last().unwrap(), "not retried: Method");
    assert_eq!(origins.connections(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_too_long_to_be_kept_is_not_sent_twice() {
    let told = Told::default();
    let (agent, mut origins) = agent(|builder| builder.on_event(told.observe()));
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
    assert!(error.is_retryable(), "by the caller, who has the body");
    assert_eq!(told.lines().last().unwrap(), "not retried: Body");
}

#[tokio::test(start_paused = true)]
async fn the_policy_can_forbid_it() {
    let told = Told::default();
    let request = Request::get(URL).body(Body::empty()).unwrap();
    let error = on_stale(&told, Retry::Never, request).await.unwrap_err();
    assert!(error.is_retryable());
    assert_eq!(told.lines().last().unwrap(), "not retried: Policy");
}

/// hyper-util#150: a retry that retries its retry dials for ever.
#[tokio::test(start_paused = true)]
async fn a_new_connection_that_fails_is_the_end_of_it() {
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
async fn one_byte_of_response_is_too_many() {
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
