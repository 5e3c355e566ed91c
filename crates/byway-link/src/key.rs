//! Key: the identity of a node: an Ed25519 key pair that survives restarts, and its fingerprint.
//!
//! In:    a file in the state folder, created at the first start.
//! Out:   the key for TLS, and the SHA-256 of its SubjectPublicKeyInfo: the *pin* for nodes that
//!        dial, the *identity* for nodes that accept.
//! Never: prints or sends the private half.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::Ed25519KeyPair;
use rustls::crypto::aws_lc_rs::sign::any_eddsa_type;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

use byway_tls::state_file;

/// The SHA-256 of a public key's SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7): the pin of a join
/// string, and the identity of a node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of a SubjectPublicKeyInfo in DER.
    pub fn of_spki(spki: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, spki).as_ref());
        Self(bytes)
    }

    /// From its 32 bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first twelve hex digits: enough for people to tell keys apart, not to authenticate one.
    pub fn short(&self) -> String {
        hex(self.0.get(..6).unwrap_or_default())
    }

    /// From its 64 hex digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        unhex(text, &mut bytes).then_some(Self(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// Lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Fills `bytes` from exactly as many pairs of hex digits.
pub(crate) fn unhex(text: &str, bytes: &mut [u8]) -> bool {
    let fits = text.len() == bytes.len() * 2 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let pairs = text
        .as_bytes()
        .chunks_exact(2)
        .filter_map(|pair| std::str::from_utf8(pair).ok());
    let mut filled = 0;
    for (byte, pair) in bytes.iter_mut().zip(pairs) {
        let Ok(value) = u8::from_str_radix(pair, 16) else {
            return false;
        };
        *byte = value;
        filled += 1;
    }
    fits && filled == bytes.len()
}

/// A node's key pair. Cheap to clone.
#[derive(Clone)]
pub struct Key {
    certified: Arc<CertifiedKey>,
    fingerprint: Fingerprint,
    reset_key: Arc<[u8]>,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or created.
    #[error("cannot use the key in {}: {source}; {}, or name another with --state", path.display(), state_file::advice(source))]
    File {
        /// The file.
        path: PathBuf,
        /// The system error.
        source: io::Error,
    },
    /// The file holds no Ed25519 key.
    #[error("{} holds no Ed25519 key (PKCS #8, DER); restore it from a backup, or remove it to get a new identity", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The system provides no random numbers.
    #[error("cannot get random numbers for a new key")]
    Random,
}

impl Key {
    /// Loads the key in `path`; if there is none, creates one that only its owner can read.
    ///
    /// # Errors
    /// [`KeyError`]: nothing is overwritten.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        let file = |source| KeyError::File {
            path: path.to_owned(),
            source,
        };
        let pkcs8 = match state_file::read(path).map_err(file)? {
            Some(bytes) => bytes,
            None => {
                let fresh = Self::new_pkcs8()?;
                match state_file::create_new(path, &fresh) {
                    // Another process of this machine was faster: use its key.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                        state_file::read(path).map_err(file)?.unwrap_or_default()
                    }
                    made => made.map(|()| fresh).map_err(file)?,
                }
            }
        };
        Self::from_pkcs8(&pkcs8).ok_or_else(|| KeyError::NoKey {
            path: path.to_owned(),
        })
    }

    /// A new key that is not stored.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn generate() -> Result<Self, KeyError> {
        Self::from_pkcs8(&Self::new_pkcs8()?).ok_or(KeyError::Random)
    }

    fn new_pkcs8() -> Result<Vec<u8>, KeyError> {
        let document =
            Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| KeyError::Random)?;
        Ok(document.as_ref().to_vec())
    }

    fn from_pkcs8(pkcs8: &[u8]) -> Option<Self> {
        let signing = any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8.to_vec())).ok()?;
        let spki = signing.public_key()?.as_ref().to_vec();
        let fingerprint = Fingerprint::of_spki(&spki);
        let reset_key = hmac::sign(
            &hmac::Key::new(hmac::HMAC_SHA256, pkcs8),
            b"byway quic stateless reset",
        );
        let certified = Arc::new(CertifiedKey::new(vec![CertificateDer::from(spki)], signing));
        Some(Self {
            certified,
            fingerprint,
            reset_key: reset_key.as_ref().into(),
        })
    }

    /// The SHA-256 of the public half.
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The certificate that proves possession of the key in a handshake: a raw public key (RFC
    /// 7250).
    pub(crate) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }

    /// The key of QUIC's stateless resets (RFC 9000 section 10.3) at one address. It is the same
    /// after a restart, so that a peer of the dead process learns of it with its next packet. Each
    /// endpoint has a key of its own: otherwise an attacker could make one endpoint send the tokens
    /// that end connections of another (section 21.11).
    pub(crate) fn reset_key(&self, at: SocketAddr) -> hmac::Key {
        let seed = hmac::sign(
            &hmac::Key::new(hmac::HMAC_SHA256, &self.reset_key),
            at.to_string().as_bytes(),
        );
        hmac::Key::new(hmac::HMAC_SHA256, seed.as_ref())
    }

    /// The key by which the endpoint at that address recognises connection ids that an earlier
    /// process issued there; only those get a reset.
    pub(crate) fn cid_key(&self, at: SocketAddr) -> u64 {
        let tag = hmac::sign(&self.reset_key(at), b"byway quic connection ids");
        tag.as_ref()
            .first_chunk()
            .map_or(0, |bytes| u64::from_be_bytes(*bytes))
    }

    /// A key with `self`'s public half that signs with `other`'s private one, as an attacker with a
    /// copied public key would.
    #[cfg(test)]
    pub(crate) fn with_stolen_public_half(&self, other: &Self) -> Self {
        let certified = CertifiedKey::new(
            self.certified.cert.clone(),
            Arc::clone(&other.certified.key),
        );
        Self {
            certified: Arc::new(certified),
            ..self.clone()
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.fingerprint.short())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_stateless_resets_differs_by_endpoint_and_survives_a_restart() {
        let key = Key::generate().unwrap();
        let (one, other) = (
            "192.0.2.1:7000".parse().unwrap(),
            "192.0.2.1:7001".parse().unwrap(),
        );
        let token = |at| {
            hmac::sign(&key.clone().reset_key(at), b"connection id")
                .as_ref()
                .to_vec()
        };
        assert_eq!(token(one), token(one));
        assert_ne!(token(one), token(other));
        assert_ne!(key.cid_key(one), key.cid_key(other));
    }

    #[test]
    fn a_key_survives_a_restart_and_is_readable_by_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/key");
        let first = Key::load_or_create(&path).unwrap();
        let second = Key::load_or_create(&path).unwrap();
        assert_eq!(first.fingerprint(), second.fingerprint());
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_ne!(first.fingerprint(), Key::generate().unwrap().fingerprint());
    }

    #[test]
    fn a_file_that_is_not_a_key_is_kept_and_named_in_the_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "precious").unwrap();
        let error = Key::load_or_create(&path).unwrap_err().to_string();
        assert!(error.contains("holds no Ed25519 key"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn a_fingerprint_reads_back_from_its_hex_digits() {
        let fingerprint = Fingerprint::of_spki(b"x");
        assert_eq!(
            Fingerprint::from_hex(&fingerprint.to_string()),
            Some(fingerprint)
        );
        assert_eq!(Fingerprint::from_hex("abcd"), None);
        assert_eq!(Fingerprint::from_hex(&"g".repeat(64)), None);
    }
}
