//! Host pattern: which hosts of a request a route serves.
//!
//! In:    `app.example.com`, `*.example.com` or an address.
//! Out:   a pattern that says whether a host matches.
//! Never: looks at the port of a host.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use byway_dial::HostName;
use byway_dial::target::without_trailing_dot;

/// Which hosts of a request a route serves.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// `app.example.com`: this name alone.
    Exact(HostName),
    /// `*.example.com`: every name below `example.com`, at any depth, but not `example.com` itself.
    Below(HostName),
    /// `192.0.2.1` or `[2001:db8::1]`: requests that name the address instead of a name.
    Addr(IpAddr),
}

/// Why a text is not a host pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHostPattern {
    /// `*` alone.
    #[error("`*` alone is every host: leave `hosts` out instead")]
    Any,
    /// A port behind the name.
    #[error("`{0}` has a port: write the host alone, every port matches")]
    Port(String),
    /// A star anywhere but in front.
    #[error(
        "`{0}` has a star in the wrong place: only whole labels in front, such as *.example.com"
    )]
    Star(String),
    /// Letters that a request cannot carry.
    #[error("`{0}` has letters beyond ASCII: write the name in its xn-- form")]
    NotAscii(String),
    /// Not a valid host.
    #[error(
        "`{0}` is not a host: write app.example.com, *.example.com, 192.0.2.1 or [2001:db8::1]"
    )]
    Host(String),
}

impl HostPattern {
    /// Whether `host` matches: without its port, in any case, IPv6 with or without brackets.
    pub fn matches(&self, host: &str) -> bool {
        let host = without_trailing_dot(host);
        match self {
            Self::Exact(name) => host.eq_ignore_ascii_case(name.as_str()),
            Self::Below(name) => is_below(host.as_bytes(), name.as_str().as_bytes()),
            Self::Addr(ip) => unbracketed(host).parse() == Ok(*ip),
        }
    }
}

fn is_below(host: &[u8], name: &[u8]) -> bool {
    // One byte for the dot and at least one in front of it.
    let Some((front, tail)) = host
        .len()
        .checked_sub(name.len())
        .map(|at| host.split_at(at))
    else {
        return false;
    };
    front.len() >= 2 && front.ends_with(b".") && tail.eq_ignore_ascii_case(name)
}

fn unbracketed(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'))
        .unwrap_or(host)
}

impl FromStr for HostPattern {
    type Err = BadHostPattern;

    fn from_str(text: &str) -> Result<Self, BadHostPattern> {
        if text == "*" {
            return Err(BadHostPattern::Any);
        }
        if !text.is_ascii() {
            return Err(BadHostPattern::NotAscii(text.into()));
        }
        if let Ok(ip) = unbracketed(text).parse() {
            return Ok(Self::Addr(ip));
        }
        let below = text.strip_prefix("*.");
        let name = below.unwrap_or(text);
        match name.parse() {
            Ok(name) if below.is_some() => Ok(Self::Below(name)),
            Ok(name) => Ok(Self::Exact(name)),
            Err(_) if name.contains('*') => Err(BadHostPattern::Star(text.into())),
            Err(_) if has_port(name) => Err(BadHostPattern::Port(text.into())),
            Err(_) => Err(BadHostPattern::Host(text.into())),
        }
    }
}

fn has_port(text: &str) -> bool {
    text.rsplit_once(':')
        .is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => write!(f, "{name}"),
            Self::Below(name) => write!(f, "*.{name}"),
            Self::Addr(IpAddr::V4(ip)) => write!(f, "{ip}"),
            Self::Addr(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> HostPattern {
        text.parse().unwrap()
    }

    #[test]
    fn patterns_print_as_they_were_written() {
        for text in [
            "app.example.com",
            "*.example.com",
            "192.0.2.1",
            "[2001:db8::1]",
        ] {
            assert_eq!(pattern(text).to_string(), text);
        }
    }

    #[test]
    fn an_exact_name_matches_in_any_case_and_with_the_trailing_dot() {
        let app = pattern("App.example.com");
        assert!(app.matches("APP.EXAMPLE.COM"));
        assert!(app.matches("app.example.com."));
        assert!(!app.matches("x.app.example.com"));
    }

    #[test]
    fn a_pattern_with_a_trailing_dot_is_the_pattern_without_it() {
        assert_eq!(pattern("app.example.com."), pattern("app.example.com"));
        assert_eq!(pattern("*.example.com."), pattern("*.example.com"));
        for host in ["app.example.com", "app.example.com."] {
            assert!(
                pattern("app.example.com.").matches(host)
                    && pattern("*.example.com.").matches(host),
                "{host}"
            );
        }
        for host in ["app.example.com..", ".", "..", ""] {
            assert!(
                !pattern("app.example.com.").matches(host)
                    && !pattern("*.example.com").matches(host),
                "{host}"
            );
        }
        assert!("app.example.com..".parse::<HostPattern>().is_err());
    }

    #[test]
    fn a_star_matches_any_depth_below_but_not_the_name_itself() {
        let below = pattern("*.example.com");
        assert!(below.matches("a.example.com"));
        assert!(below.matches("a.b.EXAMPLE.com"));
        for host in [
            "example.com",
            ".example.com",
            "badexample.com",
            "com",
            "",
            "example.com.evil",
        ] {
            assert!(!below.matches(host), "{host}");
        }
    }

    #[test]
    fn an_address_matches_its_spellings() {
        assert!(pattern("[2001:db8::1]").matches("[2001:DB8:0::1]"));
        assert!(pattern("192.0.2.1").matches("192.0.2.1"));
        assert!(!pattern("192.0.2.1").matches("192.0.2.10"));
    }

    #[test]
    fn bad_patterns_report_what_is_wrong() {
        let bad = |text: &str| text.parse::<HostPattern>().unwrap_err();
        assert_eq!(bad("*"), BadHostPattern::Any);
        assert_eq!(bad("a.com:80"), BadHostPattern::Port("a.com:80".into()));
        assert_eq!(bad("a.*.com"), BadHostPattern::Star("a.*.com".into()));
        assert_eq!(bad("*x.com"), BadHostPattern::Star("*x.com".into()));
        assert_eq!(
            bad("bücher.de"),
            BadHostPattern::NotAscii("bücher.de".into())
        );
        assert_eq!(bad("a b"), BadHostPattern::Host("a b".into()));
        assert_eq!(bad(""), BadHostPattern::Host(String::new()));
    }
}
