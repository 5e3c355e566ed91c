//! Passage: what is written down of a tunnel: its relay, or why there was none.
//!
//! In:    who opens a relay, for whom and to where; its end.
//! Out:   counts, a line in the access log, a line for people at `debug`.
//! Never: costs a relay more than three references and a moment while it runs.

use tokio::time::Instant;

use byway_dial::Target;

use super::listener::{Door, Visit};
use crate::config::{ListenerPlan, Role};
use crate::fault::{Fault, Kind, Who};
use crate::observe::access::line::{Asked, Entry};
use crate::observe::course::Timers;
use crate::observe::ending::Ending;
use crate::relay::{Bytes, End};
use crate::route::{Allowed, Outbound};

/// Who wants a relay, and through which door.
pub struct Passage<'a> {
    door: &'a Door,
    visit: &'a Visit,
    listener: &'a ListenerPlan,
    user: Option<&'a str>,
    protocol: &'static str,
    allowed: Option<&'a Allowed>,
    /// Whether it has a line of its own in the access log.
    has_line: bool,
    begun: Instant,
}

impl<'a> Passage<'a> {
    /// Nothing is open yet. `protocol`: by what it was asked for, one word.
    pub fn new(
        door: &'a Door,
        visit: &'a Visit,
        listener: &'a ListenerPlan,
        user: Option<&'a str>,
        protocol: &'static str,
    ) -> Self {
        Self {
            door,
            visit,
            listener,
            user,
            protocol,
            allowed: None,
            has_line: true,
            begun: Instant::now(),
        }
    }

    /// A relay begins now, by this permission.
    #[must_use]
    pub fn through(self, allowed: &'a Allowed) -> Self {
        self.door.shared.counters.relays.add(1);
        Self {
            allowed: Some(allowed),
            begun: Instant::now(),
            ..self
        }
    }

    /// Its requests have lines of their own in the access log: the tunnel is only counted.
    #[must_use]
    pub fn without_line(self) -> Self {
        Self {
            has_line: false,
            ..self
        }
    }

    /// It has ended.
    pub fn ended(&self, end: &End) {
        tracing::debug!(listener = %self.door.address, "relay ended: {end}");
        self.note(
            || self.target(),
            200,
            end.bytes,
            self.begun.elapsed().as_micros() as u64,
            Ending::of_relay(end),
        );
    }

    /// The client left before anything was relayed.
    pub fn left(&self) {
        let fault = Fault::new(
            Who::Downstream,
            Kind::ClosedEarly,
            "the client left before the tunnel was open",
        );
        self.note(
            || self.target(),
            fault.status(),
            Bytes::default(),
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

    /// There was none: `fault` says why. Without a `target`, it is the listener's own, if it has
    /// one.
    pub fn refused(&self, target: Option<&Target>, fault: &Fault) {
        let target = || match (target, &self.listener.role) {
            (Some(target), _) => target.to_string(),
            (None, Role::Forward(forward)) => forward.to.to_string(),
            (None, Role::Exposed(name)) => name.to_string(),
            (None, _) => String::new(),
        };
        self.note(
            target,
            fault.status(),
            Bytes::default(),
            0,
            Ending::of_fault(fault, "dial"),
        );
    }

    fn note(
        &self,
        target: impl FnOnce() -> String,
        status: u16,
        bytes: Bytes,
        took_us: u64,
        ending: Ending,
    ) {
        let station = self.door.scope.station();
        station.ledger.ends.note(ending);
        if !self.has_line || !station.page.is_on() {
            return;
        }
        station.page.note(&Entry {
            connection: self.visit.connection,
            request_id: "",
            listener: &self.listener.name,
            peer: self.visit.peer,
            user: self.user,
            asked: Asked::Tunnel {
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
