//! Client: the party for which a connection is acquired, so that one client cannot exhaust an
//! origin.
//!
//! In:    what distinguishes clients: an address, a network, a user.
//! Out:   a small key, without the value itself.

use std::hash::{BuildHasher, Hash, RandomState};
use std::num::NonZeroU64;
use std::sync::OnceLock;

/// A client, by a hash with a random key per process: a peer cannot make two clients collide.
///
/// [`Client::ANYONE`], the default, is the client of all acquires that name none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Client(Option<NonZeroU64>);

impl Client {
    /// The client of acquires that name no client.
    pub const ANYONE: Self = Self(None);

    /// Holds the permit of a shared session, whose streams belong to clients. Its number is even,
    /// as no other one is.
    pub(crate) const SESSION: Self = Self(NonZeroU64::new(2));

    /// The client that `value` identifies.
    pub fn of(value: &impl Hash) -> Self {
        static KEYS: OnceLock<RandomState> = OnceLock::new();
        Self(NonZeroU64::new(
            KEYS.get_or_init(RandomState::new).hash_one(value) | 1,
        ))
    }

    /// Its number; 0 for [`Client::ANYONE`].
    pub fn number(self) -> u64 {
        self.0.map_or(0, NonZeroU64::get)
    }

    pub(crate) fn numbered(number: u64) -> Self {
        Self(NonZeroU64::new(number))
    }
}
