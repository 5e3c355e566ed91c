//! Tls: the generator's side of TLS: one version, one cipher, and the groups of the question, so
//! that every program does the same work.
//!
//! In:    a connected socket, the certificate that the program must present.
//! Out:   a stream after its handshake, and what was negotiated.
//! Never: accepts another certificate, version, cipher, group or protocol than those of the
//!        question.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};

use anyhow::{Context, Result, ensure};
use quinn::crypto::rustls::QuicClientConfig;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, HandshakeKind,
    NamedGroup, SignatureScheme,
};
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use super::tickets::Tickets;
use super::wire::Wire;

/// The host name in the certificate, the SNI and the requests.
pub(crate) const HOST: &str = "lab.test";

/// The key exchanges that a client offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Groups {
    /// X25519 alone.
    Classical,
    /// X25519MLKEM768, and X25519 for servers that do not know it, with a key share of each, as
    /// browsers do.
    PostQuantum,
}

/// A client of TLS 1.3 with AES-128-GCM.
#[derive(Clone)]
pub(crate) struct TlsClient {
    config: Arc<ClientConfig>,
    protocol: &'static [u8],
}

impl TlsClient {
    /// A client that trusts this certificate alone, and offers this one protocol (ALPN). It resumes
    /// no session.
    ///
    /// # Errors
    ///
    /// If the provider has none of the algorithms; a mistake of the lab.
    pub(crate) fn new(
        certificate: &CertificateDer<'static>,
        groups: Groups,
        protocol: &'static [u8],
    ) -> Result<Self> {
        let kx_groups = match groups {
            Groups::Classical => vec![aws_lc_rs::kx_group::X25519],
            Groups::PostQuantum => vec![
                aws_lc_rs::kx_group::X25519MLKEM768,
                aws_lc_rs::kx_group::X25519,
            ],
        };
        let provider = Arc::new(CryptoProvider {
            cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
            kx_groups,
            ..aws_lc_rs::default_provider()
        });
        let only = Arc::new(OnlyThis {
            certificate: certificate.clone(),
            provider: Arc::clone(&provider),
        });
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .context("the generator's TLS")?
            .dangerous()
            .with_custom_certificate_verifier(only)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Self {
            config: Arc::new(config),
            protocol,
        })
    }

    /// The same client with a store of its own for tickets.
    pub(crate) fn with_tickets(&self, tickets: Arc<Tickets>) -> Self {
        let mut config = ClientConfig::clone(&self.config);
        config.resumption = Resumption::store(tickets);
        Self {
            config: Arc::new(config),
            protocol: self.protocol,
        }
    }

    /// The same client for QUIC.
    ///
    /// # Errors
    ///
    /// If the provider lacks the cipher of the first packets; a mistake of the lab.
    pub(crate) fn quic(&self) -> Result<quinn::ClientConfig> {
        let config = QuicClientConfig::try_from(Arc::clone(&self.config));
        let config = config.context("the generator's TLS for QUIC")?;
        Ok(quinn::ClientConfig::new(Arc::new(config)))
    }

    /// Performs the handshake. Not cancel safe.
    ///
    /// # Errors
    ///
    /// If it fails, or the program chose no protocol or another one.
    pub(crate) async fn handshake(&self, tcp: TcpStream) -> Result<TlsStream> {
        let name = ServerName::try_from(HOST).context("the host name of the lab")?;
        let tls = ClientConnection::new(Arc::clone(&self.config), name)?;
        let mut stream = TlsStream {
            tcp,
            tls,
            out: Vec::new(),
        };
        stream.handshake().await.context("the TLS handshake")?;
        let chosen = stream.tls.alpn_protocol().unwrap_or(b"http/1.1");
        ensure!(
            chosen == self.protocol,
            "the program chose the protocol {:?} instead of {:?}",
            String::from_utf8_lossy(chosen),
            String::from_utf8_lossy(self.protocol)
        );
        Ok(stream)
    }
}

/// Accepts one certificate, compared byte by byte, and checks the signature of the handshake.
#[derive(Debug)]
struct OnlyThis {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for OnlyThis {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if *end_entity == self.certificate {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("the generator speaks TLS 1.3 only".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// A stream whose handshake is over.
pub(crate) struct TlsStream {
    tcp: TcpStream,
    tls: ClientConnection,
    /// Records that are being sent.
    out: Vec<u8>,
}

thread_local! {
    /// Records as they arrive, and what they contain. Shared by all connections of the thread.
    static BUFFERS: RefCell<(Vec<u8>, Vec<u8>)> = RefCell::new((vec![0; 256 << 10], Vec::new()));
}

impl TlsStream {
    /// Whether the handshake resumed a session.
    pub(crate) fn resumed(&self) -> bool {
        self.tls.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The key exchange that was used.
    pub(crate) fn group(&self) -> Option<NamedGroup> {
        Some(self.tls.negotiated_key_exchange_group()?.name())
    }

    /// Ends this direction in order: a `close_notify` and the end of the TCP stream.
    pub(crate) async fn close_notify(&mut self) -> io::Result<()> {
        self.tls.send_close_notify();
        self.flush().await?;
        self.tcp.shutdown().await
    }

    /// Reads until tickets have arrived, which a program sends after it has checked the client's
    /// last message.
    pub(crate) async fn until(&mut self, arrived: impl Fn() -> bool) -> Result<()> {
        while !arrived() {
            let more = poll_fn(|cx| self.poll_records(cx, &mut Vec::new())).await?;
            ensure!(
                more > 0,
                "the connection was closed before a ticket was sent"
            );
        }
        Ok(())
    }

    async fn handshake(&mut self) -> Result<()> {
        self.flush().await?;
        while self.tls.is_handshaking() {
            let mut early = Vec::new();
            let read = poll_fn(|cx| self.poll_records(cx, &mut early)).await;
            // An alert of ours is sent before the error is reported.
            self.flush().await?;
            ensure!(read? > 0, "the connection was closed");
            ensure!(early.is_empty(), "data arrived before the handshake ended");
        }
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.out.clear();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.out)?;
        }
        self.tcp.write_all(&self.out).await
    }

    /// Reads records once, and appends what they contain to `plain`. Returns the bytes read.
    fn poll_records(
        &mut self,
        cx: &mut TaskContext<'_>,
        plain: &mut Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        BUFFERS.with_borrow_mut(|(records, _)| self.poll_into(cx, records, plain))
    }

    fn poll_into(
        &mut self,
        cx: &mut TaskContext<'_>,
        records: &mut [u8],
        plain: &mut Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(records);
        ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut buffer))?;
        let mut left = buffer.filled();
        while !left.is_empty() {
            self.tls.read_tls(&mut left)?;
            let state = self.tls.process_new_packets().map_err(io::Error::other)?;
            let (at, more) = (plain.len(), state.plaintext_bytes_to_read());
            if more > 0 {
                plain.resize(at + more, 0);
                self.tls.reader().read_exact(&mut plain[at..])?;
            }
        }
        Poll::Ready(Ok(buffer.filled().len()))
    }
}

impl Wire for TlsStream {
    /// A stream that ends without a `close_notify` ends like another; the caller knows how many
    /// bytes are missing.
    async fn read<T>(&mut self, mut look: impl FnMut(&[u8]) -> T) -> io::Result<T> {
        poll_fn(|cx| {
            BUFFERS.with_borrow_mut(|(records, plain)| {
                loop {
                    plain.clear();
                    let read = ready!(self.poll_into(cx, records, plain))?;
                    // Tickets are records without data.
                    if read == 0 || !plain.is_empty() {
                        return Poll::Ready(Ok(look(plain)));
                    }
                }
            })
        })
        .await
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut left = bytes;
        while !left.is_empty() {
            let taken = self.tls.writer().write(left)?;
            left = &left[taken..];
            self.flush().await?;
        }
        Ok(())
    }
}

impl AsFd for TlsStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tcp.as_fd()
    }
}
