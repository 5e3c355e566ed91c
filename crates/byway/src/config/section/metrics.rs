//! `[metrics]`.

use super::prelude::*;
use crate::config::plan::{ListenerPlan, Role};
use crate::config::resolve::listeners_called;

keys! {
    /// This node's numbers, for Prometheus; there is no password.
    ///
    /// Use loopback: an address that other machines can reach is allowed, with a warning.
    pub struct Metrics {
        /// One address or several that answer `GET /metrics` and `GET /healthz`.
        ///
        /// They answer nothing else. Metrics are for the operator only.
        listen: Vec<String>, in "listen addresses", example "127.0.0.1:9100", default "nowhere";
    }
}

impl Resolver<'_> {
    /// One listener for each address.
    pub(in crate::config) fn metrics(
        &mut self,
        written: &Metrics,
        limits: &super::LimitsPlan,
    ) -> Vec<ListenerPlan> {
        let Some(listen) = &written.listen else {
            return Vec::new();
        };
        let binds = self.addresses("metrics.listen", listen);
        listeners_called(None, binds, &Role::Metrics, limits)
    }
}
