//! Over real sockets on loopback: TCP, Unix, TLS, one address for all, and Node as an origin.

use bytes::Bytes;
use byway_agent::{Agent, AgentBuilder, Body, Error, connector_fn};
use byway_dial::{DialError, Roots};
use byway_testkit::Origin;
use byway_testkit::origin::ok;
use http::Request;
use http_body_util::{BodyExt, Full};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{HandshakeKind, ServerConfig};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

async fn text(agent: &Agent, url: &str) -> String {
    agent
        .get(url)
        .await
        .unwrap()
        .into_body()
        .text()
        .await
        .unwrap()
}

#[tokio::test]
async fn sequential_requests_share_a_tcp_connection_and_their_bodies_are_complete() {
    let origin = Origin::useful();
    let agent = Agent::new();
    for n in [0, 1, 1000, 100_000, 2_000_000] {
        for kind in ["bytes", "chunked"] {
            let url = format!("http://{}/{kind}/{n}", origin.address());
            let response = agent.get(url).await.unwrap();
            assert_eq!(response.body().remote_addr(), Some(origin.address()));
            assert_eq!(response.into_body().bytes(n).await.unwrap().len(), n);
        }
    }
    assert_eq!(origin.connections(), 1);
    let body = Full::new(Bytes::from(vec![7; 1_000_000]));
    let request = Request::post(format!("http://{}/sum", origin.address()))
        .body(body)
        .unwrap();
    let sum = agent
        .request(request)
        .await
        .unwrap()
        .into_body()
        .text()
        .await
        .unwrap();
    assert!(sum.starts_with("1000000 "), "{sum}");
    let collected = agent
        .get(format!("http://{}/", origin.address()))
        .await
        .unwrap()
        .into_body()
        .collect()
        .await
        .unwrap();
    assert_eq!(collected.to_bytes(), "hello");
    assert_eq!(
        (origin.connections(), agent.stats().totals().idle()),
        (1, 1)
    );
}

#[tokio::test]
async fn names_are_looked_up() {
    let origin = Origin::named("found");
    let url = format!("http://localhost:{}/", origin.address().port());
    assert_eq!(text(&Agent::new(), &url).await, "found");
    let error = Agent::new()
        .get("http://no-such-name.invalid/")
        .await
        .map(|_| ())
        .unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error}");
}

#[tokio::test]
async fn bytes_and_ends_on_an_idle_socket_are_detected_before_reuse() {
    // Each connection serves one request and is then poisoned, or ended; the channel reports when.
    let (poisoned, events) = std::sync::mpsc::channel();
    let origin = Origin::scripted(move |conn| {
        if conn.request().is_some() {
            conn.send(ok("clean"));
            match conn.number % 2 {
                0 => conn.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"),
                _ => conn.finish(),
            };
            poisoned.send(()).unwrap();
            conn.hold();
        }
    });
    let agent = Agent::new();
    for _ in 0..6 {
        assert_eq!(
            text(&agent, &format!("http://{}/", origin.address())).await,
            "clean"
        );
        events.recv().unwrap();
    }
    let counters = agent.stats().counters();
    assert_eq!((counters.opened, counters.reused), (6, 0));
}

/// Whether the probe before reuse finds the end or the retry does, a GET never fails.
#[tokio::test]
async fn an_origin_that_closes_after_each_response_without_notice_fails_no_get() {
    let origin = Origin::scripted(|conn| {
        if conn.request().is_some() {
            conn.send(ok("once"));
        }
    });
    let agent = Agent::new();
    for _ in 0..200 {
        assert_eq!(
            text(&agent, &format!("http://{}/", origin.address())).await,
            "once"
        );
    }
    assert_eq!(origin.connections(), 200);
}

#[tokio::test]
async fn the_body_of_a_response_can_be_the_body_of_a_request() {
    let origin = Origin::useful();
    let agent = Agent::builder().max_per_origin(2).build().unwrap();
    for kind in ["bytes", "chunked"] {
        let response = agent
            .get(format!("http://{}/{kind}/3000000", origin.address()))
            .await
            .unwrap();
        let onward = Request::post(format!("http://{}/sum", origin.address()))
            .body(response.into_body())
            .unwrap();
        let sum = agent
            .request(onward)
            .await
            .unwrap()
            .into_body()
            .text()
            .await
            .unwrap();
        assert!(sum.starts_with("3000000 "), "{sum}");
    }
    assert_eq!(
        (origin.connections(), agent.stats().totals().idle()),
        (2, 2)
    );
}

#[tokio::test]
async fn row_44_ten_requests_over_a_unix_socket_share_one_connection() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut heads = 0;
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut line = String::new();
        while reader.read_line(&mut line).unwrap() > 0 {
            if line == "\r\n" {
                heads += 1;
                stream.write_all(ok("unix").as_bytes()).unwrap();
            }
            line.clear();
        }
        heads
    });
    let agent = Agent::builder().unix_socket(&path).build().unwrap();
    for _ in 0..10 {
        assert_eq!(text(&agent, "http://localhost/v1/info").await, "unix");
    }
    assert_eq!(
        agent
            .stats()
            .groups()
            .map(|group| group.name())
            .collect::<Vec<_>>(),
        ["http://localhost:80"]
    );
    assert_eq!(agent.stats().counters().opened, 1);
    agent.close_idle();
    assert_eq!(served.join().unwrap(), 10);
}

/// The two workarounds of Node: `getName` (one group for several hosts) and `createConnection` (one
/// address for all).
#[tokio::test]
async fn all_requests_go_to_one_address_and_keep_their_host() {
    let origin = Origin::useful();
    let builder = Agent::builder().one_address(origin.address().to_string());
    let agent = builder.clone().build().unwrap();
    for host in ["xxx.com", "yyy.com"] {
        let head = text(&agent, &format!("http://{host}/head")).await;
        assert!(head.contains(&format!("Host: {host}")), "{head}");
    }
    assert_eq!((origin.connections(), agent.stats().groups().len()), (2, 2));

    let merged = builder.group_by(|_| Some("all of them")).build().unwrap();
    for host in ["xxx.com", "yyy.com"] {
        text(&merged, &format!("http://{host}/")).await;
    }
    assert_eq!(
        (origin.connections(), merged.stats().groups().len()),
        (3, 1)
    );
}

#[tokio::test]
async fn a_refused_connection_has_its_own_error_and_a_connector_of_sockets_is_recognised() {
    let (refusing, _socket) = Origin::refusing();
    let error = Agent::new()
        .get(format!("http://{refusing}/"))
        .await
        .map(|_| ())
        .unwrap_err();
    let Error::Connect { source, .. } = &error else {
        panic!("{error}")
    };
    assert!(
        matches!(source.downcast_ref(), Some(DialError::Refused { .. })),
        "{error}"
    );

    let origin = Origin::useful();
    let address = origin.address();
    let connector = connector_fn(move |_| TcpStream::connect(address));
    let agent = Agent::builder().connector(connector).build().unwrap();
    let response = agent.get("http://a.example/").await.unwrap();
    assert_eq!(response.body().remote_addr(), Some(address));
}

#[tokio::test]
async fn connections_start_from_the_configured_local_address() {
    let origin = Origin::useful();
    let agent = Agent::builder()
        .local_address([127, 0, 0, 9].into())
        .build()
        .unwrap();
    let response = agent
        .get(format!("http://{}/", origin.address()))
        .await
        .unwrap();
    assert_eq!(
        response.body().local_addr().unwrap().ip().to_string(),
        "127.0.0.9"
    );
}

/// A TLS origin for `a.example` and 127.0.0.1. Its response has the server name that was sent,
/// whether the session was resumed, and the protocol.
struct TlsOrigin {
    address: SocketAddr,
    root: CertificateDer<'static>,
    serving: tokio::task::JoinSet<()>,
}

impl TlsOrigin {
    async fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(
            DnType::CommonName,
            format!("root of {:?}", key.public_key_raw().first_chunk::<8>()),
        );
        let root = params.self_signed(&key).unwrap().der().clone();
        let issuer = Issuer::new(params, key);
        let leaf_key = KeyPair::generate().unwrap();
        let leaf =
            CertificateParams::new(["a.example".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&leaf_key, &issuer).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![leaf.der().clone()],
                PrivateKeyDer::Pkcs8(leaf_key.serialize_der().into()),
            )
            .unwrap();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let (listener, acceptor) = (
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TlsAcceptor::from(Arc::new(config)),
        );
        let address = listener.local_addr().unwrap();
        let mut serving = tokio::task::JoinSet::new();
        serving.spawn(async move {
            let mut sessions = tokio::task::JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let acceptor = acceptor.clone();
                sessions.spawn(async move {
                    let Ok(mut session) = acceptor.accept(socket).await else {
                        return;
                    };
                    let (_, tls) = session.get_ref();
                    let kind = if tls.handshake_kind() == Some(HandshakeKind::Resumed) {
                        "resumed"
                    } else {
                        "full"
                    };
                    let alpn = String::from_utf8_lossy(tls.alpn_protocol().unwrap_or_default())
                        .into_owned();
                    let text = format!("{} {kind} {alpn}", tls.server_name().unwrap_or("no name"));
                    let mut head = Vec::new();
                    while let Ok(byte) = session.read_u8().await {
                        head.push(byte);
                        if head.ends_with(b"\r\n\r\n") {
                            head.clear();
                            session.write_all(ok(&text).as_bytes()).await.unwrap();
                        }
                    }
                });
            }
        });
        Self {
            address,
            root,
            serving,
        }
    }

    /// An agent that trusts this origin and dials it for every host.
    fn agent(&self, build: impl FnOnce(AgentBuilder) -> AgentBuilder) -> Agent {
        let builder = Agent::builder().tls_roots(Roots::Only(vec![self.root.clone()]));
        build(builder.one_address(self.address.to_string()))
            .build()
            .unwrap()
    }
}

#[tokio::test]
async fn row_09_the_server_name_is_the_host_without_port_and_an_address_sends_none() {
    let origin = TlsOrigin::new().await;
    let agent = origin.agent(|builder| builder);
    assert_eq!(
        text(&agent, "https://a.example:444/").await,
        "a.example full http/1.1"
    );
    assert_eq!(
        text(&agent, "https://127.0.0.1/").await,
        "no name full http/1.1"
    );
    let host = Request::get("https://127.0.0.1/")
        .header("host", "A.example:1")
        .body(Body::empty())
        .unwrap();
    let answer = agent
        .request(host)
        .await
        .unwrap()
        .into_body()
        .text()
        .await
        .unwrap();
    assert!(answer.starts_with("a.example "), "{answer}");
    assert!(!origin.serving.is_empty());
}

#[tokio::test]
async fn a_certificate_for_another_name_or_of_another_root_is_refused() {
    let origin = TlsOrigin::new().await;
    let wrong_name = origin
        .agent(|builder| builder)
        .get("https://b.example/")
        .await
        .map(|_| ())
        .unwrap_err();
    assert!(wrong_name.to_string().contains("is for"), "{wrong_name}");
    let other = TlsOrigin::new().await;
    let wrong_root =
        origin.agent(|builder| builder.tls_roots(Roots::Only(vec![other.root.clone()])));
    let wrong_root = wrong_root
        .get("https://a.example/")
        .await
        .map(|_| ())
        .unwrap_err();
    assert!(
        wrong_root.to_string().contains("has no trusted issuer"),
        "{wrong_root}"
    );
    assert!(matches!(wrong_root, Error::Connect { .. }) && wrong_root.is_retryable());
}

#[tokio::test]
async fn row_45_sessions_are_resumed_within_an_agent_and_never_across_two() {
    let origin = TlsOrigin::new().await;
    let agent = origin.agent(|builder| builder);
    assert_eq!(
        text(&agent, "https://a.example/").await,
        "a.example full http/1.1"
    );
    assert_eq!(
        text(&agent, "https://a.example/").await,
        "a.example full http/1.1"
    ); // the same connection
    agent.close_idle();
    assert_eq!(
        text(&agent, "https://a.example/").await,
        "a.example resumed http/1.1"
    );
    // Another agent may verify differently, so it starts a new session.
    assert_eq!(
        text(&origin.agent(|builder| builder), "https://a.example/").await,
        "a.example full http/1.1"
    );
}

/// The real `http.createServer`. It sends `Keep-Alive: timeout=60`, which the agent uses.
#[tokio::test]
async fn the_http_server_of_node_is_an_origin_like_any_other() {
    const PROGRAM: &str = r"
        const server = require('http').createServer((req, res) => {
            let body = 0;
            req.on('data', data => body += data.length);
            req.on('end', () => { res.setHeader('x-socket', req.socket.remotePort); res.end(`${req.method} ${req.url} ${body}`); });
        });
        server.keepAliveTimeout = 60000;
        server.on('upgrade', (req, socket) => {
            socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello');
            socket.pipe(socket);
        });
        server.listen(0, '127.0.0.1', () => console.log(server.address().port));
        process.stdin.on('end', () => process.exit()).resume();
    ";
    let node = Command::new("node")
        .args(["-e", PROGRAM])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut node = match node {
        Ok(node) => node,
        Err(error) => return eprintln!("node is not installed; the test is skipped: {error}"),
    };
    let mut port = String::new();
    BufReader::new(node.stdout.take().unwrap())
        .read_line(&mut port)
        .unwrap();
    let url = format!("http://127.0.0.1:{}", port.trim());
    let agent = Agent::builder().max_per_origin(2).build().unwrap();
    let mut sockets = std::collections::HashSet::new();
    for n in 0..20 {
        let request = match n % 3 {
            0 => Request::get(format!("{url}/{n}")).body(Body::empty()),
            1 => Request::post(format!("{url}/{n}")).body(Body::from(vec![7; 100_000])),
            _ => Request::put(format!("{url}/{n}"))
                .header("expect", "100-continue")
                .body(Body::from("x")),
        };
        let response = agent.request(request.unwrap()).await.unwrap();
        sockets.insert(response.headers()["x-socket"].clone());
        let expected = format!(
            "{} /{n} {}",
            ["GET", "POST", "PUT"][n % 3],
            [0, 100_000, 1][n % 3]
        );
        assert_eq!(response.into_body().text().await.unwrap(), expected);
    }
    assert_eq!((sockets.len(), agent.stats().counters().opened), (1, 1));
    let upgrade = Request::get(&url)
        .header("connection", "upgrade")
        .header("upgrade", "echo")
        .body(Body::empty());
    let mut upgraded = agent
        .request(upgrade.unwrap())
        .await
        .unwrap()
        .into_body()
        .upgraded()
        .unwrap();
    upgraded.write_all(b" you").await.unwrap();
    let mut echoed = [0; 9];
    upgraded.read_exact(&mut echoed).await.unwrap();
    assert_eq!(&echoed, b"hello you");
    drop(node.stdin.take());
    let _ = node.wait();
}
