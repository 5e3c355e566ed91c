//! Which failures lead to another try, and how many.

use std::sync::LazyLock;
use std::time::Duration;

use byway_h1::RequestParser;
use byway_head::Limits;
use proptest::prelude::*;

use super::*;
use crate::config::Statuses;
use crate::observe::exposition::{Collect, Exposition};

static PLAN: LazyLock<RetryPlan> = LazyLock::new(|| RetryPlan {
    attempts: 1,
    on: Statuses::default(),
    replay: 10,
    budget_percent: 0,
    budget_per_second: 5,
});
const GET: Failed = Failed {
    refused: false,
    outcome: Outcome::SentNoByteBack,
    reused: false,
    gave_up: false,
    repeatable: true,
    body_kept: true,
};

fn tries(upstreams: usize) -> (Tries<'static>, Instant) {
    let now = Instant::now();
    (
        Tries::new(&PLAN, upstreams, now + Duration::from_secs(15)),
        now,
    )
}

#[test]
fn the_log_and_the_metrics_call_a_reason_by_the_same_word() {
    use NotMade::{Attempts, Body, Budget, Deadline, Method, NoOtherUpstream, Partial};
    let counters = Counters::default();
    let shown = |sample: String| {
        let mut out = Exposition::default();
        counters.collect(&mut out);
        let text = out.into_text();
        assert!(text.contains(&sample), "{sample} is not in:\n{text}");
    };
    for why in [
        Method,
        Body,
        Partial,
        Attempts,
        Budget,
        NoOtherUpstream,
        Deadline,
    ] {
        counters.not_retried(why).add(1);
        shown(format!(
            "byway_not_retried_total{{reason=\"{}\"}} 1\n",
            why.word()
        ));
    }
    for outcome in [Outcome::Unsent, Outcome::SentNoByteBack, Outcome::Partial] {
        counters.retried(outcome).add(1);
        shown(format!(
            "byway_retries_total{{after=\"{}\"}} 1\n",
            word(outcome)
        ));
    }
}

#[test]
fn each_reason_has_its_case() {
    let unsent = Failed {
        outcome: Outcome::Unsent,
        ..GET
    };
    for (failed, upstreams, expected) in [
        (GET, 1, Ok(())),
        (
            Failed {
                repeatable: false,
                ..GET
            },
            2,
            Err(NotMade::Method),
        ),
        (
            Failed {
                body_kept: false,
                ..GET
            },
            2,
            Err(NotMade::Body),
        ),
        (
            Failed {
                gave_up: true,
                ..GET
            },
            2,
            Err(NotMade::Deadline),
        ),
        (
            Failed {
                outcome: Outcome::Partial,
                ..GET
            },
            2,
            Err(NotMade::Partial),
        ),
        (unsent, 1, Err(NotMade::NoOtherUpstream)),
        (unsent, 2, Ok(())),
        (
            Failed {
                reused: true,
                ..unsent
            },
            1,
            Ok(()),
        ),
        (
            Failed {
                repeatable: false,
                ..unsent
            },
            2,
            Ok(()),
        ),
        (
            Failed {
                body_kept: false,
                ..unsent
            },
            2,
            Err(NotMade::Body),
        ),
        // A connection that took too long to open is not a response that took too long.
        (
            Failed {
                gave_up: true,
                ..unsent
            },
            2,
            Ok(()),
        ),
    ] {
        let (mut tries, now) = tries(upstreams);
        assert_eq!(
            tries.again(failed, now, &RetryBudget::default()),
            expected,
            "{failed:?} of {upstreams}"
        );
    }
}

#[test]
fn no_try_begins_after_the_deadline() {
    for outcome in [Outcome::Unsent, Outcome::SentNoByteBack] {
        let (mut tries, now) = tries(3);
        let late = now + Duration::from_secs(15);
        assert_eq!(
            tries.again(Failed { outcome, ..GET }, late, &RetryBudget::default()),
            Err(NotMade::Deadline)
        );
    }
}

#[test]
fn every_upstream_is_tried_once_and_a_sent_request_is_retried_once() {
    let (mut tries, now) = tries(3);
    let (budget, unsent) = (
        RetryBudget::default(),
        Failed {
            outcome: Outcome::Unsent,
            ..GET
        },
    );
    assert_eq!(tries.again(unsent, now, &budget), Ok(()));
    assert_eq!(tries.again(GET, now, &budget), Ok(()));
    assert_eq!(tries.again(unsent, now, &budget), Ok(()));
    assert_eq!(tries.again(GET, now, &budget), Err(NotMade::Attempts));
    assert_eq!(
        tries.again(unsent, now, &budget),
        Err(NotMade::NoOtherUpstream)
    );
}

#[test]
fn an_empty_budget_ends_only_retries_of_requests_that_were_sent() {
    let (budget, now) = (RetryBudget::default(), tries(2).1);
    for nth in 0..8 {
        let expected = if nth < 5 {
            Ok(())
        } else {
            Err(NotMade::Budget)
        };
        assert_eq!(tries(2).0.again(GET, now, &budget), expected, "{nth}");
    }
    assert_eq!(
        tries(2).0.again(
            Failed {
                outcome: Outcome::Unsent,
                ..GET
            },
            now,
            &budget
        ),
        Ok(())
    );
}

#[test]
fn a_key_makes_any_method_repeatable_and_two_keys_none() {
    for (head, repeatable, kept) in [
        ("GET / HTTP/1.1\r\n", true, 0),
        ("DELETE / HTTP/1.1\r\n", true, 0),
        ("POST / HTTP/1.1\r\n", false, 0),
        ("PATCH / HTTP/1.1\r\nContent-Length: 10\r\n", false, 0),
        ("get / HTTP/1.1\r\n", false, 0),
        (
            "POST / HTTP/1.1\r\nIdempotency-Key: \"a\"\r\nContent-Length: 10\r\n",
            true,
            10,
        ),
        (
            "POST / HTTP/1.1\r\nIdempotency-Key: a\r\nIdempotency-Key: b\r\nContent-Length: 1\r\n",
            false,
            0,
        ),
        (
            "POST / HTTP/1.1\r\nIdempotency-Key: \r\nContent-Length: 1\r\n",
            false,
            0,
        ),
        // The upstream never receives a key that Connection removes.
        (
            "POST / HTTP/1.1\r\nConnection: idempotency-key\r\nIdempotency-Key: a\r\nContent-Length: 1\r\n",
            false,
            0,
        ),
        ("PUT / HTTP/1.1\r\nContent-Length: 10\r\n", true, 10),
        ("PUT / HTTP/1.1\r\nContent-Length: 11\r\n", true, 0),
        ("PUT / HTTP/1.1\r\nContent-Length: 0\r\n", true, 0),
        ("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n", true, 10),
    ] {
        let text = format!("{head}Host: a\r\n\r\n");
        let mut index = RequestParser::default();
        index.parse(text.as_bytes(), &Limits::default()).unwrap();
        let request = index.view(text.as_bytes());
        assert_eq!(
            (is_repeatable(&request), kept_bytes(&request, &PLAN, false)),
            (repeatable, kept),
            "{head}"
        );
    }
}

proptest! {
    #[test]
    fn tries_are_bounded_and_a_request_that_may_do_harm_is_sent_once(
        upstreams in 1usize..5,
        repeatable: bool,
        outcomes in prop::collection::vec((0u8..3, any::<bool>()), 30),
    ) {
        let (mut tries, now) = tries(upstreams);
        let budget = RetryBudget::default();
        let (mut sent, mut made, mut kept) = (0, 1, true);
        for (outcome, reused) in outcomes {
            let outcome = [Outcome::Unsent, Outcome::SentNoByteBack, Outcome::Partial][usize::from(outcome)];
            // After a connection has failed, all others are new ones.
            let reused = reused && kept;
            kept &= !reused && outcome == Outcome::Unsent;
            sent += usize::from(outcome != Outcome::Unsent);
            if tries.again(Failed { outcome, reused, repeatable, ..GET }, now, &budget).is_err() {
                break;
            }
            made += 1;
        }
        prop_assert!(made <= upstreams + 2, "{made} tries");
        prop_assert!(sent <= if repeatable { 2 } else { 1 }, "sent {sent} times");
    }
}
