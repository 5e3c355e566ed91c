//! TLS-ALPN: the certificate that answers a TLS-ALPN-01 challenge (RFC 8737).

use std::sync::Arc;

use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;

use super::failure::{Failure, FailureKind};

/// A self-signed certificate for `name` with the digest of the key authorization.
pub(crate) fn certificate(name: &str, digest: &[u8]) -> Result<Arc<CertifiedKey>, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        let text = format!("cannot make a certificate for the challenge: {error}");
        Failure::new(FailureKind::Challenge, text)
    };
    let digest: &[u8; 32] = digest.try_into().map_err(|error| failed(&error))?;
    let key = KeyPair::generate().map_err(|error| failed(&error))?;
    let mut params = CertificateParams::new([name.to_owned()]).map_err(|error| failed(&error))?;
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = params.self_signed(&key).map_err(|error| failed(&error))?;
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let key = aws_lc_rs::sign::any_supported_type(&key).map_err(|error| failed(&error))?;
    Ok(Arc::new(CertifiedKey::new(
        vec![certificate.der().clone()],
        key,
    )))
}

#[cfg(test)]
mod tests {
    use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

    use super::*;

    #[test]
    fn the_certificate_has_the_name_and_a_critical_extension_with_the_digest() {
        let certified = certificate("a.example.com", &[7; 32]).unwrap();
        let certificate = &certified.cert[0];
        let (_, parsed) = X509Certificate::from_der(certificate).unwrap();
        let names = parsed.subject_alternative_name().unwrap().unwrap();
        let expected = GeneralName::DNSName("a.example.com");
        assert_eq!(names.value.general_names, [expected]);
        let extension = parsed
            .extensions()
            .iter()
            .find(|extension| extension.oid.to_id_string() == "1.3.6.1.5.5.7.1.31")
            .unwrap();
        assert!(extension.critical);
        assert_eq!(extension.value, [&[4, 32][..], &[7; 32]].concat());
        assert!(certificate_of_wrong_digest().is_err());
    }

    fn certificate_of_wrong_digest() -> Result<Arc<CertifiedKey>, Failure> {
        certificate("a.example.com", &[7; 31])
    }
}
