//! Direct: this node dials the target itself.
//!
//! In:    a target and the rules its addresses must pass.   Out: an open stream.   Never: connects to an unchecked address.

use byway_dial::{AddressRules, Dialled, Target};

use crate::fault::Fault;
use crate::shared::Shared;

/// Resolves, checks every address and connects to a checked one.
pub async fn open(shared: &Shared, target: &Target, rules: &AddressRules) -> Result<Dialled, Fault> {
    let dialler = shared.dialler.load_full();
    dialler.open(target, rules).await.map_err(|error| Fault::dialling(target, error))
}
