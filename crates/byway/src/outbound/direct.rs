//! Direct: this node dials the target itself.
//!
//! In:    a target, the rules its addresses must pass and the asker of its look-up.   Out: an open stream.   Never: connects to an unchecked address.

use byway_dial::{Dialled, Dialler, Target};

use crate::fault::Fault;
use crate::route::Allowed;
use crate::shared::Shared;

/// Resolves, checks every address and connects to a checked one.
pub async fn open(shared: &Shared, target: &Target, allowed: &Allowed) -> Result<Dialled, Fault> {
    let dialler = Dialler::clone(&shared.dialler.load()).on_behalf_of(allowed.asker().clone());
    dialler.open(target, allowed.rules()).await.map_err(|error| Fault::dialling(target, error))
}
