//! lab-hyper: the smallest reverse proxy with hyper: one thread, one upstream over HTTP/1.1, the
//! fields that Byway adds.
//!
//! In:    `lab-hyper LISTEN ORIGIN [CERTIFICATE KEY]`: both addresses `IP:PORT`, both files in PEM.
//! Out:   HTTP/1.1 and HTTP/2 over TLS, chosen by ALPN; without a certificate, HTTP/2 with prior
//!        knowledge.
//! Never: logs, limits or retries: it does less than a product does.

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{HOST, HeaderValue, VIA};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Why the program or a request failed.
#[derive(Debug)]
struct Failure(String);

impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// The origin and the connections to it.
struct Upstream {
    origin: SocketAddr,
    idle: Mutex<Vec<SendRequest<Incoming>>>,
    requests: AtomicU64,
    secure: bool,
}

impl Upstream {
    async fn forward(
        &self,
        client: SocketAddr,
        mut request: Request<Incoming>,
    ) -> Result<Response<Incoming>, Failure> {
        self.rewrite(client, &mut request)?;
        let mut sender = self.connection().await?;
        let mut response = sender.send_request(request).await?;
        self.idle.lock().expect("no panics").push(sender);
        response
            .headers_mut()
            .append(VIA, HeaderValue::from_static("1.1 hyper"));
        Ok(response)
    }

    /// An HTTP/1.1 request with the six fields.
    fn rewrite(&self, client: SocketAddr, request: &mut Request<Incoming>) -> Result<(), Failure> {
        let host = match request.uri().authority() {
            Some(authority) => HeaderValue::from_str(authority.as_str())?,
            None => request
                .headers()
                .get(HOST)
                .ok_or_else(|| Failure("no host".into()))?
                .clone(),
        };
        let target = request
            .uri()
            .path_and_query()
            .ok_or_else(|| Failure("no path".into()))?
            .as_str();
        *request.uri_mut() = target.parse()?;
        *request.version_mut() = Version::HTTP_11;
        let address = HeaderValue::from_str(&client.ip().to_string())?;
        let id = format!("{:032x}", self.requests.fetch_add(1, Relaxed));
        let scheme = if self.secure { "https" } else { "http" };
        let fields = request.headers_mut();
        fields.insert("x-forwarded-for", address.clone());
        fields.insert("x-forwarded-proto", HeaderValue::from_static(scheme));
        fields.insert("x-forwarded-host", host.clone());
        fields.insert("x-real-ip", address);
        fields.insert("x-request-id", HeaderValue::from_str(&id)?);
        fields.append(VIA, HeaderValue::from_static("1.1 hyper"));
        fields.insert(HOST, host);
        Ok(())
    }

    /// A connection that carries nothing now, or a new one.
    async fn connection(&self) -> Result<SendRequest<Incoming>, Failure> {
        {
            let mut idle = self.idle.lock().expect("no panics");
            idle.retain(|sender| !sender.is_closed());
            if let Some(place) = idle.iter().rposition(SendRequest::is_ready) {
                return Ok(idle.swap_remove(place));
            }
        }
        let stream = TcpStream::connect(self.origin).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }
}

/// Serves one connection until it ends. Its errors are the client's.
async fn serve(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    multiplexed: bool,
    client: SocketAddr,
    upstream: Arc<Upstream>,
) {
    let service = service_fn(move |request| {
        let upstream = Arc::clone(&upstream);
        async move {
            let forwarded = upstream.forward(client, request).await;
            forwarded.map_err(|Failure(why)| std::io::Error::other(why))
        }
    });
    let io = TokioIo::new(io);
    let _ = if multiplexed {
        http2::Builder::new(TokioExecutor::new())
            .serve_connection(io, service)
            .await
    } else {
        http1::Builder::new().serve_connection(io, service).await
    };
}

/// TLS 1.3 with two tickets a handshake, as others send.
fn acceptor(certificate: &str, key: &str) -> Result<TlsAcceptor, Failure> {
    let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<_, _>>()?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn run(listen: &str, origin: &str, tls: Option<TlsAcceptor>) -> Result<(), Failure> {
    let upstream = Arc::new(Upstream {
        origin: origin.parse()?,
        idle: Mutex::default(),
        requests: AtomicU64::new(0),
        secure: tls.is_some(),
    });
    let listener = TcpListener::bind(listen).await?;
    loop {
        let (stream, client) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (upstream, tls) = (Arc::clone(&upstream), tls.clone());
        tokio::spawn(async move {
            let Some(tls) = tls else {
                return serve(stream, true, client, upstream).await;
            };
            let Ok(stream) = tls.accept(stream).await else {
                return;
            };
            let multiplexed = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            serve(stream, multiplexed, client, upstream).await;
        });
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (listen, origin, tls) = match *words {
        [listen, origin] => (listen, origin, Ok(None)),
        [listen, origin, certificate, key] => {
            (listen, origin, acceptor(certificate, key).map(Some))
        }
        _ => {
            eprintln!("usage: lab-hyper LISTEN ORIGIN [CERTIFICATE KEY]");
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ran = tls.and_then(|tls| runtime?.block_on(run(listen, origin, tls)));
    if let Err(Failure(why)) = ran {
        eprintln!("lab-hyper: {why}");
    }
    ExitCode::FAILURE
}
