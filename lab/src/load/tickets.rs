//! Tickets: the session tickets that a client of the generator has received.
//!
//! In:    tickets of one program.
//! Out:   each of them once, the newest first; how many have arrived.
//! Never: keeps more than a few, or gives a ticket to two connections (RFC 8446 appendix C.4).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;

/// More than one connection brings.
const MOST: usize = 8;

/// See the top of the file.
#[derive(Debug)]
pub(crate) struct Tickets {
    kept: Mutex<Vec<Tls13ClientSessionValue>>,
    arrived: AtomicU64,
    /// Whether they are offered.
    used: bool,
}

impl Tickets {
    /// A store whose tickets are offered, if `used`, or only counted.
    pub(crate) fn new(used: bool) -> Self {
        Self {
            kept: Mutex::default(),
            arrived: AtomicU64::new(0),
            used,
        }
    }

    /// How many have arrived so far.
    pub(crate) fn arrived(&self) -> u64 {
        self.arrived.load(Relaxed)
    }
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.arrived.fetch_add(1, Relaxed);
        let mut kept = self.kept.lock();
        if self.used && kept.len() < MOST {
            kept.push(ticket);
        }
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.kept.lock().pop()
    }
}
