//! Target: what a connector opens a connection to: host, port, address to dial, name to verify.
//!
//! Never: resolves anything.

use super::group::Group;
use byway_dial::ServerName;
use std::fmt;

/// What a connector must open: one connection to one origin.
///
/// Host and port are those of the request. The address is where to dial: the same, unless the agent
/// sends all requests to one address.
#[derive(Clone, Debug)]
pub struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) address: byway_dial::Target,
    pub(crate) server_name: Option<ServerName>,
    pub(crate) group: Group,
}

impl Target {
    /// The request's host, in lower case and without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The request's port, or the scheme's default.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where to dial.
    pub fn address(&self) -> &byway_dial::Target {
        &self.address
    }

    /// Whether the agent will speak TLS over the connection.
    pub fn is_tls(&self) -> bool {
        self.server_name.is_some()
    }

    /// The name that the certificate must have; `None` without TLS.
    pub fn server_name(&self) -> Option<&ServerName> {
        self.server_name.as_ref()
    }

    /// The group in which the connection will be reused.
    pub fn group(&self) -> &Group {
        &self.group
    }
}

impl fmt::Display for Target {
    /// `host:port`, with brackets around an IPv6 address; then the dialled address if it differs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let checked = match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        };
        match self.address.to_string() {
            dialled if dialled == checked => f.write_str(&checked),
            dialled => write!(f, "{checked} (at {dialled})"),
        }
    }
}
