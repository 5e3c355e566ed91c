//! Cache: answers by name, for as long as they may be used.
//!
//! In:    answers with their lifetimes, and the time.
//! Out:   a fresh answer, or addresses that are out of date and still better than none.
//! Never: holds more than a fixed number of names; the oldest make room.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::{Addresses, Answer, ResolveError};
use crate::target::HostName;

/// How long an answer is used whose lifetime is unknown, as with `getaddrinfo` and `/etc/hosts`.
pub(super) const POSITIVE_TTL: Duration = Duration::from_secs(30);
/// The shortest and the longest lifetime that is believed.
const TTL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));
/// How long "there is no such name" is believed. Other failures are never kept.
pub(super) const NEGATIVE_TTL: Duration = Duration::from_secs(5);
/// How long addresses may be used beyond their lifetime while no server answers (RFC 8767 allows days).
pub(super) const STALE: Duration = Duration::from_secs(3600);
/// After addresses beyond their lifetime were used: how long until the servers are asked again.
pub(super) const RECHECK: Duration = Duration::from_secs(5);
/// How many names are remembered.
pub(super) const NAMES_MAX: usize = 4096;

/// What is known of a name.
pub(super) enum Found {
    /// An answer within its lifetime.
    Fresh(Answer),
    /// Addresses beyond their lifetime, to be used only if no server answers.
    Stale(Addresses),
    /// Nothing.
    Nothing,
}

/// Answers by name, oldest first out.
#[derive(Default)]
pub(super) struct Cache {
    entries: HashMap<HostName, Entry>,
    /// Every insertion in its order; an entry is the newest insertion of its name.
    order: VecDeque<(HostName, u64)>,
    insertions: u64,
}

struct Entry {
    answer: Answer,
    fresh_until: Instant,
    stale_until: Instant,
    insertion: u64,
}

impl Cache {
    pub(super) fn find(&self, name: &HostName, now: Instant) -> Found {
        match self.entries.get(name) {
            Some(entry) if now < entry.fresh_until => Found::Fresh(entry.answer.clone()),
            Some(Entry { answer: Ok(addresses), stale_until, .. }) if now < *stale_until => {
                Found::Stale(addresses.clone())
            }
            _ => Found::Nothing,
        }
    }

    /// Keeps `answer` for `ttl`, or for as long as its kind is kept where the lifetime is unknown.
    pub(super) fn keep(&mut self, name: &HostName, answer: &Answer, ttl: Option<Duration>, now: Instant) {
        let (ttl, stale) = match answer {
            Ok(_) => (ttl.map_or(POSITIVE_TTL, |ttl| ttl.clamp(TTL.0, TTL.1)), STALE),
            Err(ResolveError::NotFound) => (NEGATIVE_TTL, Duration::ZERO),
            Err(ResolveError::Timeout | ResolveError::Busy | ResolveError::Failed(_)) => return,
        };
        self.insertions += 1;
        let fresh_until = now + ttl;
        let entry =
            Entry { answer: answer.clone(), fresh_until, stale_until: fresh_until + stale, insertion: self.insertions };
        self.entries.insert(name.clone(), entry);
        self.order.push_back((name.clone(), self.insertions));
        self.shed();
    }

    /// No server has answered: addresses beyond their lifetime are used for a short time without asking.
    pub(super) fn use_stale(&mut self, name: &HostName, now: Instant) -> Option<Addresses> {
        let entry = self.entries.get_mut(name)?;
        let Ok(addresses) = &entry.answer else { return None };
        if now >= entry.stale_until {
            return None;
        }
        entry.fresh_until = entry.fresh_until.max((now + RECHECK).min(entry.stale_until));
        Some(addresses.clone())
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.order.clear();
    }

    /// Lets the oldest go until both the names and the record of their order are within bounds.
    fn shed(&mut self) {
        while self.entries.len() > NAMES_MAX || self.order.len() > 2 * NAMES_MAX {
            let Some((name, insertion)) = self.order.pop_front() else { return };
            if self.entries.get(&name).is_some_and(|entry| entry.insertion == insertion) {
                self.entries.remove(&name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Arc;

    use super::*;

    fn name(text: &str) -> HostName {
        text.parse().unwrap()
    }

    fn answer() -> Answer {
        Ok(Arc::new([IpAddr::from([192, 0, 2, 1])]))
    }

    #[tokio::test]
    async fn the_oldest_name_makes_room() {
        let now = Instant::now();
        let mut cache = Cache::default();
        for n in 0..=NAMES_MAX {
            cache.keep(&name(&format!("n{n}.example")), &answer(), None, now);
        }
        assert_eq!(cache.entries.len(), NAMES_MAX);
        assert!(matches!(cache.find(&name("n0.example"), now), Found::Nothing));
        assert!(matches!(cache.find(&name("n1.example"), now), Found::Fresh(Ok(_))));
    }

    #[tokio::test]
    async fn a_name_that_is_renewed_again_and_again_takes_no_room() {
        let now = Instant::now();
        let mut cache = Cache::default();
        for _ in 0..10 * NAMES_MAX {
            cache.keep(&name("a.example"), &answer(), None, now);
        }
        assert_eq!((cache.entries.len(), cache.order.len() <= 2 * NAMES_MAX), (1, true));
    }

    #[tokio::test]
    async fn a_lifetime_is_kept_within_a_second_and_an_hour() {
        let now = Instant::now();
        let mut cache = Cache::default();
        for (told, kept) in [(0, 1), (1, 1), (60, 60), (1_000_000, 3600)] {
            cache.keep(&name("a.example"), &answer(), Some(Duration::from_secs(told)), now);
            let kept = now + Duration::from_secs(kept);
            let just_before = kept - Duration::from_millis(1);
            assert!(matches!(cache.find(&name("a.example"), just_before), Found::Fresh(Ok(_))), "{told}");
            assert!(matches!(cache.find(&name("a.example"), kept), Found::Stale(_)), "{told}");
        }
    }

    #[tokio::test]
    async fn addresses_beyond_their_lifetime_are_used_for_an_hour_and_not_longer() {
        let now = Instant::now();
        let mut cache = Cache::default();
        cache.keep(&name("a.example"), &answer(), None, now);
        let end = now + POSITIVE_TTL + STALE;
        assert!(cache.use_stale(&name("a.example"), end - Duration::from_secs(1)).is_some());
        assert!(matches!(cache.find(&name("a.example"), end - Duration::from_millis(1)), Found::Fresh(Ok(_))));
        assert!(matches!(cache.find(&name("a.example"), end), Found::Nothing));
        assert!(cache.use_stale(&name("a.example"), end).is_none());
    }
}
