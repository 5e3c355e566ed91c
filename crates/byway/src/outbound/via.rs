//! Via: a parent proxy that is not Byway dials the target.
//!
//! In:    a parent and a target that policy allowed to be sent there.
//! Out:   an open stream through the parent.
//! Never: resolves the target's name; it is sent to the node that dials.

use byway_dial::{AddressRules, Dialled, Target};

use super::Engine;
use crate::config::ParentPlan;
use crate::fault::Fault;

/// Opens `target` through `plan`'s parent.
pub async fn open(engine: &Engine, plan: &ParentPlan, target: &Target) -> Result<Dialled, Fault> {
    let dialler = engine.dialler.load_full();
    // No parent in a Plan requires names to be resolved here, so there are no addresses to check.
    Ok(dialler
        .open_via(&plan.parent, target, &AddressRules::open())
        .await?)
}
