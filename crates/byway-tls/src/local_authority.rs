//! Local authority: certificates for `localhost`, the names below it, and names of the operator,
//! for clients that were set up to trust it.
//!
//! In:    the state folder, a name, the time.
//! Out:   a certificate of short life for that name; the root certificate.
//! Never: signs a name outside its constraints: the root certificate has them as well, so that a
//!        stolen key is good for these names alone; writes its key anywhere else.

mod leaves;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PublicKeyData,
    SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

pub use leaves::{LocalCertificates, MOST_LOCAL_NAMES};

use crate::certificate::{Certificate, InvalidCertificate};
use crate::name;
use crate::state_file;

/// The file in the state folder: the key, then the certificate. Readable by the owner only.
pub const LOCAL_AUTHORITY_FILE: &str = "local-authority.pem";

/// How long the root is valid: ten years.
const ROOT_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// How long a certificate is valid: a week. It is replaced at half of that.
pub const LEAF_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Certificates are valid from this long ago: clocks differ.
const BACKDATED: Duration = Duration::from_secs(3600);

/// The most names of the operator.
pub const MOST_OWN_NAMES: usize = 100;

/// An authority of this machine.
pub struct LocalAuthority {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
    root_pem: String,
    permitted: Vec<String>,
    not_after: SystemTime,
    /// One key for all certificates: they live in this process only.
    key: KeyPair,
}

/// Why there is no local authority, or no certificate of it.
#[derive(Debug, thiserror::Error)]
pub enum LocalAuthorityError {
    /// The file cannot be read or written.
    #[error("cannot use {}: {error}; {}", path.display(), state_file::advice(error))]
    File {
        /// The file.
        path: PathBuf,
        /// The system error.
        error: io::Error,
    },
    /// The file has something else.
    #[error("{} is no local authority: {reason}; remove it to make a new one", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The root certificate has expired, or is not valid yet by this clock.
    #[error(
        "the local authority in {} is not valid now; if the clock is right, remove the file, and trust the new one: byway ca install",
        .0.display()
    )]
    Expired(PathBuf),
    /// The name is outside the constraints.
    #[error(
        "the local authority may not sign {name}: it is for {permitted}. To add a name: byway ca new --name {name}"
    )]
    NotPermitted {
        /// The name.
        name: String,
        /// What is permitted.
        permitted: String,
    },
    /// A text is no host name.
    #[error("{0} is no host name")]
    Name(String),
    /// Too many names.
    #[error("a local authority has at most {MOST_OWN_NAMES} names")]
    TooManyNames,
    /// The cryptography failed.
    #[error("cannot make a certificate: {0}")]
    Signing(#[from] rcgen::Error),
    /// What was made cannot be used.
    #[error(transparent)]
    Invalid(#[from] InvalidCertificate),
}

impl LocalAuthority {
    /// The authority in the state folder, or a new one for `localhost` and the names below it.
    ///
    /// # Errors
    /// See [`LocalAuthorityError`].
    pub fn open(state: &Path, now: SystemTime) -> Result<Self, LocalAuthorityError> {
        if let Some(there) = Self::read(state, now)? {
            return Ok(there);
        }
        let path = state.join(LOCAL_AUTHORITY_FILE);
        let text = Self::generate(&[], now)?;
        match state_file::create_new(&path, text.as_bytes()) {
            // Another process was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other.map_err(|error| LocalAuthorityError::File {
                path: path.clone(),
                error,
            })?,
        }
        let reason = "it was removed".to_owned();
        let made = Self::read(state, now)?;
        made.ok_or(LocalAuthorityError::Damaged { path, reason })
    }

    /// The authority in the state folder, if there is one.
    ///
    /// # Errors
    /// See [`LocalAuthorityError`].
    pub fn read(state: &Path, now: SystemTime) -> Result<Option<Self>, LocalAuthorityError> {
        let path = state.join(LOCAL_AUTHORITY_FILE);
        let bytes = match state_file::read(&path) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(None),
            Err(error) => return Err(LocalAuthorityError::File { path, error }),
        };
        let text = String::from_utf8_lossy(&bytes);
        let authority = Self::of(&text).map_err(|reason| LocalAuthorityError::Damaged {
            path: path.clone(),
            reason,
        })?;
        let (start, end) = authority.1;
        match start <= now && now < end {
            true => Ok(Some(authority.0)),
            false => Err(LocalAuthorityError::Expired(path)),
        }
    }

    /// Replaces the authority by a new one that may also sign `names` and what is below them. Clients
    /// have to be set up again to trust it.
    ///
    /// # Errors
    /// See [`LocalAuthorityError`].
    pub fn renew(
        state: &Path,
        names: &[String],
        now: SystemTime,
    ) -> Result<Self, LocalAuthorityError> {
        let path = state.join(LOCAL_AUTHORITY_FILE);
        let text = Self::generate(names, now)?;
        state_file::replace(&path, text.as_bytes()).map_err(|error| LocalAuthorityError::File {
            path: path.clone(),
            error,
        })?;
        let reason = "it was removed".to_owned();
        let made = Self::read(state, now)?;
        made.ok_or(LocalAuthorityError::Damaged { path, reason })
    }

    /// A key and a root certificate with constraints, as PEM.
    fn generate(names: &[String], now: SystemTime) -> Result<String, LocalAuthorityError> {
        if names.len() > MOST_OWN_NAMES {
            return Err(LocalAuthorityError::TooManyNames);
        }
        let mut permitted = vec![GeneralSubtree::DnsName("localhost".to_owned())];
        for text in names {
            let name = name::normal(text);
            let base = name.strip_prefix("*.").unwrap_or(&name);
            let is_name = base.split('.').all(is_label) && base.len() <= 253;
            if !is_name || base.parse::<IpAddr>().is_ok() {
                return Err(LocalAuthorityError::Name(text.clone()));
            }
            permitted.push(GeneralSubtree::DnsName(base.to_owned()));
        }
        let loopback = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0));
        let networks = [
            CidrSubnet::from_addr_prefix(loopback, 8),
            CidrSubnet::from_addr_prefix(IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
        ];
        permitted.extend(networks.map(GeneralSubtree::IpAddress));
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params
            .distinguished_name
            .push(DnType::CommonName, "Byway local authority");
        params.not_before = (now - BACKDATED).into();
        params.not_after = (now + ROOT_LIFE).into();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: permitted,
            excluded_subtrees: Vec::new(),
        });
        let root = params.self_signed(&key)?;
        Ok(format!("{}{}", key.serialize_pem(), root.pem()))
    }

    /// The authority of a file, and when its root is valid.
    fn of(text: &str) -> Result<(Self, (SystemTime, SystemTime)), String> {
        let key = KeyPair::from_pem(text).map_err(|error| format!("its key: {error}"))?;
        let begin = text
            .find("-----BEGIN CERTIFICATE")
            .ok_or("it has no certificate")?;
        let root_pem = text[begin..].to_owned();
        let root = CertificateDer::from_pem_slice(root_pem.as_bytes())
            .map_err(|error| format!("its certificate: {error}"))?;
        let (permitted, validity) = {
            let (_, parsed) = X509Certificate::from_der(&root)
                .map_err(|error| format!("its certificate: {error}"))?;
            if parsed.public_key().raw != key.subject_public_key_info() {
                return Err("its key belongs to another certificate".to_owned());
            }
            let time = |seconds: i64| {
                let seconds = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
                SystemTime::UNIX_EPOCH
                    .checked_add(seconds)
                    .ok_or("its dates")
            };
            let start = time(parsed.validity().not_before.timestamp())?;
            let end = time(parsed.validity().not_after.timestamp())?;
            (permitted_names(&parsed), (start, end))
        };
        if permitted.is_empty() {
            return Err("its certificate has no constraints".to_owned());
        }
        let issuer = Issuer::from_ca_cert_der(&root, key)
            .map_err(|error| format!("its certificate: {error}"))?;
        let authority = Self {
            issuer,
            root,
            root_pem,
            permitted,
            not_after: validity.1,
            key: KeyPair::generate().map_err(|error| error.to_string())?,
        };
        Ok((authority, validity))
    }

    /// The names that it may sign, each with everything below it.
    pub fn permitted(&self) -> &[String] {
        &self.permitted
    }

    /// The root certificate, which clients have to trust, as PEM.
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// The root certificate in DER.
    pub fn root(&self) -> &CertificateDer<'static> {
        &self.root
    }

    /// Until when the root is valid.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// SHA-256 of the root certificate, in hex with colons, as browsers and openssl show it.
    pub fn fingerprint(&self) -> String {
        let hash = digest(&SHA256, &self.root);
        let bytes = hash.as_ref().iter().map(|byte| format!("{byte:02X}"));
        bytes.collect::<Vec<_>>().join(":")
    }

    /// Whether it may sign a name: one of those permitted, or one below.
    pub fn permits(&self, host: &str) -> bool {
        let host = name::normal(host);
        host.split('.').all(is_label)
            && self.permitted.iter().any(|name| {
                host.strip_suffix(&**name)
                    .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            })
    }

    /// A certificate for a name. That for `localhost` is for the addresses of loopback as well.
    ///
    /// # Errors
    /// See [`LocalAuthorityError`].
    pub fn certificate(
        &self,
        host: &str,
        now: SystemTime,
    ) -> Result<Certificate, LocalAuthorityError> {
        let host = name::normal(host);
        if !self.permits(&host) {
            return Err(LocalAuthorityError::NotPermitted {
                name: host.into_owned(),
                permitted: self.permitted.join(", "),
            });
        }
        let mut params = CertificateParams::new([host.to_string()])?;
        if host == "localhost" {
            let addresses = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            let addresses = addresses.map(SanType::IpAddress);
            params.subject_alt_names.extend(addresses);
        }
        params.distinguished_name.push(DnType::CommonName, &*host);
        params.not_before = (now - BACKDATED).into();
        params.not_after = (now + LEAF_LIFE).min(self.not_after).into();
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = params.signed_by(&self.key, &self.issuer)?;
        let key = PrivateKeyDer::Pkcs8(self.key.serialize_der().into());
        let chain = vec![leaf.der().clone(), self.root.clone()];
        Ok(Certificate::new(chain, key)?)
    }
}

impl std::fmt::Debug for LocalAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LocalAuthority({:?})", self.permitted)
    }
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && !label.starts_with('-')
        && label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// The DNS names of the constraints of a root.
fn permitted_names(root: &X509Certificate<'_>) -> Vec<String> {
    let constraints =
        root.extensions()
            .iter()
            .find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::NameConstraints(constraints) => {
                    constraints.permitted_subtrees.as_ref()
                }
                _ => None,
            });
    let names = constraints
        .into_iter()
        .flatten()
        .filter_map(|subtree| match &subtree.base {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        });
    names.collect()
}

#[cfg(test)]
mod tests;
