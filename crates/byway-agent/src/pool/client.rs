//! Client: the party that a connection is wanted for, so that one client cannot take an origin from
//! the others.
//!
//! In:    what distinguishes clients: an address, a network, a user.
//! Out:   a small key.
//! Never: the value itself.

use std::hash::{BuildHasher, Hash, RandomState};
use std::num::NonZeroU64;
use std::sync::OnceLock;

/// A client, by a hash that is keyed anew in each process: a peer cannot make two clients look the
/// same.
///
/// [`Client::ANYONE`], the default, stands for all acquires that name no client; together they are
/// one client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Client(Option<NonZeroU64>);

impl Client {
    /// No client in particular.
    pub const ANYONE: Self = Self(None);

    /// The client that `value` identifies.
    pub fn of(value: &impl Hash) -> Self {
        static KEYS: OnceLock<RandomState> = OnceLock::new();
        Self(NonZeroU64::new(
            KEYS.get_or_init(RandomState::new).hash_one(value) | 1,
        ))
    }

    pub(crate) fn number(self) -> u64 {
        self.0.map_or(0, NonZeroU64::get)
    }

    pub(crate) fn numbered(number: u64) -> Self {
        Self(NonZeroU64::new(number))
    }
}
