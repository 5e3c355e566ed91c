use std::path::Path;

use rustls::pki_types::PrivateKeyDer;

use super::*;
use crate::testing::Authority;

/// Writes a chain and a key as PEM, and returns the two paths.
fn written(folder: &Path, chain: &[&[u8]], key: &PrivateKeyDer<'_>) -> CertificateFiles {
    let cert: String = chain.iter().map(|der| pem("CERTIFICATE", der)).collect();
    let files = CertificateFiles {
        cert: folder.join("cert.pem"),
        key: folder.join("key.pem"),
        ocsp: None,
    };
    fs::write(&files.cert, cert).unwrap();
    fs::write(&files.key, pem("PRIVATE KEY", key.secret_der())).unwrap();
    files
}

fn pem(label: &str, der: &[u8]) -> String {
    use std::fmt::Write;
    // Base64 by hand, as no crate for it is a dependency here.
    const SET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in der.chunks(48) {
        for three in line.chunks(3) {
            let word = three
                .iter()
                .fold(0u32, |word, byte| word << 8 | u32::from(*byte))
                << (8 * (3 - three.len()));
            for at in 0..4 {
                let letter = SET[(word >> (18 - 6 * at)) as usize & 63] as char;
                let _ = write!(text, "{}", if at <= three.len() { letter } else { '=' });
            }
        }
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}

#[test]
fn a_chain_and_a_key_are_read_also_from_one_file() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("root"));
    let (leaf, key) = authority.issue(&["a.example"]);
    let files = written(folder.path(), &[&leaf, &authority.root], &key);
    assert_eq!(&*files.load().unwrap().names()[0], "a.example");

    let both = [
        fs::read(&files.key).unwrap(),
        fs::read(&files.cert).unwrap(),
    ]
    .concat();
    fs::write(&files.cert, both).unwrap();
    let key = files.cert.clone();
    let files = CertificateFiles { key, ..files };
    assert_eq!(files.load().unwrap().certified_key().cert.len(), 2);
}

#[test]
fn an_ocsp_response_is_stapled_and_anything_else_refused() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("root"));
    let (leaf, key) = authority.issue(&["a.example"]);
    let files = CertificateFiles {
        ocsp: Some(folder.path().join("ocsp.der")),
        ..written(folder.path(), &[&leaf], &key)
    };
    let response = [0x30, 0x03, 0x0a, 0x01, 0x00];
    fs::write(files.ocsp.as_ref().unwrap(), response).unwrap();
    assert_eq!(
        files.load().unwrap().certified_key().ocsp.as_deref(),
        Some(&response[..])
    );
    fs::write(
        files.ocsp.as_ref().unwrap(),
        "-----BEGIN OCSP RESPONSE-----",
    )
    .unwrap();
    assert!(matches!(files.load().unwrap_err(), FileError::Ocsp(_)));
}

#[test]
fn errors_name_the_file_and_what_to_do() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("root"));
    let (leaf, key) = authority.issue(&["a.example"]);
    let (_, other) = authority.issue(&["a.example"]);
    let files = written(folder.path(), &[&leaf], &key);
    let swapped = CertificateFiles {
        cert: files.key.clone(),
        key: files.cert.clone(),
        ocsp: None,
    };
    let no_key = CertificateFiles {
        key: files.cert.clone(),
        ..files.clone()
    };
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let with_key = |key: PathBuf| CertificateFiles {
        key,
        ..files.clone()
    };
    let with_cert = |cert: PathBuf| CertificateFiles {
        cert,
        ..files.clone()
    };
    let encrypted = pem("ENCRYPTED PRIVATE KEY", b"x");
    let legacy = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    let mut p12 = vec![
        0x30, 0x82, 0x0a, 0x00, 0x02, 0x01, 0x03, 0x30, 0x82, 0x09, 0x00, 0x06, 0x09,
    ];
    p12.extend([0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01]);
    for (files, expected) in [
        (swapped, "are `cert` and `key` swapped?"),
        (no_key, "has no private key"),
        (
            with_key(folder.path().join("none.pem")),
            "none.pem cannot be read: No such file",
        ),
        (
            with_key(write("enc.pem", encrypted.as_bytes())),
            "openssl pkey -in",
        ),
        (
            with_key(write("enc1.pem", legacy.as_bytes())),
            "encrypted with a passphrase",
        ),
        (
            with_cert(write("a.p12", &p12)),
            "a.p12 -nokeys -out cert.pem; openssl pkcs12 -in",
        ),
        (
            with_cert(write("a.der", &leaf)),
            "openssl x509 -inform der -in",
        ),
        (
            with_key(write("k.der", key.secret_der())),
            "openssl pkey -inform der -in",
        ),
        (with_cert(write("empty.pem", b"")), "has no certificate"),
        (
            with_cert(write("long.pem", &vec![b'x'; 1 << 21])),
            "longer than 1 MiB",
        ),
        (
            with_cert(write("cut.pem", b"-----BEGIN CERTIFICATE-----\nAA\n")),
            "is no valid PEM",
        ),
        (
            with_key(write(
                "other.pem",
                pem("PRIVATE KEY", other.secret_der()).as_bytes(),
            )),
            "does not belong to the certificate",
        ),
        (
            with_cert(write(
                "order.pem",
                (pem("CERTIFICATE", &authority.root) + &pem("CERTIFICATE", &leaf)).as_bytes(),
            )),
            "must come first",
        ),
    ] {
        let error = files.load().unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}
