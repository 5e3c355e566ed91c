//! Parent: a proxy from the operator's configuration that streams go through.
//!
//! In:    a URL such as `socks5h://user:password@host:port`, or its parts.
//! Out:   the protocol, the address and the credentials.
//! Never: shows its password, or connects (that is `tunnel`).

mod dialogue;
mod error;
mod tunnel;
mod url;

pub use error::ParentError;
pub use url::BadParent;

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::target::Target;

/// The protocol of a parent proxy. The names are those of URL schemes, as in curl.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `socks4`: SOCKS 4. It supports only IPv4 addresses, so names are resolved locally.
    Socks4,
    /// `socks4a`: SOCKS 4 with the extension 4a. Names are sent to the parent; IPv6 addresses are
    /// not supported.
    Socks4a,
    /// `socks5`: SOCKS 5 (RFC 1928, with RFC 1929 if there are credentials). Names are resolved
    /// locally.
    Socks5,
    /// `socks5h`: the same, but names are sent to the parent.
    Socks5h,
    /// `http`: HTTP/1.1 CONNECT (RFC 9110 section 9.3.6), with any credentials as Basic (RFC 7617).
    Http,
    /// `https`: the same over TLS; the parent's certificate is verified.
    Https,
}

impl Scheme {
    const ALL: [Self; 6] = [
        Self::Socks4,
        Self::Socks4a,
        Self::Socks5,
        Self::Socks5h,
        Self::Http,
        Self::Https,
    ];

    /// The name in a URL, without `://`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Socks4 => "socks4",
            Self::Socks4a => "socks4a",
            Self::Socks5 => "socks5",
            Self::Socks5h => "socks5h",
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The default port of a URL: 1080 for SOCKS, 80 and 443 for HTTP.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
            Self::Socks4 | Self::Socks4a | Self::Socks5 | Self::Socks5h => 1080,
        }
    }

    /// Whether it is an HTTP proxy, which also accepts requests in absolute form.
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }

    /// Whether the target's name is resolved locally, under the caller's address rules.
    pub fn resolves_here(self) -> bool {
        matches!(self, Self::Socks4 | Self::Socks5)
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|scheme| scheme.name().eq_ignore_ascii_case(name))
    }
}

/// A parent proxy from the operator's configuration. Built from its parts, or from a URL with
/// [`str::parse`]:
///
/// ```
/// use byway_dial::{Parent, Scheme};
///
/// let parent: Parent = "socks5h://me:p%40ss@proxy.example".parse().unwrap();
/// assert_eq!(parent.scheme, Scheme::Socks5h);
/// assert_eq!(parent.at.to_string(), "proxy.example:1080");
/// assert_eq!(parent.credentials, Some(("me".into(), "p@ss".into())));
/// assert_eq!(parent.to_string(), "socks5h://me:***@proxy.example:1080");
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Parent {
    /// The protocol.
    pub scheme: Scheme,
    /// The address. The operator chose it, so no address rules apply to it.
    pub at: Target,
    /// User and password, if the parent requires them. For SOCKS 4: the user id and an empty
    /// password.
    pub credentials: Option<(String, String)>,
}

impl Parent {
    /// Checks whether the credentials and the name fit the protocol, before the first stream: SOCKS
    /// allows 255 bytes each of user and password, SOCKS 4 no NUL, and Basic credentials no user
    /// with a colon; the name of an `https` parent must be one that a certificate can prove.
    ///
    /// # Errors
    /// [`ParentError::Request`].
    pub fn check(&self) -> Result<(), ParentError> {
        if self.scheme == Scheme::Https && matches!(self.at, Target::Unix(_)) {
            return Err(tunnel::no_name());
        }
        let anywhere = Target::Addr(([192, 0, 2, 1], 443).into());
        dialogue::Dialogue::new(self, &anywhere).map(drop)
    }

    /// The value of `Proxy-Authorization` for an HTTP proxy: Basic credentials, if there are any.
    /// Tunnels send it by themselves; it is for callers that write requests in absolute form.
    /// `None` for SOCKS.
    ///
    /// # Errors
    /// [`ParentError::Request`] if the user has a colon, which Basic credentials do not allow (RFC
    /// 7617 section 2).
    pub fn authorization(&self) -> Result<Option<String>, ParentError> {
        let Some((user, password)) = self.credentials.as_ref().filter(|_| self.scheme.is_http())
        else {
            return Ok(None);
        };
        if user.contains(':') {
            return Err(ParentError::Request(
                "Basic credentials do not allow a user with a `:`".into(),
            ));
        }
        Ok(Some(format!(
            "Basic {}",
            STANDARD.encode(format!("{user}:{password}"))
        )))
    }
}

impl fmt::Display for Parent {
    /// As a URL, with `***` for the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme.name())?;
        match &self.credentials {
            Some((user, _)) => write!(f, "{}:***@{}", url::percent_encoded(user), self.at),
            None => write!(f, "{}", self.at),
        }
    }
}

impl fmt::Debug for Parent {
    /// Never shows the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Parent({self})")
    }
}

#[cfg(test)]
mod tests;
