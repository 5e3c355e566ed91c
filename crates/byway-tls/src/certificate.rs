//! Certificate: a chain with its key, checked, and what it is good for.
//!
//! In:    a chain and a key in DER.
//! Out:   what a handshake needs, the names, the dates, and warnings for the operator.
//! Never: accepts a key that belongs to another certificate.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{SignatureAlgorithm, SignatureScheme};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::name;
use crate::provider::provider;

/// A certificate that expires sooner than this is worth a warning.
pub const EXPIRES_SOON: Duration = Duration::from_secs(30 * 24 * 3600);

/// Why a chain and a key are not a certificate of a server.
#[derive(Debug, thiserror::Error)]
pub enum InvalidCertificate {
    /// There is no certificate in the chain.
    #[error("the chain is empty")]
    Empty,
    /// A certificate of the chain cannot be parsed.
    #[error("certificate {position} of the chain cannot be parsed: {reason}")]
    Malformed {
        /// Its position in the chain, from 1.
        position: usize,
        /// The parser's reason.
        reason: String,
    },
    /// The key is of a kind that is not supported, or cannot be parsed.
    #[error(
        "the key cannot be used: {0}; supported are ECDSA (P-256, P-384, P-521), Ed25519 and RSA"
    )]
    Key(String),
    /// The key belongs to another certificate.
    #[error("the key does not belong to the certificate")]
    KeyMismatch,
    /// The key belongs to a certificate of the chain that is not the first one.
    #[error(
        "the key belongs to certificate {position} of the chain: the server's own certificate must come first, then the certificate of its issuer, and so on"
    )]
    WrongOrder {
        /// The position of the certificate of the key, from 1.
        position: usize,
    },
    /// The certificate may only issue others.
    #[error("the certificate is one of an authority, which clients do not accept from a server")]
    Authority,
}

/// What an operator may want to change about a certificate that works.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// It has expired at this time: clients refuse it.
    Expired(SystemTime),
    /// It expires at this time, in less than [`EXPIRES_SOON`].
    ExpiresSoon(SystemTime),
    /// It is not valid before this time: clients refuse it until then.
    NotYetValid(SystemTime),
    /// The chain has the server's certificate only, and another authority has issued it.
    MissingChain {
        /// The issuer, as its certificate names it.
        issuer: String,
    },
    /// A certificate of the chain was not issued by the next one.
    ChainOrder {
        /// The position of the certificate whose issuer does not follow, from 1.
        position: usize,
    },
    /// No name in it is one that a client would look for.
    NoNames,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired(_) => f.write_str("it has expired: clients refuse it; renew it"),
            Self::ExpiresSoon(_) => f.write_str("it expires within 30 days; renew it"),
            Self::NotYetValid(_) => {
                f.write_str("it is not valid yet: clients refuse it; check the clock")
            }
            Self::MissingChain { issuer } => write!(
                f,
                "its chain is missing: it was issued by `{issuer}`, whose certificate should follow in the same file (often called fullchain.pem)"
            ),
            Self::ChainOrder { position } => write!(
                f,
                "certificate {position} of its chain was not issued by the next one: some clients will refuse it"
            ),
            Self::NoNames => f.write_str(
                "it has no subjectAltName: clients ignore the common name and refuse it",
            ),
        }
    }
}

/// A certificate chain and its key, as a server presents them. Cheap to share.
pub struct Certificate {
    key: Arc<CertifiedKey>,
    names: Box<[Box<str>]>,
    addresses: Box<[IpAddr]>,
    not_before: SystemTime,
    not_after: SystemTime,
    warnings: Vec<Warning>,
    is_ecdsa: bool,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({:?})", self.names)
    }
}

impl Certificate {
    /// Checks that `chain` (the server's certificate first) can be presented with `key`.
    ///
    /// # Errors
    /// [`InvalidCertificate`]. An expired certificate is no error but a [`Warning`].
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, InvalidCertificate> {
        Self::with_ocsp(chain, key, None)
    }

    /// As [`Certificate::new`], with an OCSP response in DER, which clients that ask for one get.
    ///
    /// # Errors
    /// [`InvalidCertificate`].
    pub fn with_ocsp(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        ocsp: Option<Vec<u8>>,
    ) -> Result<Self, InvalidCertificate> {
        let parsed = parse(&chain)?;
        let leaf = parsed.first().ok_or(InvalidCertificate::Empty)?;
        let signing = provider()
            .key_provider
            .load_private_key(key)
            .map_err(|error| InvalidCertificate::Key(error.to_string()))?;
        let position = signing.public_key().and_then(|public| {
            let mut own = parsed.iter().map(|one| one.public_key().raw);
            own.position(|spki| spki == public.as_ref())
        });
        match position {
            Some(0) => {}
            Some(other) => {
                return Err(InvalidCertificate::WrongOrder {
                    position: other + 1,
                });
            }
            None => return Err(InvalidCertificate::KeyMismatch),
        }
        // webpki refuses the flag in a server's certificate, unless it is the trust anchor itself.
        if leaf.is_ca() && leaf.issuer() != leaf.subject() {
            return Err(InvalidCertificate::Authority);
        }
        let (names, addresses) = names_of(leaf);
        let not_before = time_of(leaf.validity().not_before.timestamp());
        let not_after = time_of(leaf.validity().not_after.timestamp());
        let mut warnings = chain_warnings(&parsed);
        if names.is_empty() && addresses.is_empty() {
            warnings.push(Warning::NoNames);
        }
        let is_ecdsa = signing.algorithm() != SignatureAlgorithm::RSA;
        drop(parsed);
        Ok(Self {
            key: Arc::new(CertifiedKey {
                ocsp,
                ..CertifiedKey::new(chain, signing)
            }),
            names,
            addresses,
            not_before,
            not_after,
            warnings,
            is_ecdsa,
        })
    }

    /// What rustls presents.
    pub fn certified_key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }

    /// The DNS names that it is for, in lower case. The first label may be `*`.
    pub fn names(&self) -> &[Box<str>] {
        &self.names
    }

    /// The IP addresses that it is for.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// From when on it is valid.
    pub fn not_before(&self) -> SystemTime {
        self.not_before
    }

    /// Until when it is valid.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Whether it is valid for `host`: a name in any case, with an optional dot at its end, or an
    /// IP address. A wildcard stands for one label (RFC 9525 section 6.3).
    pub fn covers(&self, host: &str) -> bool {
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        if let Ok(address) = bare.unwrap_or(host).parse::<IpAddr>() {
            return self.addresses.contains(&address);
        }
        let host = name::normal(host);
        self.names
            .iter()
            .any(|pattern| name::matches(pattern, &host))
    }

    /// What an operator may want to change, seen at `now`.
    pub fn warnings(&self, now: SystemTime) -> Vec<Warning> {
        let mut warnings = self.warnings.clone();
        if now >= self.not_after {
            warnings.push(Warning::Expired(self.not_after));
        } else if now + EXPIRES_SOON > self.not_after && self.is_long_lived() {
            warnings.push(Warning::ExpiresSoon(self.not_after));
        }
        if now < self.not_before {
            warnings.push(Warning::NotYetValid(self.not_before));
        }
        warnings
    }

    /// Whether a client with these signature schemes can verify it.
    pub(crate) fn suits(&self, schemes: &[SignatureScheme]) -> bool {
        self.key.key.choose_scheme(schemes).is_some()
    }

    /// Whether its key is other than RSA: smaller and many times faster.
    pub(crate) fn is_ecdsa(&self) -> bool {
        self.is_ecdsa
    }

    /// Certificates that live for less than 45 days are renewed by programs, late in their life.
    fn is_long_lived(&self) -> bool {
        let life = self.not_after.duration_since(self.not_before);
        life.is_ok_and(|life| life > Duration::from_secs(45 * 24 * 3600))
    }
}

fn parse<'c>(
    chain: &'c [CertificateDer<'static>],
) -> Result<Vec<X509Certificate<'c>>, InvalidCertificate> {
    let parsed = chain.iter().enumerate().map(|(at, der)| {
        let parsed = X509Certificate::from_der(der);
        parsed
            .map(|(_, one)| one)
            .map_err(|error| InvalidCertificate::Malformed {
                position: at + 1,
                reason: error.to_string(),
            })
    });
    parsed.collect()
}

fn names_of(leaf: &X509Certificate<'_>) -> (Box<[Box<str>]>, Box<[IpAddr]>) {
    let (mut names, mut addresses) = (Vec::new(), Vec::new());
    if let Ok(Some(extension)) = leaf.subject_alternative_name() {
        for general in &extension.value.general_names {
            match general {
                GeneralName::DNSName(text) => names.push(name::normal(text).into()),
                GeneralName::IPAddress(bytes) => addresses.extend(address_of(bytes)),
                _ => {}
            }
        }
    }
    (names.into(), addresses.into())
}

fn address_of(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

fn chain_warnings(parsed: &[X509Certificate<'_>]) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if let [leaf] = parsed
        && leaf.issuer() != leaf.subject()
    {
        let issuer = leaf.issuer().to_string();
        warnings.push(Warning::MissingChain { issuer });
    }
    let wrong = parsed
        .windows(2)
        .position(|pair| pair[0].issuer() != pair[1].subject());
    if let Some(at) = wrong {
        warnings.push(Warning::ChainOrder { position: at + 1 });
    }
    warnings
}

fn time_of(seconds: i64) -> SystemTime {
    let length = Duration::from_secs(seconds.unsigned_abs());
    let time = match seconds < 0 {
        true => UNIX_EPOCH.checked_sub(length),
        false => UNIX_EPOCH.checked_add(length),
    };
    time.unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests;
