//! Storm: requests over HTTP/2 that end in every way, at random. Whatever happens, the limits on
//! connections and streams hold, every request ends, and nothing is left.

use crate::h2::{Answer, reply};
use crate::memory::{Origins, agent, soon};
use bytes::Bytes;
use byway_agent::{Agent, Body};
use byway_testkit::cases;
use h2::{Reason, RecvStream};
use http::{Request, Response};
use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

const CONNECTIONS: usize = 2;
const STREAMS: usize = 3;

/// How one request goes: what the origin does, when the caller leaves, and the pause before.
#[derive(Clone, Debug)]
struct Course {
    origin: u8,
    patience: u64,
    pause: u64,
    body: usize,
}

fn course() -> impl Strategy<Value = Course> {
    (0..7_u8, 1..400_u64, 0..300_u64, 0..100_000_usize).prop_map(
        |(origin, patience, pause, body)| Course {
            origin,
            patience,
            pause,
            body,
        },
    )
}

async fn answer(request: Request<RecvStream>, mut respond: Answer) {
    let how = request.uri().path().to_owned();
    match how.as_str() {
        "/0" => respond.send_reset(Reason::REFUSED_STREAM),
        "/1" => respond.send_reset(Reason::INTERNAL_ERROR),
        "/2" => drop(std::future::poll_fn(|cx| respond.poll_reset(cx)).await),
        "/3" => {
            let mut body = respond.send_response(Response::new(()), false).unwrap();
            let _ = body.send_data("part".into(), false);
            sleep(Duration::from_millis(100)).await;
            body.send_reset(Reason::CANCEL);
        }
        "/4" => drop(respond.send_response(Response::new(()), true)),
        _ => {
            let mut body = request.into_body();
            if timeout(Duration::from_millis(500), body_of_what_comes(&mut body))
                .await
                .is_ok()
            {
                reply(respond, "whole");
            }
        }
    }
}

/// Reads a body of a client that may leave.
async fn body_of_what_comes(stream: &mut RecvStream) {
    while let Some(Ok(data)) = stream.data().await {
        let _ = stream.flow_control().release_capacity(data.len());
    }
}

/// Serves all connections, some of which end after a few requests.
async fn serve(mut origins: Origins, open: Arc<AtomicUsize>, most: Arc<AtomicUsize>) {
    let mut connections = JoinSet::new();
    let mut number = 0_usize;
    loop {
        let io = origins.accept().await.into_io();
        number += 1;
        let last = if number.is_multiple_of(3) {
            4
        } else {
            usize::MAX
        };
        let (open, most) = (Arc::clone(&open), Arc::clone(&most));
        connections.spawn(async move {
            most.fetch_max(open.fetch_add(1, SeqCst) + 1, SeqCst);
            let mut builder = h2::server::Builder::new();
            builder.max_concurrent_streams(STREAMS as u32);
            let Ok(mut conn) = builder.handshake::<_, Bytes>(io).await else {
                open.fetch_sub(1, SeqCst);
                return;
            };
            let (mut answers, mut served) = (JoinSet::new(), 0);
            while let Some(Ok((request, respond))) = conn.accept().await {
                served += 1;
                answers.spawn(answer(request, respond));
                if served == last {
                    conn.graceful_shutdown();
                }
            }
            open.fetch_sub(1, SeqCst);
        });
    }
}

async fn request(agent: Agent, course: Course) {
    sleep(Duration::from_millis(course.pause)).await;
    let body = Body::from(vec![0; course.body]);
    let request = Request::post(format!("http://a.example/{}", course.origin)).body(body);
    let whole = async {
        let response = agent.request(request.unwrap()).await?;
        response.into_body().bytes(100).await
    };
    // Some callers leave, at any point.
    let _ = timeout(Duration::from_millis(course.patience), whole).await;
}

async fn storm(courses: Vec<Course>) {
    let (agent, origins) = agent(|builder| {
        builder
            .http2_prior_knowledge(true)
            .max_total(CONNECTIONS)
            .max_streams_per_connection(STREAMS as u16)
    });
    let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut tasks = JoinSet::new();
    tasks.spawn(serve(origins, Arc::clone(&open), Arc::clone(&most)));
    let mut requests = JoinSet::new();
    for course in courses {
        requests.spawn(request(agent.clone(), course));
    }
    while let Some(done) = soon("the end of a request", requests.join_next()).await {
        done.unwrap();
        let totals = agent.stats().totals().clone();
        assert!(totals.open() <= CONNECTIONS, "{totals}");
        assert!(totals.streams() <= CONNECTIONS * STREAMS, "{totals}");
    }
    sleep(Duration::from_secs(30)).await; // of the paused clock, beyond the idle timeout
    let totals = agent.stats().totals().clone();
    assert_eq!(
        (totals.open(), totals.streams(), totals.pending()),
        (0, 0, 0)
    );
    assert_eq!(open.load(SeqCst), 0, "connections of the origin are left");
    // The origin learns of a close a moment after the permit is free.
    assert!(most.load(SeqCst) <= CONNECTIONS * 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(32)))]

    #[test]
    fn the_limits_hold_whatever_ends_a_request(courses in proptest::collection::vec(course(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(storm(courses));
    }
}
