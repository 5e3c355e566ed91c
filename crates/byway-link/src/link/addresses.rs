//! Addresses: ends TLS carriers whose local address is no longer on this machine, so that nothing
//! can arrive on them.
//!
//! In:    a change of this machine's network.
//! Out:   the end of such carriers, and a log line for each.
//! Never: ends a carrier whose address comes back within [`GRACE`], as when an interface is down
//!        briefly.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use tokio::time::sleep;

use super::Link;
use super::carriers::AttachedCarrier;

/// How long an address may be missing. TCP resumes if the address comes back.
const GRACE: Duration = Duration::from_secs(3);

impl Link {
    /// Reacts to a change of this machine's network: pings the peer at once, and ends TLS carriers
    /// whose local address is gone.
    pub fn network_changed(&self) {
        self.check();
        if self.without_address().is_empty() {
            return;
        }
        let link = self.clone();
        self.spawn(async move {
            tokio::select! {
                () = sleep(GRACE) => {}
                _ = link.ended() => return,
            }
            for (attached, address) in link.without_address() {
                let peer = attached.carrier.peer().map_or_else(String::new, |peer| format!("{peer}: "));
                let ip = address.ip();
                tracing::info!("{peer}a connection over TLS is lost: its address {ip} is no longer on this machine");
                attached.carrier.end(format!("its address {ip} is no longer on this machine"));
            }
        });
    }

    /// The session's carriers whose local address is not on this machine.
    fn without_address(&self) -> Vec<(AttachedCarrier, SocketAddr)> {
        let attached = self.0.carriers.lock().attached.clone();
        let address = |attached: AttachedCarrier| {
            attached
                .carrier
                .local_address()
                .map(|address| (attached, address))
        };
        attached
            .into_iter()
            .filter_map(address)
            .filter(|(_, address)| is_gone(*address))
            .collect()
    }
}

/// Whether the address is not on this machine: a socket cannot be bound to it.
fn is_gone(mut address: SocketAddr) -> bool {
    address.set_port(0);
    UdpSocket::bind(address).is_err_and(|error| error.kind() == ErrorKind::AddrNotAvailable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_gone_if_no_socket_can_be_bound_to_it() {
        assert!(!is_gone("127.0.0.1:80".parse().unwrap()));
        assert!(is_gone("192.0.2.1:80".parse().unwrap()));
    }
}
