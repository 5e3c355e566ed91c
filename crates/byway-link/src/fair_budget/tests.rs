use std::time::{Duration, Instant};

use super::*;
use crate::window::{CARRIER_BYTES, INITIAL_BYTES, MOST_BYTES, NODE_BYTES, WIDE_BYTES, Window};

const ROUND_TRIP: Duration = Duration::from_millis(50);

const MIB: u64 = 1024 * 1024;

const WIDE: u64 = (WIDE_BYTES - INITIAL_BYTES) as u64;

fn client(name: &str) -> ClientKey {
    ClientKey::of(&name)
}

fn node() -> Arc<FairBudget> {
    FairBudget::node(NODE_BYTES)
}

/// A carrier of a grant.
fn carrier_of(grant: &Arc<FairBudget>) -> Arc<FairBudget> {
    let carrier = FairBudget::carrier(CARRIER_BYTES);
    carrier.assign(grant);
    carrier
}

/// A carrier of a grant of its own.
fn carrier(node: &Arc<FairBudget>) -> Arc<FairBudget> {
    carrier_of(&FairBudget::grant(node))
}

fn window(budget: &Arc<FairBudget>, client: ClientKey) -> Window {
    let mut window = Window::new(Arc::clone(budget));
    window.set_client(client);
    window
}

/// A window of `client` that is read as fast as it can be until it grows no more, and is then
/// paused.
fn paused(budget: &Arc<FairBudget>, client: ClientKey) -> Window {
    let mut window = window(budget, client);
    let now = Instant::now();
    for _ in 0..32 {
        let half = window.size() as usize / 2;
        assert!(window.receive(half));
        window.consume(half, now, ROUND_TRIP).unwrap();
    }
    window
}

/// A stream of `client` that has just been opened; `None` if it starts with the first window.
fn wide(budget: &Arc<FairBudget>, client: ClientKey) -> Option<Window> {
    let mut window = window(budget, client);
    window.widen(ROUND_TRIP, true).map(|_| window)
}

/// The sizes of `windows` in MiB.
fn mib(windows: &[Window]) -> Vec<u64> {
    windows
        .iter()
        .map(|window| u64::from(window.size()) / MIB)
        .collect()
}

#[test]
fn a_carrier_without_a_session_takes_nothing() {
    let pending = FairBudget::carrier(CARRIER_BYTES);
    assert_eq!(paused(&pending, client("any")).size(), INITIAL_BYTES);
    pending.assign(&FairBudget::grant(&node()));
    assert_eq!(paused(&pending, client("any")).size(), MOST_BYTES);
}

#[test]
fn one_stream_alone_has_the_largest_window() {
    for client in [ClientKey::UNKNOWN, client("alone")] {
        let node = node();
        let window = paused(&carrier(&node), client);
        assert_eq!(window.size(), MOST_BYTES);
        drop(window);
        assert_eq!(node.used(), 0);
    }
}

#[test]
fn paused_streams_of_one_client_left_no_growth_to_the_other_clients_of_the_carrier() {
    let (node, greedy) = (node(), client("greedy"));
    let carrier = carrier(&node);
    let held: Vec<Window> = (0..64).map(|_| paused(&carrier, greedy)).collect();
    assert!(carrier.used() <= CARRIER_BYTES.growth_bytes / 2);
    let others = ["second", "third", "fourth"].map(|name| paused(&carrier, client(name)));
    assert_eq!(mib(&others), [8, 4, 4]);
    drop((held, others));
    assert_eq!((carrier.used(), node.used()), (0, 0));
    assert!(
        carrier.growth.lock().by_client.is_empty(),
        "no entry without growth"
    );
    assert!(
        node.growth.lock().by_client.is_empty(),
        "no entry without growth"
    );
}

#[test]
fn two_paused_streams_of_a_client_left_no_growth_to_its_own_other_streams() {
    let carrier = carrier(&node());
    let windows: Vec<Window> = (0..5).map(|_| paused(&carrier, client("one"))).collect();
    assert_eq!(mib(&windows), [16, 8, 4, 2, 1]);
}

#[test]
fn one_client_of_many_carriers_of_a_grant_left_no_growth_to_its_other_clients() {
    let grant = FairBudget::grant(&node());
    let greedy: Vec<Vec<Window>> = (0..8)
        .map(|_| carrier_of(&grant))
        .map(|carrier| {
            (0..64)
                .map(|_| paused(&carrier, client("greedy")))
                .collect()
        })
        .collect();
    assert_eq!(grant.used() / MIB, 40, "a quarter of the node, not half");
    let window = paused(&carrier_of(&grant), client("other"));
    assert_eq!(mib(&[window]), [8]);
    drop(greedy);
}

#[test]
fn one_client_of_many_grants_left_no_growth_to_the_other_clients_of_the_node() {
    let node = node();
    let greedy: Vec<Vec<Window>> = (0..16)
        .map(|_| carrier(&node))
        .map(|carrier| {
            (0..64)
                .map(|_| paused(&carrier, client("greedy")))
                .collect()
        })
        .collect();
    assert!(node.used() <= NODE_BYTES.growth_bytes / 2);
    let window = paused(&carrier(&node), client("other"));
    assert_eq!(mib(&[window]), [8]);
    drop(greedy);
}

#[test]
fn streams_of_unknown_clients_are_one_client_of_their_grant_and_not_of_the_node() {
    let node = node();
    let grants: Vec<_> = (0..4).map(|_| FairBudget::grant(&node)).collect();
    let take_all = |grant: &Arc<FairBudget>| {
        let carriers: Vec<_> = (0..4).map(|_| carrier_of(grant)).collect();
        carriers
            .iter()
            .flat_map(|carrier| (0..64).map(|_| paused(carrier, ClientKey::UNKNOWN)))
            .collect::<Vec<_>>()
    };
    let held: Vec<_> = grants.iter().map(take_all).collect();
    let used: Vec<u64> = grants.iter().map(|grant| grant.used() / MIB).collect();
    assert_eq!(used, [40, 30, 22, 16]);
    drop(held);
}

#[test]
fn one_grant_cannot_take_the_whole_window_budget() {
    let node = node();
    let [first, second, third] = [(); 3].map(|()| FairBudget::grant(&node));
    let mut names = 0;
    // Each stream for a client of its own, on many carriers.
    let mut take_all = |grant: &Arc<FairBudget>| {
        let mut windows = Vec::new();
        for _ in 0..16 {
            let carrier = carrier_of(grant);
            windows.extend((0..256).map(|_| {
                names += 1;
                paused(&carrier, client(&names.to_string()))
            }));
        }
        windows
    };
    let held = take_all(&first);
    let again = take_all(&first);
    assert!(
        again.iter().all(|window| window.size() == INITIAL_BYTES),
        "other carriers"
    );
    assert_eq!(first.used() / MIB, 79);
    let more = [take_all(&second), take_all(&third)];
    assert_eq!((second.used() / MIB, third.used() / MIB), (39, 19));
    drop(held);
    assert_eq!(first.used(), 0);
    drop(more);
    assert_eq!(node.used(), 0);
}

#[test]
fn streams_that_are_never_used_kept_others_from_growing() {
    let carrier = carrier(&node());
    let idle: Vec<Window> = (0..320)
        .filter_map(|number| wide(&carrier, client(&number.to_string())))
        .collect();
    assert_eq!(idle.len() as u64, CARRIER_BYTES.early_bytes / WIDE - 3);
    let late = window(&carrier, client("late"));
    assert!(wide(&carrier, client("late")).is_none());
    drop(late);
    assert_eq!(mib(&[paused(&carrier, client("late"))]), [16]);
}

#[test]
fn idle_streams_of_one_client_took_the_early_credit_of_all_others() {
    let carrier = carrier(&node());
    let idle: Vec<Window> = (0..320)
        .filter_map(|_| wide(&carrier, client("idle")))
        .collect();
    assert!(idle.len() as u64 * WIDE <= CARRIER_BYTES.early_bytes / 2);
    assert!(wide(&carrier, client("another")).is_some());
    drop(idle);
    assert_eq!(carrier.used(), 0);
}

#[test]
fn streams_that_have_grown_took_the_early_credit_of_new_ones() {
    let node = node();
    let grants = [(); 2].map(|()| FairBudget::grant(&node));
    let held: Vec<Window> = grants
        .iter()
        .flat_map(|grant| (0..4).map(|_| carrier_of(grant)))
        .flat_map(|carrier| (0..64).map(move |number| (carrier.clone(), number)))
        .map(|(carrier, number)| paused(&carrier, client(&number.to_string())))
        .collect();
    let late = carrier(&node);
    let wide: Vec<_> = (0..4).map_while(|_| wide(&late, client("late"))).collect();
    assert_eq!(wide.len(), 4);
    drop(held);
}

#[test]
fn one_grant_cannot_keep_the_streams_of_all_others_at_the_first_window() {
    let node = node();
    let mut names = 0;
    let mut take_all = |grant: &Arc<FairBudget>| {
        let carriers: Vec<_> = (0..8).map(|_| carrier_of(grant)).collect();
        let windows = carriers.iter().flat_map(|carrier| {
            names += 256;
            (names - 256..names)
                .filter_map(|number: u32| wide(carrier, client(&number.to_string())))
        });
        windows.collect::<Vec<_>>()
    };
    let grants = [(); 3].map(|()| FairBudget::grant(&node));
    let held = grants.each_ref().map(&mut take_all);
    let used = grants.map(|grant| grant.used() / MIB);
    assert_eq!(used, [47, 23, 11]);
    drop(held);
}

#[test]
fn streams_that_were_not_used_yet_leave_early_credit_to_those_of_the_same_client_that_are() {
    let carrier = carrier(&node());
    let unused: Vec<Window> = (0..320)
        .filter_map(|_| {
            let mut window = window(&carrier, client("one"));
            window.widen(ROUND_TRIP, false).map(|_| window)
        })
        .collect();
    assert_eq!(unused.len(), 21);
    let used: Vec<Window> = (0..32)
        .map_while(|_| wide(&carrier, client("one")))
        .collect();
    assert!(used.len() >= 30, "{}", used.len());
}

#[test]
fn unused_streams_of_many_clients_took_the_early_credit_of_those_that_are_used() {
    let node = node();
    let carrier = carrier(&node);
    let unused: Vec<Window> = (0..320)
        .filter_map(|number: u32| {
            let mut window = window(&carrier, client(&number.to_string()));
            window.widen(ROUND_TRIP, false).map(|_| window)
        })
        .collect();
    assert!(unused.len() as u64 * WIDE <= CARRIER_BYTES.early_bytes / 2);
    let used: Vec<Window> = (0..16)
        .map_while(|number: u32| wide(&carrier, client(&format!("used {number}"))))
        .collect();
    assert_eq!(used.len(), 16);
}
