//! `[[proxy]]`.

use super::kind::{Group, Inline};
use super::prelude::*;
use super::{Join, Rule};
use crate::config::secret::Secret;

keys! {
    /// An egress for SOCKS and HTTP.
    pub struct Egress {
        /// As for an edge.
        name: String, in "up to 64 characters", example "office",
            default "the address of each listener";
        /// As for an edge.
        ///
        /// If other machines can reach it, `users` or `open_to_the_world` is required: this prevents
        /// accidental open proxies.
        listen: Vec<String>, in "listen addresses", example "127.0.0.1:1080", unless "https";
        /// Addresses where clients speak TLS to the proxy.
        ///
        /// Browsers call it an HTTPS proxy. See `[[certificate]]` and `[tls]`.
        https: Vec<String>, in "listen addresses", example "127.0.0.1:1443", instead "listen";
        /// Who may use it.
        ///
        /// Names and passwords are what SOCKS5 can carry (RFC 1929).
        users: Inline<User>, example [{ name = "alice", password = "change me" }],
            default "every client that can reach it";
        /// Confirms that a public listener without users is intended.
        open_to_the_world: bool, example true, value "false";
        /// See [`EgressCommon`].
        common: Group<EgressCommon>;
        /// What is allowed goes out through an `[[exit]]` of another node.
        join: Group<Join>, example "", alternative "";
        /// `[[proxy.rule]]`.
        rule: Vec<Rule>;
    }
}

keys! {
    /// What a `[[proxy]]` and an `[[exit]]` have in common.
    pub struct EgressCommon {} => EgressSettings {
        /// Bytes per second towards the reader of one stream.
        ///
        /// At a desk in addition to that of the exit.
        stream_limit: Maybe<Rate> => Option<Rate> = None, example "25MiB/s", default "none";
        /// For what no rule matches.
        ///
        /// The guard against internal addresses applies either way.
        default: OneOf<Verdict> => Verdict = Verdict::Allow;
    }
}

keys! {
    /// Who may use a `[[proxy]]`.
    pub struct User {
        /// The name.
        ///
        /// Without a colon; unique in its section.
        name: String, in "1 to 255 bytes", example "alice", required;
        /// The password.
        password: Secret, in "1 to 255 bytes", example "change me", unless "password_file";
        /// A file whose first line is the password.
        password_file: String, in "a path", example "/etc/byway/alice",
            instead "password";
    }
}

/// What happens to a target that no rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is dialled.
    Allow,
    /// It is refused.
    Deny,
}

impl Words for Verdict {
    const WORDS: &'static [(&'static str, Self)] = &[("allow", Self::Allow), ("deny", Self::Deny)];
}
