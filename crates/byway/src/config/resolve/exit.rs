//! Exit: an `[[exit]]`, the exit of a two-hop egress.
//!
//! In:    an `[[exit]]` as written and the sections it inherits from.
//! Out:   its listeners, which share one `LinkPlan` with the rules inside.
//! Never: has users: its links are authenticated by their grant, and desks check their own users.

use std::sync::Arc;

use super::super::link_plan::{LinkPlan, Serves};
use super::super::place::At;
use super::super::plan::{EgressPlan, ListenerPlan, Role};
use super::super::section::{Exit, LimitsPlan, SpillMode, SpillPlan};
use super::Resolver;

impl Resolver<'_> {
    pub(super) fn exit(
        &mut self,
        exit: &At<Exit>,
        limits: &LimitsPlan,
        spill: &SpillPlan,
    ) -> Vec<ListenerPlan> {
        let written = &exit.value;
        let binds = self.link_binds("[[exit]]", &exit.place, &written.listen);
        let advertise = self.advertise(&written.advertise, None, &binds);
        let plan = EgressPlan {
            users: Vec::new(),
            rules: self.rules(&written.rule, &[]),
            settings: written.common.resolve(self, ""),
            spill: spill.mode == SpillMode::Auto,
            exit: None,
        };
        let name = written.name.clone();
        let Some(advertise) = advertise else {
            return Vec::new();
        };
        let link = LinkPlan {
            advertise,
            serves: Serves::Exit(Arc::new(plan)),
        };
        self.listeners(&name, binds, &Role::Link(Arc::new(link)), limits)
    }
}
