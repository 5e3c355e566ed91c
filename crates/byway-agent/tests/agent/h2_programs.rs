//! HTTP/2 over sockets: ALPN, and the servers of Node and nginx. A program that is not installed is
//! skipped aloud.

use crate::tcp::{Listener, Site};
use bytes::Bytes;
use byway_agent::{Agent, AgentBuilder, Body, BoxError, OnInterim};
use http::{HeaderMap, Request, Response, Version};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use parking_lot::Mutex;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use tokio::join;
use tokio::task::JoinSet;

fn builder(origin: &Listener, site: &Site) -> AgentBuilder {
    Agent::builder()
        .one_address(origin.address.to_string())
        .tls(site.trusting())
}

/// Serves one connection of HTTP/2 with its answer to every request.
async fn serve_h2(origin: &Listener, site: &Site, text: &'static str) {
    let io = origin.accept().await.secure(site).await.0.into_io();
    let mut conn = h2::server::handshake(io).await.unwrap();
    while let Some(Ok((request, mut respond))) = conn.accept().await {
        assert_eq!(request.uri().scheme_str(), Some("https"));
        let mut body = respond.send_response(Response::new(()), false).unwrap();
        body.send_data(Bytes::from(text), true).unwrap();
    }
}

async fn get(agent: &Agent, url: &str) -> Result<(Version, String), BoxError> {
    let response = agent.get(url).await?;
    let version = response.version();
    Ok((version, response.into_body().text().await?))
}

#[tokio::test]
async fn an_origin_chooses_the_version_by_alpn() {
    let both: &[&str] = &["h2", "http/1.1"];
    for (offered, http2, expected) in [
        (both, true, Version::HTTP_2),
        (both, false, Version::HTTP_11),
        (&["http/1.1"], true, Version::HTTP_11),
        (&[], true, Version::HTTP_11),
    ] {
        let site = Site::offering(rustls::DEFAULT_VERSIONS, offered);
        let origin = Listener::new().await;
        let agent = builder(&origin, &site).http2(http2).build().unwrap();
        let serve = async {
            if expected == Version::HTTP_2 {
                return serve_h2(&origin, &site, "hello").await;
            }
            let mut peer = origin.accept().await.secure(&site).await.0;
            peer.serve("hello").await;
        };
        let request = async {
            let got = get(&agent, "https://a.example/").await;
            agent.close_idle();
            got
        };
        let (got, ()) = join!(request, serve);
        assert_eq!(
            got.unwrap(),
            (expected, "hello".to_owned()),
            "{offered:?} {http2}"
        );
    }
}

#[tokio::test]
async fn an_upgrade_uses_http_1_beside_a_connection_of_http_2() {
    let site = Site::offering(rustls::DEFAULT_VERSIONS, &["h2", "http/1.1"]);
    let origin = Listener::new().await;
    let agent = builder(&origin, &site).build().unwrap();
    let requests = async {
        assert_eq!(
            get(&agent, "https://a.example/").await.unwrap().0,
            Version::HTTP_2
        );
        let upgrade = Request::get("https://a.example/chat")
            .header("connection", "upgrade")
            .header("upgrade", "chat")
            .body(Body::empty())
            .unwrap();
        let response = agent.request(upgrade).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), response.version()),
            (101, Version::HTTP_11)
        );
        assert_eq!(agent.stats().totals().open(), 2);
        drop(response);
        agent.close_idle();
    };
    let origin = async {
        let second = async {
            let mut peer = origin.accept().await.secure(&site).await.0;
            peer.head().await;
            peer.send(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n",
            )
            .await;
            peer
        };
        // The first connection is accepted before the second is dialled.
        let io = origin.accept().await.secure(&site).await.0.into_io();
        let first = async {
            let mut conn = h2::server::handshake(io).await.unwrap();
            while let Some(Ok((_, mut respond))) = conn.accept().await {
                respond.send_response(Response::new(()), true).unwrap();
            }
        };
        join!(first, second)
    };
    join!(requests, origin);
}

/// A server that prints the path of its socket once it listens.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const NODE: &str = r"
const server = require('http2').createServer({ settings: { maxConcurrentStreams: 8 } });
server.on('stream', (stream, head) => {
  stream.on('error', () => {});
  if (head[':method'] === 'GET') stream.additionalHeaders({ ':status': 103, link: '</x>' });
  if (head[':path'] === '/reset') return stream.close(8);
  stream.respond({ ':status': 200, 'x-path': head[':path'] }, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': 'abc' }));
  stream.pipe(stream);
});
server.listen(process.argv[1], () => console.log('ready'));
";

fn node(socket: &std::path::Path) -> Option<Server> {
    let node = Command::new("node")
        .args(["-e", NODE])
        .arg(socket)
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut child) = node else {
        eprintln!("skipped: node is not installed (apt-get install nodejs)");
        return None;
    };
    let stdout = child.stdout.take().unwrap();
    let server = Server(child);
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    Some(server)
}

#[tokio::test]
async fn nodes_server_of_http_2_is_understood() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("node");
    let Some(_server) = node(&socket) else { return };
    let agent = Agent::builder()
        .unix_socket(&socket)
        .http2_prior_knowledge(true)
        .max_per_origin(2)
        .build()
        .unwrap();
    let mut requests = JoinSet::new();
    for n in 0..100_usize {
        let agent = agent.clone();
        requests.spawn(async move {
            let interim = Arc::new(Mutex::new(0));
            let noted = Arc::clone(&interim);
            let data = Bytes::from(vec![b'x'; n * 1000]);
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sent", "1".parse().unwrap());
            let frames = [Frame::data(data.clone()), Frame::trailers(trailers)];
            let body = StreamBody::new(futures_util::stream::iter(frames.map(Ok::<_, BoxError>)));
            let request = Request::post(format!("http://node.example/{n}"))
                .extension(OnInterim::new(move |_| *noted.lock() += 1))
                .body(body)
                .unwrap();
            let response = agent.request(request).await.unwrap();
            assert_eq!(response.headers()["x-path"], format!("/{n}"));
            let body = response.into_body().collect().await.unwrap();
            assert_eq!(body.trailers().unwrap()["x-sum"], "abc");
            assert!(body.to_bytes() == data);
        });
    }
    while let Some(done) = requests.join_next().await {
        done.unwrap();
    }
    assert!(agent.stats().counters().opened <= 2);
    let interim = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&interim);
    let request = Request::get("http://node.example/")
        .extension(OnInterim::new(move |early| {
            noted.lock().push(early.headers()["link"].clone())
        }))
        .body(Body::empty())
        .unwrap();
    let response = agent.request(request).await.unwrap();
    assert_eq!(response.into_body().bytes(0).await.unwrap(), "");
    assert_eq!(*interim.lock(), ["</x>"]);
    let reset = agent.get("http://node.example/reset").await.unwrap_err();
    assert_eq!(reset.to_string(), "the request's stream was reset (CANCEL)");
    assert_eq!(agent.shutdown(std::time::Duration::from_secs(20)).await, 0);
}

/// nginx with HTTP/2 on a socket of this folder. It returns once it listens.
struct Nginx(std::path::PathBuf);

impl Nginx {
    fn start(folder: &std::path::Path) -> Option<Self> {
        let path = folder.display();
        let config = format!(
            "pid {path}/pid;\nerror_log {path}/error.log;\nevents {{ worker_connections 256; }}\nhttp {{\n\
             access_log off;\nclient_body_temp_path {path}/1;\nproxy_temp_path {path}/2;\nfastcgi_temp_path {path}/3;\n\
             uwsgi_temp_path {path}/4;\nscgi_temp_path {path}/5;\nkeepalive_requests 50;\nserver {{\n\
             listen unix:{path}/nginx http2;\nlocation / {{ return 200 \"$request_uri\"; }}\n}}\n}}\n"
        );
        let file = folder.join("nginx.conf");
        std::fs::write(&file, config).unwrap();
        match Command::new("nginx")
            .arg("-c")
            .arg(&file)
            .arg("-e")
            .arg(folder.join("first.log"))
            .output()
        {
            Ok(started) if started.status.success() => Some(Self(file)),
            Ok(started) => panic!("{}", String::from_utf8_lossy(&started.stderr)),
            Err(_) => {
                eprintln!("skipped: nginx is not installed (apt-get install nginx-light)");
                None
            }
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = Command::new("nginx")
            .arg("-c")
            .arg(&self.0)
            .args(["-s", "stop"])
            .output();
    }
}

#[tokio::test]
async fn every_request_is_served_by_nginx_which_ends_each_connection_after_fifty() {
    let folder = tempfile::tempdir().unwrap();
    let Some(_nginx) = Nginx::start(folder.path()) else {
        return;
    };
    let agent = Agent::builder()
        .unix_socket(folder.path().join("nginx"))
        .http2_prior_knowledge(true)
        .build()
        .unwrap();
    let mut lanes = JoinSet::new();
    for lane in 0..16 {
        let agent = agent.clone();
        lanes.spawn(async move {
            for n in 0..40 {
                let path = format!("/{lane}/{n}");
                let got = get(&agent, &format!("http://nginx.example{path}")).await;
                assert_eq!(got.unwrap(), (Version::HTTP_2, path));
            }
        });
    }
    while let Some(done) = lanes.join_next().await {
        done.unwrap();
    }
    let counters = agent.stats().counters();
    assert!(counters.opened >= 640 / 50, "{counters:?}");
    assert_eq!(agent.stats().totals().streams(), 0);
}
