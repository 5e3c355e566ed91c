//! The controller in simulated networks, and under callbacks in any order.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::bbr::{Bbr, MOST_WINDOW_BYTES};
use super::simulator::{App, Controller, PACKET, Path, Simulator, mbit};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const fn s(s: u64) -> Duration {
    Duration::from_secs(s)
}

const BULK: App = App::Bulk(Duration::ZERO);

/// One flow on `path` until `until`.
fn alone(path: Path, until: Duration) -> Simulator {
    let mut simulator = Simulator::new(path, 7);
    simulator.bbr(BULK);
    simulator.run(until);
    simulator
}

/// Its flow's rate between two seconds, in hundredths of `rate`.
fn share(simulator: &Simulator, rate: u64, from: u64, to: u64) -> u64 {
    simulator.flows[0].rate(s(from), s(to)) * 100 / rate
}

/// Jain's fairness index: 1 for equal shares, 0.5 if one of two flows has everything.
fn jain(simulator: &Simulator, from: u64, to: u64) -> f64 {
    let rates: Vec<f64> = simulator
        .flows
        .iter()
        .map(|flow| flow.rate(s(from), s(to)) as f64)
        .collect();
    let squares: f64 = rates.iter().map(|rate| rate * rate).sum();
    rates.iter().sum::<f64>().powi(2) / (rates.len() as f64 * squares)
}

#[test]
fn random_losses_cost_no_more_than_their_share() {
    for (rate, round_trip) in [(100, 100), (20, 50), (50, 200)] {
        for (loss, least) in [(0.0, 97), (0.01, 94), (0.05, 85), (0.15, 60)] {
            let path = Path::new(mbit(rate), ms(round_trip), ms(100)).losing(loss);
            let share = share(&alone(path, s(10)), mbit(rate), 2, 10);
            assert!(
                share >= least,
                "{rate} Mbit/s, {round_trip} ms, loss {loss}: {share} %"
            );
        }
    }
}

#[test]
fn a_deep_queue_stays_nearly_empty() {
    for (rate, queue) in [(20, 1000), (100, 500)] {
        let simulator = alone(Path::new(mbit(rate), ms(50), ms(queue)), s(12));
        let (middle, most) = (
            simulator.wait(s(2), s(12), 50),
            simulator.wait(s(2), s(12), 99),
        );
        assert!(
            middle < ms(10) && most < ms(40),
            "{rate} Mbit/s: {middle:?}, {most:?}"
        );
        assert_eq!(simulator.flows[0].dropped, 0, "{rate} Mbit/s");
    }
}

#[test]
fn a_shallow_queue_and_a_policer_are_used_without_many_drops() {
    let shallow = (mbit(100), Path::new(mbit(100), ms(100), ms(10)));
    let policed = (mbit(20), Path::policed(mbit(20), ms(50), 30 * PACKET));
    for (rate, path) in [shallow, policed] {
        let simulator = alone(path.clone(), s(22));
        let before = alone(path, s(2));
        let share = share(&simulator, rate, 2, 22);
        let dropped = (simulator.flows[0].dropped - before.flows[0].dropped) * PACKET;
        assert!(share >= 85, "{share} %");
        assert!(
            dropped * 100 <= 8 * 20 * rate,
            "{dropped} bytes dropped of {}",
            20 * rate
        );
    }
}

#[test]
fn the_rate_follows_the_path_up_and_down() {
    let path = Path::new(mbit(20), ms(50), ms(200));
    let path = path.rate_from(s(6), mbit(100)).rate_from(s(16), mbit(10));
    let simulator = alone(path, s(30));
    assert!(share(&simulator, mbit(20), 2, 6) >= 95);
    assert!(
        share(&simulator, mbit(100), 11, 16) >= 90,
        "{}",
        share(&simulator, mbit(100), 11, 16)
    );
    assert!(share(&simulator, mbit(10), 24, 30) >= 90);
    let wait = simulator.wait(s(27), s(30), 90);
    assert!(
        wait < ms(80),
        "the queue of the faster path is not drained: {wait:?}"
    );
}

#[test]
fn a_burst_of_losses_has_no_lasting_effect() {
    let path = Path::new(mbit(500), ms(100), ms(100));
    let path = path.losing_between(s(3), ms(3300), 0.3);
    let simulator = alone(path, s(6));
    let after = share(&simulator, mbit(500), 4, 6);
    assert!(after >= 85, "{after} %");
}

#[test]
fn a_flow_survives_silence_and_soon_reaches_its_rate_again() {
    for silence in [s(1), s(9)] {
        let path = Path::new(mbit(100), ms(100), ms(200));
        let path = path.losing_between(s(4), s(4) + silence, 1.0);
        // The sender's probes are sent at growing intervals: one may wait nearly as long as the
        // silence lasted.
        let end = s(4) + 2 * silence + s(4);
        let mut simulator = Simulator::new(path, 1);
        let flow = simulator.bbr(BULK);
        simulator.run(end);
        let share = simulator.flows[flow].rate(end - s(2), end) * 100 / mbit(100);
        assert!(share >= 90, "{silence:?}: {share} %");
    }
}

/// Ten small answers in the first second, then bulk data.
const BULK_AFTER_A_SECOND: App = App::BulkTicksBulk(Duration::ZERO, 2500, ms(100), s(1));

/// The rate of one flow on `path` in the last second before `end`, in hundredths of `rate`.
fn last_second(path: Path, app: App, rate: u64, end: Duration) -> u64 {
    let mut simulator = Simulator::new(path, 7);
    let flow = simulator.bbr(app);
    simulator.run(end);
    simulator.flows[flow].rate(end - s(1), end) * 100 / rate
}

#[test]
fn a_flow_is_fast_again_after_large_packets_began_to_be_lost() {
    for (rate, round_trip) in [(100, 50), (20, 20), (50, 200)] {
        let path = || Path::new(mbit(rate), ms(round_trip), ms(100));
        // While the flow is fast, and before it has become fast.
        for (app, hole) in [(BULK, s(3)), (BULK_AFTER_A_SECOND, ms(950)), (BULK, s(0))] {
            let share = last_second(path().mtu_hole_from(hole), app, mbit(rate), hole + s(6));
            assert!(
                share >= 85,
                "{rate} Mbit/s, {round_trip} ms, {app:?}, {hole:?}: {share} %"
            );
        }
    }
}

#[test]
fn a_flow_whose_first_windows_were_lost_becomes_fast() {
    for (rate, round_trip) in [(100, 50), (20, 20), (50, 200)] {
        for loss in [0.8, 0.9, 0.95, 0.98] {
            let path = Path::new(mbit(rate), ms(round_trip), ms(100));
            let path = path.losing_between(s(0), ms(600), loss);
            let share = last_second(path, BULK, mbit(rate), s(8));
            assert!(
                share >= 85,
                "{rate} Mbit/s, {round_trip} ms, loss {loss}: {share} %"
            );
        }
    }
}

#[test]
fn a_competing_cubic_flow_gets_its_share() {
    for (rate, queue) in [
        (20, 1000),
        (20, 200),
        (20, 50),
        (100, 1000),
        (100, 200),
        (100, 50),
    ] {
        let mut simulator = Simulator::new(Path::new(mbit(rate), ms(50), ms(queue)), 3);
        simulator.bbr(BULK);
        simulator.cubic(App::Bulk(ms(300)));
        simulator.run(s(40));
        let jain = jain(&simulator, 10, 40);
        assert!(jain > 0.8, "{rate} Mbit/s, queue of {queue} ms: {jain:.2}");
    }
}

#[test]
fn a_flow_that_starts_later_gets_its_share() {
    let mut simulator = Simulator::new(Path::new(mbit(50), ms(40), ms(200)), 3);
    for flow in 0..3 {
        simulator.bbr(App::Bulk(s(3) * flow));
    }
    simulator.run(s(40));
    let jain = jain(&simulator, 20, 40);
    assert!(jain > 0.8, "{jain:.2}");
}

#[test]
fn a_sender_with_little_to_send_keeps_the_measured_rate() {
    let mut simulator = Simulator::new(Path::new(mbit(100), ms(50), ms(200)), 3);
    // 20 s of 1.6 Mbit/s between two transfers.
    let flow = simulator.bbr(App::BulkTicksBulk(ms(2000), 20_000, ms(100), s(22)));
    simulator.run(s(2));
    let Controller::Bbr(bbr) = &simulator.flows[flow].control else {
        panic!("not BBR")
    };
    let before = bbr.rate();
    simulator.run(s(22));
    let Controller::Bbr(bbr) = &simulator.flows[flow].control else {
        panic!("not BBR")
    };
    assert!(
        bbr.rate() >= before * 9 / 10,
        "{} from {before}",
        bbr.rate()
    );
    simulator.run(s(24));
    let share = simulator.flows[flow].rate(s(22) + ms(200), s(24)) * 100 / mbit(100);
    assert!(share >= 90, "{share} %");
}

#[test]
fn bursts_and_jitter_of_acknowledgements_do_not_lower_the_rate() {
    for (every, jitter) in [
        (Some(ms(20)), ms(0)),
        (None, ms(10)),
        (Some(ms(10)), ms(10)),
    ] {
        let mut path = Path::new(mbit(50), ms(40), ms(200));
        (path.ack_every, path.shape.jitter) = (every, jitter);
        let share = share(&alone(path, s(10)), mbit(50), 2, 10);
        assert!(share >= 90, "every {every:?}, jitter {jitter:?}: {share} %");
    }
}

#[derive(Clone, Debug)]
enum Call {
    Sent(u64),
    Ack(u64, u64),
    End(u64, bool),
    Lost(u64, u64, bool),
    Mtu(u16),
}

fn call() -> impl Strategy<Value = (u64, Call)> {
    let bytes = prop_oneof![0_u64..3000, Just(u64::MAX), any::<u64>()];
    let back = prop_oneof![0_u64..300_000_000, any::<u64>().prop_map(|back| back >> 4)];
    let call = prop_oneof![
        bytes.clone().prop_map(Call::Sent),
        (back.clone(), bytes.clone()).prop_map(|(back, bytes)| Call::Ack(back, bytes)),
        (bytes.clone(), any::<bool>()).prop_map(|(bytes, limited)| Call::End(bytes, limited)),
        (back, bytes, any::<bool>()).prop_map(|(back, bytes, all)| Call::Lost(back, bytes, all)),
        any::<u16>().prop_map(Call::Mtu),
    ];
    (
        prop_oneof![0_u64..200_000_000, Just(0), 0_u64..1 << 44],
        call,
    )
}

proptest! {
    #[test]
    fn any_order_of_callbacks_leaves_a_window_within_bounds(calls in prop::collection::vec(call(), 1..400)) {
        let start = Instant::now() + s(1 << 22);
        let mut now = start;
        let mut bbr = Bbr::new(now, 1200, 1);
        let mut mtu = 1200;
        for (later, call) in calls {
            now += Duration::from_nanos(later);
            let back = |nanos| now.checked_sub(Duration::from_nanos(nanos)).unwrap_or(start);
            match call {
                Call::Sent(bytes) => bbr.on_sent(now, bytes),
                Call::Ack(nanos, bytes) => bbr.on_ack(now, back(nanos), bytes),
                Call::End(bytes, limited) => bbr.on_end_acks(now, bytes, limited),
                Call::Lost(nanos, bytes, all) => bbr.on_lost(back(nanos), bytes, all),
                Call::Mtu(new) => {
                    bbr.on_mtu(new);
                    mtu = new;
                }
            }
            let least = 4 * u64::from(mtu.max(1));
            prop_assert!((least..=MOST_WINDOW_BYTES.max(least)).contains(&bbr.window()), "{}", bbr.window());
        }
    }
}
