//! Places: the visitors parked for one name, by client.
//!
//! In:    clients that arrive and leave.
//! Out:   a place for each, and a signal when it goes to another client.
//! Never: refuses a client that has less than its share: the number of places divided by the number
//!        of waiting clients, rounded down.

use std::collections::{BTreeMap, HashMap};

use byway_pool::Client;
use tokio::sync::oneshot;

/// The places of the visitors that are parked for one name, by client. When all are taken, the
/// client with the most loses its newest one to a client with fewer.
#[derive(Default)]
pub(super) struct ParkingSlots {
    next: u64,
    count: usize,
    /// The places of each client, oldest first. A dropped sender signals that the place is lost.
    clients: HashMap<Client, BTreeMap<u64, oneshot::Sender<()>>>,
}

/// A place: its number, and a receiver that resolves when another client gets it.
pub(super) type ParkingSlot = (u64, oneshot::Receiver<()>);

impl ParkingSlots {
    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// Takes a place out of `most`. If all are taken, the client with the most loses its newest
    /// one, provided that `client` then still has fewer; else `None`.
    pub(super) fn take(&mut self, client: Client, most: usize) -> Option<ParkingSlot> {
        if self.count >= most {
            self.displace_for(client)?;
        }
        let (sender, displaced) = oneshot::channel();
        self.next += 1;
        self.count += 1;
        self.clients
            .entry(client)
            .or_default()
            .insert(self.next, sender);
        Some((self.next, displaced))
    }

    fn displace_for(&mut self, client: Client) -> Option<()> {
        let own = self.clients.get(&client).map_or(0, BTreeMap::len);
        // The search is linear in the number of clients.
        let largest = self
            .clients
            .values_mut()
            .max_by_key(|places| places.len())?;
        if own + 1 >= largest.len() {
            return None;
        }
        largest.pop_last()?;
        self.count -= 1;
        Some(())
    }

    /// Gives a place back, unless another client has got it already.
    pub(super) fn leave(&mut self, client: Client, number: u64) {
        let Some(places) = self.clients.get_mut(&client) else {
            return;
        };
        self.count -= usize::from(places.remove(&number).is_some());
        if places.is_empty() {
            self.clients.remove(&client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_takes_all_places_loses_them_to_others_down_to_its_share() {
        let [eve, ann, bob] = ["eve", "ann", "bob"].map(|name| Client::of(&name));
        let mut places = ParkingSlots::default();
        let mut of_eve: Vec<_> = (0..6).map(|_| places.take(eve, 6).unwrap()).collect();
        assert!(places.take(eve, 6).is_none());
        let others = [ann, bob, ann, bob].map(|client| (client, places.take(client, 6).unwrap()));
        assert!(
            places.take(ann, 6).is_none() && places.take(eve, 6).is_none(),
            "two each is a share of six"
        );
        let mut is_lost = |(_, displaced): &mut ParkingSlot| {
            matches!(
                displaced.try_recv(),
                Err(oneshot::error::TryRecvError::Closed)
            )
        };
        let lost: Vec<_> = of_eve.iter_mut().map(&mut is_lost).collect();
        assert_eq!(
            lost,
            [false, false, true, true, true, true],
            "the newest ones"
        );
        for (number, _) in of_eve {
            places.leave(eve, number);
        }
        assert_eq!(places.count(), 4);
        for (client, (number, _)) in others {
            places.leave(client, number);
        }
        assert!(places.clients.is_empty() && places.count() == 0);
    }
}
