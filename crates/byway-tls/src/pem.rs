//! PEM: certificates and keys as files have them, with errors that say what to do.
//!
//! In:    the bytes of a file.
//! Out:   a chain, a key, an OCSP response.
//! Never: guesses: a file of another format is refused with the command that converts it.

use std::path::{Path, PathBuf};
use std::{fs, io};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::certificate::{Certificate, InvalidCertificate};

/// A longer file is refused, in bytes. Chains have a few KiB.
pub const MOST_FILE_BYTES: u64 = 1 << 20;

/// Why a file is not the certificate or the key that was expected.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file cannot be read.
    #[error("{} cannot be read: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system error.
        error: io::Error,
    },
    /// The file is far too long.
    #[error("{} is longer than 1 MiB: it is no certificate", .0.display())]
    TooLong(PathBuf),
    /// The file is a PKCS#12 container.
    #[error(
        "{path} is a PKCS#12 file (.p12, .pfx). Convert it: openssl pkcs12 -in {path} -nokeys -out cert.pem; openssl pkcs12 -in {path} -nocerts -nodes -out key.pem",
        path = .0.display()
    )]
    Pkcs12(PathBuf),
    /// The file is DER.
    #[error("{path} is in DER, not in PEM. Convert it: openssl {command} -inform der -in {path} -out {path}.pem", path = path.display())]
    Der {
        /// The file.
        path: PathBuf,
        /// The openssl command for this kind of file.
        command: &'static str,
    },
    /// The file has no certificate.
    #[error("{} has no certificate: expected a line -----BEGIN CERTIFICATE-----{}", path.display(), swapped(*has_key, "a key: are `cert` and `key` swapped?"))]
    NoCertificate {
        /// The file.
        path: PathBuf,
        /// Whether it has a key instead.
        has_key: bool,
    },
    /// The file has no key.
    #[error("{} has no private key: expected a line -----BEGIN PRIVATE KEY-----{}", path.display(), swapped(*has_certificate, "a certificate: are `cert` and `key` swapped?"))]
    NoKey {
        /// The file.
        path: PathBuf,
        /// Whether it has a certificate instead.
        has_certificate: bool,
    },
    /// The key is encrypted.
    #[error("the key in {path} is encrypted with a passphrase. Remove it: openssl pkey -in {path} -out decrypted.pem", path = .0.display())]
    EncryptedKey(PathBuf),
    /// The PEM text is damaged.
    #[error("{} is no valid PEM: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The parser's reason.
        reason: String,
    },
    /// The OCSP response is not in DER.
    #[error("{} is no OCSP response in DER, as openssl ocsp -respout writes it", .0.display())]
    Ocsp(PathBuf),
    /// The key in one file belongs to another certificate than that in the other.
    #[error(
        "the key {key} does not belong to the certificate {cert}: both commands print the same if it does: openssl pkey -in {key} -pubout; openssl x509 -in {cert} -noout -pubkey",
        key = key.display(), cert = cert.display()
    )]
    KeyMismatch {
        /// The file of the certificate.
        cert: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
    /// Any other problem of the certificate.
    #[error("{}: {error}", path.display())]
    Invalid {
        /// The file of the certificate.
        path: PathBuf,
        /// The problem.
        error: InvalidCertificate,
    },
}

fn swapped(is: bool, what: &str) -> String {
    match is {
        true => format!("; it has {what}"),
        false => String::new(),
    }
}

/// The files of one certificate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CertificateFiles {
    /// The chain, the server's certificate first.
    pub cert: PathBuf,
    /// The private key; may be the same file.
    pub key: PathBuf,
    /// An OCSP response in DER, which is stapled.
    pub ocsp: Option<PathBuf>,
}

impl CertificateFiles {
    /// Reads and checks them. Blocks.
    ///
    /// # Errors
    /// [`FileError`], with the file and what to do.
    pub fn load(&self) -> Result<Certificate, FileError> {
        let chain = certificates(&self.cert)?;
        let key = private_key(&self.key)?;
        let ocsp = self.ocsp.as_deref().map(ocsp_response).transpose()?;
        Certificate::with_ocsp(chain, key, ocsp).map_err(|error| match error {
            InvalidCertificate::KeyMismatch => FileError::KeyMismatch {
                cert: self.cert.clone(),
                key: self.key.clone(),
            },
            error => {
                let at_key = matches!(error, InvalidCertificate::Key(_));
                let path = if at_key { &self.key } else { &self.cert };
                let path = path.clone();
                FileError::Invalid { path, error }
            }
        })
    }

    /// Every file.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let two = [self.cert.as_path(), self.key.as_path()].into_iter();
        two.chain(self.ocsp.as_deref())
    }
}

/// The certificates of a PEM file; at least one. Blocks.
///
/// # Errors
/// [`FileError`].
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let bytes = read(path)?;
    refuse_binary(path, &bytes, "x509")?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let all = all.map_err(|error| malformed(path, error))?;
    if all.is_empty() {
        return Err(FileError::NoCertificate {
            path: path.into(),
            has_key: contains(&bytes, b"PRIVATE KEY-----"),
        });
    }
    Ok(all)
}

/// The first private key of a PEM file: PKCS#8, PKCS#1 or SEC1. Blocks.
///
/// # Errors
/// [`FileError`].
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, FileError> {
    use rustls::pki_types::pem::Error;
    let bytes = read(path)?;
    refuse_binary(path, &bytes, "pkey")?;
    if contains(&bytes, b"-----BEGIN ENCRYPTED PRIVATE KEY") || contains(&bytes, b"4,ENCRYPTED") {
        return Err(FileError::EncryptedKey(path.into()));
    }
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        Error::NoItemsFound => FileError::NoKey {
            path: path.into(),
            has_certificate: contains(&bytes, b"-----BEGIN CERTIFICATE"),
        },
        error => malformed(path, error),
    })
}

fn ocsp_response(path: &Path) -> Result<Vec<u8>, FileError> {
    let bytes = read(path)?;
    // An OCSPResponse is a SEQUENCE whose first element is ENUMERATED successful (RFC 6960).
    let status = bytes
        .windows(3)
        .take(8)
        .any(|three| three == [0x0a, 0x01, 0x00]);
    match bytes.first() == Some(&0x30) && status {
        true => Ok(bytes),
        false => Err(FileError::Ocsp(path.into())),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let error = |error| FileError::Read {
        path: path.into(),
        error,
    };
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(error)?;
    let read = io::Read::read_to_end(&mut io::Read::take(file, MOST_FILE_BYTES + 1), &mut bytes);
    match read.map_err(error)? as u64 > MOST_FILE_BYTES {
        true => Err(FileError::TooLong(path.into())),
        false => Ok(bytes),
    }
}

/// Refuses DER and PKCS#12. `command`: what openssl converts DER with.
fn refuse_binary(path: &Path, bytes: &[u8], command: &'static str) -> Result<(), FileError> {
    if bytes.first() != Some(&0x30) {
        return Ok(());
    }
    // PFX ::= SEQUENCE { version INTEGER 3, authSafe ContentInfo of pkcs7-data … } (RFC 7292).
    let version_3 = bytes
        .windows(3)
        .take(8)
        .any(|three| three == [0x02, 0x01, 0x03]);
    let pkcs7 = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07];
    let is_pkcs7 = bytes
        .windows(pkcs7.len())
        .take(32)
        .any(|eight| eight == pkcs7);
    Err(match version_3 && is_pkcs7 {
        true => FileError::Pkcs12(path.into()),
        false => FileError::Der {
            path: path.into(),
            command,
        },
    })
}

fn malformed(path: &Path, error: rustls::pki_types::pem::Error) -> FileError {
    FileError::Malformed {
        path: path.into(),
        reason: error.to_string(),
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests;
