//! Diff: what a reload changes.
//!
//! In:    the current Plan and the new one.
//! Out:   listeners, routes, upstreams and links that are dialled, each added, removed, changed or
//!        kept, and the names of changed settings.
//! Never: decides what happens to connections; it only compares.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use super::bind::Bind;
use super::link_plan::JoinPlan;
use super::plan::{EdgePlan, ListenerKey, ListenerPlan, Plan, Role, RoutePlan};
use super::section::LimitsPlan;

/// What differs between two Plans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diff {
    /// By address. A listener is changed if its role, limits or name did; changes of its routes are
    /// in `routes`. Listeners on port 0 are matched by their order.
    pub listeners: Changes<Bind>,
    /// By edge and name.
    pub routes: Changes<RouteKey>,
    /// By id. The id covers everything about an upstream, so that none is ever changed.
    pub upstreams: Changes<Arc<str>>,
    /// Links that are dialled, by id. One is changed if its services did, or its secret; where its
    /// join string was read from does not matter.
    pub joins: Changes<Arc<str>>,
    /// Other parts of the Plan that differ: `workers`, `drain`, `dial`, `limits`, `pool`, `retry`,
    /// `spill`, `log`, `link`, `tls`, `certificates`, `acme`.
    pub settings: Vec<&'static str>,
}

/// Keys of one kind, each list in the order of its Plan; what is removed is in the order of the old
/// one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes<K> {
    /// Only in the new Plan.
    pub added: Vec<K>,
    /// Only in the old Plan.
    pub removed: Vec<K>,
    /// In both, and different.
    pub changed: Vec<K>,
    /// In both, and the same.
    pub kept: Vec<K>,
}

/// Identifies a route: two edges may have routes of the same name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RouteKey {
    /// The name of the edge, or its first address if it has none.
    pub edge: Arc<str>,
    /// The name of the route.
    pub route: Arc<str>,
}

impl fmt::Display for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.route, self.edge)
    }
}

impl Diff {
    /// What changes when `new` replaces `old`.
    pub fn between(old: &Plan, new: &Plan) -> Self {
        let old_edges = edges(old, &HashMap::new());
        let old_labels = labels_by_bind(&old_edges);
        let new_edges = edges(new, &old_labels);
        Self {
            listeners: Changes::between(
                &listeners(old),
                &listeners(new),
                |a, b| same_listener((old, a), (new, b)),
                |key| key.bind().clone(),
            ),
            routes: Changes::between(
                &routes(&old_edges),
                &routes(&new_edges),
                |a, b| a == b,
                |key| key,
            ),
            upstreams: Changes::between(&upstreams(old), &upstreams(new), |a, b| a == b, |key| key),
            joins: Changes::between(&joins(old), &joins(new), |a, b| same_join(a, b), |key| key),
            settings: changed_settings(old, new),
        }
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        let nothing_listened =
            self.listeners.is_empty() && self.routes.is_empty() && self.upstreams.is_empty();
        nothing_listened && self.joins.is_empty() && self.settings.is_empty()
    }
}

impl<K> Changes<K> {
    /// Whether everything is kept.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }

    fn between<I: Hash + Eq + Clone, V>(
        old: &[(I, V)],
        new: &[(I, V)],
        same: impl Fn(&V, &V) -> bool,
        key: impl Fn(I) -> K,
    ) -> Self {
        let before: HashMap<&I, &V> = old.iter().map(|(id, value)| (id, value)).collect();
        let after: HashSet<&I> = new.iter().map(|(id, _)| id).collect();
        let mut changes = Self {
            added: Vec::new(),
            removed: Vec::new(),
            changed: Vec::new(),
            kept: Vec::new(),
        };
        for (id, value) in new {
            let list = match before.get(id) {
                None => &mut changes.added,
                Some(earlier) if same(earlier, value) => &mut changes.kept,
                Some(_) => &mut changes.changed,
            };
            list.push(key(id.clone()));
        }
        changes.removed = old
            .iter()
            .filter(|(id, _)| !after.contains(id))
            .map(|(id, _)| key(id.clone()))
            .collect();
        changes
    }
}

fn listeners(plan: &Plan) -> Vec<(ListenerKey, &ListenerPlan)> {
    plan.keyed_listeners()
        .map(|(key, listener)| (key, &**listener))
        .collect()
}

fn same_listener((old, a): (&Plan, &ListenerPlan), (new, b): (&Plan, &ListenerPlan)) -> bool {
    let same_limits = asked_limits(old, a) == asked_limits(new, b);
    let (a, b) = (&a.frontend, &b.frontend);
    let role = match (&a.role, &b.role) {
        (Role::Edge(a), Role::Edge(b)) => {
            // Routes are compared by themselves. A new field does not compile until it is compared.
            let EdgePlan {
                routes: _,
                trusted_proxies,
                settings,
                domain,
            } = &**a;
            *trusted_proxies == b.trusted_proxies && *settings == b.settings && *domain == b.domain
        }
        (a, b) => a == b,
    };
    role && a.name == b.name && same_limits && a.transport == b.transport
}

/// The limits of `listener` before any was lowered to fit into the descriptors of the process.
fn asked_limits(plan: &Plan, listener: &ListenerPlan) -> LimitsPlan {
    let asked = &plan.descriptors.asked_limits;
    LimitsPlan {
        connections: asked.connections,
        connections_per_peer: asked.connections_per_peer,
        ..listener.frontend.limits.clone()
    }
}

/// An edge of a Plan: its label in keys, and where it listens.
struct EdgeOf<'p> {
    label: Arc<str>,
    binds: Vec<&'p Bind>,
    plan: &'p Arc<EdgePlan>,
}

/// The edges of `plan`, labelled as in the old Plan where they share an address with one of its
/// edges.
fn edges<'p>(plan: &'p Plan, old_labels: &HashMap<&Bind, Arc<str>>) -> Vec<EdgeOf<'p>> {
    let mut edges: Vec<EdgeOf<'p>> = Vec::new();
    for listener in &plan.listeners {
        let Role::Edge(edge) = &listener.frontend.role else {
            continue;
        };
        match edges.iter_mut().find(|known| Arc::ptr_eq(known.plan, edge)) {
            Some(known) => known.binds.push(&listener.bind),
            None => edges.push(EdgeOf {
                label: listener.frontend.name.clone(),
                binds: vec![&listener.bind],
                plan: edge,
            }),
        }
    }
    let mut taken = HashSet::new();
    for edge in &mut edges {
        let earlier = edge.binds.iter().find_map(|bind| old_labels.get(bind));
        if let Some(label) = earlier.filter(|label| taken.insert(Arc::clone(label))) {
            edge.label = Arc::clone(label);
        }
    }
    edges
}

fn labels_by_bind<'p>(edges: &[EdgeOf<'p>]) -> HashMap<&'p Bind, Arc<str>> {
    let labels = edges
        .iter()
        .flat_map(|edge| edge.binds.iter().map(|bind| (*bind, edge.label.clone())));
    labels.collect()
}

fn routes<'p>(edges: &[EdgeOf<'p>]) -> Vec<(RouteKey, &'p RoutePlan)> {
    let mut all = Vec::new();
    for edge in edges {
        let key = |route: &RoutePlan| RouteKey {
            edge: edge.label.clone(),
            route: route.name.clone(),
        };
        all.extend(edge.plan.routes.iter().map(|route| (key(route), &**route)));
    }
    all
}

fn upstreams(plan: &Plan) -> Vec<(Arc<str>, ())> {
    let mut seen = HashSet::new();
    let edges = edges(plan, &HashMap::new());
    let routes = edges.iter().flat_map(|edge| &edge.plan.routes);
    let ids = routes
        .flat_map(|route| &route.upstreams)
        .map(|upstream| upstream.id.clone());
    ids.filter(|id| seen.insert(id.clone()))
        .map(|id| (id, ()))
        .collect()
}

fn joins(plan: &Plan) -> Vec<(Arc<str>, &JoinPlan)> {
    plan.joins
        .iter()
        .map(|join| (join.id.clone(), &**join))
        .collect()
}

fn same_join(a: &JoinPlan, b: &JoinPlan) -> bool {
    // Where the join string was read from does not matter. A new field does not compile until it is
    // compared or left out here.
    let JoinPlan {
        id: _,
        file: _,
        join,
        carrier,
        services,
    } = a;
    *join == b.join && *carrier == b.carrier && *services == b.services
}

/// What is derived from other settings is not compared: it changes with them.
fn changed_settings(old: &Plan, new: &Plan) -> Vec<&'static str> {
    let [asked_before, asked] = [&old.descriptors, &new.descriptors];
    let parts = [
        ("workers", old.workers == new.workers),
        ("drain", old.drain == new.drain),
        ("dial", old.dial == new.dial),
        ("limits", asked_before.asked_limits == asked.asked_limits),
        ("pool", asked_before.asked_pool == asked.asked_pool),
        ("retry", old.retry == new.retry),
        ("spill", old.spill == new.spill),
        ("log", old.log == new.log),
        ("link", old.link == new.link),
        (
            "tls",
            old.tls.settings == new.tls.settings && old.tls.clients == new.tls.clients,
        ),
        ("certificates", old.tls.certificates == new.tls.certificates),
        (
            "acme",
            old.tls.acme == new.tls.acme && old.tls.local_names == new.tls.local_names,
        ),
    ];
    parts
        .into_iter()
        .filter(|(_, same)| !same)
        .map(|(name, _)| name)
        .collect()
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.listeners.print(f, "listener")?;
        self.routes.print(f, "route")?;
        self.upstreams.print(f, "upstream")?;
        self.joins.print(f, "link")?;
        for name in &self.settings {
            writeln!(f, "changed  {name}")?;
        }
        let kept = |count: usize, what: &str| {
            format!("{count} {what}{}", if count == 1 { "" } else { "s" })
        };
        let (listeners, routes) = (
            kept(self.listeners.kept.len(), "listener"),
            kept(self.routes.kept.len(), "route"),
        );
        write!(
            f,
            "kept     {listeners}, {routes}, {}",
            kept(self.upstreams.kept.len(), "upstream")
        )?;
        match self.joins.kept.len() {
            0 => writeln!(f),
            links => writeln!(f, ", {}", kept(links, "link")),
        }
    }
}

/// How many of one kind are listed. Together with [`MOST_KEY_CHARS`] it keeps the text far below
/// what one record of the log may have.
const MOST_LISTED: usize = 50;

/// How much of a key is shown: the name of a route may be a long pattern.
const MOST_KEY_CHARS: usize = 200;

impl<K: fmt::Display> Changes<K> {
    fn print(&self, f: &mut fmt::Formatter<'_>, what: &str) -> fmt::Result {
        for (word, keys) in [
            ("added  ", &self.added),
            ("removed", &self.removed),
            ("changed", &self.changed),
        ] {
            for key in keys.iter().take(MOST_LISTED) {
                let key = key.to_string();
                let (shown, more) = match key.char_indices().nth(MOST_KEY_CHARS) {
                    Some((end, _)) => (key.get(..end).unwrap_or_default(), "…"),
                    None => (&*key, ""),
                };
                writeln!(f, "{word}  {what} {shown}{more}")?;
            }
            match keys.len().saturating_sub(MOST_LISTED) {
                0 => {}
                1 => writeln!(f, "{word}  1 more {what}")?,
                left => writeln!(f, "{word}  {left} more {what}s")?,
            }
        }
        Ok(())
    }
}
