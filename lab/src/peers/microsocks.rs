//! Microsocks: SOCKS5, one thread per connection; it has nothing to tune.
//!
//! In:    the environment.   Out: a running microsocks.   Never: listens on anything but 127.0.0.1.

use anyhow::Result;

use super::{Program, Running, command, free_address, start};
use crate::environment::RunEnvironment;

/// Starts microsocks.
pub(crate) async fn serve(env: &RunEnvironment) -> Result<Running> {
    let address = free_address()?;
    let mut command = command(Program::Microsocks)?;
    command.args([
        "-i",
        &address.ip().to_string(),
        "-p",
        &address.port().to_string(),
    ]);
    start(env, "microsocks", command, address).await
}
