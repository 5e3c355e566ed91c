//! Dial permits: limits the streams of links that this node dials, as each takes a descriptor.
//!
//! In:    the number of permits; the user that a permit is for, and the client of that user.
//! Out:   a permit, until it is dropped; or why there is none.
//! Never: lets one user take the permits that are left to the others, or one client of a user what
//!        is left to the other clients of that user.

use std::sync::Arc;

use byway_link::ClientKey;
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
/// many, and to other clients of a user when one of them has many. Cheap to clone; clones share the permits.
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
    /// The rest is reserved for other clients of the user.
    #[error(
        "{own} of {most} descriptors for streams of one {who} are in use by one client of it, and the rest is reserved for its other clients"
    )]
    ClientShare {
        /// The kind of user.
        who: &'static str,
        /// How many permits the client holds.
        own: usize,
        /// How many the user may hold at most.
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

    /// A permit for the client `client` of `user`: see [`FairPermits::take_for_client`]. Streams of
    /// unknown clients count as those of one client.
    ///
    /// # Errors
    /// [`NoDialPermit`].
    pub fn take(
        &self,
        user: &PermitHolder,
        is_only_user: bool,
        client: ClientKey,
    ) -> Result<DialPermit, NoDialPermit> {
        let who = match user {
            PermitHolder::Grant(_) => "grant",
            PermitHolder::PublicEnd(_) => "public end",
        };
        self.0
            .take_for_client(user, is_only_user, client.number())
            .map_err(|reason| match reason {
                NoPermit::Full => NoDialPermit::Full,
                NoPermit::Share { own, most } => NoDialPermit::Share { who, own, most },
                NoPermit::ClientShare { own, most } => NoDialPermit::ClientShare { who, own, most },
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(name: &str) -> PermitHolder {
        PermitHolder::Grant(name.into())
    }

    const fn client(number: u64) -> ClientKey {
        ClientKey::numbered(number)
    }

    /// As many as a new client can get for each number of `clients`.
    fn take_all(
        permits: &DialPermits,
        user: &PermitHolder,
        is_only_user: bool,
        clients: std::ops::Range<u64>,
    ) -> Vec<DialPermit> {
        let of_client = |number| {
            std::iter::from_fn(move || permits.take(user, is_only_user, client(number)).ok())
        };
        clients.flat_map(of_client).collect()
    }

    #[test]
    fn one_grant_with_many_clients_leaves_permits_to_the_other_grants() {
        let permits = DialPermits::new(100);
        let first = take_all(&permits, &grant("a"), false, 1..60);
        assert_eq!(first.len(), 50);
        let refused = permits.take(&grant("a"), false, client(99)).unwrap_err();
        assert_eq!(
            refused,
            NoDialPermit::Share {
                who: "grant",
                own: 50,
                most: 100
            }
        );
        let second = take_all(&permits, &grant("b"), false, 1..60);
        assert_eq!(second.len(), 25);
        // The last permits go to users without one.
        let others: Vec<_> = (0..25)
            .map(|n| {
                permits
                    .take(&grant(&n.to_string()), false, ClientKey::UNKNOWN)
                    .unwrap()
            })
            .collect();
        assert_eq!(
            permits.take(&grant("late"), false, client(1)).unwrap_err(),
            NoDialPermit::Full
        );
        drop((first, second, others));
        assert_eq!(permits.left(), 100);
    }

    #[test]
    fn one_visitor_took_all_descriptors_of_an_agent_and_left_none_for_other_visitors() {
        let permits = DialPermits::new(594);
        let user = PermitHolder::PublicEnd("join".into());
        let held = take_all(&permits, &user, true, 1..2);
        assert_eq!(held.len(), 297, "a client that is alone gets half");
        assert_eq!(
            permits.take(&user, true, client(1)).unwrap_err(),
            NoDialPermit::ClientShare {
                who: "public end",
                own: 297,
                most: 594
            }
        );
        assert_eq!(take_all(&permits, &user, true, 2..3).len(), 149);
    }

    #[test]
    fn streams_of_unknown_clients_are_those_of_one_client() {
        let permits = DialPermits::new(10);
        let user = PermitHolder::PublicEnd("join".into());
        assert_eq!(take_all(&permits, &user, true, 0..1).len(), 5);
        assert_eq!(
            take_all(&permits, &user, true, 1..2).len(),
            5,
            "dropped meanwhile"
        );
    }

    #[test]
    fn a_lower_limit_refuses_until_enough_permits_are_free() {
        let (permits, user) = (DialPermits::new(4), grant("a"));
        let take = |number| permits.take(&user, true, client(number));
        let mut taken: Vec<_> = (0..4).map(|number| take(number).unwrap()).collect();
        permits.set(2);
        taken.truncate(2);
        assert_eq!(take(9).unwrap_err(), NoDialPermit::Full);
        taken.pop();
        assert!(take(9).is_ok());
    }

    #[test]
    fn the_clients_of_the_only_user_may_take_all_permits() {
        let permits = DialPermits::new(10);
        let user = PermitHolder::PublicEnd("join".into());
        assert_eq!(take_all(&permits, &user, true, 1..9).len(), 10);
    }
}
