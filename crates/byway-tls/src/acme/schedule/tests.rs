use proptest::prelude::*;

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);
const MINUTE: Duration = Duration::from_secs(60);

fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + 20_000 * DAY
}

fn ninety_days() -> Period {
    Period {
        start: start(),
        end: start() + 90 * DAY,
    }
}

/// A schedule whose authority has no renewal information.
fn by_lifetime(validity: Period) -> Schedule {
    let mut schedule = Schedule::new(Some(validity), 0.0);
    schedule.no_renewal_info(validity.start, true);
    schedule
}

#[test]
fn without_a_certificate_one_is_requested_at_once() {
    assert_eq!(Schedule::new(None, 0.5).step(start()), Step::Order);
}

#[test]
fn a_certificate_is_renewed_when_a_third_of_its_life_is_left_and_short_ones_at_half() {
    let mut schedule = by_lifetime(ninety_days());
    assert_eq!(schedule.step(start() + DAY), Step::Wait(start() + 60 * DAY));
    assert_eq!(schedule.step(start() + 60 * DAY), Step::Order);
    let mut short = by_lifetime(Period {
        start: start(),
        end: start() + 6 * DAY,
    });
    assert_eq!(short.step(start()), Step::Wait(start() + 3 * DAY));
}

#[test]
fn certificates_that_were_issued_together_are_not_renewed_together() {
    let early = renewal_by_lifetime(ninety_days(), 1.0);
    let late = renewal_by_lifetime(ninety_days(), 0.0);
    assert_eq!(late.duration_since(early).unwrap(), 3 * DAY);
}

#[test]
fn delays_double_up_to_six_hours_and_stay_below_five_failures_an_hour() {
    let mut schedule = Schedule::new(None, 0.0);
    let mut now = start();
    let mut tries = vec![now];
    for _ in 0..12 {
        let at = schedule.failed(now, None, 0.0);
        assert_eq!(schedule.step(now), Step::Wait(at));
        assert_eq!(schedule.step(at), Step::Order);
        assert!(at.duration_since(now).unwrap() <= LONGEST_DELAY);
        now = at;
        tries.push(now);
    }
    let in_first_hour = tries.iter().filter(|at| **at < start() + 60 * MINUTE);
    assert_eq!(in_first_hour.count(), 5);
    assert_eq!(schedule.failed(now, None, 0.0), now + LONGEST_DELAY);
}

#[test]
fn retry_after_of_the_authority_is_obeyed_up_to_a_week() {
    let mut schedule = Schedule::new(None, 0.0);
    let at = schedule.failed(start(), Some(DAY), 0.0);
    assert_eq!(at, start() + DAY);
    assert_eq!(schedule.step(start() + DAY / 2), Step::Wait(at));
    let at = schedule.failed(start() + DAY, Some(400 * DAY), 0.0);
    assert_eq!(at, start() + DAY + LONGEST_RETRY_AFTER);
}

#[test]
fn a_restart_is_no_way_round_the_delay_after_failures() {
    let mut schedule = Schedule::new(None, 0.0).with_failures(3, Some(start() + 10 * MINUTE));
    assert_eq!(schedule.step(start()), Step::Wait(start() + 10 * MINUTE));
    let at = schedule.failed(start() + 10 * MINUTE, None, 0.0);
    assert_eq!(at, start() + 26 * MINUTE, "the fourth failure");
}

#[test]
fn the_suggested_window_of_the_authority_decides() {
    let mut schedule = Schedule::new(Some(ninety_days()), 0.0);
    let now = start() + DAY;
    assert_eq!(schedule.step(now), Step::RenewalInfo);
    let window = Period {
        start: start() + 20 * DAY,
        end: start() + 22 * DAY,
    };
    schedule.renewal_info(now, window, DAY / 4, 0.5);
    assert_eq!(schedule.step(now), Step::Wait(now + DAY / 4));
    assert_eq!(schedule.renew_at(), Some(start() + 21 * DAY));
    // The same window again does not select another moment.
    schedule.renewal_info(now + DAY / 4, window, DAY / 4, 0.9);
    assert_eq!(schedule.renew_at(), Some(start() + 21 * DAY));
    assert_eq!(schedule.step(start() + 21 * DAY), Step::Order);
}

#[test]
fn a_window_in_the_past_means_now_and_one_after_the_expiry_is_not_waited_for() {
    let now = start() + 5 * DAY;
    let mut revoked = Schedule::new(Some(ninety_days()), 0.0);
    let past = Period {
        start: start() + DAY,
        end: start() + 2 * DAY,
    };
    revoked.renewal_info(now, past, DAY, 0.5);
    assert_eq!(revoked.step(now), Step::Order);
    let mut late = Schedule::new(Some(ninety_days()), 0.0);
    let after = Period {
        start: start() + 100 * DAY,
        end: start() + 101 * DAY,
    };
    late.renewal_info(now, after, DAY, 0.5);
    assert_eq!(late.renew_at(), Some(start() + 81 * DAY));
}

#[test]
fn renewal_information_that_cannot_be_read_is_asked_for_again_and_does_not_stop_renewal() {
    let mut schedule = Schedule::new(Some(ninety_days()), 0.0);
    let now = start() + DAY;
    schedule.no_renewal_info(now, false);
    assert_eq!(schedule.step(now), Step::Wait(now + RENEWAL_INFO_RETRY));
    assert_eq!(schedule.step(now + RENEWAL_INFO_RETRY), Step::RenewalInfo);
    assert_eq!(schedule.step(start() + 61 * DAY), Step::Order);
}

#[test]
fn a_clock_that_jumps_forward_renews_at_once() {
    let mut schedule = by_lifetime(ninety_days());
    assert_eq!(schedule.step(start()), Step::Wait(start() + 60 * DAY));
    assert_eq!(schedule.step(start() + 4000 * DAY), Step::Order);
}

#[test]
fn a_clock_that_was_set_back_delays_a_retry_by_no_more_than_the_longest_delay() {
    let mut schedule = Schedule::new(None, 0.0);
    schedule.failed(start() + 4000 * DAY, None, 0.0);
    assert_eq!(schedule.step(start()), Step::Wait(start() + LONGEST_DELAY));
    assert_eq!(schedule.step(start() + LONGEST_DELAY), Step::Order);
}

#[test]
fn a_certificate_from_the_future_is_kept_and_asks_for_its_window_within_a_day() {
    let mut schedule = Schedule::new(Some(ninety_days()), 0.0);
    let now = start() - 1000 * DAY;
    assert_eq!(schedule.step(now), Step::Wait(now + DAY));
    assert_eq!(schedule.step(now + DAY), Step::RenewalInfo);
}

#[test]
fn after_a_success_nothing_of_the_failures_is_left() {
    let mut schedule = Schedule::new(None, 0.0);
    schedule.failed(start(), None, 0.0);
    schedule.issued(start(), ninety_days(), 0.0);
    assert_eq!((schedule.failures(), schedule.retry_at()), (0, None));
    assert_eq!(schedule.step(start()), Step::RenewalInfo);
}

#[test]
fn by_a_clock_that_is_wrong_certificates_are_requested_less_than_five_times_a_week() {
    let mut now = start() + 4000 * DAY;
    let mut schedule = by_lifetime(ninety_days());
    let mut orders = 0;
    while now < start() + 4007 * DAY {
        match schedule.step(now) {
            // The authority's clock is right: what it issues has long expired here.
            Step::Order => drop(schedule.issued(now, ninety_days(), 0.0)),
            Step::RenewalInfo => schedule.no_renewal_info(now, true),
            Step::Wait(until) => now = until,
        }
        orders += u32::from(schedule.retry_at.is_some_and(|at| at == now + SPACING));
    }
    assert!((2..=5).contains(&orders), "{orders}");
}

#[test]
fn short_lived_certificates_are_renewed_at_half_of_their_life_all_the_same() {
    let minute = Period {
        start: start(),
        end: start() + MINUTE,
    };
    let mut schedule = Schedule::new(None, 0.0);
    schedule.issued(start(), minute, 0.0);
    schedule.no_renewal_info(start(), true);
    assert_eq!(schedule.step(start() + MINUTE / 2), Step::Order);
}

#[derive(Clone, Debug)]
enum Event {
    Pass(i64),
    Fail(u32),
    Issue,
    Window(i64, i64),
    NoWindow(bool),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (-200_i64..200).prop_map(Event::Pass),
        (0_u32..1_000_000).prop_map(Event::Fail),
        Just(Event::Issue),
        (-200_i64..200, 0_i64..50).prop_map(|(start, length)| Event::Window(start, length)),
        any::<bool>().prop_map(Event::NoWindow),
    ]
}

proptest! {
    /// Whatever the clock, the authority and the outcomes do: a wait ends in the future and is
    /// bounded, and two failures are never closer than the first delay.
    #[test]
    fn a_step_never_waits_for_the_past_and_never_for_too_long(
        events in prop::collection::vec(event(), 1..40),
        random in 0.0_f64..1.0,
    ) {
        let mut schedule = Schedule::new(None, random);
        let mut now = start();
        for event in events {
            match event {
                Event::Pass(days) if days < 0 => now -= (-days) as u32 * DAY,
                Event::Pass(days) => now += days as u32 * DAY,
                Event::Fail(seconds) => {
                    let at = schedule.failed(now, Some(Duration::from_secs(seconds.into())), random);
                    prop_assert!(at >= now + FIRST_DELAY);
                }
                Event::Issue => drop(schedule.issued(
                    now,
                    Period { start: now, end: now + 90 * DAY },
                    random,
                )),
                Event::Window(from, length) => {
                    let from = start() + (from + 400) as u32 * DAY;
                    let window = Period { start: from, end: from + length as u32 * DAY };
                    schedule.renewal_info(now, window, DAY, random);
                }
                Event::NoWindow(is_unsupported) => schedule.no_renewal_info(now, is_unsupported),
            }
            if let Step::Wait(until) = schedule.step(now) {
                prop_assert!(until > now);
                // A certificate of a clock that was ahead is not waited for longer than that clock.
                prop_assert!(until <= now + 10_000 * DAY);
                if schedule.validity.is_none() {
                    prop_assert!(until <= now + LONGEST_RETRY_AFTER + SPACING);
                }
            }
        }
    }
}
