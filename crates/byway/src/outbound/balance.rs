//! Balance: the order in which the upstreams of a route are tried.
//!
//! In:    a route's upstreams and its round-robin position.
//! Out:   one upstream after the other, beginning with the next in the rotation.
//! Never: remembers failures; an upstream that refuses is skipped for this request and tried again
//!        when its turn comes.

use std::sync::Arc;

use super::route_states::RouteState;
use crate::config::{RoutePlan, UpstreamPlan};

/// Iterates over the upstreams of a route, beginning with the next in the rotation, and repeats.
#[derive(Debug)]
pub struct Walk<'r> {
    upstreams: &'r [Arc<UpstreamPlan>],
    next: usize,
}

impl<'r> Walk<'r> {
    /// Takes the next position of `route`.
    pub fn over(route: &'r RoutePlan, state: &RouteState) -> Self {
        Self {
            upstreams: &route.upstreams,
            next: state.next_position(),
        }
    }

    /// The next upstream; none if the route has none.
    pub fn step(&mut self) -> Option<&'r Arc<UpstreamPlan>> {
        let next = self.next.checked_rem(self.upstreams.len())?;
        self.next = next + 1;
        self.upstreams.get(next)
    }
}
