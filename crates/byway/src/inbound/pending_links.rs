//! Pending links: connections at link listeners that are not authenticated yet.
//!
//! In:    the address and the transport of each new connection, and its progress so far.
//! Out:   a pending link, until it is welcomed; or the notification that it is evicted.
//! Never: lets a newcomer wait for silent connections. When it is full, connections that have sent
//!        nothing are evicted first, then those without a proven key, then the rest; but no class
//!        is evicted below a quarter of the limit while another has more, so that each newcomer has
//!        time for its next step. Within a class: the transport with the most pending links, there
//!        the address with the most, there the oldest.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use byway_link::{CarrierKind, Progress};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::ip_limit::ip_limit_key;

/// The limit of pending links of all link listeners together; lower where few links are allowed.
pub const PENDING_LINKS: usize = 1024;

/// The limit where few links are allowed, if the descriptors suffice.
pub const FEWEST_PENDING_LINKS: usize = 128;

/// No class of pending links is evicted while it has at most this fraction of the limit and another
/// has more.
const CLASS_SHARE: usize = 4;

/// The connections at link listeners that are not welcomed yet, up to a limit. When it is reached,
/// a new one evicts another, usually one that has made the least progress. Clones share the state.
#[derive(Clone, Debug)]
pub struct PendingLinks(Arc<Mutex<PendingState>>);

#[derive(Debug)]
struct PendingState {
    most: usize,
    next: u64,
    entries: HashMap<u64, Entry>,
    /// By [`Progress`], the lowest first.
    classes: [ProgressClass; 3],
}

#[derive(Debug)]
struct Entry {
    peer: IpAddr,
    by: CarrierKind,
    progress: Progress,
    evict: CancellationToken,
}

/// Pending links with the same progress, by transport and address.
#[derive(Debug, Default)]
struct ProgressClass {
    tls: PeerCounts,
    quic: PeerCounts,
}

#[derive(Debug, Default)]
struct PeerCounts {
    count: usize,
    by_peer: HashMap<IpAddr, BTreeSet<u64>>,
}

impl PendingLinks {
    /// With a limit of `most` pending links, and at least one.
    pub fn new(most: usize) -> Self {
        let (entries, classes) = Default::default();
        Self(Arc::new(Mutex::new(PendingState {
            most: most.max(1),
            next: 0,
            entries,
            classes,
        })))
    }

    /// Adds a new connection. If the limit is reached, another is evicted.
    pub fn enter(
        &self,
        peer: Option<SocketAddr>,
        by: CarrierKind,
        progress: Progress,
    ) -> PendingLink {
        let peer = peer.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |peer| {
            ip_limit_key(peer.ip())
        });
        let mut pending = self.0.lock();
        let token = (pending.entries.len() >= pending.most)
            .then(|| pending.remove_one())
            .flatten();
        let (number, evict) = (pending.next, CancellationToken::new());
        pending.next += 1;
        pending.insert(
            number,
            Entry {
                peer,
                by,
                progress,
                evict: evict.clone(),
            },
        );
        drop(pending);
        if let Some(token) = token {
            token.cancel();
        }
        PendingLink {
            pending_links: self.clone(),
            number,
            evict,
        }
    }

    /// Whether at least half of the limit is used: from then on addresses must be validated.
    pub fn is_half_full(&self) -> bool {
        let pending = self.0.lock();
        pending.entries.len() * 2 >= pending.most
    }

    /// Changes the limit, to one at least. Pending links above it are evicted as if new ones had
    /// come.
    pub fn set_most(&self, most: usize) {
        let mut pending = self.0.lock();
        pending.most = most.max(1);
        while pending.entries.len() > pending.most {
            let Some(token) = pending.remove_one() else {
                break;
            };
            token.cancel();
        }
    }

    #[cfg(test)]
    pub(super) fn count(&self, progress: Progress) -> usize {
        self.0.lock().classes[progress as usize].count()
    }
}

impl PendingState {
    fn insert(&mut self, number: u64, entry: Entry) {
        if let Some(class) = self.classes.get_mut(entry.progress as usize) {
            class.peers_of(entry.by).insert(entry.peer, number);
        }
        self.entries.insert(number, entry);
    }

    fn remove_one(&mut self) -> Option<CancellationToken> {
        let share = self.most / CLASS_SHARE;
        let counts = || self.classes.iter().map(ProgressClass::count);
        // With a low limit every class may be within its share: then the first one that is not
        // empty.
        let class = counts()
            .position(|count| count > share)
            .or_else(|| counts().position(|count| count > 0))?;
        let oldest = self.classes.get(class)?.oldest_of_the_largest()?;
        self.remove(oldest).map(|entry| entry.evict)
    }

    fn remove(&mut self, number: u64) -> Option<Entry> {
        let entry = self.entries.remove(&number)?;
        if let Some(class) = self.classes.get_mut(entry.progress as usize) {
            class.peers_of(entry.by).remove(entry.peer, number);
        }
        Some(entry)
    }
}

impl ProgressClass {
    const fn count(&self) -> usize {
        self.tls.count + self.quic.count
    }

    const fn peers_of(&mut self, by: CarrierKind) -> &mut PeerCounts {
        match by {
            CarrierKind::Tls => &mut self.tls,
            CarrierKind::Quic => &mut self.quic,
        }
    }

    fn oldest_of_the_largest(&self) -> Option<u64> {
        let largest = if self.tls.count >= self.quic.count {
            &self.tls
        } else {
            &self.quic
        };
        let order = |numbers: &&BTreeSet<u64>| (numbers.len(), Reverse(numbers.first().copied()));
        largest.by_peer.values().max_by_key(order)?.first().copied()
    }
}

impl PeerCounts {
    fn insert(&mut self, peer: IpAddr, number: u64) {
        self.count += 1;
        self.by_peer.entry(peer).or_default().insert(number);
    }

    fn remove(&mut self, peer: IpAddr, number: u64) {
        let Some(numbers) = self.by_peer.get_mut(&peer) else {
            return;
        };
        self.count -= usize::from(numbers.remove(&number));
        if numbers.is_empty() {
            self.by_peer.remove(&peer);
        }
    }
}

/// One pending link, until it is dropped.
#[derive(Debug)]
pub struct PendingLink {
    pending_links: PendingLinks,
    number: u64,
    evict: CancellationToken,
}

impl PendingLink {
    /// Records the progress of the connection, which never decreases.
    pub fn advance(&self, progress: Progress) {
        let mut pending = self.pending_links.0.lock();
        if pending
            .entries
            .get(&self.number)
            .is_none_or(|entry| entry.progress >= progress)
        {
            return;
        }
        if let Some(entry) = pending.remove(self.number) {
            pending.insert(self.number, Entry { progress, ..entry });
        }
    }

    /// Resolves when this connection is evicted. Cancel safe.
    pub async fn evicted(&self) {
        self.evict.cancelled().await;
    }
}

impl Drop for PendingLink {
    fn drop(&mut self) {
        self.pending_links.0.lock().remove(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Option<SocketAddr> {
        Some(SocketAddr::new(text.parse().unwrap(), 1))
    }

    fn from(number: usize) -> Option<SocketAddr> {
        at(&format!("198.51.100.{number}"))
    }

    fn is_evicted(pending_link: &PendingLink) -> bool {
        pending_link.evict.is_cancelled()
    }

    fn silent(pending_links: &PendingLinks, peer: &str) -> PendingLink {
        pending_links.enter(at(peer), CarrierKind::Tls, Progress::Silent)
    }

    #[test]
    fn a_newcomer_is_accepted_and_the_oldest_of_the_largest_group_is_evicted() {
        let pending_links = PendingLinks::new(4);
        let single = silent(&pending_links, "192.0.2.1");
        let group: Vec<_> = (0..3)
            .map(|_| silent(&pending_links, "192.0.2.2"))
            .collect();
        let newcomer = silent(&pending_links, "192.0.2.3");
        assert_eq!(
            group.iter().map(is_evicted).collect::<Vec<_>>(),
            [true, false, false]
        );
        assert!(!is_evicted(&single) && !is_evicted(&newcomer));
        let _another = silent(&pending_links, "192.0.2.4");
        assert!(is_evicted(&group[1]) && !is_evicted(&single));
        // Each address has one now: the oldest of all is evicted.
        let _last = silent(&pending_links, "192.0.2.5");
        assert!(is_evicted(&single) && !is_evicted(&newcomer) && !is_evicted(&group[2]));
    }

    #[test]
    fn a_newcomer_that_has_sent_something_is_not_evicted_by_those_that_send_nothing() {
        let pending_links = PendingLinks::new(16);
        let newcomers = [Progress::Spoke, Progress::Proven].map(|progress| {
            let newcomer = pending_links.enter(at("192.0.2.1"), CarrierKind::Tls, Progress::Silent);
            newcomer.advance(progress);
            newcomer
        });
        let others: Vec<_> = (0..200)
            .map(|n| pending_links.enter(from(n), CarrierKind::Tls, Progress::Silent))
            .collect();
        assert!(!newcomers.iter().any(is_evicted));
        assert_eq!(others.iter().filter(|other| !is_evicted(other)).count(), 14);
    }

    #[test]
    fn connections_without_a_proven_key_are_evicted_before_those_with_one() {
        let pending_links = PendingLinks::new(16);
        let proven = pending_links.enter(at("192.0.2.1"), CarrierKind::Tls, Progress::Proven);
        let others: Vec<_> = (0..200)
            .map(|n| pending_links.enter(from(n), CarrierKind::Tls, Progress::Spoke))
            .collect();
        assert!(!is_evicted(&proven));
        assert_eq!(others.iter().filter(|other| !is_evicted(other)).count(), 15);
    }

    #[test]
    fn connections_with_progress_leave_newcomers_time_for_their_first_byte() {
        let pending_links = PendingLinks::new(16);
        let _slow: Vec<_> = (0..40)
            .map(|n| pending_links.enter(from(n), CarrierKind::Tls, Progress::Spoke))
            .collect();
        let newcomers: Vec<_> = (40..44)
            .map(|n| pending_links.enter(from(n), CarrierKind::Tls, Progress::Silent))
            .collect();
        assert!(
            !newcomers.iter().any(is_evicted),
            "a quarter of the limit is theirs"
        );
        let _more: Vec<_> = (44..80)
            .map(|n| pending_links.enter(from(n), CarrierKind::Tls, Progress::Spoke))
            .collect();
        assert!(!newcomers.iter().any(is_evicted));
    }

    #[test]
    fn connections_over_tcp_do_not_evict_a_newcomer_over_quic_with_the_same_progress() {
        let pending_links = PendingLinks::new(16);
        let newcomer = pending_links.enter(at("192.0.2.1"), CarrierKind::Quic, Progress::Spoke);
        let _strangers: Vec<_> = (0..200)
            .map(|n| pending_links.enter(from(n), CarrierKind::Tls, Progress::Spoke))
            .collect();
        assert!(!is_evicted(&newcomer));
    }

    #[test]
    fn pending_links_are_evicted_when_the_limit_is_lowered() {
        let pending_links = PendingLinks::new(4);
        let proven = pending_links.enter(at("192.0.2.1"), CarrierKind::Tls, Progress::Proven);
        let others: Vec<_> = (0..3)
            .map(|n| pending_links.enter(from(n), CarrierKind::Tls, Progress::Silent))
            .collect();
        pending_links.set_most(1);
        assert!(others.iter().all(is_evicted) && !is_evicted(&proven));
        pending_links.set_most(3);
        let _more: Vec<_> = (0..2)
            .map(|n| pending_links.enter(from(n), CarrierKind::Tls, Progress::Silent))
            .collect();
        assert!(!is_evicted(&proven));
    }

    #[test]
    fn no_entry_remains_of_ended_pending_links() {
        let pending_links = PendingLinks::new(2);
        let pending: Vec<_> = (0..10)
            .map(|_| silent(&pending_links, "2001:db8::1"))
            .collect();
        assert!(pending_links.is_half_full());
        assert_eq!(pending_links.0.lock().entries.len(), 2);
        // One that was evicted already makes no progress.
        pending[0].advance(Progress::Proven);
        pending[9].advance(Progress::Proven);
        drop(pending);
        let pending = pending_links.0.lock();
        assert!(
            pending.entries.is_empty() && pending.classes.iter().all(|class| class.count() == 0)
        );
        assert!(
            pending
                .classes
                .iter()
                .all(|class| class.tls.by_peer.is_empty() && class.quic.by_peer.is_empty())
        );
    }
}
