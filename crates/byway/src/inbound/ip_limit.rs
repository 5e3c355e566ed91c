//! Ip limit: limits the connections of each address on one listener.
//!
//! In:    the address of an accepted connection.
//! Out:   a permit for as long as the connection lives, or none when the address has reached its
//!        limit.
//! Never: keeps an entry for an address without connections; the connections themselves bound the
//!        map.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

/// The permits of one listener, shared by its workers. Cheap to clone.
#[derive(Clone, Default)]
pub struct IpLimit(Arc<Mutex<HashMap<IpAddr, usize>>>);

impl IpLimit {
    /// A permit for `peer`, or `None` when it holds `most` already. IPv6 peers count by /64, which
    /// is what one subscriber usually has.
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

/// The address under which a peer is counted: for IPv6, its /64.
pub(super) fn ip_limit_key(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(ip) if !ip.is_loopback() => {
            let [a, b, c, d, ..] = ip.segments();
            std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        ip => ip,
    }
}

/// The permit of one connection. Dropping it releases it.
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
    fn a_peer_gets_its_limit_and_no_entry_remains() {
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
    fn an_ipv6_64_counts_as_one_peer() {
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
