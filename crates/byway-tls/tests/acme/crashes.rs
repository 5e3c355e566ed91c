use std::sync::atomic::Ordering;

use byway_testkit::{Pebble, PebbleOptions, RecordServer, isolated};
use byway_tls::acme::{ChallengeKind, FailureKind, Status};

use super::issuing::alone;
use super::node::{Client, Node, run};

#[test]
fn a_crash_after_any_request_of_an_order_is_continued() {
    alone!();
    let options = PebbleOptions {
        refused_nonces: 0,
        ..PebbleOptions::default()
    };
    let (pebble, _dns) = (Pebble::start(&options), RecordServer::start());
    run(async {
        let mut continued = 0;
        for requests in 0.. {
            let state = tempfile::tempdir().unwrap();
            let client = Client::new(&pebble.https_root());
            client.cut_after(requests);
            let host = format!("cut{requests}.example.test");
            let node = Node::start_with(client.clone(), state.path(), 0).await;
            let wanted = node.source(&pebble.directory(), &[&host], ChallengeKind::Http01);
            node.want(wanted.clone());
            let was_cut = tokio::select! {
                () = client.is_cut.notified() => true,
                _ = node.issued(&host) => false,
            };
            if !was_cut {
                break;
            }
            let orders = client.orders.load(Ordering::SeqCst);
            node.crash().await;
            client.cut_after(usize::MAX);
            let node = Node::start_with(client.clone(), state.path(), 0).await;
            node.want(wanted);
            let is_over = |status: &Status| {
                status.last_failure.is_some() || status.validity.is_some() && !status.is_busy
            };
            if let Some((_, failure)) = node.until(&host, is_over).await.last_failure {
                // The authority has looked for the answer while there was no node.
                assert_eq!(
                    failure.kind,
                    FailureKind::Challenge,
                    "{requests}: {failure:?}"
                );
                node.crash().await;
                continue;
            }
            let total = client.orders.load(Ordering::SeqCst);
            // Only what was not answered was asked for again.
            assert!(
                total <= 2 && total - orders <= 1,
                "{requests}: {orders}, {total}"
            );
            assert!(client.accounts.load(Ordering::SeqCst) <= 2);
            node.crash().await;
            continued += usize::from(total == 1 && orders == 1);
        }
        assert!(continued >= 4, "orders that were continued: {continued}");
    });
}
