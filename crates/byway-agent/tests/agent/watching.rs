//! Observing an agent: events, stats, interim responses; and the agent as a `tower` service.

use crate::memory::{Events, agent, begin, get, get_error, ok, text};
use byway_agent::{Agent, Body, CloseReason, Error, Event};
use http::{Request, Response};
use parking_lot::Mutex;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::join;
use tokio::time::advance;
use tower_service::Service;

#[tokio::test(start_paused = true)]
async fn every_event_of_a_connection_is_reported_in_order() {
    let events = Events::default();
    let (agent, mut origins) = agent(|builder| {
        builder
            .max_total(1)
            .queue_len(1)
            .queue_wait(Duration::from_secs(1))
            .on_event(events.observe())
    });
    let (.., ()) = join!(
        get(&agent, "http://a.example/"),
        async {
            get(&agent, "http://a.example/").await;
            get_error(&agent, "http://a.example/").await;
        },
        async {
            let mut server = origins.accept().await;
            server.serve("one").await;
            server.serve("two").await;
            server.request().await;
            drop(server);
            drop(origins.accept().await);
        }
    );
    let expected = [
        "opened",
        "queued",
        "idle",
        "reused for request 2",
        "idle",
        "reused for request 3",
        "closed after 3: Failed",
        "retried",
        "opened",
        "closed after 1: Failed",
    ];
    assert_eq!(events.lines(), expected);
    let mut holding = Box::pin(agent.get("http://a.example/"));
    begin(holding.as_mut()).await;
    get_error(&agent, "http://a.example/").await;
    assert!(
        events
            .lines()
            .last()
            .unwrap()
            .starts_with("rejected: no connection became free within 1"),
        "{:?}",
        events.lines()
    );
}

/// The observer is called under no lock.
#[tokio::test(start_paused = true)]
async fn an_observer_may_use_the_agent_at_every_event() {
    let (slot, seen): (Arc<OnceLock<Agent>>, Arc<Mutex<Vec<usize>>>) = Default::default();
    let (shared, note) = (Arc::clone(&slot), Arc::clone(&seen));
    let observe = move |_: &Event<'_>| {
        let open = shared.get().map_or(0, |agent| {
            agent.stats().totals().open() + agent.evict(|_| false)
        });
        note.lock().push(open);
    };
    let (agent, mut origins) = agent(|builder| builder.max_total(1).on_event(observe));
    slot.set(agent.clone()).unwrap();
    join!(
        async {
            get(&agent, "http://a.example/").await;
            get(&agent, "http://a.example/").await;
            get(&agent, "http://b.example/").await; // closes the other's connection to make room
        },
        async {
            let mut server = origins.accept().await;
            server.serve("one").await;
            server.serve("two").await;
            origins.accept().await.serve("three").await;
        }
    );
    agent.shutdown(Duration::from_secs(1)).await;
    let seen = seen.lock();
    assert!(
        seen.len() >= 8 && seen.iter().all(|open| *open <= 1),
        "{seen:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_stats_are_current_by_origin_and_in_total() {
    let (agent, mut origins) = agent(|builder| builder.max_total(3).max_per_origin(2));
    let (_, _idle) = join!(get(&agent, "http://idle.example/"), async {
        let mut server = origins.accept().await;
        server.serve("x").await;
        server
    });
    let mut waiting: Vec<_> = (0..4)
        .map(|_| Box::pin(agent.get("http://busy.example/")))
        .collect();
    for request in &mut waiting {
        begin(request.as_mut()).await;
    }
    advance(Duration::from_secs(1)).await;
    let stats = agent.stats();
    let busy = stats.group("http://busy.example:80").unwrap();
    assert_eq!(
        (
            busy.active(),
            busy.idle(),
            busy.open(),
            busy.limit(),
            busy.pending()
        ),
        (2, 0, 2, 2, 2)
    );
    assert_eq!(busy.oldest_wait(), Some(Duration::from_secs(1)));
    let all = stats.totals();
    assert_eq!(
        (
            all.active(),
            all.idle(),
            all.open(),
            all.limit(),
            all.pending()
        ),
        (2, 1, 3, 3, 2)
    );
    assert_eq!((stats.counters().opened, stats.counters().closed), (3, 0));
    let shown = "all: 3 of 3 open (0 connecting, 2 active, 1 idle), 2 queued, the oldest for 1.0s\n  \
        http://busy.example:80: 2 of 2 open (0 connecting, 2 active, 0 idle), 2 queued, the oldest for 1.0s\n  \
        http://idle.example:80: 1 of 2 open (0 connecting, 0 active, 1 idle), 0 queued";
    assert_eq!(stats.to_string(), shown);
}

#[tokio::test(start_paused = true)]
async fn interim_responses_are_reported_with_their_fields_and_are_limited() {
    let received: Arc<Mutex<Vec<String>>> = Arc::default();
    let note = Arc::clone(&received);
    let call = move |interim: &Response<()>| {
        let link = interim
            .headers()
            .get("link")
            .map(|link| link.to_str().unwrap().to_owned());
        note.lock()
            .push(format!("{} {link:?}", interim.status().as_u16()));
    };
    let (agent, mut origins) = agent(|builder| builder.on_informational(call));
    let (answer, mut server) = join!(get(&agent, "http://a.example/"), async {
        let mut server = origins.accept().await;
        server.request().await;
        server
            .send(
                "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n",
            )
            .await;
        server.send(ok("final")).await;
        server
    });
    assert_eq!(answer, "final");
    assert_eq!(*received.lock(), ["103 Some(\"</a.css>\")", "102 None"]);
    let (error, ()) = join!(get_error(&agent, "http://a.example/"), async {
        server.request().await;
        server
            .send("HTTP/1.1 102 Processing\r\n\r\n".repeat(100))
            .await;
    });
    assert_eq!(
        error.to_string(),
        "the origin's response is not valid HTTP: 64 interim responses without a final one"
    );
}

#[tokio::test(start_paused = true)]
async fn an_agent_is_a_service_by_value_and_by_reference() {
    async fn call<S>(mut service: S) -> String
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Error>,
    {
        std::future::poll_fn(|cx| service.poll_ready(cx))
            .await
            .unwrap();
        let request = Request::get("http://a.example/")
            .body(Body::empty())
            .unwrap();
        text(service.call(request).await).await
    }
    let (agent, mut origins) = agent(|builder| builder);
    let (one, two, ()) = join!(call(&agent), call(agent.clone()), async {
        let (mut one, mut two) = (origins.accept().await, origins.accept().await);
        one.serve("x").await;
        two.serve("x").await;
    });
    assert_eq!((one, two), ("x".to_owned(), "x".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn an_unpooled_agent_opens_a_connection_for_each_request() {
    let events = Events::default();
    let (agent, mut origins) =
        agent(|builder| builder.keep_alive(false).on_event(events.observe()));
    for _ in 0..2 {
        join!(get(&agent, "http://a.example/"), async {
            let mut server = origins.accept().await;
            assert_eq!(server.serve("x").await.field("connection"), Some("close"));
            server.closed().await;
        });
    }
    events.assert_closed(&[CloseReason::Unpooled, CloseReason::Unpooled]);
    assert_eq!(Agent::unpooled().stats().totals().limit(), 1024);
}
