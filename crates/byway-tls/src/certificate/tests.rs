use rcgen::date_time_ymd;

use super::*;
use crate::testing::{Authority, params};

#[test]
fn names_dates_and_addresses_come_from_the_certificate() {
    let authority = Authority::new("root");
    let certificate = authority.certificate(&["A.example", "*.b.example", "192.0.2.1", "::1"]);
    let names: Vec<_> = certificate.names().iter().map(|name| &**name).collect();
    assert_eq!(names, ["a.example", "*.b.example"]);
    for covered in [
        "a.example",
        "A.EXAMPLE.",
        "x.b.example",
        "192.0.2.1",
        "[::1]",
        "::1",
    ] {
        assert!(certificate.covers(covered), "{covered}");
    }
    for other in ["b.example", "x.y.b.example", "c.example", "192.0.2.2", ""] {
        assert!(!certificate.covers(other), "{other}");
    }
    assert!(certificate.not_before() < certificate.not_after());
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let authority = Authority::new("root");
    let (leaf, _) = authority.issue(&["a.example"]);
    let (_, key) = authority.issue(&["a.example"]);
    let error = Certificate::new(vec![leaf], key).unwrap_err();
    assert!(matches!(error, InvalidCertificate::KeyMismatch), "{error}");
}

#[test]
fn a_chain_that_begins_with_the_issuer_is_refused_with_the_position() {
    let authority = Authority::new("root");
    let (leaf, key) = authority.issue(&["a.example"]);
    let error = Certificate::new(vec![authority.root.clone(), leaf], key).unwrap_err();
    assert!(
        matches!(error, InvalidCertificate::WrongOrder { position: 2 }),
        "{error}"
    );
}

#[test]
fn a_chain_without_its_issuer_and_a_chain_in_disorder_are_warned_of() {
    let (authority, other) = (Authority::new("root"), Authority::new("another root"));
    let now = SystemTime::now();
    let (leaf, key) = authority.issue(&["a.example"]);
    let alone = Certificate::new(vec![leaf.clone()], key.clone_key()).unwrap();
    assert!(
        matches!(&alone.warnings(now)[..], [Warning::MissingChain { issuer }] if issuer.contains("root")),
        "{:?}",
        alone.warnings(now)
    );
    let wrong = Certificate::new(vec![leaf.clone(), other.root.clone()], key.clone_key()).unwrap();
    assert_eq!(wrong.warnings(now), [Warning::ChainOrder { position: 1 }]);
    let right = Certificate::new(vec![leaf, authority.root.clone()], key).unwrap();
    assert_eq!(right.warnings(now), []);
}

#[test]
fn dates_are_compared_with_the_given_time() {
    let authority = Authority::new("root");
    let mut dated = params(&["a.example"]);
    (dated.not_before, dated.not_after) = (date_time_ymd(2030, 1, 1), date_time_ymd(2031, 1, 1));
    let (leaf, key) = authority.issue_with(dated);
    let certificate = Certificate::new(vec![leaf, authority.root.clone()], key).unwrap();
    let (from, until) = (certificate.not_before(), certificate.not_after());
    let day = Duration::from_secs(24 * 3600);
    assert_eq!(
        certificate.warnings(from - day),
        [Warning::NotYetValid(from)]
    );
    assert_eq!(certificate.warnings(from), []);
    assert_eq!(
        certificate.warnings(until - 29 * day),
        [Warning::ExpiresSoon(until)]
    );
    assert_eq!(certificate.warnings(until), [Warning::Expired(until)]);
}

#[test]
fn a_certificate_of_an_authority_and_garbage_are_refused() {
    let error = Certificate::new(Vec::new(), Authority::new("root").issue(&["a"]).1).unwrap_err();
    assert!(matches!(error, InvalidCertificate::Empty), "{error}");
    let garbage = CertificateDer::from(vec![1, 2, 3]);
    let error = Certificate::new(vec![garbage], Authority::new("root").issue(&["a"]).1);
    assert!(matches!(
        error,
        Err(InvalidCertificate::Malformed { position: 1, .. })
    ));
    let authority = Authority::new("root");
    let mut middle = params(&["a.example"]);
    middle.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let (leaf, key) = authority.issue_with(middle);
    let error = Certificate::new(vec![leaf, authority.root], key).unwrap_err();
    assert!(matches!(error, InvalidCertificate::Authority), "{error}");
}
