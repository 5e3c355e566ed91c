//! Tunnel log: records a tunnel: its relay, or why there was none.
//!
//! In:    the client and the target of a relay; its end.
//! Out:   counts, a line in the access log, a `debug` line in the log.
//! Never: costs a relay more than three references and a timestamp while it runs.

use byway_relay::{End, EndKind, RelayError, RelayedBytes, Side};
use tokio::time::Instant;

use byway_dial::Target;

use super::context::{ConnectionContext, ConnectionInfo};
use crate::config::{FrontendPlan, Role};
use crate::fault::{Fault, Reason, Who};
use crate::observe::access::line::{Entry, EntrySubject};
use crate::observe::ending::Ending;
use crate::observe::log_limit::LogLimit;
use crate::observe::timing::Timers;
use crate::route::{Allowed, Outbound};

/// Log limit for streams that were reset because the spill disk failed.
static RESETS: LogLimit = LogLimit::new();

/// When a relay ends.
const PHASE: &str = "relay";

/// The client of a relay, and its listener context.
pub struct TunnelLog<'a> {
    context: &'a ConnectionContext,
    info: &'a ConnectionInfo,
    frontend: &'a FrontendPlan,
    user: Option<&'a str>,
    protocol: &'static str,
    allowed: Option<&'a Allowed>,
    /// Whether it has its own line in the access log.
    has_line: bool,
    begun: Instant,
}

impl<'a> TunnelLog<'a> {
    /// A tunnel that is not open yet. `protocol`: how it was requested, in one word.
    pub fn new(
        context: &'a ConnectionContext,
        info: &'a ConnectionInfo,
        frontend: &'a FrontendPlan,
        user: Option<&'a str>,
        protocol: &'static str,
    ) -> Self {
        Self {
            context,
            info,
            frontend,
            user,
            protocol,
            allowed: None,
            has_line: true,
            begun: Instant::now(),
        }
    }

    /// A relay starts now, with this permission.
    #[must_use]
    pub fn through(self, allowed: &'a Allowed) -> Self {
        self.context.counters().relays.add(1);
        Self {
            allowed: Some(allowed),
            begun: Instant::now(),
            ..self
        }
    }

    /// Its requests have their own lines in the access log: the tunnel is only counted.
    #[must_use]
    pub fn without_line(self) -> Self {
        Self {
            has_line: false,
            ..self
        }
    }

    /// Records the end of the relay.
    pub fn ended(&self, end: &End) {
        match &end.error {
            None => {}
            Some(RelayError::Broken(side, broken)) => {
                tracing::debug!(%side, %broken, "a relayed stream broke");
            }
            Some(RelayError::Spill(error)) => {
                if let Some(line) = RESETS.count() {
                    tracing::error!(%error, left_out = line.left_out, "a relayed stream had to be reset");
                }
            }
        }
        tracing::debug!(listener = %self.context.address, "relay ended: {end}");
        self.note_relay(end.bytes, ending_of(end));
    }

    /// Records that the relay was ended to free its slot for another client.
    pub fn shed(&self, bytes: RelayedBytes) {
        tracing::debug!(listener = %self.context.address, "relay ended: its slot is for another client");
        let ending = Ending {
            who: Some(Who::Us),
            reason: Reason::Shed,
            phase: PHASE,
        };
        self.note_relay(bytes, ending);
    }

    fn note_relay(&self, bytes: RelayedBytes, ending: Ending) {
        let took_us = self.begun.elapsed().as_micros() as u64;
        self.note(|| self.target(), 200, bytes, took_us, ending);
    }

    /// Records that the client left before anything was relayed.
    pub fn client_left(&self) {
        let fault = Fault::new(
            Who::Downstream,
            Reason::ClosedEarly,
            "the client left before the tunnel was open",
        );
        self.note(
            || self.target(),
            fault.status(),
            RelayedBytes::default(),
            0,
            Ending::of_fault(&fault, "dial"),
        );
    }

    fn target(&self) -> String {
        match self.allowed.map(Allowed::outbound) {
            Some(
                Outbound::Direct(target) | Outbound::Via(_, target) | Outbound::Exit(_, target),
            ) => target.to_string(),
            Some(Outbound::Service(name)) => name.to_string(),
            Some(Outbound::Pooled(route)) => route.name.to_string(),
            None => String::new(),
        }
    }

    /// Records that there was no relay, because of `fault`. Without a `target`, it is the
    /// listener's own, if it has one.
    pub fn refused(&self, target: Option<&Target>, fault: &Fault) {
        let target = || match (target, &self.frontend.role) {
            (Some(target), _) => target.to_string(),
            (None, Role::Forward(forward)) => forward.to.to_string(),
            (None, Role::PublicPort(name)) => name.to_string(),
            (None, _) => String::new(),
        };
        self.note(
            target,
            fault.status(),
            RelayedBytes::default(),
            0,
            Ending::of_fault(fault, "dial"),
        );
    }

    fn note(
        &self,
        target: impl FnOnce() -> String,
        status: u16,
        bytes: RelayedBytes,
        took_us: u64,
        ending: Ending,
    ) {
        let worker_stats = &self.context.worker_stats;
        worker_stats.metrics.outcomes.note(ending);
        if !self.has_line || !worker_stats.log_buffer.is_on() {
            return;
        }
        worker_stats.log_buffer.note(&Entry {
            connection: self.info.connection,
            request_id: "",
            listener: &self.frontend.name,
            peer: self.info.peer,
            user: self.user,
            tls: self.info.tls_entry(),
            subject: EntrySubject::Tunnel {
                target: &target(),
                protocol: self.protocol,
                status,
            },
            status: 0,
            bytes_in: bytes.up,
            bytes_out: bytes.down,
            timers: Timers {
                transfer_us: took_us,
                ..Timers::default()
            },
            upstream: None,
            reused: false,
            retried: false,
            not_retried: None,
            ending,
        });
    }
}

/// How a relay ended, in the words of the log and the metrics.
fn ending_of(end: &End) -> Ending {
    let who = match end.who {
        Side::Downstream => Who::Downstream,
        Side::Upstream => Who::Upstream,
        Side::Link => Who::Link,
        Side::Us => Who::Us,
    };
    let reason = match end.kind {
        EndKind::Fin => return Ending::done(PHASE),
        EndKind::Reset => Reason::Reset,
        EndKind::SessionLost => Reason::LinkLost,
        EndKind::Idle => Reason::Idle,
        EndKind::Error => Reason::Error,
    };
    Ending {
        who: Some(who),
        reason,
        phase: PHASE,
    }
}
