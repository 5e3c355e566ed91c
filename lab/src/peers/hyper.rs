//! Hyper: a reverse proxy on hyper and rustls, built from `lab/peers/hyper`; it has no access log.
//!
//! In:    what it speaks to clients.
//! Out:   a running proxy, which adds the fields that Byway adds.
//! Never: is built inside the workspace, whose lock file need not have hyper.

use anyhow::{Result, bail};

use super::built::Package;
use super::front::{Back, Edge};
use super::{Running, free_address, start};
use crate::environment::RunEnvironment;

/// Starts it.
pub(crate) async fn serve(env: &RunEnvironment, edge: Edge) -> Result<Running> {
    let address = free_address()?;
    let mut command = std::process::Command::new(Package::Hyper.program("lab-hyper")?);
    command.args([address.to_string(), edge.origin.to_string()]);
    if edge.back == Back::Grpc {
        bail!("it speaks HTTP/1.1 to the origin only");
    }
    if let Some(files) = edge.front.certificate() {
        command.args([&files.certificate, &files.key]);
    }
    start(env, &format!("hyper-{}", address.port()), command, address).await
}
