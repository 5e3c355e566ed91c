//! Slashes: route patterns that a path with a doubled first slash does not match.
//!
//! In:    an edge.
//! Out:   a warning if `//admin` misses `^/admin` and is served by a later route that leads to
//!        another place.
//! Never: reports a path that would be refused, or answered with 404.

use regex::Regex;

use super::host_pattern::HostPattern;
use super::pattern;
use super::plan::{EdgePlan, Plan, RoutePlan};
use super::warnings::edges;

/// One warning for each edge that has such a pattern. Only `byway check` prints it: in many setups
/// such a pattern is correct, and a node would repeat the warning at each start.
pub fn slash_warnings(plan: &Plan) -> Vec<String> {
    edges(plan)
        .into_iter()
        .filter_map(|(name, edge)| warning(name, edge))
        .collect()
}

fn warning(edge_name: &str, edge: &EdgePlan) -> Option<String> {
    if edge.settings.reject_empty_segments {
        return None;
    }
    let passed = |(index, route)| Some((passed_by(edge, index, route)?, route));
    let all: Vec<(Passed<'_>, &RoutePlan)> = edge
        .routes
        .iter()
        .map(AsRef::as_ref)
        .enumerate()
        .filter_map(passed)
        .collect();
    let (first, route) = all.first()?;
    let others = match all.len() {
        1 => String::new(),
        2 => " (and another route likewise)".to_owned(),
        n => format!(" (and {} other routes likewise)", n - 1),
    };
    Some(format!(
        "edge {edge_name}: `/{path}` is not matched by the route `{}` but served by `{}`{others}, and many origins read it \
         as `{path}`: set reject_empty_segments = true",
        route.name,
        first.later.name,
        path = first.path,
    ))
}

struct Passed<'e> {
    /// The beginning of a path that the pattern is meant for.
    path: String,
    /// Where it goes with one more slash in front.
    later: &'e RoutePlan,
}

fn passed_by<'e>(edge: &'e EdgePlan, index: usize, route: &RoutePlan) -> Option<Passed<'e>> {
    let path = beginning(route.path.as_ref()?)?;
    let doubled = format!("/{path}");
    let mut routes = edge.routes.iter().map(AsRef::as_ref).enumerate();
    let (place, later) = routes.find(|(_, other): &(usize, &RoutePlan)| {
        hosts_meet(&route.hosts, &other.hosts)
            && other
                .path
                .as_ref()
                .is_none_or(|path| path.is_match(&doubled))
    })?;
    (place > index && later.upstreams != route.upstreams).then_some(Passed { path, later })
}

/// The beginning of a path for which a pattern is anchored at its first slash; `None` if it is not,
/// or if a second slash may follow the first.
fn beginning(pattern: &Regex) -> Option<String> {
    let (path, certain) = pattern::beginning(pattern.as_str())?;
    let is_passed =
        path.starts_with('/') && !path.starts_with("//") && !pattern.is_match(&format!("/{path}"));
    ((certain || pattern.is_match(&path)) && is_passed).then_some(path)
}

fn hosts_meet(some: &[HostPattern], others: &[HostPattern]) -> bool {
    let meet = |a: &HostPattern, b: &HostPattern| {
        a == b || a.matches(&b.to_string()) || b.matches(&a.to_string())
    };
    some.is_empty() || others.is_empty() || some.iter().any(|a| others.iter().any(|b| meet(a, b)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::parse;
    use super::*;

    /// An edge whose routes are `path hosts to`, each of which may be `-`.
    fn warned(head: &str, routes: &[&str]) -> Vec<String> {
        let mut text = format!("[[edge]]\nname = \"site\"\nlisten = \"127.0.0.1:99\"\n{head}\n");
        for (index, route) in routes.iter().enumerate() {
            let [path, hosts, to] = route.split(' ').collect::<Vec<_>>().try_into().unwrap();
            text += &format!("[[edge.route]]\nname = \"r{index}\"\nto = \"127.0.0.1:{to}\"\n");
            if path != "-" {
                text += &format!("path = '{path}'\n");
            }
            if hosts != "-" {
                text += &format!("hosts = {hosts:?}\n");
            }
        }
        slash_warnings(&parse(&text, "byway.toml", Path::new("/state")).unwrap())
    }

    #[test]
    fn an_anchored_pattern_that_misses_a_doubled_slash_is_warned_of() {
        for path in [
            "^/admin",
            "^/admin(/|$)",
            "^/(admin|private)",
            "^(/admin|/private)",
            "^/v[0-9]+/",
            "^/[a-z]+$",
            "^/\\.git/",
            "^/\\w+/x?",
            "^/colou?r",
            "^/a+",
            "^/[^/]+/edit$",
            "^/([^/]+)/x",
        ] {
            for rest in ["- - 2", "^/ - 2", "^//+ - 2", "- a.example 2"] {
                let found = warned("", &[&format!("{path} - 1"), rest]);
                assert_eq!(found.len(), 1, "{path} {rest}");
                assert!(found[0].starts_with("edge site: `//"), "{}", found[0]);
                assert!(
                    found[0].contains("`r0` but served by `r1`")
                        && found[0].contains("reject_empty_segments")
                );
            }
        }
        let found = warned("", &["^/a/ - 1", "^/b/ - 2", "^/c/ - 3", "- - 4"]);
        assert!(
            found.len() == 1 && found[0].contains("2 other routes likewise"),
            "{found:?}"
        );
    }

    #[test]
    fn other_patterns_are_not_warned_of() {
        for (head, routes) in [
            (
                "reject_empty_segments = true",
                &["^/admin - 1", "- - 2"][..],
            ),
            ("", &["^/admin - 1"]),
            ("", &["^/admin - 1", "^/public - 2"]),
            ("", &["^/admin - 1", "- - 1"]),
            ("", &["^/+admin - 1", "- - 2"]),
            ("", &["^/.*admin - 1", "- - 2"]),
            ("", &["admin - 1", "- - 2"]),
            ("", &["^/ - 1", "- - 2"]),
            ("", &["^/admin|^//+admin - 1", "- - 2"]),
            ("", &["^// - 3", "^/admin - 1", "- - 2"]),
            ("", &["^/admin a.example 1", "- b.example 2"]),
            ("", &["- - 1"]),
        ] {
            assert_eq!(warned(head, routes), [""; 0], "{head} {routes:?}");
        }
    }
}
