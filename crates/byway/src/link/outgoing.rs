//! Outgoing: a link that this node dials and keeps up, of an agent or of a desk.
//!
//! In:    a join string, the services to expose.
//! Out:   the current session, to open streams on; incoming streams; events for the operator.
//! Never: stops retrying, except for an error that a retry cannot help, and then only if a user is
//!        there to act.
//!
//! The first retry is immediate, later ones use full jitter: see `byway_link::backoff`.

use std::fmt;
use std::sync::{Arc, Once};
use std::time::Duration;

use byway_dial::{Target, peer_text};
use byway_link::backoff::DAEMON_WAITS;
use byway_link::wire::{Control, FEATURE_HOST, GoAway, Registered, Visited, Withdrawn};
use byway_link::{
    Backoff, Carriers, Dialler, Failure, Inbox, IncomingStream, Link, LinkError, Purpose, Refusal,
};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::leaving::{GoAwayMeaning, Leaving, leave};
use super::outbox::Outbox;
use super::services::{ServiceCount, Services};
use super::{LinkEvent, LinkSetupError, Links};
use crate::config::{CarrierChoice, JoinPlan, ServiceKind, ServicePlan};
use crate::observe::request_report;
use crate::os::network_changes::NetworkChanges;
use crate::outbound::link::SESSION_PATIENCE;
use crate::outbound::link_table::ExitLink;
use crate::outbound::pooled::PoolKey;

/// The wait before a service that was refused for now is requested again.
const BUSY_WAITS: Duration = Duration::from_secs(2);

/// How long a service that a new config moves to another link is kept here, until it is public
/// there. Visitors wait as long.
const HAND_OVER: Duration = SESSION_PATIENCE;

/// What a link that is dialled needs of its node.
#[derive(Clone)]
pub struct LinkNode {
    /// All links of the node.
    pub links: Arc<Links>,
    /// What serves the streams that the other side opens.
    pub streams: Arc<dyn StreamServer>,
    /// Whether an error that a retry cannot help is reported and ends the link.
    pub interactive: bool,
}

/// Serves the streams that the other side of a dialled session opens. `inbound` implements it.
pub trait StreamServer: Send + Sync {
    /// Serves `streams` of `link`, a session of `outgoing`, until the session has ended.
    fn serve(
        self: Arc<Self>,
        streams: mpsc::Receiver<IncomingStream>,
        link: Link,
        outgoing: Arc<OutgoingLink>,
    );
}

/// A link that this node dials.
pub struct OutgoingLink {
    wanted: watch::Sender<Wanted>,
    session: watch::Sender<Option<Link>>,
    stopped: CancellationToken,
    services: Mutex<Services>,
    /// Changes with every response for a service.
    answers: watch::Sender<()>,
    first: watch::Sender<FirstDial>,
    /// How often the network of this machine has changed.
    network_changes: watch::Sender<u64>,
}

/// The state of the first dial of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirstDial {
    /// Neither succeeded nor failed yet.
    UnderWay,
    /// The link came up, over this carrier.
    Up(String),
    /// It failed over at least one carrier; the log has the reason, and it is retried.
    Failed,
    /// It failed, and the command ends with its own error.
    Final,
}

/// `at once` or `in 250 ms`.
fn when(wait: Duration) -> String {
    match wait.as_millis() {
        0 => "at once".to_owned(),
        wait_ms => format!("in {wait_ms} ms"),
    }
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

/// The current configuration of the link.
#[derive(Clone)]
struct Wanted {
    plan: Arc<JoinPlan>,
    /// Services that other links take over, and that stay here until they are public there.
    kept: Arc<[Kept]>,
    /// The link ends once those have moved.
    is_leaving: bool,
}

impl Wanted {
    /// The services to register now.
    fn services(&self) -> Vec<ServicePlan> {
        let own: &[ServicePlan] = if self.is_leaving {
            &[]
        } else {
            &self.plan.services
        };
        own.iter()
            .chain(self.kept.iter().map(|kept| &kept.service))
            .cloned()
            .collect()
    }

    /// The same without the kept services, once the other links have them.
    fn without_kept(&self) -> Self {
        Self {
            kept: Arc::from([]),
            ..self.clone()
        }
    }
}

/// A service that another link takes over.
pub struct Kept {
    /// The service, as this link has it.
    pub service: ServicePlan,
    /// The link that takes it over.
    pub by: Arc<OutgoingLink>,
}

/// Why a session ended.
enum SessionEnd {
    /// A retry may help.
    Lost(String),
    /// A retry may help, but the other side has responded: retry less often.
    Answered(String),
    /// A retry cannot help; and whether the cause is the config or the credentials.
    Final(String, bool),
    /// The node shuts down.
    Leaving,
}

impl OutgoingLink {
    /// A link that is not dialled yet.
    pub fn new(plan: Arc<JoinPlan>) -> Self {
        Self {
            wanted: watch::Sender::new(Wanted {
                plan,
                kept: Arc::from([]),
                is_leaving: false,
            }),
            session: watch::Sender::new(None),
            stopped: CancellationToken::new(),
            services: Mutex::default(),
            answers: watch::Sender::new(()),
            first: watch::Sender::new(FirstDial::UnderWay),
            network_changes: watch::Sender::new(0),
        }
    }

    /// Waits until `deadline` for the outcome of the first dial.
    pub async fn first_dial(&self, deadline: Instant) -> FirstDial {
        let mut first = self.first.subscribe();
        match timeout_at(
            deadline,
            first.wait_for(|first| *first != FirstDial::UnderWay),
        )
        .await
        {
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

    /// Sets a new Plan for the same link. Services that it lacks are removed at once, except those
    /// in `kept`.
    pub fn set(&self, plan: Arc<JoinPlan>, kept: Vec<Kept>) {
        self.wanted.send_if_modified(|wanted| {
            let changed = *wanted.plan != *plan || !kept.is_empty();
            *wanted = Wanted {
                plan,
                kept: kept.into(),
                is_leaving: false,
            };
            changed
        });
    }

    /// A new Plan lacks the link. It ends once the services in `kept` are public elsewhere and the
    /// open streams have finished, or at once if other links take over none of its services.
    pub fn leave(&self, kept: Vec<Kept>) {
        let is_exit = self.plan().services.is_empty();
        if self.session_now().is_none() || (kept.is_empty() && !is_exit) {
            return self.stopped.cancel();
        }
        self.wanted.send_modify(|wanted| {
            wanted.kept = kept.into();
            wanted.is_leaving = true;
        });
    }

    /// The current Plan.
    pub fn plan(&self) -> Arc<JoinPlan> {
        Arc::clone(&self.wanted.borrow().plan)
    }

    /// The service is about to move here from another link. If this link had it before, and still
    /// keeps it, the earlier response is void.
    pub fn request_again(&self, service: &ServicePlan) {
        self.services
            .lock()
            .request_again(service.kind, &service.name);
    }

    /// Waits until the service of this kind and name is public on this link, or refused. Cancel
    /// safe.
    async fn answered(&self, kind: ServiceKind, name: &str) {
        let mut answers = self.answers.subscribe();
        // The sender lives as long as `self`.
        let _ = answers
            .wait_for(|()| self.services.lock().is_answered(kind, name))
            .await;
    }

    /// The service with this number.
    pub fn service(&self, number: u32) -> Option<ServicePlan> {
        self.services.lock().get(number).cloned()
    }

    /// The current session, if there is one.
    pub fn session_now(&self) -> Option<Link> {
        self.session.borrow().clone()
    }

    /// Whether there is a session.
    pub fn is_up(&self) -> bool {
        self.session
            .borrow()
            .as_ref()
            .is_some_and(|link| !link.is_over())
    }

    /// Whether there is a session, and the other side responds on it.
    pub fn answers(&self) -> bool {
        self.session
            .borrow()
            .as_ref()
            .is_some_and(|link| !link.is_over() && !link.is_silent())
    }

    /// The number of services in each state. Without a session, those of the Plan count as waiting.
    pub fn count_services(&self) -> ServiceCount {
        match self.is_up() {
            true => self.services.lock().count(),
            false => ServiceCount {
                waiting: self.plan().services.len(),
                ..ServiceCount::default()
            },
        }
    }

    /// Dials and serves until the link is stopped or the node drains.
    pub async fn run(self: Arc<Self>, node: LinkNode) {
        let stopped = self.stopped.clone();
        tokio::select! {
            () = self.keep_up(&node) => {}
            () = self.check_when_the_network_changes() => {}
            () = stopped.cancelled() => {}
        }
        self.session.send_replace(None);
    }

    /// Pings the other side, or dials, as soon as the network of this machine has changed or the
    /// machine was suspended. Never ends.
    async fn check_when_the_network_changes(&self) {
        static REFUSED: Once = Once::new();
        let (mut changes, watched) = NetworkChanges::watch();
        if let Err(error) = watched {
            REFUSED.call_once(|| {
                tracing::info!(%error, "netlink sends no events: a change of the network is noticed only by unanswered pings");
            });
        }
        loop {
            changes.next().await;
            tracing::debug!(
                "the network of this machine has changed, or the machine has slept: checking the link"
            );
            if let Some(link) = self.session_now() {
                link.network_changed();
            }
            self.network_changes.send_modify(|changes| *changes += 1);
        }
    }

    async fn keep_up(self: &Arc<Self>, node: &LinkNode) {
        let mut backoff = Backoff::default();
        loop {
            if self.wanted.borrow().is_leaving {
                return;
            }
            let ended = self.one_session(node, &mut backoff).await;
            self.session.send_replace(None);
            let address = self.plan().join.address.clone();
            let failure = if matches!(ended, SessionEnd::Answered(_)) {
                Failure::Answer
            } else {
                Failure::Silence
            };
            let wait = match ended {
                SessionEnd::Leaving => return,
                SessionEnd::Final(detail, is_config) if node.interactive => {
                    self.note_first(FirstDial::Final);
                    return node.links.notify(LinkEvent::Ended { detail, is_config });
                }
                SessionEnd::Final(detail, _) => {
                    tracing::error!(
                        "link to {address}: {detail}; trying again in {DAEMON_WAITS:?}"
                    );
                    DAEMON_WAITS
                }
                SessionEnd::Lost(detail) | SessionEnd::Answered(detail) => {
                    let wait = backoff.lost(Instant::now().into_std(), failure, fastrand::f64());
                    // A long outage is logged less and less often, and so are short-lived sessions.
                    let failures = backoff.failures();
                    if failures <= 3 || failures.is_power_of_two() {
                        let next = when(wait);
                        tracing::warn!(
                            failures,
                            "link to {address}: {detail}; trying again {next}"
                        );
                    }
                    wait
                }
            };
            // After the log line with the reason, because the ready line follows it.
            self.note_first(FirstDial::Failed);
            let mut network_changes = self.network_changes.subscribe();
            tokio::select! {
                () = sleep(wait) => {}
                // The sender lives as long as `self`.
                _ = network_changes.changed() => {}
                () = node.links.scope.drained() => return,
            }
        }
    }

    async fn one_session(self: &Arc<Self>, node: &LinkNode, backoff: &mut Backoff) -> SessionEnd {
        let (links, plan) = (&node.links, self.plan());
        let (dialler, epoch) = match dialler(links, &plan) {
            Ok(ready) => ready,
            Err(error) => return SessionEnd::Lost(error.to_string()),
        };
        let dialler = match *self.first.borrow() {
            FirstDial::UnderWay => self.reporting(dialler, plan.join.address.clone()),
            _ => dialler,
        };
        let (patience, attempt) = (
            backoff.try_for(Instant::now().into_std()),
            links.next_attempt(),
        );
        let connected = tokio::select! {
            connected = dialler.connect(epoch, attempt, patience) => connected,
            () = links.scope.drained() => return SessionEnd::Leaving,
        };
        let counters = &links.engine.telemetry.counters;
        let outcome = match &connected {
            Ok(_) => &counters.link_dials_up,
            Err(LinkError::Refused { .. }) => &counters.link_dials_refused,
            Err(_) => &counters.link_dials_failed,
        };
        outcome.add(1);
        match connected {
            Ok((link, inbox)) => {
                backoff.connected(Instant::now().into_std());
                let by = link
                    .carriers()
                    .last()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                if let Some(line) = counters.log_limits.links_up.count() {
                    tracing::info!(
                        left_out = line.left_out,
                        "link to {} is up, by {by}",
                        plan.join.address
                    );
                }
                self.note_first(FirstDial::Up(by));
                self.serve(node, link, inbox, attempt).await
            }
            Err(error) if error.is_final() => {
                let is_config = !matches!(
                    &error,
                    LinkError::Refused {
                        why: Refusal::Superseded,
                        ..
                    }
                );
                SessionEnd::Final(error.to_string(), is_config)
            }
            Err(error @ LinkError::Unreachable(_)) => SessionEnd::Lost(error.to_string()),
            Err(error) => SessionEnd::Answered(error.to_string()),
        }
    }

    /// Logs a first failure of TLS at once: it may take seconds until QUIC has failed too.
    fn reporting(self: &Arc<Self>, dialler: Dialler, address: Target) -> Dialler {
        let this = Arc::clone(self);
        dialler.reporting(move |error| {
            if *this.first.borrow() == FirstDial::UnderWay {
                tracing::warn!("link to {address}: {error}; still trying QUIC");
                this.note_first(FirstDial::Failed);
            }
        })
    }

    /// Registers services, serves streams and handles messages until the session is over or is
    /// left.
    async fn serve(
        self: &Arc<Self>,
        node: &LinkNode,
        link: Link,
        inbox: Inbox,
        attempt: u64,
    ) -> SessionEnd {
        let links = &node.links;
        let Inbox {
            streams,
            mut control,
        } = inbox;
        let guard = EndOnDrop(link.clone());
        let server = Arc::clone(&node.streams);
        server.serve(streams, link.clone(), Arc::clone(self));
        let mut changes = self.wanted.subscribe();
        // Only the session that had a service keeps it for another link; a new one must not take it
        // back.
        let mut wanted = changes.borrow_and_update().without_kept();
        let (mut outbox, mut leaving) = (Outbox::default(), Leaving::default());
        self.services.lock().start_over();
        warn_of_kept_hosts(links, &link, &wanted.plan);
        self.register(&mut outbox, &wanted);
        self.session.send_replace(Some(link.clone()));
        let drain = || links.engine.live.peek().drain.deadline;
        let mut carriers_ended = 0;
        let ended = loop {
            let again = self.services.lock().next_due();
            // Each arm is cancel safe: a message that is not received stays in its channel.
            tokio::select! {
                reason = link.ended() => return SessionEnd::Lost(format!("the link was lost: {reason}")),
                Some(control) = control.recv() => match self.handle_control(links, control, attempt, node.interactive) {
                    ControlEffect::Nothing => {}
                    ControlEffect::Away(away) => {
                        // An acknowledgement, though this side has not sent a GoAway: ignored.
                        let meaning = leaving.on_go_away(&away, drain(), &mut outbox);
                        if meaning == GoAwayMeaning::Acknowledgement {
                            continue;
                        }
                        self.forget_connections(links);
                        break SessionEnd::Lost(format!("the other side is leaving: {}", peer_text(&away.detail)));
                    }
                    ControlEffect::Left(ended) => {
                        outbox.push(leaving.begin("the services of this session have moved", drain()));
                        break ended;
                    }
                },
                () = outbox.send_next(&link, async |_| {}) => {}
                ended = link.carriers_ended(carriers_ended) => {
                    carriers_ended = ended;
                    self.services.lock().request_unanswered_again();
                    self.register(&mut outbox, &wanted);
                }
                Ok(()) = changes.changed() => {
                    wanted = changes.borrow_and_update().clone();
                    warn_of_kept_hosts(links, &link, &wanted.plan);
                    self.register(&mut outbox, &wanted);
                }
                () = handed_over(&wanted) => {
                    if wanted.is_leaving {
                        outbox.push(leaving.begin("the config of this node no longer has this link", drain()));
                        break SessionEnd::Leaving;
                    }
                    wanted = wanted.without_kept();
                    self.register(&mut outbox, &wanted);
                }
                () = at(again) => self.register(&mut outbox, &wanted),
                () = links.scope.drained() => {
                    outbox.push(leaving.begin("the node is stopping", drain()));
                    break SessionEnd::Leaving;
                }
            }
        };
        // Open streams may finish; new ones use another session.
        let patience = drain();
        let (this, links) = (Arc::clone(self), Arc::clone(links));
        let scope = links.scope.clone();
        scope.spawn("leaving link", async move {
            let visited = |visited: &Visited| this.note_visited(&links, visited);
            leave(&link, &mut control, visited, leaving, outbox, patience).await;
            drop(guard);
        });
        ended
    }

    fn handle_control(
        &self,
        links: &Links,
        control: Control,
        attempt: u64,
        interactive: bool,
    ) -> ControlEffect {
        match control {
            Control::Registered(registered) => {
                self.notify_public(links, registered);
                self.answers.send_replace(());
                ControlEffect::Nothing
            }
            Control::Withdrawn(withdrawn) => {
                let effect = self.withdrawn(links, withdrawn, attempt, interactive);
                self.answers.send_replace(());
                effect
            }
            Control::GoAway(away) => ControlEffect::Away(away),
            Control::Visited(visited) => {
                self.note_visited(links, &visited);
                ControlEffect::Nothing
            }
            _ => ControlEffect::Left(SessionEnd::Lost("the other side broke the protocol".into())),
        }
    }

    /// Writes the log line of a request that the public end reports. A hostile server may send any
    /// number: reports without room in the buffer of the access log are dropped and counted there.
    fn note_visited(&self, links: &Links, visited: &Visited) {
        let stats = links.engine.telemetry.shared_stats();
        let log_buffer = &stats.log_buffer;
        if !log_buffer.is_on() {
            return;
        }
        let is_noted = self.service(visited.service).is_some_and(|service| {
            request_report::note(visited, &service, &self.plan().id, |entry| {
                log_buffer.note(entry)
            })
        });
        if !is_noted {
            tracing::debug!(
                "an invalid report of a request: it has no HTTP service, or no valid address or status"
            );
        }
    }

    /// Drops connections kept to targets of this node's egress: some use the session that ends, and
    /// would delay its end.
    fn forget_connections(&self, links: &Links) {
        if !self.plan().services.is_empty() {
            return;
        }
        for origin in links.engine.pool.stats().origins {
            if matches!(origin.key, PoolKey::Egress { .. }) {
                links.engine.pool.evict_key(&origin.key);
            }
        }
    }

    /// Registers new services and unregisters removed ones.
    fn register(&self, outbox: &mut Outbox, wanted: &Wanted) {
        let control = self
            .services
            .lock()
            .follow(&wanted.services(), Instant::now());
        control.into_iter().for_each(|control| outbox.push(control));
    }

    /// A service was refused, or another session has it. In an interactive run that is the end; a
    /// daemon continues with its other services, and decides when to request this one again.
    fn withdrawn(
        &self,
        links: &Links,
        withdrawn: Withdrawn,
        attempt: u64,
        interactive: bool,
    ) -> ControlEffect {
        let why = Refusal::from_number(withdrawn.why);
        let is_refused = self.services.lock().is_unanswered(withdrawn.service);
        if why == Refusal::Superseded && is_refused && links.last_attempt() != attempt {
            // Another link of this process may have the service, by a later session. Reconnect: the
            // newest session gets it.
            return ControlEffect::Left(SessionEnd::Lost(format!(
                "{}; requesting it in a new session",
                peer_text(&withdrawn.detail)
            )));
        }
        let wait = match why {
            // The newer process has it permanently: this one is fenced off, and would be refused
            // each time.
            Refusal::Superseded => None,
            Refusal::Busy => Some(BUSY_WAITS),
            _ => Some(DAEMON_WAITS),
        };
        let again = wait.map(|wait| Instant::now() + wait);
        let Some(name) = self.services.lock().is_refused(withdrawn.service, again) else {
            return ControlEffect::Nothing;
        };
        if interactive && why.is_final() {
            return ControlEffect::Left(SessionEnd::Final(
                peer_text(&withdrawn.detail).to_string(),
                why != Refusal::Superseded,
            ));
        }
        // A server may refuse every request.
        if let Some(line) = links.engine.telemetry.counters.log_limits.withdrawn.count() {
            let next = match wait {
                None => "it is not requested again".to_owned(),
                Some(wait) => format!("trying again in {wait:?}"),
            };
            let (left_out, detail) = (line.left_out, peer_text(&withdrawn.detail));
            tracing::error!(left_out, "`{name}` is not public: {detail}; {next}");
        }
        ControlEffect::Nothing
    }

    fn notify_public(&self, links: &Links, registered: Registered) {
        let changed = self
            .services
            .lock()
            .is_public(registered.service, &registered.public);
        // A server may return a new address for every request.
        if let Some(service) = changed
            && links
                .engine
                .telemetry
                .counters
                .log_limits
                .addresses
                .count()
                .is_some()
        {
            links.notify(LinkEvent::Public {
                service,
                address: peer_text(&registered.public).to_string(),
            });
        }
    }
}

impl ExitLink for OutgoingLink {
    fn session(&self) -> watch::Receiver<Option<Link>> {
        self.session.subscribe()
    }

    fn address(&self) -> Target {
        self.plan().join.address.clone()
    }
}

/// An older public end forwards the visitor's Host, even if the service sets another one.
fn warn_of_kept_hosts(links: &Links, link: &Link, plan: &JoinPlan) {
    if link.has(FEATURE_HOST) {
        return;
    }
    for service in plan
        .services
        .iter()
        .filter(|service| service.host.is_some())
    {
        let Some(line) = links
            .engine
            .telemetry
            .counters
            .log_limits
            .kept_hosts
            .count()
        else {
            continue;
        };
        tracing::warn!(
            left_out = line.left_out,
            "`{}` sets its own Host, which {} does not support, as it has an older version; the service sees the \
             public name",
            service.name,
            plan.join.address
        );
    }
}

/// The effect of a control message.
enum ControlEffect {
    Nothing,
    /// The other side leaves.
    Away(GoAway),
    /// This side leaves the session.
    Left(SessionEnd),
}

/// Ends the session when its serving ends in any way.
struct EndOnDrop(Link);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end("this node has closed the session");
    }
}

/// Resolves once the other links have the services that this one keeps for them, or the time for it
/// is over; never if there is nothing to wait for.
async fn handed_over(wanted: &Wanted) {
    if wanted.kept.is_empty() && !wanted.is_leaving {
        return std::future::pending().await;
    }
    let all = async {
        for kept in &*wanted.kept {
            kept.by
                .answered(kept.service.kind, &kept.service.name)
                .await;
        }
    };
    let _ = timeout(HAND_OVER, all).await;
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => sleep_until(when).await,
        None => std::future::pending().await,
    }
}

/// A dialler for the link, and the epoch to dial with.
fn dialler(links: &Links, plan: &JoinPlan) -> Result<(Dialler, u64), LinkSetupError> {
    let (key, epoch) = (links.key()?, links.epoch()?);
    let carriers = match plan.carrier {
        CarrierChoice::Auto => Carriers::Auto,
        CarrierChoice::Quic => Carriers::Quic,
        CarrierChoice::Tls => Carriers::Tls,
    };
    let dial = byway_dial::Dialler::clone(&links.engine.dialler.load());
    let settings = links.settings(&links.engine.live.peek().link);
    let runtime = links.runtime().clone();
    let purpose = if plan.services.is_empty() {
        Purpose::Exit
    } else {
        Purpose::Serve
    };
    Ok((
        Dialler::new(
            key,
            plan.join.clone(),
            purpose,
            carriers,
            dial,
            settings,
            runtime,
        ),
        epoch,
    ))
}

#[cfg(test)]
mod tests {
    use byway_link::{Fingerprint, GrantId, GrantSecret, JoinString};

    use super::*;
    use crate::testing::Bench;

    #[tokio::test]
    async fn a_server_that_refuses_a_service_each_time_does_not_fill_the_log() {
        let join = JoinString {
            pin: Fingerprint::of_spki(b"a server"),
            id: GrantId::from_bytes([1; 6]),
            secret: GrantSecret::from_bytes([2; 24]),
            address: "127.0.0.1:1".parse().unwrap(),
        };
        let bench = Bench::new(&format!(
            "[[tcp]]\nlisten = \"127.0.0.1:0\"\nto = \"127.0.0.1:1\"\n[[expose]]\nname = \"it\"\ntcp = \"127.0.0.1:1\"\n\
             join = \"{}\"\n",
            join.expose()
        ));
        let links = &bench.context.node.links;
        let outgoing = OutgoingLink::new(Arc::clone(&links.engine.live.peek().joins[0]));
        let busy = Withdrawn {
            service: 1,
            why: Refusal::Busy.number(),
            detail: "not now".into(),
        };
        let mut now = Instant::now();
        for _ in 0..3000 {
            now += 2 * BUSY_WAITS;
            let plan = outgoing.plan();
            assert_eq!(
                outgoing.services.lock().follow(&plan.services, now).len(),
                1,
                "it is requested again"
            );
            assert!(matches!(
                outgoing.withdrawn(links, busy.clone(), 1, false),
                ControlEffect::Nothing
            ));
        }
        assert_eq!(
            links.engine.telemetry.counters.log_limits.withdrawn.count(),
            None,
            "the next one has no line either"
        );
    }

    #[test]
    fn a_zero_wait_is_shown_as_at_once() {
        assert_eq!(when(Duration::ZERO), "at once");
        assert_eq!(when(Duration::from_millis(250)), "in 250 ms");
    }
}
