//! Table: the addresses of names.

use super::*;

#[tokio::test]
async fn names_resolve_according_to_the_files_and_the_server() {
    let server = DnsServer::start(&[
        ("both.example", has("192.0.2.1 2001:db8::1 192.0.2.2")),
        ("four.example", has("192.0.2.4")),
        ("six.example", has("2001:db8::6")),
        ("alias.example", Says::Alias("four.example")),
        ("dangling.example", Says::Alias("nothing.example")),
        ("empty.example", Says::Addresses(Vec::new(), 60)),
        ("half.example", Says::OneFamily(ip("192.0.2.5"), 2)),
        ("half6.example", Says::OneFamily(ip("2001:db8::5"), 2)),
        ("gone-for-six.example", Says::OneFamily(ip("192.0.2.7"), 3)),
        ("broken.example", Says::Code(2)),
        ("refused.example", Says::Code(5)),
        (
            "large.example",
            Says::OnlyOverTcp(vec![ip("192.0.2.8"), ip("2001:db8::8")]),
        ),
        (
            "forged.example",
            Says::AfterForgeries(ip("203.0.113.66"), ip("192.0.2.9")),
        ),
        ("_srv.under_score.example", has("192.0.2.10")),
        ("in-hosts.example", has("203.0.113.1")),
    ]);
    let machine = Machine::with(&server, "search .");
    std::fs::write(
        machine.folder.path().join("hosts"),
        "192.0.2.20 in-hosts.example In-Hosts-Too\n2001:db8::20 in-hosts.example\n203.0.113.9 localhost\n",
    )
    .unwrap();
    let resolver = machine.resolver();
    for (asked, answer) in [
        ("both.example", "2001:db8::1 192.0.2.1 192.0.2.2"),
        ("BOTH.Example.", "2001:db8::1 192.0.2.1 192.0.2.2"),
        ("four.example", "192.0.2.4"),
        ("six.example", "2001:db8::6"),
        ("alias.example", "192.0.2.4"),
        ("dangling.example", "not found"),
        ("empty.example", "not found"),
        ("missing.example", "not found"),
        ("half.example", "192.0.2.5"),
        ("half6.example", "2001:db8::5"),
        ("gone-for-six.example", "192.0.2.7"),
        ("broken.example", "failed"),
        ("refused.example", "failed"),
        ("large.example", "2001:db8::8 192.0.2.8"),
        ("forged.example", "192.0.2.9"),
        ("_srv.under_score.example", "192.0.2.10"),
        ("in-hosts.example", "192.0.2.20 2001:db8::20"),
        ("in-hosts-too", "192.0.2.20"),
        ("localhost", "::1 127.0.0.1"),
        ("db.localhost", "::1 127.0.0.1"),
        ("xn--bcher-kva.example", "not found"),
    ] {
        assert_eq!(found(&resolver, asked).await, answer, "{asked}");
    }
    let asked = server.asked();
    assert!(
        asked
            .iter()
            .all(|asked| !asked.name.contains("localhost") && !asked.name.contains("in-hosts"))
    );
    assert!(
        asked
            .iter()
            .filter(|asked| asked.tcp)
            .all(|asked| asked.name == "large.example"),
        "{asked:?}"
    );
}

#[tokio::test]
async fn a_search_list_is_tried_in_its_order_and_after_the_name_itself_if_that_has_enough_dots() {
    let server = DnsServer::start(&[
        ("db.a.example", has("192.0.2.1")),
        ("db.b.example", has("192.0.2.2")),
        ("only-b.b.example", has("192.0.2.3")),
        ("top", has("192.0.2.4")),
        ("x.y", has("192.0.2.5")),
        ("x.y.a.example", has("192.0.2.6")),
        ("searched.too.b.example", has("192.0.2.7")),
        ("flaky.a.example", Says::Code(2)),
        ("flaky.b.example", has("192.0.2.8")),
        ("broken.itself", Says::Code(2)),
        ("broken.itself.a.example", has("203.0.113.1")),
        ("empty.a.example", Says::Addresses(Vec::new(), 60)),
        ("empty.b.example", has("192.0.2.9")),
    ]);
    let machine = Machine::with(&server, "search a.example b.example");
    let resolver = machine.resolver();
    for (asked, answer) in [
        ("db", "192.0.2.1"),
        ("only-b", "192.0.2.3"),
        ("top", "192.0.2.4"),
        ("x.y", "192.0.2.5"),
        ("searched.too", "192.0.2.7"),
        ("flaky", "192.0.2.8"),
        ("empty", "192.0.2.9"),
        ("nowhere", "not found"),
        // A temporary failure of a server must not lead to another host.
        ("broken.itself", "failed"),
    ] {
        assert_eq!(found(&resolver, asked).await, answer, "{asked}");
    }
    let machine = Machine::with(&server, "search a.example b.example\noptions ndots:2");
    let resolver = machine.resolver();
    assert_eq!(found(&resolver, "x.y").await, "192.0.2.6");
}

#[tokio::test]
async fn with_no_aaaa_only_ipv4_is_queried() {
    let server = DnsServer::start(&[("both.example", has("192.0.2.1 2001:db8::1"))]);
    let machine = Machine::with(&server, "options no-aaaa");
    let resolver = machine.resolver();
    assert_eq!(found(&resolver, "both.example").await, "192.0.2.1");
    assert!(server.asked().iter().all(|asked| asked.kind == 1));
}

#[tokio::test]
async fn an_answer_and_no_such_name_are_cached() {
    let server = DnsServer::start(&[("kept.example", has("192.0.2.1"))]);
    let machine = Machine::with(&server, "search .");
    let resolver = machine.resolver();
    for _ in 0..10 {
        assert_eq!(found(&resolver, "kept.example").await, "192.0.2.1");
        assert_eq!(found(&resolver, "missing.example").await, "not found");
    }
    assert_eq!(server.asked().len(), 4, "each name once, for both families");
}

#[tokio::test]
async fn a_change_of_hosts_applies_despite_a_cached_answer() {
    let server = DnsServer::start(&[("moved.example", has("192.0.2.1"))]);
    let machine = Machine::with(&server, "search .");
    let resolver = machine.resolver();
    assert_eq!(found(&resolver, "moved.example").await, "192.0.2.1");
    std::fs::write(
        machine.folder.path().join("hosts"),
        "192.0.2.99 moved.example\n",
    )
    .unwrap();
    let changed = async {
        while found(&resolver, "moved.example").await != "192.0.2.99" {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(byway_testkit::PATIENCE, changed)
        .await
        .expect("the new file counts");
}
