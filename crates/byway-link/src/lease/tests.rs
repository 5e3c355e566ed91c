//! Tests of leases: single cases, and every order of hellos.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use proptest::prelude::*;

use super::*;

fn key(n: u8) -> Fingerprint {
    Fingerprint::of_spki(&[n])
}

fn who(identity: u8, epoch: u64, attempt: u64, session: u64) -> Claimant {
    Claimant {
        tenant: GrantId::from_bytes([1; 6]),
        identity: key(identity),
        epoch,
        attempt,
        session: SessionKey(session),
        conflict: Conflict::Refuse,
    }
}

fn app() -> Name {
    Name::Http("app".into())
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn port(number: u16) -> Name {
    Name::Tcp(SocketAddr::new(LOOPBACK, number))
}

fn claim(leases: &mut Leases, who: Claimant) -> Result<Vec<u64>, Denied> {
    leases
        .claim(&app(), "app", who, 100)
        .map(|claimed| claimed.replaced.iter().map(|r| r.session.0).collect())
}

fn holder(leases: &mut Leases) -> Option<u64> {
    leases.next_holder(&app()).map(|session| session.0)
}

#[test]
fn a_newer_process_takes_over_at_once_and_the_older_never_comes_back() {
    let mut leases = Leases::default();
    assert_eq!(claim(&mut leases, who(1, 10, 1, 1)), Ok(vec![]));
    assert_eq!(claim(&mut leases, who(1, 11, 1, 2)), Ok(vec![1]));
    assert_eq!(holder(&mut leases), Some(2));
    // The older one reconnects, both while the newer one is there and after it has gone.
    assert_eq!(
        claim(&mut leases, who(1, 10, 2, 3)),
        Err(Denied::Superseded)
    );
    leases.release_all(SessionKey(2), 100);
    assert_eq!(
        claim(&mut leases, who(1, 10, 3, 4)),
        Err(Denied::Superseded)
    );
    assert_eq!(claim(&mut leases, who(1, 12, 1, 5)), Ok(vec![]));
}

#[test]
fn a_reconnect_of_the_same_process_replaces_its_own_dead_session() {
    let mut leases = Leases::default();
    let first = who(1, 10, 1, 1);
    claim(&mut leases, first).unwrap();
    let claimed = leases.claim(&app(), "app", who(1, 10, 2, 2), 100).unwrap();
    assert_eq!(
        claimed.replaced,
        [Replaced {
            session: SessionKey(1),
            same_process: true
        }]
    );
    // The end of the old session is noticed late and releases nothing.
    assert!(leases.release_all(SessionKey(1), 100).is_empty());
    assert_eq!(holder(&mut leases), Some(2));
}

#[test]
fn hellos_in_the_wrong_order_leave_the_newest_as_the_holder() {
    let mut leases = Leases::default();
    claim(&mut leases, who(1, 10, 3, 3)).unwrap();
    assert_eq!(
        claim(&mut leases, who(1, 10, 2, 2)),
        Err(Denied::LaterSession),
        "it was called a newer process, of which to stop one"
    );
    assert_eq!(
        claim(&mut leases, who(1, 10, 3, 3)),
        Ok(vec![]),
        "a second claim of one session changes nothing"
    );
    assert_eq!(holder(&mut leases), Some(3));
}

#[test]
fn a_refused_claim_reports_the_holder_and_for_how_long_it_has_the_name() {
    let mut leases = Leases::default();
    claim(&mut leases, who(1, 10, 1, 1)).unwrap();
    let denied = leases
        .claim(&app(), "app", who(2, 99, 1, 2), 100 + 125)
        .unwrap_err();
    assert_eq!(
        denied,
        Denied::Held {
            by: key(1).short(),
            held_s: 125
        }
    );
    assert!(denied.to_string().contains("for 2 min"), "{denied}");
    leases.release_all(SessionKey(1), 100);
    assert_eq!(
        claim(&mut leases, who(2, 1, 1, 2)),
        Ok(vec![]),
        "the tenant's own name is free again"
    );
}

#[test]
fn a_grant_may_allow_names_to_be_shared_or_taken() {
    let mut leases = Leases::default();
    claim(&mut leases, who(1, 10, 1, 1)).unwrap();
    assert_eq!(
        claim(
            &mut leases,
            Claimant {
                conflict: Conflict::Share,
                ..who(2, 5, 1, 2)
            }
        ),
        Ok(vec![])
    );
    let turns: Vec<_> = (0..4).filter_map(|_| holder(&mut leases)).collect();
    assert!(turns == [1, 2, 1, 2] || turns == [2, 1, 2, 1], "{turns:?}");
    let taken = claim(
        &mut leases,
        Claimant {
            conflict: Conflict::Take,
            ..who(3, 5, 1, 3)
        },
    )
    .unwrap();
    assert_eq!(taken, [1, 2]);
    assert_eq!(holder(&mut leases), Some(3));
}

#[test]
fn one_identity_may_run_several_processes_with_different_names() {
    let mut leases = Leases::default();
    let other = port(20_022);
    claim(&mut leases, who(1, 10, 1, 1)).unwrap();
    assert_eq!(
        leases
            .claim(&other, "ssh", who(1, 11, 1, 2), 100)
            .unwrap()
            .replaced,
        []
    );
    assert_eq!(holder(&mut leases), Some(1));
}

#[test]
fn a_name_stays_its_tenants_across_a_restart_and_its_port_sticks_to_the_identity() {
    let mut leases = Leases::default();
    let ssh = port(20_022);
    leases
        .claim(&ssh, "127.0.0.1:22", who(1, 10, 1, 1), 100)
        .unwrap();
    claim(&mut leases, who(1, 10, 1, 1)).unwrap();
    let (mut leases, _) = Leases::restore(&leases.save(100)).unwrap();
    assert_eq!(
        leases.port_of(who(1, 0, 0, 0).tenant, key(1), "127.0.0.1:22", LOOPBACK),
        Some(20_022)
    );
    assert_eq!(
        leases.port_of(who(1, 0, 0, 0).tenant, key(2), "127.0.0.1:22", LOOPBACK),
        None
    );
    let other_tenant = Claimant {
        tenant: GrantId::from_bytes([2; 6]),
        ..who(9, 99, 1, 9)
    };
    assert_eq!(
        claim(&mut leases, other_tenant),
        Err(Denied::OtherTenant(GrantId::from_bytes([1; 6])))
    );
    assert_eq!(
        claim(&mut leases, who(1, 9, 1, 3)),
        Err(Denied::Superseded),
        "the fence survives, too"
    );
    assert_eq!(claim(&mut leases, who(1, 11, 1, 3)), Ok(vec![]));
    leases.release_all(SessionKey(3), 200);
    leases.expire(199 + RESERVED_S);
    assert!(leases.is_known(&app()) && !leases.is_known(&ssh));
}

#[test]
fn the_names_of_a_tenant_that_is_gone_are_free_at_once() {
    let mut leases = Leases::default();
    let other_tenant = Claimant {
        tenant: GrantId::from_bytes([2; 6]),
        ..who(9, 99, 1, 9)
    };
    claim(&mut leases, who(1, 10, 1, 1)).unwrap();
    assert!(claim(&mut leases, other_tenant).is_err());
    assert_eq!(leases.forget_tenant(who(1, 0, 0, 0).tenant), [app()]);
    assert_eq!(claim(&mut leases, other_tenant), Ok(vec![]));
}

#[test]
fn a_name_that_was_given_up_is_not_waited_for_and_stays_its_tenants() {
    let mut leases = Leases::default();
    claim(&mut leases, who(1, 10, 1, 1)).unwrap();
    leases.release_all(SessionKey(1), 100);
    assert!(
        leases.is_expected(&app()),
        "its agent was lost and may be back"
    );
    claim(&mut leases, who(1, 10, 2, 2)).unwrap();
    leases.give_up(&app(), SessionKey(2), 100);
    assert!(!leases.is_expected(&app()));
    let other_tenant = Claimant {
        tenant: GrantId::from_bytes([2; 6]),
        ..who(9, 99, 1, 9)
    };
    assert!(claim(&mut leases, other_tenant).is_err());
    claim(&mut leases, who(1, 11, 1, 3)).unwrap();
    assert!(leases.is_expected(&app()));
}

#[test]
fn a_tenant_has_no_more_names_than_the_limit() {
    let mut leases = Leases::default();
    for number in 0..NAMES_A_TENANT as u16 {
        leases.claim(&port(number), "", who(1, 1, 1, 1), 0).unwrap();
    }
    assert_eq!(claim(&mut leases, who(1, 1, 1, 1)), Err(Denied::TooMany));
}

#[test]
fn a_claim_that_is_undone_leaves_no_reservation_and_an_older_one_as_it_was() {
    let mut leases = Leases::default();
    let taken = leases
        .claim(&port(7000), "x", who(1, 10, 1, 1), 100)
        .unwrap();
    leases.undo(&port(7000), SessionKey(1), taken.undo);
    assert!(!leases.is_known(&port(7000)));
    assert_eq!(
        leases.port_of(who(1, 0, 0, 0).tenant, key(1), "x", LOOPBACK),
        None
    );
    // A name that the tenant has really held stays reserved, and no longer than before.
    leases
        .claim(&port(7001), "y", who(1, 10, 1, 1), 100)
        .unwrap();
    leases.release_all(SessionKey(1), 200);
    let again = leases
        .claim(&port(7001), "z", who(1, 11, 1, 2), 900)
        .unwrap();
    leases.undo(&port(7001), SessionKey(2), again.undo);
    assert_eq!(
        leases.port_of(who(1, 0, 0, 0).tenant, key(1), "y", LOOPBACK),
        Some(7001)
    );
    assert_eq!(leases.holders(&port(7001)).count(), 0);
    leases.expire(200 + RESERVED_S);
    assert!(!leases.is_known(&port(7001)));
    // The tenant may have as many names as before.
    for number in 0..NAMES_A_TENANT as u16 {
        leases.claim(&port(number), "", who(1, 1, 1, 1), 0).unwrap();
    }
}

#[test]
fn one_port_on_two_addresses_is_two_names_and_a_port_on_all_addresses_covers_each() {
    let mut leases = Leases::default();
    let on = |ip: &str| Name::Tcp(SocketAddr::new(ip.parse().unwrap(), 20_022));
    let other_tenant = Claimant {
        tenant: GrantId::from_bytes([2; 6]),
        ..who(9, 99, 1, 9)
    };
    leases
        .claim(&on("127.0.0.1"), "a", who(1, 10, 1, 1), 100)
        .unwrap();
    leases
        .claim(&on("127.0.0.2"), "b", other_tenant, 100)
        .unwrap();
    assert_eq!(
        leases.holders(&on("127.0.0.1")).collect::<Vec<_>>(),
        [SessionKey(1)]
    );
    assert_eq!(
        leases.holders(&on("127.0.0.2")).collect::<Vec<_>>(),
        [SessionKey(9)]
    );
    assert!(matches!(
        leases.claim(&on("0.0.0.0"), "c", who(1, 10, 1, 1), 100),
        Err(Denied::OtherTenant(_))
    ));
    // A port moves with its tenant when the tenant's node listens on another address.
    leases.release_all(SessionKey(1), 200);
    leases.release_all(SessionKey(9), 200);
    leases.forget_tenant(other_tenant.tenant);
    assert_eq!(
        leases.port_of(
            who(1, 0, 0, 0).tenant,
            key(1),
            "a",
            "0.0.0.0".parse().unwrap()
        ),
        Some(20_022)
    );
    leases
        .claim(&on("0.0.0.0"), "a", who(1, 11, 1, 2), 300)
        .unwrap();
    assert!(!leases.is_known(&on("127.0.0.1")) && leases.is_known(&on("0.0.0.0")));
    assert!(matches!(
        leases.claim(&on("127.0.0.1"), "c", other_tenant, 300),
        Err(Denied::OtherTenant(_))
    ));
}

#[test]
fn a_refusal_does_not_name_the_grant_that_has_the_name() {
    let mut leases = Leases::default();
    let other_tenant = Claimant {
        tenant: GrantId::from_bytes([2; 6]),
        ..who(9, 99, 1, 9)
    };
    claim(&mut leases, other_tenant).unwrap();
    let denied = claim(&mut leases, who(1, 10, 1, 1))
        .unwrap_err()
        .to_string();
    assert!(
        denied.contains("held by another grant")
            && !denied.contains(&other_tenant.tenant.to_string()),
        "{denied}"
    );
}

#[test]
fn a_name_that_was_held_all_the_time_does_not_expire_after_a_crash() {
    let mut leases = Leases::default();
    claim(&mut leases, who(1, 10, 1, 1)).unwrap();
    let later = 100 + 2 * RESERVED_S;
    let (mut leases, _) = Leases::restore(&leases.save(later)).unwrap();
    leases.expire(later + 1);
    assert!(leases.is_known(&app()));
}

#[test]
fn one_bad_byte_frees_no_other_name_and_its_line_is_kept() {
    let mut leases = Leases::default();
    claim(&mut leases, who(1, 10, 1, 1)).unwrap();
    let mut text = leases.save(100);
    text.extend(b"http bad\xff x\n");
    text.extend(b"http caf\xc3\xa9 010101010101 ");
    text.extend(format!("{} 1 1 1 \n", key(1)).as_bytes());
    text.extend(
        format!(
            "http b.t.localhost 010101010101 {} 1 1 1 label with \u{e9}\n",
            key(1)
        )
        .as_bytes(),
    );
    text.extend(
        format!(
            "http c.t.localhost 010101010101 {} 1 1 1 label with ",
            key(1)
        )
        .as_bytes(),
    );
    text.extend(b"\xff\n");
    let (leases, unread) = Leases::restore(&text).unwrap();
    assert_eq!(unread, Unread { lines: 2, first: 3 });
    assert!(
        [
            app(),
            Name::Http("b.t.localhost".into()),
            Name::Http("c.t.localhost".into())
        ]
        .iter()
        .all(|n| leases.is_known(n))
    );
    let saved = leases.save(100);
    let (_, again) = Leases::restore(&saved).unwrap();
    assert_eq!(again.lines, 2, "lines that cannot be parsed are kept");
    assert!(
        saved
            .windows(8)
            .any(|bytes| bytes == b"bad\xff x\n".as_slice() || bytes.starts_with(b"bad\xff x"))
    );
}

#[test]
fn a_file_of_a_newer_format_is_refused_with_its_number() {
    let Err(newer) = Leases::restore(b"# format 2\nhttp something else\n") else {
        panic!("it was read")
    };
    assert_eq!(newer.found, 2);
    assert!(newer.to_string().contains("format 2"), "{newer}");
    assert!(Leases::restore(b"# names\n# format 1\n").is_ok() && Leases::restore(b"").is_ok());
}

#[test]
fn a_port_of_a_file_without_addresses_is_its_tenants_on_every_address() {
    let line = format!("tcp 20022 010101010101 {} 100 10 1 127.0.0.1:22\n", key(1));
    let (mut leases, unread) = Leases::restore(line.as_bytes()).unwrap();
    assert_eq!(unread.lines, 0);
    let other_tenant = Claimant {
        tenant: GrantId::from_bytes([2; 6]),
        ..who(9, 99, 1, 9)
    };
    assert!(matches!(
        leases.claim(&port(20_022), "", other_tenant, 100),
        Err(Denied::OtherTenant(_))
    ));
    assert_eq!(
        leases.port_of(who(1, 0, 0, 0).tenant, key(1), "127.0.0.1:22", LOOPBACK),
        Some(20_022)
    );
    assert!(
        leases
            .claim(&port(20_022), "127.0.0.1:22", who(1, 11, 1, 1), 200)
            .is_ok()
    );
    assert!(
        String::from_utf8(leases.save(200))
            .unwrap()
            .contains("tcp 127.0.0.1:20022 ")
    );
}

#[test]
fn names_are_refused_before_the_file_is_longer_than_can_be_read() {
    let mut leases = Leases::default();
    let label = "x".repeat(255);
    let mut tenant = 0_u32;
    let full = 'full: loop {
        tenant += 1;
        let mut id = [0; 6];
        id[..4].copy_from_slice(&tenant.to_be_bytes());
        for number in 0..NAMES_A_TENANT {
            let name = Name::Http(format!("{number}-{tenant}.{}", "y".repeat(200)));
            let who = Claimant {
                tenant: GrantId::from_bytes(id),
                ..who(1, u64::MAX, u64::MAX, 1)
            };
            if let Err(denied) = leases.claim(&name, &label, who, u64::MAX) {
                break 'full denied;
            }
        }
    };
    assert_eq!(full, Denied::Full);
    let saved = leases.save(u64::MAX);
    assert!(
        saved.len() as u64 <= state_file::MOST_BYTES,
        "{}",
        saved.len()
    );
    assert!(
        saved.len() as u64 > state_file::MOST_BYTES * 9 / 10,
        "{}",
        saved.len()
    );
}

proptest! {
    #[test]
    fn the_newest_session_holds_the_name_in_every_order_of_hellos(
        order in Just((0_u64..8).collect::<Vec<_>>()).prop_shuffle(),
        ends in prop::collection::vec(any::<bool>(), 8),
    ) {
        let mut leases = Leases::default();
        for (n, ends) in order.iter().zip(ends) {
            let _ = claim(&mut leases, who(1, n / 2, n % 2, *n));
            if ends && *n != 7 {
                leases.release_all(SessionKey(*n), 0);
            }
        }
        prop_assert_eq!(holder(&mut leases), Some(7));
    }
}
