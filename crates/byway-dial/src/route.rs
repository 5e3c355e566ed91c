//! Route: the path of a stream to a target.
//!
//! In:    a target, the purpose, and the routing: one proxy for all, the environment, a script.
//! Out:   routes, the best first, and a stream by the first one that opens.
//! Never: tries another route to a target that address rules deny.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::dial::{Dialled, Dialler};
use crate::environment::Environment;
use crate::error::DialError;
use crate::parent::Parent;
use crate::rules::AddressRules;
use crate::target::Target;

/// How many routes are tried for one stream.
const ROUTES_MAX: usize = 8;

/// The protocol of the stream. It decides which proxy is used, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Plain HTTP requests (`http://`), which an HTTP proxy accepts in absolute form.
    Http,
    /// HTTP over TLS (`https://`), which needs a tunnel.
    Https,
    /// Any other bytes, which need a tunnel.
    Other,
}

/// The path of a stream. Equal routes have equal parents with equal credentials, so a pool can use
/// a route in its key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Route {
    /// To the target itself.
    #[default]
    Direct,
    /// Through a tunnel of the parent, which does not interpret the bytes.
    Tunnel(Arc<Parent>),
    /// To the parent, an HTTP proxy, which reads the requests: they are written in absolute form
    /// (RFC 9112 section 3.2.2) with [`Parent::authorization`] as `Proxy-Authorization`. One
    /// connection can serve any number of targets.
    Absolute(Arc<Parent>),
}

impl Route {
    /// Through `parent`: in absolute form for plain HTTP to an HTTP proxy, otherwise by a tunnel. A
    /// Unix socket is on this machine and reached directly.
    pub fn through(parent: &Arc<Parent>, purpose: Purpose, target: &Target) -> Self {
        match (target, purpose) {
            (Target::Unix(_), _) => Self::Direct,
            (_, Purpose::Http) if parent.scheme.is_http() => Self::Absolute(Arc::clone(parent)),
            _ => Self::Tunnel(Arc::clone(parent)),
        }
    }

    /// The same route as a tunnel, for requests that a proxy must not read or that become another
    /// protocol (an upgrade).
    pub fn tunnelled(self) -> Self {
        match self {
            Self::Absolute(parent) => Self::Tunnel(parent),
            route => route,
        }
    }

    /// The parent of the route, if there is one.
    pub fn parent(&self) -> Option<&Arc<Parent>> {
        match self {
            Self::Direct => None,
            Self::Tunnel(parent) | Self::Absolute(parent) => Some(parent),
        }
    }
}

impl fmt::Display for Route {
    /// `direct`, or the parent as a URL without its password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parent() {
            None => f.write_str("direct"),
            Some(parent) => parent.fmt(f),
        }
    }
}

/// Why there is no decision on a route: the message of the [`Routing`], such as a script that
/// failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoRoute(pub String);

/// Decides the route of a stream by its target and purpose. It may be slow (a script, a remote
/// policy), so it is called once, before a connection is looked for. A failure is an answer: it
/// must never become "direct".
pub trait Routing: Send + Sync {
    /// The routes to `target`, the best first. An empty list means that there is none.
    ///
    /// Dropping the future cancels the decision.
    ///
    /// # Errors
    /// [`NoRoute`] if there is no decision.
    fn routes<'a>(
        &'a self,
        purpose: Purpose,
        target: &'a Target,
    ) -> BoxFuture<'a, Result<Vec<Route>, NoRoute>>;
}

/// A function that decides at once.
impl<F> Routing for F
where
    F: Fn(Purpose, &Target) -> Result<Vec<Route>, NoRoute> + Send + Sync,
{
    fn routes<'a>(
        &'a self,
        purpose: Purpose,
        target: &'a Target,
    ) -> BoxFuture<'a, Result<Vec<Route>, NoRoute>> {
        Box::pin(std::future::ready(self(purpose, target)))
    }
}

/// The one route that the variables define.
impl Routing for Environment {
    fn routes<'a>(
        &'a self,
        purpose: Purpose,
        target: &'a Target,
    ) -> BoxFuture<'a, Result<Vec<Route>, NoRoute>> {
        Box::pin(std::future::ready(Ok(vec![self.route(purpose, target)])))
    }
}

impl Dialler {
    /// Opens a stream by `route`: to `target`, or for [`Route::Absolute`] to the parent, to which
    /// the caller sends requests. `rules` apply to the target's addresses if they are looked up
    /// locally, never to a parent's.
    ///
    /// Cancel safe, as the underlying calls: [`Dialler::open`], [`Dialler::open_via`],
    /// [`Dialler::open_parent`].
    ///
    /// # Errors
    /// Those of these calls.
    pub async fn open_route(
        &self,
        route: &Route,
        target: &Target,
        rules: &AddressRules,
    ) -> Result<Dialled, DialError> {
        match route {
            Route::Direct => self.open(target, rules).await,
            Route::Tunnel(parent) => self.open_via(parent, target, rules).await,
            Route::Absolute(parent) => self.open_parent(parent).await,
        }
    }

    /// Opens a stream by the first of `routes` that works, and returns that route. At most eight
    /// are tried, one after another, each with its own deadlines. Cancel safe.
    ///
    /// # Errors
    /// [`DialError::NoRoute`] if `routes` is empty, [`DialError::Denied`] as soon as `rules` deny
    /// the target, and otherwise the failure of the last route.
    pub async fn open_by<'a>(
        &self,
        routes: &'a [Route],
        target: &Target,
        rules: &AddressRules,
    ) -> Result<(&'a Route, Dialled), DialError> {
        let mut last = None;
        for route in routes.iter().take(ROUTES_MAX) {
            match self.open_route(route, target, rules).await {
                Ok(dialled) => return Ok((route, dialled)),
                Err(denied @ DialError::Denied(_)) => return Err(denied),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| DialError::NoRoute {
            target: target.clone(),
        }))
    }
}

#[cfg(test)]
mod tests;
