//! Names: the public names of exposed services, which sessions have them, and the visitors who wait for one.
//!
//! In:    registrations, ends of sessions, revoked grants, visitors.
//! Out:   a stream to the service behind a name, however many sessions it took; or the fault to answer with.
//! Never: lets a byte of a visitor travel before its open was answered; so an agent that was away is latency, not failure.
//!
//! A visitor belongs to the name until its open is answered: session loss and takeover put it back into the queue, at most
//! `park` from its arrival, at most `parked` of them for one name.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use byway_dial::Dialled;
use byway_link::lease::Undo;
use byway_link::wire::Open;
use byway_link::{Claimant, Denied, Fingerprint, GrantId, Leases, Link, Name, NotOpened, SessionKey};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout, timeout_at};

use super::grants::now_s;
use super::names_file::{NamesError, NamesFile};
use crate::config::LinkSettings;
use crate::fault::{Deadline, Fault, Kind, Who};

/// How long an agent that lives may take to connect to its service.
const OPEN_PATIENCE: Duration = Duration::from_secs(30);

/// A session that has lost a carrier under an open is asked again after this, if it lives.
const CARRIER_CHANGE: Duration = Duration::from_millis(20);

/// See the head of the file.
pub struct Names {
    state: Mutex<State>,
    file: NamesFile,
}

#[derive(Default)]
struct State {
    leases: Leases,
    sessions: HashMap<SessionKey, Session>,
    next_session: u64,
    parked: HashMap<Name, usize>,
    /// Wakes the visitors of a name when it changes hands. Only names that a visitor waits for are in it.
    watched: HashMap<Name, watch::Sender<()>>,
    /// How many changes of hands there were.
    change: u64,
    /// The next process has the names: no more are taken.
    leaving: bool,
}

struct Session {
    link: Link,
    tenant: GrantId,
    /// What each name is called in the session.
    numbers: HashMap<Name, u32>,
    /// To the session's owner: a name of its was taken.
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

/// A name that was given to a session.
pub struct Taken {
    /// Whether another session had it, or this one already: connections that are kept to it may lead elsewhere.
    pub changed_hands: bool,
    undo: Undo,
}

impl State {
    /// `names` have changed hands: the visitors who wait for one of them look again.
    fn changed<'n>(&mut self, names: impl IntoIterator<Item = &'n Name>) {
        self.change += 1;
        for name in names {
            if let Some(watched) = self.watched.get(name) {
                watched.send_replace(());
            }
        }
    }
}

impl Names {
    /// No names yet; those in the folder `state` are read by [`Names::load`].
    pub fn new(state: &Path) -> Self {
        Self { state: Mutex::default(), file: NamesFile::new(state) }
    }

    /// Reads the names as an earlier process has left them. Waits for the disk.
    ///
    /// # Errors
    /// [`NamesError`]: then nothing may be served, since any name could be taken by a tenant that it does not belong to.
    pub fn load(&self) -> Result<(), NamesError> {
        let found = self.file.read()?;
        let mut state = self.state.lock();
        state.leases.merge(found);
        state.change += 1;
        Ok(())
    }

    /// This process is the one that writes the names down.
    pub fn begin_writing(&self) {
        self.file.begin();
    }

    /// Takes no more names, and writes down those there are for the next process, for the last time. Waits for the disk.
    pub fn end_writing(&self) {
        self.state.lock().leaving = true;
        self.file.end(|| self.to_write());
    }

    fn to_write(&self) -> (u64, Vec<u8>) {
        let state = self.state.lock();
        (state.change, state.leases.save(now_s()))
    }

    /// A session has begun; names that are taken from it come out of the receiver.
    pub fn enter(&self, link: Link, tenant: GrantId) -> (SessionKey, mpsc::UnboundedReceiver<Lost>) {
        // Bounded by the names of the session: each is taken once.
        let (taken, told) = mpsc::unbounded_channel();
        let mut state = self.state.lock();
        state.next_session += 1;
        let key = SessionKey(state.next_session);
        state.sessions.insert(key, Session { link, tenant, numbers: HashMap::new(), taken });
        (key, told)
    }

    /// The session is over: its names go back to their queues. Those that it had.
    pub fn leave(&self, session: SessionKey) -> Vec<Name> {
        let mut state = self.state.lock();
        let Some(gone) = state.sessions.remove(&session) else { return Vec::new() };
        let had: Vec<Name> = gone.numbers.into_keys().collect();
        for name in &had {
            state.leases.release(name, session, now_s());
        }
        state.changed(&had);
        had
    }

    /// The grant of `tenant` was revoked: its sessions end, its names are free, and the visitors who wait for them are
    /// refused. Which names they were.
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
            let its = state.sessions.iter().filter(|(_, session)| session.tenant == tenant);
            its.map(|(key, session)| (*key, session.link.clone())).collect()
        };
        for (key, link) in ended {
            link.end(reason);
            // It may be registering something this moment: from here on it cannot.
            self.leave(key);
        }
    }

    /// Every tenant that has a session or a name.
    pub fn tenants(&self) -> HashSet<GrantId> {
        let state = self.state.lock();
        state.leases.tenants().chain(state.sessions.values().map(|session| session.tenant)).collect()
    }

    /// `who` has the service `label`, called `number` in its session, and wants it to be public as `name`. Runs on workers,
    /// so it never looks at the disk: `revocation` frees the names of revoked grants.
    ///
    /// # Errors
    /// [`Denied`]; nothing has changed then.
    pub fn register(&self, name: &Name, label: &str, number: u32, who: Claimant) -> Result<Taken, Denied> {
        let mut state = self.state.lock();
        if state.leaving {
            return Err(Denied::Leaving);
        }
        // It has said that it leaves, or was ended: what it got would lead visitors nowhere.
        if !state.sessions.contains_key(&who.session) {
            return Err(Denied::Gone);
        }
        let claimed = state.leases.claim(name, label, who, now_s())?;
        let session = state.sessions.get_mut(&who.session);
        let before = session.and_then(|session| session.numbers.insert(name.clone(), number));
        for replaced in &claimed.replaced {
            let Some(old) = state.sessions.get_mut(&replaced.session) else { continue };
            let number = old.numbers.remove(name);
            if replaced.same_process {
                // Its own later session. If the old one was lost, a question shows it soon. If a new config moved the
                // service to another link, what the old one has open may finish.
                old.link.doubt();
            } else if let Some(number) = number {
                let why = if old.link.peer() == who.identity { Denied::Superseded } else { Denied::Taken };
                if why == Denied::Superseded {
                    // Started again, more often than not because it had died: whatever waits for it would wait long.
                    old.link.doubt();
                }
                let _ = old.taken.send(Lost { name: name.clone(), number, why });
            }
        }
        state.changed([name]);
        Ok(Taken { changed_hands: before.is_some() || !claimed.replaced.is_empty(), undo: claimed.undo })
    }

    /// Takes back what [`Names::register`] gave: the service could not be made public.
    pub fn undo(&self, name: &Name, session: SessionKey, taken: Taken) {
        let mut state = self.state.lock();
        let Some(its) = state.sessions.get_mut(&session) else { return };
        its.numbers.remove(name);
        state.leases.undo(name, session, taken.undo);
        state.changed([name]);
    }

    /// Whether `tenant` may have another name.
    pub fn has_room(&self, tenant: GrantId) -> bool {
        self.state.lock().leases.has_room(tenant)
    }

    /// Whether `session` has the name now.
    pub fn has(&self, session: SessionKey, name: &Name) -> bool {
        self.state.lock().leases.holders(name).any(|holder| holder == session)
    }

    /// The session has the service no more.
    pub fn unregister(&self, session: SessionKey, number: u32) -> Option<Name> {
        let mut state = self.state.lock();
        let numbers = &mut state.sessions.get_mut(&session)?.numbers;
        let name = numbers.iter().find(|(_, known)| **known == number).map(|(name, _)| name.clone())?;
        numbers.remove(&name);
        state.leases.give_up(&name, session, now_s());
        state.changed([&name]);
        Some(name)
    }

    /// The port that belongs to this service of this identity, best the one on `ip`.
    pub fn port_of(&self, tenant: GrantId, identity: Fingerprint, label: &str, ip: IpAddr) -> Option<u16> {
        self.state.lock().leases.port_of(tenant, identity, label, ip)
    }

    /// Whether a session has the name now.
    pub fn is_held(&self, name: &Name) -> bool {
        self.state.lock().leases.holders(name).next().is_some()
    }

    /// Writes down whom the names belong to, on a thread that may wait for the disk. Changes that come before that thread
    /// has begun share one write. Returns the number of the last change, for [`Names::written`].
    pub fn save(self: &Arc<Self>, runtime: &Handle) -> u64 {
        let change = self.state.lock().change;
        if self.file.is_to_write() {
            let names = Arc::clone(self);
            runtime.spawn_blocking(move || names.file.write(|| names.to_write()));
        }
        change
    }

    /// Waits until the change of this number has been written down, or could not be. Cancel safe.
    pub async fn written(&self, change: u64) {
        self.file.written(change).await;
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
        // Most find at once what they look for.
        if let Some(found) = find() {
            return Ok(found);
        }
        let mut watch = self.watch(name);
        let mut parked = None;
        loop {
            watch.look();
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
            if timeout_at(deadline, watch.changed()).await.is_err() {
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
        let mut watch = self.watch(name);
        loop {
            watch.look();
            let (link, number) = self.parked_until(name, settings, deadline, || self.holder(name)).await?;
            let visitor = visitor.map(|peer| peer.to_string()).unwrap_or_default();
            let open = Open { service: number, visitor, ..Open::default() };
            let answered = tokio::select! {
                answered = link.open(&open, OPEN_PATIENCE) => answered,
                // Another session has the name now: what the old one has not answered is asked of the new one.
                () = self.until_lost(&mut watch, &link) => continue,
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
        let is_it = |key: SessionKey| state.sessions.get(&key).is_some_and(|session| session.link.is_same(link));
        state.leases.holders(name).any(is_it)
    }

    /// Resolves once `link` does not have the name any more.
    async fn until_lost(&self, watch: &mut Watch<'_>, link: &Link) {
        loop {
            watch.changed().await;
            if !self.holds(&watch.name, link) {
                return;
            }
        }
    }

    /// Keeps the disk from being written to while the guard lives, as a slow disk would.
    #[cfg(test)]
    pub(super) fn hold_saves(&self) -> impl Sized + '_ {
        self.file.hold()
    }

    /// How often the file was written.
    #[cfg(test)]
    pub(super) fn saves(&self) -> u64 {
        self.file.writes()
    }

    /// Begins to watch `name`.
    fn watch(&self, name: &Name) -> Watch<'_> {
        let mut state = self.state.lock();
        let changes = match state.watched.get(name) {
            Some(watched) => watched.subscribe(),
            None => {
                let watched = watch::Sender::new(());
                let changes = watched.subscribe();
                state.watched.insert(name.clone(), watched);
                changes
            }
        };
        Watch { names: self, name: name.clone(), changes: Some(changes) }
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
}

/// Wakes a visitor when its name, and no other one, changes hands.
struct Watch<'n> {
    names: &'n Names,
    name: Name,
    changes: Option<watch::Receiver<()>>,
}

impl Watch<'_> {
    /// Changes up to now are seen.
    fn look(&mut self) {
        if let Some(changes) = &mut self.changes {
            changes.mark_unchanged();
        }
    }

    /// Waits for the next change. Cancel safe.
    async fn changed(&mut self) {
        match &mut self.changes {
            // The sender is there as long as it is watched.
            Some(changes) => drop(changes.changed().await),
            None => std::future::pending().await,
        }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let mut state = self.names.state.lock();
        self.changes = None;
        if state.watched.get(&self.name).is_some_and(|watched| watched.receiver_count() == 0) {
            state.watched.remove(&self.name);
        }
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

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::task::{Context, Poll, Wake};

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    #[tokio::test]
    async fn a_name_that_changes_hands_wakes_its_own_visitors_alone() {
        let folder = tempfile::tempdir().unwrap();
        let [ours, others] = [[1; 6], [2; 6]].map(GrantId::from_bytes);
        let line = |host: &str, tenant: GrantId| {
            format!("http {host} {tenant} {} {} 1 1 \n", Fingerprint::of_spki(b"key"), now_s())
        };
        let saved = line("ours.t.localhost", ours) + &line("others.t.localhost", others);
        std::fs::write(folder.path().join("names"), saved).unwrap();
        let names = Names::new(folder.path());
        names.load().unwrap();
        let second = Duration::from_secs(1);
        let settings = LinkSettings { quic_probe: second, park: 600 * second, parked: 8, streams: 8 };
        let name = Name::Http("ours.t.localhost".into());
        let wakes = Arc::new(Wakes::default());
        let waker = Arc::clone(&wakes).into();
        let mut cx = Context::from_waker(&waker);
        {
            let mut visitor = pin!(names.until_held(&name, &settings));
            assert!(visitor.as_mut().poll(&mut cx).is_pending());
            assert_eq!(names.revoke(others), [Name::Http("others.t.localhost".into())]);
            assert_eq!(wakes.0.load(SeqCst), 0, "a visitor of another name was woken");
            assert_eq!(names.revoke(ours), std::slice::from_ref(&name));
            assert_eq!(wakes.0.load(SeqCst), 1);
            let Poll::Ready(Err(fault)) = visitor.as_mut().poll(&mut cx) else { panic!("it waits on") };
            assert_eq!(fault.status(), 404, "{fault}");
        }
        assert!(names.state.lock().watched.is_empty() && names.state.lock().parked.is_empty());
    }
}
