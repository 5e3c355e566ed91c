//! Balance: in which order the upstreams of a route are tried.
//!
//! In:    a route's upstreams and its turn.
//! Out:   each upstream once, beginning with the next in turn.
//! Never: remembers failures; one that refuses is skipped for this request and tried again in its next turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::config::{RoutePlan, UpstreamPlan};

/// Whose turn it is. Not part of a route's identity: two Plans with equal routes are equal wherever their turns stand.
#[derive(Debug, Default)]
pub struct Turn(AtomicUsize);

impl Turn {
    fn next(&self) -> usize {
        self.0.fetch_add(1, Relaxed)
    }
}

impl Clone for Turn {
    fn clone(&self) -> Self {
        Self(AtomicUsize::new(self.0.load(Relaxed)))
    }
}

impl PartialEq for Turn {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

/// The upstreams in round robin order from the next in turn.
pub fn in_turn(route: &RoutePlan) -> impl Iterator<Item = &Arc<UpstreamPlan>> {
    let upstreams = &route.upstreams;
    let first = route.turn.next() % upstreams.len().max(1);
    upstreams.iter().cycle().skip(first).take(upstreams.len())
}
