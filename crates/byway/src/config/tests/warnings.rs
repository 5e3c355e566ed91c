//! Warnings: what `check` warns of, and what it must not warn of.

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
    ] {
        let found = warned(routes);
        assert_eq!(found.len(), 1, "{routes:?}: {found:?}");
        let expected =
            "edge site: the route `r1` is never reached, because `r0` before it already matches every request";
        assert!(found[0].starts_with(expected), "{}", found[0]);
    }
    let found = warned(&["a.example|", "b.example|", "a.example b.example|^/x"]);
    assert!(found.len() == 1 && found[0].contains("because `r0` and `r1` before it already match"), "{found:?}");
}

#[test]
fn a_route_that_some_request_can_still_reach_is_not_warned_of() {
    for routes in [
        &["a.example|", "|"][..],
        &["|^/api/", "|"],
        &["|^/", "|^/api/"],
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
    assert_eq!(warnings(&parse(text, "byway.toml", Path::new("/state")).unwrap()).len(), 1);
}
