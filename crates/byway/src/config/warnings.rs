//! Warnings: probable mistakes in a valid Plan.
//!
//! In:    a Plan.
//! Out:   one sentence for each finding, for `byway check` and for the log of `byway run`.
//! Never: a false alarm: a finding holds for every possible request.

use std::sync::Arc;

use super::host_pattern::HostPattern;
use super::link_plan::Serves;
use super::pattern::{covers, no_match};
use super::plan::{EdgePlan, EgressPlan, Plan, Role, RoutePlan};
use super::rule_warnings::{closed_ports_in_ranges, unreachable_rules};

/// All warnings about `plan`, in the order of the file.
pub fn warnings(plan: &Plan) -> Vec<String> {
    let mut found = Vec::new();
    for (name, edge) in edges(plan) {
        unreachable_routes(name, edge, &mut found);
        unmatched_paths(name, edge, &mut found);
        paths_written_as_globs(name, edge, &mut found);
    }
    for (section, egress) in egresses(plan) {
        unreachable_rules(&section, egress, &mut found);
        closed_ports_in_ranges(&section, egress, &mut found);
    }
    found
}

/// The sections of `plan` that have rules, with their names in messages, each once.
fn egresses(plan: &Plan) -> Vec<(String, &Arc<EgressPlan>)> {
    let mut egresses: Vec<(String, &Arc<EgressPlan>)> = Vec::new();
    for listener in &plan.listeners {
        let (word, egress) = match &listener.frontend.role {
            Role::Egress(egress) => ("proxy", egress),
            Role::Link(link) => match &link.serves {
                Serves::Exit(egress) => ("exit", egress),
                _ => continue,
            },
            _ => continue,
        };
        if !egresses
            .iter()
            .any(|(_, earlier)| Arc::ptr_eq(earlier, egress))
        {
            egresses.push((format!("{word} {}", listener.frontend.name), egress));
        }
    }
    egresses
}

/// The edges of `plan` with their names, each once: the listeners of one section share its routes.
pub(super) fn edges(plan: &Plan) -> Vec<(&str, &Arc<EdgePlan>)> {
    let mut edges: Vec<(&str, &Arc<EdgePlan>)> = Vec::new();
    for listener in &plan.listeners {
        if let Role::Edge(edge) = &listener.frontend.role
            && !edges.iter().any(|(_, earlier)| Arc::ptr_eq(earlier, edge))
        {
            edges.push((&listener.frontend.name, edge));
        }
    }
    edges
}

/// Routes are tried in their order, so one is never reached if earlier ones match all that it
/// matches.
fn unreachable_routes(edge_name: &str, edge: &EdgePlan, found: &mut Vec<String>) {
    for (index, route) in edge.routes.iter().enumerate() {
        let earlier = edge.routes.get(..index).unwrap_or_default();
        let Some(by) = covering(earlier, route) else {
            continue;
        };
        let names: Vec<String> = by.iter().map(|route| shown(route)).collect();
        let only_slash = by
            .iter()
            .any(|wide| covers_paths(wide, route) == Some(Covered::AllButAsterisk));
        found.push(format!(
            "edge {edge_name}: the route {} is never reached, because {} before it already {} every request that it \
             could{}; move it up, or take it out",
            shown(route),
            names.join(" and "),
            if names.len() == 1 { "matches" } else { "match" },
            if only_slash { " (except for `OPTIONS *`)" } else { "" },
        ));
    }
}

/// The name of a route, and its line.
fn shown(route: &RoutePlan) -> String {
    match route.line {
        Some(line) => format!("`{}` (line {line})", route.name),
        None => format!("`{}`", route.name),
    }
}

/// Patterns of what no canonical path has.
fn unmatched_paths(edge_name: &str, edge: &EdgePlan, found: &mut Vec<String>) {
    for route in &edge.routes {
        let why = route
            .path
            .as_ref()
            .and_then(|path| no_match(path.as_str(), edge.settings.reject_empty_segments));
        if let Some(why) = why {
            let route = shown(route);
            found.push(format!(
                "edge {edge_name}: the route {route} matches no request: {why}"
            ));
        }
    }
}

/// In a regular expression `/*` at the end means any number of slashes, none included, and so has
/// no effect: a glob was meant.
fn paths_written_as_globs(edge_name: &str, edge: &EdgePlan, found: &mut Vec<String>) {
    for route in &edge.routes {
        let Some(front) = route
            .path
            .as_ref()
            .and_then(|path| path.as_str().strip_suffix("/*"))
        else {
            continue;
        };
        let front = front.trim_start_matches('^').trim_end_matches('\\');
        found.push(format!(
            "edge {edge_name}: the path of the route {} is a regular expression, in which `/*` at the end has no \
             effect; write path = '^{}{front}/' for everything below {front}/",
            shown(route),
            if front.is_empty() || front.starts_with('/') { "" } else { ".*" },
        ));
    }
}

/// The earlier routes that together match every request that `route` matches, if there are any.
fn covering<'r>(earlier: &'r [Arc<RoutePlan>], route: &RoutePlan) -> Option<Vec<&'r RoutePlan>> {
    let mut candidates = earlier
        .iter()
        .map(Arc::as_ref)
        .filter(|earlier| covers_paths(earlier, route).is_some());
    if route.hosts.is_empty() {
        return candidates
            .find(|earlier| earlier.hosts.is_empty())
            .map(|earlier| vec![earlier]);
    }
    let mut by: Vec<&RoutePlan> = Vec::new();
    for host in &route.hosts {
        let one = candidates.clone().find(|earlier| {
            earlier.hosts.is_empty()
                || earlier
                    .hosts
                    .iter()
                    .any(|pattern| covers_host(pattern, host))
        })?;
        if !by.iter().any(|known| std::ptr::eq(*known, one)) {
            by.push(one);
        }
    }
    Some(by)
}

/// How the paths of one route are covered by those of another.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Covered {
    /// All of them.
    All,
    /// All that begin with a slash, and `OPTIONS *` is left.
    AllButAsterisk,
}

/// Whether `wide` matches every path that `narrow` matches, as far as their texts show it.
fn covers_paths(wide: &RoutePlan, narrow: &RoutePlan) -> Option<Covered> {
    let Some(path) = &wide.path else {
        return Some(Covered::All);
    };
    if narrow.path.as_ref().is_some_and(|narrow| {
        narrow.as_str() == path.as_str() || covers(path.as_str(), narrow.as_str())
    }) {
        return Some(Covered::All);
    }
    if MATCH_EVERYTHING.contains(&path.as_str()) {
        return Some(Covered::All);
    }
    if !MATCH_EVERY_SLASH.contains(&path.as_str()) {
        return None;
    }
    match &narrow.path {
        Some(narrow) if !narrow.is_match("*") => Some(Covered::All),
        _ => Some(Covered::AllButAsterisk),
    }
}

/// Patterns that match every text without a line end; no canonical path has one.
const MATCH_EVERYTHING: [&str; 8] = ["", "^", ".*", "^.*", ".*$", "^.*$", "/*", "^/*"];

/// Patterns that match every path except that of `OPTIONS *`.
const MATCH_EVERY_SLASH: [&str; 6] = ["/", "^/", "/.*", "^/.*", "/.*$", "^/.*$"];

/// Whether `wide` matches every host that `narrow` matches.
fn covers_host(wide: &HostPattern, narrow: &HostPattern) -> bool {
    match (wide, narrow) {
        (HostPattern::Below(_), HostPattern::Exact(name)) => wide.matches(name.as_str()),
        (HostPattern::Below(above), HostPattern::Below(name)) => {
            above == name || wide.matches(name.as_str())
        }
        (wide, narrow) => wide == narrow,
    }
}
