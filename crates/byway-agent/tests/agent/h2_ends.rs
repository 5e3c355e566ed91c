//! How streams and connections of HTTP/2 end: refusals, GOAWAY, lost connections, shutdown.

use crate::h2::{body_of, builder, path, reply, serve, serve_all, text};
use crate::memory::{agent, soon};
use byway_agent::{Agent, Body, CloseReason, Error, Event, NoRetry, Retry};
use byway_testkit::http2::{frame, kind};
use h2::Reason;
use http::Request;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio::time::Instant;

async fn post(agent: &Agent, body: &str) -> Result<String, Error> {
    let request = Request::post("http://a.example/").body(Body::from(body.to_owned()));
    let response = soon("the head", agent.request(request.unwrap())).await?;
    soon("the body", response.into_body().text()).await
}

#[tokio::test(start_paused = true)]
async fn a_refused_request_is_sent_again_with_its_body() {
    let (agent, origins) = agent(|builder| builder.http2_prior_knowledge(true));
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let _origin = serve_all(origins, builder(), move |request, mut respond| {
        let count = Arc::clone(&counted);
        async move {
            if count.fetch_add(1, Ordering::SeqCst) < 2 {
                return respond.send_reset(Reason::REFUSED_STREAM);
            }
            let (body, _) = body_of(&mut request.into_body()).await;
            reply(respond, std::str::from_utf8(&body).unwrap());
        }
    });
    assert_eq!(
        post(&agent, "not idempotent").await.unwrap(),
        "not idempotent"
    );
    assert_eq!(count.load(Ordering::SeqCst), 3);
    assert_eq!(agent.stats().totals().streams(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_refuses_everything_is_asked_four_times() {
    let because = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&because);
    let (agent, origins) = agent(|builder| {
        builder.http2_prior_knowledge(true).on_event(move |event| {
            if let Event::NotRetried { because, .. } = event {
                noted.lock().push(*because);
            }
        })
    });
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let _origin = serve_all(origins, builder(), move |_, mut respond| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move { respond.send_reset(Reason::REFUSED_STREAM) }
    });
    let error = post(&agent, "x").await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::StreamReset {
                unprocessed: true,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.is_retryable());
    assert_eq!(count.load(Ordering::SeqCst), 4);
    assert_eq!(*because.lock(), [NoRetry::Often]);
    assert_eq!(agent.stats().totals().streams(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_refused_request_is_not_repeated_if_that_is_switched_off() {
    let (agent, origins) = agent(|builder| builder.http2_prior_knowledge(true).retry(Retry::Never));
    let _origin = serve_all(origins, builder(), |_, mut respond| async move {
        respond.send_reset(Reason::REFUSED_STREAM);
    });
    let error = post(&agent, "x").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the request's stream was reset (REFUSED_STREAM, unprocessed): try again later"
    );
}

#[tokio::test(start_paused = true)]
async fn a_reset_stream_fails_its_request_and_no_other() {
    let (agent, origins) = agent(|builder| builder.http2_prior_knowledge(true));
    let _origin = serve_all(origins, builder(), |request, mut respond| async move {
        match request.method().as_str() {
            "POST" => respond.send_reset(Reason::INTERNAL_ERROR),
            _ => reply(respond, "other"),
        }
    });
    let error = post(&agent, "x").await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::StreamReset {
                code: 2,
                unprocessed: false
            }
        ),
        "{error}"
    );
    assert!(!error.is_retryable());
    assert_eq!(text(&agent, "/").await, "other");
    assert_eq!(agent.stats().counters().opened, 1);
}

#[tokio::test(start_paused = true)]
async fn after_a_go_away_running_requests_end_and_new_ones_get_another_connection() {
    let (agent, mut origins) = agent(|builder| builder.http2_prior_knowledge(true));
    let dialled = Arc::clone(&origins.dialled);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut first = builder()
            .handshake::<_, bytes::Bytes>(origins.accept().await.into_io())
            .await
            .unwrap();
        let (_, respond) = first.accept().await.unwrap().unwrap();
        first.graceful_shutdown();
        let mut others = JoinSet::new();
        others.spawn(async move {
            loop {
                serve(origins.accept().await.into_io(), builder(), path).await;
            }
        });
        others.spawn(async move { while first.accept().await.is_some() {} });
        tokio::time::sleep(Duration::from_secs(1)).await; // of the paused clock
        reply(respond, "first");
        others.join_next().await;
        others.join_next().await;
    });
    let first = tokio::join!(text(&agent, "/1"), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(text(&agent, "/2").await, "/2");
        assert_eq!(dialled.load(Ordering::SeqCst), 2);
    });
    assert_eq!(first.0, "first");
}

#[tokio::test(start_paused = true)]
async fn a_request_on_a_connection_that_ends_is_repeated_if_it_may_be() {
    for (method, expected) in [("GET", true), ("POST", false)] {
        let (agent, mut origins) = agent(|builder| builder.http2_prior_knowledge(true));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let io = origins.accept().await.into_io();
            let mut first = builder().handshake::<_, bytes::Bytes>(io).await.unwrap();
            let (_, respond) = first.accept().await.unwrap().unwrap();
            reply(respond, "first");
            let second = first.accept().await.unwrap().unwrap();
            drop((first, second)); // without a GOAWAY
            serve(origins.accept().await.into_io(), builder(), path).await;
        });
        assert_eq!(text(&agent, "/1").await, "first");
        let request = Request::builder().method(method).uri("http://a.example/2");
        let sent = agent.request(request.body(Body::empty()).unwrap());
        match soon("the head", sent).await {
            Ok(response) => assert!(expected, "{}", response.status()),
            Err(error) => {
                assert!(!expected, "{error}");
                let is_lost = matches!(
                    error,
                    Error::ConnectionLost {
                        reused: true,
                        bytes_read: 0,
                        ..
                    }
                );
                assert!(is_lost, "{error}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_found_by_a_ping_and_its_requests_fail() {
    let reasons = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&reasons);
    let (agent, mut origins) = agent(|builder| {
        builder
            .http2_prior_knowledge(true)
            .http2_ping_interval(Duration::from_secs(3))
            .http2_ping_timeout(Duration::from_secs(2))
            .on_event(move |event| {
                if let Event::Closed { reason, .. } = event {
                    noted.lock().push(*reason);
                }
            })
    });
    let begun = Instant::now();
    let request = agent.get("http://a.example/");
    let (error, _silent) = tokio::join!(request, async {
        let mut io = origins.accept().await.into_io();
        io.write_all(&frame(kind::SETTINGS, 0, 0, &[]))
            .await
            .unwrap();
        io
    });
    let error = error.unwrap_err();
    assert!(
        matches!(error, Error::ConnectionLost { bytes_read: 0, .. }),
        "{error}"
    );
    assert_eq!(begun.elapsed(), Duration::from_secs(5));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(*reasons.lock(), [CloseReason::GoneAway]);
    assert_eq!(agent.stats().totals().open(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_running_requests_and_closes_the_connection() {
    let (agent, origins) = agent(|builder| builder.http2_prior_knowledge(true));
    let _origin = serve_all(origins, builder(), |_, respond| async move {
        tokio::time::sleep(Duration::from_secs(2)).await;
        reply(respond, "late");
    });
    let (late, left) = tokio::join!(text(&agent, "/"), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        agent.shutdown(Duration::from_secs(10)).await
    });
    assert_eq!((late.as_str(), left), ("late", 0));
    let refused = agent.get("http://a.example/").await.unwrap_err();
    assert!(matches!(refused, Error::Closed), "{refused}");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(agent.stats().totals().open(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_evicted_connection_gets_no_more_requests() {
    let (agent, origins) = agent(|builder| builder.http2_prior_knowledge(true));
    let dialled = Arc::clone(&origins.dialled);
    let _origin = serve_all(origins, builder(), path);
    text(&agent, "/").await;
    assert_eq!(agent.evict(|conn| conn.requests() == 7), 0);
    assert_eq!(agent.evict(|conn| conn.requests() == 1), 1);
    text(&agent, "/").await;
    assert_eq!(dialled.load(Ordering::SeqCst), 2);
    assert_eq!(agent.close_idle(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_does_not_speak_http_2_is_an_error_of_the_dial() {
    let answers: [&[u8]; 2] = [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""];
    for answer in answers {
        let (agent, mut origins) = agent(|builder| builder.http2_prior_knowledge(true));
        let (error, ()) = tokio::join!(agent.get("http://a.example/"), async {
            let mut io = origins.accept().await.into_io();
            io.write_all(answer).await.unwrap();
        });
        let error = error.unwrap_err();
        assert!(matches!(error, Error::Connect { .. }), "{error}");
        assert_eq!(agent.stats().totals().open(), 0);
    }
    let (agent, mut origins) = agent(|builder| builder.http2_prior_knowledge(true));
    let (error, _silent) = tokio::join!(agent.get("http://a.example/"), origins.accept());
    assert!(matches!(error.unwrap_err(), Error::Timeout { .. }));
    assert_eq!(agent.stats().totals().open(), 0);
}
