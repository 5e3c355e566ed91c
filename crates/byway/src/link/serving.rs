//! Serving: runs an accepted session: the services that it may publish, and its end. `welcome` has
//! accepted its hello.
//!
//! In:    a welcomed session; its registrations.
//! Out:   public names and ports, sent to the other side; refusals, each with a sentence that says
//!        what to do.
//! Never: assigns a name that the grant does not allow.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;

use byway_dial::{HostName, peer_text};
use byway_link::wire::{Control, Register, Registered, Withdrawn};
use byway_link::{CarrierKind, Claimant, Denied, Inbox, Link, Name, Refusal, ServiceKind};
use tokio::sync::mpsc;

use super::Links;
use super::grants::Grant;
use super::leaving::{GoAwayMeaning, LeaveStep, Leaving};
use super::outbox::Outbox;
use super::port_opener::{NotOpen, PortOpener};
use super::registry::{ClaimedName, LostName};
use crate::config::{Bind, LimitsPlan, LinkPlan, ListenerPlan, Plan, Role, Serves, Transport};
use crate::live::ListenerSettings;
use crate::outbound::pooled::PoolKey;
use crate::runtime::scope::Scope;

/// The most messages of one session that are handled before its other events.
const BATCH: usize = 64;

/// The longest label of a service.
const MOST_LABEL_BYTES: usize = 255;

/// A session whose hello was accepted.
pub struct WelcomedSession {
    /// The session.
    pub link: Link,
    /// Control messages and streams of the other side.
    pub inbox: Inbox,
    pub(super) grant: Grant,
    pub(super) epoch: u64,
    pub(super) attempt: u64,
}

impl WelcomedSession {
    /// The grant, for the log and as the user in the policy.
    pub const fn grant(&self) -> &Grant {
        &self.grant
    }

    /// The kinds of its carriers, for the log.
    pub fn carriers(&self) -> Vec<CarrierKind> {
        self.link.carriers()
    }

    /// Splits it: the streams for the caller, the rest for [`AcceptedSession::run`].
    pub fn split(
        self,
        links: &Arc<Links>,
        at: AcceptedAt,
    ) -> (
        AcceptedSession,
        mpsc::Receiver<byway_link::IncomingStream>,
        Link,
    ) {
        let (key, taken) = links.registry.enter(self.link.clone(), self.grant.id);
        let who = Claimant {
            tenant: self.grant.id,
            identity: self.link.peer(),
            epoch: self.epoch,
            attempt: self.attempt,
            session: key,
            conflict: self.grant.conflict,
        };
        let session = AcceptedSession {
            links: Arc::clone(links),
            link: self.link.clone(),
            control: self.inbox.control,
            outbox: Outbox::default(),
            leaving: Leaving::default(),
            taken,
            grant: self.grant,
            who,
            at,
        };
        (session, self.inbox.streams, self.link)
    }
}

/// Where a session was accepted.
pub struct AcceptedAt {
    /// The address of the listener.
    pub address: Bind,
    /// The settings of the listener.
    pub settings: ListenerSettings,
    /// The session leaves when this drains.
    pub scope: Scope,
    /// What opens the ports of its services.
    pub ports: Arc<dyn PortOpener>,
}

/// An accepted session without its streams. Dropping it ends the session.
pub struct AcceptedSession {
    links: Arc<Links>,
    link: Link,
    control: mpsc::Receiver<Control>,
    outbox: Outbox,
    leaving: Leaving,
    taken: mpsc::UnboundedReceiver<LostName>,
    grant: Grant,
    who: Claimant,
    at: AcceptedAt,
}

impl AcceptedSession {
    /// Serves the registrations of the session until it is over. Returns the reason of its end.
    pub async fn run(&mut self) -> Arc<str> {
        let registry = Arc::clone(&self.links.registry);
        loop {
            // Each arm is cancel safe: a message that is not received stays in its channel.
            tokio::select! {
                reason = self.link.ended() => return reason,
                Some(control) = self.control.recv(), if self.outbox.has_room() => self.handle_pending(control),
                () = self.outbox.send_next(&self.link, async |change| registry.written(change).await) => {}
                Some(lost) = self.taken.recv() => self.notify_lost(&lost),
                () = self.at.scope.drained(), if !self.leaving.is_begun() => {
                    let control = self.leaving.begin("the node is leaving", self.links.engine.live.peek().drain.deadline);
                    self.outbox.push(control);
                }
                () = self.link.idle(), if self.leaving.waits_for_idle() => match self.leaving.step() {
                    LeaveStep::Send(control) => self.outbox.push(control),
                    LeaveStep::End => self.link.end("the node has left"),
                    LeaveStep::Wait => {}
                },
                () = self.leaving.overdue(&self.link) => self.link.end("the session did not end before the drain deadline"),
            }
        }
    }

    /// Handles `first` and the messages queued after it. All changes of names share one save, which
    /// the responses wait for: what the other side was sent holds after a crash, too.
    fn handle_pending(&mut self, first: Control) {
        let (mut answers, mut is_changed) = (Vec::new(), false);
        self.handle_control(first, &mut answers, &mut is_changed);
        for _ in 1..BATCH {
            let Ok(control) = self.control.try_recv() else {
                break;
            };
            self.handle_control(control, &mut answers, &mut is_changed);
        }
        let links = &self.links;
        let change = if is_changed {
            links.registry.save_changes(links.runtime())
        } else {
            0
        };
        answers
            .into_iter()
            .for_each(|answer| self.outbox.push_after(change, answer));
    }

    fn handle_control(
        &mut self,
        control: Control,
        answers: &mut Vec<Control>,
        is_changed: &mut bool,
    ) {
        match control {
            Control::Register(register) => {
                let number = register.service;
                answers.push(match self.register(&register) {
                    Ok(public) => {
                        *is_changed = true;
                        if let Some(line) = self
                            .links
                            .engine
                            .telemetry
                            .counters
                            .log_limits
                            .registered
                            .count()
                        {
                            tracing::info!(
                                peer = self.link.peer_addr().map(display),
                                identity = self.link.peer().short(),
                                left_out = line.left_out,
                                "`{}` is public at {public}",
                                peer_text(&register.name)
                            );
                        }
                        Control::Registered(Registered {
                            service: number,
                            public,
                        })
                    }
                    Err((why, detail)) => {
                        if let Some(line) = self
                            .links
                            .engine
                            .telemetry
                            .counters
                            .log_limits
                            .refused
                            .count()
                        {
                            tracing::info!(
                                peer = self.link.peer_addr().map(display),
                                identity = self.link.peer().short(),
                                left_out = line.left_out,
                                "`{}` is refused: {detail}",
                                peer_text(&register.name)
                            );
                        }
                        Control::Withdrawn(Withdrawn {
                            service: number,
                            why: why.number(),
                            detail,
                        })
                    }
                });
            }
            Control::Unregister(unregister) => {
                if let Some(name) = self
                    .links
                    .registry
                    .unregister(self.who.session, unregister.service)
                {
                    // Other sessions may have it, too, by a grant that shares.
                    if !self.links.registry.is_held(&name) {
                        self.at.ports.close(&name);
                    }
                    *is_changed = true;
                }
            }
            Control::GoAway(away) => {
                let patience = self.links.engine.live.peek().drain.deadline;
                if self.leaving.on_go_away(&away, patience, &mut self.outbox)
                    == GoAwayMeaning::Acknowledgement
                {
                    return;
                }
                if let Some(line) = self
                    .links
                    .engine
                    .telemetry
                    .counters
                    .log_limits
                    .goodbyes
                    .count()
                    .filter(|_| !away.idle)
                {
                    let left_out = line.left_out;
                    let detail = peer_text(&away.detail);
                    tracing::info!(
                        identity = self.link.peer().short(),
                        left_out,
                        "the other side leaves: {detail}"
                    );
                }
                // It leaves in order: its visitors wait for the next holder, and open streams may
                // finish.
                let had = self.links.registry.release(self.who.session);
                if !had.is_empty() {
                    self.vacate(&had);
                    *is_changed = true;
                }
            }
            // A dialler must not send a welcome, an attach or a registered service.
            _ => self
                .link
                .end("the other side broke the protocol: a message that it must not send"),
        }
    }

    fn register(&self, register: &Register) -> Result<String, (Refusal, String)> {
        if self.leaving.is_begun() {
            return Err((Refusal::Busy, "this node is leaving".into()));
        }
        let Some((plan, listener)) = self.links.engine.live.frontend(&self.at.settings) else {
            return Err((Refusal::Busy, "this listener is being closed".into()));
        };
        let Role::Link(link) = &listener.role else {
            return Err((Refusal::Busy, "this listener has changed".into()));
        };
        let Serves::Services { domain } = &link.serves else {
            return Err((
                Refusal::Denied,
                "this is an exit (byway proxy serve): it makes no services public".into(),
            ));
        };
        if register.service == 0 || register.name.len() > MOST_LABEL_BYTES {
            return Err((
                Refusal::Protocol,
                "a service needs a number and a name of at most 255 bytes".into(),
            ));
        }
        match ServiceKind::from_number(register.kind) {
            Some(ServiceKind::Http) => self.register_http(register, &plan, domain.as_ref()),
            Some(ServiceKind::Tcp) => self.register_tcp(register, link, &listener.limits),
            None => Err((
                Refusal::Denied,
                "this version of Byway serves only HTTP and TCP services".into(),
            )),
        }
    }

    fn register_http(
        &self,
        register: &Register,
        plan: &Plan,
        domain: Option<&HostName>,
    ) -> Result<String, (Refusal, String)> {
        let Some(domain) = domain else {
            let detail = "this server has no domain, so it takes only TCP services (byway serve --http ADDR --domain DOMAIN)";
            return Err((Refusal::Denied, detail.into()));
        };
        let label = register.name.to_ascii_lowercase();
        let host = format!("{label}.{domain}");
        if label.contains('.') || host.parse::<HostName>().is_err() {
            return Err((
                Refusal::Denied,
                format!(
                    "`{}` is not a label of a host name",
                    peer_text(&register.name)
                ),
            ));
        }
        let name = Name::Http(host.clone());
        self.claim(&name, &label, register.service)
            .map_err(|denied| refusal(&name, &denied))?;
        Ok(url_of(&host, &self.links, plan, domain))
    }

    fn register_tcp(
        &self,
        register: &Register,
        link: &LinkPlan,
        limits: &LimitsPlan,
    ) -> Result<String, (Refusal, String)> {
        let ip = match &self.at.address {
            Bind::Tcp(address) => address.ip(),
            Bind::Unix(_) => IpAddr::from([127, 0, 0, 1]),
        };
        let wanted = u16::try_from(register.port)
            .map_err(|_| (Refusal::Denied, "that is not a port".to_owned()))?;
        let opened = match wanted {
            0 => self.open_free_port(ip, register, limits)?,
            port if self.grant.ports.contains(&port) => self
                .claim_port(SocketAddr::new(ip, port), register, limits)
                .map_err(PortError::refusal)?,
            port => {
                let (from, to) = (self.grant.ports.start(), self.grant.ports.end());
                let detail = format!(
                    "port {port} is outside of what this grant allows, {from} to {to}; ask for one of these"
                );
                return Err((Refusal::Denied, detail));
            }
        };
        // A wildcard is not an address to connect to; return the advertised host instead.
        match ip.is_unspecified() {
            true => Ok(format!("{}:{opened}", link.advertise.host)),
            false => Ok(SocketAddr::new(ip, opened).to_string()),
        }
    }

    /// Opens the port that the service had before, or else a free one that the grant allows.
    fn open_free_port(
        &self,
        ip: IpAddr,
        register: &Register,
        limits: &LimitsPlan,
    ) -> Result<u16, (Refusal, String)> {
        let links = &self.links;
        let kept = links
            .registry
            .port_of(self.grant.id, self.link.peer(), &register.name, ip);
        let kept = kept.filter(|port| self.grant.ports.contains(port));
        for port in kept.into_iter().chain(candidates(&self.grant.ports)) {
            let claimed = match port {
                0 => self.claim_any_port(ip, register, limits),
                port => self.claim_port(SocketAddr::new(ip, port), register, limits),
            };
            match claimed {
                Err(PortError::Taken(..)) => {}
                decided => return decided.map_err(PortError::refusal),
            }
        }
        let (from, to) = (self.grant.ports.start(), self.grant.ports.end());
        Err((
            Refusal::Busy,
            format!("no port from {from} to {to} is free on the server"),
        ))
    }

    /// Claims the port first, and binds it only then: a refused claim opens nothing, and a port
    /// that cannot be bound, because another program or listener has it, is not reserved.
    fn claim_port(
        &self,
        address: SocketAddr,
        register: &Register,
        limits: &LimitsPlan,
    ) -> Result<u16, PortError> {
        let links = &self.links;
        let (name, port) = (Name::Tcp(address), address.port());
        let taken = self
            .claim(&name, &register.name, register.service)
            .map_err(|denied| PortError::of_claim(&name, &denied))?;
        match Arc::clone(&self.at.ports).open(address, self.grant.id, limits) {
            Ok(()) => self.check_opened(&name).map(|()| port),
            Err(error) => {
                links.registry.undo(&name, self.who.session, taken);
                Err(PortError::of_open(port, &error))
            }
        }
    }

    /// The same for a port chosen by the system. It is bound to learn its number, and closed at
    /// once if the claim is refused.
    fn claim_any_port(
        &self,
        ip: IpAddr,
        register: &Register,
        limits: &LimitsPlan,
    ) -> Result<u16, PortError> {
        let links = &self.links;
        if !links.registry.has_room(self.grant.id) {
            return Err(PortError::Refused(
                Refusal::Denied,
                Denied::TooMany.to_string(),
            ));
        }
        let free = Arc::clone(&self.at.ports).bind_any(ip, self.grant.id);
        let free = free.map_err(|error| PortError::of_open(0, &error))?;
        let (name, port) = (Name::Tcp(free.address()), free.address().port());
        self.claim(&name, &register.name, register.service)
            .map_err(|denied| PortError::of_claim(&name, &denied))?;
        free.serve(limits);
        self.check_opened(&name).map(|()| port)
    }

    /// Closes the port again if the grant was revoked while it was opened.
    fn check_opened(&self, name: &Name) -> Result<(), PortError> {
        if self.links.registry.has(self.who.session, name) {
            return Ok(());
        }
        if !self.links.registry.is_held(name) {
            self.at.ports.close(name);
        }
        Err(PortError::Refused(Refusal::Gone, Denied::Gone.to_string()))
    }

    fn claim(&self, name: &Name, label: &str, number: u32) -> Result<ClaimedName, Denied> {
        let taken = self
            .links
            .registry
            .register(name, label, number, self.who)?;
        if taken.changed_hands {
            self.forget_connections(name);
        }
        Ok(taken)
    }

    /// Drops HTTP connections that were kept to the previous holder of the name: they lead to the
    /// wrong service.
    fn forget_connections(&self, name: &Name) {
        self.links
            .engine
            .pool
            .evict_key(&PoolKey::Service(name.clone()));
    }

    /// Another session has the name now. Informs the other side; open streams may finish.
    fn notify_lost(&mut self, lost: &LostName) {
        let detail = format!("the {}: {}", lost.name, lost.why);
        self.outbox.push(Control::Withdrawn(Withdrawn {
            service: lost.number,
            why: Refusal::Superseded.number(),
            detail,
        }));
    }

    /// The session has lost the names: their ports wait for the next holder.
    fn vacate(&self, had: &[Name]) {
        self.at.ports.away(had);
        had.iter().for_each(|name| self.forget_connections(name));
    }
}

/// Why a port is not assigned to a service.
enum PortError {
    /// The port is in use, or reserved for another service. Another port may be free.
    Taken(Refusal, String),
    /// Another port would be refused, too.
    Refused(Refusal, String),
}

impl PortError {
    fn of_claim(name: &Name, denied: &Denied) -> Self {
        let (why, detail) = refusal(name, denied);
        match denied {
            Denied::OtherTenant(_) | Denied::Held { .. } => Self::Taken(why, detail),
            Denied::Superseded
            | Denied::LaterSession
            | Denied::Taken
            | Denied::TooMany
            | Denied::Full
            | Denied::Leaving
            | Denied::Gone => Self::Refused(why, detail),
        }
    }

    fn of_open(port: u16, error: &NotOpen) -> Self {
        match error {
            NotOpen::InUse => {
                let detail = format!(
                    "port {port} is in use by another program on the server; ask for another one"
                );
                Self::Taken(Refusal::Held, detail)
            }
            NotOpen::OwnListener => {
                let detail =
                    format!("the server itself listens on port {port}; ask for another one");
                Self::Taken(Refusal::Held, detail)
            }
            NotOpen::TooMany => Self::Refused(Refusal::Denied, error.to_string()),
            NotOpen::NoRoom { .. } | NotOpen::Failed => {
                Self::Refused(Refusal::Busy, error.to_string())
            }
        }
    }

    fn refusal(self) -> (Refusal, String) {
        match self {
            Self::Taken(why, detail) | Self::Refused(why, detail) => (why, detail),
        }
    }
}

fn refusal(name: &Name, denied: &Denied) -> (Refusal, String) {
    let why = match denied {
        Denied::OtherTenant(_) | Denied::Held { .. } => Refusal::Held,
        Denied::Superseded | Denied::LaterSession | Denied::Taken => Refusal::Superseded,
        Denied::TooMany => Refusal::Denied,
        Denied::Full | Denied::Leaving => Refusal::Busy,
        Denied::Gone => Refusal::Gone,
    };
    (why, format!("the {name}: {denied}"))
}

/// Ports to try, in order: chosen by the system if the grant allows all of its range, else some of
/// the grant's.
fn candidates(ports: &RangeInclusive<u16>) -> Vec<u16> {
    if ports.contains(&1024) && ports.contains(&u16::MAX) {
        return vec![0; SYSTEM_TRIES];
    }
    let (from, to) = (u32::from(*ports.start()), u32::from(*ports.end()));
    let count = to - from + 1;
    let first = fastrand::u32(..count);
    let some = (0..count.min(MOST_TRIES)).map(|step| from + (first + step) % count);
    some.filter_map(|port| u16::try_from(port).ok()).collect()
}

/// How many ports chosen by the system are tried: one may be reserved for a tenant without a
/// session.
const SYSTEM_TRIES: usize = 16;

/// How many of a grant's ports are tried.
const MOST_TRIES: u32 = 256;

impl Drop for AcceptedSession {
    fn drop(&mut self) {
        self.link.end("the node has closed the session");
        let had = self.links.registry.leave(self.who.session);
        self.vacate(&had);
        if !had.is_empty() {
            self.links.registry.save_changes(self.links.runtime());
        }
    }
}

/// The URL of a service: `https://` if that domain has such a listener, with a port if it is not
/// the one of the scheme.
fn url_of(host: &str, links: &Links, plan: &Plan, domain: &HostName) -> String {
    let of_domain =
        |role: &Role| matches!(role, Role::Edge(edge) if edge.domain.as_ref() == Some(domain));
    let is_tls = |listener: &ListenerPlan| listener.frontend.transport == Transport::Tls;
    let all = || {
        plan.keyed_listeners()
            .filter(|(_, one)| of_domain(&one.frontend.role))
    };
    let encrypted = all().find(|(_, listener)| is_tls(listener));
    let (scheme, own) = match &encrypted {
        Some(_) => ("https", 443),
        None => ("http", 80),
    };
    let listener = encrypted.or_else(|| all().next());
    let bound = listener.and_then(|(key, _)| links.engine.live.address_of(&key));
    match bound.as_deref() {
        Some(Bind::Tcp(address)) if address.port() != own => {
            format!("{scheme}://{host}:{}", address.port())
        }
        _ => format!("{scheme}://{host}"),
    }
}
