//! System: looks names up with the operating system.
//!
//! In:    a host name.
//! Out:   the result of `getaddrinfo`, so that every module of `nsswitch.conf` counts.
//! Never: cancels a look-up: a thread in `getaddrinfo` cannot be stopped, and holds its permit
//!        until it returns.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;

use super::{Lookup, LookupPermit, ResolveError, Resolved};
use crate::target::HostName;

/// How many threads may be in the system's resolver at once.
pub(super) const LOOKUPS_MAX: usize = 64;

/// Calls `getaddrinfo` on blocking threads.
pub(super) struct SystemLookup {
    pub(super) runtime: Handle,
    /// How many descriptors all look-ups together may use, two for each.
    pub(super) sockets: usize,
}

impl Lookup for SystemLookup {
    fn lookup(
        &self,
        name: HostName,
        permit: LookupPermit,
    ) -> BoxFuture<'static, Result<Resolved, ResolveError>> {
        let thread = self.runtime.spawn_blocking(move || {
            let _permit = permit;
            ask_system(&name)
        });
        Box::pin(async move {
            thread
                .await
                .map_err(|error| ResolveError::Failed(error.to_string()))?
                .map(Resolved::from)
        })
    }

    fn ends_when_dropped(&self) -> bool {
        false
    }

    fn at_once(&self) -> usize {
        LOOKUPS_MAX.min(self.sockets / 2).max(1)
    }
}

fn ask_system(name: &HostName) -> Result<Vec<IpAddr>, ResolveError> {
    match (name.as_str(), 0).to_socket_addrs() {
        Ok(found) => Ok(found.map(|addr| addr.ip()).collect()),
        Err(error) => Err(system_error(&error)),
    }
}

/// The standard library keeps only the text of `getaddrinfo`'s error. These are the texts of glibc,
/// musl and macOS for "no such name" and "no address under it".
fn system_error(error: &io::Error) -> ResolveError {
    const NO_SUCH_NAME: [&str; 5] = [
        "Name or service not known",
        "No address associated with hostname",
        "Name does not resolve",
        "Name has no usable address",
        "nodename nor servname provided",
    ];
    let text = error.to_string();
    match NO_SUCH_NAME.iter().any(|known| text.contains(known)) {
        true => ResolveError::NotFound,
        false => ResolveError::Failed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_of_every_system_for_no_such_name_are_known() {
        let error = |text: &str| {
            system_error(&io::Error::other(format!(
                "failed to lookup address information: {text}"
            )))
        };
        assert_eq!(error("Name or service not known"), ResolveError::NotFound);
        assert_eq!(error("Name does not resolve"), ResolveError::NotFound);
        assert_eq!(
            error("nodename nor servname provided, or not known"),
            ResolveError::NotFound
        );
        assert!(matches!(
            error("Temporary failure in name resolution"),
            ResolveError::Failed(_)
        ));
    }
}
