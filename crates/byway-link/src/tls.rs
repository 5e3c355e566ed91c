//! TLS: mutual TLS 1.3 with raw public keys (RFC 7250), the same for every carrier.
//!
//! In:    our key; on the dialling side the pin that the other side's key must have.
//! Out:   rustls configs, both for TLS over TCP and for QUIC; the identity of a peer that has
//!        proven its key.
//! Never: an older TLS, early data, resumption, a certificate authority, or a peer without a key.
//!
//! The pin is checked when the key is presented, and CertificateVerify afterwards: a peer with a
//! copied public key fails there.

use std::sync::Arc;

use rustls::client::AlwaysResolvesClientRawPublicKeys;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved, ServerConfig,
    SignatureScheme, version::TLS13,
};

use crate::key::{Fingerprint, Key};

/// The application protocol of links (RFC 7301): with it they can share a port with others.
pub const ALPN: &[u8] = b"byway/1";

/// The application protocol of the connections of a bundle, over TCP only. An older acceptor does
/// not know it and ends the handshake.
pub const BUNDLE_ALPN: &[u8] = b"byway/1-bundle";

/// The config of the dialling side: proves `key`, and accepts only the peer whose key has the
/// fingerprint `pin`.
pub(crate) fn dialler(key: &Key, pin: Fingerprint) -> Result<ClientConfig, Error> {
    let verifier = Arc::new(PinVerifier {
        pin,
        keys: RawKeys::new(),
    });
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous() // The name only means "own verifier": this one trusts a single key.
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(
            key.certified(),
        )));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    // The pin identifies the peer; a server name would only inform observers.
    config.enable_sni = false;
    Ok(config)
}

/// The config of the accepting side: proves `key`, and accepts every peer that proves a key; its
/// permissions are checked later.
pub(crate) fn acceptor(key: &Key) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(AnyKeyVerifier {
            keys: RawKeys::new(),
        }))
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(
            key.certified(),
        )));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

/// The identity of the peer of a handshake; `None` without a key, which our verifiers do not
/// accept.
pub(crate) fn identity(shown: Option<&[CertificateDer<'_>]>) -> Option<Fingerprint> {
    Some(Fingerprint::of_spki(shown?.first()?))
}

/// Whether a handshake failed because the other side has another key than the pinned one.
pub(crate) fn is_wrong_pin(error: &Error) -> bool {
    matches!(error, Error::General(text) if text == WRONG_PIN)
}

/// Whether a handshake failed at CertificateVerify: the key was presented and not proven.
pub(crate) fn is_unproven(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(rustls::CertificateError::BadSignature)
    )
}

pub(crate) const WRONG_PIN: &str = "the other side's key is not the pinned one";

/// AES-128 comes first, as in most TLS stacks: it costs three quarters of AES-256, and neither is
/// broken. rustls and QUIC renew keys before they reach their limits (RFC 8446 section 5.5).
fn provider() -> Arc<CryptoProvider> {
    use aws_lc_rs::cipher_suite::{
        TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
    };
    let cipher_suites = vec![
        TLS13_AES_128_GCM_SHA256,
        TLS13_AES_256_GCM_SHA384,
        TLS13_CHACHA20_POLY1305_SHA256,
    ];
    Arc::new(CryptoProvider {
        cipher_suites,
        ..aws_lc_rs::default_provider()
    })
}

/// Verifies signatures with raw public keys.
#[derive(Debug)]
struct RawKeys(Arc<CryptoProvider>);

impl RawKeys {
    fn new() -> Self {
        Self(provider())
    }

    fn verify(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let spki = SubjectPublicKeyInfoDer::from(shown.as_ref());
        verify_tls13_signature_with_raw_key(
            message,
            &spki,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }
}

/// Node keys are Ed25519 only.
fn schemes() -> Vec<SignatureScheme> {
    vec![SignatureScheme::ED25519]
}

fn no_tls12() -> Result<HandshakeSignatureValid, Error> {
    Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into())
}

#[derive(Debug)]
struct PinVerifier {
    pin: Fingerprint,
    keys: RawKeys,
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match Fingerprint::of_spki(shown) == self.pin {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(Error::General(WRONG_PIN.into())),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _shown: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.keys.verify(message, shown, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct AnyKeyVerifier {
    keys: RawKeys,
}

impl ClientCertVerifier for AnyKeyVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _shown: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        // Any key is accepted: its fingerprint is the identity, and the hello names the grant.
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _shown: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.keys.verify(message, shown, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
