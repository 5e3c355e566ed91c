//! Client key: the client whose share of the window budgets a stream's growth counts against.
//!
//! In:    what identifies a client here; or the client or the visitor that an open message names.
//! Out:   an opaque number.
//! Never: lets a peer choose the key of a client that is not behind this peer: the hash has a
//!        random key per process, and covers the peer.

use std::hash::{BuildHasher, Hash, RandomState};
use std::net::SocketAddr;
use std::sync::OnceLock;

use byway_dial::ClientId;

use crate::node_budget::Holder;
use crate::wire::Open;

/// A client, as an opaque number. The default is [`ClientKey::UNKNOWN`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClientKey(u64);

impl ClientKey {
    /// The key of all streams whose client is not known. The streams of one grant that have it
    /// count as one client; those of different grants do not.
    pub const UNKNOWN: Self = Self(0);

    /// The key of the client that `value` identifies.
    pub fn of(value: &impl Hash) -> Self {
        static KEYS: OnceLock<RandomState> = OnceLock::new();
        Self(KEYS.get_or_init(RandomState::new).hash_one(value) | 1)
    }

    /// The key with this number: 0 is [`ClientKey::UNKNOWN`].
    pub const fn numbered(number: u64) -> Self {
        Self(number)
    }

    /// Its number on this node.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The number that [`Open::client`] carries to `peer`. Each peer gets another one, so that two
    /// of them cannot find out that they have the same client.
    pub(crate) fn number_for(self, peer: Holder) -> u64 {
        match self {
            Self::UNKNOWN => 0,
            Self(number) => Self::of(&(peer, number)).0,
        }
    }

    /// The key of the client that an open message of `peer` names: by number, else by the address of
    /// the visitor.
    pub(crate) fn named_in(open: &Open, peer: Holder) -> Self {
        if open.client != 0 {
            return Self::of(&(peer, open.client));
        }
        open.visitor
            .parse::<SocketAddr>()
            .map_or(Self::UNKNOWN, |visitor| {
                Self::of(&(peer, ClientId::peer(visitor.ip())))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::join::GrantId;

    const fn grant(number: u8) -> Holder {
        Holder::Grant(GrantId::from_bytes([number; 6]))
    }

    #[test]
    fn a_visitor_is_one_client_by_address_and_by_ipv6_network() {
        let key = |visitor: &str| {
            let open = Open {
                visitor: visitor.to_owned(),
                ..Open::default()
            };
            ClientKey::named_in(&open, grant(1))
        };
        assert_eq!(key("192.0.2.1:5"), key("192.0.2.1:6"));
        assert_eq!(key("192.0.2.1:5"), key("[::ffff:192.0.2.1]:5"));
        assert_ne!(key("192.0.2.1:5"), key("192.0.2.2:5"));
        assert_eq!(key("[2001:db8::1]:5"), key("[2001:db8::2:1]:5"));
        assert_ne!(key("[2001:db8::1]:5"), key("[2001:db8:0:1::1]:5"));
        for unknown in ["", "a visitor", "192.0.2.1"] {
            assert_eq!(key(unknown), ClientKey::UNKNOWN, "{unknown}");
        }
    }

    #[test]
    fn two_peers_got_the_same_number_for_one_client() {
        let client = ClientKey::of(&"a client");
        let [first, second] = [1, 2].map(|number| client.number_for(grant(number)));
        assert_ne!(first, second);
        assert_eq!(first, client.number_for(grant(1)));
        assert_eq!(ClientKey::UNKNOWN.number_for(grant(1)), 0);
    }

    #[test]
    fn a_peer_could_name_the_client_of_another_peer_by_its_number() {
        let own = ClientKey::of(&"a client of this node");
        let open = Open {
            client: own.number(),
            ..Open::default()
        };
        let named = ClientKey::named_in(&open, grant(1));
        assert_eq!(named, ClientKey::named_in(&open, grant(1)));
        assert_ne!(named, ClientKey::named_in(&open, grant(2)));
        assert_ne!(named, own);
    }
}
