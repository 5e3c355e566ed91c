//! Parent URL: a parent proxy in one line of text.
//!
//! In:    `SCHEME://[USER[:PASSWORD]@]HOST[:PORT]`; user and password may be percent-encoded.
//! Out:   the parent, or an error with the remedy.
//! Never: shows a user or a password in an error.

use std::str::FromStr;

use super::{Parent, Scheme};
use crate::target::{BadTarget, Target, parse_port};

/// The longest user and the longest password, in bytes: the limit of SOCKS 5 (RFC 1929).
const TEXT_MAX: usize = 255;

/// Why a text is not a parent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadParent {
    /// It has no scheme.
    #[error("a proxy starts with its scheme: write http://HOST:PORT or socks5h://HOST:PORT")]
    NoScheme,
    /// Its scheme is unknown.
    #[error(
        "`{0}://` is no scheme of a proxy: write http, https, socks4, socks4a, socks5 or socks5h before ://"
    )]
    Scheme(String),
    /// There is text after host and port.
    #[error("a proxy is a host and a port, with nothing after them")]
    Path,
    /// User or password cannot be sent.
    #[error(
        "user and password must have at most 255 bytes each and no control characters, and the user no colon; write special characters as %XX"
    )]
    Credentials,
    /// SOCKS 4 has no passwords.
    #[error(
        "SOCKS 4 has a user id and no password: write socks4://USER@HOST:PORT, or use socks5h://"
    )]
    NoPassword,
    /// Its host or port is malformed.
    #[error(transparent)]
    Target(#[from] BadTarget),
}

impl FromStr for Parent {
    type Err = BadParent;

    /// `SCHEME://[USER[:PASSWORD]@]HOST[:PORT]`, optionally with a final `/`. See [`Scheme`] for
    /// the schemes and their default ports.
    fn from_str(text: &str) -> Result<Self, BadParent> {
        let (scheme, rest) = text
            .split_once("://")
            .filter(|(scheme, _)| is_scheme(scheme))
            .ok_or(BadParent::NoScheme)?;
        let scheme = Scheme::from_name(scheme).ok_or_else(|| BadParent::Scheme(scheme.into()))?;
        // The last @ ends the password, which may contain others.
        let (user_info, authority) = rest
            .rsplit_once('@')
            .map_or((None, rest), |(info, rest)| (Some(info), rest));
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        if authority.contains(['/', '?', '#']) {
            return Err(BadParent::Path);
        }
        let at = target(authority, scheme.default_port())?;
        let credentials = user_info
            .map(|info| credentials(info, scheme))
            .transpose()?;
        Ok(Self {
            scheme,
            at,
            credentials,
        })
    }
}

/// A well-formed scheme (RFC 3986 section 3.1), so that no error shows part of a password instead.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

fn target(authority: &str, default_port: u16) -> Result<Target, BadTarget> {
    let behind_brackets = authority.rfind(']').map_or(0, |end| end + 1);
    let port = authority
        .get(behind_brackets..)
        .and_then(|rest| rest.rfind(':'))
        .map(|at| at + behind_brackets);
    match port.and_then(|at| authority.split_at_checked(at)) {
        // An IPv6 address without brackets; its port is ambiguous.
        Some((host, _)) if host.contains(':') && !host.starts_with('[') => {
            Err(BadTarget::Host(host.into()))
        }
        Some((host, port)) => Target::from_host(host, parse_port(port.trim_start_matches(':'))?),
        None => Target::from_host(authority, default_port),
    }
}

fn credentials(info: &str, scheme: Scheme) -> Result<(String, String), BadParent> {
    let (user, password) = info
        .split_once(':')
        .map_or((info, None), |(user, password)| (user, Some(password)));
    if password.is_some() && matches!(scheme, Scheme::Socks4 | Scheme::Socks4a) {
        return Err(BadParent::NoPassword);
    }
    let decoded = |text| {
        percent_decoded(text)
            .filter(|text| fits(text))
            .ok_or(BadParent::Credentials)
    };
    let (user, password) = (decoded(user)?, decoded(password.unwrap_or_default())?);
    if user.contains(':') {
        Err(BadParent::Credentials)
    } else {
        Ok((user, password))
    }
}

fn fits(text: &str) -> bool {
    text.len() <= TEXT_MAX && !text.contains(char::is_control)
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let ([high, low], tail) = tail.split_first_chunk()?;
        bytes.push(hex(*high)? * 16 + hex(*low)?);
        rest = tail;
    }
    String::from_utf8(bytes).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

/// `text` with every byte as `%XX` that has a meaning in a URL.
pub(super) fn percent_encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    text.bytes()
        .map(|b| {
            if plain(b) {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Parent, BadParent> {
        text.parse()
    }

    #[test]
    fn every_scheme_is_read_and_printed_without_its_password() {
        for (text, shown) in [
            ("http://proxy.example:3128", "http://proxy.example:3128"),
            ("HTTPS://Proxy.Example.", "https://proxy.example:443"),
            ("http://192.0.2.1/", "http://192.0.2.1:80"),
            ("socks4://me@192.0.2.1", "socks4://me:***@192.0.2.1:1080"),
            ("socks4a://192.0.2.1:9", "socks4a://192.0.2.1:9"),
            (
                "socks5://u:secret@[2001:db8::1]",
                "socks5://u:***@[2001:db8::1]:1080",
            ),
            (
                "socks5h://a%40b:p@ss%3Asecret@[::1]:1081/",
                "socks5h://a%40b:***@[::1]:1081",
            ),
        ] {
            let parent = parse(text).unwrap();
            assert_eq!(parent.to_string(), shown);
            assert!(!format!("{parent} {parent:?}").contains("secret"));
        }
    }

    #[test]
    fn user_and_password_are_percent_decoded() {
        let credentials = |text| parse(text).unwrap().credentials;
        let pair = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(
            credentials("http://a%40b:p@ss%3Aword@h:1"),
            pair("a@b", "p@ss:word")
        );
        assert_eq!(credentials("socks5://a:b:c@h"), pair("a", "b:c"));
        assert_eq!(credentials("http://token@h"), pair("token", ""));
        assert_eq!(credentials("http://:key@h"), pair("", "key"));
        assert_eq!(credentials("socks4://me@h"), pair("me", ""));
        assert_eq!(credentials("socks4://h"), None);
    }

    proptest::proptest! {
        #[test]
        fn a_password_is_parsed_as_written_and_never_printed(user in "[^:\\pC]{1,20}", password in "\\PC{1,40}") {
            let secret = format!("hunter2{password}");
            let (user_info, encoded) = (percent_encoded(&user), percent_encoded(&secret));
            let parent = parse(&format!("socks5h://{user_info}:{encoded}@h:1")).unwrap();
            let shown = format!("{parent} {parent:?}");
            proptest::prop_assert!(!shown.contains("hunter2"), "{}", shown);
            proptest::prop_assert_eq!(parent.credentials, Some((user, secret)));
        }

        #[test]
        fn every_text_is_a_parent_or_an_error_that_does_not_show_the_password(
            before in "[a-z0-9:/@%]{0,12}", after in "[a-z0-9:/@%.\\[\\]]{0,12}",
        ) {
            let text = format!("http://u{before}:hunter2%{after}@h");
            if let Err(error) = parse(&text) {
                proptest::prop_assert!(!error.to_string().contains("hunter2"), "{}: {}", text, error);
            }
        }
    }

    #[test]
    fn errors_for_bad_parents_have_a_remedy_and_never_show_a_password() {
        let host = |text: &str| BadParent::Target(BadTarget::Host(text.into()));
        let long = format!("http://u:{}secret@h:1", "x".repeat(250));
        for (text, error) in [
            ("192.0.2.1:1080", BadParent::NoScheme),
            ("u:secret@h", BadParent::NoScheme),
            ("u:secret://@h", BadParent::NoScheme),
            ("ftp://u:secret@h:1", BadParent::Scheme("ftp".into())),
            ("http://u:secret@h:1/x", BadParent::Path),
            ("http://u:secret@h:1?x", BadParent::Path),
            ("http://u:secret@unix:/x", BadParent::Path),
            ("http://u:secret%@h:1", BadParent::Credentials),
            ("http://u:secret%0d%0aA:b@h:1", BadParent::Credentials),
            ("http://u:secret%00@h:1", BadParent::Credentials),
            ("http://u:%ff@h:1", BadParent::Credentials),
            ("http://u:%+1@h:1", BadParent::Credentials),
            ("http://u%3Ax:secret@h:1", BadParent::Credentials),
            (long.as_str(), BadParent::Credentials),
            ("socks4a://u:secret@h", BadParent::NoPassword),
            ("http://", host("")),
            ("http://a b", host("a b")),
            ("http://h\r\nx:1", host("h\r\nx")),
            ("http://[::1", host("[:")),
            ("http://::1:3128", host("::1")),
            ("http://127.1:1", host("127.1")),
            ("http://h:0", BadParent::Target(BadTarget::Port("0".into()))),
            (
                "http://h:",
                BadParent::Target(BadTarget::Port(String::new())),
            ),
        ] {
            let found = parse(text).unwrap_err();
            assert!(!found.to_string().contains("secret"));
            assert_eq!(found, error, "{text}");
        }
    }
}
