//! Direct: this node dials the target itself.
//!
//! In:    a target, the rules for its addresses, and the client that the look-up is charged to.
//! Out:   an open stream.
//! Never: connects to an unchecked address.

use byway_dial::{Dialled, Dialler, Target};

use super::Engine;
use crate::fault::Fault;
use crate::route::Allowed;

/// Resolves, checks every address and connects to a checked one.
pub async fn open(engine: &Engine, target: &Target, allowed: &Allowed) -> Result<Dialled, Fault> {
    dialler(engine, allowed)
        .open(target, allowed.rules())
        .await
        .map_err(|error| Fault::dialling(target, error))
}

/// The same; calls `permit` for the descriptor of a socket only after the name is resolved.
pub async fn open_with_permit<P>(
    engine: &Engine,
    target: &Target,
    allowed: &Allowed,
    permit: impl FnOnce() -> Result<P, Fault>,
) -> Result<(Dialled, P), Fault> {
    let dialler = dialler(engine, allowed);
    let failed = |error| Fault::dialling(target, error);
    let addresses = dialler
        .addresses(target, allowed.rules())
        .await
        .map_err(failed)?;
    let permit = permit()?;
    let dialled = match target {
        Target::Unix(_) => dialler.open(target, allowed.rules()).await,
        Target::Addr(_) | Target::Host { .. } => dialler.connect(&addresses).await,
    };
    Ok((dialled.map_err(failed)?, permit))
}

fn dialler(engine: &Engine, allowed: &Allowed) -> Dialler {
    Dialler::clone(&engine.dialler.load()).on_behalf_of(allowed.client().clone())
}
