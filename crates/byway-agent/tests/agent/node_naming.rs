//! Node's Agent, rows 1 to 10: what shares connections, and which requests are admitted.

use crate::memory::{agent, begin, get, get_error, ok, text};
use byway_agent::{Agent, BuildError, Error, Hint, OnInterim, Scheduling};
use http::Request;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::join;

/// The groups of requests for each URL (with its own Host field, if not empty).
async fn groups(requests: &[(&str, &str)]) -> Vec<String> {
    // With HTTP/2 the second request of an origin would wait for the dial of the first.
    let (agent, _origins) = agent(|builder| builder.http2(false));
    let mut dials = Vec::new();
    for (url, host) in requests {
        let mut request = Request::get(*url);
        if !host.is_empty() {
            request = request.header("host", *host);
        }
        let request = request.body(byway_agent::Body::empty()).unwrap();
        // No origin responds: the dial, or the wait for the response, stays pending.
        let mut dial = Box::pin(agent.request(request));
        begin(dial.as_mut()).await;
        dials.push(dial);
    }
    agent
        .stats()
        .groups()
        .map(|group| format!("{} x{}", group.name(), group.open()))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn row_01_a_group_is_named_by_scheme_host_and_port() {
    let names = groups(&[
        ("http://localhost/", ""),
        ("http://localhost:8080/a", ""),
        ("http://[::1]/", ""),
    ])
    .await;
    assert_eq!(
        names,
        [
            "http://[::1]:80 x1",
            "http://localhost:80 x1",
            "http://localhost:8080 x1"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn row_02_plain_and_tls_and_two_verified_names_never_share() {
    let names = groups(&[
        ("http://a.example:443/", ""),
        ("https://a.example/", ""),
        ("https://a.example/", "a.example"),
        ("https://a.example/", "b.example"),
    ]);
    let expected = [
        "http://a.example:443 x1",
        "https://a.example:443 x2",
        "https://a.example:443 as b.example x1",
    ];
    assert_eq!(names.await, expected);
}

/// Row 3, and N8: in Node `EXAMPLE.com` and `example.com` have separate connections, although they
/// are one host.
#[tokio::test(start_paused = true)]
async fn row_03_n8_spellings_of_one_host_share_a_group() {
    let urls = [
        "http://EXAMPLE.com/",
        "http://example.com:80/",
        "http://example.com./",
    ];
    assert_eq!(
        groups(&urls.map(|url| (url, ""))).await,
        ["http://example.com:80 x3"]
    );
}

#[tokio::test(start_paused = true)]
async fn row_04_a_free_connection_is_used_before_another_is_opened_and_reports_reuse() {
    let (agent, mut origins) = agent(|builder| builder);
    let ((), ()) = join!(
        async {
            let first = agent.get("http://a.example/1").await.unwrap();
            assert!(!first.body().reused());
            text(Ok(first)).await;
            let second = agent.get("http://a.example/2").await.unwrap();
            assert!(second.body().reused());
            assert_eq!(second.body().requests(), 2);
            text(Ok(second)).await;
        },
        async {
            let mut server = origins.accept().await;
            assert_eq!(server.serve("one").await.path(), "/1");
            assert_eq!(server.serve("two").await.path(), "/2");
        }
    );
    assert_eq!(origins.connections(), 1);
}

/// Leaves two idle connections and returns which of them (0 is the one used first) carries the next
/// request.
async fn next_of_two(scheduling: Scheduling) -> usize {
    let (agent, mut origins) = agent(|builder| builder.scheduling(scheduling));
    let (_, _, (mut first, mut second)) = join!(
        get(&agent, "http://a.example/"),
        get(&agent, "http://a.example/"),
        async {
            let (mut first, mut second) = (origins.accept().await, origins.accept().await);
            first.serve("0").await;
            tokio::task::yield_now().await;
            second.serve("1").await;
            (first, second)
        }
    );
    let text = tokio::select! {
        (text, _) = async { join!(get(&agent, "http://a.example/"), first.serve("0")) } => text,
        _ = second.request() => "1".to_owned(),
    };
    text.parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn row_05_lifo_takes_the_most_recently_used_and_fifo_the_least_recently_used() {
    assert_eq!(next_of_two(Scheduling::Lifo).await, 1);
    assert_eq!(next_of_two(Scheduling::Fifo).await, 0);
}

#[tokio::test(start_paused = true)]
async fn row_06_at_the_limit_requests_wait_and_are_served_in_their_order() {
    let (agent, mut origins) = agent(|builder| builder.max_per_origin(1));
    let urls = ["/1", "/2", "/3", "/4", "/5"].map(|path| format!("http://a.example{path}"));
    let (.., order) = join!(
        get(&agent, &urls[0]),
        get(&agent, &urls[1]),
        get(&agent, &urls[2]),
        get(&agent, &urls[3]),
        get(&agent, &urls[4]),
        async {
            let mut server = origins.accept().await;
            let mut order = Vec::new();
            for _ in 0..5 {
                order.push(server.serve("x").await.path().to_owned());
            }
            order
        }
    );
    assert_eq!(order, ["/1", "/2", "/3", "/4", "/5"]);
    assert_eq!(origins.connections(), 1);
}

#[test]
fn row_07_a_limit_of_zero_or_one_that_cannot_be_reached_is_an_error_at_construction() {
    let zero = |builder: byway_agent::AgentBuilder| builder.build().unwrap_err().to_string();
    assert!(zero(Agent::builder().max_total(0)).contains("max_total is 0"));
    assert!(zero(Agent::builder().max_per_origin(0)).contains("max_per_origin is 0"));
    assert!(zero(Agent::builder().queue_len(0)).contains("queue_len is 0"));
    assert!(zero(Agent::builder().queue_wait(Duration::ZERO)).contains("queue_wait is 0"));
    assert!(zero(Agent::builder().max_requests_per_conn(0)).contains("max_requests is 0"));
    assert!(
        zero(Agent::builder().max_total(4).max_per_origin(5))
            .contains("max_per_origin (5) is above max_total (4)")
    );
    assert!(zero(Agent::builder().max_idle_total(0)).contains("max_idle_total is 0"));
    assert!(zero(Agent::builder().shards(0)).contains("shards is 0"));
    let minute = Duration::from_secs(60);
    assert!(
        zero(
            Agent::builder()
                .max_lifetime(minute)
                .lifetime_jitter(f64::NAN)
        )
        .contains("lifetime_jitter")
    );
    let times = [
        Agent::builder().connect_timeout(Duration::ZERO),
        Agent::builder().first_byte_timeout(Duration::ZERO),
        Agent::builder().body_idle_timeout(Duration::ZERO),
        Agent::builder().expect_continue_timeout(Duration::ZERO),
    ];
    for builder in times {
        assert!(matches!(builder.build(), Err(BuildError::Zero { .. })));
    }
    // Defaults are derived from the options that are set.
    assert!(Agent::builder().max_total(4).build().is_ok());
    assert!(Agent::builder().max_idle_total(4).build().is_ok());
    assert!(
        Agent::builder()
            .max_lifetime(Duration::from_secs(1))
            .build()
            .is_ok()
    );
}

#[tokio::test(start_paused = true)]
async fn the_longest_durations_do_not_overflow() {
    let most = Duration::MAX;
    let (agent, mut origins) = agent(|builder| {
        let builder = builder
            .idle_timeout(most)
            .max_lifetime(most)
            .queue_wait(most)
            .connect_timeout(most);
        let builder = builder
            .first_byte_timeout(most)
            .body_idle_timeout(most)
            .expect_continue_timeout(most);
        builder.max_total(1).server_keep_alive(Hint::Honour {
            margin: Duration::ZERO,
            longest: most,
        })
    });
    let hinting = format!(
        "HTTP/1.1 200 OK\r\nKeep-Alive: timeout={}\r\nContent-Length: 1\r\n\r\nx",
        u64::MAX
    );
    join!(
        get(&agent, "http://a.example/"),
        get(&agent, "http://a.example/"),
        async {
            let mut server = origins.accept().await;
            server.request().await;
            tokio::task::yield_now().await;
            server.send(&hinting).await;
            server.request().await;
            server.send(&hinting).await;
            assert_eq!(agent.shutdown(most).await, 0);
        }
    );
}

#[test]
fn options_without_effect_are_errors() {
    let conflicts = [
        Agent::builder()
            .unix_socket("/run/a.sock")
            .one_address("127.0.0.1:1"),
        Agent::builder()
            .unix_socket("/run/a.sock")
            .local_address([127, 0, 0, 1].into()),
        Agent::builder()
            .keep_alive(false)
            .idle_timeout(Duration::from_secs(1)),
        Agent::builder().keep_alive(false).max_idle_per_origin(1),
        Agent::builder().keep_alive(false).max_idle_total(1),
        Agent::builder().lifetime_jitter(0.5),
    ];
    for builder in conflicts {
        assert!(matches!(builder.build(), Err(BuildError::Conflict { .. })));
    }
    assert!(matches!(
        Agent::builder().one_address("nowhere").build(),
        Err(BuildError::Address(_))
    ));
}

/// Row 8: in Node the agent's options win over the request's. Here the request's own options win.
#[tokio::test(start_paused = true)]
async fn row_08_a_requests_own_options_win_over_the_agents() {
    let received: Arc<Mutex<Vec<&str>>> = Arc::default();
    let note = |who: &'static str| {
        let received = Arc::clone(&received);
        move |_: &http::Response<()>| received.lock().push(who)
    };
    let (agent, mut origins) = agent(|builder| builder.on_informational(note("agent")));
    let own = Request::get("http://a.example/").extension(OnInterim::new(note("request")));
    let own = own.body(byway_agent::Body::empty()).unwrap();
    join!(
        async {
            text(agent.request(own).await).await;
            get(&agent, "http://a.example/").await;
        },
        async {
            let mut server = origins.accept().await;
            for _ in 0..2 {
                server.request().await;
                server
                    .send(format!(
                        "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n{}",
                        ok("x")
                    ))
                    .await;
            }
        }
    );
    assert_eq!(*received.lock(), ["request", "agent"]);
}

#[tokio::test(start_paused = true)]
async fn a_custom_rule_merges_hosts_and_splits_paths() {
    let rule = |parts: &http::request::Parts| match parts.uri.path() {
        path if path.starts_with("/img") => Some("images"),
        _ => parts
            .uri
            .host()
            .filter(|host| host.ends_with(".shop.example"))
            .map(|_| "shop"),
    };
    let (agent, mut origins) = agent(|builder| builder.group_by(rule));
    let mut waiting: Vec<_> = [
        "http://a.shop.example/",
        "http://b.shop.example/",
        "http://a.shop.example/img/1",
        "http://other.example/img/2",
        "http://other.example/",
    ]
    .into_iter()
    .map(|url| Box::pin(agent.get(url)))
    .collect();
    for request in &mut waiting {
        begin(request.as_mut()).await;
    }
    let names: Vec<_> = agent
        .stats()
        .groups()
        .map(|group| format!("{} x{}", group.name(), group.open()))
        .collect();
    assert_eq!(
        names,
        ["http://other.example:80 x1", "images x2", "shop x2"]
    );
    drop(waiting);
    // A connection that was opened for one host of a group carries the requests of another; Host
    // differs.
    let _five = [
        origins.accept().await,
        origins.accept().await,
        origins.accept().await,
        origins.accept().await,
        origins.accept().await,
    ];
    let ((), ()) = join!(
        async {
            get(&agent, "http://a.shop.example/").await;
            get(&agent, "http://b.shop.example/").await;
        },
        async {
            let mut server = origins.accept().await;
            assert_eq!(
                (server.target.host(), server.target.port()),
                ("a.shop.example", 80)
            );
            assert_eq!(
                server.serve("x").await.field("host"),
                Some("a.shop.example")
            );
            assert_eq!(
                server.serve("x").await.field("host"),
                Some("b.shop.example")
            );
        }
    );
}

#[tokio::test(start_paused = true)]
async fn an_invalid_request_is_refused_before_a_dial() {
    let (agent, origins) = agent(|builder| builder);
    for url in [
        "/path",
        "ftp://a.example/",
        "http://user:pw@a.example/",
        "http://a.example:0/",
        "http://a.example:99999/",
    ] {
        assert!(
            matches!(get_error(&agent, url).await, Error::InvalidRequest { .. }),
            "{url}"
        );
    }
    let smuggling = Request::post("http://a.example/")
        .header("transfer-encoding", "chunked")
        .header("content-length", "5")
        .body(byway_agent::Body::from("12345"))
        .unwrap();
    assert!(matches!(
        agent.request(smuggling).await,
        Err(Error::InvalidRequest { .. })
    ));
    assert_eq!(origins.connections(), 0);
}
