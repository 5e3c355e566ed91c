//! Store: the certificates of a node, found by the name that a client asks for.
//!
//! In:    certificates, each under the id of what provides it: a file, ACME, the local authority.
//! Out:   the certificate for a handshake: exact name, then a wildcard for its first label, then
//!        the default.
//! Never: locks in a handshake; changes what running connections use.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::certificate::Certificate;
use crate::name;

/// What provides a certificate. The order is that of preference for one name: files of the operator
/// come before certificates that were obtained automatically.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Provider {
    /// A file of the operator.
    File,
    /// An ACME authority.
    Acme,
    /// The local authority.
    Local,
}

impl Provider {
    /// A word for logs and metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Acme => "acme",
            Self::Local => "local",
        }
    }
}

/// The id of one certificate: what provides it, and a text that is unique for that provider, such
/// as a path or a name. Installing another certificate under the same id replaces the first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId {
    /// What provides the certificate.
    pub provider: Provider,
    /// Unique for the provider.
    pub id: Arc<str>,
}

impl SourceId {
    /// The id of a certificate of `provider`.
    pub fn new(provider: Provider, id: impl Into<Arc<str>>) -> Self {
        let id = id.into();
        Self { provider, id }
    }
}

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.provider.word(), self.id)
    }
}

/// A certificate to install.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The certificate.
    pub certificate: Arc<Certificate>,
    /// The names that it serves. `None`: those that the certificate has.
    pub names: Option<Vec<String>>,
    /// Whether clients get it that send no name or an unknown one.
    pub is_default: bool,
}

impl Entry {
    /// A certificate that serves the names that it has.
    pub fn new(certificate: Certificate) -> Self {
        Self {
            certificate: Arc::new(certificate),
            names: None,
            is_default: false,
        }
    }
}

/// A step of [`CertificateStore::update`].
#[derive(Clone, Debug)]
pub enum Change {
    /// Adds a certificate, or replaces the one of this id.
    Install(SourceId, Entry),
    /// Removes the certificate of this id, if there is one.
    Remove(SourceId),
}

/// Which certificate serves a name, and until when.
#[derive(Clone, Debug)]
pub struct Coverage {
    /// Its id.
    pub source: SourceId,
    /// The certificate.
    pub certificate: Arc<Certificate>,
}

impl Coverage {
    /// Until when the certificate is valid.
    pub fn not_after(&self) -> SystemTime {
        self.certificate.not_after()
    }
}

/// The certificates of a node. Look-ups take no lock and are valid for 10,000 names and more; a
/// change copies the index, so make many changes at once with [`CertificateStore::update`].
///
/// Connections keep the certificate of their handshake.
#[derive(Default)]
pub struct CertificateStore {
    index: ArcSwap<Index>,
    sources: Mutex<BTreeMap<SourceId, Entry>>,
}

impl fmt::Debug for CertificateStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "CertificateStore({} names)",
            self.index.load().names.len()
        )
    }
}

/// The certificates of one name, the best first.
type Candidates = Vec<Coverage>;

#[derive(Default)]
struct Index {
    /// Exact names, and wildcards as they are written.
    names: HashMap<Box<str>, Candidates>,
    /// Wildcards, by the name below the `*`.
    wildcards: HashMap<Box<str>, Candidates>,
    default: Candidates,
}

impl CertificateStore {
    /// A store without certificates.
    pub fn new() -> Self {
        Self::default()
    }

    /// Installs one certificate. See [`CertificateStore::update`] for several.
    pub fn install(&self, source: SourceId, entry: Entry) {
        self.update([Change::Install(source, entry)]);
    }

    /// Removes one certificate.
    pub fn remove(&self, source: SourceId) {
        self.update([Change::Remove(source)]);
    }

    /// Makes all changes in one step: a handshake sees all of them or none.
    pub fn update(&self, changes: impl IntoIterator<Item = Change>) {
        let mut sources = self.sources.lock();
        for change in changes {
            match change {
                Change::Install(source, entry) => drop(sources.insert(source, entry)),
                Change::Remove(source) => drop(sources.remove(&source)),
            }
        }
        // Within the lock, so that of two updates the later one is seen.
        self.index.store(Arc::new(Index::of(&sources)));
    }

    /// Which certificate serves `name` (in any case): an exact match, else a wildcard. The default
    /// certificate is not considered. `*.example.com` is served only by that wildcard itself.
    pub fn coverage(&self, name: &str) -> Option<Coverage> {
        let index = self.index.load();
        index.named(&name::normal(name))?.first().cloned()
    }

    /// Which certificate clients get that send no name or an unknown one.
    pub fn default_certificate(&self) -> Option<Coverage> {
        self.index.load().default.first().cloned()
    }

    /// All certificates, by id.
    pub fn all(&self) -> Vec<Coverage> {
        let sources = self.sources.lock();
        let all = sources.iter().map(|(source, entry)| Coverage {
            source: source.clone(),
            certificate: Arc::clone(&entry.certificate),
        });
        all.collect()
    }

    /// The certificate for a client that sends `name` and verifies `schemes`. `None`: the handshake
    /// fails with the alert `unrecognized_name` or `handshake_failure`.
    pub fn resolve_name(
        &self,
        name: Option<&str>,
        schemes: &[SignatureScheme],
    ) -> Option<Arc<Certificate>> {
        let index = self.index.load();
        let named = name.and_then(|name| index.named(&name::normal(name)));
        let candidates = named.unwrap_or(&index.default);
        let suitable = candidates.iter().find(|one| one.certificate.suits(schemes));
        suitable.map(|one| Arc::clone(&one.certificate))
    }
}

impl ResolvesServerCert for CertificateStore {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let found = self.resolve_name(hello.server_name(), hello.signature_schemes())?;
        Some(Arc::clone(found.certified_key()))
    }
}

impl Index {
    fn of(sources: &BTreeMap<SourceId, Entry>) -> Self {
        let mut index = Self::default();
        for (source, entry) in sources {
            let coverage = Coverage {
                source: source.clone(),
                certificate: Arc::clone(&entry.certificate),
            };
            if entry.is_default {
                index.default.push(coverage.clone());
            }
            let own = entry.certificate.names().iter().map(|name| &**name);
            match &entry.names {
                Some(names) => {
                    names
                        .iter()
                        .for_each(|name| index.file(&name::normal(name), &coverage));
                }
                None => own.for_each(|name| index.file(name, &coverage)),
            }
        }
        let Self {
            names,
            wildcards,
            default,
        } = &mut index;
        for candidates in names.values_mut().chain(wildcards.values_mut()) {
            candidates.sort_by(preference);
        }
        default.sort_by(preference);
        index
    }

    fn file(&mut self, name: &str, coverage: &Coverage) {
        if let Some(parent) = name::wildcard_parent(name) {
            self.wildcards
                .entry(parent.into())
                .or_default()
                .push(coverage.clone());
        }
        self.names
            .entry(name.into())
            .or_default()
            .push(coverage.clone());
    }

    fn named(&self, name: &str) -> Option<&Candidates> {
        self.names.get(name).or_else(|| {
            let wildcard = || self.wildcards.get(name::parent(name)?);
            wildcard().filter(|_| !name.starts_with('*'))
        })
    }
}

/// Files first; then keys other than RSA, which clients without them skip; then the one that lives
/// longest.
fn preference(a: &Coverage, b: &Coverage) -> std::cmp::Ordering {
    let by_provider = a.source.provider.cmp(&b.source.provider);
    let by_key = b.certificate.is_ecdsa().cmp(&a.certificate.is_ecdsa());
    by_provider
        .then(by_key)
        .then(b.not_after().cmp(&a.not_after()))
}

#[cfg(test)]
mod tests;
