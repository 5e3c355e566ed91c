//! Shares: which client gets the places in a full queue, compared with a model that counts
//! everything at each step.
//!
//! Never: sleeps or spawns.

use super::*;
use crate::Client;
use proptest::prelude::*;
use std::time::Duration;

const CLIENTS: [&str; 4] = ["eve", "ann", "bob", "joe"];
const ORIGINS: [Key; 4] = ["a", "b", "c", "d"];

fn acquiring_for<'a>(net: &'a Net, key: &'a Key, name: &str) -> Acquiring<'a> {
    Acquiring {
        future: Box::pin(net.acquire_for(key, Client::of(&name))),
        woken: Arc::default(),
    }
}

fn queued_for<'a>(net: &'a Net, key: &'a Key, name: &str) -> Acquiring<'a> {
    let mut acquiring = acquiring_for(net, key, name);
    assert!(acquiring.poll().is_pending());
    acquiring
}

fn refused(net: &Net, key: Key, name: &str) -> AcquireError {
    match acquiring_for(net, &key, name).poll() {
        Poll::Ready(outcome) => outcome.unwrap_err(),
        Poll::Pending => panic!("has a place in the queue"),
    }
}

/// Two origins, one leased connection to each, and four places in the queue.
fn busy() -> (Net, [Lease<Key, Line>; 2]) {
    let (net, world) = net(Limits {
        queue_len: 4,
        ..Limits::capped(2, 1)
    });
    let leases = [dial(&net, &world, "a"), dial(&net, &world, "b")];
    (net, leases)
}

#[tokio::test]
async fn a_client_that_fills_the_queue_loses_a_place_to_another_one() {
    let (net, [of_a, _of_b]) = busy();
    let crowd: Vec<_> = (0..4).map(|_| queued_for(&net, &"a", "eve")).collect();
    assert_eq!(
        refused(&net, "a", "eve"),
        AcquireError::QueueFull { limit: 4 }
    );
    let other = queued_for(&net, &"a", "ann");
    let woken: Vec<_> = crowd.iter().map(Acquiring::woken).collect();
    assert_eq!(woken, [false, false, false, true], "the newest one leaves");
    assert_eq!(
        crowd.into_iter().next_back().unwrap().served().unwrap_err(),
        AcquireError::ClientShare { limit: 4 }
    );
    of_a.release(KEEP);
    lease(other.served());
    assert_eq!(net.stats().queue_full_total, 2);
    net.audit();
}

#[tokio::test]
async fn a_client_that_fills_the_queue_of_one_origin_loses_a_place_to_another_origin() {
    let (net, [_of_a, of_b]) = busy();
    let crowd: Vec<_> = (0..4).map(|_| queued_for(&net, &"a", "eve")).collect();
    let other = queued_for(&net, &"b", "ann");
    assert!(crowd[3].woken());
    of_b.release(KEEP);
    lease(other.served());
    drop(crowd);
    net.audit();
}

#[tokio::test]
async fn many_clients_that_fill_the_queue_of_one_origin_lose_a_place_to_another_origin() {
    let (net, [_of_a, of_b]) = busy();
    let mut crowd: Vec<_> = CLIENTS
        .iter()
        .map(|name| queued_for(&net, &"a", name))
        .collect();
    let other = queued_for(&net, &"b", "zoe");
    let last = crowd.remove(3);
    assert!(!crowd.iter().any(Acquiring::woken));
    assert_eq!(
        last.served().unwrap_err(),
        AcquireError::QueueFull { limit: 4 }
    );
    of_b.release(KEEP);
    lease(other.served());
    net.audit();
}

#[tokio::test]
async fn a_client_that_waits_for_many_origins_takes_no_place_from_one_that_has_fewer() {
    let (net, world) = net(Limits {
        queue_len: 4,
        ..Limits::capped(1, 1)
    });
    let _busy = dial(&net, &world, "z");
    let own: Vec<_> = ["a", "a"]
        .iter()
        .map(|key| queued_for(&net, key, "ann"))
        .collect();
    let crowd: Vec<_> = ["b", "c"]
        .iter()
        .map(|key| queued_for(&net, key, "eve"))
        .collect();
    assert_eq!(
        refused(&net, "d", "eve"),
        AcquireError::QueueFull { limit: 4 }
    );
    assert!(!own.iter().any(Acquiring::woken));
    drop(crowd);
    net.audit();
}

#[tokio::test]
async fn an_idle_connection_is_closed_before_a_waiter_is_displaced() {
    let (net, world) = net(Limits {
        queue_len: 1,
        ..Limits::capped(2, 1)
    });
    let _busy = dial(&net, &world, "a");
    dial(&net, &world, "b").release(KEEP);
    let first = queued_for(&net, &"a", "eve");
    let newcomer = acquiring_for(&net, &"c", "ann").poll();
    let Poll::Ready(served) = newcomer else {
        panic!("the idle connection was not closed")
    };
    drop(permit(served));
    assert!(!first.woken());
}

#[tokio::test]
async fn a_displaced_waiter_and_a_cancelled_one_leave_nothing_behind() {
    let (net, leases) = busy();
    let mut crowd: Vec<_> = (0..4).map(|_| queued_for(&net, &"a", "eve")).collect();
    let other = queued_for(&net, &"b", "ann");
    drop(crowd.pop());
    drop((crowd, other, leases));
    net.close_idle();
    net.audit();
    assert_eq!(net.remains().0, 0);
}

#[derive(Debug, Clone)]
enum Step {
    Acquire { client: usize, origin: usize },
    Cancel(usize),
    Free(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..4_usize, 0..4_usize).prop_map(|(client, origin)| Step::Acquire { client, origin }),
        2 => (0..16_usize).prop_map(Step::Cancel),
        1 => (0..16_usize).prop_map(Step::Free),
    ]
}

struct Waiting<'a> {
    client: usize,
    origin: usize,
    acquiring: Acquiring<'a>,
}

/// The model's rule for a newcomer to a full queue: which waiter it displaces. Counts everything
/// again.
fn displaced(waiting: &[Waiting<'_>], client: usize, origin: usize) -> Option<usize> {
    let of_client = |client: usize| waiting.iter().filter(|one| one.client == client).count();
    let of_origin = |origin: usize| waiting.iter().filter(|one| one.origin == origin).count();
    let most = (0..4).map(of_client).max().unwrap();
    if of_client(client) + 1 < most {
        // If several clients have the most waiters, the pool chooses: see `take`.
        return waiting
            .iter()
            .rposition(|one| of_client(one.client) == most);
    }
    let longest = (0..4).map(of_origin).max().unwrap();
    let may_lose =
        |one: &Waiting<'_>| one.client == client || of_client(one.client) > of_client(client);
    let is_longest = |one: &Waiting<'_>| of_origin(one.origin) == longest && may_lose(one);
    (of_origin(origin) + 1 < longest)
        .then(|| waiting.iter().rposition(is_longest))
        .flatten()
}

/// A newcomer finds the queue full.
fn take<'a>(
    net: &'a Net,
    waiting: &mut Vec<Waiting<'a>>,
    client: usize,
    origin: usize,
    queue_len: usize,
) {
    let of_client = |waiting: &[Waiting<'_>], client: usize| {
        waiting.iter().filter(|one| one.client == client).count()
    };
    let of_origin = |waiting: &[Waiting<'_>], origin: usize| {
        waiting.iter().filter(|one| one.origin == origin).count()
    };
    let expected = displaced(waiting, client, origin);
    let own = of_client(waiting, client);
    let clients = (0..4)
        .filter(|other| *other == client || of_client(waiting, *other) > 0)
        .count();
    let mut acquiring = acquiring_for(net, &ORIGINS[origin], CLIENTS[client]);
    let outcome = acquiring.poll();
    let lost: Vec<_> = (0..waiting.len())
        .filter(|at| waiting[*at].acquiring.woken())
        .collect();
    if let Poll::Ready(outcome) = outcome {
        assert_eq!(
            outcome.unwrap_err(),
            AcquireError::QueueFull { limit: queue_len }
        );
        assert!(
            own >= queue_len / clients,
            "refused below the client's share of the queue"
        );
        assert!(
            lost.is_empty(),
            "a waiter was displaced for a refused newcomer"
        );
        // If several origins have the most waiters, the pool checks only one of them.
        let several = (0..4).map(|other| of_origin(waiting, other)).max().unwrap();
        let several = (0..4)
            .filter(|other| of_origin(waiting, *other) == several)
            .count()
            > 1;
        assert!(expected.is_none() || several, "refused against the rule");
        return;
    }
    let [lost] = lost[..] else {
        panic!("{} waiters displaced for one newcomer", lost.len())
    };
    let before = waiting.remove(lost);
    let expected =
        expected.unwrap_or_else(|| panic!("{} was displaced against the rule", before.client));
    let newest = |waiting: &[Waiting<'_>]| {
        !waiting[lost..]
            .iter()
            .any(|one| one.client == before.client)
    };
    match before.acquiring.served().unwrap_err() {
        AcquireError::ClientShare { limit } => {
            assert_eq!(limit, queue_len);
            assert!(newest(waiting), "not the newest of its client");
            assert!(
                of_client(waiting, before.client) > own,
                "the displaced client has fewer waiters than the newcomer's"
            );
            assert!((0..4).all(|other| of_client(waiting, other) <= of_client(waiting, before.client) + 1));
        }
        AcquireError::QueueFull { .. } => {
            assert!(
                before.client == client || of_client(waiting, before.client) == own,
                "a client lost places"
            );
            assert!(
                of_origin(waiting, before.origin) > of_origin(waiting, origin),
                "the origins are not more equal"
            );
        }
        other => panic!("{other}"),
    }
    let _ = expected;
    waiting.push(Waiting {
        client,
        origin,
        acquiring,
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_client_below_its_share_is_refused_a_place_in_the_queue(
        queue_len in 1..12_usize,
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let wait = Duration::from_secs(24 * 3600);
            let (net, world) = net(Limits { queue_len, queue_wait: wait, ..Limits::capped(2, 2) });
            let mut leases = vec![dial(&net, &world, "z"), dial(&net, &world, "z")];
            let mut waiting: Vec<Waiting<'_>> = Vec::new();
            for step in steps {
                match step {
                    Step::Acquire { client, origin } if waiting.len() < queue_len => {
                        let acquiring = queued_for(&net, &ORIGINS[origin], CLIENTS[client]);
                        waiting.push(Waiting { client, origin, acquiring });
                    }
                    Step::Acquire { client, origin } => take(&net, &mut waiting, client, origin, queue_len),
                    Step::Cancel(n) if !waiting.is_empty() => drop(waiting.remove(n % waiting.len())),
                    Step::Free(n) if !waiting.is_empty() => {
                        drop(leases.remove(n % 2));
                        let served = waiting.iter().position(|one| one.acquiring.woken()).unwrap();
                        let Waiting { origin, acquiring, .. } = waiting.remove(served);
                        leases.push(permit(acquiring.served()).install(world.line(ORIGINS[origin])));
                    }
                    Step::Cancel(_) | Step::Free(_) => {}
                }
                net.audit();
                assert_eq!(net.stats().pending, waiting.len());
            }
            drop((waiting, leases));
            net.close_idle();
            assert_eq!(net.remains().0, 0);
        });
    }
}
