//! Via: a parent proxy that is no Byway dials the target.
//!
//! In:    a parent and a target that policy allowed to be sent there.   Out: an open stream through the parent.
//! Never: resolves the target's name; it travels to the node that dials.

use byway_dial::{Dialled, Parent, Scheme, Target};

use crate::config::{ParentPlan, ParentScheme};
use crate::fault::Fault;
use crate::shared::Shared;

/// Opens `target` through `plan`'s parent.
pub async fn open(shared: &Shared, plan: &ParentPlan, target: &Target) -> Result<Dialled, Fault> {
    let parent = Parent {
        scheme: match plan.scheme {
            ParentScheme::Socks5 => Scheme::Socks5,
            ParentScheme::Http => Scheme::HttpConnect,
        },
        at: plan.target.clone(),
        credentials: plan.credentials.as_ref().map(|(user, password)| (user.clone(), password.expose().to_owned())),
    };
    let dialler = shared.dialler.load_full();
    Ok(dialler.open_via(&parent, target).await?)
}
