//! Failure: why no certificate was issued, in words that say what to do.
//!
//! In:    errors of the protocol, of HTTP, of challenges and of files.
//! Out:   one line of text, a kind from a short list, what to do, how long the authority asks to
//!        wait.
//! Never: passes on control characters or more than [`MOST_DETAIL`] bytes of what a peer sent.

use std::fmt;
use std::time::Duration;

use instant_acme::{Error, Problem};

/// The most bytes of an authority's explanation that are kept.
pub const MOST_DETAIL: usize = 400;

/// What kind of failure it is: a label of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// The authority could not be reached, or did not answer in time.
    Unreachable,
    /// The authority answered something that is not ACME, or failed itself.
    Authority,
    /// The authority refuses the account: binding, terms, contact.
    Account,
    /// The authority does not issue certificates for the name.
    Name,
    /// The authority could not reach this machine, or its DNS, to check the name.
    Challenge,
    /// A record of DNS forbids it (CAA).
    Caa,
    /// A rate limit of the authority.
    RateLimit,
    /// The records of a DNS challenge could not be set.
    Dns,
    /// The order did not end in time.
    Deadline,
    /// What was issued cannot be used.
    Certificate,
    /// The state folder could not be read or written.
    State,
}

impl FailureKind {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Unreachable,
        Self::Authority,
        Self::Account,
        Self::Name,
        Self::Challenge,
        Self::Caa,
        Self::RateLimit,
        Self::Dns,
        Self::Deadline,
        Self::Certificate,
        Self::State,
    ];

    /// The word of it in logs and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Authority => "authority",
            Self::Account => "account",
            Self::Name => "name",
            Self::Challenge => "challenge",
            Self::Caa => "caa",
            Self::RateLimit => "rate_limit",
            Self::Dns => "dns",
            Self::Deadline => "deadline",
            Self::Certificate => "certificate",
            Self::State => "state",
        }
    }

    /// What to do about it.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Unreachable => {
                "look at the URL of the directory and at this machine's way to it; a private \
                 authority needs its own root certificate"
            }
            Self::Authority => "nothing to do here unless it persists; it is tried again",
            Self::Account => {
                "look at the email address and at the external account binding; some authorities \
                 require one"
            }
            Self::Name => "choose another authority, or do not request a certificate for this name",
            Self::Challenge => {
                "the name must lead to this machine: port 80 from the Internet for http-01, 443 \
                 for tls-alpn-01, or the TXT record for dns-01"
            }
            Self::Caa => "allow the authority in the CAA records of the domain",
            Self::RateLimit => "wait; it is tried again when the authority permits",
            Self::Dns => "run the command by hand, or look at the DNS server's log and key",
            Self::Deadline => "nothing to do here unless it persists; the order is continued",
            Self::Certificate => "report it to the authority; it is tried again",
            Self::State => "look at the space, owner and permissions of the state folder",
        }
    }
}

/// Why no certificate was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The kind.
    pub kind: FailureKind,
    /// What happened, in one line.
    pub text: String,
    /// How long the authority asks to wait.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A failure of this kind. `text` is escaped and cut.
    pub fn new(kind: FailureKind, text: impl fmt::Display) -> Self {
        Self {
            kind,
            text: one_line(&text.to_string()),
            retry_after: None,
        }
    }

    /// What a step of the protocol failed with.
    pub(crate) fn of(error: &Error) -> Self {
        match error {
            Error::Api(problem) => Self::of_problem(problem),
            Error::Timeout(_) => Self::new(FailureKind::Deadline, "the authority is still busy"),
            Error::Unsupported(what) => Self::new(
                FailureKind::Authority,
                format_args!("the authority does not support {what}"),
            ),
            Error::Other(source) => match source.downcast_ref::<TransportError>() {
                Some(TransportError::Answer(..)) => Self::new(FailureKind::Authority, source),
                Some(_) => Self::new(FailureKind::Unreachable, source),
                None => Self::new(FailureKind::Authority, source),
            },
            Error::Json(source) => Self::new(
                FailureKind::Authority,
                format_args!("the answer is not ACME: {source}"),
            ),
            other => Self::new(FailureKind::Authority, other),
        }
    }

    /// What the authority explains in a problem document (RFC 8555 section 6.7).
    pub(crate) fn of_problem(problem: &Problem) -> Self {
        use FailureKind as Kind;
        let full = problem.r#type.as_deref().unwrap_or_default();
        let short = full.rsplit(':').next().unwrap_or_default();
        let mut kind = match short {
            "rateLimited" => Kind::RateLimit,
            "rejectedIdentifier" | "unsupportedIdentifier" => Kind::Name,
            "caa" => Kind::Caa,
            "connection" | "dns" | "incorrectResponse" | "tls" | "unauthorized" => Kind::Challenge,
            "accountDoesNotExist"
            | "externalAccountRequired"
            | "invalidContact"
            | "unsupportedContact"
            | "userActionRequired" => Kind::Account,
            _ => Kind::Authority,
        };
        let mut text = problem.detail.clone().unwrap_or_default();
        for part in problem.subproblems.iter().take(4) {
            if let Some(detail) = &part.detail {
                text = format!("{text}; {detail}");
            }
            // "compound" and "malformed" say why in their parts.
            let of_part = part.r#type.as_deref().unwrap_or_default();
            if kind == Kind::Authority && of_part.ends_with(":rejectedIdentifier") {
                kind = Kind::Name;
            }
        }
        if text.is_empty() {
            text = "no reason given".to_owned();
        }
        match short {
            "" => Self::new(kind, text),
            _ => Self::new(kind, format_args!("{text} ({short})")),
        }
    }

    /// Whether the problem says that the account is unknown: it is created anew then.
    pub(crate) fn is_unknown_account(error: &Error) -> bool {
        matches!(error, Error::Api(problem) if problem
            .r#type
            .as_deref()
            .is_some_and(|kind| kind.ends_with(":accountDoesNotExist")))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.text, self.kind.advice())
    }
}

impl std::error::Error for Failure {}

/// Why an HTTP request had no usable response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TransportError {
    /// The client failed.
    #[error("cannot reach the authority: {0}")]
    Failed(String),
    /// No response in time.
    #[error("no answer from the authority within {} s", .0.as_secs())]
    Timeout(Duration),
    /// A status that has no problem document.
    #[error("the authority answered {0} to {1}")]
    Answer(u16, String),
}

/// In one line without control characters, at most [`MOST_DETAIL`] bytes.
fn one_line(text: &str) -> String {
    let mut line = String::new();
    for character in text.chars() {
        let character = match character {
            '\n' | '\r' | '\t' => ' ',
            // Escapes, and marks that change the direction of text in a terminal.
            other
                if other.is_control()
                    || matches!(other, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
            {
                '\u{fffd}'
            }
            other => other,
        };
        if line.len() + character.len_utf8() > MOST_DETAIL {
            line.push('…');
            break;
        }
        line.push(character);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(json: &str) -> Failure {
        Failure::of_problem(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn the_refusals_of_an_authority_say_what_to_do() {
        for (kind, expected) in [
            ("rateLimited", FailureKind::RateLimit),
            ("rejectedIdentifier", FailureKind::Name),
            ("caa", FailureKind::Caa),
            ("connection", FailureKind::Challenge),
            ("dns", FailureKind::Challenge),
            ("externalAccountRequired", FailureKind::Account),
            ("serverInternal", FailureKind::Authority),
        ] {
            let json =
                format!(r#"{{"type":"urn:ietf:params:acme:error:{kind}","detail":"because"}}"#);
            let failure = problem(&json);
            assert_eq!(failure.kind, expected);
            let text = failure.to_string();
            assert_eq!(text, format!("because ({kind}); {}", expected.advice()));
        }
    }

    #[test]
    fn the_parts_of_a_problem_are_shown_and_decide() {
        let failure = problem(
            r#"{"type":"urn:ietf:params:acme:error:malformed","detail":"some were rejected",
            "subproblems":[{"type":"urn:ietf:params:acme:error:rejectedIdentifier",
            "detail":"not for a.example"}]}"#,
        );
        assert_eq!(failure.kind, FailureKind::Name);
        assert_eq!(
            failure.text,
            "some were rejected; not for a.example (malformed)"
        );
    }

    #[test]
    fn the_text_of_an_authority_is_one_short_line_without_control_characters() {
        let long = format!("a\nb\u{1b}[31m\u{202e}{}", "ä".repeat(1000));
        let failure = Failure::new(FailureKind::Name, long);
        assert!(failure.text.starts_with("a b\u{fffd}[31m\u{fffd}ää"));
        assert!(failure.text.len() <= MOST_DETAIL + '…'.len_utf8());
        assert_eq!(problem("{}").text, "no reason given");
    }
}
