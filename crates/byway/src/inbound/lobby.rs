//! Lobby: connections at the ports of links that have not shown yet that they may be there.
//!
//! In:    the address of each new connection.
//! Out:   a guest, for as long as nobody has welcomed it; or the word that it has to leave.
//! Never: lets a newcomer wait for those who say nothing. When it is full, the oldest guest of the address that has the most
//!        makes room.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::peers::household;

/// Guests at once, of all listeners of links together; less where few links are allowed.
pub const STRANGERS: usize = 1024;

/// See the head of the file. Clones are the same.
#[derive(Clone, Debug)]
pub struct Lobby(Arc<Mutex<Guests>>);

#[derive(Debug)]
struct Guests {
    most: usize,
    next: u64,
    leave: HashMap<u64, CancellationToken>,
    by_peer: HashMap<IpAddr, BTreeSet<u64>>,
}

impl Lobby {
    /// With room for `most` guests, and for one at least.
    pub fn new(most: usize) -> Self {
        let (leave, by_peer) = Default::default();
        Self(Arc::new(Mutex::new(Guests { most: most.max(1), next: 0, leave, by_peer })))
    }

    /// Takes a new connection in. If there is no room, another has to leave.
    pub fn enter(&self, peer: Option<SocketAddr>) -> Guest {
        let peer = peer.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |peer| household(peer.ip()));
        let mut guests = self.0.lock();
        let gone = (guests.leave.len() >= guests.most).then(|| guests.remove_one()).flatten();
        let (number, leave) = (guests.next, CancellationToken::new());
        guests.next += 1;
        guests.leave.insert(number, leave.clone());
        guests.by_peer.entry(peer).or_default().insert(number);
        drop(guests);
        if let Some(gone) = gone {
            gone.cancel();
        }
        Guest { lobby: self.clone(), number, peer, leave }
    }
}

impl Guests {
    fn remove_one(&mut self) -> Option<CancellationToken> {
        let crowd =
            |(_, numbers): &(&IpAddr, &BTreeSet<u64>)| (numbers.len(), std::cmp::Reverse(numbers.first().copied()));
        let (peer, oldest) =
            self.by_peer.iter().max_by_key(crowd).map(|(peer, numbers)| (*peer, numbers.first().copied()))?;
        self.remove(peer, oldest?)
    }

    fn remove(&mut self, peer: IpAddr, number: u64) -> Option<CancellationToken> {
        if let Some(numbers) = self.by_peer.get_mut(&peer) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.by_peer.remove(&peer);
            }
        }
        self.leave.remove(&number)
    }
}

/// One connection in the lobby, until it is dropped.
#[derive(Debug)]
pub struct Guest {
    lobby: Lobby,
    number: u64,
    peer: IpAddr,
    leave: CancellationToken,
}

impl Guest {
    /// Resolves when this connection has to make room for another. Cancel safe.
    pub async fn has_to_leave(&self) {
        self.leave.cancelled().await;
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.lobby.0.lock().remove(self.peer, self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Option<SocketAddr> {
        Some(SocketAddr::new(text.parse().unwrap(), 1))
    }

    fn left(guest: &Guest) -> bool {
        guest.leave.is_cancelled()
    }

    #[test]
    fn a_newcomer_gets_in_and_the_oldest_of_the_largest_crowd_leaves() {
        let lobby = Lobby::new(4);
        let single = lobby.enter(at("192.0.2.1"));
        let crowd: Vec<_> = (0..3).map(|_| lobby.enter(at("192.0.2.2"))).collect();
        let newcomer = lobby.enter(at("192.0.2.3"));
        assert_eq!(crowd.iter().map(left).collect::<Vec<_>>(), [true, false, false]);
        assert!(!left(&single) && !left(&newcomer));
        let _another = lobby.enter(at("192.0.2.4"));
        assert!(left(&crowd[1]) && !left(&single));
        // All are alone now: the oldest of all leaves.
        let _last = lobby.enter(at("192.0.2.5"));
        assert!(left(&single) && !left(&newcomer) && !left(&crowd[2]));
    }

    #[test]
    fn nothing_is_remembered_of_guests_that_are_gone() {
        let lobby = Lobby::new(2);
        let guests: Vec<_> = (0..10).map(|_| lobby.enter(at("2001:db8::1"))).collect();
        assert_eq!(lobby.0.lock().leave.len(), 2);
        drop(guests);
        let guests = lobby.0.lock();
        assert!(guests.leave.is_empty() && guests.by_peer.is_empty());
    }
}
