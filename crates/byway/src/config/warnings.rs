//! Warnings: probable mistakes in a valid Plan.
//!
//! In:    a Plan.
//! Out:   one sentence for each finding, for `byway check` and for the log of `byway run`.
//! Never: a false alarm: a finding holds for every possible request.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::host_index::HostKey;
use super::link_plan::Serves;
use super::pattern::{first_text, no_match, only_text};
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
    let mut earlier = Earlier::default();
    for (index, route) in edge.routes.iter().enumerate() {
        if let Some(by) = earlier.covering(route) {
            let by = by.into_iter().filter_map(|index| edge.routes.get(index));
            let names: Vec<String> = by.clone().map(|route| shown(route)).collect();
            let only_slash = by.into_iter().any(|wide| leaves_asterisk(wide, route));
            found.push(format!(
                "edge {edge_name}: the route {} is never reached, because {} before it already {} every request that \
                 it could{}; move it up, or take it out",
                shown(route),
                names.join(" and "),
                if names.len() == 1 { "matches" } else { "match" },
                if only_slash { " (except for `OPTIONS *`)" } else { "" },
            ));
        }
        earlier.add(index, route);
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

/// The earlier routes of an edge. A route is compared only with those that have a host pattern
/// which covers its own, and with those by the text that their paths begin with.
#[derive(Default)]
struct Earlier<'e>(HashMap<HostKey<'e>, Paths<'e>>);

/// The paths of routes with one host pattern; each value is the index of the first such route.
#[derive(Default)]
struct Paths<'e> {
    /// Every path, or all but that of `OPTIONS *`.
    every: Option<usize>,
    /// This pattern.
    patterns: HashMap<&'e str, usize>,
    /// All that begin with the text, by its length.
    texts: BTreeMap<usize, HashMap<String, usize>>,
}

impl<'e> Earlier<'e> {
    /// The indexes of the routes that together match every request that `route` matches, if there
    /// are any.
    fn covering(&self, route: &RoutePlan) -> Option<Vec<usize>> {
        let pattern = route.path.as_ref().map(regex::Regex::as_str);
        let text = pattern.and_then(first_text);
        let mut by = Vec::new();
        for host in HostKey::all(&route.hosts) {
            let paths = host.covering().filter_map(|wide| self.0.get(&wide));
            let first = paths.filter_map(|paths| paths.first(pattern, text.as_deref()));
            let first = first.min()?;
            if !by.contains(&first) {
                by.push(first);
            }
        }
        Some(by)
    }

    fn add(&mut self, index: usize, route: &'e RoutePlan) {
        let pattern = route.path.as_ref().map_or("", regex::Regex::as_str);
        let text = only_text(pattern);
        for host in HostKey::all(&route.hosts) {
            let paths = self.0.entry(host).or_default();
            if MATCH_EVERYTHING.contains(&pattern) || MATCH_EVERY_SLASH.contains(&pattern) {
                paths.every.get_or_insert(index);
            }
            paths.patterns.entry(pattern).or_insert(index);
            if let Some(text) = &text {
                let texts = paths.texts.entry(text.len()).or_default();
                texts.entry(text.clone()).or_insert(index);
            }
        }
    }
}

impl Paths<'_> {
    /// The first route that matches every path that `pattern` matches, as far as their texts show
    /// it. `text` is what those paths begin with.
    fn first(&self, pattern: Option<&str>, text: Option<&str>) -> Option<usize> {
        let same = pattern.and_then(|pattern| self.patterns.get(pattern));
        let begins = self.texts.iter().filter_map(|(length, texts)| {
            let beginning = text?.get(..*length)?;
            texts.get(beginning)
        });
        let all = self.every.iter().chain(same).chain(begins);
        all.min().copied()
    }
}

/// Whether `wide` does not match the path of `OPTIONS *`, though `narrow` may.
fn leaves_asterisk(wide: &RoutePlan, narrow: &RoutePlan) -> bool {
    let every_slash = wide
        .path
        .as_ref()
        .is_some_and(|path| MATCH_EVERY_SLASH.contains(&path.as_str()));
    every_slash && narrow.path.as_ref().is_none_or(|path| path.is_match("*"))
}

/// Patterns that match every text without a line end; no canonical path has one.
const MATCH_EVERYTHING: [&str; 8] = ["", "^", ".*", "^.*", ".*$", "^.*$", "/*", "^/*"];

/// Patterns that match every path except that of `OPTIONS *`.
const MATCH_EVERY_SLASH: [&str; 6] = ["/", "^/", "/.*", "^/.*", "/.*$", "^/.*$"];
