//! Ports: the ports of the demo: easy to remember, or any free ones.
//!
//! In:    nothing.
//! Out:   ten different ports of 127.0.0.1.
//! Never: a port that is known to be in use.

use std::io;
use std::net::{Ipv4Addr, TcpListener};

/// One port a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ports {
    /// The edge.
    pub(super) edge: u16,
    /// The egress without a password.
    pub(super) open: u16,
    /// The egress with one.
    pub(super) guarded: u16,
    /// The forward to the origin's HTTP.
    pub(super) http: u16,
    /// The forward to the echo.
    pub(super) echo: u16,
    /// Where agents join.
    pub(super) server: u16,
    /// Where visitors of services with a name arrive.
    pub(super) visitors: u16,
    /// Where desks join.
    pub(super) exit: u16,
    /// The desk whose link is QUIC.
    pub(super) desk_quic: u16,
    /// The desk whose link is TLS.
    pub(super) desk_tls: u16,
}

/// Which ports to choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Those of [`Ports::FRIENDLY`]; free ones for those in use.
    Friendly,
    /// Any.
    Any,
}

impl Ports {
    const FRIENDLY: [u16; 10] = [8080, 1080, 1081, 8081, 7070, 7000, 8082, 7443, 1082, 1083];

    /// Chooses. Another program may still take one before it is bound.
    ///
    /// # Errors
    /// When no port is free.
    pub(super) fn choose(wanted: Wanted) -> io::Result<Self> {
        let wanted = match wanted {
            Wanted::Friendly => Self::FRIENDLY,
            Wanted::Any => [0; 10],
        };
        // All are held until the last is found, so that they differ.
        let mut held = Vec::with_capacity(wanted.len());
        for port in wanted {
            held.push(probe(port).or_else(|_in_use| probe(0))?);
        }
        let mut found = [0; 10];
        for (port, probe) in found.iter_mut().zip(&held) {
            *port = probe.local_addr()?.port();
        }
        let [
            edge,
            open,
            guarded,
            http,
            echo,
            server,
            visitors,
            exit,
            desk_quic,
            desk_tls,
        ] = found;
        Ok(Self {
            edge,
            open,
            guarded,
            http,
            echo,
            server,
            visitors,
            exit,
            desk_quic,
            desk_tls,
        })
    }
}

fn probe(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ten_different_ports_are_found_even_if_the_friendly_ones_are_in_use() {
        // Those that are not in use already.
        let _held: Vec<_> = Ports::FRIENDLY.into_iter().map(probe).collect();
        let ports = Ports::choose(Wanted::Friendly).unwrap();
        let Ports {
            edge,
            open,
            guarded,
            http,
            echo,
            server,
            visitors,
            exit,
            desk_quic,
            desk_tls,
        } = ports;
        let found = HashSet::from([
            edge, open, guarded, http, echo, server, visitors, exit, desk_quic, desk_tls,
        ]);
        assert_eq!(found.len(), 10);
        assert!(
            found
                .iter()
                .all(|port| *port != 0 && !Ports::FRIENDLY.contains(port))
        );
    }
}
