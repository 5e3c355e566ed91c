use std::time::Instant;

use super::*;
use crate::testing::Authority;

const ANY: &[SignatureScheme] = &[SignatureScheme::ECDSA_NISTP256_SHA256];

fn file(id: &str) -> SourceId {
    SourceId::new(Provider::File, id)
}

fn resolved(store: &CertificateStore, name: Option<&str>) -> Option<String> {
    let found = store.resolve_name(name, ANY)?;
    Some(found.names().join(" "))
}

#[test]
fn an_exact_name_comes_before_a_wildcard_and_that_before_the_default() {
    let authority = Authority::new("root");
    let store = CertificateStore::new();
    for names in [["a.example"], ["*.example"]] {
        store.install(file(names[0]), Entry::new(authority.certificate(&names)));
    }
    assert_eq!(
        resolved(&store, Some("other.test")),
        None,
        "there is no default yet"
    );
    let default = Entry {
        is_default: true,
        ..Entry::new(authority.certificate(&["default.test"]))
    };
    store.install(file("default"), default);
    for (name, expected) in [
        (Some("a.example"), "a.example"),
        (Some("A.Example."), "a.example"),
        (Some("b.example"), "*.example"),
        (Some("x.b.example"), "default.test"),
        (Some("example"), "default.test"),
        (Some(""), "default.test"),
        (None, "default.test"),
    ] {
        assert_eq!(
            resolved(&store, name).as_deref(),
            Some(expected),
            "{name:?}"
        );
    }
}

#[test]
fn coverage_names_the_source_and_does_not_count_the_default() {
    let authority = Authority::new("root");
    let store = CertificateStore::new();
    let wild = Entry {
        is_default: true,
        ..Entry::new(authority.certificate(&["*.example"]))
    };
    store.install(SourceId::new(Provider::Acme, "*.example"), wild);
    let covered = store.coverage("a.example").unwrap();
    assert_eq!(covered.source.to_string(), "acme *.example");
    assert!(covered.not_after() > SystemTime::now());
    assert!(store.coverage("*.example").is_some());
    for name in ["a.test", "example", "*.a.example"] {
        assert!(store.coverage(name).is_none(), "{name}");
    }
}

#[test]
fn files_come_before_what_was_obtained_automatically() {
    let authority = Authority::new("root");
    let store = CertificateStore::new();
    let acme = SourceId::new(Provider::Acme, "a.example");
    store.install(
        acme,
        Entry::new(authority.certificate(&["a.example", "acme.test"])),
    );
    store.install(
        file("a.pem"),
        Entry::new(authority.certificate(&["a.example", "file.test"])),
    );
    assert_eq!(
        resolved(&store, Some("a.example")).unwrap(),
        "a.example file.test"
    );
    store.remove(file("a.pem"));
    assert_eq!(
        resolved(&store, Some("a.example")).unwrap(),
        "a.example acme.test"
    );
}

#[test]
fn installing_under_the_same_id_replaces_and_names_can_be_chosen() {
    let authority = Authority::new("root");
    let store = CertificateStore::new();
    store.install(
        file("a.pem"),
        Entry::new(authority.certificate(&["a.example"])),
    );
    let entry = Entry {
        names: Some(vec!["Chosen.example".into()]),
        ..Entry::new(authority.certificate(&["b.example"]))
    };
    store.install(file("a.pem"), entry);
    assert_eq!(resolved(&store, Some("a.example")), None);
    assert_eq!(resolved(&store, Some("b.example")), None);
    assert_eq!(
        resolved(&store, Some("chosen.example")).unwrap(),
        "b.example"
    );
    assert_eq!(store.all().len(), 1);
}

#[test]
fn a_client_gets_a_certificate_that_it_can_verify() {
    let authority = Authority::new("root");
    let store = CertificateStore::new();
    store.install(
        file("a.pem"),
        Entry::new(authority.certificate(&["a.example"])),
    );
    let rsa_only = [SignatureScheme::RSA_PSS_SHA256];
    assert!(store.resolve_name(Some("a.example"), &rsa_only).is_none());
}

#[test]
fn ten_thousand_names_are_found_each_by_its_own() {
    let authority = Authority::new("root");
    let certificate = Arc::new(authority.certificate(&["shared.example"]));
    let store = CertificateStore::new();
    let changes = (0..10_000).map(|n| {
        let entry = Entry {
            certificate: Arc::clone(&certificate),
            names: Some(vec![format!("n{n}.example")]),
            is_default: false,
        };
        Change::Install(file(&n.to_string()), entry)
    });
    let begun = Instant::now();
    store.update(changes);
    eprintln!("10,000 names installed in {:?}", begun.elapsed());
    for n in [0, 1, 4_711, 9_999] {
        assert_eq!(
            store.coverage(&format!("n{n}.example")).unwrap().source,
            file(&n.to_string())
        );
    }
    assert!(store.coverage("n10000.example").is_none());
}

#[test]
fn a_challenge_ends_with_its_guard_and_not_with_that_of_an_older_one() {
    let authority = Authority::new("root");
    let challenges = Arc::new(crate::Challenges::default());
    let key = || Arc::clone(authority.certificate(&["a.example"]).certified_key());
    let first = challenges.present("A.example", key());
    let second = challenges.present("a.example", key());
    drop(first);
    assert!(challenges.certificate("a.example").is_some());
    drop(second);
    assert!(challenges.certificate("a.example").is_none());
}
