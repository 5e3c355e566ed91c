//! Ip limit: how many connections each address holds on one listener.
//!
//! In:    the address of an accepted connection.
//! Out:   a permit for as long as the connection lives, or none when the address holds its share
//!        already.
//! Never: remembers an address that holds nothing; the map is bounded by the connections
//!        themselves.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

/// The permits of one listener, shared by its workers. Cheap to clone.
#[derive(Clone, Default)]
pub struct IpLimit(Arc<Mutex<HashMap<IpAddr, usize>>>);

impl IpLimit {
    /// A permit for `peer`, or `None` when it holds `most` already. IPv6 peers count by /64, which
    /// is what one person holds.
    pub fn try_acquire(&self, peer: IpAddr, most: usize) -> Option<IpPermit> {
        let peer = ip_limit_key(peer);
        let mut held = self.0.lock();
        let count = held.entry(peer).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        drop(held);
        Some(IpPermit {
            ip_limit: self.clone(),
            peer,
        })
    }
}

/// The address that stands for a peer: of IPv6, its /64.
pub(super) fn ip_limit_key(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(ip) if !ip.is_loopback() => {
            let [a, b, c, d, ..] = ip.segments();
            std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        ip => ip,
    }
}

/// One connection's permit; dropping it frees it.
pub struct IpPermit {
    ip_limit: IpLimit,
    peer: IpAddr,
}

impl Drop for IpPermit {
    fn drop(&mut self) {
        let mut held = self.ip_limit.0.lock();
        if let Some(count) = held.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_gets_its_share_and_not_more_and_nothing_is_remembered_after() {
        let ip_limit = IpLimit::default();
        let ip: IpAddr = "192.0.2.1".parse().unwrap();
        let permits: Vec<_> = (0..3).map_while(|_| ip_limit.try_acquire(ip, 2)).collect();
        assert_eq!(permits.len(), 2);
        assert!(
            ip_limit
                .try_acquire("192.0.2.2".parse().unwrap(), 2)
                .is_some()
        );
        drop(permits);
        assert!(ip_limit.0.lock().is_empty());
    }

    #[test]
    fn a_whole_ipv6_network_of_one_person_is_one_peer() {
        let ip_limit = IpLimit::default();
        let _one = ip_limit
            .try_acquire("2001:db8::1".parse().unwrap(), 1)
            .unwrap();
        assert!(
            ip_limit
                .try_acquire("2001:db8::2".parse().unwrap(), 1)
                .is_none()
        );
        assert!(
            ip_limit
                .try_acquire("2001:db8:0:1::2".parse().unwrap(), 1)
                .is_some()
        );
    }
}
