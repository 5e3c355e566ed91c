//! Slashes: route patterns that a path with a doubled first slash does not match.
//!
//! In:    an edge.
//! Out:   a warning if `//admin` misses `^/admin` and is served by a later route that leads to
//!        another place.
//! Never: reports a path that would be refused, or answered with 404.

use std::collections::HashMap;

use regex::Regex;

use super::host_index::HostKey;
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
    let mut candidates = Candidates::new(edge);
    let passed = |(index, route)| Some((candidates.passed_by(index, route)?, route));
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

/// The most patterns that are tried for one edge: beyond it, patterns are taken for correct.
const MOST_TRIES: usize = 1 << 20;

/// The routes of an edge that a path with two slashes in front may lead to, by host pattern. In
/// most configs these are few for each host.
struct Candidates<'e> {
    edge: &'e EdgePlan,
    /// Those with this pattern.
    with: HashMap<HostKey<'e>, Vec<usize>>,
    /// Those with another pattern that this one covers.
    below: HashMap<HostKey<'e>, Vec<usize>>,
    tries_left: usize,
}

impl<'e> Candidates<'e> {
    fn new(edge: &'e EdgePlan) -> Self {
        let (mut with, mut below) = (
            HashMap::<_, Vec<usize>>::new(),
            HashMap::<_, Vec<usize>>::new(),
        );
        for (index, route) in edge.routes.iter().enumerate() {
            let path = route.path.as_ref().map(Regex::as_str);
            if !path.is_none_or(pattern::may_match_two_slashes) {
                continue;
            }
            for host in HostKey::all(&route.hosts) {
                with.entry(host).or_default().push(index);
                for wide in host.covering().filter(|wide| *wide != host) {
                    below.entry(wide).or_default().push(index);
                }
            }
        }
        Self {
            edge,
            with,
            below,
            tries_left: MOST_TRIES,
        }
    }

    fn passed_by(&mut self, index: usize, route: &'e RoutePlan) -> Option<Passed<'e>> {
        let path = beginning(route.path.as_ref()?)?;
        let doubled = format!("/{path}");
        let mut first = None;
        for host in HostKey::all(&route.hosts) {
            let covering = host.covering().filter_map(|wide| self.with.get(&wide));
            for meeting in covering.chain(self.below.get(&host)) {
                for place in meeting {
                    if first.is_some_and(|(first, _)| first <= *place) {
                        break;
                    }
                    self.tries_left = self.tries_left.checked_sub(1)?;
                    let later = self.edge.routes.get(*place)?;
                    let path = later.path.as_ref();
                    if path.is_none_or(|path| path.is_match(&doubled)) {
                        first = Some((*place, &**later));
                        break;
                    }
                }
            }
        }
        let (place, later) = first?;
        (place > index && later.upstreams != route.upstreams).then_some(Passed { path, later })
    }
}

/// The beginning of a path for which a pattern is anchored at its first slash; `None` if it is not,
/// or if a second slash may follow the first.
fn beginning(pattern: &Regex) -> Option<String> {
    let (path, certain) = pattern::beginning(pattern.as_str())?;
    let is_passed =
        path.starts_with('/') && !path.starts_with("//") && !pattern.is_match(&format!("/{path}"));
    ((certain || pattern.is_match(&path)) && is_passed).then_some(path)
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

    #[test]
    fn the_routes_of_many_hosts_are_compared_only_with_those_of_the_same_host() {
        let mut text = "[[edge]]\nlisten = \"127.0.0.1:99\"\n".to_owned();
        for host in 0..100 {
            for (path, port) in [("^/admin", 1), ("^/api/[a-z]+", 1), ("", 2)] {
                let route = format!("hosts = \"h{host}.example\"\npath = \"{path}\"\n");
                text += &format!("[[edge.route]]\n{route}to = \"127.0.0.1:{port}\"\n");
            }
        }
        let plan = parse(&text, "byway.toml", Path::new("/state")).unwrap();
        let (_, edge) = edges(&plan)[0];
        let mut candidates = Candidates::new(edge);
        let routes = edge.routes.iter().enumerate();
        let passed = routes.filter(|(index, route)| candidates.passed_by(*index, route).is_some());
        assert_eq!(passed.count(), 200);
        assert_eq!(MOST_TRIES - candidates.tries_left, 200, "patterns tried");
    }
}
