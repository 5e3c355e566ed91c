//! Raw: a peer that authenticates correctly or not, and then sends whatever a test wants.

use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::Ed25519KeyPair;
use byway_dial::{AsIo, Stream};
use byway_link::Key;
use byway_link::mux::frame::{CONTROL, FrameKind, HEADER_BYTES, Header};
use byway_link::wire::{self, Control, ControlMessage, Hello};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::aws_lc_rs::sign::any_eddsa_type;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::within;

/// A key whose halves a test has.
#[derive(Clone)]
pub struct RawKey {
    certified: Arc<CertifiedKey>,
    pkcs8: Vec<u8>,
}

impl RawKey {
    pub fn generate() -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
            .unwrap()
            .as_ref()
            .to_vec();
        let signing = any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8.clone())).unwrap();
        let spki = signing.public_key().unwrap().as_ref().to_vec();
        Self {
            certified: Arc::new(CertifiedKey::new(vec![CertificateDer::from(spki)], signing)),
            pkcs8,
        }
    }

    /// The same key, as a node holds it.
    pub fn key(&self) -> Key {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, &self.pkcs8).unwrap();
        Key::load_or_create(&path).unwrap()
    }

    /// Its dialling config, which offers `alpn`.
    pub fn dialling(&self, alpn: &[&str]) -> ClientConfig {
        let builder = dialling().with_client_cert_resolver(Arc::new(
            AlwaysResolvesClientRawPublicKeys::new(Arc::clone(&self.certified)),
        ));
        speaking(builder, alpn)
    }

    /// Its accepting config.
    pub fn accepting(&self) -> ServerConfig {
        let resolver = AlwaysResolvesServerRawPublicKeys::new(Arc::clone(&self.certified));
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_client_cert_verifier(Arc::new(AnyKey))
            .with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![b"byway/1".to_vec()];
        config
    }
}

/// The config of a dialler without a key.
pub fn dialling_without_a_key() -> ClientConfig {
    speaking(dialling().with_no_client_auth(), &["byway/1"])
}

fn dialling() -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyKey))
}

fn speaking(mut config: ClientConfig, alpn: &[&str]) -> ClientConfig {
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    config
}

/// The TLS handshake of a dialler.
pub async fn connect(stream: Stream, config: ClientConfig) -> std::io::Result<TlsStream<AsIo>> {
    let name = ServerName::try_from("byway.invalid").unwrap();
    Ok(
        within(TlsConnector::from(Arc::new(config)).connect(name, AsIo(stream)))
            .await?
            .into(),
    )
}

/// The two directions of a mux that the test drives.
pub struct RawPeer {
    pub writer: RawWriter,
    pub reader: RawReader,
}

pub struct RawWriter(WriteHalf<TlsStream<AsIo>>);

pub struct RawReader {
    from: ReadHalf<TlsStream<AsIo>>,
    control: Vec<u8>,
}

impl RawPeer {
    /// A peer that has dialled.
    pub async fn dialled(stream: Stream, key: &RawKey) -> Self {
        Self::over(connect(stream, key.dialling(&["byway/1"])).await.unwrap())
    }

    /// A peer that was dialled.
    pub async fn accepted(stream: Stream, key: &RawKey) -> Self {
        let acceptor = TlsAcceptor::from(Arc::new(key.accepting()));
        Self::over(within(acceptor.accept(AsIo(stream))).await.unwrap().into())
    }

    fn over(tls: TlsStream<AsIo>) -> Self {
        let (from, to) = tokio::io::split(tls);
        Self {
            writer: RawWriter(to),
            reader: RawReader {
                from,
                control: Vec::new(),
            },
        }
    }
}

/// A valid hello.
pub fn hello() -> Hello {
    let (version_from, version_to) = wire::VERSIONS;
    Hello {
        version_from,
        version_to,
        epoch: 1,
        attempt: 1,
        program: "raw".into(),
        ..Hello::default()
    }
}

impl RawWriter {
    /// Sends any bytes.
    pub async fn bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.write_all(bytes).await?;
        self.0.flush().await
    }

    pub async fn frame(
        &mut self,
        kind: FrameKind,
        stream: u32,
        payload: &[u8],
    ) -> std::io::Result<()> {
        self.bytes(&frame(kind, stream, payload)).await
    }

    /// Closes the connection regularly.
    pub async fn finish(&mut self) {
        let _ = self.0.shutdown().await;
    }

    /// Sends a message on the control stream.
    pub async fn send(&mut self, control: Control) {
        let mut message = Vec::new();
        wire::encode(&ControlMessage::from(control), &mut message);
        self.frame(FrameKind::Data, CONTROL, &message)
            .await
            .unwrap();
    }

    pub async fn credit(&mut self, stream: u32, bytes: u32) {
        self.frame(FrameKind::Credit, stream, &bytes.to_be_bytes())
            .await
            .unwrap();
    }
}

pub fn frame(kind: FrameKind, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Header {
        kind,
        stream,
        length: payload.len(),
    }
    .encode()
    .to_vec();
    bytes.extend_from_slice(payload);
    bytes
}

impl RawReader {
    /// The next frame; an error once the connection is closed.
    pub async fn frame(&mut self) -> std::io::Result<(FrameKind, u32, Vec<u8>)> {
        let mut header = [0; HEADER_BYTES];
        within(self.from.read_exact(&mut header)).await?;
        let Header {
            kind,
            stream,
            length,
        } = Header::decode(header).unwrap();
        let mut payload = vec![0; length];
        within(self.from.read_exact(&mut payload)).await?;
        Ok((kind, stream, payload))
    }

    /// The next message on the control stream; other frames are skipped.
    pub async fn recv(&mut self) -> std::io::Result<Control> {
        loop {
            if let Some((message, n)) = wire::decode::<ControlMessage>(&self.control).unwrap() {
                self.control.drain(..n);
                return Ok(message.control.unwrap());
            }
            if let (FrameKind::Data, CONTROL, payload) = self.frame().await? {
                self.control.extend_from_slice(&payload);
            }
        }
    }

    /// The session id of the welcome, the next message.
    pub async fn welcome(&mut self) -> Vec<u8> {
        match self.recv().await.unwrap() {
            Control::Welcome(welcome) => welcome.session,
            other => panic!("{other:?} instead of a welcome"),
        }
    }

    /// Waits until the other side has closed.
    pub async fn closed(&mut self) {
        while self.frame().await.is_ok() {}
    }
}

/// Accepts every key.
#[derive(Debug)]
struct AnyKey;

impl ServerCertVerifier for AnyKey {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for AnyKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
