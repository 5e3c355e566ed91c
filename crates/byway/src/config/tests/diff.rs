//! Diffs: what a reload changes.

use super::super::*;
use super::*;

const EDGE: &str = "\
[[edge]]
listen = \"127.0.0.1:8080\"
[[edge.route]]
hosts = \"a.example.com\"
to = [\"127.0.0.1:1\", \"127.0.0.1:2\"]
[[edge.route]]
to = \"127.0.0.1:3\"
";

fn shown(old: &str, new: &str) -> String {
    Diff::between(&plan(old), &plan(new)).to_string()
}

#[test]
fn the_same_plan_changes_nothing() {
    let diff = Diff::between(&plan(EDGE), &plan(&format!("# a comment\n{EDGE}")));
    assert!(diff.is_empty());
    assert_eq!(
        diff.to_string(),
        "kept     1 listener, 2 routes, 3 upstreams\n"
    );
}

#[test]
fn what_was_added_removed_and_changed_is_named_once() {
    let new = "\
[pool]
queue = 7
[[edge]]
listen = [\"127.0.0.1:8081\", \"127.0.0.1:8080\"]
[[edge.route]]
hosts = \"a.example.com\"
to = [\"127.0.0.1:2\", \"127.0.0.1:4\"]
[[edge.route]]
path = \"^/new\"
to = \"127.0.0.1:2\"
[[tcp]]
name = \"ssh\"
listen = \"127.0.0.1:2222\"
to = \"192.0.2.1:22\"
";
    let expected = "\
added    listener 127.0.0.1:8081
added    listener 127.0.0.1:2222
added    route ^/new of 127.0.0.1:8080
removed  route * of 127.0.0.1:8080
changed  route a.example.com of 127.0.0.1:8080
added    upstream http://127.0.0.1:4
removed  upstream http://127.0.0.1:1
removed  upstream http://127.0.0.1:3
changed  pool
kept     1 listener, 0 routes, 1 upstream
";
    assert_eq!(shown(EDGE, new), expected);
}

#[test]
fn a_listener_is_kept_when_only_its_routes_change() {
    let diff = Diff::between(
        &plan(EDGE),
        &plan(&EDGE.replace("127.0.0.1:3", "127.0.0.1:4")),
    );
    assert_eq!(diff.listeners.kept, ["127.0.0.1:8080".parse().unwrap()]);
    assert_eq!(diff.routes.changed.len(), 1);
    assert_eq!(diff.routes.kept.len(), 1);
}

#[test]
fn a_listener_is_changed_when_its_rules_trust_or_limits_are() {
    let with_trust = EDGE.replacen(
        "[[edge.route]]",
        "trusted_proxies = \"10.0.0.0/8\"\n[[edge.route]]",
        1,
    );
    let with_limits = format!("limits.keep_alive = \"1s\"\n{EDGE}");
    for new in [with_trust, with_limits] {
        assert_eq!(
            Diff::between(&plan(EDGE), &plan(&new))
                .listeners
                .changed
                .len(),
            1,
            "{new}"
        );
    }
    let (old, new) = (with_egress(""), with_egress("default = \"deny\"\n"));
    assert_eq!(
        Diff::between(&plan(&old), &plan(&new))
            .listeners
            .changed
            .len(),
        1
    );
}

#[test]
fn an_address_that_changes_its_role_is_changed() {
    let new = "[[proxy]]\nlisten = \"127.0.0.1:8080\"\n";
    let diff = Diff::between(&plan(EDGE), &plan(new));
    assert_eq!(diff.listeners.changed, ["127.0.0.1:8080".parse().unwrap()]);
    assert_eq!(diff.routes.removed.len(), 2);
}

#[test]
fn listeners_on_port_zero_are_matched_by_their_order() {
    let one = "[[tcp]]\nlisten = \"127.0.0.1:0\"\nto = \"a:1\"\n";
    let two = "[[tcp]]\nlisten = [\"127.0.0.1:0\", \"127.0.0.1:0\"]\nto = \"a:1\"\n";
    let diff = Diff::between(&plan(one), &plan(two));
    assert_eq!(
        (diff.listeners.kept.len(), diff.listeners.added.len()),
        (1, 1)
    );
}

fn expose(port: u16, join: &str) -> String {
    format!("[[expose]]\ntcp = \"127.0.0.1:{port}\"\n{join}\n")
}

#[test]
fn links_are_shown_by_their_address_and_grant_and_never_by_their_secret() {
    let join = |id| format!("join = \"{}\"", links::join_at("t.example.com:7000", id));
    let old = [
        expose(1, &join(1)),
        expose(1, &join(2)),
        expose(1, &join(3)),
    ]
    .concat();
    let new = [
        expose(1, &join(1)),
        expose(2, &join(2)),
        expose(1, &join(4)),
    ]
    .concat();
    let expected = "\
added    link t.example.com:7000 grant 040404040404
removed  link t.example.com:7000 grant 030303030303
changed  link t.example.com:7000 grant 020202020202
kept     0 listeners, 0 routes, 0 upstreams, 1 link
";
    assert_eq!(shown(&old, &new), expected);
    assert!(!Diff::between(&plan(&old), &plan(&new)).is_empty());
}

#[test]
fn a_link_with_a_new_secret_is_changed_and_one_from_another_file_is_kept() {
    let text = links::join_at("t.example.com:7000", 1);
    let mut newer: byway_link::JoinString = text.parse().unwrap();
    newer.secret = byway_link::GrantSecret::from_bytes([1; 24]);
    let old = plan(&expose(1, &format!("join = \"{text}\"")));
    let new = plan(&expose(1, &format!("join = \"{}\"", newer.expose())));
    assert_eq!(Diff::between(&old, &new).joins.changed.len(), 1);
    let around = Surroundings {
        read_file: &|_| Ok(text.clone()),
        ..Surroundings::without_files("/state".as_ref())
    };
    let moved = parse_with(&expose(1, "join_file = \"/x\""), "byway.toml", &around).unwrap();
    assert!(Diff::between(&old, &moved).is_empty());
}

#[test]
fn a_listener_of_links_is_changed_when_what_it_serves_or_advertises_is() {
    let serve =
        "[[serve]]\nlisten = \"127.0.0.1:1\"\nhttp = \"127.0.0.1:2\"\ndomain = \"t.example\"\n";
    let advertised = format!("{serve}advertise = \"a:1\"\n");
    assert_eq!(
        Diff::between(&plan(serve), &plan(&advertised))
            .listeners
            .changed
            .len(),
        1
    );
    assert_eq!(
        Diff::between(&plan(serve), &plan(&serve.replace("t.e", "u.e")))
            .listeners
            .changed
            .len(),
        2
    );
    assert_eq!(
        shown(serve, &format!("link.park = \"1s\"\n{serve}"))
            .lines()
            .next(),
        Some("changed  link")
    );
    let desk = with_egress("join_file = \"/x\"\n");
    let diff = Diff::between(&plan(&with_egress("")), &plan(&desk));
    assert_eq!(
        (diff.listeners.changed.len(), diff.joins.added.len()),
        (1, 1)
    );
}

#[test]
fn a_named_edge_keeps_its_routes_when_it_moves() {
    let old = EDGE.replacen("listen", "name = \"site\"\nlisten", 1);
    let diff = Diff::between(&plan(&old), &plan(&old.replace(":8080", ":8081")));
    assert_eq!((diff.routes.kept.len(), diff.routes.added.len()), (2, 0));
    assert_eq!(
        (diff.listeners.added.len(), diff.listeners.removed.len()),
        (1, 1)
    );
}

/// The Plan of `text` for a process that may open 20,000 descriptors.
fn lowered_plan(text: &str) -> Plan {
    let around = Surroundings {
        descriptors: Some(20_000),
        ..Surroundings::without_files("/state".as_ref())
    };
    parse_with(text, "byway.toml", &around).unwrap()
}

#[test]
fn a_section_that_is_removed_does_not_change_the_limits_that_descriptors_lower() {
    let tcp = "[[tcp]]\nlisten = \"127.0.0.1:2222\"\nto = \"192.0.2.1:22\"\n";
    let metrics = "[metrics]\nlisten = \"127.0.0.1:9\"\n";
    let proxy = "[[proxy]]\nlisten = \"127.0.0.1:1080\"\n";
    for section in [tcp, metrics, proxy] {
        let (old, new) = (
            lowered_plan(&format!("{EDGE}{section}")),
            lowered_plan(EDGE),
        );
        assert_ne!(old.descriptors.shares, new.descriptors.shares);
        let diff = Diff::between(&old, &new);
        assert_eq!(diff.settings, [""; 0], "{section}");
        assert!(diff.listeners.changed.is_empty(), "{section}");
        let started = old.start_settings();
        assert_eq!(started.changed(&new.start_settings()), [""; 0], "{section}");
    }
}

#[test]
fn a_start_setting_that_is_set_back_to_the_value_in_force_needs_no_restart() {
    let started = lowered_plan(EDGE).start_settings();
    let changed = |text: &str| {
        let new = lowered_plan(&format!("{text}\n{EDGE}"));
        started.changed(&new.start_settings())
    };
    assert_eq!(changed(""), [""; 0]);
    assert_eq!(changed("workers = 1"), [""; 0], "one core by default");
    assert_eq!(changed("workers = 3"), ["workers"]);
    assert_eq!(changed("limits.connections = 9"), ["limits.connections"]);
    assert_eq!(changed("pool.max_per_origin = 9"), ["[pool]"]);
    assert_eq!(changed("spill.mode = \"off\""), ["[spill]"]);
    let limit = "limits.connections = 30000";
    assert_eq!(
        lowered_plan(&format!("{limit}\n{EDGE}")).limits,
        lowered_plan(EDGE).limits
    );
    assert_eq!(
        changed(limit),
        ["limits.connections"],
        "a limit that is lowered to the same"
    );
}

#[test]
fn the_list_of_twenty_thousand_new_routes_is_cut_and_says_so() {
    let mut diff = Diff::between(&plan(EDGE), &plan(EDGE));
    diff.routes.added = (0..20_000)
        .map(|number| RouteKey {
            edge: "127.0.0.1:80".into(),
            route: format!("{number} {}", "x".repeat(10_000)).into(),
        })
        .collect();
    let text = diff.to_string();
    assert!(text.len() < 64 * 1024, "{} bytes", text.len());
    assert!(
        text.starts_with("added    route 0 x") && text.contains("\nadded    route 49 x"),
        "{text}"
    );
    assert!(text.contains("\nadded    19950 more routes\n"), "{text}");
}
