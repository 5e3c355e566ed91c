//! TCP: the other ends of an agent's connections, over loopback sockets, in the same runtime as the
//! agent, with TLS if needed.
//!
//! Never: looks up a name; dials anything but loopback.

use byway_agent::dial::{Roots, TlsOptions};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{HandshakeKind, ServerConfig, SupportedProtocolVersion};
use socket2::SockRef;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A listener: a proxy, an origin, or both in one.
pub struct Listener {
    listener: TcpListener,
    pub address: SocketAddr,
}

impl Listener {
    pub async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { listener, address }
    }

    pub async fn accept(&self) -> Peer {
        let (socket, from) = in_time("a connection", self.listener.accept())
            .await
            .unwrap();
        Peer {
            io: Box::new(socket),
            unread: Vec::new(),
            from,
        }
    }

    /// Whether no connection is waiting. Earlier dials are visible: loopback connects before it
    /// reports to the dialler.
    pub async fn no_connection(&self) -> bool {
        let mut accept = std::pin::pin!(self.listener.accept());
        std::future::poll_fn(|cx| std::task::Poll::Ready(accept.as_mut().poll(cx).is_pending()))
            .await
    }

    /// A connection that is reset as soon as its TLS handshake is over.
    pub async fn reset_after_handshake(&self, site: &Site) -> HandshakeKind {
        let (socket, _) = self.listener.accept().await.unwrap();
        let session = site.acceptor.accept(socket).await.unwrap();
        let kind = session.get_ref().1.handshake_kind().unwrap();
        reset(session.get_ref().0);
        kind
    }
}

/// Waits for something that must happen; a test fails instead of waiting indefinitely.
async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), future)
        .await
        .unwrap_or_else(|_| panic!("{what} did not arrive"))
}

/// Makes the drop of the socket a reset.
fn reset(socket: &TcpStream) {
    SockRef::from(socket)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
}

/// The other end of one connection.
pub struct Peer {
    io: Box<dyn Io>,
    unread: Vec<u8>,
    pub from: SocketAddr,
}

impl Peer {
    /// Reads up to and with `mark`.
    pub async fn until(&mut self, mark: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self
                .unread
                .windows(mark.len())
                .position(|window| window == mark)
            {
                return self.unread.drain(..at + mark.len()).collect();
            }
            assert!(
                self.more().await,
                "the connection ended after {:?}",
                String::from_utf8_lossy(&self.unread)
            );
        }
    }

    pub async fn exactly(&mut self, n: usize) -> Vec<u8> {
        while self.unread.len() < n {
            assert!(self.more().await, "the connection ended before {n} bytes");
        }
        self.unread.drain(..n).collect()
    }

    /// The connection as it is.
    pub fn into_io(self) -> impl AsyncRead + AsyncWrite + Send + Unpin + 'static {
        assert!(self.unread.is_empty());
        self.io
    }

    /// Reads the head of a request.
    pub async fn head(&mut self) -> String {
        String::from_utf8(self.until(b"\r\n\r\n").await).unwrap()
    }

    /// Sends bytes; the other side may have closed.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.io.write_all(bytes.as_ref()).await;
        let _ = self.io.flush().await;
    }

    /// Reads a request without a body and responds with 200 and `text`.
    pub async fn serve(&mut self, text: &str) -> String {
        let head = self.head().await;
        self.send(crate::memory::ok(text)).await;
        head
    }

    /// Whether the other side closed the connection without sending a byte.
    pub async fn ended(&mut self) -> bool {
        self.unread.is_empty() && !self.more().await
    }

    async fn more(&mut self) -> bool {
        self.unread.reserve(1024);
        in_time("a byte", self.io.read_buf(&mut self.unread))
            .await
            .unwrap_or(0)
            > 0
    }

    /// Continues in TLS; returns the kind of handshake.
    pub async fn secure(self, site: &Site) -> (Self, HandshakeKind) {
        assert!(self.unread.is_empty());
        let session = site.acceptor.accept(self.io).await.unwrap();
        let kind = session.get_ref().1.handshake_kind().unwrap();
        (
            Self {
                io: Box::new(session),
                unread: Vec::new(),
                from: self.from,
            },
            kind,
        )
    }

    /// Offers TLS to a client that rejects the certificate.
    pub async fn refused(self, site: &Site) {
        assert!(site.acceptor.accept(self.io).await.is_err());
    }

    /// Acts as an HTTP proxy that opens the requested tunnel; returns the head of the request.
    pub async fn open_tunnel(&mut self) -> String {
        let head = self.head().await;
        self.send("HTTP/1.1 200 Connection established\r\n\r\n")
            .await;
        head
    }

    /// Acts as a SOCKS 5 proxy without authentication that opens the stream; returns the request's
    /// address and port.
    pub async fn open_socks5(&mut self) -> Vec<u8> {
        let methods = self.exactly(2).await[1];
        self.exactly(methods.into()).await;
        self.send(b"\x05\x00").await;
        let head = self.exactly(4).await;
        let length = match head[3] {
            1 => 4,
            4 => 16,
            _ => self.exactly(1).await[0].into(),
        };
        let address = self.exactly(length + 2).await;
        self.send(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00").await;
        address
    }
}

/// A certificate for `a.example`, `b.example` and 127.0.0.1.
pub struct Site {
    root: CertificateDer<'static>,
    acceptor: TlsAcceptor,
}

impl Site {
    pub fn new() -> Self {
        Self::speaking(rustls::DEFAULT_VERSIONS)
    }

    pub fn speaking(versions: &[&'static SupportedProtocolVersion]) -> Self {
        Self::offering(versions, &[])
    }

    /// Selects one of these application protocols, or none.
    pub fn offering(versions: &[&'static SupportedProtocolVersion], alpn: &[&str]) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().der().clone();
        let issuer = Issuer::new(params, key);
        let names = ["a.example", "b.example", "127.0.0.1"].map(str::to_owned);
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(names)
            .unwrap()
            .signed_by(&key, &issuer)
            .unwrap();
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_protocol_versions(versions)
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(
                    vec![leaf.der().clone()],
                    PrivateKeyDer::Pkcs8(key.serialize_der().into()),
                )
                .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Self {
            root,
            acceptor: TlsAcceptor::from(Arc::new(config)),
        }
    }

    /// Options of an agent that trusts its root.
    pub fn trusting(&self) -> TlsOptions {
        TlsOptions {
            roots: Roots::Only(vec![self.root.clone()]),
            ..TlsOptions::default()
        }
    }
}
