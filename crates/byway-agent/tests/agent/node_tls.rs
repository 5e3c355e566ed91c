//! Node's https Agent: rows 45 and 48, and the local address. TLS sessions, which agent may resume
//! them, and their keys.

use crate::memory::{get, get_error};
use crate::tcp::{Listener, Site};
use byway_agent::dial::{KeyLog, TlsOptions};
use byway_agent::{Agent, AgentBuilder, BuildError, Error};
use parking_lot::Mutex;
use rustls::HandshakeKind::{Full, Resumed};
use rustls::version::{TLS12, TLS13};
use rustls::{HandshakeKind, SupportedProtocolVersion};
use std::sync::Arc;
use tokio::join;

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// An agent that opens a connection for each request, all to `origin`.
fn agent(origin: &Listener, tls: TlsOptions) -> Agent {
    builder(origin, tls).keep_alive(false).build().unwrap()
}

fn builder(origin: &Listener, tls: TlsOptions) -> AgentBuilder {
    Agent::builder()
        .one_address(origin.address.to_string())
        .tls(tls)
}

/// The kind of handshake that a request for `url` makes.
async fn handshake(agent: &Agent, origin: &Listener, site: &Site, url: &str) -> HandshakeKind {
    let serve = async {
        let (mut peer, kind) = origin.accept().await.secure(site).await;
        peer.serve("hello").await;
        kind
    };
    let (text, kind) = join!(get(agent, url), serve);
    assert_eq!(text, "hello");
    kind
}

#[tokio::test]
async fn row_45_a_session_is_resumed_only_for_its_name() {
    for version in VERSIONS {
        let (origin, site) = (Listener::new().await, Site::speaking(&[version]));
        let agent = agent(&origin, site.trusting());
        let mut kinds = Vec::new();
        for url in [
            "https://a.example/",
            "https://a.example/x",
            "https://b.example/",
            "https://a.example/",
        ] {
            kinds.push(handshake(&agent, &origin, &site, url).await);
        }
        assert_eq!(kinds, [Full, Resumed, Full, Resumed]);
    }
}

#[tokio::test]
async fn row_45_a_session_cache_of_one_server_evicts_and_one_of_zero_keeps_nothing() {
    let (origin, site) = (Listener::new().await, Site::new());
    let urls = [
        "https://a.example/",
        "https://a.example/",
        "https://b.example/",
        "https://a.example/",
    ];
    for (remembered_servers, expected) in [(1, [Full, Resumed, Full, Full]), (0, [Full; 4])] {
        let agent = agent(
            &origin,
            TlsOptions {
                remembered_servers,
                ..site.trusting()
            },
        );
        let mut kinds = Vec::new();
        for url in urls {
            kinds.push(handshake(&agent, &origin, &site, url).await);
        }
        assert_eq!(kinds, expected, "{remembered_servers}");
    }
}

#[tokio::test]
async fn row_45_agents_never_resume_each_others_sessions() {
    let (origin, site) = (Listener::new().await, Site::new());
    let first = agent(&origin, site.trusting());
    assert_eq!(
        handshake(&first, &origin, &site, "https://a.example/").await,
        Full
    );
    let other = agent(&origin, site.trusting());
    assert_eq!(
        handshake(&other, &origin, &site, "https://a.example/").await,
        Full
    );
    assert_eq!(
        handshake(&first, &origin, &site, "https://a.example/").await,
        Resumed
    );
    // An agent with other roots rejects the certificate, whatever other agents have verified.
    let distrusting = agent(&origin, Site::new().trusting());
    let refused = async {
        origin.accept().await.refused(&site).await;
    };
    let (error, ()) = join!(get_error(&distrusting, "https://a.example/"), refused);
    assert!(matches!(error, Error::Connect { .. }), "{error}");
}

#[tokio::test]
async fn row_45_a_session_whose_connection_broke_is_evicted() {
    for version in VERSIONS {
        let (origin, site) = (Listener::new().await, Site::speaking(&[version]));
        let agent = agent(&origin, site.trusting());
        assert_eq!(
            handshake(&agent, &origin, &site, "https://a.example/").await,
            Full
        );
        let (error, kind) = join!(
            get_error(&agent, "https://a.example/"),
            origin.reset_after_handshake(&site)
        );
        assert!(
            matches!(
                error,
                Error::ConnectionLost {
                    source: Some(_),
                    ..
                }
            ),
            "{error}"
        );
        assert_eq!(kind, Resumed);
        assert_eq!(
            handshake(&agent, &origin, &site, "https://a.example/").await,
            Full
        );
    }
}

#[tokio::test]
async fn row_48_keys_are_logged_once_per_handshake_and_not_per_request() {
    let (origin, site) = (Listener::new().await, Site::speaking(&[&TLS12]));
    let lines = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&lines);
    let key_log = Some(KeyLog::new(move |line| sink.lock().push(line.to_owned())));
    let agent = builder(
        &origin,
        TlsOptions {
            key_log,
            ..site.trusting()
        },
    )
    .build()
    .unwrap();
    let serve = async {
        let (mut peer, _) = origin.accept().await.secure(&site).await;
        peer.serve("one").await;
        peer.serve("two").await;
    };
    let client = async {
        assert_eq!(get(&agent, "https://a.example/").await, "one");
        assert_eq!(get(&agent, "https://a.example/").await, "two");
    };
    join!(client, serve);
    let lines = lines.lock();
    assert!(
        lines.len() == 1 && lines[0].starts_with("CLIENT_RANDOM "),
        "{lines:?}"
    );
}

#[tokio::test]
async fn a_connection_starts_from_the_local_address() {
    let origin = Listener::new().await;
    let address: std::net::IpAddr = "127.0.0.9".parse().unwrap();
    let agent = Agent::builder()
        .local_address(address)
        .tcp_keepalive(None)
        .build()
        .unwrap();
    let serve = async {
        let mut peer = origin.accept().await;
        peer.serve("hello").await;
        peer.from.ip()
    };
    let url = format!("http://{}/", origin.address);
    let (text, from) = join!(get(&agent, &url), serve);
    assert_eq!((text.as_str(), from), ("hello", address));
}

#[test]
fn an_agent_offers_only_protocols_that_it_speaks() {
    let with = |alpn: &[&str]| {
        let alpn = alpn
            .iter()
            .map(|protocol| protocol.as_bytes().to_vec())
            .collect();
        Agent::builder()
            .tls(TlsOptions {
                alpn,
                ..TlsOptions::default()
            })
            .build()
            .map(drop)
    };
    assert_eq!(with(&["spdy/3", "http/1.1"]), Err(BuildError::Alpn));
    assert_eq!(with(&["h2", "h3"]), Err(BuildError::Alpn));
    assert_eq!((with(&["http/1.1"]), with(&[])), (Ok(()), Ok(())));
    assert_eq!(with(&["h2", "http/1.1"]), Ok(()));
}
