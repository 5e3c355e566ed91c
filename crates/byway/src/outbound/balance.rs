//! Balance: the order in which the upstreams of a route are tried.
//!
//! In:    a route's upstreams and its round-robin position.
//! Out:   one upstream after the other, beginning with the next in the rotation.
//! Never: remembers failures; an upstream that refuses is skipped for this request and tried again
//!        when its turn comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::config::{RoutePlan, UpstreamPlan};

/// The next position. Not part of a route's identity: two Plans with equal routes are equal at any
/// position.
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

/// Iterates over the upstreams of a route, beginning with the next in the rotation, and repeats.
#[derive(Debug)]
pub struct Walk<'r> {
    upstreams: &'r [Arc<UpstreamPlan>],
    next: usize,
}

impl<'r> Walk<'r> {
    /// Takes the next position of `route`.
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
