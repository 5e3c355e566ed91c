//! Resolver: tests against our DNS servers on loopback, and against the `getaddrinfo` of this
//! machine.
//!
//! `table` the addresses of names · `servers` which server is queried, how often and how · `beside`
//! the same names by `getaddrinfo`, in namespaces where both query the same server.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod beside;
mod servers;
mod table;

use std::net::{IpAddr, SocketAddr};

use byway_dial::{DnsFiles, HostName, ResolveError, Resolver};
use byway_testkit::DnsServer;
use byway_testkit::dns::Says;
use tempfile::TempDir;
use tokio::runtime::Handle;

/// A folder with the two files of a resolver.
struct Machine {
    folder: TempDir,
    port: u16,
}

impl Machine {
    fn new(port: u16, resolv_conf: &str, hosts: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("resolv.conf"), resolv_conf).unwrap();
        std::fs::write(folder.path().join("hosts"), hosts).unwrap();
        Self { folder, port }
    }

    /// One server, with `more` lines in `resolv.conf`.
    fn with(server: &DnsServer, more: &str) -> Self {
        let SocketAddr::V4(address) = server.address() else {
            panic!("an IPv4 server")
        };
        Self::new(
            address.port(),
            &format!("nameserver {}\n{more}\n", address.ip()),
            "",
        )
    }

    fn resolver(&self) -> Resolver {
        let [resolv_conf, hosts] =
            ["resolv.conf", "hosts"].map(|name| self.folder.path().join(name));
        Resolver::dns_from(
            DnsFiles {
                resolv_conf,
                hosts,
                port: self.port,
            },
            Handle::current(),
        )
    }
}

fn name(text: &str) -> HostName {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn has(text: &str) -> Says {
    Says::Addresses(text.split(' ').map(ip).collect(), 60)
}

/// The addresses of a name, as text.
async fn found(resolver: &Resolver, text: &str) -> String {
    match resolver.resolve(&name(text)).await {
        Ok(addresses) => addresses
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" "),
        Err(ResolveError::NotFound) => "not found".to_owned(),
        Err(ResolveError::Timeout) => "timeout".to_owned(),
        Err(_) => "failed".to_owned(),
    }
}
