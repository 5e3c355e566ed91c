//! Challenge: certificates with which an ACME authority checks a name (TLS-ALPN-01, RFC 8737).
//!
//! They are presented only to a client that offers `acme-tls/1` and nothing else, and the
//! connection ends with the handshake.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::name;

/// The application protocol of the challenge.
pub const ACME_TLS_1: &[u8] = b"acme-tls/1";

/// The challenge certificates under way, by name. Shared by all listeners of a node; at most one a
/// name.
#[derive(Debug, Default)]
pub struct Challenges(Mutex<HashMap<Box<str>, Arc<CertifiedKey>>>);

impl Challenges {
    /// Presents `key` to whoever validates `name`, until the guard is dropped.
    pub fn present(self: &Arc<Self>, name: &str, key: Arc<CertifiedKey>) -> ChallengeGuard {
        let name: Box<str> = name::normal(name).into();
        self.0.lock().insert(name.clone(), Arc::clone(&key));
        ChallengeGuard {
            challenges: Arc::clone(self),
            name,
            key,
        }
    }

    /// The certificate for `name`, if a challenge for it is under way.
    pub fn certificate(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        self.0.lock().get(&*name::normal(name)).cloned()
    }
}

impl ResolvesServerCert for Challenges {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.certificate(hello.server_name()?)
    }
}

/// Removes a challenge certificate when it is dropped, unless a later one has replaced it.
#[derive(Debug)]
#[must_use = "the challenge ends when the guard is dropped"]
pub struct ChallengeGuard {
    challenges: Arc<Challenges>,
    name: Box<str>,
    key: Arc<CertifiedKey>,
}

impl Drop for ChallengeGuard {
    fn drop(&mut self) {
        let mut all = self.challenges.0.lock();
        if all
            .get(&self.name)
            .is_some_and(|now| Arc::ptr_eq(now, &self.key))
        {
            all.remove(&self.name);
        }
    }
}
