//! Dial permits: limits the streams of links that this node dials, as each takes a descriptor.
//!
//! In:    the number of permits; the user that a permit is for.
//! Out:   a permit, until it is dropped; or why there is none.
//! Never: lets one user take the permits that are left to the others.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// For which user a stream is dialled.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PermitHolder {
    /// A holder of this grant, at an exit.
    Grant(Arc<str>),
    /// The public end of this link, at an agent.
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

/// One permit. Dropping it releases it.
#[derive(Debug)]
pub struct DialPermit {
    permits: DialPermits,
    user: PermitHolder,
}

/// Why there is no permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoDialPermit {
    /// All are in use.
    #[error("all descriptors for streams that come over links are in use")]
    Full,
    /// The rest is reserved for others.
    #[error(
        "{own} of {most} descriptors for streams that come over links are in use by one {who}, and the rest is reserved for others"
    )]
    Share {
        /// The kind of user.
        who: &'static str,
        /// How many permits it holds.
        own: usize,
        /// How many permits there are.
        most: usize,
    },
}

impl DialPermits {
    /// At most `most` permits.
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            most,
            taken: 0,
            users: HashMap::new(),
        })))
    }

    /// Changes their number. Permits in use above it stay in use.
    pub fn set(&self, most: usize) {
        self.0.lock().most = most;
    }

    /// How many are free.
    #[cfg(test)]
    pub(super) fn left(&self) -> usize {
        let state = self.0.lock();
        state.most.saturating_sub(state.taken)
    }

    /// A permit for `user`. If there may be other users, it gets at most as many as remain free
    /// after it, so half of all if it is the only one; but always one while one is free.
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
            permits: self.clone(),
            user: user.clone(),
        })
    }
}

impl Drop for DialPermit {
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

    fn grant(name: &str) -> PermitHolder {
        PermitHolder::Grant(name.into())
    }

    #[test]
    fn one_grant_leaves_permits_to_the_others() {
        let permits = DialPermits::new(100);
        let take = |user: &PermitHolder| {
            std::iter::from_fn(|| permits.take(user, false).ok()).collect::<Vec<_>>()
        };
        let first = take(&grant("a"));
        assert_eq!(first.len(), 50);
        let refused = permits.take(&grant("a"), false).unwrap_err();
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
        // The last permits go to users without one.
        let others: Vec<_> = (0..25)
            .map(|n| permits.take(&grant(&n.to_string()), false).unwrap())
            .collect();
        assert_eq!(
            permits.take(&grant("late"), false).unwrap_err(),
            NoDialPermit::Full
        );
        drop((first, second, others));
        let state = permits.0.lock();
        assert_eq!((state.taken, state.users.len()), (0, 0));
    }

    #[test]
    fn a_lower_limit_refuses_until_enough_permits_are_free() {
        let (permits, user) = (DialPermits::new(4), grant("a"));
        let mut taken: Vec<_> = (0..4).map(|_| permits.take(&user, true).unwrap()).collect();
        permits.set(2);
        taken.truncate(2);
        assert_eq!(permits.take(&user, true).unwrap_err(), NoDialPermit::Full);
        taken.pop();
        assert!(permits.take(&user, true).is_ok());
    }

    #[test]
    fn the_only_user_may_take_all_permits() {
        let permits = DialPermits::new(10);
        let user = PermitHolder::PublicEnd("join".into());
        let taken: Vec<_> = std::iter::from_fn(|| permits.take(&user, true).ok()).collect();
        assert_eq!(taken.len(), 10);
        assert_eq!(permits.take(&user, true).unwrap_err(), NoDialPermit::Full);
    }
}
