//! Descriptors: the limits of connections, lowered to what the process may have open.
//!
//! In:    the limits as written or by default, and the other uses of descriptors in the file.
//! Out:   limits that fit together, and a note of each that was lowered.
//! Never: raises a limit, or refuses a file because of the machine it is read on.

use std::collections::HashSet;
use std::num::NonZeroUsize;

use byway_link::lease::NAMES_A_TENANT;

use super::super::place::{At, Text};
use super::super::plan::{Lowered, LoweredBy};
use super::super::section::{File, Join, LimitsPlan, PoolPlan, SpillMode};
use super::Resolver;
use super::egress::dials;
use crate::os::descriptors::{Needs, Shares};

impl Resolver<'_> {
    /// Lowers `limits` and `pool` to what fits. Returns the shares, and each limit that was lowered.
    pub(super) fn descriptors(
        &self,
        file: &File,
        workers: NonZeroUsize,
        spill: SpillMode,
        limits: &mut LimitsPlan,
        pool: &mut PoolPlan,
    ) -> (Shares, Vec<Lowered>) {
        let limit = self.around.descriptors;
        let addresses =
            |list: &Option<At<Vec<Text>>>| list.as_ref().map_or(0, |list| list.value.len());
        // An address for TLS has a UDP socket for HTTP/3 beside each of its own.
        let has_http3 = file.tls.http3.as_ref().is_none_or(|http3| http3.value);
        let https = |list: &Option<At<Vec<Text>>>| addresses(list) * (1 + usize::from(has_http3));
        let dialling = file
            .edge
            .iter()
            .map(|edge| addresses(&edge.value.listen) + https(&edge.value.https))
            .sum::<usize>()
            + file
                .proxy
                .iter()
                .map(|proxy| addresses(&proxy.value.listen) + addresses(&proxy.value.https))
                .sum::<usize>()
            + file
                .tcp
                .iter()
                .map(|tcp| addresses(&tcp.value.listen))
                .sum::<usize>();
        let http = file
            .serve
            .iter()
            .map(|serve| addresses(&serve.value.http) + https(&serve.value.https))
            .sum::<usize>();
        let visited = dialling + http;
        // The public ports, which are opened later, count as one listener where a `[[serve]]` has
        // no other.
        let (dialling, carried) = if file.serve.is_empty() {
            (dialling.max(1), 0)
        } else {
            (dialling, http.max(1))
        };
        let links = file
            .serve
            .iter()
            .map(|serve| addresses(&serve.value.listen))
            .sum::<usize>()
            + file
                .exit
                .iter()
                .map(|exit| addresses(&exit.value.listen))
                .sum::<usize>();
        let accepts_visitors = visited > 0 || !file.serve.is_empty();
        let joins = self.distinct_joins(file);
        let needs = Needs {
            workers: workers.get(),
            listeners: visited + links + addresses(&file.metrics.listen),
            link_listeners: links,
            has_public_ports: !file.serve.is_empty(),
            joins,
            dials_streams: !file.expose.is_empty() || !file.exit.is_empty(),
            accepts_visitors,
            spills: spill == SpillMode::Auto
                && (!file.exit.is_empty() || file.proxy.iter().any(|proxy| dials(&proxy.value))),
            accepted: limits.connections.saturating_mul(dialling),
            carried: limits.connections.saturating_mul(carried),
            pooled: pool.max_total,
        };
        let shares = Shares::of(limit, needs);
        let mut lowered = Vec::new();
        let mut lower = |key, value: &mut usize, most: usize, written, cause| {
            if *value > most {
                lowered.push(Lowered {
                    key,
                    from: *value,
                    to: most,
                    cause,
                    written,
                });
                *value = most;
            }
        };
        let files = LoweredBy::Descriptors(limit.unwrap_or(u64::MAX));
        let (connections, max_total) = (limits.connections, pool.max_total);
        if accepts_visitors {
            lower(
                "limits.connections",
                &mut limits.connections,
                shares.accepted,
                file.limits.connections.is_some(),
                files,
            );
            lower(
                "pool.max_total",
                &mut pool.max_total,
                shares.pooled,
                file.pool.max_total.is_some(),
                files,
            );
        }
        if !file.serve.is_empty() {
            let mut ports = NAMES_A_TENANT;
            let alone = shares.public_ports(needs.workers).div_ceil(2);
            lower(
                "the number of public ports of one grant",
                &mut ports,
                alone,
                false,
                files,
            );
        }
        // A part is never larger than the whole. Lowering a default is not reported.
        let (most, cause) = match limits.connections < connections {
            // One address must not hold all that is left.
            true => ((limits.connections / 2).max(1), files),
            false => (limits.connections, LoweredBy::Key("limits.connections")),
        };
        match file.limits.connections_per_peer {
            Some(_) => lower(
                "limits.connections_per_peer",
                &mut limits.connections_per_peer,
                most,
                true,
                cause,
            ),
            None => limits.connections_per_peer = limits.connections_per_peer.min(most),
        }
        let cause = if pool.max_total < max_total {
            files
        } else {
            LoweredBy::Key("pool.max_total")
        };
        match file.pool.max_per_origin {
            Some(_) => lower(
                "pool.max_per_origin",
                &mut pool.max_per_origin,
                pool.max_total,
                true,
                cause,
            ),
            None => pool.max_per_origin = pool.max_per_origin.min(pool.max_total),
        }
        (shares, lowered)
    }

    /// Links that are dialled. Sections with the same join string and carrier share one. Errors of
    /// a section are reported where it is resolved.
    fn distinct_joins(&self, file: &File) -> usize {
        let exposes = file.expose.iter().map(|expose| &expose.value.join);
        let proxies = file.proxy.iter().map(|proxy| &proxy.value.join);
        let key = |join: &Join| {
            let text = match (&join.join, &join.join_file) {
                (Some(join), _) => join.value.expose().trim().to_owned(),
                (None, Some(path)) => self
                    .first_line(&self.path(&path.value))
                    .unwrap_or_else(|_| path.value.clone()),
                (None, None) => return None,
            };
            Some((
                text,
                join.carrier
                    .as_ref()
                    .map_or("auto", |carrier| carrier.value.as_str())
                    .to_owned(),
            ))
        };
        exposes
            .chain(proxies)
            .filter_map(key)
            .collect::<HashSet<_>>()
            .len()
    }
}
