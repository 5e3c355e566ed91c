//! Fair permits: a number of permits that several users share, and that a reload may change.
//!
//! In:    how many there are; the user that a permit is for.
//! Out:   a permit, until it is dropped; or why there is none.
//! Never: lets one user take the permits that are left to the others.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;

/// A number of permits that users share: each may have as many as are left after it. Cheap to
/// clone: all clones are the same permits.
#[derive(Debug)]
pub struct FairPermits<U: Eq + Hash>(Arc<Mutex<State<U>>>);

#[derive(Debug)]
struct State<U> {
    most: usize,
    taken: usize,
    /// Users that have any.
    users: HashMap<U, usize>,
}

impl<U> State<U> {
    const fn left(&self) -> usize {
        self.most.saturating_sub(self.taken)
    }
}

/// One permit. Dropping it makes room.
#[derive(Debug)]
pub struct FairPermit<U: Eq + Hash> {
    permits: FairPermits<U>,
    user: U,
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
    /// [`NoPermit`].
    pub fn take(&self, user: &U, is_only_user: bool) -> Result<FairPermit<U>, NoPermit> {
        let mut state = self.0.lock();
        let left = state.left();
        if left == 0 {
            return Err(NoPermit::Full);
        }
        let own = state.users.get(user).copied().unwrap_or_default();
        if !is_only_user && left <= own {
            return Err(NoPermit::Share {
                own,
                most: state.most,
            });
        }
        state.taken += 1;
        *state.users.entry(user.clone()).or_default() += 1;
        drop(state);
        Ok(FairPermit {
            permits: self.clone(),
            user: user.clone(),
        })
    }
}

impl<U: Eq + Hash> Drop for FairPermit<U> {
    fn drop(&mut self) {
        let mut state = self.permits.0.lock();
        state.taken -= 1;
        if let Some(own) = state.users.get_mut(&self.user) {
            *own -= 1;
            if *own == 0 {
                state.users.remove(&self.user);
            }
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
}
