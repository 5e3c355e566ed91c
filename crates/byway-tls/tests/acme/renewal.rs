use std::sync::atomic::Ordering;

use byway_testkit::{Pebble, PebbleOptions, RecordServer, isolated};
use byway_tls::acme::ChallengeKind;

use super::issuing::alone;
use super::node::{Node, connect, run};

/// Orders are counted: none is sent twice because of its nonce.
fn options() -> PebbleOptions {
    PebbleOptions {
        refused_nonces: 0,
        ..PebbleOptions::default()
    }
}

/// Lets the keeper look at the clock.
fn look(node: &Node, wanted: &byway_tls::acme::Source) {
    node.want(wanted.clone());
}

#[test]
fn a_certificate_is_renewed_when_its_time_comes_and_connections_never_miss_one() {
    alone!();
    let pebble = Pebble::start(&options());
    let _dns = RecordServer::start();
    run(async {
        let state = tempfile::tempdir().unwrap();
        let node = Node::start(&pebble, state.path()).await;
        let host = "a.example.test";
        let wanted = node.source(&pebble.directory(), &[host], ChallengeKind::Http01);
        node.want(wanted.clone());
        let status = node.issued(host).await;
        let first = node.serial(host);
        assert!(status.renew_at.unwrap() < status.validity.unwrap().end);
        node.advance(10);
        look(&node, &wanted);
        node.until(host, |status| !status.is_busy).await;
        assert_eq!(node.serial(host), first, "it is too early");
        node.advance(75);
        look(&node, &wanted);
        node.until(host, |_| node.serial(host) != first).await;
        connect(&pebble.root(), host).await.unwrap();
        // The second order says what it replaces (RFC 9773 section 5), and was accepted so.
        assert_eq!(node.client.orders.load(Ordering::SeqCst), 2);
        assert_eq!(node.client.replacing.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_window_that_the_authority_suggests_renews_early() {
    alone!();
    let pebble = Pebble::start(&options());
    let _dns = RecordServer::start();
    run(async {
        let state = tempfile::tempdir().unwrap();
        let node = Node::start(&pebble, state.path()).await;
        let host = "a.example.test";
        let wanted = node.source(&pebble.directory(), &[host], ChallengeKind::Http01);
        node.want(wanted.clone());
        node.issued(host).await;
        let first = node.serial(host);
        // As after a revocation: the window is in the past.
        let folder = std::fs::read_dir(state.path().join("acme"))
            .unwrap()
            .next()
            .unwrap();
        let bundle = folder
            .unwrap()
            .path()
            .join("certificates/a.example.test.pem");
        let bundle = std::fs::read_to_string(bundle).unwrap();
        let begin = bundle.find("-----BEGIN CERTIFICATE").unwrap();
        let end = bundle.find("-----END CERTIFICATE-----").unwrap();
        let certificate = format!("{}-----END CERTIFICATE-----\n", &bundle[begin..end]);
        pebble.suggest(&certificate, "2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z");
        node.advance(2);
        look(&node, &wanted);
        node.until(host, |_| node.serial(host) != first).await;
    });
}

#[test]
fn a_clock_that_jumps_far_ahead_renews_once_and_keeps_what_it_has() {
    alone!();
    let pebble = Pebble::start(&options());
    let _dns = RecordServer::start();
    run(async {
        let state = tempfile::tempdir().unwrap();
        let node = Node::start(&pebble, state.path()).await;
        let host = "a.example.test";
        let wanted = node.source(&pebble.directory(), &[host], ChallengeKind::Http01);
        node.want(wanted.clone());
        node.issued(host).await;
        node.advance(365 * 20);
        look(&node, &wanted);
        // By the wrong clock the new certificate has expired as well: it is due again, and the
        // limits of the authority must not be used up.
        node.until(host, |_| node.client.orders.load(Ordering::SeqCst) == 2)
            .await;
        let is_done = || node.keeper.counts().issued() == 2;
        let status = node
            .until(host, |status| !status.is_busy && is_done())
            .await;
        assert!(status.validity.is_some());
        node.advance(1);
        look(&node, &wanted);
        node.until(host, |status| !status.is_busy).await;
        connect(&pebble.root(), host).await.unwrap();
        assert_eq!(node.client.orders.load(Ordering::SeqCst), 2);
    });
}
