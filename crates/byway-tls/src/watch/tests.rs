use std::fs;

use super::*;
use crate::testing::Authority;

fn write(folder: &Path, authority: &Authority, names: &[&str]) {
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = crate::testing::params(names)
        .signed_by(&key, &authority.issuer)
        .unwrap();
    // As programs that renew do it: a rename for each file.
    for (name, text) in [("cert.pem", leaf.pem()), ("key.pem", key.serialize_pem())] {
        let scratch = folder.join("scratch");
        fs::write(&scratch, text).unwrap();
        fs::rename(scratch, folder.join(name)).unwrap();
    }
}

fn source(folder: &Path) -> FileSource {
    FileSource {
        files: CertificateFiles {
            cert: folder.join("cert.pem"),
            key: folder.join("key.pem"),
            ocsp: None,
        },
        names: None,
        is_default: true,
    }
}

fn installed(folder: &Path, store: &CertificateStore) -> WatchedFiles {
    let (mut watched, failed) = WatchedFiles::read(vec![source(folder)]);
    assert!(failed.is_empty());
    assert!(
        store.all().is_empty(),
        "nothing is installed before it is taken over"
    );
    watched.take_over(&WatchedFiles::default(), store);
    watched
}

#[test]
fn changed_files_are_read_again_and_others_are_not() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("root"));
    let store = CertificateStore::new();
    write(folder.path(), &authority, &["a.example"]);
    let mut watched = installed(folder.path(), &store);
    assert!(store.coverage("a.example").is_some());
    assert_eq!(watched.refresh(&store).installed, 0);

    write(folder.path(), &authority, &["b.example"]);
    assert_eq!(watched.refresh(&store).installed, 1);
    assert!(store.coverage("a.example").is_none());
    assert!(store.coverage("b.example").is_some());
    assert!(store.default_certificate().is_some());

    WatchedFiles::default().take_over(&watched, &store);
    assert!(store.all().is_empty());
}

#[test]
fn files_that_cannot_be_used_leave_the_certificate_that_works_and_are_reported_once() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("root"));
    let store = CertificateStore::new();
    write(folder.path(), &authority, &["a.example"]);
    let mut watched = installed(folder.path(), &store);
    fs::write(folder.path().join("cert.pem"), "half").unwrap();
    let refreshed = watched.refresh(&store);
    assert_eq!((refreshed.installed, refreshed.failed.len()), (0, 1));
    assert!(refreshed.failed[0].error.to_string().contains("cert.pem"));
    assert!(watched.refresh(&store).failed.is_empty(), "reported once");
    assert!(
        store.coverage("a.example").is_some(),
        "the old one still works"
    );

    // The other half arrives: both files belong together again.
    write(folder.path(), &authority, &["c.example"]);
    assert_eq!(watched.refresh(&store).installed, 1);
    assert!(store.coverage("c.example").is_some());
}
