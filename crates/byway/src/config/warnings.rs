//! Warnings: what a valid Plan says that can hardly be meant.
//!
//! In:    a Plan.
//! Out:   one sentence for each finding, for `byway check` and for the log of `byway run`.
//! Never: a false alarm: what is reported holds for every request there can be.

use std::sync::Arc;

use super::host_pattern::HostPattern;
use super::plan::{EdgePlan, Plan, Role, RoutePlan};

/// Everything in `plan` that is worth a warning, in the order of the file.
pub fn warnings(plan: &Plan) -> Vec<String> {
    let mut found = Vec::new();
    for (name, edge) in edges(plan) {
        unreachable_routes(name, edge, &mut found);
    }
    found
}

/// The edges of `plan` with their names, each once: the listeners of one section share its routes.
pub(super) fn edges(plan: &Plan) -> Vec<(&str, &Arc<EdgePlan>)> {
    let mut edges: Vec<(&str, &Arc<EdgePlan>)> = Vec::new();
    for listener in &plan.listeners {
        if let Role::Edge(edge) = &listener.role
            && !edges.iter().any(|(_, earlier)| Arc::ptr_eq(earlier, edge))
        {
            edges.push((&listener.name, edge));
        }
    }
    edges
}

/// Routes are tried in their order, so one is never reached if earlier ones match all that it matches.
fn unreachable_routes(edge_name: &str, edge: &EdgePlan, found: &mut Vec<String>) {
    for (index, route) in edge.routes.iter().enumerate() {
        let earlier = edge.routes.get(..index).unwrap_or_default();
        let Some(by) = covering(earlier, route) else { continue };
        let names: Vec<String> = by.iter().map(|route| format!("`{}`", route.name)).collect();
        found.push(format!(
            "edge {edge_name}: the route `{}` is never reached, because {} before it already {} every request that it \
             could; move it up, or take it out",
            route.name,
            names.join(" and "),
            if names.len() == 1 { "matches" } else { "match" },
        ));
    }
}

/// The earlier routes that together match every request that `route` matches, if there are such.
fn covering<'r>(earlier: &'r [Arc<RoutePlan>], route: &RoutePlan) -> Option<Vec<&'r RoutePlan>> {
    let mut candidates = earlier.iter().map(Arc::as_ref).filter(|earlier| covers_paths(earlier, route));
    if route.hosts.is_empty() {
        return candidates.find(|earlier| earlier.hosts.is_empty()).map(|earlier| vec![earlier]);
    }
    let mut by: Vec<&RoutePlan> = Vec::new();
    for host in &route.hosts {
        let one = candidates.clone().find(|earlier| {
            earlier.hosts.is_empty() || earlier.hosts.iter().any(|pattern| covers_host(pattern, host))
        })?;
        if !by.iter().any(|known| std::ptr::eq(*known, one)) {
            by.push(one);
        }
    }
    Some(by)
}

/// Whether `wide` matches every path that `narrow` matches. Two patterns are compared by their text alone.
fn covers_paths(wide: &RoutePlan, narrow: &RoutePlan) -> bool {
    match (&wide.path, &narrow.path) {
        (None, _) => true,
        (Some(wide), Some(narrow)) => wide.as_str() == narrow.as_str(),
        (Some(_), None) => false,
    }
}

/// Whether `wide` matches every host that `narrow` matches.
fn covers_host(wide: &HostPattern, narrow: &HostPattern) -> bool {
    match (wide, narrow) {
        (HostPattern::Below(_), HostPattern::Exact(name)) => wide.matches(name.as_str()),
        (HostPattern::Below(above), HostPattern::Below(name)) => above == name || wide.matches(name.as_str()),
        (wide, narrow) => wide == narrow,
    }
}
