//! Client pattern: which client certificates a rule is for.
//!
//! In:    a text such as `CN=alice`, `DNS:host.example` or `SHA256:…`.
//! Out:   whether the certificate of a client matches it.
//! Never: compares a subject as a whole: its text is not escaped, so that a common name could imitate
//!        other parts of it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::client_auth::ClientIdentity;

/// Which certificates of clients match. It is compared only with certificates that a handshake has
/// verified.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ClientPattern {
    /// `*`: every certificate.
    Any,
    /// `CN=alice`: the only common name of the subject, in this case of letters.
    CommonName(Box<str>),
    /// `DNS:…`, `email:…`, `URI:…` or `IP:…`: one of the alternative names. The case of letters
    /// matters, except in `DNS:`.
    Name(Box<str>),
    /// `SHA256:…`: the certificate with this digest, in lower-case hex.
    Fingerprint(Box<str>),
}

/// The text is no pattern.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadClientPattern {
    /// It has none of the known beginnings, or nothing after it.
    #[error(
        "`{0}` does not name client certificates: write \"CN=alice\", \"DNS:host.example\", \"email:a@b.example\", \
         \"URI:spiffe://example/a\", \"IP:192.0.2.1\", \"SHA256:\" with the fingerprint in hex, or \"*\" for every one"
    )]
    Unknown(String),
    /// What follows `SHA256:`.
    #[error(
        "`{0}` is no SHA-256 fingerprint: it has 64 hex digits, as printed by `openssl x509 -fingerprint -sha256`"
    )]
    Fingerprint(String),
    /// What follows `IP:`.
    #[error("`{0}` is no IP address")]
    Address(String),
}

impl ClientPattern {
    /// Whether `client` matches.
    pub fn matches(&self, client: &ClientIdentity) -> bool {
        match self {
            Self::Any => true,
            Self::CommonName(name) => client.common_name.as_ref() == Some(name),
            Self::Name(name) if name.starts_with(DNS) => client
                .names
                .iter()
                .any(|own| own.starts_with(DNS) && own.eq_ignore_ascii_case(name)),
            Self::Name(name) => client.names.contains(name),
            Self::Fingerprint(hex) => *client.fingerprint == **hex,
        }
    }

    /// A certificate that has what these patterns name and nothing else, to ask what a policy would
    /// decide. `None` if two of them exclude each other: two common names or two fingerprints.
    pub fn example(patterns: &[Self]) -> Option<ClientIdentity> {
        let mut common_name = None;
        let mut fingerprint = None;
        let mut names = Vec::new();
        for pattern in patterns {
            let had = match pattern {
                Self::Any => None,
                Self::CommonName(name) => common_name.replace(name.clone()),
                Self::Fingerprint(hex) => fingerprint.replace(hex.clone()),
                Self::Name(name) => {
                    names.push(name.clone());
                    None
                }
            };
            if had.is_some() {
                return None;
            }
        }
        let subject = common_name.as_ref().map(|name| format!("CN={name}"));
        Some(ClientIdentity {
            subject: subject.unwrap_or_default().into(),
            common_name,
            issuer: Box::default(),
            serial: Box::default(),
            names: names.into(),
            fingerprint: fingerprint.unwrap_or_default().into(),
            field: Box::default(),
            not_after: i64::MAX,
        })
    }

    /// Whether every certificate that matches `other` matches this one, too, as far as the patterns
    /// alone tell.
    pub fn covers(&self, other: &Self) -> bool {
        *self == Self::Any || self == other
    }
}

const DNS: &str = "DNS:";

impl FromStr for ClientPattern {
    type Err = BadClientPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let unknown = || BadClientPattern::Unknown(text.to_owned());
        let (kind, value) = match text.find([':', '=']) {
            Some(at) => text.split_at(at + 1),
            None => return Err(unknown()),
        };
        if value.is_empty() {
            return Err(unknown());
        }
        match kind {
            "CN=" => Ok(Self::CommonName(value.into())),
            DNS => Ok(Self::Name(
                text.to_ascii_lowercase().replacen("dns:", DNS, 1).into(),
            )),
            "email:" | "URI:" => Ok(Self::Name(text.into())),
            "IP:" => match value.parse::<IpAddr>() {
                Ok(ip) => Ok(Self::Name(format!("IP:{ip}").into())),
                Err(_) => Err(BadClientPattern::Address(value.to_owned())),
            },
            "SHA256:" => fingerprint(value).map(Self::Fingerprint),
            _ => Err(unknown()),
        }
    }
}

/// Colons between the digits and capitals are accepted, as OpenSSL prints them.
fn fingerprint(text: &str) -> Result<Box<str>, BadClientPattern> {
    let hex: String = text.chars().filter(|digit| *digit != ':').collect();
    match hex.len() == 64 && hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        true => Ok(hex.to_ascii_lowercase().into()),
        false => Err(BadClientPattern::Fingerprint(text.to_owned())),
    }
}

impl fmt::Display for ClientPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::CommonName(name) => write!(f, "CN={name}"),
            Self::Name(name) => f.write_str(name),
            Self::Fingerprint(hex) => write!(f, "SHA256:{hex}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::string::Ia5String;
    use rcgen::{CertificateParams, DnType, DnValue, KeyPair, SanType};

    use super::*;

    /// A certificate with these common names, one alternative name of each kind, and an organization
    /// whose text looks like a common name.
    fn client(common_names: &[&str]) -> ClientIdentity {
        let mut params = CertificateParams::new(vec!["Host.example".to_owned()]).unwrap();
        let ia5 = |text: &str| Ia5String::try_from(text).unwrap();
        params.subject_alt_names.extend([
            SanType::Rfc822Name(ia5("a@b.example")),
            SanType::URI(ia5("spiffe://example/a")),
            SanType::IpAddress("2001:db8::1".parse().unwrap()),
        ]);
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, "x, CN=root");
        for (at, name) in common_names.iter().enumerate() {
            // rcgen holds one value of each type: the second is the same type by its number.
            let kind = match at {
                0 => DnType::CommonName,
                _ => DnType::CustomDnType(vec![2, 5, 4, 3]),
            };
            let value = DnValue::Utf8String((*name).to_owned());
            params.distinguished_name.push(kind, value);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        ClientIdentity::of(certificate.der()).unwrap()
    }

    fn matches(pattern: &str, client: &ClientIdentity) -> bool {
        pattern.parse::<ClientPattern>().unwrap().matches(client)
    }

    #[test]
    fn a_certificate_matches_by_its_common_name_each_alternative_name_and_its_fingerprint() {
        let alice = client(&["alice"]);
        let mut colons = String::new();
        for pair in alice.fingerprint.as_bytes().chunks(2) {
            colons += &format!(":{}", std::str::from_utf8(pair).unwrap().to_uppercase());
        }
        let fingerprint = format!("SHA256:{}", colons.trim_start_matches(':'));
        for (pattern, expected) in [
            ("*", true),
            ("CN=alice", true),
            ("CN=Alice", false),
            ("CN=alice ", false),
            ("CN=root", false),
            ("CN=x, CN=root", false),
            ("DNS:host.EXAMPLE", true),
            ("DNS:alice", false),
            ("DNS:other.example", false),
            ("email:a@b.example", true),
            ("email:A@b.example", false),
            ("URI:spiffe://example/a", true),
            ("URI:spiffe://example/ab", false),
            ("IP:2001:0db8:0::1", true),
            ("IP:2001:db8::2", false),
            (&fingerprint, true),
            (&format!("SHA256:{}", "0".repeat(64)), false),
        ] {
            assert_eq!(matches(pattern, &alice), expected, "{pattern}");
        }
    }

    #[test]
    fn a_subject_with_two_common_names_or_none_has_no_common_name_to_match() {
        for names in [&["alice", "bob"][..], &[]] {
            let client = client(names);
            assert_eq!(client.common_name, None, "{}", client.subject);
            assert!(!matches("CN=alice", &client) && !matches("CN=bob", &client));
            assert!(matches("*", &client));
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_what_to_write() {
        for text in [
            "", "alice", "CN=", "CN:alice", "cn=alice", "OU=x", "DNS:", "SHA1:00",
        ] {
            let error = text.parse::<ClientPattern>().unwrap_err();
            assert_eq!(error, BadClientPattern::Unknown(text.to_owned()));
        }
        let error = |text: &str| text.parse::<ClientPattern>().unwrap_err().to_string();
        assert!(error("SHA256:ab").starts_with("`ab` is no SHA-256 fingerprint"));
        assert_eq!(error("IP:a"), "`a` is no IP address");
    }

    #[test]
    fn an_example_matches_the_patterns_that_it_is_made_of_and_no_others() {
        let parsed = |texts: &[&str]| -> Vec<ClientPattern> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let made = parsed(&["CN=alice", "DNS:a.example", "email:a@b.example"]);
        let example = ClientPattern::example(&made).unwrap();
        assert!(made.iter().all(|pattern| pattern.matches(&example)));
        assert!(!matches("CN=bob", &example) && !matches("DNS:b.example", &example));
        assert!(matches("*", &ClientPattern::example(&[]).unwrap()));
        assert_eq!(ClientPattern::example(&parsed(&["CN=a", "CN=b"])), None);
    }

    #[test]
    fn patterns_print_as_they_are_written() {
        let sum = format!("SHA256:{}", "0f".repeat(32));
        for text in [
            "*",
            "CN=a b",
            "DNS:a.b",
            "email:a@b",
            "URI:a:b=c",
            "IP:::1",
            &sum,
        ] {
            assert_eq!(text.parse::<ClientPattern>().unwrap().to_string(), text);
        }
    }
}
