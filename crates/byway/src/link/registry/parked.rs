//! Parked: the visitors of a public name that wait while no session has it.
//!
//! In:    visitors; changes of the names.
//! Out:   a stream to the service of a name, after any number of sessions; or the fault for the
//!        response.
//! Never: sends a byte of a visitor before its open was answered, so that an absent agent causes a
//!        delay, not a failure.
//!
//! A visitor belongs to the name until its open is answered: the loss of a session and a takeover
//! put it back into the queue, at most `park` from its arrival. At most `parked` visitors wait for
//! one name; clients share that limit.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use byway_dial::Dialled;
use byway_link::wire::Open;
use byway_link::{ClientKey, Link, Name, OpenAttempts, OpenError, SessionKey};
use byway_pool::Client;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::ServiceRegistry;
use crate::config::LinkSettings;
use crate::fault::{Fault, Reason, Who};
use crate::observe::request_report::Reports;
use crate::outbound::busy;
use crate::outbound::link_table::{self, Carries, OpenedOnLink, ServiceDirectory};
use crate::outbound::pooled::is_worth_another_upstream;

/// How long a live agent may take to connect to its service.
const OPEN_PATIENCE: Duration = Duration::from_secs(30);

/// The wait before an open is retried on a live session that lost a carrier during it.
const CARRIER_CHANGE: Duration = Duration::from_millis(20);

impl ServiceDirectory for ServiceRegistry {
    fn open<'a>(
        &'a self,
        name: &'a Name,
        visitor: Option<SocketAddr>,
        client: Client,
        carries: Carries,
        settings: &'a LinkSettings,
    ) -> link_table::Pending<'a, OpenedOnLink> {
        Box::pin(self.open_for(name, visitor, client, carries, settings))
    }

    fn until_held<'a>(
        &'a self,
        name: &'a Name,
        client: Client,
        settings: &'a LinkSettings,
    ) -> link_table::Pending<'a, usize> {
        Box::pin(self.until_it_is_held(name, client, settings))
    }

    fn pause<'a>(
        &'a self,
        name: &'a Name,
        client: Client,
        settings: &'a LinkSettings,
        pause: Duration,
    ) -> link_table::Pending<'a, ()> {
        Box::pin(self.pause_parked(name, client, settings, pause))
    }
}

impl ServiceRegistry {
    /// Waits until a session has `name`, and returns how many have. For callers that would hold
    /// something scarce while they wait in [`ServiceDirectory::open`].
    ///
    /// # Errors
    /// See [`ServiceDirectory::open`], except the errors of the agent.
    ///
    /// # Cancel safety
    /// Safe: a visitor that leaves gives up its place.
    async fn until_it_is_held(
        &self,
        name: &Name,
        client: Client,
        settings: &LinkSettings,
    ) -> Result<usize, Fault> {
        let deadline = Instant::now() + settings.park;
        // No session has been tried yet.
        let held = || Some(self.holders(name)).filter(|holders| *holders > 0);
        self.parked_until(name, client, settings, deadline, held)
            .await
    }

    /// Returns the result of `find`; waits for one until `deadline`.
    async fn parked_until<T>(
        &self,
        name: &Name,
        client: Client,
        settings: &LinkSettings,
        deadline: Instant,
        find: impl Fn() -> Option<T>,
    ) -> Result<T, Fault> {
        // Usually there is a result at once.
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
                let detail = format!("no service is exposed at the {name}");
                return Err(Fault::new(Who::Downstream, Reason::NoRoute, detail));
            }
            if self.state.lock().leaving {
                return Err(stopping(name, AWAY));
            }
            let place = match &mut parked {
                Some(place) => place,
                none => none.insert(self.park(name, client, settings)?),
            };
            tokio::select! {
                biased;
                changed = timeout_at(deadline, watch.changed()) => {
                    changed.map_err(|_| waited_too_long(name, settings))?;
                }
                _ = &mut place.displaced => return Err(displaced(name, AWAY)),
            }
        }
    }

    /// Waits for `pause`, in a place of `client`, because the agents of `name` are busy.
    async fn pause_parked(
        &self,
        name: &Name,
        client: Client,
        settings: &LinkSettings,
        pause: Duration,
    ) -> Result<(), Fault> {
        let mut watch = self.watch(name);
        let mut place = self
            .take_place(name, client, settings)
            .map_err(|waiting| full(name, BUSY, waiting))?;
        let mut pause = pin!(sleep(pause));
        loop {
            watch.look();
            if self.state.lock().leaving {
                return Err(stopping(name, BUSY));
            }
            tokio::select! {
                biased;
                () = &mut pause => return Ok(()),
                _ = &mut place.displaced => return Err(displaced(name, BUSY)),
                () = watch.changed() => {}
            }
        }
    }

    /// Opens a stream to the service of `name` for a visitor, which waits in a place of `client`.
    /// If several agents share the name, those that refuse, as they are busy or do not reach their
    /// service, are followed by the others, each once.
    ///
    /// # Errors
    /// 404 for a name that never existed; 503 when too many wait already, when another client gets
    /// its place, when it has waited too long, or when this node stops; else the error of the agent:
    /// of several, that of one that is busy, else the last one.
    ///
    /// # Cancel safety
    /// Safe: a visitor that leaves gives up its place.
    async fn open_for(
        &self,
        name: &Name,
        visitor: Option<SocketAddr>,
        client: Client,
        carries: Carries,
        settings: &LinkSettings,
    ) -> Result<OpenedOnLink, Fault> {
        let deadline = Instant::now() + settings.park;
        let mut watch = self.watch(name);
        let mut attempts = OpenAttempts::default();
        let key = ClientKey::numbered(client.number());
        let mut refusals = Refusals::default();
        loop {
            watch.look();
            let (session, link, number) = match refusals.fault.take() {
                None => {
                    self.parked_until(name, client, settings, deadline, || self.holder(name, &[]))
                        .await?
                }
                Some(fault) => match self.holder(name, &refusals.sessions) {
                    Some(other) => {
                        refusals.fault = Some(fault);
                        other
                    }
                    None => return Err(fault),
                },
            };
            let visitor = visitor.map(|peer| peer.to_string()).unwrap_or_default();
            let open = Open {
                service: number,
                visitor,
                ordered_end: carries == Carries::Requests,
                ..Open::default()
            };
            let answered = tokio::select! {
                answered = link.open_again(&open, key, OPEN_PATIENCE, &mut attempts) => answered,
                // Another session has the name now: an open that the old one has not answered is
                // repeated on the new one.
                () = self.until_lost(&mut watch, &link) => continue,
                // A session whose streams wait for its path to recover may last longer than the
                // visitor waits.
                () = link.silent_at(deadline) => return Err(waited_too_long(name, settings)),
            };
            match answered {
                Ok(opened) => {
                    let dialled = Dialled {
                        stream: opened.stream,
                        peer: None,
                        local: opened.local,
                    };
                    let reports = opened.reports.then(|| Arc::new(Reports::new(link, number)));
                    return Ok(OpenedOnLink {
                        dialled,
                        ordered_end: opened.ordered_end,
                        host: opened.host,
                        reports,
                    });
                }
                // One or all of its carriers were lost: the visitor goes back into the queue, unless its opens are used up.
                Err(OpenError::Lost) if attempts.is_used_up() => {
                    return Err(Fault::from_link(OpenError::Lost));
                }
                Err(OpenError::Lost) if Instant::now() < deadline => {
                    let _ = timeout(CARRIER_CHANGE, link.ended()).await;
                }
                Err(OpenError::Lost) => return Err(waited_too_long(name, settings)),
                Err(error @ OpenError::Fault(_)) => {
                    refusals.add(session, Fault::from_link(error), deadline)?;
                    // No attempt is pending.
                    attempts = OpenAttempts::default();
                }
                Err(error) => return Err(Fault::from_link(error)),
            }
        }
    }

    /// The next session with the name, in rotation, that is not one of `except`; `None` while there
    /// is none.
    fn holder(&self, name: &Name, except: &[SessionKey]) -> Option<(SessionKey, Link, u32)> {
        let mut state = self.state.lock();
        let holders = state.leases.holders(name).count();
        (0..holders).find_map(|_| {
            let key = state.leases.next_holder(name)?;
            let session = state.sessions.get(&key)?;
            let is_fit = !session.link.is_over() && !except.contains(&key);
            let number = *session.numbers.get(name)?;
            is_fit.then(|| (key, session.link.clone(), number))
        })
    }

    /// The number of sessions with the name.
    fn holders(&self, name: &Name) -> usize {
        let state = self.state.lock();
        let lives = |key: &SessionKey| {
            state
                .sessions
                .get(key)
                .is_some_and(|session| !session.link.is_over())
        };
        state.leases.holders(name).filter(lives).count()
    }

    fn holds(&self, name: &Name, link: &Link) -> bool {
        let state = self.state.lock();
        let is_it = |key: SessionKey| {
            state
                .sessions
                .get(&key)
                .is_some_and(|session| session.link.is_same(link))
        };
        state.leases.holders(name).any(is_it)
    }

    /// Resolves once `link` does not have the name any more.
    async fn until_lost(&self, watch: &mut NameWatch<'_>, link: &Link) {
        loop {
            watch.changed().await;
            if !self.holds(&watch.name, link) {
                return;
            }
        }
    }

    /// Starts to watch `name`.
    fn watch(&self, name: &Name) -> NameWatch<'_> {
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
        NameWatch {
            registry: self,
            name: name.clone(),
            changes: Some(changes),
        }
    }

    fn park(
        &self,
        name: &Name,
        client: Client,
        settings: &LinkSettings,
    ) -> Result<Parked<'_>, Fault> {
        if settings.park.is_zero() {
            return Err(Fault::new(
                Who::Link,
                Reason::LinkLost,
                format!("the agent of the {name} is away"),
            ));
        }
        self.take_place(name, client, settings)
            .map_err(|waiting| full(name, AWAY, waiting))
    }

    /// A place for a visitor, or how many wait if there is none.
    fn take_place(
        &self,
        name: &Name,
        client: Client,
        settings: &LinkSettings,
    ) -> Result<Parked<'_>, usize> {
        let mut state = self.state.lock();
        // The limit is never zero, so the first visitor of a name gets a place.
        let places = state.parked.entry(name.clone()).or_default();
        let Some((number, displaced)) = places.take(client, settings.parked) else {
            return Err(places.count());
        };
        Ok(Parked {
            registry: self,
            name: name.clone(),
            client,
            number,
            displaced,
        })
    }
}

/// The refusals of the agents of a name, for one visitor.
#[derive(Default)]
struct Refusals {
    sessions: Vec<SessionKey>,
    /// The one to answer with: that of an agent that is busy, which may have room later, else the
    /// last one.
    fault: Option<Fault>,
}

impl Refusals {
    /// Notes that `session` has refused.
    ///
    /// # Errors
    /// The same fault if no other agent is to be tried.
    fn add(&mut self, session: SessionKey, fault: Fault, deadline: Instant) -> Result<(), Fault> {
        let is_worth_another = busy::is_busy(&fault) || is_worth_another_upstream(&fault);
        let fault = match self.fault.take() {
            Some(earlier) if busy::is_busy(&earlier) => earlier,
            _ => fault,
        };
        if !is_worth_another || Instant::now() >= deadline {
            return Err(fault);
        }
        self.sessions.push(session);
        self.fault = Some(fault);
        Ok(())
    }
}

/// Wakes a visitor only when its own name changes hands.
struct NameWatch<'n> {
    registry: &'n ServiceRegistry,
    name: Name,
    changes: Option<watch::Receiver<()>>,
}

impl NameWatch<'_> {
    /// Marks all changes so far as seen.
    fn look(&mut self) {
        if let Some(changes) = &mut self.changes {
            changes.mark_unchanged();
        }
    }

    /// Waits for the next change. Cancel safe.
    async fn changed(&mut self) {
        match &mut self.changes {
            // The sender exists as long as the name is watched.
            Some(changes) => drop(changes.changed().await),
            None => std::future::pending().await,
        }
    }
}

impl Drop for NameWatch<'_> {
    fn drop(&mut self) {
        let mut state = self.registry.state.lock();
        self.changes = None;
        if state
            .watched
            .get(&self.name)
            .is_some_and(|watched| watched.receiver_count() == 0)
        {
            state.watched.remove(&self.name);
        }
    }
}

/// A waiting visitor; dropping it gives up its place.
struct Parked<'n> {
    registry: &'n ServiceRegistry,
    name: Name,
    client: Client,
    number: u64,
    /// Resolves when another client gets the place.
    displaced: oneshot::Receiver<()>,
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        let mut state = self.registry.state.lock();
        if let Some(places) = state.parked.get_mut(&self.name) {
            places.leave(self.client, self.number);
            if places.count() == 0 {
                state.parked.remove(&self.name);
            }
        }
    }
}

/// Why visitors wait, for messages.
const AWAY: &str = "away";
const BUSY: &str = "busy";

fn displaced(name: &Name, why: &str) -> Fault {
    let detail = format!(
        "the agent of the {name} is {why}, and this client had more places for waiting visitors than another client \
         that needed one"
    );
    Fault::new(Who::Link, Reason::ClientShare, detail)
}

fn full(name: &Name, why: &str, waiting: usize) -> Fault {
    let detail =
        format!("the agent of the {name} is {why}, and {waiting} visitors wait for it already");
    Fault::new(Who::Link, Reason::ParkedFull, detail)
}

fn stopping(name: &Name, why: &str) -> Fault {
    let detail = format!("the agent of the {name} is {why}, and this node is stopping");
    Fault::new(Who::Us, Reason::Draining, detail)
}

fn waited_too_long(name: &Name, settings: &LinkSettings) -> Fault {
    let detail = format!(
        "the agent of the {name} was away for longer than a visitor may wait, {:?}",
        settings.park
    );
    Fault::new(Who::Link, Reason::Parked, detail)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::task::{Context, Poll, Wake};

    use byway_link::{Fingerprint, GrantId};

    use super::super::now_s;
    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    const OURS: GrantId = GrantId::from_bytes([1; 6]);
    const OTHERS: GrantId = GrantId::from_bytes([2; 6]);

    fn ours() -> Name {
        Name::Http("ours.t.localhost".into())
    }

    /// A registry that knows a name of each grant, which no session has.
    fn registry(folder: &std::path::Path) -> ServiceRegistry {
        let line = |host: &str, tenant: GrantId| {
            format!(
                "http {host} {tenant} {} {} 1 1 \n",
                Fingerprint::of_spki(b"key"),
                now_s()
            )
        };
        let saved = line("ours.t.localhost", OURS) + &line("others.t.localhost", OTHERS);
        std::fs::write(folder.join("names"), saved).unwrap();
        let registry = ServiceRegistry::new(folder);
        registry.load().unwrap();
        registry
    }

    fn settings() -> LinkSettings {
        let second = Duration::from_secs(1);
        LinkSettings {
            congestion: byway_link::Congestion::Bbr,
            quic_probe: second,
            park: 600 * second,
            parked: 8,
            streams: 8,
        }
    }

    #[tokio::test]
    async fn a_name_that_changes_hands_wakes_only_its_own_visitors() {
        let folder = tempfile::tempdir().unwrap();
        let (registry, settings, name) = (registry(folder.path()), settings(), ours());
        let wakes = Arc::new(Wakes::default());
        let waker = Arc::clone(&wakes).into();
        let mut cx = Context::from_waker(&waker);
        {
            let mut visitor = pin!(registry.until_held(&name, Client::ANYONE, &settings));
            assert!(visitor.as_mut().poll(&mut cx).is_pending());
            assert_eq!(
                registry.revoke(OTHERS),
                [Name::Http("others.t.localhost".into())]
            );
            assert_eq!(
                wakes.0.load(SeqCst),
                0,
                "a visitor of another name was woken"
            );
            assert_eq!(registry.revoke(OURS), std::slice::from_ref(&name));
            assert_eq!(wakes.0.load(SeqCst), 1);
            let Poll::Ready(Err(fault)) = visitor.as_mut().poll(&mut cx) else {
                panic!("it still waits")
            };
            assert_eq!(fault.status(), 404, "{fault}");
        }
        assert!(
            registry.state.lock().watched.is_empty() && registry.state.lock().parked.is_empty()
        );
    }

    #[tokio::test]
    async fn visitors_that_waited_for_an_agent_kept_a_stopping_node_for_fifteen_seconds() {
        let folder = tempfile::tempdir().unwrap();
        let (registry, settings, name) = (registry(folder.path()), settings(), ours());
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let refused = |polled| match polled {
            Poll::Ready(Err(fault)) => {
                let fault: Fault = fault;
                assert_eq!((fault.status(), fault.reason), (503, Reason::Draining));
            }
            _ => panic!("it still waits"),
        };
        let mut earlier = pin!(registry.until_held(&name, Client::ANYONE, &settings));
        assert!(earlier.as_mut().poll(&mut cx).is_pending());
        registry.assign_no_more();
        refused(earlier.as_mut().poll(&mut cx));
        let mut later = pin!(registry.until_held(&name, Client::ANYONE, &settings));
        refused(later.as_mut().poll(&mut cx));
    }
}
