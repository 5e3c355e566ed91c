//! Retry budget: limits how many requests may be retried, so that retries do not amplify an outage.
//!
//! In:    a note of each request; requests for a retry.
//! Out:   yes or no.
//! Never: reads a clock or takes a lock for a request that succeeds: that costs one addition.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::config::RetryPlan;

/// One per route, and one for everything without a route.
#[derive(Debug)]
pub struct RetryBudget {
    requests: AtomicU64,
    bucket: Mutex<Bucket>,
}

impl RetryBudget {
    /// Counts a request that is sent for the first time.
    pub fn note_request(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    /// Takes the cost of one retry, if it is available.
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

/// Every request adds a share of a retry, and every second adds some. The bucket holds no more than
/// a period of [`RECENT`] adds, so that successes of long ago do not permit many retries now.
#[derive(Debug)]
struct Bucket {
    /// In retries.
    held: f64,
    /// The time and the number of requests up to which it was filled.
    at: Instant,
    requests: u64,
    /// An estimate of the recent requests.
    recent: f64,
}

/// How recent a request must be to count.
const RECENT: Duration = Duration::from_secs(10);

impl Bucket {
    /// One that holds what the first second adds.
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
        // Assumes that they came at an even rate.
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
            replay: 0,
            budget_percent,
            budget_per_second,
        }
    }

    /// How many retries in a row the bucket permits.
    fn spend(bucket: &mut Bucket, now: Instant, requests: u64, plan: &RetryPlan) -> u64 {
        (0..)
            .take_while(|_| bucket.take(now, requests, plan))
            .count() as u64
    }

    #[test]
    fn a_new_bucket_permits_the_retries_of_one_second_and_each_second_adds_as_many() {
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
    fn a_fifth_of_the_requests_may_be_retried() {
        let now = Instant::now();
        let (mut bucket, plan) = (Bucket::new(now), plan(20, 10));
        spend(&mut bucket, now, 0, &plan);
        assert_eq!(spend(&mut bucket, now, 1001, &plan), 200);
        assert_eq!(spend(&mut bucket, now, 1004, &plan), 0);
        assert_eq!(
            spend(&mut bucket, now, 1006, &plan),
            1,
            "fractions are not lost"
        );
    }

    #[test]
    fn successes_of_long_ago_do_not_permit_many_retries() {
        let begun = Instant::now();
        let (mut bucket, plan) = (Bucket::new(begun), plan(20, 10));
        // A million per day are 116 in ten seconds.
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
    fn a_busy_route_may_retry_after_all_its_connections_break_at_once() {
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
        fn never_more_retries_than_the_budget(steps in prop::collection::vec((0u64..5000, 0u64..500), 1..50)) {
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
