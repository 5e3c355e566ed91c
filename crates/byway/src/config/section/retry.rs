//! `[retry]`.

use super::description::Shape;
use super::kind::{KIB, Read};
use super::prelude::*;
use crate::config::place::{At, Text};
use crate::config::statuses::Statuses;

keys! {
    /// Requests that are sent to an upstream again.
    pub struct Retry {} => RetryPlan {
        /// Retries of a request that was sent and got no byte back.
        ///
        /// One stale connection is common, two in a row are an
        /// outage.
        attempts: Count => u32 = 1, in 0..=10;
        /// Statuses after which a request is retried as if it had got no byte back.
        ///
        /// If a retry is not allowed, or no longer, the response is forwarded. A status is a valid
        /// response; useful where upstreams restart one after the other.
        on: Statuses => Statuses = Statuses::default(), example [502, 503, 504];
        /// The longest request body that is kept to be sent again.
        ///
        /// In memory, until the response head arrives; allocated at its first byte. Forms and API
        /// calls fit; a longer body is streamed and sent once.
        replay: ByteSize => usize = 64 << 10, in 0..=256 * KIB;
        /// The percentage of recent requests that may be sent again.
        ///
        /// For each route. Retries must not double the load of an upstream that fails under it.
        budget_percent: Count => u32 = 20, in 0..=100;
        /// Retries a second in addition to that percentage.
        ///
        /// At most ten seconds of each budget are saved up. With few requests, a percentage of them
        /// is zero.
        budget_per_second: Count => u32 = 10, in 1..=1_000_000;
    }
}

forms! {
    Statuses: Option<At<Vec<Text>>>, texts_or_numbers,
        &'static str = "statuses from 500 to 599", Shape::NumbersOrTexts;
}

impl Kind<Self> for Statuses {
    fn value(
        resolver: &mut Resolver<'_>,
        key: &str,
        written: &Self::Written,
        _: Self::Range,
    ) -> Option<Self> {
        let mut statuses = Self::default();
        for text in &written.as_ref()?.value {
            resolver.checked(key, &text.place, statuses.insert(&text.value));
        }
        Some(statuses)
    }

    fn print(value: &Self) -> Option<String> {
        let statuses: Vec<String> = value.iter().map(|status| status.to_string()).collect();
        Some(format!("[{}]", statuses.join(", ")))
    }
}
