//! Tunnel: opens a stream to a target through a parent proxy.
//!
//! In:    a parent, a target, and the caller's address rules.
//! Out:   an open stream to the target, or to the parent itself for requests in absolute form.
//! Never: resolves the target's name if the parent does so; sends a resolved address unchecked.

use tokio::time::timeout;

use super::dialogue::Dialogue;
use super::{Parent, ParentError, Scheme};
use crate::dial::{Dialled, Dialler, check_all};
use crate::error::DialError;
use crate::resolve::ClientId;
use crate::rules::{AddressRules, CheckedAddr};
use crate::target::Target;
use crate::tls::ServerName;

/// How many addresses of a name are sent to a parent that does not resolve names, one connection
/// each.
const ADDRESSES_MAX: usize = 4;

impl Dialler {
    /// Opens a stream to `target` through `parent`.
    ///
    /// If the parent resolves names (see [`Scheme::resolves_here`]), it gets the target unchanged,
    /// and `rules` are not checked: policy decides whether this parent may be used for this target.
    /// For `socks4` and `socks5` the name is resolved locally and every address is checked against
    /// `rules`. Up to four of those that pass are sent to the parent, each on its own connection,
    /// until it opens one.
    ///
    /// Connecting to the parent takes at most `connect_timeout`, a TLS handshake with it at most
    /// that of its [`TlsClient`](crate::TlsClient), and its response at most another
    /// `connect_timeout`, because the parent itself connects in that time. After a time-out, no
    /// other address is tried.
    ///
    /// Cancel safe: dropping the future resets the connection to the parent.
    ///
    /// # Errors
    /// [`DialError::Parent`] if the connection to the parent or the parent itself failed. If the
    /// name is resolved locally, also the errors of [`Dialler::addresses`].
    pub async fn open_via(
        &self,
        parent: &Parent,
        target: &Target,
        rules: &AddressRules,
    ) -> Result<Dialled, DialError> {
        let carried = self.carried(parent, target, rules).await?;
        let mut last = None;
        for target in &carried {
            match self.open_one(parent, target).await {
                Ok(dialled) => return Ok(dialled),
                Err(error) if another_address_may_work(&error) => last = Some(error),
                Err(error) => return Err(failed(parent, error)),
            }
        }
        let nothing = || ParentError::Request(format!("{target} has no address that can be sent"));
        Err(failed(parent, last.unwrap_or_else(nothing)))
    }

    /// Opens a stream to `parent` itself, over TLS if it is an `https` proxy, and sends nothing on
    /// it. For an HTTP proxy, which accepts requests in absolute form (RFC 9112 section 3.2.2) with
    /// the field `Proxy-Authorization` of [`Parent::authorization`].
    ///
    /// Cancel safe: dropping the future resets the connection.
    ///
    /// # Errors
    /// [`DialError::Parent`]; also for a SOCKS parent, which does not accept such requests.
    pub async fn open_parent(&self, parent: &Parent) -> Result<Dialled, DialError> {
        if !parent.scheme.is_http() {
            let why =
                "requests in absolute form are for HTTP proxies; a SOCKS proxy needs a tunnel";
            return Err(failed(parent, ParentError::Request(why.into())));
        }
        self.reach(parent)
            .await
            .map_err(|error| failed(parent, error))
    }

    async fn reach(&self, parent: &Parent) -> Result<Dialled, ParentError> {
        let dial = |error| ParentError::Dial(Box::new(error));
        // The operator configured the parent's name, so its look-up counts as the program's own.
        let own = self.clone().on_behalf_of(ClientId::Own);
        let mut dialled = own
            .open(&parent.at, &AddressRules::open())
            .await
            .map_err(dial)?;
        if parent.scheme == Scheme::Https {
            let name = ServerName::of(&parent.at).ok_or_else(no_name)?;
            let tls = self.parent_tls().map_err(|error| dial(error.into()))?;
            dialled.stream = tls.connect(dialled.stream, &name).await.map_err(dial)?;
        }
        Ok(dialled)
    }

    async fn open_one(&self, parent: &Parent, carried: &Target) -> Result<Dialled, ParentError> {
        let dialogue = Dialogue::new(parent, carried)?;
        let mut dialled = self.reach(parent).await?;
        let after = self.options().connect_timeout;
        match timeout(after, dialogue.run(&mut dialled.stream)).await {
            Ok(result) => result.map(|()| dialled),
            Err(_) => Err(ParentError::Timeout { after }),
        }
    }

    /// `target` in the forms in which it may be sent, the best first.
    async fn carried(
        &self,
        parent: &Parent,
        target: &Target,
        rules: &AddressRules,
    ) -> Result<Vec<Target>, DialError> {
        if !parent.scheme.resolves_here() || matches!(target, Target::Unix(_)) {
            return Ok(vec![target.clone()]);
        }
        let mut found = match target {
            Target::Host { name, port } => self.resolve(name, *port).await?,
            Target::Addr(addr) => vec![*addr],
            Target::Unix(_) => Vec::new(),
        };
        found.retain(|addr| {
            self.options().family.admits(std::net::SocketAddr::new(
                addr.ip().to_canonical(),
                addr.port(),
            ))
        });
        let only_v4 = parent.scheme == Scheme::Socks4;
        found.retain(|addr| !only_v4 || addr.ip().to_canonical().is_ipv4());
        if found.is_empty() && only_v4 {
            let why = format!(
                "SOCKS 4 carries IPv4 addresses only, and {target} has none; use socks4a:// or socks5h://"
            );
            return Err(failed(parent, ParentError::Request(why)));
        }
        if found.is_empty() {
            return Err(DialError::WrongFamily {
                target: target.clone(),
                family: self.options().family,
            });
        }
        let checked = check_all(&found, rules)?;
        Ok(checked
            .iter()
            .take(ADDRESSES_MAX)
            .map(CheckedAddr::addr)
            .map(Target::Addr)
            .collect())
    }
}

pub(super) fn no_name() -> ParentError {
    ParentError::Request("a Unix socket has no name that a certificate could prove".into())
}

fn failed(parent: &Parent, source: ParentError) -> DialError {
    DialError::Parent {
        parent: parent.at.clone(),
        source,
    }
}

/// Whether another address of the same name may succeed. The parent's rules check each address, and
/// some parents do not support IPv6.
fn another_address_may_work(error: &ParentError) -> bool {
    matches!(
        error,
        ParentError::Unreachable { .. }
            | ParentError::Refused
            | ParentError::Denied
            | ParentError::Failed { .. }
            | ParentError::Unsupported { .. }
    )
}
