//! Front: what a reverse proxy of a question speaks, on both of its sides.
//!
//! Out:   plain values, which each peer turns into its own configuration.
//! Never: anything of one program.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::certificate;
use super::{Fields, Logs};
use crate::load::tls::HOST;

/// How bodies are moved, where a program can choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bodies {
    /// Through the default buffers: the best for small bodies.
    Small,
    /// Through buffers of 64 KiB.
    Buffered,
    /// By splice(2) through pipes: the best for large bodies, without TLS.
    Spliced,
}

/// What clients speak to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Front {
    /// HTTP/1.1.
    Plain,
    /// HTTP/2 with prior knowledge.
    H2c,
    /// HTTP/1.1 and HTTP/2 over TLS 1.3, chosen by ALPN.
    Tls(CertificateFiles),
    /// The same, and HTTP/3 on the UDP port of the same number.
    Quic(CertificateFiles),
}

impl Front {
    /// The certificate, if it has one.
    pub(crate) const fn certificate(&self) -> Option<&CertificateFiles> {
        match self {
            Self::Plain | Self::H2c => None,
            Self::Tls(files) | Self::Quic(files) => Some(files),
        }
    }

    /// The scheme of its URLs.
    pub(crate) const fn scheme(&self) -> &'static str {
        match self {
            Self::Plain | Self::H2c => "http",
            Self::Tls(_) | Self::Quic(_) => "https",
        }
    }
}

/// What it speaks to the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Back {
    /// HTTP/1.1.
    Http1,
    /// gRPC, which is HTTP/2 with prior knowledge.
    Grpc,
}

/// A reverse proxy of one origin.
#[derive(Clone, Debug)]
pub(crate) struct Edge {
    /// What clients speak to it.
    pub(crate) front: Front,
    /// What it speaks to the origin.
    pub(crate) back: Back,
    /// The origin.
    pub(crate) origin: SocketAddr,
    /// The fields that it adds.
    pub(crate) fields: Fields,
    /// How it moves bodies.
    pub(crate) bodies: Bodies,
    /// Whether it logs.
    pub(crate) logs: Logs,
}

impl Edge {
    /// HTTP/1.1 on both sides.
    pub(crate) const fn plain(origin: SocketAddr, logs: Logs) -> Self {
        Self {
            front: Front::Plain,
            back: Back::Http1,
            origin,
            fields: Fields::Least,
            bodies: Bodies::Small,
            logs,
        }
    }
}

/// The files of a certificate for the host name of the lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CertificateFiles {
    /// The certificate, in PEM.
    pub(crate) certificate: PathBuf,
    /// Its key, in PEM.
    pub(crate) key: PathBuf,
    /// Both in one file.
    pub(crate) both: PathBuf,
}

impl CertificateFiles {
    /// Creates them in this folder.
    pub(crate) fn make(dir: &Path) -> Result<Self> {
        certificate::make(dir, "site", HOST)?;
        let file = |name: &str| dir.join(name);
        let files = Self {
            certificate: file("site.crt"),
            key: file("site.key"),
            both: file("site.pem"),
        };
        let texts = [&files.certificate, &files.key].map(std::fs::read_to_string);
        let [certificate, key] = texts;
        std::fs::write(&files.both, certificate? + &key?).context("writing site.pem")?;
        Ok(files)
    }

    /// The certificate as clients receive it.
    pub(crate) fn read(&self) -> Result<CertificateDer<'static>> {
        CertificateDer::from_pem_file(&self.certificate).context("reading the site's certificate")
    }
}
