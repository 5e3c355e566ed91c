//! On demand: a certificate that is obtained while its first client waits in the handshake.

use std::future::Future;
use std::pin::Pin;

/// Obtains certificates for names that no installed certificate covers.
///
/// A handshake calls [`OnDemand::obtain`] and waits at most as long as its own deadline allows;
/// dropping the future must not end an order that others wait for, too.
pub trait OnDemand: Send + Sync {
    /// Obtains and installs a certificate for `name`, a normal DNS name in lower case that a client
    /// sent. Resolves when there is one in the store, or will not be one: the name is not permitted,
    /// the rate limit is reached, or the authority refused. The caller looks the name up again.
    fn obtain<'a>(&'a self, name: &'a str) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
}
