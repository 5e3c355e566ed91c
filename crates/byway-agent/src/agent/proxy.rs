//! Proxy: what an agent's connections go through, and for which requests.
//!
//! In:    a proxy URL, the environment's variables, or the caller's routing.
//! Out:   the routes of each request, which are a part of its group.
//! Never: falls back to direct if a routing fails; shows a password; mixes connections of two
//!        routes.

use super::checked_request::CheckedRequest;
use super::error::{Error, Which};
use byway_dial::{
    BadEntry, BadParent, BadVariable, Environment, NoProxy, NoRoute, Parent, ParentError, Purpose,
    Route, Routing,
};
use http::Method;
use http::header::PROXY_AUTHORIZATION;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error as ThisError;
use tokio::time::timeout;

/// What connections go through: one proxy for all, the proxies of the environment, or those of your
/// own [`Routing`].
///
/// `https` requests, and all requests through a SOCKS proxy, use a tunnel between the agent and the
/// origin. Plain requests go to an HTTP proxy in absolute form (RFC 9112 section 3.2.2), except for
/// upgrades and CONNECT, which use a tunnel, too. A connection counts for the origin that it was
/// opened for, and is kept like any other; it is never reused for a request with another route.
///
/// ```
/// use byway_agent::{Agent, Proxy};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let agent = Agent::builder().proxy(Proxy::socks5h("127.0.0.1:1080")?.auth("me", "secret")).build()?;
/// let agent = Agent::builder().proxy(Proxy::from_env()?).build()?; // HTTPS_PROXY and the like, NO_PROXY
/// let agent = Agent::builder().proxy(Proxy::http("proxy.example:3128")?.no_proxy(".internal, 10.0.0.0/8")?).build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Proxy {
    choice: Choice,
    /// A method that was called where it has no effect.
    misused: Option<&'static str>,
}

#[derive(Clone)]
enum Choice {
    Fixed {
        parent: Arc<Parent>,
        no_proxy: NoProxy,
    },
    Environment(Box<Environment>),
    Custom(Arc<dyn Routing>),
}

/// Why a proxy cannot be made from a text.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum BadProxy {
    /// The proxy itself.
    #[error("{0}")]
    Proxy(#[from] BadParent),
    /// A variable of the environment.
    #[error("{0}")]
    Variable(#[from] BadVariable),
    /// An entry of the no-proxy list.
    #[error("{0}")]
    NoProxy(#[from] BadEntry),
}

/// # One proxy for all
///
/// `at` is `HOST:PORT`, or `HOST` for the scheme's usual port: 1080, 80 for `http`, 443 for
/// `https`.
impl Proxy {
    /// SOCKS 4: names are resolved locally, and only IPv4 addresses are sent.
    ///
    /// # Errors
    /// [`BadProxy::Proxy`] if `at` is not valid.
    pub fn socks4(at: &str) -> Result<Self, BadProxy> {
        Self::url(&format!("socks4://{at}"))
    }

    /// SOCKS 4a: the proxy resolves names.
    ///
    /// # Errors
    /// [`BadProxy::Proxy`] if `at` is not valid.
    pub fn socks4a(at: &str) -> Result<Self, BadProxy> {
        Self::url(&format!("socks4a://{at}"))
    }

    /// SOCKS 5: names are resolved locally; up to four addresses of a name are tried.
    ///
    /// # Errors
    /// [`BadProxy::Proxy`] if `at` is not valid.
    pub fn socks5(at: &str) -> Result<Self, BadProxy> {
        Self::url(&format!("socks5://{at}"))
    }

    /// SOCKS 5: the proxy resolves names.
    ///
    /// # Errors
    /// [`BadProxy::Proxy`] if `at` is not valid.
    pub fn socks5h(at: &str) -> Result<Self, BadProxy> {
        Self::url(&format!("socks5h://{at}"))
    }

    /// An HTTP proxy: CONNECT, and plain requests in absolute form.
    ///
    /// # Errors
    /// [`BadProxy::Proxy`] if `at` is not valid.
    pub fn http(at: &str) -> Result<Self, BadProxy> {
        Self::url(&format!("http://{at}"))
    }

    /// As [`Proxy::http`] over TLS, with the agent's [`tls`](crate::AgentBuilder::tls) options, but
    /// without its identity.
    ///
    /// # Errors
    /// [`BadProxy::Proxy`] if `at` is not valid.
    pub fn https(at: &str) -> Result<Self, BadProxy> {
        Self::url(&format!("https://{at}"))
    }

    /// Any of these as `SCHEME://[USER[:PASSWORD]@]HOST[:PORT]`, with special characters of user
    /// and password as `%XX`.
    ///
    /// # Errors
    /// [`BadProxy::Proxy`] if `url` is not valid.
    pub fn url(url: &str) -> Result<Self, BadProxy> {
        Ok(url.parse::<Parent>()?.into())
    }

    /// User and password: Basic for HTTP proxies, RFC 1929 for SOCKS 5. SOCKS 4 sends only the
    /// user. What the protocol cannot carry is an error of
    /// [`AgentBuilder::build`](crate::AgentBuilder::build).
    #[must_use]
    pub fn auth(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        match &mut self.choice {
            Choice::Fixed { parent, .. } => {
                let credentials = Some((user.into(), password.into()));
                *parent = Arc::new(Parent {
                    credentials,
                    ..Parent::clone(parent)
                });
            }
            _ => self.misused = Some("Proxy::auth"),
        }
        self
    }

    /// What is reached directly, in the syntax of the variable `NO_PROXY`: see [`NoProxy`].
    ///
    /// # Errors
    /// [`BadProxy::NoProxy`] if an entry is not valid.
    pub fn no_proxy(mut self, list: &str) -> Result<Self, BadProxy> {
        let list = list.parse()?;
        match &mut self.choice {
            Choice::Fixed { no_proxy, .. } => *no_proxy = list,
            _ => self.misused = Some("Proxy::no_proxy"),
        }
        Ok(self)
    }
}

/// # Proxies from the environment or a routing
impl Proxy {
    /// The current values of `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` of this
    /// process, in either case: see [`Environment`] for the rules.
    ///
    /// # Errors
    /// [`BadProxy::Variable`] names the variable that is not valid.
    #[doc(alias = "EnvHttpProxyAgent")]
    #[doc(alias = "ProxyFromEnvironment")]
    #[doc(alias = "proxyEnv")]
    pub fn from_env() -> Result<Self, BadProxy> {
        Ok(Environment::of_process()?.into())
    }

    /// The routes that `routing` returns for each request: a script, a policy, a function
    /// `Fn(Purpose, &Target) -> Result<Vec<Route>, NoRoute>`. The first route that opens is used.
    /// If `routing` fails, or takes longer than `connect_timeout`, the request fails.
    #[doc(alias = "pac")]
    #[doc(alias = "getProxyForUrl")]
    pub fn by(routing: impl Routing + 'static) -> Self {
        Self {
            choice: Choice::Custom(Arc::new(routing)),
            misused: None,
        }
    }
}

impl From<Parent> for Proxy {
    fn from(parent: Parent) -> Self {
        Self {
            choice: Choice::Fixed {
                parent: Arc::new(parent),
                no_proxy: NoProxy::default(),
            },
            misused: None,
        }
    }
}

impl From<Environment> for Proxy {
    fn from(environment: Environment) -> Self {
        Self {
            choice: Choice::Environment(Box::new(environment)),
            misused: None,
        }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.choice {
            Choice::Fixed { parent, .. } => write!(f, "Proxy({parent})"),
            Choice::Environment(_) => f.write_str("Proxy(the environment)"),
            Choice::Custom(_) => f.write_str("Proxy(a routing)"),
        }
    }
}

impl Proxy {
    /// The method that was called without effect.
    pub(crate) fn misused(&self) -> Option<&'static str> {
        self.misused
    }

    /// Whether the protocol can carry the credentials.
    pub(crate) fn check(&self) -> Result<(), ParentError> {
        match &self.choice {
            Choice::Fixed { parent, .. } => parent.check(),
            Choice::Environment(_) | Choice::Custom(_) => Ok(()),
        }
    }

    /// Adds the request's routes to its group.
    pub(crate) async fn choose(
        &self,
        checked: &mut CheckedRequest,
        limit: Duration,
    ) -> Result<(), Error> {
        let purpose = if checked.is_tls() {
            Purpose::Https
        } else {
            Purpose::Http
        };
        let target = checked.address()?;
        let mut routes = match &self.choice {
            Choice::Fixed { no_proxy, .. } if no_proxy.covers(&target) => vec![Route::Direct],
            Choice::Fixed { parent, .. } => vec![Route::through(parent, purpose, &target)],
            Choice::Environment(environment) => vec![environment.route(purpose, &target)],
            Choice::Custom(routing) => match timeout(limit, routing.routes(purpose, &target)).await
            {
                Ok(Ok(routes)) if !routes.is_empty() => routes,
                Ok(Ok(_)) => {
                    return Err(no_route(
                        &target,
                        NoRoute("the proxy routing returned no route".into()),
                    ));
                }
                Ok(Err(error)) => return Err(no_route(&target, error)),
                Err(_) => {
                    return Err(Error::Timeout {
                        which: Which::Connect,
                        after: limit,
                    });
                }
            },
        };
        if checked.is_tls() || checked.upgrades || checked.parts.method == Method::CONNECT {
            routes = routes.into_iter().map(Route::tunnelled).collect();
        }
        if routes
            .iter()
            .any(|route| !matches!(route, Route::Absolute(_)))
            && checked.parts.headers.contains_key(PROXY_AUTHORIZATION)
        {
            let why = "its Proxy-Authorization field would reach the origin: use `Proxy::auth`";
            return Err(Error::invalid(why));
        }
        checked.group.take(routes);
        Ok(())
    }
}

fn no_route(target: &byway_dial::Target, source: NoRoute) -> Error {
    Error::Connect {
        target: target.to_string().into(),
        source: source.into(),
    }
}
