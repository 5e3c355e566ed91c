//! A node as the authority sees it: a keeper, port 80 and port 443 (5002 and 5001 here).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use byway_agent::Agent;
use byway_agent::dial::{Roots, Stream};
use byway_testkit::{PATIENCE, Pebble};
use byway_tls::acme::{
    Authority, ChallengeKind, Failure, HttpAnswers, HttpClient, Keeper, Name, Options,
    ResponseFuture, Source, Status,
};
use byway_tls::{CertificateStore, Challenges, ServerOptions, TicketSecret, TlsServer};
use futures_util::stream::{FuturesUnordered, StreamExt};
use http::Request;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A runtime of one thread, and nothing that runs longer than a test may.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let limited = async { tokio::time::timeout(4 * PATIENCE, test).await };
    runtime
        .unwrap()
        .block_on(limited)
        .expect("the test ends in time")
}

/// The HTTP client, with what tests want to know and to do.
pub(crate) struct Client {
    agent: Agent,
    /// Requests to these paths so far.
    pub(crate) orders: AtomicUsize,
    /// Orders that say what they replace.
    pub(crate) replacing: AtomicUsize,
    pub(crate) accounts: AtomicUsize,
    sent: AtomicUsize,
    /// After this many requests no answer arrives any more.
    pub(crate) cut_after: AtomicUsize,
    pub(crate) is_cut: tokio::sync::Notify,
}

impl Client {
    pub(crate) fn new(root: &Path) -> Arc<Self> {
        let certificate = CertificateDer::from_pem_file(root).unwrap();
        let roots = Roots::Only(vec![certificate]);
        Arc::new(Self {
            agent: Agent::builder().tls_roots(roots).build().unwrap(),
            orders: AtomicUsize::new(0),
            replacing: AtomicUsize::new(0),
            accounts: AtomicUsize::new(0),
            sent: AtomicUsize::new(0),
            cut_after: AtomicUsize::new(usize::MAX),
            is_cut: tokio::sync::Notify::new(),
        })
    }

    pub(crate) fn cut_after(&self, requests: usize) {
        self.sent.store(0, Ordering::SeqCst);
        self.cut_after.store(requests, Ordering::SeqCst);
    }
}

/// Counts for the node, too.
#[derive(Clone)]
pub(crate) struct Shared(pub(crate) Arc<Client>);

impl HttpClient for Shared {
    fn send(&self, request: Request<Bytes>, most_bytes: usize) -> ResponseFuture {
        let client = self.0.clone();
        Box::pin(async move {
            let path = request.uri().path().to_owned();
            match &*path {
                "/order-plz" => {
                    let is_replacing = payload(request.body()).contains("\"replaces\"");
                    let replacing = &client.replacing;
                    replacing.fetch_add(is_replacing.into(), Ordering::SeqCst);
                    client.orders.fetch_add(1, Ordering::SeqCst)
                }
                "/sign-me-up" => client.accounts.fetch_add(1, Ordering::SeqCst),
                _ => 0,
            };
            let (head, body) = request.into_parts();
            let request = Request::from_parts(head, byway_agent::Body::from(body));
            let response = client.agent.request(request).await?;
            let (head, body) = response.into_parts();
            let body = body.bytes(most_bytes).await?;
            if client.sent.fetch_add(1, Ordering::SeqCst) >= client.cut_after.load(Ordering::SeqCst)
            {
                client.is_cut.notify_one();
                std::future::pending::<()>().await;
            }
            Ok(http::Response::from_parts(head, body))
        })
    }
}

/// The payload of a signed request.
fn payload(body: &[u8]) -> String {
    let json: serde_json::Value = serde_json::from_slice(body).unwrap();
    let payload = json["payload"].as_str().unwrap();
    String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// A keeper with its listeners. They end with the runtime.
pub(crate) struct Node {
    pub(crate) keeper: Keeper,
    pub(crate) store: Arc<CertificateStore>,
    pub(crate) client: Arc<Client>,
    /// Seconds that the clock of the keeper is ahead.
    ahead: Arc<AtomicU64>,
    running: tokio::task::JoinHandle<()>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.running.abort();
    }
}

pub(crate) fn authority(directory: &str) -> Authority {
    Authority {
        directory: directory.to_owned(),
        email: Some("admin@example.test".to_owned()),
        binding: None,
        profile: None,
    }
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

impl Node {
    /// What is wanted from an authority.
    pub(crate) fn source(
        &self,
        directory: &str,
        names: &[&str],
        challenge: ChallengeKind,
    ) -> Source {
        Source {
            authority: authority(directory),
            names: names.iter().map(|text| name(text)).collect(),
            challenge,
            dns: None,
            dns_delay: Duration::ZERO,
            on_demand: None,
            client: Arc::new(Shared(self.client.clone())),
        }
    }

    /// A node that keeps its state in `state`, without names.
    pub(crate) async fn start(pebble: &Pebble, state: &Path) -> Self {
        Self::start_with(Client::new(&pebble.https_root()), state, 0).await
    }

    pub(crate) async fn start_with(client: Arc<Client>, state: &Path, ahead: u64) -> Self {
        let store = Arc::new(CertificateStore::new());
        let challenges: Arc<Challenges> = Arc::default();
        let ahead = Arc::new(AtomicU64::new(ahead));
        let clock = {
            let ahead = ahead.clone();
            move || SystemTime::now() + Duration::from_secs(ahead.load(Ordering::SeqCst))
        };
        let keeper = Keeper::new(Options {
            state: state.to_owned(),
            certificates: store.clone(),
            challenges: challenges.clone(),
            clock: Arc::new(clock),
        });
        let answers = keeper.http_answers().clone();
        let http = TcpListener::bind("127.0.0.1:5002").await.unwrap();
        let tls = TcpListener::bind("127.0.0.1:5001").await.unwrap();
        let secret = TicketSecret::random().unwrap();
        let mut options = ServerOptions::new(store.clone(), secret);
        options.challenges = challenges;
        options.on_demand = Some(Arc::new(keeper.clone()));
        let server = Arc::new(TlsServer::new(&options).unwrap());
        let kept = keeper.clone();
        #[allow(clippy::disallowed_methods)] // the owner is this node
        let running = tokio::spawn(async move {
            tokio::select! {
                () = kept.run() => {}
                () = serve_http(http, answers) => {}
                () = serve_tls(tls, server) => {}
            }
        });
        Self {
            keeper,
            store,
            client,
            ahead,
            running,
        }
    }

    /// Ends everything at once, as a crash does.
    pub(crate) async fn crash(mut self) {
        self.running.abort();
        let _ = (&mut self.running).await;
    }

    pub(crate) fn want(&self, source: Source) {
        self.keeper.apply(vec![source]).unwrap();
    }

    /// Moves the clock. The keeper looks at it when something changes.
    pub(crate) fn advance(&self, days: u64) {
        self.ahead.fetch_add(days * 86_400, Ordering::SeqCst);
    }

    pub(crate) fn status(&self, of: &str) -> Status {
        let all = self.keeper.status();
        all.into_iter()
            .find(|status| status.name == name(of))
            .expect("it is kept")
    }

    /// Waits until the status of a name is as wanted.
    pub(crate) async fn until(&self, of: &str, what: impl Fn(&Status) -> bool) -> Status {
        let waiting = async {
            loop {
                let status = self.status(of);
                if what(&status) {
                    return status;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(2 * PATIENCE, waiting)
            .await
            .unwrap_or_else(|_| panic!("never: {:?}", self.status(of)))
    }

    /// Waits for a certificate.
    pub(crate) async fn issued(&self, of: &str) -> Status {
        self.until(of, |status| {
            assert_eq!(status.last_failure, None, "{of}");
            status.validity.is_some() && !status.is_busy
        })
        .await
    }

    /// Waits for a failure.
    pub(crate) async fn failed(&self, of: &str) -> Failure {
        let status = self.until(of, |status| status.last_failure.is_some()).await;
        assert!(status.next_try.is_some() && status.failures > 0);
        status.last_failure.unwrap().1
    }

    /// The serial number of the certificate in use.
    pub(crate) fn serial(&self, of: &str) -> Vec<u8> {
        let covered = self.store.coverage(of).expect("a certificate");
        let der = covered.certificate.certified_key().cert[0].to_vec();
        use x509_parser::prelude::FromDer as _;
        let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(&der).unwrap();
        parsed.raw_serial().to_vec()
    }
}

async fn serve_http(listener: TcpListener, answers: Arc<HttpAnswers>) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            match stream.read(&mut byte).await {
                Ok(1) => head.push(byte[0]),
                _ => break,
            }
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let path = head.split(' ').nth(1).unwrap_or_default();
        let (status, body) = match answers.answer(path) {
            Some(answer) => ("200 OK", answer.to_string()),
            None => ("404 Not Found", String::new()),
        };
        let length = body.len();
        let response = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        let _ = stream.write_all(response.as_bytes()).await;
    }
}

async fn serve_tls(listener: TcpListener, server: Arc<TlsServer>) {
    let mut handshakes = FuturesUnordered::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.unwrap();
                let server = server.clone();
                handshakes.push(async move { drop(server.accept(Stream::tcp(stream)).await) });
            }
            Some(()) = handshakes.next() => {}
        }
    }
}

/// Connects to port 443 as a client that trusts `root`, a PEM text.
pub(crate) async fn connect(root: &str, host: &str) -> Result<(), String> {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(root.as_bytes()).unwrap())
        .unwrap();
    let provider = byway_tls::provider();
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect("127.0.0.1:5001").await.unwrap();
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let connected = tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await;
    connected.map(|_| ()).map_err(|error| error.to_string())
}
