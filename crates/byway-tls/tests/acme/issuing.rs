use byway_testkit::{Pebble, PebbleOptions, RecordServer, isolated};
use byway_tls::acme::{
    Binding, ChallengeKind, Dns, DnsCommand, FailureKind, RateLimit, Request, Unaccepted,
};
use std::sync::Arc;

use super::node::{Node, connect, name, run};

/// Runs the rest of the test in a network of its own, if the authority is installed.
macro_rules! alone {
    () => {
        let Some(tools) = byway_testkit::pebble::folder() else {
            return;
        };
        isolated!(&[&tools]);
    };
}
pub(crate) use alone;

#[test]
fn http_01_and_tls_alpn_01_obtain_certificates_that_a_client_accepts() {
    alone!();
    let pebble = Pebble::start(&PebbleOptions::default());
    let _dns = RecordServer::start();
    run(async {
        let state = tempfile::tempdir().unwrap();
        let node = Node::start(&pebble, state.path()).await;
        let directory = pebble.directory();
        node.want(node.source(&directory, &["a.example.test"], ChallengeKind::Http01));
        let status = node.issued("a.example.test").await;
        assert_eq!((status.failures, status.is_on_demand), (0, false));
        node.want(node.source(
            &directory,
            &["a.example.test", "b.example.test"],
            ChallengeKind::TlsAlpn01,
        ));
        node.issued("b.example.test").await;
        for host in ["a.example.test", "b.example.test"] {
            connect(&pebble.root(), host).await.unwrap();
        }
        assert!(connect(&pebble.root(), "c.example.test").await.is_err());
        assert_eq!(node.keeper.counts().issued(), 2);
        // A name that is not wanted any more is not served any more.
        node.want(node.source(&directory, &["a.example.test"], ChallengeKind::Auto));
        assert!(node.store.coverage("b.example.test").is_none());
        node.want(node.source(
            &directory,
            &["a.example.test", "b.example.test"],
            ChallengeKind::Auto,
        ));
        assert!(node.store.coverage("b.example.test").is_some());
        assert_eq!(node.keeper.counts().issued(), 2, "the kept one is used");
    });
}

#[test]
fn dns_01_by_a_command_obtains_a_wildcard_and_removes_its_record() {
    alone!();
    let pebble = Pebble::start(&PebbleOptions::default());
    let dns = RecordServer::start();
    run(async {
        let state = tempfile::tempdir().unwrap();
        let node = Node::start(&pebble, state.path()).await;
        let names = ["*.t.example.test", "plain.example.test"];
        let mut wanted = node.source(&pebble.directory(), &names, ChallengeKind::Auto);
        wanted.dns = Some(Dns::Command(DnsCommand {
            command: dns.command(),
            deadline: byway_testkit::PATIENCE,
        }));
        node.want(wanted);
        for host in names {
            node.issued(host).await;
        }
        connect(&pebble.root(), "x.t.example.test").await.unwrap();
        assert!(connect(&pebble.root(), "t.example.test").await.is_err());
    });
}

#[test]
fn a_wildcard_without_a_way_to_set_records_says_so() {
    alone!();
    let pebble = Pebble::start(&PebbleOptions::default());
    run(async {
        let state = tempfile::tempdir().unwrap();
        let node = Node::start(&pebble, state.path()).await;
        let name = "*.t.example.test";
        node.want(node.source(&pebble.directory(), &[name], ChallengeKind::Http01));
        let failure = node.failed(name).await;
        assert_eq!(failure.kind, FailureKind::Challenge);
        assert!(
            failure.text.contains("a wildcard needs dns-01"),
            "{failure}"
        );
    });
}

#[test]
fn a_name_that_is_allowed_gets_its_certificate_while_the_client_waits() {
    alone!();
    // Orders are counted: none is sent twice because of its nonce.
    let options = PebbleOptions {
        refused_nonces: 0,
        ..PebbleOptions::default()
    };
    let pebble = Pebble::start(&options);
    let _dns = RecordServer::start();
    run(async {
        let state = tempfile::tempdir().unwrap();
        let node = Node::start(&pebble, state.path()).await;
        let mut wanted = node.source(&pebble.directory(), &[], ChallengeKind::Http01);
        let limit = RateLimit {
            burst: 2,
            ..RateLimit::default()
        };
        wanted.on_demand = Some((Arc::new(|host| host.ends_with(".t.example.test")), limit));
        node.want(wanted.clone());
        connect(&pebble.root(), "one.t.example.test").await.unwrap();
        assert!(node.status("one.t.example.test").is_on_demand);
        assert!(connect(&pebble.root(), "evil.example.test").await.is_err());
        let refused = |host: &str| match node.keeper.request(host) {
            Request::Refused(why) => why,
            other => panic!("{host}: {other:?}"),
        };
        assert_eq!(refused("evil.example.test"), Unaccepted::NotAllowed);
        assert_eq!(refused("*.t.example.test"), Unaccepted::NoName);
        assert_eq!(refused("x/../y.t.example.test"), Unaccepted::NoName);
        // Several clients at once are one order.
        let root = pebble.root();
        let (first, second) = tokio::join!(
            connect(&root, "two.t.example.test"),
            connect(&root, "two.t.example.test")
        );
        assert_eq!((first, second), (Ok(()), Ok(())));
        let orders = node.client.orders.load(std::sync::atomic::Ordering::SeqCst);
        assert_eq!(orders, 2);
        assert_eq!(refused("three.t.example.test"), Unaccepted::RateLimited);
        // After a restart they are there without a request.
        let client = node.client.clone();
        node.crash().await;
        let node = Node::start_with(client, state.path(), 0).await;
        node.want(wanted.clone());
        assert!(node.store.coverage("two.t.example.test").is_some());
        // A name that is not allowed any more is not served any more.
        wanted.on_demand = Some((Arc::new(|host| host.starts_with("one.")), limit));
        node.want(wanted);
        assert!(node.store.coverage("one.t.example.test").is_some());
        assert!(node.store.coverage("two.t.example.test").is_none());
    });
}

#[test]
fn an_account_that_must_be_bound_is_refused_without_its_key_and_accepted_with_it() {
    alone!();
    let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let options = PebbleOptions {
        binding: Some(("kid-1".to_owned(), key.to_owned())),
        ..PebbleOptions::default()
    };
    let (pebble, _dns) = (Pebble::start(&options), RecordServer::start());
    run(async {
        let state = tempfile::tempdir().unwrap();
        let node = Node::start(&pebble, state.path()).await;
        let mut wanted = node.source(
            &pebble.directory(),
            &["a.example.test"],
            ChallengeKind::Http01,
        );
        node.want(wanted.clone());
        let failure = node.failed("a.example.test").await;
        assert_eq!(failure.kind, FailureKind::Account);
        assert!(
            failure.text.contains("externalAccountRequired"),
            "{failure}"
        );
        wanted.authority.binding =
            Binding::new("kid-1", "YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE");
        node.want(wanted.clone());
        assert_eq!(
            node.failed("a.example.test").await.kind,
            FailureKind::Account
        );
        wanted.authority.binding = Binding::new("kid-1", key);
        node.want(wanted);
        // The key is not part of the folder's name: the delay after the failure applies.
        assert!(node.keeper.renew_now(&name("a.example.test")));
        node.until("a.example.test", |status| status.validity.is_some())
            .await;
    });
}
