//! Retry budget: how many requests may be sent again, so that retries never become the storm that
//! they were to ride out.
//!
//! In:    a note of each request; now and then the wish to send one again.
//! Out:   yes or no.
//! Never: reads a clock or takes a lock for a request that goes well: that costs one addition.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::config::RetryPlan;

/// One for each route, and one for everything that has none. Not part of a route's identity, as its
/// turn is not.
#[derive(Debug)]
pub struct RetryBudget {
    requests: AtomicU64,
    bucket: Mutex<Bucket>,
}

impl RetryBudget {
    /// A request goes out for the first time.
    pub fn note_request(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    /// Takes what one retry costs, if it is there.
    pub fn take(&self, now: Instant, plan: &RetryPlan) -> bool {
        self.bucket
            .lock()
            .take(now, self.requests.load(Relaxed), plan)
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self {
            requests: AtomicU64::new(0),
            bucket: Mutex::new(Bucket::new(Instant::now())),
        }
    }
}

impl Clone for RetryBudget {
    /// A new route begins with a new bucket.
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for RetryBudget {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

/// Every request earns a share of a retry, every second some more, and it holds no more than what
/// [`RECENT`] earns: what went well long ago buys no storm now.
#[derive(Debug)]
struct Bucket {
    /// In retries.
    held: f64,
    /// Up to when it has earned, and from how many requests.
    at: Instant,
    requests: u64,
    /// How many of them were recent, about.
    recent: f64,
}

/// How long ago a request may be that counts.
const RECENT: Duration = Duration::from_secs(10);

impl Bucket {
    /// One that holds what the first second earns.
    fn new(now: Instant) -> Self {
        Self {
            held: 0.0,
            at: now.checked_sub(Duration::from_secs(1)).unwrap_or(now),
            requests: 0,
            recent: 0.0,
        }
    }

    fn take(&mut self, now: Instant, requests: u64, plan: &RetryPlan) -> bool {
        let (share, per_second) = (
            f64::from(plan.budget_percent) / 100.0,
            f64::from(plan.budget_per_second),
        );
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        // They came at an even rate as far as anybody knows.
        let passed = (seconds / RECENT.as_secs_f64()).max(f64::MIN_POSITIVE);
        let came = requests.saturating_sub(self.requests) as f64 * (1.0 / passed).min(1.0);
        self.recent = self.recent * (1.0 - passed).max(0.0) + came;
        let most = self.recent * share + RECENT.as_secs_f64() * per_second;
        self.held = (self.held + came * share + seconds * per_second).min(most);
        (self.at, self.requests) = (self.at.max(now), requests);
        let enough = self.held >= 1.0;
        if enough {
            self.held -= 1.0;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Statuses;

    fn plan(budget_percent: u32, budget_per_second: u32) -> RetryPlan {
        RetryPlan {
            attempts: 1,
            on: Statuses::default(),
            replay_bytes: 0,
            budget_percent,
            budget_per_second,
        }
    }

    /// How many retries in a row the bucket pays for.
    fn spend(bucket: &mut Bucket, now: Instant, requests: u64, plan: &RetryPlan) -> u64 {
        (0..)
            .take_while(|_| bucket.take(now, requests, plan))
            .count() as u64
    }

    #[test]
    fn a_fresh_purse_pays_for_a_second_and_every_second_for_one_more() {
        let now = Instant::now();
        let (mut bucket, plan) = (Bucket::new(now), plan(0, 10));
        assert_eq!(spend(&mut bucket, now, 0, &plan), 10);
        assert_eq!(
            spend(&mut bucket, now + Duration::from_millis(90), 0, &plan),
            0
        );
        assert_eq!(
            spend(&mut bucket, now + Duration::from_millis(110), 0, &plan),
            1
        );
        assert_eq!(
            spend(&mut bucket, now + Duration::from_millis(3120), 0, &plan),
            30
        );
    }

    #[test]
    fn a_fifth_of_the_requests_may_go_again() {
        let now = Instant::now();
        let (mut bucket, plan) = (Bucket::new(now), plan(20, 10));
        spend(&mut bucket, now, 0, &plan);
        assert_eq!(spend(&mut bucket, now, 1001, &plan), 200);
        assert_eq!(spend(&mut bucket, now, 1004, &plan), 0);
        assert_eq!(
            spend(&mut bucket, now, 1006, &plan),
            1,
            "what was earned in part is not lost"
        );
    }

    #[test]
    fn what_went_well_long_ago_buys_no_storm() {
        let begun = Instant::now();
        let (mut bucket, plan) = (Bucket::new(begun), plan(20, 10));
        // A million in a day are 116 in ten seconds.
        assert_eq!(
            spend(
                &mut bucket,
                begun + Duration::from_secs(86_400),
                1_000_000,
                &plan
            ),
            123
        );
        assert_eq!(
            spend(
                &mut bucket,
                begun + Duration::from_secs(2 * 86_400),
                1_000_000,
                &plan
            ),
            100
        );
    }

    #[test]
    fn a_busy_route_rides_out_that_all_its_connections_break_at_once() {
        let begun = Instant::now();
        let (mut bucket, plan) = (Bucket::new(begun), plan(20, 10));
        let an_hour_at_1000_a_second = 3_600_000;
        assert!(
            spend(
                &mut bucket,
                begun + Duration::from_secs(3600),
                an_hour_at_1000_a_second,
                &plan
            ) >= 2000
        );
    }

    proptest! {
        #[test]
        fn never_more_than_was_earned(steps in prop::collection::vec((0u64..5000, 0u64..500), 1..50)) {
            let begun = Instant::now();
            let (mut bucket, plan) = (Bucket::new(begun), plan(20, 10));
            let (mut now, mut requests, mut spent) = (begun, 0, 0);
            for (millis, more) in steps {
                now += Duration::from_millis(millis);
                requests += more;
                spent += spend(&mut bucket, now, requests, &plan);
                let earned = 10.0 + (now - begun).as_secs_f64() * 10.0 + requests as f64 * 0.2;
                prop_assert!(spent as f64 <= earned + 0.001, "{spent} > {earned}");
            }
        }
    }
}
