//! Names: the public names of exposed services, which sessions have them, and the visitors who wait for one.
//!
//! In:    registrations, ends of sessions, visitors.
//! Out:   a stream to the service behind a name, however many sessions it took; or the fault to answer with.
//! Never: lets a byte of a visitor travel before its open was answered; so an agent that was away is latency, not failure.
//!
//! A visitor belongs to the name until its open is answered: session loss and takeover put it back into the queue, at most
//! `park` from its arrival, at most `parked` of them for one name.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::AcqRel;
use std::time::Duration;

use byway_dial::Dialled;
use byway_link::wire::Open;
use byway_link::{Claimant, Denied, Fingerprint, GrantId, Leases, Link, Name, NotOpened, SessionKey, store};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout, timeout_at};

use super::grants::{Grants, now_s};
use crate::config::LinkSettings;
use crate::fault::{Deadline, Fault, Kind, Who};

/// How long an agent that lives may take to connect to its service.
const OPEN_PATIENCE: Duration = Duration::from_secs(30);

/// A session that has lost a carrier under an open is asked again after this, if it lives.
const CARRIER_CHANGE: Duration = Duration::from_millis(20);

/// See the head of the file.
pub struct Names {
    state: Mutex<State>,
    /// Moves with every change of hands.
    changes: watch::Sender<u64>,
    file: PathBuf,
    saving: Mutex<()>,
    /// A save is on its way and has not looked at the leases yet.
    to_save: AtomicBool,
    written: watch::Sender<Written>,
}

/// What has become of the file.
#[derive(Clone, Copy, Debug, Default)]
struct Written {
    /// The change that it was last written after.
    change: u64,
    /// How often it was written.
    #[cfg(test)]
    saves: u64,
}

struct State {
    leases: Leases,
    sessions: HashMap<SessionKey, Session>,
    next_session: u64,
    parked: HashMap<Name, usize>,
}

struct Session {
    link: Link,
    /// What each name is called in the session.
    numbers: HashMap<Name, u32>,
    /// Tells the session's owner that a name of its was taken.
    taken: mpsc::UnboundedSender<Lost>,
}

/// A name that a session has no more.
pub struct Lost {
    /// The name.
    pub name: Name,
    /// What it is called in the session.
    pub number: u32,
    /// Who has it now, as a sentence.
    pub why: Denied,
}

impl Names {
    /// The names in the state folder `state`, as an earlier process has left them.
    pub fn new(state: &Path) -> Self {
        let file = state.join("names");
        let text = store::read(&file).ok().flatten().and_then(|bytes| String::from_utf8(bytes).ok());
        let (mut leases, unread) = Leases::restore(&text.unwrap_or_default());
        if unread > 0 {
            tracing::warn!("{unread} lines of {} cannot be read: those names are free again", file.display());
        }
        leases.expire(now_s());
        let state = State { leases, sessions: HashMap::new(), next_session: 0, parked: HashMap::new() };
        Self {
            state: Mutex::new(state),
            changes: watch::Sender::new(0),
            file,
            saving: Mutex::default(),
            written: watch::Sender::default(),
            to_save: AtomicBool::new(false),
        }
    }

    /// A session has begun; names that are taken from it come out of the receiver.
    pub fn enter(&self, link: Link) -> (SessionKey, mpsc::UnboundedReceiver<Lost>) {
        // Bounded by the names of the session: each is taken once.
        let (taken, told) = mpsc::unbounded_channel();
        let mut state = self.state.lock();
        state.next_session += 1;
        let key = SessionKey(state.next_session);
        state.sessions.insert(key, Session { link, numbers: HashMap::new(), taken });
        (key, told)
    }

    /// The session is over: its names go back to their queues. Those that it had.
    pub fn leave(&self, session: SessionKey) -> Vec<Name> {
        let mut state = self.state.lock();
        state.sessions.remove(&session);
        let had = state.leases.release_all(session, now_s());
        drop(state);
        self.changed();
        had
    }

    /// `who` has the service `label`, called `number` in its session, and wants it to be public as `name`. Says whether it
    /// was taken from another session.
    ///
    /// # Errors
    /// [`Denied`]; nothing has changed then.
    pub fn register(
        &self,
        name: &Name,
        label: &str,
        number: u32,
        who: Claimant,
        grants: &Grants,
    ) -> Result<bool, Denied> {
        let mut state = self.state.lock();
        let mut claimed = state.leases.claim(name, label, who, now_s());
        if let Err(Denied::OtherTenant(tenant)) = &claimed
            && !grants.is_good(*tenant)
        {
            // A grant that was revoked keeps no names.
            state.leases.forget(name);
            claimed = state.leases.claim(name, label, who, now_s());
        }
        let claimed = claimed?;
        if let Some(session) = state.sessions.get_mut(&who.session) {
            session.numbers.insert(name.clone(), number);
        }
        for replaced in &claimed.replaced {
            let Some(old) = state.sessions.get_mut(&replaced.session) else { continue };
            let number = old.numbers.remove(name);
            if replaced.same_process {
                // Its own later session: whatever the old one still has open is lost with it.
                old.link.end("the other side has made a new session");
            } else if let Some(number) = number {
                let why = if old.link.peer() == who.identity { Denied::Superseded } else { Denied::Taken };
                if why == Denied::Superseded {
                    // Started again, more often than not because it had died: whatever waits for it would wait long.
                    old.link.doubt();
                }
                let _ = old.taken.send(Lost { name: name.clone(), number, why });
            }
        }
        drop(state);
        self.changed();
        Ok(!claimed.replaced.is_empty())
    }

    /// The session has the service no more.
    pub fn unregister(&self, session: SessionKey, number: u32) -> Option<Name> {
        let mut state = self.state.lock();
        let numbers = &mut state.sessions.get_mut(&session)?.numbers;
        let name = numbers.iter().find(|(_, known)| **known == number).map(|(name, _)| name.clone())?;
        numbers.remove(&name);
        state.leases.give_up(&name, session, now_s());
        drop(state);
        self.changed();
        Some(name)
    }

    /// The port that belongs to this service of this identity.
    pub fn port_of(&self, tenant: GrantId, identity: Fingerprint, label: &str) -> Option<u16> {
        self.state.lock().leases.port_of(tenant, identity, label)
    }

    /// Whether somebody has the name now.
    pub fn is_held(&self, name: &Name) -> bool {
        self.state.lock().sessions.values().any(|session| session.numbers.contains_key(name))
    }

    /// Writes down whom the names belong to, on a thread that may wait for the disk. Changes that come before that thread
    /// has begun share one save. Returns the number of the last change, for [`Names::written`].
    pub fn save(self: &Arc<Self>, runtime: &Handle) -> u64 {
        let change = *self.changes.borrow();
        if self.to_save.swap(true, AcqRel) {
            return change;
        }
        let names = Arc::clone(self);
        runtime.spawn_blocking(move || {
            // One at a time, and each writes what is true when its turn comes.
            let _turn = names.saving.lock();
            names.to_save.swap(false, AcqRel);
            let change = *names.changes.borrow();
            let text = names.state.lock().leases.save();
            if let Err(error) = store::replace(&names.file, text.as_bytes()) {
                tracing::warn!("{}: {error}; after a restart names may be taken by others", names.file.display());
            }
            names.written.send_modify(|written| {
                written.change = change;
                #[cfg(test)]
                {
                    written.saves += 1;
                }
            });
        });
        change
    }

    /// Waits until the change of this number has been written down, or could not be. Cancel safe.
    pub async fn written(&self, change: u64) {
        // The sender lives as long as we do.
        let _ = self.written.subscribe().wait_for(|written| written.change >= change).await;
    }

    /// Waits until somebody has `name`, and says how many have. For whoever would hold something scarce while it waits in
    /// [`Names::open`].
    ///
    /// # Errors
    /// As [`Names::open`], but for what only the agent can tell.
    ///
    /// # Cancel safety
    /// Safe: a visitor that leaves gives its place up.
    pub async fn until_held(&self, name: &Name, settings: &LinkSettings) -> Result<usize, Fault> {
        let deadline = Instant::now() + settings.park;
        // It is nobody's turn yet.
        self.parked_until(name, settings, deadline, || Some(self.holders(name)).filter(|holders| *holders > 0)).await
    }

    /// What `find` finds, waited for until `deadline`.
    async fn parked_until<T>(
        &self,
        name: &Name,
        settings: &LinkSettings,
        deadline: Instant,
        find: impl Fn() -> Option<T>,
    ) -> Result<T, Fault> {
        let mut changes = self.changes.subscribe();
        let mut parked = None;
        loop {
            changes.mark_unchanged();
            if let Some(found) = find() {
                return Ok(found);
            }
            if !self.state.lock().leases.is_expected(name) {
                let detail = format!("nobody exposes a service by the {name}");
                return Err(Fault::new(Who::Downstream, Kind::NoRoute, detail));
            }
            if parked.is_none() {
                parked = Some(self.park(name, settings)?);
            }
            if timeout_at(deadline, changes.changed()).await.is_err() {
                return Err(waited_too_long(name, settings));
            }
        }
    }

    /// Opens a stream to the service behind `name` for a visitor.
    ///
    /// # Errors
    /// 404 for a name that nobody ever had, 503 when too many wait already or this one has waited too long, else what the
    /// agent says.
    ///
    /// # Cancel safety
    /// Safe: a visitor that leaves gives its place up.
    pub async fn open(
        &self,
        name: &Name,
        visitor: Option<SocketAddr>,
        settings: &LinkSettings,
    ) -> Result<(Dialled, Option<Arc<str>>), Fault> {
        let deadline = Instant::now() + settings.park;
        loop {
            let mut changes = self.changes.subscribe();
            let (link, number) = self.parked_until(name, settings, deadline, || self.holder(name)).await?;
            let visitor = visitor.map(|peer| peer.to_string()).unwrap_or_default();
            let open = Open { service: number, visitor, ..Open::default() };
            let answered = tokio::select! {
                answered = link.open(&open, OPEN_PATIENCE) => answered,
                // Another session has the name now: what the old one has not answered is asked of the new one.
                () = self.until_changed(&mut changes, name, &link) => continue,
            };
            match answered {
                Ok(opened) => {
                    let dialled = Dialled { stream: opened.stream, peer: None, local: opened.local };
                    return Ok((dialled, opened.host));
                }
                // One of its carriers was lost, or all of them: the visitor goes back into the queue.
                Err(NotOpened::Lost) if Instant::now() < deadline => {
                    let _ = timeout(CARRIER_CHANGE, link.ended()).await;
                }
                Err(NotOpened::Lost) => return Err(waited_too_long(name, settings)),
                Err(error) => return Err(Fault::from_link(error)),
            }
        }
    }

    /// Whom to ask, each in turn; none while nobody has the name.
    fn holder(&self, name: &Name) -> Option<(Link, u32)> {
        let mut state = self.state.lock();
        let session = state.leases.next_holder(name)?;
        let session = state.sessions.get(&session).filter(|session| !session.link.is_over())?;
        Some((session.link.clone(), *session.numbers.get(name)?))
    }

    /// How many have the name.
    fn holders(&self, name: &Name) -> usize {
        let state = self.state.lock();
        let lives = |key: &SessionKey| state.sessions.get(key).is_some_and(|session| !session.link.is_over());
        state.leases.holders(name).filter(lives).count()
    }

    fn holds(&self, name: &Name, link: &Link) -> bool {
        let state = self.state.lock();
        state.sessions.values().any(|s| s.numbers.contains_key(name) && s.link.is_same(link))
    }

    /// Resolves once `link` has the name no more.
    async fn until_changed(&self, changes: &mut watch::Receiver<u64>, name: &Name, link: &Link) {
        while changes.changed().await.is_ok() {
            if !self.holds(name, link) {
                return;
            }
        }
        std::future::pending().await
    }

    fn park(&self, name: &Name, settings: &LinkSettings) -> Result<Parked<'_>, Fault> {
        let mut state = self.state.lock();
        let waiting = state.parked.get(name).copied().unwrap_or_default();
        if settings.park.is_zero() {
            return Err(Fault::new(Who::Link, Kind::Lost, format!("the agent of the {name} is away")));
        }
        if waiting >= settings.parked {
            let detail = format!("the agent of the {name} is away, and {waiting} visitors wait for it already");
            return Err(Fault::new(Who::Link, Kind::Overloaded("parked-full"), detail));
        }
        state.parked.insert(name.clone(), waiting + 1);
        Ok(Parked { names: self, name: name.clone() })
    }

    /// Keeps the disk from being written to while the guard lives, as a slow disk would.
    #[cfg(test)]
    pub(super) fn hold_saves(&self) -> parking_lot::MutexGuard<'_, ()> {
        self.saving.lock()
    }

    /// How often the file was written.
    #[cfg(test)]
    pub(super) fn saves(&self) -> u64 {
        self.written.borrow().saves
    }

    fn changed(&self) {
        self.changes.send_modify(|number| *number = number.wrapping_add(1));
    }
}

/// A visitor who waits; dropping it gives the place up.
struct Parked<'n> {
    names: &'n Names,
    name: Name,
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        let mut state = self.names.state.lock();
        if let Some(waiting) = state.parked.get_mut(&self.name) {
            *waiting -= 1;
            if *waiting == 0 {
                state.parked.remove(&self.name);
            }
        }
    }
}

fn waited_too_long(name: &Name, settings: &LinkSettings) -> Fault {
    let detail = format!("the agent of the {name} was away for longer than a visitor waits, {:?}", settings.park);
    Fault::new(Who::Link, Kind::Deadline(Deadline::Parked), detail)
}
