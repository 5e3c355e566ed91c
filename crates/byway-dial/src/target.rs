//! Target: the requested destination, before any name is resolved.
//!
//! In:    text from a config file, a SOCKS request, a CONNECT line or an absolute URI.
//! Out:   an address, a host name with its port, or the path of a Unix socket.
//! Never: resolves a name, or holds an invalid host name.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use crate::text::peer_text;

/// The destination of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// A literal address.
    Addr(SocketAddr),
    /// A host name; only the node that dials resolves it.
    Host {
        /// The name.
        name: HostName,
        /// The port, 1 to 65535.
        port: u16,
    },
    /// A Unix socket on this machine.
    Unix(PathBuf),
}

impl Target {
    /// From a host as in a URI or a CONNECT line (`name`, `192.0.2.1`, `[2001:db8::1]`) and a port.
    ///
    /// # Errors
    /// [`BadTarget`], with the problem of the host or the port.
    pub fn from_host(host: &str, port: u16) -> Result<Self, BadTarget> {
        if port == 0 {
            return Err(BadTarget::Port("0".into()));
        }
        if let Some(inner) = host.strip_prefix('[') {
            let inner = inner
                .strip_suffix(']')
                .ok_or_else(|| BadTarget::Host(host.into()))?;
            let ip: Ipv6Addr = inner.parse().map_err(|_| BadTarget::Host(host.into()))?;
            return Ok(Self::Addr(SocketAddr::new(ip.into(), port)));
        }
        match host.parse::<IpAddr>() {
            Ok(ip) => Ok(Self::Addr(SocketAddr::new(ip, port))),
            Err(_) => Ok(Self::Host {
                name: host.parse()?,
                port,
            }),
        }
    }

    /// The port, if there is one.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Addr(addr) => Some(addr.port()),
            Self::Host { port, .. } => Some(*port),
            Self::Unix(_) => None,
        }
    }
}

impl FromStr for Target {
    type Err = BadTarget;

    /// `127.0.0.1:80`, `[::1]:80`, `name:80` or `unix:/path`.
    fn from_str(text: &str) -> Result<Self, BadTarget> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err(BadTarget::Path),
                path => Ok(Self::Unix(path.into())),
            };
        }
        if text.starts_with('/') {
            return Err(BadTarget::SocketPath(text.into()));
        }
        match split_port(text) {
            (host, Some(port)) if host.starts_with('[') || !host.contains(':') => {
                Self::from_host(host, parse_port(port)?)
            }
            _ => Err(BadTarget::NoPort(text.into())),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addr(addr) => write!(f, "{addr}"),
            Self::Host { name, port } => write!(f, "{name}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The host of `HOST[:PORT]`, and the port if there is one. The colons between brackets belong to
/// the host.
pub fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

/// Digits only, 1 to 65535: `+80`, `080x` and an empty port are refused.
pub fn parse_port(text: &str) -> Result<u16, BadTarget> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u16>() {
        Ok(port) if digits && port != 0 => Ok(port),
        _ => Err(BadTarget::Port(text.into())),
    }
}

/// A host name: letters, digits, `-` and `_` in labels of 1 to 63 bytes, at most 253 in all (RFC
/// 1123, with the `_` that is used in practice). It is stored in lower case and without a trailing
/// dot, so that equal names compare equal.
///
/// Names of only digits and dots are refused: resolvers read `127.1` or `0x7f.1` as addresses, and
/// policy must check an address as an address.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostName(Arc<str>);

impl HostName {
    /// The name in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this name is `suffix` or ends in `.suffix`.
    pub fn is_under(&self, suffix: &Self) -> bool {
        match self.0.strip_suffix(&*suffix.0) {
            Some(rest) => rest.is_empty() || rest.ends_with('.'),
            None => false,
        }
    }
}

impl FromStr for HostName {
    type Err = BadTarget;

    fn from_str(text: &str) -> Result<Self, BadTarget> {
        let name = without_trailing_dot(text);
        let valid = !name.is_empty()
            && name.len() <= 253
            && name.split('.').all(valid_label)
            && !reads_as_number(name);
        match valid {
            true => Ok(Self(name.to_ascii_lowercase().into())),
            false => Err(BadTarget::Host(text.into())),
        }
    }
}

/// A host name without its trailing dot, which stands for the root: `example.com.` is the host
/// `example.com`. Only one dot is removed, so that `example.com..` stays invalid.
pub fn without_trailing_dot(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

fn valid_label(label: &str) -> bool {
    let bytes = label.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        && bytes.first() != Some(&b'-')
        && bytes.last() != Some(&b'-')
}

/// The last label decides, as in the URL standard: if it is all digits, or `0x` and hex digits, the
/// whole name is an IPv4 address.
fn reads_as_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    last.bytes().all(|b| b.is_ascii_digit())
        || hex.is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is not a target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTarget {
    /// Not a valid host.
    #[error(
        "`{}` is no host: write a name such as example.com, an address such as 192.0.2.1, or [2001:db8::1]",
        peer_text(.0)
    )]
    Host(String),
    /// Not a valid port.
    #[error("`{}` is no port: write a number from 1 to 65535", peer_text(.0))]
    Port(String),
    /// The port is missing.
    #[error("`{}` has no port: write HOST:PORT, [IPV6]:PORT or unix:/PATH", peer_text(.0))]
    NoPort(String),
    /// A path without `unix:` before it.
    #[error("`{path}` is a path: for a Unix socket write unix:{path}", path = peer_text(.0))]
    SocketPath(String),
    /// The path of a Unix socket is missing.
    #[error("`unix:` needs a path after it, such as unix:/run/app.sock")]
    Path,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_target_is_read_and_printed_alike() {
        for text in [
            "127.0.0.1:80",
            "[::1]:443",
            "example.com:8080",
            "unix:/run/app.sock",
            "_srv.example.com:1",
        ] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn names_are_kept_in_lower_case_and_without_the_trailing_dot() {
        let target: Target = "EXAMPLE.Com.:80".parse().unwrap();
        assert_eq!(target.to_string(), "example.com:80");
        for text in ["example.com..:80", ".:80", "..:80", ".example.com:80"] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_that_a_resolver_would_read_as_an_address_is_refused() {
        for text in [
            "127.1:80",
            "2130706433:80",
            "0x7f.1:80",
            "a.0x7f:80",
            "127.0.0.1.:80",
            "1.2.3.4.5:80",
        ] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }

    #[test]
    fn errors_for_bad_targets_have_the_problem_and_the_remedy() {
        assert_eq!(
            "example.com".parse::<Target>(),
            Err(BadTarget::NoPort("example.com".into()))
        );
        assert_eq!(
            "::1:80".parse::<Target>(),
            Err(BadTarget::NoPort("::1:80".into()))
        );
        assert_eq!(
            "[::1]".parse::<Target>(),
            Err(BadTarget::NoPort("[::1]".into()))
        );
        assert_eq!(
            "/x:1".parse::<Target>(),
            Err(BadTarget::SocketPath("/x:1".into()))
        );
        assert_eq!(
            "a:+80".parse::<Target>(),
            Err(BadTarget::Port("+80".into()))
        );
        assert_eq!("a:0".parse::<Target>(), Err(BadTarget::Port("0".into())));
        assert_eq!(
            "a b:80".parse::<Target>(),
            Err(BadTarget::Host("a b".into()))
        );
        assert_eq!(
            "-a.com:80".parse::<Target>(),
            Err(BadTarget::Host("-a.com".into()))
        );
        assert_eq!(":80".parse::<Target>(), Err(BadTarget::Host(String::new())));
        assert_eq!("unix:".parse::<Target>(), Err(BadTarget::Path));
    }

    #[test]
    fn a_suffix_covers_itself_and_its_subdomains_but_not_a_longer_label() {
        let name = |text: &str| text.parse::<HostName>().unwrap();
        assert!(name("a.example.com").is_under(&name("example.com")));
        assert!(name("example.com").is_under(&name("example.com")));
        assert!(!name("badexample.com").is_under(&name("example.com")));
    }
}
