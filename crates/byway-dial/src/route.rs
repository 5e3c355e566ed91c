//! Route: the way that a stream to a target takes.
//!
//! In:    a target, what will travel to it, and whatever decides: one proxy for all, the
//!        environment, a script.
//! Out:   routes, the best first, and a stream by the first of them that opens.
//! Never: turns a denial into a detour: a target that address rules forbid is not tried by another
//!        route.

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

/// What will travel to the target. It decides which proxy is asked, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Plain HTTP requests (`http://`), which an HTTP proxy takes in absolute form.
    Http,
    /// HTTP in TLS (`https://`), which needs a tunnel.
    Https,
    /// Any other bytes, which need a tunnel.
    Other,
}

/// The way that a stream takes. Equal routes lead through equal parents with equal credentials, so
/// a pool may make a route a part of its key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Route {
    /// To the target itself.
    #[default]
    Direct,
    /// Through a tunnel of the parent; what travels is between us and the target.
    Tunnel(Arc<Parent>),
    /// To the parent, an HTTP proxy, which reads the requests: they are written in absolute form
    /// (RFC 9112 section 3.2.2) with [`Parent::authorization`] as `Proxy-Authorization`. One
    /// connection could serve any number of targets.
    Absolute(Arc<Parent>),
}

impl Route {
    /// Through `parent`: in absolute form if it is an HTTP proxy and plain HTTP will travel, by a
    /// tunnel otherwise. A Unix socket is on this machine and reached directly.
    pub fn through(parent: &Arc<Parent>, purpose: Purpose, target: &Target) -> Self {
        match (target, purpose) {
            (Target::Unix(_), _) => Self::Direct,
            (_, Purpose::Http) if parent.scheme.is_http() => Self::Absolute(Arc::clone(parent)),
            _ => Self::Tunnel(Arc::clone(parent)),
        }
    }

    /// The same way as a tunnel, for requests that no proxy shall read or that turn into other
    /// bytes (an upgrade).
    pub fn tunnelled(self) -> Self {
        match self {
            Self::Absolute(parent) => Self::Tunnel(parent),
            route => route,
        }
    }

    /// The parent on the way, if there is one.
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

/// Why nobody could say which way to take: the words of whoever decides, such as a script that
/// failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoRoute(pub String);

/// Decides which way a stream takes, by the target and what will travel there. It may take its time
/// (a script, a remote policy), so it is asked once before a connection is looked for, and a
/// failure of its own is an answer: it must never become "direct".
pub trait Routing: Send + Sync {
    /// The routes to `target`, the best first. An empty list means that there is none.
    ///
    /// Dropping the future gives up.
    ///
    /// # Errors
    /// [`NoRoute`] if it cannot be decided.
    fn routes<'a>(
        &'a self,
        purpose: Purpose,
        target: &'a Target,
    ) -> BoxFuture<'a, Result<Vec<Route>, NoRoute>>;
}

/// Anything that decides at once.
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

/// The one way that the variables name.
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
    /// Opens a stream by `route`: to `target`, or for [`Route::Absolute`] to the parent, with which
    /// the caller speaks. `rules` are about the target's addresses wherever they are looked up
    /// here, never about a parent's.
    ///
    /// Cancel safe, as the calls that it stands for: [`Dialler::open`], [`Dialler::open_via`],
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

    /// Opens a stream by the first of `routes` that works, and says which it was. Eight are tried
    /// at most, one after another, each with its own deadlines. Cancel safe.
    ///
    /// # Errors
    /// [`DialError::NoRoute`] if `routes` is empty, [`DialError::Denied`] as soon as `rules` forbid
    /// the target, and otherwise what the last route failed with.
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
