//! Diffs: what a reload says.

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
    assert_eq!(diff.to_string(), "kept     1 listener, 2 routes, 3 upstreams\n");
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
    let diff = Diff::between(&plan(EDGE), &plan(&EDGE.replace("127.0.0.1:3", "127.0.0.1:4")));
    assert_eq!(diff.listeners.kept, ["127.0.0.1:8080".parse().unwrap()]);
    assert_eq!(diff.routes.changed.len(), 1);
    assert_eq!(diff.routes.kept.len(), 1);
}

#[test]
fn a_listener_is_changed_when_its_rules_trust_or_limits_are() {
    let with_trust = EDGE.replacen("[[edge.route]]", "trusted_proxies = \"10.0.0.0/8\"\n[[edge.route]]", 1);
    let with_limits = format!("limits.keep_alive = \"1s\"\n{EDGE}");
    for new in [with_trust, with_limits] {
        assert_eq!(Diff::between(&plan(EDGE), &plan(&new)).listeners.changed.len(), 1, "{new}");
    }
    let (old, new) = (with_egress(""), with_egress("default = \"deny\"\n"));
    assert_eq!(Diff::between(&plan(&old), &plan(&new)).listeners.changed.len(), 1);
}

#[test]
fn an_address_that_changes_its_role_is_changed() {
    let new = "[[proxy]]\nlisten = \"127.0.0.1:8080\"\n";
    let diff = Diff::between(&plan(EDGE), &plan(new));
    assert_eq!(diff.listeners.changed, ["127.0.0.1:8080".parse().unwrap()]);
    assert_eq!(diff.routes.removed.len(), 2);
}

#[test]
fn listeners_on_port_zero_are_told_apart_by_their_order() {
    let one = "[[tcp]]\nlisten = \"127.0.0.1:0\"\nto = \"a:1\"\n";
    let two = "[[tcp]]\nlisten = [\"127.0.0.1:0\", \"127.0.0.1:0\"]\nto = \"a:1\"\n";
    let diff = Diff::between(&plan(one), &plan(two));
    assert_eq!((diff.listeners.kept.len(), diff.listeners.added.len()), (1, 1));
}

#[test]
fn a_named_edge_keeps_its_routes_when_it_moves() {
    let old = EDGE.replacen("listen", "name = \"site\"\nlisten", 1);
    let diff = Diff::between(&plan(&old), &plan(&old.replace(":8080", ":8081")));
    assert_eq!((diff.routes.kept.len(), diff.routes.added.len()), (2, 0));
    assert_eq!((diff.listeners.added.len(), diff.listeners.removed.len()), (1, 1));
}
