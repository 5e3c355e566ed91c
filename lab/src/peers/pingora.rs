//! Pingora: a proxy of some fifty lines, built from `lab/peers/pingora`; it has no access log.
//!
//! Out:   a running proxy.
//! Never: is built inside the workspace, because it would add half a thousand crates.

use anyhow::Result;

use super::built::Package;
use super::{Running, free_address, start};
use crate::environment::RunEnvironment;

/// Starts it.
pub(crate) async fn serve(env: &RunEnvironment) -> Result<Running> {
    let address = free_address()?;
    let mut command = std::process::Command::new(Package::Pingora.program("lab-pingora")?);
    command
        .args([address.to_string(), env.origin().to_string()])
        .env("RUST_LOG", "error");
    start(env, "pingora", command, address).await
}
