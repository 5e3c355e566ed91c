//! Dial permits: the places for streams that come over links and that this node dials, as each
//! takes a descriptor.
//!
//! In:    how many places there are; the user that a place is for.
//! Out:   a place, until it is dropped; or why there is none.
//! Never: lets one user take the places that are left to the others.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// On whose behalf a stream is dialled.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PermitHolder {
    /// A holder of this grant, at an exit.
    Grant(Arc<str>),
    /// The public end at the other end of this link, at an agent.
    PublicEnd(Arc<str>),
}

/// See the head of the file. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DialPermits(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    most: usize,
    taken: usize,
    users: HashMap<PermitHolder, usize>,
}

/// One place. Dropping it makes room.
#[derive(Debug)]
pub struct DialPermit {
    places: DialPermits,
    user: PermitHolder,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoDialPermit {
    /// All are in use.
    #[error("all descriptors for streams that come over links are in use")]
    Full,
    /// What is left is for others.
    #[error(
        "{own} of {most} descriptors for streams that come over links are in use by one {who}, and the rest is for others"
    )]
    Share {
        /// What kind of user it is.
        who: &'static str,
        /// How many it has.
        own: usize,
        /// How many there are.
        most: usize,
    },
}

impl DialPermits {
    /// At most `most` places.
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
    #[cfg(test)]
    pub(super) fn left(&self) -> usize {
        let state = self.0.lock();
        state.most.saturating_sub(state.taken)
    }

    /// A place for `user`. Where there may be other users it gets at most as many as are left after
    /// it, so half of all if it is the only one; and one in any case while one is left.
    ///
    /// # Errors
    /// [`NoDialPermit`].
    pub fn take(
        &self,
        user: &PermitHolder,
        is_only_user: bool,
    ) -> Result<DialPermit, NoDialPermit> {
        let mut state = self.0.lock();
        let left = state.most.saturating_sub(state.taken);
        if left == 0 {
            return Err(NoDialPermit::Full);
        }
        let own = state.users.get(user).copied().unwrap_or_default();
        if !is_only_user && left <= own {
            let who = match user {
                PermitHolder::Grant(_) => "grant",
                PermitHolder::PublicEnd(_) => "public end",
            };
            return Err(NoDialPermit::Share {
                who,
                own,
                most: state.most,
            });
        }
        state.taken += 1;
        *state.users.entry(user.clone()).or_default() += 1;
        drop(state);
        Ok(DialPermit {
            places: self.clone(),
            user: user.clone(),
        })
    }
}

impl Drop for DialPermit {
    fn drop(&mut self) {
        let mut state = self.places.0.lock();
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

    fn grant(name: &str) -> PermitHolder {
        PermitHolder::Grant(name.into())
    }

    #[test]
    fn one_grant_leaves_places_to_the_others() {
        let places = DialPermits::new(100);
        let take = |user: &PermitHolder| {
            std::iter::from_fn(|| places.take(user, false).ok()).collect::<Vec<_>>()
        };
        let first = take(&grant("a"));
        assert_eq!(first.len(), 50);
        let refused = places.take(&grant("a"), false).unwrap_err();
        assert_eq!(
            refused,
            NoDialPermit::Share {
                who: "grant",
                own: 50,
                most: 100
            }
        );
        let second = take(&grant("b"));
        assert_eq!(second.len(), 25);
        // The last places go to users without one.
        let others: Vec<_> = (0..25)
            .map(|n| places.take(&grant(&n.to_string()), false).unwrap())
            .collect();
        assert_eq!(
            places.take(&grant("late"), false).unwrap_err(),
            NoDialPermit::Full
        );
        drop((first, second, others));
        let state = places.0.lock();
        assert_eq!((state.taken, state.users.len()), (0, 0));
    }

    #[test]
    fn a_smaller_number_of_places_refuses_until_enough_are_free() {
        let (places, user) = (DialPermits::new(4), grant("a"));
        let mut taken: Vec<_> = (0..4).map(|_| places.take(&user, true).unwrap()).collect();
        places.set(2);
        taken.truncate(2);
        assert_eq!(places.take(&user, true).unwrap_err(), NoDialPermit::Full);
        taken.pop();
        assert!(places.take(&user, true).is_ok());
    }

    #[test]
    fn the_only_user_has_all_places() {
        let places = DialPermits::new(10);
        let user = PermitHolder::PublicEnd("join".into());
        let taken: Vec<_> = std::iter::from_fn(|| places.take(&user, true).ok()).collect();
        assert_eq!(taken.len(), 10);
        assert_eq!(places.take(&user, true).unwrap_err(), NoDialPermit::Full);
    }
}
