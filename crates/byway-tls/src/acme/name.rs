//! Name: a host name that a certificate can be issued for.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A DNS name in lower case, without a final dot. The first label may be `*`.
///
/// It has at least two labels unless it is `localhost`, each of 1 to 63 letters, digits, hyphens or
/// underscores, and at most 253 bytes; so it is safe as the name of a file. Names that are not
/// ASCII have to be written in their encoded form (`xn--…`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// Why a text is no name for a certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// It is empty or longer than 253 bytes.
    #[error("a host name has 1 to 253 bytes")]
    Length,
    /// It is an IP address.
    #[error("certificates are for host names here, not for IP addresses")]
    Address,
    /// It has no dot.
    #[error("a public authority needs a full host name, with a dot")]
    NoDot,
    /// A label is empty, too long, or has other characters.
    #[error("each part of a host name has 1 to 63 letters, digits and hyphens")]
    Label,
    /// A `*` that is not the whole first label, or stands directly below a top-level domain.
    #[error("`*` can only be the whole first part, with at least two parts after it")]
    Wildcard,
}

impl Name {
    /// Checks a name. Upper case and a final dot are accepted.
    ///
    /// # Errors
    /// See [`BadName`].
    pub fn new(text: &str) -> Result<Self, BadName> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() || text.len() > 253 {
            return Err(BadName::Length);
        }
        if text.parse::<std::net::IpAddr>().is_ok() {
            return Err(BadName::Address);
        }
        let base = text.strip_prefix("*.").unwrap_or(text);
        if base.contains('*') {
            return Err(BadName::Wildcard);
        }
        if !base.split('.').all(is_label) {
            return Err(BadName::Label);
        }
        if !base.contains('.') && text != "localhost" {
            return Err(match text.starts_with('*') {
                true => BadName::Wildcard,
                false => BadName::NoDot,
            });
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the first label is `*`.
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with("*.")
    }

    /// The name without a leading `*.`: what an authority checks.
    pub fn base(&self) -> &str {
        self.0.strip_prefix("*.").unwrap_or(&self.0)
    }

    /// Whether a certificate for this name is valid for `host`, which is in lower case (RFC 6125
    /// section 6.4.3: `*` stands for exactly one label).
    pub fn covers(&self, host: &str) -> bool {
        if !self.is_wildcard() {
            return &*self.0 == host;
        }
        host.split_once('.')
            .is_some_and(|(first, rest)| !first.is_empty() && first != "*" && rest == self.base())
            || &*self.0 == host
    }

    /// What the files of this name are called: `*` is no character of a file name everywhere.
    pub(crate) fn file_stem(&self) -> String {
        match self.is_wildcard() {
            true => format!("_wildcard.{}", self.base()),
            false => self.0.to_string(),
        }
    }

    /// The name whose files are called `stem`.
    pub(crate) fn from_file_stem(stem: &str) -> Option<Self> {
        match stem.strip_prefix("_wildcard.") {
            Some(base) => Self::new(&format!("*.{base}")).ok(),
            None => Self::new(stem).ok(),
        }
    }
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

impl FromStr for Name {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        Self::new(text)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_case_without_a_final_dot_and_cover_one_label_of_a_wildcard() {
        let name = Name::new("WWW.Example.com.").unwrap();
        assert_eq!(name.as_str(), "www.example.com");
        assert!(name.covers("www.example.com") && !name.covers("example.com"));
        let wildcard = Name::new("*.t.example.com").unwrap();
        assert_eq!(
            (wildcard.base(), wildcard.is_wildcard()),
            ("t.example.com", true)
        );
        assert!(wildcard.covers("a.t.example.com"));
        for other in [
            "t.example.com",
            "a.b.t.example.com",
            ".t.example.com",
            "example.com",
        ] {
            assert!(!wildcard.covers(other), "{other}");
        }
        assert_eq!(Name::from_file_stem(&wildcard.file_stem()), Some(wildcard));
        assert!(Name::new("localhost").is_ok());
    }

    #[test]
    fn what_is_no_host_name_is_refused_with_a_reason() {
        for (text, reason) in [
            ("", BadName::Length),
            (&*"a.".repeat(128), BadName::Length),
            ("192.0.2.1", BadName::Address),
            ("::1", BadName::Address),
            ("intranet", BadName::NoDot),
            ("a..b", BadName::Label),
            ("../etc", BadName::Label),
            ("a/b.example", BadName::Label),
            ("-a.example", BadName::Label),
            ("a b.example", BadName::Label),
            ("ä.example", BadName::Label),
            (&*format!("{}.example", "a".repeat(64)), BadName::Label),
            ("*.com", BadName::Wildcard),
            ("a.*.com", BadName::Wildcard),
            ("a*.example.com", BadName::Wildcard),
            ("*", BadName::Wildcard),
        ] {
            assert_eq!(Name::new(text), Err(reason), "{text}");
        }
    }
}
