//! Balance: in which order the upstreams of a route are tried.
//!
//! In:    a route's upstreams and its turn.
//! Out:   one upstream after the other, beginning with the next in turn.
//! Never: remembers failures; one that refuses is skipped for this request and tried again in its
//!        next turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::config::{RoutePlan, UpstreamPlan};

/// Whose turn it is. Not part of a route's identity: two Plans with equal routes are equal wherever
/// their turns stand.
#[derive(Debug, Default)]
pub struct RoundRobin(AtomicUsize);

impl RoundRobin {
    fn next(&self) -> usize {
        self.0.fetch_add(1, Relaxed)
    }
}

impl Clone for RoundRobin {
    fn clone(&self) -> Self {
        Self(AtomicUsize::new(self.0.load(Relaxed)))
    }
}

impl PartialEq for RoundRobin {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

/// A walk over the upstreams of a route, from the next in turn on and round again.
#[derive(Debug)]
pub struct Walk<'r> {
    upstreams: &'r [Arc<UpstreamPlan>],
    next: usize,
}

impl<'r> Walk<'r> {
    /// Takes the turn of `route`.
    pub fn over(route: &'r RoutePlan) -> Self {
        Self {
            upstreams: &route.upstreams,
            next: route.round_robin.next(),
        }
    }

    /// The next upstream; none if the route has none.
    pub fn step(&mut self) -> Option<&'r Arc<UpstreamPlan>> {
        let next = self.next.checked_rem(self.upstreams.len())?;
        self.next = next + 1;
        self.upstreams.get(next)
    }
}
