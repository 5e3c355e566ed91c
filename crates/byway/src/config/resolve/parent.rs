//! Parent: the `via` of a rule.
//!
//! In:    `socks5://user:password@host:port` or `http://host:port`; user and password may be percent-encoded.
//! Out:   a `ParentPlan` whose printed form hides the password.
//! Never: repeats the password in an error.

use byway_dial::{BadTarget, Target};

use super::super::plan::{ParentPlan, ParentScheme};
use super::super::secret::Secret;

/// Why a text is no parent.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadParent {
    #[error("a parent begins with its scheme: write socks5://HOST:PORT or http://HOST:PORT")]
    NoScheme,
    #[error("`{0}://` is no scheme of a parent: write socks5:// or http://")]
    Scheme(String),
    #[error("a parent is a host and a port, with nothing behind them")]
    Path,
    #[error("a user needs a password: write USER:PASSWORD@HOST:PORT")]
    NoPassword,
    #[error("user and password must have 1 to 255 bytes each, and the user no colon; write special characters as %XX")]
    Credentials,
    #[error("a parent cannot be a Unix socket: write HOST:PORT")]
    Unix,
    #[error(transparent)]
    Target(#[from] BadTarget),
}

pub(super) fn parse_parent(text: &str) -> Result<ParentPlan, BadParent> {
    let (scheme, rest) = text.split_once("://").ok_or(BadParent::NoScheme)?;
    let (name, scheme) = match scheme.to_ascii_lowercase().as_str() {
        "socks5" | "socks5h" => ("socks5", ParentScheme::Socks5),
        "http" => ("http", ParentScheme::Http),
        _ => return Err(BadParent::Scheme(scheme.into())),
    };
    // The last @ ends the password, which may hold others.
    let (user_info, authority) = rest.rsplit_once('@').map_or((None, rest), |(info, rest)| (Some(info), rest));
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    if authority.contains(['/', '?', '#']) && !authority.starts_with("unix:") {
        return Err(BadParent::Path);
    }
    let target: Target = authority.parse()?;
    if let Target::Unix(_) = target {
        return Err(BadParent::Unix);
    }
    let credentials = user_info.map(credentials).transpose()?;
    let shown = credentials.as_ref().map_or_else(String::new, |(user, _)| format!("{}:***@", percent_encoded(user)));
    Ok(ParentPlan { url: format!("{name}://{shown}{target}").into(), scheme, target, credentials })
}

fn credentials(user_info: &str) -> Result<(String, Secret), BadParent> {
    let (user, password) = user_info.split_once(':').ok_or(BadParent::NoPassword)?;
    let user = percent_decoded(user).filter(|user| fits(user) && !user.contains(':')).ok_or(BadParent::Credentials)?;
    let password = percent_decoded(password).filter(|password| fits(password)).ok_or(BadParent::Credentials)?;
    Ok((user, Secret::new(&password)))
}

/// What both SOCKS5 (RFC 1929) and Basic credentials can carry.
fn fits(text: &str) -> bool {
    (1..=255).contains(&text.len()) && !text.contains(char::is_control)
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
        let (digits, tail) = tail.split_at_checked(2)?;
        bytes.push(hex(digits[0])? * 16 + hex(digits[1])?);
        rest = tail;
    }
    String::from_utf8(bytes).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

fn percent_encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_print_without_their_password() {
        for (text, shown) in [
            ("socks5://u:secret@192.0.2.1:1080", "socks5://u:***@192.0.2.1:1080"),
            ("socks5h://Exit.example.com:1080/", "socks5://exit.example.com:1080"),
            ("http://[2001:db8::1]:3128", "http://[2001:db8::1]:3128"),
            ("http://a%40b:p@ss%3Aword@h:1", "http://a%40b:***@h:1"),
        ] {
            let parent = parse_parent(text).unwrap();
            assert_eq!(parent.to_string(), shown);
            assert!(!format!("{parent:?}").contains("secret"));
        }
    }

    #[test]
    fn user_and_password_are_percent_decoded() {
        let parent = parse_parent("http://a%40b:p@ss%3Aword@h:1").unwrap();
        assert_eq!(parent.credentials, Some(("a@b".to_owned(), Secret::new("p@ss:word"))));
    }

    #[test]
    fn bad_parents_say_what_is_wrong_and_never_show_a_password() {
        for (text, error) in [
            ("192.0.2.1:1080", BadParent::NoScheme),
            ("https://u:secret@h:1", BadParent::Scheme("https".into())),
            ("http://u:secret@h:1/x", BadParent::Path),
            ("http://u@h:1", BadParent::NoPassword),
            ("http://:secret@h:1", BadParent::Credentials),
            ("http://u:secret%@h:1", BadParent::Credentials),
            ("http://u:%ff@h:1", BadParent::Credentials),
            ("http://u:%+1@h:1", BadParent::Credentials),
            ("http://u:secret%00@h:1", BadParent::Credentials),
            ("socks5://u:secret@unix:/x", BadParent::Unix),
            ("http://u:secret@h", BadParent::Target(BadTarget::NoPort("h".into()))),
        ] {
            let found = parse_parent(text).unwrap_err();
            assert!(!found.to_string().contains("secret"));
            assert_eq!(found, error);
        }
    }
}
