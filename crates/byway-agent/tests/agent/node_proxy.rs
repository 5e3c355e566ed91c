//! Node's row 46: requests through proxies. The proxy of a test is also the origin: it serves the
//! requests in its tunnels.

use crate::memory::{Events, begin, get, get_error, text};
use crate::tcp::{Listener, Peer, Site};
use byway_agent::dial::{Environment, NoRoute, Purpose, Route, Target};
use byway_agent::{Agent, BuildError, Error, Proxy, Which};
use http::Request;
use std::pin::pin;
use std::time::Duration;
use tokio::join;

fn through(proxy: Proxy) -> Agent {
    Agent::builder().proxy(proxy).build().unwrap()
}

fn http(listener: &Listener) -> Proxy {
    Proxy::http(&listener.address.to_string()).unwrap()
}

#[tokio::test]
async fn row_46_plain_requests_go_in_absolute_form_over_a_connection_that_is_kept() {
    let proxy = Listener::new().await;
    let agent = through(http(&proxy).auth("bob", "key"));
    let serve = async {
        let mut peer = proxy.accept().await;
        let first = peer.serve("one").await;
        (first, peer.serve("two").await)
    };
    let client = async {
        assert_eq!(get(&agent, "http://A.example:80/x?y").await, "one");
        assert_eq!(get(&agent, "http://a.example/").await, "two");
    };
    let ((), (first, second)) = join!(client, serve);
    assert_eq!(
        first,
        "GET http://A.example/x?y HTTP/1.1\r\nHost: A.example\r\nproxy-authorization: Basic Ym9iOmtleQ==\r\n\r\n"
    );
    assert!(
        second.starts_with("GET http://a.example/ HTTP/1.1\r\n"),
        "{second}"
    );
    assert!(proxy.no_connection().await);
    let name = format!("http://a.example:80 via http://bob:***@{}", proxy.address);
    assert_eq!(agent.stats().group(&name).unwrap().idle(), 1);
}

#[tokio::test]
async fn row_46_the_agents_credentials_replace_the_callers_and_407_is_a_response() {
    let proxy = Listener::new().await;
    let agent = through(http(&proxy).auth("bob", "key"));
    let request = Request::get("http://a.example/").header("Proxy-Authorization", "Basic other");
    let serve = async {
        let mut peer = proxy.accept().await;
        let head = peer.head().await;
        peer.send("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            .await;
        head
    };
    let (response, head) = join!(
        agent.request(request.body(byway_agent::Body::empty()).unwrap()),
        serve
    );
    assert_eq!(response.unwrap().status(), 407);
    assert_eq!(
        head.to_ascii_lowercase()
            .matches("proxy-authorization: ")
            .count(),
        1,
        "{head}"
    );
    assert!(
        head.contains("Basic Ym9iOmtleQ==") && !head.contains("other"),
        "{head}"
    );
}

#[tokio::test]
async fn row_46_a_tunnel_is_kept_for_the_next_request_and_the_proxy_cannot_read_it() {
    let (proxy, site) = (Listener::new().await, Site::new());
    let agent = Agent::builder()
        .proxy(http(&proxy).auth("bob", "key"))
        .tls(site.trusting())
        .build()
        .unwrap();
    let serve = async {
        let mut peer = proxy.accept().await;
        let received = peer.open_tunnel().await;
        let (mut origin, _) = peer.secure(&site).await;
        let first = origin.serve("one").await;
        (received, first, origin.serve("two").await)
    };
    let client = async {
        assert_eq!(get(&agent, "https://a.example/x").await, "one");
        assert_eq!(get(&agent, "https://a.example/y").await, "two");
    };
    let ((), (received, first, second)) = join!(client, serve);
    assert_eq!(
        received,
        "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\nProxy-Authorization: Basic Ym9iOmtleQ==\r\n\r\n"
    );
    assert_eq!(first, "GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert!(second.starts_with("GET /y HTTP/1.1\r\n"), "{second}");
    assert_eq!(agent.stats().counters().opened, 1);
}

#[tokio::test]
async fn row_46_tls_to_an_https_proxy_and_tls_to_the_origin_inside_it() {
    let (proxy, site) = (Listener::new().await, Site::new());
    let to = Proxy::https(&proxy.address.to_string()).unwrap();
    let agent = Agent::builder()
        .proxy(to)
        .tls(site.trusting())
        .build()
        .unwrap();
    let serve = async {
        let (mut peer, _) = proxy.accept().await.secure(&site).await;
        peer.open_tunnel().await;
        let (mut origin, _) = peer.secure(&site).await;
        origin.serve("inside").await
    };
    let (text, head) = join!(get(&agent, "https://b.example/"), serve);
    assert_eq!(
        (text.as_str(), head.as_str()),
        ("inside", "GET / HTTP/1.1\r\nHost: b.example\r\n\r\n")
    );
}

#[tokio::test]
async fn row_46_an_ipv6_address_is_sent_in_brackets() {
    let proxy = Listener::new().await;
    let agent = through(http(&proxy));
    let serve = async {
        let mut peer = proxy.accept().await;
        let plain = peer.serve("plain").await;
        let mut peer = proxy.accept().await;
        let received = peer.head().await;
        (plain, received)
    };
    let client = async {
        assert_eq!(get(&agent, "http://[2001:db8::1]:81/").await, "plain");
        get_error(&agent, "https://[2001:db8::1]/").await
    };
    let (_, (plain, received)) = join!(client, serve);
    assert!(
        plain.starts_with("GET http://[2001:db8::1]:81/ HTTP/1.1\r\nHost: [2001:db8::1]:81\r\n"),
        "{plain}"
    );
    assert!(
        received.starts_with("CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n"),
        "{received}"
    );
}

#[tokio::test]
async fn row_46_socks5h_sends_names_and_its_streams_are_kept() {
    let proxy = Listener::new().await;
    let agent = through(Proxy::socks5h(&proxy.address.to_string()).unwrap());
    let serve = async {
        let mut peer = proxy.accept().await;
        let received = peer.open_socks5().await;
        let first = peer.serve("one").await;
        peer.serve("two").await;
        (received, first)
    };
    let client = async {
        assert_eq!(get(&agent, "http://name.example:8080/").await, "one");
        assert_eq!(get(&agent, "http://name.example:8080/").await, "two");
    };
    let ((), (received, first)) = join!(client, serve);
    assert_eq!(received, b"name.example\x1f\x90");
    assert_eq!(first, "GET / HTTP/1.1\r\nHost: name.example:8080\r\n\r\n");
}

#[tokio::test]
async fn row_46_names_are_resolved_locally_for_socks5_and_socks4() {
    let proxy = Listener::new().await;
    let at = proxy.address.to_string();
    let socks5 = through(Proxy::socks5(&at).unwrap());
    let serve = async {
        let mut peer = proxy.accept().await;
        let received = peer.open_socks5().await;
        peer.serve("by address").await;
        received
    };
    let (text, received) = join!(get(&socks5, "http://localhost:81/"), serve);
    assert_eq!(
        (text.as_str(), received),
        ("by address", [&[0; 15], &[1, 0, 81][..]].concat())
    );

    let socks4 = through(Proxy::socks4(&at).unwrap().auth("bob", ""));
    let serve = async {
        let mut peer = proxy.accept().await;
        let received = peer.exactly(12).await;
        peer.send(b"\x00\x5a\x00\x00\x00\x00\x00\x00").await;
        peer.serve("by address").await;
        received
    };
    let (text, received) = join!(get(&socks4, "http://localhost:81/"), serve);
    assert_eq!(
        (text.as_str(), received.as_slice()),
        (
            "by address",
            &b"\x04\x01\x00\x51\x7f\x00\x00\x01bob\x00"[..]
        )
    );
}

#[tokio::test]
async fn row_46_the_limit_for_an_origin_applies_through_a_proxy() {
    let proxy = Listener::new().await;
    let agent = Agent::builder()
        .proxy(http(&proxy))
        .max_per_origin(1)
        .build()
        .unwrap();
    let first = async { text(agent.get("http://a.example/1").await).await };
    let second = async { text(agent.get("http://a.example/2").await).await };
    let other = async { text(agent.get("http://b.example/").await).await };
    let serve = async {
        let mut peer = proxy.accept().await;
        peer.head().await;
        // The second request waits; a request to another origin does not.
        let mut of_other = proxy.accept().await;
        of_other.serve("other").await;
        assert!(proxy.no_connection().await);
        let name = format!("http://a.example:80 via http://{}", proxy.address);
        let stats = agent.stats();
        let group = stats.group(&name).unwrap();
        assert_eq!((group.open(), group.pending()), (1, 1));
        peer.send(crate::memory::ok("first")).await;
        peer.serve("second").await;
    };
    let (first, second, other, ()) = join!(first, second, other, serve);
    assert_eq!([first, second, other], ["first", "second", "other"]);
    assert!(proxy.no_connection().await);
}

#[tokio::test]
async fn row_46_a_no_proxy_target_goes_direct_and_never_over_a_connection_to_the_proxy() {
    let (proxy, origin) = (Listener::new().await, Listener::new().await);
    let variables = [
        ("http_proxy", proxy.address.to_string()),
        ("no_proxy", "127.0.0.0/8".into()),
    ];
    let environment = Environment::of(variables).unwrap();
    let by_list = http(&proxy).no_proxy("127.0.0.1").unwrap();
    for covered in [Proxy::from(environment), by_list] {
        // One group for both; the two routes are kept apart in it.
        let agent = Agent::builder()
            .proxy(covered)
            .group_by(|_| Some("all"))
            .build()
            .unwrap();
        let serve_origin = async {
            let mut peer = origin.accept().await;
            (peer.serve("direct").await, peer)
        };
        let url = format!("http://{}/", origin.address);
        let (answer, (head, _kept)) = join!(get(&agent, &url), serve_origin);
        assert!(answer == "direct" && head.starts_with("GET / "), "{head}");
        let serve_proxy = async { proxy.accept().await.serve("by proxy").await };
        let (answer, head) = join!(get(&agent, "http://a.example/"), serve_proxy);
        assert!(
            answer == "by proxy" && head.starts_with("GET http://a.example/ "),
            "{head}"
        );
    }
}

#[tokio::test]
async fn row_46_a_refused_tunnel_reports_the_reason_and_frees_its_permit() {
    let endless = format!("HTTP/1.1 200 OK\r\nA: {}", "a".repeat(20_000));
    let table: [(&str, &str); 8] = [
        (
            "HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n",
            "does not accept our credentials",
        ),
        ("HTTP/1.1 403 No\r\n\r\n", "its rules forbid the target"),
        (
            "HTTP/1.1 502 Bad Gateway\r\n\r\n",
            "cannot reach the target (HTTP status 502)",
        ),
        (
            "HTTP/1.1 301 Moved\r\nLocation: http://x/\r\n\r\n",
            "(HTTP status 301)",
        ),
        ("", "closed the connection before its answer was complete"),
        (
            "HTTP/1.1 200 OK\r\nA: b",
            "closed the connection before its answer was complete",
        ),
        (
            "HTTP/1.1 2x0 OK\r\n\r\n",
            "the status line of its answer is malformed",
        ),
        (&endless, "longer than 16 KiB"),
    ];
    let proxy = Listener::new().await;
    let events = Events::default();
    let builder = Agent::builder()
        .proxy(http(&proxy))
        .max_total(1)
        .on_event(events.observe());
    let agent = builder.build().unwrap();
    for (answer, why) in table {
        let serve = async {
            let mut peer = proxy.accept().await;
            let received = peer.head().await;
            peer.send(answer).await;
            received
        };
        let (error, received) = join!(get_error(&agent, "https://a.example/"), serve);
        assert!(received.starts_with("CONNECT a.example:443 "), "{received}");
        assert!(
            matches!(error, Error::Connect { .. }) && error.is_retryable(),
            "{error}"
        );
        assert!(error.to_string().contains(why), "{error}");
        assert_eq!(agent.stats().totals().open(), 0);
    }
    assert_eq!(events.lines(), ["connect failed"; 8]);
}

#[tokio::test]
async fn row_46_a_silent_proxy_fails_after_the_connect_timeout() {
    let (proxy, limit) = (Listener::new().await, Duration::from_millis(100));
    let agent = Agent::builder()
        .proxy(http(&proxy))
        .connect_timeout(limit)
        .build()
        .unwrap();
    let serve = async {
        let mut peer = proxy.accept().await;
        peer.head().await;
        peer.ended().await
    };
    let (error, ended) = join!(get_error(&agent, "https://a.example/"), serve);
    assert!(
        matches!(error, Error::Timeout { which: Which::Connect, after } if after == limit),
        "{error}"
    );
    assert!(ended && agent.stats().totals().open() == 0);
}

#[tokio::test]
async fn row_46_a_url_with_a_line_end_never_reaches_the_proxy() {
    let proxy = Listener::new().await;
    let agent = through(http(&proxy));
    for url in [
        "https://a.example\r\nX: y/",
        "http://a.example/\r\nX: y",
        "http://a.example:80\r\n/",
    ] {
        assert!(
            matches!(get_error(&agent, url).await, Error::InvalidRequest { .. }),
            "{url:?}"
        );
    }
    assert!(proxy.no_connection().await);
}

#[tokio::test]
async fn credentials_for_a_proxy_are_not_sent_to_an_origin() {
    let proxy = Listener::new().await;
    let agent = through(http(&proxy).no_proxy("b.example").unwrap());
    for url in ["https://a.example/", "http://b.example/"] {
        let request = Request::get(url).header("proxy-authorization", "Basic secret");
        let error = agent
            .request(request.body(byway_agent::Body::empty()).unwrap())
            .await
            .unwrap_err();
        assert!(
            matches!(error, Error::InvalidRequest { .. }) && !error.to_string().contains("secret"),
            "{error}"
        );
    }
    assert!(proxy.no_connection().await);
}

#[tokio::test]
async fn an_upgrade_takes_a_tunnel_through_an_http_proxy() {
    let proxy = Listener::new().await;
    let agent = through(http(&proxy));
    let request = Request::get("http://a.example/chat")
        .header("connection", "upgrade")
        .header("upgrade", "chat");
    let serve = async {
        let mut peer = proxy.accept().await;
        let received = peer.open_tunnel().await;
        let head = peer.head().await;
        peer.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n",
        )
        .await;
        (received, head)
    };
    let (response, (received, head)) = join!(
        agent.request(request.body(byway_agent::Body::empty()).unwrap()),
        serve
    );
    assert_eq!(response.unwrap().status(), 101);
    assert!(
        received.starts_with("CONNECT a.example:80 ") && head.starts_with("GET /chat HTTP/1.1\r\n"),
        "{received}{head}"
    );
}

#[tokio::test]
async fn a_routing_may_return_several_routes_and_its_failure_never_means_direct() {
    let origin = Listener::new().await;
    let unused = Listener::new().await.address;
    let down = format!("socks5h://{unused}");
    let routing = move |_: Purpose, target: &Target| match target.port() {
        Some(1) => Err(NoRoute("the script ran out of its budget".into())),
        Some(2) => Ok(Vec::new()),
        _ => Ok(vec![
            Route::Tunnel(std::sync::Arc::new(down.parse().unwrap())),
            Route::Direct,
        ]),
    };
    let agent = through(Proxy::by(routing));
    let url = format!("http://{}/", origin.address);
    let (answer, _) = join!(get(&agent, &url), async {
        origin.accept().await.serve("the second route").await
    });
    assert_eq!(answer, "the second route");
    let name = format!(
        "{} via socks5h://{unused}, else direct",
        url.trim_end_matches('/')
    );
    assert_eq!(agent.stats().group(&name).unwrap().idle(), 1);
    let error = get_error(&agent, "http://127.0.0.1:1/").await;
    assert_eq!(
        error.to_string(),
        "no connection to 127.0.0.1:1: the script ran out of its budget"
    );
    let error = get_error(&agent, "http://127.0.0.1:2/").await;
    assert!(
        error
            .to_string()
            .ends_with("the proxy routing returned no route"),
        "{error}"
    );
}

#[tokio::test]
async fn a_request_that_is_dropped_in_its_tunnel_closes_the_tunnel() {
    let proxy = Listener::new().await;
    let agent = through(http(&proxy));
    let mut peer: Peer = {
        let mut request = pin!(agent.get("https://a.example/"));
        begin(request.as_mut()).await;
        let accept = async {
            let mut peer = proxy.accept().await;
            peer.head().await;
            peer
        };
        tokio::select! {
            peer = accept => peer,
            response = request => panic!("{response:?}"),
        }
    };
    assert!(peer.ended().await);
    assert_eq!(agent.stats().totals().open(), 0);
}

#[test]
fn an_unusable_proxy_is_refused_when_the_agent_is_built() {
    let build = |proxy: Proxy| Agent::builder().proxy(proxy).build().map(drop);
    let colon = build(Proxy::http("p").unwrap().auth("a:b", ""));
    assert!(matches!(colon, Err(BuildError::Proxy(_))), "{colon:?}");
    let long = build(Proxy::socks5("p").unwrap().auth("a", "x".repeat(256)));
    assert!(matches!(long, Err(BuildError::Proxy(_))), "{long:?}");
    let environment = Proxy::from(Environment::default());
    assert!(matches!(
        build(environment.clone().auth("a", "b")),
        Err(BuildError::Conflict { .. })
    ));
    assert!(matches!(
        build(environment.no_proxy("*").unwrap()),
        Err(BuildError::Conflict { .. })
    ));
    let with = || Agent::builder().proxy(Proxy::http("p").unwrap());
    for (agent, option) in [
        (with().unix_socket("/run/a"), "unix_socket"),
        (with().one_address("127.0.0.1:1"), "one_address"),
        (
            with().connector(byway_agent::connector_fn(never)),
            "connector",
        ),
    ] {
        assert_eq!(
            agent.build().map(drop),
            Err(BuildError::Conflict {
                option: "proxy",
                other: option
            })
        );
    }
    assert!(
        Proxy::http("").is_err() && Proxy::http("a:b").is_err() && Proxy::url("ftp://a").is_err()
    );
    assert!(Proxy::http("p").unwrap().no_proxy("10.0.0.0/33").is_err());
}

async fn never(_: byway_agent::Target) -> std::io::Result<tokio::io::DuplexStream> {
    Err(std::io::ErrorKind::Unsupported.into())
}
