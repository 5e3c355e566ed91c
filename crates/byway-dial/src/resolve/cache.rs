//! Cache: answers by name, with their lifetimes.
//!
//! In:    answers with their lifetimes, the client of each, and the time.
//! Out:   a fresh answer, or expired addresses as a fallback.
//! Never: holds more than a fixed number of names. When it is full, the client with the most names
//!        loses its oldest one, so that one user cannot evict the names of others.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::{Addresses, ClientId, Key, LookupResult, ResolveError};

/// The lifetime of an answer without one, as with `getaddrinfo` and `/etc/hosts`.
pub(super) const POSITIVE_TTL: Duration = Duration::from_secs(30);
/// The shortest and the longest lifetime that is used.
const TTL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));
/// How long "no such name" is cached. Other failures are never cached.
pub(super) const NEGATIVE_TTL: Duration = Duration::from_secs(5);
/// How long expired addresses may be used while no server answers (RFC 8767 allows days).
pub(super) const STALE: Duration = Duration::from_secs(3600);
/// After expired addresses were used: how long until the servers are queried again.
pub(super) const RECHECK: Duration = Duration::from_secs(5);
/// How many names are cached.
pub(super) const NAMES_MAX: usize = 4096;

/// The cached state of a name.
pub(super) enum Found {
    /// An unexpired answer.
    Fresh(LookupResult),
    /// Expired addresses, to be used only if no server answers.
    Stale(Addresses),
    /// Nothing.
    Nothing,
}

/// Answers by name.
#[derive(Default)]
pub(super) struct Cache {
    entries: HashMap<Key, Entry>,
    /// The names that count against each client, by insertion, the oldest first. Each client here has
    /// at least one.
    shares: HashMap<ClientId, BTreeMap<u64, Key>>,
    insertions: u64,
}

struct Entry {
    answer: LookupResult,
    fresh_until: Instant,
    stale_until: Instant,
    /// The client that it counts against: the first one, even if another renews it.
    client: ClientId,
    insertion: u64,
}

impl Cache {
    pub(super) fn find(&self, name: &Key, now: Instant) -> Found {
        match self.entries.get(name) {
            Some(entry) if now < entry.fresh_until => Found::Fresh(entry.answer.clone()),
            Some(Entry {
                answer: Ok(addresses),
                stale_until,
                ..
            }) if now < *stale_until => Found::Stale(addresses.clone()),
            _ => Found::Nothing,
        }
    }

    /// Caches `answer`, which was looked up for `client`, for `ttl`, or for the default time of its
    /// kind if the lifetime is unknown.
    pub(super) fn keep(
        &mut self,
        name: &Key,
        client: &ClientId,
        answer: &LookupResult,
        ttl: Option<Duration>,
        now: Instant,
    ) {
        let (ttl, stale) = match answer {
            Ok(_) => (
                ttl.map_or(POSITIVE_TTL, |ttl| ttl.clamp(TTL.0, TTL.1)),
                STALE,
            ),
            Err(ResolveError::NotFound) => (NEGATIVE_TTL, Duration::ZERO),
            Err(_) => return,
        };
        self.insertions += 1;
        let fresh_until = now + ttl;
        let earlier = self.remove(name);
        let entry = Entry {
            answer: answer.clone(),
            fresh_until,
            stale_until: fresh_until + stale,
            client: earlier.map_or_else(|| client.clone(), |earlier| earlier.client),
            insertion: self.insertions,
        };
        self.shares
            .entry(entry.client.clone())
            .or_default()
            .insert(entry.insertion, name.clone());
        self.entries.insert(name.clone(), entry);
        while self.entries.len() > NAMES_MAX && self.evict() {}
    }

    fn remove(&mut self, name: &Key) -> Option<Entry> {
        let entry = self.entries.remove(name)?;
        if let Some(share) = self.shares.get_mut(&entry.client) {
            share.remove(&entry.insertion);
            if share.is_empty() {
                self.shares.remove(&entry.client);
            }
        }
        Some(entry)
    }

    /// Removes the oldest name of the client with the most names.
    fn evict(&mut self) -> bool {
        let largest = self.shares.values().max_by_key(|share| share.len());
        let Some(name) = largest.and_then(|share| share.values().next()).cloned() else {
            return false;
        };
        self.remove(&name).is_some()
    }

    /// No server has answered: uses expired addresses for a short time without a query.
    pub(super) fn use_stale(&mut self, name: &Key, now: Instant) -> Option<Addresses> {
        let entry = self.entries.get_mut(name)?;
        let Ok(addresses) = &entry.answer else {
            return None;
        };
        if now >= entry.stale_until {
            return None;
        }
        entry.fresh_until = entry
            .fresh_until
            .max((now + RECHECK).min(entry.stale_until));
        Some(addresses.clone())
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.shares.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Arc;

    use super::*;

    fn name(text: &str) -> Key {
        Key {
            name: text.parse().unwrap(),
            is_absolute: false,
        }
    }

    fn answer() -> LookupResult {
        Ok(Arc::new([IpAddr::from([192, 0, 2, 1])]))
    }

    #[tokio::test]
    async fn the_oldest_name_is_evicted() {
        let now = Instant::now();
        let mut cache = Cache::default();
        for n in 0..=NAMES_MAX {
            cache.keep(
                &name(&format!("n{n}.example")),
                &ClientId::Own,
                &answer(),
                None,
                now,
            );
        }
        assert_eq!(cache.entries.len(), NAMES_MAX);
        assert!(matches!(
            cache.find(&name("n0.example"), now),
            Found::Nothing
        ));
        assert!(matches!(
            cache.find(&name("n1.example"), now),
            Found::Fresh(Ok(_))
        ));
    }

    #[tokio::test]
    async fn a_name_that_is_renewed_repeatedly_takes_no_room() {
        let now = Instant::now();
        let mut cache = Cache::default();
        for _ in 0..10 * NAMES_MAX {
            cache.keep(&name("a.example"), &ClientId::Own, &answer(), None, now);
        }
        assert_eq!(
            (cache.entries.len(), cache.shares[&ClientId::Own].len()),
            (1, 1)
        );
    }

    #[tokio::test]
    async fn a_lifetime_is_clamped_between_a_second_and_an_hour() {
        let now = Instant::now();
        let mut cache = Cache::default();
        for (ttl, kept) in [(0, 1), (1, 1), (60, 60), (1_000_000, 3600)] {
            cache.keep(
                &name("a.example"),
                &ClientId::Own,
                &answer(),
                Some(Duration::from_secs(ttl)),
                now,
            );
            let kept = now + Duration::from_secs(kept);
            let just_before = kept - Duration::from_millis(1);
            assert!(
                matches!(
                    cache.find(&name("a.example"), just_before),
                    Found::Fresh(Ok(_))
                ),
                "{ttl}"
            );
            assert!(
                matches!(cache.find(&name("a.example"), kept), Found::Stale(_)),
                "{ttl}"
            );
        }
    }

    #[tokio::test]
    async fn expired_addresses_are_used_for_an_hour_and_not_longer() {
        let now = Instant::now();
        let mut cache = Cache::default();
        cache.keep(&name("a.example"), &ClientId::Own, &answer(), None, now);
        let end = now + POSITIVE_TTL + STALE;
        assert!(
            cache
                .use_stale(&name("a.example"), end - Duration::from_secs(1))
                .is_some()
        );
        assert!(matches!(
            cache.find(&name("a.example"), end - Duration::from_millis(1)),
            Found::Fresh(Ok(_))
        ));
        assert!(matches!(
            cache.find(&name("a.example"), end),
            Found::Nothing
        ));
        assert!(cache.use_stale(&name("a.example"), end).is_none());
    }

    #[tokio::test]
    async fn a_client_that_renews_the_name_of_another_does_not_own_it() {
        let now = Instant::now();
        let [alice, bob] = ["alice", "bob"].map(|user| ClientId::User(user.into()));
        let mut cache = Cache::default();
        cache.keep(&name("of.bob"), &bob, &answer(), None, now);
        cache.keep(&name("of.bob"), &alice, &answer(), None, now);
        for n in 0..2 * NAMES_MAX {
            cache.keep(
                &name(&format!("n{n}.example")),
                &alice,
                &answer(),
                None,
                now,
            );
        }
        assert!(matches!(
            cache.find(&name("of.bob"), now),
            Found::Fresh(Ok(_))
        ));
        assert_eq!(
            (cache.entries.len(), cache.shares[&bob].len()),
            (NAMES_MAX, 1)
        );
        cache.keep(&name("more.of.bob"), &bob, &answer(), None, now);
        assert_eq!(
            (cache.entries.len(), cache.shares[&alice].len()),
            (NAMES_MAX, NAMES_MAX - 2)
        );
    }
}
