//! Link permits: how many carriers of links may be open, and how many of them one grant may have.
//!
//! In:    the grant of a carrier that is about to be welcomed.
//! Out:   a permit for as long as the carrier lives; or why there is none.
//! Never: lets one grant exclude the others. Once more than half of the permits are taken, a grant
//!        that has a quarter of them gets no more. The check and the count are one step, under one
//!        lock.

use std::collections::HashMap;
use std::sync::Arc;

use byway_link::GrantId;
use parking_lot::Mutex;

/// Limits how many carriers of links may be open, and how many of them one grant may have once more
/// than half are taken. Clones share the permits.
#[derive(Clone, Debug)]
pub struct LinkPermits(Arc<Mutex<PermitCounts>>);

#[derive(Debug, Default)]
struct PermitCounts {
    most: usize,
    count: usize,
    /// At most as many entries as there are permits.
    by_grant: HashMap<GrantId, usize>,
}

/// Why a carrier gets no permit. Each reason ends when other carriers have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPermit {
    /// All of them are taken.
    #[error(
        "this server has reached its limit of links (`limits.connections`, open files); try again later"
    )]
    Full,
    /// The rest is reserved for other grants.
    #[error(
        "this grant has reached its share of the links of this server (`limits.connections`, open files); try again \
         later, or join with another grant"
    )]
    OverShare,
}

impl LinkPermits {
    /// `most` permits.
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Mutex::new(PermitCounts {
            most,
            ..PermitCounts::default()
        })))
    }

    /// Changes their number. Those in use above `most` stay in use until they are returned.
    pub fn set(&self, most: usize) {
        self.0.lock().most = most;
    }

    /// How many are free now.
    pub fn free(&self) -> usize {
        let taken = self.0.lock();
        taken.most.saturating_sub(taken.count)
    }

    /// A permit for one more carrier of `grant`.
    ///
    /// # Errors
    /// [`NoPermit`].
    pub fn take(&self, grant: GrantId) -> Result<LinkPermit, NoPermit> {
        let mut taken = self.0.lock();
        let most = taken.most;
        if taken.count >= most {
            return Err(NoPermit::Full);
        }
        let held = taken.by_grant.get(&grant).copied().unwrap_or_default();
        let (is_half_taken, has_a_quarter) = (taken.count > most / 2, held >= most.div_ceil(4));
        if is_half_taken && has_a_quarter {
            return Err(NoPermit::OverShare);
        }
        taken.count += 1;
        taken.by_grant.insert(grant, held + 1);
        drop(taken);
        Ok(LinkPermit {
            permits: self.clone(),
            grant,
        })
    }
}

/// The permit of one carrier. Dropping it returns it.
#[derive(Debug)]
pub struct LinkPermit {
    permits: LinkPermits,
    grant: GrantId,
}

impl Drop for LinkPermit {
    fn drop(&mut self) {
        let mut taken = self.permits.0.lock();
        taken.count -= 1;
        if let Some(held) = taken.by_grant.get_mut(&self.grant) {
            *held -= 1;
            if *held == 0 {
                taken.by_grant.remove(&self.grant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn grant(number: u8) -> GrantId {
        GrantId::from_bytes([number; 6])
    }

    /// As many as `number` can get.
    fn take_all(permits: &LinkPermits, number: u8) -> (Vec<LinkPermit>, NoPermit) {
        let mut held = Vec::new();
        loop {
            match permits.take(grant(number)) {
                Ok(permit) => held.push(permit),
                Err(why) => return (held, why),
            }
        }
    }

    #[test]
    fn one_grant_does_not_take_the_permits_of_the_others() {
        let permits = LinkPermits::new(100);
        let (first, why) = take_all(&permits, 1);
        assert_eq!(
            (first.len(), why),
            (51, NoPermit::OverShare),
            "more than half of them are taken"
        );
        let (second, why) = take_all(&permits, 2);
        assert_eq!((second.len(), why), (25, NoPermit::OverShare));
        let (third, why) = take_all(&permits, 3);
        assert_eq!((third.len(), why), (24, NoPermit::Full));
        drop(first);
        assert!(
            permits.take(grant(2)).is_ok(),
            "less than half are taken now"
        );
        drop((second, third));
        let taken = permits.0.lock();
        assert!(
            taken.count == 0 && taken.by_grant.is_empty(),
            "no entry remains: {taken:?}"
        );
    }

    #[test]
    fn a_lower_limit_refuses_until_enough_carriers_have_ended() {
        let permits = LinkPermits::new(8);
        let mut held: Vec<_> = (0..4)
            .map(|number| permits.take(grant(number)).unwrap())
            .collect();
        permits.set(3);
        assert_eq!(permits.take(grant(9)).unwrap_err(), NoPermit::Full);
        held.truncate(2);
        assert!(permits.take(grant(9)).is_ok());
    }

    #[test]
    fn a_small_number_of_permits_can_be_used_in_full() {
        for most in 0..=4_usize {
            let permits = LinkPermits::new(most);
            let (first, _) = take_all(&permits, 1);
            assert_eq!(first.len(), most.min(most / 2 + 1), "{most}");
            let (second, why) = take_all(&permits, 2);
            assert_eq!(
                (first.len() + second.len(), why),
                (most, NoPermit::Full),
                "{most}"
            );
        }
    }

    #[test]
    fn a_grant_that_takes_permits_on_many_threads_gets_exactly_its_share() {
        let permits = LinkPermits::new(100);
        let held = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let (mine, why) = take_all(&permits, 1);
                    assert_eq!(why, NoPermit::OverShare);
                    held.lock().extend(mine);
                });
            }
        });
        assert_eq!(held.lock().len(), 51);
    }
}
