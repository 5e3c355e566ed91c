//! HTTP/2: requests on shared connections, in memory, with the h2 crate as the origin.

use crate::memory::{Origins, agent, soon};
use bytes::Bytes;
use byway_agent::{Agent, Body, Error, Event};
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::DuplexStream;
use tokio::task::JoinSet;

pub type Answer = SendResponse<Bytes>;

/// Serves one connection with `answer` until it ends.
pub async fn serve<F, Fut>(io: DuplexStream, builder: h2::server::Builder, answer: F)
where
    F: Fn(Request<RecvStream>, Answer) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let mut conn = builder.handshake::<_, Bytes>(io).await.unwrap();
    let mut answers = JoinSet::new();
    while let Some(Ok((request, respond))) = conn.accept().await {
        answers.spawn(answer(request, respond));
    }
    answers.shutdown().await;
}

/// Serves all connections with `answer`.
pub fn serve_all<F, Fut>(
    mut origins: Origins,
    builder: h2::server::Builder,
    answer: F,
) -> JoinSet<()>
where
    F: Fn(Request<RecvStream>, Answer) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let io = origins.accept().await.into_io();
            connections.spawn(serve(io, builder.clone(), answer.clone()));
        }
    });
    tasks
}

pub fn builder() -> h2::server::Builder {
    h2::server::Builder::new()
}

/// Reads a whole body, and its trailers.
pub async fn body_of(stream: &mut RecvStream) -> (Vec<u8>, Option<HeaderMap>) {
    let mut body = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data.unwrap();
        stream.flow_control().release_capacity(data.len()).unwrap();
        body.extend_from_slice(&data);
    }
    (body, stream.trailers().await.unwrap())
}

/// Sends the path back.
pub async fn path(request: Request<RecvStream>, respond: Answer) {
    reply(respond, request.uri().path());
}

/// Sends this body.
pub fn reply(mut respond: Answer, text: &str) {
    let mut body = respond.send_response(Response::new(()), false).unwrap();
    body.send_data(text.to_owned().into(), true).unwrap();
}

/// Sends the body and the trailers back.
async fn echo(request: Request<RecvStream>, mut respond: Answer) {
    let (body, trailers) = body_of(&mut request.into_body()).await;
    let mut out = respond.send_response(Response::new(()), false).unwrap();
    out.send_data(body.into(), trailers.is_none()).unwrap();
    if let Some(trailers) = trailers {
        out.send_trailers(trailers).unwrap();
    }
}

pub async fn text(agent: &Agent, path: &str) -> String {
    let response = agent.get(format!("http://a.example{path}")).await.unwrap();
    assert_eq!(response.version(), Version::HTTP_2);
    soon("the body", response.into_body().text()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn requests_at_once_share_one_connection() {
    let (agent, origins) = agent(|builder| builder.http2_prior_knowledge(true));
    let dialled = Arc::clone(&origins.dialled);
    let _origin = serve_all(origins, builder(), path);
    let mut requests = JoinSet::new();
    for n in 0..50 {
        let agent = agent.clone();
        requests.spawn(
            async move { assert_eq!(text(&agent, &format!("/{n}")).await, format!("/{n}")) },
        );
    }
    while let Some(done) = requests.join_next().await {
        done.unwrap();
    }
    assert_eq!(dialled.load(Ordering::SeqCst), 1);
    let stats = agent.stats();
    assert_eq!((stats.totals().open(), stats.totals().idle()), (1, 1));
    assert_eq!(stats.totals().streams(), 0);
    assert_eq!(stats.counters().reused, 49);
}

#[tokio::test(start_paused = true)]
async fn a_request_is_written_with_pseudo_fields_and_without_fields_of_a_connection() {
    let (agent, origins) = agent(|builder| builder.http2_prior_knowledge(true));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let seen_there = Arc::clone(&seen);
    let _origin = serve_all(origins, builder(), move |request, respond| {
        let seen = Arc::clone(&seen_there);
        async move {
            let (parts, mut body) = request.into_parts();
            seen.lock().push(parts);
            body_of(&mut body).await;
            reply(respond, "");
        }
    });
    let request = Request::post("http://a.example:8080/x?y=1")
        .header("connection", "x-hop, keep-alive")
        .header("x-hop", "1")
        .header("keep-alive", "timeout=5")
        .header("te", "gzip")
        .header("x-kept", "2")
        .body(Body::from("abc"))
        .unwrap();
    assert_eq!(agent.request(request).await.unwrap().status(), 200);
    let request = Request::get("http://b.example/")
        .header("host", "other.example")
        .header("te", "trailers")
        .body(Body::empty())
        .unwrap();
    assert_eq!(agent.request(request).await.unwrap().status(), 200);
    let seen = seen.lock();
    let first = &seen[0];
    assert_eq!(
        (first.method.as_str(), first.uri.to_string()),
        ("POST", "http://a.example:8080/x?y=1".to_owned())
    );
    let mut names: Vec<_> = first.headers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-length", "x-kept"]);
    assert_eq!(seen[1].uri.to_string(), "http://other.example/");
    assert_eq!(seen[1].headers["te"], "trailers");
    assert_eq!(seen[1].headers.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn bodies_pass_both_ways_with_their_trailers_at_any_size() {
    let (agent, origins) = agent(|builder| builder.http2_prior_knowledge(true));
    let _origin = serve_all(origins, builder(), echo);
    for bytes in [1, 8191, 16_385, 3_000_000] {
        let body = Bytes::from((0..bytes).map(|n| (n % 251) as u8).collect::<Vec<_>>());
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from(bytes));
        let frames = [Frame::data(body.clone()), Frame::trailers(trailers.clone())];
        let frames = frames.map(Ok::<_, std::io::Error>);
        let unknown = StreamBody::new(futures_util::stream::iter(frames));
        let request = Request::post("http://a.example/").body(unknown).unwrap();
        let response = soon("the head", agent.request(request)).await.unwrap();
        let collected = soon("the body", response.into_body().collect())
            .await
            .unwrap();
        assert_eq!(collected.trailers(), Some(&trailers));
        assert!(collected.to_bytes() == body, "{bytes}");

        let request = Request::post("http://a.example/")
            .body(Body::from(body.to_vec()))
            .unwrap();
        let response = soon("the head", agent.request(request)).await.unwrap();
        let echoed = soon("the body", response.into_body().bytes(bytes))
            .await
            .unwrap();
        assert!(echoed == body, "{bytes}");
    }
    assert_eq!(agent.stats().counters().opened, 1);
}

#[tokio::test(start_paused = true)]
async fn responses_without_a_body_leave_no_stream_behind() {
    let (agent, origins) = agent(|builder| builder.http2_prior_knowledge(true));
    let _origin = serve_all(origins, builder(), |request, mut respond| async move {
        let status = match request.uri().path() {
            "/204" => 204,
            _ => 200,
        };
        let response = Response::builder().status(status);
        let response = match request.method().as_str() {
            "HEAD" => response.header("content-length", "1000"),
            _ => response,
        };
        respond
            .send_response(response.body(()).unwrap(), true)
            .unwrap();
    });
    for (method, path) in [("HEAD", "/"), ("GET", "/204"), ("GET", "/empty")] {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://a.example{path}"))
            .body(Body::empty())
            .unwrap();
        let response = soon("the head", agent.request(request)).await.unwrap();
        assert_eq!(agent.stats().totals().streams(), 0, "{method} {path}");
        assert_eq!(response.into_body().bytes(0).await.unwrap(), "");
    }
    assert_eq!(agent.stats().totals().idle(), 1);
}

#[tokio::test(start_paused = true)]
async fn interim_responses_are_reported_and_a_100_releases_the_body() {
    let interim = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&interim);
    let (agent, origins) = agent(|builder| {
        builder
            .http2_prior_knowledge(true)
            .on_informational(move |response| noted.lock().push(response.status().as_u16()))
    });
    let _origin = serve_all(origins, builder(), |request, mut respond| async move {
        for status in [103, 100] {
            let response = Response::builder().status(status).body(()).unwrap();
            respond.send_informational(response).unwrap();
        }
        let (body, _) = body_of(&mut request.into_body()).await;
        reply(respond, std::str::from_utf8(&body).unwrap());
    });
    let request = Request::put("http://a.example/")
        .header("expect", "100-continue")
        .body(Body::from("held back"))
        .unwrap();
    let response = soon("the head", agent.request(request)).await.unwrap();
    assert_eq!(response.into_body().text().await.unwrap(), "held back");
    assert_eq!(*interim.lock(), [103, 100]);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_body_resets_its_stream_and_no_other() {
    let (agent, origins) = agent(|builder| builder.http2_prior_knowledge(true));
    let resets = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&resets);
    let _origin = serve_all(origins, builder(), move |request, mut respond| {
        let noted = Arc::clone(&noted);
        async move {
            if request.uri().path() != "/endless" {
                return reply(respond, "other");
            }
            let mut body = respond.send_response(Response::new(()), false).unwrap();
            body.send_data("begin".into(), false).unwrap();
            let reason = std::future::poll_fn(|cx| body.poll_reset(cx))
                .await
                .unwrap();
            noted.lock().push(reason);
        }
    });
    let mut endless = agent
        .get("http://a.example/endless")
        .await
        .unwrap()
        .into_body();
    let first = endless.frame().await.unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), "begin");
    assert_eq!(agent.stats().totals().streams(), 1);
    drop(endless);
    assert_eq!(agent.stats().totals().streams(), 0);
    assert_eq!(text(&agent, "/").await, "other");
    assert_eq!(*resets.lock(), [Reason::CANCEL]);
    assert_eq!(agent.stats().counters().opened, 1);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_request_frees_its_stream() {
    let (agent, origins) = agent(|builder| builder.http2_prior_knowledge(true));
    let _origin = serve_all(origins, builder(), |request, mut respond| async move {
        match request.uri().path() {
            "/never" => drop(std::future::poll_fn(|cx| respond.poll_reset(cx)).await),
            _ => reply(respond, "other"),
        }
    });
    let never = agent.get("http://a.example/never");
    let late = tokio::time::timeout(Duration::from_secs(3), never).await;
    assert!(late.is_err());
    assert_eq!(agent.stats().totals().streams(), 0);
    assert_eq!(text(&agent, "/").await, "other");
    assert_eq!(agent.stats().counters().opened, 1);
}

#[tokio::test(start_paused = true)]
async fn an_early_response_ends_the_upload_and_keeps_the_connection() {
    let (agent, origins) = agent(|builder| builder.http2_prior_knowledge(true));
    let _origin = serve_all(origins, builder(), |request, mut respond| async move {
        if request.method() == "GET" {
            return reply(respond, "other");
        }
        let response = Response::builder().status(413).body(()).unwrap();
        let mut body = respond.send_response(response, false).unwrap();
        body.send_data("too large".into(), true).unwrap();
        drop(request); // resets what is still to come
    });
    let request = Request::post("http://a.example/")
        .body(Body::from(vec![0; 4_000_000]))
        .unwrap();
    let response = soon("the head", agent.request(request)).await.unwrap();
    assert_eq!(response.status(), 413);
    assert_eq!(
        soon("the body", response.into_body().text()).await.unwrap(),
        "too large"
    );
    assert_eq!(text(&agent, "/").await, "other");
    assert_eq!(agent.stats().counters().opened, 1);
    assert_eq!(agent.stats().totals().streams(), 0);
}

#[tokio::test(start_paused = true)]
async fn connections_and_streams_stay_within_their_limits_and_the_others_wait() {
    let (agent, origins) = agent(|builder| {
        builder
            .http2_prior_knowledge(true)
            .max_per_origin(2)
            .max_streams_per_connection(3)
    });
    let dialled = Arc::clone(&origins.dialled);
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counts = (Arc::clone(&gate), Arc::clone(&open), Arc::clone(&most));
    let _origin = serve_all(origins, builder(), move |_, respond| {
        let (gate, open, most) = counts.clone();
        async move {
            let now = open.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(now, Ordering::SeqCst);
            gate.acquire().await.unwrap().forget();
            open.fetch_sub(1, Ordering::SeqCst);
            reply(respond, "served");
        }
    });
    let mut requests = JoinSet::new();
    for _ in 0..20 {
        let agent = agent.clone();
        requests.spawn(async move { text(&agent, "/").await });
    }
    tokio::time::sleep(Duration::from_secs(1)).await; // of the paused clock: all that can happen has
    assert_eq!(open.load(Ordering::SeqCst), 6);
    let totals = agent.stats().totals().clone();
    assert_eq!(
        (totals.open(), totals.streams(), totals.pending()),
        (2, 6, 14)
    );
    gate.add_permits(20);
    while let Some(done) = requests.join_next().await {
        assert_eq!(done.unwrap(), "served");
    }
    assert_eq!(most.load(Ordering::SeqCst), 6);
    assert_eq!(dialled.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn the_limit_that_an_origin_announces_is_kept() {
    let (agent, origins) = agent(|builder| builder.http2_prior_knowledge(true).max_per_origin(1));
    let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counts = (Arc::clone(&open), Arc::clone(&most));
    let mut two = builder();
    two.max_concurrent_streams(2);
    let _origin = serve_all(origins, two, move |_, respond| {
        let (open, most) = counts.clone();
        async move {
            most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            open.fetch_sub(1, Ordering::SeqCst);
            reply(respond, "served");
        }
    });
    assert_eq!(text(&agent, "/").await, "served"); // the settings have come
    let mut requests = JoinSet::new();
    for _ in 0..20 {
        let agent = agent.clone();
        requests.spawn(async move { text(&agent, "/").await });
    }
    while let Some(done) = requests.join_next().await {
        assert_eq!(done.unwrap(), "served");
    }
    assert!(most.load(Ordering::SeqCst) <= 2);
    assert_eq!(agent.stats().counters().opened, 1);
}

#[tokio::test(start_paused = true)]
async fn events_tell_the_version_and_each_stream_on_a_used_connection() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&events);
    let (agent, origins) = agent(|builder| {
        builder.http2_prior_knowledge(true).on_event(move |event| {
            noted.lock().push(match event {
                Event::Opened { version, .. } => format!("opened {version:?}"),
                Event::Reused { requests, .. } => format!("reused {requests}"),
                Event::Idle { .. } => "idle".to_owned(),
                Event::Closed {
                    reason, requests, ..
                } => format!("closed {reason:?} {requests}"),
                other => format!("{other:?}"),
            });
        })
    });
    let _origin = serve_all(origins, builder(), path);
    text(&agent, "/").await;
    text(&agent, "/").await;
    tokio::time::sleep(Duration::from_secs(10)).await; // beyond the idle timeout
    assert_eq!(
        *events.lock(),
        [
            "opened HTTP/2.0",
            "idle",
            "reused 2",
            "idle",
            "closed IdleTimeout 2"
        ]
    );
    assert_eq!(agent.stats().totals().open(), 0);
}

#[tokio::test]
async fn options_that_contradict_each_other_are_refused() {
    let known = || Agent::builder().http2_prior_knowledge(true);
    assert!(known().keep_alive(false).build().is_err());
    assert!(known().http2(false).build().is_err());
    assert!(
        Agent::builder()
            .max_streams_per_connection(0)
            .build()
            .is_err()
    );
    assert!(
        Agent::builder()
            .http2_ping_timeout(Duration::ZERO)
            .build()
            .is_err()
    );
    assert!(
        Agent::builder()
            .http2_ping_interval(Duration::ZERO)
            .build()
            .is_err()
    );
    assert!(
        Agent::builder()
            .http2(false)
            .http2_ping_interval(None)
            .build()
            .is_ok()
    );
}

#[tokio::test(start_paused = true)]
async fn a_late_head_fails_its_request_and_leaves_the_connection() {
    let (agent, origins) = agent(|builder| {
        builder
            .http2_prior_knowledge(true)
            .first_byte_timeout(Duration::from_secs(2))
    });
    let _origin = serve_all(origins, builder(), |request, mut respond| async move {
        match request.uri().path() {
            "/late" => drop(std::future::poll_fn(|cx| respond.poll_reset(cx)).await),
            _ => reply(respond, "other"),
        }
    });
    let late = agent.get("http://a.example/late").await.unwrap_err();
    assert!(matches!(late, Error::Timeout { .. }), "{late}");
    assert_eq!(text(&agent, "/").await, "other");
    assert_eq!(agent.stats().counters().opened, 1);
}
