//! Clients: the HTTP clients that byway-agent is compared with, each a small program that sends
//! requests until it is stopped.
//!
//! In:    targets, how many requests in flight, how many connections in total.
//! Out:   the command that runs it.
//! Never: gives a client an option that is not in its manual.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use super::built::Package;
use super::node;

/// A client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    /// Ours.
    BywayAgent,
    /// hyper-util's legacy client.
    HyperUtil,
    /// reqwest.
    Reqwest,
    /// undici's Agent.
    Undici,
    /// Node's http.Agent.
    NodeHttp,
}

impl Client {
    /// All, in the order of the tables.
    pub(crate) const ALL: [Self; 5] = [
        Self::BywayAgent,
        Self::HyperUtil,
        Self::Reqwest,
        Self::Undici,
        Self::NodeHttp,
    ];

    /// Its name in the tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::BywayAgent => "byway-agent",
            Self::HyperUtil => "hyper-util",
            Self::Reqwest => "reqwest",
            Self::Undici => "undici",
            Self::NodeHttp => "Node http.Agent",
        }
    }

    /// Whether it has a limit on the connections to all origins together.
    pub(crate) const fn has_total_cap(self) -> bool {
        matches!(self, Self::BywayAgent | Self::NodeHttp)
    }

    /// The command with its arguments. The first call builds or downloads the program.
    pub(crate) fn command(
        self,
        targets: &Path,
        in_flight: usize,
        max_total: usize,
    ) -> Result<Command> {
        let mut command = match self {
            Self::BywayAgent => Command::new(Package::RustClients.program("byway-agent")?),
            Self::HyperUtil => Command::new(Package::RustClients.program("hyper-util")?),
            Self::Reqwest => Command::new(Package::RustClients.program("reqwest")?),
            Self::Undici | Self::NodeHttp => {
                ensure!(
                    node::is_there(),
                    "node is not installed: `apt-get install nodejs npm`"
                );
                let mut node = Command::new("node");
                node.arg(node::program()?).arg(if self == Self::Undici {
                    "undici"
                } else {
                    "http"
                });
                node
            }
        };
        command
            .arg(targets)
            .args([in_flight.to_string(), max_total.to_string()]);
        Ok(command)
    }
}
