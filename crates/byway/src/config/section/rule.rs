//! `[[proxy.rule]]` and `[[exit.rule]]`.

use super::description::Shape;
use super::kind::{NumbersOrTexts, Read};
use super::prelude::*;
use crate::config::place::At;
use crate::config::secret::Secret;

keys! {
    /// What happens to which targets.
    ///
    /// Rules are tried in their order, the first that matches decides. A rule matches if all that it
    /// names does: the target (one of `host`, `suffix` and `cidr`), the port, and in a `[[proxy]]`
    /// the user and the certificate of the client.
    pub struct Rule {
        /// What happens to what matches.
        ///
        /// `"via"` goes through a parent.
        action: OneOf<ActionWord>, example "deny", required;
        /// The parent, which resolves names.
        ///
        /// `"socks5://user:password@host:port"` (`socks5h://` is the same here),
        /// `"socks4a://user@host:port"`, `"http://user:password@host:port"` or `"https://…"`; without
        /// a port 1080, 80 and 443. Required with `action = "via"`, and only then.
        via: Secret, in "a URL", example "socks5://192.0.2.1:1080", alternative "none";
        /// Exact names.
        host: Vec<String>, in "host names", example ["www.example.com"],
            default "none; a rule without `host`, `suffix` and `cidr` is for every target";
        /// Names with everything below them.
        suffix: Vec<String>, in "host names", example ["example.com"],
            default "none; see `host`";
        /// Networks and addresses.
        ///
        /// Compared with literal addresses, and with every address that a name resolves to.
        cidr: Vec<String>, in "networks or addresses", example ["10.0.0.0/8"],
            default "none; see `host`";
        /// Ports and ranges of them.
        ///
        /// A range does not open port 25.
        port: NumbersOrTexts, in "ports and ranges", example [443, "8000-8999"],
            default "every port";
        /// Names of `users`.
        user: Vec<String>, in "names", example ["alice"], default "every user";
        /// Client certificates.
        ///
        /// `"CN=alice"` (the only common name), an alternative name (`"DNS:…"`, `"email:…"`, `"URI:…"`,
        /// `"IP:…"`), `"SHA256:…"` (the fingerprint) or `"*"` (any). It needs a `[[tls.client]]` for the
        /// name of the proxy, whose authorities vouch for it; a client without a certificate does not
        /// match.
        client: Vec<String>, in "client certificates", example ["CN=alice"],
            default "every client, with or without a certificate";
    }
}

/// The rules of an exit, which has no users and no TLS clients that a rule could name.
pub struct RulesWithoutUsers;

impl Form for RulesWithoutUsers {
    type Written = Vec<At<Rule>>;
    type Range = ();
    const ANY: Self::Range = ();
    const READ: Read<Self::Written> = |table, key, _| {
        let rules = table.sections(key, &["user", "client"]);
        rules.map(|all| all.value).unwrap_or_default()
    };

    fn shape((): ()) -> Shape {
        Shape::Tables(Rule::describe().without("user").without("client"))
    }
}

/// The word for what happens to a target that a rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActionWord {
    /// It is dialled.
    Allow,
    /// It is refused.
    Deny,
    /// It is reached through the parent in `via`.
    Via,
}

impl Words for ActionWord {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("allow", Self::Allow),
        ("deny", Self::Deny),
        ("via", Self::Via),
    ];
}
