//! Lease: which session holds which public name, and which tenant owns a name that no session
//! holds.
//!
//! In:    claims and releases, in whatever order the network delivers them.
//! Out:   the holder of a name; the sessions that a claim has replaced; why a claim was refused.
//! Never: makes a new session wait for an old one to get its name, and never gives one tenant's
//!        name to another.
//!
//! A lease is per (identity, name). Of one identity, the higher (epoch, attempt) takes over at
//! once, in one step under the table's lock: later claims of the old session are too old, and it is
//! notified. A name belongs to the tenant (the grant) that held it, across restarts, until it was
//! not held for [`RESERVED_S`] or the grant is revoked.

mod record;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::join::GrantId;
use crate::key::Fingerprint;
use byway_tls::state_file;

pub use record::{NewerFormat, Snapshot, Unread};

/// How long a name that no session holds stays reserved for its tenant: 30 days.
pub const RESERVED_S: u64 = 30 * 24 * 3600;

/// The most names of one tenant.
pub const NAMES_A_TENANT: usize = 256;

/// The public name of a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Name {
    /// The label in front of the domain.
    Http(String),
    /// The address and port that visitors connect to.
    Tcp(SocketAddr),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(label) => write!(f, "name `{label}`"),
            Self::Tcp(address) => write!(f, "port {}", address.port()),
        }
    }
}

/// What happens if another identity of the same tenant holds the name; the claimant's grant
/// decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Conflict {
    /// The claim is refused.
    #[default]
    Refuse,
    /// Both hold it, and visitors go to them in turn.
    Share,
    /// The claimant gets it, and the other one is notified.
    Take,
}

/// A session of this node. Keys are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey(pub u64);

/// The session that claims a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimant {
    /// The grant by which it joined.
    pub tenant: GrantId,
    /// Its key.
    pub identity: Fingerprint,
    /// The epoch of its process.
    pub epoch: u64,
    /// The number of this session within its process.
    pub attempt: u64,
    /// The session on this node.
    pub session: SessionKey,
    /// What its grant allows for names that another identity holds.
    pub conflict: Conflict,
}

impl Claimant {
    const fn age(&self) -> (u64, u64) {
        (self.epoch, self.attempt)
    }
}

/// A claim that was granted.
#[derive(Debug)]
pub struct Claimed {
    /// Sessions that have lost the name. Those of the same process (a reconnect) need no
    /// notification.
    pub replaced: Vec<Replaced>,
    /// The argument for [`Leases::undo`].
    pub undo: Undo,
}

/// The state of a name before a claim.
#[derive(Debug)]
pub struct Undo(Before);

impl Undo {
    /// Whether the claim has changed nothing: the session had the name already.
    pub const fn is_of_nothing(&self) -> bool {
        matches!(self.0, Before::Same)
    }
}

#[derive(Debug)]
enum Before {
    /// Held by the same session: the claim has changed nothing.
    Same,
    /// Unknown.
    Unknown,
    /// Reserved for the tenant, under this name.
    Reserved(Name, Past),
}

/// See [`Claimed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// The session that lost the name.
    pub session: SessionKey,
    /// Whether it is an older session of the process that claimed.
    pub same_process: bool,
}

/// Why a claim was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The name is another tenant's. The claimant is not shown whose.
    #[error("it is held by another grant; choose another one, or join by that grant")]
    OtherTenant(GrantId),
    /// Another identity holds it.
    #[error("it is held by the node with key id {by}, {}; choose another one, or stop that node", held_for(*.held_s))]
    Held {
        /// Its key, abbreviated.
        by: String,
        /// How long it has held the name, in seconds.
        held_s: u64,
    },
    /// A newer process of the same identity holds it, or held it.
    #[error(
        "a newer process with the same key has taken it over; stop one of the two, or give them different names"
    )]
    Superseded,
    /// A later session of the same process holds it, or held it: a new config may have moved the
    /// service from one link to another and back.
    #[error("a later session of the same process has it")]
    LaterSession,
    /// Another identity has taken it, as its grant allows.
    #[error(
        "another node of the same grant has taken it over; give one of the two another name, or stop it"
    )]
    Taken,
    /// The tenant has the most names allowed.
    #[error("this grant has {NAMES_A_TENANT} names already, the most that a grant may have")]
    TooMany,
    /// The file of names is full.
    #[error(
        "the server holds as many names as it can keep; ask its operator to revoke grants that are not used"
    )]
    Full,
    /// The session is leaving, or its grant was revoked.
    #[error("the session is over")]
    Gone,
    /// This process hands its names over to the next one.
    #[error("the server is being replaced by a new process; it takes names in a moment")]
    Leaving,
}

fn held_for(seconds: u64) -> String {
    match seconds {
        0..60 => format!("for {seconds} s"),
        60..3600 => format!("for {} min", seconds / 60),
        _ => format!("for {} h", seconds / 3600),
    }
}

/// The table of public names: the sessions that hold each name, and the tenant that owns it, also
/// while no session holds it. It takes the time as an argument, in seconds.
#[derive(Debug, Default)]
pub struct Leases {
    names: HashMap<Name, Entry>,
    /// The names of each tenant.
    tenants: HashMap<GrantId, HashSet<Name>>,
    /// The addresses on which each port is a name.
    ports: HashMap<u16, Vec<IpAddr>>,
    /// The most bytes that [`Leases::save`] writes.
    bytes: usize,
    /// Lines that could not be parsed. They are written back unchanged.
    unread: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct Entry {
    tenant: GrantId,
    past: Past,
    round_robin: usize,
    holders: Vec<Holder>,
}

/// The part of an entry that outlives the sessions that hold the name.
#[derive(Clone, Debug)]
struct Past {
    /// The identity that held it last, and its age: older claims of it are rejected.
    last: Fingerprint,
    fence: (u64, u64),
    /// The label of the service within its identity, so that it keeps its port.
    label: String,
    last_held_s: u64,
    /// Released explicitly by the last holder: it stays reserved, but no visitor waits for it.
    given_up: bool,
}

#[derive(Clone, Copy, Debug)]
struct Holder {
    who: Claimant,
    since_s: u64,
}

impl Leases {
    /// Claims `name` for `who`. `label` is the name of the service within its identity.
    ///
    /// # Errors
    /// [`Denied`]; then nothing has changed.
    pub fn claim(
        &mut self,
        name: &Name,
        label: &str,
        who: Claimant,
        now_s: u64,
    ) -> Result<Claimed, Denied> {
        let elsewhere = self.elsewhere(name, label, &who)?;
        let Some(entry) = self.names.get(elsewhere.as_ref().unwrap_or(name)) else {
            return self.claim_new(name, label, who, now_s);
        };
        let Some(replaced) = replaced(entry, &who, now_s)? else {
            return Ok(Claimed {
                replaced: Vec::new(),
                undo: Undo(Before::Same),
            });
        };
        let was = elsewhere.unwrap_or_else(|| name.clone());
        let past = entry.past.clone();
        self.rename(&was, name);
        let Some(entry) = self.names.get_mut(name) else {
            return Err(Denied::Gone);
        };
        entry.holders.retain(|holder| {
            replaced
                .iter()
                .all(|gone| gone.session != holder.who.session)
        });
        entry.holders.push(Holder {
            who,
            since_s: now_s,
        });
        let new = Past {
            last: who.identity,
            fence: who.age(),
            label: label.to_owned(),
            last_held_s: now_s,
            given_up: false,
        };
        self.set_past(name, new);
        Ok(Claimed {
            replaced,
            undo: Undo(Before::Reserved(was, past)),
        })
    }

    /// The other name under which the port of `name` is known, if any: a port on all addresses is
    /// that port on each of them, and a port moves with its tenant's service when the node listens
    /// elsewhere.
    fn elsewhere(&self, name: &Name, label: &str, who: &Claimant) -> Result<Option<Name>, Denied> {
        let Name::Tcp(address) = name else {
            return Ok(None);
        };
        if self.names.contains_key(name) {
            return Ok(None);
        }
        let mut moved = None;
        for other in self.ports.get(&address.port()).into_iter().flatten() {
            let known = Name::Tcp(SocketAddr::new(*other, address.port()));
            let Some(entry) = self.names.get(&known) else {
                continue;
            };
            let overlaps = other.is_unspecified() || address.ip().is_unspecified();
            if entry.tenant != who.tenant {
                if overlaps {
                    return Err(Denied::OtherTenant(entry.tenant));
                }
            } else if entry.holders.is_empty()
                && (overlaps || (entry.past.last == who.identity && entry.past.label == label))
            {
                moved = Some(known);
            }
        }
        Ok(moved)
    }

    fn claim_new(
        &mut self,
        name: &Name,
        label: &str,
        who: Claimant,
        now_s: u64,
    ) -> Result<Claimed, Denied> {
        if !self.has_room(who.tenant) {
            return Err(Denied::TooMany);
        }
        let past = Past {
            last: who.identity,
            fence: who.age(),
            label: label.to_owned(),
            last_held_s: now_s,
            given_up: false,
        };
        if self.bytes + record::HEAD_BYTES + record::most_bytes(name, &past.label)
            > state_file::MOST_BYTES as usize
        {
            return Err(Denied::Full);
        }
        let entry = Entry {
            tenant: who.tenant,
            past,
            round_robin: 0,
            holders: vec![Holder {
                who,
                since_s: now_s,
            }],
        };
        self.insert(name.clone(), entry);
        Ok(Claimed {
            replaced: Vec::new(),
            undo: Undo(Before::Unknown),
        })
    }

    /// Undoes an unused claim: the name is what it was before. Not for a claim that replaced
    /// sessions.
    pub fn undo(&mut self, name: &Name, session: SessionKey, undo: Undo) {
        let Some(entry) = self.names.get_mut(name) else {
            return;
        };
        match undo.0 {
            Before::Same => {}
            Before::Unknown | Before::Reserved(..)
                if entry
                    .holders
                    .iter()
                    .any(|holder| holder.who.session != session) =>
            {
                // Shared with another session meanwhile.
                entry.holders.retain(|holder| holder.who.session != session);
            }
            Before::Unknown => drop(self.remove(name)),
            Before::Reserved(was, past) => {
                entry.holders.clear();
                self.set_past(name, past);
                self.rename(name, &was);
            }
        }
    }

    /// Whether `tenant` may have another name.
    pub fn has_room(&self, tenant: GrantId) -> bool {
        self.tenants
            .get(&tenant)
            .is_none_or(|names| names.len() < NAMES_A_TENANT)
    }

    fn insert(&mut self, name: Name, entry: Entry) {
        self.remove(&name);
        self.bytes += record::most_bytes(&name, &entry.past.label);
        self.tenants
            .entry(entry.tenant)
            .or_default()
            .insert(name.clone());
        if let Name::Tcp(address) = &name {
            self.ports
                .entry(address.port())
                .or_default()
                .push(address.ip());
        }
        self.names.insert(name, entry);
    }

    fn remove(&mut self, name: &Name) -> Option<Entry> {
        let entry = self.names.remove(name)?;
        self.bytes = self
            .bytes
            .saturating_sub(record::most_bytes(name, &entry.past.label));
        if let Some(names) = self.tenants.get_mut(&entry.tenant) {
            names.remove(name);
            if names.is_empty() {
                self.tenants.remove(&entry.tenant);
            }
        }
        if let Name::Tcp(address) = name
            && let Some(on) = self.ports.get_mut(&address.port())
        {
            on.retain(|ip| *ip != address.ip());
            if on.is_empty() {
                self.ports.remove(&address.port());
            }
        }
        Some(entry)
    }

    fn rename(&mut self, from: &Name, to: &Name) {
        if from != to
            && let Some(entry) = self.remove(from)
        {
            self.insert(to.clone(), entry);
        }
    }

    fn set_past(&mut self, name: &Name, past: Past) {
        if let Some(entry) = self.names.get_mut(name) {
            self.bytes = self.bytes.saturating_sub(entry.past.label.len()) + past.label.len();
            entry.past = past;
        }
    }

    /// Releases `name` from `session`. Returns whether the session held it.
    pub fn release(&mut self, name: &Name, session: SessionKey, now_s: u64) -> bool {
        let Some(entry) = self.names.get_mut(name) else {
            return false;
        };
        let before = entry.holders.len();
        entry.holders.retain(|holder| holder.who.session != session);
        let released = entry.holders.len() < before;
        if released {
            entry.past.last_held_s = now_s;
        }
        released
    }

    /// Releases `name` from `session` explicitly: unless another session holds it, visitors no
    /// longer wait for it.
    pub fn give_up(&mut self, name: &Name, session: SessionKey, now_s: u64) {
        let released = self.release(name, session, now_s);
        if let Some(entry) = self
            .names
            .get_mut(name)
            .filter(|entry| released && entry.holders.is_empty())
        {
            entry.past.given_up = true;
        }
    }

    /// Releases all names of a session that has ended, and returns them.
    pub fn release_all(&mut self, session: SessionKey, now_s: u64) -> Vec<Name> {
        let had = self
            .names
            .iter()
            .filter(|(_, entry)| entry.holders.iter().any(|h| h.who.session == session));
        let names: Vec<Name> = had.map(|(name, _)| name.clone()).collect();
        for name in &names {
            self.release(name, session, now_s);
        }
        names
    }

    /// The sessions that hold `name`.
    pub fn holders(&self, name: &Name) -> impl Iterator<Item = SessionKey> {
        self.names
            .get(name)
            .into_iter()
            .flat_map(|entry| &entry.holders)
            .map(|holder| holder.who.session)
    }

    /// The session for the next visitor of `name`.
    pub fn next_holder(&mut self, name: &Name) -> Option<SessionKey> {
        let entry = self.names.get_mut(name)?;
        let round_robin = entry.round_robin;
        entry.round_robin = round_robin.wrapping_add(1);
        let holder = entry
            .holders
            .get(round_robin.checked_rem(entry.holders.len())?)?;
        Some(holder.who.session)
    }

    /// Removes all names of `tenant`, held or not, because its grant was revoked. Returns them.
    pub fn forget_tenant(&mut self, tenant: GrantId) -> Vec<Name> {
        let names: Vec<Name> = self
            .tenants
            .get(&tenant)
            .into_iter()
            .flatten()
            .cloned()
            .collect();
        for name in &names {
            self.remove(name);
        }
        names
    }

    /// Every tenant that has a name.
    pub fn tenants(&self) -> impl Iterator<Item = GrantId> {
        self.tenants.keys().copied()
    }

    /// Whether the name belongs to a tenant, held or not.
    pub fn is_known(&self, name: &Name) -> bool {
        self.names.contains_key(name)
    }

    /// Whether a session holds the name, or may return with it.
    pub fn is_expected(&self, name: &Name) -> bool {
        self.names
            .get(name)
            .is_some_and(|entry| !entry.past.given_up)
    }

    /// The port that belongs to the service `label` of that identity, preferably the one on `ip`.
    pub fn port_of(
        &self,
        tenant: GrantId,
        identity: Fingerprint,
        label: &str,
        ip: IpAddr,
    ) -> Option<u16> {
        let names = self
            .tenants
            .get(&tenant)?
            .iter()
            .filter_map(|name| match name {
                Name::Tcp(address) => Some((address, self.names.get(name)?)),
                Name::Http(_) => None,
            });
        let its =
            names.filter(|(_, entry)| entry.past.last == identity && entry.past.label == label);
        // A port on another address is usable only if it is not held there.
        let usable = its.filter(|(address, entry)| address.ip() == ip || entry.holders.is_empty());
        usable
            .max_by_key(|(address, entry)| (address.ip() == ip, entry.past.last_held_s))
            .map(|(address, _)| address.port())
    }

    /// Forgets names that no session has held for [`RESERVED_S`].
    pub fn expire(&mut self, now_s: u64) {
        let over = |entry: &Entry| {
            entry.holders.is_empty() && now_s.saturating_sub(entry.past.last_held_s) >= RESERVED_S
        };
        let names: Vec<Name> = self
            .names
            .iter()
            .filter(|(_, entry)| over(entry))
            .map(|(name, _)| name.clone())
            .collect();
        for name in &names {
            self.remove(name);
        }
    }
}

/// Why `who` is refused in favour of a session of the same identity with this age.
const fn superseded_by((epoch, _attempt): (u64, u64), who: &Claimant) -> Denied {
    if epoch == who.epoch {
        Denied::LaterSession
    } else {
        Denied::Superseded
    }
}

/// The sessions that lose the name of `entry` to `who`; `None` if `who` holds it already.
fn replaced(entry: &Entry, who: &Claimant, now_s: u64) -> Result<Option<Vec<Replaced>>, Denied> {
    if entry.tenant != who.tenant {
        return Err(Denied::OtherTenant(entry.tenant));
    }
    if entry.past.last == who.identity && who.age() < entry.past.fence {
        return Err(superseded_by(entry.past.fence, who));
    }
    let mut replaced = Vec::new();
    for holder in &entry.holders {
        let theirs = &holder.who;
        let same_identity = theirs.identity == who.identity;
        if same_identity && theirs.session == who.session {
            return Ok(None);
        }
        if same_identity && theirs.age() >= who.age() {
            return Err(superseded_by(theirs.age(), who));
        }
        let is_replaced = same_identity || who.conflict == Conflict::Take;
        if !is_replaced && who.conflict == Conflict::Refuse {
            let held_s = now_s.saturating_sub(holder.since_s);
            return Err(Denied::Held {
                by: theirs.identity.short(),
                held_s,
            });
        }
        if is_replaced {
            let same_process = same_identity && theirs.epoch == who.epoch;
            replaced.push(Replaced {
                session: theirs.session,
                same_process,
            });
        }
    }
    Ok(Some(replaced))
}
