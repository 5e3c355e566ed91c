//! Passage: what is written down of a tunnel: its relay, or why there was none.
//!
//! In:    who opens a relay, for whom and to where; its end.
//! Out:   counts, a line in the access log, a line for people at `debug`.
//! Never: costs a relay more than three references and a moment while it runs.

use std::time::Instant;

use byway_dial::Target;

use super::listener::Door;
use crate::config::ListenerPlan;
use crate::fault::Fault;
use crate::observe::access::line::{Asked, Entry};
use crate::observe::course::Timers;
use crate::observe::ending::Ending;
use crate::relay::{Bytes, End};
use crate::route::{Allowed, Outbound};

/// A relay under way.
pub struct Passage<'a> {
    door: &'a Door,
    listener: &'a ListenerPlan,
    user: Option<&'a str>,
    allowed: &'a Allowed,
    begun: Instant,
}

impl<'a> Passage<'a> {
    /// A relay begins now.
    pub fn begun(door: &'a Door, listener: &'a ListenerPlan, user: Option<&'a str>, allowed: &'a Allowed) -> Self {
        door.shared.counters.relays.add(1);
        Self { door, listener, user, allowed, begun: Instant::now() }
    }

    /// It has ended.
    pub fn ended(&self, end: &End) {
        tracing::debug!(listener = %self.door.address, "relay ended: {end}");
        let target = || match self.allowed.outbound() {
            Outbound::Direct(target) | Outbound::Via(_, target) | Outbound::Exit(_, target) => target.to_string(),
            Outbound::Service(name) => name.to_string(),
            Outbound::Pooled(route) => route.name.to_string(),
        };
        let took_us = self.begun.elapsed().as_micros() as u64;
        note(self.door, self.listener, self.user, target, end.bytes, took_us, Ending::of_relay(end));
    }

    /// There was none: `fault` says why.
    pub fn refused(door: &Door, listener: &ListenerPlan, user: Option<&str>, target: Option<&Target>, fault: &Fault) {
        let target = || target.map(Target::to_string).unwrap_or_default();
        note(door, listener, user, target, Bytes::default(), 0, Ending::of_fault(fault, "dial"));
    }
}

fn note(
    door: &Door,
    listener: &ListenerPlan,
    user: Option<&str>,
    target: impl FnOnce() -> String,
    bytes: Bytes,
    took_us: u64,
    ending: Ending,
) {
    let station = door.scope.station();
    station.ledger.ends.note(ending);
    if !station.page.is_on() {
        return;
    }
    station.page.note(&Entry {
        connection: door.visit.connection,
        request_id: "",
        listener: &listener.name,
        peer: door.visit.peer,
        user,
        asked: Asked::Tunnel(&target()),
        status: 0,
        bytes_in: bytes.up,
        bytes_out: bytes.down,
        timers: Timers { transfer_us: took_us, ..Timers::default() },
        upstream: None,
        reused: false,
        retried: false,
        not_retried: None,
        ending,
    });
}
