//! Log limit: limits the log lines of each kind of event that peers can cause, see [`LogLimit`].
//!
//! In:    an event, and its kind.
//! Out:   whether it gets a line, and how many before it got none.
//! Never: waits or allocates.
//!
//! Events that need a grant get more lines: an honest node may register hundreds of services at
//! once.

pub use byway_link::log_limit::{LogLimit, LogPass};

use crate::fault::{Fault, Reason, Who};

/// How many events that need a grant get a line each.
const FIRST_OF_MEMBERS: u64 = 2000;

/// All kinds of events that peers can cause.
#[derive(Debug)]
pub struct LogLimits {
    /// Faults, by side and class; after the classes of a side there is one entry for other classes.
    faults: Box<[LogLimit]>,
    /// Request heads that cannot be parsed.
    pub malformed_requests: LogLimit,
    /// Connections closed for an error of HTTP/2.
    pub http2_errors: LogLimit,
    /// HTTP/3 connections whose client broke the rules.
    pub http3_errors: LogLimit,
    /// SOCKS handshakes that cannot be parsed, and first bytes of an unknown protocol.
    pub malformed_handshakes: LogLimit,
    /// Connections refused because their peer has too many.
    pub refused_per_peer: LogLimit,
    /// Failed accepts.
    pub accept_errors: LogLimit,
    /// Connections to a link listener that did not become a session.
    pub link_handshakes: LogLimit,
    /// Links that were refused for now: no room, or grants that cannot be read. The dialling node
    /// retries by itself.
    pub links_busy: LogLimit,
    /// Sessions of links that came up.
    pub links_up: LogLimit,
    /// Sessions of links that went down.
    pub links_down: LogLimit,
    /// GoAway messages of peers.
    pub goodbyes: LogLimit,
    /// Services that were made public.
    pub registered: LogLimit,
    /// Services that were refused.
    pub refused: LogLimit,
    /// Public addresses that a server has assigned to services of this node.
    pub addresses: LogLimit,
    /// Services of this node that a server has refused or withdrawn.
    pub withdrawn: LogLimit,
    /// Services of this node with their own Host setting, at a server that does not rewrite it.
    pub kept_hosts: LogLimit,
    /// Public ports that were closed because their agents were away.
    pub ports_closed: LogLimit,
    /// Tasks that panicked.
    pub panics: LogLimit,
}

impl Default for LogLimits {
    fn default() -> Self {
        let faults = (0..Who::ALL.len() * Reason::ALL.len())
            .map(|_| LogLimit::default())
            .collect();
        Self {
            faults,
            malformed_requests: LogLimit::default(),
            http2_errors: LogLimit::default(),
            http3_errors: LogLimit::default(),
            malformed_handshakes: LogLimit::default(),
            refused_per_peer: LogLimit::default(),
            accept_errors: LogLimit::default(),
            link_handshakes: LogLimit::default(),
            links_busy: LogLimit::with_first(1),
            links_up: LogLimit::with_first(FIRST_OF_MEMBERS),
            links_down: LogLimit::with_first(FIRST_OF_MEMBERS),
            goodbyes: LogLimit::with_first(FIRST_OF_MEMBERS),
            registered: LogLimit::with_first(FIRST_OF_MEMBERS),
            refused: LogLimit::with_first(FIRST_OF_MEMBERS),
            addresses: LogLimit::with_first(FIRST_OF_MEMBERS),
            withdrawn: LogLimit::with_first(FIRST_OF_MEMBERS),
            kept_hosts: LogLimit::with_first(FIRST_OF_MEMBERS),
            ports_closed: LogLimit::with_first(FIRST_OF_MEMBERS),
            panics: LogLimit::default(),
        }
    }
}

impl LogLimits {
    /// Counts a fault. Returns a pass if it gets a line.
    pub fn fault(&self, fault: &Fault) -> Option<LogPass> {
        let place = fault.reason as usize * Who::ALL.len() + fault.who as usize;
        self.faults.get(place)?.count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_kind_of_fault_does_not_silence_another() {
        let kinds = LogLimits::default();
        let refused = Fault::new(Who::Upstream, Reason::Refused, "");
        assert_eq!((0..1000).filter_map(|_| kinds.fault(&refused)).count(), 103);
        assert_eq!(kinds.fault(&refused), None);
        for (who, reason) in [
            (Who::Upstream, Reason::Unreachable),
            (Who::Us, Reason::Refused),
            (Who::Us, Reason::BareCr),
        ] {
            assert!(
                kinds.fault(&Fault::new(who, reason, "")).is_some(),
                "{who:?} {reason:?}"
            );
        }
    }
}
