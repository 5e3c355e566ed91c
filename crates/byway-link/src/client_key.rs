//! Client key: the client that a stream is for, as far as the window budget of its carrier is
//! concerned.
//!
//! In:    what identifies a client here; or the `visitor` of an open message.
//! Out:   an opaque key.
//! Never: a key that a peer can make equal to that of another client: the hash has a random key per
//!        process.

use std::hash::{BuildHasher, Hash, RandomState};
use std::net::SocketAddr;
use std::sync::OnceLock;

use byway_dial::Asker;

/// See the module docs. The default is [`ClientKey::UNKNOWN`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClientKey(u64);

impl ClientKey {
    /// The key of all streams of a carrier whose client is not known: they count as one client.
    pub const UNKNOWN: Self = Self(0);

    /// The key of the client that `value` identifies.
    pub fn of(value: &impl Hash) -> Self {
        static KEYS: OnceLock<RandomState> = OnceLock::new();
        Self(KEYS.get_or_init(RandomState::new).hash_one(value) | 1)
    }

    /// The key of the visitor that an open message names, by address. A peer that invents visitors
    /// gains nothing: only the streams of its own carrier share the budget.
    pub(crate) fn of_visitor(visitor: &str) -> Self {
        visitor
            .parse::<SocketAddr>()
            .map_or(Self::UNKNOWN, |address| {
                Self::of(&Asker::peer(address.ip()))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_visitor_is_one_client_by_address_and_by_ipv6_network() {
        let key = ClientKey::of_visitor;
        assert_eq!(key("192.0.2.1:5"), key("192.0.2.1:6"));
        assert_eq!(key("192.0.2.1:5"), key("[::ffff:192.0.2.1]:5"));
        assert_ne!(key("192.0.2.1:5"), key("192.0.2.2:5"));
        assert_eq!(key("[2001:db8::1]:5"), key("[2001:db8::2:1]:5"));
        assert_ne!(key("[2001:db8::1]:5"), key("[2001:db8:0:1::1]:5"));
        for unknown in ["", "a visitor", "192.0.2.1"] {
            assert_eq!(key(unknown), ClientKey::UNKNOWN, "{unknown}");
        }
    }
}
