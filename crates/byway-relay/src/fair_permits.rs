//! Fair permits: a number of permits that several users share, and that a reload may change. The
//! part of a user may be shared in turn by its clients.
//!
//! In:    how many there are; the user that a permit is for, and the client of that user.
//! Out:   a permit, until it is dropped; or why there is none.
//! Never: lets one user take the permits that are left to the others, or one client of a user what
//!        is left to the other clients of that user.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;

/// A number of permits that users share: each may have as many as are left after it. Clients of one
/// user share its part by the same rule. Every operation takes constant time, and there is an entry
/// only for users and clients that have a permit. Cheap to clone: all clones are the same permits.
#[derive(Debug)]
pub struct FairPermits<U: Eq + Hash>(Arc<Mutex<State<U>>>);

#[derive(Debug)]
struct State<U> {
    most: usize,
    taken: usize,
    /// Users that have any.
    users: HashMap<U, UserPermits>,
}

/// The permits of one user.
#[derive(Debug, Default)]
struct UserPermits {
    own: usize,
    /// Clients of the user that have any, and how many.
    clients: HashMap<u64, usize>,
}

impl<U> State<U> {
    const fn left(&self) -> usize {
        self.most.saturating_sub(self.taken)
    }

    /// How many more a user may take that has `own`.
    const fn left_to(&self, own: usize, is_only_user: bool) -> usize {
        match is_only_user {
            true => self.left(),
            false => self.left().saturating_sub(own).div_ceil(2),
        }
    }
}

/// One permit. Dropping it makes room.
#[derive(Debug)]
pub struct FairPermit<U: Eq + Hash> {
    permits: FairPermits<U>,
    user: U,
    client: Option<u64>,
}

/// Why there is no permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPermit {
    /// All are in use.
    Full,
    /// What is left is for others.
    Share {
        /// How many the user has.
        own: usize,
        /// How many there are.
        most: usize,
    },
    /// What is left to the user is for other clients of it.
    ClientShare {
        /// How many the client has.
        own: usize,
        /// How many the user may have at most, as long as the other users have what they have now.
        most: usize,
    },
}

impl<U: Eq + Hash> Clone for FairPermits<U> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<U: Eq + Hash> FairPermits<U> {
    /// At most `most` permits.
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            most,
            taken: 0,
            users: HashMap::new(),
        })))
    }

    /// Changes their number. Those in use above it stay in use.
    pub fn set(&self, most: usize) {
        self.0.lock().most = most;
    }

    /// How many are left.
    pub fn left(&self) -> usize {
        self.0.lock().left()
    }

    /// Whether at least half of them are left.
    pub fn half_is_left(&self) -> bool {
        let state = self.0.lock();
        state.left() >= state.most.div_ceil(2)
    }
}

impl<U: Clone + Eq + Hash> FairPermits<U> {
    /// A permit for `user`. Where there may be other users it gets at most as many as are left
    /// after it, so half of all if it is the only one; and one in any case while one is left.
    ///
    /// # Errors
    /// [`NoPermit`], but not [`NoPermit::ClientShare`].
    pub fn take(&self, user: &U, is_only_user: bool) -> Result<FairPermit<U>, NoPermit> {
        self.take_as(user, is_only_user, None)
    }

    /// A permit for the client `client` of `user`. Beside the rule of [`FairPermits::take`], the
    /// client gets at most as many as the user could still take after it: half of the part of the
    /// user if it is the only client; and one in any case while the user may take one.
    ///
    /// # Errors
    /// [`NoPermit`].
    pub fn take_for_client(
        &self,
        user: &U,
        is_only_user: bool,
        client: u64,
    ) -> Result<FairPermit<U>, NoPermit> {
        self.take_as(user, is_only_user, Some(client))
    }

    fn take_as(
        &self,
        user: &U,
        is_only_user: bool,
        client: Option<u64>,
    ) -> Result<FairPermit<U>, NoPermit> {
        let mut state = self.0.lock();
        if state.left() == 0 {
            return Err(NoPermit::Full);
        }
        let of_user = state.users.get(user);
        let own = of_user.map_or(0, |of_user| of_user.own);
        let left = state.left_to(own, is_only_user);
        if left == 0 {
            return Err(NoPermit::Share {
                own,
                most: state.most,
            });
        }
        if let Some(client) = &client {
            let of_client = of_user.and_then(|of_user| of_user.clients.get(client));
            let of_client = of_client.copied().unwrap_or_default();
            if left <= of_client {
                return Err(NoPermit::ClientShare {
                    own: of_client,
                    most: own + left,
                });
            }
        }
        state.taken += 1;
        let of_user = state.users.entry(user.clone()).or_default();
        of_user.own += 1;
        if let Some(client) = client {
            *of_user.clients.entry(client).or_default() += 1;
        }
        drop(state);
        Ok(FairPermit {
            permits: self.clone(),
            user: user.clone(),
            client,
        })
    }
}

impl<U: Eq + Hash> Drop for FairPermit<U> {
    fn drop(&mut self) {
        let mut state = self.permits.0.lock();
        state.taken -= 1;
        let Some(of_user) = state.users.get_mut(&self.user) else {
            return;
        };
        of_user.own -= 1;
        if let Some(client) = self.client
            && let Some(own) = of_user.clients.get_mut(&client)
        {
            *own -= 1;
            if *own == 0 {
                of_user.clients.remove(&client);
            }
        }
        if of_user.own == 0 {
            state.users.remove(&self.user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take_all(permits: &FairPermits<&'static str>, user: &'static str) -> usize {
        let taken = std::iter::from_fn(|| permits.take(&user, false).ok());
        // They stay taken.
        taken.map(std::mem::forget).count()
    }

    #[test]
    fn one_user_leaves_permits_to_the_others() {
        let permits = FairPermits::new(100);
        assert_eq!(take_all(&permits, "a"), 50);
        assert_eq!(
            permits.take(&"a", false).unwrap_err(),
            NoPermit::Share { own: 50, most: 100 }
        );
        assert_eq!(take_all(&permits, "b"), 25);
        assert_eq!(permits.left(), 25);
    }

    #[test]
    fn the_last_permit_goes_to_a_user_without_one_and_nothing_is_remembered_of_those_that_left() {
        let permits = FairPermits::new(2);
        let (one, other) = (permits.take(&1, false), permits.take(&2, false));
        assert!(one.is_ok() && other.is_ok());
        assert_eq!(permits.take(&3, false).unwrap_err(), NoPermit::Full);
        drop((one, other));
        assert!(permits.0.lock().users.is_empty());
        assert_eq!(permits.left(), 2);
    }

    #[test]
    fn fewer_permits_refuse_until_enough_are_free() {
        let permits = FairPermits::new(4);
        let mut taken: Vec<_> = (0..4).map(|_| permits.take(&"a", true).unwrap()).collect();
        permits.set(2);
        taken.truncate(2);
        assert_eq!(permits.take(&"a", true).unwrap_err(), NoPermit::Full);
        taken.pop();
        assert!(permits.take(&"a", true).is_ok());
        permits.set(0);
        assert_eq!(permits.left(), 0);
    }

    fn take_all_for(permits: &FairPermits<&'static str>, user: &'static str, client: u64) -> usize {
        let taken = std::iter::from_fn(|| permits.take_for_client(&user, false, client).ok());
        taken.map(std::mem::forget).count()
    }

    #[test]
    fn one_client_leaves_half_of_the_part_of_its_user_to_the_other_clients() {
        let permits = FairPermits::new(100);
        assert_eq!(take_all_for(&permits, "a", 1), 25, "the part of `a` is 50");
        assert_eq!(
            permits.take_for_client(&"a", false, 1).unwrap_err(),
            NoPermit::ClientShare { own: 25, most: 50 }
        );
        assert_eq!(take_all_for(&permits, "a", 2), 13);
        assert_eq!(take_all_for(&permits, "b", 1), 16, "another client");
        assert_eq!(permits.left(), 46);
    }

    #[test]
    fn clients_that_take_and_return_permits_in_any_order_are_counted_exactly() {
        let permits = FairPermits::new(40);
        let (mut held, mut random) = (Vec::new(), 1_u64);
        for _ in 0..10_000 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let (user, client) = ((random >> 33) % 3, (random >> 40) % 5);
            match random >> 60 {
                0..=8 => {
                    held.extend(permits.take_for_client(&user, user == 0, client));
                    held.extend(permits.take(&user, false));
                }
                _ if held.is_empty() => {}
                at => drop(held.swap_remove((at as usize).min(held.len() - 1))),
            }
            let state = permits.0.lock();
            assert_eq!(state.taken, held.len());
            let own: usize = state.users.values().map(|of_user| of_user.own).sum();
            assert_eq!(own, held.len());
            for (user, of_user) in &state.users {
                for (client, own) in &of_user.clients {
                    let is_it = |permit: &&FairPermit<u64>| {
                        permit.user == *user && permit.client == Some(*client)
                    };
                    assert_eq!(held.iter().filter(is_it).count(), *own);
                }
            }
        }
        held.clear();
        assert!(permits.0.lock().users.is_empty());
    }
}
