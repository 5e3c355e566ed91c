//! Joining: a session that this node dials and keeps up: an agent's, or a desk's.
//!
//! In:    a join string, the services to expose.
//! Out:   the session of the moment, for whoever opens streams on it; streams that come on it; news for the person.
//! Never: gives up for good but on what waiting cannot help, and then only if a person is there to act.
//!
//! First retry at once, then full jitter: see `byway_link::backoff`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use byway_dial::{Target, peer_text};
use byway_link::backoff::DAEMON_WAITS;
use byway_link::wire::{FEATURE_HOST, GoAway, Registered, Said, Withdrawn};
use byway_link::{Backoff, Carriers, Dialler, Inbox, Link, LinkError, Purpose, Refusal};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::outbox::Outbox;
use super::services::Services;
use super::{LinkSetupError, News};
use crate::config::{CarrierChoice, JoinPlan, ServicePlan};
use crate::fault::{Deadline, Fault, Kind, Who};
use crate::inbound::link::{Streams, serve_streams};
use crate::shared::Shared;

/// How long an inquiry waits for a session that is not there, from its arrival.
const SESSION_PATIENCE: Duration = Duration::from_secs(15);

/// A service that was refused for now is asked for again after this.
const BUSY_WAITS: Duration = Duration::from_secs(2);

/// How often a session that is left looks whether its streams have finished.
const LINGER_TICK: Duration = Duration::from_millis(50);

/// A link that this node dials.
pub struct Joined {
    plan: watch::Sender<Arc<JoinPlan>>,
    session: watch::Sender<Option<Link>>,
    stopped: CancellationToken,
    services: Mutex<Services>,
    first: watch::Sender<FirstDial>,
}

/// How the first dial of a link has gone so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirstDial {
    /// Neither answered nor failed.
    UnderWay,
    /// The link came up, by this carrier.
    Up(String),
    /// It failed, at least by one carrier; the log says how, and it is tried again.
    Failed,
    /// It failed, and the command ends with an error of its own.
    Final,
}

impl fmt::Display for FirstDial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnderWay => f.write_str("connecting"),
            Self::Up(carrier) => write!(f, "up by {carrier}"),
            Self::Failed | Self::Final => f.write_str("down and trying again"),
        }
    }
}

/// What becomes of a session.
enum Ended {
    /// Waiting may help.
    Lost(String),
    /// It cannot; and whether it is a matter of config or credentials.
    Final(String, bool),
    /// The node is leaving.
    Leaving,
}

impl Joined {
    /// Not dialled yet.
    pub fn new(plan: Arc<JoinPlan>) -> Self {
        Self {
            plan: watch::Sender::new(plan),
            session: watch::Sender::new(None),
            stopped: CancellationToken::new(),
            services: Mutex::default(),
            first: watch::Sender::new(FirstDial::UnderWay),
        }
    }

    /// How the first dial has gone, waited for until `deadline`.
    pub async fn first_dial(&self, deadline: Instant) -> FirstDial {
        let mut first = self.first.subscribe();
        match timeout_at(deadline, first.wait_for(|first| *first != FirstDial::UnderWay)).await {
            Ok(Ok(first)) => first.clone(),
            _ => FirstDial::UnderWay,
        }
    }

    fn note_first(&self, outcome: FirstDial) {
        self.first.send_if_modified(|first| {
            let is_first = *first == FirstDial::UnderWay;
            if is_first {
                *first = outcome;
            }
            is_first
        });
    }

    /// Takes a new Plan of the same link.
    pub fn set(&self, plan: Arc<JoinPlan>) {
        self.plan.send_if_modified(|current| {
            let changed = **current != *plan;
            *current = plan;
            changed
        });
    }

    /// Ends it.
    pub fn stop(&self) {
        self.stopped.cancel();
    }

    /// The Plan in force.
    pub fn plan(&self) -> Arc<JoinPlan> {
        Arc::clone(&self.plan.borrow())
    }

    /// The service that the other side calls by this number.
    pub fn service(&self, number: u32) -> Option<ServicePlan> {
        self.services.lock().get(number).cloned()
    }

    /// The session of the moment, if there is one.
    pub fn session_now(&self) -> Option<Link> {
        self.session.borrow().clone()
    }

    /// How long whoever asks now may wait for a session.
    pub fn patience() -> Instant {
        Instant::now() + SESSION_PATIENCE
    }

    /// The session, waited for until `deadline` if it is away.
    ///
    /// # Errors
    /// That the link is down, and where to look.
    pub async fn session(&self, deadline: Instant) -> Result<Link, Fault> {
        let mut session = self.session.subscribe();
        let there = session.wait_for(|session| session.as_ref().is_some_and(|link| !link.is_over()));
        match timeout_at(deadline, there).await {
            Ok(Ok(session)) => session.clone().ok_or_else(|| self.away()),
            _ => Err(self.away()),
        }
    }

    fn away(&self) -> Fault {
        let detail = format!("the link to {} is down; the log of this node says why", self.plan().join.address);
        Fault::new(Who::Link, Kind::Deadline(Deadline::Parked), detail)
    }

    /// Dials and serves until the link is stopped or the node drains. `person`: somebody sits there, so what waiting cannot
    /// help is told and is the end.
    pub async fn run(self: Arc<Self>, shared: Arc<Shared>, person: bool) {
        let stopped = self.stopped.clone();
        tokio::select! {
            () = self.keep_up(&shared, person) => {}
            () = stopped.cancelled() => {}
        }
        self.session.send_replace(None);
    }

    async fn keep_up(self: &Arc<Self>, shared: &Arc<Shared>, person: bool) {
        let (mut backoff, mut attempt, mut failures) = (Backoff::default(), 0, 0_u64);
        loop {
            attempt += 1;
            let ended = self.one_session(shared, attempt, &mut backoff, person).await;
            let had_session = self.session.send_replace(None).is_some();
            if had_session {
                failures = 0;
            }
            let address = self.plan().join.address.clone();
            let wait = match ended {
                Ended::Leaving => return,
                Ended::Final(detail, is_config) if person => {
                    self.note_first(FirstDial::Final);
                    return shared.links.tell(News::Ended { detail, is_config });
                }
                Ended::Final(detail, _) => {
                    tracing::error!("link to {address}: {detail}; trying again in {DAEMON_WAITS:?}");
                    DAEMON_WAITS
                }
                Ended::Lost(detail) => {
                    let wait = backoff.lost(Instant::now().into_std(), fastrand::f64());
                    failures += 1;
                    // A long outage is told less and less often.
                    if failures <= 3 || failures.is_power_of_two() {
                        let wait_ms = wait.as_millis();
                        tracing::warn!(failures, "link to {address}: {detail}; trying again in {wait_ms} ms");
                    }
                    wait
                }
            };
            // Behind the line that says why: the ready line follows it.
            self.note_first(FirstDial::Failed);
            tokio::select! {
                () = sleep(wait) => {}
                () = shared.links_scope.drained() => return,
            }
        }
    }

    async fn one_session(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        attempt: u64,
        backoff: &mut Backoff,
        person: bool,
    ) -> Ended {
        let plan = self.plan();
        let (dialler, epoch) = match dialler(shared, &plan) {
            Ok(ready) => ready,
            Err(error) => return Ended::Lost(error.to_string()),
        };
        let dialler = match *self.first.borrow() {
            FirstDial::UnderWay => self.reporting(dialler, plan.join.address.clone()),
            _ => dialler,
        };
        let patience = backoff.try_for(Instant::now().into_std());
        let connected = tokio::select! {
            connected = dialler.connect(epoch, attempt, patience) => connected,
            () = shared.links_scope.drained() => return Ended::Leaving,
        };
        match connected {
            Ok((link, inbox)) => {
                backoff.connected(Instant::now().into_std());
                let by = link.carriers().last().map(ToString::to_string).unwrap_or_default();
                tracing::info!("link to {} is up, by {by}", plan.join.address);
                self.note_first(FirstDial::Up(by));
                self.serve(shared, link, inbox, person).await
            }
            Err(error) if error.is_final() => {
                let is_config = !matches!(&error, LinkError::Refused { why: Refusal::Superseded, .. });
                Ended::Final(error.to_string(), is_config)
            }
            Err(error) => Ended::Lost(error.to_string()),
        }
    }

    /// A first failure of TLS is logged at once: until QUIC has failed too, seconds may pass.
    fn reporting(self: &Arc<Self>, dialler: Dialler, address: Target) -> Dialler {
        let this = Arc::clone(self);
        dialler.reporting(move |error| {
            if *this.first.borrow() == FirstDial::UnderWay {
                tracing::warn!("link to {address}: {error}; still trying QUIC");
                this.note_first(FirstDial::Failed);
            }
        })
    }

    /// Registers services, serves streams and hears messages until the session is over.
    async fn serve(self: &Arc<Self>, shared: &Arc<Shared>, link: Link, inbox: Inbox, person: bool) -> Ended {
        let Inbox { streams, mut said } = inbox;
        let guard = EndOnDrop(Some(link.clone()));
        let scope = &shared.links_scope;
        let streams = Streams::joined(Arc::clone(shared), Arc::clone(self), streams, link.clone());
        scope.spawn("link streams", serve_streams(streams));
        let mut plans = self.plan.subscribe();
        self.services.lock().start_over();
        let mut outbox = Outbox::default();
        warn_of_kept_hosts(&link, &plans.borrow());
        self.register(&mut outbox, &plans.borrow_and_update().services);
        self.session.send_replace(Some(link.clone()));
        let mut again: Option<Instant> = None;
        loop {
            // Each arm is cancel safe: what is not taken stays in its channel.
            tokio::select! {
                reason = link.ended() => return Ended::Lost(format!("the link was lost: {reason}")),
                Some(said) = said.recv() => match said {
                    Said::Registered(registered) => self.tell_public(shared, registered),
                    Said::Withdrawn(withdrawn) => match self.withdrawn(withdrawn, person) {
                        Ok(wait) => again = wait.map(|wait| Instant::now() + wait).or(again),
                        Err(ended) => {
                            // What is open may finish: whoever has the name now has none of it.
                            scope.spawn("leaving link", linger(guard.disarm()));
                            return ended;
                        }
                    },
                    Said::GoAway(away) => {
                        // What is open may finish; what is new goes by another session.
                        scope.spawn("leaving link", linger(guard.disarm()));
                        return Ended::Lost(format!("the other side is leaving: {}", peer_text(&away.detail)));
                    }
                    _ => return Ended::Lost("the other side broke the protocol".into()),
                },
                () = outbox.say_next(&link, async |_| {}) => {}
                Ok(()) = plans.changed() => {
                    warn_of_kept_hosts(&link, &plans.borrow());
                    self.register(&mut outbox, &plans.borrow_and_update().services);
                }
                () = at(again) => {
                    again = None;
                    self.register(&mut outbox, &self.plan().services);
                }
                () = scope.drained() => {
                    link.say(Said::GoAway(GoAway { detail: "the node is stopping".into() }));
                    self.session.send_replace(None);
                    sleep(LINGER_TICK).await;
                    linger(guard.disarm()).await;
                    return Ended::Leaving;
                }
            }
        }
    }

    /// Registers what is new and takes back what is gone.
    fn register(&self, outbox: &mut Outbox, wanted: &[ServicePlan]) {
        self.services.lock().follow(wanted).into_iter().for_each(|said| outbox.push(said));
    }

    /// A service was refused, or taken by a newer process. A person is told and it is the end; a daemon goes on with its
    /// other services, and says when to ask for this one again.
    fn withdrawn(&self, withdrawn: Withdrawn, person: bool) -> Result<Option<Duration>, Ended> {
        let why = Refusal::from_number(withdrawn.why);
        let is_again = why != Refusal::Superseded;
        let Some(name) = self.services.lock().is_refused(withdrawn.service, is_again) else { return Ok(None) };
        if person && why.is_final() {
            return Err(Ended::Final(peer_text(&withdrawn.detail).to_string(), why != Refusal::Superseded));
        }
        let wait = match why {
            // Final: the newer process has it for good.
            Refusal::Superseded => None,
            Refusal::Busy => Some(BUSY_WAITS),
            _ => Some(DAEMON_WAITS),
        };
        let then =
            wait.map_or_else(|| "it is not asked for again".to_owned(), |wait| format!("trying again in {wait:?}"));
        tracing::error!("`{name}` is not public: {}; {then}", peer_text(&withdrawn.detail));
        Ok(wait)
    }

    fn tell_public(&self, shared: &Shared, registered: Registered) {
        let news = self.services.lock().is_public(registered.service, &registered.public);
        if let Some(service) = news {
            shared.links.tell(News::Public { service, address: peer_text(&registered.public).to_string() });
        }
    }
}

/// An older public end passes the visitor's Host on, whatever the service asks for.
fn warn_of_kept_hosts(link: &Link, plan: &JoinPlan) {
    if link.has(FEATURE_HOST) {
        return;
    }
    for service in plan.services.iter().filter(|service| service.host.is_some()) {
        tracing::warn!(
            "`{}` asks for a Host of its own, which {} does not write: it is of an older version; the service sees the \
             public name",
            service.name,
            plan.join.address
        );
    }
}

/// Ends the session whichever way its serving is left.
struct EndOnDrop(Option<Link>);

impl EndOnDrop {
    /// The session lives on, in the hands of [`linger`].
    fn disarm(mut self) -> Option<Link> {
        self.0.take()
    }
}

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        if let Some(link) = &self.0 {
            link.end("this node has let the session go");
        }
    }
}

/// Lets the streams of a session that is left finish, for as long as the node lets tasks run.
async fn linger(link: Option<Link>) {
    let Some(link) = link else { return };
    let guard = EndOnDrop(Some(link.clone()));
    while link.streams() > 0 && !link.is_over() {
        sleep(LINGER_TICK).await;
    }
    drop(guard);
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => std::future::pending().await,
    }
}

/// A dialler for the link, and the epoch to dial with.
fn dialler(shared: &Shared, plan: &JoinPlan) -> Result<(Dialler, u64), LinkSetupError> {
    let (key, epoch) = (shared.links.key()?, shared.links.epoch()?);
    let carriers = match plan.carrier {
        CarrierChoice::Auto => Carriers::Auto,
        CarrierChoice::Quic => Carriers::Quic,
        CarrierChoice::Tls => Carriers::Tls,
    };
    let dial = byway_dial::Dialler::clone(&shared.dialler.load());
    let settings = shared.links.settings(&shared.plan.load().link);
    let runtime = shared.links.runtime().clone();
    let purpose = if plan.services.is_empty() { Purpose::Exit } else { Purpose::Serve };
    Ok((Dialler::new(key, plan.join.clone(), purpose, carriers, dial, settings, runtime), epoch))
}
