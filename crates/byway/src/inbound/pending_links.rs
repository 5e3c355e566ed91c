//! Pending links: connections at the ports of links that have not shown yet that they may be there.
//!
//! In:    the address and the transport of each new connection, and what it has achieved so far.
//! Out:   a pending link, until it is welcomed; or the word that it has to leave.
//! Never: lets a newcomer wait for those who say nothing. When it is full, connections that have
//!        sent nothing are evicted first, then those without a proven key, then the rest; but no
//!        class is evicted below a quarter of the places while another has more, so that each
//!        newcomer has time for its next step. Within a class: the transport with the most pending
//!        links, there the address with the most, there the oldest.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use byway_link::{CarrierKind, Progress};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::ip_limit::ip_limit_key;

/// Guests at once, of all listeners of links together; less where few links are allowed.
pub const PENDING_LINKS: usize = 1024;

/// The same where few links are allowed, if the descriptors suffice.
pub const FEWEST_PENDING_LINKS: usize = 128;

/// No class of pending links is evicted while it has at most this part of the places and another
/// has more.
const CLASS_SHARE: usize = 4;

/// See the head of the file. Clones are the same.
#[derive(Clone, Debug)]
pub struct PendingLinks(Arc<Mutex<PendingState>>);

#[derive(Debug)]
struct PendingState {
    most: usize,
    next: u64,
    entries: HashMap<u64, Entry>,
    /// By [`Progress`], the least first.
    classes: [ProgressClass; 3],
}

#[derive(Debug)]
struct Entry {
    peer: IpAddr,
    by: CarrierKind,
    progress: Progress,
    leave: CancellationToken,
}

/// Guests with the same progress, by transport and address.
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
    /// With room for `most` pending links, and for one at least.
    pub fn new(most: usize) -> Self {
        let (entries, classes) = Default::default();
        Self(Arc::new(Mutex::new(PendingState {
            most: most.max(1),
            next: 0,
            entries,
            classes,
        })))
    }

    /// Takes a new connection in. If there is no room, another has to leave.
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
        let gone = (pending.entries.len() >= pending.most)
            .then(|| pending.remove_one())
            .flatten();
        let (number, leave) = (pending.next, CancellationToken::new());
        pending.next += 1;
        pending.insert(
            number,
            Entry {
                peer,
                by,
                progress,
                leave: leave.clone(),
            },
        );
        drop(pending);
        if let Some(gone) = gone {
            gone.cancel();
        }
        PendingLink {
            pending_links: self.clone(),
            number,
            leave,
        }
    }

    /// Whether at least half of the places are taken: addresses have to be proven from here on.
    pub fn is_half_full(&self) -> bool {
        let pending = self.0.lock();
        pending.entries.len() * 2 >= pending.most
    }

    /// Changes the number of places, to one at least. Guests that are too many leave, as if others
    /// had come.
    pub fn set_most(&self, most: usize) {
        let mut pending = self.0.lock();
        pending.most = most.max(1);
        while pending.entries.len() > pending.most {
            let Some(gone) = pending.remove_one() else {
                break;
            };
            gone.cancel();
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
            class.crowd(entry.by).insert(entry.peer, number);
        }
        self.entries.insert(number, entry);
    }

    fn remove_one(&mut self) -> Option<CancellationToken> {
        let share = self.most / CLASS_SHARE;
        let counts = || self.classes.iter().map(ProgressClass::count);
        // With few places every class may be within its share: then the first that has a pending
        // link.
        let class = counts()
            .position(|count| count > share)
            .or_else(|| counts().position(|count| count > 0))?;
        let oldest = self.classes.get(class)?.oldest_of_the_most()?;
        self.remove(oldest).map(|entry| entry.leave)
    }

    fn remove(&mut self, number: u64) -> Option<Entry> {
        let entry = self.entries.remove(&number)?;
        if let Some(class) = self.classes.get_mut(entry.progress as usize) {
            class.crowd(entry.by).remove(entry.peer, number);
        }
        Some(entry)
    }
}

impl ProgressClass {
    const fn count(&self) -> usize {
        self.tls.count + self.quic.count
    }

    const fn crowd(&mut self, by: CarrierKind) -> &mut PeerCounts {
        match by {
            CarrierKind::Tls => &mut self.tls,
            CarrierKind::Quic => &mut self.quic,
        }
    }

    fn oldest_of_the_most(&self) -> Option<u64> {
        let crowd = if self.tls.count >= self.quic.count {
            &self.tls
        } else {
            &self.quic
        };
        let order = |numbers: &&BTreeSet<u64>| (numbers.len(), Reverse(numbers.first().copied()));
        crowd.by_peer.values().max_by_key(order)?.first().copied()
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

/// One connection in the set of pending links, until it is dropped.
#[derive(Debug)]
pub struct PendingLink {
    pending_links: PendingLinks,
    number: u64,
    leave: CancellationToken,
}

impl PendingLink {
    /// Notes what the connection has achieved. It is never taken back.
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

    /// Resolves when this connection has to make room for another. Cancel safe.
    pub async fn has_to_leave(&self) {
        self.leave.cancelled().await;
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

    fn left(guest: &PendingLink) -> bool {
        guest.leave.is_cancelled()
    }

    fn silent(pending_links: &PendingLinks, peer: &str) -> PendingLink {
        pending_links.enter(at(peer), CarrierKind::Tls, Progress::Silent)
    }

    #[test]
    fn a_newcomer_gets_in_and_the_oldest_of_the_largest_crowd_leaves() {
        let pending_links = PendingLinks::new(4);
        let single = silent(&pending_links, "192.0.2.1");
        let crowd: Vec<_> = (0..3)
            .map(|_| silent(&pending_links, "192.0.2.2"))
            .collect();
        let newcomer = silent(&pending_links, "192.0.2.3");
        assert_eq!(
            crowd.iter().map(left).collect::<Vec<_>>(),
            [true, false, false]
        );
        assert!(!left(&single) && !left(&newcomer));
        let _another = silent(&pending_links, "192.0.2.4");
        assert!(left(&crowd[1]) && !left(&single));
        // All are alone now: the oldest of all leaves.
        let _last = silent(&pending_links, "192.0.2.5");
        assert!(left(&single) && !left(&newcomer) && !left(&crowd[2]));
    }

    #[test]
    fn a_newcomer_that_has_sent_something_is_not_evicted_by_those_that_send_nothing() {
        let pending_links = PendingLinks::new(16);
        let newcomers = [Progress::Spoke, Progress::Proven].map(|progress| {
            let newcomer = pending_links.enter(at("192.0.2.1"), CarrierKind::Tls, Progress::Silent);
            newcomer.advance(progress);
            newcomer
        });
        let strangers: Vec<_> = (0..200)
            .map(|n| pending_links.enter(from(n), CarrierKind::Tls, Progress::Silent))
            .collect();
        assert!(!newcomers.iter().any(left));
        assert_eq!(
            strangers.iter().filter(|stranger| !left(stranger)).count(),
            14
        );
    }

    #[test]
    fn those_without_a_proven_key_are_evicted_before_those_with_one() {
        let pending_links = PendingLinks::new(16);
        let proven = pending_links.enter(at("192.0.2.1"), CarrierKind::Tls, Progress::Proven);
        let strangers: Vec<_> = (0..200)
            .map(|n| pending_links.enter(from(n), CarrierKind::Tls, Progress::Spoke))
            .collect();
        assert!(!left(&proven));
        assert_eq!(
            strangers.iter().filter(|stranger| !left(stranger)).count(),
            15
        );
    }

    #[test]
    fn connections_with_progress_leave_newcomers_the_time_for_their_first_byte() {
        let pending_links = PendingLinks::new(16);
        let _slow: Vec<_> = (0..40)
            .map(|n| pending_links.enter(from(n), CarrierKind::Tls, Progress::Spoke))
            .collect();
        let newcomers: Vec<_> = (40..44)
            .map(|n| pending_links.enter(from(n), CarrierKind::Tls, Progress::Silent))
            .collect();
        assert!(
            !newcomers.iter().any(left),
            "a quarter of the places is theirs"
        );
        let _more: Vec<_> = (44..80)
            .map(|n| pending_links.enter(from(n), CarrierKind::Tls, Progress::Spoke))
            .collect();
        assert!(!newcomers.iter().any(left));
    }

    #[test]
    fn strangers_by_tcp_do_not_evict_a_newcomer_by_quic_with_the_same_progress() {
        let pending_links = PendingLinks::new(16);
        let newcomer = pending_links.enter(at("192.0.2.1"), CarrierKind::Quic, Progress::Spoke);
        let _strangers: Vec<_> = (0..200)
            .map(|n| pending_links.enter(from(n), CarrierKind::Tls, Progress::Spoke))
            .collect();
        assert!(!left(&newcomer));
    }

    #[test]
    fn guests_leave_when_their_places_become_fewer() {
        let pending_links = PendingLinks::new(4);
        let proven = pending_links.enter(at("192.0.2.1"), CarrierKind::Tls, Progress::Proven);
        let others: Vec<_> = (0..3)
            .map(|n| pending_links.enter(from(n), CarrierKind::Tls, Progress::Silent))
            .collect();
        pending_links.set_most(1);
        assert!(others.iter().all(left) && !left(&proven));
        pending_links.set_most(3);
        let _more: Vec<_> = (0..2)
            .map(|n| pending_links.enter(from(n), CarrierKind::Tls, Progress::Silent))
            .collect();
        assert!(!left(&proven));
    }

    #[test]
    fn nothing_is_remembered_of_guests_that_are_gone() {
        let pending_links = PendingLinks::new(2);
        let pending: Vec<_> = (0..10)
            .map(|_| silent(&pending_links, "2001:db8::1"))
            .collect();
        assert!(pending_links.is_half_full());
        assert_eq!(pending_links.0.lock().entries.len(), 2);
        // One that has left already makes no progress.
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
