//! Repeats: which events of one kind get a line of their own in the log, so that no flood of them fills a disk.
//!
//! In:    an event that a peer can cause as often as it likes, and its kind.
//! Out:   whether it gets a line, and how many before it got none.
//! Never: waits or allocates.
//!
//! The first hundred events of a kind get a line, and after that those whose number is a power of two. The numbers begin
//! again after ten minutes without an event of that kind, so that the next outage is reported from its beginning. What needs
//! a grant has more: an honest node may register hundreds of services at once.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::access::clock;
use super::ends::WORDS;
use crate::fault::{Fault, Who};

/// An outbreak is over after this many seconds without an event.
const QUIET_S: u64 = 600;

/// How many events of a kind have a line before lines become few.
const FIRST: u64 = 100;

/// The same for events that need a grant.
const FIRST_OF_MEMBERS: u64 = 2000;

/// One kind of event.
#[derive(Debug)]
pub struct Repeats {
    /// How many events have a line each.
    first: u64,
    /// Events of this outbreak.
    events: AtomicU64,
    /// Those that got no line since the last one that did.
    left_out: AtomicU64,
    /// When the last one was, in seconds since 1970.
    last_s: AtomicU64,
}

/// That an event gets a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// How many events of its kind got none since the last line; `None` for none, which the log leaves out.
    pub left_out: Option<u64>,
}

impl Default for Repeats {
    fn default() -> Self {
        Self::new()
    }
}

impl Repeats {
    /// No event yet.
    pub const fn new() -> Self {
        Self::with_first(FIRST)
    }

    /// The same with another number of first events that get a line each.
    pub const fn with_first(first: u64) -> Self {
        Self { first, events: AtomicU64::new(0), left_out: AtomicU64::new(0), last_s: AtomicU64::new(0) }
    }

    /// Counts an event. What comes out says that it gets a line.
    pub fn count(&self) -> Option<Line> {
        self.count_at(clock::now().as_secs())
    }

    fn count_at(&self, now_s: u64) -> Option<Line> {
        if now_s.saturating_sub(self.last_s.swap(now_s, Relaxed)) > QUIET_S {
            self.events.store(0, Relaxed);
        }
        let number = self.events.fetch_add(1, Relaxed) + 1;
        if number <= self.first || number.is_power_of_two() {
            let left_out = self.left_out.swap(0, Relaxed);
            return Some(Line { left_out: Some(left_out).filter(|count| *count > 0) });
        }
        self.left_out.fetch_add(1, Relaxed);
        None
    }
}

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
    /// Links that were refused for now: no room, or grants that cannot be read. A dialler comes again by itself.
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
        let faults = (0..Who::ALL.len() * (WORDS.len() + 1)).map(|_| Repeats::default()).collect();
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
        self.faults.get(fault.who as usize * (WORDS.len() + 1) + class)?.count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Kind;

    const NOW_S: u64 = 1_795_633_699;

    #[test]
    fn a_flood_gets_few_lines_and_a_trickle_gets_all() {
        let repeats = Repeats::default();
        let lines: Vec<Line> = (0..1_000_000).filter_map(|_| repeats.count_at(NOW_S)).collect();
        assert_eq!(lines.len(), 113);
        assert_eq!(lines[99..102].iter().map(|line| line.left_out).collect::<Vec<_>>(), [None, Some(27), Some(127)]);
        let left_out: u64 = lines.iter().filter_map(|line| line.left_out).sum();
        assert_eq!(left_out + lines.len() as u64, 1 << 19, "the count of what was left out is complete");
    }

    #[test]
    fn the_next_outage_is_reported_from_its_beginning() {
        let repeats = Repeats::default();
        assert_eq!((0..1000).filter_map(|_| repeats.count_at(NOW_S)).count(), 103);
        assert_eq!(repeats.count_at(NOW_S + QUIET_S), None, "it has not been quiet for long enough");
        let line = repeats.count_at(NOW_S + 2 * QUIET_S + 1);
        assert_eq!(line, Some(Line { left_out: Some(1000 - 512 + 1) }));
        assert_eq!(repeats.count_at(NOW_S + 2 * QUIET_S + 1), Some(Line { left_out: None }));
    }

    #[test]
    fn a_clock_that_is_set_back_silences_nothing_for_longer() {
        let repeats = Repeats::default();
        assert_eq!((0..1000).filter_map(|_| repeats.count_at(NOW_S)).count(), 103);
        repeats.count_at(NOW_S - 86_400);
        assert!(repeats.count_at(NOW_S - 86_400 + QUIET_S + 1).is_some());
    }

    #[test]
    fn one_kind_of_fault_does_not_silence_another() {
        let kinds = Kinds::default();
        let refused = Fault::new(Who::Upstream, Kind::Refused, "");
        assert_eq!((0..1000).filter_map(|_| kinds.fault(&refused)).count(), 103);
        assert_eq!(kinds.fault(&refused), None);
        for (who, kind) in
            [(Who::Upstream, Kind::Unreachable), (Who::Us, Kind::Refused), (Who::Us, Kind::Malformed("x"))]
        {
            assert!(kinds.fault(&Fault::new(who, kind, "")).is_some(), "{who:?} {kind:?}");
        }
    }
}
