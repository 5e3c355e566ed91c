//! Lease: which session has which public name now, and to whom a name belongs while nobody has it.
//!
//! In:    claims and releases, in whatever order the network brings them.
//! Out:   who holds a name; whom a claim has replaced; why it was refused.
//! Never: waits for an old session before a new one may have its name, and never gives one tenant's name to another.
//!
//! A lease is per (identity, name). The higher (epoch, attempt) of one identity takes over at once, in one step under the
//! table's lock: whatever the old session does afterwards is fenced by its age, and it is told. A name that was ever held belongs to the tenant (the grant) that held it,
//! across restarts, until it was not held for [`RESERVED_S`].

use std::collections::HashMap;
use std::fmt;

use crate::join::GrantId;
use crate::key::Fingerprint;

/// How long a name that nobody holds stays its tenant's: 30 days.
pub const RESERVED_S: u64 = 30 * 24 * 3600;

/// How many names one tenant may have.
pub const NAMES_A_TENANT: usize = 256;

/// What is public of a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Name {
    /// The label in front of the domain.
    Http(String),
    /// The port.
    Tcp(u16),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(label) => write!(f, "name `{label}`"),
            Self::Tcp(port) => write!(f, "port {port}"),
        }
    }
}

/// What happens when another identity of the same tenant holds the name: as the claimant's grant says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Conflict {
    /// The claim is refused.
    #[default]
    Refuse,
    /// Both have it, and visitors go to them in turn.
    Share,
    /// The claimant has it, and the other is told.
    Take,
}

/// Which session of this node; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey(pub u64);

/// Who claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimant {
    /// The grant it is here by.
    pub tenant: GrantId,
    /// Its key.
    pub identity: Fingerprint,
    /// Its process.
    pub epoch: u64,
    /// Which of the process's sessions.
    pub attempt: u64,
    /// That session, here.
    pub session: SessionKey,
    /// What its grant says of names that another identity holds.
    pub conflict: Conflict,
}

impl Claimant {
    const fn age(&self) -> (u64, u64) {
        (self.epoch, self.attempt)
    }
}

/// A claim that was granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// Sessions that have the name no more. A session of the same process (a reconnect) needs not be told.
    pub replaced: Vec<Replaced>,
}

/// See [`Claimed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// Who.
    pub session: SessionKey,
    /// Whether it is an older session of the very process that claimed.
    pub same_process: bool,
}

/// Why a claim was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The name is another tenant's.
    #[error("it belongs to the grant {0}; choose another name, join by that grant, or revoke it to free its names")]
    OtherTenant(GrantId),
    /// Another identity has it.
    #[error("it is held by {by}, {}; choose another name, or stop the other one", since(*.held_s))]
    Held {
        /// Whose key, in short.
        by: String,
        /// For how long, in seconds.
        held_s: u64,
    },
    /// A newer process of the same identity has it, or had it.
    #[error("a newer process with the same key has taken it over; stop one of the two, or give them different names")]
    Superseded,
    /// Another identity has taken it, as its grant allows.
    #[error("another node of the same grant has taken it over; give one of the two another name, or stop it")]
    Taken,
    /// The tenant has its share of names.
    #[error("this grant has {NAMES_A_TENANT} names already, and no more are kept for one")]
    TooMany,
}

fn since(seconds: u64) -> String {
    match seconds {
        0..60 => format!("since {seconds} s"),
        60..3600 => format!("since {} min", seconds / 60),
        _ => format!("since {} h", seconds / 3600),
    }
}

/// See the head of the file.
#[derive(Debug, Default)]
pub struct Leases {
    names: HashMap<Name, Entry>,
}

#[derive(Debug)]
struct Entry {
    tenant: GrantId,
    /// The identity that had it last, and its age: what is older than that is fenced.
    last: Fingerprint,
    fence: (u64, u64),
    /// What the service is called within its identity, so that a port can stick to it.
    label: String,
    last_held_s: u64,
    /// Given up in words by whoever had it last: it stays its tenant's, and nobody waits for it.
    given_up: bool,
    turn: usize,
    holders: Vec<Holder>,
}

#[derive(Clone, Copy, Debug)]
struct Holder {
    who: Claimant,
    since_s: u64,
}

impl Leases {
    /// Claims `name` for `who`. `label` is what the service is called within its identity.
    ///
    /// # Errors
    /// [`Denied`]; nothing has changed then.
    pub fn claim(&mut self, name: &Name, label: &str, who: Claimant, now_s: u64) -> Result<Claimed, Denied> {
        let Some(entry) = self.names.get_mut(name) else { return self.claim_new(name, label, who, now_s) };
        if entry.tenant != who.tenant {
            return Err(Denied::OtherTenant(entry.tenant));
        }
        if entry.last == who.identity && who.age() < entry.fence {
            return Err(Denied::Superseded);
        }
        let mut replaced = Vec::new();
        for holder in &entry.holders {
            let theirs = &holder.who;
            let same_identity = theirs.identity == who.identity;
            if same_identity && theirs.session == who.session {
                return Ok(Claimed { replaced });
            }
            if same_identity && theirs.age() >= who.age() {
                return Err(Denied::Superseded);
            }
            let goes = same_identity || who.conflict == Conflict::Take;
            if !goes && who.conflict == Conflict::Refuse {
                let held_s = now_s.saturating_sub(holder.since_s);
                return Err(Denied::Held { by: theirs.identity.short(), held_s });
            }
            if goes {
                let same_process = same_identity && theirs.epoch == who.epoch;
                replaced.push(Replaced { session: theirs.session, same_process });
            }
        }
        entry.holders.retain(|holder| replaced.iter().all(|gone| gone.session != holder.who.session));
        entry.holders.push(Holder { who, since_s: now_s });
        (entry.last, entry.fence) = (who.identity, who.age());
        (entry.label, entry.last_held_s, entry.given_up) = (label.to_owned(), now_s, false);
        Ok(Claimed { replaced })
    }

    fn claim_new(&mut self, name: &Name, label: &str, who: Claimant, now_s: u64) -> Result<Claimed, Denied> {
        if self.names.values().filter(|entry| entry.tenant == who.tenant).count() >= NAMES_A_TENANT {
            return Err(Denied::TooMany);
        }
        let entry = Entry {
            tenant: who.tenant,
            last: who.identity,
            fence: who.age(),
            label: label.to_owned(),
            last_held_s: now_s,
            given_up: false,
            turn: 0,
            holders: vec![Holder { who, since_s: now_s }],
        };
        self.names.insert(name.clone(), entry);
        Ok(Claimed { replaced: Vec::new() })
    }

    /// `session` has `name` no more. Says whether it had.
    pub fn release(&mut self, name: &Name, session: SessionKey, now_s: u64) -> bool {
        let Some(entry) = self.names.get_mut(name) else { return false };
        let before = entry.holders.len();
        entry.holders.retain(|holder| holder.who.session != session);
        let released = entry.holders.len() < before;
        if released {
            entry.last_held_s = now_s;
        }
        released
    }

    /// `session` gives `name` up in words: unless somebody else has it, too, nobody shall wait for it.
    pub fn give_up(&mut self, name: &Name, session: SessionKey, now_s: u64) {
        let released = self.release(name, session, now_s);
        if let Some(entry) = self.names.get_mut(name).filter(|entry| released && entry.holders.is_empty()) {
            entry.given_up = true;
        }
    }

    /// `session` is gone. The names that it had.
    pub fn release_all(&mut self, session: SessionKey, now_s: u64) -> Vec<Name> {
        let had = self.names.iter().filter(|(_, entry)| entry.holders.iter().any(|h| h.who.session == session));
        let names: Vec<Name> = had.map(|(name, _)| name.clone()).collect();
        for name in &names {
            self.release(name, session, now_s);
        }
        names
    }

    /// The sessions that have `name` now.
    pub fn holders(&self, name: &Name) -> impl Iterator<Item = SessionKey> {
        self.names.get(name).into_iter().flat_map(|entry| &entry.holders).map(|holder| holder.who.session)
    }

    /// The session that the next visitor of `name` goes to.
    pub fn next_holder(&mut self, name: &Name) -> Option<SessionKey> {
        let entry = self.names.get_mut(name)?;
        let turn = entry.turn;
        entry.turn = turn.wrapping_add(1);
        let holder = entry.holders.get(turn.checked_rem(entry.holders.len())?)?;
        Some(holder.who.session)
    }

    /// The name is nobody's any more, unless somebody holds it: its tenant is gone.
    pub fn forget(&mut self, name: &Name) {
        if self.names.get(name).is_some_and(|entry| entry.holders.is_empty()) {
            self.names.remove(name);
        }
    }

    /// Whether the name is somebody's, held or not.
    pub fn is_known(&self, name: &Name) -> bool {
        self.names.contains_key(name)
    }

    /// Whether somebody has the name, or may be back with it.
    pub fn is_expected(&self, name: &Name) -> bool {
        self.names.get(name).is_some_and(|entry| !entry.given_up)
    }

    /// The port that belongs to the service `label` of that identity.
    pub fn port_of(&self, tenant: GrantId, identity: Fingerprint, label: &str) -> Option<u16> {
        self.names.iter().find_map(|(name, entry)| match name {
            Name::Tcp(port) if entry.tenant == tenant && entry.last == identity && entry.label == label => Some(*port),
            _ => None,
        })
    }

    /// Forgets names that nobody has held for [`RESERVED_S`].
    pub fn expire(&mut self, now_s: u64) {
        self.names.retain(|_, entry| !entry.holders.is_empty() || now_s.saturating_sub(entry.last_held_s) < RESERVED_S);
    }

    /// What has to survive a restart, one line a name.
    pub fn save(&self) -> String {
        let mut lines: Vec<String> = self.names.iter().map(|(name, entry)| entry.line(name)).collect();
        lines.sort();
        lines.concat()
    }

    /// What an earlier process has saved. Lines that cannot be read are left out, and counted.
    pub fn restore(text: &str) -> (Self, usize) {
        let mut leases = Self::default();
        let mut unread = 0;
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            match Entry::from_line(line) {
                Some((name, entry)) => drop(leases.names.insert(name, entry)),
                None => unread += 1,
            }
        }
        (leases, unread)
    }
}

impl Entry {
    /// `http app GRANT IDENTITY LAST-HELD EPOCH ATTEMPT LABEL`: the label last, as it may hold anything but a line end.
    fn line(&self, name: &Name) -> String {
        let (kind, what) = match name {
            Name::Http(label) => ("http", label.clone()),
            Name::Tcp(port) => ("tcp", port.to_string()),
        };
        let (epoch, attempt) = self.fence;
        let label = self.label.replace(['\n', '\r'], " ");
        format!("{kind} {what} {} {} {} {epoch} {attempt} {label}\n", self.tenant, self.last, self.last_held_s)
    }

    fn from_line(line: &str) -> Option<(Name, Self)> {
        let mut words = line.splitn(8, ' ');
        let (kind, what) = (words.next()?, words.next()?);
        let name = match kind {
            "http" => Name::Http(what.to_owned()),
            "tcp" => Name::Tcp(what.parse().ok()?),
            _ => return None,
        };
        let tenant = words.next()?.parse().ok()?;
        let last = Fingerprint::from_hex(words.next()?)?;
        let mut number = || words.next()?.parse().ok();
        let (last_held_s, epoch, attempt) = (number()?, number()?, number()?);
        let label = words.next().unwrap_or_default().to_owned();
        let entry = Self {
            tenant,
            last,
            fence: (epoch, attempt),
            label,
            last_held_s,
            given_up: false,
            turn: 0,
            holders: Vec::new(),
        };
        Some((name, entry))
    }
}

#[cfg(test)]
mod tests {
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

    fn claim(leases: &mut Leases, who: Claimant) -> Result<Vec<u64>, Denied> {
        leases.claim(&app(), "app", who, 100).map(|claimed| claimed.replaced.iter().map(|r| r.session.0).collect())
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
        // The older one reconnects, while the newer is there and after it has gone.
        assert_eq!(claim(&mut leases, who(1, 10, 2, 3)), Err(Denied::Superseded));
        leases.release_all(SessionKey(2), 100);
        assert_eq!(claim(&mut leases, who(1, 10, 3, 4)), Err(Denied::Superseded));
        assert_eq!(claim(&mut leases, who(1, 12, 1, 5)), Ok(vec![]));
    }

    #[test]
    fn a_reconnect_of_the_same_process_replaces_its_own_dead_session() {
        let mut leases = Leases::default();
        let first = who(1, 10, 1, 1);
        claim(&mut leases, first).unwrap();
        let claimed = leases.claim(&app(), "app", who(1, 10, 2, 2), 100).unwrap();
        assert_eq!(claimed.replaced, [Replaced { session: SessionKey(1), same_process: true }]);
        // The end of the old session, noticed late, takes nothing away.
        assert!(leases.release_all(SessionKey(1), 100).is_empty());
        assert_eq!(holder(&mut leases), Some(2));
    }

    #[test]
    fn hellos_that_come_in_the_wrong_order_end_with_the_newest() {
        let mut leases = Leases::default();
        claim(&mut leases, who(1, 10, 3, 3)).unwrap();
        assert_eq!(claim(&mut leases, who(1, 10, 2, 2)), Err(Denied::Superseded));
        assert_eq!(claim(&mut leases, who(1, 10, 3, 3)), Ok(vec![]), "asking twice in one session changes nothing");
        assert_eq!(holder(&mut leases), Some(3));
    }

    #[test]
    fn another_identity_is_told_who_holds_the_name_and_since_when() {
        let mut leases = Leases::default();
        claim(&mut leases, who(1, 10, 1, 1)).unwrap();
        let denied = leases.claim(&app(), "app", who(2, 99, 1, 2), 100 + 125).unwrap_err();
        assert_eq!(denied, Denied::Held { by: key(1).short(), held_s: 125 });
        assert!(denied.to_string().contains("since 2 min"), "{denied}");
        leases.release_all(SessionKey(1), 100);
        assert_eq!(claim(&mut leases, who(2, 1, 1, 2)), Ok(vec![]), "the tenant's own name is free again");
    }

    #[test]
    fn a_grant_may_say_that_names_are_shared_or_taken() {
        let mut leases = Leases::default();
        claim(&mut leases, who(1, 10, 1, 1)).unwrap();
        assert_eq!(claim(&mut leases, Claimant { conflict: Conflict::Share, ..who(2, 5, 1, 2) }), Ok(vec![]));
        let turns: Vec<_> = (0..4).filter_map(|_| holder(&mut leases)).collect();
        assert!(turns == [1, 2, 1, 2] || turns == [2, 1, 2, 1], "{turns:?}");
        let taken = claim(&mut leases, Claimant { conflict: Conflict::Take, ..who(3, 5, 1, 3) }).unwrap();
        assert_eq!(taken, [1, 2]);
        assert_eq!(holder(&mut leases), Some(3));
    }

    #[test]
    fn one_identity_may_run_several_processes_with_different_names() {
        let mut leases = Leases::default();
        let other = Name::Tcp(20_022);
        claim(&mut leases, who(1, 10, 1, 1)).unwrap();
        assert_eq!(leases.claim(&other, "ssh", who(1, 11, 1, 2), 100).unwrap().replaced, []);
        assert_eq!(holder(&mut leases), Some(1));
    }

    #[test]
    fn a_name_stays_its_tenants_across_a_restart_and_its_port_sticks_to_the_identity() {
        let mut leases = Leases::default();
        let ssh = Name::Tcp(20_022);
        leases.claim(&ssh, "127.0.0.1:22", who(1, 10, 1, 1), 100).unwrap();
        claim(&mut leases, who(1, 10, 1, 1)).unwrap();
        let (mut leases, unread) = Leases::restore(&format!("# names\n{}rubbish\n", leases.save()));
        assert_eq!(unread, 1);
        assert_eq!(leases.port_of(GrantId::from_bytes([1; 6]), key(1), "127.0.0.1:22"), Some(20_022));
        assert_eq!(leases.port_of(GrantId::from_bytes([1; 6]), key(2), "127.0.0.1:22"), None);
        let stranger = Claimant { tenant: GrantId::from_bytes([2; 6]), ..who(9, 99, 1, 9) };
        assert_eq!(claim(&mut leases, stranger), Err(Denied::OtherTenant(GrantId::from_bytes([1; 6]))));
        assert_eq!(claim(&mut leases, who(1, 9, 1, 3)), Err(Denied::Superseded), "the fence survives, too");
        assert_eq!(claim(&mut leases, who(1, 11, 1, 3)), Ok(vec![]));
        leases.release_all(SessionKey(3), 200);
        leases.expire(199 + RESERVED_S);
        assert!(leases.is_known(&app()) && !leases.is_known(&ssh));
    }

    #[test]
    fn the_names_of_a_tenant_that_is_gone_can_be_freed_unless_somebody_holds_them() {
        let mut leases = Leases::default();
        let stranger = Claimant { tenant: GrantId::from_bytes([2; 6]), ..who(9, 99, 1, 9) };
        claim(&mut leases, who(1, 10, 1, 1)).unwrap();
        leases.forget(&app());
        assert!(claim(&mut leases, stranger).is_err());
        leases.release_all(SessionKey(1), 100);
        leases.forget(&app());
        assert_eq!(claim(&mut leases, stranger), Ok(vec![]));
    }

    #[test]
    fn a_name_that_was_given_up_is_not_waited_for_and_stays_its_tenants() {
        let mut leases = Leases::default();
        claim(&mut leases, who(1, 10, 1, 1)).unwrap();
        leases.release_all(SessionKey(1), 100);
        assert!(leases.is_expected(&app()), "its agent was lost and may be back");
        claim(&mut leases, who(1, 10, 2, 2)).unwrap();
        leases.give_up(&app(), SessionKey(2), 100);
        assert!(!leases.is_expected(&app()));
        let stranger = Claimant { tenant: GrantId::from_bytes([2; 6]), ..who(9, 99, 1, 9) };
        assert!(claim(&mut leases, stranger).is_err());
        claim(&mut leases, who(1, 11, 1, 3)).unwrap();
        assert!(leases.is_expected(&app()));
    }

    #[test]
    fn a_tenant_has_so_many_names_and_no_more() {
        let mut leases = Leases::default();
        for port in 0..NAMES_A_TENANT as u16 {
            leases.claim(&Name::Tcp(port), "", who(1, 1, 1, 1), 0).unwrap();
        }
        assert_eq!(claim(&mut leases, who(1, 1, 1, 1)), Err(Denied::TooMany));
    }

    proptest! {
        #[test]
        fn whatever_the_order_of_hellos_the_newest_holds_the_name(
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
}
