//! Descriptors: the limits of connections, lowered to what the process may have open.
//!
//! In:    the limits as written or by default, and what else of the file takes descriptors.
//! Out:   limits that fit together, and a note of each that was lowered.
//! Never: raises a limit, or refuses a file because of the machine it is read on.

use std::num::NonZeroUsize;

use super::super::file::{File, Join};
use super::super::place::{At, Text};
use super::super::plan::{DescriptorsPlan, LimitsPlan, Lowered, PoolPlan};
use super::Resolver;
use crate::os::descriptors::{Needs, Shares};

impl Resolver<'_> {
    /// Lowers `limits` and `pool` to what fits.
    pub(super) fn descriptors(
        &self,
        file: &File,
        workers: NonZeroUsize,
        limits: &mut LimitsPlan,
        pool: &mut PoolPlan,
    ) -> DescriptorsPlan {
        let limit = self.around.descriptors;
        let addresses = |list: &Option<At<Vec<Text>>>| list.as_ref().map_or(0, |list| list.value.len());
        let visited = file.edge.iter().map(|edge| addresses(&edge.value.listen)).sum::<usize>()
            + file.proxy.iter().map(|proxy| addresses(&proxy.value.listen)).sum::<usize>()
            + file.tcp.iter().map(|tcp| addresses(&tcp.value.listen)).sum::<usize>()
            + file.serve.iter().map(|serve| addresses(&serve.value.http)).sum::<usize>();
        let links = file.serve.iter().map(|serve| addresses(&serve.value.listen)).sum::<usize>()
            + file.exit.iter().map(|exit| addresses(&exit.value.listen)).sum::<usize>();
        let needs = Needs {
            workers: workers.get(),
            listeners: visited + links + addresses(&file.metrics.listen),
            link_listeners: links,
            joins: file.expose.len() + file.proxy.iter().filter(|proxy| is_joined(&proxy.value.join)).count(),
            accepted: limits.connections.saturating_mul(visited.max(1)),
            pooled: pool.max_total,
        };
        let shares = Shares::of(limit, needs);
        let mut lowered = Vec::new();
        let mut lower = |key, value: &mut usize, most: usize, written: bool| {
            if let Some(limit) = limit.filter(|_| *value > most) {
                lowered.push(Lowered { key, from: *value, to: most, limit, written });
                *value = most;
            }
        };
        let connections = limits.connections;
        lower("limits.connections", &mut limits.connections, shares.accepted, file.limits.connections.is_some());
        lower("pool.max_total", &mut pool.max_total, shares.pooled, file.pool.max_total.is_some());
        if limits.connections < connections {
            // One address shall not hold all that is left.
            limits.connections_per_peer = limits.connections_per_peer.min((limits.connections / 2).max(1));
        }
        pool.max_per_origin = pool.max_per_origin.min(pool.max_total);
        DescriptorsPlan { shares, lowered }
    }
}

fn is_joined(join: &Join) -> bool {
    join.join.is_some() || join.join_file.is_some()
}
