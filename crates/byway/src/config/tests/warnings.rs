//! Warnings: what `byway check` warns of, and what it must not warn of.

use std::path::Path;

use super::super::*;

/// An edge with these routes, each `hosts|path`; either may be empty.
fn warned(routes: &[&str]) -> Vec<String> {
    let mut text = "[[edge]]\nname = \"site\"\nlisten = \"127.0.0.1:1\"\n".to_owned();
    for (index, route) in routes.iter().enumerate() {
        let (hosts, path) = route.split_once('|').unwrap();
        text += &format!("[[edge.route]]\nname = \"r{index}\"\nto = \"127.0.0.1:9\"\n");
        if !hosts.is_empty() {
            let hosts: Vec<String> = hosts.split(' ').map(|host| format!("{host:?}")).collect();
            text += &format!("hosts = [{}]\n", hosts.join(", "));
        }
        if !path.is_empty() {
            text += &format!("path = '{path}'\n");
        }
    }
    warnings(&parse(&text, "byway.toml", Path::new("/state")).unwrap())
}

/// A warning without ` (line N)`.
fn without_lines(warning: &str) -> String {
    let mut parts = warning.split(" (line ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once(')').unwrap().1)
}

#[test]
fn a_route_that_matches_no_request_is_warned_of_with_its_line_and_what_to_write() {
    let found = warned(&["|^/x", "a.example|^api/"]);
    let expected = "edge site: the route `r1` (line 12) matches no request: every path begins with `/`; write '^/api/'";
    assert_eq!(found, [expected]);
    let found = warned(&["|^/api", "|^/api/v1"]);
    assert!(
        found.len() == 1
            && found[0].contains("`r1` (line 11)")
            && found[0].contains("`r0` (line 7)"),
        "{found:?}"
    );
}

#[test]
fn a_route_behind_one_that_matches_all_of_its_requests_is_warned_of() {
    for routes in [
        &["|", "a.example|"][..],
        &["|", "|^/api/"],
        &["a.example|", "a.example|^/api/"],
        &["A.example|", "a.EXAMPLE.|^/api/"],
        &["*.example|", "a.example|"],
        &["*.example|^/x", "*.b.example a.example|^/x"],
        &["a.example b.example|", "b.example|^/api/"],
        &["[2001:db8::1]|", "2001:db8:0::1|^/x"],
        &["|/", "|^/api/"],
        &["|^/", "|^/api/"],
        &["|.*", "|"],
        &["|.*", "|^/api/"],
        &["|^/a", "|^/api/"],
        &["*.example|^/api", "a.example|^/api/v[0-9]+$"],
        &["*.example|^/.*$", "a.example|^/x"],
    ] {
        let found = warned(routes);
        assert_eq!(found.len(), 1, "{routes:?}: {found:?}");
        let found = without_lines(&found[0]);
        let expected = "edge site: the route `r1` is never reached, because `r0` before it already matches every request";
        assert!(found.starts_with(expected), "{found}");
    }
    let found = warned(&["a.example|", "b.example|", "a.example b.example|^/x"]);
    assert!(
        found.len() == 1
            && without_lines(&found[0]).contains("because `r0` and `r1` before it already match"),
        "{found:?}"
    );
}

#[test]
fn a_route_that_some_request_can_still_reach_is_not_warned_of() {
    for routes in [
        &["a.example|", "|"][..],
        &["|^/api/", "|"],
        &["|^/api/", "|^/api"],
        &["|^/api/", "|^/api|^/b"],
        &["|/.", "|^/api/"],
        &["a.example|^/", "|^/api/"],
        &["a.example|", "*.example|"],
        &["*.example|", "example|"],
        &["*.a.example|", "*.example|"],
        &["*.example|^/x", "a.example|"],
        &["a.example|", "a.example b.example|"],
        &["192.0.2.1|", "192.0.2.10|"],
        &["*.example|", "badexample|"],
    ] {
        assert_eq!(warned(routes), Vec::<String>::new(), "{routes:?}");
    }
}

#[test]
fn the_two_listeners_of_one_edge_are_warned_of_once() {
    let text = "[[edge]]\nlisten = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\n[[edge.route]]\nto = \"127.0.0.1:9\"\n\
                [[edge.route]]\npath = '^/x'\nto = \"127.0.0.1:9\"\n";
    assert_eq!(
        warnings(&parse(text, "byway.toml", Path::new("/state")).unwrap()).len(),
        1
    );
}

#[test]
fn a_route_behind_one_for_every_path_is_warned_of_with_its_exception() {
    let found = warned(&["|^/", "|"]);
    assert!(
        found.len() == 1 && found[0].contains("(except for `OPTIONS *`)"),
        "{found:?}"
    );
    let found = warned(&["|^/", "|^/api/"]);
    assert!(
        found.len() == 1 && !found[0].contains("OPTIONS"),
        "{found:?}"
    );
}

#[test]
fn a_path_that_was_written_as_a_glob_is_warned_of() {
    for (path, help) in [
        ("^/api/*", "write path = '^/api/' for"),
        ("/api/*", "write path = '^/api/' for"),
        ("/*", "write path = '^/' for"),
        ("api/*", "write path = '^.*api/' for"),
    ] {
        let found = warned(&[&format!("|{path}")]);
        assert!(
            found.len() == 1 && found[0].contains(help),
            "{path}: {found:?}"
        );
    }
    for path in [
        "^/api/.*",
        "^/api/[^/]*",
        "^/a*",
        "/api/",
        r"\.(png|css)$",
        "^/api/*$",
    ] {
        assert_eq!(
            warned(&[&format!("|{path}")]),
            Vec::<String>::new(),
            "{path}"
        );
    }
}

/// A section with these rules, each the text of its keys.
fn warned_rules(section: &str, rules: &[&str]) -> Vec<String> {
    let mut text = match section {
        "proxy" => {
            "[[proxy]]\nname = \"out\"\nlisten = \"127.0.0.1:1080\"\n\
             users = [{ name = \"a\", password = \"x\" }, { name = \"b\", password = \"y\" }]\n"
        }
        _ => "[[exit]]\nname = \"out\"\nlisten = \"127.0.0.1:4443\"\nadvertise = \"127.0.0.1:4443\"\n",
    }
    .to_owned();
    for rule in rules {
        let action = if rule.contains("action") {
            ""
        } else {
            "\naction = \"deny\""
        };
        text += &format!("[[{section}.rule]]\n{}{action}\n", rule.replace("; ", "\n"));
    }
    warnings(&parse(&text, "byway.toml", Path::new("/state")).unwrap())
}

#[test]
fn a_rule_for_client_certificates_covers_only_rules_for_the_same_ones() {
    let warned = |first: &str, second: &str| {
        let text = format!(
            "[[tls.client]]\nhosts = [\"a.example\"]\nca = \"/c.pem\"\n\
             [[certificate]]\ncert = \"/a.pem\"\n[[proxy]]\nname = \"out\"\nhttps = \"127.0.0.1:1080\"\n\
             [[proxy.rule]]\naction = \"deny\"\nport = 443\n{first}\n\
             [[proxy.rule]]\naction = \"allow\"\nport = 443\n{second}\n"
        );
        let warnings = warnings(&parse(&text, "byway.toml", Path::new("/state")).unwrap());
        warnings
            .iter()
            .any(|text| text.contains("is never reached"))
    };
    let (alice, bob, any) = (
        "client = \"CN=alice\"",
        "client = \"CN=bob\"",
        "client = \"*\"",
    );
    for (first, second, expected) in [
        ("", alice, true),
        (alice, alice, true),
        (any, alice, true),
        (alice, "", false),
        (any, "", false),
        (alice, any, false),
        (alice, bob, false),
    ] {
        assert_eq!(warned(first, second), expected, "{first}, then {second}");
    }
}

#[test]
fn a_rule_behind_rules_that_match_all_of_its_targets_is_warned_of() {
    let allow = "action = \"allow\"";
    for (first, second) in [
        (
            "suffix = \".example.com\"; action = \"allow\"",
            "suffix = \".a.example.com\"",
        ),
        (
            "suffix = \"example.com\"; action = \"allow\"",
            "host = \"example.com\"",
        ),
        (
            "cidr = \"10.0.0.0/8\"; action = \"allow\"",
            "cidr = \"10.1.0.0/16\"",
        ),
        (
            "cidr = \"2001:db8::/32\"; action = \"allow\"",
            "cidr = \"2001:db8:1::/48\"; port = 443",
        ),
        (
            "host = \"a.example\"; action = \"allow\"",
            "host = \"A.example\"; port = \"20-30\"; user = \"a\"",
        ),
        (
            "port = \"1-1024\"",
            "port = [22, \"80-90\"]; suffix = \"example\"",
        ),
        (
            "user = [\"a\", \"b\"]; action = \"allow\"",
            "user = \"b\"; port = 22",
        ),
        (
            "host = \"a.example\"; cidr = \"10.0.0.0/8\"",
            "host = \"a.example\"; cidr = \"10.2.0.0/16\"; action = \"allow\"",
        ),
    ] {
        let found = warned_rules("proxy", &[first, second]);
        assert_eq!(found.len(), 1, "{first} / {second}: {found:?}");
        let start = "proxy out: rule 2 is never reached, because rule 1 before it already matches every target";
        assert!(found[0].starts_with(start), "{}", found[0]);
    }
    let found = warned_rules(
        "exit",
        &[
            "suffix = \"b.example\"",
            "host = \"a.example\"",
            &format!("host = [\"a.example\", \"x.b.example\"]; {allow}"),
        ],
    );
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("exit out: rule 3 is never reached, because rule 1 and rule 2 before"),
        "{found:?}"
    );
}

#[test]
fn a_range_of_ports_that_covers_port_25_without_opening_it_is_warned_of() {
    let start = "out: the range of ports of rule 1";
    for section in ["proxy", "exit"] {
        let found = warned_rules(section, &["port = \"1-1023\"; action = \"allow\""]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with(&format!("{section} {start} (allow) covers port 25")),
            "{}",
            found[0]
        );
    }
    let via = "action = \"via\"; via = \"socks5://192.0.2.1:1080\"; suffix = \"example\"";
    let found = warned_rules("proxy", &[&format!("{via}; port = [443, \"20-25\"]")]);
    assert!(
        found.len() == 1 && found[0].starts_with(&format!("proxy {start} (via)")),
        "{found:?}"
    );
    for rule in [
        "action = \"allow\"; port = [25, \"1-1023\"]",
        "action = \"allow\"; port = [\"25-25\", \"20-30\"]",
        "action = \"allow\"; port = \"26-30\"",
        "action = \"allow\"",
        "action = \"deny\"; port = \"1-1023\"",
    ] {
        assert_eq!(
            warned_rules("proxy", &[rule]),
            Vec::<String>::new(),
            "{rule}"
        );
    }
}

#[test]
fn a_rule_that_some_target_can_still_reach_is_not_warned_of() {
    for (first, second) in [
        ("suffix = \".a.example.com\"", "suffix = \".example.com\""),
        ("suffix = \"example.com\"", "suffix = \"badexample.com\""),
        ("host = \"example.com\"", "suffix = \"example.com\""),
        ("cidr = \"10.1.0.0/16\"", "cidr = \"10.0.0.0/8\""),
        ("cidr = \"::/0\"", "cidr = \"10.0.0.0/8\""),
        (
            "suffix = \"example.com\"; port = 443",
            "host = \"a.example.com\"",
        ),
        (
            "suffix = \"example.com\"; port = 443",
            "host = \"a.example.com\"; port = \"443-444\"",
        ),
        (
            "suffix = \"example.com\"; user = \"a\"",
            "host = \"a.example.com\"; user = [\"a\", \"b\"]",
        ),
        (
            "suffix = \"example.com\"; user = [\"a\", \"b\"]",
            "host = \"a.example.com\"",
        ),
        (
            "suffix = \"example.com\"",
            "host = \"a.example.com\"; cidr = \"10.0.0.0/8\"",
        ),
        // A network also matches the addresses of a name, which a rule without one does not.
        (
            "port = 443; action = \"allow\"",
            "cidr = \"10.0.0.0/8\"; port = 443",
        ),
        // A network of a `via` rule matches literal addresses only.
        (
            "cidr = \"10.0.0.0/8\"; action = \"via\"; via = \"socks5://192.0.2.1:1080\"",
            "cidr = \"10.0.0.0/8\"",
        ),
    ] {
        assert_eq!(
            warned_rules("proxy", &[first, second]),
            Vec::<String>::new(),
            "{first} / {second}"
        );
    }
}

#[test]
fn a_denied_network_that_an_allowed_one_covers_is_warned_of_with_its_exception() {
    let found = warned_rules(
        "proxy",
        &[
            "cidr = \"10.0.0.0/8\"; action = \"allow\"",
            "cidr = \"10.1.0.0/16\"",
        ],
    );
    assert!(found.len() == 1 && found[0].contains("NAT64"), "{found:?}");
}
