//! Tinyproxy: HTTP CONNECT, one thread per connection, enough clients for all connections of the
//! lab, a log only of critical errors.
//!
//! In:    the environment.   Out: a running tinyproxy.   Never: listens on anything but 127.0.0.1.

use std::net::SocketAddr;

use anyhow::Result;

use super::{Program, Running, command, free_address, start, write};
use crate::environment::RunEnvironment;

/// Starts tinyproxy.
pub(crate) async fn serve(env: &RunEnvironment) -> Result<Running> {
    let address = free_address()?;
    let file = write(&env.dir().join("tinyproxy.conf"), &config(address))?;
    let mut command = command(Program::Tinyproxy)?;
    command.args(["-d", "-c", &file]);
    start(env, "tinyproxy", command, address).await
}

/// Without `ConnectPort`, CONNECT is allowed to every port.
fn config(address: SocketAddr) -> String {
    format!(
        "Port {}\nListen {}\nAllow 127.0.0.1\nTimeout 600\nMaxClients 8192\nLogLevel Critical\nDisableViaHeader Yes\n",
        address.port(),
        address.ip()
    )
}
