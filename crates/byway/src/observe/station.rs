//! Station: what one worker counts and writes down; its own, and only read by others.
//!
//! In:    requests and tunnels that ended on that worker.
//! Out:   its ledger, the tallies of its listeners, its page of the access log.
//! Never: is written by two threads at once (the ledger would lose a number).

use std::sync::Arc;

use parking_lot::Mutex;

use super::access::page::Page;
use super::ledger::{Ledger, Tally};

/// See the head of the file. Aligned to two cache lines, which processors fetch in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Station {
    /// What is counted whatever the listener.
    pub ledger: Ledger,
    /// The worker's part of the access log.
    pub page: Page,
    tallies: Mutex<Vec<(Arc<str>, Arc<Tally>)>>,
}

impl Station {
    /// The tally of the listener called `name`. Looked up once a connection and once a reload.
    pub fn tally(&self, name: &Arc<str>) -> Arc<Tally> {
        let mut tallies = self.tallies.lock();
        if let Some((_, tally)) = tallies.iter().find(|(known, _)| known == name) {
            return Arc::clone(tally);
        }
        let tally = Arc::new(Tally::default());
        tallies.push((Arc::clone(name), Arc::clone(&tally)));
        tally
    }

    /// The tallies of all listeners that had a request.
    pub fn tallies(&self) -> Vec<(Arc<str>, Arc<Tally>)> {
        self.tallies.lock().clone()
    }

    /// Forgets those of listeners that are not `wanted` any more.
    pub fn retain(&self, wanted: impl Fn(&str) -> bool) {
        self.tallies.lock().retain(|(name, _)| wanted(name));
    }
}

impl AsRef<Page> for Station {
    fn as_ref(&self) -> &Page {
        &self.page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_has_one_tally_until_it_is_forgotten() {
        let (station, name) = (Station::default(), Arc::from("site"));
        station.tally(&name).note(200, 0, 0);
        assert!(Arc::ptr_eq(
            &station.tally(&name),
            &station.tally(&Arc::from("site"))
        ));
        station.retain(|name| name != "site");
        assert!(station.tallies().is_empty());
    }
}
