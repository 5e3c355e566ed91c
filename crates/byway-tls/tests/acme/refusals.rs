use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use byway_testkit::{Pebble, PebbleOptions, RecordServer, isolated};
use byway_tls::acme::{ChallengeKind, FailureKind};

use super::issuing::alone;
use super::node::{Node, name, run};

#[test]
fn a_name_that_the_authority_does_not_issue_for_is_a_refusal_of_the_name() {
    alone!();
    let options = PebbleOptions {
        blocked: vec!["blocked.test".to_owned()],
        ..PebbleOptions::default()
    };
    let (pebble, _dns) = (Pebble::start(&options), RecordServer::start());
    run(async {
        let state = tempfile::tempdir().unwrap();
        let node = Node::start(&pebble, state.path()).await;
        let names = ["blocked.test", "a.example.test"];
        node.want(node.source(&pebble.directory(), &names, ChallengeKind::Http01));
        let failure = node.failed("blocked.test").await;
        assert_eq!(failure.kind, FailureKind::Name, "{failure}");
        assert!(failure.text.contains("rejectedIdentifier"), "{failure}");
        // One refused name does not keep others from theirs.
        node.issued("a.example.test").await;
        assert_eq!(node.keeper.counts().failed(FailureKind::Name), 1);
    });
}

#[test]
fn a_name_that_leads_elsewhere_fails_with_the_reason_of_the_authority_and_is_tried_again() {
    alone!();
    let pebble = Pebble::start(&PebbleOptions::default());
    let dns = RecordServer::start();
    dns.set_address("a.example.test", "127.0.0.99");
    dns.fail("b.example.test");
    run(async {
        let state = tempfile::tempdir().unwrap();
        let node = Node::start(&pebble, state.path()).await;
        let names = ["a.example.test", "b.example.test"];
        node.want(node.source(&pebble.directory(), &names, ChallengeKind::Http01));
        let failure = node.failed("a.example.test").await;
        assert_eq!(failure.kind, FailureKind::Challenge);
        assert!(failure.text.contains("127.0.0.99"), "{failure}");
        assert_eq!(
            node.failed("b.example.test").await.kind,
            FailureKind::Challenge
        );
        let status = node.status("a.example.test");
        let (at, _) = status.last_failure.unwrap();
        assert!(status.next_try.unwrap() >= at + Duration::from_secs(120));
        // A restart is no way round the delay.
        let client = node.client.clone();
        let orders = client.orders.load(Ordering::SeqCst);
        node.crash().await;
        let node = Node::start_with(client, state.path(), 0).await;
        node.want(node.source(&pebble.directory(), &names, ChallengeKind::Http01));
        let status = node.status("a.example.test");
        assert_eq!((status.failures, status.is_busy), (1, false));
        assert_eq!(node.client.orders.load(Ordering::SeqCst), orders);
        // Once the name leads here, the next try succeeds.
        dns.set_address("a.example.test", "127.0.0.1");
        node.advance(1);
        assert!(node.keeper.renew_now(&name("a.example.test")));
        let status = node
            .until("a.example.test", |status| status.validity.is_some())
            .await;
        assert_eq!((status.failures, status.last_failure), (0, None));
    });
}

#[test]
fn an_authority_that_refuses_many_nonces_issues_in_the_end() {
    alone!();
    let options = PebbleOptions {
        refused_nonces: 40,
        ..PebbleOptions::default()
    };
    let (pebble, _dns) = (Pebble::start(&options), RecordServer::start());
    run(async {
        let state = tempfile::tempdir().unwrap();
        let node = Node::start(&pebble, state.path()).await;
        let host = "a.example.test";
        node.want(node.source(&pebble.directory(), &[host], ChallengeKind::Http01));
        let mut failures = 0;
        loop {
            let now = node
                .until(host, |now| {
                    now.validity.is_some() || now.failures > failures
                })
                .await;
            if now.validity.is_some() {
                break;
            }
            failures = now.failures;
            let (_, failure) = now.last_failure.unwrap();
            assert!(failure.text.contains("badNonce"), "{failure}");
            node.keeper.renew_now(&name(host));
        }
    });
}

#[test]
fn an_authority_that_is_away_delays_nothing_and_is_found_when_it_is_back() {
    alone!();
    let _dns = RecordServer::start();
    // A request that is sent again because of its nonce would count twice.
    let options = PebbleOptions {
        refused_nonces: 0,
        ..PebbleOptions::default()
    };
    let host = "a.example.test";
    run(async {
        let state = tempfile::tempdir().unwrap();
        let client;
        let directory;
        {
            let pebble = Pebble::start(&options);
            directory = pebble.directory();
            client = super::node::Client::new(&pebble.https_root());
            let node = Node::start_with(client.clone(), state.path(), 0).await;
            node.want(node.source(&directory, &[host], ChallengeKind::Http01));
            node.issued(host).await;
            node.crash().await;
        }
        // The certificate is there at once, although the authority is not.
        let node = Node::start_with(client, state.path(), 0).await;
        let mut wanted = node.source(&directory, &[host, "b.example.test"], ChallengeKind::Http01);
        node.want(wanted.clone());
        assert!(node.store.coverage(host).is_some());
        let failure = node.failed("b.example.test").await;
        assert_eq!(failure.kind, FailureKind::Unreachable, "{failure}");
        // It is back, has another certificate, and knows no account: pebble keeps nothing.
        let pebble = Pebble::start(&options);
        let trusting = super::node::Client::new(&pebble.https_root());
        wanted.client = Arc::new(super::node::Shared(trusting.clone()));
        node.want(wanted);
        node.keeper.renew_now(&name("b.example.test"));
        node.until("b.example.test", |status| status.validity.is_some())
            .await;
        assert_eq!(trusting.accounts.load(Ordering::SeqCst), 1, "a new account");
    });
}
