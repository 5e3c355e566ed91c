//! Clients: which client is served when several want one origin, and which one is recalled.

use super::*;
use crate::Client;
use std::time::Duration;
use tokio::time::advance;

fn client(name: &str) -> Client {
    Client::of(&name)
}

fn acquiring_for<'a>(net: &'a Net, key: &'a Key, name: &str) -> Acquiring<'a> {
    Acquiring {
        future: Box::pin(net.acquire_for(key, client(name))),
        woken: Arc::default(),
    }
}

fn queued_for<'a>(net: &'a Net, key: &'a Key, name: &str) -> Acquiring<'a> {
    let mut acquiring = acquiring_for(net, key, name);
    assert!(acquiring.poll().is_pending());
    acquiring
}

fn dial_for(net: &Net, world: &World, key: Key, name: &str) -> Lease<Key, Line> {
    match acquiring_for(net, &key, name).poll() {
        Poll::Ready(outcome) => permit(outcome).install(world.line(key)),
        Poll::Pending => panic!("has to wait"),
    }
}

/// Whether a lease is recalled when it reports that it waits for its client, or for the origin.
fn is_recalled(lease: &mut Lease<Key, Line>, moved: Option<u64>) -> bool {
    lease
        .poll_recalled(&Context::from_waker(Waker::noop()), moved)
        .is_ready()
}

#[tokio::test]
async fn a_client_that_is_alone_may_hold_every_permit_of_an_origin() {
    let (net, world) = net(Limits::capped(4, 4));
    let all: Vec<_> = (0..4).map(|_| dial_for(&net, &world, "a", "eve")).collect();
    assert_eq!(net.stats().active, all.len());
    net.audit();
}

#[tokio::test]
async fn a_free_permit_goes_to_the_waiting_client_that_holds_least() {
    for release in [KEEP, Release::Close] {
        let (net, world) = net(Limits::capped(4, 4));
        let mut all: Vec<_> = (0..3).map(|_| dial_for(&net, &world, "a", "eve")).collect();
        all.push(dial_for(&net, &world, "a", "ann"));
        let (greedy, modest, new) = (
            queued_for(&net, &"a", "eve"),
            queued_for(&net, &"a", "ann"),
            queued_for(&net, &"a", "bob"),
        );
        all.remove(0).release(release);
        assert!(!greedy.woken() && !modest.woken() && new.woken());
        let of_bob = new.served().unwrap();
        all.remove(0).release(release);
        assert!(
            greedy.woken() != modest.woken(),
            "both hold one: the one that waits longer is next"
        );
        assert!(greedy.woken());
        drop((of_bob, greedy, modest));
        net.audit();
    }
}

#[tokio::test]
async fn earlier_waiters_of_one_client_do_not_go_before_another_client() {
    let (net, world) = net(Limits {
        queue_len: 1000,
        ..Limits::capped(2, 2)
    });
    let mut all: Vec<_> = (0..2).map(|_| dial_for(&net, &world, "a", "eve")).collect();
    let crowd: Vec<_> = (0..100).map(|_| queued_for(&net, &"a", "eve")).collect();
    let other = queued_for(&net, &"a", "ann");
    all.remove(0).release(KEEP);
    lease(other.served()).release(KEEP);
    assert_eq!(
        crowd.iter().filter(|acquiring| acquiring.woken()).count(),
        1,
        "then the first client is served again"
    );
}

#[tokio::test]
async fn a_kept_connection_is_not_handed_to_a_client_above_its_share_while_another_shard_waits() {
    let net: Net = Pool::sharded(Limits::capped(2, 2), 2).unwrap();
    let world = World::default();
    let mut all: Vec<_> = (0..2).map(|_| dial_for(&net, &world, "a", "eve")).collect();
    let greedy = queued_for(&net, &"a", "eve");
    let elsewhere = net.shard(1);
    let other = queued_for(&elsewhere, &"a", "ann");
    all.remove(0).release(KEEP);
    assert!(!greedy.woken());
    drop(permit(other.served()));
    assert!(greedy.woken(), "no other client waits now");
    drop(greedy);
    net.audit();
}

#[tokio::test(start_paused = true)]
async fn an_exchange_that_waits_for_a_client_above_its_share_is_recalled() {
    let limits = Limits {
        queue_wait: Duration::from_secs(8),
        ..Limits::capped(4, 4)
    };
    let (net, world) = net(limits);
    let mut all: Vec<_> = (0..4).map(|_| dial_for(&net, &world, "a", "eve")).collect();
    assert!(!is_recalled(&mut all[1], Some(7)));
    advance(Duration::from_millis(5)).await;
    assert!(!is_recalled(&mut all[2], Some(7)));
    assert!(!is_recalled(&mut all[0], None), "it waits for the origin");
    let mut other = queued_for(&net, &"a", "ann");
    advance(Duration::from_millis(999)).await;
    assert!(other.poll().is_pending());
    assert!(
        !is_recalled(&mut all[1], Some(7)),
        "not before the newcomer has waited"
    );
    advance(Duration::from_millis(2)).await;
    assert!(other.poll().is_pending());
    assert!(
        !is_recalled(&mut all[2], Some(7))
            && !is_recalled(&mut all[0], None)
            && !is_recalled(&mut all[3], None)
    );
    assert!(
        is_recalled(&mut all[1], Some(7)),
        "the one that has waited longest"
    );
    drop(all.remove(1));
    drop(permit(other.served()));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_has_its_share_causes_no_recall() {
    let (net, world) = net(Limits::capped(2, 2));
    let mut of_eve = dial_for(&net, &world, "a", "eve");
    let mut of_ann = dial_for(&net, &world, "a", "ann");
    let mut waiting = queued_for(&net, &"a", "ann");
    assert!(!is_recalled(&mut of_eve, Some(0)) && !is_recalled(&mut of_ann, Some(0)));
    for _ in 0..4 {
        advance(Duration::from_secs(1)).await;
        assert!(waiting.poll().is_pending());
    }
    assert!(!is_recalled(&mut of_eve, Some(0)) && !is_recalled(&mut of_ann, Some(0)));
    advance(Duration::from_secs(1)).await;
    assert!(matches!(
        waiting.poll(),
        Poll::Ready(Err(AcquireError::QueueTimeout { .. }))
    ));
}

#[tokio::test(start_paused = true)]
async fn at_the_total_a_client_that_holds_all_of_it_for_another_origin_is_recalled() {
    let (net, world) = net(Limits::capped(2, 2));
    let mut all: Vec<_> = (0..2).map(|_| dial_for(&net, &world, "a", "eve")).collect();
    let mut other = queued_for(&net, &"b", "ann");
    assert!(!is_recalled(&mut all[0], Some(0)));
    advance(Duration::from_millis(1001)).await;
    assert!(other.poll().is_pending());
    assert!(is_recalled(&mut all[0], Some(0)));
    drop(all.remove(0));
    drop(permit(other.served()));
}

#[tokio::test(start_paused = true)]
async fn a_recall_of_a_lease_that_ended_by_itself_does_not_affect_the_next() {
    let (net, world) = net(Limits::capped(1, 1));
    let mut only = dial_for(&net, &world, "a", "eve");
    assert!(!is_recalled(&mut only, Some(0)));
    let mut other = queued_for(&net, &"a", "ann");
    advance(Duration::from_millis(1001)).await;
    assert!(other.poll().is_pending());
    assert!(
        !is_recalled(&mut only, None),
        "one permit for two clients: no client is above its share of one"
    );
    only.release(KEEP);
    let mut next = lease(other.served());
    assert!(!is_recalled(&mut next, Some(0)));
}
