//! Budget: how many requests may be sent again, so that retries never become the storm that they were to ride out.
//!
//! In:    a note of each request; now and then the wish to send one again.
//! Out:   yes or no.
//! Never: reads a clock or takes a lock for a request that goes well: that costs one addition.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::config::RetryPlan;

/// One for each route, and one for everything that has none. Not part of a route's identity, as its turn is not.
#[derive(Debug, Default)]
pub struct Budget {
    requests: AtomicU64,
    purse: Mutex<Purse>,
}

impl Budget {
    /// A request goes out for the first time.
    pub fn note_request(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    /// Takes what one retry costs, if it is there.
    pub fn take(&self, now: Instant, plan: &RetryPlan) -> bool {
        self.purse.lock().take(now, self.requests.load(Relaxed), plan)
    }
}

impl Clone for Budget {
    /// A new route begins with a new purse.
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Budget {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

/// Thousandths of a retry: every request earns some, every millisecond too, and a retry costs a thousand.
#[derive(Debug, Default)]
struct Purse {
    thousandths: u64,
    /// How many requests have been counted in.
    requests: u64,
    /// Up to when the milliseconds have been.
    at: Option<Instant>,
}

/// What a retry costs.
const RETRY: u64 = 1000;

/// The purse holds what the floor earns in so many seconds: what went well long ago buys no storm now.
const MOST_SECONDS: u64 = 10;

impl Purse {
    fn take(&mut self, now: Instant, requests: u64, plan: &RetryPlan) -> bool {
        let per_second = u64::from(plan.budget_per_second);
        // A fresh purse holds what a second earns.
        let since = self.at.map_or(Duration::from_secs(1), |at| now.saturating_duration_since(at));
        let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let by_time = millis.saturating_mul(per_second);
        let by_requests = requests.wrapping_sub(self.requests).saturating_mul(u64::from(plan.budget_percent) * 10);
        let most = per_second * RETRY * MOST_SECONDS;
        self.thousandths = self.thousandths.saturating_add(by_time).saturating_add(by_requests).min(most);
        // What is left of a begun millisecond counts the next time.
        self.at = Some(self.at.map_or(now, |at| at + Duration::from_millis(millis)));
        self.requests = requests;
        let enough = self.thousandths >= RETRY;
        if enough {
            self.thousandths -= RETRY;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plan(budget_percent: u32, budget_per_second: u32) -> RetryPlan {
        RetryPlan { attempts: 1, replay_bytes: 0, budget_percent, budget_per_second }
    }

    /// How many retries in a row the purse pays for.
    fn spend(purse: &mut Purse, now: Instant, requests: u64, plan: &RetryPlan) -> u64 {
        (0..).take_while(|_| purse.take(now, requests, plan)).count() as u64
    }

    #[test]
    fn a_fresh_purse_pays_for_a_second_and_every_second_for_one_more() {
        let (mut purse, plan, now) = (Purse::default(), plan(0, 10), Instant::now());
        assert_eq!(spend(&mut purse, now, 0, &plan), 10);
        assert_eq!(spend(&mut purse, now + Duration::from_millis(99), 0, &plan), 0);
        assert_eq!(spend(&mut purse, now + Duration::from_millis(100), 0, &plan), 1);
        assert_eq!(spend(&mut purse, now + Duration::from_millis(3100), 0, &plan), 30);
    }

    #[test]
    fn a_fifth_of_the_requests_may_go_again() {
        let (mut purse, plan, now) = (Purse::default(), plan(20, 10), Instant::now());
        spend(&mut purse, now, 0, &plan);
        assert_eq!(spend(&mut purse, now, 100, &plan), 20);
        assert_eq!(spend(&mut purse, now, 104, &plan), 0);
        assert_eq!(spend(&mut purse, now, 105, &plan), 1, "what was earned in part is not lost");
    }

    #[test]
    fn what_went_well_long_ago_buys_no_storm() {
        let (mut purse, plan, now) = (Purse::default(), plan(20, 10), Instant::now());
        assert_eq!(spend(&mut purse, now, 1_000_000, &plan), 100);
        assert_eq!(spend(&mut purse, now + Duration::from_secs(86_400), 2_000_000, &plan), 100);
    }

    proptest! {
        #[test]
        fn never_more_than_was_earned(steps in prop::collection::vec((0u64..5000, 0u64..500), 1..50)) {
            let (mut purse, plan, begun) = (Purse::default(), plan(20, 10), Instant::now());
            let (mut now, mut requests, mut spent) = (begun, 0, 0);
            for (millis, more) in steps {
                now += Duration::from_millis(millis);
                requests += more;
                spent += spend(&mut purse, now, requests, &plan);
                let earned = 10.0 + (now - begun).as_secs_f64() * 10.0 + requests as f64 * 0.2;
                prop_assert!(spent as f64 <= earned, "{spent} > {earned}");
            }
        }
    }
}
