//! Dial permits: limits the streams of links that this node dials, as each takes a descriptor.
//!
//! In:    the number of permits; the user that a permit is for.
//! Out:   a permit, until it is dropped; or why there is none.
//! Never: lets one user take the permits that are left to the others.

use std::sync::Arc;

use byway_relay::{FairPermit, FairPermits, NoPermit};

/// For which user a stream is dialled.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PermitHolder {
    /// A holder of this grant, at an exit.
    Grant(Arc<str>),
    /// The public end of this link, at an agent.
    PublicEnd(Arc<str>),
}

/// Limits the streams of links that this node dials, and leaves permits to other users when one has
/// many. Cheap to clone; clones share the permits.
#[derive(Clone, Debug)]
pub struct DialPermits(FairPermits<PermitHolder>);

/// One permit. Dropping it releases it.
pub type DialPermit = FairPermit<PermitHolder>;

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
        Self(FairPermits::new(most))
    }

    /// Changes their number. Permits in use above it stay in use.
    pub fn set(&self, most: usize) {
        self.0.set(most);
    }

    /// How many are free.
    #[cfg(test)]
    pub(super) fn left(&self) -> usize {
        self.0.left()
    }

    /// A permit for `user`: see [`FairPermits::take`].
    ///
    /// # Errors
    /// [`NoDialPermit`].
    pub fn take(
        &self,
        user: &PermitHolder,
        is_only_user: bool,
    ) -> Result<DialPermit, NoDialPermit> {
        let who = match user {
            PermitHolder::Grant(_) => "grant",
            PermitHolder::PublicEnd(_) => "public end",
        };
        self.0
            .take(user, is_only_user)
            .map_err(|reason| match reason {
                NoPermit::Full => NoDialPermit::Full,
                NoPermit::Share { own, most } => NoDialPermit::Share { who, own, most },
            })
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
        assert_eq!(permits.left(), 100);
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
