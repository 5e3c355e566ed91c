//! Certificate: a self-signed certificate for peers that need one.
//!
//! In:    a folder, a name for the files, the host name in the certificate.
//! Out:   `NAME.crt` and `NAME.key` in that folder: P-256, as most servers have it.
//! Never: keeps them longer than the run: the folder belongs to the run.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Creates both files.
pub(super) fn make(dir: &Path, name: &str, host: &str) -> Result<()> {
    let (subject, names) = (format!("/CN={host}"), format!("subjectAltName=DNS:{host}"));
    let (key, certificate) = (format!("{name}.key"), format!("{name}.crt"));
    let request = [
        "req",
        "-x509",
        "-nodes",
        "-days",
        "2",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
    ];
    let output = [
        "-subj",
        &subject,
        "-addext",
        &names,
        "-addext",
        "basicConstraints=critical,CA:FALSE",
        "-keyout",
        &key,
        "-out",
        &certificate,
    ];
    openssl(dir, &[&request[..], &output[..]].concat())
}

/// Runs openssl in this folder.
pub(super) fn openssl(dir: &Path, arguments: &[&str]) -> Result<()> {
    let output = Command::new("openssl")
        .args(arguments)
        .current_dir(dir)
        .output();
    let output =
        output.context("openssl is needed to create a certificate: `apt-get install openssl`")?;
    ensure!(
        output.status.success(),
        "openssl {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
