use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

fn secret() -> TicketSecret {
    TicketSecret::from_bytes([7; 32])
}

/// A clock for each epoch that a test needs: a ticketer takes a plain function.
fn at<const EPOCHS: u64>() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(EPOCHS * EPOCH.as_secs() + 5)
}

#[test]
fn a_ticket_is_opened_by_any_ticketer_of_the_same_secret_and_policy() {
    let (one, two) = (
        Ticketer::new(&secret(), b"p"),
        Ticketer::new(&secret(), b"p"),
    );
    let ticket = one.encrypt(b"session").unwrap();
    assert_eq!(two.decrypt(&ticket).unwrap(), b"session");
    assert_ne!(
        ticket,
        one.encrypt(b"session").unwrap(),
        "each has its own nonce"
    );
}

#[test]
fn a_ticket_of_another_policy_or_secret_is_not_opened() {
    let ticket = Ticketer::new(&secret(), b"none")
        .encrypt(b"session")
        .unwrap();
    assert_eq!(Ticketer::new(&secret(), b"required").decrypt(&ticket), None);
    let other = TicketSecret::random().unwrap();
    assert_eq!(Ticketer::new(&other, b"none").decrypt(&ticket), None);
}

#[test]
fn a_ticket_lives_in_its_epoch_and_the_neighbours_of_it() {
    let ticket = Ticketer::with_clock(&secret(), b"", at::<100>)
        .encrypt(b"s")
        .unwrap();
    for (ticketer, opens) in [
        (Ticketer::with_clock(&secret(), b"", at::<98>), false),
        (Ticketer::with_clock(&secret(), b"", at::<99>), true),
        (Ticketer::with_clock(&secret(), b"", at::<100>), true),
        (Ticketer::with_clock(&secret(), b"", at::<101>), true),
        (Ticketer::with_clock(&secret(), b"", at::<102>), false),
    ] {
        assert_eq!(ticketer.decrypt(&ticket).is_some(), opens);
    }
}

#[test]
fn a_ticketer_takes_the_next_key_when_its_epoch_begins() {
    static NOW: AtomicU64 = AtomicU64::new(0);
    fn clock() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(NOW.load(Ordering::Relaxed))
    }
    let ticketer = Ticketer::with_clock(&secret(), b"", clock);
    let first = ticketer.encrypt(b"s").unwrap();
    NOW.store(EPOCH.as_secs(), Ordering::Relaxed);
    let second = ticketer.encrypt(b"s").unwrap();
    assert_ne!(first[..KEY_ID_LEN], second[..KEY_ID_LEN]);
    assert!(ticketer.decrypt(&first).is_some());
    NOW.store(2 * EPOCH.as_secs(), Ordering::Relaxed);
    assert!(ticketer.decrypt(&first).is_none());
    NOW.store(0, Ordering::Relaxed); // The clock may jump back.
    assert!(ticketer.decrypt(&first).is_some());
}

#[test]
fn no_altered_or_cut_ticket_is_opened() {
    let ticketer = Ticketer::new(&secret(), b"");
    let ticket = ticketer.encrypt(b"session").unwrap();
    for at in 0..ticket.len() {
        let mut altered = ticket.clone();
        altered[at] ^= 1;
        assert_eq!(ticketer.decrypt(&altered), None, "{at}");
        assert_eq!(ticketer.decrypt(&ticket[..at]), None, "{at}");
    }
    assert_eq!(ticketer.decrypt(&vec![0; MOST_TICKET_BYTES + 1]), None);
}

#[test]
fn the_secret_is_created_once_and_only_its_owner_reads_it() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ticket-secret");
    let first = TicketSecret::read_or_create(&path).unwrap();
    let again = TicketSecret::read_or_create(&path).unwrap();
    assert_eq!(first.bytes(), again.bytes());
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);

    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    let error = TicketSecret::read_or_create(&path).unwrap_err();
    assert!(matches!(error, SecretError::Exposed(_)), "{error}");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::write(&path, "short").unwrap();
    let error = TicketSecret::read_or_create(&path).unwrap_err();
    assert!(matches!(error, SecretError::Malformed(_)), "{error}");
}

#[test]
fn keys_for_other_purposes_differ_from_each_other_and_are_equal_in_each_process() {
    let key = |secret: u8, purpose: &str| {
        let derived = TicketSecret::from_bytes([secret; 32]).derive::<32>(purpose);
        derived.unwrap()
    };
    assert_eq!(key(1, "a"), key(1, "a"));
    assert_ne!(key(1, "a"), key(1, "b"));
    assert_ne!(key(1, "a"), key(2, "a"));
}
