//! Tunnel permits: limits the tunnels on streams of HTTP/2 and HTTP/3, as each takes a descriptor
//! of this node beside the one of the connection that carries them all.
//!
//! In:    the number of permits; the client that a tunnel is for.
//! Out:   a permit, until it is dropped; or why there is none.
//! Never: lets one client take the permits that are left to the others, or all tunnels together
//!        take more than half of the descriptors of accepted connections.

use std::sync::Arc;

use byway_pool::Client;
use byway_relay::{FairPermit, FairPermits, NoPermit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::fault::{Fault, Reason, Who};
use crate::route::Allowed;

/// Limits the tunnels on streams. Each permit is one of the descriptors of accepted connections,
/// which wait while none is free; clients share the half of them that tunnels may have. A tunnel
/// that is the whole connection needs none: the connection has taken two descriptors when it was
/// accepted. Cheap to clone; clones share the permits.
#[derive(Clone, Debug)]
pub struct TunnelPermits {
    clients: FairPermits<Client>,
    descriptors: Arc<Semaphore>,
}

/// The permit for one tunnel on a stream. It counts until it is dropped, which is after the
/// connection to the upstream has been closed.
#[derive(Debug)]
pub struct TunnelPermit {
    _of_client: FairPermit<Client>,
    _descriptor: OwnedSemaphorePermit,
}

impl TunnelPermits {
    /// Of the descriptors that `descriptors` issues, of which there are `most`.
    pub fn new(descriptors: Arc<Semaphore>, most: usize) -> Self {
        Self {
            clients: FairPermits::new(most / 2),
            descriptors,
        }
    }

    /// Changes the number of descriptors that there are. Permits in use stay in use.
    pub fn set(&self, most: usize) {
        self.clients.set(most / 2);
    }

    /// A permit to open what `allowed` permits, for a tunnel of `client` on a stream. `None` if a
    /// link carries the tunnel to another node, as it takes no descriptor here.
    ///
    /// # Errors
    /// 503 if all permits are in use, or if the rest is reserved for other clients: a client gets at
    /// most as many as are left after it.
    pub fn take(
        &self,
        allowed: &Allowed,
        client: Client,
    ) -> Result<Option<Box<TunnelPermit>>, Fault> {
        if allowed.outbound().is_behind_link() {
            return Ok(None);
        }
        self.permit(client).map(Box::new).map(Some)
    }

    fn permit(&self, client: Client) -> Result<TunnelPermit, Fault> {
        let of_client = self.clients.take(&client, false).map_err(|no| match no {
            NoPermit::Full => all_in_use(),
            NoPermit::Share { own, most } | NoPermit::ClientShare { own, most } => {
                let detail = format!(
                    "{own} of {most} descriptors for tunnels on streams of HTTP/2 and HTTP/3 are in use by this \
                     client, and the rest is reserved for others: end some of its tunnels, or raise the limit of \
                     open files (ulimit -n, LimitNOFILE=)"
                );
                Fault::new(Who::Us, Reason::ClientShare, detail)
            }
        })?;
        // Connections that wait to be accepted come first.
        let descriptor = Arc::clone(&self.descriptors)
            .try_acquire_owned()
            .map_err(|_| all_in_use())?;
        Ok(TunnelPermit {
            _of_client: of_client,
            _descriptor: descriptor,
        })
    }

    /// How many are left to all clients together.
    #[cfg(test)]
    pub fn left(&self) -> usize {
        self.clients.left()
    }
}

fn all_in_use() -> Fault {
    let detail = "all descriptors for accepted connections and for tunnels on streams of HTTP/2 and HTTP/3 are in \
                  use: raise the limit of open files (ulimit -n, LimitNOFILE=)";
    Fault::new(Who::Us, Reason::Descriptors, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(descriptors: usize) -> (TunnelPermits, Arc<Semaphore>) {
        let semaphore = Arc::new(Semaphore::new(descriptors));
        let permits = TunnelPermits::new(Arc::clone(&semaphore), descriptors);
        (permits, semaphore)
    }

    /// As many as the client gets, and why it gets no more.
    fn take_all(permits: &TunnelPermits, client: &str) -> (Vec<TunnelPermit>, Fault) {
        let (mut taken, client) = (Vec::new(), Client::of(&client));
        loop {
            match permits.permit(client) {
                Ok(permit) => taken.push(permit),
                Err(fault) => return (taken, fault),
            }
        }
    }

    #[test]
    fn tunnels_of_many_clients_leave_half_of_the_descriptors_to_accepted_connections() {
        let (permits, descriptors) = permits(400);
        let (first, fault) = take_all(&permits, "a");
        assert_eq!((first.len(), fault.reason), (100, Reason::ClientShare));
        assert_eq!(fault.status(), 503);
        assert!(fault.to_string().contains("100 of 200 "), "{fault}");
        let (second, _) = take_all(&permits, "b");
        assert_eq!(second.len(), 50);
        let others: Vec<_> = (0..50)
            .map(|client| permits.permit(Client::of(&client)).unwrap())
            .collect();
        let fault = permits.permit(Client::of(&"late")).unwrap_err();
        assert_eq!(
            (fault.reason, fault.status()),
            (Reason::Descriptors, 503),
            "{fault}"
        );
        assert_eq!(descriptors.available_permits(), 200);
        drop((first, second, others));
        assert_eq!(
            (descriptors.available_permits(), permits.left()),
            (400, 200)
        );
    }

    #[test]
    fn tunnels_get_no_descriptor_that_accepted_connections_have() {
        let (permits, descriptors) = permits(400);
        let accepted = descriptors.try_acquire_many(397).unwrap();
        let (tunnels, fault) = take_all(&permits, "a");
        assert_eq!((tunnels.len(), fault.reason), (3, Reason::Descriptors));
        assert_eq!(permits.left(), 197, "a refused one leaves nothing behind");
        drop(accepted);
        assert!(permits.permit(Client::of(&"a")).is_ok());
    }

    #[test]
    fn a_lower_limit_refuses_tunnels_until_enough_of_them_have_ended() {
        let (permits, _) = permits(400);
        let (mut tunnels, _) = take_all(&permits, "a");
        permits.set(100);
        let other = Client::of(&"b");
        assert!(permits.permit(other).is_err());
        tunnels.truncate(49);
        assert!(permits.permit(other).is_ok());
    }
}
