//! Identity: the client certificate and its key.
//!
//! In:    PEM text, or DER.
//! Out:   a chain and a key, for servers that request them.
//! Never: shows the key.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsError;

/// A certificate chain and its private key. Cheap to clone.
#[derive(Clone)]
pub struct Identity(Arc<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>);

impl Identity {
    /// From a chain, the client's own certificate first, and its key.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Self {
        Self(Arc::new((chain, key)))
    }

    /// From PEM text: the chain in `certificates`, the client's own first, and one key (PKCS #8,
    /// PKCS #1 or SEC 1, not encrypted) in `key`. Both may be the same text.
    ///
    /// # Errors
    /// [`TlsError::Pem`] if there is no certificate, no key, or invalid PEM. Whether the key fits
    /// the certificate is checked when the client is made.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let chain = certificates_from_pem(certificates)?;
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| TlsError::Pem("a private key", reason(&error)))?;
        Ok(Self::new(chain, key))
    }

    pub(super) fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.0.0.clone()
    }

    pub(super) fn key(&self) -> PrivateKeyDer<'static> {
        self.0.1.clone_key()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({} certificates)", self.0.0.len())
    }
}

/// The certificates in PEM text, such as a file of trusted roots. Other items are skipped.
///
/// # Errors
/// [`TlsError::Pem`] if there is none, or one is malformed.
pub fn certificates_from_pem(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bad = |error: pem::Error| TlsError::Pem("a certificate", reason(&error));
    let found: Vec<_> = CertificateDer::pem_slice_iter(text)
        .collect::<Result<_, _>>()
        .map_err(bad)?;
    if found.is_empty() {
        Err(bad(pem::Error::NoItemsFound))
    } else {
        Ok(found)
    }
}

fn reason(error: &pem::Error) -> String {
    match error {
        pem::Error::NoItemsFound => "it contains none".into(),
        other => other.to_string(),
    }
}
