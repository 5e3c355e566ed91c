//! Direct: this node dials the target itself.
//!
//! In:    a target, the rules its addresses must pass and the asker of its look-up.
//! Out:   an open stream.
//! Never: connects to an unchecked address.

use byway_dial::{Dialled, Dialler, Target};

use crate::fault::Fault;
use crate::route::Allowed;
use crate::shared::Shared;

/// Resolves, checks every address and connects to a checked one.
pub async fn open(shared: &Shared, target: &Target, allowed: &Allowed) -> Result<Dialled, Fault> {
    dialler(shared, allowed)
        .open(target, allowed.rules())
        .await
        .map_err(|error| Fault::dialling(target, error))
}

/// The same; `place` is asked for what a socket needs when the name is resolved, and not before.
pub async fn open_in_place<P>(
    shared: &Shared,
    target: &Target,
    allowed: &Allowed,
    place: impl FnOnce() -> Result<P, Fault>,
) -> Result<(Dialled, P), Fault> {
    let dialler = dialler(shared, allowed);
    let failed = |error| Fault::dialling(target, error);
    let addresses = dialler
        .addresses(target, allowed.rules())
        .await
        .map_err(failed)?;
    let place = place()?;
    let dialled = match target {
        Target::Unix(_) => dialler.open(target, allowed.rules()).await,
        Target::Addr(_) | Target::Host { .. } => dialler.connect(&addresses).await,
    };
    Ok((dialled.map_err(failed)?, place))
}

fn dialler(shared: &Shared, allowed: &Allowed) -> Dialler {
    Dialler::clone(&shared.dialler.load()).on_behalf_of(allowed.asker().clone())
}
