//! Table: the ordered routes of an edge. The first that matches wins.
//!
//! In:    host and canonical path of a request, exactly as they will be forwarded.
//! Out:   the route, or none.
//! Never: rewrites. What is matched is what is sent, so that there is only one interpretation of a
//!        path.

use std::sync::Arc;

use crate::config::{EdgePlan, RoutePlan};

/// The first route whose host and path both match. A route without hosts matches every host, and a
/// route without a path every path.
pub fn find<'a>(edge: &'a EdgePlan, host: &str, path: &str) -> Option<&'a Arc<RoutePlan>> {
    edge.routes.iter().find(|route| matches(route, host, path))
}

fn matches(route: &RoutePlan, host: &str, path: &str) -> bool {
    let host_fits =
        route.hosts.is_empty() || route.hosts.iter().any(|pattern| pattern.matches(host));
    host_fits && route.path.as_ref().is_none_or(|regex| regex.is_match(path))
}
