//! Route states: the state of routes that outlives a reload.
//!
//! In:    the routes of each new Plan.
//! Out:   the state of a route, by its id.
//! Never: locks for a request, and never forgets the state of a route that both Plans have.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;

use super::retry_budget::RetryBudget;
use crate::config::{Plan, RouteId, RoutePlan};
use crate::route::Outbound;

/// The state of each route that outlives a reload: its round-robin position and its retry budget.
/// Looked up by the id of the route, without a lock.
pub struct RouteStates {
    /// Looked up for each request. The keys come from the config, so a fast hash is safe.
    by_id: ArcSwap<HashMap<RouteId, Arc<RouteState>, RandomState>>,
    /// State of requests without a route, or whose route was removed.
    other: Arc<RouteState>,
}

/// What a route knows of its past requests.
#[derive(Debug, Default)]
pub struct RouteState {
    /// How many requests the upstreams were picked for: the round-robin position.
    picks: AtomicUsize,
    /// How many requests may be sent again.
    pub retries: RetryBudget,
}

impl RouteState {
    /// The round-robin position of the next request.
    pub fn next_position(&self) -> usize {
        self.picks.fetch_add(1, Relaxed)
    }
}

impl RouteStates {
    /// For the first Plan.
    pub fn new(plan: &Plan) -> Self {
        let routes = Self {
            by_id: ArcSwap::default(),
            other: Arc::default(),
        };
        routes.follow(plan);
        routes
    }

    /// Makes state for the routes that are new in `plan`, keeps that of the others and drops that
    /// of routes which are gone.
    pub fn follow(&self, plan: &Plan) {
        let old = self.by_id.load();
        let state = |route: &Arc<RoutePlan>| {
            let state = old.get(&route.id).map(Arc::clone).unwrap_or_default();
            (route.id.clone(), state)
        };
        let new = plan.routes().map(state).collect();
        self.by_id.store(Arc::new(new));
    }

    /// The state of `route`.
    pub fn state_of(&self, route: &RoutePlan) -> Arc<RouteState> {
        let by_id = self.by_id.load();
        Arc::clone(by_id.get(&route.id).unwrap_or(&self.other))
    }

    /// The state of requests without a route.
    pub fn state_of_others(&self) -> Arc<RouteState> {
        Arc::clone(&self.other)
    }

    /// The state that a request counts in which goes to `outbound`.
    pub fn state_for(&self, outbound: &Outbound) -> Arc<RouteState> {
        match outbound.route() {
            Some(route) => self.state_of(route),
            None => self.state_of_others(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::plan;

    const EDGE: &str = "[[edge]]\nlisten = \"127.0.0.1:8080\"\n[[edge.route]]\nname = \"app\"\n";

    fn app(plan: &Plan) -> &Arc<RoutePlan> {
        plan.routes().find(|route| &*route.name == "app").unwrap()
    }

    #[test]
    fn a_route_keeps_its_state_over_a_reload_that_changes_its_upstreams() {
        let old = plan(&format!("{EDGE}to = \"a:1\"\n"));
        let routes = RouteStates::new(&old);
        let state = routes.state_of(app(&old));
        assert_eq!(state.next_position(), 0);
        let new = plan(&format!("{EDGE}to = [\"a:1\", \"b:1\"]\n"));
        routes.follow(&new);
        assert!(Arc::ptr_eq(&state, &routes.state_of(app(&new))));
        assert_eq!(routes.state_of(app(&new)).next_position(), 1);
    }

    #[test]
    fn a_route_that_is_gone_leaves_no_state_behind() {
        let old = plan(&format!("{EDGE}to = \"a:1\"\n"));
        let routes = RouteStates::new(&old);
        let state = routes.state_of(app(&old));
        let other = "[[edge]]\nlisten = \"127.0.0.1:8080\"\n[[edge.route]]\nto = \"a:1\"\n";
        routes.follow(&plan(other));
        assert!(
            Arc::ptr_eq(&routes.state_of(app(&old)), &routes.state_of_others()),
            "a request of the old Plan goes on"
        );
        routes.follow(&old);
        assert!(!Arc::ptr_eq(&state, &routes.state_of(app(&old))));
    }

    #[test]
    fn routes_of_the_same_name_in_two_sections_have_a_state_each() {
        let section =
            "[[edge]]\nlisten = \"127.0.0.1:0\"\n[[edge.route]]\nname = \"app\"\nto = \"a:1\"\n";
        let plan = plan(&section.repeat(2));
        let routes = RouteStates::new(&plan);
        let states: Vec<_> = plan.routes().map(|route| routes.state_of(route)).collect();
        assert_eq!(states.len(), 2);
        assert!(!Arc::ptr_eq(&states[0], &states[1]));
    }
}
