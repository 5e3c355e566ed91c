use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::{ServerName, UnixTime};
use rustls::server::ParsedCertificate;

use super::*;
use crate::CertificateStore;
use crate::on_demand::OnDemand;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + 20_000 * DAY
}

/// What a client says that trusts the root.
fn verify(
    authority: &LocalAuthority,
    chain: &[CertificateDer<'static>],
    host: &str,
    now: SystemTime,
) -> Result<(), rustls::Error> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.root().clone()).unwrap();
    let provider = crate::provider();
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
    let host = ServerName::try_from(host.to_owned()).unwrap();
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let now = UnixTime::since_unix_epoch(since);
    let verified =
        verifier
            .build()
            .unwrap()
            .verify_server_cert(&chain[0], &chain[1..], &host, &[], now);
    verified?;
    verify_server_name(&ParsedCertificate::try_from(&chain[0])?, &host)
}

fn chain(certificate: &Certificate) -> &[CertificateDer<'static>] {
    &certificate.certified_key().cert
}

#[test]
fn a_client_that_trusts_the_root_accepts_localhost_names_below_it_and_loopback() {
    let folder = tempfile::tempdir().unwrap();
    let authority = LocalAuthority::open(folder.path(), now()).unwrap();
    for host in ["localhost", "app.localhost", "a.b.localhost", "LOCALHOST."] {
        let certificate = authority.certificate(host, now()).unwrap();
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        verify(&authority, chain(&certificate), &host, now()).unwrap();
        assert!(verify(&authority, chain(&certificate), "other.localhost", now()).is_err());
        assert!(verify(&authority, chain(&certificate), &host, now() + 8 * DAY).is_err());
    }
    let localhost = authority.certificate("localhost", now()).unwrap();
    for address in ["127.0.0.1", "::1"] {
        verify(&authority, chain(&localhost), address, now()).unwrap();
    }
}

#[test]
fn other_names_are_not_signed_and_what_a_stolen_key_signs_is_refused_by_clients() {
    let folder = tempfile::tempdir().unwrap();
    let authority = LocalAuthority::open(folder.path(), now()).unwrap();
    for host in [
        "example.com",
        "xlocalhost",
        "localhost.example.com",
        "*.localhost",
        "",
    ] {
        assert!(!authority.permits(host), "{host}");
        let refused = authority.certificate(host, now()).unwrap_err();
        assert!(
            matches!(refused, LocalAuthorityError::NotPermitted { .. }),
            "{refused}"
        );
    }
    let stolen = CertificateParams::new(["bank.example".to_owned()]).unwrap();
    let leaf = stolen.signed_by(&authority.key, &authority.issuer).unwrap();
    let error = verify(&authority, &[leaf.der().clone()], "bank.example", now()).unwrap_err();
    assert!(error.to_string().contains("NameConstraint"), "{error}");
}

#[test]
fn the_key_stays_and_is_readable_by_its_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let first = LocalAuthority::open(folder.path(), now()).unwrap();
    let second = LocalAuthority::open(folder.path(), now() + 100 * DAY).unwrap();
    assert_eq!(first.root(), second.root());
    assert_eq!(first.fingerprint(), second.fingerprint());
    assert_eq!(first.fingerprint().len(), 32 * 3 - 1);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let file = std::fs::metadata(folder.path().join(LOCAL_AUTHORITY_FILE)).unwrap();
        assert_eq!(file.permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn names_of_the_operator_are_part_of_a_new_root() {
    let folder = tempfile::tempdir().unwrap();
    let old = LocalAuthority::open(folder.path(), now()).unwrap();
    let names = ["dev.test".to_owned(), "*.Corp.Example".to_owned()];
    let authority = LocalAuthority::renew(folder.path(), &names, now()).unwrap();
    assert_ne!(old.root(), authority.root());
    assert_eq!(
        authority.permitted(),
        ["localhost", "dev.test", "corp.example"]
    );
    for host in ["dev.test", "x.dev.test", "a.corp.example"] {
        let certificate = authority.certificate(host, now()).unwrap();
        verify(&authority, chain(&certificate), host, now()).unwrap();
    }
    for bad in ["a b", "", "192.0.2.1", "a..b"] {
        let refused = LocalAuthority::renew(folder.path(), &[bad.to_owned()], now());
        assert!(
            matches!(refused, Err(LocalAuthorityError::Name(_))),
            "{bad}"
        );
    }
}

#[test]
fn a_damaged_or_expired_authority_is_an_error_that_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(LOCAL_AUTHORITY_FILE);
    std::fs::write(&path, "nonsense").unwrap();
    let error = LocalAuthority::open(folder.path(), now()).unwrap_err();
    assert!(
        error.to_string().contains("remove it to make a new one"),
        "{error}"
    );
    std::fs::remove_file(&path).unwrap();
    LocalAuthority::open(folder.path(), now()).unwrap();
    for wrong in [now() + 4000 * DAY, now() - 4000 * DAY] {
        let error = LocalAuthority::open(folder.path(), wrong).unwrap_err();
        assert!(matches!(error, LocalAuthorityError::Expired(_)), "{error}");
    }
}

#[tokio::test]
async fn certificates_in_use_are_replaced_at_half_of_their_life_whatever_the_clock_does() {
    let folder = tempfile::tempdir().unwrap();
    let authority = LocalAuthority::open(folder.path(), now()).unwrap();
    let store = Arc::new(CertificateStore::new());
    let days = Arc::new(AtomicU64::new(100));
    let clock = {
        let days = days.clone();
        move || now() + u32::try_from(days.load(Ordering::SeqCst)).unwrap() * DAY
    };
    let local = LocalCertificates::new(authority, store.clone(), Arc::new(clock));
    local.obtain("app.localhost").await;
    local.obtain("example.com").await;
    assert!(store.coverage("example.com").is_none());
    assert!(store.default_certificate().is_none());
    local.install("localhost").unwrap();
    assert!(store.default_certificate().is_some());
    let end = || store.coverage("app.localhost").unwrap().not_after();
    let first = end();
    days.store(103, Ordering::SeqCst);
    local.renew_due();
    assert_eq!(end(), first);
    days.store(104, Ordering::SeqCst);
    local.renew_due();
    assert_eq!(end(), first + 4 * DAY);
    days.store(10, Ordering::SeqCst);
    local.renew_due();
    assert_eq!(end(), first - 90 * DAY, "the clock was set back");
}

#[tokio::test]
async fn names_below_localhost_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let authority = LocalAuthority::open(folder.path(), now()).unwrap();
    let store = Arc::new(CertificateStore::new());
    let tick = AtomicU64::new(0);
    let clock = move || now() + Duration::from_secs(tick.fetch_add(1, Ordering::SeqCst));
    let local = LocalCertificates::new(authority, store.clone(), Arc::new(clock));
    for number in 0..MOST_LOCAL_NAMES + 5 {
        local.obtain(&format!("n{number}.localhost")).await;
    }
    assert_eq!(store.all().len(), MOST_LOCAL_NAMES);
    assert!(store.coverage("n4.localhost").is_none());
    assert!(store.coverage("n5.localhost").is_some());
}

#[test]
fn openssl_accepts_the_chain() {
    let folder = tempfile::tempdir().unwrap();
    let time = SystemTime::now();
    let authority = LocalAuthority::open(folder.path(), time).unwrap();
    let certificate = authority.certificate("app.localhost", time).unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    let leaf = chain(&certificate)[0].to_vec();
    std::fs::write(file("leaf.der"), leaf).unwrap();
    std::fs::write(file("root.pem"), authority.root_pem()).unwrap();
    let ran = std::process::Command::new("openssl")
        .args(["verify", "-x509_strict", "-purpose", "sslserver"])
        .args([
            "-verify_hostname",
            "app.localhost",
            "-CAfile",
            &file("root.pem"),
        ])
        .arg(file("leaf.der"))
        .output();
    // Without openssl there is nothing to compare with.
    if let Ok(ran) = ran {
        let err = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{err}");
    }
}
