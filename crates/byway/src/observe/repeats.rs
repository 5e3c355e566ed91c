//! Repeats: the kinds of events that peers can cause; each has a bound for its lines in the log,
//! see [`Repeats`].
//!
//! In:    an event, and its kind.
//! Out:   whether it gets a line, and how many before it got none.
//! Never: waits or allocates.
//!
//! What needs a grant has more lines: an honest node may register hundreds of services at once.

pub use byway_link::repeats::{Line, Repeats};

use super::ends::WORDS;
use crate::fault::{Fault, Who};

/// How many events that need a grant have a line each.
const FIRST_OF_MEMBERS: u64 = 2000;

/// All kinds of events that peers can cause.
#[derive(Debug)]
pub struct Kinds {
    /// Faults, by side and class; behind the classes of a side there is one place for others.
    faults: Box<[Repeats]>,
    /// Heads of requests that cannot be read.
    pub malformed_requests: Repeats,
    /// SOCKS handshakes that cannot be read, and first bytes of no known protocol.
    pub malformed_handshakes: Repeats,
    /// Connections refused because their peer holds too many.
    pub refused_per_peer: Repeats,
    /// Failed accepts.
    pub accept_errors: Repeats,
    /// Connections to a link listener that never became a session.
    pub link_handshakes: Repeats,
    /// Links that were refused for now: no room, or grants that cannot be read. A dialler comes
    /// again by itself.
    pub links_busy: Repeats,
    /// Sessions of links that came up.
    pub links_up: Repeats,
    /// Sessions of links that went down.
    pub links_down: Repeats,
    /// Messages of peers that leave.
    pub goodbyes: Repeats,
    /// Services that were made public.
    pub registered: Repeats,
    /// Services that were refused.
    pub refused: Repeats,
    /// Public addresses that a server has given to services of this node.
    pub addresses: Repeats,
    /// Services of this node that a server has refused or withdrawn.
    pub withdrawn: Repeats,
    /// Services of this node with a Host of their own, at a server that does not write it.
    pub kept_hosts: Repeats,
    /// Public ports that were closed because their agents were away.
    pub ports_closed: Repeats,
    /// Tasks that panicked.
    pub panics: Repeats,
}

impl Default for Kinds {
    fn default() -> Self {
        let faults = (0..Who::ALL.len() * (WORDS.len() + 1))
            .map(|_| Repeats::default())
            .collect();
        Self {
            faults,
            malformed_requests: Repeats::default(),
            malformed_handshakes: Repeats::default(),
            refused_per_peer: Repeats::default(),
            accept_errors: Repeats::default(),
            link_handshakes: Repeats::default(),
            links_busy: Repeats::with_first(1),
            links_up: Repeats::with_first(FIRST_OF_MEMBERS),
            links_down: Repeats::with_first(FIRST_OF_MEMBERS),
            goodbyes: Repeats::with_first(FIRST_OF_MEMBERS),
            registered: Repeats::with_first(FIRST_OF_MEMBERS),
            refused: Repeats::with_first(FIRST_OF_MEMBERS),
            addresses: Repeats::with_first(FIRST_OF_MEMBERS),
            withdrawn: Repeats::with_first(FIRST_OF_MEMBERS),
            kept_hosts: Repeats::with_first(FIRST_OF_MEMBERS),
            ports_closed: Repeats::with_first(FIRST_OF_MEMBERS),
            panics: Repeats::default(),
        }
    }
}

impl Kinds {
    /// Counts a fault. What comes out says that it gets a line.
    pub fn fault(&self, fault: &Fault) -> Option<Line> {
        let class = WORDS.binary_search(&fault.class()).unwrap_or(WORDS.len());
        self.faults
            .get(fault.who as usize * (WORDS.len() + 1) + class)?
            .count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Kind;

    #[test]
    fn one_kind_of_fault_does_not_silence_another() {
        let kinds = Kinds::default();
        let refused = Fault::new(Who::Upstream, Kind::Refused, "");
        assert_eq!((0..1000).filter_map(|_| kinds.fault(&refused)).count(), 103);
        assert_eq!(kinds.fault(&refused), None);
        for (who, kind) in [
            (Who::Upstream, Kind::Unreachable),
            (Who::Us, Kind::Refused),
            (Who::Us, Kind::Malformed("x")),
        ] {
            assert!(
                kinds.fault(&Fault::new(who, kind, "")).is_some(),
                "{who:?} {kind:?}"
            );
        }
    }
}
