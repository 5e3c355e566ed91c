//! Registry: the public names of exposed services, and the sessions that have them. `parked` has
//! the visitors that wait for a name, `places` divides its limit between clients.
//!
//! In:    registrations, ends of sessions, revoked grants.
//! Out:   the sessions of a name; the file of names, written when one has changed hands.
//! Never: waits for the disk, except in [`ServiceRegistry::load`] and
//!        [`ServiceRegistry::end_writing`].

mod parked;
mod places;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use byway_link::lease::Undo;
use byway_link::{Claimant, Denied, Fingerprint, GrantId, Leases, Link, Name, SessionKey};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use self::places::ParkingSlots;
use super::grants::now_s;
use super::registry_file::{RegistryError, RegistryFile};

/// The public names of exposed services, the sessions that have them, and the visitors that wait
/// for them. Changes of names are written to a file in the state folder.
pub struct ServiceRegistry {
    state: Mutex<State>,
    file: RegistryFile,
}

#[derive(Default)]
struct State {
    leases: Leases,
    sessions: HashMap<SessionKey, RegisteredSession>,
    next_session: u64,
    parked: HashMap<Name, ParkingSlots>,
    /// Wakes the visitors of a name when it changes hands. Contains only names that a visitor waits
    /// for.
    watched: HashMap<Name, watch::Sender<()>>,
    /// The number of changes so far.
    change: u64,
    /// The last change that a write of the file was started for.
    saved: u64,
    /// The next process owns the names: no more are assigned.
    leaving: bool,
}

struct RegisteredSession {
    link: Link,
    tenant: GrantId,
    /// The number of each name in the session.
    numbers: HashMap<Name, u32>,
    /// It has sent GoAway. It is kept until it has ended, so that a revoked grant ends it, and gets
    /// no more names.
    is_leaving: bool,
    /// Informs the session's owner that it lost a name.
    taken: mpsc::UnboundedSender<LostName>,
}

/// A name that a session has lost.
pub struct LostName {
    /// The name.
    pub name: Name,
    /// Its number in the session.
    pub number: u32,
    /// Who has it now, as a sentence.
    pub why: Denied,
}

/// A name that was assigned to a session.
pub struct ClaimedName {
    /// Whether another session had it, or this one already: connections that are kept to it may
    /// lead elsewhere.
    pub changed_hands: bool,
    undo: Undo,
}

impl State {
    /// Takes the names of `numbers` from `session`.
    fn released(&mut self, session: SessionKey, numbers: HashMap<Name, u32>) -> Vec<Name> {
        let had: Vec<Name> = numbers.into_keys().collect();
        for name in &had {
            self.leases.release(name, session, now_s());
        }
        if !had.is_empty() {
            self.changed(&had);
        }
        had
    }

    /// `names` have changed hands: wakes the visitors that wait for one of them.
    fn changed<'n>(&mut self, names: impl IntoIterator<Item = &'n Name>) {
        self.change += 1;
        for name in names {
            if let Some(watched) = self.watched.get(name) {
                watched.send_replace(());
            }
        }
    }
}

impl ServiceRegistry {
    /// No names yet; those in the folder `state` are read by [`ServiceRegistry::load`].
    pub fn new(state: &Path) -> Self {
        Self {
            state: Mutex::default(),
            file: RegistryFile::new(state),
        }
    }

    /// Reads the names that an earlier process has written. Waits for the disk.
    ///
    /// # Errors
    /// The file cannot be read, or a newer version wrote it. Then nothing may be served: a tenant
    /// could take a name that belongs to another one.
    pub fn load(&self) -> Result<(), RegistryError> {
        let found = self.file.read()?;
        let mut state = self.state.lock();
        state.leases.merge(found);
        state.change += 1;
        Ok(())
    }

    /// Lets this process write the names.
    pub fn begin_writing(&self) {
        self.file.begin();
    }

    /// Assigns no more names, so visitors that wait for one are refused.
    pub fn assign_no_more(&self) {
        let mut state = self.state.lock();
        state.leaving = true;
        for watched in state.watched.values() {
            watched.send_replace(());
        }
    }

    /// Assigns no more names, and writes them a last time for the next process. Waits for the disk.
    pub fn end_writing(&self) {
        self.assign_no_more();
        self.file.end(|| self.to_write());
    }

    fn to_write(&self) -> (u64, Vec<u8>) {
        let (change, snapshot) = {
            let state = self.state.lock();
            (state.change, state.leases.snapshot())
        };
        (change, snapshot.to_bytes(now_s()))
    }

    /// Adds a session; the receiver returns names that it loses.
    pub fn enter(
        &self,
        link: Link,
        tenant: GrantId,
    ) -> (SessionKey, mpsc::UnboundedReceiver<LostName>) {
        // Bounded by the names of the session: each is lost once.
        let (taken, lost) = mpsc::unbounded_channel();
        let mut state = self.state.lock();
        state.next_session += 1;
        let key = SessionKey(state.next_session);
        state.sessions.insert(
            key,
            RegisteredSession {
                link,
                tenant,
                numbers: HashMap::new(),
                is_leaving: false,
                taken,
            },
        );
        (key, lost)
    }

    /// The session has sent GoAway: its names go back to their queues, and it gets no more. Its
    /// open streams may finish. Returns its names.
    pub fn release(&self, session: SessionKey) -> Vec<Name> {
        let mut state = self.state.lock();
        let Some(leaving) = state.sessions.get_mut(&session) else {
            return Vec::new();
        };
        leaving.is_leaving = true;
        let numbers = std::mem::take(&mut leaving.numbers);
        state.released(session, numbers)
    }

    /// The session is over: its names go back to their queues. Returns its names.
    pub fn leave(&self, session: SessionKey) -> Vec<Name> {
        let mut state = self.state.lock();
        let Some(ended) = state.sessions.remove(&session) else {
            return Vec::new();
        };
        state.released(session, ended.numbers)
    }

    /// The grant of `tenant` was revoked: ends its sessions, frees its names, and refuses the
    /// visitors that wait for them. Returns those names.
    pub fn revoke(&self, tenant: GrantId) -> Vec<Name> {
        let names = {
            let mut state = self.state.lock();
            let names = state.leases.forget_tenant(tenant);
            state.changed(&names);
            names
        };
        self.end_sessions(tenant, "its grant was revoked");
        names
    }

    /// Ends the sessions of `tenant`.
    pub fn end_sessions(&self, tenant: GrantId, reason: &str) {
        let ended: Vec<(SessionKey, Link)> = {
            let state = self.state.lock();
            let its = state
                .sessions
                .iter()
                .filter(|(_, session)| session.tenant == tenant);
            its.map(|(key, session)| (*key, session.link.clone()))
                .collect()
        };
        for (key, link) in ended {
            link.end(reason);
            // It may be registering something right now: after this it cannot.
            self.leave(key);
        }
    }

    /// The accepted links that are up, with their grants; the oldest first.
    pub fn links(&self) -> Vec<(GrantId, Link)> {
        let state = self.state.lock();
        let each = |(key, session): (&SessionKey, &RegisteredSession)| {
            (*key, session.tenant, session.link.clone())
        };
        let mut links: Vec<_> = state.sessions.iter().map(each).collect();
        drop(state);
        links.sort_by_key(|(key, ..)| *key);
        links
            .into_iter()
            .map(|(_, grant, link)| (grant, link))
            .collect()
    }

    /// Every tenant that has a session or a name.
    pub fn tenants(&self) -> HashSet<GrantId> {
        let state = self.state.lock();
        state
            .leases
            .tenants()
            .chain(state.sessions.values().map(|session| session.tenant))
            .collect()
    }

    /// `who` has the service `label` with the number `number` in its session, and wants it to be
    /// public as `name`. Runs on workers, so it never uses the disk: `revocation` frees the names
    /// of revoked grants.
    ///
    /// # Errors
    /// [`Denied`]; nothing has changed then.
    pub fn register(
        &self,
        name: &Name,
        label: &str,
        number: u32,
        who: Claimant,
    ) -> Result<ClaimedName, Denied> {
        let mut state = self.state.lock();
        if state.leaving {
            return Err(Denied::Leaving);
        }
        // It has sent GoAway, or was ended: visitors that it got would fail.
        if state
            .sessions
            .get(&who.session)
            .is_none_or(|session| session.is_leaving)
        {
            return Err(Denied::Gone);
        }
        let claimed = state.leases.claim(name, label, who, now_s())?;
        let session = state.sessions.get_mut(&who.session);
        let before = session.and_then(|session| session.numbers.insert(name.clone(), number));
        for replaced in &claimed.replaced {
            let Some(old) = state.sessions.get_mut(&replaced.session) else {
                continue;
            };
            let number = old.numbers.remove(name);
            if replaced.same_process {
                // A later session of the same process. If the old one is dead, a ping shows it
                // soon. If a new config moved the service to another link, open streams of the old
                // one may finish.
                old.link.suspect();
            } else if let Some(number) = number {
                let why = if old.link.peer() == who.identity {
                    Denied::Superseded
                } else {
                    Denied::Taken
                };
                if why == Denied::Superseded {
                    // A new process, usually because the old one died: anything that waits for the
                    // old one would wait long.
                    old.link.suspect();
                }
                let _ = old.taken.send(LostName {
                    name: name.clone(),
                    number,
                    why,
                });
            }
        }
        // A session that requests a name that it has changes nothing, so nothing has to be written.
        if !claimed.undo.is_of_nothing() {
            state.changed([name]);
        }
        Ok(ClaimedName {
            changed_hands: before.is_some() || !claimed.replaced.is_empty(),
            undo: claimed.undo,
        })
    }

    /// Reverts [`ServiceRegistry::register`]: the service could not be made public.
    pub fn undo(&self, name: &Name, session: SessionKey, taken: ClaimedName) {
        let mut state = self.state.lock();
        let Some(its) = state.sessions.get_mut(&session) else {
            return;
        };
        its.numbers.remove(name);
        state.leases.undo(name, session, taken.undo);
        state.changed([name]);
    }

    /// Whether `tenant` may have one more name.
    pub fn has_room(&self, tenant: GrantId) -> bool {
        self.state.lock().leases.has_room(tenant)
    }

    /// Whether `session` has the name now.
    pub fn has(&self, session: SessionKey, name: &Name) -> bool {
        self.state
            .lock()
            .leases
            .holders(name)
            .any(|holder| holder == session)
    }

    /// Takes the service with this number from the session. Returns its name.
    pub fn unregister(&self, session: SessionKey, number: u32) -> Option<Name> {
        let mut state = self.state.lock();
        let numbers = &mut state.sessions.get_mut(&session)?.numbers;
        let name = numbers
            .iter()
            .find(|(_, known)| **known == number)
            .map(|(name, _)| name.clone())?;
        numbers.remove(&name);
        state.leases.give_up(&name, session, now_s());
        state.changed([&name]);
        Some(name)
    }

    /// The port that belongs to this service of this identity, preferably the one on `ip`.
    pub fn port_of(
        &self,
        tenant: GrantId,
        identity: Fingerprint,
        label: &str,
        ip: IpAddr,
    ) -> Option<u16> {
        self.state
            .lock()
            .leases
            .port_of(tenant, identity, label, ip)
    }

    /// Whether a session has the name now.
    pub fn is_held(&self, name: &Name) -> bool {
        self.state.lock().leases.holders(name).next().is_some()
    }

    /// Saves the owners of the names if any has changed since the last save. Returns the number of
    /// the last change, for [`ServiceRegistry::written`].
    pub fn save_changes(self: &Arc<Self>, runtime: &Handle) -> u64 {
        let (change, is_new) = {
            let mut state = self.state.lock();
            let is_new = state.change > state.saved;
            state.saved = state.change;
            (state.change, is_new)
        };
        if is_new {
            self.save(runtime);
        }
        change
    }

    /// Saves the owners of the names, on a thread that may wait for the disk. Changes that come
    /// before that thread starts to write share one write, and there is a pause between writes.
    pub fn save(self: &Arc<Self>, runtime: &Handle) {
        if self.file.is_to_write() {
            let registry = Arc::clone(self);
            runtime.spawn_blocking(move || {
                registry.file.wait_until_due();
                registry.file.write(|| registry.to_write());
            });
        }
    }

    /// Waits until the change of this number was written, or the write failed. Cancel safe.
    pub async fn written(&self, change: u64) {
        self.file.written(change).await;
    }

    /// How many visitors wait for a session, over all names.
    pub fn parked_visitors(&self) -> usize {
        self.state
            .lock()
            .parked
            .values()
            .map(ParkingSlots::count)
            .sum()
    }

    /// Whether the last write of the names failed.
    pub fn is_unwritten(&self) -> bool {
        self.file.is_unwritten()
    }

    /// Whether a failed write is due for a retry.
    pub fn is_retry_due(&self) -> bool {
        self.file.is_retry_due()
    }

    /// Blocks writes to the disk while the guard lives, like a slow disk.
    #[cfg(test)]
    pub(super) fn hold_saves(&self) -> impl Sized + '_ {
        self.file.hold()
    }

    /// How often the file was written.
    #[cfg(test)]
    pub(super) fn saves(&self) -> u64 {
        self.file.writes()
    }
}
